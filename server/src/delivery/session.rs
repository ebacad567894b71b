//! `Session`: one logged-in user over one connection, and every verb a protocol may call.
//! Paths given to it are the user's own: `/` is the user's home.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use landfall_auth::{Protocol, User};
use landfall_storage::{Entry, Error, Kind, ReadAt, Space, Stat, Suspended, VirtualPath};
use tokio_util::sync::CancellationToken;

use super::at_once::Place;
use super::daily;
use super::ledger::{self, Status, Superseded};
use super::pace::{Pace, Paced};
use super::policy::{self, Verb};
use super::quota::Account;
use super::refusal::{Reason, Refusal};
use super::registry::{Activity, Enrolment};
use super::upload::Receipt;
use super::{Delivery, deliver};

/// How many of its own landings a session remembers.
const MAX_LANDED_REMEMBERED: usize = 64;
/// A landed file open for reading; a clone is the same open file. Reads block: call from a thread that may.
#[derive(Clone)]
pub struct Download {
    pub(super) file: Arc<dyn ReadAt>,
}

impl Download {
    /// Length in bytes.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.file.size()
    }

    /// The file.
    #[must_use]
    pub fn file(&self) -> &dyn ReadAt {
        &*self.file
    }
}

/// The names in a directory as the user sees them: own suspended uploads with their partial size, client-side
/// temporary names included, staging never. Iteration blocks: call from a thread that may.
pub type Listing = Box<dyn Iterator<Item = Result<Entry, Refusal>> + Send>;
/// Hears of progress in bytes; false stops.
pub type Step = Arc<dyn Fn(u64) -> bool + Send + Sync>;
/// The same names without facts, which cost several times what the names do.
pub type Names = Box<dyn Iterator<Item = Result<String, Refusal>> + Send>;

/// One logged-in user over one connection. When the last of its uploads and clones is gone, it leaves the registry.
#[derive(Clone)]
pub struct Session(Arc<Shared>);

/// What a session and its uploads share.
pub(super) struct Shared {
    pub(super) delivery: Arc<Delivery>,
    pub(super) user: User,
    pub(super) home: VirtualPath,
    pub(super) protocol: Protocol,
    pub(super) peer: SocketAddr,
    pub(super) enrolment: Enrolment,
    pub(super) account: Option<Arc<Account>>,
    pub(super) paced: Paced,
    /// What this session landed last: its client may ask whether it is there, even one that may not list.
    pub(super) landed: Mutex<VecDeque<VirtualPath>>,
}

