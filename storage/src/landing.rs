//! One upload from its first byte to its landing: staged writes, suspension, publication with both syncs.
//! Refuses to know how an upload was found or begun; that is `local.rs`.
//!
//! # What a crash leaves
//! | killed after | found at the next start |
//! |---|---|
//! | the staging file is made; an append's copy of the landed file too | a file without sidecar: removed |
//! | the sidecar is written | a suspended upload, unless it is empty |
//! | the file's sync, the caller's own step | a suspended upload |
//! | the rename | the landed file, and a sidecar without file: removed |
//!
//! A power cut leaves the same, with fewer bytes in what is suspended than had been sent, if it was not synced.
//!
//! # Why each file has its own sync
//! One `syncfs` for all that wait was tried in place of one `fsync` each: 320 landings of 200 KiB, directory syncs shared
//! in both, ext4 on a virtual disk that others used too. Landings per second by fsync / by syncfs, medians of three:
//!
//! | threads | series 1 | series 2 | series 3 |
//! |---|---|---|---|
//! | 1 | 284 / 312 | 1,266 / 1,229 | 1,224 / 1,170 |
//! | 4 | 1,538 / 1,719 | 2,039 / 1,816 | 1,707 / 1,518 |
//! | 16 | 2,115 / 1,968 | 2,288 / 2,154 | 2,010 / 1,841 |
//!
//! It does not win: the journal groups concurrent fsyncs by itself. And syncfs would wait for the bytes of every other
//! upload under way.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use crate::commit::GroupCommit;
use crate::disk::Disk;
use crate::error::{Error, Result};
use crate::facts;
use crate::index::{Held, Index, Live};
use crate::jail::{Jail, read_at};
use crate::path::VirtualPath;
use crate::staging::Staging;
use crate::{BoxError, Durability, ReadAt, Replace, Sealed, Stat, Upload, UploadId};

/// How many syncs were made for how many landings, since the store was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SyncCounts {
    /// Syncs of staging files.
    pub file_syncs: u64,
    /// Syncs of directories, for landings and for other changes of names.
    pub directory_syncs: u64,
    /// Uploads that got their final name.
    pub landings: u64,
}

#[derive(Default)]
pub(crate) struct Counters {
    file_syncs: AtomicU64,
    directory_syncs: AtomicU64,
    landings: AtomicU64,
}

/// What uploads share.
pub(crate) struct Shared {
    pub(crate) jail: Arc<Jail>,
    pub(crate) staging: Staging,
    pub(crate) disk: Disk,
    pub(crate) durability: Durability,
    pub(crate) commits: GroupCommit,
    pub(crate) index: Mutex<Index>,
    pub(crate) counters: Counters,
}

impl Shared {
    /// The index. It is consistent between its own calls, so a panic elsewhere does not spoil it.
    pub(crate) fn index(&self) -> MutexGuard<'_, Index> {
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes the names in `directory` durable, if that is asked for; shares the sync with others under way.
    pub(crate) fn sync_directory(&self, directory: &OwnedFd) -> io::Result<()> {
        if self.durability == Durability::Full { self.sync_directory_now(directory) } else { Ok(()) }
    }

    fn sync_directory_now(&self, directory: &OwnedFd) -> io::Result<()> {
        let identity = facts::identity(&rustix::fs::fstat(directory)?);
        self.commits.sync(identity, || {
            self.counters.directory_syncs.fetch_add(1, Ordering::Relaxed);
            self.disk.sync_directory(directory.as_fd())
        })
    }

    /// Removes what the index has let go of. What cannot be removed is found again at the next start.
    pub(crate) fn remove_outdated(&self, held: Option<Held>) {
        if let Some(held) = held {
            let _ = self.staging.remove(&held.id);
        }
    }

    pub(crate) fn counts(&self) -> SyncCounts {
        SyncCounts {
            file_syncs: self.counters.file_syncs.load(Ordering::Relaxed),
            directory_syncs: self.counters.directory_syncs.load(Ordering::Relaxed),
            landings: self.counters.landings.load(Ordering::Relaxed),
        }
    }
}

