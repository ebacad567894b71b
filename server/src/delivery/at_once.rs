//! Storage calls that are done at once, on the thread that asks for them. On a disk that is well, most calls are over
//! sooner than another thread is woken; on one that is not, a call may take as long as it likes. So they are done at once
//! only while other threads of the runtime are left that do everything else. Knows no call.

use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::runtime::Handle;

/// Places for calls that are done at once.
pub(super) struct AtOnce {
    taken: AtomicUsize,
    most: usize,
}

impl AtOnce {
    /// For the runtime that this is called on: half of its threads.
    pub(super) fn new() -> Self {
        let most = Handle::try_current().map_or(0, |runtime| runtime.metrics().num_workers() / 2);
        Self { taken: AtomicUsize::new(0), most }
    }

    /// A place, if one is left. Held over the calls, and never over an `.await`.
    pub(super) fn place(&self) -> Option<Place<'_>> {
        let more = |taken| (taken < self.most).then_some(taken + 1);
        self.taken.fetch_update(Ordering::AcqRel, Ordering::Acquire, more).is_ok().then(|| Place(self))
    }
}

/// A place, as long as it lives.
pub struct Place<'a>(&'a AtOnce);

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.taken.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[expect(clippy::unwrap_used, reason = "a test")]
    fn half_of_the_threads_are_left_for_others() {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(4).build().unwrap();
        let places = runtime.block_on(async { AtOnce::new() });
        let held = (places.place(), places.place());
        assert!(held.0.is_some() && held.1.is_some() && places.place().is_none());
        drop(held);
        assert!(places.place().is_some());
    }

    #[test]
    fn outside_of_a_runtime_there_is_none() {
        assert!(AtOnce::new().place().is_none());
    }
}
