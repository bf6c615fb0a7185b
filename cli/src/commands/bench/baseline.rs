//! Baseline from the JSON of an earlier run.

use super::percentiles::{Change, Paces, Percentiles};
use crate::commands::{Result, note};
use clap::Args;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use vitraux::Precision;
use vitraux::config::{Config, Size};
use vitraux::low_level::read;

/// Bytes of the file: a run writes kilobytes.
const LARGEST: u64 = 64 << 20;

/// What is compared with.
#[derive(Debug, Args)]
pub struct CompareArgs {
    /// Compare with the --format json output of an earlier run: how times have changed, and whether by more than noise
    #[arg(long, value_name = "OLD.json")]
    compare: Option<PathBuf>,
}

/// Measurements of the baseline.
pub struct Baseline {
    file: PathBuf,
    rows: Vec<(Value, Percentiles)>,
    paces: Paces,
}

/// Returns the conditions of a run for its JSON. Runs to compare should have the same.
pub fn conditions(config: &Config, device: &str, precision: Precision, size: Size) -> Value {
    let Config { name, width, depth, heads, mlp_width, .. } = config;
    let size = match size {
        Size::Image(size) => json!(size),
        Size::Sequence(tokens) | Size::Patches(tokens) => json!(tokens),
    };
    json!({
        "name": name,
        "encoder": format!("{depth} blocks of width {width}, {heads} heads, MLP {mlp_width}"),
        "device": device,
        "precision": precision.to_string(),
        "size": size,
    })
}

impl CompareArgs {
    /// Compares with this file.
    pub fn of(file: &Path) -> CompareArgs {
        CompareArgs { compare: Some(file.to_owned()) }
    }

    pub fn is_asked_for(&self) -> bool {
        self.compare.is_some()
    }

    /// Reads the rows in `list` from a run of the same model. Prints a note for each other condition that differs.
    pub fn open(&self, list: &str, conditions: &Value) -> Result<Option<Baseline>> {
        let Some(file) = &self.compare else { return Ok(None) };
        let text = read(file, LARGEST)?;
        let none = |found: &str| format!("{}: expected the output of this command with --format json, {found}", file.display());
        let runs = serde_json::Deserializer::from_slice(&text).into_iter().collect::<std::result::Result<Vec<Value>, _>>();
        let runs = runs.map_err(|error| none(&format!("found invalid JSON: {error}")))?;
        if runs.is_empty() {
            return Err(none("found an empty file").into());
        }
        // For models from transformers, the name is that of a class.
        let is_of_model = |run: &&Value| ["name", "encoder"].iter().all(|of| run[of] == conditions[of]);
        let alike = |run: &&Value| ["precision", "device", "size"].iter().filter(|of| run[of] == conditions[of]).count();
        let Some(value) = runs.iter().filter(is_of_model).max_by_key(alike) else {
            let found = &runs[0];
            return Err(none(&format!(
                "for {} {}, found that for {} {}",
                conditions["name"], conditions["encoder"], found["name"], found["encoder"]
            ))
            .into());
        };
        let Some(rows) = value[list].as_array() else { return Err(none(&format!("found no {list}")).into()) };
        for condition in ["device", "precision", "size"] {
            if value[condition] != conditions[condition] {
                note(&format!("{}: the {condition} was {} and is now {}", file.display(), value[condition], conditions[condition]));
            }
        }
        let timed = |(number, row): (usize, &Value)| {
            let times = Percentiles::of_row(row).ok_or_else(|| none(&format!("found times that violate p10 <= median <= p90 in row {}", number + 1)));
            times.map(|times| (row.clone(), times))
        };
        let rows = rows.iter().enumerate().map(timed).collect::<std::result::Result<_, _>>()?;
        let paces: Paces = serde_json::from_value(value["paces"].clone()).map_err(|error| none(&format!("found invalid paces: {error}")))?;
        if let Some(pace) = paces.iter().flatten().find(|pace| !(pace.is_finite() && **pace > 0.0)) {
            return Err(none(&format!("found a pace of {pace}")).into());
        }
        Ok(Some(Baseline { file: file.clone(), rows, paces }))
    }
}

impl Baseline {
    /// Compares times with the baseline row that has these values. Returns `None` if there is no such row.
    pub fn change(&self, keys: &[(&str, Value)], times: &Percentiles, paces: &Paces) -> Option<Change> {
        let is_it = |(row, _): &&(Value, Percentiles)| keys.iter().all(|(key, value)| row[key] == *value);
        self.rows.iter().find(is_it).map(|(_, before)| times.since(before, [paces, &self.paces]))
    }

    /// Prints the number of rows without a baseline.
    pub fn note_missing(&self, changes: &[Option<Change>]) {
        let missing = changes.iter().filter(|change| change.is_none()).count();
        if missing > 0 {
            note(&format!("{}: no baseline for {missing} of {} rows", self.file.display(), changes.len()));
        }
    }
}
