//! Batches: a supplier that has been quiet for a while after landing files. What belongs to a batch follows from the
//! events alone: the landings between its event and the one of the batch before. So a restart loses none.

use std::collections::HashMap;
use std::time::{Duration, SystemTime};

use landfall_auth::{Database, Error};
use serde_json::{Map, Value, json};
use sqlx::Row;
use sqlx::sqlite::SqlitePool;

use super::event::EventType;
use super::rows::{from_millis, millis};
use crate::config::Moment;

/// Files that a batch lists; `count` and `bytes` tell of all.
const MAX_BATCH_FILES: i64 = 1_000;
/// What the list says of a file.
const TOLD: [&str; 5] = ["receipt", "path", "size", "sha256", "landed"];

/// The suppliers with landings that no batch has yet, and when the last of these was, in milliseconds since 1970.
pub(super) struct Batches(HashMap<String, i64>);

impl Batches {
    /// As the events have it.
    pub(super) async fn open(pool: &SqlitePool, users: &[String]) -> Result<Self, sqlx::Error> {
        let mut open = HashMap::new();
        for user in users {
            let last: Option<i64> = sqlx::query_scalar(
                "SELECT max(time) FROM events WHERE user = ?1 AND type = 'landfall.upload.landed' AND seq > \
                 (SELECT coalesce(max(seq), 0) FROM events WHERE user = ?1 AND type = 'landfall.batch.quiet')",
            )
            .bind(user)
            .fetch_one(pool)
            .await?;
            if let Some(last) = last {
                open.insert(user.clone(), last);
            }
        }
        Ok(Self(open))
    }

    /// There was an event.
    pub(super) fn saw(&mut self, user: &str, kind: &str, time: i64) {
        if kind == EventType::Landed.as_str() {
            self.0.insert(user.to_owned(), time);
        }
    }

    /// Tells the batches of those who have been quiet for so long.
    pub(super) async fn end(&mut self, database: &Database, quiet: Duration, now: SystemTime) -> Result<(), Error> {
        let over = |last: i64| now.duration_since(from_millis(last)).is_ok_and(|since| since >= quiet);
        let ended: Vec<String> = self.0.iter().filter(|(_, last)| over(**last)).map(|(user, _)| user.clone()).collect();
        for user in ended {
            if tell(database, &user, now).await? {
                self.0.remove(&user);
            }
        }
        Ok(())
    }
}

/// Writes a batch's event; false when another landing came in between, so that it has not ended.
async fn tell(database: &Database, user: &str, now: SystemTime) -> Result<bool, Error> {
    let pool = database.pool();
    let before: i64 =
        sqlx::query_scalar("SELECT coalesce(max(seq), 0) FROM events WHERE user = ? AND type = 'landfall.batch.quiet'")
            .bind(user)
            .fetch_one(pool)
            .await?;
    let sums = sqlx::query(
        "SELECT count(*), coalesce(max(seq), 0), coalesce(sum(json_extract(data, '$.size')), 0), min(time), max(time) \
         FROM events WHERE user = ? AND seq > ? AND type = 'landfall.upload.landed'",
    )
    .bind(user)
    .bind(before)
    .fetch_one(pool)
    .await?;
    let (count, last): (i64, i64) = (sums.try_get(0)?, sums.try_get(1)?);
    if count == 0 {
        return Ok(true);
    }
    let rows = sqlx::query(
        "SELECT data FROM events WHERE user = ? AND seq > ? AND seq <= ? AND type = 'landfall.upload.landed' \
         ORDER BY seq LIMIT ?",
    )
    .bind(user)
    .bind(before)
    .bind(last)
    .bind(MAX_BATCH_FILES)
    .fetch_all(pool)
    .await?;
    let mut files = Vec::with_capacity(rows.len());
    for row in &rows {
        files.push(told(row.try_get(0)?));
    }
    let moment =
        |column: usize| -> Result<String, sqlx::Error> { Ok(Moment(from_millis(sums.try_get(column)?)).in_full()) };
    let data = json!({
        "user": user,
        "count": count,
        "bytes": sums.try_get::<i64, _>(2)?,
        "first_landed": moment(3)?,
        "last_landed": moment(4)?,
        "truncated": count > MAX_BATCH_FILES,
        "files": files,
    });
    let mut write = database.write().await?;
    // Nothing may have landed since it was counted: it would belong to a batch that does not list it.
    let newest: i64 = sqlx::query_scalar(
        "SELECT coalesce(max(seq), 0) FROM events WHERE user = ? AND seq >= ? AND type = 'landfall.upload.landed'",
    )
    .bind(user)
    .bind(last)
    .fetch_one(&mut *write)
    .await?;
    if newest != last {
        return Ok(false);
    }
    sqlx::query(
        "INSERT OR IGNORE INTO events (id, type, user, time, data) \
         SELECT substr(id, 1, 32) || '-quiet', 'landfall.batch.quiet', user, ?, ? FROM events WHERE seq = ?",
    )
    .bind(millis(now))
    .bind(data.to_string())
    .bind(last)
    .execute(&mut *write)
    .await?;
    write.commit().await?;
    tracing::info!(user, files = count, "batch ended");
    Ok(true)
}

fn told(data: &str) -> Value {
    let mut data: Map<String, Value> = serde_json::from_str(data).unwrap_or_default();
    data.retain(|key, _| TOLD.contains(&key.as_str()));
    Value::Object(data)
}
