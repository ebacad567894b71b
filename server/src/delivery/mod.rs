//! The meeting place of who and what: all that a protocol may call. One door per verb.
//! Refuses to know replies and packets; it says [`Refusal`], and each protocol words it in its own codes.
//!
//! | file | holds |
//! |---|---|
//! | `session.rs` | [`Session`]: every verb |
//! | `at_once.rs` | which calls are done on the asking thread |
//! | `begin.rs` | how an upload begins |
//! | `upload.rs` | [`Upload`]: bytes on their way, and their landing |
//! | `copies.rs` | copies on the server |
//! | `deliver.rs` | the rename that ends a client-side temporary name |
//! | `hash.rs` | digests of landed files |
//! | `turns.rs` | whose turn it is where something takes long |
//! | `tree.rs` | removal of a directory with all in it |
//! | `policy.rs` | what is allowed: pure decisions |
//! | `trial.rs` | what the rules say to a file that is not sent |
//! | `quota.rs` | room per user |
//! | `daily.rs` | files per user and day |
//! | `pace.rs` | bandwidth |
//! | `content.rs` | the look at what a file holds before it lands |
//! | `ledger.rs` | intents, receipts, refusals, suspensions |
//! | `query.rs` | questions to it |
//! | `statements.rs` | the SQL of its writes |
//! | `writer.rs` | how they come to share a commit |
//! | `reconcile.rs` | brings ledger and storage to agreement at the start |
//! | `registry.rs` | who is in |

pub mod at_once;
mod begin;
mod content;
mod copies;
mod daily;
mod deliver;
mod digest;
mod hash;
pub mod ledger;
mod pace;
mod policy;
mod query;
mod quota;
mod reconcile;
pub mod refusal;
pub mod registry;
pub mod session;
mod statements;
mod temporary;
#[cfg(test)]
mod tests;
mod tree;
pub mod trial;
mod turns;
pub mod upload;
mod writer;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use landfall_auth::{Protocol, User};
use landfall_storage::{Durability, Store, UploadId, VirtualPath};

use crate::inspect::Pool;

pub use digest::{DIGEST_BESIDE_FROM_BYTES, Piece};
pub use hash::Algorithm;
pub use ledger::Ledger;
pub use pace::Pace;
pub use refusal::{Reason, Refusal};
pub use registry::{Activity, Registry, SessionInfo};
pub use session::{Download, Listing, Names, Session, Step};
pub use temporary::TemporaryNames;
pub use tree::{Cleared, Left};
pub use upload::{Receipt, Upload};

/// How long the ledger remembers what landed under a temporary name and was never renamed; after that, the rename that
/// delivers it reads the file for its digest.
const TEMPORARIES_KEPT: Duration = Duration::from_hours(30 * 24);

/// Rows of the ledger that are removed in one transaction when their time is over, and in one sweep.
const EXPIRE_STEP_ROWS: u32 = 500;
const EXPIRED_ROWS: usize = 1_000_000;

/// The room: opens sessions for users whom `auth::Login` let in.
pub struct Delivery {
    pub(crate) store: Arc<dyn Store>,
    ledger: Ledger,
    registry: Arc<Registry>,
    accounts: quota::Accounts,
    days: daily::Days,
    paces: pace::Paces,
    inspectors: Pool,
    hashing: turns::Turns,
    copying: turns::Turns,
    at_once: at_once::AtOnce,
    /// Held while an upload is suspended.
    suspending: Mutex<()>,
    temporary_names: RwLock<Arc<TemporaryNames>>,
}

impl Delivery {
    /// Over that store and that ledger.
    #[must_use]
    pub fn new(store: Arc<dyn Store>, ledger: Ledger, temporary_names: TemporaryNames) -> Arc<Self> {
        Arc::new(Self {
            store,
            ledger,
            registry: Arc::default(),
            accounts: quota::Accounts::default(),
            days: daily::Days::default(),
            paces: pace::Paces::default(),
            inspectors: Pool::default(),
            hashing: turns::Turns::default(),
            copying: turns::Turns::default(),
            at_once: at_once::AtOnce::new(),
            suspending: Mutex::default(),
            temporary_names: RwLock::new(Arc::new(temporary_names)),
        })
    }

    /// Who is in.
    #[must_use]
    pub fn registry(&self) -> &Arc<Registry> {
        &self.registry
    }

