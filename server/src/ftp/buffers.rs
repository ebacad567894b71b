//! A pool of large buffers for transfers: allocating one anew for each small file would cost more than the file.

use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, PoisonError};

/// Size of each buffer: large enough that system calls do not count, small enough to stay in a core's cache between the
/// socket, the digest and the file.
pub(super) const BUFFER_BYTES: usize = 256 * 1_024;
/// How many idle buffers are kept.
const MAX_IDLE_BUFFERS: usize = 64;

/// Idle buffers.
#[derive(Default)]
pub(super) struct Pool {
    idle: Arc<Mutex<Vec<Box<[u8]>>>>,
}

impl Pool {
    /// A buffer of [`BUFFER_BYTES`]; what it holds is left over from others and must not be sent.
    #[must_use]
    pub(super) fn take(&self) -> Buffer {
        let kept = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let bytes = kept.unwrap_or_else(|| vec![0; BUFFER_BYTES].into_boxed_slice());
        Buffer { bytes, idle: self.idle.clone() }
    }
}

/// A buffer; goes back to its pool when dropped.
pub(super) struct Buffer {
    bytes: Box<[u8]>,
    idle: Arc<Mutex<Vec<Box<[u8]>>>>,
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Deref for Buffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.bytes
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < MAX_IDLE_BUFFERS {
            idle.push(std::mem::take(&mut self.bytes));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_come_back_and_are_bounded() {
        let pool = Pool::default();
        let all: Vec<_> = (0..MAX_IDLE_BUFFERS + 3).map(|_| pool.take()).collect();
        assert!(all.iter().all(|buffer| buffer.len() == BUFFER_BYTES));
        drop(all);
        assert_eq!(pool.idle.lock().unwrap_or_else(PoisonError::into_inner).len(), MAX_IDLE_BUFFERS);
        let again = pool.take();
        assert_eq!(again.len(), BUFFER_BYTES);
        assert_eq!(pool.idle.lock().unwrap_or_else(PoisonError::into_inner).len(), MAX_IDLE_BUFFERS - 1);
    }
}
