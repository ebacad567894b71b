//! `Upload`: bytes on their way and their landing. Every call may block on a disk: call from a thread that may
//! (`spawn_blocking`), once per transfer rather than once per chunk. Dropping it suspends it.

use std::time::SystemTime;

use landfall_storage::VirtualPath;

use super::refusal::Refusal;

/// The ledger's row for a landing.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Receipt {
    /// Identity of the upload.
    pub id: String,
    /// The name it landed under, as its user sees it (differs from the one asked for where versions are kept).
    pub path: String,
    /// Bytes.
    pub size: u64,
    /// SHA-256, 64 lowercase hexadecimal digits.
    pub sha256: String,
}

/// Bytes on their way.
pub struct Upload {}

#[allow(unused_variables)]
impl Upload {
    /// Its name as its user sees it.
    #[must_use]
    pub fn path(&self) -> &VirtualPath {
        todo!()
    }
    /// Bytes held; after a resume or an append more than 0 from the start.
    #[must_use]
    pub fn size(&self) -> u64 {
        todo!()
    }
    /// Writes all of `data` at `offset`, at most [`Upload::size`]. Digest, quota and size limit are kept along the way.
    /// After a refusal the upload stays as it was before, or is suspended by drop.
    pub fn write_at(&mut self, offset: u64, data: &[u8]) -> Result<(), Refusal> {
        todo!()
    }
    /// Reads staged bytes back (SFTP handles opened for reading and writing).
    pub fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<usize, Refusal> {
        todo!()
    }
    /// Cuts to `size` bytes, at most what is held.
    pub fn truncate(&mut self, size: u64) -> Result<(), Refusal> {
        todo!()
    }
    /// Makes what is held durable now.
    pub fn sync(&mut self) -> Result<(), Refusal> {
        todo!()
    }
    /// Modification time to wear from the landing on.
    pub fn set_modified(&mut self, time: SystemTime) {
        todo!()
    }
    /// Permission bits to wear from the landing on.
    pub fn set_mode(&mut self, mode: u32) {
        todo!()
    }
    /// Lands it: inspect, intent, sync, rename, sync, one transaction. The file is durable, visible and accounted for
    /// when this returns `Ok`. A refusal by a rule is in the ledger, and nothing is kept; a failure of storage or
    /// database suspends.
    pub fn finish(self) -> Result<Receipt, Refusal> {
        todo!()
    }
    /// Gives it up: nothing of it is kept.
    pub fn discard(self) -> Result<(), Refusal> {
        todo!()
    }
}
