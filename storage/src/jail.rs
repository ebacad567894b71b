//! The jail: everything that is done to landed files and directories, by paths that cannot lead out of the root.
//! Knows neither uploads nor owners.
//!
//! A path's directory is opened through cap-std (`openat2` with `RESOLVE_BENEATH`, and a careful walk on kernels without
//! it); what is then done takes that open directory and one last name, and follows no link. So a directory swapped for a
//! link at any instant leads nowhere. Links that an operator placed are followed only by verbs that read, only inside
//! the root, and are shown as [`Kind::Other`](crate::Kind::Other) otherwise.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::time::SystemTime;

use cap_std::fs::{Dir, OpenOptions, OpenOptionsExt};
use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;

use crate::disk::{Call, Disk, rename_no_replace};
use crate::error::{Error, Result};
use crate::facts::{self, file_type, identity};
use crate::path::{PathError, VirtualPath};
use crate::tree::Removal;
use crate::{Entry, Gone, Identity, ReadAt, Replace, Space, Stat};

/// The store's own name directly under the root: the staging folder's, where none outside the root will do. No verb
/// reaches it and no listing shows it, whether it is in use or not.
pub const RESERVED_NAME: &str = ".landfall-staging";

/// The root, and what must not be reached in it.
pub(crate) struct Jail {
    root: Dir,
    root_identity: (u64, u64),
    staging_identity: (u64, u64),
    disk: Disk,
}

/// A name in an open directory.
pub(crate) struct Place<'a> {
    pub(crate) directory: OwnedFd,
    pub(crate) name: &'a str,
}

impl Jail {
    pub(crate) fn new(root: Dir, staging: &OwnedFd, disk: Disk) -> Result<Self> {
        let root_identity = identity(&rustix::fs::fstat(&root)?);
        let staging_identity = identity(&rustix::fs::fstat(staging)?);
        Ok(Self { root, root_identity, staging_identity, disk })
    }

    /// Opens what stands at `path`, links inside the root followed.
    fn open_at(&self, path: &VirtualPath, flags: OFlags) -> io::Result<OwnedFd> {
        let flags = if flags.contains(OFlags::PATH) {
            flags
        } else {
            // A FIFO that takes the file's place must not hold us up.
            flags | OFlags::NONBLOCK | OFlags::NOCTTY
        };
        let mut options = OpenOptions::new();
        options.read(true).custom_flags(flags.bits().cast_signed());
        Ok(self.root.open_with(path.as_relative(), &options)?.into_std().into())
    }

    /// Opens a directory for listing and syncing.
    pub(crate) fn open_directory(&self, path: &VirtualPath) -> Result<OwnedFd> {
        if is_reserved(path) {
            return Err(Error::NotFound);
        }
        let directory = self.disk.run(Call::OpenDirectory, || self.open_at(path, OFlags::DIRECTORY))?;
        // Links and other spellings lead to staging too: the number tells.
        if identity(&rustix::fs::fstat(&directory)?) == self.staging_identity {
            return Err(Error::NotFound);
        }
        Ok(directory)
    }

