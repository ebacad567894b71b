//! The files behind handles open for reading, and the names behind those open for listing. Every call may block.
//! Knows nothing of queues and windows.

use std::sync::Arc;
use std::time::SystemTime;

use bytes::BytesMut;
use landfall_storage::{Stat, VirtualPath};

use super::attributes;
use super::connection::{Connection, Transfer};
use super::packets::{self, MAX_PAYLOAD_BYTES};
use super::queue::Answers;
use super::status::Code;
use crate::delivery::{Download, Listing, Refusal};

/// Names in one reply to READDIR.
const MAX_NAMES: u32 = 500;
/// The same in bytes; the longest name once more stays below a packet's limit.
const NAMES_BYTES: usize = 64 * 1024;

/// A landed file open for reading.
pub(super) struct Sending {
    download: Download,
    connection: Arc<Connection>,
    _transfer: Transfer,
}

impl Sending {
    /// Over `download`.
    pub(super) fn new(download: Download, path: &VirtualPath, connection: &Arc<Connection>) -> Self {
        let transfer = Transfer::new(connection, &format!("RETR {path}"));
        Self { download, connection: Arc::clone(connection), _transfer: transfer }
    }

    /// The open file.
    pub(super) fn download(&self) -> &Download {
        &self.download
    }

    /// Facts when it was opened.
    pub(super) fn stat(&self) -> &Stat {
        self.download.file().stat()
    }

    /// READ.
    pub(super) fn read(&self, id: u32, offset: u64, wanted_bytes: u32, answers: &mut Answers) {
        let wanted = (wanted_bytes as usize).min(MAX_PAYLOAD_BYTES);
        let left = usize::try_from(self.download.size().saturating_sub(offset)).unwrap_or(usize::MAX);
        let read = packets::data(&mut answers.out, id, wanted.min(left), |room| self.fill(offset, room));
        match read {
            Ok(0) => answers.status(id, Code::Eof, "end of file"),
            Ok(count) => {
                answers.count += 1;
                self.connection.delivered(count);
            }
            Err(refusal) => answers.refuse(id, &refusal),
        }
    }

    /// Reads until `room` is full or the file ends: some clients take a short reply for the end.
    fn fill(&self, offset: u64, room: &mut [u8]) -> Result<usize, Refusal> {
        let mut filled = 0;
        while let Some(rest) = room.get_mut(filled..)
            && !rest.is_empty()
        {
            match self.download.file().read_at(offset + filled as u64, rest)? {
                0 => break,
                count => filled += count,
            }
        }
        Ok(filled)
    }
}

/// A directory open for listing.
pub(super) struct Listed {
    names: Listing,
    /// Facts of the directory itself, for the `.` and `..` that clients expect first.
    dots: Option<Stat>,
    now: SystemTime,
}

impl Listed {
    /// Over `names` of a directory with these facts.
    pub(super) fn new(names: Listing, directory: Stat) -> Self {
        Self { names, dots: Some(directory), now: Connection::time() }
    }

    /// READDIR: as many names as fit a reply, and `EOF` when there are none left.
    pub(super) fn read(&mut self, id: u32, answers: &mut Answers) {
        let mut names = BytesMut::new();
        let mut count = 0;
        if let Some(stat) = self.dots.take() {
            for name in [".", ".."] {
                add_name(&mut names, name, &stat, self.now);
                count += 1;
            }
        }
        while count < MAX_NAMES && names.len() < NAMES_BYTES {
            match self.names.next() {
                Some(Ok(entry)) => {
                    add_name(&mut names, &entry.name, &entry.stat, self.now);
                    count += 1;
                }
                Some(Err(refusal)) => return answers.refuse(id, &refusal),
                None => break,
            }
        }
        if count == 0 {
            return answers.status(id, Code::Eof, "no more names");
        }
        packets::name(&mut answers.out, id, count, &names);
        answers.count += 1;
    }
}

fn add_name(names: &mut BytesMut, name: &str, stat: &Stat, now: SystemTime) {
    packets::string(names, name.as_bytes());
    packets::string(names, attributes::long_name(name, stat, now).as_bytes());
    attributes::encode(names, stat);
}
