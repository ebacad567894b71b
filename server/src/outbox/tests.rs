//! Tables, replays, sweeps and batches over a real database.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use landfall_auth::{Database, Sync};
use tempfile::TempDir;

use super::batch::Batches;
use super::lane::{Key, Kind, Lane};
use super::replay::{Wanted, replay};
use super::rows::{Filter, query};
use super::sweep::{Kept, sweep};
use super::tables::{self, Change};
use super::{Event, Sink};
use crate::config;
use crate::delivery::ledger;

const HOUR: Duration = Duration::from_hours(1);

struct Room {
    _place: TempDir,
    database: Database,
}

fn at(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
}

fn sink(name: &str) -> Sink {
    let command = vec!["/bin/true".to_owned()];
    let sink = config::Sink { name: name.to_owned(), kind: config::SinkKind::Exec, command, ..config::Sink::default() };
    Sink::new(&sink, "landfall")
}

impl Room {
    async fn new() -> Self {
        let place = tempfile::tempdir().unwrap();
        let database = Database::open(&place.path().join("db"), Sync::Normal).await.unwrap();
        database.migrate(&ledger::MIGRATIONS).await.unwrap();
        Self { _place: place, database }
    }

    /// A receipt that landed so many seconds after 1970, and its event.
    async fn land(&self, user: &str, number: usize, second: u64) {
        let id = format!("{user:0>8}{number:024}");
        let mut write = self.database.write().await.unwrap();
        sqlx::query(
            "INSERT INTO receipts (id, user, path, size, sha256, protocol, client_address, started, landed, changed, status) \
             VALUES (?, ?, ?, 5, 'ab', 'ftp', '192.0.2.1', ?4, ?4, ?4, 'landed')",
        )
        .bind(&id)
        .bind(user)
        .bind(format!("/{number}.jpg"))
        .bind(i64::try_from(second * 1_000).unwrap())
        .execute(&mut *write)
        .await
        .unwrap();
        write.commit().await.unwrap();
        let database = self.database.clone();
        let recorded = move || {
            let writer = database.writer().unwrap();
            super::record(&writer, &id).unwrap();
            writer.keep();
        };
        tokio::task::spawn_blocking(recorded).await.unwrap();
    }

    async fn events(&self) -> Vec<Event> {
        query(self.database.pool(), &Filter::default()).await.unwrap()
    }

    async fn numbers(&self) -> Vec<i64> {
        self.events().await.iter().map(|event| event.seq).collect()
    }

    async fn sweep(&self, sinks: &[Arc<Sink>], lanes: &[Lane]) -> u64 {
        let since = sinks.iter().map(|sink| (sink.name.clone(), 0)).collect();
        let lanes = lanes.iter().map(|lane| (lane.key(), lane.clone())).collect();
        sweep(&self.database, &Kept { since: &since, lanes: &lanes, sinks }, HOUR, at(10_000)).await.unwrap()
    }

    async fn save(&self, change: Change) {
        tables::save(&self.database, &[change]).await.unwrap();
    }
}

#[tokio::test]
async fn only_what_nobody_waits_for_goes() {
    let room = Room::new().await;
    for number in 1..=4 {
        room.land("acme", number, 100).await;
    }
    room.land("beta", 1, 100).await;
    room.land("acme", 5, 9_999).await;
    let shop = [Arc::new(sink("shop"))];
    // Nothing acknowledged: all of it is kept.
    assert_eq!(room.sweep(&shop, &[]).await, 0);
    // acme's first three are; the second is set aside, and the third is to be told once more.
    let park = Change::Park {
        sink: "shop".to_owned(),
        seq: 2,
        user: "acme".to_owned(),
        since: 0,
        attempts: 1,
        error: "no".to_owned(),
    };
    room.save(park).await;
    sqlx::query("INSERT INTO lanes (sink, user, kind, position, until) VALUES ('shop', 'acme', 'replay', 2, 3)")
        .execute(room.database.pool())
        .await
        .unwrap();
    assert_eq!(room.sweep(&shop, &[Lane::live("shop", "acme", 3)]).await, 1);
    assert_eq!(room.numbers().await, [2, 3, 4, 5, 6]);
    // Without that sink nobody waits, but for the replay.
    assert_eq!(room.sweep(&[], &[]).await, 3);
    assert_eq!(room.numbers().await, [3, 6]);
    assert_eq!(tables::parked(room.database.pool()).await.unwrap(), []);
}

