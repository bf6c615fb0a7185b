//! What a file is, by its first bytes.

/// A kind of file that is found under the name of weights.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    /// What `torch.save` writes.
    TorchZip,
    /// What `torch.save` wrote before PyTorch 1.6.
    Pickle,
    /// What `git clone` writes without Git LFS.
    LfsPointer,
    /// What a server sends instead of the file.
    WebPage,
}

impl Kind {
    /// Recognises a file.
    pub fn of(start: &[u8]) -> Option<Kind> {
        match start {
            [b'P', b'K', 3, 4, ..] => Some(Kind::TorchZip),
            [0x80, 2..=5, ..] => Some(Kind::Pickle),
            [b'<', ..] => Some(Kind::WebPage),
            start => start.starts_with(b"version https://git-lfs").then_some(Kind::LfsPointer),
        }
    }

    /// Says what to do about a file that is not safetensors.
    pub fn advice(self) -> &'static str {
        match self {
            Kind::TorchZip => "a PyTorch zip file, not safetensors; rename it to pytorch_model.bin",
            Kind::Pickle => "a PyTorch pickle, not safetensors; rename it to pytorch_model.bin",
            Kind::LfsPointer => "a Git LFS pointer, not the file itself; run `git lfs pull`",
            Kind::WebPage => "a web page, not weights; download the file itself",
        }
    }
}
