//! Where data connections come from: passive ports and who may come to them, the address that PASV tells, or the peer's
//! own in active mode. Knows no TLS and no transfer.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aws_lc_rs::rand;
use landfall_auth::Network;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use crate::config::{PassiveHost, PortRange};
use crate::proxy::{self, Origin};

/// How long PASV waits for a port when all are taken: other sessions keep theirs for milliseconds.
const PORT_WAIT: Duration = Duration::from_secs(2);
/// Between two looks.
const PORT_RETRY: Duration = Duration::from_millis(20);
/// Ports tried per look, so that a huge range that is taken costs no more than this.
const MAX_PORTS_TRIED: u32 = 4_096;
/// Connections that wait to be looked at, strangers' among them.
const BACKLOG_CONNECTIONS: i32 = 128;
/// Proxies' connections at one port whose header has not come yet.
const MAX_HEADERS_AWAITED: usize = 16;
/// How long a looked-up address is believed.
const LOOKUP_KEPT: Duration = Duration::from_mins(1);
/// How long a lookup may take.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(5);
/// After a lookup that failed, how long the answer before it goes on to hold.
const LOOKUP_RETRY: Duration = Duration::from_secs(10);
/// Pause after the system refused to accept, for want of descriptors.
const ACCEPT_RETRY: Duration = Duration::from_millis(50);

/// The way the next data connection comes.
pub(super) enum Way {
    /// The peer connects to this.
    Passive(Box<Passive>),
    /// We connect to that.
    Active(SocketAddr),
}

/// The ports that this server listens on, however briefly: active mode must not be used to make it speak to itself.
#[derive(Clone, Default)]
pub(super) struct OwnPorts(Arc<Mutex<BTreeMap<u16, u32>>>);

/// One of them, until it is dropped.
struct OwnPort(OwnPorts, u16);

impl OwnPorts {
    /// One that stays.
    pub(super) fn add(&self, port: u16) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(port).or_default() += 1;
    }

    fn hold(&self, port: u16) -> OwnPort {
        self.add(port);
        OwnPort(self.clone(), port)
    }

    /// Does this very server listen there?
    pub(super) fn lead_home(&self, address: SocketAddr) -> bool {
        let listens = self.0.lock().unwrap_or_else(PoisonError::into_inner).contains_key(&address.port());
        listens && is_here(address.ip())
    }
}

impl Drop for OwnPort {
    fn drop(&mut self) {
        let mut ports = self.0.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = ports.get_mut(&self.1) {
            *count -= 1;
            if *count == 0 {
                ports.remove(&self.1);
            }
        }
    }
}

/// An address of this machine: the kernel lets nobody bind another.
fn is_here(ip: IpAddr) -> bool {
    !UdpSocket::bind((ip, 0)).is_err_and(|error| error.kind() == io::ErrorKind::AddrNotAvailable)
}

/// Who may open a data connection.
#[derive(Clone)]
pub(super) struct Rightful {
    /// Whoever the control connection comes from; `None` is anybody.
    pub(super) only_from: Option<IpAddr>,
    /// They say in a PROXY header whom they bring.
    pub(super) proxies: Vec<Network>,
}

impl Rightful {
    fn may_come(&self, peer: IpAddr) -> bool {
        self.only_from.is_none_or(|only| only == peer)
    }

    /// The connection that a proxy brings, if it is the right one's.
    async fn relayed(self, mut stream: TcpStream, proxy: IpAddr) -> Option<TcpStream> {
        let client = match proxy::receive(&mut stream).await.ok()? {
            Origin::Relayed { source, .. } => source.ip(),
            Origin::Unknown => proxy,
        };
        self.may_come(client).then_some(stream)
    }
}

/// A passive port. From its opening on, whoever comes is looked at, and the wrong ones are sent away: they neither use
/// it up nor fill its queue before the transfer's command.
pub(super) struct Passive {
    /// `None` from the moment the right one is there: the port is free for others then.
    open: Option<(TcpListener, OwnPort)>,
    rightful: Rightful,
    /// Connections of proxies whose header is on its way.
    headers: JoinSet<Option<TcpStream>>,
    arrived: Option<TcpStream>,
    /// The log has its line.
    complained: bool,
}

impl Passive {
    /// Opens a port on `own`. The kernel is the judge of what is free, so there is no race and nothing to leak: the port
    /// is given back when this is dropped. A first port chosen at random is hard to foresee for somebody who wants to be
    /// faster than its owner.
    pub(super) async fn open(
        own: SocketAddr,
        range: PortRange,
        rightful: Rightful,
        ports: &OwnPorts,
    ) -> io::Result<(Self, u16)> {
        let listener = listen(own, range).await?;
        let port = listener.local_addr()?.port();
        let open = Some((listener, ports.hold(port)));
        Ok((Self { open, rightful, headers: JoinSet::new(), arrived: None, complained: false }, port))
    }

