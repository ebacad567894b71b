//! What all channels of one connection share: the session, the budgets, the counters. Every limit on memory that a
//! logged-in client can use stands here. Knows no packet.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::handles::MAX_HANDLES;
use crate::delivery::{Reason, Refusal, Session};
use crate::lifecycle::Lifecycle;

/// Payload of WRITEs that are read and not yet on the storage, in bytes. A WRITE waits for room here; that stops the
/// reading of the socket, which is safe: room comes back from the disk alone, never from the peer.
const WRITE_ROOM_BYTES: usize = 8 * 1024 * 1024;
/// What a queued WRITE takes beside its payload, in bytes.
const WRITE_OVERHEAD_BYTES: usize = 256;
/// WRITEs that came ahead of the bytes before them and wait for those, in bytes. Half of the room, so that the other
/// half always moves.
const MAX_EARLY_BYTES: usize = WRITE_ROOM_BYTES / 2;
/// Requests other than WRITE in waiting, in bytes, above which the peer's window is no longer refilled. Such requests
/// may wait for the peer to read, so reading the socket must go on: or the peer's own window adjustment, behind them in
/// the same stream, would never be seen.
const THROTTLE_BACKLOG_BYTES: usize = 2 * 1024 * 1024;
/// The same, for a peer that sends on without a window: the connection ends. Room for a full window of the smallest
/// requests stands between the two.
const MAX_BACKLOG_BYTES: usize = 24 * 1024 * 1024;
/// Replies that the peer has not taken, in bytes, all channels together: above it the connection ends. Downloads stop
/// far below (see `outbox.rs`); only acknowledgements, which are small, can pile up to here.
const MAX_UNSENT_BYTES: usize = 32 * 1024 * 1024;
/// The window that a throttled peer is left with, in bytes.
const THROTTLED_WINDOW_BYTES: u32 = 4 * 1024;

/// One logged-in connection.
pub(super) struct Connection {
    /// The one door.
    pub(super) session: Session,
    /// Drain.
    pub(super) lifecycle: Lifecycle,
    /// Stop at once: kicked, cut, gone, or unbearable. What is queued is not done any more.
    pub(super) halted: CancellationToken,
    /// Tasks of all channels, so that the session outlives none of its uploads.
    pub(super) tasks: TaskTracker,
    write_room: Arc<Semaphore>,
    handles: Arc<Semaphore>,
    early_bytes: AtomicUsize,
    backlog_bytes: AtomicUsize,
    unsent_bytes: AtomicUsize,
    transfers: AtomicUsize,
    unanswered: AtomicUsize,
    busy: AtomicUsize,
    throttled: AtomicBool,
    began: Instant,
    last_progress_millis: AtomicU64,
}

impl Connection {
    /// Of a session that just began.
    pub(super) fn new(session: Session, lifecycle: Lifecycle) -> Arc<Self> {
        Arc::new(Self {
            session,
            lifecycle,
            halted: CancellationToken::new(),
            tasks: TaskTracker::new(),
            write_room: Arc::new(Semaphore::new(WRITE_ROOM_BYTES)),
            handles: Arc::new(Semaphore::new(MAX_HANDLES)),
            early_bytes: AtomicUsize::new(0),
            backlog_bytes: AtomicUsize::new(0),
            unsent_bytes: AtomicUsize::new(0),
            transfers: AtomicUsize::new(0),
            unanswered: AtomicUsize::new(0),
            busy: AtomicUsize::new(0),
            throttled: AtomicBool::new(false),
            began: Instant::now(),
            last_progress_millis: AtomicU64::new(0),
        })
    }

