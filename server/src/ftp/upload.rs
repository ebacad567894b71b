//! An upload's own thread: bytes from the data connection into `delivery`, and the landing at their orderly end.
//! Knows no reply; says how it went as [`Outcome`].

use std::net::TcpStream;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::Engine;
use super::ascii::ToStored;
use super::course::Course;
use super::data::{Break, Data, Terms};
use crate::delivery::{DIGEST_BESIDE_FROM_BYTES, Receipt, Refusal, Upload};

/// Bytes taken in after a cancellation: what the kernel may have received before it, and no more from a peer that goes
/// on sending.
const MAX_LATE_BYTES: usize = 8 * 1_024 * 1_024;

/// Share of a transfer's own time that is waited at its end, and the most of it. Killed clients are found in the middle of
/// long transfers, not of short ones: so the short ones, of which there are many, need not pay.
const LAST_SIGNS_SHARE: u32 = 4;
const LAST_SIGNS_MOST: Duration = Duration::from_millis(50);
/// Between the two ends of a killed client lie some 20 µs on a machine with time to spare.
const LAST_SIGNS_LEAST: Duration = Duration::from_micros(100);

/// What the thread asks the control connection at the end of the data: is everything still as it was? The answer comes
/// through this.
pub(super) type Question = oneshot::Sender<bool>;

/// An upload about to run.
pub(super) struct Incoming {
    pub(super) upload: Upload,
    pub(super) ascii: bool,
    /// ALLO.
    pub(super) announced_bytes: Option<u64>,
    pub(super) question: oneshot::Sender<Question>,
}

/// How an upload went.
#[derive(Debug)]
pub(super) enum Outcome {
    /// It landed.
    Landed(Receipt),
    /// A rule, the storage or the database said no to the file of that name.
    Refused { name: String, refusal: Refusal },
    /// It ended before its end; so many bytes are held. Text (TYPE A) has no offset to resume it at.
    Suspended { held: u64, why: Suspension, ascii: bool },
}

/// Why an upload did not come to its end.
#[derive(Debug)]
pub(super) enum Suspension {
    /// By the data connection itself.
    Broken(Break),
    /// By ABOR, by the end of the control connection, or by the operator.
    Stopped,
    /// ALLO announced another size.
    Size { announced: u64, received: u64 },
    /// No data connection came.
    NotConnected,
}

impl Incoming {
    /// Runs it to its end. Blocks.
    pub(super) fn run(mut self, socket: TcpStream, terms: &Terms, course: &Course, engine: &Arc<Engine>) -> Outcome {
        let began = Instant::now();
        let name = self.upload.path().file_name().unwrap_or_default().to_owned();
        let received = Data::open(socket, terms).map_err(Stop::Broken).and_then(|mut data| {
            let received = self.receive(&mut data, course, engine)?;
            Ok((data, received))
        });
        let (data, received) = match received {
            Ok(received) => received,
            Err(Stop::Refused(refusal)) => return Outcome::Refused { name, refusal },
            Err(Stop::Broken(_)) if course.is_cancelled() => return self.suspend(Suspension::Stopped),
            Err(Stop::Broken(why)) => return self.suspend(Suspension::Broken(why)),
        };
        if let Some(announced) = self.announced_bytes
            // A client that resumes may mean the rest or the whole.
            && announced != received
            && announced != self.upload.size()
        {
            return self.suspend(Suspension::Size { announced, received });
        }
        let certain = data.end_is_certain() || self.announced_bytes.is_some();
        let last_signs = (!certain).then(|| Instant::now() + time_for_last_signs(began.elapsed()));
        course.detach();
        data.close_received();
        let held = self.upload.size();
        // The end of the data says nothing of an ABOR or of the control connection's own end, which may have come
        // before it, or come at the same time and be heard later: a client that was killed ends both connections, in
        // either order. Only the control connection's task can tell, and the later it is asked, the more it knows. So
        // it is asked when all is on the disk and only the name is missing. If that came sooner, what is left of the
        // time for last signs is waited for: a client on this very machine, which our own waking has pushed off its
        // processor in the middle of its death, needs it to finish dying. Where the end was said in so many words, by
        // close_notify or by ALLO, there is no need.
        let mut question = Some(self.question);
        let mut decided = None;
        let mut still_wanted = || {
            *decided.get_or_insert_with(|| {
                wait_until(last_signs);
                question.take().is_some_and(ask) && course.decide()
            })
        };
        match self.upload.finish_if(&mut still_wanted) {
            Ok(receipt) => Outcome::Landed(receipt),
            Err(_) if decided == Some(false) => {
                Outcome::Suspended { held, why: Suspension::Stopped, ascii: self.ascii }
            }
            Err(refusal) => Outcome::Refused { name, refusal },
        }
    }

