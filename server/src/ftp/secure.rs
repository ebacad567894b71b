//! AUTH, PBSZ, PROT (RFC 4217), HOST (RFC 7151), and the one place that decides whether a data connection may be in clear.

use std::io;
use std::sync::Arc;

use tokio::time::Instant;

use super::data::Terms;
use super::reply::Reply;
use super::resumption;
use super::session::{End, Protection, Session, State};
use super::settings::number;
use crate::config::{SessionReuse, TlsPolicy};
use crate::tls::Configs;

impl Session {
    /// Does the handshake on the control connection. What the client said before it is forgotten.
    pub(super) async fn start_tls(&mut self) -> Result<(), End> {
        let Some(tls) = &self.engine.tls else {
            tracing::error!("a TLS listener has no certificate");
            return Err(End::Lost);
        };
        let configs = resumption::bind(&tls.configs());
        // Strangers shake hands, and their time for the login is running.
        let within = self.engine.limits.handshake().min(self.login_by.saturating_duration_since(Instant::now()));
        let started = self.control.start_tls(configs.control.clone(), within).await;
        if let Err(error) = started {
            tracing::debug!(peer = %self.peer, why = handshake_failure(&error), "no TLS on the control connection");
            return Err(End::Lost);
        }
        self.tls = Some(configs);
        self.claimed = None;
        self.state = State::default();
        Ok(())
    }

    fn offers_tls(&self) -> bool {
        self.engine.config.tls != TlsPolicy::Off && self.engine.tls.is_some()
    }

    pub(super) async fn auth(&mut self, mechanism: &str) -> Result<(), End> {
        // RFC 4217 section 3 names TLS; the others are its older names.
        let known = ["TLS", "TLS-C", "SSL"].iter().any(|name| mechanism.trim().eq_ignore_ascii_case(name));
        let refusal = if !self.offers_tls() {
            Reply::new(502, "TLS is switched off here")
        } else if !known {
            Reply::new(504, "Only AUTH TLS is offered")
        } else if self.control.is_tls() {
            Reply::new(503, "TLS is on already")
        } else if self.files.is_some() {
            Reply::new(503, "AUTH comes before the login")
        } else {
            self.say(&Reply::new(234, "Begin TLS")).await?;
            return self.start_tls().await;
        };
        self.say(&refusal).await
    }

    /// HOST (RFC 7151): which of this server's names was meant. All have the same users and files; what a name has of its
    /// own is its certificate, which the handshake chose already.
    pub(super) fn host(&self, name: &str) -> Result<Reply, Reply> {
        if self.files.is_some() || self.claimed.is_some() {
            return Err(Reply::new(503, "HOST comes before USER"));
        }
        let name = name.trim();
        if !self.engine.tls.as_ref().is_some_and(|tls| tls.is_host(name)) {
            return Err(Reply::new(504, "No host of that name lives here"));
        }
        if self.control.server_name().is_some_and(|asked| !asked.eq_ignore_ascii_case(name)) {
            return Err(Reply::new(504, "TLS was begun with another host's name"));
        }
        Ok(Reply::new(220, "Welcome to that host"))
    }

    /// CCC (RFC 2228 section 3): 533 where the command itself came in clear, 534 where policy keeps TLS.
    pub(super) fn ccc(&self) -> Reply {
        if self.control.is_tls() {
            Reply::new(534, "The control connection stays under TLS here")
        } else {
            Reply::new(533, "CCC comes under TLS only; this connection is in clear already")
        }
    }

    pub(super) fn pbsz(&mut self, size: &str) -> Result<Reply, Reply> {
        if !self.control.is_tls() {
            return Err(Reply::new(503, "AUTH TLS comes before PBSZ"));
        }
        // RFC 2228 section 3: 32 bits.
        if number(size.trim()).is_none_or(|size| size > u64::from(u32::MAX)) {
            return Err(Reply::new(501, "PBSZ takes a number, and 0 is the one that TLS uses"));
        }
        if self.state.protection == Protection::Unset {
            self.state.protection = Protection::Clear;
        }
        Ok(Reply::new(200, "PBSZ=0"))
    }

    pub(super) fn prot(&mut self, level: &str) -> Result<Reply, Reply> {
        if !self.control.is_tls() {
            return Err(Reply::new(503, "AUTH TLS comes before PROT"));
        }
        if self.state.protection == Protection::Unset {
            return Err(Reply::new(503, "PBSZ comes before PROT"));
        }
        let (protection, told) = match level.trim().to_ascii_uppercase().as_str() {
            "P" => (Protection::Private, "Data connections are private"),
            "C" => (Protection::Clear, "Data connections are in clear"),
            "S" | "E" => return Err(Reply::new(536, "Only PROT P and PROT C are offered")),
            _ => return Err(Reply::new(504, "PROT takes P or C")),
        };
        self.data_channel(protection).map_err(|refusal| Reply::new(534, refusal.text().to_owned()))?;
        self.state.protection = protection;
        Ok(Reply::new(200, told))
    }

    /// May the next data connection be used, and how is it to be spoken on? Asked for every transfer of every verb.
    pub(super) fn data_terms(&mut self) -> Result<Terms, Reply> {
        let tls = self.data_channel(self.state.protection)?.map(|configs| Arc::clone(&configs.data));
        if tls.is_some() {
            self.control.renew_ticket();
        }
        let (limits, config) = (&self.engine.limits, &self.engine.config);
        Ok(Terms {
            tls,
            reuse_required: config.tls_session_reuse == SessionReuse::Required,
            close_notify_required: config.tls_close_notify_required,
            handshake: limits.handshake(),
            idle: std::time::Duration::from_secs(limits.transfer_idle_seconds.max(1)),
        })
    }

    /// The policy itself: RFC 4217 section 10 gives its code.
    fn data_channel(&self, protection: Protection) -> Result<Option<&Configs>, Reply> {
        let private = self.tls.as_ref().filter(|_| protection == Protection::Private);
        if self.engine.config.tls == TlsPolicy::Required && private.is_none() {
            return Err(Reply::new(521, "Data connections in clear are not allowed here; use PBSZ 0 and PROT P"));
        }
        Ok(private)
    }
}

/// For the log: what a stranger's handshake failed on, without its bytes.
fn handshake_failure(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::TimedOut => "it took too long".to_owned(),
        _ => error.to_string(),
    }
}