impl Shared {
    pub(super) fn protocol_name(&self) -> &'static str {
        match self.protocol {
            Protocol::Ftp => "ftp",
            Protocol::Ftps => "ftps",
            Protocol::Sftp => "sftp",
        }
    }

    pub(super) fn log_landed(&self, receipt: &Receipt) {
        let Receipt { id, path, size, sha256, delivered } = receipt;
        let (user, protocol, peer) = (&self.user.name, self.protocol_name(), self.peer);
        let message = if *delivered { "landed" } else { "landed under a temporary name" };
        tracing::info!(user, path, bytes = size, sha256, protocol, %peer, id, "{message}");
    }

    pub(super) fn log_refused(&self, path: &VirtualPath, bytes: u64, refusal: &Refusal) {
        let (user, protocol, peer) = (&self.user.name, self.protocol_name(), self.peer);
        tracing::warn!(user, %path, bytes, protocol, %peer, reason = %refusal, "refused");
    }

    pub(super) fn remember_landed(&self, path: &VirtualPath) {
        let mut landed = self.landed.lock().unwrap_or_else(PoisonError::into_inner);
        if landed.len() >= MAX_LANDED_REMEMBERED {
            landed.pop_front();
        }
        landed.push_back(path.clone());
    }

    fn has_landed(&self, path: &VirtualPath) -> bool {
        self.landed.lock().unwrap_or_else(PoisonError::into_inner).contains(path)
    }

    /// After a landing: what was suspended under that name before is gone, and so must its row be.
    pub(super) fn superseded(&self, store_path: &VirtualPath, path: &VirtualPath) -> Superseded {
        self.delivery.rows_of_suspended_are_posted();
        let kept = self.staged(store_path).filter(|staged| !staged.active).map(|staged| staged.id.to_string());
        Superseded { user: self.user.name.clone(), path: path.to_string(), kept }
    }

    pub(super) fn may(&self, path: &VirtualPath, verb: Verb) -> Result<(), Refusal> {
        policy::verb(&self.user.effective, path, verb)
    }

    /// Is it a name that its client takes away again?
    pub(super) fn is_temporary(&self, path: &VirtualPath) -> bool {
        path.file_name().is_some_and(|name| self.delivery.temporary_names().matches(name))
    }

    /// A place among the files that may land today, where they are counted.
    pub(super) fn place_today(&self) -> Result<Option<daily::Place>, Refusal> {
        let Some(most) = self.user.effective.max_uploads_per_day else { return Ok(None) };
        self.delivery.days.take(&self.delivery.ledger, &self.user.name, most, crate::clock::now()).map(Some)
    }

    /// The inverse of [`Shared::place`].
    pub(super) fn seen(&self, store_path: &VirtualPath) -> VirtualPath {
        store_path.within(&self.home).unwrap_or_else(|| store_path.clone())
    }

    pub(super) fn place(&self, path: &VirtualPath) -> Result<VirtualPath, Refusal> {
        Ok(path.under(&self.home)?)
    }

    pub(super) fn staged(&self, store_path: &VirtualPath) -> Option<Suspended> {
        self.delivery.store.staged(&self.user.name, store_path)
    }

    fn list(&self, path: &VirtualPath) -> Result<Listing, Refusal> {
        self.may(path, Verb::List)?;
        let store_path = self.place(path)?;
        let landed = self.delivery.store.list(&store_path)?;
        let mut suspended = self.suspended_in(&store_path);
        let mut landed = landed.fuse();
        let listing: Listing = Box::new(std::iter::from_fn(move || {
            if let Some(entry) = landed.next() {
                return Some(entry.map_err(Refusal::from).map(|entry| match suspended.remove(&entry.name) {
                    Some(staged) => Entry { name: entry.name, stat: partial(&staged) },
                    None => entry,
                }));
            }
            let name = suspended.keys().next()?.clone();
            let staged = suspended.remove(&name)?;
            Some(Ok(Entry { name, stat: partial(&staged) }))
        }));
        Ok(listing)
    }

    fn names(&self, path: &VirtualPath) -> Result<Names, Refusal> {
        self.may(path, Verb::List)?;
        let store_path = self.place(path)?;
        let landed = self.delivery.store.names(&store_path)?;
        let mut suspended = self.suspended_in(&store_path);
        let mut landed = landed.fuse();
        Ok(Box::new(std::iter::from_fn(move || {
            if let Some(name) = landed.next() {
                return Some(name.map_err(Refusal::from).inspect(|name| drop(suspended.remove(name))));
            }
            let name = suspended.keys().next()?.clone();
            suspended.remove(&name);
            Some(Ok(name))
        })))
    }

    /// Removes what is suspended, and every trace of it.
    fn give_up(&self, staged: &Suspended) -> Result<(), Refusal> {
        self.delivery.store.discard_staged(&self.user.name, &staged.path)?;
        self.given_up(staged);
        Ok(())
    }

    pub(super) fn given_up(&self, staged: &Suspended) {
        self.delivery.rows_of_suspended_are_posted();
        self.forget(staged);
    }

    /// The same for who has waited for that.
    pub(super) fn forget(&self, staged: &Suspended) {
        self.delivery.ledger.forget(staged.id.as_str());
        if let Some(account) = &self.account {
            account.removed(staged.size);
        }
    }

    /// A file has come to stand under that name: what is staged for it is outdated, as after a landing.
    pub(super) fn outdate(&self, store_path: &VirtualPath) {
        // What cannot be removed goes when its time to live is over.
        if let Ok(Some(outdated)) = self.delivery.store.outdate(&self.user.name, store_path) {
            self.given_up(&outdated);
        }
    }

    /// The owner's own suspended uploads, by name: they are shown in place of what landed under those names.
    fn suspended_in(&self, store_path: &VirtualPath) -> HashMap<String, Suspended> {
        let staged = self.delivery.store.staged_in(&self.user.name, store_path).into_iter();
        let suspended = staged.filter(|staged| !staged.active);
        suspended.filter_map(|staged| Some((staged.path.file_name()?.to_owned(), staged))).collect()
    }
}

