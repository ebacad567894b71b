//! Digests of landed files, for clients that compare: computed in slices, so that nobody waits for a large file of
//! somebody else; or taken from the receipt where the file is still the one that landed. Knows no verb and no reply.

use std::num::NonZeroU64;
use std::ops::Range;

use aws_lc_rs::digest;
use landfall_storage::{Identity, Stat, Store, VirtualPath};
use md5::{Digest, Md5};

use super::digest::{hex, unhex};
use super::policy::Verb;
use super::refusal::{Reason, Refusal};
use super::session::{Download, Session};

/// Bytes read at a time.
const READ_BYTES: usize = 256 * 1_024;
/// Bytes of one file before the next one has its turn; a cancellation is noticed as often.
const SLICE_BYTES: u64 = 32 * 1_024 * 1_024;
/// Reading a smaller file costs less than looking for its receipt.
pub(super) const MIN_IDENTIFIED_BYTES: u64 = 8 * 1_024 * 1_024;

/// Ways to compute a digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[expect(missing_docs, reason = "each is what its name says")]
pub enum Algorithm {
    #[default]
    Sha256,
    Sha512,
    Sha1,
    Md5,
    Crc32,
}

impl Algorithm {
    /// All of them, the one that is meant where nothing is said first.
    pub const ALL: [Self; 5] = [Self::Sha256, Self::Sha512, Self::Sha1, Self::Md5, Self::Crc32];

    /// Its name in IANA's registry of hash function textual names.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Sha256 => "SHA-256",
            Self::Sha512 => "SHA-512",
            Self::Sha1 => "SHA-1",
            Self::Md5 => "MD5",
            Self::Crc32 => "CRC32",
        }
    }

    /// Length of its digests.
    #[must_use]
    pub fn digest_bytes(self) -> usize {
        match self {
            Self::Sha256 => 32,
            Self::Sha512 => 64,
            Self::Sha1 => 20,
            Self::Md5 => 16,
            Self::Crc32 => 4,
        }
    }

    /// The one of that name, in any case.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|algorithm| algorithm.name().eq_ignore_ascii_case(name))
    }
}

enum Hasher {
    Sha(digest::Context),
    Md5(Md5),
    Crc32(crc32fast::Hasher),
}

impl Hasher {
    fn new(algorithm: Algorithm) -> Self {
        match algorithm {
            Algorithm::Sha256 => Self::Sha(digest::Context::new(&digest::SHA256)),
            Algorithm::Sha512 => Self::Sha(digest::Context::new(&digest::SHA512)),
            Algorithm::Sha1 => Self::Sha(digest::Context::new(&digest::SHA1_FOR_LEGACY_USE_ONLY)),
            Algorithm::Md5 => Self::Md5(Md5::new()),
            Algorithm::Crc32 => Self::Crc32(crc32fast::Hasher::new()),
        }
    }

    fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Sha(context) => context.update(bytes),
            Self::Md5(md5) => md5.update(bytes),
            Self::Crc32(crc32) => crc32.update(bytes),
        }
    }

    fn finish(self) -> Vec<u8> {
        match self {
            Self::Sha(context) => context.finish().as_ref().to_vec(),
            Self::Md5(md5) => md5.finalize().to_vec(),
            Self::Crc32(crc32) => crc32.finalize().to_be_bytes().to_vec(),
        }
    }
}

/// A file on its way through a digest. Its buffer lives for a slice only: those who wait hold none.
struct Work {
    file: Download,
    algorithm: Algorithm,
    hasher: Hasher,
    at: u64,
    end: u64,
    block_bytes: u64,
    /// Where the block ends that the hasher is in.
    block_end: u64,
    /// Of the blocks before it, one after the other.
    digests: Vec<u8>,
}

impl Work {
    fn new(file: Download, algorithm: Algorithm, part: &Range<u64>, block_bytes: Option<NonZeroU64>) -> Self {
        let block_bytes = block_bytes.map_or(u64::MAX, NonZeroU64::get);
        Self {
            file,
            algorithm,
            hasher: Hasher::new(algorithm),
            at: part.start,
            end: part.end,
            block_bytes,
            block_end: part.end.min(part.start.saturating_add(block_bytes)),
            digests: Vec::new(),
        }
    }

    fn slice(&mut self) -> Result<(), Refusal> {
        let until = self.end.min(self.at.saturating_add(SLICE_BYTES));
        let mut buffer = vec![0; READ_BYTES];
        while self.at < until {
            let rest = until.min(self.block_end) - self.at;
            let room = usize::try_from(rest).map_or(READ_BYTES, |rest| rest.min(READ_BYTES));
            let chunk = buffer.get_mut(..room).unwrap_or_default();
            let read = self.file.file().read_at(self.at, chunk)?;
            if read == 0 {
                return Err(changed());
            }
            self.hasher.update(chunk.get(..read).unwrap_or_default());
            self.at += read as u64;
            if self.at == self.block_end && self.at < self.end {
                self.end_block();
                self.block_end = self.end.min(self.at.saturating_add(self.block_bytes));
            }
        }
        Ok(())
    }

    fn end_block(&mut self) {
        let hasher = std::mem::replace(&mut self.hasher, Hasher::new(self.algorithm));
        self.digests.extend(hasher.finish());
    }
}

