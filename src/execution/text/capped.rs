//! Lists and maps of JSON with a bound on their entries: a byte or two per entry of a file would take fifty in memory.

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use std::fmt;
use std::marker::PhantomData;

/// Maximum entries of a list or a map: twice the merges of Gemma's vocabulary.
pub const MOST: usize = 1 << 20;

/// Elements of a list.
pub struct List<T>(pub Vec<T>);

/// Entries of an object, in the file's order.
pub struct Map<T>(pub Vec<(String, T)>);

impl<T> Default for List<T> {
    fn default() -> List<T> {
        List(Vec::new())
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for List<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<List<T>, D::Error> {
        struct Elements<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Elements<T> {
            type Value = List<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "a list")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut from: A) -> Result<List<T>, A::Error> {
                let mut elements = Vec::new();
                while let Some(element) = from.next_element()? {
                    elements.push(element);
                    check(elements.len())?;
                }
                Ok(List(elements))
            }
        }
        from.deserialize_seq(Elements(PhantomData))
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Map<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Map<T>, D::Error> {
        struct Entries<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Entries<T> {
            type Value = Map<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut from: A) -> Result<Map<T>, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = from.next_entry()? {
                    entries.push(entry);
                    check(entries.len())?;
                }
                Ok(Map(entries))
            }
        }
        from.deserialize_map(Entries(PhantomData))
    }
}

fn check<E: Error>(entries: usize) -> Result<(), E> {
    match entries > MOST {
        true => Err(E::custom(format_args!("more than {MOST} entries, which no such file should have"))),
        false => Ok(()),
    }
}
