//! The one door: every protocol's login is a `Login::attempt`. Knows no protocol's replies.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::user::{Protocol, User};

/// What somebody shows to be let in.
#[derive(Clone, Copy)]
pub enum Credential<'a> {
    /// A password, as sent.
    Password(&'a str),
    /// A public key in OpenSSH's one-line form (`ssh-ed25519 AAAA…`), whose ownership the caller has verified.
    PublicKey(&'a str),
}

/// One try.
#[derive(Clone, Copy)]
pub struct Attempt<'a> {
    /// Login name, as sent.
    pub user: &'a str,
    /// What is shown.
    pub credential: Credential<'a>,
    /// Where from.
    pub peer: IpAddr,
    /// Over what.
    pub protocol: Protocol,
}

/// Why somebody is not let in. What a peer may be told is the same sentence for all but `Throttled` and `Unavailable`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// Wrong or unknown user, wrong password, unknown key.
    #[error("login incorrect")]
    Credentials,
    /// Right credentials, but disabled, expired, or not from there or that way. For the log only: peers hear `Credentials`' sentence.
    #[error("login not permitted: {0}")]
    NotPermitted(&'static str),
    /// Too many failures from that network or on that account.
    #[error("too many failed logins; try again in {} s", .retry_after.as_secs().max(1))]
    Throttled {
        /// How long to wait.
        retry_after: Duration,
    },
    /// The user store cannot answer, or too many verifications wait.
    #[error("login is not possible right now; try again")]
    Unavailable,
}

/// The door.
#[derive(Clone)]
pub struct Login {
    inner: Arc<()>,
}

impl Login {
    /// Decides one try. Takes equally long for unknown users as for wrong passwords.
    ///
    /// # Errors
    /// [`Denied`].
    pub async fn attempt(&self, attempt: Attempt<'_>) -> Result<User, Denied> {
        let _ = (&self.inner, attempt);
        Err(Denied::Unavailable)
    }

    /// Would this key open the door for this user, if its ownership were proved? Never counts as a failure.
    pub async fn key_is_known(&self, attempt: Attempt<'_>) -> bool {
        let _ = attempt;
        false
    }
}
