//! Turns for what takes long on the server's own threads: digests and copies. One slice at a time per user, and on half the
//! processors in all, so that transfers keep the others; first come, first served. Knows no file.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::sync::{OwnedMutexGuard, OwnedSemaphorePermit, Semaphore};

use super::refusal::Refusal;

/// The queue in front of what one user has under way.
pub(super) type Own = Arc<tokio::sync::Mutex<()>>;

/// The turns of one kind of work.
pub(super) struct Turns {
    slices: Arc<Semaphore>,
    users: Mutex<HashMap<String, Weak<tokio::sync::Mutex<()>>>>,
}

impl Default for Turns {
    fn default() -> Self {
        let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Self { slices: Arc::new(Semaphore::new(processors.div_ceil(2))), users: Mutex::default() }
    }
}

/// The right to one slice, as long as it lives.
pub(super) struct Turn(#[expect(dead_code, reason = "held")] (OwnedMutexGuard<()>, OwnedSemaphorePermit));

impl Turns {
    /// Waits for a turn behind what else waits in that queue.
    pub(super) async fn turn(&self, own: Own) -> Result<Turn, Refusal> {
        let own = own.lock_owned().await;
        let slice = self.slices.clone().acquire_owned().await.map_err(Refusal::internal)?;
        Ok(Turn((own, slice)))
    }

    /// The queue of a user.
    pub(super) fn of(&self, user: &str) -> Own {
        let mut users = self.users.lock().unwrap_or_else(PoisonError::into_inner);
        users.retain(|_, own| own.strong_count() > 0);
        users.get(user).and_then(Weak::upgrade).unwrap_or_else(|| {
            let own = Arc::default();
            users.insert(user.to_owned(), Arc::downgrade(&own));
            own
        })
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_user_has_one_turn_and_the_processors_are_shared() {
        let hashing = Turns { slices: Arc::new(Semaphore::new(2)), users: Mutex::default() };
        let acme = hashing.turn(hashing.of("acme")).await.unwrap();
        let mut second = Box::pin(hashing.turn(hashing.of("acme")));
        assert!(futures_now(&mut second).is_none());
        let beta = hashing.turn(hashing.of("beta")).await.unwrap();
        let mut third = Box::pin(hashing.turn(hashing.of("gamma")));
        assert!(futures_now(&mut third).is_none());
        drop(acme);
        assert!(futures_now(&mut second).is_none(), "gamma waited for a processor before acme's second file");
        let gamma = third.await.unwrap();
        drop((beta, gamma));
        second.await.unwrap();
        hashing.of("nobody");
        assert!(hashing.users.lock().unwrap().len() <= 1);
    }

    /// What a future says when it is asked once.
    fn futures_now<F: Future + Unpin>(future: &mut F) -> Option<F::Output> {
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        match std::pin::Pin::new(future).poll(&mut context) {
            std::task::Poll::Ready(output) => Some(output),
            std::task::Poll::Pending => None,
        }
    }
}
