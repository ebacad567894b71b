//! `LocalStore`: files in a folder of this machine. Opens root and staging folder, and begins uploads.
//! Knows no path but those two: everything inside them is `jail.rs`, `staging.rs` and `landing.rs`.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use cap_std::ambient_authority;
use cap_std::fs::Dir;
use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;

use crate::commit::GroupCommit;
use crate::disk::{Disk, Faults};
use crate::error::{Error, Result};
use crate::index::{Index, Live};
use crate::jail::{Jail, Place, RESERVED_NAME};
use crate::landing::{Counters, Shared, StagedUpload, SyncCounts};
use crate::path::VirtualPath;
use crate::staging::{self, Staging};
use crate::{
    Begin, Durability, Entries, Gone, Names, ReadAt, Replace, Space, Stat, Store, Suspended, Upload, UploadId,
};

/// A store in a folder.
///
/// New files get permission bits 0644 and new directories 0755, less the process's umask.
#[derive(Clone)]
pub struct LocalStore {
    shared: Arc<Shared>,
}

impl std::fmt::Debug for LocalStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LocalStore").field("staging", &self.staging_path()).finish_non_exhaustive()
    }
}

/// What an append begins with.
struct Source<'a> {
    landed: &'a dyn ReadAt,
    /// Hears of each slice that is copied; false ends it.
    step: &'a mut dyn FnMut(u64) -> bool,
}

impl LocalStore {
    /// Opens the store in `root`, and makes the folder if it is missing.
    ///
    /// `staging` is the wished-for folder for uploads under way, outside `root`. If a file cannot be renamed from there
    /// into the root (another mount; even two bind mounts of one disk are), [`RESERVED_NAME`] in the root takes its
    /// place; [`LocalStore::staging_path`] tells. One store at a time may use a staging folder.
    ///
    /// # Errors
    /// What the device says; `Unsupported` when the file system cannot hold symbolic links; `InvalidInput` when one of
    /// the folders stands inside the other.
    pub fn open(root: &Path, staging: &Path, durability: Durability) -> Result<Self> {
        Self::open_on(root, staging, durability, Disk::default())
    }

    /// As [`LocalStore::open`], on a disk that fails as told. For tests.
    ///
    /// # Errors
    /// As [`LocalStore::open`]. `faults` are not asked while the store opens, except for leftovers to be removed.
    pub fn open_with_faults(
        root: &Path,
        staging: &Path,
        durability: Durability,
        faults: Arc<dyn Faults>,
    ) -> Result<Self> {
        Self::open_on(root, staging, durability, Disk::with_faults(faults))
    }

    fn open_on(root_path: &Path, wished: &Path, durability: Durability, disk: Disk) -> Result<Self> {
        std::fs::DirBuilder::new().recursive(true).mode(0o755).create(root_path)?;
        let root = Dir::open_ambient_dir(root_path, ambient_authority())?;
        let (folder, path) = staging_folder(root_path, &root, wished)?;
        let jail = Arc::new(Jail::new(root, &folder, disk.clone())?);
        let staging = Staging::new(folder, path, disk.clone());
        let index = Mutex::new(Index::of(staging.scan()?));
        let (commits, counters) = (GroupCommit::default(), Counters::default());
        Ok(Self { shared: Arc::new(Shared { jail, staging, disk, durability, commits, index, counters }) })
    }

    /// The staging folder in use.
    pub fn staging_path(&self) -> &Path {
        self.shared.staging.path()
    }

    /// Syncs made and landings done since the store was opened.
    pub fn sync_counts(&self) -> SyncCounts {
        self.shared.counts()
    }

    /// A new upload: file, then the landed file's bytes for an append, or else the sidecar. Leaves nothing when that fails.
    fn fresh(&self, owner: &str, path: &VirtualPath, landed: Option<Source<'_>>) -> Result<Box<dyn Upload>> {
        let shared = &self.shared;
        let id = UploadId::fresh();
        let live = shared.index().begin(id.clone(), owner, path)?;
        let is_copy = landed.is_some();
        let made = self.stage_file(&live, landed).inspect_err(|_| {
            // Best effort: a file without sidecar is removed at the next start.
            let _ = shared.staging.remove(&id);
        });
        match made {
            Err(error) => {
                shared.index().end(&live);
                Err(error)
            }
            Ok(file) => {
                let older = shared.index().take_older(&live);
                shared.remove_outdated(older);
                Ok(Box::new(StagedUpload::new(Arc::clone(shared), live, file, is_copy)))
            }
        }
    }