    /// Looks at who comes until the right one has. Nothing is lost when the future is dropped.
    pub(super) async fn arrival(&mut self) {
        while self.arrived.is_none() {
            let Some((listener, _)) = &self.open else { return };
            tokio::select! {
                accepted = listener.accept(), if self.headers.len() < MAX_HEADERS_AWAITED => match accepted {
                    Ok((stream, peer)) => self.look_at(stream, peer.ip().to_canonical()),
                    Err(_) => sleep(ACCEPT_RETRY).await,
                },
                Some(relayed) = self.headers.join_next() => match relayed {
                    Ok(Some(stream)) => self.arrived = Some(stream),
                    Ok(None) | Err(_) => self.complain(None),
                },
            }
        }
        self.open = None;
        self.headers.abort_all();
    }

    fn look_at(&mut self, stream: TcpStream, peer: IpAddr) {
        if self.rightful.proxies.iter().any(|network| network.contains(peer)) {
            self.headers.spawn(self.rightful.clone().relayed(stream, peer));
        } else if self.rightful.may_come(peer) {
            self.arrived = Some(stream);
        } else {
            self.complain(Some(peer));
        }
    }

    /// Once for each port: a crowd of strangers must not fill the log.
    fn complain(&mut self, peer: Option<IpAddr>) {
        if !std::mem::replace(&mut self.complained, true) {
            let peer = peer.map(tracing::field::display);
            tracing::warn!(peer, "a stranger came to a passive port and was sent away");
        }
    }
}

async fn listen(own: SocketAddr, range: PortRange) -> io::Result<TcpListener> {
    let deadline = Instant::now() + PORT_WAIT;
    loop {
        match try_ports(own, range) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && Instant::now() < deadline => {
                sleep(PORT_RETRY).await;
            }
            bound => return bound.and_then(TcpListener::from_std),
        }
    }
}

fn try_ports(mut own: SocketAddr, range: PortRange) -> io::Result<std::net::TcpListener> {
    let count = u32::from(range.last.saturating_sub(range.first)) + 1;
    let mut random = [0; 4];
    rand::fill(&mut random).map_err(|_| io::Error::other("no randomness"))?;
    let start = u32::from_ne_bytes(random) % count;
    let mut last = io::ErrorKind::AddrInUse.into();
    for step in 0..count.min(MAX_PORTS_TRIED) {
        let offset = u16::try_from((start + step) % count).unwrap_or(0);
        own.set_port(range.first.saturating_add(offset));
        match bind(own) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => last = error,
            bound => return bound,
        }
    }
    Err(last)
}

fn bind(address: SocketAddr) -> io::Result<std::net::TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // Connections that ended on this port a moment ago must not keep it; a second listener is refused all the same.
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG_CONNECTIONS)?;
    Ok(socket.into())
}

/// Waits for the data connection, or opens it from `own`.
pub(super) async fn connect(way: Way, own: SocketAddr, within: Duration, ports: &OwnPorts) -> io::Result<TcpStream> {
    let connected = timeout_at(Instant::now() + within, async {
        match way {
            Way::Passive(mut passive) => {
                passive.arrival().await;
                passive.arrived.take().ok_or_else(|| io::ErrorKind::NotConnected.into())
            }
            // A passive port of another session may have been opened there since PORT came.
            Way::Active(address) if ports.lead_home(address) => Err(io::ErrorKind::PermissionDenied.into()),
            Way::Active(address) => {
                let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
                // Clients look where it comes from. Behind a proxy this end may be of the other family.
                if own.is_ipv4() == address.is_ipv4() {
                    let mut own = own;
                    own.set_port(0);
                    socket.bind(own)?;
                }
                socket.connect(address).await
            }
        }
    });
    connected.await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
}

/// The last answer for `passive_host`.
#[derive(Default)]
pub(super) struct Lookup(Mutex<Option<Answer>>);

struct Answer {
    host: String,
    address: Ipv4Addr,
    until: Instant,
}

