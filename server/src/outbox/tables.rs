//! The outbox's own tables: sinks, lanes, parked events. Knows SQL, not what it is for.

use std::collections::HashMap;

use landfall_auth::{Database, Error};
use sqlx::Row;
use sqlx::sqlite::{SqliteConnection, SqlitePool, SqliteRow};

use super::event::Event;
use super::lane::{Key, Kind, Lane};
use super::rows::{event, from_millis, millis};

/// A change to write.
#[derive(Debug, Clone)]
pub(super) enum Change {
    /// The lane stands there now.
    Lane(Lane),
    /// A replay is through.
    Finished(i64),
    /// An event is set aside.
    Park { sink: String, seq: i64, user: String, since: i64, attempts: u32, error: String },
    /// One that was set aside has been taken.
    Taken { sink: String, seq: i64 },
}

/// Number of the last event that was ever written.
const LAST: &str = "SELECT coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'events'), 0)";

/// Notes sinks that were never configured before, and says from where on each is told.
pub(super) async fn register(
    connection: &mut SqliteConnection,
    names: &[&str],
) -> Result<HashMap<String, i64>, sqlx::Error> {
    let last: i64 = sqlx::query_scalar(LAST).fetch_one(&mut *connection).await?;
    for name in names {
        sqlx::query("INSERT OR IGNORE INTO sinks VALUES (?, ?)")
            .bind(name)
            .bind(last)
            .execute(&mut *connection)
            .await?;
    }
    let rows = sqlx::query("SELECT name, since FROM sinks").fetch_all(&mut *connection).await?;
    rows.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?))).collect()
}

/// All lanes.
pub(super) async fn lanes(pool: &SqlitePool) -> Result<HashMap<Key, Lane>, sqlx::Error> {
    let rows = sqlx::query(
        "SELECT lane, sink, user, kind, position, until, attempts, failing_since, next_attempt, error FROM lanes",
    )
    .fetch_all(pool)
    .await?;
    rows.iter().map(|row| lane(row).map(|lane| (lane.key(), lane))).collect()
}

/// Replays behind the one of that number.
pub(super) async fn replays(pool: &SqlitePool, after: i64) -> Result<Vec<Lane>, sqlx::Error> {
    let rows = sqlx::query(
        "SELECT lane, sink, user, kind, position, until, attempts, failing_since, next_attempt, error FROM lanes \
         WHERE lane > ? AND kind <> 'live' ORDER BY lane",
    )
    .bind(after)
    .fetch_all(pool)
    .await?;
    rows.iter().map(lane).collect()
}

fn lane(row: &SqliteRow) -> Result<Lane, sqlx::Error> {
    Ok(Lane {
        row: row.try_get(0)?,
        sink: row.try_get(1)?,
        user: row.try_get(2)?,
        kind: Kind::parse(row.try_get(3)?),
        position: row.try_get(4)?,
        until: row.try_get(5)?,
        attempts: row.try_get(6)?,
        failing_since: row.try_get::<Option<i64>, _>(7)?.map(from_millis),
        next_attempt: row.try_get::<Option<i64>, _>(8)?.map(from_millis),
        error: row.try_get(9)?,
    })
}

/// The newest event of each supplier.
pub(super) async fn newest(pool: &SqlitePool) -> Result<HashMap<String, i64>, sqlx::Error> {
    let rows = sqlx::query("SELECT user, max(seq) FROM events GROUP BY user").fetch_all(pool).await?;
    rows.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?))).collect()
}

/// What an event is about, without what it says.
pub(super) struct Brief {
    pub(super) seq: i64,
    pub(super) user: String,
    pub(super) kind: String,
    pub(super) time: i64,
}

