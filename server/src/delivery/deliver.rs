//! The rename that ends a client-side temporary name: there the file is delivered, and its receipt belongs to it.

use std::sync::Arc;

use landfall_storage::{Error, Kind, Stat, VirtualPath};

use super::digest::RunningDigest;
use super::ledger::{Entry, Intent, Status, Temporary};
use super::policy::{self, Facts, Verb};
use super::refusal::Refusal;
use super::session::{Shared, rename_landed};
use super::upload::Receipt;

/// Renames `from` to its final name `to` and writes the receipt. What is still suspended only changes the name that it
/// is meant for.
pub(super) async fn rename(
    shared: &Arc<Shared>,
    from: &VirtualPath,
    to: &VirtualPath,
    store_from: VirtualPath,
    store_to: VirtualPath,
    replace: bool,
) -> Result<Option<Receipt>, Refusal> {
    let known = shared.delivery.ledger.temporary(store_from.as_str()).await.map_err(Refusal::internal)?;
    let (shared, from, to) = (shared.clone(), from.clone(), to.clone());
    let renamed = tokio::task::spawn_blocking(move || {
        let outcome = deliver(&shared, &to, &store_from, &store_to, known, replace);
        if let Err(refusal) = &outcome {
            tracing::warn!(user = shared.user.name, %from, %to, reason = %refusal, "refused");
        }
        outcome
    });
    renamed.await.map_err(Refusal::internal)?
}

fn deliver(
    shared: &Shared,
    to: &VirtualPath,
    store_from: &VirtualPath,
    store_to: &VirtualPath,
    known: Option<Temporary>,
    replace: bool,
) -> Result<Option<Receipt>, Refusal> {
    let store = &shared.delivery.store;
    let grant = &shared.user.effective;
    // To end one's own temporary name is part of uploading: the right to rename is not asked for.
    policy::verb(grant, Verb::Write)?;
    let stat = match store.stat(store_from) {
        Ok(stat) => stat,
        Err(Error::NotFound) if shared.delivery.store.staged(&shared.user.name, store_from).is_some() => {
            store.rename_staged(&shared.user.name, store_from, store_to)?;
            return Ok(None);
        }
        Err(error) => return Err(error.into()),
    };
    if stat.kind != Kind::File {
        policy::verb(grant, Verb::Rename)?;
        rename_landed(shared, store_from, store_to, replace)?;
        return Ok(None);
    }
    policy::landing(grant, Facts { size: stat.size, expected_bytes: None })?;
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
    ledger.intend(intent)?.wait()?;
    let landed = match rename_landed(shared, store_from, store_to, replace) {
        Ok(landed) => landed,
        Err(refusal) => {
            ledger.withdraw(&temporary.id);
            return Err(refusal);
        }
    };
    let path = landed.within(&shared.home).unwrap_or_else(|| to.clone()).to_string();
    let Temporary { id, size, sha256, started, .. } = temporary;
    ledger.settle(Entry {
        id: id.clone(),
        user: shared.user.name.clone(),
        path: path.clone(),
        size,
        sha256: Some(sha256.clone()),
        protocol: shared.protocol_name(),
        client_address: shared.peer.ip().to_string(),
        started,
        status: Status::Landed,
        reason: None,
    })?;
    let receipt = Receipt { id, path, size, sha256 };
    shared.log_landed(&receipt, false);
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
