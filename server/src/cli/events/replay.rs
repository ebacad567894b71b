//! `landfall events replay`: events that are told once more.

use anyhow::bail;
use clap::Args;

use super::sinks_named;
use crate::cli::context::Context;
use crate::cli::output;
use crate::cli::uploads::Since;
use crate::outbox::replay::{self, Wanted};

const EXAMPLES: &str = "\
Examples:
  landfall events replay --since 7d --sink shop
  landfall events replay --since 2027-01-31 --user acme
  landfall events replay --parked";

/// Tell sinks once more what they were told, under the same ids.
///
/// In order per supplier, beside what is new. A running server begins within a second, one that is down at its next start.
/// Landings and refusals whose events were removed by their age are told from the ledger.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Replay {
    /// What happened since then: 2h, 7d, 2027-01-31, or 2027-01-31T12:00:00Z.
    #[arg(long, value_name = "T", required_unless_present = "parked")]
    since: Option<Since>,
    /// To this sink only.
    #[arg(long, value_name = "S")]
    sink: Option<String>,
    /// About this supplier only.
    #[arg(long, value_name = "U")]
    user: Option<String>,
    /// Only what is parked: what the sink did not take for as long as its park_after.
    #[arg(long)]
    parked: bool,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

impl Replay {
    pub(super) fn run(self, context: &Context) -> anyhow::Result<()> {
        let wanted = Wanted { since: self.since.map(Since::time), user: self.user, parked: self.parked };
        let sink = self.sink;
        let replays = context.with_users_if_any(async |loaded, users| {
            let sinks = sinks_named(&loaded.config, sink.as_deref())?;
            Ok(replay::replay(users.database(), &sinks, &wanted).await?)
        })?;
        let Some(replays) = replays else { bail!("nothing has ever happened here") };
        if self.json {
            return output::json(&replays);
        }
        for replay in replays {
            let (events, users) = (plural(replay.events, "event"), plural(replay.users as u64, "supplier"));
            output::line(&match replay.events {
                0 => format!("{}: nothing to tell", replay.sink),
                _ => format!("{}: {events} of {users}, by a running server now, or at its next start", replay.sink),
            })?;
        }
        Ok(())
    }
}

fn plural(count: u64, what: &str) -> String {
    if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") }
}