    /// Moves bytes until the orderly end and says how many came over the wire.
    fn receive(&mut self, data: &mut Data, course: &Course, engine: &Engine) -> Result<u64, Stop> {
        let mut buffer = engine.shared.buffers.take();
        let (mut received, mut late) = (0, 0);
        let mut at = self.upload.size();
        let mut ascii = self.ascii.then(ToStored::default);
        let mut converted = Vec::new();
        let pace = self.upload.pace();
        let piece = pace.piece_bytes().min(buffer.len());
        loop {
            let read = data.read(buffer.get_mut(..piece).unwrap_or_default()).map_err(Stop::Broken)?;
            // A cancelled socket reads like an ended one, after what has arrived: that is kept for the resume.
            if course.is_cancelled() {
                late += read;
                if read == 0 || late > MAX_LATE_BYTES {
                    return Err(Stop::Broken(Break::Io(std::io::ErrorKind::ConnectionAborted.into())));
                }
            }
            let bytes = buffer.get(..read).unwrap_or_default();
            received += read as u64;
            course.add(read);
            let stored = match &mut ascii {
                None => bytes,
                Some(ascii) => {
                    converted.clear();
                    ascii.push(bytes, &mut converted);
                    if read == 0 {
                        ascii.finish(&mut converted);
                    }
                    &converted
                }
            };
            let length = stored.len();
            if length > 0 && ascii.is_none() && at >= DIGEST_BESIDE_FROM_BYTES {
                let full = std::mem::replace(&mut buffer, engine.shared.buffers.take());
                self.upload.write_shared(at, Arc::new(full), length).map_err(Stop::Refused)?;
            } else if length > 0 {
                self.upload.write_at(at, stored).map_err(Stop::Refused)?;
            }
            at += length as u64;
            if read == 0 {
                return Ok(received);
            }
            if let Some(wait) = pace.moved(read) {
                course.rest(wait);
            }
        }
    }

    /// Lets go of it without landing; the drop suspends it, if it holds a byte.
    pub(super) fn suspend(self, why: Suspension) -> Outcome {
        let held = self.upload.size();
        Outcome::Suspended { held, why, ascii: self.ascii }
    }
}

#[expect(clippy::disallowed_methods, reason = "there is no event to wait for: it is the absence of one that counts")]
fn wait_until(instant: Option<Instant>) {
    if let Some(left) = instant.map(|instant| instant.saturating_duration_since(Instant::now()))
        && !left.is_zero()
    {
        thread::sleep(left);
    }
}

fn time_for_last_signs(transfer: Duration) -> Duration {
    (transfer / LAST_SIGNS_SHARE).clamp(LAST_SIGNS_LEAST, LAST_SIGNS_MOST)
}

/// Nobody there to answer is a no.
fn ask(question: oneshot::Sender<Question>) -> bool {
    let (answer, answered) = oneshot::channel();
    question.send(answer).is_ok() && answered.blocking_recv().unwrap_or(false)
}

enum Stop {
    Broken(Break),
    Refused(Refusal),
}
