//! Output of one line per image, to standard output or to a file that a later run can resume.

use crate::commands::output::{Beside, lock, stdout};
use crate::commands::{Result, of_file};
use serde_json::Value;
use std::collections::HashSet;
use std::fs::{File, OpenOptions};
use std::io::{BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

/// How lines are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum TableFormat {
    /// Plain text
    Text,
    /// One JSON object per line
    Json,
    /// CSV table
    Csv,
}

impl TableFormat {
    /// Returns the format that was asked for, else that of the output's extension, else text.
    pub fn chosen(asked: Option<TableFormat>, output: Option<&Path>) -> Result<TableFormat> {
        let extension = output.and_then(Path::extension).map(|extension| extension.to_string_lossy().to_lowercase());
        match (asked, extension.as_deref()) {
            (Some(format), _) => Ok(format),
            (None, Some("json" | "jsonl")) => Ok(TableFormat::Json),
            (None, Some("csv")) => Ok(TableFormat::Csv),
            (None, None | Some("txt")) => Ok(TableFormat::Text),
            (None, Some(other @ ("npy" | "parquet" | "safetensors"))) => {
                Err(format!("--output: .{other} is for `vitraux embed`; expected .json, .jsonl, .csv, .txt or --format").into())
            }
            (None, Some(other)) => Err(format!("--output: expected .json, .jsonl, .csv, .txt or --format, found .{other}").into()),
        }
    }
}

/// Format of records that a later run can resume.
pub struct Form {
    /// Beginning of each record, or of the table header.
    begins: &'static str,
    /// Parser for the complete records of a text, in order.
    records: Records,
}

/// Maximum number of lines in a quoted path, so that an unclosed quote is not mistaken for a truncated row.
const LONGEST_PATH: usize = 8;

type Records = Box<dyn Fn(&str) -> Vec<Record>>;

impl Form {
    /// Returns the form of a table whose first column is `image`.
    pub fn table() -> Form {
        Form { begins: "image,", records: Box::new(rows) }
    }

    /// Returns the form of one object per line. Objects whose `key` is not `of` belong to other runs.
    pub fn objects(begins: &'static str, key: &'static str, of: String) -> Form {
        let image = move |line: &str| {
            let value = serde_json::from_str::<Value>(line).ok()?;
            let is_ours = value[key] == *of;
            value["image"].as_str().filter(|_| is_ours).map(str::to_owned)
        };
        Form { begins, records: Box::new(move |text| lines(text, &image)) }
    }
}

/// Record of an image in a file.
struct Record {
    /// End of the record in the text.
    end: usize,
    /// Image of the record, or `None` if the record is not ours.
    image: Option<String>,
}

/// Writer of lines. Callers flush it after each batch, so that an interrupted run keeps its results.
pub struct Lines {
    out: BufWriter<Box<dyn Write>>,
    /// Images that already have a line.
    done: HashSet<String>,
    /// Header of a table, until it is written in front of the first line.
    head: Option<String>,
    /// File named in errors, or `None` for standard output.
    file: Option<PathBuf>,
}

impl Lines {
    /// Writes to standard output, below a header if there is one.
    pub fn stdout(head: Option<&str>) -> Lines {
        Lines { out: BufWriter::new(Box::new(stdout())), done: HashSet::new(), head: head.map(str::to_owned), file: None }
    }

    /// Writes to standard output beside files, which are made even if nobody reads it any more.
    pub fn beside_files() -> Lines {
        Lines { out: BufWriter::new(Box::new(Beside(stdout()))), ..Lines::stdout(None) }
    }

    /// Writes to a new file, below a header if there is one. An existing file is emptied by the first line, not before.
    pub fn create(file: &Path, head: Option<&str>) -> Result<Lines> {
        let out = OpenOptions::new().write(true).create(true).truncate(false).open(file).map_err(of_file(file))?;
        lock(&out, file)?;
        let out = BufWriter::new(Box::new(Fresh { out, is_empty: false }) as Box<dyn Write>);
        Ok(Lines { out, done: HashSet::new(), head: head.map(str::to_owned), file: Some(file.to_owned()) })
    }

