//! Where results go, a line for each picture: standard output, or a file that a later run can go on with.

use crate::cli::Result;
use serde_json::Value;
use std::collections::HashSet;
use std::fs::{File, OpenOptions};
use std::io::{BufWriter, Read, Seek, SeekFrom, Write};
use std::path::Path;

/// How lines are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum TableFormat {
    /// For people
    Text,
    /// For programs
    Json,
    /// For tables
    Csv,
}

/// What lines are like that a later run can go on behind.
pub struct Form {
    /// What each line, or the head of the table, begins with.
    pub begins: &'static str,
    /// The picture that a line is about.
    pub picture: fn(&str) -> Option<String>,
}

/// Lines on their way out. They are written batch by batch, so that a run that is cut keeps what it had.
pub struct Lines {
    out: BufWriter<Box<dyn Write>>,
    /// The pictures whose lines are there already.
    done: HashSet<String>,
    is_new: bool,
}

impl Lines {
    /// Standard output.
    pub fn stdout() -> Lines {
        Lines { out: BufWriter::new(Box::new(std::io::stdout())), done: HashSet::new(), is_new: true }
    }

    /// A new file; what was there is lost with the first line, not before there is one.
    pub fn create(file: &Path) -> Result<Lines> {
        let options = OpenOptions::new().write(true).create(true).truncate(false).open(file);
        let out = options.map_err(|error| format!("{}: {error}", file.display()))?;
        Ok(Lines { out: BufWriter::new(Box::new(Fresh { out, is_empty: false })), done: HashSet::new(), is_new: true })
    }

    /// A file that may have lines of a form already, below a head if there is one. A last line that was cut is taken away.
    pub fn resume(file: &Path, head: Option<&str>, form: &Form) -> Result<Lines> {
        let failed = |error: std::io::Error| format!("{}: {error}", file.display());
        let mut out = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(file).map_err(failed)?;
        let mut text = Vec::new();
        out.read_to_end(&mut text).map_err(failed)?;
        let whole = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        let foreign = |line: usize| format!("{}: line {line} is none of an earlier run with these options; give another --output", file.display());
        // Also of a first line that was cut: another program's file must not be lost.
        let begins = form.begins.as_bytes();
        if !text.starts_with(begins) && !begins.starts_with(&text) {
            return Err(foreign(1).into());
        }
        let text = std::str::from_utf8(&text[..whole]).map_err(|_| foreign(1))?;
        let mut lines = text.lines().enumerate();
        if let Some(head) = head
            && lines.next().is_some_and(|(_, line)| line != head)
        {
            return Err(foreign(1).into());
        }
        let done = lines.map(|(number, line)| (form.picture)(line).ok_or_else(|| foreign(number + 1))).collect::<std::result::Result<_, _>>()?;
        out.set_len(whole as u64).and_then(|()| out.seek(SeekFrom::End(0))).map_err(failed)?;
        Ok(Lines { out: BufWriter::new(Box::new(out)), done, is_new: whole == 0 })
    }

    /// Whether nothing is in it yet, and a table wants a head.
    pub fn is_new(&self) -> bool {
        self.is_new
    }

    /// Whether a picture has its line.
    pub fn has(&self, picture: &str) -> bool {
        self.done.contains(picture)
    }
}

/// A file that is emptied when it is first written to.
struct Fresh {
    out: File,
    is_empty: bool,
}

impl Write for Fresh {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        // Pipes and devices have no length.
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
        self.out.write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.out.flush()
    }
}

/// Cells as a line of CSV, without its end.
pub fn row(cells: impl IntoIterator<Item = String>) -> Result<String> {
    let mut writer = csv::WriterBuilder::new().from_writer(Vec::new());
    writer.write_record(cells)?;
    let line = String::from_utf8(writer.into_inner()?)?;
    Ok(line.trim_end_matches('\n').to_owned())
}

/// The picture of a line of CSV: its first cell.
pub fn picture_of_row(line: &str) -> Option<String> {
    let mut reader = csv::ReaderBuilder::new().has_headers(false).from_reader(line.as_bytes());
    reader.records().next()?.ok()?.get(0).map(str::to_owned)
}

/// The picture of a line of JSON: its `image`.
pub fn picture_of_json(line: &str) -> Option<String> {
    serde_json::from_str::<Value>(line).ok()?["image"].as_str().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_gone_on_with_behind_its_last_whole_line() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("lines.txt");
        let form = Form { begins: "", picture: |line| line.split_once(' ').map(|(name, _)| name.to_owned()) };
        std::fs::write(&file, "a 1\nb 2\nc").expect("it is written");
        let mut lines = Lines::resume(&file, None, &form).expect("it is resumed");
        assert!(lines.has("a") && lines.has("b") && !lines.has("c") && !lines.is_new());
        writeln!(lines, "c 3").and_then(|()| lines.flush()).expect("it is written");
        assert_eq!(std::fs::read_to_string(&file).expect("text"), "a 1\nb 2\nc 3\n");
        let refused = |text: &str, head| {
            std::fs::write(&file, text).expect("it is written");
            Lines::resume(&file, head, &form).err().map(|error| error.to_string()).unwrap_or_default()
        };
        assert!(refused("a 1\nnonsense\n", None).contains("line 2"));
        assert!(refused("nonsense\n", None).contains("line 1"));
        assert!(refused("a 1\n", Some("picture number")).contains("line 1"));
        assert_eq!(refused("picture number\na 1\n", Some("picture number")), "");
        let mut again = Lines::create(&file).expect("a file");
        assert!(!std::fs::read(&file).expect("it is there").is_empty(), "nothing is lost yet");
        writeln!(again, "x 1").and_then(|()| again.flush()).expect("it is written");
        assert_eq!(std::fs::read_to_string(&file).expect("text"), "x 1\n");
        assert!(Lines::resume(&folder.path().join("new.txt"), None, &form).expect("a new file").is_new());
        let strict = Form { begins: "{\"image\"", ..form };
        for (text, is_ours) in [("", true), ("{\"ima", true), ("{\"image\": \"x", true), ("{\"other\": 1}", false), ("a note", false)] {
            std::fs::write(&file, text).expect("it is written");
            assert_eq!(Lines::resume(&file, None, &strict).is_ok(), is_ours, "{text}");
        }
    }
}
