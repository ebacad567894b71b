//! `landfall health`: is the server that runs on this data directory well? For HEALTHCHECK; needs no shell.

use anyhow::bail;
use clap::Args;

use super::context::Context;
use super::{Silent, output};
use crate::control::{self, Reply, Request};

const EXAMPLES: &str = "\
Examples:
  landfall health
  HEALTHCHECK CMD [\"landfall\", \"health\"]";

/// Ask the running server whether it is well.
///
/// That is: all listeners accept and the database answers. Ends with 1 if not, or if no server runs.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Health {
    /// As JSON.
    #[arg(long)]
    json: bool,
}

impl Health {
    pub(super) fn run(self, context: &Context) -> anyhow::Result<()> {
        let health = match control::ask(&context.data_dir()?, &Request::Health)? {
            Reply::Health(health) => health,
            Reply::Failed(why) => bail!("{why}"),
            _ => bail!("the server's answer makes no sense"),
        };
        if self.json {
            output::json_line(&health)?;
        } else {
            let listeners = health.listeners.iter().map(|listener| {
                let state = if listener.accepting { "" } else { " (not accepting)" };
                format!("{} {}{state}", listener.protocol, listener.addr)
            });
            let database = if health.database { "database" } else { "database (not answering)" };
            let facts: Vec<String> = listeners.chain([database.to_owned()]).collect();
            let word = match (health.is_good(), health.draining) {
                (true, _) => "ok",
                (false, true) => "draining",
                (false, false) => "unwell",
            };
            output::line(&format!("{word}: {}", facts.join(", ")))?;
        }
        if health.is_good() { Ok(()) } else { Err(Silent.into()) }
    }
}