    /// The ledger.
    #[must_use]
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// Other patterns from now on.
    pub fn set_temporary_names(&self, names: TemporaryNames) {
        *self.temporary_names.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(names);
    }

    /// Waits for who is about to say that an upload is suspended: what is posted to the ledger from now on comes after
    /// that row. For who removed, or landed over, what they found suspended.
    fn rows_of_suspended_are_posted(&self) {
        drop(self.suspending.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// Does a landing wait until a device has it?
    fn waits_for_device(&self) -> bool {
        self.store.durability() == Durability::Full || self.ledger.waits_for_device()
    }

    fn temporary_names(&self) -> Arc<TemporaryNames> {
        self.temporary_names.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Opens a session; its home directory is made if missing.
    ///
    /// # Errors
    /// A refusal when the user has as many sessions as allowed ([`Reason::Busy`]) or the storage fails.
    pub async fn open(self: &Arc<Self>, user: User, protocol: Protocol, peer: SocketAddr) -> Result<Session, Refusal> {
        let delivery = self.clone();
        let opened = tokio::task::spawn_blocking(move || {
            let home = VirtualPath::parse(&user.home)?;
            let most = user.effective.max_sessions;
            let enrolment = delivery.registry.enrol(&user.name, most, protocol, peer).map_err(|most| {
                let sentence = format!("this account has {most} sessions open, as many as it may; close one first");
                Refusal::new(Reason::Busy, sentence)
            })?;
            delivery.store.create_dir_all(&home)?;
            let grant = &user.effective;
            let account =
                delivery.accounts.open(&*delivery.store, &user.name, &home, grant.quota_bytes, grant.quota_files)?;
            if grant.max_uploads_per_day.is_none() {
                delivery.days.forget(&user.name);
            }
            let paced = delivery.paces.open(&user.name, grant);
            Ok(Session::new(session::Shared {
                paced,
                delivery,
                user,
                home,
                protocol,
                peer,
                enrolment,
                account,
                landed: Mutex::default(),
            }))
        });
        opened.await.map_err(Refusal::internal)?
    }

    /// Makes directories below a user's home, as far as they are missing.
    ///
    /// # Errors
    /// What the storage says.
    pub async fn prepare_home(self: &Arc<Self>, home: &str, directories: Vec<String>) -> Result<(), Refusal> {
        let (delivery, home) = (self.clone(), VirtualPath::parse(home)?);
        let made = tokio::task::spawn_blocking(move || {
            delivery.store.create_dir_all(&home)?;
            for directory in directories {
                delivery.store.create_dir_all(&VirtualPath::parse(&directory)?.under(&home)?)?;
            }
            Ok(())
        });
        made.await.map_err(Refusal::internal)?
    }

    /// Removes suspended uploads that got no bytes for `time_to_live`, and says so in the ledger; of the ledger, rows that
    /// have not changed for `retention`.
    ///
    /// # Errors
    /// What the storage says.
    pub async fn sweep(self: &Arc<Self>, time_to_live: Duration, retention: Option<Duration>) -> Result<(), Refusal> {
        let delivery = self.clone();
        let swept = tokio::task::spawn_blocking(move || {
            let now = crate::clock::now();
            let before = now.checked_sub(time_to_live).unwrap_or(SystemTime::UNIX_EPOCH);
            for staged in delivery.store.sweep(before)? {
                tracing::info!(user = staged.owner, stored = %staged.path, bytes = staged.size, "suspended upload expired");
                delivery.given_up(&staged.id, "not resumed in time; the bytes that had come were removed");
            }
            delivery.ledger.forget_temporaries(now.checked_sub(TEMPORARIES_KEPT).unwrap_or(SystemTime::UNIX_EPOCH));
            let mut rows = 0;
            if let Some(before) = retention.and_then(|kept| now.checked_sub(kept)) {
                // A little at a time: landings want the same database.
                while rows < EXPIRED_ROWS {
                    let gone = delivery.ledger.expire(before, EXPIRE_STEP_ROWS)?;
                    rows += gone;
                    if gone == 0 {
                        break;
                    }
                }
            }
            if rows > 0 {
                tracing::info!(rows, "rows older than ledger.retention removed");
            }
            Ok(())
        });
        swept.await.map_err(Refusal::internal)?
    }

    /// A suspended upload's bytes are gone.
    fn given_up(&self, id: &UploadId, reason: &str) {
        self.ledger.end(id.as_str(), reason);
    }
}
