//! A download's own thread: bytes of a landed file onto the data connection. Knows no reply.

use std::net::TcpStream;
use std::sync::Arc;

use rustix::fs::sendfile;

use super::Engine;
use super::ascii::ToNetwork;
use super::course::Course;
use super::data::{Break, Data, Terms, broken};
use crate::delivery::{Activity, Download, Pace, Reason, Refusal};

/// Bytes per sendfile: progress is told, and a cancellation noticed, this often.
const SENDFILE_BYTES: usize = 1_024 * 1_024;

/// A download about to run.
pub(super) struct Outgoing {
    pub(super) file: Download,
    pub(super) offset: u64,
    /// The first byte that is not sent any more.
    pub(super) end: u64,
    pub(super) ascii: bool,
    pub(super) activity: Arc<Activity>,
    pub(super) pace: Pace,
}

/// How something that was sent went.
#[derive(Debug)]
pub(super) enum Outcome {
    /// All of it went out.
    Sent,
    /// The storage failed underneath.
    Refused(Refusal),
    /// The data connection ended before.
    Broken(Break),
    /// By ABOR, by the end of the control connection, or by the operator.
    Stopped,
    /// No data connection came.
    NotConnected,
}

pub(super) enum Stop {
    Broken(Break),
    Refused(Refusal),
}

impl From<Break> for Stop {
    fn from(why: Break) -> Self {
        Self::Broken(why)
    }
}

impl From<Refusal> for Stop {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

/// Opens the data connection, lets `send` write to it, ends it, and tells `done` before it waits for the reader.
pub(super) fn over(
    socket: TcpStream,
    terms: &Terms,
    course: &Course,
    done: impl FnOnce(Outcome),
    send: impl FnOnce(&mut Data) -> Result<(), Stop>,
) {
    let mut data = match Data::open(socket, terms) {
        Ok(data) => data,
        Err(_) if course.is_cancelled() => return done(Outcome::Stopped),
        Err(why) => return done(Outcome::Broken(why)),
    };
    match send(&mut data).and_then(|()| Ok(data.finish_sending()?)) {
        // A cancelled socket may have taken the last bytes.
        Ok(()) if course.decide() => {
            course.detach();
            done(Outcome::Sent);
            data.linger();
        }
        Ok(()) => done(Outcome::Stopped),
        Err(_) if course.is_cancelled() => done(Outcome::Stopped),
        Err(Stop::Broken(why)) => done(Outcome::Broken(why)),
        Err(Stop::Refused(refusal)) => done(Outcome::Refused(refusal)),
    }
}

/// The data connection is not to blame.
fn cut_short() -> Stop {
    Refusal::new(Reason::Internal, "the file became shorter while it was sent; get it again").into()
}

impl Outgoing {
    /// Runs it to its end. Blocks.
    pub(super) fn run(
        self,
        socket: TcpStream,
        terms: &Terms,
        course: &Course,
        engine: &Arc<Engine>,
        done: impl FnOnce(Outcome),
    ) {
        over(socket, terms, course, done, |data| self.send(data, terms, course, engine));
    }

    fn send(&self, data: &mut Data, terms: &Terms, course: &Course, engine: &Engine) -> Result<(), Stop> {
        let mut at = self.offset;
        let piece = self.pace.piece_bytes();
        if !self.ascii
            && let (Some(socket), Some(file)) = (data.clear_socket(), self.file.file().as_file())
        {
            // From the page cache to the socket without passing through this process.
            while at < self.end {
                let count = usize::try_from(self.end - at).map_or(SENDFILE_BYTES, |n| n.min(SENDFILE_BYTES)).min(piece);
                match sendfile(socket, file, Some(&mut at), count) {
                    // The file was cut underneath; what is missing cannot be sent.
                    Ok(0) => return Err(cut_short()),
                    Ok(sent) => self.count(course, sent),
                    Err(rustix::io::Errno::INTR) => {}
                    Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS) => break,
                    Err(error) => return Err(broken(error.into(), terms.idle).into()),
                }
            }
        }
        let mut buffer = engine.shared.buffers.take();
        let mut ascii = self.ascii.then(ToNetwork::default);
        let mut converted = Vec::new();
        while at < self.end {
            let room = usize::try_from(self.end - at).map_or(buffer.len(), |n| n.min(buffer.len())).min(piece);
            let chunk = buffer.get_mut(..room).unwrap_or_default();
            let read = self.file.file().read_at(at, chunk).map_err(Refusal::from)?;
            if read == 0 {
                return Err(cut_short());
            }
            at += read as u64;
            let bytes = chunk.get(..read).unwrap_or_default();
            match &mut ascii {
                None => data.write_all(bytes)?,
                Some(ascii) => {
                    converted.clear();
                    ascii.push(bytes, &mut converted);
                    data.write_all(&converted)?;
                }
            }
            self.count(course, read);
        }
        Ok(())
    }

    fn count(&self, course: &Course, bytes: usize) {
        course.add(bytes);
        self.activity.sent(bytes as u64);
        if let Some(wait) = self.pace.moved(bytes) {
            course.rest(wait);
        }
    }
}
