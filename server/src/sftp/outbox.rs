//! The replies of one channel on their way out: batched, and sent as the peer's window lets them. Whoever produces
//! large replies asks for room first and parks without it; acknowledgements never wait. Knows no request.

use std::collections::VecDeque;
use std::future::Future;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::connection::Connection;
use super::queue::Lane;

/// Replies in waiting on one channel, in bytes, above which nothing large is produced.
const ROOM_BYTES: usize = 1024 * 1024;
/// Replies shorter than this are put together, in bytes.
const SMALL_BYTES: usize = 8 * 1024;
/// What they are put together to, in bytes.
const BATCH_BYTES: usize = 64 * 1024;

/// How long the peer may take to close a channel on which both sides have said that nothing more comes. Most close right
/// behind their last word; OpenSSH's clients wait for us to do it, and their users wait with them.
const CLOSE_WAIT: Duration = Duration::from_millis(10);

/// Where the bytes go: an SSH channel, or a test.
pub(super) trait Sink: Send {
    /// Sends all of `bytes`, waiting for the peer's window; an error when the channel is gone.
    fn send(&mut self, bytes: Bytes) -> impl Future<Output = Result<(), Gone>> + Send;
    /// Says that nothing more will come.
    fn finish(&mut self) -> impl Future<Output = ()> + Send;
    /// Ends the channel.
    fn close(&mut self) -> impl Future<Output = ()> + Send;
}

/// The channel is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Gone;

#[derive(Default)]
struct Waiting {
    replies: VecDeque<Bytes>,
    bytes: usize,
    parked: Vec<Arc<Lane>>,
    last: bool,
}

/// The outbox, and what else the handles of one channel share.
pub(super) struct Outbox {
    /// The connection that the channel belongs to.
    pub(super) connection: Arc<Connection>,
    /// Nobody takes replies any more.
    pub(super) gone: CancellationToken,
    waiting: Mutex<Waiting>,
    /// Replies that jobs have, and have not handed on, in bytes.
    gathered_bytes: AtomicUsize,
    filled: Notify,
    emptied: Notify,
    unanswered: AtomicUsize,
    settled: Notify,
}

