//! The course of one transfer, seen from two sides: the thread that moves bytes, and the control connection that asks
//! how far it is, stops it, or lets it land. Knows no protocol text.

use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

const RUNNING: u8 = 0;
const CANCELLED: u8 = 1;
const DECIDED: u8 = 2;

/// How often a thread that is held up looks whether it is still wanted.
const REST_STEP: Duration = Duration::from_millis(50);

/// Shared by both sides.
#[derive(Debug)]
pub(super) struct Course {
    /// The command, for people.
    doing: String,
    /// How much is to be moved, where that is known.
    total_bytes: Option<u64>,
    began: Instant,
    state: AtomicU8,
    bytes: AtomicU64,
    cancelled: CancellationToken,
    /// The data connection, so that a thread that waits on it can be woken.
    socket: Mutex<Option<TcpStream>>,
}

impl Course {
    pub(super) fn new(doing: String, total_bytes: Option<u64>) -> Self {
        Self {
            doing,
            total_bytes,
            began: Instant::now(),
            state: AtomicU8::new(RUNNING),
            bytes: AtomicU64::new(0),
            cancelled: CancellationToken::new(),
            socket: Mutex::new(None),
        }
    }

    /// What it is and how far it has come, a line each; `counted` says what is counted.
    pub(super) fn progress(&self, counted: &str) -> Vec<String> {
        let bytes = self.bytes();
        let rate = u128::from(bytes) * 1_000 / self.began.elapsed().as_millis().max(1);
        let of_all = self.total_bytes.map(|total| format!(" of {total}")).unwrap_or_default();
        vec![self.doing.clone(), format!("{bytes}{of_all} {counted}"), format!("{rate} per second")]
    }

    /// Payload moved so far.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    pub(super) fn add(&self, bytes: usize) {
        self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Says which socket to close on cancellation.
    pub(super) fn attach(&self, socket: TcpStream) {
        let mut slot = self.socket.lock().unwrap_or_else(PoisonError::into_inner);
        // Looked at under the lock: a cancellation before this finds no socket, one after it finds it.
        if self.is_cancelled() {
            shut(&socket);
        }
        *slot = Some(socket);
    }

    /// The thread's side is done with the socket: it closes for good when the thread lets go of its own.
    pub(super) fn detach(&self) {
        self.socket.lock().unwrap_or_else(PoisonError::into_inner).take();
    }

    /// Stops the transfer. False when its end was decided already: a landing goes on to its receipt.
    pub(super) fn cancel(&self) -> bool {
        let slot = self.socket.lock().unwrap_or_else(PoisonError::into_inner);
        let before = self.state.compare_exchange(RUNNING, CANCELLED, Ordering::AcqRel, Ordering::Acquire);
        if before.is_ok() {
            self.cancelled.cancel();
            if let Some(socket) = &*slot {
                shut(socket);
            }
        }
        before != Err(DECIDED)
    }

    /// Holds the thread up for so long, or until the cancellation.
    #[expect(clippy::disallowed_methods, reason = "a rate is kept: there is no event to wait for but the cancellation")]
    pub(super) fn rest(&self, wait: Duration) {
        let until = Instant::now() + wait;
        while !self.is_cancelled() {
            match until.saturating_duration_since(Instant::now()) {
                Duration::ZERO => return,
                left => std::thread::sleep(left.min(REST_STEP)),
            }
        }
    }

    pub(super) fn is_cancelled(&self) -> bool {
        self.state.load(Ordering::Acquire) == CANCELLED
    }

    /// Resolves at the cancellation.
    pub(super) async fn cancelled(&self) {
        self.cancelled.cancelled().await;
    }

    /// From here on nothing stops it; false when it was stopped before.
    pub(super) fn decide(&self) -> bool {
        self.state.compare_exchange(RUNNING, DECIDED, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }
}

fn shut(socket: &TcpStream) {
    // Fails when the peer was faster: then the thread is awake already.
    socket.shutdown(Shutdown::Both).ok();
}

/// Stops the transfer when the control side is dropped, whatever drops it: a thread must not wait for a session that
/// is no more.
pub(super) struct StopOnDrop(pub(super) Arc<Course>);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fresh() -> Course {
        Course::new("STOR /a.jpg".to_owned(), Some(10))
    }

    #[test]
    fn how_far_it_has_come() {
        let course = fresh();
        course.add(4);
        assert_eq!(course.progress("bytes so far")[..2], ["STOR /a.jpg", "4 of 10 bytes so far"]);
    }

    #[test]
    fn only_one_side_decides() {
        let course = fresh();
        assert!(course.cancel());
        assert!(!course.decide());
        assert!(course.is_cancelled());
        let course = fresh();
        assert!(course.decide());
        assert!(!course.cancel());
        assert!(!course.is_cancelled());
    }

    #[test]
    fn a_drop_stops() {
        let course = Arc::new(fresh());
        drop(StopOnDrop(course.clone()));
        assert!(course.is_cancelled());
    }
}
