//! Shell completions and manual pages.

use super::output::stdout;
use super::{Cli, Result, of_file};
use clap::{Args, Command, CommandFactory};
use clap_complete::Shell;
use std::io::Write;
use std::path::{Path, PathBuf};

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
        Ok(stdout().write_all(&script)?)
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
            return Ok(stdout().write_all(page(&named(Cli::command()))?.as_bytes())?);
        };
        std::fs::create_dir_all(&folder).map_err(of_file(&folder))?;
        write_pages(&named(Cli::command()), &folder)
    }
}

/// Returns the command with the names that its subcommands have as programs: `vitraux-classify`.
fn named(command: Command) -> Command {
    let mut command = command.disable_help_subcommand(true);
    command.build();
    command
}

/// Writes the pages of a command and of its subcommands.
fn write_pages(command: &Command, folder: &Path) -> Result<()> {
    let file = folder.join(clap_mangen::Man::new(command.clone()).get_filename());
    std::fs::write(&file, page(command)?).map_err(of_file(&file))?;
    command.get_subcommands().try_for_each(|command| write_pages(command, folder))
}

/// Returns the manual page of a command, with its examples as they are typed.
fn page(command: &Command) -> Result<String> {
    let mut page = Vec::new();
    clap_mangen::Man::new(command.clone()).source(concat!("vitraux ", env!("CARGO_PKG_VERSION"))).render(&mut page)?;
    let page = String::from_utf8(page)?;
    Ok(page.replacen(".SH EXTRA\nExamples:\n", ".SH EXAMPLES\n.nf\n", 1).replacen("\nEnvironment:\n", "\n.fi\n.SH ENVIRONMENT\n.nf\n", 1).replacen(
        "\n.SH VERSION",
        "\n.fi\n.SH VERSION",
        1,
    ))
}
