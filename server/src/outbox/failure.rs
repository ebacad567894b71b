//! Why an attempt to tell an event failed, in words that say what to look at. Holds no secret: no URL's path or query, no
//! signature.

use std::net::IpAddr;
use std::time::Duration;

/// Why an attempt failed.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The name of the receiver leads nowhere.
    #[error("DNS: {host} cannot be looked up: {detail}")]
    Dns {
        /// The name.
        host: String,
        /// What the system says.
        detail: String,
    },
    /// It leads to where a webhook must not go.
    #[error(
        "network refused: {host} is {address}, which the Internet does not reach; \
         allow_private_networks = true in its [[sinks]] if that is meant"
    )]
    Private {
        /// The name.
        host: String,
        /// One of its addresses.
        address: IpAddr,
    },
    /// Nobody answers there.
    #[error("connection to {host}: {detail}")]
    Connect {
        /// The name.
        host: String,
        /// What the system says.
        detail: String,
    },
    /// No secure connection came to be.
    #[error("TLS with {host}: {detail}")]
    Tls {
        /// The name.
        host: String,
        /// What is wrong.
        detail: String,
    },
    /// The sink's configuration is fit for nothing, such as a file of authorities that is missing.
    #[error("{0}")]
    Unusable(String),
    /// The request or the answer broke.
    #[error("HTTP: {0}")]
    Http(String),
    /// The receiver refused.
    #[error("status {status}{text}")]
    Status {
        /// Its status.
        status: u16,
        /// What that means, and the beginning of its answer.
        text: String,
        /// When it wants to be asked again, at the earliest.
        retry_after: Option<Duration>,
    },
    /// It took too long.
    #[error("time-out: no answer within {} s", .0.as_secs())]
    Timeout(Duration),
    /// The program cannot be started.
    #[error("{program} cannot be started: {detail}")]
    Start {
        /// Its path.
        program: String,
        /// What the system says.
        detail: String,
    },
    /// The program says no.
    #[error("{program} ended with {how}")]
    Exit {
        /// Its path.
        program: String,
        /// `exit code 3`, or the signal.
        how: String,
    },
    /// The program took too long.
    #[error("time-out: {program} was killed after {} s", .after.as_secs())]
    Killed {
        /// Its path.
        program: String,
        /// So long.
        after: Duration,
    },
}

impl Failure {
    /// The receiver refused, with these words.
    #[must_use]
    pub fn status(status: u16, words: &str, retry_after: Option<Duration>) -> Self {
        let hint = match status {
            300..=399 => " (redirects are not followed: put the address it leads to into url)",
            401 | 403 => " (the receiver does not believe the signature: is its secret the same?)",
            404 => " (is the path in url right?)",
            410 => " (the receiver wants no more: remove its [[sinks]] if that is meant)",
            _ => "",
        };
        let colon = if words.is_empty() { "" } else { ": " };
        Self::Status { status, text: format!("{hint}{colon}{words}"), retry_after }
    }

    /// When the receiver wants to be asked again, at the earliest.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Status { retry_after, .. } => *retry_after,
            _ => None,
        }
    }
}