    /// The last name of `path` in its directory, which must exist. The root has no such place.
    pub(crate) fn place<'a>(&self, path: &'a VirtualPath) -> Result<Place<'a>> {
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else { return Err(Error::NotPermitted) };
        if is_reserved(path) {
            return Err(Error::NotFound);
        }
        let directory = self.open_directory(&parent)?;
        if name == RESERVED_NAME && identity(&rustix::fs::fstat(&directory)?) == self.root_identity {
            return Err(Error::NotFound);
        }
        Ok(Place { directory, name })
    }

    /// As [`Jail::place`], for a name about to be made.
    pub(crate) fn new_place<'a>(&self, path: &'a VirtualPath) -> Result<Place<'a>> {
        if is_reserved(path) {
            return Err(PathError::Reserved.into());
        }
        self.place(path)
    }

    /// Facts about the name itself, links not followed.
    fn look(&self, place: &Place<'_>) -> Result<rustix::fs::Stat> {
        let stat = rustix::fs::statat(&place.directory, place.name, AtFlags::SYMLINK_NOFOLLOW)?;
        if identity(&stat) == self.staging_identity { Err(Error::NotFound) } else { Ok(stat) }
    }

    /// Facts about what a link leads to, if that is inside.
    fn follow(&self, path: &VirtualPath) -> Option<rustix::fs::Stat> {
        let target = self.open_at(path, OFlags::PATH).ok()?;
        let stat = rustix::fs::fstat(&target).ok()?;
        (identity(&stat) != self.staging_identity).then_some(stat)
    }

    pub(crate) fn stat(&self, path: &VirtualPath) -> Result<Stat> {
        if path.is_root() {
            return Ok(facts::stat(&rustix::fs::fstat(&self.root)?));
        }
        let stat = self.look(&self.place(path)?)?;
        Ok(facts::stat(&self.through_link(path, stat)))
    }

    fn through_link(&self, path: &VirtualPath, stat: rustix::fs::Stat) -> rustix::fs::Stat {
        if file_type(&stat) == FileType::Symlink { self.follow(path).unwrap_or(stat) } else { stat }
    }

    /// Opens a regular file.
    pub(crate) fn open(&self, path: &VirtualPath) -> Result<OpenFile> {
        if path.is_root() {
            return Err(Error::IsADirectory);
        }
        // Before opening, because opening a device can already do something.
        let stat = self.look(&self.place(path)?)?;
        regular(&self.through_link(path, stat))?;
        let file = File::from(self.open_at(path, OFlags::empty())?);
        // And after it, because that is what has been opened.
        let stat = rustix::fs::fstat(&file)?;
        regular(&stat)?;
        Ok(OpenFile { stat: facts::stat(&stat), file })
    }

    pub(crate) fn list(self: &Arc<Self>, path: &VirtualPath) -> Result<Listing> {
        let names = rustix::fs::Dir::new(self.open_directory(path)?)?;
        Ok(Listing { jail: Arc::clone(self), directory: path.clone(), names })
    }

    /// Fails unless an upload may land at `place`: on a free name, or on a file if `replace` says so.
    pub(crate) fn check_landing(&self, path: &VirtualPath, place: &Place<'_>, replace: Replace) -> Result<()> {
        let stat = match self.look(place) {
            Err(Error::NotFound) => return Ok(()),
            other => other?,
        };
        match file_type(&self.through_link(path, stat)) {
            FileType::Directory => Err(Error::IsADirectory),
            FileType::RegularFile | FileType::Symlink if replace == Replace::Yes => Ok(()),
            FileType::RegularFile | FileType::Symlink => Err(Error::AlreadyExists),
            _ => Err(Error::NotPermitted),
        }
    }

    /// Makes a directory; returns the one it stands in, for syncing.
    pub(crate) fn create_dir(&self, path: &VirtualPath) -> Result<OwnedFd> {
        if path.is_root() {
            return Err(Error::AlreadyExists);
        }
        let place = self.new_place(path)?;
        rustix::fs::mkdirat(&place.directory, place.name, Mode::from_raw_mode(0o755))?;
        Ok(place.directory)
    }

    pub(crate) fn remove(&self, path: &VirtualPath, flags: AtFlags) -> Result<OwnedFd> {
        let place = self.place(path)?;
        self.look(&place)?;
        rustix::fs::unlinkat(&place.directory, place.name, flags)?;
        Ok(place.directory)
    }

    /// Removes a directory with all in it; returns the one it stood in, for syncing, and whether it is gone.
    pub(crate) fn remove_tree(
        &self,
        path: &VirtualPath,
        step: &mut dyn FnMut(Gone) -> bool,
    ) -> Result<(OwnedFd, bool)> {
        let place = self.place(path)?;
        let gone = Removal { step, staging: self.staging_identity }.run(&place)?;
        Ok((place.directory, gone))
    }

    /// Renames; returns the directories that changed, the new name's first.
    pub(crate) fn rename(&self, from: &VirtualPath, to: &VirtualPath, replace: Replace) -> Result<(OwnedFd, OwnedFd)> {
        let (source, target) = (self.place(from)?, self.new_place(to)?);
        let stat = self.look(&source)?;
        let is_directory = file_type(&stat) == FileType::Directory;
        let done = match replace {
            Replace::Yes => rustix::fs::renameat(&source.directory, source.name, &target.directory, target.name),
            Replace::No => rename_no_replace((&source.directory, source.name), (&target.directory, target.name)),
        };
        match done {
            Ok(()) => Ok((target.directory, source.directory)),
            // A directory into itself.
            Err(Errno::INVAL) if to.is_within(from) => Err(Error::NotPermitted),
            Err(Errno::INVAL) if replace == Replace::No => {
                rename_without_flags(&source, &target, is_directory)?;
                Ok((target.directory, source.directory))
            }
            Err(Errno::EXIST | Errno::NOTEMPTY) if replace == Replace::Yes => Err(Error::DirectoryNotEmpty),
            Err(Errno::EXIST) if !is_directory => match self.look(&target) {
                Ok(stat) if file_type(&stat) == FileType::Directory => Err(Error::IsADirectory),
                _ => Err(Error::AlreadyExists),
            },
            Err(error) => Err(error.into()),
        }
    }

    pub(crate) fn set_modified(&self, path: &VirtualPath, time: SystemTime) -> Result<()> {
        Ok(rustix::fs::futimens(self.open_changeable(path)?, &facts::timestamps(time))?)
    }

    pub(crate) fn set_mode(&self, path: &VirtualPath, mode: u32) -> Result<()> {
        let target = self.open_changeable(path)?;
        let is_directory = file_type(&rustix::fs::fstat(&target)?) == FileType::Directory;
        Ok(rustix::fs::fchmod(&target, Mode::from_raw_mode(facts::settable_mode(mode, is_directory)))?)
    }

    /// Opens a file or a directory to change its facts; never through a link.
    fn open_changeable(&self, path: &VirtualPath) -> Result<OwnedFd> {
        if path.is_root() {
            return self.open_directory(path);
        }
        let place = self.place(path)?;
        plain(&self.look(&place)?)?;
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let target = rustix::fs::openat(&place.directory, place.name, flags, Mode::empty())?;
        plain(&rustix::fs::fstat(&target)?)?;
        Ok(target)
    }

    pub(crate) fn space(&self) -> Result<Space> {
        let room = rustix::fs::fstatvfs(&self.root)?;
        Ok(Space {
            total_bytes: room.f_blocks.saturating_mul(room.f_frsize),
            free_bytes: room.f_bavail.saturating_mul(room.f_frsize),
            total_files: room.f_files,
            free_files: room.f_favail,
        })
    }
}

