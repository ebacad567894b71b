//! The one accept loop of every listener: places, deadlines, backoff when descriptors run out, and whose connection it
//! is where a proxy relays it. Refuses to know what is spoken on a connection.

use std::collections::{BTreeMap, HashMap};
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use landfall_auth::Network;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::Limits;
use crate::lifecycle::Lifecycle;
use crate::proxy::{self, NoHeader, Origin};

/// First wait after the system refused to accept; doubles up to [`BACKOFF_MOST`].
const BACKOFF_FIRST: Duration = Duration::from_millis(20);
/// Longest wait between two tries to accept.
const BACKOFF_MOST: Duration = Duration::from_secs(1);
/// One line in the log about refused connections per this time.
const COMPLAIN_EVERY: Duration = Duration::from_secs(10);
/// Strangers on their way out while newcomers come in: each has a descriptor until its task has ended.
const MAX_LEAVING: u32 = 16;
/// Connections that the kernel holds for us while we are busy.
const BACKLOG_CONNECTIONS: u32 = 1_024;

/// An accepted connection with its place in the limits. `TCP_NODELAY` is set.
#[derive(Debug)]
pub struct Connection {
    /// The socket.
    pub stream: TcpStream,
    /// Who connected (IPv4 in IPv6 already unwrapped), behind whatever proxy.
    pub peer: SocketAddr,
    /// The address they connected to; behind a proxy, one of the proxy's.
    pub local: SocketAddr,
    /// The login must be done by then. The accept loop closes the connection shortly after; an engine that can say so
    /// to its peer does it at that time.
    pub login_by: Instant,
    /// The place in the limits; given back when dropped. Keep it as long as the socket.
    pub permit: Permit,
}

/// Grace between [`Connection::login_by`] and the accept loop's own cut.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// Places for connections: in all, per network, and for strangers, who are not logged in yet. A stranger never keeps a
/// newcomer out: when their places are taken, the one that has been there longest goes.
#[derive(Debug)]
pub struct Gate {
    places: Mutex<Places>,
    /// Somebody who was sent away is gone.
    left: Notify,
}

#[derive(Debug)]
struct Places {
    limits: Limits,
    total: u32,
    networks: HashMap<Network, u32>,
    /// By order of arrival.
    strangers: BTreeMap<u64, Stranger>,
    /// Strangers who were sent away and are still here.
    leaving: u32,
    arrivals: u64,
}

#[derive(Debug)]
struct Stranger {
    /// `None` until a proxy has told.
    network: Option<Network>,
    leave: CancellationToken,
}

/// A place in the limits.
#[derive(Debug)]
pub struct Permit {
    gate: Arc<Gate>,
    /// `None` until a proxy has told.
    network: Option<Network>,
    arrival: u64,
    /// Cancelled when the place is needed for somebody else.
    leave: CancellationToken,
    known: CancellationToken,
}

impl Permit {
    /// Says that the login is done: the connection no longer counts as a stranger's, and its login deadline is over.
    pub fn logged_in(&mut self) {
        self.gate.places().strangers.remove(&self.arrival);
        self.known.cancel();
    }

    /// Says which network it counts to, once the proxy has told.
    fn belongs_to(&mut self, network: Network) -> Result<(), &'static str> {
        let mut places = self.gate.places();
        places.room_in(network)?;
        places.count(network);
        self.network = Some(network);
        if let Some(stranger) = places.strangers.get_mut(&self.arrival) {
            stranger.network = self.network;
        }
        Ok(())
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut places = self.gate.places();
        places.strangers.remove(&self.arrival);
        if self.leave.is_cancelled() {
            places.leaving = places.leaving.saturating_sub(1);
            self.gate.left.notify_waiters();
        }
        places.total = places.total.saturating_sub(1);
        if let Some(network) = self.network
            && let Some(count) = places.networks.get_mut(&network)
        {
            *count = count.saturating_sub(1);
            if *count == 0 {
                places.networks.remove(&network);
            }
        }
    }
}