    fn stage_file(&self, live: &Live, landed: Option<Source<'_>>) -> Result<std::fs::File> {
        let shared = &self.shared;
        let file = shared.staging.create(&live.id)?;
        if let Some(Source { landed, step }) = landed {
            let source = landed.as_file().ok_or(Error::NotPermitted)?;
            let before = landed.identity()?;
            let copied = shared.disk.copy_landed(source, &file, step)?;
            let after = landed.identity()?;
            // The bytes of two files are neither's. (Its name may change, though.)
            if copied != before.size || (after.size, after.modified) != (before.size, before.modified) {
                return Err(Error::Changed);
            }
            live.set_size(copied);
            shared.disk.set_mode(&file, crate::facts::settable_mode(landed.stat().mode, false))?;
            // Its sidecar comes with the first byte that its owner sends: before, a crash leaves nothing to be resumed.
            return Ok(file);
        }
        shared.staging.name(&live.id, &live.owner, &live.path)?;
        Ok(file)
    }

    /// The owner's suspended upload, cut to `offset` bytes; `None` if there is none.
    fn resume(&self, owner: &str, path: &VirtualPath, offset: Option<u64>) -> Result<Option<Box<dyn Upload>>> {
        let shared = &self.shared;
        let Some((held, live)) = shared.index().resume(owner, path)? else { return Ok(None) };
        match self.reopen(&live, offset) {
            Ok(file) => Ok(Some(Box::new(StagedUpload::new(Arc::clone(shared), live, file, false)))),
            Err(Error::NotFound) => {
                // Somebody has cleaned up behind our back: none is held.
                shared.staging.remove_sidecar(&held.id);
                shared.index().end(&live);
                Ok(None)
            }
            Err(error) => {
                let mut index = shared.index();
                index.end(&live);
                index.put_back(owner, path, held);
                Err(error)
            }
        }
    }

    fn reopen(&self, live: &Live, offset: Option<u64>) -> Result<std::fs::File> {
        let file = self.shared.staging.open(&live.id)?;
        let held = crate::facts::size(&self.shared.disk.stat(&file)?);
        live.set_size(held);
        match offset {
            Some(offset) if offset > held => return Err(Error::BeyondEnd { offset, held }),
            Some(offset) if offset < held => {
                self.shared.disk.truncate(&file, offset)?;
                live.set_size(offset);
            }
            _ => {}
        }
        Ok(file)
    }

    /// Fills in what only the disk knows of uploads under way.
    fn complete(&self, mut upload: Suspended) -> Suspended {
        if upload.active
            && let Ok((_, modified)) = self.shared.staging.held(&upload.id)
        {
            upload.modified = modified;
        }
        upload
    }

    /// Checks that an upload may be meant for `path`.
    fn check_target(&self, owner: &str, path: &VirtualPath) -> Result<()> {
        if !staging::is_owner(owner) {
            return Err(Error::NotPermitted);
        }
        if path.is_root() {
            return Err(Error::IsADirectory);
        }
        let place: Place<'_> = self.shared.jail.new_place(path)?;
        self.shared.jail.check_landing(path, &place, Replace::Yes)
    }

    /// After a change of names: makes it durable.
    fn changed(&self, directory: &OwnedFd) -> Result<()> {
        Ok(self.shared.sync_directory(directory)?)
    }
}

impl Store for LocalStore {
    fn durability(&self) -> Durability {
        self.shared.durability
    }

    fn stat(&self, path: &VirtualPath) -> Result<Stat> {
        self.shared.jail.stat(path)
    }

    fn list(&self, path: &VirtualPath) -> Result<Entries> {
        Ok(Box::new(self.shared.jail.list(path)?))
    }

    fn names(&self, path: &VirtualPath) -> Result<Names> {
        Ok(Box::new(self.shared.jail.list(path)?.into_names()))
    }

    fn open(&self, path: &VirtualPath) -> Result<Box<dyn ReadAt>> {
        Ok(Box::new(self.shared.jail.open(path)?))
    }

