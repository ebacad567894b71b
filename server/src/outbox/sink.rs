//! A sink as it runs: what it wants to be told, and one attempt to tell it. Knows neither order nor repetition.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::event::Event;
use super::exec::Exec;
use super::failure::Failure;
use super::webhook::{Line, Webhook};
use crate::config::{self, SinkKind};

/// Attempts at a time, for one webhook and for one program.
const MAX_REQUESTS: usize = 16;
const MAX_PROGRAMS: usize = 4;

enum Way {
    Webhook(Box<Webhook>),
    Exec(Exec),
    /// It cannot be told anything until its configuration is mended; its events wait.
    Broken(String),
}

/// A sink.
pub struct Sink {
    pub(super) name: String,
    types: Vec<&'static str>,
    users: Vec<String>,
    pub(super) park_after: Duration,
    timeout: Duration,
    /// The attribute `source` of what it is told.
    source: String,
    /// Turns to tell it something.
    pub(super) turns: Arc<Semaphore>,
    /// Cancelled when another configuration holds.
    pub(super) retired: CancellationToken,
    way: Way,
}

impl Sink {
    /// From a checked configuration; what only the disk tells, such as a file of authorities, may still be wrong.
    #[must_use]
    pub fn new(sink: &config::Sink, source: &str) -> Self {
        let (way, turns) = match sink.kind {
            SinkKind::Webhook => match Webhook::new(sink) {
                Ok(webhook) => (Way::Webhook(Box::new(webhook)), MAX_REQUESTS),
                Err(error) => (Way::Broken(error), MAX_REQUESTS),
            },
            SinkKind::Exec => (Way::Exec(Exec::new(&sink.command)), MAX_PROGRAMS),
        };
        Self {
            name: sink.name.clone(),
            types: sink.types.iter().map(|kind| kind.as_str()).collect(),
            users: sink.users.clone(),
            park_after: sink.park_after.0,
            timeout: sink.timeout(),
            source: source.to_owned(),
            turns: Arc::new(Semaphore::new(turns)),
            retired: CancellationToken::new(),
            way,
        }
    }

    /// Why it cannot be told anything.
    #[must_use]
    pub fn fault(&self) -> Option<&str> {
        match &self.way {
            Way::Broken(fault) => Some(fault),
            Way::Webhook(_) | Way::Exec(_) => None,
        }
    }

    /// Does it hear of that supplier?
    #[must_use]
    pub fn hears_of(&self, user: &str) -> bool {
        self.users.is_empty() || self.users.iter().any(|name| name == user)
    }

    /// Does it want events of that type?
    #[must_use]
    pub fn wants(&self, kind: &str) -> bool {
        self.types.is_empty() || self.types.contains(&kind)
    }

    /// One attempt, within the time-out; how it was acknowledged.
    ///
    /// # Errors
    /// Why it was not acknowledged.
    pub(super) async fn tell(&self, event: &Event, line: &mut Line) -> Result<String, Failure> {
        let body = Bytes::from(event.envelope(&self.source).to_string());
        match &self.way {
            Way::Webhook(webhook) => {
                let told = webhook.tell(line, &event.id, &body, crate::clock::now());
                if let Ok(told) = tokio::time::timeout(self.timeout, told).await {
                    return told;
                }
                *line = Line::default();
                Err(Failure::Timeout(self.timeout))
            }
            Way::Exec(exec) => exec.tell(&self.name, &event.id, &event.kind, &body, self.timeout).await,
            Way::Broken(fault) => Err(Failure::Unusable(fault.clone())),
        }
    }

    /// One attempt without an order to keep: for `landfall events test`.
    ///
    /// # Errors
    /// Why it was not acknowledged.
    pub async fn test(&self, event: &Event) -> Result<String, Failure> {
        self.tell(event, &mut Line::default()).await
    }
}