impl Gate {
    /// With these limits.
    #[must_use]
    pub fn new(limits: Limits) -> Arc<Self> {
        let (networks, strangers) = (HashMap::new(), BTreeMap::new());
        let places = Places { limits, total: 0, networks, strangers, leaving: 0, arrivals: 0 };
        Arc::new(Self { places: Mutex::new(places), left: Notify::new() })
    }

    /// Other limits from now on; nobody who is in is thrown out.
    pub fn set_limits(&self, limits: Limits) {
        self.places().limits = limits;
    }

    fn places(&self) -> MutexGuard<'_, Places> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place for a newcomer, or why there is none. Who comes by a proxy belongs to no network until it has told.
    fn admit(self: &Arc<Self>, network: Option<Network>) -> Result<Permit, &'static str> {
        let mut places = self.places();
        if let Some(network) = network {
            places.room_in(network)?;
        }
        if places.total >= places.limits.connections && !places.evict(None) {
            return Err("too many connections");
        }
        if places.strangers.len() >= places.limits.strangers as usize && !places.evict(None) {
            return Err("too many connections that are not logged in");
        }
        if let Some(network) = network {
            places.count(network);
        }
        places.total += 1;
        places.arrivals += 1;
        let arrival = places.arrivals;
        let leave = CancellationToken::new();
        places.strangers.insert(arrival, Stranger { network, leave: leave.clone() });
        drop(places);
        Ok(Permit { gate: self.clone(), network, arrival, leave, known: CancellationToken::new() })
    }

    /// Waits until those who were sent away are gone, but for a few.
    async fn settle(&self) {
        let settled = async {
            loop {
                let left = self.left.notified();
                if self.places().leaving <= MAX_LEAVING {
                    return;
                }
                left.await;
            }
        };
        // One that does not go keeps nobody out for longer than this.
        timeout(BACKOFF_MOST, settled).await.ok();
    }

    /// Sends the oldest stranger away, to get a descriptor back.
    fn make_room(&self) {
        self.places().evict(None);
    }
}

impl Places {
    /// Room for one more of that network, if need be by sending its oldest stranger away.
    fn room_in(&mut self, network: Network) -> Result<(), &'static str> {
        // Evicted strangers still count until their task has ended; they are on their way out.
        let there = self.networks.get(&network).copied().unwrap_or(0);
        if there >= self.limits.connections_per_network && !self.evict(Some(network)) {
            return Err("too many connections from that network");
        }
        Ok(())
    }

    fn count(&mut self, network: Network) {
        *self.networks.entry(network).or_default() += 1;
    }

    /// Tells the oldest stranger (of that network) to leave; false when there is none.
    fn evict(&mut self, network: Option<Network>) -> bool {
        let oldest = self
            .strangers
            .iter()
            .find(|(_, stranger)| network.is_none() || stranger.network == network)
            .map(|(arrival, _)| *arrival);
        let Some(stranger) = oldest.and_then(|arrival| self.strangers.remove(&arrival)) else { return false };
        self.leaving += 1;
        stranger.leave.cancel();
        true
    }
}

/// Binds a listening socket; an IPv6 one takes IPv4 connections too where the address is `::`.
///
/// # Errors
/// What the system says.
pub fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    use socket2::{Domain, Protocol, Socket, Type};
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // A restart must not wait for old connections to time out.
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(!address.ip().is_unspecified())?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(i32::try_from(BACKLOG_CONNECTIONS).unwrap_or(i32::MAX))?;
    TcpListener::from_std(socket.into())
}

/// One line in the log about refused connections per [`COMPLAIN_EVERY`].
#[derive(Default)]
struct Complaints(Mutex<Option<Instant>>);

impl Complaints {
    fn of(&self, peer: Option<SocketAddr>, why: &str) {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if last.is_none_or(|at| at.elapsed() >= COMPLAIN_EVERY) {
            *last = Some(Instant::now());
            tracing::warn!(peer = peer.map(tracing::field::display), why, "connection not taken");
        }
    }
}