impl Outbox {
    /// Of a new channel.
    pub(super) fn new(connection: Arc<Connection>) -> Arc<Self> {
        Arc::new(Self {
            gone: connection.halted.child_token(),
            connection,
            waiting: Mutex::default(),
            gathered_bytes: AtomicUsize::new(0),
            filled: Notify::new(),
            emptied: Notify::new(),
            unanswered: AtomicUsize::new(0),
            settled: Notify::new(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A request was taken on that will be answered.
    pub(super) fn expect(&self) {
        self.connection.expect();
        self.unanswered.fetch_add(1, Ordering::AcqRel);
    }

    /// Answers `count` requests with `replies`. Never waits.
    pub(super) fn answer(&self, replies: Bytes, count: usize) {
        if !replies.is_empty() && !self.gone.is_cancelled() {
            self.connection.unsent(replies.len());
            let mut waiting = self.lock();
            waiting.bytes += replies.len();
            waiting.replies.push_back(replies);
            drop(waiting);
            self.filled.notify_one();
        }
        self.connection.answered(count);
        if count > 0 && self.unanswered.fetch_sub(count, Ordering::AcqRel) == count {
            self.settled.notify_waiters();
        }
    }

    /// Resolves when every request taken on is answered, or nobody waits for answers and nothing is being done.
    pub(super) async fn settle(&self) {
        loop {
            let settled = self.settled.notified();
            if self.unanswered.load(Ordering::Acquire) == 0 {
                return;
            }
            tokio::select! {
                () = settled => {}
                () = self.connection.halted.cancelled() => return,
            }
        }
    }

    /// True when something large may be produced: little is waiting, or it will be thrown away anyhow.
    pub(super) fn has_room(&self) -> bool {
        self.gone.is_cancelled() || !self.is_full(&self.lock())
    }

    fn is_full(&self, waiting: &Waiting) -> bool {
        waiting.bytes + self.gathered_bytes.load(Ordering::Acquire) >= ROOM_BYTES
    }

    /// A job has so many bytes more of replies, and will hand them on: they take room from now on, or else all handles at
    /// once would fill the whole of it.
    pub(super) fn gathered(&self, bytes: usize) {
        self.gathered_bytes.fetch_add(bytes, Ordering::AcqRel);
    }

    /// They count among what waits now.
    pub(super) fn handed_on(&self, bytes: usize) {
        self.gathered_bytes.fetch_sub(bytes, Ordering::AcqRel);
    }

    /// Waits for room.
    pub(super) async fn room(&self) {
        while !self.has_room() {
            tokio::select! {
                () = self.emptied.notified() => {}
                () = self.gone.cancelled() => {}
            }
        }
    }

    /// Has `lane` resumed when there is room; false when there is room now.
    pub(super) fn park(&self, lane: &Arc<Lane>) -> bool {
        let mut waiting = self.lock();
        let full = self.is_full(&waiting) && !self.gone.is_cancelled();
        if full {
            waiting.parked.push(Arc::clone(lane));
        }
        full
    }

    /// No reply will be added.
    pub(super) fn close(&self) {
        self.lock().last = true;
        self.filled.notify_one();
    }

    /// Sends until the outbox is closed and empty, or the channel is gone.
    pub(super) async fn send_all<S: Sink>(&self, mut sink: S) {
        loop {
            let (replies, last) = {
                let mut waiting = self.lock();
                (std::mem::take(&mut waiting.replies), waiting.last)
            };
            if replies.is_empty() {
                if last {
                    break;
                }
                tokio::select! {
                    () = self.filled.notified() => continue,
                    () = self.gone.cancelled() => break,
                }
            }
            for batch in batches(replies) {
                let bytes = batch.len();
                let sent = tokio::select! {
                    sent = sink.send(batch) => sent,
                    () = self.gone.cancelled() => Err(Gone),
                };
                if sent.is_err() {
                    // Whoever is parked goes on: with nobody to read, its requests are dropped one by one.
                    self.gone.cancel();
                    break;
                }
                self.took(bytes);
                if let Some(wait) = self.connection.session.outgoing_pace().moved(bytes) {
                    tokio::select! {
                        () = tokio::time::sleep(wait) => {}
                        () = self.gone.cancelled() => {}
                    }
                }
            }
            if self.gone.is_cancelled() {
                break;
            }
        }
        self.throw_away();
        let farewell = async {
            sink.finish().await;
            // The peer closes first if it can: russh keeps what it remembers of a channel that was closed from here
            // until the connection ends.
            let _ = tokio::time::timeout(CLOSE_WAIT, self.gone.cancelled()).await;
            sink.close().await;
        };
        tokio::select! {
            () = farewell => {}
            () = self.connection.halted.cancelled() => {}
        }
    }

    /// The peer took `bytes`.
    fn took(&self, bytes: usize) {
        self.connection.sent(bytes);
        let mut waiting = self.lock();
        waiting.bytes = waiting.bytes.saturating_sub(bytes);
        let resumed = if waiting.bytes < ROOM_BYTES / 2 { std::mem::take(&mut waiting.parked) } else { Vec::new() };
        drop(waiting);
        for lane in resumed {
            lane.resume();
        }
        self.emptied.notify_one();
    }

    /// Nobody reads: forgets what waits and wakes who is parked.
    fn throw_away(&self) {
        let mut waiting = self.lock();
        let bytes = std::mem::take(&mut waiting.bytes);
        waiting.replies.clear();
        let resumed = std::mem::take(&mut waiting.parked);
        drop(waiting);
        self.connection.sent(bytes);
        for lane in resumed {
            lane.resume();
        }
        self.emptied.notify_one();
    }
}

/// Puts small replies together; large ones go as they are.
fn batches(replies: VecDeque<Bytes>) -> impl Iterator<Item = Bytes> {
    let mut replies = replies.into_iter().peekable();
    std::iter::from_fn(move || {
        let first = replies.next()?;
        if first.len() >= SMALL_BYTES || replies.peek().is_none_or(|next| next.len() >= SMALL_BYTES) {
            return Some(first);
        }
        let mut batch = BytesMut::from(&first[..]);
        while batch.len() < BATCH_BYTES
            && let Some(next) = replies.next_if(|next| next.len() < SMALL_BYTES)
        {
            batch.extend_from_slice(&next);
        }
        Some(batch.freeze())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_replies_are_put_together_in_order_and_large_ones_left_alone() {
        let large = Bytes::from(vec![7; SMALL_BYTES]);
        let replies: VecDeque<Bytes> =
            [Bytes::from_static(b"a"), Bytes::from_static(b"b"), large.clone(), Bytes::from_static(b"c")].into();
        let sent: Vec<Bytes> = batches(replies).collect();
        assert_eq!(sent.len(), 3);
        assert_eq!(&sent[0][..], b"ab");
        assert_eq!(sent[1].as_ptr(), large.as_ptr());
        assert_eq!(&sent[2][..], b"c");
    }

    #[test]
    fn batches_are_bounded() {
        let replies: VecDeque<Bytes> = (0..100).map(|_| Bytes::from(vec![1; 4000])).collect();
        let sent: Vec<Bytes> = batches(replies).collect();
        assert!(sent.iter().all(|batch| batch.len() < BATCH_BYTES + SMALL_BYTES));
        assert_eq!(sent.iter().map(Bytes::len).sum::<usize>(), 400_000);
    }
}