/// Whether an upload can still land.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// It can.
    Open,
    /// A sync of its file failed. The kernel reports that once and then calls the lost pages clean: a second sync would
    /// succeed, and prove nothing. So it can neither land nor be resumed.
    Broken,
    /// It has landed or was discarded.
    Over,
}

/// An upload under way.
pub(crate) struct StagedUpload {
    shared: Arc<Shared>,
    live: Arc<Live>,
    file: File,
    began_at: u64,
    /// Holds nothing but a copy of the landed file: not worth keeping.
    is_mere_copy: bool,
    mode: Option<u32>,
    modified: Option<SystemTime>,
    state: State,
}

impl StagedUpload {
    pub(crate) fn new(shared: Arc<Shared>, live: Arc<Live>, file: File, is_mere_copy: bool) -> Self {
        let began_at = live.size();
        Self { shared, live, file, began_at, is_mere_copy, mode: None, modified: None, state: State::Open }
    }

    fn usable(&self) -> Result<()> {
        match self.state {
            State::Open => Ok(()),
            State::Broken => Err(Error::Io(io::Error::other("an earlier sync of this upload failed"))),
            State::Over => Err(Error::Io(io::Error::other("this upload is over"))),
        }
    }

    /// Something is changed that its owner sends: from here on it is worth keeping, also after a crash.
    fn begin_own(&mut self) -> Result<()> {
        if self.is_mere_copy {
            self.shared.staging.name(&self.live.id, &self.live.owner, &self.live.path)?;
            self.is_mere_copy = false;
        }
        Ok(())
    }

    fn sync_file(&mut self) -> Result<()> {
        self.shared.counters.file_syncs.fetch_add(1, Ordering::Relaxed);
        self.shared.disk.sync_file(&self.file).map_err(|error| {
            self.state = State::Broken;
            // At once, because after a kill the next start could not tell it from a sound one.
            self.remove_broken();
            Error::from(error)
        })
    }

    /// Sees to it that bytes of which some may be lost are never resumed: removed, or else cut to nothing.
    fn remove_broken(&self) {
        if self.shared.staging.remove(&self.live.id).is_err() {
            let _ = self.shared.disk.truncate(&self.file, 0);
        }
    }

    /// Puts on the permission bits and the time asked for.
    fn dress(&self) -> Result<()> {
        if let Some(mode) = self.mode {
            self.shared.disk.set_mode(&self.file, facts::settable_mode(mode, false))?;
        }
        if let Some(modified) = self.modified {
            self.shared.disk.set_times(&self.file, &facts::timestamps(modified))?;
        }
        Ok(())
    }

    /// The bytes have their final name: from here on there is no way back, whatever fails.
    fn landed(&mut self) {
        self.state = State::Over;
        self.shared.counters.landings.fetch_add(1, Ordering::Relaxed);
        let older = self.shared.index().landed(&self.live);
        self.shared.remove_outdated(older);
    }

    fn suspend(&self) {
        let held = self.shared.staging.held(&self.live.id);
        let (size, modified) = held.unwrap_or_else(|_| (self.live.size(), SystemTime::UNIX_EPOCH));
        let outdated = self.shared.index().suspend(&self.live, size, modified);
        if let Some(id) = outdated {
            // What cannot be removed is found again at the next start.
            let _ = self.shared.staging.remove(&id);
        }
    }
}

impl Upload for StagedUpload {
    fn id(&self) -> &UploadId {
        &self.live.id
    }

    fn size(&self) -> u64 {
        self.live.size()
    }

    fn began_at(&self) -> u64 {
        self.began_at
    }

    fn write_at(&mut self, offset: u64, data: &[u8]) -> Result<()> {
        self.usable()?;
        let held = self.live.size();
        if offset > held {
            return Err(Error::BeyondEnd { offset, held });
        }
        if !data.is_empty() {
            self.begin_own()?;
        }
        let (mut at, mut rest) = (offset, data);
        while !rest.is_empty() {
            let written = self.shared.disk.write_at(&self.file, rest, at)?;
            if written == 0 {
                return Err(Error::Io(io::ErrorKind::WriteZero.into()));
            }
            at += written as u64;
            rest = rest.get(written..).unwrap_or_default();
            if at > self.live.size() {
                self.live.set_size(at);
            }
        }
        Ok(())
    }

