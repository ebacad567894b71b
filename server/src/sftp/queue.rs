//! The queue of one handle. Its requests are done in order of arrival, one blocking job at a time: the job takes
//! requests until none is left, so that a stream of WRITEs costs one switch of tasks and not one each; and while they are
//! short, none at all: it runs where they arrive. Handles go on beside each other. Knows the order of things; what a WRITE or READ does is in `receiving.rs` and `sending.rs`.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use landfall_storage::VirtualPath;
use tokio::sync::{OwnedSemaphorePermit, oneshot};
use tokio::time::Instant;

use super::attributes::{self, Attributes};
use super::checking::{self, Check};
use super::connection::{Busy, EarlyPlace};
use super::outbox::Outbox;
use super::packets::{self, Payload};
use super::receiving::Receiving;
use super::requests::Part;
use super::sending::{Listed, Sending};
use super::status::{self, Code};
use crate::delivery::{Download, Reason, Refusal, Step};

/// What a queued request other than WRITE counts for, in bytes.
pub(super) const REQUEST_BYTES: usize = 64;
/// Replies gathered before they are handed on, in bytes: few task switches, and still in the processor's cache when they
/// are enciphered.
const REPLIES_BYTES: usize = 256 * 1024;
/// How long WRITEs that came ahead wait for the bytes before them, with no other WRITE coming.
const EARLY_WAIT: Duration = Duration::from_secs(2);

/// A WRITE in waiting. Gives its room back when dropped.
pub(super) struct Chunk {
    pub(super) id: u32,
    pub(super) offset: u64,
    pub(super) data: Payload,
    pub(super) bytes: usize,
    /// Where it waits for a copy: its place among those that wait for more than the storage.
    pub(super) _place: Option<EarlyPlace>,
    /// Room in the connection's budget.
    pub(super) _room: OwnedSemaphorePermit,
}

/// One request in the queue. Small, because many READs may wait.
pub(super) enum Op {
    Write(Box<Chunk>),
    Read {
        id: u32,
        wanted_bytes: u32,
        offset: u64,
    },
    Stat {
        id: u32,
    },
    SetStat {
        id: u32,
        attributes: Box<Attributes>,
    },
    Sync {
        id: u32,
    },
    ReadDir {
        id: u32,
    },
    Check {
        id: u32,
        check: Box<Check>,
    },
    Copy {
        id: u32,
        copy: Box<(Source, Part)>,
    },
    /// The copy is done, or not: what it wanted, and what it got.
    Copied {
        id: u32,
        wanted: u64,
        copied: Box<Result<u64, Refusal>>,
    },
    /// A WRITE behind a copy for which there was no room.
    Crowded {
        id: u32,
    },
    Close {
        id: u32,
        /// Dropped when the close is done: requests about names that came later wait for it.
        done: Option<oneshot::Sender<()>>,
    },
    /// WRITEs that came ahead have waited long enough, if none was done since the `written`th.
    Overdue {
        written: u64,
    },
    /// The channel is over: what was not closed is suspended.
    Abandon,
}

impl Op {
    /// Bytes that count as backlog while it waits.
    fn backlog_bytes(&self) -> usize {
        match self {
            Self::Write(_) | Self::Copied { .. } | Self::Overdue { .. } | Self::Abandon => 0,
            _ => REQUEST_BYTES,
        }
    }

    /// The request to be answered, if it is one.
    fn id(&self) -> Option<u32> {
        match self {
            Self::Write(chunk) => Some(chunk.id),
            Self::Read { id, .. }
            | Self::Stat { id }
            | Self::SetStat { id, .. }
            | Self::Sync { id }
            | Self::ReadDir { id }
            | Self::Check { id, .. }
            | Self::Copy { id, .. }
            | Self::Copied { id, .. }
            | Self::Crowded { id }
            | Self::Close { id, .. } => Some(*id),
            Self::Overdue { .. } | Self::Abandon => None,
        }
    }
}

/// A landed file to copy from. The handle that it came from may be closed meanwhile, but its place is not free before.
pub(super) struct Source {
    download: Download,
    _place: Option<Arc<OwnedSemaphorePermit>>,
}

