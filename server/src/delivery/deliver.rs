//! Renames within the overwrite policy; and the one that ends a client-side temporary name: there the file is delivered,
//! and its receipt belongs to it.

use std::sync::Arc;

use landfall_storage::{Error, Kind, Replace, Stat, VirtualPath};

use super::digest::RunningDigest;
use super::ledger::{Entry, Intent, Status, Temporary};
use super::policy::{self, Facts, Placement, Verb};
use super::refusal::{Reason, Refusal};
use super::session::{Shared, note_refusal, refuse_partial};
use super::upload::{Receipt, version_path};

/// Renames `from` to its final name `to` and writes the receipt. It is a landing: whatever request asked for it, a file of
/// that name is treated as the overwrite policy says.
pub(super) async fn rename(
    shared: &Arc<Shared>,
    from: &VirtualPath,
    to: &VirtualPath,
    store_from: VirtualPath,
    store_to: VirtualPath,
) -> Result<Option<Receipt>, Refusal> {
    let known = shared.delivery.ledger.temporary(store_from.as_str()).await.map_err(Refusal::internal)?;
    let (shared, from, to) = (shared.clone(), from.clone(), to.clone());
    let renamed = tokio::task::spawn_blocking(move || {
        deliver(&shared, &from, &to, &store_from, &store_to, known)
            .map_err(|refusal| note_refusal(&shared, &to, refusal))
    });
    renamed.await.map_err(Refusal::internal)?
}

fn deliver(
    shared: &Shared,
    from: &VirtualPath,
    to: &VirtualPath,
    store_from: &VirtualPath,
    store_to: &VirtualPath,
    known: Option<Temporary>,
) -> Result<Option<Receipt>, Refusal> {
    let store = &shared.delivery.store;
    let grant = &shared.user.effective;
    // To end one's own temporary name is part of uploading: the right to rename is not asked for.
    policy::verb(grant, from, Verb::Write)?;
    policy::verb(grant, to, Verb::Write)?;
    refuse_partial(shared, from, store_from)?;
    let stat = store.stat(store_from)?;
    if stat.kind != Kind::File {
        policy::verb_below(grant, from, Verb::Rename)?;
        policy::verb_below(grant, to, Verb::Rename)?;
        rename_landed(shared, store_from, store_to, true)?;
        return Ok(None);
    }
    let content = shared.look_at_landed(store_from)?;
    policy::landing(grant, Facts { path: Some(to), size: stat.size, expected_bytes: None, content: content.as_ref() })?;
    let today = shared.place_today()?;
    let temporary = describe(shared, store_from, &stat, known)?;

    let ledger = &shared.delivery.ledger;
    let intent = Intent {
        id: temporary.id.clone(),
        user: shared.user.name.clone(),
        path: to.to_string(),
        store_path: store_to.to_string(),
        size: temporary.size,
        sha256: temporary.sha256.clone(),
        protocol: shared.protocol_name().to_owned(),
        client_address: shared.peer.ip().to_string(),
        started: temporary.started,
    };
    ledger.intend(intent).wait()?;
    let landed = match rename_landed(shared, store_from, store_to, true) {
        Ok(landed) => landed,
        Err(refusal) => {
            // If it has gone, its new name is visible though not synced: then the intent stays, and the next start decides.
            if shared.delivery.store.stat(store_from).is_ok() {
                ledger.withdraw(&temporary.id);
            }
            return Err(refusal);
        }
    };
    if let Some(place) = today {
        place.keep();
    }
    let path = landed.within(&shared.home).unwrap_or_else(|| to.clone());
    let Temporary { id, size, sha256, started, .. } = temporary;
    let entry = Entry {
        id: id.clone(),
        user: shared.user.name.clone(),
        path: path.to_string(),
        size,
        sha256: Some(sha256.clone()),
        protocol: shared.protocol_name(),
        client_address: shared.peer.ip().to_string(),
        started,
        status: Status::Landed,
        reason: None,
        identity: None,
    };
    ledger.settle(entry, Some(shared.superseded(store_to, to)))?;
    shared.remember_landed(&path);
    let receipt = Receipt { id, path: path.to_string(), size, sha256, delivered: true };
    shared.log_landed(&receipt);
    Ok(Some(receipt))
}

/// What the ledger knows of the very file that stands there; one that it does not know is read.
fn describe(
    shared: &Shared,
    store_path: &VirtualPath,
    stat: &Stat,
    known: Option<Temporary>,
) -> Result<Temporary, Refusal> {
    if let Some(known) = known
        && known.size == stat.size
        && known.inode == stat.inode
    {
        return Ok(known);
    }
    let file = shared.delivery.store.open(store_path)?;
    let sha256 = RunningDigest::new().finish(file.size(), |at, buffer| Ok(file.read_at(at, buffer)?))?;
    Ok(Temporary {
        store_path: store_path.to_string(),
        id: landfall_storage::UploadId::fresh().to_string(),
        size: file.size(),
        inode: stat.inode,
        sha256,
        started: crate::clock::now(),
    })
}

/// Renames what has landed, within the overwrite policy; gives the name that was taken.
pub(super) fn rename_landed(
    shared: &Shared,
    from: &VirtualPath,
    to: &VirtualPath,
    replace: bool,
) -> Result<VirtualPath, Refusal> {
    let store = &shared.delivery.store;
    if from == to {
        return store.stat(to).map(|_| to.clone()).map_err(Refusal::from);
    }
    let standing = store.stat(to).ok();
    if standing.as_ref().is_some_and(|stat| stat.kind == Kind::Directory) {
        return Err(Refusal::new(Reason::AlreadyExists, "a directory has that name"));
    }
    if !replace && standing.is_some() {
        return Err(Refusal::new(Reason::AlreadyExists, "a file of that name exists already"));
    }
    match policy::placement(&shared.user.effective, &shared.seen(to), standing.is_some())? {
        Placement::Exact(how) => {
            let how = if replace { how } else { Replace::No };
            store.rename(from, to, how)?;
            if let (Some(account), Some(old)) = (&shared.account, standing) {
                account.removed(old.size);
            }
            shared.outdate(to);
            Ok(to.clone())
        }
        Placement::Versioned => {
            let mut target = to.clone();
            let mut number = 1;
            loop {
                match store.rename(from, &target, Replace::No) {
                    Ok(()) => {
                        shared.outdate(&target);
                        return Ok(target);
                    }
                    Err(Error::AlreadyExists) => {}
                    Err(error) => return Err(error.into()),
                }
                number += 1;
                target = version_path(to, number).ok_or_else(|| Refusal::from(Error::AlreadyExists))?;
            }
        }
    }
}
