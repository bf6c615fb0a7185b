//! Files as `torch.save` writes them, and as it never would.

/// A pickle, operation by operation.
#[derive(Clone)]
pub struct Pickle(pub Vec<u8>);

impl Pickle {
    pub fn new() -> Pickle {
        Pickle(vec![0x80, 2])
    }

    pub fn then(mut self, bytes: impl AsRef<[u8]>) -> Pickle {
        self.0.extend_from_slice(bytes.as_ref());
        self
    }

    pub fn text(self, text: &str) -> Pickle {
        self.then("X").then((text.len() as u32).to_le_bytes()).then(text)
    }

    pub fn int(self, int: i64) -> Pickle {
        self.then([0x8A, 8]).then(int.to_le_bytes())
    }

    pub fn global(self, module: &str, name: &str) -> Pickle {
        self.then("c").then(module).then("\n").then(name).then("\n")
    }

    pub fn ints(self, ints: &[i64]) -> Pickle {
        ints.iter().fold(self.then("("), |pickle, int| pickle.int(*int)).then("t")
    }

    /// A tensor of f32 in a storage.
    pub fn tensor(self, tensor: &Tensor) -> Pickle {
        let Tensor { class, key, len, offset, shape, strides } = tensor;
        let storage = self.global("torch._utils", "_rebuild_tensor_v2").then("((").text("storage").global("torch", class).text(key).text("cpu");
        let arguments = storage.int(*len).then("tQ").int(*offset).ints(shape).ints(strides);
        arguments.then([0x89]).global("collections", "OrderedDict").then(")RtR")
    }

    /// A dictionary of tensors, and the end.
    pub fn state_dict(self, tensors: &[(&str, Tensor)]) -> Pickle {
        tensors.iter().fold(self.then("}("), |pickle, (name, tensor)| pickle.text(name).tensor(tensor)).then("u.")
    }
}

/// What `_rebuild_tensor_v2` is told.
#[derive(Clone, Debug)]
pub struct Tensor {
    pub class: &'static str,
    pub key: String,
    pub len: i64,
    pub offset: i64,
    pub shape: Vec<i64>,
    pub strides: Vec<i64>,
}

impl Tensor {
    /// A tensor that has its storage of f32 for itself.
    pub fn whole(key: &str, shape: &[usize]) -> Tensor {
        let strides = (1..=shape.len()).map(|axis| shape[axis..].iter().product::<usize>() as i64).collect();
        let len = shape.iter().product::<usize>() as i64;
        let shape = shape.iter().map(|size| *size as i64).collect();
        Tensor { class: "FloatStorage", key: key.to_owned(), len, offset: 0, shape, strides }
    }
}

/// An entry of a zip file, and what the file says of it.
#[derive(Clone)]
pub struct Entry {
    pub name: String,
    pub bytes: Vec<u8>,
    pub is_deflated: bool,
    /// Size in the directory.
    pub size: u32,
    /// Place of the local header in the directory, if it is not the true one.
    pub place: Option<u32>,
}

impl Entry {
    pub fn new(name: &str, bytes: &[u8]) -> Entry {
        Entry { name: format!("archive/{name}"), bytes: bytes.to_vec(), is_deflated: false, size: bytes.len() as u32, place: None }
    }

    pub fn deflated(name: &str, bytes: &[u8]) -> Entry {
        Entry { is_deflated: true, ..Entry::new(name, bytes) }
    }
}

/// A zip file of these entries.
pub fn zip(entries: &[Entry]) -> Vec<u8> {
    let (mut file, mut directory) = (Vec::new(), Vec::new());
    for entry in entries {
        let mut crc = flate2::Crc::new();
        crc.update(&entry.bytes);
        let packed = if entry.is_deflated { deflated(&entry.bytes) } else { entry.bytes.clone() };
        let packed_size = if entry.is_deflated { packed.len() as u32 } else { entry.size };
        let common = [
            [20, 0, 0, 0, if entry.is_deflated { 8 } else { 0 }, 0, 0, 0, 0, 0].as_slice(),
            &crc.sum().to_le_bytes(),
            &packed_size.to_le_bytes(),
            &entry.size.to_le_bytes(),
            &(entry.name.len() as u16).to_le_bytes(),
            &[0, 0],
        ]
        .concat();
        let place = entry.place.unwrap_or(file.len() as u32);
        file.extend([b"PK\x03\x04".as_slice(), &common, entry.name.as_bytes(), &packed].concat());
        directory.extend([b"PK\x01\x02\x14\0".as_slice(), &common, &[0; 10], &place.to_le_bytes(), entry.name.as_bytes()].concat());
    }
    let [count, size, place] = [entries.len(), directory.len(), file.len()];
    let counts = [(count as u16).to_le_bytes(), (count as u16).to_le_bytes()].concat();
    let end = [b"PK\x05\x06\0\0\0\0".as_slice(), &counts, &(size as u32).to_le_bytes(), &(place as u32).to_le_bytes(), &[0, 0]].concat();
    [file, directory, end].concat()
}

fn deflated(bytes: &[u8]) -> Vec<u8> {
    use std::io::Write;
    let mut encoder = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).expect("memory");
    encoder.finish().expect("memory")
}

/// The zip container of `torch.save`.
pub fn container(pickle: &Pickle, storages: &[(&str, &[u8])]) -> Vec<u8> {
    let storages = storages.iter().map(|(key, bytes)| Entry::new(&format!("data/{key}"), bytes));
    zip(&[vec![Entry::new("data.pkl", &pickle.0), Entry::new("byteorder", b"little")], storages.collect()].concat())
}

/// The container of `torch.save` before PyTorch 1.6, with storages of f32.
pub fn legacy(pickle: &Pickle, storages: &[(&str, &[u8])]) -> Vec<u8> {
    let magic = Pickle::new().then(b"\x8A\x0Al\xFC\x9CF\xF9 j\xA8P\x19.");
    let version = Pickle::new().int(1001).then(".");
    let system = Pickle::new().then("}").text("little_endian").then([0x88]).then("s.");
    let keys = storages.iter().fold(Pickle::new().then("]("), |pickle, (key, _)| pickle.text(key)).then("e.");
    let data = storages.iter().flat_map(|(_, bytes)| [&(bytes.len() as u64 / 4).to_le_bytes(), *bytes].concat());
    [magic.0, version.0, system.0, pickle.0.clone(), keys.0, data.collect()].concat()
}
