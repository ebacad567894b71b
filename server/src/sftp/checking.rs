//! Digests of landed files (draft-ietf-secsh-filexfer-extensions-00, section 3): what is asked for, and how it is told.
//! They may take minutes and wait for their turn, so each has a task of its own. The computing is `delivery`'s.

use std::num::NonZeroU64;
use std::sync::Arc;

use bytes::{BufMut, BytesMut};
use landfall_storage::VirtualPath;

use super::connection::{Busy, Transfer};
use super::outbox::Outbox;
use super::packets::{self, Fault, MAX_PAYLOAD_BYTES, Reader};
use super::queue::Answers;
use crate::delivery::{Algorithm, Download, Reason, Refusal};

/// Shortest block that may be asked for, in bytes (section 3.1); 0 is all in one.
const MIN_BLOCK_BYTES: u32 = 256;
/// As VERSION tells them and requests name them.
pub(super) const ALGORITHMS: &str = "sha256,sha512,sha1,md5,crc32";

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Check {
    /// The first of the client's list that is known here.
    pub(super) algorithm: Option<Algorithm>,
    pub(super) offset: u64,
    /// 0: up to the end.
    pub(super) length: u64,
    /// 0: all is one block.
    pub(super) block_bytes: u32,
    /// The reply begins with the extension's name, as in the drafts before and in paramiko.
    pub(super) named: bool,
}

impl Check {
    /// Reads the fields behind handle or name.
    pub(super) fn read(reader: &mut Reader, named: bool) -> Result<Self, Fault> {
        let list = reader.string()?;
        Ok(Self {
            algorithm: list.split(|byte| *byte == b',').find_map(algorithm),
            offset: reader.u64()?,
            length: reader.u64()?,
            block_bytes: reader.u32()?,
            named,
        })
    }

    async fn digests(
        &self,
        outbox: &Outbox,
        path: &VirtualPath,
        file: Download,
    ) -> Result<(Algorithm, Vec<u8>), Refusal> {
        let Some(algorithm) = self.algorithm else {
            let sentence = format!("none of these digests is offered; ask for one of {ALGORITHMS}");
            return Err(Refusal::new(Reason::Rule, sentence));
        };
        if (1..MIN_BLOCK_BYTES).contains(&self.block_bytes) {
            let sentence = format!("a block of a digest has at least {MIN_BLOCK_BYTES} bytes; 0 asks for a single one");
            return Err(Refusal::new(Reason::Rule, sentence));
        }
        let size = file.size();
        let end = match self.length {
            0 => size,
            length => self.offset.saturating_add(length).min(size),
        };
        let block_bytes = NonZeroU64::new(self.block_bytes.into());
        let blocks = block_bytes.map_or(1, |bytes| end.saturating_sub(self.offset).div_ceil(bytes.get()));
        if blocks.saturating_mul(algorithm.digest_bytes() as u64) > MAX_PAYLOAD_BYTES as u64 {
            let sentence =
                format!("the digests of {blocks} blocks do not fit a reply; ask for larger blocks or a part");
            return Err(Refusal::new(Reason::Rule, sentence));
        }
        let (session, part) = (&outbox.connection.session, self.offset..end.max(self.offset));
        let digests = session.hash_blocks(path, file, algorithm, part, block_bytes, |_| ()).await?;
        Ok((algorithm, digests))
    }

    fn reply(&self, out: &mut BytesMut, id: u32, algorithm: Algorithm, digests: &[u8]) {
        packets::extended_reply(out, id, |out| {
            if self.named {
                packets::string(out, b"check-file");
            }
            packets::string(out, name(algorithm).as_bytes());
            out.put_slice(digests);
        });
    }
}

/// Begins to compute, and calls `then` when the request is answered. Ends soon when nobody waits for the answer.
pub(super) fn begin(
    outbox: &Arc<Outbox>,
    id: u32,
    path: VirtualPath,
    file: Download,
    check: Check,
    then: impl FnOnce() + Send + 'static,
) {
    let outbox = Arc::clone(outbox);
    outbox.connection.tasks.clone().spawn(async move {
        let mut answers = Answers::default();
        {
            let _busy = Busy::new(&outbox.connection);
            let _transfer = Transfer::new(&outbox.connection, &format!("HASH {path}"));
            tokio::select! {
                biased;
                () = outbox.gone.cancelled() => answers.count = 1,
                digests = check.digests(&outbox, &path, file) => match digests {
                    Ok((algorithm, digests)) => {
                        check.reply(&mut answers.out, id, algorithm, &digests);
                        answers.count = 1;
                    }
                    Err(refusal) => answers.refuse(id, &refusal),
                },
            }
        }
        outbox.room().await;
        outbox.answer(answers.out.freeze(), answers.count);
        then();
    });
}

fn algorithm(name: &[u8]) -> Option<Algorithm> {
    Algorithm::ALL.into_iter().find(|algorithm| self::name(*algorithm).as_bytes() == name)
}

/// The draft's names.
fn name(algorithm: Algorithm) -> &'static str {
    match algorithm {
        Algorithm::Sha256 => "sha256",
        Algorithm::Sha512 => "sha512",
        Algorithm::Sha1 => "sha1",
        Algorithm::Md5 => "md5",
        Algorithm::Crc32 => "crc32",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_algorithms_are_told_and_known() {
        assert_eq!(Algorithm::ALL.map(name).join(","), ALGORITHMS);
        for known in Algorithm::ALL {
            assert_eq!(algorithm(name(known).as_bytes()), Some(known));
        }
        assert_eq!(algorithm(b"SHA256"), None);
    }
}
