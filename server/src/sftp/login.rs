//! The door of SSH: passwords, keyboard-interactive with password and verification code, public keys and certificates,
//! each of them a `Login::step`. Counts tries and offers over the whole connection. Knows no channel.
//!
//! What somebody has shown, and what was asked of them, belongs to one user name: with the first request for another it
//! is forgotten. (What a client proved for one name must not help it with another.)

use std::net::SocketAddr;
use std::sync::Arc;

use landfall_auth::{
    Attempt, Credential, Denied, Factor, Login, Passed, Protocol, PublicKey as Authority, Step, Unanswered,
};
use russh::keys::{Algorithm, Certificate, PublicKey};
use russh::server::Auth;
use russh::{MethodKind, MethodSet};
use tokio::sync::oneshot;

use super::certificates;
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

/// What the configuration says about coming in.
#[derive(Debug, Clone, Default)]
pub(super) struct Rules {
    /// Wrong passwords on one connection.
    pub(super) max_tries: u32,
    /// Whose certificates are looked at.
    pub(super) authorities: Vec<Authority>,
}

/// Who may come in, on one connection.
pub(super) struct Door {
    login: Login,
    delivery: Arc<Delivery>,
    lifecycle: Lifecycle,
    peer: SocketAddr,
    rules: Rules,
    tries: u32,
    offers: u32,
    requests: u32,
    /// The user whom all below is about.
    user: String,
    /// What keyboard-interactive asked last, if it was the last thing that happened.
    asked: Option<Question>,
    /// What was right, while more is demanded.
    passed: Option<Passed>,
    admitted: Option<oneshot::Sender<Session>>,
}

/// What an answer is an answer to.
enum Question {
    Password,
    /// The code that belongs to a password.
    CodeFor(Unanswered),
    /// The code by itself.
    Code,
}

impl Question {
    /// As the user sees it. OpenSSH's client puts the name before it.
    fn prompt(&self) -> &'static str {
        match self {
            Self::Password => "Password: ",
            Self::CodeFor(_) | Self::Code => "Verification code: ",
        }
    }
}

/// Ways in that are announced: the same for every name, until something was right.
pub(super) fn methods() -> MethodSet {
    MethodSet::from(&[MethodKind::PublicKey, MethodKind::Password, MethodKind::KeyboardInteractive][..])
}

/// Ways in which this can be shown.
fn methods_for(factor: Factor) -> MethodSet {
    let methods: &[MethodKind] = match factor {
        Factor::PublicKey => &[MethodKind::PublicKey],
        Factor::Password => &[MethodKind::Password, MethodKind::KeyboardInteractive],
        Factor::Totp => &[MethodKind::KeyboardInteractive],
    };
    MethodSet::from(methods)
}

impl Door {
    /// Of a new connection. The session of whoever comes in goes to `admitted`.
    pub(super) fn new(
        login: Login,
        delivery: Arc<Delivery>,
        lifecycle: Lifecycle,
        peer: SocketAddr,
        rules: Rules,
        admitted: oneshot::Sender<Session>,
    ) -> Self {
        Self {
            login,
            delivery,
            lifecycle,
            peer,
            rules,
            tries: 0,
            offers: 0,
            requests: 0,
            user: String::new(),
            asked: None,
            passed: None,
            admitted: Some(admitted),
        }
    }

    /// A request begins: what was asked before is not answered any more, and another name begins from nothing. Leaving a
    /// password without its code is a try like answering: else passwords could be tried without end.
    fn begin(&mut self, user: &str) -> Result<(), Stop> {
        if let Some(Question::CodeFor(_)) = self.asked.take() {
            self.tries += 1;
        }
        if self.user != user {
            user.clone_into(&mut self.user);
            self.passed = None;
        }
        if self.is_shut() { Err(Stop::TooMany) } else { Ok(()) }
    }

    /// `none`: how clients ask which ways there are.
    pub(super) fn none(&mut self, user: &str) -> Result<Auth, Stop> {
        self.count()?;
        self.begin(user)?;
        Ok(self.refused())
    }

    /// A password.
    pub(super) async fn password(&mut self, user: &str, password: &str) -> Result<Auth, Stop> {
        self.count()?;
        self.begin(user)?;
        self.attempt(user, Credential::Password(password)).await
    }

