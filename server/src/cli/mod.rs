//! The command line: one command per file. Reads arguments, calls the rooms, prints; decides nothing that they decide.
//!
//! Every command has an example in its help, `--json` where it prints data, and ends with 0 (done), 1 (failed) or
//! 2 (wrong usage).

mod backup;
mod completions;
mod config;
mod context;
mod events;
mod group;
mod health;
mod key;
mod limits;
mod output;
mod password;
mod restore;
mod rules;
mod serve;
mod sessions;
mod uploads;
mod user;

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, CommandFactory, Parser, Subcommand};

use context::Context;

use crate::telemetry::sentence;

const EXAMPLES: &str = "\
Examples:
  landfall serve
  landfall user add acme --generate-password
  landfall uploads --since 24h";

/// Self-hosted server that receives files over FTP, FTPS and SFTP.
///
/// A file lands whole, durably and accounted for, or it does not land at all.
#[derive(Debug, Parser)]
#[command(name = "landfall", version, after_help = EXAMPLES, arg_required_else_help = true)]
#[command(max_term_width = 120)]
pub struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

/// What every command takes.
#[derive(Debug, Clone, Args)]
struct Global {
    /// Configuration file [default: ./landfall.toml, then /etc/landfall/landfall.toml, if there is one].
    #[arg(long, global = true, value_name = "FILE", help_heading = "Global options")]
    config: Option<PathBuf>,
    /// Directory of database, keys and certificate; wins over the configuration.
    #[arg(long, global = true, value_name = "DIR", help_heading = "Global options")]
    data_dir: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum Command {
    Serve(serve::Serve),
    User(user::User),
    Group(group::Group),
    Key(key::Key),
    Rules(rules::Rules),
    Uploads(uploads::Uploads),
    Events(events::Events),
    Sessions(sessions::Sessions),
    Config(config::Config),
    Health(health::Health),
    Backup(backup::Backup),
    Restore(restore::Restore),
    Completions(completions::Completions),
    Man(completions::Man),
    Version(completions::Version),
}

/// Arguments that make no sense together, found out only after they were parsed: exit code 2.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Usage(String);

/// A command that has said all there is to say and ends with 1.
#[derive(Debug, thiserror::Error)]
#[error("failed")]
struct Silent;

/// Runs the command that the process was started with.
#[must_use]
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are "errors" that go to stdout and end with 0; a closed pipe is nobody's fault.
            drop(error.print());
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    match run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if output::is_closed_pipe(&error) => ExitCode::SUCCESS,
        Err(error) if error.is::<Silent>() => ExitCode::FAILURE,
        Err(error) => {
            for line in sentence(&error).lines() {
                // A stderr that is gone is no reason to die on top of the error.
                drop(writeln!(std::io::stderr(), "landfall: {line}"));
            }
            if is_usage(&error) { ExitCode::from(2) } else { ExitCode::FAILURE }
        }
    }
}

/// Arguments that make no sense, whoever found out.
fn is_usage(error: &anyhow::Error) -> bool {
    use landfall_auth::Error;
    matches!(error.downcast_ref(), Some(Error::InvalidName { .. } | Error::Invalid { .. })) || error.is::<Usage>()
}

fn run(cli: Cli) -> anyhow::Result<()> {
    let context = Context::new(cli.global);
    match cli.command {
        Command::Serve(serve::Serve {}) => serve::run(context),
        Command::User(command) => command.run(&context),
        Command::Group(command) => command.run(&context),
        Command::Key(command) => command.run(&context),
        Command::Rules(command) => command.run(&context),
        Command::Uploads(command) => command.run(&context),
        Command::Events(command) => command.run(&context),
        Command::Sessions(command) => command.run(&context),
        Command::Config(command) => command.run(&context),
        Command::Health(command) => command.run(&context),
        Command::Backup(command) => command.run(&context),
        Command::Restore(command) => command.run(&context),
        Command::Completions(command) => command.run(),
        Command::Man(command) => command.run(),
        Command::Version(command) => command.run(),
    }
}

/// The whole command line, for completions and manual pages.
fn tree() -> clap::Command {
    Cli::command()
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests;
