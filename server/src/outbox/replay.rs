//! Replays: events that are told once more, under the ids that they had. Written to the tables, where a running server
//! finds them within a second and one that is down at its next start. Knows no attempt.

use std::collections::BTreeMap;
use std::time::SystemTime;

use landfall_auth::{Database, Error};
use serde::Serialize;
use sqlx::Row;
use sqlx::sqlite::SqliteConnection;

use super::lane::Kind;
use super::record::REBUILD;
use super::rows::millis;
use super::sink::Sink;
use super::tables;

/// Events that were swept and are made again from receipts for one replay: they are one transaction.
const MAX_REBUILT: i64 = 100_000;

/// What to tell once more.
#[derive(Debug, Clone, Default)]
pub struct Wanted {
    /// What happened at that time or later; from the beginning when `None`.
    pub since: Option<SystemTime>,
    /// About this supplier only.
    pub user: Option<String>,
    /// Only what is parked.
    pub parked: bool,
}

/// What a sink is told once more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Replay {
    /// The sink.
    pub sink: String,
    /// About so many suppliers.
    pub users: usize,
    /// So many events.
    pub events: u64,
}

/// Why there is no replay.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// Too much at a time.
    #[error(
        "{0} events are so old that they have to be made again from receipts, and {MAX_REBUILT} is the most at a time; \
         take a later --since, or one --user at a time"
    )]
    TooMany(i64),
    /// What the database says.
    #[error(transparent)]
    Store(#[from] Error),
}

impl From<sqlx::Error> for ReplayError {
    fn from(error: sqlx::Error) -> Self {
        Self::Store(error.into())
    }
}

/// Asks for it: all or nothing of it is written. What a sink has yet to be told anyway is left out.
///
/// # Errors
/// [`ReplayError`].
pub async fn replay(database: &Database, sinks: &[Sink], wanted: &Wanted) -> Result<Vec<Replay>, ReplayError> {
    let mut write = database.write().await?;
    let names: Vec<&str> = sinks.iter().map(|sink| sink.name.as_str()).collect();
    let since = tables::register(&mut write, &names).await?;
    if !wanted.parked {
        rebuild(&mut write, wanted).await?;
    }
    let mut replays = Vec::new();
    for sink in sinks {
        let since = since.get(&sink.name).copied().unwrap_or(0);
        let spans = if wanted.parked {
            parked(&mut write, sink, wanted).await?
        } else {
            told(&mut write, sink, since, wanted).await?
        };
        let kind = if wanted.parked { Kind::Parked } else { Kind::Replay };
        for (user, span) in &spans {
            sqlx::query("INSERT INTO lanes (sink, user, kind, position, until) VALUES (?, ?, ?, ?, ?)")
                .bind(&sink.name)
                .bind(user)
                .bind(kind.as_str())
                .bind(span.first - 1)
                .bind(span.last)
                .execute(&mut *write)
                .await?;
        }
        let events = spans.values().map(|span| span.events).sum();
        replays.push(Replay { sink: sink.name.clone(), users: spans.len(), events });
    }
    write.commit().await?;
    Ok(replays)
}

/// Events of one supplier, by their numbers.
struct Span {
    first: i64,
    last: i64,
    events: u64,
}

type Spans = BTreeMap<String, Span>;

/// What a sink was told, or would have been had it been there.
async fn told(
    connection: &mut SqliteConnection,
    sink: &Sink,
    since: i64,
    wanted: &Wanted,
) -> Result<Spans, sqlx::Error> {
    let rows = sqlx::query(
        "SELECT user, type, min(seq), max(seq), count(*) FROM events WHERE (?1 IS NULL OR time >= ?1) \
         AND (?2 IS NULL OR user = ?2) AND seq <= coalesce((SELECT position FROM lanes WHERE lanes.kind = 'live' \
         AND lanes.sink = ?3 AND lanes.user = events.user), ?4) GROUP BY user, type",
    )
    .bind(wanted.since.map(millis))
    .bind(wanted.user.as_deref())
    .bind(&sink.name)
    .bind(since)
    .fetch_all(connection)
    .await?;
    let mut spans = Spans::new();
    for row in &rows {
        let (user, kind): (String, &str) = (row.try_get(0)?, row.try_get(1)?);
        if !sink.hears_of(&user) || !sink.wants(kind) {
            continue;
        }
        let (first, last, events): (i64, i64, i64) = (row.try_get(2)?, row.try_get(3)?, row.try_get(4)?);
        let span = spans.entry(user).or_insert(Span { first, last, events: 0 });
        span.first = span.first.min(first);
        span.last = span.last.max(last);
        span.events += events.unsigned_abs();
    }
    Ok(spans)
}

/// What a sink has set aside, unless it is being told that once more already.
async fn parked(connection: &mut SqliteConnection, sink: &Sink, wanted: &Wanted) -> Result<Spans, sqlx::Error> {
    let rows = sqlx::query(
        "SELECT parked.user, min(parked.seq), max(parked.seq), count(*) FROM parked JOIN events ON events.seq = parked.seq \
         WHERE parked.sink = ?1 AND (?2 IS NULL OR parked.user = ?2) AND (?3 IS NULL OR events.time >= ?3) \
         AND NOT EXISTS (SELECT 1 FROM lanes WHERE lanes.kind = 'parked' AND lanes.sink = ?1 \
         AND lanes.user = parked.user AND parked.seq > lanes.position AND parked.seq <= lanes.until) GROUP BY parked.user",
    )
    .bind(&sink.name)
    .bind(wanted.user.as_deref())
    .bind(wanted.since.map(millis))
    .fetch_all(connection)
    .await?;
    rows.iter()
        .map(|row| {
            let span = Span {
                first: row.try_get(1)?,
                last: row.try_get(2)?,
                events: row.try_get::<i64, _>(3)?.unsigned_abs(),
            };
            Ok((row.try_get(0)?, span))
        })
        .collect()
}

/// Makes events again that were swept.
async fn rebuild(connection: &mut SqliteConnection, wanted: &Wanted) -> Result<(), ReplayError> {
    let since = wanted.since.map_or(0, millis);
    let missing: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM receipts WHERE status IN ('landed', 'refused') AND changed >= ?1 \
         AND (?2 IS NULL OR user = ?2) \
         AND NOT EXISTS (SELECT 1 FROM events WHERE events.id = receipts.id || '-' || receipts.status)",
    )
    .bind(since)
    .bind(wanted.user.as_deref())
    .fetch_one(&mut *connection)
    .await?;
    if missing > MAX_REBUILT {
        return Err(ReplayError::TooMany(missing));
    }
    if missing > 0 {
        let lowest: i64 =
            sqlx::query_scalar("SELECT min(0, coalesce(min(seq), 0)) FROM events").fetch_one(&mut *connection).await?;
        sqlx::query(REBUILD).bind(lowest).bind(since).bind(wanted.user.as_deref()).execute(&mut *connection).await?;
    }
    Ok(())
}
