//! The file behind a handle open for writing: an upload, WRITEs put together into larger ones, and WRITEs that came
//! ahead of the bytes before them. Every call may block. Knows nothing of queues and windows.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::SystemTime;

use bytes::{BufMut, Bytes, BytesMut};
use landfall_storage::{Kind, Stat};

use super::attributes::Attributes;
use super::connection::{Connection, EarlyPlace, Transfer};
use super::packets::{self, MAX_PAYLOAD_BYTES};
use super::queue::{Answers, Chunk};
use super::requests::Part;
use super::status::Code;
use crate::delivery::{DIGEST_BESIDE_FROM_BYTES, Download, Reason, Refusal, Step, Upload};

/// Pieces at least this long are written as they are, in bytes: putting them together costs more than it saves.
const DIRECT_BYTES: usize = 8 * 1024;
/// Shorter ones are put together up to this, in bytes.
const TOGETHER_BYTES: usize = 256 * 1024;
/// Largest offset of a byte. Anything near 2^63 is no file's.
const MAX_OFFSET: u64 = (i64::MAX as u64) >> 8;

/// An upload and what is on its way into it.
pub(super) struct Receiving {
    upload: Upload,
    connection: Arc<Connection>,
    append: bool,
    modified: Option<SystemTime>,
    mode: u32,
    /// The same, if it was set since the file is open.
    mode_set: Option<u32>,
    /// Why it cannot land any more: a WRITE failed. The client may not have looked at that one's status.
    broken: Option<Refusal>,
    together: BytesMut,
    together_at: u64,
    unanswered: Vec<Chunk>,
    early: Early<(Chunk, EarlyPlace)>,
    written: u64,
    reminded: bool,
    _transfer: Transfer,
}

impl Receiving {
    /// Over `upload`; with `append` WRITEs go to the end whatever their offset.
    pub(super) fn new(mut upload: Upload, append: bool, mode: Option<u32>, connection: &Arc<Connection>) -> Self {
        let transfer = Transfer::new(connection, &format!("STOR {}", upload.path()));
        if let Some(mode) = mode {
            upload.set_mode(mode);
        }
        Self {
            upload,
            connection: Arc::clone(connection),
            append,
            modified: None,
            mode: mode.unwrap_or(0o644),
            mode_set: None,
            broken: None,
            together: BytesMut::new(),
            together_at: 0,
            unanswered: Vec::new(),
            early: Early::new(),
            written: 0,
            reminded: false,
            _transfer: transfer,
        }
    }

    /// Length with what is put together and not written yet.
    fn end(&self) -> u64 {
        if self.together.is_empty() {
            self.upload.size()
        } else {
            self.upload.size().max(self.together_at + self.together.len() as u64)
        }
    }

    /// Does a WRITE, and those that waited for it. Its answer may come with a later [`Receiving::flush`].
    pub(super) fn write(&mut self, mut chunk: Chunk, answers: &mut Answers) {
        if let Some(broken) = &self.broken {
            return answers.refuse(chunk.id, broken);
        }
        if self.append {
            chunk.offset = self.end();
        }
        if chunk.offset.saturating_add(chunk.bytes as u64) > MAX_OFFSET {
            return self.fail(
                chunk.id,
                Refusal::new(Reason::BadOffset, "that offset is beyond any file's end"),
                answers,
            );
        }
        if chunk.offset > self.end() {
            return self.keep_early(chunk, answers);
        }
        self.put(chunk, answers);
        self.put_early(answers);
    }

    /// Does the WRITEs that came ahead and whose place is reached now.
    fn put_early(&mut self, answers: &mut Answers) {
        while self.broken.is_none()
            && let Some((chunk, _place)) = self.early.next_before(self.end())
        {
            self.put(chunk, answers);
        }
    }

    /// Where a copy of `part` begins here, everything before it being written; or it is refused.
    pub(super) fn place_for(&mut self, id: u32, part: Part, answers: &mut Answers) -> Option<u64> {
        self.flush(answers);
        let held = self.upload.size();
        let at = if self.append { held } else { part.at };
        if let Some(broken) = &self.broken {
            answers.refuse(id, broken);
        } else if at > held {
            self.fail(id, beyond_end(at, held), answers);
        } else {
            return Some(at);
        }
        None
    }

    /// Copies a part of a landed file, as WRITEs of its bytes would: in turns, away from here. Says how much that was.
    pub(super) async fn copy(
        self: Box<Self>,
        at: u64,
        source: Download,
        part: Part,
        step: &Step,
    ) -> (Option<Box<Self>>, Result<u64, Refusal>) {
        let session = self.connection.session.clone();
        let end = if part.length == 0 { u64::MAX } else { part.offset.saturating_add(part.length) };
        let (back, copied) = session.copy(*self, at, source, part.offset..end, step).await;
        (back.map(Box::new), copied)
    }

