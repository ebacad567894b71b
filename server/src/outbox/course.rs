//! The outbox's one task: sees new events, sets workers to the lanes that have something to tell, writes down how far
//! they got, ends batches, sweeps. All that it knows is in the tables; what it keeps in memory is read from there at the start.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use landfall_auth::Database;
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};
use tokio_util::sync::CancellationToken;

use super::batch::Batches;
use super::lane::{Key, Kind, Lane};
use super::sink::Sink;
use super::tables::{self, Brief, Change};
use super::worker::{Report, Worker};
use super::{Settings, sweep};
use crate::clock::now;

/// How often retries that are due, replays by other processes and batches are looked for.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Between two looks at new events at least: landings share one.
const GATHER: Duration = Duration::from_millis(10);
/// How long what was told waits to be written down with more of it. A crash tells it once more, with the same id.
const WRITE_EVERY: Duration = Duration::from_millis(100);
/// How often events that are old enough to go are looked for.
const SWEEP_EVERY: Duration = Duration::from_hours(1);
/// Events that are looked at in one query.
const LOOK_EVENTS: u32 = 1_000;
/// Reports that wait to be heard; a worker waits with the next.
const REPORTS: usize = 256;
/// How long attempts under way may take at the end.
const STOP_PATIENCE: Duration = Duration::from_secs(5);

pub(super) struct Course {
    database: Database,
    settings: watch::Receiver<Arc<Settings>>,
    news: Arc<Notify>,
    /// The last event that was looked at.
    seen: i64,
    /// The newest event of each supplier.
    newest: HashMap<String, i64>,
    /// From where on each sink is told.
    since: HashMap<String, i64>,
    lanes: HashMap<Key, Lane>,
    replays: HashMap<Key, Lane>,
    last_replay: i64,
    busy: HashSet<Key>,
    workers: JoinSet<()>,
    changes: Vec<Change>,
    batches: Batches,
}

impl Course {
    /// As the tables have it.
    pub(super) async fn begin(
        database: Database,
        settings: watch::Receiver<Arc<Settings>>,
        news: Arc<Notify>,
        since: HashMap<String, i64>,
    ) -> Result<Self, sqlx::Error> {
        let pool = database.pool();
        let newest = tables::newest(pool).await?;
        let users: Vec<String> = newest.keys().cloned().collect();
        let batches = Batches::open(pool, &users).await?;
        let (lanes, replays): (HashMap<_, _>, HashMap<_, _>) =
            tables::lanes(pool).await?.into_iter().partition(|(_, lane)| lane.kind == Kind::Live);
        let last_replay = replays.values().map(|lane| lane.row).max().unwrap_or(0);
        let seen = newest.values().copied().max().unwrap_or(0).max(0);
        Ok(Self {
            database,
            settings,
            news,
            seen,
            newest,
            since,
            lanes,
            replays,
            last_replay,
            busy: HashSet::new(),
            workers: JoinSet::new(),
            changes: Vec::new(),
            batches,
        })
    }

    /// Until `stop`.
    pub(super) async fn run(mut self, stop: CancellationToken) {
        let (reports, mut heard) = mpsc::channel(REPORTS);
        let mut look = interval(LOOK_EVERY);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut write = interval(WRITE_EVERY);
        write.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut next_sweep = Instant::now();
        loop {
            // Without a sink nobody waits for an event: looking once a second is enough for batches.
            let hurried = !self.settings.borrow().sinks.is_empty();
            let news = self.news.clone();
            tokio::select! {
                () = stop.cancelled() => break,
                Some(report) = heard.recv() => {
                    if let Some(user) = self.hear(report) {
                        self.set_to_work(&reports, &HashSet::from([user]));
                    }
                }
                _ = write.tick(), if !self.changes.is_empty() => self.write_down().await,
                () = news.notified(), if hurried => {
                    let users = self.look().await;
                    self.set_to_work(&reports, &users);
                    sleep(GATHER).await;
                }
                Ok(()) = self.settings.changed() => {
                    self.reconfigured().await;
                    let users = self.newest.keys().cloned().collect();
                    self.set_to_work(&reports, &users);
                }
                _ = look.tick() => {
                    while self.workers.try_join_next().is_some() {}
                    self.look().await;
                    self.find_replays().await;
                    self.end_batches().await;
                    if Instant::now() >= next_sweep {
                        self.sweep().await;
                        next_sweep = Instant::now() + SWEEP_EVERY;
                    }
                    let users = self.newest.keys().cloned().collect();
                    self.set_to_work(&reports, &users);
                }
            }
        }
        drop(reports);
        for sink in &self.settings.borrow().sinks {
            sink.retired.cancel();
        }
        let last_words = async {
            while let Some(report) = heard.recv().await {
                self.hear(report);
            }
        };
        if tokio::time::timeout(STOP_PATIENCE, last_words).await.is_err() {
            tracing::warn!("attempts to deliver events are cut off; they are made again at the next start");
        }
        self.workers.shutdown().await;
        self.write_down().await;
    }

