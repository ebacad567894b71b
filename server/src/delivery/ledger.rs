//! The ledger: intents before a landing, receipts after it, refusals and suspensions. Knows rows, not rules, and no file;
//! how writes come to share a commit is the writer's.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use landfall_auth::{Database, Sync};
use serde::Serialize;
use sqlx::Row;
use sqlx::migrate::Migrator;
use tokio::sync::Notify;

pub use super::query::{Filter, QUERY_ROWS, Record, query};
use super::refusal::{Reason, Refusal};
use super::writer::{Pending, Writer};

/// The ledger's tables; versions 1001 and up, since `auth` keeps its own in the same database.
pub static MIGRATIONS: Migrator = sqlx::migrate!("./migrations");

/// How an upload ended, or that it has not yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Visible, durable, accounted for.
    Landed,
    /// Denied by a rule.
    Refused,
    /// Cut off and kept.
    Suspended,
}

impl Status {
    /// The word in the database and on every surface.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Landed => "landed",
            Self::Refused => "refused",
            Self::Suspended => "suspended",
        }
    }
}

/// A row to write. `id` is the upload's; an earlier row of the same upload is replaced and its start kept.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) id: String,
    pub(super) user: String,
    pub(super) path: String,
    pub(super) size: u64,
    pub(super) sha256: Option<String>,
    pub(super) protocol: &'static str,
    pub(super) client_address: String,
    pub(super) started: SystemTime,
    pub(super) status: Status,
    pub(super) reason: Option<String>,
    /// Of the file that landed, where its digest is to be found again by it.
    pub(super) identity: Option<String>,
}

/// What is about to become visible.
#[derive(Debug, Clone)]
pub(super) struct Intent {
    pub(super) id: String,
    pub(super) user: String,
    pub(super) path: String,
    pub(super) store_path: String,
    pub(super) size: u64,
    pub(super) sha256: String,
    pub(super) protocol: String,
    pub(super) client_address: String,
    pub(super) started: SystemTime,
}

/// Suspended uploads whose name has landed since: all of that user and path but for the upload `kept`.
#[derive(Debug, Clone)]
pub(super) struct Superseded {
    pub(super) user: String,
    pub(super) path: String,
    pub(super) kept: Option<String>,
}

/// What is known of an upload that was cut off by the server's own end.
#[derive(Debug, Clone)]
pub(super) struct UnderWay {
    pub(super) protocol: String,
    pub(super) client_address: String,
    pub(super) started: SystemTime,
}

/// A file that landed under a temporary name.
#[derive(Debug, Clone)]
pub(super) struct Temporary {
    pub(super) store_path: String,
    pub(super) id: String,
    pub(super) size: u64,
    pub(super) inode: u64,
    pub(super) sha256: String,
    pub(super) started: SystemTime,
}

pub(super) enum Write {
    Intend(Intent),
    Settle(Entry, Option<Superseded>),
    SettleTemporary(Temporary, Option<Superseded>),
    Note(Entry),
    Withdraw(String),
    End { id: String, reason: String },
    Holds { id: String, size: u64 },
    Remove(String),
    UnderWay(Entry),
    Forget(SystemTime),
}

impl Write {
    /// Does it bring an event with it?
    pub(super) fn is_an_event(&self) -> bool {
        matches!(self, Self::Settle(..) | Self::Note(_) | Self::End { .. })
    }

    /// True if the name is visible already: the row is owed to it, whatever becomes of the request.
    pub(super) fn tells_what_is_visible(&self) -> bool {
        matches!(self, Self::Settle(..) | Self::SettleTemporary(..))
    }

    /// True if `older`, written after this, would bring back what is no more.
    pub(super) fn outdates(&self, older: &Self) -> bool {
        let superseded = match (self, older) {
            (Self::Settle(_, Some(by)) | Self::SettleTemporary(_, Some(by)), Self::Note(entry)) => {
                entry.status == Status::Suspended && entry.user == by.user && entry.path == by.path
            }
            _ => false,
        };
        superseded || self.id().is_some_and(|id| older.id() == Some(id))
    }

    fn id(&self) -> Option<&str> {
        match self {
            Self::Intend(intent) => Some(&intent.id),
            Self::Settle(entry, _) | Self::Note(entry) | Self::UnderWay(entry) => Some(&entry.id),
            Self::SettleTemporary(temporary, _) => Some(&temporary.id),
            Self::Withdraw(id) | Self::Remove(id) | Self::End { id, .. } | Self::Holds { id, .. } => Some(id),
            Self::Forget(_) => None,
        }
    }
}

/// The ledger. Cheap to clone.
#[derive(Clone)]
pub struct Ledger {
    writer: Writer,
    database: Database,
}

