//! The running SHA-256 of an upload: fed while bytes come in order, caught up from the staged bytes where they did not.
//! Knows no file; the caller reads.

use aws_lc_rs::digest::{Context, SHA256};

use super::refusal::Refusal;

/// Bytes read at a time when catching up.
const CATCH_UP_BYTES: usize = 256 * 1024;

/// SHA-256 of the first `hashed` bytes.
pub(super) struct RunningDigest {
    context: Context,
    hashed: u64,
}

impl RunningDigest {
    pub(super) fn new() -> Self {
        Self { context: Context::new(&SHA256), hashed: 0 }
    }

    /// Takes note that `data` was written at `offset`.
    pub(super) fn written(&mut self, offset: u64, data: &[u8]) {
        if offset == self.hashed {
            self.context.update(data);
            self.hashed += data.len() as u64;
        } else if offset < self.hashed {
            // Bytes that are in the digest already were written again: begin anew, the end catches up.
            *self = Self::new();
        }
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
        mut read: impl FnMut(u64, &mut [u8]) -> Result<usize, Refusal>,
    ) -> Result<String, Refusal> {
        if self.hashed < size {
            let mut buffer = vec![0; CATCH_UP_BYTES];
            while self.hashed < size {
                let count = read(self.hashed, &mut buffer)?;
                if count == 0 {
                    return Err(Refusal::internal("the staged bytes are shorter than what was written"));
                }
                self.context.update(buffer.get(..count).unwrap_or_default());
                self.hashed += count as u64;
            }
        }
        Ok(hex(self.context.finish().as_ref()))
    }
}

/// Lowercase hexadecimal digits.
pub(super) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        write!(text, "{byte:02x}").ok();
        text
    })
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
    fn staged_bytes_that_are_too_short_are_an_error() {
        assert!(RunningDigest::new().finish(3, |_, _| Ok(0)).is_err());
    }
}
