//! The control connection: a socket, in clear or under TLS, that lines come from and replies go to.
//! Knows no command; every wait has a limit here or at its caller.

use std::future::poll_fn;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustls::{ProtocolVersion, ServerConfig};
use tokio::io::{AsyncRead, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::lines::{Lines, TooLong};
use super::reply::Reply;
use super::socket::Socket;
use crate::tls::tickets;

/// A peer that takes no reply for so long is gone.
const SEND_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a closed connection waits for its peer's end, so that the last reply is not lost to a reset.
const LINGER_TIMEOUT: Duration = Duration::from_secs(1);
/// And how much it reads meanwhile.
const LINGER_BYTES: usize = 64 * 1_024;
/// Bytes per read.
const READ_BYTES: usize = 1_024;

enum Stream {
    Clear(Socket),
    Tls(Box<TlsStream<Socket>>),
    /// A handshake failed: nothing can be said any more.
    Gone,
}

/// What the kernel knows of the connection that has not been read yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pending {
    /// Nothing.
    Nothing,
    /// Bytes that may hold a command.
    Bytes,
    /// Its end: the peer has closed it, or it broke.
    End,
}

/// The control connection.
pub(super) struct Control {
    stream: Stream,
    /// Received and not yet obeyed.
    pub(super) lines: Lines,
    /// The client uses a ticket up: another goes out with the next reply.
    ticket_due: bool,
}

impl Control {
    pub(super) fn new(stream: TcpStream) -> Self {
        Self { stream: Stream::Clear(Socket::new(stream)), lines: Lines::default(), ticket_due: false }
    }

    pub(super) fn is_tls(&self) -> bool {
        matches!(self.stream, Stream::Tls(_))
    }

    /// The name that the client asked for in its handshake, in lower case.
    pub(super) fn server_name(&self) -> Option<String> {
        let Stream::Tls(stream) = &self.stream else { return None };
        stream.get_ref().1.server_name().map(str::to_ascii_lowercase)
    }

    /// A data connection may use up the client's ticket, and none comes over it: the next reply brings another.
    pub(super) fn renew_ticket(&mut self) {
        let Stream::Tls(stream) = &self.stream else { return };
        self.ticket_due = stream.get_ref().1.protocol_version() == Some(ProtocolVersion::TLSv1_3);
    }

    /// Goes over to TLS. Whatever came before the handshake is thrown away.
    pub(super) async fn start_tls(&mut self, config: Arc<ServerConfig>, within: Duration) -> io::Result<()> {
        self.lines.clear();
        let Stream::Clear(stream) = std::mem::replace(&mut self.stream, Stream::Gone) else {
            return Err(io::ErrorKind::InvalidInput.into());
        };
        let stream = timeout(within, TlsAcceptor::from(config).accept(stream)).await??;
        self.stream = Stream::Tls(Box::new(stream));
        Ok(())
    }

    /// Receives some bytes; 0 is the end, and also what a full buffer gets. Nothing is lost when the future is dropped.
    pub(super) async fn fill(&mut self) -> io::Result<usize> {
        poll_fn(|context| self.poll_fill(context)).await
    }

    fn poll_fill(&mut self, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        // On the stack of the poll, not in the future: an idle session holds no read buffer.
        let mut chunk = [0; READ_BYTES];
        let room = self.lines.room().min(READ_BYTES);
        let mut chunk = ReadBuf::new(&mut chunk[..room]);
        ready!(self.poll_read(context, &mut chunk))?;
        self.lines.push(chunk.filled());
        Poll::Ready(Ok(chunk.filled().len()))
    }

    fn poll_read(&mut self, context: &mut Context<'_>, chunk: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Stream::Clear(stream) => Pin::new(stream).poll_read(context, chunk),
            Stream::Tls(stream) => Pin::new(stream).poll_read(context, chunk),
            Stream::Gone => Poll::Ready(Ok(())),
        }
    }

    /// The next line; `None` at the end of the connection.
    pub(super) async fn line(&mut self) -> io::Result<Result<Option<Vec<u8>>, TooLong>> {
        loop {
            match self.lines.take() {
                Ok(None) => {}
                line => return Ok(line),
            }
            if self.fill().await? == 0 {
                return Ok(Ok(None));
            }
        }
    }

    pub(super) async fn send(&mut self, reply: &Reply) -> io::Result<()> {
        let mut out = Vec::with_capacity(128);
        reply.encode(&mut out);
        timeout(SEND_TIMEOUT, async {
            match &mut self.stream {
                Stream::Clear(stream) => stream.write_all(&out).await,
                Stream::Tls(stream) => {
                    if std::mem::take(&mut self.ticket_due) {
                        stream.write_all(tickets::again()).await?;
                    }
                    stream.write_all(&out).await?;
                    stream.flush().await
                }
                Stream::Gone => Err(io::ErrorKind::NotConnected.into()),
            }
        })
        .await?
    }

    /// Asks the kernel what has arrived and was not read, whatever the runtime knows of it yet.
    pub(super) fn pending(&self) -> Pending {
        let Some(socket) = self.socket() else { return Pending::End };
        let mut fds = [PollFd::from_borrowed_fd(socket, PollFlags::IN | PollFlags::RDHUP)];
        match poll(&mut fds, Some(&Timespec::default())) {
            Ok(0) => Pending::Nothing,
            Ok(_) if fds[0].revents() == PollFlags::IN => Pending::Bytes,
            Ok(_) | Err(_) => Pending::End,
        }
    }

    fn socket(&self) -> Option<BorrowedFd<'_>> {
        match &self.stream {
            Stream::Clear(stream) => Some(stream.0.as_fd()),
            Stream::Tls(stream) => Some(stream.get_ref().0.0.as_fd()),
            Stream::Gone => None,
        }
    }

    /// Ends the connection so that what was said last arrives: a socket closed over unread bytes sends a reset, which
    /// may overtake the reply.
    pub(super) async fn close(mut self) {
        let goodbye = async {
            match &mut self.stream {
                Stream::Clear(stream) => stream.shutdown().await?,
                Stream::Tls(stream) => stream.shutdown().await?,
                Stream::Gone => return Ok(()),
            }
            let mut read = 0;
            while read < LINGER_BYTES {
                self.lines.clear();
                match self.fill().await? {
                    0 => break,
                    n => read += n,
                }
            }
            io::Result::Ok(())
        };
        if let Ok(Err(error)) = timeout(LINGER_TIMEOUT, goodbye).await {
            tracing::trace!(%error, "control connection was gone at its close");
        }
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::io::Write;

    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn the_kernel_is_asked_and_not_the_runtime() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let mut control = Control::new(listener.accept().await.unwrap().0);
        // Lets the runtime find out that nothing has come.
        assert!(timeout(Duration::from_millis(1), control.fill()).await.is_err());
        assert_eq!(control.pending(), Pending::Nothing);
        client.write_all(b"ABOR\r\n").unwrap();
        // No await since: the runtime cannot know of it.
        assert!(poll_fn(|context| Poll::Ready(control.poll_fill(context).is_pending())).await);
        assert_eq!(control.pending(), Pending::Bytes);
        assert_eq!(control.line().await.unwrap().unwrap().unwrap(), b"ABOR");
        assert_eq!(control.pending(), Pending::Nothing);
        client.write_all(b"NOOP\r\n").unwrap();
        drop(client);
        assert_eq!(control.pending(), Pending::End);
    }
}