    /// Gives the supplier whose lane has no worker any more.
    fn hear(&mut self, report: Report) -> Option<String> {
        match report {
            Report::Changed(changes) => {
                for change in changes {
                    // Of several steps of a lane the last one counts.
                    if let Change::Lane(lane) = &change {
                        let same = |old: &Change| matches!(old, Change::Lane(other) if other.is_same(lane));
                        if let Some(old) = self.changes.iter_mut().find(|old| same(old)) {
                            *old = change;
                            continue;
                        }
                    }
                    self.changes.push(change);
                }
                None
            }
            Report::Ended(lane) => {
                let (key, user) = (lane.key(), lane.user.clone());
                self.busy.remove(&key);
                if lane.kind == Kind::Live {
                    self.lanes.insert(key, lane);
                } else if lane.until.is_some_and(|until| lane.position >= until) {
                    self.replays.remove(&key);
                    self.changes.push(Change::Finished(lane.row));
                    tracing::info!(sink = lane.sink, user = lane.user, "replay done");
                } else {
                    self.replays.insert(key, lane);
                }
                Some(user)
            }
        }
    }

    async fn write_down(&mut self) {
        if self.changes.is_empty() {
            return;
        }
        match tables::save(&self.database, &self.changes).await {
            Ok(()) => self.changes.clear(),
            // Kept for the next time; until then a crash repeats what was told.
            Err(error) => tracing::error!(%error, "writing down how far sinks have got"),
        }
    }

    /// Looks at events that have come, and gives whom they are about.
    async fn look(&mut self) -> HashSet<String> {
        let mut users = HashSet::new();
        loop {
            let briefs = match tables::behind(self.database.pool(), self.seen, LOOK_EVENTS).await {
                Ok(briefs) => briefs,
                Err(error) => {
                    tracing::error!(%error, "looking for events");
                    return users;
                }
            };
            let full = briefs.len() >= LOOK_EVENTS as usize;
            for Brief { seq, user, kind, time } in briefs {
                self.seen = seq;
                self.batches.saw(&user, &kind, time);
                self.newest.insert(user.clone(), seq);
                users.insert(user);
            }
            if !full {
                return users;
            }
        }
    }

    async fn find_replays(&mut self) {
        match tables::replays(self.database.pool(), self.last_replay).await {
            Ok(replays) => {
                for lane in replays {
                    self.last_replay = self.last_replay.max(lane.row);
                    tracing::info!(sink = lane.sink, user = lane.user, "replay begins");
                    self.replays.insert(lane.key(), lane);
                }
            }
            Err(error) => tracing::error!(%error, "looking for replays"),
        }
    }

    async fn end_batches(&mut self) {
        let quiet = self.settings.borrow().batch_quiet;
        if quiet.is_zero() {
            return;
        }
        if let Err(error) = self.batches.end(&self.database, quiet, now()).await {
            tracing::error!(%error, "ending a batch");
        }
    }

    async fn sweep(&mut self) {
        // What is kept for a sink is decided by what is written, which may be behind but never ahead.
        self.write_down().await;
        let settings = self.settings.borrow().clone();
        let kept = sweep::Kept { since: &self.since, lanes: &self.lanes, sinks: &settings.sinks };
        if let Err(error) = sweep::sweep(&self.database, &kept, settings.retention, now()).await {
            tracing::error!(%error, "removing old events");
        }
    }

    async fn reconfigured(&mut self) {
        let settings = self.settings.borrow_and_update().clone();
        match super::register(&self.database, &settings.sinks).await {
            Ok(since) => self.since = since,
            Err(error) => tracing::error!(%error, "taking over changed sinks"),
        }
        // Whoever mended something wants to see it work.
        for lane in self.lanes.values_mut().chain(self.replays.values_mut()) {
            lane.next_attempt = None;
        }
    }

    /// Sets a worker to every lane of these suppliers that has something to tell, is due, and has none; and to replays.
    fn set_to_work(&mut self, reports: &mpsc::Sender<Report>, users: &HashSet<String>) {
        let (settings, now) = (self.settings.borrow().clone(), now());
        let mut ready: Vec<(Lane, Arc<Sink>, i64)> = Vec::new();
        for sink in &settings.sinks {
            let Some(since) = self.since.get(&sink.name) else { continue };
            for user in users.iter().filter(|user| sink.hears_of(user)) {
                let Some(newest) = self.newest.get(user) else { continue };
                let key = Key::Live { sink: sink.name.clone(), user: user.clone() };
                let lane = self.lanes.get(&key);
                let behind = lane.map_or(*since, |lane| lane.position) < *newest;
                if behind && lane.is_none_or(|lane| lane.is_due(now)) && !self.busy.contains(&key) {
                    let lane = lane.cloned().unwrap_or_else(|| Lane::live(&sink.name, user, *since));
                    ready.push((lane, sink.clone(), *newest));
                }
            }
        }
        for (key, lane) in &self.replays {
            if !lane.is_due(now) {
                continue;
            }
            let sink = settings.sinks.iter().find(|sink| sink.name == lane.sink);
            if let (Some(sink), Some(until), false) = (sink, lane.until, self.busy.contains(key)) {
                ready.push((lane.clone(), sink.clone(), until));
            }
        }
        for (lane, sink, until) in ready {
            self.busy.insert(lane.key());
            let (pool, reports) = (self.database.pool().clone(), reports.clone());
            self.workers.spawn(Worker { lane, sink, pool, until, reports }.run());
        }
    }
}