/// The next events behind that number.
pub(super) async fn behind(pool: &SqlitePool, seq: i64, most: u32) -> Result<Vec<Brief>, sqlx::Error> {
    let rows = sqlx::query("SELECT seq, user, type, time FROM events WHERE seq > ? ORDER BY seq LIMIT ?")
        .bind(seq)
        .bind(most)
        .fetch_all(pool)
        .await?;
    let brief = |row: &SqliteRow| {
        Ok(Brief { seq: row.try_get(0)?, user: row.try_get(1)?, kind: row.try_get(2)?, time: row.try_get(3)? })
    };
    rows.iter().map(brief).collect()
}

/// The next events of a lane, up to that number.
pub(super) async fn page(pool: &SqlitePool, lane: &Lane, until: i64, most: u32) -> Result<Vec<Event>, sqlx::Error> {
    let sql = if lane.kind == Kind::Parked {
        "SELECT events.seq, id, type, events.user, subject, time, data FROM parked JOIN events ON events.seq = parked.seq \
         WHERE parked.user = ?1 AND parked.seq > ?2 AND parked.seq <= ?3 AND parked.sink = ?5 ORDER BY parked.seq LIMIT ?4"
    } else {
        "SELECT seq, id, type, user, subject, time, data FROM events \
         WHERE user = ?1 AND seq > ?2 AND seq <= ?3 ORDER BY seq LIMIT ?4"
    };
    let query = sqlx::query(sql).bind(&lane.user).bind(lane.position).bind(until).bind(most);
    let query = if lane.kind == Kind::Parked { query.bind(&lane.sink) } else { query };
    query.fetch_all(pool).await?.iter().map(event).collect()
}

/// Numbers of events that the named sink has set aside, by supplier.
pub(super) async fn parked(pool: &SqlitePool) -> Result<Vec<(String, i64)>, sqlx::Error> {
    let rows = sqlx::query("SELECT sink, seq FROM parked").fetch_all(pool).await?;
    rows.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?))).collect()
}

/// Writes changes in one transaction.
pub(super) async fn save(database: &Database, changes: &[Change]) -> Result<(), Error> {
    let mut write = database.write().await?;
    for change in changes {
        apply(&mut write, change).await?;
    }
    write.commit().await
}

async fn apply(connection: &mut SqliteConnection, change: &Change) -> Result<(), sqlx::Error> {
    let query = match change {
        Change::Lane(lane) if lane.kind == Kind::Live => sqlx::query(
            "INSERT INTO lanes (position, attempts, failing_since, next_attempt, error, sink, user, kind) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, 'live') ON CONFLICT (sink, user) WHERE kind = 'live' \
             DO UPDATE SET position = ?1, attempts = ?2, failing_since = ?3, next_attempt = ?4, error = ?5",
        )
        .bind(lane.position)
        .bind(lane.attempts)
        .bind(lane.failing_since.map(millis))
        .bind(lane.next_attempt.map(millis))
        .bind(lane.error.as_deref())
        .bind(&lane.sink)
        .bind(&lane.user),
        Change::Lane(lane) => sqlx::query(
            "UPDATE lanes SET position = ?1, attempts = ?2, failing_since = ?3, next_attempt = ?4, error = ?5 \
             WHERE lane = ?6",
        )
        .bind(lane.position)
        .bind(lane.attempts)
        .bind(lane.failing_since.map(millis))
        .bind(lane.next_attempt.map(millis))
        .bind(lane.error.as_deref())
        .bind(lane.row),
        Change::Finished(row) => sqlx::query("DELETE FROM lanes WHERE lane = ?").bind(row),
        Change::Park { sink, seq, user, since, attempts, error } => sqlx::query(
            "INSERT OR REPLACE INTO parked (sink, seq, user, since, attempts, error) VALUES (?, ?, ?, ?, ?, ?)",
        )
        .bind(sink)
        .bind(seq)
        .bind(user)
        .bind(since)
        .bind(attempts)
        .bind(error),
        Change::Taken { sink, seq } => {
            sqlx::query("DELETE FROM parked WHERE sink = ? AND seq = ?").bind(sink).bind(seq)
        }
    };
    query.execute(connection).await.map(drop)
}
