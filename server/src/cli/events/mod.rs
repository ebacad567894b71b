//! `landfall events`: what integrators are told.

mod list;

use clap::{Args, Subcommand};

use super::context::Context;

const EXAMPLES: &str = "\
Examples:
  landfall events list --since 24h";

/// What integrators are told of what happened to uploads.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES, arg_required_else_help = true)]
pub(super) struct Events {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    List(list::List),
}

impl Events {
    pub(super) fn run(self, context: &Context) -> anyhow::Result<()> {
        match self.command {
            Command::List(command) => command.run(context),
        }
    }
}