    fn copy_at(&mut self, offset: u64, source: &dyn ReadAt, from: u64, length: u64) -> Result<u64> {
        self.usable()?;
        let held = self.live.size();
        if offset > held {
            return Err(Error::BeyondEnd { offset, held });
        }
        let landed = source.as_file().ok_or(Error::NotPermitted)?;
        if length == 0 || from >= source.size() {
            return Ok(0);
        }
        self.begin_own()?;
        let copied = self.shared.disk.copy_at((landed, from), (&self.file, offset), length)?;
        self.live.set_size(held.max(offset + copied));
        Ok(copied)
    }

    fn is_mere_copy(&self) -> bool {
        self.is_mere_copy
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<usize> {
        read_at(&self.file, offset, buf)
    }

    fn as_file(&self) -> Option<&File> {
        // Once it has landed, nobody may write to it any more.
        (self.state != State::Over).then_some(&self.file)
    }

    fn truncate(&mut self, size: u64) -> Result<()> {
        self.usable()?;
        let held = self.live.size();
        if size > held {
            return Err(Error::BeyondEnd { offset: size, held });
        }
        if size < held {
            self.begin_own()?;
            self.shared.disk.truncate(&self.file, size)?;
            self.live.set_size(size);
        }
        Ok(())
    }

    fn set_modified(&mut self, time: SystemTime) {
        self.modified = Some(time);
    }

    fn set_mode(&mut self, mode: u32) {
        self.mode = Some(mode);
    }

    fn sync(&mut self) -> Result<()> {
        self.usable()?;
        self.sync_file()?;
        // The bytes are worth nothing without the names under which the next start finds them.
        Ok(self.shared.sync_directory_now(self.shared.staging.folder())?)
    }

    fn publish(
        &mut self,
        path: &VirtualPath,
        replace: Replace,
        before_visible: &mut dyn FnMut(&Sealed) -> std::result::Result<(), BoxError>,
    ) -> Result<Stat> {
        self.usable()?;
        let shared = Arc::clone(&self.shared);
        let place = shared.jail.new_place(path)?;
        // Early, so that most refusals come before the syncs; the rename decides.
        shared.jail.check_landing(path, &place, replace)?;
        self.dress()?;
        if shared.durability == Durability::Full {
            self.sync_file()?;
        }
        let stat = facts::stat(&shared.disk.stat(&self.file)?);
        let sealed = Sealed { id: self.live.id.clone(), path: path.clone(), size: stat.size, inode: stat.inode };
        before_visible(&sealed).map_err(Error::CalledOff)?;
        let renamed = shared.staging.publish(&self.live.id, (&place.directory, place.name), replace);
        if let Err(error) = renamed {
            return Err(match shared.jail.check_landing(path, &place, replace) {
                // The rename says only "exists" where a directory has come in between.
                Err(Error::IsADirectory) => Error::IsADirectory,
                _ => error.into(),
            });
        }
        self.landed();
        let synced = shared.sync_directory(&place.directory);
        shared.staging.remove_sidecar(&self.live.id);
        synced.map_err(Error::Io)?;
        Ok(stat)
    }

    fn discard(mut self: Box<Self>) -> Result<()> {
        if self.state == State::Over {
            return Ok(());
        }
        self.shared.staging.remove(&self.live.id)?;
        self.state = State::Over;
        self.shared.index().end(&self.live);
        Ok(())
    }
}

impl Drop for StagedUpload {
    /// Suspends it, unless it holds nothing that its owner has sent: then it goes without a trace.
    fn drop(&mut self) {
        let worth_keeping = self.live.size() > 0 && !self.is_mere_copy;
        match self.state {
            State::Over => {}
            State::Open if worth_keeping => self.suspend(),
            State::Open => match self.shared.staging.remove(&self.live.id) {
                Ok(()) => self.shared.index().end(&self.live),
                // Still there: say so, and let the sweep try again.
                Err(_) => self.suspend(),
            },
            State::Broken => {
                self.remove_broken();
                self.shared.index().end(&self.live);
            }
        }
    }
}