impl Ledger {
    /// On a database whose migrations have run.
    #[must_use]
    pub fn start(database: Database) -> Self {
        Self { writer: Writer::start(database.clone()), database }
    }

    /// Does a commit wait until the device has it?
    pub(super) fn waits_for_device(&self) -> bool {
        self.database.sync() == Sync::Full
    }

    /// Resolves when the database answers a query.
    ///
    /// # Errors
    /// What the database says.
    pub async fn ping(&self) -> Result<(), sqlx::Error> {
        sqlx::query("SELECT 1 FROM receipts LIMIT 1").fetch_optional(self.database.pool()).await.map(drop)
    }

    /// Told when there are new events.
    #[must_use]
    pub fn news(&self) -> Arc<Notify> {
        self.writer.news()
    }

    /// Resolves when everything that waits has been written.
    pub async fn flush(&self) {
        let writer = self.writer.clone();
        tokio::task::spawn_blocking(move || writer.flush()).await.ok();
    }

    /// Begins to write an intent; the name may become visible once it is committed.
    pub(super) fn intend(&self, intent: Intent) -> Pending {
        self.writer.begin_beside(Write::Intend(intent))
    }

    /// Writes a receipt and takes its intent back, in one transaction. Blocks.
    pub(super) fn settle(&self, entry: Entry, superseded: Option<Superseded>) -> Result<(), Refusal> {
        self.writer.begin(Write::Settle(entry, superseded)).wait().map_err(|refusal| owed(&refusal))
    }

    /// The same for a file that landed under a temporary name: no receipt yet.
    pub(super) fn settle_temporary(&self, temporary: Temporary, superseded: Option<Superseded>) -> Result<(), Refusal> {
        self.writer.begin(Write::SettleTemporary(temporary, superseded)).wait().map_err(|refusal| owed(&refusal))
    }

    /// Takes an intent back: nothing became visible.
    pub(super) fn withdraw(&self, id: &str) {
        self.writer.post(Write::Withdraw(id.to_owned()));
    }

    /// Notes a refusal or a suspension without waiting: both are told by the staged bytes or the log as well.
    pub(super) fn note(&self, entry: Entry) {
        self.writer.post(Write::Note(entry));
    }

    /// Turns the row of a suspended upload whose bytes are gone into a refusal with that reason.
    pub(super) fn end(&self, id: &str, reason: &str) {
        self.writer.post(Write::End { id: id.to_owned(), reason: reason.to_owned() });
    }

    /// Corrects the size in the row of a suspended upload.
    pub(super) fn holds(&self, id: &str, size: u64) {
        self.writer.post(Write::Holds { id: id.to_owned(), size });
    }

    /// Removes the row of a suspended upload that its owner gave up.
    pub(super) fn forget(&self, id: &str) {
        self.writer.post(Write::Remove(id.to_owned()));
    }

    /// Notes an upload that takes its time, so that its row is complete should the server be killed.
    pub(super) fn under_way(&self, entry: Entry) {
        self.writer.post(Write::UnderWay(entry));
    }

    /// What is noted of uploads that were under way when the server was killed, by their identity.
    pub(super) async fn were_under_way(&self) -> Result<HashMap<String, UnderWay>, sqlx::Error> {
        let rows = sqlx::query("SELECT id, protocol, client_address, started FROM under_way")
            .fetch_all(self.database.pool())
            .await?;
        rows.iter()
            .map(|row| {
                let noted = UnderWay {
                    protocol: row.try_get(1)?,
                    client_address: row.try_get(2)?,
                    started: from_millis(row.try_get(3)?),
                };
                Ok((row.try_get(0)?, noted))
            })
            .collect()
    }

    /// Forgets files under temporary names that began before `time`.
    pub(super) fn forget_temporaries(&self, time: SystemTime) {
        self.writer.post(Write::Forget(time));
    }

    /// The row of a file that landed under a temporary name, if that very file still stands there.
    pub(super) async fn temporary(&self, store_path: &str) -> Result<Option<Temporary>, sqlx::Error> {
        let row = sqlx::query("SELECT id, size, inode, sha256, started FROM temporaries WHERE store_path = ?")
            .bind(store_path)
            .fetch_optional(self.database.pool())
            .await?;
        row.map(|row| {
            Ok(Temporary {
                store_path: store_path.to_owned(),
                id: row.try_get(0)?,
                size: unsigned(row.try_get(1)?),
                inode: row.try_get::<i64, _>(2)?.cast_unsigned(),
                sha256: row.try_get(3)?,
                started: from_millis(row.try_get(4)?),
            })
        })
        .transpose()
    }

