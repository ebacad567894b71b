//! A whole FTP session with a scripted peer, and what must be true after it whatever the script was. The first byte
//! chooses TLS, the user's grant, and settings; the others are the script that `peer.rs` explains.

use std::collections::BTreeSet;
use std::time::Duration;

use super::listening::{Listening, Mode};
use super::log;
use super::peer::{END, Peer, contains};
use super::world::{CANARY, PASSWORD, QUOTA_BYTES, SEED, World};
use crate::sha256;

/// Waits for the end of what the session began; each is so long. Counted and not timed, as the peer's.
const WAITS: u32 = 2_000;
const WAIT: Duration = Duration::from_millis(2);

/// Plays it, and judges.
pub fn check(input: &[u8]) {
    let Some((mode, script)) = input.split_first() else { return };
    let mode = Mode(*mode);
    let listening = Listening::new(mode);
    let peer = Peer::play(listening.address, mode.implicit(), mode.lax(), script);
    let mut waits = 0;
    let ended = listening.ended(|| {
        waits += 1;
        std::thread::sleep(WAIT);
        waits < WAITS
    });
    assert!(ended, "something of the session still runs");
    let world = listening.world;
    replies_fit(&peer);
    nothing_was_shown(&peer, script);
    assert_eq!(world.trespasses(), None);
    only_whole_files(&world, &peer);
    world.staging_and_ledger_agree();
    the_log_is_clean(&peer);
    assert_eq!(log::panics(), 0);
}

/// One final reply for each command, until a reply that ends the session.
fn replies_fit(peer: &Peer) {
    let (finals, due, replies, story) = (peer.finals(), peer.due, &peer.replies, peer.story());
    let last = replies.last().map_or(0, |reply| reply.code);
    // 530: the last of too many wrong passwords.
    let ended_by_word = matches!(last, 221 | 421 | 530);
    // A goodbye that was not asked for comes on top.
    assert!(finals <= due + usize::from(last == 421), "{finals} replies to {due} commands: {story}");
    let ended_without = peer.cut || peer.silenced || replies.iter().any(|reply| reply.code == 234);
    assert!(ended_by_word || ended_without, "the session ended without a word: {story}");
    assert!(!ended_by_word || peer.cut || !(100..200).contains(&last), "a transfer without an end: {story}");
}

fn nothing_was_shown(peer: &Peer, script: &[u8]) {
    // A script may come to say it itself: the fuzzer sees what is compared.
    let said_it = contains(script, CANARY);
    let said = peer.replies.iter().map(|reply| reply.text.as_bytes());
    for bytes in said.chain(peer.seen.iter().map(Vec::as_slice)) {
        assert!(said_it || !contains(bytes, CANARY), "somebody else's file was shown");
        assert!(peer.betrayed || !contains(bytes, PASSWORD.as_bytes()), "the password was shown");
        assert!(!contains(bytes, b"\nFORGED"), "a name forged a line");
    }
}

/// What is visible ended in an orderly way, has its receipt, and fits into the quota; what was told has landed.
fn only_whole_files(world: &World, peer: &Peer) {
    let rows = world.ledger();
    let landed: BTreeSet<&str> =
        rows.iter().filter(|row| row.status == "landed").filter_map(|row| row.sha256.as_deref()).collect();
    let heard: BTreeSet<&str> = peer.replies.iter().filter_map(|reply| told(&reply.text)).collect();
    let files = world.files();
    let mut total = 0;
    for file in &files {
        total += file.len() as u64;
        assert_eq!(file.last(), Some(&END), "a part was published: {} bytes", file.len());
        let digest = sha256(file);
        let accounted = file == SEED || landed.contains(digest.as_str()) || heard.contains(digest.as_str());
        assert!(accounted || peer.cut, "a file of {} bytes has no receipt", file.len());
    }
    assert!(total <= QUOTA_BYTES, "{total} bytes");
    for reply in &peer.replies {
        if let Some(digest) = told(&reply.text).filter(|_| !reply.text.contains(" Received as ")) {
            assert!(landed.contains(digest), "told and not in the ledger: {}", reply.text);
        }
    }
}

/// The digest in a reply that tells of a landing.
fn told(reply: &str) -> Option<&str> {
    let what = reply.get(4..)?;
    (what.starts_with("Landed as ") || what.starts_with("Received as ")).then_some(())?;
    what.rsplit_once(" bytes, sha256 ").and_then(|(_, rest)| rest.get(..64))
}

fn the_log_is_clean(peer: &Peer) {
    let log = log::take();
    for line in log.lines() {
        assert!(line.starts_with("20") && !line.chars().any(char::is_control), "a forged line: {line:?}");
    }
    assert!(peer.betrayed || !log.contains(PASSWORD), "the password is in the log");
}
