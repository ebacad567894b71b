//! `Session`: one logged-in user over one connection, and every verb a protocol may call.
//! Paths given to it are the user's own: `/` is the user's home.

use std::net::SocketAddr;
use std::time::SystemTime;

use landfall_auth::{Protocol, User};
use landfall_storage::{Begin, Entry, ReadAt, Space, Stat, VirtualPath};
use tokio_util::sync::CancellationToken;

use super::refusal::Refusal;
use super::registry::Activity;
use super::upload::{Receipt, Upload};

/// A landed file open for reading. Reads block: call from a thread that may.
pub struct Download {
    file: Box<dyn ReadAt>,
}

impl Download {
    /// Length in bytes.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.file.size()
    }

    /// The file.
    #[must_use]
    pub fn file(&self) -> &dyn ReadAt {
        &*self.file
    }
}

/// The names in a directory as the user sees them: own suspended uploads with their partial size, client-side
/// temporary names included, staging never. Iteration blocks: call from a thread that may.
pub type Listing = Box<dyn Iterator<Item = Result<Entry, Refusal>> + Send>;

/// One logged-in user over one connection. Dropping it ends it in the registry.
pub struct Session {}

#[allow(unused_variables, clippy::unused_async)]
impl Session {
    /// Number of the session in this process.
    #[must_use]
    pub fn id(&self) -> u64 {
        todo!()
    }
    /// The user.
    #[must_use]
    pub fn user(&self) -> &User {
        todo!()
    }
    /// Where from.
    #[must_use]
    pub fn peer(&self) -> SocketAddr {
        todo!()
    }
    /// Over what.
    #[must_use]
    pub fn protocol(&self) -> Protocol {
        todo!()
    }
    /// Cancelled when the session must end now: kicked, user disabled, hard stop. The engine closes the connection.
    #[must_use]
    pub fn ended(&self) -> &CancellationToken {
        todo!()
    }
    /// Byte counters for `landfall sessions`.
    #[must_use]
    pub fn activity(&self) -> &Activity {
        todo!()
    }
    /// Says what the session does now, for `landfall sessions`: `STOR /a.jpg`; `idle` when nothing.
    pub fn doing(&self, what: &str) {
        todo!()
    }

    /// Facts about a name. The owner's own suspended upload shows its partial size.
    pub async fn stat(&self, path: &VirtualPath) -> Result<Stat, Refusal> {
        todo!()
    }
    /// Names in a directory.
    pub async fn list(&self, path: &VirtualPath) -> Result<Listing, Refusal> {
        todo!()
    }
    /// Is this a directory one may stand in? (FTP's CWD.)
    pub async fn enter(&self, path: &VirtualPath) -> Result<(), Refusal> {
        todo!()
    }
    /// Opens a landed file.
    pub async fn download(&self, path: &VirtualPath) -> Result<Download, Refusal> {
        todo!()
    }
    /// Begins or goes on with an upload. `expected_bytes` is the size announced beforehand (FTP's ALLO), if any.
    pub async fn upload(
        &self,
        path: &VirtualPath,
        begin: Begin,
        expected_bytes: Option<u64>,
    ) -> Result<Upload, Refusal> {
        todo!()
    }
    /// Makes a directory.
    pub async fn make_dir(&self, path: &VirtualPath) -> Result<(), Refusal> {
        todo!()
    }
    /// Removes a landed file, or the owner's suspended upload of that name.
    pub async fn remove_file(&self, path: &VirtualPath) -> Result<(), Refusal> {
        todo!()
    }
    /// Removes an empty directory.
    pub async fn remove_dir(&self, path: &VirtualPath) -> Result<(), Refusal> {
        todo!()
    }
    /// Renames. With `replace` a file at `to` is replaced where policy lets it (FTP, posix-rename); without, it is
    /// refused (SFTP version 3 RENAME). The receipt is given when the rename delivers a client-side temporary name.
    pub async fn rename(
        &self,
        from: &VirtualPath,
        to: &VirtualPath,
        replace: bool,
    ) -> Result<Option<Receipt>, Refusal> {
        todo!()
    }
    /// Sets a modification time.
    pub async fn set_modified(&self, path: &VirtualPath, time: SystemTime) -> Result<(), Refusal> {
        todo!()
    }
    /// Sets permission bits (lowest nine).
    pub async fn set_mode(&self, path: &VirtualPath, mode: u32) -> Result<(), Refusal> {
        todo!()
    }
    /// Room left for this user: the storage's, or the quota's rest where that is less.
    pub async fn space(&self) -> Result<Space, Refusal> {
        todo!()
    }
}
