use super::output::stdout;
use super::{Format, Result};
use clap::Args;
use serde_json::json;
use std::io::Write;
use vitraux::low_level::checkpoint::{FAMILIES, Family};

#[derive(Debug, Args)]
pub struct Families {
    /// Output format; text prints a Markdown table, json one list
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

const HEADINGS: [&str; 4] = ["family", "timm", "transformers", "examples"];

impl Families {
    pub fn run(self) -> Result<()> {
        let mut out = stdout();
        match self.format {
            Format::Text => {
                writeln!(out, "| {} |", HEADINGS.join(" | "))?;
                writeln!(out, "| --- | --- | --- | --- |")?;
                for family in FAMILIES {
                    let [timm, transformers, examples] = [family.timm, family.transformers, family.examples].map(listed);
                    writeln!(out, "| {} | {timm} | {transformers} | {examples} |", family.name)?;
                }
            }
            Format::Json => {
                let object = |family: &Family| json!({ "name": family.name, "timm": family.timm, "transformers": family.transformers, "examples": family.examples });
                writeln!(out, "{}", serde_json::Value::from_iter(FAMILIES.iter().map(object)))?;
            }
        }
        Ok(())
    }
}

fn listed(names: &[&str]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}