/// What stands behind a handle.
pub(super) enum File {
    Receiving(Box<Receiving>),
    Sending(Box<Sending>),
    Listed(Box<Listed>),
}

/// What kind of thing that is: known without waiting for the job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Receiving,
    Sending,
    Listed,
}

#[derive(PartialEq, Eq)]
enum Course {
    /// Nothing to do.
    Idle,
    /// A job has the file.
    Running,
    /// There is something to do, but no room for its reply; or a digest is being computed.
    Parked,
    /// The file is being copied to, on threads of others.
    Away,
}

struct State {
    ops: VecDeque<Op>,
    file: Option<File>,
    course: Course,
    writes: usize,
    copies: usize,
    /// The place among the connection's handles.
    place: Option<Arc<OwnedSemaphorePermit>>,
}

/// Where a job runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Where {
    /// On the thread that brought the requests: for what is short.
    Here,
    /// On one that may wait.
    Pool,
}

/// One handle's queue and file.
pub(super) struct Lane {
    /// What the file is called.
    pub(super) path: VirtualPath,
    /// What it is.
    pub(super) kind: Kind,
    /// Of a file open for reading: at hand also while a job has it.
    landed: Option<Download>,
    /// Since when.
    pub(super) opened: Instant,
    outbox: Arc<Outbox>,
    state: Mutex<State>,
}

/// Replies of a job before they are handed on.
#[derive(Default)]
pub(super) struct Answers {
    pub(super) out: BytesMut,
    pub(super) count: usize,
    /// What the outbox knows of already.
    gathered_bytes: usize,
}

impl Answers {
    /// A status.
    pub(super) fn status(&mut self, id: u32, code: Code, sentence: &str) {
        packets::status(&mut self.out, id, code, sentence);
        self.count += 1;
    }

    /// Done, or why not.
    pub(super) fn outcome(&mut self, id: u32, outcome: &Result<(), Refusal>) {
        match outcome {
            Ok(()) => self.status(id, Code::Ok, "OK"),
            Err(refusal) => self.refuse(id, refusal),
        }
    }

    /// The outbox hears of what there is, so that no lane takes room that another one's replies will need.
    fn gathered(&mut self, outbox: &Outbox) {
        outbox.gathered(self.out.len() - self.gathered_bytes);
        self.gathered_bytes = self.out.len();
    }

    /// Why not.
    pub(super) fn refuse(&mut self, id: u32, refusal: &Refusal) {
        self.status(id, status::code(refusal.reason), &refusal.sentence);
    }
}

impl Lane {
    /// A new handle's.
    pub(super) fn new(path: VirtualPath, file: File, outbox: Arc<Outbox>, place: OwnedSemaphorePermit) -> Arc<Self> {
        let kind = match &file {
            File::Receiving(_) => Kind::Receiving,
            File::Sending(_) => Kind::Sending,
            File::Listed(_) => Kind::Listed,
        };
        let landed = match &file {
            File::Sending(sending) => Some(sending.download().clone()),
            File::Receiving(_) | File::Listed(_) => None,
        };
        let place = Some(Arc::new(place));
        let state = State { ops: VecDeque::new(), file: Some(file), course: Course::Idle, writes: 0, copies: 0, place };
        Arc::new(Self { path, kind, opened: Instant::now(), landed, outbox, state: Mutex::new(state) })
    }

    /// What can be copied from it.
    pub(super) fn source(&self) -> Option<Source> {
        let download = self.landed.clone()?;
        Some(Source { download, _place: self.lock().place.clone() })
    }