    /// Resumes a file that may already have records, below a header if there is one. Removes a truncated last record.
    pub fn resume(file: &Path, head: Option<&str>, form: &Form) -> Result<Lines> {
        if file.exists() && !file.is_file() {
            return Err(format!("{}: expected a regular file to resume, found a pipe or device", file.display()).into());
        }
        let mut out = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(file).map_err(of_file(file))?;
        lock(&out, file)?;
        let mut text = Vec::new();
        out.read_to_end(&mut text).map_err(of_file(file))?;
        let is_foreign_from = |place: usize| {
            let line = text[..place].iter().filter(|byte| **byte == b'\n').count() + 1;
            format!("{}: line {line} is not from an earlier run with these options; choose another --output", file.display())
        };
        // A truncated first line is checked too, so that a file of another program is not lost.
        let begins = form.begins.as_bytes();
        if !text.starts_with(begins) && !begins.starts_with(&text) {
            return Err(is_foreign_from(0).into());
        }
        // The last character may be truncated; all other text that we write is valid UTF-8.
        let valid = match std::str::from_utf8(&text) {
            Err(error) if error.error_len().is_some() => return Err(is_foreign_from(error.valid_up_to()).into()),
            Err(error) => error.valid_up_to(),
            Ok(_) => text.len(),
        };
        let valid = std::str::from_utf8(&text[..valid]).expect("it was checked");
        let mut records = (form.records)(valid);
        let whole = records.last().map_or(0, |record| record.end);
        let rest = &valid[whole..];
        // An object that only lacks its line ending would have its image, and no path has so many lines.
        let is_foreign = serde_json::from_str::<Value>(rest).is_ok_and(|value| value.is_object() && value["image"].is_null());
        if is_foreign || rest.matches('\n').count() > LONGEST_PATH {
            return Err(is_foreign_from(whole).into());
        }
        let mut end_before = 0;
        if let Some(head) = head {
            let is_ours = match records.first() {
                Some(first) => valid[..first.end].trim_end() == head,
                None => head.starts_with(rest),
            };
            if !is_ours {
                return Err(is_foreign_from(0).into());
            }
            end_before = records.drain(..records.len().min(1)).next().map_or(0, |first| first.end);
        }
        let mut done = HashSet::new();
        for Record { end, image } in records {
            done.insert(image.ok_or_else(|| is_foreign_from(end_before))?);
            end_before = end;
        }
        out.set_len(whole as u64).and_then(|()| out.seek(SeekFrom::End(0))).map_err(of_file(file))?;
        let head = head.filter(|_| whole == 0).map(str::to_owned);
        Ok(Lines { out: BufWriter::new(Box::new(out)), done, head, file: Some(file.to_owned()) })
    }

    /// Returns an error with the name of the file.
    fn named(&self, error: std::io::Error) -> std::io::Error {
        match &self.file {
            Some(file) => std::io::Error::new(error.kind(), vitraux::Error::Io { path: file.clone(), source: error }),
            None => error,
        }
    }

    /// Returns true if an image already has a line.
    pub fn has(&self, image: &str) -> bool {
        self.done.contains(image)
    }
}

/// File that is emptied by the first write.
struct Fresh {
    out: File,
    is_empty: bool,
}

impl Write for Fresh {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        // Pipes and devices cannot be truncated.
        if !std::mem::replace(&mut self.is_empty, true) && self.out.metadata()?.is_file() {
            self.out.set_len(0)?;
        }
        self.out.write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.out.flush()
    }
}

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let head = self.head.take().map_or(Ok(()), |head| writeln!(self.out, "{head}"));
        head.and_then(|()| self.out.write(bytes)).map_err(|error| self.named(error))
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.out.flush().map_err(|error| self.named(error))
    }
}

/// Formats cells as a row of CSV, without its line ending.
pub fn row(cells: impl IntoIterator<Item = String>) -> Result<String> {
    let mut writer = csv::WriterBuilder::new().from_writer(Vec::new());
    writer.write_record(cells)?;
    let line = String::from_utf8(writer.into_inner()?)?;
    Ok(line.trim_end_matches('\n').to_owned())
}

/// Parses rows of CSV, whose first cell is the image. A quoted path may contain line breaks. A row with more or fewer cells than the first is not
/// ours.
fn rows(text: &str) -> Vec<Record> {
    let mut reader = csv::ReaderBuilder::new().has_headers(false).flexible(true).from_reader(text.as_bytes());
    let (mut rows, mut record, mut start, mut width) = (Vec::new(), csv::StringRecord::new(), 0, None);
    while matches!(reader.read_record(&mut record), Ok(true)) {
        let end = reader.position().byte() as usize;
        // The reader leaves the LF of a CR LF to the next row.
        let end = if text[..end].ends_with('\r') && text[end..].starts_with('\n') { end + 1 } else { end };
        let row = &text[start..end];
        // A truncated row lacks its line ending, or ends with a line break within quotes.
        if end == text.len() && (!row.ends_with('\n') || row.matches('"').count() % 2 == 1) {
            break;
        }
        let is_as_wide = *width.get_or_insert(record.len()) == record.len();
        rows.push(Record { end, image: record.get(0).filter(|_| is_as_wide).map(str::to_owned) });
        start = end;
    }
    rows
}