    /// Room for a WRITE, if there is any now.
    pub(super) fn try_write_room(&self, payload_bytes: usize) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.write_room).try_acquire_many_owned(room_for(payload_bytes)).ok()
    }

    /// Waits for room for a WRITE; `None` when the connection is halted.
    pub(super) async fn write_room(&self, payload_bytes: usize) -> Option<OwnedSemaphorePermit> {
        tokio::select! {
            room = Arc::clone(&self.write_room).acquire_many_owned(room_for(payload_bytes)) => room.ok(),
            () = self.halted.cancelled() => None,
        }
    }

    /// A place for one more handle.
    pub(super) fn handle_place(&self) -> Result<OwnedSemaphorePermit, Refusal> {
        Arc::clone(&self.handles)
            .try_acquire_owned()
            .map_err(|_| Refusal::new(Reason::Busy, "64 handles are open on this connection; close some of them first"))
    }

    /// A place for a WRITE that came ahead to wait in, if there is room.
    pub(super) fn early_place(self: &Arc<Self>, payload_bytes: usize) -> Option<EarlyPlace> {
        let bytes = payload_bytes + WRITE_OVERHEAD_BYTES;
        let before = self.early_bytes.fetch_add(bytes, Ordering::Relaxed);
        let place = EarlyPlace { connection: Arc::clone(self), bytes };
        (before + bytes <= MAX_EARLY_BYTES).then_some(place)
    }

    /// Counts a request that waits; false when there are far too many.
    pub(super) fn queue(&self, bytes: usize) -> bool {
        self.backlog_bytes.fetch_add(bytes, Ordering::Relaxed) + bytes <= MAX_BACKLOG_BYTES
    }

    /// The opposite of [`Connection::queue`].
    pub(super) fn unqueue(&self, bytes: usize) {
        self.backlog_bytes.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Counts replies that wait for the peer.
    pub(super) fn unsent(&self, bytes: usize) {
        if self.unsent_bytes.fetch_add(bytes, Ordering::Relaxed) + bytes > MAX_UNSENT_BYTES {
            tracing::warn!(user = %self.session.user().name, "the client does not read its replies; ending its connection");
            self.halted.cancel();
        }
    }

    /// The opposite of [`Connection::unsent`].
    pub(super) fn sent(&self, bytes: usize) {
        self.unsent_bytes.fetch_sub(bytes, Ordering::Relaxed);
        self.progress();
    }

    /// The window that the peer may have now. russh refills windows on its own as data arrives and asks for the target
    /// each time, which is the one place where a client that asks and does not read can be slowed down.
    pub(super) fn window_bytes(&self, full_bytes: u32) -> u32 {
        let waiting = self.backlog_bytes.load(Ordering::Relaxed);
        let was_throttled = self.throttled.load(Ordering::Relaxed);
        let throttle = waiting > if was_throttled { THROTTLE_BACKLOG_BYTES / 2 } else { THROTTLE_BACKLOG_BYTES };
        self.throttled.store(throttle, Ordering::Relaxed);
        if throttle { THROTTLED_WINDOW_BYTES } else { full_bytes }
    }

    /// Counts payload to the client. What comes from it, uploads count themselves.
    pub(super) fn delivered(&self, bytes: usize) {
        self.session.activity().sent(bytes as u64);
    }

    /// Since when the connection is logged in.
    pub(super) fn age(&self) -> Duration {
        self.began.elapsed()
    }

    /// Something moved: a request came, a reply went.
    pub(super) fn progress(&self) {
        let millis = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last_progress_millis.store(millis, Ordering::Relaxed);
    }

    /// How long nothing has moved; zero while the storage is at work.
    pub(super) fn idle(&self) -> Duration {
        if self.busy.load(Ordering::Relaxed) > 0 {
            return Duration::ZERO;
        }
        let last = Duration::from_millis(self.last_progress_millis.load(Ordering::Relaxed));
        self.began.elapsed().saturating_sub(last)
    }

    /// The time of day, for what shows it to people: an engine is the edge.
    #[expect(clippy::disallowed_methods, reason = "the one place of the engine that looks at the clock")]
    pub(super) fn time() -> SystemTime {
        SystemTime::now()
    }

    /// A request was taken on.
    pub(super) fn expect(&self) {
        self.unanswered.fetch_add(1, Ordering::AcqRel);
    }

    /// Requests were answered.
    pub(super) fn answered(&self, count: usize) {
        self.unanswered.fetch_sub(count, Ordering::AcqRel);
    }

    /// True when no file is open for sending or receiving, and every reply is on its way: nothing is lost by ending now.
    pub(super) fn is_quiet(&self) -> bool {
        let is_zero = |count: &AtomicUsize| count.load(Ordering::Acquire) == 0;
        is_zero(&self.transfers) && is_zero(&self.unanswered) && is_zero(&self.unsent_bytes)
    }
}

/// What is left in the budgets when everything is over: nothing, or something was not given back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Left {
    /// Of [`WRITE_ROOM_BYTES`].
    pub write_room_bytes: usize,
    /// Of [`MAX_HANDLES`].
    pub handles: usize,
    /// Of [`MAX_EARLY_BYTES`].
    pub early_bytes: usize,
    /// Of [`MAX_BACKLOG_BYTES`].
    pub backlog_bytes: usize,
    /// Of [`MAX_UNSENT_BYTES`].
    pub unsent_bytes: usize,
    /// Files open for sending or receiving.
    pub transfers: usize,
    /// Requests that nobody answered.
    pub unanswered: usize,
    /// Jobs at work.
    pub busy: usize,
}

impl Connection {
    /// What is taken of the budgets now.
    pub(super) fn left(&self) -> Left {
        let of = |count: &AtomicUsize| count.load(Ordering::Acquire);
        Left {
            write_room_bytes: WRITE_ROOM_BYTES - self.write_room.available_permits(),
            handles: MAX_HANDLES - self.handles.available_permits(),
            early_bytes: of(&self.early_bytes),
            backlog_bytes: of(&self.backlog_bytes),
            unsent_bytes: of(&self.unsent_bytes),
            transfers: of(&self.transfers),
            unanswered: of(&self.unanswered),
            busy: of(&self.busy),
        }
    }
}

fn room_for(payload_bytes: usize) -> u32 {
    u32::try_from(payload_bytes + WRITE_OVERHEAD_BYTES).unwrap_or(u32::MAX)
}

/// Room for a WRITE that came ahead, as long as it lives.
pub(super) struct EarlyPlace {
    connection: Arc<Connection>,
    bytes: usize,
}

impl Drop for EarlyPlace {
    fn drop(&mut self) {
        self.connection.early_bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// Work under way, as long as it lives.
pub(super) struct Busy<'a>(&'a Connection);

impl<'a> Busy<'a> {
    /// Begins.
    pub(super) fn new(connection: &'a Connection) -> Self {
        connection.busy.fetch_add(1, Ordering::Relaxed);
        Self(connection)
    }
}

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        self.0.progress();
        self.0.busy.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A file open for sending or receiving, as long as it lives; shows in `landfall sessions` and holds up the drain.
pub(super) struct Transfer {
    connection: Arc<Connection>,
}

impl Transfer {
    /// Begins; `what` is for people: `STOR /a.jpg`.
    pub(super) fn new(connection: &Arc<Connection>, what: &str) -> Self {
        connection.transfers.fetch_add(1, Ordering::AcqRel);
        connection.session.doing(what);
        Self { connection: Arc::clone(connection) }
    }
}

impl Drop for Transfer {
    fn drop(&mut self) {
        if self.connection.transfers.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.connection.session.doing("idle");
        }
    }
}
