//! How transfers end, and the reply that each end is told with. Moves nothing and decides nothing.

use super::data::Break;
use super::download;
use super::reply::{Reply, file_refused};
use super::upload::{self, Suspension};
use super::walk::{MAX_RECURSIVE_DEPTH, MAX_RECURSIVE_NAMES, MAX_SORTED_NAMES, Remark};
use crate::delivery::Receipt;

/// How it went.
#[derive(Debug)]
pub(super) enum Outcome {
    Received(upload::Outcome),
    Sent(download::Outcome),
    /// Without a data connection: this was the answer.
    Answered(Reply),
    Listed(download::Outcome, Option<Remark>),
}

/// What a landing is told as: the name it has, its size, its digest.
pub(super) fn landed(receipt: &Receipt, code: u16) -> Reply {
    let Receipt { path, size, sha256, .. } = receipt;
    Reply::new(code, told(&format!("{path}: {size} bytes, sha256 {sha256}"), receipt.delivered))
}

/// Under a client's own temporary name it is safe, but nobody is told of it before it has its final one.
fn told(what: &str, delivered: bool) -> String {
    if delivered { format!("Landed as {what}") } else { format!("Received as {what}; delivered when it is renamed") }
}

const NOT_CONNECTED: &str = "No data connection came in time; a firewall may block the passive ports";

/// The last reply of a transfer.
pub(super) fn reply_of(outcome: Outcome) -> Reply {
    match outcome {
        Outcome::Answered(reply) => reply,
        Outcome::Received(upload::Outcome::Landed(receipt)) => landed(&receipt, 226),
        Outcome::Received(upload::Outcome::Refused { name, refusal }) => file_refused(&name, &refusal),
        Outcome::Received(upload::Outcome::Suspended { held, why, ascii }) => suspended(held, why, ascii),
        Outcome::Listed(download::Outcome::Sent, Some(remark)) => listed(remark),
        Outcome::Sent(outcome) | Outcome::Listed(outcome, _) => sent(outcome),
    }
}

fn sent(outcome: download::Outcome) -> Reply {
    match outcome {
        download::Outcome::Sent => Reply::new(226, "All sent"),
        download::Outcome::Refused(refusal) => refusal.into(),
        download::Outcome::Broken(why) => Reply::new(code_of(&why), capitalised(&why.to_string())),
        download::Outcome::Stopped => Reply::new(426, "The transfer was stopped"),
        download::Outcome::NotConnected => Reply::new(425, NOT_CONNECTED),
    }
}

/// A listing that lacks names is none that a client may mirror: it must not look like a success.
fn listed(remark: Remark) -> Reply {
    match remark {
        Remark::Unsorted => {
            Reply::new(226, format!("All sent; not sorted, for there are more than {MAX_SORTED_NAMES} names"))
        }
        Remark::TooMany => Reply::new(
            451,
            format!(
                "Names are missing: -R goes {MAX_RECURSIVE_DEPTH} directories deep and tells {MAX_RECURSIVE_NAMES} \
                 names at most; list the directories one by one"
            ),
        ),
        Remark::TooCostly => Reply::new(451, "Names are missing: use a simpler pattern"),
    }
}

fn suspended(held: u64, why: Suspension, ascii: bool) -> Reply {
    let (code, sentence) = match why {
        Suspension::Broken(why) => (code_of(&why), capitalised(&why.to_string())),
        Suspension::Stopped => (426, "The transfer was stopped".to_owned()),
        // More can only grow: no resume makes it fit.
        Suspension::Size { announced, received } if received > announced => {
            let sentence = format!("{announced} bytes were announced and {received} came");
            return Reply::new(451, format!("{sentence}; announce the right size or none, and send the file again"));
        }
        Suspension::Size { announced, received } => {
            (451, format!("{announced} bytes were announced and {received} came"))
        }
        Suspension::NotConnected => (425, NOT_CONNECTED.to_owned()),
    };
    match held {
        0 => Reply::new(code, sentence),
        // What was converted on its way in cannot be counted by who sends it.
        held if ascii => {
            Reply::new(code, format!("{sentence}; {held} bytes are held; TYPE A has no resume, send the file again"))
        }
        held => {
            Reply::new(code, format!("{sentence}; upload suspended at {held} bytes, resume with REST {held} and STOR"))
        }
    }
}

/// 425: no connection was had; 522 is what clients know for the session that must be resumed; 426: it broke.
fn code_of(why: &Break) -> u16 {
    match why {
        Break::NotResumed => 522,
        Break::Handshake(_) | Break::HandshakeTimeout | Break::HandshakeClosed => 425,
        Break::Idle(_) | Break::NoCloseNotify | Break::Tls(_) | Break::Io(_) => 426,
    }
}

fn capitalised(sentence: &str) -> String {
    let mut chars = sentence.chars();
    chars.next().map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_temporary_name_is_no_delivery() {
        assert_eq!(told("/b.jpg: 3 bytes", true), "Landed as /b.jpg: 3 bytes");
        assert_eq!(told("/b.tmp: 3 bytes", false), "Received as /b.tmp: 3 bytes; delivered when it is renamed");
    }

    #[test]
    fn what_cannot_be_resumed_is_not_said_to_be() {
        let size = |announced, received, held| suspended(held, Suspension::Size { announced, received }, false);
        assert!(size(10, 4, 4).text().ends_with("suspended at 4 bytes, resume with REST 4 and STOR"));
        let text = suspended(4, Suspension::Stopped, true);
        assert!(text.text().ends_with("4 bytes are held; TYPE A has no resume, send the file again"));
        assert!(size(10, 11, 11).text().ends_with("announce the right size or none, and send the file again"));
    }
}
