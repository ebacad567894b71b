//! `landfall config check | show`: is the configuration sound, and what does it amount to?

use anyhow::Context as _;
use clap::{Args, Subcommand};

use super::context::Context;
use super::output;
use crate::config::{ConfigError, as_json, as_toml};
use crate::{people, tls};

const EXAMPLES: &str = "\
Examples:
  landfall config check
  landfall config check --config /etc/landfall/landfall.toml
  landfall config show --json";

/// Look at the configuration.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES, arg_required_else_help = true)]
pub(super) struct Config {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Say what is wrong, and where; "ok" when nothing is.
    #[command(after_help = "Example:\n  landfall config check --config landfall.toml")]
    Check {
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Print the values that hold, with where each came from; secrets are left out.
    #[command(after_help = "Examples:\n  landfall config show\n  landfall config show --json")]
    Show {
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
}

impl Config {
    pub(super) fn run(self, context: &Context) -> anyhow::Result<()> {
        match self.command {
            Command::Check { json } => check(context, json),
            Command::Show { json } => show(context, json),
        }
    }
}

fn check(context: &Context, json: bool) -> anyhow::Result<()> {
    let loaded = match context.load() {
        Ok(loaded) => loaded,
        Err(error) if json => {
            let problems: Vec<String> = match error.downcast_ref() {
                Some(ConfigError::Wrong(problems)) => problems.iter().map(ToString::to_string).collect(),
                _ => vec![error.to_string()],
            };
            output::json(&serde_json::json!({ "ok": false, "errors": problems, "warnings": [] }))?;
            return Err(super::Silent.into());
        }
        Err(error) => return Err(error),
    };
    // Files that the configuration names are read as the start would read them; nothing is written.
    let declared = people::check(&loaded.config)?;
    if loaded.config.tls.files().is_some() {
        tls::check(&loaded.config.tls).context("tls.certificate")?;
    }
    let warnings: Vec<String> = loaded.warnings.iter().map(ToString::to_string).chain(declared).collect();
    if json {
        return output::json(&serde_json::json!({ "ok": true, "errors": [], "warnings": warnings }));
    }
    for warning in &warnings {
        output::line(&format!("warning: {warning}"))?;
    }
    Ok(output::line("ok")?)
}

fn show(context: &Context, json: bool) -> anyhow::Result<()> {
    let loaded = context.load()?;
    if json {
        return output::json(&as_json(&loaded)?);
    }
    Ok(output::text(&as_toml(&loaded).context("the configuration has no form in TOML")?)?)
}
