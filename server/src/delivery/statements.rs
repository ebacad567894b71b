//! The SQL of the ledger's writes, with their values. Knows no transaction and no queue.

use rusqlite::{Connection, Params, Result, params};

use super::ledger::{Entry, Status, Superseded, Write, millis, signed};
use super::query::content_key;
use crate::outbox::record;

const INTEND: &str = "INSERT OR REPLACE INTO intents VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)";
const WITHDRAW: &str = "DELETE FROM intents WHERE id = ?";
const REMOVE: &str = "DELETE FROM receipts WHERE id = ?";
const REMOVE_SUSPENDED: &str = "DELETE FROM receipts WHERE id = ? AND status = 'suspended'";
const BEGIN_UNDER_WAY: &str = "INSERT OR REPLACE INTO under_way VALUES (?, ?, ?, ?)";
const END_UNDER_WAY: &str = "DELETE FROM under_way WHERE id = ?";
const KEEP_TEMPORARY: &str = "INSERT OR REPLACE INTO temporaries VALUES (?, ?, ?, ?, ?, ?)";
const END_TEMPORARY: &str = "DELETE FROM temporaries WHERE id = ?";
const FORGET_TEMPORARIES: &str = "DELETE FROM temporaries WHERE started < ?";
/// An earlier row of the same upload keeps its start; the new one gets a new `seq`, so that followers see it.
const ENTER: &str = "INSERT OR REPLACE INTO receipts \
     (id, user, path, size, sha256, protocol, client_address, landed, changed, status, reason, identity, started, \
     content, same_as) \
     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, \
     COALESCE((SELECT started FROM receipts WHERE id = ?1), ?13), ?14, \
     (SELECT path FROM receipts WHERE content = ?14 AND sha256 = ?5 AND user = ?2 AND id <> ?1 \
     ORDER BY seq DESC LIMIT 1))";
/// With the status in so many words, so that the index of suspended rows serves it.
const SUPERSEDE: &str = "DELETE FROM receipts WHERE user = ? AND path = ? AND status = 'suspended' AND id IS NOT ?";
const END: &str = "INSERT OR REPLACE INTO receipts \
     (id, user, path, size, protocol, client_address, changed, status, reason, started) \
     SELECT id, user, path, size, protocol, client_address, ?, 'refused', ?, started \
     FROM receipts WHERE id = ? AND status = 'suspended'";
const HOLDS: &str = "INSERT OR REPLACE INTO receipts \
     (id, user, path, size, protocol, client_address, changed, status, reason, started) \
     SELECT id, user, path, ?, protocol, client_address, ?, status, reason, started \
     FROM receipts WHERE id = ? AND status = 'suspended'";

/// Carries out one write, as part of the caller's transaction.
pub(super) fn carry_out(connection: &Connection, write: &Write) -> Result<()> {
    let run = |sql, values: &[&dyn rusqlite::ToSql]| run(connection, sql, values);
    match write {
        Write::Intend(intent) => run(
            INTEND,
            params![
                intent.id,
                intent.user,
                intent.path,
                intent.store_path,
                signed(intent.size),
                intent.sha256,
                intent.protocol,
                intent.client_address,
                millis(intent.started)
            ],
        ),
        Write::Settle(entry, superseded) => {
            run(END_UNDER_WAY, params![entry.id])?;
            enter(connection, entry)?;
            run(WITHDRAW, params![entry.id])?;
            supersede(connection, superseded.as_ref())?;
            run(END_TEMPORARY, params![entry.id])
        }
        Write::SettleTemporary(temporary, superseded) => {
            run(
                KEEP_TEMPORARY,
                params![
                    temporary.store_path,
                    temporary.id,
                    signed(temporary.size),
                    temporary.inode.cast_signed(),
                    temporary.sha256,
                    millis(temporary.started)
                ],
            )?;
            // A resumed upload may have a row that calls it suspended; its bytes stand under the temporary name now.
            run(REMOVE, params![temporary.id])?;
            run(END_UNDER_WAY, params![temporary.id])?;
            run(WITHDRAW, params![temporary.id])?;
            supersede(connection, superseded.as_ref())
        }
        Write::Note(entry) => {
            run(END_UNDER_WAY, params![entry.id])?;
            enter(connection, entry)
        }
        Write::Withdraw(id) => run(WITHDRAW, params![id]),
        Write::Remove(id) => run(REMOVE_SUSPENDED, params![id]),
        Write::UnderWay(entry) => {
            run(BEGIN_UNDER_WAY, params![entry.id, entry.protocol, entry.client_address, millis(entry.started)])
        }
        Write::End { id, reason } => {
            let ended = connection.prepare_cached(END)?.execute(params![millis(crate::clock::now()), reason, id])?;
            if ended > 0 { record(connection, id) } else { Ok(()) }
        }
        Write::Holds { id, size } => {
            run(END_UNDER_WAY, params![id])?;
            run(HOLDS, params![signed(*size), millis(crate::clock::now()), id])?;
            record(connection, id)
        }
        Write::Forget(time) => run(FORGET_TEMPORARIES, params![millis(*time)]),
    }
}

/// Prepared once for each connection.
pub(super) fn run(connection: &Connection, sql: &'static str, values: impl Params) -> Result<()> {
    connection.prepare_cached(sql)?.execute(values).map(drop)
}

/// A row, and the event that tells it.
fn enter(connection: &Connection, entry: &Entry) -> Result<()> {
    let now = millis(crate::clock::now());
    run(
        connection,
        ENTER,
        params![
            entry.id,
            entry.user,
            entry.path,
            signed(entry.size),
            entry.sha256,
            entry.protocol,
            entry.client_address,
            (entry.status == Status::Landed).then_some(now),
            now,
            entry.status.as_str(),
            entry.reason,
            entry.identity,
            millis(entry.started),
            // Only what has landed is found by its content.
            entry.sha256.as_deref().filter(|_| entry.status == Status::Landed).and_then(content_key)
        ],
    )?;
    record(connection, &entry.id)
}

fn supersede(connection: &Connection, superseded: Option<&Superseded>) -> Result<()> {
    let Some(Superseded { user, path, kept }) = superseded else { return Ok(()) };
    run(connection, SUPERSEDE, params![user, path, kept])
}
