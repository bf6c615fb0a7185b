//! Compiled pipelines kept between runs, where the driver exposes them (Vulkan).

use super::context::Gpu;
#[cfg(unix)]
use crate::data::error::Error;
use crate::data::error::Result;
use crate::execution::storage;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

/// First bytes of a cache file.
const MAGIC: &[u8] = b"vitraux pipelines 1\n";

/// Largest cache file, in bytes. Caches only grow, with each version of our shaders; a larger file is ignored, and more than half of this is not
/// saved.
const LARGEST_FILE: u64 = 64 * 1024 * 1024;

/// The driver's pipeline cache and its file.
#[derive(Debug)]
pub(super) struct PipelineCache {
    cache: wgpu::PipelineCache,
    file: PathBuf,
    /// Version, adapter and driver that the pipelines belong to.
    key: String,
    /// Checksum of the data in the file.
    kept: Mutex<Option<u32>>,
}

impl PipelineCache {
    /// Opens the pipeline cache of a device with the data in a folder. Data that is damaged, or from another device, driver or version, is ignored.
    pub fn open(gpu: &Gpu, folder: &Path) -> Option<PipelineCache> {
        if !gpu.device.features().contains(wgpu::Features::PIPELINE_CACHE) {
            return None;
        }
        let summary = gpu.summary();
        let key = format!("{} {summary}", env!("CARGO_PKG_VERSION"));
        // A new driver's pipelines replace those of the old one.
        let file = folder.join(storage::file_name(&format!("{} {}", summary.name, summary.backend), "bin"));
        let kept = read(&file, &key);
        let make = |data: Option<&[u8]>| {
            let descriptor = wgpu::PipelineCacheDescriptor { label: Some("vitraux"), data, fallback: true };
            // SAFETY: the data must come from the same driver and adapter, of which wgpu's header and the driver's own tell. That it is the data they wrote,
            // no checksum can prove: it shows damage only. So it is taken only from a file and a folder that nobody but the user or the administrator
            // can write to, who could exchange this program as well.
            let made = gpu.checked("a pipeline cache", || unsafe { gpu.device.create_pipeline_cache(&descriptor) });
            // Natively nothing in it waits.
            pollster::block_on(made)
        };
        let cache = make(kept.as_deref()).or_else(|error| {
            log::info!("{}: {error}; ignored", file.display());
            make(None)
        });
        let cache = cache.map_err(|error| log::info!("{error}; compiled pipelines are not kept")).ok()?;
        Some(PipelineCache { cache, file, key, kept: Mutex::new(kept.map(|data| crc32fast::hash(&data))) })
    }

    pub fn cache(&self) -> &wgpu::PipelineCache {
        &self.cache
    }

    /// Writes the pipelines compiled so far to the file, unless it already holds them.
    pub fn save(&self) {
        let Some(data) = self.cache.get_data().filter(|data| data.len() as u64 <= LARGEST_FILE / 2) else { return };
        let sum = crc32fast::hash(&data);
        if self.kept.lock().expect("no panic while it is held").replace(sum) == Some(sum) {
            return;
        }
        if let Err(error) = write(&self.file, &self.key, &data) {
            log::info!("{error:?}; compiled pipelines are not kept");
        }
    }
}

fn write(file: &Path, key: &str, data: &[u8]) -> Result<()> {
    #[cfg(unix)]
    if let Some(folder) = file.parent() {
        use std::os::unix::fs::DirBuilderExt;
        // An existing folder keeps its mode; if others can write to it, what it has is not read.
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(Error::io(folder))?;
    }
    let head = [key.as_bytes(), b"\n", &crc32fast::hash(data).to_le_bytes()].concat();
    storage::write(file, &[MAGIC, &head, data].concat())?;
    #[cfg(unix)]
    std::fs::set_permissions(file, std::os::unix::fs::PermissionsExt::from_mode(0o600)).map_err(Error::io(file))?;
    Ok(())
}

/// Returns whether only the user, or the system's administrator, can have written a file or to a folder. A checksum shows damage, not malice.
#[cfg(unix)]
fn is_own(metadata: &std::fs::Metadata) -> bool {
    use std::os::unix::fs::MetadataExt;
    [0, rustix::process::geteuid().as_raw()].contains(&metadata.uid()) && metadata.mode() & 0o022 == 0
}

/// Other systems keep the cache folder to its user.
#[cfg(not(unix))]
fn is_own(_: &std::fs::Metadata) -> bool {
    true
}

/// Reads the data written under the same key, if it is intact.
fn read(file: &Path, key: &str) -> Option<Vec<u8>> {
    let opened = storage::open(file).ok()?;
    // The folder too: whoever can write to it can exchange the file.
    if !is_own(&opened.metadata().ok()?) || !is_own(&file.parent()?.metadata().ok()?) {
        log::warn!("{}: ignored, because others could have written it", file.display());
        return None;
    }
    let kept = storage::read_opened(opened, file, LARGEST_FILE).ok()?;
    let of_key = kept.strip_prefix(MAGIC).and_then(|rest| rest.strip_prefix(key.as_bytes())?.strip_prefix(b"\n"));
    let data = of_key.and_then(|rest| {
        let (sum, data) = rest.split_first_chunk()?;
        (crc32fast::hash(data) == u32::from_le_bytes(*sum)).then(|| data.to_vec())
    });
    if data.is_none() {
        log::info!("{}: ignored, because it is damaged or for another device, driver or version", file.display());
    }
    data
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn damaged_or_mismatched_pipeline_cache_is_ignored() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("pipelines.bin");
        assert_eq!(read(&file, "a"), None);
        write(&file, "a", b"compiled").expect("it is written");
        assert_eq!(read(&file, "a").as_deref(), Some(&b"compiled"[..]));
        assert_eq!(read(&file, "b"), None);
        let whole = std::fs::read(&file).expect("it is there");
        for place in 0..whole.len() {
            let mut damaged = whole.clone();
            damaged[place] ^= 4;
            std::fs::write(&file, &damaged).expect("it is written");
            assert_eq!(read(&file, "a"), None, "byte {place}");
            std::fs::write(&file, &whole[..place]).expect("it is written");
            assert_eq!(read(&file, "a"), None, "cut at {place}");
        }
    }

    #[test]
    #[cfg(unix)]
    fn cache_that_others_can_write_is_ignored() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("pipelines.bin");
        write(&file, "a", b"compiled").expect("it is written");
        assert_eq!(file.metadata().expect("it is there").permissions().mode() & 0o777, 0o600);
        for (mode, is_read) in [(0o644, true), (0o660, false), (0o606, false), (0o600, true)] {
            std::fs::set_permissions(&file, PermissionsExt::from_mode(mode)).expect("it is ours");
            assert_eq!(read(&file, "a").is_some(), is_read, "{mode:o}");
        }
        std::fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o777)).expect("it is ours");
        assert_eq!(read(&file, "a"), None, "a folder that others can write to");
    }
}
