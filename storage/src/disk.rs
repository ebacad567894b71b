//! The system calls of an upload's life, in one place, so that tests can make each of them fail, stall or never happen.
//! Knows open directories and single names; decides nothing.
//!
//! Without [`Faults`] a call costs one branch more than the bare system call.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use rustix::fs::{AtFlags, Mode, OFlags, RenameFlags, Timestamps};
use rustix::io::Errno;

use crate::error::{Error, Result};

/// Copied between two looks at whether it is still wanted: whole blocks, so that they can be cloned.
const COPY_SLICE_BYTES: u64 = 16 * 1_024 * 1_024;
/// Copied at a time where the kernel cannot do it.
const COPY_BUFFER_BYTES: usize = 256 * 1_024;

/// A system call of an upload's life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Call {
    /// Making the staging file.
    CreateStaged,
    /// Opening a suspended upload's staging file.
    OpenStaged,
    /// Opening the directory that a landing goes to.
    OpenDirectory,
    /// Writing a sidecar.
    NameStaged,
    /// Moving a sidecar over an older one.
    RenameSidecar,
    /// Copying a landed file, for an append or because a client asked for it.
    CopyLanded,
    /// Writing bytes.
    Write,
    /// Cutting.
    Truncate,
    /// Reading the staging file's facts.
    Stat,
    /// Setting the permission bits.
    SetMode,
    /// Setting the modification time.
    SetModified,
    /// Syncing the file.
    SyncFile,
    /// The step that makes an upload visible.
    Rename,
    /// Syncing a directory.
    SyncDirectory,
    /// Removing a staging file or a sidecar.
    Unlink,
}

/// A failing disk, for tests: asked before each [`Call`], told after it.
pub trait Faults: Send + Sync {
    /// Called before `call`, which does not happen when this is an error; the error is then the call's own.
    ///
    /// # Errors
    /// What the call shall fail with.
    fn before(&self, call: Call) -> io::Result<()>;
    /// Called after `call`; `done` tells whether it succeeded.
    fn after(&self, call: Call, done: bool) {
        let _ = (call, done);
    }
    /// How many of `len_bytes` the next write may take, to provoke short writes.
    fn write_limit_bytes(&self, len_bytes: usize) -> usize {
        len_bytes
    }
    /// The same for what the kernel copies from file to file; of nothing, as some file systems copy, as well.
    fn copy_limit_bytes(&self, len_bytes: usize) -> usize {
        len_bytes
    }
}

/// The calls.
#[derive(Clone, Default)]
pub(crate) struct Disk {
    faults: Option<Arc<dyn Faults>>,
}

impl Disk {
    pub(crate) fn with_faults(faults: Arc<dyn Faults>) -> Self {
        Self { faults: Some(faults) }
    }

    /// Runs `f` as `call`, again when a signal interrupted it.
    #[inline]
    pub(crate) fn run<T>(&self, call: Call, mut f: impl FnMut() -> io::Result<T>) -> io::Result<T> {
        loop {
            let result = match &self.faults {
                None => f(),
                Some(faults) => faults.before(call).and_then(|()| {
                    let result = f();
                    faults.after(call, result.is_ok());
                    result
                }),
            };
            match result {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => return result,
            }
        }
    }

