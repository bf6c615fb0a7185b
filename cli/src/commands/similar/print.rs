//! Printing of matches.

use super::index::Index;
use super::nearest::{Best, Match};
use crate::commands::images::{TableFormat as Format, row};
use crate::commands::output::{Beside, stdout};
use crate::commands::{Result, note, shown};
use serde_json::json;
use std::io::Write;

/// Prints matches, best first. Those left out are mentioned if `top` is not the user's.
pub fn print(index: &Index, best: &Best, format: Format, are_pairs: bool, top_is_chosen: bool) -> Result<()> {
    let mut out = std::io::BufWriter::new(Beside(stdout()));
    if format == Format::Csv {
        writeln!(out, "{}", if are_pairs { "image,other,similarity" } else { "image,similarity" })?;
    }
    for Match { similarity, images } in best.ordered() {
        let names: Vec<&str> = images.iter().map(|place| index.name(*place)).collect();
        match format {
            Format::Text => writeln!(out, "{similarity:.4}  {}", shown(&names.join("  ")))?,
            Format::Csv => {
                let cells = names.iter().map(|name| (*name).to_owned()).chain([similarity.to_string()]);
                writeln!(out, "{}", row(cells)?)?;
            }
            Format::Json => match names.as_slice() {
                [image, other] => writeln!(out, "{}", json!({ "image": image, "other": other, "similarity": similarity }))?,
                _ => writeln!(out, "{}", json!({ "image": names[0], "similarity": similarity }))?,
            },
        }
    }
    out.flush()?;
    if best.ordered().is_empty() {
        note("no images are as similar as requested; lower --above to see more");
    }
    // With an explicit --top, leaving matches out is expected.
    if best.left_out() > 0 && !top_is_chosen {
        note(&format!("{} more matches are not shown; use a larger --top to see more", best.left_out()));
    }
    Ok(())
}
