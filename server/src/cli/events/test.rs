//! `landfall events test`: one event to one sink, now.

use std::time::Instant;

use clap::Args;
use serde_json::json;

use super::sinks_named;
use crate::cli::context::{Context, block_on};
use crate::cli::{Silent, output};
use crate::clock::now;
use crate::config::Moment;
use crate::outbox::{Event, EventType};

const EXAMPLES: &str = "\
Example:
  landfall events test shop";

/// Send one event of type landfall.test to a sink now, and say how that went.
///
/// By this process, with the configuration of this moment; a running server is not asked. Ends with 1 when the sink did not
/// acknowledge it.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Test {
    /// Name of the sink.
    sink: String,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

impl Test {
    pub(super) fn run(self, context: &Context) -> anyhow::Result<()> {
        let loaded = context.load()?;
        let sinks = sinks_named(&loaded.config, Some(&self.sink))?;
        let Some(sink) = sinks.first() else { return Ok(()) };
        let event = Event {
            seq: 0,
            id: format!("{}-test", landfall_storage::UploadId::fresh()),
            kind: EventType::Test.to_string(),
            user: String::new(),
            subject: None,
            time: Moment(now()).in_full(),
            data: json!({ "message": "landfall events test" }).to_string(),
        };
        let began = Instant::now();
        let told = block_on(async { Ok(sink.test(&event).await) })?;
        let milliseconds = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        if self.json {
            let (answer, error) = match &told {
                Ok(answer) => (Some(answer), None),
                Err(failure) => (None, Some(failure.to_string())),
            };
            output::json(&json!({
                "sink": self.sink, "id": event.id, "acknowledged": told.is_ok(), "answer": answer, "error": error,
                "milliseconds": milliseconds,
            }))?;
        } else {
            output::line(&match &told {
                Ok(answer) => format!("{}: acknowledged after {milliseconds} ms: {answer}", self.sink),
                Err(failure) => format!("{}: not acknowledged after {milliseconds} ms: {failure}", self.sink),
            })?;
        }
        told.map(drop).map_err(|_| Silent.into())
    }
}
