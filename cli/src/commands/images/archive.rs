//! Images in tar archives, such as the shards of webdataset.

use super::{has_image_extension, name};
use crate::commands::messages::text;
use crate::commands::{Result, note};
use std::collections::HashMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use vitraux::Error;
use vitraux::low_level::kind;

/// Bytes that files of images may have.
const LARGEST_IMAGE: u64 = 512 << 20;

/// Places of the images in an archive. Its other members, such as labels, are ignored.
#[derive(Debug)]
pub struct Archive {
    file: PathBuf,
    /// Offset and length of each image.
    places: HashMap<PathBuf, (u64, u64)>,
}

/// Bytes of a block, of which headers and contents take whole ones.
const BLOCK: u64 = 512;

/// Returns whether a block of zeros begins at `place`, as behind the last member of every archive.
fn ends_at(file: &Path, place: u64) -> std::io::Result<bool> {
    let mut block = Vec::new();
    let mut opened = File::open(file)?;
    opened.seek(SeekFrom::Start(place))?;
    opened.take(BLOCK).read_to_end(&mut block)?;
    Ok(block.len() as u64 == BLOCK && block.iter().all(|byte| *byte == 0))
}

impl Archive {
    /// Reads the headers of an archive. Returns it with the names of its images, in their order.
    pub fn open(file: &Path) -> Result<(Archive, Vec<PathBuf>)> {
        let of_archive = |error: &dyn std::fmt::Display| format!("{}: expected a tar archive of images: {error}", file.display());
        // Pipes may never end.
        if let Some(other) = kind(file).map_err(|error| of_archive(&text(&error)))? {
            return Err(of_archive(&format!("it is {other}")).into());
        }
        let mut opened = File::open(file).map_err(|error| of_archive(&text(&error)))?;
        let len = opened.metadata().map_err(|error| of_archive(&text(&error)))?.len();
        let mut start = Vec::new();
        opened.by_ref().take(2).read_to_end(&mut start).map_err(|error| of_archive(&text(&error)))?;
        if start == [0x1f, 0x8b] {
            return Err(of_archive(&"it is compressed; unpack it with gunzip, which costs no space, because images are compressed themselves").into());
        }
        opened.rewind().map_err(|error| of_archive(&text(&error)))?;
        let (mut names, mut places) = (Vec::new(), HashMap::new());
        let (mut files, mut others, mut end) = (HashMap::new(), 0, 0);
        let mut archive = tar::Archive::new(opened);
        for entry in archive.entries_with_seek().map_err(|error| of_archive(&error))? {
            let entry = entry.map_err(|error| of_archive(&error))?;
            let path = entry.path().map_err(|error| of_archive(&error))?.into_owned();
            let (kind, start) = (entry.header().entry_type(), entry.raw_file_position());
            // Of a file with holes, the size is that with them.
            let stored = if kind.is_gnu_sparse() { entry.header().entry_size().map_err(|error| of_archive(&error))? } else { entry.size() };
            end = start.checked_add(stored).filter(|end| *end <= len).ok_or_else(|| of_archive(&format!("{} is cut off", path.display())))?;
            let linked = || files.get(entry.link_name().ok().flatten()?.as_ref()).copied();
            let place = match kind {
                tar::EntryType::Regular | tar::EntryType::Continuous => Some((start, stored)),
                tar::EntryType::Link => linked(),
                _ => None,
            };
            if let Some(place) = place {
                files.insert(path.clone(), place);
            }
            match place {
                _ if kind.is_dir() || !has_image_extension(&path) => {}
                None => others += 1,
                Some(place) => {
                    if places.insert(path.clone(), place).is_some() {
                        return Err(of_archive(&format!("two members are named {}", path.display())).into());
                    }
                    names.push(path);
                }
            }
        }
        if !names.is_empty() && !ends_at(file, end.next_multiple_of(BLOCK)).map_err(|error| of_archive(&text(&error)))? {
            return Err(of_archive(&"it is cut off: no block of zeros follows the last member; if all are there, pack it again").into());
        }
        if others > 0 {
            note(&format!("{}: skipped: {others} links or files with holes", file.display()));
        }
        Ok((Archive { file: file.to_owned(), places }, names))
    }

    /// Returns the name of an image with that of the archive.
    pub fn full_name(&self, image: &Path) -> String {
        name(&self.file.join(image))
    }

    /// Reads the file of an image.
    pub fn read(&self, image: &Path) -> vitraux::Result<Vec<u8>> {
        let of_image = |source| Error::Io { path: self.file.join(image), source };
        let (offset, len) = self.places[image];
        if len > LARGEST_IMAGE {
            let message = format!("the file is larger than the limit of {} MiB", LARGEST_IMAGE >> 20);
            return Err(Error::Image { path: self.file.join(image), message });
        }
        let mut bytes = vec![0; len as usize];
        let mut file = File::open(&self.file).map_err(of_image)?;
        file.seek(SeekFrom::Start(offset)).and_then(|_| file.read_exact(&mut bytes)).map_err(of_image)?;
        Ok(bytes)
    }
}
