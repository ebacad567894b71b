//! TLS sessions that belong to one control connection: what its handshake leaves can be resumed by its own data
//! connections, and by nobody else's. Knows no socket.
//!
//! Each control connection gets a store of its own in place of the process-wide one, and no stateless tickets. A data
//! connection looks its session up in that store and nowhere else, and never adds to it; so a handshake there that
//! resumed, resumed *this* control connection's session, over TLS 1.2 and 1.3 alike.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustls::server::{ProducesTickets, StoresServerSessions};

use crate::tls::Configs;

/// Sessions kept per control connection: two tickets of TLS 1.3, or one session of TLS 1.2, with room to spare.
const MAX_SESSIONS: usize = 8;
/// Largest session kept, in bytes.
const MAX_SESSION_BYTES: usize = 4_096;

/// The same two configurations, with a store of their own. One pair per control connection.
pub(super) fn bind(shared: &Configs) -> Configs {
    let store = Arc::new(Store::default());
    let mut control = (*shared.control).clone();
    control.session_storage = store.clone();
    control.ticketer = Arc::new(NoTickets);
    let mut data = (*shared.data).clone();
    data.session_storage = Arc::new(ReadOnly(store));
    data.ticketer = Arc::new(NoTickets);
    // An uploading client never reads them, and its close would then be a reset that takes the upload with it.
    data.send_tls13_tickets = 0;
    Configs { control: Arc::new(control), data: Arc::new(data) }
}

/// Key and value.
type Kept = (Vec<u8>, Vec<u8>);

/// What the control connection's handshake left.
#[derive(Default)]
struct Store(Mutex<Vec<Kept>>);

impl Store {
    fn kept(&self) -> MutexGuard<'_, Vec<Kept>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Shows no secret.
impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store").finish_non_exhaustive()
    }
}

impl StoresServerSessions for Store {
    fn put(&self, key: Vec<u8>, value: Vec<u8>) -> bool {
        let mut kept = self.kept();
        let fits = kept.len() < MAX_SESSIONS && key.len() + value.len() <= MAX_SESSION_BYTES;
        if fits {
            kept.push((key, value));
        }
        fits
    }

    fn get(&self, key: &[u8]) -> Option<Vec<u8>> {
        self.kept().iter().find(|(kept, _)| kept == key).map(|(_, value)| value.clone())
    }

    fn take(&self, key: &[u8]) -> Option<Vec<u8>> {
        let mut kept = self.kept();
        let at = kept.iter().position(|(kept, _)| kept == key)?;
        Some(kept.swap_remove(at).1)
    }

    fn can_cache(&self) -> bool {
        true
    }
}

/// The data connections' view. A session is not used up by a resumption: no new tickets come on a data connection, and
/// a client sends many files.
#[derive(Debug)]
struct ReadOnly(Arc<Store>);

impl StoresServerSessions for ReadOnly {
    fn put(&self, _key: Vec<u8>, _value: Vec<u8>) -> bool {
        false
    }

    fn get(&self, key: &[u8]) -> Option<Vec<u8>> {
        self.0.get(key)
    }

    fn take(&self, key: &[u8]) -> Option<Vec<u8>> {
        self.0.get(key)
    }

    fn can_cache(&self) -> bool {
        false
    }
}

#[derive(Debug)]
struct NoTickets;

impl ProducesTickets for NoTickets {
    fn enabled(&self) -> bool {
        false
    }

    fn lifetime(&self) -> u32 {
        0
    }

    fn encrypt(&self, _plain: &[u8]) -> Option<Vec<u8>> {
        None
    }

    fn decrypt(&self, _cipher: &[u8]) -> Option<Vec<u8>> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_connections_read_and_never_add() {
        let store = Arc::new(Store::default());
        assert!(store.put(b"a".to_vec(), b"1".to_vec()));
        let data = ReadOnly(store.clone());
        assert!(!data.put(b"b".to_vec(), b"2".to_vec()));
        for _ in 0..3 {
            assert_eq!(data.take(b"a"), Some(b"1".to_vec()));
        }
        assert_eq!(data.get(b"b"), None);
    }

    #[test]
    fn the_store_is_bounded() {
        let store = Store::default();
        for n in 0..MAX_SESSIONS {
            assert!(store.put(vec![u8::try_from(n).unwrap_or(0)], Vec::new()));
        }
        assert!(!store.put(b"more".to_vec(), Vec::new()));
        assert!(!Store::default().put(Vec::new(), vec![0; MAX_SESSION_BYTES + 1]));
    }
}
