//! `Upload`: bytes on their way and their landing. Every call may block on a disk: call from a thread that may
//! (`spawn_blocking`), once per transfer rather than once per chunk. Dropping it suspends it.

mod place;

use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use landfall_storage::{self as storage, Error, Replace, VirtualPath};

use super::digest::{Piece, RunningDigest};
use super::hash;
use super::ledger::{Entry, Status, Temporary};
use super::pace::Pace;
use super::policy::{self, Facts, Placement, Verb};
use super::quota::Account;
use super::refusal::{Reason, Refusal};
use super::session::Shared;

/// An upload that takes longer is noted in the ledger, in case that the server is killed. Shorter ones, of which there are
/// many, are not worth a row of their own.
const NOTED_AFTER: Duration = Duration::from_secs(1);

pub(super) use place::version_path;

/// The ledger's row for a landing.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Receipt {
    /// Identity of the upload.
    pub id: String,
    /// The name it landed under, as its user sees it (differs from the one asked for where versions are kept).
    pub path: String,
    /// Bytes.
    pub size: u64,
    /// SHA-256, 64 lowercase hexadecimal digits.
    pub sha256: String,
    /// False while it wears a client-side temporary name: the rename that ends it delivers it.
    pub delivered: bool,
}

/// Bytes on their way.
pub struct Upload {
    /// `None` once it landed or was given up.
    pub(super) staged: Option<Box<dyn storage::Upload>>,
    session: Arc<Shared>,
    /// As its user sees it, and on the store.
    path: VirtualPath,
    store_path: VirtualPath,
    expected_bytes: Option<u64>,
    pub(super) digest: RunningDigest,
    account: Option<Arc<Account>>,
    started: SystemTime,
    began: Instant,
    /// The ledger knows that it is under way.
    noted: bool,
    /// A rule was broken: nothing is kept.
    pub(super) refused: Option<Refusal>,
    landing: Landing,
}

/// What an upload may land as.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Landing {
    /// As the overwrite policy says.
    ByPolicy,
    /// As a new file or not at all.
    New,
    /// In place of the file of this inode number or not at all; otherwise nothing of it is kept.
    Over(u64),
}

impl Upload {
    pub(super) fn new(
        staged: Box<dyn storage::Upload>,
        session: Arc<Shared>,
        path: VirtualPath,
        store_path: VirtualPath,
        expected_bytes: Option<u64>,
        account: Option<Arc<Account>>,
    ) -> Self {
        let digest = RunningDigest::new();
        let started = crate::clock::now();
        Self {
            staged: Some(staged),
            session,
            path,
            store_path,
            expected_bytes,
            digest,
            account,
            started,
            began: Instant::now(),
            noted: false,
            refused: None,
            landing: Landing::ByPolicy,
        }
    }

    /// It must not replace what lands under its name meanwhile, nor evade it, whatever the overwrite policy says.
    pub(super) fn land_only_as_new(&mut self) {
        self.landing = Landing::New;
    }

    /// It must replace that very file; if it does not, nothing of it is kept.
    pub(super) fn land_only_over(&mut self, inode: u64) {
        self.landing = Landing::Over(inode);
    }

    /// Its name as its user sees it.
    #[must_use]
    pub fn path(&self) -> &VirtualPath {
        &self.path
    }

    /// How fast its bytes may come.
    #[must_use]
    pub fn pace(&self) -> Pace {
        self.session.paced.incoming.clone()
    }

