//! Bytes and paths: where files stand, how an upload is staged, resumed and published.
//! Refuses to know users' rights, protocols, replies and HTTP; an owner is a name and nothing more.
//!
//! | file | holds |
//! |---|---|
//! | `path.rs` | [`VirtualPath`]: parsed once at the border, the only way to name a file |
//! | `local.rs` | [`LocalStore`]: opens root and staging folder, begins uploads |
//! | `jail.rs` | stat, list, open, rename, remove inside the root, through cap-std |
//! | `landing.rs` | an upload's writes, suspension, and publication with both syncs |
//! | `staging.rs` | the staging folder: bytes and sidecars, found again after a crash |
//! | `index.rs` | what is staged, in memory |
//! | `commit.rs` | group commit: landings share directory syncs |
//! | `disk.rs` | the system calls of an upload, and how tests make them fail |
//! | `tree.rs` | removal of a directory with all in it |
//! | `facts.rs` | from the operating system's numbers to [`Stat`] |
//! | `error.rs` | [`Error`]: kinds a caller decides on |
//! | `conformance.rs` | what every [`Store`] must show |
//!
//! Every call here may wait for a disk: make it from a thread that may block.

// The tests speak to the crate by the names that others use.
#[cfg(test)]
extern crate self as landfall_storage;

mod commit;
pub mod conformance;
pub mod disk;
pub mod error;
mod facts;
mod index;
mod jail;
mod landing;
pub mod local;
pub mod path;
mod staging;
#[cfg(test)]
mod tests;
mod tree;

use std::fs::File;
use std::time::SystemTime;

pub use error::{Error, Result};
pub use index::MAX_STAGED_PER_OWNER;
pub use jail::RESERVED_NAME;
pub use landing::SyncCounts;
pub use local::LocalStore;
pub use path::{PathError, VirtualPath};
pub use staging::MAX_OWNER_BYTES;

/// What kind of thing stands under a name. Links are shown, never followed out of the jail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link that an operator placed there, or anything else.
    Other,
}

/// Facts about one name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stat {
    /// File, directory, or something else.
    pub kind: Kind,
    /// Length in bytes; 0 for directories.
    pub size: u64,
    /// Last modification.
    pub modified: SystemTime,
    /// Permission bits, lowest twelve only.
    pub mode: u32,
    /// Inode number, or another number that tells one file from its replacement; 0 where there is none.
    pub inode: u64,
}

/// What tells the bytes of a file from all others that stood or will stand under its name: a write changes the times, and
/// nobody can set the second one. Two writes within one tick of the kernel's clock look like one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    /// Length in bytes.
    pub size: u64,
    /// See [`Stat::inode`].
    pub inode: u64,
    /// Last write, or what a client has set.
    pub modified: SystemTime,
    /// Last change of anything: bytes, name, mode, times.
    pub changed: SystemTime,
}

/// A text that is the same for the same identity and for no other.
impl std::fmt::Display for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { size, inode, modified, changed } = self;
        write!(f, "{size}/{inode}")?;
        for time in [modified, changed] {
            match time.duration_since(SystemTime::UNIX_EPOCH) {
                Ok(after) => write!(f, "/{after:?}")?,
                Err(before) => write!(f, "/-{:?}", before.duration())?,
            }
        }
        Ok(())
    }
}

/// A name that [`Store::remove_tree`] has removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gone {
    /// What it was; a link is [`Kind::Other`].
    pub kind: Kind,
    /// Its length in bytes.
    pub size: u64,
}

/// One name in a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The last component of its path. Always valid UTF-8; names on disk that are not are left out.
    pub name: String,
    /// Facts about it.
    pub stat: Stat,
}

/// The names in a directory, in no order, without `.` and `..`; streams, so that a million names cost no memory.
pub type Entries = Box<dyn Iterator<Item = Result<Entry>> + Send>;

/// The same names without facts: asking for those costs several times what the names do.
pub type Names = Box<dyn Iterator<Item = Result<String>> + Send>;

