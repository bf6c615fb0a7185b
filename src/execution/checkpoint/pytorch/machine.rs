//! The part of pickle's machine that torch's files need. It builds values; nothing is imported or run.
//!
//! Source: CPython's `pickle.py` and `pickletools.py`, protocols 2 to 5.

use super::global::{self, Global};
use super::opcode::{self, *};
use super::value::{Heap, Node, Value};
use super::{Parsed, quoted};
use std::collections::HashMap;

/// Operations of a pickle, at most: those of ten thousand tensors. Each makes at most one value, so memory is bounded too.
const MOST_OPERATIONS: usize = 1 << 19;

/// Runs the pickle at the start of `bytes`. Returns its value and its length.
pub fn run<'a>(heap: &mut Heap<'a>, bytes: &'a [u8]) -> Parsed<(Value<'a>, usize)> {
    let mut machine = Machine { bytes, place: 0, heap, stack: Vec::new(), marks: Vec::new(), memo: HashMap::new() };
    for _ in 0..MOST_OPERATIONS {
        let place = machine.place;
        let code = machine.array::<1>()?[0];
        let end = machine.step(code).map_err(|error| format!("{} at byte {place} of its pickle: {error}", opcode::name(code)))?;
        if let Some(value) = end {
            return Ok((value, machine.place));
        }
    }
    Err(format!("its pickle has more than {MOST_OPERATIONS} operations, which no checkpoint needs"))
}

struct Machine<'a, 'h> {
    bytes: &'a [u8],
    place: usize,
    heap: &'h mut Heap<'a>,
    stack: Vec<Value<'a>>,
    /// Heights of the stack at the marks.
    marks: Vec<usize>,
    memo: HashMap<u64, Value<'a>>,
}

