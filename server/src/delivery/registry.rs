//! The sessions of this process: who is in, from where, doing what; and how to end them. Knows no socket.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use landfall_auth::Protocol;
use tokio_util::sync::CancellationToken;

/// All sessions that are logged in.
#[derive(Default)]
pub struct Registry {
    sessions: Mutex<HashMap<u64, Arc<Enrolled>>>,
    last_id: AtomicU64,
}

/// What a session shows of itself.
#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
pub struct SessionInfo {
    /// Number of the session in this process.
    pub id: u64,
    /// Login name.
    pub user: String,
    /// How it came in.
    pub protocol: Protocol,
    /// Where from.
    pub peer: SocketAddr,
    /// Since when, in seconds since 1970-01-01T00:00:00Z.
    pub since: u64,
    /// What it does, for people: `idle`, `STOR /a.jpg`.
    pub activity: String,
    /// Bytes received.
    pub received_bytes: u64,
    /// Bytes sent.
    pub sent_bytes: u64,
}

/// Counters of one session, written by its engine without a lock.
#[derive(Debug, Default)]
pub struct Activity {
    received_bytes: AtomicU64,
    sent_bytes: AtomicU64,
}

impl Activity {
    /// Adds received payload.
    pub fn received(&self, bytes: u64) {
        self.received_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Adds sent payload.
    pub fn sent(&self, bytes: u64) {
        self.sent_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Payload received so far.
    pub fn received_bytes(&self) -> u64 {
        self.received_bytes.load(Ordering::Relaxed)
    }

    /// Payload sent so far.
    pub fn sent_bytes(&self) -> u64 {
        self.sent_bytes.load(Ordering::Relaxed)
    }
}

/// One session's entry.
pub(super) struct Enrolled {
    pub(super) id: u64,
    user: String,
    protocol: Protocol,
    peer: SocketAddr,
    since: SystemTime,
    pub(super) activity: Arc<Activity>,
    doing: Mutex<String>,
    pub(super) ended: CancellationToken,
}

impl Enrolled {
    pub(super) fn doing(&self, what: &str) {
        let mut doing = lock(&self.doing);
        doing.clear();
        doing.push_str(what);
    }
}

/// Takes its session off the registry when dropped.
pub(super) struct Enrolment {
    registry: Arc<Registry>,
    pub(super) session: Arc<Enrolled>,
}

impl Drop for Enrolment {
    fn drop(&mut self) {
        lock(&self.registry.sessions).remove(&self.session.id);
    }
}

impl Registry {
    /// Enrols a session, unless its user has `most` already; then says how many.
    pub(super) fn enrol(
        self: &Arc<Self>,
        user: &str,
        most: Option<u32>,
        protocol: Protocol,
        peer: SocketAddr,
    ) -> Result<Enrolment, u32> {
        let mut sessions = lock(&self.sessions);
        if let Some(most) = most {
            let now = sessions.values().filter(|session| session.user == user).count();
            if now >= most as usize {
                return Err(most);
            }
        }
        let session = Arc::new(Enrolled {
            id: self.last_id.fetch_add(1, Ordering::Relaxed) + 1,
            user: user.to_owned(),
            protocol,
            peer,
            since: crate::clock::now(),
            activity: Arc::default(),
            doing: Mutex::default(),
            ended: CancellationToken::new(),
        });
        sessions.insert(session.id, session.clone());
        Ok(Enrolment { registry: self.clone(), session })
    }

    /// All sessions, oldest first.
    #[must_use]
    pub fn list(&self) -> Vec<SessionInfo> {
        let sessions: Vec<_> = lock(&self.sessions).values().cloned().collect();
        let mut list: Vec<_> = sessions.iter().map(|session| session.info()).collect();
        list.sort_by_key(|info| info.id);
        list
    }

    /// Names of the users that are in, each once.
    #[must_use]
    pub fn users(&self) -> Vec<String> {
        let mut users: Vec<_> = lock(&self.sessions).values().map(|session| session.user.clone()).collect();
        users.sort_unstable();
        users.dedup();
        users
    }

    /// Ends one session; false when there is none of that number.
    pub fn kick(&self, id: u64) -> bool {
        lock(&self.sessions).get(&id).map(|session| session.ended.cancel()).is_some()
    }

    /// Ends all sessions of a user and says how many.
    pub fn end_user(&self, user: &str) -> usize {
        let sessions = lock(&self.sessions);
        sessions.values().filter(|session| session.user == user).map(|session| session.ended.cancel()).count()
    }

    /// Ends all sessions.
    pub fn end_all(&self) {
        for session in lock(&self.sessions).values() {
            session.ended.cancel();
        }
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        lock(&self.sessions).len()
    }
}

impl Enrolled {
    fn info(&self) -> SessionInfo {
        let doing = lock(&self.doing).clone();
        SessionInfo {
            id: self.id,
            user: self.user.clone(),
            protocol: self.protocol,
            peer: self.peer,
            since: self.since.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs()),
            activity: if doing.is_empty() { "idle".to_owned() } else { doing },
            received_bytes: self.activity.received_bytes(),
            sent_bytes: self.activity.sent_bytes(),
        }
    }
}

/// A map that a panicking holder left behind is still a map.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn enrol(registry: &Arc<Registry>, user: &str, most: Option<u32>) -> Result<Enrolment, u32> {
        registry.enrol(user, most, Protocol::Ftp, SocketAddr::from(([127, 0, 0, 1], 9)))
    }

    #[test]
    fn limits_count_one_users_sessions_only() {
        let registry = Arc::new(Registry::default());
        let first = enrol(&registry, "acme", Some(1));
        assert!(first.is_ok());
        assert_eq!(enrol(&registry, "acme", Some(1)).err(), Some(1));
        assert!(enrol(&registry, "beta", Some(1)).is_ok());
        drop(first);
        assert!(enrol(&registry, "acme", Some(1)).is_ok());
        assert_eq!(registry.count(), 0);
    }

    #[test]
    fn kick_ends_that_session_only() {
        let registry = Arc::new(Registry::default());
        let (Ok(one), Ok(two)) = (enrol(&registry, "acme", None), enrol(&registry, "acme", None)) else {
            panic!("no limit was set");
        };
        assert!(registry.kick(one.session.id));
        assert!(one.session.ended.is_cancelled());
        assert!(!two.session.ended.is_cancelled());
        assert!(!registry.kick(4711));
        assert_eq!(registry.end_user("acme"), 2);
        assert!(two.session.ended.is_cancelled());
    }
}