impl Session {
    pub(super) fn new(shared: Shared) -> Self {
        Self(Arc::new(shared))
    }

    pub(super) fn shared(&self) -> &Arc<Shared> {
        &self.0
    }

    /// Number of the session in this process.
    #[must_use]
    pub fn id(&self) -> u64 {
        self.0.enrolment.session.id
    }

    /// The user.
    #[must_use]
    pub fn user(&self) -> &User {
        &self.0.user
    }

    /// Where from.
    #[must_use]
    pub fn peer(&self) -> SocketAddr {
        self.0.peer
    }

    /// Over what.
    #[must_use]
    pub fn protocol(&self) -> Protocol {
        self.0.protocol
    }

    /// Cancelled when the session must end now: kicked, user disabled, hard stop. The engine closes the connection.
    #[must_use]
    pub fn ended(&self) -> &CancellationToken {
        &self.0.enrolment.session.ended
    }

    /// Byte counters for `landfall sessions`. Uploads count what they receive themselves; engines count what they send.
    #[must_use]
    pub fn activity(&self) -> &Arc<Activity> {
        &self.0.enrolment.session.activity
    }

    /// How fast bytes may come in.
    #[must_use]
    pub fn incoming_pace(&self) -> &Pace {
        &self.0.paced.incoming
    }

    /// How fast bytes may go out.
    #[must_use]
    pub fn outgoing_pace(&self) -> &Pace {
        &self.0.paced.outgoing
    }

    /// Says what the session does now, for `landfall sessions`: `STOR /a.jpg`; empty or `idle` when nothing.
    pub fn doing(&self, what: &str) {
        self.0.enrolment.session.doing(what);
    }

