//! Mutations of safetensors files that leave them valid, which bytes changed at random hardly ever do.

use crate::mutate::Random;
use serde_json::{Map, Value};

/// A tensor apart from its file.
struct Tensor {
    name: String,
    dtype: Value,
    shape: Vec<usize>,
    data: Vec<u8>,
}

/// Changes a tensor, or the metadata, of a safetensors file. Returns `None` if it is none.
pub fn changed(input: &[u8], random: &mut Random) -> Option<Vec<u8>> {
    let (mut tensors, mut metadata) = parsed(input)?;
    let which = random.below(tensors.len());
    match random.below(8) {
        0 if !tensors.is_empty() => drop(tensors.swap_remove(which)),
        1 if !tensors.is_empty() => {
            let other = random.below(tensors.len());
            let name = tensors[other].name.clone();
            tensors[other].name = std::mem::replace(&mut tensors[which].name, name);
        }
        2 | 3 => {
            // Other sizes, and as many values.
            let tensor = tensors.get_mut(which)?;
            let axis = random.below(tensor.shape.len());
            let size = tensor.shape.get_mut(axis)?;
            let before = *size;
            *size = [0, 1, before + 1, before.saturating_sub(1), before * 2, before / 2][random.below(6)];
            let len = (tensor.data.len() / before.max(1)).saturating_mul(*size);
            tensor.data.resize(len.min(1 << 18), 0);
        }
        4 => tensors.get_mut(which)?.shape.reverse(),
        5 => {
            let tensor = tensors.get_mut(which)?;
            match random.below(2) {
                0 => tensor.shape.push(1),
                _ => tensor.shape = vec![tensor.shape.iter().product()],
            }
        }
        6 => {
            // Unusual numbers: infinite, tiny, none.
            let values = tensors.get_mut(which)?.data.as_chunks_mut::<4>().0;
            let place = random.below(values.len());
            *values.get_mut(place)? = [f32::NAN, f32::INFINITY, -0.0, 1e-40, 3e38][random.below(5)].to_le_bytes();
        }
        _ => {
            let key = metadata.keys().nth(random.below(metadata.len()))?.clone();
            let text = metadata.get_mut(&key)?;
            match (random.below(3), text.as_str()) {
                (0, _) => drop(metadata.remove(&key)),
                (1, Some(known)) => *text = Value::from(known.chars().rev().collect::<String>()),
                _ => *text = Value::from("[]"),
            }
        }
    }
    Some(serialized(tensors, metadata))
}

fn parsed(input: &[u8]) -> Option<(Vec<Tensor>, Map<String, Value>)> {
    let (size, rest) = input.split_first_chunk()?;
    let (header, data) = rest.split_at_checked(usize::try_from(u64::from_le_bytes(*size)).ok()?)?;
    let mut header: Map<String, Value> = serde_json::from_slice(header).ok()?;
    let metadata = header.remove("__metadata__").and_then(|metadata| metadata.as_object().cloned()).unwrap_or_default();
    let tensor = |(name, info): (String, Value)| {
        let offset = |i: usize| usize::try_from(info["data_offsets"][i].as_u64()?).ok();
        let shape = info["shape"].as_array()?.iter().map(|size| usize::try_from(size.as_u64()?).ok()).collect::<Option<_>>()?;
        Some(Tensor { name, dtype: info["dtype"].clone(), shape, data: data.get(offset(0)?..offset(1)?)?.to_vec() })
    };
    Some((header.into_iter().map(tensor).collect::<Option<_>>()?, metadata))
}

fn serialized(tensors: Vec<Tensor>, metadata: Map<String, Value>) -> Vec<u8> {
    let (mut header, mut data) = (Map::new(), Vec::new());
    if !metadata.is_empty() {
        header.insert("__metadata__".to_owned(), metadata.into());
    }
    for Tensor { name, dtype, shape, data: own } in tensors {
        let start = data.len();
        data.extend(own);
        header.insert(name, serde_json::json!({ "dtype": dtype, "shape": shape, "data_offsets": [start, data.len()] }));
    }
    let header = Value::from(header).to_string();
    [&(header.len() as u64).to_le_bytes(), header.as_bytes(), &data].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changed_files_are_read_back() {
        let seed = include_bytes!("../seeds/index/i.safetensors");
        let (tensors, metadata) = parsed(seed).expect("an index");
        assert_eq!((tensors.len(), metadata.len()), (3, 1));
        let again = serialized(tensors, metadata);
        assert_eq!(parsed(&again).expect("a file").0.len(), 3);
        let mut random = Random::new(1);
        let files: Vec<_> = (0..200).filter_map(|_| changed(seed, &mut random)).collect();
        assert!(files.len() > 100 && files.iter().all(|file| parsed(file).is_some()));
        assert!(changed(b"no such file", &mut random).is_none());
    }
}