    /// How many files of that user have landed since `time`. Blocks.
    pub(super) fn landed_since(&self, user: &str, time: SystemTime) -> Result<u64, Refusal> {
        // The first row of that time is found by its own index, the user's rows behind it by theirs.
        const COUNT: &str = "SELECT count(*) FROM receipts WHERE user = ?1 AND status = 'landed' AND landed >= ?2 \
             AND seq >= coalesce((SELECT seq FROM receipts WHERE changed >= ?2 ORDER BY changed LIMIT 1), 0)";
        let count = || -> Result<i64, landfall_auth::Error> {
            let connection = self.database.writer()?;
            let count = connection.prepare_cached(COUNT)?.query_row((user, millis(time)), |row| row.get(0))?;
            connection.keep();
            Ok(count)
        };
        count().map(unsigned).map_err(Refusal::internal)
    }

    /// Removes rows that have not changed since `time`, but for what is suspended: so many at most. Says how many. Blocks.
    pub(super) fn expire(&self, time: SystemTime, rows: u32) -> Result<usize, Refusal> {
        const EXPIRE: &str = "DELETE FROM receipts WHERE seq IN \
             (SELECT seq FROM receipts WHERE changed < ?1 AND status <> 'suspended' ORDER BY changed LIMIT ?2)";
        let expire = || -> Result<usize, landfall_auth::Error> {
            let connection = self.database.writer()?;
            let gone = connection.prepare_cached(EXPIRE)?.execute((millis(time), rows))?;
            connection.keep();
            Ok(gone)
        };
        expire().map_err(Refusal::internal)
    }

    /// The SHA-256 in a receipt of that user for that path and for the file of that identity.
    pub(super) async fn digest_of(
        &self,
        user: &str,
        path: &str,
        identity: &str,
    ) -> Result<Option<String>, sqlx::Error> {
        sqlx::query_scalar("SELECT sha256 FROM receipts WHERE user = ? AND path = ? AND identity = ? LIMIT 1")
            .bind(user)
            .bind(path)
            .bind(identity)
            .fetch_optional(self.database.pool())
            .await
    }

    /// Intents that a crash left.
    pub(super) async fn intents(&self) -> Result<Vec<Intent>, sqlx::Error> {
        let rows = sqlx::query(
            "SELECT id, user, path, store_path, size, sha256, protocol, client_address, started FROM intents",
        )
        .fetch_all(self.database.pool())
        .await?;
        rows.iter()
            .map(|row| {
                Ok(Intent {
                    id: row.try_get(0)?,
                    user: row.try_get(1)?,
                    path: row.try_get(2)?,
                    store_path: row.try_get(3)?,
                    size: unsigned(row.try_get(4)?),
                    sha256: row.try_get(5)?,
                    protocol: row.try_get(6)?,
                    client_address: row.try_get(7)?,
                    started: from_millis(row.try_get(8)?),
                })
            })
            .collect()
    }

    /// True if a file of that user has landed under that path at that time or later.
    pub(super) async fn has_landed_since(&self, user: &str, path: &str, time: SystemTime) -> Result<bool, sqlx::Error> {
        let found: Option<i64> = sqlx::query_scalar(
            "SELECT seq FROM receipts INDEXED BY receipts_by_changed \
             WHERE changed >= ?1 AND landed >= ?1 AND user = ?2 AND path = ?3 LIMIT 1",
        )
        .bind(millis(time))
        .bind(user)
        .bind(path)
        .fetch_optional(self.database.pool())
        .await?;
        Ok(found.is_some())
    }

    /// Uploads that the ledger calls suspended: identity, and bytes held by its account.
    pub(super) async fn suspended_sizes(&self) -> Result<HashMap<String, u64>, sqlx::Error> {
        let rows = sqlx::query("SELECT id, size FROM receipts WHERE status = 'suspended'")
            .fetch_all(self.database.pool())
            .await?;
        rows.iter().map(|row| Ok((row.try_get(0)?, unsigned(row.try_get(1)?)))).collect()
    }
}

/// What a client is told whose file is visible and whose receipt is owed.
fn owed(refusal: &Refusal) -> Refusal {
    let sentence = match refusal.reason {
        Reason::NoSpace => "no space left for the receipt; the file is there, and its receipt follows",
        _ => "the receipt could not be written; the file is there, and its receipt follows",
    };
    Refusal::new(refusal.reason, sentence)
}

pub(super) fn millis(time: SystemTime) -> i64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

fn from_millis(millis: i64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_millis(unsigned(millis))
}

/// SQLite's integers are signed; no size that a disk can hold is lost.
pub(super) fn signed(size: u64) -> i64 {
    i64::try_from(size).unwrap_or(i64::MAX)
}

pub(super) fn unsigned(size: i64) -> u64 {
    u64::try_from(size).unwrap_or(0)
}