    /// Runs a call that may wait for the disk where waiting harms nobody.
    pub(super) async fn blocking<T: Send + 'static>(
        &self,
        call: impl FnOnce(&Arc<Shared>) -> Result<T, Refusal> + Send + 'static,
    ) -> Result<T, Refusal> {
        let shared = self.0.clone();
        match tokio::task::spawn_blocking(move || call(&shared)).await {
            Ok(outcome) => outcome,
            Err(error) => Err(Refusal::internal(error)),
        }
    }

    /// The same for a call that is short on a disk that is well: at once, while there is a place for that.
    pub(super) async fn short<T: Send + 'static>(
        &self,
        call: impl FnOnce(&Arc<Shared>) -> Result<T, Refusal> + Send + 'static,
    ) -> Result<T, Refusal> {
        let Some(place) = self.at_once() else { return self.blocking(call).await };
        let outcome = catch_unwind(AssertUnwindSafe(|| call(&self.0)));
        drop(place);
        outcome.unwrap_or_else(|_| Err(Refusal::internal("a call panicked")))
    }

    /// A place for calls that are done on the thread that asks for them, if one is left: for uploads and downloads,
    /// whose calls block. Not to be held over an `.await`.
    #[must_use]
    pub fn at_once(&self) -> Option<Place<'_>> {
        self.0.delivery.at_once.place()
    }

    /// Facts about a name. The owner's own suspended upload shows its partial size.
    ///
    /// # Errors
    /// The refusal, as for every call below.
    pub async fn stat(&self, path: &VirtualPath) -> Result<Stat, Refusal> {
        let store_path = self.0.place(path)?;
        let path = path.clone();
        self.short(move |shared| {
            let landed = shared.delivery.store.stat(&store_path);
            // One's own suspended upload can be seen without the right to list: it is needed to resume.
            if let Some(staged) = shared.staged(&store_path)
                && (!staged.active || landed.is_err())
            {
                return Ok(partial(&staged));
            }
            if store_path != shared.home && !shared.has_landed(&path) {
                shared.may(&path, Verb::List)?;
            }
            Ok(landed?)
        })
        .await
    }

    /// Names in a directory.
    pub async fn list(&self, path: &VirtualPath) -> Result<Listing, Refusal> {
        let path = path.clone();
        self.blocking(move |shared| shared.list(&path)).await
    }

    /// The same names without facts.
    pub async fn names(&self, path: &VirtualPath) -> Result<Names, Refusal> {
        let path = path.clone();
        self.blocking(move |shared| shared.names(&path)).await
    }

    /// Names in a directory, from a thread that may block.
    pub fn list_blocking(&self, path: &VirtualPath) -> Result<Listing, Refusal> {
        self.0.list(path)
    }

    /// Is this a directory one may stand in? (FTP's CWD.)
    pub async fn enter(&self, path: &VirtualPath) -> Result<(), Refusal> {
        let store_path = self.0.place(path)?;
        self.short(move |shared| match shared.delivery.store.stat(&store_path)?.kind {
            Kind::Directory => Ok(()),
            Kind::File | Kind::Other => Err(Refusal::new(Reason::WrongKind, "not a directory")),
        })
        .await
    }

    /// Opens a landed file.
    pub async fn download(&self, path: &VirtualPath) -> Result<Download, Refusal> {
        self.0.may(path, Verb::Read)?;
        let store_path = self.0.place(path)?;
        self.short(move |shared| Ok(Download { file: shared.delivery.store.open(&store_path)?.into() })).await
    }

    /// Makes a directory.
    pub async fn make_dir(&self, path: &VirtualPath) -> Result<(), Refusal> {
        self.0.may(path, Verb::MakeDir)?;
        let store_path = self.0.place(path)?;
        self.blocking(move |shared| Ok(shared.delivery.store.create_dir(&store_path)?)).await
    }

    /// Removes a landed file, and the owner's suspended upload of that name: what the owner sees there is gone.
    pub async fn remove_file(&self, path: &VirtualPath) -> Result<(), Refusal> {
        let store_path = self.0.place(path)?;
        let path = path.clone();
        self.blocking(move |shared| {
            let store = &shared.delivery.store;
            let suspended = shared.staged(&store_path).filter(|staged| !staged.active);
            let landed = store.stat(&store_path);
            if suspended.is_none() || landed.is_ok() {
                shared.may(&path, Verb::Delete)?;
            }
            if let Some(staged) = &suspended {
                shared.give_up(staged)?;
            }
            match landed {
                Ok(stat) => {
                    store.remove_file(&store_path)?;
                    if let Some(account) = &shared.account {
                        account.removed(stat.size);
                    }
                    tracing::info!(user = shared.user.name, %path, protocol = shared.protocol_name(), "removed");
                    Ok(())
                }
                Err(Error::NotFound) if suspended.is_some() => Ok(()),
                Err(error) => Err(error.into()),
            }
        })
        .await
    }

    /// Removes an empty directory.
    pub async fn remove_dir(&self, path: &VirtualPath) -> Result<(), Refusal> {
        self.0.may(path, Verb::Delete)?;
        let store_path = self.0.place(path)?;
        self.blocking(move |shared| {
            if store_path == shared.home {
                return Err(Refusal::new(Reason::Permission, "the top directory cannot be removed"));
            }
            Ok(shared.delivery.store.remove_dir(&store_path)?)
        })
        .await
    }

    /// Renames. With `replace` a file at `to` is replaced where policy lets it (FTP, posix-rename); without, it is
    /// refused (SFTP version 3 RENAME). The receipt is given when the rename delivers a client-side temporary name.
    pub async fn rename(
        &self,
        from: &VirtualPath,
        to: &VirtualPath,
        replace: bool,
    ) -> Result<Option<Receipt>, Refusal> {
        let (store_from, store_to) = (self.0.place(from)?, self.0.place(to)?);
        if store_from == self.0.home || store_to == self.0.home {
            return Err(Refusal::new(Reason::Permission, "the top directory cannot be renamed"));
        }
        let (from_temporary, to_temporary) = (self.0.is_temporary(from), self.0.is_temporary(to));
        if from_temporary && !to_temporary {
            return deliver::rename(&self.0, from, to, store_from, store_to).await;
        }
        let takes_back = to_temporary && !from_temporary;
        let (from, to) = (from.clone(), to.clone());
        self.blocking(move |shared| {
            let grant = &shared.user.effective;
            policy::verb_below(grant, &from, Verb::Rename)?;
            policy::verb_below(grant, &to, Verb::Rename)?;
            if takes_back {
                policy::take_back(grant, &from)?;
            }
            refuse_partial(shared, &from, &store_from)?;
            let named = match shared.delivery.store.stat(&store_from) {
                Ok(stat) if stat.kind == Kind::File && !to_temporary => policy::name(grant, &to),
                _ => Ok(()),
            };
            if let Err(refusal) = named.and_then(|()| deliver::rename_landed(shared, &store_from, &store_to, replace)) {
                return Err(note_refusal(shared, &to, refusal));
            }
            tracing::info!(user = shared.user.name, %from, %to, protocol = shared.protocol_name(), "renamed");
            Ok(None)
        })
        .await
    }

    /// Sets a modification time.
    pub async fn set_modified(&self, path: &VirtualPath, time: SystemTime) -> Result<(), Refusal> {
        self.0.may(path, Verb::Write)?;
        let store_path = self.0.place(path)?;
        self.short(move |shared| Ok(shared.delivery.store.set_modified(&store_path, time)?)).await
    }

    /// Sets permission bits (lowest nine), as far as they are given, and says which it has then.
    pub async fn set_mode(&self, path: &VirtualPath, mode: u32) -> Result<u32, Refusal> {
        self.0.may(path, Verb::Write)?;
        policy::change_mode(&self.0.user.effective, path)?;
        let mode = policy::mode(mode);
        let store_path = self.0.place(path)?;
        self.short(move |shared| {
            shared.delivery.store.set_mode(&store_path, mode)?;
            Ok(shared.delivery.store.stat(&store_path)?.mode)
        })
        .await
    }

    /// Room left for this user: the storage's, or the quota's rest where that is less.
    pub async fn space(&self) -> Result<Space, Refusal> {
        self.short(|shared| {
            let mut space = shared.delivery.store.space()?;
            if let Some(account) = &shared.account {
                let (bytes, files) = account.rest();
                space.free_bytes = space.free_bytes.min(bytes);
                space.free_files = space.free_files.min(files);
            }
            Ok(space)
        })
        .await
    }
}

