//! Arrays of the vectors of all images. Rows are collected in `FILE.part`, and the images' paths in another file, so that memory stays flat and an
//! interrupted run can be resumed. At the end, they become the array.

use super::Format;
use super::parquet_names::{COMPRESSION, names_in_parquet};
use crate::commands::images::{counted, name};
use crate::commands::output::{self, leads_to, lock, replace, replace_with};
use crate::commands::tensors::write_tensors;
use crate::commands::{AnyError, Result, npy, of_file};
use memmap2::Mmap;
use parquet::column::writer::ColumnWriter;
use parquet::data_type::ByteArray;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use safetensors::tensor::TensorView;
use serde::{Deserialize, Serialize};
use std::collections::HashSet;
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, BufWriter, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use vitraux::Tensor;
use vitraux::low_level::checkpoint;

/// Tokens of an image that no model exceeds.
const MOST_TOKENS: usize = 1 << 20;

/// Rows per Parquet row group, which are in memory at once.
const ROWS_OF_A_GROUP: usize = 4096;

/// Vectors collected for an array.
pub struct Store {
    file: PathBuf,
    rows: BufWriter<File>,
    /// Lines of JSON: the [`Head`], then the path of each image.
    names: BufWriter<File>,
    /// Description of the vectors and their model.
    what: String,
    /// Shape of each vector, once there is one.
    shape: Option<Vec<usize>>,
    done: Vec<String>,
    known: HashSet<String>,
}

/// Returns `FILE.part` and `FILE.part.names`.
fn parts(file: &Path) -> [PathBuf; 2] {
    [".part", ".part.names"].map(|extension| with_suffix(file, extension))
}

/// Returns the name of an image in a list of one per line.
fn on_a_line(name: &str) -> String {
    name.replace('\n', "\\x0A").replace('\r', "\\x0D")
}

/// Checks that writing an array, and the list of its images if it has one, overwrites no input.
pub fn protect<'a>(file: &Path, format: Format, inputs: impl IntoIterator<Item = &'a PathBuf> + Clone) -> Result<()> {
    output::protect(file, inputs.clone())?;
    if format == Format::Npy { output::protect(&list_of(file), inputs) } else { Ok(()) }
}

/// Returns the list of the images of an npy file.
fn list_of(file: &Path) -> PathBuf {
    with_suffix(file, ".txt")
}

fn with_suffix(file: &Path, suffix: &str) -> PathBuf {
    let mut longer = file.to_owned();
    longer.as_mut_os_string().push(suffix);
    longer
}

/// Returns true if an array is there, and no rows of an interrupted run.
pub fn is_complete(file: &Path) -> bool {
    file.is_file() && !parts(file)[0].exists()
}

/// Reads the names of a complete array's images, and checks that it has the same vectors.
fn complete_names(file: &Path, format: Format, what: &str) -> Result<HashSet<String>> {
    let of_array = |error: AnyError| format!("{}: expected an array written by `vitraux embed`: {error}", file.display());
    let (names, of) = match format {
        Format::Npy => (names_of_npy(file)?, None),
        Format::Safetensors => names_in_safetensors(file).map_err(of_array)?,
        _ => names_in_parquet(file).map_err(of_array)?,
    };
    match of.filter(|of| of != what) {
        Some(other) => Err(format!("{}: holds other vectors, {other}, not {what}; choose another --output", file.display()).into()),
        None => Ok(names),
    }
}

/// Maximum bytes of a list of images.
const LARGEST_LIST: u64 = 1 << 32;

/// Reads the list beside an npy file, which must have a vector for each name.
fn names_of_npy(file: &Path) -> Result<HashSet<String>> {
    let text = String::from_utf8(vitraux::low_level::read(&list_of(file), LARGEST_LIST)?)?;
    let rows = text.lines().count();
    match npy::is_whole(file, rows).map_err(of_file(file))? {
        true => Ok(text.lines().map(str::to_owned).collect()),
        false => {
            Err(format!("{}: damaged: expected {rows} vectors, as many as its list has names; remove it to embed all again", file.display()).into())
        }
    }
}

/// Checks that a complete array has all images: those that an earlier run could not read are missing.
pub fn check_complete(file: &Path, format: Format, what: &str, paths: &[PathBuf]) -> Result<()> {
    let names = complete_names(file, format, what)?;
    let missing = paths.iter().filter(|path| !names.contains(&name(path)) && !names.contains(&on_a_line(&name(path)))).count();
    if missing > 0 {
        return Err(format!(
            "{}: complete with {}, without {missing} of the {} asked for; remove it to embed all again",
            file.display(),
            counted(names.len()),
            counted(paths.len())
        )
        .into());
    }
    Ok(())
}

/// Paths of the images of an array, and the description of its vectors if the array has one.
type Contents = (HashSet<String>, Option<String>);

fn names_in_safetensors(file: &Path) -> Result<Contents> {
    let metadata = checkpoint::metadata(file)?;
    let images = metadata.get("images").ok_or("found no list of images in its metadata")?;
    Ok((serde_json::from_str(images)?, metadata.get("of").cloned()))
}

