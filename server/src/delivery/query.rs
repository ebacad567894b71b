//! Questions to the ledger: which rows, and how they are shown. Writes nothing.

use std::time::SystemTime;

use serde::Serialize;
use sqlx::sqlite::{SqlitePool, SqliteRow};
use sqlx::{QueryBuilder, Row, Sqlite};

use super::ledger::{Status, millis, unsigned};

/// Rows that one query returns at most, unless it asks for fewer.
pub const QUERY_ROWS: u32 = 10_000;

/// Which rows to show.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Of this user only.
    pub user: Option<String>,
    /// Of this status only.
    pub status: Option<Status>,
    /// Changed at that time or later.
    pub since: Option<SystemTime>,
    /// Changed before that time.
    pub until: Option<SystemTime>,
    /// Of paths like this: `*` and `?` stand for any characters and for one.
    pub path: Option<String>,
    /// Of this content: the SHA-256 in lowercase hexadecimal digits.
    pub sha256: Option<String>,
    /// Written after the row of this number.
    pub after: Option<i64>,
    /// The newest so many; [`QUERY_ROWS`] when `None`.
    pub limit: Option<u32>,
}

/// A row as people and programs see it. Times are RFC 3339 in UTC.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Record {
    /// Grows with every change; what [`Filter::after`] takes.
    pub seq: i64,
    /// Identity of the upload.
    pub id: String,
    /// Its user.
    pub user: String,
    /// Its name as its user sees it.
    pub path: String,
    /// Bytes held.
    pub size: u64,
    /// SHA-256 in hexadecimal digits, where it landed.
    pub sha256: Option<String>,
    /// The path under which the same content landed before, if it did.
    pub same_as: Option<String>,
    /// `ftp`, `ftps`, `sftp`.
    pub protocol: String,
    /// Where it came from.
    pub client_address: String,
    /// When it began.
    pub started: String,
    /// When it landed.
    pub landed: Option<String>,
    /// How it ended, or that it has not yet.
    pub status: String,
    /// Why it did not land.
    pub reason: Option<String>,
}

impl Record {
    /// Names of its values, in their order.
    pub const COLUMNS: [&str; 13] = [
        "seq",
        "id",
        "user",
        "path",
        "size",
        "sha256",
        "same_as",
        "protocol",
        "client_address",
        "started",
        "landed",
        "status",
        "reason",
    ];
}

/// What a number of eight bytes finds of a digest: an index of it is a fraction of one of digests.
pub(super) fn content_key(sha256: &str) -> Option<i64> {
    sha256.get(..16).and_then(|digits| u64::from_str_radix(digits, 16).ok()).map(u64::cast_signed)
}

/// The newest rows that pass, oldest first. Only what is asked stands in the statement, so that an index serves it.
///
/// # Errors
/// What the database says.
pub async fn query(pool: &SqlitePool, filter: &Filter) -> Result<Vec<Record>, sqlx::Error> {
    let mut sql = QueryBuilder::<Sqlite>::new(
        "SELECT seq, id, user, path, size, sha256, protocol, client_address, started, landed, status, reason, same_as \
         FROM receipts WHERE seq > ",
    );
    sql.push_bind(filter.after.unwrap_or(0));
    if let Some(user) = &filter.user {
        sql.push(" AND user = ").push_bind(user);
    }
    if let Some(status) = filter.status {
        // With a user, the user's index is the better one: most rows of a supplier have landed.
        sql.push(if filter.user.is_some() { " AND +status = " } else { " AND status = " }).push_bind(status.as_str());
    }
    if let Some(sha256) = &filter.sha256 {
        sql.push(" AND content = ").push_bind(content_key(sha256)).push(" AND sha256 = ").push_bind(sha256);
    }
    if let Some(since) = filter.since {
        // Rows are written in the order of their numbers: the first of that time says where to begin.
        sql.push(" AND +changed >= ").push_bind(millis(since));
        sql.push(" AND seq >= coalesce((SELECT seq FROM receipts WHERE changed >= ");
        sql.push_bind(millis(since)).push(" ORDER BY changed LIMIT 1), 9223372036854775807)");
    }
    if let Some(until) = filter.until {
        sql.push(" AND +changed < ").push_bind(millis(until));
        sql.push(" AND seq <= coalesce((SELECT seq FROM receipts WHERE changed < ");
        sql.push_bind(millis(until)).push(" ORDER BY changed DESC LIMIT 1), 0)");
    }
    if let Some(path) = &filter.path {
        // A bracket is a character of the name here, and no class of characters.
        sql.push(" AND path GLOB ").push_bind(path.replace('[', "[[]"));
    }
    sql.push(" ORDER BY seq DESC LIMIT ").push_bind(filter.limit.unwrap_or(QUERY_ROWS));
    let rows = sql.build().fetch_all(pool).await?;
    rows.iter().rev().map(record).collect()
}

fn record(row: &SqliteRow) -> Result<Record, sqlx::Error> {
    Ok(Record {
        seq: row.try_get(0)?,
        id: row.try_get(1)?,
        user: row.try_get(2)?,
        path: row.try_get(3)?,
        size: unsigned(row.try_get(4)?),
        sha256: row.try_get(5)?,
        protocol: row.try_get(6)?,
        client_address: row.try_get(7)?,
        started: rfc3339(row.try_get(8)?),
        landed: row.try_get::<Option<i64>, _>(9)?.map(rfc3339),
        status: row.try_get(10)?,
        reason: row.try_get(11)?,
        same_as: row.try_get(12)?,
    })
}

/// Always with three digits of fraction, so that times sort as text.
pub(super) fn rfc3339(millis: i64) -> String {
    use time::format_description::well_known::{Iso8601, iso8601};
    const FORM: iso8601::EncodedConfig = iso8601::Config::DEFAULT
        .set_time_precision(iso8601::TimePrecision::Second { decimal_digits: std::num::NonZero::new(3) })
        .encode();
    time::OffsetDateTime::from_unix_timestamp_nanos(i128::from(millis) * 1_000_000)
        .ok()
        .and_then(|time| time.format(&Iso8601::<FORM>).ok())
        .unwrap_or_default()
}
