//! The running SHA-256 of an upload: fed while bytes come in order, caught up from the staged bytes where they did not.
//! Long uploads have it taken on a thread beside theirs. Knows no file; the caller reads.

use std::cmp::Ordering;
use std::sync::Arc;
use std::sync::atomic::{self, AtomicUsize};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};

use aws_lc_rs::digest::{Context, SHA256};

use super::refusal::Refusal;

/// Bytes read at a time when catching up.
const CATCH_UP_BYTES: usize = 256 * 1024;
/// An upload of this length, in bytes, is worth a thread for its digest.
pub const DIGEST_BESIDE_FROM_BYTES: u64 = 4 * 1024 * 1024;
/// What is handed to that thread at a time, in bytes: small pieces are gathered, since each time may wake it.
const HANDED_BYTES: usize = 256 * 1024;
/// How many of those may wait for it; then the transfer waits, too.
const QUEUE_HANDED: usize = 4;

/// Bytes that one thread writes while another reads them.
pub type Piece = Arc<dyn AsRef<[u8]> + Send + Sync>;

/// SHA-256 of the first `hashed` bytes.
pub(super) struct RunningDigest {
    place: Place,
    hashed: u64,
}

/// Who has the digest.
enum Place {
    Here(Context),
    Beside(Beside),
}

/// The thread beside, and what it has yet to be handed.
struct Beside {
    queue: SyncSender<Vec<Part>>,
    gathered: Vec<Part>,
    gathered_bytes: usize,
    thread: JoinHandle<Context>,
}

/// The first so many bytes of a piece.
type Part = (Piece, usize);

impl Beside {
    /// False when the thread is no more.
    fn take(&mut self, piece: Piece, length: usize) -> bool {
        self.gathered.push((piece, length));
        self.gathered_bytes += length;
        self.gathered_bytes < HANDED_BYTES || self.hand_over()
    }

    fn hand_over(&mut self) -> bool {
        self.gathered_bytes = 0;
        self.queue.send(std::mem::take(&mut self.gathered)).is_ok()
    }
}

impl RunningDigest {
    pub(super) fn new() -> Self {
        Self { place: Place::Here(Context::new(&SHA256)), hashed: 0 }
    }

    /// True when nothing is left to do for the digest of the first `size` bytes.
    pub(super) fn is_of(&self, size: u64) -> bool {
        matches!(self.place, Place::Here(_)) && self.hashed == size
    }

    /// Takes note that `data` was written at `offset`.
    pub(super) fn written(&mut self, offset: u64, data: &[u8]) {
        let mut context = self.take();
        match offset.cmp(&self.hashed) {
            Ordering::Equal => {
                context.update(data);
                self.hashed += data.len() as u64;
            }
            // Bytes that are in the digest already were written again: begin anew, the end catches up.
            Ordering::Less => (context, self.hashed) = (Context::new(&SHA256), 0),
            Ordering::Greater => {}
        }
        self.place = Place::Here(context);
    }

    /// The same for `length` bytes of a piece, on a thread beside, or here where none is to be had.
    pub(super) fn written_beside(&mut self, offset: u64, piece: Piece, length: usize) {
        if offset == self.hashed && matches!(self.place, Place::Here(_)) {
            let context = self.take();
            self.place = beside(context);
        }
        match &mut self.place {
            Place::Beside(beside) if offset == self.hashed => {
                if beside.take(piece, length) {
                    self.hashed += length as u64;
                } else {
                    *self = Self::new();
                }
            }
            _ => self.written(offset, (*piece).as_ref().get(..length).unwrap_or_default()),
        }
    }

    /// Takes note that `length` bytes came to `offset` which nobody has shown; `read` gives staged bytes at an offset.
    pub(super) fn copied(
        &mut self,
        offset: u64,
        length: u64,
        read: impl FnMut(u64, &mut [u8]) -> Result<usize, Refusal>,
    ) -> Result<(), Refusal> {
        if offset == self.hashed {
            // Now rather than at the landing, which then has nothing left to read.
            return self.catch_up(offset + length, read);
        }
        self.truncated(offset);
        Ok(())
    }