/// Accepts until the drain begins; each connection is served on a task of its own, so that a panic ends only that one.
/// Who `is_proxy` must begin with a PROXY header; what others send is for `serve`.
pub async fn run<S, F>(
    listener: TcpListener,
    gate: Arc<Gate>,
    lifecycle: Lifecycle,
    tasks: TaskTracker,
    is_proxy: impl Fn(IpAddr) -> bool + Send + 'static,
    serve: S,
) where
    S: Fn(Connection) -> F + Send + Sync + 'static,
    F: Future<Output = ()> + Send + 'static,
{
    let mut backoff = BACKOFF_FIRST;
    let (serve, complaints) = (Arc::new(serve), Arc::new(Complaints::default()));
    loop {
        gate.settle().await;
        let accepted = tokio::select! {
            () = lifecycle.draining() => return,
            accepted = listener.accept() => accepted,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => {
                backoff = BACKOFF_FIRST;
                accepted
            }
            // That connection is gone before it was taken: accept(2) says to go on.
            Err(error) if matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset) => {
                continue;
            }
            Err(error) => {
                complaints.of(None, &error.to_string());
                gate.make_room();
                tokio::time::sleep(backoff).await;
                backoff = (backoff * 2).min(BACKOFF_MOST);
                continue;
            }
        };
        let peer = canonical(peer);
        let relayed = is_proxy(peer.ip());
        let network = (!relayed).then(|| Network::of_peer(peer.ip()));
        match gate.admit(network).map(|permit| connection(stream, peer, permit)) {
            Ok(Ok(connection)) => {
                let attended = Attended { relayed, complaints: complaints.clone(), lifecycle: lifecycle.clone() };
                drop(tasks.spawn(attended.attend(connection, serve.clone())));
            }
            Ok(Err(error)) => complaints.of(Some(peer), &error.to_string()),
            Err(why) => complaints.of(Some(peer), why),
        }
    }
}

/// IPv4 in IPv6 as the IPv4 that it is; everything else as it stands, scopes of link-local addresses among it.
#[must_use]
pub fn canonical(address: SocketAddr) -> SocketAddr {
    match address.ip().to_canonical() {
        IpAddr::V4(v4) => SocketAddr::from((v4, address.port())),
        IpAddr::V6(_) => address,
    }
}

fn connection(stream: TcpStream, peer: SocketAddr, permit: Permit) -> io::Result<Connection> {
    stream.set_nodelay(true)?;
    let local = canonical(stream.local_addr()?);
    let login_by = Instant::now() + Duration::from_secs(permit.gate.places().limits.login_seconds);
    Ok(Connection { stream, peer, local, login_by, permit })
}

/// How one connection is looked after.
struct Attended {
    /// Does a PROXY header come first?
    relayed: bool,
    complaints: Arc<Complaints>,
    lifecycle: Lifecycle,
}

impl Attended {
    /// Serves one connection; whatever its engine does, a stranger goes when its time or its place is up.
    async fn attend<S, F>(self, mut connection: Connection, serve: Arc<S>)
    where
        S: Fn(Connection) -> F,
        F: Future<Output = ()>,
    {
        let (leave, known) = (connection.permit.leave.clone(), connection.permit.known.clone());
        let (peer, last) = (connection.peer, connection.login_by + LAST_WORDS);
        let served = async {
            if !self.relayed || self.identify(&mut connection).await {
                serve(connection).await;
            }
        };
        let stranger_goes = async {
            tokio::select! {
                biased;
                () = leave.cancelled() => "its place was needed",
                () = known.cancelled() => std::future::pending::<&str>().await,
                () = tokio::time::sleep_until(last) => "no login in time",
            }
        };
        tokio::select! {
            () = served => {}
            why = stranger_goes => tracing::debug!(%peer, why, "stranger sent away"),
            // Engines obey a cut themselves and suspend what is under way; one that does not is dropped.
            () = async { self.lifecycle.cut().await; tokio::time::sleep(LAST_WORDS).await } => {}
        }
    }

