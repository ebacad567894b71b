//! Bytes of the control connection cut into lines: Telnet sequences taken out (RFC 854), length bounded.
//! Pure; knows no socket and no command but the ABOR that may overtake.

use super::command::MAX_LINE_BYTES;

/// Longest line with its line end.
const MAX_ENDED_LINE_BYTES: usize = MAX_LINE_BYTES + 2;
/// Commands that wait for a transfer to end; an ABOR behind more than that is not found before.
const MAX_HELD_BYTES: usize = 64 * 1_024;
/// What an idle session's buffer may keep allocated.
const IDLE_CAPACITY_BYTES: usize = 512;

const IAC: u8 = 255;
/// From here on a byte after IAC is a Telnet command; no verb begins with one.
const SE: u8 = 240;
const WILL: u8 = 251;
const DONT: u8 = 254;

/// Where the Telnet decoder stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Telnet {
    #[default]
    Data,
    /// After IAC.
    Command,
    /// After IAC WILL, WONT, DO or DONT: one more byte.
    Option,
}

/// A line over [`MAX_LINE_BYTES`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooLong;

/// Received bytes on their way to lines.
#[derive(Debug, Default)]
pub struct Lines {
    bytes: Vec<u8>,
    telnet: Telnet,
}

impl Lines {
    /// How many more bytes may be pushed.
    #[must_use]
    pub fn room(&self) -> usize {
        MAX_HELD_BYTES - self.bytes.len().min(MAX_HELD_BYTES)
    }

    /// Takes received bytes, at most [`Lines::room`] of them.
    pub fn push(&mut self, received: &[u8]) {
        for &byte in received.iter().take(self.room()) {
            // Only before a command, where clients send such sequences: within one, the byte is part of a name that is
            // not UTF-8, and a name is refused, never altered.
            let before_command = self.bytes.last().is_none_or(|last| *last == b'\n');
            match (self.telnet, byte) {
                (Telnet::Data, IAC) if before_command => self.telnet = Telnet::Command,
                // Some send the two halves of a sequence as urgent bytes, in an order of their own.
                (Telnet::Data, SE..) if before_command => {}
                (Telnet::Command, WILL..=DONT) => self.telnet = Telnet::Option,
                (Telnet::Command, IAC | ..SE) | (Telnet::Data, _) => {
                    self.telnet = Telnet::Data;
                    self.bytes.push(byte);
                }
                // Interrupt Process, Data Mark and their like, before ABOR (RFC 959 section 4.1.3), and option
                // codes: nothing here has an option, and saying nothing refuses it.
                (Telnet::Command | Telnet::Option, _) => self.telnet = Telnet::Data,
            }
        }
    }

    /// The first whole line, left in place.
    #[must_use]
    pub fn peek(&self) -> Option<&[u8]> {
        self.end().map(|end| trim(&self.bytes[..end]))
    }

    /// Takes the first whole line.
    ///
    /// # Errors
    /// [`TooLong`], when no line end comes in time; nothing more can be read then.
    pub fn take(&mut self) -> Result<Option<Vec<u8>>, TooLong> {
        let Some(end) = self.end() else {
            return if self.bytes.len() >= MAX_ENDED_LINE_BYTES { Err(TooLong) } else { Ok(None) };
        };
        let line = trim(&self.bytes[..end]).to_vec();
        if line.len() > MAX_LINE_BYTES {
            return Err(TooLong);
        }
        self.remove(0, end);
        Ok(Some(line))
    }

    /// Takes an ABOR wherever it stands: it may overtake commands that wait for the transfer to end.
    pub fn take_abor(&mut self) -> bool {
        let mut start = 0;
        while let Some(length) = self.bytes[start..].iter().position(|byte| *byte == b'\n') {
            let end = start + length;
            if trim(&self.bytes[start..end]).trim_ascii_end().eq_ignore_ascii_case(b"ABOR") {
                self.remove(start, end);
                return true;
            }
            start = end + 1;
        }
        false
    }

    /// Forgets everything: what came before a TLS handshake has no say after it (RFC 4217 section 4.1 and the
    /// injections that became known since).
    pub fn clear(&mut self) {
        *self = Self::default();
    }

