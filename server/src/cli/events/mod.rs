//! `landfall events`: what integrators are told.

mod list;
mod replay;
mod test;

use anyhow::bail;
use clap::{Args, Subcommand};

use super::context::Context;
use crate::config::Config;
use crate::outbox::Sink;

const EXAMPLES: &str = "\
Examples:
  landfall events list --since 24h
  landfall events test shop
  landfall events replay --since 7d --sink shop";

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
    Replay(replay::Replay),
    Test(test::Test),
}

impl Events {
    pub(super) fn run(self, context: &Context) -> anyhow::Result<()> {
        match self.command {
            Command::List(command) => command.run(context),
            Command::Replay(command) => command.run(context),
            Command::Test(command) => command.run(context),
        }
    }
}

/// The sink of that name, or all; at least one.
fn sinks_named(config: &Config, name: Option<&str>) -> anyhow::Result<Vec<Sink>> {
    let wanted = config.sinks.iter().filter(|sink| name.is_none_or(|name| sink.name == name));
    let sinks: Vec<Sink> = wanted.map(|sink| Sink::new(sink, &config.events.source)).collect();
    if sinks.is_empty() {
        let known: Vec<&str> = config.sinks.iter().map(|sink| sink.name.as_str()).collect();
        match name {
            Some(name) if !known.is_empty() => bail!("there is no sink {name}; there are {}", known.join(", ")),
            _ => bail!("there are no [[sinks]] in the configuration"),
        }
    }
    Ok(sinks)
}
