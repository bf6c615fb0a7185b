//! Classes that are described by texts, instead of those that a model was trained on.

use super::super::Result;
use super::super::of_file;
use clap::Args;
use std::path::{Path, PathBuf};
use vitraux::{Labels, Session};

/// Maximum number of labels, of which each is encoded: more than ImageNet-21k has.
const MOST: usize = 1 << 15;

#[derive(Debug, Args)]
#[command(next_help_heading = "Label options")]
pub struct LabelArgs {
    /// Classify by these labels, separated by commas, or by the lines of a file, 32,768 at most: with a model of images and texts, such as CLIP or SigLIP
    #[arg(long, value_name = "LABELS|FILE")]
    labels: Option<String>,
    /// Text for each label, with {} in its place; may be repeated, to average several [default: "a photo of a {}"]
    #[arg(long, value_name = "TEXT", requires = "labels")]
    template: Vec<String>,
}

impl LabelArgs {
    /// Returns the labels, if there are any.
    pub fn names(&self) -> Result<Option<Vec<String>>> {
        let Some(labels) = &self.labels else { return Ok(None) };
        let file = self.files().pop();
        let names: Vec<String> = match file {
            Some(file) => {
                let text = std::fs::read_to_string(&file).map_err(of_file(&file))?;
                // Windows editors prepend a byte-order mark.
                text.trim_start_matches('\u{FEFF}').lines().map(|line| line.trim().to_owned()).collect()
            }
            None if is_like_a_file(labels) => return Err(format!("--labels {labels}: expected a file with a label in each line, found none").into()),
            None => labels.split(',').map(|label| label.trim().to_owned()).collect(),
        };
        let names: Vec<String> = names.into_iter().filter(|name| !name.is_empty()).collect();
        match names.len() {
            0 => Err("--labels: expected labels separated by commas, or a file with one in each line, found none".into()),
            1..=MOST => Ok(Some(names)),
            more => Err(format!("--labels: expected at most {MOST} labels, found {more}").into()),
        }
    }

    /// Returns the file of the labels, if they are in one.
    pub fn files(&self) -> Vec<PathBuf> {
        self.labels.iter().map(PathBuf::from).filter(|path| path.is_file()).collect()
    }

    /// Returns what results depend on.
    pub fn describe(&self, names: &[String]) -> String {
        format!("{} with {}", names.join(", "), self.templates().join(", "))
    }

    /// Encodes the labels.
    pub fn encode(&self, session: &mut Session, names: &[String]) -> Result<Labels> {
        Ok(session.encode_labels_blocking(names, &self.templates())?)
    }

    fn templates(&self) -> Vec<String> {
        if self.template.is_empty() { vec!["a photo of a {}".to_owned()] } else { self.template.clone() }
    }
}

/// Returns whether labels are meant to be a file that is not there, or something else than a file.
fn is_like_a_file(labels: &str) -> bool {
    let path = Path::new(labels);
    path.exists() && !path.is_dir()
        || !labels.contains(',') && path.extension().is_some_and(|extension| ["txt", "csv", "tsv", "json"].iter().any(|own| extension == *own))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_labels_may_begin_with_a_mark_and_have_a_limit() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("labels.txt");
        let names = |text: &str| {
            std::fs::write(&file, text).expect("it is written");
            let labels = Some(file.to_str().expect("UTF-8").to_owned());
            LabelArgs { labels, template: Vec::new() }.names().map_err(|error| error.to_string())
        };
        assert_eq!(names("\u{FEFF}cat\r\n\n dog \n"), Ok(Some(vec!["cat".to_owned(), "dog".to_owned()])));
        assert!(names(&"a\n".repeat(MOST + 1)).expect_err("too many").contains("at most 32768"));
    }

    #[test]
    fn missing_files_are_not_taken_for_labels() {
        assert!(!cfg!(unix) || is_like_a_file("/dev/null"));
        assert!(["missing.txt", "a b/classes.csv"].iter().all(|labels| is_like_a_file(labels)));
        assert!(["cat", "cat,dog", "cat, notes.txt", "St. Bernard", "1/2"].iter().all(|labels| !is_like_a_file(labels)));
    }
}
