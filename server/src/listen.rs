//! The one accept loop of every listener: permits, deadlines, backoff when descriptors run out.
//! Refuses to know what is spoken on a connection.

use std::net::SocketAddr;

use tokio::net::TcpStream;
use tokio::time::Instant;

/// An accepted connection with its place in the limits. `TCP_NODELAY` is set.
#[derive(Debug)]
pub struct Connection {
    /// The socket.
    pub stream: TcpStream,
    /// Who connected (IPv4 in IPv6 already unwrapped).
    pub peer: SocketAddr,
    /// The address they connected to.
    pub local: SocketAddr,
    /// The login must be done by then, or the connection is closed.
    pub login_by: Instant,
    /// The place in the limits; given back when dropped. Keep it as long as the socket.
    pub permit: Permit,
}

/// A place in the limits.
#[derive(Debug)]
pub struct Permit {}

impl Permit {
    /// Says that the login is done: the connection no longer counts as a stranger's.
    pub fn logged_in(&mut self) {}
}
