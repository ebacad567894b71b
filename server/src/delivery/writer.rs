//! The ledger's writing end. Who needs a commit makes it, on the thread it is on, and takes along all that waits: one
//! landing costs no task switch, and many at a time share a commit. What the disk refuses for now, though it tells of what
//! is so already, is owed and written as soon as the disk takes it. Knows writes, not what they mean.

use std::collections::VecDeque;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use landfall_auth::{Database, Sync};
use tokio::sync::Notify;

use super::ledger::Write;
use super::refusal::{Reason, Refusal};
use super::statements::{carry_out, run};

/// Writes that nobody waits for are kept up to here.
const QUEUE_ROWS: usize = 4_096;
/// Rows in one transaction at most.
const BATCH_ROWS: usize = 256;
/// Writes that are owed are kept up to here.
const OWED_ROWS: usize = 4_096;
/// How long after a failure what is owed is tried again, if no other write comes first.
const OWED_RETRY: Duration = Duration::from_millis(500);

/// How a write went; empty before.
type Done = Arc<OnceLock<Result<(), Failure>>>;

/// Why a write failed.
#[derive(Clone)]
struct Failure {
    detail: String,
    /// There is no room, so it is worth saying.
    full: bool,
    /// It may work another time.
    passing: bool,
}

impl From<landfall_auth::Error> for Failure {
    fn from(error: landfall_auth::Error) -> Self {
        use rusqlite::ErrorCode as C;
        let code = match &error {
            landfall_auth::Error::Writer(error) => error.sqlite_error_code(),
            _ => None,
        };
        let full = code == Some(C::DiskFull);
        let passing = full
            || matches!(
                code,
                Some(
                    C::SystemIoFailure
                        | C::CannotOpen
                        | C::DatabaseBusy
                        | C::DatabaseLocked
                        | C::FileLockingProtocolFailed
                        | C::OutOfMemory
                        | C::ReadOnly
                )
            );
        Self { detail: error.to_string(), full, passing }
    }
}

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
    /// Whose turn it is to take what waits; held until all of that is done. With the turn goes what is owed, oldest first.
    turn: Mutex<VecDeque<Write>>,
    /// Told when a commit has brought events.
    news: Arc<Notify>,
}

/// A write under way; `wait` for its commit on a thread that may block.
pub(super) struct Pending {
    queue: Arc<Queue>,
    done: Done,
    wake: SyncSender<()>,
}

impl Pending {
    pub(super) fn wait(self) -> Result<(), Refusal> {
        self.queue.commit_until(&self.done);
        match self.done.get() {
            Some(Ok(())) => Ok(()),
            Some(Err(failure)) => {
                // It may be owed now: somebody has to try again.
                self.wake.try_send(()).ok();
                Err(unwritable(failure))
            }
            None => Err(Refusal::internal("ledger: a write was lost")),
        }
    }
}

fn unwritable(failure: &Failure) -> Refusal {
    if failure.full {
        tracing::error!(detail = failure.detail, "no room for the ledger");
        return Refusal::new(Reason::NoSpace, "no space left for the ledger; try again later");
    }
    Refusal::internal(format_args!("ledger: {}", failure.detail))
}

/// Keeps a write until the disk takes it, if another time may be better than this one.
fn owe(owed: &mut VecDeque<Write>, write: Write, failure: &Failure) {
    if failure.passing && owed.len() < OWED_ROWS {
        tracing::warn!(error = failure.detail, "the ledger is behind");
        owed.push_back(write);
    } else {
        tracing::error!(error = failure.detail, "a row is missing from the ledger");
    }
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
        Pending { queue: self.queue.clone(), done, wake: self.wake.clone() }
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
        self.queue.still_owes();
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
        let mut owing = false;
        loop {
            let heard = if owing { woken.recv_timeout(OWED_RETRY) } else { woken.recv().map_err(Into::into) };
            if heard == Err(RecvTimeoutError::Disconnected) {
                return;
            }
            while self.commit_unless(None) {}
            owing = self.still_owes();
        }
    }

    /// Commits what waits until that write is done; another thread may have it already, and is waited for.
    fn commit_until(&self, done: &Done) {
        while done.get().is_none() && self.commit_unless(Some(done)) {}
    }

    /// When its turn has come: commits what waits then, at most [`BATCH_ROWS`], in the order it came; false when nothing
    /// did. Nothing is left to do for who waits for a write that is done by then.
    fn commit_unless(&self, done: Option<&Done>) -> bool {
        let mut owed = self.turn();
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
        self.pay(&mut owed);
        self.write(batch, &mut owed);
        true
    }

    fn turn(&self) -> MutexGuard<'_, VecDeque<Write>> {
        self.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes what is owed; true if something is owed even then.
    fn still_owes(&self) -> bool {
        let mut owed = self.turn();
        self.pay(&mut owed);
        !owed.is_empty()
    }

    /// Writes what is owed, in its order, as far as the disk takes it.
    fn pay(&self, owed: &mut VecDeque<Write>) {
        let mut rows = BATCH_ROWS;
        while !owed.is_empty() {
            rows = rows.min(owed.len());
            match self.transaction(owed.range(..rows)).map_err(Failure::from) {
                Ok(()) => drop(owed.drain(..rows)),
                Err(failure) if failure.passing => return,
                // One bad row; the next time round it is found.
                Err(_) if rows > 1 => rows = 1,
                Err(failure) => {
                    tracing::error!(error = failure.detail, "a row is missing from the ledger");
                    owed.pop_front();
                }
            }
        }
    }

    /// One bad row must not fail its neighbours, so a batch that fails is written again row by row.
    fn write(&self, batch: Vec<Waiting>, owed: &mut VecDeque<Write>) {
        let together = self.transaction(batch.iter().map(|row| &row.write)).map_err(Failure::from);
        let single = batch.len() == 1;
        for Waiting { write, done } in batch {
            let outcome = match &together {
                Ok(()) => Ok(()),
                Err(_) if !single => self.transaction([&write]).map_err(Failure::from),
                Err(failure) => Err(failure.clone()),
            };
            match &outcome {
                Ok(()) => owed.retain(|older| !write.outdates(older)),
                Err(failure) if done.is_none() || write.tells_what_is_visible() => owe(owed, write, failure),
                Err(_) => {}
            }
            if let Some(done) = done {
                // The caller may have gone with its connection; the row is written all the same.
                drop(done.set(outcome));
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