impl Session {
    /// Digest of a part of a landed file, in lowercase hexadecimal digits.
    ///
    /// # Errors
    /// As for [`Session::hash_blocks`].
    pub async fn hash(
        &self,
        path: &VirtualPath,
        file: Download,
        algorithm: Algorithm,
        part: Range<u64>,
        progress: impl Fn(u64),
    ) -> Result<String, Refusal> {
        Ok(hex(&self.hash_blocks(path, file, algorithm, part, None, progress).await?))
    }

    /// Digests of the blocks that a part of a landed file consists of, one after the other; the last block may be a
    /// shorter one, and where no length is given all is one block. `progress` is told how many bytes have been read
    /// since it was told last. Dropped, it ends at the next slice.
    ///
    /// # Errors
    /// [`Reason::BadOffset`] beyond the end, [`Reason::Busy`] when somebody writes to the file meanwhile.
    pub async fn hash_blocks(
        &self,
        path: &VirtualPath,
        file: Download,
        algorithm: Algorithm,
        part: Range<u64>,
        block_bytes: Option<NonZeroU64>,
        progress: impl Fn(u64),
    ) -> Result<Vec<u8>, Refusal> {
        self.shared().may(path, Verb::Read)?;
        let size = file.size();
        if part.start > part.end || part.end > size {
            let sentence = format!("bytes {} to {} are not within the {size} bytes of the file", part.start, part.end);
            return Err(Refusal::new(Reason::BadOffset, sentence));
        }
        let before = file.file().identity()?;
        if algorithm == Algorithm::Sha256
            && part == (0..size)
            && block_bytes.is_none_or(|bytes| bytes.get() >= size)
            && let Some(digest) = self.receipted(path, &before).await?.as_deref().and_then(unhex)
        {
            return Ok(digest);
        }
        let hashing = &self.shared().delivery.hashing;
        let own = hashing.of(&self.user().name);
        let mut work = Work::new(file, algorithm, &part, block_bytes);
        while work.at < work.end {
            let turn = hashing.turn(own.clone()).await?;
            let from = work.at;
            // The turn goes with the thread: one that nobody waits for any more still takes its place.
            let slice = tokio::task::spawn_blocking(move || {
                let sliced = work.slice().map(|()| work);
                drop(turn);
                sliced
            });
            work = slice.await.map_err(Refusal::internal)??;
            progress(work.at - from);
        }
        let after = work.file.file().identity()?;
        if (after.size, after.modified) != (before.size, before.modified) {
            return Err(changed());
        }
        work.end_block();
        Ok(work.digests)
    }

    /// The digest in the receipt of the very file that stands there, if no one has touched it since it landed.
    pub(super) async fn receipted(&self, path: &VirtualPath, identity: &Identity) -> Result<Option<String>, Refusal> {
        if identity.size < MIN_IDENTIFIED_BYTES {
            return Ok(None);
        }
        let ledger = &self.shared().delivery.ledger;
        let digest = ledger.digest_of(&self.user().name, path.as_str(), &identity.to_string()).await;
        digest.map_err(Refusal::internal)
    }
}

fn changed() -> Refusal {
    Refusal::new(Reason::Busy, "the file was written to while it was read; ask again")
}

/// What the receipt of a file that has just landed keeps, so that its digest need not be computed again; `landed` are the
/// facts from before its name was visible. A file's times tell of every write but one in the same tick of the kernel's
/// clock: so a file is taken only if its last write was in an earlier tick than its rename, and whatever is written later
/// then shows. Both times count at the comparison; the second one cannot be set by anybody.
pub(super) fn identify(store: &dyn Store, path: &VirtualPath, landed: &Stat) -> Option<String> {
    if landed.size < MIN_IDENTIFIED_BYTES {
        return None;
    }
    let identity = store.open(path).ok()?.identity().ok()?;
    let same = (identity.inode, identity.size, identity.modified) == (landed.inode, landed.size, landed.modified);
    (same && identity.modified < identity.changed).then(|| identity.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_answers() {
        // FIPS 180-4, RFC 1321 and the check value of CRC-32/ISO-HDLC.
        for (algorithm, text, digest) in [
            (Algorithm::Sha256, "abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
            (Algorithm::Sha1, "abc", "a9993e364706816aba3e25717850c26c9cd0d89d"),
            (Algorithm::Md5, "message digest", "f96b697d7cb7938d525a2f31aaf161d0"),
            (Algorithm::Crc32, "123456789", "cbf43926"),
        ] {
            let mut hasher = Hasher::new(algorithm);
            hasher.update(text.as_bytes());
            assert_eq!(hex(&hasher.finish()), digest, "{algorithm:?}");
        }
        let mut hasher = Hasher::new(Algorithm::Sha512);
        hasher.update(b"abc");
        assert!(hex(&hasher.finish()).starts_with("ddaf35a193617abacc417349ae20413112e6fa4e89a97ea2"));
    }

    #[test]
    fn names() {
        for algorithm in Algorithm::ALL {
            assert_eq!(Algorithm::parse(&algorithm.name().to_lowercase()), Some(algorithm));
        }
        assert_eq!(Algorithm::parse("CRC-37"), None);
    }
}
