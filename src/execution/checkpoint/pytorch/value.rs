//! Values of a pickle. Containers lie in one list and refer to each other by their places in it: however deep, shared or circular they are, nothing
//! is copied, and nothing recurses.

use super::global::Global;
use super::view::{Storage, View};
use super::{Parsed, quoted};
use std::collections::HashMap;

/// Axes of a tensor, at most; any model's have fewer.
const MOST_AXES: usize = 8;

/// A value, which borrows its text from the pickle.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value<'a> {
    None,
    Bool(bool),
    Int(i64),
    /// Integer beyond 64 bits: little-endian two's complement.
    Long(&'a [u8]),
    /// A number that no tensor depends on.
    Float,
    Text(&'a str),
    Global(Global),
    /// Place in the heap.
    Node(usize),
}

/// A container, or the result of a call.
#[derive(Debug)]
pub enum Node<'a> {
    Tuple(Vec<Value<'a>>),
    List(Vec<Value<'a>>),
    Dict(Vec<(Value<'a>, Value<'a>)>),
    Storage(Box<Storage<'a>>),
    /// Arguments of `_rebuild_tensor_v2`: the place of a tuple.
    Tensor(usize),
    /// An `argparse.Namespace`, whose attributes are of no use here.
    Namespace,
}

/// All containers of a pickle.
#[derive(Debug, Default)]
pub struct Heap<'a> {
    nodes: Vec<Node<'a>>,
}

impl<'a> Heap<'a> {
    /// Adds a container.
    pub fn add(&mut self, node: Node<'a>) -> Value<'a> {
        self.nodes.push(node);
        Value::Node(self.nodes.len() - 1)
    }

    /// Returns the container that a value refers to.
    pub fn node(&self, value: Value<'a>) -> Option<&Node<'a>> {
        match value {
            Value::Node(place) => self.nodes.get(place),
            _ => None,
        }
    }

    /// Returns the container that a value refers to, to be changed.
    pub fn node_mut(&mut self, value: Value<'a>) -> Option<&mut Node<'a>> {
        match value {
            Value::Node(place) => self.nodes.get_mut(place),
            _ => None,
        }
    }

    /// Returns the items of a tuple.
    pub fn tuple(&self, value: Value<'a>) -> Option<&[Value<'a>]> {
        match self.node(value)? {
            Node::Tuple(items) => Some(items),
            _ => None,
        }
    }

    /// Returns the items of a list.
    pub fn list(&self, value: Value<'a>) -> Option<&[Value<'a>]> {
        match self.node(value)? {
            Node::List(items) => Some(items),
            _ => None,
        }
    }

    /// Returns the entries of a dictionary.
    pub fn dict(&self, value: Value<'a>) -> Option<&[(Value<'a>, Value<'a>)]> {
        match self.node(value)? {
            Node::Dict(entries) => Some(entries),
            _ => None,
        }
    }

    /// Returns a dictionary's value of a key.
    pub fn get(&self, dict: Value<'a>, key: &str) -> Option<Value<'a>> {
        self.dict(dict)?.iter().find(|(own, _)| *own == Value::Text(key)).map(|(_, value)| *value)
    }

    /// Returns the storages by their keys.
    pub fn storages(&self) -> Parsed<HashMap<&'a str, Storage<'a>>> {
        let mut storages = HashMap::new();
        for node in &self.nodes {
            if let Node::Storage(storage) = node
                && storages.insert(storage.key, **storage).is_some_and(|other| other != **storage)
            {
                return Err(format!("storage {}: its tensors disagree about what it holds", quoted(storage.key)));
            }
        }
        Ok(storages)
    }

    /// Returns whether a value is a tensor.
    pub fn is_tensor(&self, value: Value<'a>) -> bool {
        matches!(self.node(value), Some(Node::Tensor(_)))
    }

    /// Returns the part of a storage that a tensor is; `None` if the value is no tensor.
    pub fn view(&self, value: Value<'a>) -> Option<Parsed<View<'a>>> {
        match self.node(value)? {
            Node::Tensor(arguments) => Some(self.view_of(Value::Node(*arguments))),
            _ => None,
        }
    }

    fn view_of(&self, arguments: Value<'a>) -> Parsed<View<'a>> {
        let Some(&[storage, Value::Int(offset), shape, strides, ..]) = self.tuple(arguments) else {
            return Err("expected a storage, an offset, a shape and strides, found other arguments of _rebuild_tensor_v2".to_owned());
        };
        let Some(Node::Storage(storage)) = self.node(storage) else {
            return Err("expected a storage, found another argument of _rebuild_tensor_v2".to_owned());
        };
        let sizes = |value: Value<'a>, what: &str| -> Parsed<Vec<usize>> {
            let items = self.tuple(value).filter(|items| items.len() <= MOST_AXES);
            let items = items.ok_or_else(|| format!("expected {what} as a tuple of at most {MOST_AXES} numbers, found something else"))?;
            items.iter().map(|&item| size(item, what)).collect()
        };
        let (shape, strides) = (sizes(shape, "a shape")?, sizes(strides, "strides")?);
        if shape.len() != strides.len() {
            return Err(format!("expected a stride for each of {} axes, found {}", shape.len(), strides.len()));
        }
        Ok(View { storage: **storage, offset: size(Value::Int(offset), "an offset")?, shape, strides })
    }
}

/// Returns a number that counts something.
pub fn size(value: Value<'_>, what: &str) -> Parsed<usize> {
    match value {
        Value::Int(size) => usize::try_from(size).map_err(|_| format!("expected {what} of whole numbers from 0, found {size}")),
        _ => Err(format!("expected {what} of whole numbers from 0, found something else")),
    }
}
