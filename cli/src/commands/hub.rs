use std::path::{Path, PathBuf};
use vitraux::hub;
use vitraux::low_level::text;

/// Returns the path of a model: the given one if it exists, or the folder that a hub reference is downloaded to.
pub fn local(model: &Path) -> vitraux::Result<PathBuf> {
    local_by(model, hub::fetch)
}

/// Returns the path of a model as [`local`] does, but downloads only its tokenizer.
pub fn local_tokenizer(model: &Path) -> vitraux::Result<PathBuf> {
    local_by(model, text::fetch)
}

/// Downloads a model of the hub, and tells the progress.
type Fetch = fn(&str, &dyn Fn(&str, u64, u64)) -> vitraux::Result<PathBuf>;

fn local_by(model: &Path, fetch: Fetch) -> vitraux::Result<PathBuf> {
    match model.to_str() {
        Some(reference) if !model.exists() && hub::is_reference(reference) => {
            let bar = super::bar(0, "{msg} {bar:30} {bytes}/{total_bytes}, {bytes_per_sec}, {eta} left");
            let folder = fetch(reference, &|file, here, size| {
                bar.set_length(size);
                bar.set_position(here);
                bar.set_message(file.to_owned());
            });
            bar.finish_and_clear();
            folder
        }
        // A missing path is reported when it is opened.
        _ => Ok(model.to_owned()),
    }
}
