//! Where data connections come from: passive ports and the address that PASV tells, or the peer's own in active mode.
//! Knows no TLS and no transfer.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use aws_lc_rs::rand;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::time::{Instant, sleep, timeout, timeout_at};

use crate::config::{PassiveHost, PortRange};

/// How long PASV waits for a port when all are taken: other sessions keep theirs for milliseconds.
const PORT_WAIT: Duration = Duration::from_secs(2);
/// Between two looks.
const PORT_RETRY: Duration = Duration::from_millis(20);
/// Ports tried per look, so that a huge range that is taken costs no more than this.
const MAX_PORTS_TRIED: u32 = 4_096;
/// Connections that wait to be looked at, strangers' among them.
const BACKLOG_CONNECTIONS: i32 = 128;
/// How long a looked-up address is believed.
const LOOKUP_KEPT: Duration = Duration::from_mins(1);
/// How long a lookup may take.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(5);
/// Pause after the system refused to accept, for want of descriptors.
const ACCEPT_RETRY: Duration = Duration::from_millis(50);

/// The way the next data connection comes.
pub(super) enum Way {
    /// The peer connects to this.
    Passive(TcpListener),
    /// We connect to that.
    Active(SocketAddr),
}

/// Binds a passive port on `ip`. The kernel is the judge of what is free, so there is no race and nothing to leak: the
/// port is given back when the listener is dropped. A first port chosen at random is hard to foresee for somebody who
/// wants to be faster than its owner.
pub(super) async fn listen(ip: IpAddr, range: PortRange) -> io::Result<TcpListener> {
    let deadline = Instant::now() + PORT_WAIT;
    loop {
        match try_ports(ip, range) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && Instant::now() < deadline => {
                sleep(PORT_RETRY).await;
            }
            bound => return bound.and_then(TcpListener::from_std),
        }
    }
}

