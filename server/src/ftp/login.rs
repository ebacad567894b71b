//! USER, PASS, REIN: from a stranger to a session and back.

use std::time::Duration;

use landfall_auth::{Attempt, Credential, Denied, Protocol};
use tokio::time::{Instant, sleep, timeout_at};

use super::reply::Reply;
use super::session::{End, Session};
use crate::config::TlsPolicy;
use crate::delivery::Reason;

/// Every wrong password costs this much time more than the one before it on the same connection.
const WRONG_LOGIN_DELAY: Duration = Duration::from_secs(if cfg!(fuzzing) { 0 } else { 1 });

impl Session {
    fn protocol(&self) -> Protocol {
        if self.control.is_tls() { Protocol::Ftps } else { Protocol::Ftp }
    }

    /// `tls = "required"`: not even a name in clear.
    fn may_log_in(&mut self) -> Result<(), Reply> {
        if self.files.is_some() {
            return Err(Reply::new(503, "You are logged in; REIN logs out"));
        }
        if self.engine.config.tls == TlsPolicy::Required && !self.control.is_tls() {
            // Once: a client that tries all its passwords must not fill the log.
            if !std::mem::replace(&mut self.refused_in_clear, true) {
                tracing::warn!(peer = %self.peer, protocol = "ftp", reason = "no TLS, and it is required", "login refused");
            }
            return Err(Reply::new(530, "TLS is required here; use AUTH TLS first"));
        }
        Ok(())
    }

    pub(super) fn user(&mut self, name: &str) -> Result<Reply, Reply> {
        if self.files.is_some() {
            // The codes of RFC 959 section 5.4 for USER have no 503.
            return Err(Reply::new(530, "You are logged in; REIN logs out"));
        }
        self.may_log_in()?;
        self.claimed = Some(name.to_owned());
        Ok(Reply::new(331, "Password, please"))
    }

    /// One try. Who is known, unknown or disabled hears the same.
    pub(super) async fn pass(&mut self, password: &str) -> Result<Result<Reply, Reply>, End> {
        if let Err(reply) = self.may_log_in() {
            return Ok(Err(reply));
        }
        let Some(name) = self.claimed.take() else {
            return Ok(Err(Reply::new(503, "USER comes before PASS")));
        };
        if self.engine.lifecycle.is_draining() {
            return Err(End::Draining);
        }
        let attempt = Attempt {
            user: &name,
            credential: Credential::Password(password),
            peer: self.peer.ip(),
            protocol: self.protocol(),
        };
        let attempted = timeout_at(self.login_by, self.engine.login.attempt(attempt)).await;
        let user = match attempted.map_err(|_| End::LoginDeadline)? {
            Ok(user) => user,
            Err(Denied::Credentials | Denied::NotPermitted(_)) => return self.wrong_login().await,
            Err(denied @ (Denied::Throttled { .. } | Denied::Unavailable)) => {
                return Err(End::Denied(Reply::new(421, denied.to_string())));
            }
        };
        let opening = self.engine.delivery.open(user, self.protocol(), self.peer);
        match timeout_at(self.login_by, opening).await.map_err(|_| End::LoginDeadline)? {
            Ok(files) => {
                self.permit.logged_in();
                files.doing("idle");
                self.files = Some(files);
                self.since = Instant::now();
                Ok(Ok(Reply::new(230, "Logged in")))
            }
            Err(refusal) if refusal.reason == Reason::Busy => Err(End::Denied(Reply::new(421, refusal.sentence))),
            Err(refusal) => Ok(Err(refusal.into())),
        }
    }

    async fn wrong_login(&mut self) -> Result<Result<Reply, Reply>, End> {
        self.wrong_logins += 1;
        let wait = sleep(WRONG_LOGIN_DELAY * self.wrong_logins);
        timeout_at(self.login_by, wait).await.map_err(|_| End::LoginDeadline)?;
        let reply = Reply::new(530, Denied::Credentials.to_string());
        // The last one is told as the others: 421 would say that the same password is worth another try later.
        if self.wrong_logins >= self.engine.limits.login_attempts_per_connection {
            return Err(End::Denied(reply));
        }
        Ok(Err(reply))
    }

    /// RFC 959 section 4.1.1: everything is as after the connect. Only TLS stays: RFC 4217 section 12 would go back to
    /// clear, and what is private must not become readable by a command, as with CCC.
    pub(super) fn rein(&mut self) -> Reply {
        self.log_out("rein");
        self.claimed = None;
        self.state = self.fresh_state();
        self.login_by = Instant::now() + Duration::from_secs(self.engine.limits.login_seconds);
        Reply::new(220, "Logged out; ready for USER")
    }

    /// The session's own line in the log at its end. Landings and refusals have theirs from `delivery`.
    pub(super) fn log_out(&mut self, reason: &'static str) {
        let Some(files) = self.files.take() else { return };
        let activity = files.activity();
        tracing::info!(
            user = files.user().name,
            peer = %self.peer,
            protocol = protocol_name(&files),
            session = files.id(),
            reason,
            received_bytes = activity.received_bytes(),
            sent_bytes = activity.sent_bytes(),
            seconds = self.since.elapsed().as_secs(),
            "logged out"
        );
        files.doing("");
    }
}

/// As the logs of all rooms write it.
pub(super) fn protocol_name(files: &crate::delivery::Session) -> &'static str {
    match files.protocol() {
        Protocol::Ftp => "ftp",
        Protocol::Ftps => "ftps",
        Protocol::Sftp => "sftp",
    }
}
