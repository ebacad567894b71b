//! Telling an event by a signed HTTP request (Standard Webhooks). The name is looked up once, each address is checked, and
//! the connection goes to one that passed; no redirect is followed and no proxy asked. Knows no queue.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use aws_lc_rs::hmac;
use base64ct::{Base64, Encoding};
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{CONTENT_TYPE, HOST, HeaderValue, RETRY_AFTER, USER_AGENT};
use hyper::{Method, Request, Response, body::Incoming};
use hyper_util::rt::TokioIo;
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_util::task::AbortOnDropHandle;

use super::failure::Failure;
use super::network;
use crate::config::{self, Target};
use crate::telemetry::printable;

/// Read of an answer at most, in bytes.
const MAX_ANSWER_BYTES: usize = 16 * 1_024;
/// Shown of it, in characters.
const SHOWN_CHARS: usize = 200;
/// Addresses of a name that are tried.
const MAX_ADDRESSES: usize = 4;
/// Longest pause that a receiver can ask for, in seconds.
const MAX_RETRY_AFTER_SECONDS: u64 = 2 * 3_600;

/// A receiver.
pub(super) struct Webhook {
    target: Target,
    key: hmac::Key,
    tls: Option<(TlsConnector, ServerName<'static>)>,
    private_networks: bool,
}

/// A connection that may be used again, with the task that drives it.
#[derive(Default)]
pub(super) struct Line(Option<(SendRequest<Full<Bytes>>, AbortOnDropHandle<()>)>);

impl Webhook {
    /// From a checked configuration.
    ///
    /// # Errors
    /// One sentence: a file of authorities that cannot be read, a name that no certificate can have.
    pub(super) fn new(sink: &config::Sink) -> Result<Self, String> {
        let target = sink.target()?;
        let key = hmac::Key::new(hmac::HMAC_SHA256, &sink.key()?);
        let tls = if target.tls {
            let name =
                ServerName::try_from(target.host.clone()).map_err(|error| format!("{}: {error}", target.host))?;
            let authorities = sink.ca.as_deref().filter(|path| !path.as_os_str().is_empty());
            let settings = crate::tls::client(authorities).map_err(|error| error.to_string())?;
            Some((TlsConnector::from(Arc::new(settings)), name))
        } else {
            None
        };
        Ok(Self { target, key, tls, private_networks: sink.allow_private_networks })
    }

    /// One attempt; how it was acknowledged. `line` is used again if it still stands.
    pub(super) async fn tell(
        &self,
        line: &mut Line,
        id: &str,
        body: &Bytes,
        now: SystemTime,
    ) -> Result<String, Failure> {
        let kept = match line.0.take() {
            Some((mut send, driver)) => send.ready().await.is_ok().then_some((send, driver)),
            None => None,
        };
        match kept {
            Some((mut send, driver)) => match send.send_request(self.request(id, body, now)?).await {
                Ok(answer) => self.read(line, answer, send, driver).await,
                // Closed just then, which a kept connection may be at any time: it is worth another.
                Err(_) => self.tell_anew(line, id, body, now).await,
            },
            None => self.tell_anew(line, id, body, now).await,
        }
    }

    async fn tell_anew(&self, line: &mut Line, id: &str, body: &Bytes, now: SystemTime) -> Result<String, Failure> {
        let (mut send, driver) = self.connect().await?;
        let answer = send.send_request(self.request(id, body, now)?).await.map_err(http)?;
        self.read(line, answer, send, driver).await
    }

    fn request(&self, id: &str, body: &Bytes, now: SystemTime) -> Result<Request<Full<Bytes>>, Failure> {
        let timestamp = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs().to_string();
        let mut signature = HeaderValue::from_str(&signature(&self.key, id, &timestamp, body)).map_err(http)?;
        signature.set_sensitive(true);
        Request::builder()
            .method(Method::POST)
            .uri(&self.target.path)
            .header(HOST, &self.target.authority)
            .header(USER_AGENT, concat!("landfall/", env!("CARGO_PKG_VERSION")))
            .header(CONTENT_TYPE, "application/cloudevents+json")
            .header("webhook-id", id)
            .header("webhook-timestamp", timestamp)
            .header("webhook-signature", signature)
            .body(Full::new(body.clone()))
            .map_err(http)
    }