    fn create_dir(&self, path: &VirtualPath) -> Result<()> {
        self.changed(&self.shared.jail.create_dir(path)?)
    }

    fn create_dir_all(&self, path: &VirtualPath) -> Result<()> {
        let mut directory = VirtualPath::root();
        for name in path.components() {
            directory = directory.resolve(name)?;
            match self.create_dir(&directory) {
                Ok(()) | Err(Error::AlreadyExists) => {}
                Err(error) => return Err(error),
            }
        }
        // A name that exists may be a file's.
        self.shared.jail.open_directory(&directory).map(drop)
    }

    fn remove_file(&self, path: &VirtualPath) -> Result<()> {
        if path.is_root() {
            return Err(Error::IsADirectory);
        }
        self.changed(&self.shared.jail.remove(path, AtFlags::empty())?)
    }

    fn remove_dir(&self, path: &VirtualPath) -> Result<()> {
        self.changed(&self.shared.jail.remove(path, AtFlags::REMOVEDIR)?)
    }

    fn remove_tree(&self, path: &VirtualPath, step: &mut dyn FnMut(Gone) -> bool) -> Result<bool> {
        let (directory, gone) = self.shared.jail.remove_tree(path, step)?;
        self.changed(&directory)?;
        Ok(gone)
    }

    fn rename(&self, from: &VirtualPath, to: &VirtualPath, replace: Replace) -> Result<()> {
        let (target, source) = self.shared.jail.rename(from, to, replace)?;
        // The new name first: a crash in between may show both, never neither.
        self.changed(&target)?;
        if from.parent() == to.parent() { Ok(()) } else { self.changed(&source) }
    }

    fn set_modified(&self, path: &VirtualPath, time: SystemTime) -> Result<()> {
        self.shared.jail.set_modified(path, time)
    }

    fn set_mode(&self, path: &VirtualPath, mode: u32) -> Result<()> {
        self.shared.jail.set_mode(path, mode)
    }

    fn space(&self) -> Result<Space> {
        self.shared.jail.space()
    }

    fn stage(&self, owner: &str, path: &VirtualPath, begin: Begin) -> Result<Box<dyn Upload>> {
        self.check_target(owner, path)?;
        match begin {
            Begin::Fresh => self.fresh(owner, path, None),
            Begin::Resume { offset } => match self.resume(owner, path, Some(offset))? {
                Some(upload) => Ok(upload),
                None if offset > 0 => Err(Error::BeyondEnd { offset, held: 0 }),
                None => self.fresh(owner, path, None),
            },
            Begin::Append => self.append(owner, path, &mut |_| true),
        }
    }

    fn append(&self, owner: &str, path: &VirtualPath, step: &mut dyn FnMut(u64) -> bool) -> Result<Box<dyn Upload>> {
        self.check_target(owner, path)?;
        if let Some(upload) = self.resume(owner, path, None)? {
            return Ok(upload);
        }
        match self.shared.jail.open(path) {
            Ok(landed) => self.fresh(owner, path, Some(Source { landed: &landed, step })),
            Err(Error::NotFound) => self.fresh(owner, path, None),
            Err(error) => Err(error),
        }
    }

    fn staged(&self, owner: &str, path: &VirtualPath) -> Option<Suspended> {
        let upload = self.shared.index().get(owner, path)?;
        Some(self.complete(upload))
    }

    fn staged_in(&self, owner: &str, directory: &VirtualPath) -> Vec<Suspended> {
        let uploads = self.shared.index().within(owner, directory);
        uploads.into_iter().map(|upload| self.complete(upload)).collect()
    }

    fn all_staged(&self) -> Vec<Suspended> {
        let uploads = self.shared.index().all();
        uploads.into_iter().map(|upload| self.complete(upload)).collect()
    }

    fn discard_staged(&self, owner: &str, path: &VirtualPath) -> Result<()> {
        let held = self.shared.index().take(owner, path)?;
        self.shared.staging.remove(&held.id).inspect_err(|_| self.shared.index().put_back(owner, path, held))
    }

