//! Classes that are described by texts, instead of those that a model was trained on.

use super::super::Result;
use super::super::of_file;
use clap::Args;
use std::path::{Path, PathBuf};
use vitraux::{Labels, Session};

#[derive(Debug, Args)]
#[command(next_help_heading = "Label options")]
pub struct LabelArgs {
    /// Classify by these labels, separated by commas, or by the lines of a file: with a model of images and texts, such as CLIP or SigLIP
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
            Some(file) => std::fs::read_to_string(&file).map_err(of_file(&file))?.lines().map(|line| line.trim().to_owned()).collect(),
            None if is_like_a_file(labels) => return Err(format!("--labels {labels}: expected a file with a label in each line, found none").into()),
            None => labels.split(',').map(|label| label.trim().to_owned()).collect(),
        };
        let names: Vec<String> = names.into_iter().filter(|name| !name.is_empty()).collect();
        match names.is_empty() {
            true => Err("--labels: expected labels separated by commas, or a file with one in each line, found none".into()),
            false => Ok(Some(names)),
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
    fn missing_files_are_not_taken_for_labels() {
        assert!(!cfg!(unix) || is_like_a_file("/dev/null"));
        assert!(["missing.txt", "a b/classes.csv"].iter().all(|labels| is_like_a_file(labels)));
        assert!(["cat", "cat,dog", "cat, notes.txt", "St. Bernard", "1/2"].iter().all(|labels| !is_like_a_file(labels)));
    }
}
