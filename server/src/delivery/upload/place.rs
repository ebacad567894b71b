//! Under which name an upload lands: the very one, or the next free version of it; with an intent in the ledger before any
//! name is visible.

use landfall_storage::{self as storage, Error, Replace, VirtualPath};

use super::super::ledger::Intent;
use super::super::policy::{self, Placement};
use super::super::refusal::{Reason, Refusal};
use super::super::writer::Pending;
use super::{Landing, Upload};

/// Names tried where versions are kept, before giving up.
const MAX_VERSIONS: u32 = 10_000;

impl Upload {
    /// Publishes under the name that `placement` says, with its intent in the ledger before the name is visible.
    pub(super) fn place(
        &self,
        staged: &mut dyn storage::Upload,
        placement: Placement,
        sha256: &str,
        still_wanted: &mut dyn FnMut() -> bool,
    ) -> Result<(storage::Stat, VirtualPath), (Refusal, bool)> {
        let ledger = &self.session.delivery.ledger;
        let (replace, names) = match placement {
            Placement::Exact(replace) => (replace, 1),
            Placement::Versioned => (Replace::No, MAX_VERSIONS),
        };
        let mut outcome = Err(Error::AlreadyExists);
        let mut store_path = self.store_path.clone();
        for number in 1..=names {
            if number > 1 {
                match version_path(&self.store_path, number) {
                    Some(path) => store_path = path,
                    None => break,
                }
                // Most versions exist already when there are many: ask before paying for an intent.
                if self.session.delivery.store.stat(&store_path).is_ok() {
                    continue;
                }
            }
            let intent = self.intent(staged, &store_path, sha256);
            // The intent's commit and the file's sync wait for the disk side by side.
            let mut pending: Option<Pending> = Some(ledger.intend(intent));
            outcome = staged.publish(&store_path, replace, &mut |_| {
                if let Some(pending) = pending.take() {
                    pending.wait()?;
                }
                if still_wanted() { Ok(()) } else { Err(Unwanted.into()) }
            });
            match &outcome {
                Err(Error::AlreadyExists) => ledger.withdraw(staged.id().as_str()),
                _ => break,
            }
        }
        match outcome {
            Ok(stat) => Ok((stat, store_path)),
            Err(Error::AlreadyExists) => {
                let sentence = if self.landing == Landing::New {
                    "a file of that name landed meanwhile, and this one was to be new; use another name"
                } else {
                    "a file of that name landed meanwhile, and files are not replaced here; use another name"
                };
                Err((Refusal::new(Reason::AlreadyExists, sentence), true))
            }
            Err(error) => {
                // Once renamed, the name may be visible though its directory could not be synced: then the intent stays,
                // and the next start decides. Until then nothing is acknowledged.
                let staged_still =
                    self.session.delivery.store.all_staged().iter().any(|other| other.id == *staged.id());
                if staged_still {
                    ledger.withdraw(staged.id().as_str());
                }
                let refusal = match error {
                    Error::CalledOff(cause) if cause.is::<Unwanted>() => {
                        Refusal::new(Reason::Incomplete, Unwanted.to_string())
                    }
                    error => error.into(),
                };
                Err((refusal, staged_still))
            }
        }
    }

    fn intent(&self, staged: &dyn storage::Upload, store_path: &VirtualPath, sha256: &str) -> Intent {
        let session = &self.session;
        Intent {
            id: staged.id().as_str().to_owned(),
            user: session.user.name.clone(),
            path: store_path.within(&session.home).unwrap_or_else(|| self.path.clone()).to_string(),
            store_path: store_path.to_string(),
            size: staged.size(),
            sha256: sha256.to_owned(),
            protocol: session.protocol_name().to_owned(),
            client_address: session.peer.ip().to_string(),
            started: self.started,
        }
    }
}

/// [`Upload::finish_if`] was told no.
#[derive(Debug, thiserror::Error)]
#[error("the upload was called off before it landed")]
struct Unwanted;

/// The `number`th name beside `path`.
pub(in super::super) fn version_path(path: &VirtualPath, number: u32) -> Option<VirtualPath> {
    let name = policy::version_name(path.file_name()?, number)?;
    path.parent()?.resolve(&name).ok()
}
