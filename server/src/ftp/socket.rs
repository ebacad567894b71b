//! A TCP socket whose urgent data arrive in line. Knows no protocol.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// The socket of a control connection.
///
/// A read stops short at the urgent mark although more is there, and the runtime's own reads take a short read for the
/// end of what has arrived: they would wait, with the last byte of an ABOR unread. These reads ask again until the
/// kernel says that there is no more.
pub(super) struct Socket(pub(super) TcpStream);

impl Socket {
    pub(super) fn new(stream: TcpStream) -> Self {
        // RFC 1123 section 4.1.2.13: urgent data must come in their place in the stream.
        if let Err(error) = socket2::SockRef::from(&stream).set_out_of_band_inline(true) {
            tracing::debug!(%error, "no urgent data in line");
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
    async fn an_urgent_byte_comes_in_its_place() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let mut server = Socket::new(listener.accept().await.unwrap().0);
        // As Python's ftplib says it: the whole command urgent, which makes its last byte the urgent one.
        socket2::SockRef::from(&client).send_out_of_band(b"ABOR\r\n").unwrap();
        let mut received = Vec::new();
        while received.len() < 6 {
            server.read_buf(&mut received).await.unwrap();
        }
        assert_eq!(received, b"ABOR\r\n");
    }
}
