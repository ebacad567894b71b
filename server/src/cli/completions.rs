//! `landfall completions`, `landfall man`, `landfall version`: what packagers and shells ask for.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Args;
use clap_complete::Shell;

use super::{output, tree};

const COMPLETIONS: &str = "\
Examples:
  landfall completions bash > /etc/bash_completion.d/landfall
  landfall completions zsh > ~/.zfunc/_landfall";

/// Print a completion script for a shell.
#[derive(Debug, Args)]
#[command(after_help = COMPLETIONS)]
pub(super) struct Completions {
    /// Which shell.
    shell: Shell,
}

impl Completions {
    pub(super) fn run(self) -> anyhow::Result<()> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut tree(), "landfall", &mut script);
        Ok(output::text(&String::from_utf8_lossy(&script))?)
    }
}

const MAN: &str = "\
Examples:
  landfall man | man -l -
  landfall man --dir /usr/share/man/man1";

/// Print the manual page.
#[derive(Debug, Args)]
#[command(after_help = MAN)]
pub(super) struct Man {
    /// Directory for the pages of all commands.
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

impl Man {
    pub(super) fn run(self) -> anyhow::Result<()> {
        if let Some(directory) = &self.dir {
            write_all(directory).with_context(|| format!("writing to {}", directory.display()))?;
            return Ok(());
        }
        let mut page = Vec::new();
        clap_mangen::Man::new(tree()).render(&mut page)?;
        Ok(output::text(&String::from_utf8_lossy(&page))?)
    }
}

fn write_all(directory: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(directory)?;
    clap_mangen::generate_to(tree(), directory)
}

const VERSION: &str = "\
Example:
  landfall version";

/// Print the version.
#[derive(Debug, Args)]
#[command(after_help = VERSION)]
pub(super) struct Version {
    /// As JSON.
    #[arg(long)]
    json: bool,
}

impl Version {
    pub(super) fn run(self) -> anyhow::Result<()> {
        let version = env!("CARGO_PKG_VERSION");
        if self.json {
            return output::json_line(&serde_json::json!({ "name": "landfall", "version": version }));
        }
        Ok(output::line(&format!("landfall {version}"))?)
    }
}
