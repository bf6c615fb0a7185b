use super::model::OpeningArgs;
use super::output::stdout;
use super::{Format, Result, of_file};
use clap::Args;
use serde_json::json;
use std::io::{BufRead, BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use vitraux::Tokenizer;
use vitraux::low_level::text::LONGEST;

#[derive(Debug, Args)]
pub struct Tokenize {
    /// Texts, or - for the lines of standard input [default: -]
    #[arg(value_name = "TEXT")]
    texts: Vec<String>,
    /// Output format; json prints one object per text
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
    /// Model whose tokenizer is used: owner/name[@revision] on the Hugging Face hub, or a folder; its weights are not needed
    #[arg(long, short, value_name = "MODEL", help_heading = "Model options")]
    model: Option<PathBuf>,
}

impl Tokenize {
    pub fn run(self) -> Result<()> {
        let tokenizer = OpeningArgs::default().of(self.model).tokenizer("tokenize")?;
        let mut out = BufWriter::new(stdout());
        let texts = if self.texts.is_empty() { vec!["-".to_owned()] } else { self.texts };
        for text in &texts {
            match text.as_str() {
                "-" => lines(|text| write(&mut out, &tokenizer, self.format, text))?,
                text => write(&mut out, &tokenizer, self.format, text)?,
            }
        }
        Ok(out.flush()?)
    }
}

/// Prints the ids of a text.
fn write(out: &mut impl Write, tokenizer: &Tokenizer, format: Format, text: &str) -> Result<()> {
    let tokens = tokenizer.encode(&[text])?;
    match format {
        Format::Text => {
            let ids: Vec<String> = tokens.ids.iter().map(u32::to_string).collect();
            writeln!(out, "{}", ids.join(" "))?;
        }
        Format::Json => {
            let mask: Vec<u8> = tokens.mask.iter().map(|&is_token| is_token.into()).collect();
            let names: Vec<Option<String>> = tokens.ids.iter().map(|id| tokenizer.token(*id)).collect();
            writeln!(out, "{}", json!({ "text": text, "input_ids": tokens.ids, "attention_mask": mask, "tokens": names }))?;
        }
    }
    Ok(())
}

/// Calls `with` with each line of standard input.
fn lines(mut with: impl FnMut(&str) -> Result<()>) -> Result<()> {
    let mut input = std::io::stdin().lock();
    let name = Path::new("standard input");
    for number in 1.. {
        let mut line = Vec::new();
        // Enough to see that a line is too long.
        if input.by_ref().take(LONGEST as u64 + 3).read_until(b'\n', &mut line).map_err(of_file(name))? == 0 {
            break;
        }
        let line = line.strip_suffix(b"\n").unwrap_or(&line);
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        // Windows writes a byte-order mark.
        let line = if number == 1 { line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line) } else { line };
        let wrong = |expected: &str| format!("standard input: line {number}: expected {expected}");
        if line.len() > LONGEST {
            return Err(wrong(&format!("at most {} KiB", LONGEST >> 10)).into());
        }
        with(std::str::from_utf8(line).map_err(|_| wrong("text in UTF-8"))?)?;
    }
    Ok(())
}