impl Drop for Store {
    /// Removes the parts if they have no rows.
    fn drop(&mut self) {
        if self.done.is_empty() {
            self.remove_parts();
        }
    }
}

impl Store {
    /// Starts an array of vectors with `width` values, or of tokens with so many, or resumes the rows of an interrupted run.
    pub fn open(file: &Path, format: Format, what: String, width: usize, resumes: bool) -> Result<Store> {
        if file.exists() && !file.is_file() {
            return Err(format!("{}: an array needs a regular file, found a pipe or device; write json or csv there instead", file.display()).into());
        }
        let [rows, names] = parts(file);
        // Files that an earlier run would have left only beside others.
        let list = (format == Format::Npy).then(|| (list_of(file), file.to_owned()));
        for (stray, beside) in std::iter::once((names.clone(), rows.clone())).chain(list) {
            if stray.exists() && !beside.exists() {
                return Err(format!("{}: would overwrite this file, which no earlier run wrote; choose another --output", stray.display()).into());
            }
        }
        if let Some(link) = [&rows, &names].into_iter().find(|part| part.is_symlink()) {
            return Err(format!("{}: expected a file of an earlier run, found a link; remove it, or choose another --output", link.display()).into());
        }
        let open = |path: &Path| OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path).map_err(of_file(path));
        let (mut rows_file, mut names_file) = (open(&rows)?, open(&names)?);
        lock(&rows_file, file)?;
        if !leads_to(&rows, &rows_file) {
            return Err(format!("{}: another run of vitraux has just written it; run the command again", file.display()).into());
        }
        let rows_len = rows_file.metadata().map_err(of_file(&rows))?.len();
        if !resumes && rows_len > 0 {
            return Err(format!("{}: left by an interrupted run; continue it with --resume, or remove this file", rows.display()).into());
        }
        if !resumes {
            names_file.set_len(0).map_err(of_file(&names))?;
        }
        let Names { head, mut done, mut ends } = Names::read(&names_file).map_err(|error| format!("{}: {error}", names.display()))?;
        if head.is_none() && rows_len > 0 {
            return Err(format!("{}: has rows, but {} does not describe them; choose another --output", rows.display(), names.display()).into());
        }
        if let Some(other) = head.as_ref().filter(|head| head.what != what) {
            let part = rows.display();
            return Err(format!("{part}: holds other vectors from an earlier run, {}, not {what}; choose another --output", other.what).into());
        }
        let shape = head.map(|head| head.shape);
        // Before anything is cut by it.
        if shape.as_ref().is_some_and(|shape| !matches!(shape.as_slice(), [own] | [1..=MOST_TOKENS, own] if *own == width)) {
            return Err(format!("{}: damaged: expected vectors of {width} values, found {shape:?}; choose another --output", names.display()).into());
        }
        // Truncate rows and names to the images that both have.
        let row = shape.as_ref().map_or(0, |shape| shape.iter().product::<usize>() as u64 * 4);
        let whole = rows_len.checked_div(row).unwrap_or(0).min(done.len() as u64);
        done.truncate(whole as usize);
        ends.truncate(whole as usize + 1);
        for (opened, len, path) in [(&mut rows_file, whole * row, &rows), (&mut names_file, ends.last().copied().unwrap_or(0), &names)] {
            opened.set_len(len).and_then(|()| opened.seek(SeekFrom::End(0))).map_err(of_file(path))?;
        }
        let known = done.iter().cloned().collect();
        Ok(Store { file: file.to_owned(), what, rows: BufWriter::new(rows_file), names: BufWriter::new(names_file), shape, done, known })
    }

    /// Returns true if an image already has its vector.
    pub fn has(&self, image: &str) -> bool {
        self.known.contains(image)
    }

    /// Adds a batch. Rows are written first, so that no name lacks its row.
    pub fn append(&mut self, paths: &[&Path], embeddings: &Tensor) -> Result<()> {
        if paths.is_empty() {
            return Ok(());
        }
        let shape = &embeddings.shape()[1..];
        let [rows, names] = parts(&self.file);
        match &self.shape {
            None => {
                let head = serde_json::to_string(&Head { shape: shape.to_vec(), what: self.what.clone() })?;
                writeln!(self.names, "{head}").map_err(of_file(&names))?;
                self.shape = Some(shape.to_vec());
            }
            Some(known) if known != shape => {
                return Err(format!(
                    "{}: expected vectors of shape {known:?}, found {shape:?} from images of another size; an array has one shape",
                    self.file.display()
                )
                .into());
            }
            Some(_) => {}
        }
        let written = self.rows.write_all(bytemuck::cast_slice(&embeddings.values())).and_then(|()| self.rows.flush());
        written.map_err(of_file(&rows))?;
        for path in paths {
            let name = name(path);
            writeln!(self.names, "{}", serde_json::to_string(&name)?).map_err(of_file(&names))?;
            self.done.push(name);
        }
        self.names.flush().map_err(of_file(&names))
    }

    /// Writes the array and removes the parts.
    pub fn finish(mut self, format: Format) -> Result<()> {
        let Some(shape) = self.shape.take().filter(|_| !self.done.is_empty()) else {
            self.remove_parts();
            return Err("no vectors to write".into());
        };
        let [part, _] = parts(&self.file);
        self.rows.flush().map_err(of_file(&part))?;
        // SAFETY: the mapping is read-only, and ends before the file is removed. The file is locked for this run; a program that writes to it in spite of
        // the lock changes the numbers that are copied, of which every bit pattern is valid, or ends this process if it truncates it.
        let rows = unsafe { Mmap::map(self.rows.get_ref()) }.map_err(of_file(&part))?;
        match format {
            Format::Npy => {
                npy::write(&self.file, &[&[self.done.len()], shape.as_slice()].concat(), &rows)?;
                let list = list_of(&self.file);
                replace_with(&list, |out| self.done.iter().try_for_each(|name| writeln!(out, "{}", on_a_line(name))).map_err(of_file(&list)))?;
            }
            Format::Safetensors => write_safetensors(&self.file, &self.done, &self.what, &shape, &rows)?,
            _ => write_parquet(&self.file, &self.done, &self.what, &rows)?,
        }
        self.remove_parts();
        Ok(())
    }

    fn remove_parts(&self) {
        for part in parts(&self.file) {
            // A part that cannot be removed does not fail the run.
            let _ = std::fs::remove_file(part);
        }
    }
}

