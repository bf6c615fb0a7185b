//! Measures once which kernel variant is fastest on a device, and keeps the result.

#[cfg(not(target_arch = "wasm32"))]
mod measure;
mod table;

#[cfg(all(feature = "doctor", not(target_arch = "wasm32")))]
pub(crate) use measure::fastest;

use crate::data::error::{Error, Result};
use crate::data::record::{Choices, TuningKey};
use crate::execution::device::Device;
use crate::execution::gpu::AdapterSummary;
#[cfg(not(target_arch = "wasm32"))]
use crate::execution::gpu::Progress;
use crate::execution::storage;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use table::Table;

/// A tuning table, its file, and its growth policy.
#[derive(Clone, Debug, Default)]
pub struct Tuning {
    table: Table,
    /// Measurements of this device shipped with vitraux.
    shipped: Table,
    file: Option<PathBuf>,
    /// Whether missing keys are measured when a model needs them.
    grows: bool,
    /// Time spent on such measurements so far.
    spent: Duration,
}

/// Variants measured per key at start-up: those expected to be fastest.
#[cfg(not(target_arch = "wasm32"))]
const UNASKED: usize = 4;

/// Time budget for measurements at start-up. Keys still missing use the default variant until the next start.
const PATIENCE: Duration = Duration::from_millis(500);

impl Tuning {
    /// Returns an empty tuning: every kernel uses its default variant.
    pub fn built_in() -> Tuning {
        Tuning::default()
    }

    /// Opens the device's table in the user's cache folder, like [`Tuning::kept_at`]. There is one file per adapter and driver.
    pub fn of_user(device: &Device) -> Tuning {
        match (device.gpu(), storage::cache_folder("tuning")) {
            (Some(gpu), Some(folder)) => Tuning::kept_at(folder.join(file_name(gpu.summary())), device),
            (Some(gpu), None) => Tuning { shipped: Table::shipped(gpu.summary()), ..Tuning::default() },
            (None, _) => Tuning::built_in(),
        }
    }

    /// Opens the device's table in a file, which need not exist yet. On hardware, missing keys are measured when a model needs them.
    ///
    /// Nothing is measured at start-up on software adapters, whose defaults were chosen by measurement; on the CPU; on devices without timestamps; or
    /// on devices borrowed from a host. Keys in a table shipped with vitraux, such as the one for the H200, are not measured either. A table of
    /// another device, driver or version is ignored and overwritten; a file that is no table is ignored and kept.
    pub fn kept_at(file: impl Into<PathBuf>, device: &Device) -> Tuning {
        let Some(gpu) = device.gpu() else { return Tuning::built_in() };
        let (file, summary) = (file.into(), gpu.summary());
        let mut table = Table::new(summary);
        match Table::read(&file) {
            Ok(read) if read.is_of(summary) => {
                log::debug!("{}: tuning table of this device", file.display());
                table = read;
            }
            Ok(_) => log::info!("{}: ignored, because it is for another device, driver or version", file.display()),
            Err(Error::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => log::warn!("{error:?}; ignored"),
        }
        let shipped = Table::shipped(summary);
        Tuning {
            table,
            shipped,
            file: Some(file),
            spent: Duration::ZERO,
            // Times with checks are not those of other runs.
            grows: !summary.capabilities.software && device.takes_times() && !gpu.is_borrowed() && !gpu.is_checked(),
        }
    }

    /// Opens a table from a file, such as one written by [`Tuning::save_to`], possibly on another machine. The table does not grow.
    ///
    /// # Errors
    /// [`Error::Io`] if the file cannot be read, [`Error::File`] if it is not a table.
    pub fn open(file: impl AsRef<Path>) -> Result<Tuning> {
        Ok(Tuning { table: Table::read(file.as_ref())?, ..Tuning::default() })
    }

    /// Returns the path of the table's file.
    pub fn file(&self) -> Option<&Path> {
        self.file.as_deref()
    }

    /// Returns the table's choices, for recordings.
    pub fn choices(&self) -> Choices {
        let mut choices = self.shipped.choices();
        choices.extend(self.table.choices());
        Arc::new(choices)
    }

    /// Measures missing keys within the time budget and saves the table. Returns whether any were measured.
    pub(crate) fn grow(&mut self, device: &Device, asked: &[TuningKey]) -> bool {
        let is_own = device.gpu().is_some_and(|gpu| self.table.is_of(gpu.summary()) && !gpu.is_borrowed());
        let missing: Vec<TuningKey> = asked.iter().filter(|key| !self.table.has(**key) && !self.shipped.has(**key)).copied().collect();
        if !self.grows || !is_own || missing.is_empty() || self.spent >= PATIENCE {
            return false;
        }
        for key in &missing {
            self.measure_some(device, *key);
            if self.spent >= PATIENCE {
                log::info!("{device}: variants that were not measured are chosen by rule; `vitraux tune` measures all of them");
                break;
            }
        }
        if let Err(error) = self.save() {
            log::warn!("{error:?}; the measurements are lost when this program ends");
        }
        missing.iter().any(|key| self.table.has(*key))
    }

    /// Measures the variants of a key that are expected to be fastest.
    #[cfg(not(target_arch = "wasm32"))]
    fn measure_some(&mut self, device: &Device, key: TuningKey) {
        let start = std::time::Instant::now();
        self.measure_key(device, key, UNASKED);
        self.spent += start.elapsed();
    }

    /// Does nothing: a browser's device cannot be waited for.
    #[cfg(target_arch = "wasm32")]
    fn measure_some(&mut self, _: &Device, _: TuningKey) {}

    /// Measures all variants of the given keys again. Returns the keys without a correct variant, which use the default one. `progress` receives the
    /// number of finished keys and their total.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn measure(&mut self, device: &Device, keys: &[TuningKey], progress: Progress<'_>) -> Vec<TuningKey> {
        let measured = |(i, key): (usize, &TuningKey)| {
            let is_found = self.measure_key(device, *key, usize::MAX);
            progress(i + 1, keys.len());
            (!is_found).then_some(*key)
        };
        keys.iter().enumerate().filter_map(measured).collect()
    }

