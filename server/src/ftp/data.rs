//! The data connection on its own thread: blocking reads and writes, in clear or under TLS, with time limits.
//! Knows no file and no reply; says how it ended as [`Break`].

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::{HandshakeKind, ServerConfig, ServerConnection};

/// What is read from the socket at a time under TLS: sixteen records.
const TLS_READ_BYTES: usize = 256 * 1_024;
/// How long a finished download waits for its reader's end.
const LINGER: Duration = Duration::from_secs(2);

/// How a data connection is to be spoken on.
#[derive(Clone)]
pub(super) struct Terms {
    /// `None` in clear.
    pub(super) tls: Option<Arc<ServerConfig>>,
    /// Must it resume the control connection's session?
    pub(super) reuse_required: bool,
    /// Must an upload end with close_notify?
    pub(super) close_notify_required: bool,
    /// The whole TLS handshake.
    pub(super) handshake: Duration,
    /// Without a byte.
    pub(super) idle: Duration,
}

/// Why a data connection ended before its end.
#[derive(Debug, thiserror::Error)]
pub(super) enum Break {
    /// No byte for too long.
    #[error("no byte went over the data connection for {} s", .0.as_secs())]
    Idle(Duration),
    /// The peer's TCP end came without its TLS end.
    #[error("the data connection ended without a TLS close_notify, so the end of the file is not certain")]
    NoCloseNotify,
    /// TLS found something wrong.
    #[error("TLS failed on the data connection: {0}")]
    Tls(rustls::Error),
    /// TLS found something wrong in the handshake.
    #[error("the TLS handshake on the data connection failed: {0}")]
    Handshake(rustls::Error),
    /// The handshake took too long.
    #[error("the TLS handshake on the data connection took too long")]
    HandshakeTimeout,
    /// The peer went away during the handshake.
    #[error("the data connection was closed during its TLS handshake")]
    HandshakeClosed,
    /// The session was not the control connection's.
    #[error("the data connection must resume the TLS session of the control connection")]
    NotResumed,
    /// A reset and its like.
    #[error("the data connection broke")]
    Io(#[source] io::Error),
}

/// An open data connection.
pub(super) enum Data {
    Clear(Clear),
    Tls(Box<Tls>),
}

pub(super) struct Clear {
    socket: TcpStream,
    idle: Duration,
}

pub(super) struct Tls {
    connection: ServerConnection,
    input: BufReader<TcpStream>,
    idle: Duration,
    close_notify_required: bool,
}

impl Data {
    /// Takes a connected socket into use; under TLS, does the handshake.
    pub(super) fn open(socket: TcpStream, terms: &Terms) -> Result<Self, Break> {
        socket.set_nonblocking(false).map_err(Break::Io)?;
        // Corked writes are large anyway; the last piece must not wait for an acknowledgement.
        socket.set_nodelay(true).map_err(Break::Io)?;
        let opened = match &terms.tls {
            None => Self::Clear(Clear { socket, idle: terms.idle }),
            Some(config) => Self::Tls(Box::new(Tls::handshake(socket, config.clone(), terms)?)),
        };
        let socket = opened.socket();
        socket.set_read_timeout(Some(terms.idle)).map_err(Break::Io)?;
        socket.set_write_timeout(Some(terms.idle)).map_err(Break::Io)?;
        Ok(opened)
    }

    fn socket(&self) -> &TcpStream {
        match self {
            Self::Clear(clear) => &clear.socket,
            Self::Tls(tls) => tls.input.get_ref(),
        }
    }

    /// Does an orderly end mean that the peer has sent all it wanted to? In clear it may as well have died.
    pub(super) fn end_is_certain(&self) -> bool {
        match self {
            Self::Clear(_) => false,
            Self::Tls(tls) => tls.close_notify_required,
        }
    }

    /// The bare socket, where bytes go over it as they are.
    pub(super) fn clear_socket(&self) -> Option<&TcpStream> {
        match self {
            Self::Clear(clear) => Some(&clear.socket),
            Self::Tls(_) => None,
        }
    }

    /// Receives; 0 is the orderly end.
    pub(super) fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Break> {
        match self {
            Self::Clear(clear) => retry(|| (&clear.socket).read(buffer)).map_err(|error| broken(error, clear.idle)),
            Self::Tls(tls) => tls.read(buffer),
        }
    }

    /// Sends all.
    pub(super) fn write_all(&mut self, bytes: &[u8]) -> Result<(), Break> {
        match self {
            Self::Clear(clear) => (&clear.socket).write_all(bytes).map_err(|error| broken(error, clear.idle)),
            Self::Tls(tls) => tls.write_all(bytes),
        }
    }

    /// Says that all is sent.
    pub(super) fn finish_sending(&mut self) -> Result<(), Break> {
        if let Self::Tls(tls) = self {
            tls.connection.send_close_notify();
            tls.flush()?;
        }
        self.socket().shutdown(Shutdown::Write).map_err(Break::Io)
    }

    /// After [`Data::finish_sending`]: waits a little for the reader's own end. Closing a socket over its unread
    /// close_notify would send a reset, and a reset may take the last bytes away from it.
    pub(super) fn linger(self) {
        let Self::Tls(tls) = self else { return };
        let mut socket = tls.input.into_inner();
        let until = Instant::now() + LINGER;
        let mut sink = [0; 512];
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() || socket.set_read_timeout(Some(left)).is_err() {
                return;
            }
            if !matches!(socket.read(&mut sink), Ok(1..)) {
                return;
            }
        }
    }

