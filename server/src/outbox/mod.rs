//! The outbox: what integrators are told of what happened to uploads. Events are written by the ledger's own transactions
//! and told to sinks afterwards, at least once and in order per supplier. Refuses to know protocols, rules and files.
//!
//! | file | holds |
//! |---|---|
//! | `record.rs` | how a row of the ledger becomes an event |
//! | `event.rs` | an event as integrators see it |
//! | `rows.rs`, `tables.rs` | reading events; how far each sink has got |
//! | `course.rs` | the one task that sets workers to lanes |
//! | `lane.rs`, `worker.rs` | a sink's events of one supplier: position and pauses; telling them in order |
//! | `sink.rs` | what a sink wants, and one attempt |
//! | `webhook.rs`, `network.rs`, `exec.rs`, `failure.rs` | the two ways, and how they fail |
//! | `batch.rs`, `sweep.rs`, `replay.rs` | the ends of batches, of old events, and events told once more |

mod batch;
mod course;
pub mod event;
mod exec;
mod failure;
mod lane;
pub mod network;
mod record;
pub mod replay;
pub mod rows;
mod sink;
mod sweep;
mod tables;
#[cfg(test)]
mod tests;
mod webhook;
mod worker;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use landfall_auth::{Database, Error};
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use self::course::Course;
use crate::config::Config;

pub use event::{Event, EventType};
pub use failure::Failure;
pub(crate) use record::record;
pub use sink::Sink;

/// What a configuration says about events.
pub(crate) struct Settings {
    retention: Duration,
    batch_quiet: Duration,
    sinks: Vec<Arc<Sink>>,
}

impl Settings {
    fn new(config: &Config) -> Arc<Self> {
        let sinks: Vec<_> = config.sinks.iter().map(|sink| Arc::new(Sink::new(sink, &config.events.source))).collect();
        for sink in &sinks {
            if let Some(fault) = sink.fault() {
                tracing::error!(
                    sink = sink.name,
                    fault,
                    "the sink is told nothing until this is mended; its events wait"
                );
            }
        }
        Arc::new(Self { retention: config.events.retention.0, batch_quiet: config.events.batch_quiet.0, sinks })
    }
}

/// The room.
pub struct Outbox {
    database: Database,
    settings: watch::Sender<Arc<Settings>>,
    /// From where on each sink is told.
    since: HashMap<String, i64>,
    stop: CancellationToken,
    task: Mutex<Option<JoinHandle<()>>>,
}

impl Outbox {
    /// Notes which sinks there are: they are told of everything that happens from then on. Before anything happens.
    ///
    /// # Errors
    /// What the database says.
    pub async fn open(database: Database, config: &Config) -> Result<Self, Error> {
        let settings = Settings::new(config);
        let since = register(&database, &settings.sinks).await?;
        Ok(Self {
            database,
            settings: watch::Sender::new(settings),
            since,
            stop: CancellationToken::new(),
            task: Mutex::default(),
        })
    }

    /// Begins to tell; `news` says that there are new events.
    ///
    /// # Errors
    /// What the database says.
    pub async fn start(&self, news: Arc<Notify>) -> Result<(), Error> {
        let settings = self.settings.subscribe();
        let course = Course::begin(self.database.clone(), settings, news, self.since.clone()).await?;
        let task = tokio::spawn(course.run(self.stop.clone()));
        *self.task.lock().unwrap_or_else(PoisonError::into_inner) = Some(task);
        Ok(())
    }

    /// Takes over another configuration. What is being told is told to its end as it began.
    pub fn reload(&self, config: &Config) {
        let before = self.settings.send_replace(Settings::new(config));
        for sink in &before.sinks {
            sink.retired.cancel();
        }
    }

    /// Ends it: attempts under way have a few seconds, the rest waits for the next start.
    pub async fn stop(&self) {
        self.stop.cancel();
        let task = self.task.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(task) = task {
            drop(task.await);
        }
    }
}

/// Notes sinks that were never there before, and says from where on each is told.
async fn register(database: &Database, sinks: &[Arc<Sink>]) -> Result<HashMap<String, i64>, Error> {
    let mut write = database.write().await?;
    let names: Vec<&str> = sinks.iter().map(|sink| sink.name.as_str()).collect();
    let since = tables::register(&mut write, &names).await?;
    write.commit().await?;
    Ok(since)
}