    /// Learns from the proxy whose connection it is: only then is it known which network's place it takes.
    async fn identify(&self, connection: &mut Connection) -> bool {
        let proxy = connection.peer;
        match proxy::receive(&mut connection.stream).await {
            Ok(Origin::Relayed { source, destination }) => {
                (connection.peer, connection.local) = (source, destination);
            }
            Ok(Origin::Unknown) => {}
            Err(NoHeader::Nothing) => {
                tracing::debug!(%proxy, "a proxy looked whether anybody is here");
                return false;
            }
            Err(error) => {
                self.complaints.of(Some(proxy), &error.to_string());
                return false;
            }
        }
        match connection.permit.belongs_to(Network::of_peer(connection.peer.ip())) {
            Ok(()) => true,
            Err(why) => {
                self.complaints.of(Some(connection.peer), why);
                false
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gate(connections: u32, connections_per_network: u32, strangers: u32) -> Arc<Gate> {
        Gate::new(Limits { connections, connections_per_network, strangers, ..Limits::default() })
    }

    fn peer(last: u8) -> Network {
        Network::of_peer(IpAddr::from([192, 0, 2, last]))
    }

    #[test]
    fn the_oldest_stranger_makes_room() {
        let gate = gate(10, 10, 2);
        let one = gate.admit(Some(peer(1)));
        let two = gate.admit(Some(peer(2)));
        let three = gate.admit(Some(peer(3)));
        assert!(one.as_ref().is_ok_and(|permit| permit.leave.is_cancelled()));
        assert!(two.as_ref().is_ok_and(|permit| !permit.leave.is_cancelled()));
        assert!(three.is_ok());
    }

    #[test]
    fn who_is_logged_in_stays() {
        let gate = gate(10, 2, 10);
        let mut one = gate.admit(Some(peer(1)));
        let mut two = gate.admit(Some(peer(1)));
        for permit in [&mut one, &mut two] {
            permit.as_mut().map(Permit::logged_in).ok();
        }
        assert_eq!(gate.admit(Some(peer(1))).err(), Some("too many connections from that network"));
        assert!(gate.admit(Some(peer(2))).is_ok());
        drop(one);
        assert!(gate.admit(Some(peer(1))).is_ok());
    }

    #[test]
    fn who_comes_by_a_proxy_counts_once_it_is_known() {
        let gate = gate(10, 1, 2);
        let [mut one, mut two] = [gate.admit(None), gate.admit(None)];
        assert_eq!(gate.places().networks.len(), 0, "a proxy has no network of its own");
        for permit in [&mut one, &mut two] {
            assert_eq!(permit.as_mut().map(|permit| permit.belongs_to(peer(1))).ok(), Some(Ok(())));
        }
        // The second had its network's only place from the first, a stranger.
        assert!(one.as_ref().is_ok_and(|permit| permit.leave.is_cancelled()));
        two.as_mut().map(Permit::logged_in).ok();
        let mut three = gate.admit(None);
        let refused = three.as_mut().map(|permit| permit.belongs_to(peer(1)));
        assert_eq!(refused.ok(), Some(Err("too many connections from that network")));
        drop((one, two, three));
        let places = gate.places();
        assert_eq!((places.total, places.networks.len(), places.strangers.len(), places.leaving), (0, 0, 0, 0));
    }

    #[test]
    fn places_come_back() {
        let gate = gate(2, 2, 2);
        for _ in 0..100 {
            let one = gate.admit(Some(peer(1)));
            let two = gate.admit(Some(peer(1)));
            assert!(one.is_ok() && two.is_ok());
        }
        let places = gate.places();
        assert_eq!((places.total, places.networks.len(), places.strangers.len(), places.leaving), (0, 0, 0, 0));
    }

    #[tokio::test]
    async fn newcomers_wait_for_those_who_leave() {
        let gate = gate(1_000, 1_000, 1);
        let mut crowd: Vec<_> = (0..=MAX_LEAVING + 1).map(|_| gate.admit(Some(peer(1)))).collect();
        let mut settled = std::pin::pin!(gate.settle());
        tokio::select! {
            biased;
            () = &mut settled => panic!("nobody is waited for"),
            () = tokio::task::yield_now() => {}
        }
        drop(crowd.remove(0));
        settled.await;
        assert_eq!(gate.places().leaving, MAX_LEAVING);
    }
}
