//! Names that a checkpoint may use, and what a call of each returns. Nothing is imported or run.

use super::value::{Heap, Node, Value};
use super::view::{Element, Storage};
use super::{Parsed, quoted};

/// A class or function of Python's.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Global {
    OrderedDict,
    Namespace,
    Size,
    RebuildTensor,
    RebuildParameter,
    Storage(Element),
}

impl Global {
    /// Returns what a name stands for.
    pub fn find(module: &str, name: &str) -> Parsed<Global> {
        let known = match (module, name) {
            ("collections", "OrderedDict") => Some(Global::OrderedDict),
            ("argparse", "Namespace") => Some(Global::Namespace),
            ("torch", "Size") => Some(Global::Size),
            ("torch._utils", "_rebuild_tensor_v2") => Some(Global::RebuildTensor),
            ("torch._utils", "_rebuild_parameter") => Some(Global::RebuildParameter),
            ("torch", storage) => Element::of_storage(storage).map(Global::Storage),
            _ => None,
        };
        known.ok_or_else(|| {
            format!(
                "{} is not allowed in a checkpoint, and nothing was run; save only tensors: torch.save(model.state_dict(), file)",
                quoted(&format!("{module}.{name}"))
            )
        })
    }
}

/// Returns what `function(*arguments)` is.
pub fn call<'a>(heap: &mut Heap<'a>, function: Value<'a>, arguments: Value<'a>) -> Parsed<Value<'a>> {
    let items = heap.tuple(arguments).ok_or("a call without a tuple of arguments")?;
    match (function, items, arguments) {
        (Value::Global(Global::OrderedDict), [], _) => Ok(heap.add(Node::Dict(Vec::new()))),
        (Value::Global(Global::Size), &[sizes], _) if heap.tuple(sizes).is_some() => Ok(sizes),
        (Value::Global(Global::RebuildTensor), _, Value::Node(place)) => Ok(heap.add(Node::Tensor(place))),
        (Value::Global(Global::RebuildParameter), &[tensor, ..], _) if heap.is_tensor(tensor) => Ok(tensor),
        (Value::Global(global), ..) => Err(format!("a call of {global:?} with {} arguments is not allowed in a checkpoint", items.len())),
        _ => Err("a call of something that is no function".to_owned()),
    }
}

/// Returns what `class.__new__(class, *arguments)` is.
pub fn instance<'a>(heap: &mut Heap<'a>, class: Value<'a>, arguments: Value<'a>) -> Parsed<Value<'a>> {
    match (class, heap.tuple(arguments)) {
        (Value::Global(Global::Namespace), Some([])) => Ok(heap.add(Node::Namespace)),
        (Value::Global(Global::OrderedDict), Some([])) => Ok(heap.add(Node::Dict(Vec::new()))),
        _ => Err("expected no objects but dictionaries and argparse.Namespace, found another".to_owned()),
    }
}

/// Returns the storage that a persistent id names: `("storage", class, key, device, elements)`.
pub fn persistent<'a>(heap: &mut Heap<'a>, id: Value<'a>) -> Parsed<Value<'a>> {
    let (element, key, count) = match heap.tuple(id) {
        Some(&[Value::Text("storage"), Value::Global(Global::Storage(element)), Value::Text(key), Value::Text(_), Value::Int(count)])
        | Some(
            &[Value::Text("storage"), Value::Global(Global::Storage(element)), Value::Text(key), Value::Text(_), Value::Int(count), Value::None],
        ) => (element, key, count),
        _ => return Err("expected a persistent id (\"storage\", class, key, device, elements), found another".to_owned()),
    };
    let len = usize::try_from(count).ok().filter(|count| count.checked_mul(element.size()).is_some());
    let len = len.ok_or_else(|| format!("storage {}: {count} elements cannot be", quoted(key)))?;
    Ok(heap.add(Node::Storage(Box::new(Storage { element, key, len }))))
}
