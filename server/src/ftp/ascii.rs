//! TYPE A: line ends between the network's CRLF and the stored LF (RFC 959 section 3.1.1.1), across chunk borders.
//! Pure; knows no socket and no file.

/// From the network to the store: CRLF becomes LF. A CR that no LF follows stays.
#[derive(Debug, Default)]
pub struct ToStored {
    /// A CR came last; what follows it decides.
    held_cr: bool,
}

impl ToStored {
    /// Converts one chunk, appending to `out`.
    pub fn push(&mut self, chunk: &[u8], out: &mut Vec<u8>) {
        // Up to each CR in one go: lines are longer than one byte.
        for (at, piece) in chunk.split(|byte| *byte == b'\r').enumerate() {
            if at > 0 {
                self.finish(out);
                self.held_cr = true;
            }
            if self.held_cr && piece.first().is_some_and(|byte| *byte != b'\n') {
                out.push(b'\r');
            }
            self.held_cr &= piece.is_empty();
            out.extend_from_slice(piece);
        }
    }

    /// The end: what was held back comes out.
    pub fn finish(&mut self, out: &mut Vec<u8>) {
        if std::mem::take(&mut self.held_cr) {
            out.push(b'\r');
        }
    }
}

/// From the store to the network: LF becomes CRLF. A CRLF that is stored stays one.
#[derive(Debug, Default)]
pub struct ToNetwork {
    after_cr: bool,
}

impl ToNetwork {
    /// Converts one chunk, appending to `out`.
    pub fn push(&mut self, chunk: &[u8], out: &mut Vec<u8>) {
        for piece in chunk.split_inclusive(|byte| *byte == b'\n') {
            let line = piece.strip_suffix(b"\n").unwrap_or(piece);
            out.extend_from_slice(line);
            let after_cr = line.last().map_or(self.after_cr, |byte| *byte == b'\r');
            let ended = line.len() < piece.len();
            if ended {
                out.extend_from_slice(if after_cr { b"\n" } else { b"\r\n" });
            }
            self.after_cr = after_cr && !ended;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn stored(chunks: &[&[u8]]) -> Vec<u8> {
        let (mut converter, mut out) = (ToStored::default(), Vec::new());
        for chunk in chunks {
            converter.push(chunk, &mut out);
        }
        converter.finish(&mut out);
        out
    }

    fn sent(chunks: &[&[u8]]) -> Vec<u8> {
        let (mut converter, mut out) = (ToNetwork::default(), Vec::new());
        for chunk in chunks {
            converter.push(chunk, &mut out);
        }
        out
    }

    #[test]
    fn line_ends_on_chunk_borders() {
        assert_eq!(stored(&[b"a\r", b"\nb"]), b"a\nb");
        assert_eq!(stored(&[b"a\r", b"b\r"]), b"a\rb\r");
        assert_eq!(stored(&[b"\r\r", b"\n\n"]), b"\r\n\n");
        assert_eq!(sent(&[b"a\n", b"\nb\r", b"\nc"]), b"a\r\n\r\nb\r\nc");
    }

    proptest! {
        #[test]
        fn chunk_borders_change_nothing(bytes in "[a\r\n]{0,40}", cut in 0usize..40) {
            let bytes = bytes.as_bytes();
            let (left, right) = bytes.split_at(cut.min(bytes.len()));
            prop_assert_eq!(stored(&[left, right]), stored(&[bytes]));
            prop_assert_eq!(sent(&[left, right]), sent(&[bytes]));
        }

        #[test]
        fn byte_by_byte_it_is_the_same(bytes in "[a\r\n]{0,40}") {
            let bytes = bytes.as_bytes();
            let (mut expected_stored, mut expected_sent) = (Vec::new(), Vec::new());
            for (at, &byte) in bytes.iter().enumerate() {
                if byte != b'\r' || bytes.get(at + 1) != Some(&b'\n') {
                    expected_stored.push(byte);
                }
                if byte == b'\n' && (at == 0 || bytes[at - 1] != b'\r') {
                    expected_sent.push(b'\r');
                }
                expected_sent.push(byte);
            }
            prop_assert_eq!(stored(&[bytes]), expected_stored);
            prop_assert_eq!(sent(&[bytes]), expected_sent);
        }

        #[test]
        fn text_comes_back(text in "[ab\n]{0,40}") {
            prop_assert_eq!(stored(&[&sent(&[text.as_bytes()])]), text.as_bytes());
        }
    }
}
