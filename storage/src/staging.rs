//! The staging folder: one file and one sidecar per upload, found again after any crash. Knows no index and no session.
//!
//! | name | is |
//! |---|---|
//! | `<id>.part` | the bytes |
//! | `<id>.meta` | the sidecar: a symbolic link that leads nowhere, whose *text* is the owner, a line feed and the path |
//! | `<id>.new` | a sidecar about to take an older one's place |
//!
//! A link, because making one is a single system call: after a kill it is there with all of its text or not at all, where
//! a small file could be there empty. Nothing ever follows it. An append's copy of the landed
//! file has none before something is written behind it, or it would be resumed and land a second time. One without the other
//! is a crash's leftover, and [`Staging::scan`] removes it.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use rustix::fs::{AtFlags, FileType, SeekFrom};
use rustix::io::Errno;

use crate::disk::Disk;
use crate::error::{Error, Result};
use crate::facts;
use crate::path::VirtualPath;
use crate::{Suspended, UploadId};

/// Longest owner's name, in bytes.
pub const MAX_OWNER_BYTES: usize = 255;

/// The folder.
pub(crate) struct Staging {
    folder: OwnedFd,
    path: PathBuf,
    disk: Disk,
}

impl Staging {
    pub(crate) fn new(folder: OwnedFd, path: PathBuf, disk: Disk) -> Self {
        Self { folder, path, disk }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn folder(&self) -> &OwnedFd {
        &self.folder
    }

    /// A new, empty staging file, still without sidecar.
    pub(crate) fn create(&self, id: &UploadId) -> Result<File> {
        Ok(self.disk.create_staged(&self.folder, &part(id))?)
    }

    /// A suspended upload's staging file.
    pub(crate) fn open(&self, id: &UploadId) -> Result<File> {
        Ok(self.disk.open_staged(&self.folder, &part(id))?)
    }

    /// Writes the sidecar: from here on the upload survives a crash.
    pub(crate) fn name(&self, id: &UploadId, owner: &str, path: &VirtualPath) -> Result<()> {
        self.link(&sidecar(id), owner, path)
    }

    /// Puts another sidecar in the old one's place, in one step.
    pub(crate) fn rename(&self, id: &UploadId, owner: &str, path: &VirtualPath) -> Result<()> {
        let new = format!("{id}.new");
        self.link(&new, owner, path)?;
        let moved = self.disk.rename_sidecar(&self.folder, &new, &sidecar(id));
        if moved.is_err() {
            // A leftover would be in the way of the next attempt; if this fails too, the next start removes it.
            let _ = self.disk.unlink(&self.folder, &new);
        }
        Ok(moved?)
    }

    fn link(&self, name: &str, owner: &str, path: &VirtualPath) -> Result<()> {
        self.disk.symlink(&format!("{owner}\n{path}"), &self.folder, name).map_err(|error| {
            // XFS holds 1,023 bytes in a link, ext4 and others 4,095.
            if Errno::from_io_error(&error) == Some(Errno::NAMETOOLONG) {
                Error::Limit("the path is too long to be staged on this file system")
            } else {
                error.into()
            }
        })
    }

    /// Removes an upload's bytes, then its sidecar.
    ///
    /// An error means that the bytes are still there. A sidecar that cannot be removed holds nothing; the next start
    /// removes it.
    pub(crate) fn remove(&self, id: &UploadId) -> Result<()> {
        match self.disk.unlink(&self.folder, &part(id)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
            _ => {}
        }
        self.remove_sidecar(id);
        Ok(())
    }

    /// Removes the sidecar of bytes that are gone or have landed.
    pub(crate) fn remove_sidecar(&self, id: &UploadId) {
        let _ = self.disk.unlink(&self.folder, &sidecar(id));
    }

    /// Gives an upload's bytes their final name.
    pub(crate) fn publish(&self, id: &UploadId, to: (&OwnedFd, &str), replace: crate::Replace) -> io::Result<()> {
        let part = part(id);
        match replace {
            crate::Replace::Yes => self.disk.rename((&self.folder, &part), to),
            crate::Replace::No => self.disk.rename_new((&self.folder, &part), to),
        }
    }

    /// Size, and the time of the last change.
    ///
    /// That is the inode's change time, not its modification time, which a client may have set to any year it likes
    /// in a publication that then failed.
    pub(crate) fn held(&self, id: &UploadId) -> Result<(u64, SystemTime)> {
        let stat = rustix::fs::statat(&self.folder, part(id), AtFlags::SYMLINK_NOFOLLOW).map_err(io::Error::from)?;
        Ok((facts::size(&stat), facts::changed(&stat)))
    }

    /// All uploads found, and none of a crash's leftovers: what is incomplete, empty, or older than another one of the
    /// same owner and path is removed. Names that are not the store's own stay as they are.
    pub(crate) fn scan(&self) -> Result<Vec<Suspended>> {
        let mut found: HashMap<(String, VirtualPath), Suspended> = HashMap::new();
        for (id, names) in self.names()? {
            match self.complete(&id, &names)? {
                None => self.clear(&id, &names)?,
                Some(upload) => {
                    let key = (upload.owner.clone(), upload.path.clone());
                    let older = match found.remove(&key) {
                        Some(other) if other.modified > upload.modified => {
                            found.insert(key, other);
                            Some(upload)
                        }
                        other => {
                            found.insert(key, upload);
                            other
                        }
                    };
                    if let Some(older) = older {
                        self.remove(&older.id)?;
                    }
                }
            }
        }
        Ok(found.into_values().collect())
    }

    fn names(&self) -> Result<HashMap<UploadId, Names>> {
        let mut all: HashMap<UploadId, Names> = HashMap::new();
        for entry in rustix::fs::Dir::read_from(&self.folder).map_err(io::Error::from)? {
            let entry = entry.map_err(io::Error::from)?;
            let Some((id, suffix)) = entry.file_name().to_str().ok().and_then(|name| name.split_once('.')) else {
                continue;
            };
            let Some(id) = UploadId::parse(id) else { continue };
            match suffix {
                "part" => all.entry(id).or_default().part = true,
                "meta" => all.entry(id).or_default().sidecar = true,
                "new" => all.entry(id).or_default().new_sidecar = true,
                _ => {}
            }
        }
        Ok(all)
    }

    /// The upload, if its bytes and its sidecar are there and make sense.
    fn complete(&self, id: &UploadId, names: &Names) -> Result<Option<Suspended>> {
        if !(names.part && names.sidecar) {
            return Ok(None);
        }
        let text = rustix::fs::readlinkat(&self.folder, sidecar(id), Vec::new()).map_err(io::Error::from)?;
        let Some((owner, path)) = text.to_str().ok().and_then(|text| text.split_once('\n')) else { return Ok(None) };
        let Ok(path) = VirtualPath::parse(path) else { return Ok(None) };
        let stat = rustix::fs::statat(&self.folder, part(id), AtFlags::SYMLINK_NOFOLLOW)?;
        // With a second name it has landed: a landing by link, killed before the first name went.
        if stat.st_nlink != 1 || facts::file_type(&stat) != FileType::RegularFile || !is_owner(owner) {
            return Ok(None);
        }
        let modified = facts::changed(&stat);
        let size = self.cut_at_hole(id, facts::size(&stat))?;
        if size == 0 {
            return Ok(None);
        }
        if names.new_sidecar {
            self.disk.unlink(&self.folder, &format!("{id}.new"))?;
        }
        Ok(Some(Suspended { id: id.clone(), owner: owner.to_owned(), path, size, modified, active: false }))
    }

    /// Cuts a staging file where its first hole begins, and returns the length that is left.
    ///
    /// No upload writes a hole. One is what a power cut leaves where a file's length reached the device before some of
    /// its bytes did; those read as zeros, and must not be taken for the client's.
    fn cut_at_hole(&self, id: &UploadId, size: u64) -> Result<u64> {
        let file = self.open(id)?;
        match rustix::fs::seek(&file, SeekFrom::Hole(0)) {
            Ok(hole) if hole < size => {
                self.disk.truncate(&file, hole)?;
                Ok(hole)
            }
            // Not every file system can tell; such a one says that the only hole is at the end, or refuses.
            _ => Ok(size),
        }
    }

    fn clear(&self, id: &UploadId, names: &Names) -> Result<()> {
        let all = [(names.part, part(id)), (names.sidecar, sidecar(id)), (names.new_sidecar, format!("{id}.new"))];
        for (_, name) in all.iter().filter(|(there, _)| *there) {
            self.disk.unlink(&self.folder, name)?;
        }
        Ok(())
    }
}

/// Which of an upload's names are there.
#[derive(Default)]
struct Names {
    part: bool,
    sidecar: bool,
    new_sidecar: bool,
}

/// True for what can be an owner: the sidecar's line feed must tell owner and path apart.
pub(crate) fn is_owner(text: &str) -> bool {
    !text.is_empty() && text.len() <= MAX_OWNER_BYTES && !text.chars().any(|c| c.is_control() || c == '/')
}

fn part(id: &UploadId) -> String {
    format!("{id}.part")
}

fn sidecar(id: &UploadId) -> String {
    format!("{id}.meta")
}