/// Room on the storage, in bytes and in files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Space {
    /// Size of the file system.
    pub total_bytes: u64,
    /// Bytes free to an unprivileged writer.
    pub free_bytes: u64,
    /// Inodes in all.
    pub total_files: u64,
    /// Inodes free.
    pub free_files: u64,
}

/// How long a positive answer must live.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Durability {
    /// Survives a power cut: file and directory are synced to the device.
    #[default]
    Full,
    /// Survives the end of the process: no device syncs.
    Process,
}

/// What to do with a file that stands under the final name already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Replace {
    /// Take its place, atomically.
    Yes,
    /// Fail with [`Error::AlreadyExists`].
    No,
}

/// How an upload begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Begin {
    /// From nothing. A suspended upload of the same owner and name is given up.
    Fresh,
    /// Go on with what the owner's suspended upload holds; cut to `offset` bytes first.
    /// More than is held: [`Error::BeyondEnd`]. None held: as if 0 bytes were held.
    Resume {
        /// Bytes to keep.
        offset: u64,
    },
    /// Go on after all that the owner's suspended upload holds; without one, after a copy of the landed file
    /// (RFC 959 APPE to a file that landed earlier), without either, from nothing.
    Append,
}

/// An upload cut off before its end and kept for its owner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Suspended {
    /// Names the staged bytes; the same over the upload's whole life, resumes included.
    pub id: UploadId,
    /// Who may see and resume it.
    pub owner: String,
    /// The name it is meant for.
    pub path: VirtualPath,
    /// Bytes held.
    pub size: u64,
    /// When bytes last came.
    pub modified: SystemTime,
    /// True while a session is writing to it.
    pub active: bool,
}

/// Identity of one upload: 32 lowercase hexadecimal digits, time-ordered (UUID version 7).
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct UploadId(String);

impl UploadId {
    /// A new identity, later than all before it.
    #[must_use]
    pub fn fresh() -> Self {
        Self(uuid::Uuid::now_v7().simple().to_string())
    }

    /// The identity that `text` spells, if it does.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        (text.len() == 32 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)))
            .then(|| Self(text.to_owned()))
    }

    /// Its 32 digits.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Display for UploadId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// Facts at the instant between sync and publication: the bytes are durable, the name is not yet visible.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sealed {
    /// The upload.
    pub id: UploadId,
    /// The name that it is about to take.
    pub path: VirtualPath,
    /// Its length in bytes.
    pub size: u64,
    /// Its inode number (see [`Stat::inode`]).
    pub inode: u64,
}

/// An open landed file.
pub trait ReadAt: Send + Sync {
    /// Length in bytes when it was opened.
    fn size(&self) -> u64;
    /// Facts when it was opened.
    fn stat(&self) -> &Stat;
    /// Its identity now: another one than before says that it was written to meanwhile.
    ///
    /// # Errors
    /// What the device says.
    fn identity(&self) -> Result<Identity>;
    /// Reads at `offset` into `buf`; 0 at the end.
    ///
    /// # Errors
    /// What the device says.
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<usize>;
    /// The file itself where there is one, for sendfile and copy_file_range.
    fn as_file(&self) -> Option<&File>;
}