    /// Takes note that everything from `size` on is gone.
    pub(super) fn truncated(&mut self, size: u64) {
        if size < self.hashed {
            *self = Self::new();
        }
    }

    /// The digest of the first `size` bytes, in lowercase hexadecimal digits. `read` gives staged bytes at an offset.
    pub(super) fn finish(
        mut self,
        size: u64,
        read: impl FnMut(u64, &mut [u8]) -> Result<usize, Refusal>,
    ) -> Result<String, Refusal> {
        self.catch_up(size, read)?;
        Ok(hex(self.take().finish().as_ref()))
    }

    /// Reads what is missing up to `end`.
    fn catch_up(
        &mut self,
        end: u64,
        mut read: impl FnMut(u64, &mut [u8]) -> Result<usize, Refusal>,
    ) -> Result<(), Refusal> {
        // Until it is through, nothing is known: an error leaves a digest that has yet to begin.
        let mut context = self.take();
        let mut hashed = std::mem::take(&mut self.hashed);
        let mut buffer = Vec::new();
        while hashed < end {
            buffer.resize(CATCH_UP_BYTES, 0);
            let room = usize::try_from(end - hashed).map_or(CATCH_UP_BYTES, |rest| rest.min(CATCH_UP_BYTES));
            let count = read(hashed, buffer.get_mut(..room).unwrap_or_default())?;
            if count == 0 {
                return Err(Refusal::internal("the staged bytes are shorter than what was written"));
            }
            context.update(buffer.get(..count).unwrap_or_default());
            hashed += count as u64;
        }
        (self.place, self.hashed) = (Place::Here(context), hashed);
        Ok(())
    }

    /// The digest's own state, taken out; from the thread beside once it is through with what it has.
    fn take(&mut self) -> Context {
        match std::mem::replace(&mut self.place, Place::Here(Context::new(&SHA256))) {
            Place::Here(context) => context,
            Place::Beside(mut beside) => {
                // Should it be no more, joining says so.
                beside.hand_over();
                drop(beside.queue);
                beside.thread.join().unwrap_or_else(|_| {
                    // Begun anew; the end catches up.
                    self.hashed = 0;
                    Context::new(&SHA256)
                })
            }
        }
    }
}

/// Threads beside, of all uploads.
static BESIDE: AtomicUsize = AtomicUsize::new(0);

/// A place among them. More threads than cores would only take turns with the transfers.
struct Seat;

impl Seat {
    fn take() -> Option<Self> {
        let most = thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let free = |taken| (taken < most).then_some(taken + 1);
        BESIDE.fetch_update(atomic::Ordering::AcqRel, atomic::Ordering::Acquire, free).is_ok().then_some(Self)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        BESIDE.fetch_sub(1, atomic::Ordering::AcqRel);
    }
}

/// Goes on with a digest beside, if there is a seat and a thread for it.
fn beside(context: Context) -> Place {
    let Some(seat) = Seat::take() else { return Place::Here(context) };
    let (queue, handed) = sync_channel(QUEUE_HANDED);
    let begun = context.clone();
    let work = move || {
        let _seat = seat;
        follow(begun, &handed)
    };
    match thread::Builder::new().name("digest".to_owned()).spawn(work) {
        Ok(thread) => Place::Beside(Beside { queue, gathered: Vec::new(), gathered_bytes: 0, thread }),
        Err(_) => Place::Here(context),
    }
}

fn follow(mut context: Context, handed: &Receiver<Vec<Part>>) -> Context {
    for (piece, length) in handed.iter().flatten() {
        context.update((*piece).as_ref().get(..length).unwrap_or_default());
    }
    context
}

/// Lowercase hexadecimal digits.
pub(super) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        write!(text, "{byte:02x}").ok();
        text
    })
}

