//! What a device can do: its limits, and what kernels are chosen by.

/// Which variants are taken by rule, without a tuning table in which they are right: each level includes those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Trust {
    /// Variants that need nothing of a device but what WebGPU promises.
    Portable,
    /// Subgroups and cooperative matrices too, where they behave as on the hardware that they were tried on: the size of subgroups is fixed, on Vulkan.
    Subgroups,
}

/// What a device can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// Bytes of a buffer that one binding can reach.
    pub binding_bytes: u64,
    /// Bytes of one buffer.
    pub buffer_bytes: u64,
    /// Workgroups along each dimension of a grid.
    pub workgroups: u32,
    /// Bytes of workgroup memory.
    pub workgroup_bytes: u32,
    /// Invocations of a subgroup: of all, or, where they differ, of those of a pipeline that was tried; 0 if that is not known.
    pub subgroup: u32,
    /// Whether it computes in f16.
    pub half: bool,
    /// Rows and columns of the cooperative matrices that it multiplies, of f16 with sums in f32: 8 or 16; 0 if it has none.
    pub cooperative: u32,
    /// Whether a processor does the work: what is fast there is slow on a GPU.
    pub software: bool,
    /// Whether its compiler is given large shaders of cooperative matrices, with loops unrolled and sizes put in; those for processors take
    /// minutes for them.
    pub large_shaders: bool,
    /// Whether it loads cooperative matrices from arrays of scalars only, and adds none, as Metal does.
    pub scalar_tiles: bool,
    /// Which variants are taken before they were measured.
    pub trust: Trust,
}

impl Capabilities {
    /// The precision of activations between kernels, given that of the factors: f16 with factors in f16 on GPUs that compute in it, else f32. On
    /// software adapters the conversions take longer than the memory that they save.
    pub fn activations(&self, factors: Precision) -> Precision {
        if factors == Precision::F16 && self.half && !self.software { Precision::F16 } else { Precision::F32 }
    }

    /// Those of the CPU: 4 GiB a buffer, so that a made-up size is an error and not the end of the memory.
    pub const CPU: Capabilities = Capabilities {
        binding_bytes: 1 << 32,
        buffer_bytes: 1 << 32,
        workgroups: u32::MAX,
        workgroup_bytes: u32::MAX,
        subgroup: 0,
        half: false,
        cooperative: 0,
        software: true,
        large_shaders: true,
        scalar_tiles: false,
        trust: Trust::Subgroups,
    };
}

/// The format of the right factors of products, and with [`Precision::F16`] also of activations where a device computes in f16
/// ([`Recording::activations`](crate::data::record::Recording::activations)). Sums, statistics and the residual stream are f32 in any case.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Precision {
    /// 32 bits; on the CPU 16 where the checkpoint has no more.
    #[default]
    F32,
    /// IEEE 754's 16 bits: half the memory, and a relative error of 2^-11 in each number that is kept so.
    F16,
    /// 8-bit integers with a scale for each output of a layer, and the inputs of the blocks' layers in such too, with a scale for each
    /// token: a quarter of the memory.
    Int8,
}

impl Precision {
    /// The fastest whose results stay near those of f32 (logits within 2e-2 of the largest): f16 on GPUs that compute in it, else f32.
    pub fn auto(capabilities: &Capabilities) -> Precision {
        if capabilities.half && !capabilities.software { Precision::F16 } else { Precision::F32 }
    }

    /// Bits of an element in panels; that of integers is a word of four.
    pub fn bits(self) -> u32 {
        match self {
            Precision::F32 | Precision::Int8 => 32,
            Precision::F16 => 16,
        }
    }
}

impl std::fmt::Display for Precision {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Precision::F32 => "f32",
            Precision::F16 => "f16",
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
            "int8" => Ok(Precision::Int8),
            other => Err(format!("expected f32, f16 or int8, found {other}")),
        }
    }
}

/// What a kernel needs beside what every device has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Needs {
    /// Invocations that each subgroup must have; 0 if that does not matter.
    pub subgroup: u32,
    /// Subgroups of a workgroup, if it is made of whole ones, so that its invocations depend on the device; else 0.
    pub subgroups: u32,
    /// Rows and columns of the cooperative matrices that it multiplies; 0 if it multiplies none.
    pub cooperative: u32,
    /// Bytes of workgroup memory, where they are more than every device has.
    pub workgroup_bytes: u32,
    /// Whether it computes in f16, or reads or writes it.
    pub half: bool,
    /// Whether it is only for devices where a processor does a GPU's work.
    pub software: bool,
    /// Whether it is only for devices whose compilers are given large shaders.
    pub large_shaders: bool,
    /// Whether it loads cooperative matrices from arrays of vectors, or adds them.
    pub vector_tiles: bool,
    /// Which devices take it by rule.
    pub trust: Trust,
}

/// Invocations of a workgroup that every device allows.
const INVOCATIONS: u32 = 256;

impl Needs {
    /// Nothing.
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

    /// Of kernels that are made for llvmpipe: an access of memory is a loop over the lanes there, and a branch is executed
    /// under masks, so they load each number once and hand it round.
    pub const LLVMPIPE: Needs = Needs { subgroup: 8, software: true, ..Needs::NOTHING };

    /// Of kernels whose workgroups are so many subgroups.
    pub const fn subgroups(subgroups: u32) -> Needs {
        Needs { subgroups, trust: Trust::Subgroups, ..Needs::NOTHING }
    }

    /// Of kernels whose workgroups are so many subgroups that multiply cooperative matrices of f16 with `side` rows and columns.
    pub const fn cooperative(side: u32, subgroups: u32, workgroup_bytes: u32) -> Needs {
        Needs { cooperative: side, workgroup_bytes, half: true, ..Needs::subgroups(subgroups) }
    }

    /// Whether a device has it.
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