fn try_ports(ip: IpAddr, range: PortRange) -> io::Result<std::net::TcpListener> {
    let count = u32::from(range.last.saturating_sub(range.first)) + 1;
    let mut random = [0; 4];
    rand::fill(&mut random).map_err(|_| io::Error::other("no randomness"))?;
    let start = u32::from_ne_bytes(random) % count;
    let mut last = io::ErrorKind::AddrInUse.into();
    for step in 0..count.min(MAX_PORTS_TRIED) {
        let offset = u16::try_from((start + step) % count).unwrap_or(0);
        match bind(SocketAddr::new(ip, range.first.saturating_add(offset))) {
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

/// Waits for the data connection. Whoever comes from another address than `only_from` is sent away and the wait goes
/// on, so that a stranger cannot use up the listener.
pub(super) async fn connect(
    way: Way,
    local: IpAddr,
    only_from: Option<IpAddr>,
    within: Duration,
) -> io::Result<TcpStream> {
    let deadline = Instant::now() + within;
    let connected = timeout_at(deadline, async {
        match way {
            Way::Passive(listener) => accept(&listener, only_from).await,
            Way::Active(address) => {
                let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
                socket.bind(SocketAddr::new(local, 0))?;
                socket.connect(address).await
            }
        }
    });
    connected.await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
}

async fn accept(listener: &TcpListener, only_from: Option<IpAddr>) -> io::Result<TcpStream> {
    loop {
        match listener.accept().await {
            Ok((stream, peer)) if only_from.is_none_or(|only| only == peer.ip().to_canonical()) => return Ok(stream),
            Ok((_, peer)) => tracing::warn!(%peer, "a stranger came to a passive port and was sent away"),
            Err(_) => sleep(ACCEPT_RETRY).await,
        }
    }
}

/// The last answer for `passive_host`.
#[derive(Default)]
pub(super) struct Lookup(Mutex<Option<(Instant, String, Ipv4Addr)>>);

impl Lookup {
    /// The IPv4 address that PASV tells; `None` when a host name cannot be looked up.
    pub(super) async fn address(&self, host: &PassiveHost, own: Ipv4Addr) -> Option<Ipv4Addr> {
        let host = match host {
            PassiveHost::Auto => return Some(own),
            PassiveHost::Host(host) => host,
        };
        if let Ok(address) = host.parse() {
            return Some(address);
        }
        if let Some(kept) = self.kept(host) {
            return Some(kept);
        }
        let found = timeout(LOOKUP_TIMEOUT, tokio::net::lookup_host((host.as_str(), 0))).await.ok()?.ok()?;
        let address = found.into_iter().find_map(|address| match address.ip().to_canonical() {
            IpAddr::V4(v4) => Some(v4),
            IpAddr::V6(_) => None,
        })?;
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some((Instant::now(), host.clone(), address));
        Some(address)
    }

    fn kept(&self, host: &str) -> Option<Ipv4Addr> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.as_ref().filter(|(at, name, _)| name == host && at.elapsed() < LOOKUP_KEPT).map(|(_, _, address)| *address)
    }
}

/// Reads `h1,h2,h3,h4,p1,p2` (RFC 959 section 5.3.2).
#[must_use]
pub fn parse_port(text: &str) -> Option<SocketAddr> {
    let mut numbers = [0u8; 6];
    let mut parts = text.trim().split(',');
    for number in &mut numbers {
        *number = parts.next()?.trim().parse().ok()?;
    }
    let [a, b, c, d, high, low] = numbers;
    parts.next().is_none().then(|| SocketAddr::from(([a, b, c, d], u16::from_be_bytes([high, low]))))
}

/// Reads `|1|192.0.2.1|5000|` (RFC 2428 section 2). The address must be of the family that the number says.
#[must_use]
pub fn parse_eprt(text: &str) -> Option<SocketAddr> {
    let text = text.trim();
    let delimiter = text.chars().next()?;
    let mut parts = text.split(delimiter).skip(1);
    let (family, address, port) = (parts.next()?, parts.next()?, parts.next()?);
    let address: IpAddr = address.parse().ok()?;
    let of_family = match family {
        "1" => address.is_ipv4(),
        "2" => address.is_ipv6(),
        _ => false,
    };
    let ends = parts.next() == Some("") && parts.next().is_none();
    (of_family && ends).then_some(SocketAddr::new(address, port.parse().ok()?))
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

    use super::*;

    const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

    #[tokio::test]
    async fn a_range_runs_out_and_comes_back() {
        // A port that was free a moment ago, as a range of one.
        let port = try_ports(HERE, PortRange { first: 0, last: 0 }).unwrap().local_addr().unwrap().port();
        let range = PortRange { first: port, last: port };
        let held = listen(HERE, range).await.unwrap();
        assert_eq!(held.local_addr().unwrap().port(), port);
        assert_eq!(try_ports(HERE, range).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        let waiting = tokio::spawn(listen(HERE, range));
        tokio::task::yield_now().await;
        drop(held);
        waiting.await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn a_port_with_ended_connections_can_be_had_again() {
        let port = try_ports(HERE, PortRange { first: 0, last: 0 }).unwrap().local_addr().unwrap().port();
        let range = PortRange { first: port, last: port };
        for _ in 0..3 {
            let listener = listen(HERE, range).await.unwrap();
            let client = TcpStream::connect((HERE, port)).await.unwrap();
            let server = connect(Way::Passive(listener), HERE, Some(HERE), Duration::from_secs(5)).await.unwrap();
            // The server closes first and has the port in TIME_WAIT.
            drop(server);
            drop(client);
        }
    }

    #[tokio::test]
    async fn a_stranger_does_not_use_up_the_listener() {
        let listener = listen(HERE, PortRange { first: 0, last: 0 }).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let stranger = TcpSocket::new_v4().unwrap();
        stranger.bind("127.0.0.2:0".parse().unwrap()).unwrap();
        let _stranger = stranger.connect(SocketAddr::new(HERE, port)).await.unwrap();
        let owner = TcpStream::connect((HERE, port)).await.unwrap();
        let taken = connect(Way::Passive(listener), HERE, Some(HERE), Duration::from_secs(5)).await.unwrap();
        assert_eq!(taken.peer_addr().unwrap(), owner.local_addr().unwrap());
    }

    #[tokio::test]
    async fn nobody_comes() {
        let listener = listen(HERE, PortRange { first: 0, last: 0 }).await.unwrap();
        let error = connect(Way::Passive(listener), HERE, None, Duration::from_millis(20)).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test]
    async fn what_pasv_tells() {
        let lookup = Lookup::default();
        let own = Ipv4Addr::new(192, 0, 2, 1);
        assert_eq!(lookup.address(&PassiveHost::Auto, own).await, Some(own));
        let host = PassiveHost::Host("198.51.100.7".to_owned());
        assert_eq!(lookup.address(&host, own).await, Some(Ipv4Addr::new(198, 51, 100, 7)));
        let host = PassiveHost::Host("localhost".to_owned());
        assert_eq!(lookup.address(&host, own).await, Some(Ipv4Addr::LOCALHOST));
        assert_eq!(lookup.kept("localhost"), Some(Ipv4Addr::LOCALHOST));
        assert_eq!(lookup.address(&PassiveHost::Host("nowhere.invalid".to_owned()), own).await, None);
    }

    #[test]
    fn addresses() {
        assert_eq!(parse_port("192,0,2,1,19,136"), Some("192.0.2.1:5000".parse().unwrap()));
        for wrong in ["", "1,2,3,4,5", "1,2,3,4,5,6,7", "1,2,3,4,5,256", "a,2,3,4,5,6", "1,2,3,4,-5,6"] {
            assert_eq!(parse_port(wrong), None, "{wrong}");
        }
        assert_eq!(parse_eprt("|1|192.0.2.1|5000|"), Some("192.0.2.1:5000".parse().unwrap()));
        assert_eq!(parse_eprt("!2!::1!5000!"), Some("[::1]:5000".parse().unwrap()));
        for wrong in
            ["", "|", "|1|::1|5000|", "|3|192.0.2.1|5000|", "|1|192.0.2.1|5000", "|1|192.0.2.1|70000|", "|1|x|1||"]
        {
            assert_eq!(parse_eprt(wrong), None, "{wrong}");
        }
        assert_eq!(format_pasv(Ipv4Addr::new(192, 0, 2, 1), 5000), "(192,0,2,1,19,136)");
    }

    proptest! {
        #[test]
        fn any_text_is_answered(text in ".{0,60}") {
            let _ = (parse_port(&text), parse_eprt(&text));
        }
    }
}
