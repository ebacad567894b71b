//! Copies on the server: parts of landed files that become bytes of an upload, in slices and in turns, so that nobody
//! takes all threads with them. Knows no request.

use std::ops::Range;
use std::time::Duration;

use landfall_storage::Error;
use tokio::sync::OwnedMutexGuard;

use super::refusal::{Reason, Refusal};
use super::session::{Download, Session, Step};
use super::turns::Turn;
use super::upload::Upload;

/// Copied from a landed file in one turn, and between two looks at whether it is still wanted.
pub(super) const COPY_BYTES: u64 = 16 * 1_024 * 1_024;
/// Between two such looks while a turn is waited for.
const WANTED_LOOK: Duration = Duration::from_millis(50);

impl Upload {
    /// Copies a part of a landed file to `offset`, at most [`Upload::size`], as far as that file went when it was opened;
    /// says how much. Digest, quota and size limit are kept along the way. `step` is told how many more bytes are copied,
    /// slice by slice, and ends it by saying false.
    ///
    /// # Errors
    /// As for [`Upload::write_at`]; [`Reason::Incomplete`] when `step` has ended it; [`Reason::Busy`] when somebody else
    /// has changed that file since it was opened: then nothing of the upload is kept.
    pub fn copy(
        &mut self,
        offset: u64,
        source: &Download,
        part: Range<u64>,
        step: &mut dyn FnMut(u64) -> bool,
    ) -> Result<u64, Refusal> {
        let part = part.start..part.end.min(source.size());
        let opened = source.file().stat();
        let mut from = part.start;
        while from < part.end {
            let (at, wanted) = (offset + (from - part.start), (part.end - from).min(COPY_BYTES));
            let staged = self.staged_with_room(at, wanted)?;
            let copied = staged.copy_at(at, source.file(), from, wanted)?;
            let now = source.file().identity()?;
            // A shorter file, or the bytes of two: neither is what was asked for. (Its name may change, though.)
            if copied == 0 || (now.size, now.modified) != (opened.size, opened.modified) {
                let sentence = "the file to be copied was changed meanwhile; copy it again from the beginning";
                return Err(self.refused.insert(Refusal::new(Reason::Busy, sentence)).clone());
            }
            if let Some(staged) = &self.staged {
                self.digest.copied(at, copied, |at, room| Ok(staged.read_at(at, room)?))?;
            }
            self.note();
            from += copied;
            if !step(copied) {
                return Err(Error::Stopped.into());
            }
        }
        Ok(from.saturating_sub(part.start))
    }
}

impl AsMut<Self> for Upload {
    fn as_mut(&mut self) -> &mut Self {
        self
    }
}

impl Session {
    /// The same on other threads, and a turn for each slice: one copy at a time per user, however many are asked for.
    /// The upload, and what it is in, comes back with the outcome; but for a panic.
    ///
    /// # Errors
    /// As for [`Upload::copy`], beside the upload.
    pub async fn copy<U: AsMut<Upload> + Send + 'static>(
        &self,
        mut upload: U,
        offset: u64,
        source: Download,
        part: Range<u64>,
        step: &Step,
    ) -> (Option<U>, Result<u64, Refusal>) {
        let end = part.end.min(source.size());
        let start = part.start.min(end);
        let mut from = start;
        loop {
            let until = end.min(from.saturating_add(COPY_BYTES));
            let turn = match self.copying_turn(step).await {
                Ok(turn) => turn,
                Err(refusal) => return (Some(upload), Err(refusal)),
            };
            let (source, step, at) = (source.clone(), step.clone(), offset + (from - start));
            let slice = self.blocking(move |_| {
                let copied = upload.as_mut().copy(at, &source, from..until, &mut |bytes| step(bytes));
                // The turn goes with the thread: one that nobody waits for any more still takes its place.
                drop(turn);
                Ok((upload, copied))
            });
            match slice.await {
                Ok((back, Ok(_))) if until < end => (upload, from) = (back, until),
                Ok((back, Ok(_))) => return (Some(back), Ok(end - start)),
                Ok((back, Err(refusal))) => return (Some(back), Err(refusal)),
                Err(refusal) => return (None, Err(refusal)),
            }
        }
    }

    /// A turn for one slice; waits no longer than `step` wants it.
    async fn copying_turn(&self, step: &Step) -> Result<Turn, Refusal> {
        let copying = &self.shared().delivery.copying;
        while_wanted(copying.turn(copying.of(&self.user().name)), step).await?
    }

    /// The right to a copy that is made in one go: as long as it is held, the user has no other under way.
    pub(super) async fn copying_alone(&self, step: &Step) -> Result<OwnedMutexGuard<()>, Refusal> {
        let own = self.shared().delivery.copying.of(&self.user().name);
        while_wanted(own.lock_owned(), step).await
    }
}

/// What `waiting` comes to, unless `step` says meanwhile that nobody wants it any more.
async fn while_wanted<T>(waiting: impl Future<Output = T>, step: &Step) -> Result<T, Refusal> {
    tokio::pin!(waiting);
    loop {
        tokio::select! {
            biased;
            came = &mut waiting => return Ok(came),
            () = tokio::time::sleep(WANTED_LOOK) => {
                if !step(0) {
                    return Err(Error::Stopped.into());
                }
            }
        }
    }
}
