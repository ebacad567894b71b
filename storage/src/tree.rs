//! Removing a directory and all that is in it, name by name and without following a link.
//! Knows one open directory at a time and those above it; what may be removed at all is its caller's matter.

use std::os::fd::OwnedFd;

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags};
use rustix::io::Errno;

use crate::error::{Error, Result};
use crate::facts::{self, file_type, identity};
use crate::jail::Place;
use crate::path::MAX_DEPTH_COMPONENTS;
use crate::{Gone, Kind};

/// A removal under way.
pub(crate) struct Removal<'a> {
    /// Told of each name that is gone; false ends the removal.
    pub(crate) step: &'a mut dyn FnMut(Gone) -> bool,
    /// Never entered and never removed.
    pub(crate) staging: (u64, u64),
}

/// What became of a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Left {
    /// Nothing is left in it.
    Nothing,
    /// Something is that could not be removed, or must not be.
    Something,
    /// The step said to stop.
    Stopped,
}

impl Removal<'_> {
    /// Removes the directory at `place`, as far as that can be done; says whether it is gone.
    pub(crate) fn run(&mut self, place: &Place<'_>) -> Result<bool> {
        let directory = open(&place.directory, place.name)?;
        if identity(&rustix::fs::fstat(&directory)?) == self.staging {
            return Err(Error::NotFound);
        }
        if self.empty(&directory, 1)? != Left::Nothing {
            return Ok(false);
        }
        Ok(remove_empty(&place.directory, place.name))
    }

    /// Removes what is in an open directory.
    fn empty(&mut self, directory: &OwnedFd, depth: usize) -> Result<Left> {
        let mut left = Left::Nothing;
        for entry in Dir::read_from(directory)? {
            let entry = entry?;
            let bytes = entry.file_name();
            // A name that no path can spell is not its user's to remove.
            let name = bytes.to_str().ok().filter(|name| !name.chars().any(char::is_control));
            let Some(name) = name else {
                left = Left::Something;
                continue;
            };
            if name == "." || name == ".." {
                continue;
            }
            match self.remove(directory, name, depth)? {
                Left::Nothing => {}
                Left::Something => left = Left::Something,
                Left::Stopped => return Ok(Left::Stopped),
            }
        }
        Ok(left)
    }

    fn remove(&mut self, directory: &OwnedFd, name: &str, depth: usize) -> Result<Left> {
        let stat = match rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => return Ok(Left::Nothing),
            stat => stat?,
        };
        if file_type(&stat) == FileType::Directory {
            return self.remove_below(directory, name, identity(&stat), depth);
        }
        match rustix::fs::unlinkat(directory, name, AtFlags::empty()) {
            Ok(()) => {
                let kind = if file_type(&stat) == FileType::RegularFile { Kind::File } else { Kind::Other };
                let go_on = (self.step)(Gone { kind, size: facts::size(&stat) });
                Ok(if go_on { Left::Nothing } else { Left::Stopped })
            }
            Err(Errno::NOENT) => Ok(Left::Nothing),
            Err(_) => Ok(Left::Something),
        }
    }

    fn remove_below(&mut self, above: &OwnedFd, name: &str, seen: (u64, u64), depth: usize) -> Result<Left> {
        // A directory that was swapped for a link meanwhile does not open; neither does one too deep for any path.
        let Some(directory) = open(above, name).ok().filter(|_| seen != self.staging && depth < MAX_DEPTH_COMPONENTS)
        else {
            return Ok(Left::Something);
        };
        match self.empty(&directory, depth + 1)? {
            Left::Nothing if remove_empty(above, name) => {}
            Left::Nothing | Left::Something => return Ok(Left::Something),
            Left::Stopped => return Ok(Left::Stopped),
        }
        let go_on = (self.step)(Gone { kind: Kind::Directory, size: 0 });
        Ok(if go_on { Left::Nothing } else { Left::Stopped })
    }
}

/// Fails where something has come into it meanwhile: then it stays.
fn remove_empty(above: &OwnedFd, name: &str) -> bool {
    rustix::fs::unlinkat(above, name, AtFlags::REMOVEDIR).is_ok()
}

fn open(above: &OwnedFd, name: &str) -> Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match rustix::fs::openat(above, name, flags, Mode::empty()) {
        // A link.
        Err(Errno::LOOP) => Err(Error::NotADirectory),
        opened => Ok(opened?),
    }
}
