//! Reading events: for commands and for whoever tells them. Writes nothing.

use std::time::{Duration, SystemTime};

use sqlx::Row;
use sqlx::sqlite::{SqlitePool, SqliteRow};

use super::event::{Event, EventType};
use crate::config::Moment;

/// Rows that one query returns at most, unless it asks for fewer.
pub const QUERY_ROWS: u32 = 10_000;

/// Which events to show.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// About this supplier only.
    pub user: Option<String>,
    /// Of this type only.
    pub kind: Option<EventType>,
    /// That happened at that time or later.
    pub since: Option<SystemTime>,
    /// Behind the event of this number.
    pub after: Option<i64>,
    /// The newest so many; [`QUERY_ROWS`] when `None`.
    pub limit: Option<u32>,
}

/// The newest events that pass, oldest first.
///
/// # Errors
/// What the database says.
pub async fn query(pool: &SqlitePool, filter: &Filter) -> Result<Vec<Event>, sqlx::Error> {
    let rows = sqlx::query(
        "SELECT seq, id, type, user, subject, time, data FROM events WHERE (?1 IS NULL OR user = ?1) \
         AND (?2 IS NULL OR type = ?2) AND (?3 IS NULL OR time >= ?3) AND seq > ?4 ORDER BY seq DESC LIMIT ?5",
    )
    .bind(filter.user.as_deref())
    .bind(filter.kind.map(EventType::as_str))
    .bind(filter.since.map(millis))
    .bind(filter.after.unwrap_or(i64::MIN))
    .bind(filter.limit.unwrap_or(QUERY_ROWS))
    .fetch_all(pool)
    .await?;
    rows.iter().rev().map(event).collect()
}

/// An event that a sink did not take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parked {
    /// The sink.
    pub sink: String,
    /// Its first failure, RFC 3339 in UTC.
    pub since: String,
    /// How often it was tried.
    pub attempts: u32,
    /// How it failed last.
    pub error: String,
    /// The event.
    pub event: Event,
}

/// The newest events that sinks have set aside, oldest first.
///
/// # Errors
/// What the database says.
pub async fn parked(
    pool: &SqlitePool,
    sink: Option<&str>,
    user: Option<&str>,
    most: u32,
) -> Result<Vec<Parked>, sqlx::Error> {
    let rows = sqlx::query(
        "SELECT events.seq, id, type, events.user, subject, time, data, sink, since, attempts, error \
         FROM parked JOIN events ON events.seq = parked.seq WHERE (?1 IS NULL OR sink = ?1) \
         AND (?2 IS NULL OR parked.user = ?2) ORDER BY parked.seq DESC LIMIT ?3",
    )
    .bind(sink)
    .bind(user)
    .bind(most)
    .fetch_all(pool)
    .await?;
    rows.iter()
        .rev()
        .map(|row| {
            Ok(Parked {
                sink: row.try_get(7)?,
                since: Moment(from_millis(row.try_get(8)?)).in_full(),
                attempts: row.try_get(9)?,
                error: row.try_get(10)?,
                event: event(row)?,
            })
        })
        .collect()
}

pub(super) fn event(row: &SqliteRow) -> Result<Event, sqlx::Error> {
    Ok(Event {
        seq: row.try_get(0)?,
        id: row.try_get(1)?,
        kind: row.try_get(2)?,
        user: row.try_get(3)?,
        subject: row.try_get(4)?,
        time: Moment(from_millis(row.try_get(5)?)).in_full(),
        data: row.try_get(6)?,
    })
}

pub(super) fn millis(time: SystemTime) -> i64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

pub(super) fn from_millis(millis: i64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_millis(u64::try_from(millis).unwrap_or(0))
}
