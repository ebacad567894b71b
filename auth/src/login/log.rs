//! The door's own lines in the log: one a decision, without secrets. What others wrote is written escaped: it must not look
//! like a line of its own.

use std::fmt::Display;

use super::{Attempt, Credential, Step, protocol_name};
use crate::name::is_name;
use crate::user::Protocol;

/// Of a text that others wrote, no more than that many characters are logged.
const LOGGED_MAX_CHARACTERS: usize = 64;

pub(super) fn log(attempt: Attempt<'_>, outcome: Result<&Step, &dyn Display>) {
    // A name that could be a user's is safe as it stands.
    let user = if is_name(attempt.user) { attempt.user.to_owned() } else { escaped(attempt.user) };
    let (peer, protocol) = (attempt.peer.to_canonical(), protocol_name(attempt.protocol));
    let (method, certificate) = match attempt.credential {
        Credential::Password(_) => ("password", None),
        Credential::Code(_) => ("code", None),
        Credential::PublicKey(_) => ("key", None),
        Credential::Certificate(certificate) => ("certificate", Some(certificate)),
    };
    let key_id = certificate.map(|certificate| escaped(&certificate.key_id));
    let serial = certificate.map(|certificate| certificate.serial);
    let authority = certificate.map(|certificate| certificate.authority.as_str());
    match outcome {
        // It is decided when the code has come, or has not.
        Ok(Step::Ask(_)) => {}
        // In clear, the password could be read on its way.
        Ok(_) if attempt.protocol == Protocol::Ftp => {
            tracing::warn!(user, %peer, protocol, method, outcome = "let in", "login without TLS");
        }
        Ok(Step::In(_)) => {
            tracing::info!(user, %peer, protocol, method, key_id, serial, authority, outcome = "let in", "login");
        }
        Ok(Step::More(passed)) => {
            let outcome = format!("right; {} is demanded next", passed.next());
            tracing::info!(user, %peer, protocol, method, key_id, serial, authority, outcome, "login");
        }
        Err(why) => {
            tracing::warn!(user, %peer, protocol, method, key_id, serial, authority, outcome = %why, "login");
        }
    }
}

/// Quoted, without control characters, and not too long.
fn escaped(text: &str) -> String {
    format!("{:?}", text.chars().take(LOGGED_MAX_CHARACTERS).collect::<String>())
}
