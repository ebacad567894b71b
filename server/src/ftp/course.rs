//! The course of one transfer, seen from two sides: the thread that moves bytes, and the control connection that asks
//! how far it is, stops it, or lets it land. Knows no protocol text.

use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio_util::sync::CancellationToken;

const RUNNING: u8 = 0;
const CANCELLED: u8 = 1;
const DECIDED: u8 = 2;

/// Shared by both sides.
#[derive(Debug, Default)]
pub(super) struct Course {
    state: AtomicU8,
    bytes: AtomicU64,
    cancelled: CancellationToken,
    /// The data connection, so that a thread that waits on it can be woken.
    socket: Mutex<Option<TcpStream>>,
}

impl Course {
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

    #[test]
    fn only_one_side_decides() {
        let course = Course::default();
        assert!(course.cancel());
        assert!(!course.decide());
        assert!(course.is_cancelled());
        let course = Course::default();
        assert!(course.decide());
        assert!(!course.cancel());
        assert!(!course.is_cancelled());
    }

    #[test]
    fn a_drop_stops() {
        let course = Arc::new(Course::default());
        drop(StopOnDrop(course.clone()));
        assert!(course.is_cancelled());
    }
}