    /// After that: answers for it.
    pub(super) fn copied(&mut self, id: u32, wanted: u64, copied: Result<u64, Refusal>, answers: &mut Answers) {
        match copied {
            Ok(copied) if copied < wanted => answers.status(id, Code::Eof, "the file ends before so many bytes"),
            Ok(_) => answers.status(id, Code::Ok, "OK"),
            Err(refusal) => return self.fail(id, refusal, answers),
        }
        self.written += 1;
        self.put_early(answers);
    }

    /// A WRITE behind a copy, for which there was no room.
    pub(super) fn crowded_out(&mut self, id: u32, answers: &mut Answers) {
        let sentence = "too much was sent behind a copy that is still being made; wait for its answer first";
        self.fail(id, Refusal::new(Reason::Busy, sentence), answers);
    }

    /// Keeps a WRITE for when the bytes before it are there: clients that send from several threads mix them up.
    fn keep_early(&mut self, chunk: Chunk, answers: &mut Answers) {
        match self.connection.early_place(chunk.bytes) {
            Some(place) => self.early.insert(chunk.offset, (chunk, place)),
            None => self.fail(chunk.id, beyond_end(chunk.offset, self.end()), answers),
        }
    }

    /// Writes a chunk, or puts its small pieces to those before it.
    fn put(&mut self, chunk: Chunk, answers: &mut Answers) {
        let mut at = chunk.offset;
        let mut outcome = Ok(());
        for piece in &chunk.data {
            let follows = self.together.is_empty() || at == self.together_at + self.together.len() as u64;
            if !follows || piece.len() >= DIRECT_BYTES || self.together.len() + piece.len() > TOGETHER_BYTES {
                outcome = self.write_together();
            }
            if outcome.is_ok() && piece.len() >= DIRECT_BYTES {
                outcome = self.write_out(at, piece.clone());
            } else if outcome.is_ok() {
                if self.together.is_empty() {
                    self.together_at = at;
                }
                self.together.put_slice(piece);
            }
            if outcome.is_err() {
                break;
            }
            at += piece.len() as u64;
        }
        self.written += 1;
        self.unanswered.push(chunk);
        match outcome {
            Ok(()) if self.together.is_empty() => self.acknowledge(answers),
            Ok(()) => {}
            Err(refusal) => self.break_off(refusal, answers),
        }
    }

    fn write_together(&mut self) -> Result<(), Refusal> {
        if self.together.is_empty() {
            return Ok(());
        }
        let together = self.together.split().freeze();
        self.write_out(self.together_at, together)
    }

    /// One way for large pieces and small ones: the digest of a long upload stays beside, once it is there.
    fn write_out(&mut self, at: u64, bytes: Bytes) -> Result<(), Refusal> {
        if at < DIGEST_BESIDE_FROM_BYTES {
            return self.upload.write_at(at, &bytes);
        }
        let length = bytes.len();
        self.upload.write_shared(at, Arc::new(bytes), length)
    }

    fn acknowledge(&mut self, answers: &mut Answers) {
        for chunk in self.unanswered.drain(..) {
            answers.outcome(chunk.id, &Ok(()));
        }
    }

    /// A WRITE failed: so do all that are not answered, and the upload does not land.
    fn break_off(&mut self, refusal: Refusal, answers: &mut Answers) {
        for chunk in self.unanswered.drain(..) {
            answers.refuse(chunk.id, &refusal);
        }
        self.together.clear();
        self.broken.get_or_insert(refusal);
        self.give_up_early(answers);
    }

    fn fail(&mut self, id: u32, refusal: Refusal, answers: &mut Answers) {
        answers.refuse(id, &refusal);
        self.flush(answers);
        self.broken.get_or_insert(refusal);
        self.give_up_early(answers);
    }

    /// True when something was put together and not written yet.
    pub(super) fn has_unwritten(&self) -> bool {
        !self.unanswered.is_empty() || (!self.early.is_empty() && !self.reminded)
    }

    /// Writes what was put together and answers for it.
    pub(super) fn flush(&mut self, answers: &mut Answers) {
        match self.write_together() {
            Ok(()) => self.acknowledge(answers),
            Err(refusal) => self.break_off(refusal, answers),
        }
    }

    /// With WRITEs that came ahead, and nobody reminded yet: how many were done so far.
    pub(super) fn awaits_earlier(&mut self) -> Option<u64> {
        let waits = !self.early.is_empty() && !self.reminded;
        self.reminded |= waits;
        waits.then_some(self.written)
    }

    /// The bytes before the WRITEs that came ahead are overdue, unless some came since.
    pub(super) fn overdue(&mut self, written: u64, answers: &mut Answers) {
        self.reminded = false;
        if self.written == written {
            self.give_up_early(answers);
        }
    }

    /// Refuses the WRITEs that came ahead: what belongs before them is not coming.
    pub(super) fn give_up_early(&mut self, answers: &mut Answers) {
        let end = self.upload.size();
        for (chunk, _place) in self.early.take_all() {
            let refusal = beyond_end(chunk.offset, end);
            answers.refuse(chunk.id, &refusal);
            self.broken.get_or_insert(refusal);
        }
    }