    /// Bytes held; after a resume or an append more than 0 from the start.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.staged.as_ref().map_or(0, |staged| staged.size())
    }

    /// Writes all of `data` at `offset`, at most [`Upload::size`]. Digest, quota and size limit are kept along the way.
    ///
    /// # Errors
    /// A refusal by a rule (nothing of the upload is kept once it is dropped), or what the storage says (what it holds
    /// is kept).
    pub fn write_at(&mut self, offset: u64, data: &[u8]) -> Result<(), Refusal> {
        self.write(offset, data)?;
        self.digest.written(offset, data);
        Ok(())
    }

    /// The same for the first `length` bytes of something that others may read as well: the digest is taken beside the
    /// transfer, on another thread, if one is to be had. For long uploads.
    ///
    /// # Errors
    /// As for [`Upload::write_at`].
    pub fn write_shared(&mut self, offset: u64, piece: Piece, length: usize) -> Result<(), Refusal> {
        let bytes = piece.clone();
        // First, so that both go on side by side.
        self.digest.written_beside(offset, piece, length);
        self.write(offset, (*bytes).as_ref().get(..length).unwrap_or_default()).inspect_err(|_| {
            // It knows bytes that may not be there.
            self.digest = RunningDigest::new();
        })
    }

    fn write(&mut self, offset: u64, data: &[u8]) -> Result<(), Refusal> {
        self.staged_with_room(offset, data.len() as u64)?.write_at(offset, data)?;
        self.note();
        self.session.enrolment.session.activity.received(data.len() as u64);
        Ok(())
    }

    /// The staged bytes, once there is room for so many more at `offset`.
    pub(super) fn staged_with_room(&mut self, offset: u64, length: u64) -> Result<&mut dyn storage::Upload, Refusal> {
        if let Some(refused) = &self.refused {
            return Err(refused.clone());
        }
        let Some(staged) = &mut self.staged else { return Err(over()) };
        let end = offset.checked_add(length).ok_or_else(|| beyond(offset, staged.size()))?;
        if end > staged.size() {
            let room = policy::size(&self.session.user.effective, end).and_then(|()| match &self.account {
                Some(account) => account.charge(&*self.session.delivery.store, staged.id().as_str(), end),
                None => Ok(()),
            });
            if let Err(refusal) = room {
                let refusal = refusal.of_file(self.path.file_name().unwrap_or_default());
                self.refused = Some(refusal.clone());
                return Err(refusal);
            }
        }
        Ok(&mut **staged)
    }

    /// The ledger hears of uploads that take long.
    pub(super) fn note(&mut self) {
        if self.noted || self.began.elapsed() < NOTED_AFTER {
            return;
        }
        let Some(staged) = &self.staged else { return };
        self.noted = true;
        let (id, size) = (staged.id().as_str().to_owned(), staged.size());
        self.session.delivery.ledger.under_way(self.entry(id, size, None, &self.path, Status::Suspended, None));
    }

    /// Reads staged bytes back (SFTP handles opened for reading and writing).
    ///
    /// # Errors
    /// What the storage says.
    pub fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<usize, Refusal> {
        // They may be a copy of what landed earlier.
        policy::verb(&self.session.user.effective, &self.path, Verb::Read)?;
        let Some(staged) = &self.staged else { return Err(over()) };
        Ok(staged.read_at(offset, buf)?)
    }

    /// Cuts to `size` bytes, at most what is held.
    ///
    /// # Errors
    /// [`Reason::BadOffset`] beyond it.
    pub fn truncate(&mut self, size: u64) -> Result<(), Refusal> {
        let Some(staged) = &mut self.staged else { return Err(over()) };
        staged.truncate(size)?;
        self.digest.truncated(size);
        Ok(())
    }

    /// Makes what is held durable now.
    ///
    /// # Errors
    /// What the storage says.
    pub fn sync(&mut self) -> Result<(), Refusal> {
        let Some(staged) = &mut self.staged else { return Err(over()) };
        Ok(staged.sync()?)
    }

    /// Modification time to wear from the landing on.
    pub fn set_modified(&mut self, time: SystemTime) {
        if let Some(staged) = &mut self.staged {
            staged.set_modified(time);
        }
    }

    /// Permission bits to wear from the landing on.
    pub fn set_mode(&mut self, mode: u32) {
        if let Some(staged) = &mut self.staged {
            staged.set_mode(policy::mode(mode));
        }
    }

    /// True when its landing is short: no device to wait for, no look at what it holds, no digest to catch up.
    #[must_use]
    pub fn lands_shortly(&self) -> bool {
        let session = &self.session;
        !session.delivery.waits_for_device()
            && policy::inspection(&session.user.effective).is_none()
            && self.digest.is_of(self.size())
    }

    /// Lands it: rules, intent, sync, rename, sync, one transaction. The file is durable, visible and accounted for when
    /// this returns `Ok`. After a refusal by a rule, which is in the ledger, nothing is kept; when it is not whole, or
    /// storage or database fail, it is suspended.
    ///
    /// # Errors
    /// The refusal.
    pub fn finish(self) -> Result<Receipt, Refusal> {
        self.finish_if(&mut || true)
    }

    /// The same, asking at the last instant before the name becomes visible, when file and intent are on the disk,
    /// whether it is still wanted; if not, it is suspended. For protocols that may learn late that their client is gone.
    /// May ask more than once.
    ///
    /// # Errors
    /// The refusal.
    pub fn finish_if(mut self, still_wanted: &mut dyn FnMut() -> bool) -> Result<Receipt, Refusal> {
        if let Some(refused) = &self.refused {
            return Err(refused.clone());
        }
        let landed =
            self.land(still_wanted).map_err(|refusal| refusal.of_file(self.path.file_name().unwrap_or_default()));
        if let Err(refusal) = &landed
            && matches!(refusal.reason, Reason::Rule | Reason::Quota | Reason::Permission | Reason::AlreadyExists)
        {
            self.refused = Some(refusal.clone());
        }
        landed
    }

    /// Gives it up: nothing of it is kept.
    ///
    /// # Errors
    /// What the storage says.
    pub fn discard(mut self) -> Result<(), Refusal> {
        let Some(staged) = self.staged.take() else { return Ok(()) };
        if let Some(account) = &self.account {
            account.give_back(staged.id().as_str());
        }
        Ok(staged.discard()?)
    }

    /// True while it holds nothing but the copy of the landed file that it began with.
    #[must_use]
    pub fn is_mere_copy(&self) -> bool {
        self.staged.as_ref().is_some_and(|staged| staged.is_mere_copy())
    }

    /// Ends an upload that is a mere copy: what has landed stays, and wears the time and the mode that are given.
    ///
    /// # Errors
    /// What the storage says.
    pub fn leave(self, modified: Option<SystemTime>, mode: Option<u32>) -> Result<(), Refusal> {
        let (session, path, store_path) = (self.session.clone(), self.path.clone(), self.store_path.clone());
        self.discard()?;
        let store = &session.delivery.store;
        // The time first: a mode may be refused, or be one that lets nothing be set any more.
        if let Some(modified) = modified {
            store.set_modified(&store_path, modified)?;
        }
        if let Some(mode) = mode {
            policy::change_mode(&session.user.effective, &path)?;
            store.set_mode(&store_path, policy::mode(mode))?;
        }
        Ok(())
    }

    fn land(&mut self, still_wanted: &mut dyn FnMut() -> bool) -> Result<Receipt, Refusal> {
        let Some(mut staged) = self.staged.take() else { return Err(over()) };
        let landed = self.publish(&mut *staged, still_wanted);
        match landed {
            Ok(receipt) => Ok(receipt),
            Err((refusal, still_staged)) => {
                if still_staged {
                    self.staged = Some(staged);
                }
                Err(refusal)
            }
        }
    }

    /// The landing itself. An error says as well whether the upload is still staged.
    fn publish(
        &mut self,
        staged: &mut dyn storage::Upload,
        still_wanted: &mut dyn FnMut() -> bool,
    ) -> Result<Receipt, (Refusal, bool)> {
        let session = self.session.clone();
        let grant = &session.user.effective;
        let size = staged.size();
        let kept = |refusal| (refusal, true);
        let temporary = session.is_temporary(&self.store_path);
        let content = if temporary { None } else { session.look_at_staged(staged).map_err(kept)? };
        let path = (!temporary).then_some(&self.path);
        policy::landing(grant, Facts { path, size, expected_bytes: self.expected_bytes, content: content.as_ref() })
            .map_err(kept)?;
        let digest = std::mem::replace(&mut self.digest, RunningDigest::new());
        let sha256 = digest.finish(size, |at, buffer| Ok(staged.read_at(at, buffer)?)).map_err(kept)?;

        let store = &*session.delivery.store;
        let standing = store.stat(&self.store_path).ok();
        // A temporary name is the client's own: it is replaced freely, the final name's policy is asked at its rename.
        let placement = match self.landing {
            Landing::New => Placement::Exact(Replace::No),
            Landing::Over(inode) if standing.as_ref().is_none_or(|now| now.inode != inode) => {
                let sentence = "another file has taken that name meanwhile; look at it before you cut it";
                return Err(kept(Refusal::new(Reason::Busy, sentence)));
            }
            Landing::Over(_) => Placement::Exact(Replace::Yes),
            Landing::ByPolicy if temporary => Placement::Exact(Replace::Yes),
            Landing::ByPolicy => policy::placement(grant, &self.path, standing.is_some()).map_err(kept)?,
        };

        let replaced = standing
            .filter(|old| placement == Placement::Exact(Replace::Yes) && old.kind == storage::Kind::File)
            .map(|old| old.size);
        if let Some(account) = &self.account {
            account.replaces(store, staged.id().as_str(), replaced).map_err(kept)?;
        }
        let today = if temporary { None } else { session.place_today().map_err(kept)? };
        let moving = self.account.as_ref().map(|account| account.moving());
        let (stat, store_path) = self.place(staged, placement, &sha256, still_wanted)?;
        drop(moving);
        if let Some(place) = today {
            place.keep();
        }
        if let Some(account) = &self.account {
            account.keep(staged.id().as_str(), size, replaced);
        }

        // From here on the name is visible. If the ledger fails now, the intent stays and the next start settles it.
        let path = store_path.within(&session.home).unwrap_or_else(|| self.path.clone());
        let id = staged.id().as_str().to_owned();
        let receipt =
            Receipt { id: id.clone(), path: path.to_string(), size, sha256: sha256.clone(), delivered: !temporary };
        let superseded = Some(session.superseded(&self.store_path, &self.path));
        let settled = if temporary {
            let store_path = store_path.to_string();
            let temporary = Temporary { store_path, id, size, inode: stat.inode, sha256, started: self.started };
            session.delivery.ledger.settle_temporary(temporary, superseded)
        } else {
            let entry = self.entry(id, size, Some(sha256), &path, Status::Landed, None);
            let entry = Entry { identity: hash::identify(store, &store_path, &stat), ..entry };
            session.delivery.ledger.settle(entry, superseded)
        };
        settled.map_err(|refusal| (refusal, false))?;
        session.remember_landed(&path);
        session.log_landed(&receipt);
        Ok(receipt)
    }

    fn entry(
        &self,
        id: String,
        size: u64,
        sha256: Option<String>,
        path: &VirtualPath,
        status: Status,
        reason: Option<String>,
    ) -> Entry {
        let session = &self.session;
        Entry {
            id,
            user: session.user.name.clone(),
            path: path.to_string(),
            size,
            sha256,
            protocol: session.protocol_name(),
            client_address: session.peer.ip().to_string(),
            started: self.started,
            status,
            reason,
            identity: None,
        }
    }
}