/// The bytes that hexadecimal digits spell.
pub(super) fn unhex(digits: &str) -> Option<Vec<u8>> {
    let pairs = digits.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).ok());
    pairs.map(|pair| u8::from_str_radix(pair?, 16).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(bytes: &[u8], digest: RunningDigest) -> String {
        digest
            .finish(bytes.len() as u64, |at, buffer| {
                let rest = &bytes[usize::try_from(at).unwrap_or(usize::MAX)..];
                let count = rest.len().min(buffer.len());
                buffer[..count].copy_from_slice(&rest[..count]);
                Ok(count)
            })
            .unwrap_or_default()
    }

    // FIPS 180-2, appendix B.1.
    const ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    #[test]
    fn in_order() {
        let mut digest = RunningDigest::new();
        digest.written(0, b"a");
        digest.written(1, b"bc");
        assert_eq!(of(b"abc", digest), ABC);
    }

    #[test]
    fn out_of_order_rewritten_and_cut() {
        let mut digest = RunningDigest::new();
        digest.written(0, b"ax");
        digest.written(1, b"bcd");
        digest.truncated(3);
        assert_eq!(of(b"abc", digest), ABC);
        let mut digest = RunningDigest::new();
        digest.written(1, b"bc");
        assert_eq!(of(b"abc", digest), ABC);
    }

    #[test]
    fn beside_and_here_are_one() {
        let piece = |bytes: &'static [u8]| -> Piece { Arc::new(bytes) };
        let mut digest = RunningDigest::new();
        digest.written(0, b"a");
        digest.written_beside(1, piece(b"b and what is not meant"), 1);
        digest.written_beside(2, piece(b"c"), 1);
        assert_eq!(of(b"abc", digest), ABC);
        // Back here, out of order, and cut.
        let mut digest = RunningDigest::new();
        digest.written_beside(0, piece(b"ab"), 2);
        digest.written(2, b"c");
        assert_eq!(of(b"abc", digest), ABC);
        let mut digest = RunningDigest::new();
        digest.written_beside(0, piece(b"xyz"), 3);
        digest.written_beside(0, piece(b"abc"), 3);
        assert_eq!(of(b"abc", digest), ABC);
        let mut digest = RunningDigest::new();
        digest.written_beside(0, piece(b"abcd"), 4);
        digest.truncated(3);
        assert_eq!(of(b"abc", digest), ABC);
    }

    #[test]
    fn copies_are_read_back() {
        let read = |bytes: &'static [u8]| {
            move |at: u64, room: &mut [u8]| {
                let rest = &bytes[usize::try_from(at).unwrap_or(usize::MAX)..];
                let count = rest.len().min(room.len()).min(2);
                room[..count].copy_from_slice(&rest[..count]);
                Ok(count)
            }
        };
        let mut digest = RunningDigest::new();
        digest.written(0, b"a");
        assert!(digest.copied(1, 1, read(b"abX")).is_ok());
        assert_eq!(digest.hashed, 2, "it read on");
        digest.written(2, b"c");
        assert_eq!(of(b"abc", digest), ABC);
        // Ahead of what is known, and over it.
        let mut digest = RunningDigest::new();
        assert!(digest.copied(1, 2, read(b"abc")).is_ok());
        digest.written(0, b"x");
        assert!(digest.copied(0, 1, read(b"abc")).is_ok());
        assert_eq!(of(b"abc", digest), ABC);
        // Nothing is taken for known that could not be read.
        let mut digest = RunningDigest::new();
        digest.written(0, b"a");
        assert!(digest.copied(1, 9, |_, _| Ok(0)).is_err());
        assert_eq!(of(b"abc", digest), ABC);
    }

    #[test]
    fn staged_bytes_that_are_too_short_are_an_error() {
        assert!(RunningDigest::new().finish(3, |_, _| Ok(0)).is_err());
    }
}