#[tokio::test]
async fn a_replay_makes_events_again_under_their_ids_and_in_their_order() {
    let room = Room::new().await;
    for number in 1..=4 {
        room.land("acme", number, 100 * number as u64).await;
    }
    room.land("acme", 5, 9_999).await;
    let before = room.events().await;
    assert_eq!(room.sweep(&[], &[]).await, 4);

    let shop = [sink("shop")];
    let wanted = Wanted { since: Some(at(200)), ..Wanted::default() };
    let replays = replay(&room.database, &shop, &wanted).await.unwrap();
    assert_eq!((replays[0].users, replays[0].events), (1, 4));
    let after = room.events().await;
    let told =
        |events: &[Event]| events.iter().map(|e| (e.id.clone(), e.data.clone(), e.time.clone())).collect::<Vec<_>>();
    assert_eq!(told(&after), told(&before[1..]));
    assert_eq!(room.numbers().await, [-3, -2, -1, 5]);
    let [lane] = <[Lane; 1]>::try_from(tables::replays(room.database.pool(), 0).await.unwrap()).unwrap();
    assert_eq!((lane.kind, lane.position, lane.until), (Kind::Replay, -4, Some(5)));
    // An older one comes before them, and nothing comes twice.
    replay(&room.database, &shop, &Wanted::default()).await.unwrap();
    assert_eq!(told(&room.events().await), told(&before));
    assert_eq!(room.numbers().await, [-4, -3, -2, -1, 5]);
    // What a sink has yet to be told anyway is no replay.
    room.land("acme", 6, 9_999).await;
    let again = replay(&room.database, &shop, &Wanted::default()).await.unwrap();
    assert_eq!(again[0].events, 5);
}

#[tokio::test]
async fn positions_are_remembered() {
    let room = Room::new().await;
    let mut lane = Lane::live("shop", "acme", 3);
    lane.failed("no".to_owned(), at(5), HOUR, 0.5, None);
    room.save(Change::Lane(lane.clone())).await;
    lane.done(4);
    lane.failed("not again".to_owned(), at(6), HOUR, 0.5, None);
    room.save(Change::Lane(lane.clone())).await;
    let key = Key::Live { sink: "shop".to_owned(), user: "acme".to_owned() };
    let mut lanes: HashMap<Key, Lane> = tables::lanes(room.database.pool()).await.unwrap();
    let kept = lanes.remove(&key).unwrap();
    assert_eq!(Lane { row: 0, ..kept }, lane);
    assert!(lanes.is_empty());
}

#[tokio::test]
async fn a_batch_lists_so_many_and_counts_all() {
    let room = Room::new().await;
    for number in 1..=1_003 {
        room.land("acme", number, 100).await;
    }
    let users = ["acme".to_owned()];
    let mut batches = Batches::open(room.database.pool(), &users).await.unwrap();
    batches.end(&room.database, HOUR, at(200)).await.unwrap();
    assert_eq!(room.events().await.len(), 1_003);
    batches.end(&room.database, HOUR, at(4_000)).await.unwrap();
    let batch = room.events().await.pop().unwrap();
    let data = batch.envelope("here")["data"].clone();
    assert_eq!((batch.kind.as_str(), data["count"].as_u64()), ("landfall.batch.quiet", Some(1_003)));
    assert_eq!((data["bytes"].as_u64(), data["truncated"].as_bool()), (Some(5_015), Some(true)));
    assert_eq!(data["files"].as_array().map(Vec::len), Some(1_000));
    assert_eq!(data["files"][0]["path"], "/1.jpg");
    // It is over, for this process and for the next.
    batches.end(&room.database, HOUR, at(8_000)).await.unwrap();
    let mut batches = Batches::open(room.database.pool(), &users).await.unwrap();
    batches.end(&room.database, HOUR, at(8_000)).await.unwrap();
    assert_eq!(room.events().await.len(), 1_004);
}
