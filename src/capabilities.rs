//! What a device can do: its limits, and what kernels are chosen by.

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
    /// Invocations of a subgroup, if all have the same number; else 0.
    pub subgroup: u32,
    /// Whether it computes in f16.
    pub half: bool,
    /// Rows and columns of the cooperative matrices that it multiplies, of f16 with sums in f32: 8 or 16; 0 if it has none.
    pub cooperative: u32,
    /// Whether a processor does a GPU's work: what is fast there is slow on hardware.
    pub software: bool,
}

impl Capabilities {
    /// Those of the CPU: 4 GiB a buffer, so that a made-up size is an error and not the end of the memory.
    pub const CPU: Capabilities = Capabilities {
        binding_bytes: 1 << 32,
        buffer_bytes: 1 << 32,
        workgroups: u32::MAX,
        workgroup_bytes: u32::MAX,
        subgroup: 0,
        half: false,
        cooperative: 0,
        software: false,
    };
}

/// In what bits the right factors of products are kept. Sums, activations, norms and the residual stream are f32 in any case.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Precision {
    /// 32 bits; on the CPU 16 where the checkpoint has no more.
    #[default]
    F32,
    /// IEEE 754's 16 bits: half the memory, and a relative error of 2^-11 in each weight; in products of cooperative matrices in
    /// each element of the left factor too.
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
    /// Rows and columns of the cooperative matrices that it multiplies; 0 if it multiplies none.
    pub cooperative: u32,
    /// Whether it is only for devices where a processor does a GPU's work.
    pub software: bool,
}

impl Needs {
    /// Nothing.
    pub const NOTHING: Needs = Needs { subgroup: 0, cooperative: 0, software: false };

    /// Of kernels that are made for llvmpipe: an access of memory is a loop over the lanes there, and a branch is executed
    /// under masks, so they load each number once and hand it round.
    pub const LLVMPIPE: Needs = Needs { subgroup: 8, cooperative: 0, software: true };

    /// Of kernels that multiply cooperative matrices with so many rows and columns.
    pub const fn cooperative(side: u32) -> Needs {
        Needs { cooperative: side, ..Needs::NOTHING }
    }

    /// Whether a device has it.
    pub fn met_by(&self, capabilities: &Capabilities) -> bool {
        (self.cooperative == 0 || self.cooperative == capabilities.cooperative)
            && (self.subgroup == 0 || self.subgroup == capabilities.subgroup)
            && (!self.software || capabilities.software)
    }
}
