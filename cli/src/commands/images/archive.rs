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

/// Bytes of a block.
const BLOCK: u64 = 512;

/// Returns whether an archive of `len` bytes ends as all do, with a block of zeros.
fn ends(file: &Path, len: u64) -> std::io::Result<bool> {
    let mut block = Vec::new();
    let mut opened = File::open(file)?;
    opened.seek(SeekFrom::Start(len.saturating_sub(BLOCK)))?;
    opened.take(BLOCK).read_to_end(&mut block)?;
    Ok(len.is_multiple_of(BLOCK) && block.iter().all(|byte| *byte == 0))
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
        let (mut names, mut places, mut others) = (Vec::new(), HashMap::new(), 0);
        let mut archive = tar::Archive::new(opened);
        for entry in archive.entries_with_seek().map_err(|error| of_archive(&error))? {
            let entry = entry.map_err(|error| of_archive(&error))?;
            let path = entry.path().map_err(|error| of_archive(&error))?.into_owned();
            if entry.header().entry_type().is_dir() || !has_image_extension(&path) {
                continue;
            }
            let place = match entry.header().entry_type() {
                tar::EntryType::Regular | tar::EntryType::Continuous => (entry.raw_file_position(), entry.size()),
                tar::EntryType::Link => match entry.link_name().ok().flatten().and_then(|linked| places.get(linked.as_ref())) {
                    Some(place) => *place,
                    None => return Err(of_archive(&format!("{} is a link to a file that is not there", path.display())).into()),
                },
                _ => {
                    others += 1;
                    continue;
                }
            };
            if place.0.checked_add(place.1).is_none_or(|end| end > len) {
                return Err(of_archive(&format!("{} is cut off", path.display())).into());
            }
            if places.insert(path.clone(), place).is_some() {
                return Err(of_archive(&format!("two members are named {}", path.display())).into());
            }
            names.push(path);
        }
        if !names.is_empty() && !ends(file, len).map_err(|error| of_archive(&text(&error)))? {
            return Err(of_archive(&"it is cut off: the blocks of zeros at its end are missing").into());
        }
        if others > 0 {
            note(&format!("{}: skipped {others} members that are no plain files, such as links or files with holes", file.display()));
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