/// The owner's view of an upload that is not landed yet.
fn partial(staged: &Suspended) -> Stat {
    Stat { kind: Kind::File, size: staged.size, modified: staged.modified, mode: 0o600, inode: 0 }
}

/// What has not come whole cannot be given another name: its owner would take it for delivered.
pub(super) fn refuse_partial(shared: &Shared, path: &VirtualPath, store_path: &VirtualPath) -> Result<(), Refusal> {
    let Some(staged) = shared.staged(store_path) else { return Ok(()) };
    if staged.active && shared.delivery.store.stat(store_path).is_ok() {
        return Ok(());
    }
    let name = path.file_name().unwrap_or_default();
    let sentence = format!("only {} bytes of {name} have come; end its upload first, then rename it", staged.size);
    Err(Refusal::new(Reason::Incomplete, sentence))
}

/// A refusal before the first byte stands in the ledger as well, under an identity of its own. Gives it back as it is told.
pub(super) fn note_refusal(shared: &Shared, path: &VirtualPath, refusal: Refusal) -> Refusal {
    let refusal = refusal.of_file(path.file_name().unwrap_or_default());
    if !matches!(refusal.reason, Reason::Permission | Reason::Rule | Reason::Quota | Reason::AlreadyExists) {
        return refusal;
    }
    shared.log_refused(path, 0, &refusal);
    shared.delivery.ledger.note(ledger::Entry {
        id: landfall_storage::UploadId::fresh().to_string(),
        user: shared.user.name.clone(),
        path: path.to_string(),
        size: 0,
        sha256: None,
        protocol: shared.protocol_name(),
        client_address: shared.peer.ip().to_string(),
        started: crate::clock::now(),
        status: Status::Refused,
        reason: Some(refusal.to_string()),
        identity: None,
    });
    refusal
}