impl Lookup {
    /// The IPv4 address that PASV tells; `None` when a host name cannot be looked up and never could.
    pub(super) async fn address(&self, host: &PassiveHost, own: Ipv4Addr) -> Option<Ipv4Addr> {
        let host = match host {
            PassiveHost::Auto => return Some(own),
            PassiveHost::Host(host) => host,
        };
        if let Ok(address) = host.parse() {
            return Some(address);
        }
        let kept = self.kept(host);
        if let Some((address, true)) = kept {
            return Some(address);
        }
        let (address, time) = match look_up(host).await {
            Some(address) => (address, LOOKUP_KEPT),
            // A name server that is away for a moment is no reason to stop all transfers.
            None => (kept?.0, LOOKUP_RETRY),
        };
        let answer = Answer { host: host.clone(), address, until: Instant::now() + time };
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(answer);
        Some(address)
    }

    /// The last answer for that name, and whether it is to be believed without asking again.
    fn kept(&self, host: &str) -> Option<(Ipv4Addr, bool)> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.as_ref().filter(|kept| kept.host == host).map(|kept| (kept.address, Instant::now() < kept.until))
    }
}

async fn look_up(host: &str) -> Option<Ipv4Addr> {
    let found = timeout(LOOKUP_TIMEOUT, tokio::net::lookup_host((host, 0))).await.ok()?.ok()?;
    found.into_iter().find_map(|address| match address.ip().to_canonical() {
        IpAddr::V4(v4) => Some(v4),
        IpAddr::V6(_) => None,
    })
}

/// A number of digits only: neither sign nor blank.
fn number<T: std::str::FromStr>(text: &str) -> Option<T> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

/// Reads `h1,h2,h3,h4,p1,p2` (RFC 959 section 5.3.2).
#[must_use]
pub fn parse_port(text: &str) -> Option<SocketAddr> {
    let mut numbers = [0u8; 6];
    let mut parts = text.trim().split(',');
    for place in &mut numbers {
        *place = number(parts.next()?)?;
    }
    let [a, b, c, d, high, low] = numbers;
    parts.next().is_none().then(|| SocketAddr::from(([a, b, c, d], u16::from_be_bytes([high, low]))))
}

/// Why EPRT's argument is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BadEprt {
    /// Not of the form.
    Form,
    /// Of the form, with a family that does not exist.
    Family,
}

/// Reads `|1|192.0.2.1|5000|` (RFC 2428 section 2). The address must be of the family that the number says.
///
/// # Errors
/// Which of the two it is: RFC 2428 has a reply of its own for an unknown family.
pub fn parse_eprt(text: &str) -> Result<SocketAddr, BadEprt> {
    let text = text.trim();
    let delimiter = text.chars().next().filter(char::is_ascii_graphic).ok_or(BadEprt::Form)?;
    let parts: Vec<&str> = text.splitn(6, delimiter).collect();
    let &["", family, address, port, ""] = parts.as_slice() else { return Err(BadEprt::Form) };
    let port = number(port).ok_or(BadEprt::Form)?;
    let address: IpAddr = match number::<u32>(family).ok_or(BadEprt::Form)? {
        1 => address.parse().map(IpAddr::V4),
        2 => address.parse().map(IpAddr::V6),
        _ => return Err(BadEprt::Family),
    }
    .map_err(|_| BadEprt::Form)?;
    Ok(SocketAddr::new(address, port))
}

