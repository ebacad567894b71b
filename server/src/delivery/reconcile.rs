//! Brings ledger and storage to agreement after a crash at any instant: every intent is settled or taken back, and the
//! ledger's suspended uploads are those that are staged. Runs before the first connection is accepted.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use landfall_storage::{Kind, Suspended, VirtualPath};

use super::Delivery;
use super::digest::RunningDigest;
use super::ledger::{Entry, Intent, Status, Temporary, UnderWay};
use super::refusal::{Reason, Refusal};

/// Stands in rows whose connection nobody remembers.
const UNKNOWN: &str = "unknown";

impl Delivery {
    /// Reconciles; must end before anything is accepted. `homes` tells each user's home directory.
    ///
    /// # Errors
    /// What database or storage say: the server must not start on a ledger that it cannot trust.
    pub async fn reconcile(self: &Arc<Self>, homes: HashMap<String, String>) -> Result<(), Refusal> {
        let intents = self.ledger.intents().await.map_err(Refusal::internal)?;
        let suspended = self.ledger.suspended_sizes().await.map_err(Refusal::internal)?;
        let under_way = self.ledger.were_under_way().await.map_err(Refusal::internal)?;
        let (delivery, runtime) = (self.clone(), tokio::runtime::Handle::current());
        let reconciled = tokio::task::spawn_blocking(move || {
            let staged = delivery.store.all_staged();
            let ids: HashSet<&str> = staged.iter().map(|staged| staged.id.as_str()).collect();
            for intent in intents {
                match delivery.settle_intent(&intent, ids.contains(intent.id.as_str())) {
                    // The ledger owes the row, and the intent stays until it is written.
                    Err(refusal) if refusal.reason == Reason::NoSpace => {}
                    settled => settled?,
                }
            }
            for id in suspended.keys().filter(|id| !ids.contains(id.as_str())) {
                delivery.ledger.end(id, "the bytes that had come are gone from staging");
            }
            for staged in &staged {
                if let Some(size) = suspended.get(staged.id.as_str()) {
                    // Resumed, and cut off again by the server's end; or a power cut has taken the last of it.
                    if *size != staged.size {
                        delivery.ledger.holds(staged.id.as_str(), staged.size);
                    }
                    continue;
                }
                let entry = suspension(staged, homes.get(&staged.owner), under_way.get(staged.id.as_str()));
                let landed = delivery.ledger.has_landed_since(&entry.user, &entry.path, staged.modified);
                if runtime.block_on(landed).map_err(Refusal::internal)? {
                    // Outdated by that landing, and only its removal had failed.
                    delivery.store.discard_staged(&staged.owner, &staged.path)?;
                    continue;
                }
                tracing::warn!(
                    user = entry.user,
                    path = entry.path,
                    bytes = entry.size,
                    "suspended by the server's last end"
                );
                delivery.ledger.note(entry);
            }
            Ok(())
        });
        reconciled.await.map_err(Refusal::internal)?
    }

    /// An intent without a receipt: either the rename did not happen, or its receipt is missing.
    fn settle_intent(&self, intent: &Intent, still_staged: bool) -> Result<(), Refusal> {
        let landed = if still_staged { None } else { self.landed(intent)? };
        let Some(inode) = landed else {
            self.ledger.withdraw(&intent.id);
            return Ok(());
        };
        tracing::warn!(
            user = intent.user,
            path = intent.path,
            id = intent.id,
            "landed before a crash; receipt written now"
        );
        let name = intent.store_path.rsplit('/').next().unwrap_or_default();
        if self.temporary_names().matches(name) {
            let temporary = Temporary {
                store_path: intent.store_path.clone(),
                id: intent.id.clone(),
                size: intent.size,
                inode,
                sha256: intent.sha256.clone(),
                started: intent.started,
            };
            return self.ledger.settle_temporary(temporary, None);
        }
        let entry = Entry {
            id: intent.id.clone(),
            user: intent.user.clone(),
            path: intent.path.clone(),
            size: intent.size,
            sha256: Some(intent.sha256.clone()),
            protocol: protocol(&intent.protocol),
            client_address: intent.client_address.clone(),
            started: intent.started,
            status: Status::Landed,
            reason: None,
            identity: None,
        };
        // What is suspended is compared with what is staged next.
        self.ledger.settle(entry, None)
    }

    /// The inode of the file that the intent speaks of, if it is that file: an older one of the same name and length may
    /// stand there, so the digest decides.
    fn landed(&self, intent: &Intent) -> Result<Option<u64>, Refusal> {
        let path = VirtualPath::parse(&intent.store_path)?;
        let Ok(stat) = self.store.stat(&path) else { return Ok(None) };
        if stat.kind != Kind::File || stat.size != intent.size {
            return Ok(None);
        }
        let file = self.store.open(&path)?;
        let sha256 = RunningDigest::new().finish(file.size(), |at, buffer| Ok(file.read_at(at, buffer)?))?;
        Ok((sha256 == intent.sha256).then_some(stat.inode))
    }
}

fn suspension(staged: &Suspended, home: Option<&String>, noted: Option<&UnderWay>) -> Entry {
    let home = home.and_then(|home| VirtualPath::parse(home).ok());
    let path = home.and_then(|home| staged.path.within(&home)).unwrap_or_else(|| staged.path.clone());
    Entry {
        id: staged.id.as_str().to_owned(),
        user: staged.owner.clone(),
        path: path.to_string(),
        size: staged.size,
        sha256: None,
        protocol: noted.map_or(UNKNOWN, |noted| protocol(&noted.protocol)),
        client_address: noted.map_or_else(|| UNKNOWN.to_owned(), |noted| noted.client_address.clone()),
        started: noted.map_or_else(crate::clock::now, |noted| noted.started),
        status: Status::Suspended,
        reason: Some("the server stopped before the transfer's end; it can be resumed".to_owned()),
        identity: None,
    }
}

/// The same word, from those that the ledger is written with.
fn protocol(name: &str) -> &'static str {
    ["ftp", "ftps", "sftp"].into_iter().find(|known| *known == name).unwrap_or(UNKNOWN)
}
