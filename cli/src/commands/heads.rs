//! Which classifiers.

use super::Result;
use clap::Args;
use std::path::PathBuf;
use vitraux::{Checkpoint, Head};

/// Which classifiers.
#[derive(Debug, Args)]
#[command(next_help_heading = "Model options")]
pub struct HeadArgs {
    /// Replace the classifier with one from a safetensors file with `weight` and `bias`, or drop it with `none`; NAME=FILE adds a
    /// classifier to the existing ones; may be repeated
    #[arg(long, value_name = "none|FILE|NAME=FILE", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    head: Vec<String>,
}

impl HeadArgs {
    /// Returns whether a classifier is chosen.
    pub fn is_given(&self) -> bool {
        !self.head.is_empty()
    }

    /// Returns the files of the classifiers.
    pub fn files(&self) -> Vec<PathBuf> {
        self.head.iter().flat_map(|head| [Some(head.as_str()), head.split_once('=').map(|(_, file)| file)]).flatten().map(PathBuf::from).collect()
    }

    pub fn apply(&self, mut checkpoint: Checkpoint) -> Result<Checkpoint> {
        // A file name may also contain a =.
        let is_named = |head: &&String| head.contains('=') && !std::path::Path::new(head).exists();
        // Dropping or replacing the classifier comes first, whatever the order of the arguments.
        let (added, own): (Vec<&String>, Vec<&String>) = self.head.iter().partition(is_named);
        checkpoint = match own.as_slice() {
            [] => checkpoint,
            [head] if *head == "none" => checkpoint.without_heads(),
            [file] => checkpoint.with_head("", Head::open(file)?)?,
            [first, second, ..] => {
                return Err(
                    format!("--head {first} and --head {second}: only one can replace the model's own classifier; add others as NAME=FILE").into()
                );
            }
        };
        for head in added {
            let (name, file) = head.split_once('=').expect("it has one");
            if name.is_empty() || file.is_empty() {
                return Err(format!("--head {head:?}: expected NAME=FILE").into());
            }
            checkpoint = checkpoint.with_head(name, Head::open(file)?)?;
        }
        Ok(checkpoint)
    }
}
