//! Typed access to the fields of a configuration file, with errors that name the file and the field.

use crate::data::error::{Error, Result};
use crate::execution::storage;
use serde_json::{Map, Value};
use std::path::{Path, PathBuf};

/// Largest size accepted from a configuration: above any real one, and small enough that the product of three sizes
/// fits in 64 bits.
const LARGEST: u64 = 1 << 20;

/// Maximum bytes of a configuration or an index. The names of ImageNet-21k's classes take 2 MiB; parsed, JSON can take a
/// hundred times its size.
pub const LARGEST_JSON: u64 = 8 << 20;

/// Maximum number of arrays and objects, each of which takes hundreds of bytes, whatever it holds; and configurations are copied.
const MOST: usize = 1 << 16;

/// A JSON object in a file.
#[derive(Clone, Debug)]
pub struct Object {
    path: PathBuf,
    /// Prefix of field names in messages: empty, or such as `pretrained_cfg.`.
    prefix: String,
    fields: Map<String, Value>,
}

impl Object {
    /// Parses the text of a file.
    pub fn parse(path: &Path, text: &[u8]) -> Result<Object> {
        if text.len() as u64 > LARGEST_JSON {
            return Err(storage::too_large(path, LARGEST_JSON));
        }
        if text.iter().filter(|byte| matches!(byte, b'{' | b'[')).count() > MOST {
            return Err(Error::file(path, format!("more than {MOST} arrays and objects, which no such file should have")));
        }
        // Windows editors prepend a byte-order mark.
        let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
        match serde_json::from_slice(text) {
            Ok(Value::Object(fields)) => Ok(Object { path: path.to_owned(), prefix: String::new(), fields }),
            Ok(other) => Err(Error::file(path, format!("expected a JSON object, found {}", kind(&other)))),
            Err(_) if text.is_empty() => Err(Error::file(path, "the file is empty; download it again")),
            Err(error) => Err(Error::file(path, format!("not valid JSON: {error}"))),
        }
    }

    /// Parses a file, if it exists.
    pub fn open(path: &Path) -> Result<Option<Object>> {
        match storage::read(path, LARGEST_JSON) {
            Err(Error::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => Ok(None),
            text => Object::parse(path, &text?).map(Some),
        }
    }

    /// Path of the file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns an error about this file.
    pub fn error(&self, message: impl Into<String>) -> Error {
        Error::file(&self.path, message)
    }

    /// Returns an error about a field.
    pub fn wrong(&self, key: &str, expected: &str) -> Error {
        let found = self.fields.get(key).map_or("nothing".to_owned(), |value| abbreviated(&value.to_string()));
        self.error(format!("{}{key}: expected {expected}, found {found}", self.prefix))
    }

    /// Returns the error for a field value that vitraux does not support.
    pub fn unsupported(&self, key: &str, supported: &str) -> Error {
        let found = self.fields.get(key).map_or("nothing".to_owned(), |value| abbreviated(&value.to_string()));
        Error::unsupported(&self.path, format!("{}{key} = {found} is not supported; supported: {supported}", self.prefix))
    }

    /// Names of the fields.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.fields.keys().map(String::as_str)
    }

    /// Returns a field, unless it is absent or null.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.fields.get(key).filter(|value| !value.is_null())
    }

    /// Whether a field is present, even if null.
    pub fn has(&self, key: &str) -> bool {
        self.fields.contains_key(key)
    }

    /// Returns these fields, overridden by those of `over`.
    pub fn overlaid(mut self, over: &Object) -> Object {
        self.fields.extend(over.fields.clone());
        self
    }

    /// Returns these fields with one replaced.
    pub fn with(mut self, key: &str, value: Value) -> Object {
        self.fields.insert(key.to_owned(), value);
        self
    }

    /// Returns these fields, with `path` and the prefix `what` in messages.
    pub fn located(self, path: &Path, what: &str) -> Object {
        Object { path: path.to_owned(), prefix: what.to_owned(), ..self }
    }

    /// Reads a nested object.
    pub fn object(&self, key: &str) -> Result<Option<Object>> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::Object(fields)) => {
                Ok(Some(Object { path: self.path.clone(), prefix: format!("{}{key}.", self.prefix), fields: fields.clone() }))
            }
            Some(_) => Err(self.wrong(key, "an object")),
        }
    }

    /// Reads a string.
    pub fn string(&self, key: &str) -> Result<Option<&str>> {
        self.typed(key, "a string", Value::as_str)
    }

    /// Reads a boolean.
    pub fn bool(&self, key: &str) -> Result<Option<bool>> {
        self.typed(key, "true or false", Value::as_bool)
    }

    /// Reads a finite number.
    pub fn number(&self, key: &str) -> Result<Option<f64>> {
        self.typed(key, "a number", Value::as_f64)
    }

    /// Reads a size that may be 0.
    pub fn count(&self, key: &str) -> Result<Option<usize>> {
        self.typed(key, "a whole number from 0 to 1048576", |value| value.as_u64().filter(|&size| size <= LARGEST).map(|size| size as usize))
    }

    /// Reads a size.
    pub fn size(&self, key: &str) -> Result<Option<usize>> {
        self.typed(key, "a whole number from 1 to 1048576", size)
    }

    /// Reads a height and a width, given as one number or two.
    pub fn pair(&self, key: &str) -> Result<Option<[usize; 2]>> {
        self.typed(key, "a size or [height, width]", |value| match value {
            Value::Array(pair) if pair.len() == 2 => Some([size(&pair[0])?, size(&pair[1])?]),
            other => size(other).map(|side| [side, side]),
        })
    }

    /// Reads numbers, given as one or as a list.
    pub fn numbers(&self, key: &str) -> Result<Option<Vec<f64>>> {
        self.typed(key, "a number or a list of numbers", |value| match value {
            Value::Array(list) => list.iter().map(Value::as_f64).collect(),
            other => Some(vec![other.as_f64()?]),
        })
    }

    /// Reads class names from a list, or from an object whose keys are class indices.
    pub fn labels(&self, key: &str) -> Result<Option<Vec<String>>> {
        let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        self.typed(key, "a list of names, or an object that maps numbers to names", |value| match value {
            Value::Array(list) => Some(list.iter().map(text).collect()),
            // The object's size is the number of classes; missing indices get placeholders.
            Value::Object(map) => {
                let name = |index: usize| map.get(&index.to_string()).map_or_else(|| format!("LABEL_{index}"), text);
                Some((0..map.len()).map(name).collect())
            }
            _ => None,
        })
    }

    fn typed<'a, T>(&'a self, key: &str, expected: &str, read: impl Fn(&'a Value) -> Option<T>) -> Result<Option<T>> {
        match self.get(key) {
            None => Ok(None),
            Some(value) => read(value).map(Some).ok_or_else(|| self.wrong(key, expected)),
        }
    }
}

fn size(value: &Value) -> Option<usize> {
    value.as_u64().filter(|size| (1..=LARGEST).contains(size)).map(|size| size as usize)
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

fn abbreviated(text: &str) -> String {
    match text.char_indices().nth(80) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}…", &text[..end]),
    }
}
