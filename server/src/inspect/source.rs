//! Where the bytes come from, and the window through which formats look at them. Knows no format.

use std::io;

use super::fault::{Stop, Walked};

/// A file, or what stands for one. Errors are those of the disk: an end is none.
pub trait Source {
    /// Its length in bytes, which does not change.
    fn size(&self) -> u64;
    /// Reads from `offset` on, less than asked for only at the end.
    ///
    /// # Errors
    /// Those of the disk.
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize>;
}

impl Source for &[u8] {
    fn size(&self) -> u64 {
        self.len() as u64
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        let rest = usize::try_from(offset).ok().and_then(|offset| self.get(offset..)).unwrap_or_default();
        let taken = rest.len().min(buf.len());
        buf[..taken].copy_from_slice(&rest[..taken]);
        Ok(taken)
    }
}

impl Source for std::fs::File {
    fn size(&self) -> u64 {
        self.metadata().map_or(0, |metadata| metadata.len())
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        let mut taken = 0;
        while taken < buf.len() {
            match std::os::unix::fs::FileExt::read_at(self, &mut buf[taken..], offset + taken as u64) {
                Ok(0) => break,
                Ok(count) => taken += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(taken)
    }
}

/// What is read at once where reading goes on, in bytes.
const STREAM_BYTES: usize = 128 * 1_024;
/// What is read after a jump, in bytes: formats with directories look at a few bytes in many places.
const JUMP_BYTES: usize = 4 * 1_024;
/// The most that can be looked at in one piece, in bytes.
pub(super) const MAX_PIECE_BYTES: usize = 64 * 1_024;

/// A part of the file in memory, moved along by looking.
pub(super) struct Window<'a> {
    source: &'a dyn Source,
    size: u64,
    held: Vec<u8>,
    start: u64,
}

impl<'a> Window<'a> {
    pub(super) fn new(source: &'a dyn Source) -> Self {
        Self { source, size: source.size(), held: Vec::new(), start: 0 }
    }

    /// One more, onto the same file.
    pub(super) fn another(&self) -> Window<'a> {
        Window::new(self.source)
    }

    /// The file's size in bytes.
    pub(super) fn size(&self) -> u64 {
        self.size
    }

    /// `length` bytes, `MAX_PIECE_BYTES` at most; or else the file ends before.
    pub(super) fn at(&mut self, offset: u64, length: usize) -> Walked<&[u8]> {
        debug_assert!(length <= MAX_PIECE_BYTES);
        let end = offset.saturating_add(length as u64);
        if end > self.size {
            return Err(Stop::End { needed: end });
        }
        if offset < self.start || end > self.start + self.held.len() as u64 {
            self.load(offset, length)?;
        }
        self.ahead(offset).get(..length).ok_or(Stop::End { needed: end })
    }

    /// Some bytes from `offset` on, at least one unless the file ends there.
    pub(super) fn some(&mut self, offset: u64) -> Walked<&[u8]> {
        if self.ahead(offset).is_empty() && offset < self.size {
            self.load(offset, 1)?;
        }
        Ok(self.ahead(offset))
    }

    /// What is in memory from `offset` on.
    pub(super) fn ahead(&self, offset: u64) -> &[u8] {
        let skip = offset.checked_sub(self.start).and_then(|skip| usize::try_from(skip).ok());
        skip.and_then(|skip| self.held.get(skip..)).unwrap_or_default()
    }

    /// Reads on, or jumps.
    fn load(&mut self, offset: u64, least: usize) -> io::Result<()> {
        let end = self.start + self.held.len() as u64;
        let goes_on = offset == 0 || (offset >= self.start && offset <= end.saturating_add(JUMP_BYTES as u64));
        let wanted = if goes_on { STREAM_BYTES } else { JUMP_BYTES }.max(least);
        let wanted = usize::try_from(self.size - offset.min(self.size)).map_or(wanted, |rest| wanted.min(rest));
        self.held.resize(wanted, 0);
        self.start = offset;
        let taken = self.source.read_at(offset, &mut self.held);
        self.held.truncate(*taken.as_ref().unwrap_or(&0));
        taken.map(drop)
    }

    /// Gives a source with a deadline the chance to say that it has passed, where much is computed and little read.
    pub(super) fn tick(&self) -> io::Result<()> {
        self.source.read_at(0, &mut []).map(drop)
    }

    pub(super) fn u16(&mut self, offset: u64) -> Walked<u16> {
        Ok(u16::from_be_bytes(self.array(offset)?))
    }

    pub(super) fn u32(&mut self, offset: u64) -> Walked<u32> {
        Ok(u32::from_be_bytes(self.array(offset)?))
    }

    pub(super) fn u64(&mut self, offset: u64) -> Walked<u64> {
        Ok(u64::from_be_bytes(self.array(offset)?))
    }

    pub(super) fn u8(&mut self, offset: u64) -> Walked<u8> {
        Ok(self.array::<1>(offset)?[0])
    }

    pub(super) fn array<const N: usize>(&mut self, offset: u64) -> Walked<[u8; N]> {
        let mut array = [0; N];
        array.copy_from_slice(self.at(offset, N)?);
        Ok(array)
    }
}