    /// After an upload's orderly end: answers it, for the clients that wait for the answer, and closes.
    pub(super) fn close_received(mut self) {
        if let Self::Tls(tls) = &mut self {
            tls.connection.send_close_notify();
            // The peer may be gone already, as it may.
            tls.flush().ok();
        }
    }
}

impl Tls {
    fn handshake(socket: TcpStream, config: Arc<ServerConfig>, terms: &Terms) -> Result<Self, Break> {
        let deadline = Instant::now() + terms.handshake;
        let mut connection = ServerConnection::new(config).map_err(Break::Handshake)?;
        // Large writes are encrypted in one go and sent in one go.
        connection.set_buffer_limit(None);
        let input = BufReader::with_capacity(TLS_READ_BYTES, socket);
        let close_notify_required = terms.close_notify_required;
        let mut tls = Self { connection, input, idle: terms.idle, close_notify_required };
        while tls.connection.is_handshaking() {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(Break::HandshakeTimeout);
            }
            let socket = tls.input.get_ref();
            socket.set_read_timeout(Some(left)).map_err(Break::Io)?;
            socket.set_write_timeout(Some(left)).map_err(Break::Io)?;
            tls.flush().map_err(handshake_break)?;
            if tls.connection.is_handshaking() && tls.receive().map_err(handshake_break)? == 0 {
                return Err(Break::HandshakeClosed);
            }
        }
        tls.flush().map_err(handshake_break)?;
        if terms.reuse_required && tls.connection.handshake_kind() != Some(HandshakeKind::Resumed) {
            tls.connection.send_close_notify();
            tls.flush().ok();
            return Err(Break::NotResumed);
        }
        Ok(tls)
    }

    /// Takes some bytes from the socket and deciphers them; 0 is the TCP end.
    fn receive(&mut self) -> Result<usize, Break> {
        let Self { connection, input, idle, .. } = self;
        if input.buffer().is_empty() {
            let arrived = retry(|| input.fill_buf().map(<[u8]>::len)).map_err(|error| broken(error, *idle))?;
            if arrived < TLS_READ_BYTES {
                acknowledge(input.get_ref());
            }
        }
        let received = retry(|| connection.read_tls(input)).map_err(|error| broken(error, *idle))?;
        if let Err(error) = self.connection.process_new_packets() {
            // The alert that says why.
            self.flush().ok();
            return Err(Break::Tls(error));
        }
        Ok(received)
    }

    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Break> {
        let mut filled = 0;
        loop {
            let room = buffer.get_mut(filled..).unwrap_or_default();
            match self.connection.reader().read(room) {
                // close_notify, or a buffer that is full.
                Ok(0) => return Ok(filled),
                Ok(read) => {
                    filled += read;
                    continue;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                // TCP's end. What was deciphered before it is handed on first.
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                    return match filled {
                        0 if self.close_notify_required => Err(Break::NoCloseNotify),
                        filled => Ok(filled),
                    };
                }
                Err(error) => return Err(Break::Io(error)),
            }
            // Nothing more has come already: do not make what is here wait for it.
            if filled > 0 && self.input.buffer().is_empty() {
                return Ok(filled);
            }
            self.receive()?;
            if self.connection.wants_write() {
                self.flush()?;
            }
        }
    }

    fn write_all(&mut self, mut bytes: &[u8]) -> Result<(), Break> {
        while !bytes.is_empty() {
            let written = self.connection.writer().write(bytes).map_err(Break::Io)?;
            bytes = bytes.get(written..).unwrap_or_default();
            self.flush()?;
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), Break> {
        let Self { connection, input, idle, .. } = self;
        let mut socket = input.get_ref();
        while connection.wants_write() {
            match retry(|| connection.write_tls(&mut socket)) {
                Ok(0) => return Err(Break::Io(io::ErrorKind::WriteZero.into())),
                Ok(_) => {}
                Err(error) => return Err(broken(error, *idle)),
            }
        }
        Ok(())
    }
}

/// Acknowledges what has arrived at once. A client's last bytes, and its close_notify, are a small segment, which Nagle's
/// algorithm (RFC 9293 section 3.7.4) holds back over there until all before it is acknowledged; and the kernel here
/// would wait 40 ms for something to send along with that.
fn acknowledge(socket: &TcpStream) {
    if let Err(error) = rustix::net::sockopt::set_tcp_quickack(socket, true) {
        tracing::trace!(%error, "no quick acknowledgement");
    }
}

/// A signal is no reason to stop.
fn retry<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            done => return done,
        }
    }
}

/// A socket with a timeout says `WouldBlock` when it is over.
pub(super) fn broken(error: io::Error, idle: Duration) -> Break {
    match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => Break::Idle(idle),
        _ => Break::Io(error),
    }
}

fn handshake_break(error: Break) -> Break {
    match error {
        Break::Idle(_) => Break::HandshakeTimeout,
        Break::Tls(error) => Break::Handshake(error),
        other => other,
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use rustix::net::sockopt;

    use super::*;
    use crate::config;

    #[test]
    fn what_arrives_is_acknowledged_at_once() {
        let place = tempfile::tempdir().unwrap();
        let config = crate::tls::Tls::load(&config::Tls::default(), place.path(), &[]).unwrap().configs().data;
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let socket = listener.accept().unwrap().0;
        sockopt::set_tcp_quickack(&socket, false).unwrap();
        let mut tls = Tls {
            connection: ServerConnection::new(config).unwrap(),
            input: BufReader::with_capacity(TLS_READ_BYTES, socket),
            idle: Duration::from_secs(30),
            close_notify_required: true,
        };
        client.write_all(&[22]).unwrap();
        assert_eq!(tls.receive().unwrap(), 1);
        assert!(sockopt::tcp_quickack(tls.input.get_ref()).unwrap());
    }
}
