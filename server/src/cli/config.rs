//! `landfall config check | show`: is the configuration sound, and what does it amount to?

use anyhow::Context as _;
use clap::{Args, Subcommand};

use super::context::{Context, block_on};
use super::output;
use crate::config::{ConfigError, Loaded, Problem, as_json, as_toml};
use crate::{people, telemetry, tls};

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
    let (problems, warnings) = match context.load() {
        Ok(loaded) => faults(&loaded)?,
        Err(error) if json => match error.downcast() {
            Ok(ConfigError::Wrong(problems)) => (problems, Vec::new()),
            Ok(error) => (vec![Problem { place: None, key: None, message: error.to_string() }], Vec::new()),
            Err(error) => return Err(error),
        },
        Err(error) => return Err(error),
    };
    if json {
        let words: Vec<String> = problems.iter().map(ToString::to_string).collect();
        output::json(&serde_json::json!({ "ok": words.is_empty(), "errors": words, "warnings": warnings }))?;
        return if problems.is_empty() { Ok(()) } else { Err(super::Silent.into()) };
    }
    if !problems.is_empty() {
        return Err(ConfigError::Wrong(problems).into());
    }
    for warning in &warnings {
        output::line(&format!("warning: {warning}"))?;
    }
    Ok(output::line("ok")?)
}

/// What would stop the start beyond the values themselves, and what is probably not meant. Files that the configuration
/// names and the database are read as the start would read them; nothing is written.
fn faults(loaded: &Loaded) -> anyhow::Result<(Vec<Problem>, Vec<String>)> {
    let people::Checked { mut problems, remarks } = block_on(async { Ok(people::check(loaded).await) })?;
    if let Err(error) = tls::check(&loaded.config.tls) {
        problems.push(loaded.problem("tls.certificate", error.to_string()));
    }
    if let Err(error) = telemetry::check(&loaded.log) {
        let message = telemetry::sentence(&error.into());
        problems.push(Problem { place: Some("LANDFALL_LOG".to_owned()), key: None, message });
    }
    Ok((problems, loaded.warnings.iter().map(ToString::to_string).chain(remarks).collect()))
}

fn show(context: &Context, json: bool) -> anyhow::Result<()> {
    let loaded = context.load()?;
    if json {
        return output::json(&as_json(&loaded)?);
    }
    Ok(output::text(&as_toml(&loaded).context("the configuration has no form in TOML")?)?)
}