/// [`Replace::No`] where `renameat2` knows no flags, still in a step that only one of two can win: a second name for a
/// file, a new empty directory to be replaced for a directory.
fn rename_without_flags(source: &Place<'_>, target: &Place<'_>, is_directory: bool) -> Result<()> {
    if is_directory {
        rustix::fs::mkdirat(&target.directory, target.name, Mode::from_raw_mode(0o755))?;
        let moved = rustix::fs::renameat(&source.directory, source.name, &target.directory, target.name);
        if moved.is_err() {
            // Not if something has come into it meanwhile: then it is somebody's.
            let _ = rustix::fs::unlinkat(&target.directory, target.name, AtFlags::REMOVEDIR);
        }
        return Ok(moved?);
    }
    rustix::fs::linkat(&source.directory, source.name, &target.directory, target.name, AtFlags::empty())?;
    Ok(rustix::fs::unlinkat(&source.directory, source.name, AtFlags::empty())?)
}

fn is_reserved(path: &VirtualPath) -> bool {
    path.components().next() == Some(RESERVED_NAME)
}

fn regular(stat: &rustix::fs::Stat) -> Result<()> {
    match file_type(stat) {
        FileType::RegularFile => Ok(()),
        FileType::Directory => Err(Error::IsADirectory),
        _ => Err(Error::NotPermitted),
    }
}