    /// Measures the first `most` variants of a key. Returns whether one was correct.
    #[cfg(not(target_arch = "wasm32"))]
    fn measure_key(&mut self, device: &Device, key: TuningKey, most: usize) -> bool {
        log::info!("{device}: measuring {key}");
        let found = measure::fastest(device, key, most);
        let is_found = !found.variant.is_empty();
        if !is_found {
            log::warn!("{device}: {key}: no variant gives correct results: {:?}", found.rejected);
        }
        // Failures may be transient: without a correct variant, a key with failures is not stored.
        if is_found || !found.has_failed {
            self.table.insert(key, found);
        }
        is_found
    }

    /// Writes the table to its file, if it has one, next to the keys that other runs have added to it.
    ///
    /// # Errors
    /// [`Error::Io`] if writing fails, [`Error::File`] if there is a file that is not a table.
    pub fn save(&self) -> Result<()> {
        match &self.file {
            Some(file) if !Table::replaces(file) => {
                Err(Error::file(file, "this file is not a tuning table and is not replaced; choose another one, or delete it"))
            }
            Some(file) => {
                // Another run may have added keys since this one has read the file.
                let _lock = storage::lock_folder(file);
                let kept = Table::read(file).map_or_else(|_| self.table.clone(), |others| self.table.clone().with_keys_of(others));
                kept.write(file)
            }
            None => Ok(()),
        }
    }

    /// Writes the table to a file, whatever is there. The replacement is atomic: concurrent readers see either the old table or the new one.
    ///
    /// # Errors
    /// [`Error::Io`] if writing fails.
    pub fn save_to(&self, file: impl AsRef<Path>) -> Result<()> {
        self.table.write(file.as_ref())
    }
}

impl std::fmt::Display for Tuning {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.table.fmt(f)?;
        if self.shipped.is_empty() {
            return Ok(());
        }
        write!(f, "\nshipped with this release; used where the table above has no entry:\n{}", self.shipped)
    }
}

/// Returns the file name for an adapter and its driver.
fn file_name(AdapterSummary { name, backend, driver, .. }: &AdapterSummary) -> String {
    storage::file_name(&format!("{name} {backend} {driver}"), "json")
}
