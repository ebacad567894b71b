//! The door of SSH: passwords, keyboard-interactive with one password prompt, and public keys, each of them a
//! `Login::attempt`. Counts tries and offers over the whole connection. Knows no channel.
//!
//! Nothing is carried over from one user name to another, nor from one request to the next: a request is let in or
//! refused by itself. (What a client proved for one name must not help it with another.)

use std::net::SocketAddr;
use std::sync::Arc;

use landfall_auth::{Attempt, Credential, Denied, Login, Protocol};
use russh::keys::{Algorithm, PublicKey};
use russh::server::Auth;
use russh::{MethodKind, MethodSet};
use tokio::sync::oneshot;

use crate::delivery::{Delivery, Session};
use crate::lifecycle::Lifecycle;

/// Keys offered on one connection, with or without a signature.
const MAX_OFFERS: u32 = 20;
/// Requests of any kind before login on one connection, prompts of keyboard-interactive included.
pub(super) const MAX_REQUESTS: u32 = 40;

/// Ends the connection: too much was asked before login, or an SSH error.
#[derive(Debug, thiserror::Error)]
pub(super) enum Stop {
    /// More requests than [`MAX_REQUESTS`], or tries than allowed.
    #[error("too many login requests")]
    TooMany,
    /// russh's own.
    #[error(transparent)]
    Ssh(#[from] russh::Error),
}

/// Who may come in, on one connection.
pub(super) struct Door {
    login: Login,
    delivery: Arc<Delivery>,
    lifecycle: Lifecycle,
    peer: SocketAddr,
    max_tries: u32,
    tries: u32,
    offers: u32,
    requests: u32,
    /// The user whom keyboard-interactive asked last.
    asked: Option<String>,
    admitted: Option<oneshot::Sender<Session>>,
}

/// Ways in that are announced.
pub(super) fn methods() -> MethodSet {
    MethodSet::from(&[MethodKind::PublicKey, MethodKind::Password, MethodKind::KeyboardInteractive][..])
}

impl Door {
    /// Of a new connection. The session of whoever comes in goes to `admitted`.
    pub(super) fn new(
        login: Login,
        delivery: Arc<Delivery>,
        lifecycle: Lifecycle,
        peer: SocketAddr,
        max_tries: u32,
        admitted: oneshot::Sender<Session>,
    ) -> Self {
        let admitted = Some(admitted);
        Self { login, delivery, lifecycle, peer, max_tries, tries: 0, offers: 0, requests: 0, asked: None, admitted }
    }

    /// `none`: how clients ask which ways there are.
    pub(super) fn none(&mut self) -> Result<Auth, Stop> {
        self.count()?;
        Ok(self.refused())
    }

    /// A password.
    pub(super) async fn password(&mut self, user: &str, password: &str) -> Result<Auth, Stop> {
        self.count()?;
        self.attempt(user, Credential::Password(password)).await
    }

    /// Keyboard-interactive: one prompt, for clients that know no other way to send a password. Without an answer it is
    /// the request that wants to be asked.
    pub(super) async fn interactive(&mut self, user: &str, answer: Option<Vec<u8>>) -> Result<Auth, Stop> {
        self.count()?;
        let Some(answer) = answer else {
            self.asked = Some(user.to_owned());
            return Ok(Auth::Partial {
                name: "".into(),
                instructions: "".into(),
                prompts: vec![("Password: ".into(), false)].into(),
            });
        };
        if self.asked.take().as_deref() != Some(user) {
            return Ok(self.refused());
        }
        let Ok(password) = String::from_utf8(answer) else { return Ok(self.refused()) };
        self.attempt(user, Credential::Password(&password)).await
    }

    /// A key whose owner would like to know whether a signature is worth it. Never counts as a failure.
    pub(super) async fn offer(&mut self, user: &str, key: &PublicKey, algorithm: &Algorithm) -> Result<Auth, Stop> {
        self.count()?;
        self.offers += 1;
        let Some(line) = self.line(key, algorithm) else { return Ok(self.refused()) };
        let known = self.login.key_is_known(self.asking(user, Credential::PublicKey(&line))).await;
        Ok(if known { Auth::Accept } else { self.refused() })
    }

    /// A key that the client has proved to own.
    pub(super) async fn key(&mut self, user: &str, key: &PublicKey, algorithm: &Algorithm) -> Result<Auth, Stop> {
        let Some(line) = self.line(key, algorithm) else { return Ok(self.refused()) };
        self.attempt(user, Credential::PublicKey(&line)).await
    }

    /// Certificates are not taken.
    pub(super) fn certificate(&mut self) -> Result<Auth, Stop> {
        self.count()?;
        Ok(self.refused())
    }

    /// The one line of a key, unless it may not be used: too many were offered, or the signature would be SHA-1's.
    fn line(&self, key: &PublicKey, algorithm: &Algorithm) -> Option<String> {
        if self.offers > MAX_OFFERS || matches!(algorithm, Algorithm::Rsa { hash: None }) {
            return None;
        }
        key.to_openssh().ok()
    }

    fn asking<'a>(&self, user: &'a str, credential: Credential<'a>) -> Attempt<'a> {
        Attempt { user, credential, peer: self.peer.ip(), protocol: Protocol::Sftp }
    }

    /// The door itself logs each decision.
    async fn attempt(&mut self, user: &str, credential: Credential<'_>) -> Result<Auth, Stop> {
        if self.lifecycle.is_draining() {
            return Ok(self.refused());
        }
        let denied = match self.login.attempt(self.asking(user, credential)).await {
            Ok(user) => return Ok(self.open(user).await),
            Err(denied) => denied,
        };
        // A store that cannot answer is not the client's failure.
        if denied != Denied::Unavailable {
            self.tries += 1;
        }
        Ok(self.refused())
    }

    /// The credentials are right: is there room for one more session?
    async fn open(&mut self, user: landfall_auth::User) -> Auth {
        let name = user.name.clone();
        match self.delivery.open(user, Protocol::Sftp, self.peer).await {
            Ok(session) => {
                match self.admitted.take().map(|admitted| admitted.send(session)) {
                    Some(Ok(())) => Auth::Accept,
                    // The connection is being closed.
                    Some(Err(_)) | None => Auth::reject(),
                }
            }
            Err(refusal) => {
                tracing::warn!(user = %name, peer = %self.peer, protocol = "sftp", reason = %refusal, "let in, but no session");
                self.refused()
            }
        }
    }

    fn count(&mut self) -> Result<(), Stop> {
        self.requests += 1;
        if self.requests > MAX_REQUESTS { Err(Stop::TooMany) } else { Ok(()) }
    }

    /// No, and what may be tried next: nothing, when there were tries enough.
    fn refused(&self) -> Auth {
        let methods = if self.tries >= self.max_tries { MethodSet::empty() } else { methods() };
        Auth::Reject { proceed_with_methods: Some(methods), partial_success: false }
    }

    /// True when the client had its tries: the connection is closed at the next.
    pub(super) fn is_shut(&self) -> bool {
        self.tries >= self.max_tries
    }
}
