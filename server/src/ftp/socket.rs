//! A TCP socket whose urgent data arrive in line. Knows no protocol.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// Without a word from the peer for so long, the kernel asks whether it is there. Also what keeps a firewall on the way
/// from forgetting a control connection during a long transfer.
const KEEPALIVE_AFTER: Duration = Duration::from_mins(1);
/// And again after so long.
const KEEPALIVE_EVERY: Duration = Duration::from_secs(15);
/// So many times without an answer, the connection is broken.
const MAX_KEEPALIVES: u32 = 4;

/// The socket of a control connection.
///
/// A read stops short at the urgent mark although more is there, and the runtime's own reads take a short read for the
/// end of what has arrived: they would wait, with the last byte of an ABOR unread. These reads ask again until the
/// kernel says that there is no more.
pub(super) struct Socket(pub(super) TcpStream);

impl Socket {
    pub(super) fn new(stream: TcpStream) -> Self {
        let socket = SockRef::from(&stream);
        // RFC 1123 section 4.1.2.13: urgent data must come in their place in the stream.
        if let Err(error) = socket.set_out_of_band_inline(true) {
            tracing::debug!(%error, "no urgent data in line");
        }
        // A peer that vanished sends no FIN; while a transfer's bytes flow, nothing else would ever ask for it.
        let keepalive = TcpKeepalive::new().with_time(KEEPALIVE_AFTER).with_interval(KEEPALIVE_EVERY);
        if let Err(error) = socket.set_tcp_keepalive(&keepalive.with_retries(MAX_KEEPALIVES)) {
            tracing::debug!(%error, "no keepalive");
        }
        Self(stream)
    }
}

impl AsyncRead for Socket {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        loop {
            ready!(self.0.poll_read_ready(context))?;
            match self.0.try_read(out.initialize_unfilled()) {
                Ok(read) => {
                    out.advance(read);
                    return Poll::Ready(Ok(()));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use tokio::io::AsyncReadExt;
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn an_urgent_byte_comes_in_its_place_and_a_silent_peer_is_asked_for() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let mut server = Socket::new(listener.accept().await.unwrap().0);
        let ours = SockRef::from(&server.0);
        assert!(ours.keepalive().unwrap() && ours.tcp_keepalive_time().unwrap() == KEEPALIVE_AFTER);
        // As Python's ftplib says it: the whole command urgent, which makes its last byte the urgent one.
        SockRef::from(&client).send_out_of_band(b"ABOR\r\n").unwrap();
        let mut received = Vec::new();
        while received.len() < 6 {
            server.read_buf(&mut received).await.unwrap();
        }
        assert_eq!(received, b"ABOR\r\n");
    }
}
