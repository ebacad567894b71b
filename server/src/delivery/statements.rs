//! The SQL of the ledger's writes, with their values. Knows no connection and no queue.

use sqlx::Sqlite;
use sqlx::query::Query;
use sqlx::sqlite::SqliteArguments;

use super::ledger::{Entry, Status, Superseded, Write, millis, signed};

/// The statements of one write: by themselves a whole transaction, or part of one. However many they are, they go to the
/// database's thread in one trip, since a trip costs two task switches, and there are two writes to every landing.
pub(super) struct Statements {
    pub(super) alone: &'static str,
    pub(super) among: &'static str,
}

macro_rules! statements {
    ($($sql:literal),+) => {
        Statements {
            alone: concat!("BEGIN IMMEDIATE; ", $($sql, "; "),+, "COMMIT"),
            among: concat!($($sql, "; "),+),
        }
    };
}

const INTEND: Statements = statements!("INSERT OR REPLACE INTO intents VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)");
const WITHDRAW: Statements = statements!("DELETE FROM intents WHERE id = ?");
const REMOVE: Statements = statements!("DELETE FROM receipts WHERE id = ? AND status = 'suspended'");
const UNDER_WAY: Statements = statements!("INSERT OR REPLACE INTO under_way VALUES (?, ?, ?, ?)");
const FORGET: Statements = statements!("DELETE FROM temporaries WHERE started < ?");
/// An earlier row of the same upload keeps its start; the new one gets a new `seq`, so that followers see it.
const NOTE: Statements = statements!(
    "DELETE FROM under_way WHERE id = ?",
    "INSERT OR REPLACE INTO receipts \
     (id, user, path, size, sha256, protocol, client_address, landed, changed, status, reason, identity, started) \
     VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, COALESCE((SELECT started FROM receipts WHERE id = ?), ?))"
);
/// With the status in so many words, so that the index of suspended rows serves it.
const SETTLE: Statements = statements!(
    "DELETE FROM under_way WHERE id = ?",
    "INSERT OR REPLACE INTO receipts \
     (id, user, path, size, sha256, protocol, client_address, landed, changed, status, reason, identity, started) \
     VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, COALESCE((SELECT started FROM receipts WHERE id = ?), ?))",
    "DELETE FROM intents WHERE id = ?",
    "DELETE FROM receipts WHERE user = ? AND path = ? AND status = 'suspended' AND id IS NOT ?",
    "DELETE FROM temporaries WHERE id = ?"
);
/// A resumed upload may have a row that calls it suspended; its bytes stand under the temporary name now.
const SETTLE_TEMPORARY: Statements = statements!(
    "INSERT OR REPLACE INTO temporaries VALUES (?, ?, ?, ?, ?, ?)",
    "DELETE FROM receipts WHERE id = ?",
    "DELETE FROM under_way WHERE id = ?",
    "DELETE FROM intents WHERE id = ?",
    "DELETE FROM receipts WHERE user = ? AND path = ? AND status = 'suspended' AND id IS NOT ?"
);
const END: Statements = statements!(
    "INSERT OR REPLACE INTO receipts \
     (id, user, path, size, protocol, client_address, changed, status, reason, started) \
     SELECT id, user, path, size, protocol, client_address, ?, 'refused', ?, started \
     FROM receipts WHERE id = ? AND status = 'suspended'"
);

pub(super) type Bound<'a> = Query<'a, Sqlite, SqliteArguments>;

/// A write's statements with their values, in the order of the question marks.
pub(super) fn bound(write: &Write, form: fn(&Statements) -> &'static str) -> Bound<'_> {
    let query = |statements: &Statements| sqlx::query(form(statements));
    match write {
        Write::Intend(intent) => query(&INTEND)
            .bind(&intent.id)
            .bind(&intent.user)
            .bind(&intent.path)
            .bind(&intent.store_path)
            .bind(signed(intent.size))
            .bind(&intent.sha256)
            .bind(&intent.protocol)
            .bind(&intent.client_address)
            .bind(millis(intent.started)),
        Write::Settle(entry, superseded) => {
            let settled = bind_entry(query(&SETTLE), entry).bind(&entry.id);
            bind_superseded(settled, superseded.as_ref()).bind(&entry.id)
        }
        Write::SettleTemporary(temporary, superseded) => {
            let settled = query(&SETTLE_TEMPORARY)
                .bind(&temporary.store_path)
                .bind(&temporary.id)
                .bind(signed(temporary.size))
                .bind(temporary.inode.cast_signed())
                .bind(&temporary.sha256)
                .bind(millis(temporary.started))
                .bind(&temporary.id)
                .bind(&temporary.id)
                .bind(&temporary.id);
            bind_superseded(settled, superseded.as_ref())
        }
        Write::Note(entry) => bind_entry(query(&NOTE), entry),
        Write::Withdraw(id) => query(&WITHDRAW).bind(id),
        Write::Remove(id) => query(&REMOVE).bind(id),
        Write::UnderWay(entry) => query(&UNDER_WAY)
            .bind(&entry.id)
            .bind(entry.protocol)
            .bind(&entry.client_address)
            .bind(millis(entry.started)),
        Write::End { id, reason } => query(&END).bind(millis(crate::clock::now())).bind(reason).bind(id),
        Write::Forget(time) => query(&FORGET).bind(millis(*time)),
    }
}

fn bind_entry<'a>(query: Bound<'a>, entry: &'a Entry) -> Bound<'a> {
    let now = millis(crate::clock::now());
    query
        .bind(&entry.id)
        .bind(&entry.id)
        .bind(&entry.user)
        .bind(&entry.path)
        .bind(signed(entry.size))
        .bind(entry.sha256.as_deref())
        .bind(entry.protocol)
        .bind(&entry.client_address)
        .bind((entry.status == Status::Landed).then_some(now))
        .bind(now)
        .bind(entry.status.as_str())
        .bind(entry.reason.as_deref())
        .bind(entry.identity.as_deref())
        .bind(&entry.id)
        .bind(millis(entry.started))
}

/// Nothing superseded: nobody's user name is null.
fn bind_superseded<'a>(query: Bound<'a>, superseded: Option<&'a Superseded>) -> Bound<'a> {
    query
        .bind(superseded.map(|superseded| superseded.user.as_str()))
        .bind(superseded.map(|superseded| superseded.path.as_str()))
        .bind(superseded.and_then(|superseded| superseded.kept.as_deref()))
}
