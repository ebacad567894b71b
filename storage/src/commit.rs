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
    /// With each queue, how many landings use it.
    queues: Mutex<HashMap<DirectoryId, (usize, Arc<Queue>)>>,
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
        let queue = {
            let mut queues = lock(&self.queues);
            let (users, queue) = queues.entry(directory).or_default();
            *users += 1;
            Arc::clone(queue)
        };
        let _hold = Hold { commits: self, directory };
        queue.join(sync).map_err(io::Error::from)
    }
}

/// A landing's use of a queue.
struct Hold<'a> {
    commits: &'a GroupCommit,
    directory: DirectoryId,
}

impl Drop for Hold<'_> {
    /// The last user's end is the queue's, so that the map holds no more directories than there are landings.
    fn drop(&mut self) {
        let mut queues = lock(&self.commits.queues);
        if let Some((users, _)) = queues.get_mut(&self.directory) {
            *users -= 1;
            if *users == 0 {
                queues.remove(&self.directory);
            }
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

#[cfg(test)]
#[expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "tests; a moment for threads to get where no event tells of them"
)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc;
    use std::thread;

    use super::*;

    const DIRECTORY: DirectoryId = (1, 2);

    /// Waits until `count` landings use the queue.
    fn await_members(commits: &GroupCommit, count: usize) {
        while commits.queues.lock().unwrap().get(&DIRECTORY).map_or(0, |(users, _)| *users) < count {
            thread::yield_now();
        }
    }

    /// Runs `first` as a leader's sync; while it runs, `others` more landings join, each with `sync`.
    fn during(
        commits: &GroupCommit,
        others: usize,
        first: impl FnOnce() -> io::Result<()> + Send,
        sync: impl Fn() -> io::Result<()> + Sync,
    ) -> (thread::Result<io::Result<()>>, Vec<io::Result<()>>) {
        let (began, has_begun) = mpsc::sync_channel(1);
        let (end, may_end) = mpsc::sync_channel::<()>(1);
        let sync = &sync;
        thread::scope(|scope| {
            let leader = scope.spawn(move || {
                commits.sync(DIRECTORY, || {
                    began.send(()).unwrap();
                    may_end.recv().unwrap();
                    first()
                })
            });
            has_begun.recv().unwrap();
            let others: Vec<_> = (0..others).map(|_| scope.spawn(move || commits.sync(DIRECTORY, sync))).collect();
            await_members(commits, others.len() + 1);
            // Give them the moment between using the queue and joining its round.
            thread::sleep(std::time::Duration::from_millis(20));
            end.send(()).unwrap();
            (leader.join(), others.into_iter().map(|other| other.join().unwrap()).collect())
        })
    }

    #[test]
    fn those_who_come_during_a_sync_share_the_next_one() {
        let commits = GroupCommit::default();
        let syncs = AtomicUsize::new(0);
        let (first, others) = during(
            &commits,
            8,
            || Ok(()),
            || {
                syncs.fetch_add(1, Ordering::SeqCst);
                Ok(())
            },
        );
        assert!(first.unwrap().is_ok() && others.iter().all(Result::is_ok));
        let syncs = syncs.load(Ordering::SeqCst);
        assert!((1..=2).contains(&syncs), "{syncs} syncs for eight landings");
        assert!(commits.queues.lock().unwrap().is_empty(), "a queue that nobody uses is kept");
    }

    #[test]
    fn a_failure_belongs_to_its_round_alone() {
        let commits = GroupCommit::default();
        let (first, others) = during(&commits, 4, || Err(Errno::NOSPC.into()), || Ok(()));
        assert_eq!(Errno::from_io_error(&first.unwrap().unwrap_err()), Some(Errno::NOSPC));
        assert!(others.iter().all(Result::is_ok), "a failure was told to landings that it did not concern");

        let (first, others) = during(&commits, 4, || Ok(()), || Err(Errno::IO.into()));
        assert!(first.unwrap().is_ok());
        assert!(others.iter().all(Result::is_err), "a failure was kept from a landing of the round");
    }

    #[test]
    fn a_leader_that_panics_leaves_nobody_waiting() {
        let commits = GroupCommit::default();
        let (first, others) = during(&commits, 4, || panic!("a leader's end"), || Ok(()));
        assert!(first.is_err());
        assert!(others.iter().all(Result::is_ok));
        assert!(commits.queues.lock().unwrap().is_empty());
    }
}
