//! `landfall sessions [kick ID]`: who is in, and how to end a session.

use anyhow::bail;
use clap::{Args, Subcommand};

use super::context::Context;
use super::output;
use crate::config::{ByteSize, Moment, Way};
use crate::control::{self, Reply, Request};
use crate::delivery::SessionInfo;

const EXAMPLES: &str = "\
Examples:
  landfall sessions
  landfall sessions --json
  landfall sessions kick 17";

/// List the sessions of the running server, or end one.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES, args_conflicts_with_subcommands = true)]
pub(super) struct Sessions {
    #[command(subcommand)]
    command: Option<Command>,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// End a session. What it was uploading is suspended and can be resumed.
    #[command(after_help = "Example:\n  landfall sessions kick 17")]
    Kick {
        /// Its number, as `landfall sessions` shows it.
        #[arg(value_parser = number)]
        id: u64,
    },
}

fn number(text: &str) -> Result<u64, &'static str> {
    text.parse().map_err(|_| "a session's number is expected, as `landfall sessions` shows it")
}

/// The sessions with their times in the form that every command gives them.
fn for_programs(sessions: &[SessionInfo]) -> serde_json::Result<serde_json::Value> {
    let mut value = serde_json::to_value(sessions)?;
    for (shown, session) in value.as_array_mut().into_iter().flatten().zip(sessions) {
        if let Some(shown) = shown.as_object_mut() {
            shown.insert("since".to_owned(), Moment::from_seconds(session.since).in_full().into());
        }
    }
    Ok(value)
}

impl Sessions {
    pub(super) fn run(self, context: &Context) -> anyhow::Result<()> {
        let data_dir = context.data_dir()?;
        let request = match self.command {
            Some(Command::Kick { id }) => Request::Kick { id },
            None => Request::Sessions,
        };
        match (control::ask(&data_dir, &request)?, request) {
            (Reply::Kicked(true), Request::Kick { id }) => Ok(output::line(&format!("session {id} ends"))?),
            (Reply::Kicked(false), Request::Kick { id }) => bail!("there is no session {id}"),
            (Reply::Sessions(sessions), _) if self.json => output::json(&for_programs(&sessions)?),
            (Reply::Sessions(sessions), _) if sessions.is_empty() => Ok(output::line("nobody is logged in")?),
            (Reply::Sessions(sessions), _) => {
                let rows: Vec<[String; 7]> = sessions
                    .into_iter()
                    .map(|session| {
                        [
                            session.id.to_string(),
                            session.user,
                            Way(session.protocol).to_string(),
                            session.peer.to_string(),
                            Moment::from_seconds(session.since).to_string(),
                            ByteSize(session.received_bytes).to_string(),
                            session.activity,
                        ]
                    })
                    .collect();
                let headline = ["ID", "USER", "PROTOCOL", "FROM", "SINCE", "RECEIVED", "DOING"];
                Ok(output::text(&output::table(headline, &rows))?)
            }
            (Reply::Failed(why), _) => bail!("{why}"),
            _ => bail!("the server's answer makes no sense"),
        }
    }
}
