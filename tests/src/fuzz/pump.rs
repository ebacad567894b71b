//! Two channels of an SFTP connection with a scripted client, over a real store and a real ledger, and what must be true
//! after them whatever the script was. The first byte chooses the user's grant and how much the client reads at first;
//! the others are the script that `requester.rs` explains.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use landfall::sftp::bare::{Bare, Left};
use tokio::time::timeout;

use super::history::{self, Contents};
use super::log;
use super::requester::{Line, Requester};
use super::wire::{self, Says};
use super::world::{QUOTA_BYTES, World, runtime};
use crate::sha256;

/// Waits for the end of what the channels began; each is so long. Counted and not timed, as the client's.
const WAITS: u32 = 2_000;
const WAIT: Duration = Duration::from_millis(5);

/// Plays it, and judges.
pub fn check(input: &[u8]) {
    let Some((mode, script)) = input.split_first() else { return };
    let world = World::new(usize::from(mode & 3));
    let bare = Arc::new(Bare::new(world.session()));
    let client = Requester::play(&bare, mode & 4 != 0, script);
    let mut waits = 0;
    let left = loop {
        if let Ok(left) = runtime().block_on(async { timeout(WAIT, bare.end()).await }) {
            break left;
        }
        waits += 1;
        assert!(waits < WAITS, "something of the connection still runs");
    };
    // A halted connection stops counting in the middle; one that nobody hears is halted while it is at work.
    let left =
        if client.kicked || client.lines.iter().any(|line| line.cut) { Left { unanswered: 0, ..left } } else { left };
    assert_eq!(left, Left::default(), "something was not given back");
    drop(bare);
    for line in &client.lines {
        everything_is_answered(line, client.kicked);
    }
    assert_eq!(world.trespasses(), None);
    if !client.lines.iter().any(|line| line.unknown || line.twins || cuts_by_name(line))
        && let Some(contents) = history::contents(&client.lines)
    {
        only_what_was_closed(&world, &client.lines, &contents);
    }
    let total: usize = world.files().iter().map(Vec::len).sum();
    assert!(total as u64 <= QUOTA_BYTES, "{total} bytes");
    world.staging_and_ledger_agree();
    let log = log::take();
    for line in log.lines() {
        assert!(line.starts_with("20") && !line.chars().any(char::is_control), "a forged line: {line:?}");
    }
    assert_eq!(log::panics(), 0);
}

/// Was something cut by its name? That may mean an upload or what has landed, at any moment: no history tells which.
fn cuts_by_name(line: &Line) -> bool {
    line.requests.iter().any(|request| {
        let cut = matches!(request.asked.kind, 9 | wire::EXTENDED) && request.asked.size().is_some();
        cut && !matches!(request.reply, Some(Says::Status(1.., _)))
    })
}

fn everything_is_answered(line: &Line, kicked: bool) {
    if line.cut || kicked || line.unknown || !line.sense {
        return;
    }
    assert!(line.received.is_empty(), "half a reply: {:?}", line.received);
    let unanswered: Vec<_> = line.requests.iter().filter(|request| request.reply.is_none()).collect();
    assert!(unanswered.is_empty(), "without a reply: {:?}", unanswered[0].asked);
}

fn is_written_to(line: &Line, handle: &[u8]) -> bool {
    line.requests.iter().any(|request| {
        let done = matches!(request.reply, Some(Says::Status(0, _)));
        let bytes = request.asked.kind == wire::WRITE && !request.asked.text(2).is_empty();
        bytes && done && request.asked.text(0) == handle
    })
}

/// What is visible was closed, and what was told to have landed is in the ledger.
fn only_what_was_closed(world: &World, lines: &[Line], contents: &Contents) {
    for file in world.files() {
        assert!(contents.knows(&sha256(&file)), "{} bytes are visible that nobody closed", file.len());
    }
    let rows = world.ledger();
    let landed: Vec<_> = rows.iter().filter(|row| row.status == "landed").collect();
    for row in &landed {
        let digest = row.sha256.as_deref().unwrap_or_default();
        assert!(contents.knows(digest), "{} landed, and nobody closed it", row.path);
    }
    let mut told = 0;
    for line in lines {
        let uploads: HashSet<&[u8]> = line
            .requests
            .iter()
            .filter(|request| {
                let temporary = request.asked.text(0).ends_with(b".part");
                request.asked.kind == wire::OPEN && request.asked.number(1) & 6 != 0 && !temporary
            })
            .filter_map(|request| match &request.reply {
                Some(Says::Handle(handle)) => Some((handle.as_slice(), request.asked.number(1) & wire::TRUNC != 0)),
                _ => None,
            })
            // What was opened as it stands and not written to does not land again.
            .filter(|(handle, fresh)| *fresh || is_written_to(line, handle))
            .map(|(handle, _)| handle)
            .collect();
        let closed = line.requests.iter().filter(|request| {
            let done = matches!(request.reply, Some(Says::Status(0, _)));
            request.asked.kind == wire::CLOSE && done && uploads.contains(request.asked.text(0))
        });
        told += closed.count();
    }
    assert!(landed.len() >= told, "{told} were told to have landed, and {} have", landed.len());
}