    /// Reads back what was written.
    pub(super) fn read(&mut self, id: u32, offset: u64, wanted_bytes: u32, answers: &mut Answers) {
        let wanted = (wanted_bytes as usize).min(MAX_PAYLOAD_BYTES);
        let left = usize::try_from(self.upload.size().saturating_sub(offset)).unwrap_or(usize::MAX);
        let upload = &self.upload;
        match packets::data(&mut answers.out, id, wanted.min(left), |room| upload.read_at(offset, room)) {
            Ok(0) => answers.status(id, Code::Eof, "end of file"),
            Ok(count) => {
                answers.count += 1;
                self.connection.delivered(count);
            }
            Err(refusal) => answers.refuse(id, &refusal),
        }
    }

    /// What is staged, as it will look.
    pub(super) fn stat(&self) -> Stat {
        Stat {
            kind: Kind::File,
            size: self.end(),
            modified: self.modified.unwrap_or_else(Connection::time),
            mode: self.mode,
            inode: 0,
        }
    }

    /// Time and mode are worn from the landing on. A size cuts; it never makes a hole.
    pub(super) fn set_stat(&mut self, attributes: &Attributes) -> Result<(), Refusal> {
        if let Some(size) = attributes.size {
            if size > self.upload.size() {
                return Err(beyond_end(size, self.upload.size()));
            }
            self.upload.truncate(size)?;
        }
        if let Some(modified) = attributes.modified() {
            self.upload.set_modified(modified);
            self.modified = Some(modified);
        }
        if let Some(mode) = attributes.permissions() {
            self.upload.set_mode(mode);
            self.mode = mode;
            self.mode_set = Some(mode);
        }
        Ok(())
    }

    /// Makes what is written durable.
    pub(super) fn sync(&mut self) -> Result<(), Refusal> {
        self.upload.sync()
    }

    /// True when CLOSE is soon done.
    pub(super) fn closes_shortly(&self) -> bool {
        self.early.is_empty() && !self.upload.is_mere_copy() && self.upload.lands_shortly()
    }

    /// Lands it; or says why not, and suspends it.
    pub(super) fn close(mut self, answers: &mut Answers) -> Result<(), Refusal> {
        self.flush(answers);
        self.give_up_early(answers);
        match self.broken.take() {
            // Opened for writing, and nothing was written: what has landed is not landed again.
            None if self.upload.is_mere_copy() => self.upload.leave(self.modified, self.mode_set),
            None => self.upload.finish().map(|_receipt| ()),
            Some(broken) => Err(not_landed(&broken)),
        }
    }
}

impl AsMut<Upload> for Receiving {
    fn as_mut(&mut self) -> &mut Upload {
        &mut self.upload
    }
}

fn beyond_end(offset: u64, held: u64) -> Refusal {
    Refusal::new(Reason::BadOffset, format!("offset {offset} is beyond the {held} bytes held"))
}

fn not_landed(broken: &Refusal) -> Refusal {
    let sentence: Cow<'static, str> = format!("not landed, because a write failed: {}", broken.sentence).into();
    Refusal::new(broken.reason, sentence)
}

/// WRITEs ahead of the end, by offset and arrival.
struct Early<T> {
    chunks: BTreeMap<(u64, u64), T>,
    arrivals: u64,
}

impl<T> Early<T> {
    fn new() -> Self {
        Self { chunks: BTreeMap::new(), arrivals: 0 }
    }

    fn insert(&mut self, offset: u64, chunk: T) {
        self.arrivals += 1;
        self.chunks.insert((offset, self.arrivals), chunk);
    }

    /// The first that begins at `end` or before it.
    fn next_before(&mut self, end: u64) -> Option<T> {
        let first = self.chunks.first_entry()?;
        (first.key().0 <= end).then(|| first.remove())
    }

    fn is_empty(&self) -> bool {
        self.chunks.is_empty()
    }

    fn take_all(&mut self) -> impl Iterator<Item = T> + use<T> {
        std::mem::take(&mut self.chunks).into_values()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn chunks_that_came_ahead_come_out_when_the_gap_is_filled() {
        let mut early = Early::new();
        early.insert(20, "c");
        early.insert(10, "b");
        assert_eq!(early.next_before(9), None);
        assert_eq!(early.next_before(10), Some("b"));
        assert_eq!(early.next_before(19), None);
        assert_eq!(early.next_before(25), Some("c"));
        assert!(early.is_empty());
    }

    #[test]
    fn two_writes_to_one_place_keep_their_order() {
        let mut early = Early::new();
        early.insert(10, "old");
        early.insert(10, "new");
        assert_eq!(early.next_before(10), Some("old"));
        assert_eq!(early.next_before(10), Some("new"));
    }

    proptest! {
        #[test]
        fn any_order_of_arrival_gives_the_whole_file(order in Just((0u64..50).collect::<Vec<_>>()).prop_shuffle()) {
            let mut early = Early::new();
            let mut end = 0;
            for index in order {
                early.insert(index * 10, index);
                while let Some(index) = early.next_before(end) {
                    prop_assert_eq!(index * 10, end);
                    end += 10;
                }
            }
            prop_assert_eq!(end, 500);
            prop_assert!(early.is_empty());
        }
    }
}
