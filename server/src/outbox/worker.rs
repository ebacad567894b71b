//! What works on one lane: takes its events in order, tells them, and reports how far it got. Decides nothing about other
//! lanes, and writes nothing down itself.

use std::sync::Arc;

use sqlx::sqlite::SqlitePool;
use tokio::sync::mpsc;

use super::event::Event;
use super::lane::{Kind, Lane, Verdict};
use super::rows::millis;
use super::sink::Sink;
use super::tables::{self, Change};
use super::webhook::Line;
use crate::clock::now;
use crate::config::Moment;

/// Events that a lane tells in one turn; then it is another lane's turn.
const PAGE_EVENTS: u32 = 100;

/// What a worker says.
pub(super) enum Report {
    /// To be written down.
    Changed(Vec<Change>),
    /// The worker has ended, and left the lane like this.
    Ended(Lane),
}

/// What came of an event.
enum Told {
    /// It was taken, or set aside; with what has to be written down beside the lane.
    Done(Vec<Change>),
    /// It was not, and the lane says when it is tried again.
    Waits,
}

/// One lane at work.
pub(super) struct Worker {
    pub(super) lane: Lane,
    pub(super) sink: Arc<Sink>,
    pub(super) pool: SqlitePool,
    /// The last event there is to tell.
    pub(super) until: i64,
    pub(super) reports: mpsc::Sender<Report>,
}

impl Worker {
    /// Until nothing is left, an event is not taken, or another configuration holds.
    pub(super) async fn run(mut self) {
        let retired = self.sink.retired.clone();
        loop {
            let turn = tokio::select! {
                turn = self.sink.turns.clone().acquire_owned() => turn,
                () = retired.cancelled() => break,
            };
            let more = self.page().await;
            drop(turn);
            if !more || retired.is_cancelled() {
                break;
            }
        }
        // Whoever is not there to hear it reads the tables at the next start.
        drop(self.reports.send(Report::Ended(self.lane)).await);
    }

    /// Tells the next events; true when there may be more.
    async fn page(&mut self) -> bool {
        let page = match tables::page(&self.pool, &self.lane, self.until, PAGE_EVENTS).await {
            Ok(page) => page,
            Err(error) => {
                tracing::error!(sink = self.sink.name, %error, "reading events");
                let verdict = self.lane.failed(error.to_string(), now(), self.sink.park_after, spread(), None);
                // What cannot be read was not refused by anybody: it is never set aside.
                if verdict == Verdict::Park {
                    self.lane.failing_since = None;
                }
                return false;
            }
        };
        let full = page.len() >= PAGE_EVENTS as usize;
        let mut line = Line::default();
        for event in page {
            if self.sink.retired.is_cancelled() {
                return false;
            }
            let wanted = self.sink.wants(&event.kind);
            let told = if wanted { self.tell(&event, &mut line).await } else { Told::Done(Vec::new()) };
            let (mut changes, waits) = match told {
                Told::Done(changes) => (changes, false),
                Told::Waits => (Vec::new(), true),
            };
            if !waits {
                self.lane.done(event.seq);
            }
            changes.push(Change::Lane(self.lane.clone()));
            if self.reports.send(Report::Changed(changes)).await.is_err() || waits {
                return false;
            }
        }
        if !full {
            self.lane.done(self.until);
        }
        full
    }

    /// One attempt.
    async fn tell(&mut self, event: &Event, line: &mut Line) -> Told {
        let (sink, id, user, kind) = (&self.sink.name, &event.id, &event.user, &event.kind);
        let failure = match self.sink.tell(event, line).await {
            Ok(answer) => {
                tracing::debug!(sink, user, id, kind, answer, "event delivered");
                let taken = Change::Taken { sink: sink.clone(), seq: event.seq };
                return Told::Done(if self.lane.kind == Kind::Live { Vec::new() } else { vec![taken] });
            }
            Err(failure) => failure,
        };
        let pause = failure.retry_after();
        let verdict = self.lane.failed(failure.to_string(), now(), self.sink.park_after, spread(), pause);
        let attempt = self.lane.attempts;
        match verdict {
            Verdict::Again(next) => {
                let next = Moment(next).to_string();
                tracing::warn!(sink, user, id, kind, attempt, next, error = %failure, "event not delivered; it is tried again");
                Told::Waits
            }
            Verdict::Park => {
                tracing::error!(
                    sink, user, id, kind, attempt, error = %failure,
                    "event parked: the sink did not take it for as long as park_after says; those behind it go on"
                );
                Told::Done(vec![Change::Park {
                    sink: sink.clone(),
                    seq: event.seq,
                    user: user.clone(),
                    since: self.lane.failing_since.map_or(0, millis),
                    attempts: attempt,
                    error: failure.to_string(),
                }])
            }
        }
    }
}

fn spread() -> f64 {
    rand::random::<f64>()
}