    fn outdate(&self, owner: &str, path: &VirtualPath) -> Result<Option<Suspended>> {
        let mut index = self.shared.index();
        let held = index.outdate(owner, path);
        drop(index);
        let Some(held) = held else { return Ok(None) };
        let outdated = held.suspended(owner, path);
        self.shared.staging.remove(&held.id).inspect_err(|_| self.shared.index().put_back(owner, path, held))?;
        Ok(Some(outdated))
    }

    fn rename_staged(&self, owner: &str, from: &VirtualPath, to: &VirtualPath) -> Result<()> {
        self.check_target(owner, to)?;
        // Locked throughout, so that nobody resumes it under the old name meanwhile; these are two short calls.
        let mut index = self.shared.index();
        let id = index.renameable(owner, from, to)?;
        self.shared.staging.rename(&id, owner, to)?;
        let replaced = index.rename(owner, from, to);
        drop(index);
        self.shared.remove_outdated(replaced);
        Ok(())
    }

    fn sweep(&self, before: SystemTime) -> Result<Vec<Suspended>> {
        let stale = self.shared.index().take_stale(before);
        let (mut removed, mut failure) = (Vec::with_capacity(stale.len()), None);
        for (upload, held) in stale {
            match self.shared.staging.remove(&upload.id) {
                Ok(()) => removed.push(upload),
                Err(error) => {
                    self.shared.index().put_back(&upload.owner, &upload.path, held);
                    failure = Some(error);
                }
            }
        }
        // What was removed must be told; what was not is tried again by the next sweep.
        match failure {
            Some(error) if removed.is_empty() => Err(error),
            _ => Ok(removed),
        }
    }
}

/// The staging folder: the wished-for one if files can be renamed from it into the root, else the one in the root.
fn staging_folder(root_path: &Path, root: &Dir, wished: &Path) -> Result<(OwnedFd, PathBuf)> {
    let fallback = root_path.join(RESERVED_NAME);
    // What a crash in a probe has left.
    let _ = rustix::fs::unlinkat(root, RESERVED_NAME, AtFlags::empty());
    if let Ok(folder) = open_private(wished) {
        refuse_nesting(root_path, wished)?;
        if probe(&folder, root).is_ok() {
            carry_over(root, &folder)?;
            return Ok((folder, wished.to_owned()));
        }
    }
    let folder = open_private(&fallback)?;
    probe(&folder, root)?;
    Ok((folder, fallback))
}

/// Opens a folder that nobody else may enter, and makes it if it is missing.
fn open_private(path: &Path) -> Result<OwnedFd> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let folder = rustix::fs::open(path, flags, Mode::empty())?;
    let mode = rustix::fs::fstat(&folder)?.st_mode;
    if mode & 0o1000 != 0 {
        // A folder shared by design, such as /tmp: not ours to close.
        return Err(Error::NotPermitted);
    }
    if mode & 0o077 != 0 {
        rustix::fs::fchmod(&folder, Mode::RWXU)?;
    }
    Ok(folder)
}

/// A staging folder that can be reached by paths of the root, or the other way round, would hide nothing.
fn refuse_nesting(root: &Path, staging: &Path) -> Result<()> {
    let (root, staging) = (std::fs::canonicalize(root)?, std::fs::canonicalize(staging)?);
    if (staging.starts_with(&root) && staging != root.join(RESERVED_NAME)) || root.starts_with(&staging) {
        let text = "the staging folder must stand outside the root, and the root outside the staging folder";
        return Err(Error::Io(io::Error::new(io::ErrorKind::InvalidInput, text)));
    }
    Ok(())
}

/// Does once what every upload will do: makes a file and a link in `folder`, and renames the file into the root.
///
/// On a full disk there may be no room for them. The server starts all the same, so that its users can make room: there,
/// a file that does not exist is renamed, since the kernel compares the mounts before it looks for the file.
fn probe(folder: &OwnedFd, root: &Dir) -> Result<()> {
    let id = UploadId::fresh();
    let (file, link) = (format!("{id}.part"), format!("{id}.meta"));
    let result = probe_names(folder, root, &file, &link);
    let _ = rustix::fs::unlinkat(folder, &file, AtFlags::empty());
    let _ = rustix::fs::unlinkat(folder, &link, AtFlags::empty());
    match result {
        Err(Error::NoSpace) => match rustix::fs::renameat(folder, &file, root, RESERVED_NAME) {
            Err(Errno::NOENT) => Ok(()),
            other => Ok(other?),
        },
        other => other,
    }
}