    fn end(&self) -> Option<usize> {
        self.bytes.iter().position(|byte| *byte == b'\n')
    }

    fn remove(&mut self, start: usize, end: usize) {
        self.bytes.drain(start..=end);
        if self.bytes.is_empty() && self.bytes.capacity() > IDLE_CAPACITY_BYTES {
            self.bytes = Vec::new();
        }
    }
}

fn trim(line: &[u8]) -> &[u8] {
    line.strip_suffix(b"\r").unwrap_or(line)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn lines_of(chunks: &[&[u8]]) -> Vec<Vec<u8>> {
        let mut lines = Lines::default();
        let mut out = Vec::new();
        for chunk in chunks {
            lines.push(chunk);
            while let Ok(Some(line)) = lines.take() {
                out.push(line);
            }
        }
        out
    }

    #[test]
    fn lines_with_either_end() {
        assert_eq!(lines_of(&[b"NOOP\r\nPW", b"D\nQUIT"]), [b"NOOP".to_vec(), b"PWD".to_vec()]);
        assert_eq!(lines_of(&[b"\r\n\n"]), [b"".to_vec(), b"".to_vec()]);
    }

    #[test]
    fn telnet_is_taken_out() {
        assert_eq!(lines_of(&[b"\xff\xf4\xff\xf2ABOR\r\n"]), [b"ABOR".to_vec()]);
        assert_eq!(lines_of(&[b"\xff", b"\xfd", b"\x06NOOP\r\n"]), [b"NOOP".to_vec()]);
        assert_eq!(lines_of(&[b"NOOP\r\n\xff\xf4\xff\xf2ABOR\r\n"]), [b"NOOP".to_vec(), b"ABOR".to_vec()]);
        assert_eq!(lines_of(&[b"\xf4\xffABOR\r\n"]), [b"ABOR".to_vec()]);
        assert_eq!(lines_of(&[b"\xff\xffB\n"]), [b"\xffB".to_vec()]);
        assert_eq!(lines_of(&[b"STOR a\xff\xf1.jpg\n"]), [b"STOR a\xff\xf1.jpg".to_vec()]);
    }

    #[test]
    fn a_line_may_have_4096_bytes_and_no_more() {
        let longest = [vec![b'x'; MAX_LINE_BYTES], b"\r\n".to_vec()].concat();
        assert_eq!(lines_of(&[&longest])[0].len(), MAX_LINE_BYTES);
        for over in [[vec![b'x'; MAX_LINE_BYTES + 1], b"\n".to_vec()].concat(), vec![b'x'; MAX_LINE_BYTES + 2]] {
            let mut lines = Lines::default();
            lines.push(&over);
            assert_eq!(lines.take(), Err(TooLong));
        }
    }

    #[test]
    fn what_is_held_is_bounded() {
        let mut lines = Lines::default();
        for _ in 0..100 {
            lines.push(&[b'x'; 1000]);
        }
        assert_eq!(lines.bytes.len(), MAX_HELD_BYTES);
    }

    #[test]
    fn abor_overtakes() {
        let mut lines = Lines::default();
        lines.push(b"PWD\r\nabor\r\nSTAT\r\nxABOR\r\n");
        assert!(lines.take_abor());
        assert!(!lines.take_abor());
        assert_eq!(lines.take().unwrap().unwrap(), b"PWD");
        assert_eq!(lines.take().unwrap().unwrap(), b"STAT");
    }

    #[test]
    fn a_long_line_does_not_stay_in_memory() {
        let mut lines = Lines::default();
        lines.push(&[b'x'; 4000]);
        lines.push(b"\n");
        assert!(lines.take().unwrap().is_some());
        assert!(lines.bytes.capacity() <= IDLE_CAPACITY_BYTES);
    }

    proptest! {
        #[test]
        fn chunk_borders_change_nothing(bytes in proptest::collection::vec(any::<u8>(), 0..200), cut in 0usize..200) {
            let (left, right) = bytes.split_at(cut.min(bytes.len()));
            prop_assert_eq!(lines_of(&[left, right]), lines_of(&[&bytes]));
        }
    }
}