    /// True when what is queued now waits for a copy, and with it for other copies of its user.
    pub(super) fn is_copying(&self) -> bool {
        let state = self.lock();
        state.copies > 0 || state.course == Course::Away
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues `op`, which [`Outbox::expect`] counted, and sees that a job does it.
    pub(super) fn push(self: &Arc<Self>, op: Op) {
        if self.add(op) {
            self.start();
        }
    }

    /// Queues `op`; true when the caller has to see that a job does it, by [`Lane::go`].
    #[must_use]
    pub(super) fn add(&self, op: Op) -> bool {
        let mut state = self.lock();
        let write = matches!(op, Op::Write(_));
        state.writes += usize::from(write);
        state.copies += usize::from(matches!(op, Op::Copy { .. }));
        state.ops.push_back(op);
        // A WRITE never waits for the peer to read: it gets even a parked queue going (see `next`).
        let start = state.course == Course::Idle || (write && state.course == Course::Parked);
        if start {
            state.course = Course::Running;
        }
        start
    }

    /// Does what is queued: here, as long as that is short and the storage has a place for it, or else on another thread.
    pub(super) fn go(self: &Arc<Self>) {
        match self.outbox.connection.session.at_once() {
            Some(_place) => Arc::clone(self).run(Where::Here),
            None => self.start(),
        }
    }

    /// Goes on after being parked.
    pub(super) fn resume(self: &Arc<Self>) {
        let mut state = self.lock();
        if state.course != Course::Parked {
            return;
        }
        state.course = Course::Running;
        drop(state);
        self.go();
    }

    /// Does what is queued on a thread that may wait.
    pub(super) fn start(self: &Arc<Self>) {
        let lane = Arc::clone(self);
        self.outbox.connection.tasks.spawn_blocking(move || lane.run(Where::Pool));
    }

    /// The job.
    fn run(self: Arc<Self>, place: Where) {
        let _busy = Busy::new(&self.outbox.connection);
        let _guard = EndOnPanic(&self.outbox);
        let mut file = self.lock().file.take();
        let mut answers = Answers::default();
        while let Some(op) = self.next(place, &mut file, &mut answers) {
            self.outbox.connection.unqueue(op.backlog_bytes());
            if self.outbox.connection.halted.is_cancelled() {
                // Kicked or cut: nothing more is done; the file is suspended at once.
                file = None;
            }
            if let (Op::Check { id, check }, Some(File::Sending(sending))) = (&op, &file) {
                let download = sending.download().clone();
                self.hand_on(&mut answers);
                return self.check(*id, **check, download, file);
            }
            let op = match (op, file.take()) {
                (Op::Copy { id, copy }, Some(File::Receiving(receiving))) => {
                    match self.copy(id, *copy, receiving, &mut answers) {
                        None => return,
                        still => file = still,
                    }
                    continue;
                }
                (op, held) => {
                    file = held;
                    op
                }
            };
            self.perform(op, &mut file, &mut answers);
            if answers.out.len() >= REPLIES_BYTES {
                self.hand_on(&mut answers);
            } else {
                answers.gathered(&self.outbox);
            }
        }
    }

    /// Ends the job for a digest, which may take long and needs no thread while it waits for its turn. Another job goes
    /// on behind it.
    fn check(self: &Arc<Self>, id: u32, check: Check, download: Download, file: Option<File>) {
        let mut state = self.lock();
        state.course = Course::Parked;
        state.file = file;
        drop(state);
        let lane = Arc::clone(self);
        checking::begin(&self.outbox, id, self.path.clone(), download, check, move || lane.resume());
    }

    /// Ends the job for a copy, which waits for its turn without a thread. Another job goes on behind it. The file is
    /// given back when the copy is refused at once.
    fn copy(
        self: &Arc<Self>,
        id: u32,
        (source, part): (Source, Part),
        mut receiving: Box<Receiving>,
        answers: &mut Answers,
    ) -> Option<File> {
        let Some(at) = receiving.place_for(id, part, answers) else { return Some(File::Receiving(receiving)) };
        self.hand_on(answers);
        self.lock().course = Course::Away;
        let lane = Arc::clone(self);
        self.outbox.connection.tasks.spawn(async move {
            let _busy = Busy::new(&lane.outbox.connection);
            let gone = lane.outbox.gone.clone();
            let step: Step = Arc::new(move |_| !gone.is_cancelled());
            let (receiving, copied) = receiving.copy(at, source.download.clone(), part, &step).await;
            if receiving.is_none() {
                // It went with a panic.
                lane.outbox.connection.halted.cancel();
            }
            let mut state = lane.lock();
            state.ops.push_front(Op::Copied { id, wanted: part.length, copied: Box::new(copied) });
            state.file = receiving.map(File::Receiving);
            state.course = Course::Running;
            drop(state);
            lane.start();
        });
        None
    }

    /// Takes the next request. Without one, hands on the replies, puts the file back and ends the job.
    fn next(self: &Arc<Self>, place: Where, file: &mut Option<File>, answers: &mut Answers) -> Option<Op> {
        loop {
            let mut state = self.lock();
            if place == Where::Here && state.ops.front().is_some_and(|op| !is_short(op, file.as_ref())) {
                state.file = file.take();
                drop(state);
                self.hand_on(answers);
                self.start();
                return None;
            }
            let parkable = match state.ops.front() {
                // A READ in front of a WRITE is done even without room: the WRITE holds room that others wait for.
                // Rare (files open for both), and bounded by what a connection may leave unread.
                Some(Op::Read { .. } | Op::ReadDir { .. }) => state.writes == 0,
                Some(_) => false,
                None => {
                    if file.is_none() || answers.count == 0 && !has_unwritten(file.as_ref()) {
                        state.course = Course::Idle;
                        state.file = file.take();
                        drop(state);
                        self.hand_on(answers);
                        return None;
                    }
                    drop(state);
                    self.rest(file, answers);
                    continue;
                }
            };
            if parkable && (answers.out.len() >= REPLIES_BYTES || !self.outbox.has_room()) {
                state.course = Course::Parked;
                state.file = file.take();
                drop(state);
                self.hand_on(answers);
                if self.outbox.park(self) {
                    return None;
                }
                // There was room meanwhile: go on, unless somebody else did.
                let mut state = self.lock();
                if state.course != Course::Parked {
                    return None;
                }
                state.course = Course::Running;
                *file = state.file.take();
                continue;
            }
            let op = state.ops.pop_front()?;
            state.writes -= usize::from(matches!(op, Op::Write(_)));
            state.copies -= usize::from(matches!(op, Op::Copy { .. }));
            return Some(op);
        }
    }

    /// Nothing is queued right now: writes what was put together, hands on what is answered.
    fn rest(self: &Arc<Self>, file: &mut Option<File>, answers: &mut Answers) {
        if let Some(File::Receiving(receiving)) = file {
            receiving.flush(answers);
            if let Some(written) = receiving.awaits_earlier() {
                self.remind(written);
            }
        }
        self.hand_on(answers);
    }

    /// Looks at WRITEs that came ahead again, after a while.
    fn remind(self: &Arc<Self>, written: u64) {
        let lane = Arc::downgrade(self);
        let gone = self.outbox.gone.clone();
        self.outbox.connection.tasks.spawn(async move {
            tokio::select! {
                () = tokio::time::sleep(EARLY_WAIT) => {}
                () = gone.cancelled() => {}
            }
            if let Some(lane) = Weak::upgrade(&lane) {
                lane.push(Op::Overdue { written });
            }
        });
    }

    /// Makes room for this READ's reply and for those of the requests behind it at once: a buffer that grows is copied.
    fn make_room(&self, wanted_bytes: u32, answers: &mut Answers) {
        let reply_bytes = packets::DATA_HEAD_BYTES + (wanted_bytes as usize).min(packets::MAX_PAYLOAD_BYTES);
        if answers.out.capacity() - answers.out.len() < reply_bytes {
            let requests = 1 + self.lock().ops.len();
            answers.out.reserve(reply_bytes.saturating_mul(requests).min(reply_bytes + REPLIES_BYTES));
        }
    }

    fn hand_on(&self, answers: &mut Answers) {
        let replies = if answers.out.is_empty() { Bytes::new() } else { answers.out.split().freeze() };
        self.outbox.answer(replies, std::mem::take(&mut answers.count));
        self.outbox.handed_on(std::mem::take(&mut answers.gathered_bytes));
    }

    fn perform(self: &Arc<Self>, op: Op, file: &mut Option<File>, answers: &mut Answers) {
        match (op, file) {
            (Op::Write(chunk), Some(File::Receiving(receiving))) => receiving.write(*chunk, answers),
            (Op::Close { id, done }, file) => {
                // Landing may take a while: replies to what came before do not wait for it.
                if let Some(File::Receiving(receiving)) = file {
                    receiving.flush(answers);
                    self.hand_on(answers);
                }
                let outcome = match file.take() {
                    Some(File::Receiving(receiving)) => receiving.close(answers),
                    Some(_) => Ok(()),
                    None => Err(status::bad_handle()),
                };
                // Given back before the client hears of it: it may open the next file at once.
                self.lock().place = None;
                answers.outcome(id, &outcome);
                self.hand_on(answers);
                drop(done);
            }
            (Op::Abandon, file) => {
                if let Some(File::Receiving(receiving)) = file {
                    // What came is kept for the resume, to the last byte.
                    receiving.flush(answers);
                    receiving.give_up_early(answers);
                }
                *file = None;
                self.lock().place = None;
                answers.count += 1;
            }
            (op, Some(File::Receiving(receiving))) => {
                receiving.flush(answers);
                perform_receiving(op, receiving, answers);
            }
            (Op::Read { id, wanted_bytes, offset }, Some(File::Sending(sending))) => {
                if self.outbox.gone.is_cancelled() {
                    answers.count += 1;
                } else {
                    self.make_room(wanted_bytes, answers);
                    sending.read(id, offset, wanted_bytes, answers);
                }
            }
            (Op::Stat { id }, Some(File::Sending(sending))) => {
                packets::attrs(&mut answers.out, id, |out| attributes::encode(out, sending.stat()));
                answers.count += 1;
            }
            (Op::Sync { id }, Some(File::Sending(_))) => answers.outcome(id, &Ok(())),
            (Op::ReadDir { id }, Some(File::Listed(listed))) => listed.read(id, answers),
            (Op::Overdue { .. }, _) => {}
            (op, _) => {
                if let Some(id) = op.id() {
                    answers.refuse(id, &status::bad_handle());
                }
            }
        }
    }
}

fn not_landed() -> Refusal {
    let sentence = "a digest is told of what has landed; close the file first, then ask by its name";
    Refusal::new(Reason::Incomplete, sentence)
}

/// Is it soon done, on a disk that is well?
fn is_short(op: &Op, file: Option<&File>) -> bool {
    match (op, file) {
        (Op::Close { .. }, Some(File::Receiving(receiving))) => receiving.closes_shortly(),
        (Op::Write(_) | Op::Read { .. } | Op::Stat { .. } | Op::Close { .. }, Some(_)) => true,
        (Op::SetStat { attributes, .. }, Some(_)) => attributes.size.is_none(),
        _ => false,
    }
}

fn has_unwritten(file: Option<&File>) -> bool {
    matches!(file, Some(File::Receiving(receiving)) if receiving.has_unwritten())
}

fn perform_receiving(op: Op, receiving: &mut Receiving, answers: &mut Answers) {
    match op {
        Op::Read { id, wanted_bytes, offset } => receiving.read(id, offset, wanted_bytes, answers),
        Op::Stat { id } => {
            let stat = receiving.stat();
            packets::attrs(&mut answers.out, id, |out| attributes::encode(out, &stat));
            answers.count += 1;
        }
        Op::SetStat { id, attributes } => {
            let outcome = receiving.set_stat(&attributes);
            answers.outcome(id, &outcome);
        }
        Op::Sync { id } => {
            let outcome = receiving.sync();
            answers.outcome(id, &outcome);
        }
        Op::Check { id, .. } => answers.refuse(id, &not_landed()),
        Op::Copied { id, wanted, copied } => receiving.copied(id, wanted, *copied, answers),
        Op::Crowded { id } => receiving.crowded_out(id, answers),
        Op::Overdue { written } => receiving.overdue(written, answers),
        other => {
            if let Some(id) = other.id() {
                answers.refuse(id, &status::bad_handle());
            }
        }
    }
}

/// A job that panics must not leave its connection waiting for an answer for ever.
struct EndOnPanic<'a>(&'a Outbox);

impl Drop for EndOnPanic<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.connection.halted.cancel();
        }
    }
}