fn probe_names(folder: &OwnedFd, root: &Dir, file: &str, link: &str) -> Result<()> {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    drop(rustix::fs::openat(folder, file, flags, Mode::RUSR | Mode::WUSR)?);
    rustix::fs::symlinkat("probe\n/", folder, link).map_err(|error| {
        if matches!(error, Errno::NOSPC | Errno::DQUOT) {
            return Error::NoSpace;
        }
        let text = format!("the staging folder's file system refuses symbolic links ({error}), which uploads need");
        Error::Io(io::Error::new(io::ErrorKind::Unsupported, text))
    })?;
    // Under the reserved name nobody sees it. If the folder in the root is there, then into that folder.
    let within = format!("{RESERVED_NAME}/{file}");
    let target = if rustix::fs::statat(root, RESERVED_NAME, AtFlags::SYMLINK_NOFOLLOW).is_ok() {
        &within
    } else {
        RESERVED_NAME
    };
    rustix::fs::renameat(folder, file, root, target)?;
    Ok(rustix::fs::unlinkat(root, target, AtFlags::empty())?)
}

/// Moves what an earlier run, for which the wished-for folder would not do, has staged in the root.
fn carry_over(root: &Dir, folder: &OwnedFd) -> Result<()> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let Ok(old) = rustix::fs::openat(root, RESERVED_NAME, flags, Mode::empty()) else { return Ok(()) };
    if crate::facts::identity(&rustix::fs::fstat(&old)?) == crate::facts::identity(&rustix::fs::fstat(folder)?) {
        return Ok(());
    }
    for entry in rustix::fs::Dir::read_from(&old)? {
        let entry = entry?;
        let name = entry.file_name();
        if name != c"." && name != c".." {
            rustix::fs::renameat(&old, name, folder, name)?;
        }
    }
    Ok(rustix::fs::unlinkat(root, RESERVED_NAME, AtFlags::REMOVEDIR)?)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn path(text: &str) -> VirtualPath {
        VirtualPath::parse(text).unwrap()
    }

    fn store(folder: &tempfile::TempDir) -> LocalStore {
        LocalStore::open(&folder.path().join("files"), &folder.path().join("staging"), Durability::Full).unwrap()
    }

    #[test]
    fn conforms() {
        for durability in [Durability::Full, Durability::Process] {
            let mut folders = Vec::new();
            crate::conformance::run_all(&mut || {
                let folder = tempfile::tempdir().unwrap();
                let (root, staging) = (folder.path().join("files"), folder.path().join("staging"));
                folders.push(folder);
                Box::new(LocalStore::open(&root, &staging, durability).unwrap())
            });
        }
    }

    #[test]
    fn an_upload_lands_whole_and_a_dropped_one_resumes_after_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let first = store(&folder);
        let mut upload = first.stage("acme", &path("/a.jpg"), Begin::Fresh).unwrap();
        upload.write_at(0, b"hello").unwrap();
        assert!(matches!(first.stat(&path("/a.jpg")), Err(Error::NotFound)));
        drop(upload);
        drop(first);

        let second = store(&folder);
        let held = second.staged("acme", &path("/a.jpg")).unwrap();
        assert_eq!((held.size, held.active), (5, false));
        assert!(second.staged("beta", &path("/a.jpg")).is_none());
        let mut upload = second.stage("acme", &path("/a.jpg"), Begin::Resume { offset: 5 }).unwrap();
        upload.write_at(5, b" world").unwrap();
        let stat = upload.publish(&path("/a.jpg"), Replace::No, &mut |_| Ok(())).unwrap();
        drop(upload);
        assert_eq!(stat.size, 11);
        assert_eq!(second.stat(&path("/a.jpg")).unwrap(), stat);
        assert_eq!(std::fs::read(folder.path().join("files/a.jpg")).unwrap(), b"hello world");
        assert!(second.all_staged().is_empty());
        assert_eq!(std::fs::read_dir(second.staging_path()).unwrap().count(), 0);
        assert_eq!(second.list(&VirtualPath::root()).unwrap().count(), 1);
    }
}
