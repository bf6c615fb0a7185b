//! Shell completions and manual pages.

use super::{Cli, Result};
use clap::{Args, CommandFactory};
use clap_complete::Shell;
use std::io::Write;
use std::path::PathBuf;

#[derive(Debug, Args)]
pub struct Completions {
    /// Shell to generate completions for
    #[arg(value_enum)]
    shell: Shell,
}

impl Completions {
    pub fn run(self) -> Result<()> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Cli::command(), "vitraux", &mut script);
        Ok(std::io::stdout().write_all(&script)?)
    }
}

#[derive(Debug, Args)]
pub struct Man {
    /// Write one page per subcommand to this folder, instead of the main page to standard output
    #[arg(long, short, value_name = "FOLDER")]
    output: Option<PathBuf>,
}

impl Man {
    pub fn run(self) -> Result<()> {
        let Some(folder) = self.output else {
            let mut page = Vec::new();
            clap_mangen::Man::new(Cli::command()).render(&mut page)?;
            return Ok(std::io::stdout().write_all(&page)?);
        };
        let failed = |error: std::io::Error| format!("{}: {error}", folder.display());
        std::fs::create_dir_all(&folder).map_err(failed)?;
        Ok(clap_mangen::generate_to(Cli::command(), &folder).map_err(failed)?)
    }
}
