//! Tensors of a file that `torch.save` wrote: a pickle, and the storages it refers to.
//!
//! A pickle is a program. [`machine`] runs the few operations that make dictionaries, lists, numbers and text; of the names a pickle may import,
//! [`global`] knows those that rebuild tensors, and everything else is an error. Nothing outside this module is called.

mod archive;
mod global;
mod legacy;
mod machine;
mod opcode;
mod value;
mod view;

use super::kind::Kind;
use super::memory::{Contents, Stored};

use crate::data::error::{Error, Result};
use std::collections::HashMap;
use std::ops::Range;
use std::path::Path;
use value::{Heap, Value};

/// Bytes of a pickle, at most: those of a hundred thousand tensors.
const LARGEST_PICKLE: usize = 16 << 20;

/// Bytes that show what a file is.
const START: usize = 32;

/// Keys under which training programs save the weights beside other things.
const NESTED: [&str; 4] = ["state_dict", "model", "model_state_dict", "teacher"];

/// Keys under which timm saves the weights' moving averages.
const AVERAGED: [&str; 2] = ["state_dict_ema", "model_ema"];

/// How often the bytes of a file may be used by tensors, which may share them; and bytes on top of that.
const SHARED: usize = 4;
const UNSHARED: usize = 16 << 20;

/// What a pickle is, or why it is refused.
type Parsed<T> = std::result::Result<T, String>;

/// Where storages are in a file, by their keys.
type Places = HashMap<String, Range<usize>>;

/// Finds the tensors; with `averaged`, the weights' moving averages, where a training checkpoint has them.
pub fn read(path: &Path, contents: &Contents, averaged: bool) -> Result<HashMap<String, Stored>> {
    let damaged = |message: String| Error::file(path, message);
    let start = contents.read(0..contents.len().min(START))?;
    let mut heap = Heap::default();
    match Kind::of(&start) {
        Some(Kind::TorchZip) => {
            let (pickle, places) = archive::read(path, contents)?;
            let (root, _) = machine::run(&mut heap, &pickle).map_err(damaged)?;
            tensors(&heap, root, averaged, &places, contents).map_err(damaged)
        }
        Some(Kind::Pickle) => {
            let start = contents.read(0..contents.len().min(LARGEST_PICKLE))?;
            let (root, places) = legacy::read(&mut heap, &start, path, contents)?;
            tensors(&heap, root, averaged, &places, contents).map_err(damaged)
        }
        Some(kind @ (Kind::LfsPointer | Kind::WebPage)) => Err(Error::file(path, kind.advice())),
        None => Err(Error::file(path, "not a file that torch.save wrote; download it again")),
    }
}

/// Returns the tensors of a state dictionary, which is the saved value or in it.
fn tensors<'a>(heap: &Heap<'a>, root: Value<'a>, averaged: bool, places: &Places, contents: &Contents) -> Parsed<HashMap<String, Stored>> {
    heap.storages()?;
    let entries = state_dict(heap, root, averaged)?;
    let mut left = SHARED * contents.len() + UNSHARED;
    let mut tensors = HashMap::new();
    for &(name, value) in entries {
        // Epochs, options and the like.
        let Some(view) = heap.view(value) else { continue };
        let Value::Text(name) = name else { return Err("expected the name of a tensor as text, found something else".to_owned()) };
        let wrong = |message: String| format!("tensor {}: {message}", quoted(name));
        let view = view.map_err(wrong)?;
        let place =
            places.get(view.storage.key).ok_or_else(|| wrong(format!("storage {} is missing; download it again", quoted(view.storage.key))))?;
        let bytes = view.bytes();
        let stored = view.stored(contents, place).map_err(wrong)?;
        left = left.checked_sub(bytes).ok_or_else(|| wrong("the tensors share many times the file's bytes, which weights do not".to_owned()))?;
        if tensors.insert(name.to_owned(), stored).is_some() {
            return Err(wrong("there are two of this name".to_owned()));
        }
    }
    Ok(tensors)
}

/// Returns the entries of the dictionary that holds the tensors.
fn state_dict<'h, 'a>(heap: &'h Heap<'a>, root: Value<'a>, averaged: bool) -> Parsed<&'h [(Value<'a>, Value<'a>)]> {
    let first: &[&str] = if averaged { &AVERAGED } else { &[] };
    let [averages, nested] = [first, &NESTED].map(|keys| keys.iter().filter_map(|key| heap.get(root, key)));
    let dicts = averages.chain([root]).chain(nested).filter_map(|value| heap.dict(value));
    let found = dicts.into_iter().find(|entries| entries.iter().any(|(_, value)| heap.is_tensor(*value)));
    found.ok_or_else(|| format!("expected a dictionary of tensors, itself or under one of the keys {}, found none", NESTED.join(", ")))
}

/// Returns text of a file for a message: on one line, and not all of it if it is long.
fn quoted(text: &str) -> String {
    const LONGEST: usize = 80;
    match text.char_indices().nth(LONGEST) {
        None => format!("{text:?}"),
        Some((end, _)) => format!("{:?}…", &text[..end]),
    }
}
