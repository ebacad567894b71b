//! `Ftp`: an FTP client that does what it is told, byte for byte, in clear or under TLS. Holds no wisdom about what a
//! good client would send; a reply that does not come within its patience is [`Reply::silence`].

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use rustix::net::connect_unspec;
use rustls::{ClientConfig, ClientConnection, StreamOwned};

use crate::command::connect_from;
use crate::tls;

/// A reply, or what came in its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// The code; 0 when the connection ended, 1 when nothing came.
    pub code: u16,
    /// The whole text, lines joined by a line feed, codes included.
    pub text: String,
}

impl Reply {
    /// No reply came in time.
    #[must_use]
    pub fn silence() -> Self {
        Self { code: 1, text: "(silence)".to_owned() }
    }

    /// The port in a reply to EPSV or PASV.
    #[track_caller]
    #[must_use]
    pub fn port(&self) -> u16 {
        let inside = self.text.split(['(', ')']).nth(1).expect("parentheses");
        if let Some(port) = inside.split('|').nth(3) {
            return port.parse().expect("a port");
        }
        let mut numbers = inside.split(',').skip(4).map(|number| number.parse::<u16>().expect("a number"));
        numbers.next().expect("a high byte") * 256 + numbers.next().expect("a low byte")
    }

    fn end() -> Self {
        Self { code: 0, text: "(end of connection)".to_owned() }
    }

    /// Itself, if the code is `code`.
    #[track_caller]
    #[expect(clippy::return_self_not_must_use, reason = "an assertion first")]
    pub fn expect(self, code: u16) -> Self {
        assert_eq!(self.code, code, "{}", self.text);
        self
    }
}

/// A connection, in clear or under TLS.
pub(crate) enum Stream {
    Clear(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
    Gone,
}

impl Stream {
    pub(crate) fn socket(&self) -> Option<&TcpStream> {
        match self {
            Self::Clear(socket) => Some(socket),
            Self::Tls(stream) => Some(&stream.sock),
            Self::Gone => None,
        }
    }
}

impl Read for Stream {
    fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
        match self {
            Self::Clear(socket) => socket.read(buf),
            Self::Tls(stream) => stream.read(buf),
            Self::Gone => Ok(0),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, buf: &[u8]) -> std::io::Result<usize> {
        match self {
            Self::Clear(socket) => socket.write(buf),
            Self::Tls(stream) => stream.write(buf),
            Self::Gone => Err(ErrorKind::BrokenPipe.into()),
        }
    }

    fn flush(&mut self) -> std::io::Result<()> {
        match self {
            Self::Clear(socket) => socket.flush(),
            Self::Tls(stream) => stream.flush(),
            Self::Gone => Ok(()),
        }
    }
}

/// A control connection.
pub struct Ftp {
    stream: Stream,
    peer: SocketAddr,
    received: Vec<u8>,
    patience: Duration,
    tls: Arc<ClientConfig>,
    protected: bool,
    greeting: Reply,
}

impl Ftp {
    /// Connects, and reads the greeting.
    #[track_caller]
    #[must_use]
    pub fn connect(peer: SocketAddr) -> Self {
        Self::over(TcpStream::connect(peer).expect("the server listens"), peer)
    }

    /// Connects from a given address of this machine (any 127.0.0.0/8 will do), and reads the greeting.
    #[track_caller]
    #[must_use]
    pub fn connect_from(source: IpAddr, peer: SocketAddr) -> Self {
        Self::over(connect_from(source, peer).expect("the server listens"), peer)
    }

    /// Connects, sends `first` (a PROXY header, say), and reads the greeting.
    #[track_caller]
    #[must_use]
    pub fn connect_with(first: &[u8], peer: SocketAddr) -> Self {
        let mut socket = TcpStream::connect(peer).expect("the server listens");
        drop(socket.write_all(first));
        Self::over(socket, peer)
    }

    /// Connects, and reads the greeting; `None` where nobody listens.
    #[must_use]
    pub fn try_connect(peer: SocketAddr) -> Option<Self> {
        Some(Self::over(TcpStream::connect(peer).ok()?, peer))
    }

    /// Connects to an implicit listener: TLS first, then the greeting. Data goes in clear until [`Ftp::protect`]
    /// (RFC 4217, 10).
    #[track_caller]
    #[must_use]
    pub fn connect_implicit(peer: SocketAddr) -> Self {
        Self::implicit_over(TcpStream::connect(peer).expect("the server listens"), peer)
    }

    /// The same from a given address of this machine.
    #[track_caller]
    #[must_use]
    pub fn implicit_from(source: IpAddr, peer: SocketAddr) -> Self {
        Self::implicit_over(connect_from(source, peer).expect("the server listens"), peer)
    }

    fn implicit_over(socket: TcpStream, peer: SocketAddr) -> Self {
        let mut client = Self::bare(socket, peer);
        client.upgrade();
        client.greeting = client.reply();
        client
    }

