//! Device capabilities: limits, and the properties that select kernels.

/// Which variants are used by default, before a tuning table confirms them. Each level includes the previous ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Trust {
    /// Variants that need only what WebGPU guarantees.
    Portable,
    /// Also variants with subgroups and cooperative matrices, on devices that behave like the hardware they were tested on:
    /// Vulkan with a fixed subgroup size.
    Subgroups,
}

/// Capabilities of a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// Maximum bytes per binding.
    pub binding_bytes: u64,
    /// Maximum bytes per buffer.
    pub buffer_bytes: u64,
    /// Maximum workgroups along each dimension of a grid.
    pub workgroups: u32,
    /// Maximum bytes of workgroup memory.
    pub workgroup_bytes: u32,
    /// Subgroup size; where it varies, that of a probe pipeline; 0 if unknown.
    pub subgroup: u32,
    /// Whether the device computes in f16.
    pub half: bool,
    /// Whether the device multiplies bf16 faster than f32.
    pub bf16: bool,
    /// Whether the device multiplies 16-bit integers, in place of f16, faster than f32.
    pub int16: bool,
    /// Rows and columns of cooperative matrices, with f16 inputs and f32 sums: 8 or 16; 0 if unsupported.
    pub cooperative: u32,
    /// Whether the device runs on a CPU: what is fast there is slow on a GPU.
    pub software: bool,
    /// Whether to compile large cooperative-matrix shaders, with unrolled loops and constant sizes. Compilers for CPUs take
    /// minutes over them.
    pub large_shaders: bool,
    /// Whether cooperative matrices load only from arrays of scalars and cannot be added, as on Metal.
    pub scalar_tiles: bool,
    /// Which variants are used before they are measured.
    pub trust: Trust,
}

impl Capabilities {
    /// Returns the precision of activations between kernels, given that of the rhs: f16 for an f16 rhs on GPUs that compute in
    /// f16, else f32. On software adapters, conversions cost more time than the smaller memory saves.
    pub fn activations(&self, factors: Precision) -> Precision {
        if factors == Precision::F16 && self.half && !self.software { Precision::F16 } else { Precision::F32 }
    }

    /// Capabilities of the CPU. Buffers are limited to 4 GiB, so that a bogus size is an error instead of exhausting memory.
    pub const CPU: Capabilities = Capabilities {
        binding_bytes: 1 << 32,
        buffer_bytes: 1 << 32,
        workgroups: u32::MAX,
        workgroup_bytes: u32::MAX,
        subgroup: 0,
        half: false,
        bf16: false,
        int16: false,
        cooperative: 0,
        software: true,
        large_shaders: true,
        scalar_tiles: false,
        trust: Trust::Subgroups,
    };
}

/// Format of the rhs of products; with [`Precision::F16`], also of activations on GPUs that compute in f16
/// ([`Recording::activations`](crate::data::record::Recording::activations)). Sums, statistics and the residual stream are
/// always f32.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Precision {
    /// 32-bit floats; on the CPU, 16-bit where the checkpoint stores 16 bits.
    #[default]
    F32,
    /// IEEE 754 binary16: half the memory, and a relative error of 2^-11 in each stored number. On processors that multiply 16-bit integers (x86 with AVX2)
    /// these instead, with a scale for every 32, for the inputs of products too.
    F16,
    /// The upper 16 bits of f32, for the inputs of products too: a relative error of 2^-9 in each number, and half the memory. For processors that
    /// multiply it (AVX-512 BF16, AMX); GPUs widen it.
    Bf16,
    /// 8-bit integers in the blocks, with a scale for every 32: a quarter of the memory. The inputs of these layers are also
    /// quantised. The first and the last block stay in f16 or bf16.
    Int8,
}

impl Precision {
    /// Returns the fastest precision with results close to f32 (tokens, features and logits within 3e-2 of the largest): f16 on GPUs that compute in
    /// f16, bf16 on processors that multiply it, f16 on those with VNNI, else f32.
    pub fn auto(capabilities: &Capabilities) -> Precision {
        match capabilities {
            Capabilities { half: true, software: false, .. } => Precision::F16,
            Capabilities { bf16: true, .. } => Precision::Bf16,
            Capabilities { int16: true, .. } => Precision::F16,
            _ => Precision::F32,
        }
    }

