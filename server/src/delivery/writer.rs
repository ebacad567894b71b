//! The ledger's writing end. Who needs a commit makes it, on the thread it is on, and takes along all that waits: one
//! landing costs no task switch, and many at a time share a commit. Knows writes, not what they mean.

use std::collections::VecDeque;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use landfall_auth::{Database, Sync};
use tokio::sync::Notify;

use super::ledger::Write;
use super::refusal::Refusal;
use super::statements::{carry_out, run};

/// Writes that nobody waits for are kept up to here.
const QUEUE_ROWS: usize = 4_096;
/// Rows in one transaction at most.
const BATCH_ROWS: usize = 256;

/// How a write went; empty before.
type Done = Arc<OnceLock<Result<(), String>>>;

struct Waiting {
    write: Write,
    done: Option<Done>,
}

/// The writing end. Cheap to clone; its own thread, for what nobody waits for, ends with the last one.
#[derive(Clone)]
pub(super) struct Writer {
    queue: Arc<Queue>,
    wake: SyncSender<()>,
}

struct Queue {
    database: Database,
    waiting: Mutex<VecDeque<Waiting>>,
    /// Whose turn it is to take what waits; held until all of that is done.
    turn: Mutex<()>,
    /// Told when a commit has brought events.
    news: Arc<Notify>,
}

/// A write under way; `wait` for its commit on a thread that may block.
pub(super) struct Pending {
    queue: Arc<Queue>,
    done: Done,
}

impl Pending {
    pub(super) fn wait(self) -> Result<(), Refusal> {
        self.queue.commit_until(&self.done);
        match self.done.get() {
            Some(Ok(())) => Ok(()),
            Some(Err(detail)) => Err(unwritable(detail)),
            None => Err(unwritable("a write was lost")),
        }
    }
}

fn unwritable(detail: &str) -> Refusal {
    Refusal::internal(format_args!("ledger: {detail}"))
}

impl Writer {
    pub(super) fn start(database: Database) -> Self {
        let queue =
            Arc::new(Queue { database, waiting: Mutex::default(), turn: Mutex::default(), news: Arc::default() });
        let (wake, woken) = sync_channel(1);
        let own = queue.clone();
        let thread = std::thread::Builder::new().name("ledger".to_owned());
        if let Err(error) = thread.spawn(move || own.commit_when(&woken)) {
            // What somebody waits for is written all the same, and takes the rest along.
            tracing::error!(%error, "the ledger has no thread of its own");
        }
        Self { queue, wake }
    }

    /// Told when a commit has brought events.
    pub(super) fn news(&self) -> Arc<Notify> {
        self.queue.news.clone()
    }

    /// Begins a write that is waited for at once.
    pub(super) fn begin(&self, write: Write) -> Pending {
        let done = Done::default();
        self.queue.waiting().push_back(Waiting { write, done: Some(done.clone()) });
        Pending { queue: self.queue.clone(), done }
    }

    /// Begins a write that is waited for later. Where a commit waits for the device it runs beside what the caller does
    /// meanwhile.
    pub(super) fn begin_beside(&self, write: Write) -> Pending {
        let pending = self.begin(write);
        if self.queue.database.sync() == Sync::Full {
            self.wake();
        }
        pending
    }

    /// A write that nobody waits for.
    pub(super) fn post(&self, write: Write) {
        let mut waiting = self.queue.waiting();
        if waiting.len() < QUEUE_ROWS {
            waiting.push_back(Waiting { write, done: None });
        } else {
            tracing::error!("the ledger's queue is full; a suspension or refusal is missing from the ledger");
        }
        drop(waiting);
        self.wake();
    }

    /// Returns when everything that waits has been written. Blocks.
    pub(super) fn flush(&self) {
        // Also waits for what another thread has taken.
        while self.queue.commit_unless(None) {}
    }

    fn wake(&self) {
        // Full: it is awake, or about to be.
        self.wake.try_send(()).ok();
    }
}

impl Queue {
    fn waiting(&self) -> MutexGuard<'_, VecDeque<Waiting>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn commit_when(&self, woken: &Receiver<()>) {
        while woken.recv().is_ok() {
            while self.commit_unless(None) {}
        }
    }

    /// Commits what waits until that write is done; another thread may have it already, and is waited for.
    fn commit_until(&self, done: &Done) {
        while done.get().is_none() && self.commit_unless(Some(done)) {}
    }

    /// When its turn has come: commits what waits then, at most [`BATCH_ROWS`], in the order it came; false when nothing
    /// did. Nothing is left to do for who waits for a write that is done by then.
    fn commit_unless(&self, done: Option<&Done>) -> bool {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        if done.is_some_and(|done| done.get().is_some()) {
            return true;
        }
        let batch: Vec<Waiting> = {
            let mut waiting = self.waiting();
            let rows = waiting.len().min(BATCH_ROWS);
            waiting.drain(..rows).collect()
        };
        if batch.is_empty() {
            return false;
        }
        self.write(batch);
        true
    }

    /// One bad row must not fail its neighbours, so a batch that fails is written again row by row.
    fn write(&self, batch: Vec<Waiting>) {
        let together = self.transaction(batch.iter().map(|row| &row.write));
        let single = batch.len() == 1;
        for Waiting { write, done } in batch {
            let outcome = match &together {
                Ok(()) => Ok(()),
                Err(error) if single => Err(error.to_string()),
                Err(_) => self.transaction([&write]).map_err(|error| error.to_string()),
            };
            match (done, outcome) {
                // The caller may have gone with its connection; the row is written all the same.
                (Some(done), outcome) => drop(done.set(outcome)),
                (None, Err(error)) => tracing::error!(%error, "a row is missing from the ledger"),
                (None, Ok(())) => {}
            }
        }
    }

    /// Left half-way, it is undone with its connection.
    fn transaction<'a>(&self, writes: impl IntoIterator<Item = &'a Write>) -> Result<(), landfall_auth::Error> {
        let connection = self.database.writer()?;
        // IMMEDIATE: no other process may write between our first statement and our last.
        run(&connection, "BEGIN IMMEDIATE", [])?;
        let mut events = false;
        for write in writes {
            carry_out(&connection, write)?;
            events |= write.is_an_event();
        }
        run(&connection, "COMMIT", [])?;
        connection.keep();
        if events {
            self.news.notify_one();
        }
        Ok(())
    }
}