    #[track_caller]
    fn over(socket: TcpStream, peer: SocketAddr) -> Self {
        let mut client = Self::bare(socket, peer);
        client.greeting = client.reply();
        client
    }

    fn bare(socket: TcpStream, peer: SocketAddr) -> Self {
        let mut client = Self {
            stream: Stream::Clear(socket),
            peer,
            received: Vec::new(),
            patience: Duration::ZERO,
            tls: tls::client_config(),
            protected: false,
            greeting: Reply::silence(),
        };
        client.patience(Duration::from_secs(30));
        client
    }

    /// The certificate that the server showed, in DER.
    #[must_use]
    pub fn certificate(&self) -> Option<Vec<u8>> {
        let Stream::Tls(stream) = &self.stream else { return None };
        Some(stream.conn.peer_certificates()?.first()?.to_vec())
    }

    /// How long to wait for a reply or a byte.
    pub fn patience(&mut self, patience: Duration) {
        self.patience = patience;
        if let Some(socket) = self.stream.socket() {
            socket.set_read_timeout(Some(patience)).unwrap();
            socket.set_nodelay(true).unwrap();
        }
    }

    /// The socket itself, for what goes on beneath FTP and TLS.
    #[track_caller]
    #[must_use]
    pub fn socket(&self) -> &TcpStream {
        self.stream.socket().expect("it is connected")
    }

    /// What the server said first.
    #[must_use]
    pub fn greeting(&self) -> &Reply {
        &self.greeting
    }

    /// Sends bytes as they are.
    pub fn send_raw(&mut self, bytes: &[u8]) {
        // A server that has closed the connection is seen by the reply that follows.
        drop(self.stream.write_all(bytes).and_then(|()| self.stream.flush()));
    }

    /// Sends a line.
    pub fn send(&mut self, line: &str) {
        self.send_raw(format!("{line}\r\n").as_bytes());
    }

    /// Sends a line, reads one reply.
    pub fn command(&mut self, line: &str) -> Reply {
        self.send(line);
        self.reply()
    }

    /// Reads one reply.
    pub fn reply(&mut self) -> Reply {
        let mut lines: Vec<String> = Vec::new();
        loop {
            let line = match self.line() {
                Ok(Some(line)) => line,
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                    return Reply::silence();
                }
                Ok(None) | Err(_) => return Reply::end(),
            };
            let last = line.get(3..4) == Some(" ") && line.get(..3).is_some_and(|code| code.parse::<u16>().is_ok());
            let ends = last && lines.first().is_none_or(|first| first.get(..3) == line.get(..3));
            lines.push(line);
            if ends {
                let code = lines.last().and_then(|line| line.get(..3)?.parse().ok()).unwrap_or(0);
                return Reply { code, text: lines.join("\n") };
            }
        }
    }

