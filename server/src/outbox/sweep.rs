//! Removing events that are old enough, and that no configured sink has yet to take. Knows no attempt.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use landfall_auth::{Database, Error};
use sqlx::Row;

use super::lane::{Key, Lane};
use super::rows::millis;
use super::sink::Sink;
use super::tables;

/// Events that are looked at, and removed at most, in one transaction.
const SLICE_EVENTS: u32 = 1_000;

/// For whom events are kept.
pub(super) struct Kept<'a> {
    pub(super) since: &'a HashMap<String, i64>,
    pub(super) lanes: &'a HashMap<Key, Lane>,
    pub(super) sinks: &'a [Arc<Sink>],
}

impl Kept<'_> {
    /// Does a sink have that event yet to take, as it comes?
    fn awaited(&self, user: &str, seq: i64) -> bool {
        self.sinks.iter().filter(|sink| sink.hears_of(user)).any(|sink| {
            let key = Key::Live { sink: sink.name.clone(), user: user.to_owned() };
            let lane = self.lanes.get(&key).map(|lane| lane.position);
            lane.or_else(|| self.since.get(&sink.name).copied()).is_some_and(|position| seq > position)
        })
    }
}

/// Removes what is older than `retention`.
pub(super) async fn sweep(
    database: &Database,
    kept: &Kept<'_>,
    retention: Duration,
    now: SystemTime,
) -> Result<u64, Error> {
    let before = millis(now.checked_sub(retention).unwrap_or(SystemTime::UNIX_EPOCH));
    let named = |sink: &str| kept.sinks.iter().any(|known| known.name == sink);
    let parked: HashSet<i64> = tables::parked(database.pool())
        .await?
        .into_iter()
        .filter(|(sink, _)| named(sink))
        .map(|(_, seq)| seq)
        .collect();
    let (mut from, mut removed) = (i64::MIN, 0);
    loop {
        let rows = sqlx::query("SELECT seq, user, time FROM events WHERE seq > ? ORDER BY seq LIMIT ?")
            .bind(from)
            .bind(SLICE_EVENTS)
            .fetch_all(database.pool())
            .await?;
        let Some(last) = rows.last() else { break };
        from = last.try_get(0)?;
        let last_is_young = last.try_get::<i64, _>(2)? >= before;
        let mut going = Vec::new();
        for row in &rows {
            let (seq, user, time): (i64, &str, i64) = (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
            if time < before && !parked.contains(&seq) && !kept.awaited(user, seq) {
                going.push(seq);
            }
        }
        if !going.is_empty() {
            removed += remove(database, &going).await?;
        } else if last_is_young {
            break;
        }
    }
    if removed > 0 {
        tracing::info!(events = removed, "old events removed");
    }
    Ok(removed)
}

/// But for those that a replay has yet to tell, which another process may have asked for this moment.
async fn remove(database: &Database, going: &[i64]) -> Result<u64, Error> {
    let mut write = database.write().await?;
    let mut removed = 0;
    for seq in going {
        let gone = sqlx::query(
            "DELETE FROM events WHERE seq = ?1 AND NOT EXISTS (SELECT 1 FROM lanes WHERE lanes.kind <> 'live' \
             AND lanes.user = events.user AND ?1 > lanes.position AND ?1 <= lanes.until)",
        )
        .bind(seq)
        .execute(&mut *write)
        .await?;
        sqlx::query("DELETE FROM parked WHERE seq = ?1 AND NOT EXISTS (SELECT 1 FROM events WHERE seq = ?1)")
            .bind(seq)
            .execute(&mut *write)
            .await?;
        removed += gone.rows_affected();
    }
    write.commit().await?;
    Ok(removed)
}
