//! The look at what a file holds before it lands, as closely as its user's rules ask. Decides nothing.

use std::io;

use landfall_storage::{self as storage, ReadAt, VirtualPath};

use super::policy;
use super::refusal::{Reason, Refusal};
use super::session::Shared;
use crate::inspect::{Findings, Refused, Source};

impl Shared {
    /// At an upload about to land; `None` where no rule asks for it.
    pub(super) fn look_at_staged(&self, staged: &dyn storage::Upload) -> Result<Option<Findings>, Refusal> {
        self.look(|| Ok(Staged(staged)))
    }

    /// At a file under a temporary name that is about to get its final one.
    pub(super) fn look_at_landed(&self, store_path: &VirtualPath) -> Result<Option<Findings>, Refusal> {
        self.look(|| Ok(Landed(self.delivery.store.open(store_path)?)))
    }

    fn look<S: Source>(&self, open: impl FnOnce() -> Result<S, Refusal>) -> Result<Option<Findings>, Refusal> {
        let Some(depth) = policy::inspection(&self.user.effective) else { return Ok(None) };
        self.delivery.inspectors.examine(&open()?, depth).map(Some).map_err(|failure| match failure {
            Refused::Io(error) => Refusal::internal(format_args!("inspection: {error}")),
            busy => Refusal::new(Reason::Busy, format!("{busy}; the upload is kept, try again")),
        })
    }
}

struct Staged<'a>(&'a dyn storage::Upload);

impl Source for Staged<'_> {
    fn size(&self) -> u64 {
        self.0.size()
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        self.0.read_at(offset, buf).map_err(io::Error::other)
    }
}

struct Landed(Box<dyn ReadAt>);

impl Source for Landed {
    fn size(&self) -> u64 {
        self.0.size()
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        self.0.read_at(offset, buf).map_err(io::Error::other)
    }
}
