//! Group commit: landings into one directory share its sync. Knows directories by number, never by name.
//!
//! A sync of a directory covers every rename that ended before the sync began, and no other. So a landing, once its
//! rename is done, joins the round that *gathers*; the round's first free member leads: it closes the round, syncs once,
//! and hands the outcome to all of it. Landings that come while a sync runs gather for the next one. N landings at once
//! thus cost two syncs or a few more, not N, and none is answered by a sync that began before its rename ended.
//!
//! An outcome belongs to its round for good: after a failed sync, a later success says nothing about what the failed
//! one should have covered (the kernel reports a write error once).

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};

use rustix::io::Errno;

/// Device and inode number: what makes two open directories the same one.
pub(crate) type DirectoryId = (u64, u64);

/// All directories with a landing under way; empty when there is none.
#[derive(Default)]
pub(crate) struct GroupCommit {
    queues: Mutex<HashMap<DirectoryId, Arc<Queue>>>,
}

/// The landings of one directory.
#[derive(Default)]
struct Queue {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// A leader is syncing.
    running: bool,
    /// The round that landings join now.
    gathering: Arc<Round>,
}

/// Landings covered by one sync.
#[derive(Default)]
struct Round {
    outcome: OnceLock<Result<(), Errno>>,
}

impl GroupCommit {
    /// Returns once a sync of `directory` that began after this call has ended. `sync` is called by the round's leader only.
    pub(crate) fn sync(&self, directory: DirectoryId, sync: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        let queue = Arc::clone(lock(&self.queues).entry(directory).or_default());
        let outcome = queue.join(sync);
        self.leave(directory, queue);
        outcome.map_err(io::Error::from)
    }

    /// Lets go of a queue that nobody uses any more, so that the map holds no more directories than landings.
    fn leave(&self, directory: DirectoryId, queue: Arc<Queue>) {
        let mut queues = lock(&self.queues);
        drop(queue);
        if queues.get(&directory).is_some_and(|queue| Arc::strong_count(queue) == 1) {
            queues.remove(&directory);
        }
    }
}

impl Queue {
    fn join(&self, sync: impl FnOnce() -> io::Result<()>) -> Result<(), Errno> {
        let mut state = lock(&self.state);
        let round = Arc::clone(&state.gathering);
        loop {
            if let Some(outcome) = round.outcome.get() {
                return *outcome;
            }
            if !state.running {
                break;
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.running = true;
        state.gathering = Arc::default();
        drop(state);
        // Set on unwinding too: nobody may wait for a leader that is gone.
        let mut lead = Lead { queue: self, round: &round, outcome: Err(Errno::IO) };
        lead.outcome = sync().map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO));
        lead.outcome
    }
}

/// The leader's duty to end its round.
struct Lead<'a> {
    queue: &'a Queue,
    round: &'a Round,
    outcome: Result<(), Errno>,
}

impl Drop for Lead<'_> {
    fn drop(&mut self) {
        let mut state = lock(&self.queue.state);
        // A round has one leader, so nobody else has set it.
        let _ = self.round.outcome.set(self.outcome);
        state.running = false;
        drop(state);
        self.queue.changed.notify_all();
    }
}

/// Locks, poisoned or not: nothing here is left half-changed by a panic.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