/// An upload on its way. Dropping it suspends it: what it holds is kept for its owner, unless that is nothing, or
/// nothing but [`Begin::Append`]'s copy of the landed file, or a later upload of the same owner and name has landed.
pub trait Upload: Send {
    /// Its identity.
    fn id(&self) -> &UploadId;
    /// Bytes held.
    fn size(&self) -> u64;
    /// Bytes that were held when it began: more than 0 after a resume or an append.
    fn began_at(&self) -> u64;
    /// Writes all of `data` at `offset`, at most [`Upload::size`]. On an error some of it may be held; `size` tells.
    ///
    /// # Errors
    /// [`Error::BeyondEnd`], [`Error::NoSpace`], or what the device says.
    fn write_at(&mut self, offset: u64, data: &[u8]) -> Result<()>;
    /// Copies at most `length` bytes, from `from` of a landed file on, to `offset`, at most [`Upload::size`]; without
    /// reading them where the file system can. One slice of them at a time: says how many; 0 at the file's end.
    ///
    /// # Errors
    /// As for [`Upload::write_at`].
    fn copy_at(&mut self, offset: u64, source: &dyn ReadAt, from: u64, length: u64) -> Result<u64>;
    /// True while it holds nothing but [`Begin::Append`]'s copy of the landed file.
    fn is_mere_copy(&self) -> bool;
    /// Reads staged bytes back, for digests and inspection; 0 at the end.
    ///
    /// # Errors
    /// What the device says.
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<usize>;
    /// The staging file itself where there is one, for splice and mmap.
    fn as_file(&self) -> Option<&File>;
    /// Cuts to `size` bytes, at most what is held.
    ///
    /// # Errors
    /// [`Error::BeyondEnd`], or what the device says.
    fn truncate(&mut self, size: u64) -> Result<()>;
    /// Modification time to wear from the landing on.
    fn set_modified(&mut self, time: SystemTime);
    /// Permission bits to wear from the landing on (lowest nine; never set-id or sticky).
    fn set_mode(&mut self, mode: u32);
    /// Makes what is held durable now, whatever the durability setting.
    ///
    /// # Errors
    /// What the device says.
    fn sync(&mut self) -> Result<()>;
    /// Lands it under `path`: sync the file, call `before_visible`, rename, sync the directory (the syncs with
    /// [`Durability::Full`] only, and shared with other landings under way). After `Ok`, dropping does nothing.
    ///
    /// # Errors
    /// [`Error::AlreadyExists`] where `replace` is [`Replace::No`], [`Error::CalledOff`] with the error of
    /// `before_visible`, [`Error::NotFound`] when the directory is gone. Nothing is visible then, and the upload can be
    /// published under another name or dropped. [`Error::Io`] from the directory's sync: the name may be visible; it
    /// must not be acknowledged.
    fn publish(
        &mut self,
        path: &VirtualPath,
        replace: Replace,
        before_visible: &mut dyn FnMut(&Sealed) -> std::result::Result<(), BoxError>,
    ) -> Result<Stat>;
    /// Gives it up: nothing of it is kept.
    ///
    /// # Errors
    /// What the device says.
    fn discard(self: Box<Self>) -> Result<()>;
}