fn plain(stat: &rustix::fs::Stat) -> Result<()> {
    match file_type(stat) {
        FileType::RegularFile | FileType::Directory => Ok(()),
        _ => Err(Error::NotPermitted),
    }
}

/// A landed file, open.
pub(crate) struct OpenFile {
    file: File,
    stat: Stat,
}

impl ReadAt for OpenFile {
    fn size(&self) -> u64 {
        self.stat.size
    }

    fn stat(&self) -> &Stat {
        &self.stat
    }

    fn identity(&self) -> Result<Identity> {
        Ok(facts::full_identity(&rustix::fs::fstat(&self.file)?))
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<usize> {
        read_at(&self.file, offset, buf)
    }

    fn as_file(&self) -> Option<&File> {
        Some(&self.file)
    }
}

/// Reads at `offset`, again when a signal interrupted it.
pub(crate) fn read_at(file: &File, offset: u64, buf: &mut [u8]) -> Result<usize> {
    if i64::try_from(offset).is_err() {
        // Beyond every file's end, and more than the system call takes.
        return Ok(0);
    }
    loop {
        match file.read_at(buf, offset) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return Ok(result?),
        }
    }
}

/// The names in a directory, read as they are asked for.
pub(crate) struct Listing {
    jail: Arc<Jail>,
    directory: VirtualPath,
    names: rustix::fs::Dir,
}

impl Iterator for Listing {
    type Item = Result<Entry>;

    fn next(&mut self) -> Option<Self::Item> {
        self.find_next(|listing, name, _| listing.entry(name))
    }
}

impl Listing {
    /// The same names without facts.
    pub(crate) fn into_names(mut self) -> impl Iterator<Item = Result<String>> {
        std::iter::from_fn(move || self.find_next(Self::name))
    }

    /// The next name that `tell` makes something of. Names that no path can spell cannot be asked for either.
    fn find_next<T>(&mut self, tell: impl Fn(&Self, &str, FileType) -> Result<Option<T>>) -> Option<Result<T>> {
        loop {
            let entry = match self.names.next()? {
                Ok(entry) => entry,
                Err(error) => return Some(Err(error.into())),
            };
            let Ok(name) = entry.file_name().to_str() else { continue };
            if name == "." || name == ".." || name.chars().any(char::is_control) {
                continue;
            }
            if self.directory.is_root() && name == RESERVED_NAME {
                continue;
            }
            if let Some(told) = tell(self, name, entry.file_type()).transpose() {
                return Some(told);
            }
        }
    }

    /// Facts about the name itself; `None` for the store's own, and for what has gone since its name was read.
    fn look(&self, name: &str) -> Result<Option<rustix::fs::Stat>> {
        match rustix::fs::statat(self.names.fd()?, name, AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => Ok(None),
            stat => Ok(Some(stat?).filter(|stat| identity(stat) != self.jail.staging_identity)),
        }
    }

    fn entry(&self, name: &str) -> Result<Option<Entry>> {
        let Some(stat) = self.look(name)? else { return Ok(None) };
        // Only for a link the path is needed; spelling it out for every name would cost more than all the rest.
        let stat = match file_type(&stat) {
            FileType::Symlink => match self.directory.resolve(name) {
                Ok(path) => self.jail.through_link(&path, stat),
                Err(_) => stat,
            },
            _ => stat,
        };
        Ok(Some(Entry { name: name.to_owned(), stat: facts::stat(&stat) }))
    }

    /// Only a directory can be the staging folder, and some file systems do not tell a name's type. The inode number
    /// that comes with the name does not serve: for a mount point it is another one.
    fn name(&self, name: &str, file_type: FileType) -> Result<Option<String>> {
        let shown = match file_type {
            FileType::Directory | FileType::Unknown => self.look(name)?.is_some(),
            _ => true,
        };
        Ok(shown.then(|| name.to_owned()))
    }
}