/// Writes `(h1,h2,h3,h4,p1,p2)`.
#[must_use]
pub fn format_pasv(address: Ipv4Addr, port: u16) -> String {
    let [a, b, c, d] = address.octets();
    let [high, low] = port.to_be_bytes();
    format!("({a},{b},{c},{d},{high},{low})")
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use proptest::prelude::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    const HERE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
    const ANY: PortRange = PortRange { first: 0, last: 0 };
    const SOON: Duration = Duration::from_secs(5);

    fn rightful() -> Rightful {
        Rightful { only_from: Some(HERE.ip()), proxies: Vec::new() }
    }

    async fn open(range: PortRange, rightful: Rightful) -> (Way, SocketAddr) {
        let (passive, port) = Passive::open(HERE, range, rightful, &OwnPorts::default()).await.unwrap();
        (Way::Passive(Box::new(passive)), SocketAddr::new(HERE.ip(), port))
    }

    async fn taken(way: Way) -> io::Result<TcpStream> {
        connect(way, HERE, SOON, &OwnPorts::default()).await
    }

    async fn stranger(source: &str, address: SocketAddr) -> TcpStream {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(SocketAddr::new(source.parse().unwrap(), 0)).unwrap();
        socket.connect(address).await.unwrap()
    }

    fn free_port() -> PortRange {
        // A port that was free a moment ago, as a range of one.
        let port = try_ports(HERE, ANY).unwrap().local_addr().unwrap().port();
        PortRange { first: port, last: port }
    }

    #[tokio::test]
    async fn a_range_runs_out_and_comes_back() {
        let range = free_port();
        let held = listen(HERE, range).await.unwrap();
        assert_eq!(held.local_addr().unwrap().port(), range.first);
        assert_eq!(try_ports(HERE, range).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        let waiting = tokio::spawn(listen(HERE, range));
        tokio::task::yield_now().await;
        drop(held);
        waiting.await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn a_port_with_ended_connections_can_be_had_again() {
        let range = free_port();
        for _ in 0..3 {
            let (way, address) = open(range, rightful()).await;
            let client = TcpStream::connect(address).await.unwrap();
            let server = taken(way).await.unwrap();
            // The server closes first and has the port in TIME_WAIT.
            drop(server);
            drop(client);
        }
    }

    #[tokio::test]
    async fn a_port_is_free_as_soon_as_its_owner_has_come() {
        let range = free_port();
        let ports = OwnPorts::default();
        let (mut passive, port) = Passive::open(HERE, range, rightful(), &ports).await.unwrap();
        assert!(ports.lead_home(SocketAddr::new(HERE.ip(), port)));
        let _owner = TcpStream::connect((HERE.ip(), port)).await.unwrap();
        passive.arrival().await;
        assert!(!ports.lead_home(SocketAddr::new(HERE.ip(), port)));
        try_ports(HERE, range).unwrap();
        passive.arrival().await;
        assert!(taken(Way::Passive(Box::new(passive))).await.is_ok());
    }

    #[tokio::test]
    async fn strangers_do_not_use_up_the_port() {
        let (way, address) = open(ANY, rightful()).await;
        let Way::Passive(mut passive) = way else { panic!("it is passive") };
        // More than its queue holds, each of whom would keep the owner out of it.
        for _ in 0..2 * BACKLOG_CONNECTIONS {
            let mut stranger = stranger("127.0.0.2", address).await;
            tokio::select! {
                () = passive.arrival() => panic!("a stranger was let in"),
                end = stranger.read_u8() => assert!(end.is_err(), "a stranger was answered"),
            }
        }
        let owner = TcpStream::connect(address).await.unwrap();
        let taken = taken(Way::Passive(passive)).await.unwrap();
        assert_eq!(taken.peer_addr().unwrap(), owner.local_addr().unwrap());
    }

    #[tokio::test]
    async fn a_proxy_says_whom_it_brings() {
        let behind =
            || Rightful { only_from: Some("192.0.2.7".parse().unwrap()), proxies: vec!["127.0.0.1".parse().unwrap()] };
        let (way, address) = open(ANY, behind()).await;
        // One that says nothing, one without a header, one with a stranger behind it, and somebody else who lies.
        let _silent = TcpStream::connect(address).await.unwrap();
        let mut wrong = TcpStream::connect(address).await.unwrap();
        wrong.write_all(b"forged, and long enough for a header").await.unwrap();
        let mut other = TcpStream::connect(address).await.unwrap();
        other.write_all(b"PROXY TCP4 192.0.2.8 192.0.2.1 4000 5000\r\nforged").await.unwrap();
        let mut liar = stranger("127.0.0.2", address).await;
        liar.write_all(b"PROXY TCP4 192.0.2.7 192.0.2.1 4000 5000\r\nforged").await.ok();
        let mut own = TcpStream::connect(address).await.unwrap();
        own.write_all(b"PROXY TCP4 192.0.2.7 192.0.2.1 4000 5000\r\nown").await.unwrap();
        drop(own);
        let mut bytes = Vec::new();
        taken(way).await.unwrap().read_to_end(&mut bytes).await.unwrap();
        assert_eq!(bytes, b"own");

        // Unknown is the proxy itself, which is nobody's client.
        let (way, address) = open(ANY, behind()).await;
        let mut unknown = TcpStream::connect(address).await.unwrap();
        unknown.write_all(b"PROXY UNKNOWN\r\n").await.unwrap();
        let late = connect(way, HERE, Duration::from_millis(200), &OwnPorts::default()).await;
        assert_eq!(late.unwrap_err().kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test]
    async fn who_is_behind_a_proxy_may_come_without_it() {
        let rightful =
            Rightful { only_from: Some("127.0.0.3".parse().unwrap()), proxies: vec!["127.0.0.1".parse().unwrap()] };
        let (way, address) = open(ANY, rightful).await;
        let owner = stranger("127.0.0.3", address).await;
        assert_eq!(taken(way).await.unwrap().peer_addr().unwrap(), owner.local_addr().unwrap());
    }

    #[tokio::test]
    async fn nobody_comes() {
        let (way, _) = open(ANY, rightful()).await;
        let error = connect(way, HERE, Duration::from_millis(20), &OwnPorts::default()).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test]
    async fn the_server_does_not_connect_to_itself() {
        let ports = OwnPorts::default();
        let listener = TcpListener::bind(HERE).await.unwrap();
        let address = listener.local_addr().unwrap();
        connect(Way::Active(address), HERE, SOON, &ports).await.unwrap();
        let held = ports.hold(address.port());
        let error = connect(Way::Active(address), HERE, SOON, &ports).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::PermissionDenied);
        // The same port of another machine is none of ours.
        assert!(!ports.lead_home(SocketAddr::new("192.0.2.1".parse().unwrap(), address.port())));
        drop(held);
        connect(Way::Active(address), HERE, SOON, &ports).await.unwrap();
    }

    #[tokio::test]
    async fn what_pasv_tells() {
        let lookup = Lookup::default();
        let own = Ipv4Addr::new(192, 0, 2, 1);
        assert_eq!(lookup.address(&PassiveHost::Auto, own).await, Some(own));
        let host = |name: &str| PassiveHost::Host(name.to_owned());
        assert_eq!(lookup.address(&host("198.51.100.7"), own).await, Some(Ipv4Addr::new(198, 51, 100, 7)));
        assert_eq!(lookup.address(&host("localhost"), own).await, Some(Ipv4Addr::LOCALHOST));
        assert_eq!(lookup.kept("localhost"), Some((Ipv4Addr::LOCALHOST, true)));
        assert_eq!(lookup.address(&host("nowhere.invalid"), own).await, None);
        // What was told before: asked for again when its time is over, and believed on when nobody answers.
        let told = |name: &str| {
            let answer = Answer { host: name.to_owned(), address: own, until: Instant::now() };
            *lookup.0.lock().unwrap() = Some(answer);
        };
        told("localhost");
        assert_eq!(lookup.address(&host("localhost"), own).await, Some(Ipv4Addr::LOCALHOST));
        told("nowhere.invalid");
        assert_eq!(lookup.address(&host("nowhere.invalid"), own).await, Some(own));
        assert_eq!(lookup.kept("nowhere.invalid"), Some((own, true)));
    }

    #[test]
    fn addresses() {
        assert_eq!(parse_port("192,0,2,1,19,136"), Some("192.0.2.1:5000".parse().unwrap()));
        assert_eq!(parse_port("192,000,002,001,019,136"), Some("192.0.2.1:5000".parse().unwrap()));
        for wrong in [
            "",
            "1,2,3,4,5",
            "1,2,3,4,5,6,7",
            "1,2,3,4,5,256",
            "a,2,3,4,5,6",
            "1,2,3,4,-5,6",
            "+1,2,3,4,5,6",
            "1, 2,3,4,5,6",
            "1,2,3,4,5,6,",
            "1,2,3,4,,6",
            "0x7f,0,0,1,5,6",
            "127.0.0.1,5,6",
            "1,2,3,4,5,99999999999999999999",
        ] {
            assert_eq!(parse_port(wrong), None, "{wrong}");
        }
        assert_eq!(parse_eprt("|1|192.0.2.1|5000|"), Ok("192.0.2.1:5000".parse().unwrap()));
        assert_eq!(parse_eprt("!2!::1!5000!"), Ok("[::1]:5000".parse().unwrap()));
        for wrong in [
            "",
            "|",
            "|1|::1|5000|",
            "|2|192.0.2.1|5000|",
            "|1|192.0.2.1|5000",
            "|1|192.0.2.1|5000|x",
            "|1|192.0.2.1|5000||",
            "|1|192.0.2.1|70000|",
            "|1|192.0.2.1|+5000|",
            "|1|192.0.2.1| 5000|",
            "|1|192.0.2.1||",
            "|1|x|1||",
            "|1|010.0.0.1|5000|",
            "|2|fe80::1%1|5000|",
            "|+1|192.0.2.1|5000|",
            "§1§192.0.2.1§5000§",
        ] {
            assert_eq!(parse_eprt(wrong), Err(BadEprt::Form), "{wrong}");
        }
        assert_eq!(parse_eprt("|3|192.0.2.1|5000|"), Err(BadEprt::Family));
        assert_eq!(format_pasv(Ipv4Addr::new(192, 0, 2, 1), 5000), "(192,0,2,1,19,136)");
    }

    proptest! {
        #[test]
        fn any_text_is_answered(text in ".{0,60}") {
            let _ = (parse_port(&text), parse_eprt(&text));
        }
    }
}