/// An error of the caller's, carried through [`Upload::publish`].
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A place where files stand. Object-safe: a server holds one `Arc<dyn Store>`.
pub trait Store: Send + Sync + 'static {
    /// Whether landings and changes of names wait for the device.
    fn durability(&self) -> Durability;
    /// Facts about a landed file or a directory. Links are not followed out of the jail.
    ///
    /// # Errors
    /// [`Error::NotFound`] and the rest of the operating system's answers, as for every call below.
    fn stat(&self, path: &VirtualPath) -> Result<Stat>;
    /// The names in a directory; staging is never among them.
    ///
    /// # Errors
    /// [`Error::NotADirectory`].
    fn list(&self, path: &VirtualPath) -> Result<Entries>;
    /// The same names, and nothing about them.
    ///
    /// # Errors
    /// [`Error::NotADirectory`].
    fn names(&self, path: &VirtualPath) -> Result<Names>;
    /// Opens a landed file for reading; only regular files open.
    ///
    /// # Errors
    /// [`Error::IsADirectory`], [`Error::NotPermitted`] for what is not a regular file.
    fn open(&self, path: &VirtualPath) -> Result<Box<dyn ReadAt>>;
    /// Makes a directory in one that exists, durably.
    ///
    /// # Errors
    /// [`Error::AlreadyExists`].
    fn create_dir(&self, path: &VirtualPath) -> Result<()>;
    /// Makes a directory and those above it, as far as they are missing.
    ///
    /// # Errors
    /// [`Error::NotADirectory`] when a file stands in the way.
    fn create_dir_all(&self, path: &VirtualPath) -> Result<()>;
    /// Removes a landed file.
    ///
    /// # Errors
    /// [`Error::IsADirectory`].
    fn remove_file(&self, path: &VirtualPath) -> Result<()>;
    /// Removes an empty directory.
    ///
    /// # Errors
    /// [`Error::DirectoryNotEmpty`].
    fn remove_dir(&self, path: &VirtualPath) -> Result<()>;
    /// Removes a directory and all that is in it, links and not what they lead to, as far as it can be done; says whether
    /// it is gone. `step` is told of each name that is gone in it, and ends the removal by saying false. What no path can
    /// name stays, and with it the directories above it.
    ///
    /// # Errors
    /// [`Error::NotADirectory`], also for a link to one.
    fn remove_tree(&self, path: &VirtualPath, step: &mut dyn FnMut(Gone) -> bool) -> Result<bool>;
    /// Gives a landed file or a directory another name, durably.
    ///
    /// # Errors
    /// [`Error::AlreadyExists`] where `replace` is [`Replace::No`].
    fn rename(&self, from: &VirtualPath, to: &VirtualPath, replace: Replace) -> Result<()>;
    /// Sets a landed file's or a directory's modification time.
    ///
    /// # Errors
    /// As above.
    fn set_modified(&self, path: &VirtualPath, time: SystemTime) -> Result<()>;
    /// Sets the lowest nine permission bits; set-id and sticky bits are dropped.
    ///
    /// # Errors
    /// As above.
    fn set_mode(&self, path: &VirtualPath, mode: u32) -> Result<()>;
    /// Room left.
    ///
    /// # Errors
    /// What the device says.
    fn space(&self) -> Result<Space>;

    /// Begins an upload meant for `path`, whose directory must exist. An owner's name has at most
    /// [`MAX_OWNER_BYTES`] bytes, no `/` and no control character.
    ///
    /// # Errors
    /// [`Error::NotFound`] when the directory is missing, [`Error::IsADirectory`] when one stands there,
    /// [`Error::Busy`], [`Error::BeyondEnd`], [`Error::Limit`] when the owner has too many staged.
    fn stage(&self, owner: &str, path: &VirtualPath, begin: Begin) -> Result<Box<dyn Upload>>;
    /// The same with [`Begin::Append`]. Where that copies the landed file, `step` is told how many more bytes are
    /// copied, slice by slice, and ends it by saying false.
    ///
    /// # Errors
    /// [`Error::Stopped`], and those of [`Store::stage`].
    fn append(&self, owner: &str, path: &VirtualPath, step: &mut dyn FnMut(u64) -> bool) -> Result<Box<dyn Upload>>;
    /// The owner's upload meant for `path`, suspended or under way, if any.
    fn staged(&self, owner: &str, path: &VirtualPath) -> Option<Suspended>;
    /// The owner's uploads meant for names directly in `directory`.
    fn staged_in(&self, owner: &str, directory: &VirtualPath) -> Vec<Suspended>;
    /// All staged uploads of all owners.
    fn all_staged(&self) -> Vec<Suspended>;
    /// Gives up the owner's suspended upload meant for `path`.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Busy`].
    fn discard_staged(&self, owner: &str, path: &VirtualPath) -> Result<()>;
    /// Gives up the owner's suspended upload meant for `path`, which is returned, if there is one; those under way will
    /// not be kept when they are cut off. For when a file came to stand there in another way than by a landing.
    ///
    /// # Errors
    /// What the device says: then it stays suspended.
    fn outdate(&self, owner: &str, path: &VirtualPath) -> Result<Option<Suspended>>;
    /// Moves the owner's suspended upload from one name to another (a rename of what only the owner sees).
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Busy`].
    fn rename_staged(&self, owner: &str, from: &VirtualPath, to: &VirtualPath) -> Result<()>;
    /// Removes suspended uploads that got no bytes since `before`, and returns them.
    ///
    /// # Errors
    /// What the device says.
    fn sweep(&self, before: SystemTime) -> Result<Vec<Suspended>>;
}