    /// Returns the bits per element in panels. An element is a word of two numbers in bf16, and of four integers in int8.
    pub fn bits(self) -> u32 {
        match self {
            Precision::F32 | Precision::Bf16 | Precision::Int8 => 32,
            Precision::F16 => 16,
        }
    }

    /// Returns whether an element is a word of several numbers.
    pub(crate) fn is_packed(self) -> bool {
        matches!(self, Precision::Bf16 | Precision::Int8)
    }
}

impl std::fmt::Display for Precision {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Precision::F32 => "f32",
            Precision::F16 => "f16",
            Precision::Bf16 => "bf16",
            Precision::Int8 => "int8",
        })
    }
}

impl std::str::FromStr for Precision {
    type Err = String;

    fn from_str(text: &str) -> Result<Precision, String> {
        match text {
            "f32" => Ok(Precision::F32),
            "f16" => Ok(Precision::F16),
            "bf16" => Ok(Precision::Bf16),
            "int8" => Ok(Precision::Int8),
            other => Err(format!("expected f32, f16, bf16 or int8, found {other}")),
        }
    }
}

/// Requirements of a kernel beyond what every device provides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Needs {
    /// Required subgroup size; 0 if any.
    pub subgroup: u32,
    /// Subgroups per workgroup, if sized in whole subgroups, so that its invocations depend on the device; else 0.
    pub subgroups: u32,
    /// Rows and columns of cooperative matrices; 0 if it uses none.
    pub cooperative: u32,
    /// Bytes of workgroup memory, if more than every device provides.
    pub workgroup_bytes: u32,
    /// Whether it computes in, reads or writes f16.
    pub half: bool,
    /// Whether it runs only on software adapters.
    pub software: bool,
    /// Whether it runs only on devices that compile large shaders.
    pub large_shaders: bool,
    /// Whether it loads cooperative matrices from arrays of vectors, or adds matrices.
    pub vector_tiles: bool,
    /// Trust required for use by default.
    pub trust: Trust,
}

/// Invocations per workgroup that every device allows.
const INVOCATIONS: u32 = 256;

impl Needs {
    /// No requirements.
    pub const NOTHING: Needs = Needs {
        subgroup: 0,
        subgroups: 0,
        cooperative: 0,
        workgroup_bytes: 0,
        half: false,
        software: false,
        large_shaders: false,
        vector_tiles: false,
        trust: Trust::Portable,
    };

    /// Requirements of kernels written for llvmpipe. There, a memory access is a loop over the lanes and a branch runs under
    /// masks, so these kernels load each number once and broadcast it.
    pub const LLVMPIPE: Needs = Needs { subgroup: 8, software: true, ..Needs::NOTHING };

    /// Returns the requirements of kernels with this many subgroups per workgroup.
    pub const fn subgroups(subgroups: u32) -> Needs {
        Needs { subgroups, trust: Trust::Subgroups, ..Needs::NOTHING }
    }

    /// Returns the requirements of kernels with this many subgroups per workgroup that multiply f16 cooperative matrices of `side`
    /// rows and columns.
    pub const fn cooperative(side: u32, subgroups: u32, workgroup_bytes: u32) -> Needs {
        Needs { cooperative: side, workgroup_bytes, half: true, ..Needs::subgroups(subgroups) }
    }

    /// Returns whether a device meets the requirements.
    pub fn met_by(&self, capabilities: &Capabilities) -> bool {
        (self.cooperative == 0 || self.cooperative == capabilities.cooperative)
            && (self.subgroup == 0 || self.subgroup == capabilities.subgroup)
            && (self.subgroups == 0 || capabilities.subgroup > 0 && self.subgroups * capabilities.subgroup <= INVOCATIONS)
            && self.workgroup_bytes <= capabilities.workgroup_bytes
            && (!self.half || capabilities.half)
            && (!self.software || capabilities.software)
            && (!self.large_shaders || capabilities.large_shaders)
            && !(self.vector_tiles && capabilities.scalar_tiles)
    }
}