/// Description of the rows: the first line of the names file.
#[derive(Serialize, Deserialize)]
struct Head {
    /// Shape of a vector.
    shape: Vec<usize>,
    /// Output and model of the vectors.
    what: String,
}

/// Contents of the names file, up to its last complete line.
#[derive(Default)]
struct Names {
    head: Option<Head>,
    done: Vec<String>,
    /// End of each line in the file.
    ends: Vec<u64>,
}

impl Names {
    fn read(file: &File) -> Result<Names> {
        let mut names = Names::default();
        let (mut reader, mut line, mut end) = (BufReader::new(file), Vec::new(), 0);
        while reader.read_until(b'\n', &mut line)? > 0 && line.ends_with(b"\n") {
            end += line.len() as u64;
            match &names.head {
                None => names.head = Some(serde_json::from_slice(&line)?),
                Some(_) => names.done.push(serde_json::from_slice(&line)?),
            }
            names.ends.push(end);
            line.clear();
        }
        Ok(names)
    }
}

fn write_safetensors(file: &Path, names: &[String], what: &str, shape: &[usize], rows: &[u8]) -> Result<()> {
    let view = TensorView::new(safetensors::Dtype::F32, [&[names.len()], shape].concat(), rows)?;
    let metadata = [("images", serde_json::to_string(names)?), ("of", what.to_owned())].into();
    let written = write_tensors([("embeddings", view)], Some(metadata), file);
    written.map_err(|error| match error.is::<vitraux::Error>() {
        true => error,
        // The size of the header, which contains the paths, is limited.
        false => format!("{error}; use --resume with --format parquet or npy to write the vectors computed so far").into(),
    })
}

/// Writes columns `image`, a string, and `embedding`, a list of floats.
fn write_parquet(file: &Path, names: &[String], what: &str, rows: &[u8]) -> Result<()> {
    let schema = "message images {
        REQUIRED BYTE_ARRAY image (UTF8);
        REQUIRED GROUP embedding (LIST) { REPEATED GROUP list { REQUIRED FLOAT element; } }
    }";
    let schema = Arc::new(parquet::schema::parser::parse_message_type(schema)?);
    let of = KeyValue::new("of".to_owned(), what.to_owned());
    let properties = WriterProperties::builder().set_compression(COMPRESSION).set_key_value_metadata(Some(vec![of])).build();
    replace(file, |path| {
        let out = File::create(path).map_err(of_file(file))?;
        write_columns(SerializedFileWriter::new(out, schema, Arc::new(properties))?, names, rows)
    })
}

/// Writes the columns of all rows, in groups.
fn write_columns(mut writer: SerializedFileWriter<File>, names: &[String], rows: &[u8]) -> Result<()> {
    let width = rows.len() / 4 / names.len();
    for (names, rows) in names.chunks(ROWS_OF_A_GROUP).zip(rows.chunks(ROWS_OF_A_GROUP * width * 4)) {
        let values: Vec<f32> = bytemuck::pod_collect_to_vec(rows);
        let images: Vec<ByteArray> = names.iter().map(|name| name.as_str().into()).collect();
        // All values are present, and every width-th one starts a list.
        let definitions = vec![1; values.len()];
        let repetitions: Vec<i16> = (0..values.len()).map(|i| i16::from(i % width != 0)).collect();
        let mut group = writer.next_row_group()?;
        while let Some(mut column) = group.next_column()? {
            match column.untyped() {
                ColumnWriter::ByteArrayColumnWriter(column) => column.write_batch(&images, None, None)?,
                ColumnWriter::FloatColumnWriter(column) => column.write_batch(&values, Some(&definitions), Some(&repetitions))?,
                _ => unreachable!("the schema has these two"),
            };
            column.close()?;
        }
        group.close()?;
    }
    writer.close()?;
    Ok(())
}
