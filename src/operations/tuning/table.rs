//! The tuning table as JSON that a person can read, ship and edit.

use crate::data::error::{Error, Result};
use crate::data::record::TuningKey;
use crate::execution::gpu::AdapterSummary;
use crate::execution::storage;
use crate::operations::kernels::ALL;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;

/// Tables measured before a release: adapter, backend and JSON.
const SHIPPED: &[(&str, &str, &str)] = &[("NVIDIA H200", "Vulkan", include_str!("shipped/nvidia-h200.json"))];

/// Maximum size of a table file: far more than any model needs.
const LARGEST_FILE: u64 = 16 * 1024 * 1024;

/// Measurements of a device by tuning key.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Table {
    /// The vitraux version that measured it; other versions may have other variants.
    vitraux: String,
    /// The adapter and its driver.
    adapter: String,
    keys: BTreeMap<String, Found>,
}

/// Measurements for one key.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Found {
    /// The fastest correct variant; empty if none is correct, in which case the default variant is used.
    pub variant: String,
    /// Milliseconds of each correct variant.
    pub milliseconds: BTreeMap<String, f64>,
    /// Reasons why the other variants were rejected.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub rejected: BTreeMap<String, String>,
    /// Whether a variant failed to run, so that its correctness is unknown.
    #[serde(skip)]
    pub has_failed: bool,
}

impl Table {
    /// Creates an empty table for an adapter.
    pub fn new(adapter: &AdapterSummary) -> Table {
        Table { vitraux: env!("CARGO_PKG_VERSION").to_owned(), adapter: adapter.to_string(), keys: BTreeMap::new() }
    }

    /// Returns the shipped table of an adapter, whatever its driver; empty for most.
    pub fn shipped(adapter: &AdapterSummary) -> Table {
        let found = SHIPPED.iter().find(|(name, backend, _)| (*name, *backend) == (&adapter.name, &adapter.backend));
        found.map_or_else(|| Table::new(adapter), |(.., text)| serde_json::from_str(text).expect("a shipped table is one, as a test holds"))
    }

    pub fn read(file: &Path) -> Result<Table> {
        let text = storage::read(file, LARGEST_FILE)?;
        serde_json::from_slice(&text).map_err(|error| Error::file(file, format!("expected a tuning table written by `vitraux tune`: {error}")))
    }

    /// Returns whether nothing would be lost if a table replaced this file: it does not exist, is empty, or is a table, maybe of another version.
    pub fn replaces(file: &Path) -> bool {
        match storage::read(file, LARGEST_FILE) {
            Ok(text) if text.is_empty() => true,
            Ok(text) => serde_json::from_slice(&text).is_ok_and(|table: serde_json::Value| table["vitraux"].is_string()),
            Err(Error::Io { source, .. }) => source.kind() == std::io::ErrorKind::NotFound,
            Err(_) => false,
        }
    }

    /// Adds the keys of another table of the same adapter, driver and version that this one lacks.
    pub fn with_keys_of(mut self, others: Table) -> Table {
        if (&self.vitraux, &self.adapter) == (&others.vitraux, &others.adapter) {
            others.keys.into_iter().for_each(|(key, found)| {
                self.keys.entry(key).or_insert(found);
            });
        }
        self
    }

    pub fn write(&self, file: &Path) -> Result<()> {
        let mut text = serde_json::to_string_pretty(self).expect("names and numbers are JSON");
        text.push('\n');
        storage::write(file, text.as_bytes())
    }

    /// Returns whether the table was measured on this adapter, with this driver and this version of vitraux.
    pub fn is_of(&self, adapter: &AdapterSummary) -> bool {
        let own = Table::new(adapter);
        (&self.vitraux, &self.adapter) == (&own.vitraux, &own.adapter)
    }

    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Returns whether a key has a usable result: an existing variant, or the finding that none is correct.
    pub fn has(&self, key: TuningKey) -> bool {
        let counts = |found: &Found| found.variant.is_empty() || ALL.iter().any(|kernel| kernel.name == found.variant);
        self.keys.get(&key.to_string()).is_some_and(counts)
    }

    #[cfg(not(target_arch = "wasm32"))]
    pub fn insert(&mut self, key: TuningKey, found: Found) {
        self.keys.insert(key.to_string(), found);
    }

    /// Returns the chosen variant of each key.
    pub fn choices(&self) -> BTreeMap<String, String> {
        let found = self.keys.iter().filter(|(_, found)| !found.variant.is_empty());
        found.map(|(key, found)| (key.clone(), found.variant.clone())).collect()
    }
}

impl std::fmt::Display for Table {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "{}", self.adapter)?;
        for (key, Found { variant, milliseconds, rejected, .. }) in &self.keys {
            writeln!(f, "{key}")?;
            let mut order: Vec<_> = milliseconds.iter().collect();
            order.sort_by(|a, b| a.1.total_cmp(b.1));
            for (name, milliseconds) in order {
                writeln!(f, "  {} {name:<40} {milliseconds:>12.4} ms", if name == variant { '*' } else { ' ' })?;
            }
            for (name, reason) in rejected {
                writeln!(f, "    {name:<40} rejected: {reason}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::capabilities::{Capabilities, Precision};

    #[test]
    fn shipped_tables_name_only_existing_variants() {
        for (name, _, text) in SHIPPED {
            let table: Table = serde_json::from_str(text).expect("it is a table");
            assert!(table.adapter.starts_with(name), "{name}");
            let names = table.keys.values().flat_map(|found| found.milliseconds.keys().chain([&found.variant]));
            names.for_each(|name| assert!(ALL.iter().any(|kernel| kernel.name == name), "{name}"));
        }
    }

    #[test]
    fn key_without_correct_variant_is_known_but_unchosen() {
        let key = |m| TuningKey::product([m, 64, 32], [Precision::F32; 2], &Capabilities::CPU);
        let mut table = Table::default();
        let found = |variant: &str| Found { variant: variant.to_owned(), ..Found::default() };
        for (m, variant) in [(1, ""), (2, "matmul_skinny"), (4, "matmul_of_tomorrow")] {
            table.insert(key(m), found(variant));
        }
        assert_eq!([1, 2, 4, 8].map(|m| table.has(key(m))), [true, true, false, false]);
        let choices = table.choices();
        assert_eq!([1, 2].map(|m| choices.get(&key(m).to_string()).map(String::as_str)), [None, Some("matmul_skinny")]);
    }
}