fn lines(text: &str, image: impl Fn(&str) -> Option<String>) -> Vec<Record> {
    let whole = text.split_inclusive('\n').filter(|line| line.ends_with('\n'));
    let mut end = 0;
    whole
        .map(|line| {
            end += line.len();
            Record { end, image: image(line) }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resume_continues_after_last_complete_line() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("lines.txt");
        let by_space = || Box::new(|text: &str| lines(text, |line| line.split_once(' ').map(|(name, _)| name.to_owned())));
        let form = Form { begins: "", records: by_space() };
        std::fs::write(&file, "a 1\nb 2\nc").expect("it is written");
        let mut lines = Lines::resume(&file, None, &form).expect("it is resumed");
        assert!(lines.has("a") && lines.has("b") && !lines.has("c"));
        writeln!(lines, "c 3").and_then(|()| lines.flush()).expect("it is written");
        assert_eq!(std::fs::read_to_string(&file).expect("text"), "a 1\nb 2\nc 3\n");
        assert!(Lines::resume(&file, None, &form).is_err_and(|error| error.to_string().contains("another run of vitraux")));
        drop(lines);
        let refused = |text: &str, head| {
            std::fs::write(&file, text).expect("it is written");
            Lines::resume(&file, head, &form).err().map(|error| error.to_string()).unwrap_or_default()
        };
        assert!(refused("a 1\nnonsense\n", None).contains("line 2"));
        assert!(refused("nonsense\n", None).contains("line 1"));
        assert!(refused("a 1\n", Some("image number")).contains("line 1"));
        assert_eq!(refused("image number\na 1\n", Some("image number")), "");
        let mut again = Lines::create(&file, None).expect("a file");
        assert!(!std::fs::read(&file).expect("it is there").is_empty(), "nothing is lost yet");
        writeln!(again, "x 1").and_then(|()| again.flush()).expect("it is written");
        assert_eq!(std::fs::read_to_string(&file).expect("text"), "x 1\n");
        drop(again);
        let mut headed = Lines::create(&file, Some("image n")).expect("a file");
        assert_eq!(std::fs::read_to_string(&file).expect("text"), "x 1\n", "no header without a line");
        writeln!(headed, "y 1").and_then(|()| headed.flush()).expect("it is written");
        assert_eq!(std::fs::read_to_string(&file).expect("text"), "image n\ny 1\n");
        drop(headed);
        let table = Form::table();
        for (text, done, kept) in [
            ("image,n\na,1\n\"b\nc\",2\nd", vec!["a", "b\nc"], "image,n\na,1\n\"b\nc\",2\n"),
            ("image,n\n\"b\nc\",2\n\"d\n", vec!["b\nc"], "image,n\n\"b\nc\",2\n"),
            ("image,n\n\"say \"\"b\"\"\",2\n\"d\ne\",3", vec!["say \"b\""], "image,n\n\"say \"\"b\"\"\",2\n"),
            ("image,n\n", vec![], "image,n\n"),
            ("image", vec![], ""),
            ("image,n\na,1\n1", vec!["a"], "image,n\na,1\n"),
        ] {
            std::fs::write(&file, text).expect("it is written");
            let lines = Lines::resume(&file, Some("image,n"), &table).expect("it is resumed");
            assert_eq!(lines.done, done.into_iter().map(str::to_owned).collect(), "{text:?}");
            assert_eq!((std::fs::read_to_string(&file).expect("text").as_str(), lines.head.is_some()), (kept, kept.is_empty()));
        }
        for (text, is_ours) in [
            ("image,n\r\na,1\r\nb,2\r\n", true),
            ("image,label\r\nprecious,1\r\n", false),
            ("image,label", false),
            ("image,n\na,1\nb,2,3\nc,4\n", false),
            ("image,n\nx\"y.png,1\nc,4\n", true),
            (&format!("image,n\n\"a,1\n{}", "b,2\n".repeat(20)), false),
        ] {
            std::fs::write(&file, text).expect("it is written");
            assert_eq!(Lines::resume(&file, Some("image,n"), &table).is_ok(), is_ours, "{text:?}");
            assert_eq!(std::fs::read_to_string(&file).expect("text"), text, "nothing is lost");
        }
        let objects = Form::objects("{\"device\":", "model", "vit".to_owned());
        for (text, is_ours) in [
            ("{\"device\":\"mine\",\"precious\":1}", false),
            ("{\"device\":\"cpu\",\"image\":\"a\",\"model\":\"vit\"}", true),
            ("{\"device\":\"cpu\",\"image\":\"a\",\"model\":\"vit\"}\n{\"dev", true),
            ("{\"device\":\"cpu\",\"image\":\"a\",\"model\":\"deit\"}\n", false),
            ("{\"device\":\"c", true),
        ] {
            std::fs::write(&file, text).expect("it is written");
            assert_eq!(Lines::resume(&file, None, &objects).is_ok(), is_ours, "{text}");
        }
        let bytes = [b"image,n\na,1\n\xFF,2\nb,3\n".as_slice(), b"image,n\na,1\n\xC3"];
        for (bytes, is_ours) in bytes.into_iter().zip([false, true]) {
            std::fs::write(&file, bytes).expect("it is written");
            assert_eq!(Lines::resume(&file, Some("image,n"), &table).is_ok(), is_ours);
            assert_eq!(std::fs::read(&file).expect("bytes"), if is_ours { b"image,n\na,1\n" } else { bytes });
        }
        let strict = Form { begins: "{\"image\"", records: by_space() };
        for (text, is_ours) in [("", true), ("{\"ima", true), ("{\"image\": \"x", true), ("{\"other\": 1}", false), ("a note", false)] {
            std::fs::write(&file, text).expect("it is written");
            assert_eq!(Lines::resume(&file, None, &strict).is_ok(), is_ours, "{text}");
        }
    }
}