impl<'a> Machine<'a, '_> {
    /// Runs an operation. Returns the pickle's value if it was the last.
    fn step(&mut self, code: u8) -> Parsed<Option<Value<'a>>> {
        match code {
            STOP => return self.end().map(Some),
            PROTO => self.protocol()?,
            // A hint for readers of streams.
            FRAME => drop(self.array::<8>()?),
            MARK => self.marks.push(self.stack.len()),
            NONE => self.stack.push(Value::None),
            NEWTRUE => self.stack.push(Value::Bool(true)),
            NEWFALSE => self.stack.push(Value::Bool(false)),
            BININT => {
                let int = i32::from_le_bytes(self.array()?);
                self.stack.push(Value::Int(int.into()));
            }
            BININT1 | BININT2 => {
                let int = self.count(if code == BININT1 { 1 } else { 2 })?;
                self.stack.push(Value::Int(int as i64));
            }
            LONG1 | LONG4 => {
                let len = self.count(if code == LONG1 { 1 } else { 4 })?;
                let long = int(self.take(len)?);
                self.stack.push(long);
            }
            BINFLOAT => {
                self.array::<8>()?;
                self.stack.push(Value::Float);
            }
            SHORT_BINUNICODE | SHORT_BINSTRING => self.text(1)?,
            BINUNICODE | BINSTRING => self.text(4)?,
            BINUNICODE8 => self.text(8)?,
            EMPTY_LIST => self.add(Node::List(Vec::new())),
            EMPTY_DICT => self.add(Node::Dict(Vec::new())),
            EMPTY_TUPLE => self.tuple(0)?,
            TUPLE1 => self.tuple(1)?,
            TUPLE2 => self.tuple(2)?,
            TUPLE3 => self.tuple(3)?,
            TUPLE => {
                let items = self.marked()?;
                self.add(Node::Tuple(items));
            }
            APPEND => {
                let item = self.pop()?;
                self.append([item])?;
            }
            APPENDS => {
                let items = self.marked()?;
                self.append(items)?;
            }
            SETITEM => {
                let (value, key) = (self.pop()?, self.pop()?);
                self.insert(&[key, value])?;
            }
            SETITEMS => {
                let entries = self.marked()?;
                self.insert(&entries)?;
            }
            BINGET | LONG_BINGET => {
                let key = self.count(if code == BINGET { 1 } else { 4 })?;
                let value = *self.memo.get(&key).ok_or_else(|| format!("nothing is stored under {key}"))?;
                self.stack.push(value);
            }
            BINPUT | LONG_BINPUT => {
                let key = self.count(if code == BINPUT { 1 } else { 4 })?;
                self.memo.insert(key, self.top()?);
            }
            MEMOIZE => drop(self.memo.insert(self.memo.len() as u64, self.top()?)),
            GLOBAL => {
                let (module, name) = (self.line()?, self.line()?);
                self.stack.push(Value::Global(Global::find(module, name)?));
            }
            STACK_GLOBAL => match (self.pop()?, self.pop()?) {
                (Value::Text(name), Value::Text(module)) => self.stack.push(Value::Global(Global::find(module, name)?)),
                _ => return Err("expected two texts, found something else".to_owned()),
            },
            REDUCE | NEWOBJ => {
                let (arguments, function) = (self.pop()?, self.pop()?);
                let result = if code == REDUCE { global::call } else { global::instance }(self.heap, function, arguments)?;
                self.stack.push(result);
            }
            BUILD => self.build()?,
            BINPERSID => {
                let id = self.pop()?;
                let storage = global::persistent(self.heap, id)?;
                self.stack.push(storage);
            }
            _ => return Err("not allowed in a checkpoint, and nothing was run".to_owned()),
        }
        Ok(None)
    }

    fn protocol(&mut self) -> Parsed<()> {
        match self.array()? {
            [2..=5] => Ok(()),
            [other] => Err(format!("expected protocol 2 to 5, found {other}")),
        }
    }

    fn end(&mut self) -> Parsed<Value<'a>> {
        match (self.stack.as_slice(), self.marks.as_slice()) {
            (&[value], []) => Ok(value),
            _ => Err(format!("expected one value at the end, found {} and {} marks", self.stack.len(), self.marks.len())),
        }
    }

    /// Sets attributes, of which none matters here.
    fn build(&mut self) -> Parsed<()> {
        self.pop()?;
        match self.heap.node(self.top()?) {
            Some(Node::Dict(_) | Node::Namespace) => Ok(()),
            _ => Err("expected a dictionary or an argparse.Namespace, found something else".to_owned()),
        }
    }

    fn add(&mut self, node: Node<'a>) {
        let value = self.heap.add(node);
        self.stack.push(value);
    }

    fn tuple(&mut self, len: usize) -> Parsed<()> {
        let start = self.stack.len().checked_sub(len).filter(|&start| start >= self.floor()).ok_or_else(too_few)?;
        let items = self.stack.split_off(start);
        self.add(Node::Tuple(items));
        Ok(())
    }

    fn append(&mut self, items: impl IntoIterator<Item = Value<'a>>) -> Parsed<()> {
        let list = self.top()?;
        match self.heap.node_mut(list) {
            Some(Node::List(own)) => {
                own.extend(items);
                Ok(())
            }
            _ => Err("expected a list, found something else".to_owned()),
        }
    }

    fn insert(&mut self, entries: &[Value<'a>]) -> Parsed<()> {
        let dict = self.top()?;
        match self.heap.node_mut(dict) {
            Some(Node::Dict(own)) if entries.len().is_multiple_of(2) => {
                own.extend(entries.chunks_exact(2).map(|entry| (entry[0], entry[1])));
                Ok(())
            }
            Some(Node::Dict(_)) => Err("a key without a value".to_owned()),
            _ => Err("expected a dictionary, found something else".to_owned()),
        }
    }

    /// Height below which the stack belongs to others.
    fn floor(&self) -> usize {
        self.marks.last().copied().unwrap_or(0)
    }

    fn pop(&mut self) -> Parsed<Value<'a>> {
        let top = self.top()?;
        self.stack.pop();
        Ok(top)
    }

    fn top(&self) -> Parsed<Value<'a>> {
        self.stack[self.floor()..].last().copied().ok_or_else(too_few)
    }

    /// Takes the values above the last mark.
    fn marked(&mut self) -> Parsed<Vec<Value<'a>>> {
        let mark = self.marks.pop().ok_or("expected a mark before, found none")?;
        Ok(self.stack.split_off(mark))
    }

    fn take(&mut self, len: u64) -> Parsed<&'a [u8]> {
        let left = &self.bytes[self.place..];
        let taken =
            usize::try_from(len).ok().and_then(|len| left.get(..len)).ok_or_else(|| format!("expected {len} more bytes, found {}", left.len()))?;
        self.place += taken.len();
        Ok(taken)
    }

    fn array<const LEN: usize>(&mut self) -> Parsed<[u8; LEN]> {
        Ok(self.take(LEN as u64)?.try_into().expect("as many bytes as asked for"))
    }

    /// Reads a little-endian number without sign.
    fn count(&mut self, bytes: u64) -> Parsed<u64> {
        Ok(self.take(bytes)?.iter().rev().fold(0, |count, byte| count << 8 | u64::from(*byte)))
    }

    fn text(&mut self, bytes: u64) -> Parsed<()> {
        let len = self.count(bytes)?;
        let text = utf8(self.take(len)?)?;
        self.stack.push(Value::Text(text));
        Ok(())
    }

    fn line(&mut self) -> Parsed<&'a str> {
        let left = &self.bytes[self.place..];
        let len = left.iter().position(|byte| *byte == b'\n').ok_or("expected a line, found no end of it")?;
        self.place += len + 1;
        utf8(&left[..len])
    }
}

fn too_few() -> String {
    "expected more values on the stack, found none".to_owned()
}

fn utf8(bytes: &[u8]) -> Parsed<&str> {
    std::str::from_utf8(bytes).map_err(|_| format!("expected UTF-8, found {}", quoted(&String::from_utf8_lossy(&bytes[..bytes.len().min(80)]))))
}

/// Reads a little-endian number in two's complement.
fn int(bytes: &[u8]) -> Value<'_> {
    let sign = if bytes.last().is_some_and(|byte| *byte >= 0x80) { 0xFF } else { 0 };
    let mut padded = [sign; 8];
    match padded.get_mut(..bytes.len()) {
        Some(low) => {
            low.copy_from_slice(bytes);
            Value::Int(i64::from_le_bytes(padded))
        }
        None => Value::Long(bytes),
    }
}