    /// Keyboard-interactive: one prompt for the password, and another for the verification code. Without answers it is
    /// the request that wants to be asked.
    pub(super) async fn interactive(&mut self, user: &str, answers: Option<Vec<Vec<u8>>>) -> Result<Auth, Stop> {
        self.count()?;
        // One question, one answer (RFC 4256 section 3.4).
        let answer = match answers.as_deref() {
            Some([answer]) if self.user == user && !self.lifecycle.is_draining() => std::str::from_utf8(answer).ok(),
            _ => None,
        };
        let answered = answer.and_then(|answer| Some((self.asked.take()?, answer)));
        self.begin(user)?;
        if answers.is_none() {
            let is_code = self.passed.as_ref().is_some_and(|passed| passed.next() == Factor::Totp);
            return Ok(self.ask(if is_code { Question::Code } else { Question::Password }));
        }
        let Some((asked, answer)) = answered else { return Ok(self.refused()) };
        let (asking, passed) = (|credential| self.asking(user, credential), self.passed.as_ref());
        let step = match asked {
            Question::Password => self.login.step_and_ask(asking(Credential::Password(answer)), passed).await,
            Question::CodeFor(password) => password.answer(answer).await,
            Question::Code => self.login.step(asking(Credential::Code(answer)), passed).await,
        };
        Ok(self.after(step, true).await)
    }

    fn ask(&mut self, question: Question) -> Auth {
        let prompts = vec![(question.prompt().into(), false)].into();
        self.asked = Some(question);
        Auth::Partial { name: "".into(), instructions: "".into(), prompts }
    }

    /// A key whose owner would like to know whether a signature is worth it. Never counts as a failure.
    ///
    /// russh asks the same for a certificate, and shows the key in it alone. So where there are authorities, every key
    /// might be certified, and its owner has to sign.
    pub(super) async fn offer(&mut self, user: &str, key: &PublicKey, algorithm: &Algorithm) -> Result<Auth, Stop> {
        self.count()?;
        self.begin(user)?;
        self.offers += 1;
        let Some(line) = self.line(key, algorithm) else { return Ok(self.refused()) };
        if self.passed.as_ref().is_some_and(|passed| passed.next() != Factor::PublicKey) {
            return Ok(self.refused());
        }
        if !self.rules.authorities.is_empty() {
            return Ok(Auth::Accept);
        }
        let known =
            self.login.key_is_known(self.asking(user, Credential::PublicKey(&line)), self.passed.as_ref()).await;
        Ok(if known { Auth::Accept } else { self.refused() })
    }

    /// A key that the client has proved to own.
    pub(super) async fn key(&mut self, user: &str, key: &PublicKey, algorithm: &Algorithm) -> Result<Auth, Stop> {
        self.begin(user)?;
        let Some(line) = self.line(key, algorithm) else { return Ok(self.refused()) };
        self.attempt(user, Credential::PublicKey(&line)).await
    }

    /// A certificate, with a key that the client has proved to own.
    pub(super) async fn certificate(&mut self, user: &str, certificate: &Certificate) -> Result<Auth, Stop> {
        self.begin(user)?;
        if self.offers > MAX_OFFERS {
            return Ok(self.refused());
        }
        let shown = certificates::shown(certificate);
        let credential = Credential::Certificate(&shown);
        match certificates::check(certificate, &self.rules.authorities, self.peer.ip(), crate::clock::now()) {
            Ok(()) => self.attempt(user, credential).await,
            Err(unfit) => {
                self.login.turned_away(self.asking(user, credential), &unfit);
                Ok(self.refused())
            }
        }
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
        let step = self.login.step(self.asking(user, credential), self.passed.as_ref()).await;
        // A key is no guess: clients show all they have, and were counted when they offered it.
        let is_guess = matches!(credential, Credential::Password(_) | Credential::Code(_));
        Ok(self.after(step, is_guess).await)
    }

    async fn after(&mut self, step: Result<Step, Denied>, is_guess: bool) -> Auth {
        match step {
            Ok(Step::In(user)) => self.open(*user).await,
            Ok(Step::More(passed)) => {
                let methods = methods_for(passed.next());
                self.passed = Some(passed);
                Auth::Reject { proceed_with_methods: Some(methods), partial_success: true }
            }
            Ok(Step::Ask(password)) => self.ask(Question::CodeFor(password)),
            Err(denied) => {
                // A store that cannot answer is not the client's failure.
                if is_guess && denied != Denied::Unavailable {
                    self.tries += 1;
                }
                self.refused()
            }
        }
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
        let methods = match &self.passed {
            _ if self.is_shut() => MethodSet::empty(),
            Some(passed) => methods_for(passed.next()),
            None => methods(),
        };
        Auth::Reject { proceed_with_methods: Some(methods), partial_success: false }
    }

    /// True when the client had its tries: the connection is closed at the next.
    pub(super) fn is_shut(&self) -> bool {
        self.tries >= self.rules.max_tries
    }
}