    fn line(&mut self) -> std::io::Result<Option<String>> {
        loop {
            if let Some(end) = self.received.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.received.drain(..=end).collect();
                return Ok(Some(String::from_utf8_lossy(&line).trim_end_matches(['\r', '\n']).to_owned()));
            }
            let mut chunk = [0; 4096];
            let count = self.stream.read(&mut chunk)?;
            if count == 0 {
                return Ok(None);
            }
            self.received.extend_from_slice(&chunk[..count]);
        }
    }

    /// USER and PASS; the last reply.
    pub fn login(&mut self, user: &str, password: &str) -> Reply {
        let reply = self.command(&format!("USER {user}"));
        if reply.code == 331 { self.command(&format!("PASS {password}")) } else { reply }
    }

    /// AUTH TLS and the handshake; the reply to AUTH.
    pub fn auth_tls(&mut self) -> Reply {
        let reply = self.command("AUTH TLS");
        if reply.code == 234 {
            self.upgrade();
        }
        reply
    }

    /// Begins TLS on the control connection without asking.
    pub fn upgrade(&mut self) {
        self.received.clear();
        self.stream = match std::mem::replace(&mut self.stream, Stream::Gone) {
            Stream::Clear(socket) => Stream::Tls(Box::new(tls::client(&self.tls, socket))),
            other => other,
        };
    }

    /// PBSZ 0 and PROT P; data connections are protected from here on.
    #[track_caller]
    pub fn protect(&mut self) {
        self.command("PBSZ 0").expect(200);
        self.command("PROT P").expect(200);
        self.protected = true;
    }

    /// Connected and logged in, in clear.
    #[track_caller]
    #[must_use]
    pub fn connect_as(peer: SocketAddr, user: &str, password: &str) -> Self {
        let mut ftp = Self::connect(peer);
        ftp.login(user, password).expect(230);
        ftp
    }

    /// AUTH TLS, login, PROT P.
    #[track_caller]
    #[must_use]
    pub fn connect_explicit(peer: SocketAddr, user: &str, password: &str) -> Self {
        let mut client = Self::connect(peer);
        client.auth_tls().expect(234);
        client.login(user, password).expect(230);
        client.protect();
        client
    }

    /// EPSV, then connects.
    #[track_caller]
    pub fn open_data(&mut self) -> Data {
        self.open_data_at(self.peer.ip())
    }

    /// EPSV, then connects to that address.
    #[track_caller]
    pub fn open_data_at(&mut self, ip: IpAddr) -> Data {
        let reply = self.command("EPSV").expect(229);
        let socket = self.dial(ip, &reply);
        Data { stream: Stream::Clear(socket), tls: self.protected.then(|| Arc::clone(&self.tls)) }
    }

    /// Connects to where a reply to EPSV or PASV says; a bare socket.
    #[track_caller]
    #[must_use]
    pub fn connect_data(&self, reply: &Reply) -> TcpStream {
        self.dial(self.peer.ip(), reply)
    }

    #[track_caller]
    fn dial(&self, ip: IpAddr, reply: &Reply) -> TcpStream {
        let socket = TcpStream::connect((ip, reply.port())).expect("the passive port listens");
        socket.set_read_timeout(Some(self.patience)).unwrap();
        socket.set_nodelay(true).unwrap();
        socket
    }

    /// Opens a data connection, sends `line`, and expects a 1xx reply.
    #[track_caller]
    pub fn begin(&mut self, line: &str) -> Data {
        let data = self.open_data();
        let reply = self.command(line);
        assert!((100..200).contains(&reply.code), "{line}: {}", reply.text);
        data.start()
    }

    /// A whole upload by `line` (`STOR a.jpg`); the final reply.
    #[track_caller]
    pub fn upload(&mut self, line: &str, bytes: &[u8]) -> Reply {
        let mut data = self.open_data();
        let reply = self.command(line);
        if !(100..200).contains(&reply.code) {
            return reply;
        }
        data = data.start();
        data.write(bytes);
        data.finish();
        self.reply()
    }

    /// A whole download or listing by `line` (`RETR a.jpg`): what came, and the final reply.
    #[track_caller]
    pub fn download(&mut self, line: &str) -> (Vec<u8>, Reply) {
        let data = self.open_data();
        let reply = self.command(line);
        if !(100..200).contains(&reply.code) {
            return (Vec::new(), reply);
        }
        let bytes = data.start().read_to_end();
        (bytes, self.reply())
    }

    /// Ends the control connection with a reset.
    pub fn reset(self) {
        if let Some(socket) = self.stream.socket() {
            let _ = connect_unspec(socket);
        }
    }

    /// Ends the control connection in silence, as a dying process does: FIN, no QUIT, no close_notify.
    pub fn cut(self) {
        if let Some(socket) = self.stream.socket() {
            drop(socket.shutdown(Shutdown::Both));
        }
    }
}

/// A data connection.
pub struct Data {
    stream: Stream,
    tls: Option<Arc<ClientConfig>>,
}

impl Data {
    /// Begins TLS where data is protected. Servers shake hands only after the transfer's command.
    #[must_use]
    pub fn start(mut self) -> Self {
        if let Some(config) = self.tls.take() {
            self.stream = match self.stream {
                Stream::Clear(socket) => Stream::Tls(Box::new(tls::client(&config, socket))),
                other => other,
            };
        }
        self
    }

    /// Writes; errors show in the reply.
    pub fn write(&mut self, bytes: &[u8]) {
        drop(self.stream.write_all(bytes).and_then(|()| self.stream.flush()));
    }

    /// Reads to the end.
    #[must_use]
    pub fn read_to_end(mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        drop(self.stream.read_to_end(&mut bytes));
        bytes
    }

    /// Ends in an orderly way: close_notify under TLS, then FIN; reads what the server still has to say (TLS 1.3
    /// tickets, say), because closing over unread bytes would be a reset.
    pub fn finish(mut self) {
        if let Stream::Tls(stream) = &mut self.stream {
            // An empty file, too, has its handshake.
            while stream.conn.is_handshaking() && stream.conn.complete_io(&mut stream.sock).is_ok() {}
            stream.conn.send_close_notify();
            drop(stream.flush());
        }
        if let Some(socket) = self.stream.socket() {
            drop(socket.shutdown(Shutdown::Write));
        }
        drop(self.stream.read_to_end(&mut Vec::new()));
    }

    /// Ends with FIN alone: no close_notify under TLS.
    pub fn fin(self) {
        if let Some(socket) = self.stream.socket() {
            drop(socket.shutdown(Shutdown::Write));
        }
    }

    /// Ends with a reset.
    pub fn reset(self) {
        if let Some(socket) = self.stream.socket() {
            let _ = connect_unspec(socket);
        }
    }
}