    pub(crate) fn create_staged(&self, directory: &OwnedFd, name: &str) -> io::Result<File> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        self.run(Call::CreateStaged, || {
            Ok(rustix::fs::openat(directory, name, flags, Mode::from_raw_mode(0o644))?.into())
        })
    }

    pub(crate) fn open_staged(&self, directory: &OwnedFd, name: &str) -> io::Result<File> {
        let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        self.run(Call::OpenStaged, || Ok(rustix::fs::openat(directory, name, flags, Mode::empty())?.into()))
    }

    pub(crate) fn symlink(&self, text: &str, directory: &OwnedFd, name: &str) -> io::Result<()> {
        self.run(Call::NameStaged, || Ok(rustix::fs::symlinkat(text, directory, name)?))
    }

    pub(crate) fn rename_sidecar(&self, directory: &OwnedFd, from: &str, to: &str) -> io::Result<()> {
        self.run(Call::RenameSidecar, || Ok(rustix::fs::renameat(directory, from, directory, to)?))
    }

    /// Copies a landed file from its beginning, a slice at a time; `step` hears of each, and ends the copy by saying false.
    pub(crate) fn copy_landed(&self, from: &File, mut to: &File, step: &mut dyn FnMut(u64) -> bool) -> Result<u64> {
        let mut copied = 0;
        loop {
            // std's copy clones blocks or copies in the kernel where the file system can, and falls back to read and
            // write.
            let slice = self.run(Call::CopyLanded, || io::copy(&mut from.take(COPY_SLICE_BYTES), &mut to))?;
            copied += slice;
            if !step(slice) {
                return Err(Error::Stopped);
            }
            if slice < COPY_SLICE_BYTES {
                return Ok(copied);
            }
        }
    }

    /// Copies at most `length` bytes, and at most a slice, from a place of one file to a place of another; in the kernel,
    /// which clones blocks or copies them, where it can. Says how many; 0 at the end.
    pub(crate) fn copy_at(&self, from: (&File, u64), to: (&File, u64), length: u64) -> io::Result<u64> {
        let length = usize::try_from(length.min(COPY_SLICE_BYTES)).unwrap_or(COPY_BUFFER_BYTES);
        let most = self.faults.as_ref().map_or(length, |faults| faults.copy_limit_bytes(length));
        let copied = self.run(Call::CopyLanded, || {
            let (mut at, mut into) = (from.1, to.1);
            Ok(rustix::fs::copy_file_range(from.0, Some(&mut at), to.0, Some(&mut into), most)?)
        });
        match copied.as_ref().map_err(Errno::from_io_error) {
            // Two mounts, or a file system that cannot. Some say that there is nothing to copy where there is: reading
            // tells whether it is the end.
            Ok(0) | Err(Some(Errno::XDEV | Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP | Errno::PERM)) => {
                let mut buffer = vec![0; length.min(COPY_BUFFER_BYTES)];
                let count = self.run(Call::CopyLanded, || from.0.read_at(&mut buffer, from.1))?;
                let read = buffer.get(..count).unwrap_or_default();
                if read.is_empty() { Ok(0) } else { self.write_at(to.0, read, to.1).map(|written| written as u64) }
            }
            _ => copied.map(|copied| copied as u64),
        }
    }

    pub(crate) fn write_at(&self, file: &File, data: &[u8], offset: u64) -> io::Result<usize> {
        let limit = self.faults.as_ref().map_or(data.len(), |faults| faults.write_limit_bytes(data.len()));
        let data = data.get(..limit).unwrap_or(data);
        self.run(Call::Write, || file.write_at(data, offset))
    }

    pub(crate) fn truncate(&self, file: &File, size: u64) -> io::Result<()> {
        self.run(Call::Truncate, || Ok(rustix::fs::ftruncate(file, size)?))
    }

    pub(crate) fn stat(&self, file: &File) -> io::Result<rustix::fs::Stat> {
        self.run(Call::Stat, || Ok(rustix::fs::fstat(file)?))
    }

    pub(crate) fn set_mode(&self, file: &File, mode: u32) -> io::Result<()> {
        self.run(Call::SetMode, || Ok(rustix::fs::fchmod(file, Mode::from_raw_mode(mode))?))
    }

    pub(crate) fn set_times(&self, file: &File, times: &Timestamps) -> io::Result<()> {
        self.run(Call::SetModified, || Ok(rustix::fs::futimens(file, times)?))
    }

    pub(crate) fn sync_file(&self, file: &File) -> io::Result<()> {
        self.run(Call::SyncFile, || Ok(rustix::fs::fsync(file)?))
    }

    pub(crate) fn sync_directory(&self, directory: BorrowedFd<'_>) -> io::Result<()> {
        self.run(Call::SyncDirectory, || Ok(rustix::fs::fsync(directory)?))
    }

    pub(crate) fn unlink(&self, directory: &OwnedFd, name: &str) -> io::Result<()> {
        self.run(Call::Unlink, || Ok(rustix::fs::unlinkat(directory, name, AtFlags::empty())?))
    }

    /// Gives a file its final name, in place of what stands there.
    pub(crate) fn rename(&self, from: (&OwnedFd, &str), to: (&OwnedFd, &str)) -> io::Result<()> {
        self.run(Call::Rename, || Ok(rustix::fs::renameat(from.0, from.1, to.0, to.1)?))
    }

    /// Gives a file its final name unless something stands there; in one step, so that two cannot both succeed.
    pub(crate) fn rename_new(&self, from: (&OwnedFd, &str), to: (&OwnedFd, &str)) -> io::Result<()> {
        let renamed = self.run(Call::Rename, || Ok(rename_no_replace(from, to)?));
        match renamed.as_ref().map_err(Errno::from_io_error) {
            // Some network and FUSE file systems know no flags. A second name is refused just as atomically.
            Err(Some(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP)) => {
                self.run(Call::Rename, || Ok(rustix::fs::linkat(from.0, from.1, to.0, to.1, AtFlags::empty())?))?;
                // It is visible now, and so it must not be called a failure; a first name that stays is removed at
                // the next start, because a staging file has one name only.
                let _ = self.unlink(from.0, from.1);
                Ok(())
            }
            _ => renamed,
        }
    }
}

/// `renameat2` with `RENAME_NOREPLACE`.
pub(crate) fn rename_no_replace(from: (impl AsFd, &str), to: (impl AsFd, &str)) -> std::result::Result<(), Errno> {
    rustix::fs::renameat_with(from.0, from.1, to.0, to.1, RenameFlags::NOREPLACE)
}