impl Drop for Upload {
    /// Suspends, or gives up what a rule refused; and says so in ledger and log.
    fn drop(&mut self) {
        let Some(staged) = self.staged.take() else { return };
        let (id, size) = (staged.id().as_str().to_owned(), staged.size());
        let user = &self.session.user.name;
        let ledger = &self.session.delivery.ledger;
        if self.refused.is_some() || matches!(self.landing, Landing::Over(_)) {
            if let Err(error) = staged.discard() {
                tracing::warn!(%error, "a refused upload could not be removed; its time to live ends it");
            }
            if let Some(account) = &self.account {
                account.give_back(&id);
            }
            if let Some(refusal) = self.refused.take() {
                self.session.log_refused(&self.path, size, &refusal);
                ledger.note(self.entry(id, size, None, &self.path, Status::Refused, Some(refusal.to_string())));
            }
            return;
        }
        // Nothing that was sent: it changes nothing for others of its name, and the removal of a large copy takes long.
        let staged = if staged.is_mere_copy() {
            let discarded = staged.discard();
            if let Some(account) = &self.account {
                account.give_back(&id);
            }
            return drop(
                discarded.inspect_err(|error| tracing::warn!(%error, "a copy that nobody wants is left over")),
            );
        } else {
            staged
        };
        // One after the other: which of two uploads of a name stays, and which row, are one decision.
        let _suspending = self.session.delivery.suspending.lock().unwrap_or_else(PoisonError::into_inner);
        let suspended = || self.session.delivery.store.staged(user, &self.store_path).filter(|staged| !staged.active);
        let before = suspended();
        drop(staged);
        // Not everything that is cut off is kept: nothing was sent, or the same name landed meanwhile.
        let after = suspended().map(|staged| staged.id);
        let kept = after.as_ref().is_some_and(|after| after.as_str() == id);
        if let Some(account) = &self.account {
            if kept {
                account.keep(&id, size, None);
            } else {
                account.give_back(&id);
            }
        }
        // Of each name one upload is kept, and a later one outdates it even if nothing of that is kept.
        if let Some(outdated) = before.filter(|before| before.id.as_str() != id && after.as_ref() != Some(&before.id)) {
            ledger.forget(outdated.id.as_str());
            if let Some(account) = &self.account {
                account.removed(outdated.size);
            }
        }
        if kept {
            let (protocol, peer) = (self.session.protocol_name(), self.session.peer);
            tracing::info!(user, path = %self.path, bytes = size, protocol, %peer, id, "suspended");
            let reason = "the transfer was cut off before its end; it can be resumed".to_owned();
            ledger.note(self.entry(id, size, None, &self.path, Status::Suspended, Some(reason)));
        }
    }
}

fn over() -> Refusal {
    Refusal::new(Reason::Internal, "the upload is over")
}

fn beyond(offset: u64, held: u64) -> Refusal {
    Error::BeyondEnd { offset, held }.into()
}
