//! Recommended models.

use super::output::stdout;
use super::table::{Column, Table};
use super::{Format, Result};
use clap::Args;
use serde_json::json;
use std::io::Write;

#[derive(Debug, Args)]
pub struct Models {
    /// Output format; json prints one list
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

/// A model for people who have no preference.
struct Recommended {
    /// Name on the Hugging Face hub.
    name: &'static str,
    /// Millions of parameters.
    millions: f64,
    commands: &'static str,
    good_for: &'static str,
}

const RECOMMENDED: [Recommended; 5] = [
    Recommended {
        name: "timm/vit_tiny_patch16_224.augreg_in21k_ft_in1k",
        millions: 5.7,
        commands: "classify",
        good_for: "1000 everyday classes (ImageNet) on a slow CPU",
    },
    Recommended {
        name: "timm/vit_base_patch16_224.augreg2_in21k_ft_in1k",
        millions: 86.6,
        commands: "classify",
        good_for: "the same classes, more accurately",
    },
    Recommended {
        name: "timm/vit_large_patch14_clip_224.openai_ft_in12k_in1k",
        millions: 304.2,
        commands: "classify",
        good_for: "the same classes, most accurately; for a GPU",
    },
    Recommended {
        name: "facebook/dinov2-small",
        millions: 22.1,
        commands: "embed, similar, fit, attention",
        good_for: "search, near-duplicates, classifiers of your own, attention maps",
    },
    Recommended {
        name: "facebook/dinov2-base",
        millions: 86.6,
        commands: "embed, similar, fit, attention",
        good_for: "the same, more accurately; for a GPU",
    },
];

impl Models {
    pub fn run(self) -> Result<()> {
        let mut out = stdout();
        match self.format {
            Format::Text => {
                let mut table =
                    Table::new([Column::Words("model"), Column::Numbers("M params"), Column::Words("commands"), Column::Words("good for")]);
                for Recommended { name, millions, commands, good_for } in RECOMMENDED {
                    table.add([name.to_owned(), format!("{millions:.1}"), commands.to_owned(), good_for.to_owned()]);
                }
                writeln!(out, "{}\nUse one: vitraux classify --model {} photo.jpg", table.text(), RECOMMENDED[0].name)?;
                writeln!(out, "All supported families: `vitraux families`")?;
            }
            Format::Json => {
                let object = |model: Recommended| json!({ "model": model.name, "parameters_millions": model.millions, "commands": model.commands, "good_for": model.good_for });
                writeln!(out, "{}", serde_json::Value::from_iter(RECOMMENDED.map(object)))?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use vitraux::Checkpoint;

    #[test]
    fn recommended_models_match_their_stated_parameter_counts() {
        // The counts of the others, which are large or have no classes, are in the library's `published_parameters`.
        for (Recommended { name, millions, .. }, architecture) in RECOMMENDED.into_iter().zip(["vit_tiny_patch16_224", "vit_base_patch16_224"]) {
            let parameters = Checkpoint::random(architecture).expect("a known architecture").parameters() as f64 / 1e6;
            assert!((parameters - millions).abs() < 0.05, "{name}: {parameters} M");
        }
    }
}