    async fn read(
        &self,
        line: &mut Line,
        answer: Response<Incoming>,
        send: SendRequest<Full<Bytes>>,
        driver: AbortOnDropHandle<()>,
    ) -> Result<String, Failure> {
        let status = answer.status();
        let retry_after = answer.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
        let body = Limited::new(answer.into_body(), MAX_ANSWER_BYTES).collect().await;
        if status.is_success() {
            // The status has said it all; a connection whose answer was not read to its end is not used again.
            line.0 = body.is_ok().then_some((send, driver));
            return Ok(format!("status {}", status.as_u16()));
        }
        let text = body.map(http_body_util::Collected::to_bytes).unwrap_or_default();
        let text: String = String::from_utf8_lossy(&text).chars().take(SHOWN_CHARS).collect();
        let retry_after = retry_after.map(|seconds| Duration::from_secs(seconds.min(MAX_RETRY_AFTER_SECONDS)));
        Err(Failure::status(status.as_u16(), printable(text.trim()).as_str(), retry_after))
    }

    async fn connect(&self) -> Result<(SendRequest<Full<Bytes>>, AbortOnDropHandle<()>), Failure> {
        let stream = self.reach().await?;
        // A small request must not wait for the acknowledgement of the one before.
        stream.set_nodelay(true).map_err(|error| self.connect_failed(&error))?;
        let Some((connector, name)) = &self.tls else { return drive(stream).await };
        let secured = connector
            .connect(name.clone(), stream)
            .await
            .map_err(|error| Failure::Tls { host: self.target.host.clone(), detail: error.to_string() })?;
        drive(secured).await
    }

    /// Looks the name up and connects to an address that was checked: nothing is looked up a second time.
    async fn reach(&self) -> Result<TcpStream, Failure> {
        let host = &self.target.host;
        let dns = |detail: String| Failure::Dns { host: host.clone(), detail };
        let found = tokio::net::lookup_host((host.as_str(), self.target.port)).await;
        let addresses: Vec<SocketAddr> = found.map_err(|error| dns(error.to_string()))?.collect();
        if addresses.is_empty() {
            return Err(dns("it has no address".to_owned()));
        }
        if !self.private_networks
            && let Some(closed) = addresses.iter().find(|address| !network::is_public(address.ip()))
        {
            return Err(Failure::Private { host: host.clone(), address: closed.ip() });
        }
        let mut last = io::Error::from(io::ErrorKind::NotConnected);
        for address in addresses.into_iter().take(MAX_ADDRESSES) {
            match TcpStream::connect(address).await {
                Ok(stream) => return Ok(stream),
                Err(error) => last = error,
            }
        }
        Err(self.connect_failed(&last))
    }

    fn connect_failed(&self, error: &io::Error) -> Failure {
        Failure::Connect { host: format!("{} port {}", self.target.host, self.target.port), detail: error.to_string() }
    }
}

async fn drive<S>(stream: S) -> Result<(SendRequest<Full<Bytes>>, AbortOnDropHandle<()>), Failure>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (send, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(http)?;
    let driver = tokio::spawn(async move {
        // How it ends is the request's to tell.
        drop(connection.await);
    });
    Ok((send, AbortOnDropHandle::new(driver)))
}

fn http(error: impl std::error::Error) -> Failure {
    Failure::Http(match error.source() {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    })
}

/// The header `webhook-signature`.
fn signature(key: &hmac::Key, id: &str, timestamp: &str, body: &[u8]) -> String {
    let mut signed = hmac::Context::with_key(key);
    for part in [id.as_bytes(), b".", timestamp.as_bytes(), b".", body] {
        signed.update(part);
    }
    format!("v1,{}", Base64::encode_string(signed.sign().as_ref()))
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    /// By another implementation: Python's hmac, `base64.b64encode(hmac.digest(bytes(range(24)), b"id.1700000000.{}", "sha256"))`.
    #[test]
    fn signatures_are_those_of_standard_webhooks() {
        let key: Vec<u8> = (0..24).collect();
        let key = hmac::Key::new(hmac::HMAC_SHA256, &key);
        assert_eq!(signature(&key, "id", "1700000000", b"{}"), "v1,eMDS3hEMiC6aoJ+osyLHnCRUz8jMCzqaNAYgP2uSVo4=");
    }

    #[tokio::test]
    async fn a_name_that_leads_home_is_refused() {
        let sink = config::Sink {
            url: Some("https://localhost:1/".to_owned()),
            secret: Some(config::Secret::new("whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA".to_owned())),
            ..config::Sink::default()
        };
        let webhook = Webhook::new(&sink).unwrap();
        assert!(matches!(webhook.reach().await, Err(Failure::Private { address, .. }) if address.is_loopback()));
        let allowed = Webhook::new(&config::Sink { allow_private_networks: true, ..sink }).unwrap();
        assert!(matches!(allowed.reach().await, Err(Failure::Connect { .. })));
    }
}
