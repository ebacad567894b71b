//! How a row of the ledger becomes an event: one statement, which the ledger runs in the transaction that changes the row,
//! and which a replay runs for events that were swept. Knows no sink.

use rusqlite::{Connection, Result, params};

/// What both have in common. The id follows from the row, so that a landing that is settled again is no second event; a
/// suspension, of which one upload can have several, takes the row's number, which every change renews.
macro_rules! event_of_receipt {
    ($into:literal, $select:literal, $from:literal) => {
        concat!(
            "INSERT OR IGNORE INTO events (",
            $into,
            "id, type, user, subject, time, data) SELECT ",
            $select,
            "id || '-' || status || iif(status = 'suspended', '-' || seq, ''), 'landfall.upload.' || status, user, path, ",
            "changed, json_object('receipt', id, 'user', user, 'path', path, 'size', size, 'sha256', sha256, ",
            "'protocol', protocol, 'client_address', client_address, ",
            "'started', strftime('%Y-%m-%dT%H:%M:%fZ', started / 1000.0, 'unixepoch'), ",
            "'landed', strftime('%Y-%m-%dT%H:%M:%fZ', landed / 1000.0, 'unixepoch'), ",
            "'status', status, 'reason', reason, 'same_as', same_as) FROM receipts WHERE ",
            $from
        )
    };
}

const RECORD: &str = event_of_receipt!("", "", "id = ?");

/// Numbers below `?1`, in the order of the ledger: newest last.
pub(super) const REBUILD: &str = event_of_receipt!(
    "seq, ",
    "?1 - row_number() OVER (ORDER BY receipts.seq DESC), ",
    "status IN ('landed', 'refused') AND changed >= ?2 AND (?3 IS NULL OR user = ?3) \
     AND NOT EXISTS (SELECT 1 FROM events WHERE events.id = receipts.id || '-' || receipts.status)"
);

/// Writes the event that tells the receipt's row as it stands now, as part of the caller's transaction.
///
/// # Errors
/// What the database says.
pub(crate) fn record(connection: &Connection, receipt: &str) -> Result<()> {
    connection.prepare_cached(RECORD)?.execute(params![receipt]).map(drop)
}
