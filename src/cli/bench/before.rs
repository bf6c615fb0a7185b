//! What an earlier run has measured, from its JSON.

use super::times::{Change, Paces, Times};
use crate::cli::{Result, note};
use clap::Args;
use serde_json::Value;
use std::path::PathBuf;

/// What is compared with.
#[derive(Debug, Args)]
pub struct CompareArgs {
    /// Compare with what an earlier run has written by --format json: how times have changed, and whether by more than noise
    #[arg(long, value_name = "OLD.json")]
    compare: Option<PathBuf>,
}

/// Earlier measurements.
pub struct Before {
    file: PathBuf,
    rows: Vec<Value>,
    paces: Paces,
}

impl CompareArgs {
    /// Reads them: the rows below `list`, of a run of the same model.
    pub fn open(&self, list: &str, name: &str, device: &str) -> Result<Option<Before>> {
        let Some(file) = &self.compare else { return Ok(None) };
        let text = std::fs::read(file).map_err(|error| format!("{}: {error}", file.display()))?;
        let none = |found: &str| format!("{}: expected what this command writes with --format json, {found}", file.display());
        let value: Value = serde_json::from_slice(&text).map_err(|error| none(&format!("found no JSON: {error}")))?;
        let Some(rows) = value[list].as_array() else { return Err(none(&format!("found no {list}")).into()) };
        if value["name"] != name {
            return Err(format!("{}: it is of {}, not of {name}", file.display(), value["name"]).into());
        }
        if value["device"] != device {
            note(&format!("{}: measured on another device: {}", file.display(), value["device"]));
        }
        Ok(Some(Before { file: file.clone(), rows: rows.clone(), paces: serde_json::from_value(value["paces"].clone()).unwrap_or_default() }))
    }
}

impl Before {
    /// What has become of the times of the row that has these values; nothing if that run has not measured it.
    pub fn change(&self, keys: &[(&str, Value)], times: &Times, paces: &Paces) -> Result<Option<Change>> {
        let is_it = |row: &&Value| keys.iter().all(|(key, value)| row[key] == *value);
        let Some(row) = self.rows.iter().find(is_it) else { return Ok(None) };
        let before = Times::of_row(row).ok_or_else(|| format!("{}: expected times in order, found {row}", self.file.display()))?;
        Ok(Some(times.since(&before, [paces, &self.paces])))
    }
}
