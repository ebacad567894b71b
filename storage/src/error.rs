//! What can go wrong with bytes and paths, as kinds a caller decides on, with the cause kept as source.
//! Knows no protocol and no reply text.

use std::io;

use rustix::io::Errno;

use crate::path::PathError;

/// Result of every storage call.
pub type Result<T> = std::result::Result<T, Error>;

/// A failed storage call.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Nothing stands under that name.
    #[error("no such file or directory")]
    NotFound,
    /// Something stands under that name already, and must not be replaced.
    #[error("already exists")]
    AlreadyExists,
    /// A directory was needed.
    #[error("not a directory")]
    NotADirectory,
    /// A file was needed.
    #[error("is a directory")]
    IsADirectory,
    /// A directory with entries cannot be removed.
    #[error("directory not empty")]
    DirectoryNotEmpty,
    /// An offset beyond what is held: writing there would leave a hole.
    #[error("offset {offset} is beyond the {held} bytes held")]
    BeyondEnd {
        /// Where the caller wanted to go on, in bytes.
        offset: u64,
        /// How many bytes are held.
        held: u64,
    },
    /// The same owner is sending this very file in another session.
    #[error("another session is sending this file")]
    Busy,
    /// No space left on the device, or the file system's own quota is spent.
    #[error("no space left on the storage")]
    NoSpace,
    /// A link out of the jail, a device, a name that the file system refuses.
    #[error("not permitted")]
    NotPermitted,
    /// A count or size over one of storage's own limits.
    #[error("limit reached: {0}")]
    Limit(&'static str),
    /// A name that cannot be a file's.
    #[error(transparent)]
    Path(#[from] PathError),
    /// The caller stopped it; nothing of it is kept.
    #[error("stopped")]
    Stopped,
    /// The caller's own step between sync and publication failed; nothing became visible.
    #[error("publication called off: {0}")]
    CalledOff(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The landed file was written to while it was copied; nothing of the copy is kept.
    #[error("the file was changed while it was copied")]
    Changed,
    /// Anything else that the operating system says.
    #[error("storage failure: {0}")]
    Io(#[source] io::Error),
}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        use io::ErrorKind as K;
        match error.kind() {
            K::NotFound => Self::NotFound,
            K::AlreadyExists => Self::AlreadyExists,
            K::NotADirectory => Self::NotADirectory,
            K::IsADirectory => Self::IsADirectory,
            K::DirectoryNotEmpty => Self::DirectoryNotEmpty,
            K::StorageFull | K::QuotaExceeded => Self::NoSpace,
            K::PermissionDenied | K::CrossesDevices | K::InvalidFilename => Self::NotPermitted,
            _ => match Errno::from_io_error(&error) {
                // Too many links, a device without a driver, a name in an encoding that the file system refuses.
                Some(Errno::LOOP | Errno::NXIO | Errno::ILSEQ) => Self::NotPermitted,
                _ => Self::Io(error),
            },
        }
    }
}

impl From<Errno> for Error {
    fn from(error: Errno) -> Self {
        io::Error::from(error).into()
    }
}
