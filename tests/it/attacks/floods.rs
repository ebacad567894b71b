//! Attacks by amount: bytes, commands, connections. What a stranger can make the server hold is bounded.

use std::io::Write;
use std::net::TcpStream;
use std::time::Duration;

use landfall_tests::Ftp;

use super::{Attack, World, by, here};

/// What a flood may leave in memory, or take meanwhile.
const GROWTH_KIB: u64 = 1_024;
pub(super) const MIB: usize = 1_024 * 1_024;

pub(super) const ATTACKS: &[Attack] = &[
    here(
        "a line without an end, before the login",
        "64 MiB without a line feed, twice",
        "500, closed early; memory + 1 MiB at most",
        |w| endless_line(w, World::stranger),
    ),
    here(
        "a line without an end, in a session",
        "64 MiB without a line feed, twice",
        "500, closed early; memory + 1 MiB at most",
        |w| endless_line(w, World::login),
    ),
    here(
        "a line without an end, during a transfer",
        "64 MiB without a line feed behind STOR",
        "the server stops reading; memory + 1 MiB at most; the file lands",
        endless_line_in_transfer,
    ),
    here(
        "Telnet flood",
        "32 MiB of IAC WILL, IAC IP, IAC DM before a command",
        "the command is answered; memory + 1 MiB at most",
        telnet_flood,
    ),
    here(
        "urgent data flood",
        "5,000 urgent bytes between and within commands",
        "each command is answered",
        urgent_flood,
    ),
    here(
        "commands without reading replies",
        "PWD and FEAT by the hundred thousand, no reply is taken",
        "the server stops reading; memory + 1 MiB at most; others go on",
        unread_replies,
    ),
    by(
        "pipelined commands",
        "15,000 commands behind STOR",
        "each answered in its turn, the file lands",
        &[("server/src/ftp/tests/transfers.rs", "more_commands_than_are_kept_do_no_harm")],
    ),
    here(
        "ABOR by the thousand",
        "1,000 ABOR during one transfer, and 1,000 without one",
        "each is answered, the upload is suspended",
        abor_flood,
    ),
    by(
        "silence",
        "no login, no handshake, no command, no byte on a data connection",
        "ended in time; an upload is suspended",
        &[
            ("server/src/ftp/tests/login.rs", "no_login_in_time"),
            ("server/src/ftp/tests/login.rs", "a_silent_handshake_ends"),
            ("server/src/ftp/tests/login.rs", "an_idle_session_ends"),
            ("server/src/ftp/tests/transfers.rs", "silence_suspends"),
            ("server/src/ftp/tests/data.rs", "nobody_connects"),
        ],
    ),
    by(
        "connections held before the login",
        "as many as there are places",
        "the one that has waited longest goes, never a logged-in session and never the newcomer",
        &[
            ("server/src/listen.rs", "the_oldest_stranger_makes_room"),
            ("server/src/listen.rs", "who_is_logged_in_stays"),
        ],
    ),
];

/// What a flood adds to the server's memory: once for what any traffic leaves in allocator and buffers, and then as
/// measured.
pub(super) fn grows(w: &World, flood: impl FnMut() -> String) -> Result<String, String> {
    grows_by(w, GROWTH_KIB, flood)
}

/// The same where a budget of the server's says how much.
pub(super) fn grows_by(w: &World, most_kib: u64, mut flood: impl FnMut() -> String) -> Result<String, String> {
    flood();
    let before = w.open.resident_kib();
    let outcome = flood();
    let growth = w.open.resident_kib().saturating_sub(before);
    if growth > most_kib { Err(format!("{outcome}; memory + {growth} KiB")) } else { Ok(outcome) }
}

/// Writes as much as the server takes, up to so many bytes.
pub(super) fn pour(socket: &TcpStream, bytes: &[u8], most: usize) -> usize {
    socket.set_write_timeout(Some(Duration::from_millis(500))).unwrap();
    let mut sent = 0;
    while sent < most {
        match (&*socket).write(bytes) {
            Ok(count) => sent += count,
            Err(_) => break,
        }
    }
    sent
}

fn endless_line(w: &World, connect: fn(&World) -> Ftp) -> String {
    let outcome = grows(w, || {
        let mut ftp = connect(w);
        let socket = ftp.socket().try_clone().unwrap();
        let reader = std::thread::spawn(move || ftp.reply().code);
        let sent = pour(&socket, &vec![b'A'; MIB], 64 * MIB);
        let code = reader.join().unwrap();
        // The kernel's buffers on both sides, and what is read before the close.
        format!("{code}, {}", if sent < 32 * MIB { "closed early" } else { "read to the end" })
    });
    outcome.map_or_else(|wrong| wrong, |right| format!("{right}; memory + 1 MiB at most"))
}

fn endless_line_in_transfer(w: &World) -> String {
    let outcome = grows(w, || {
        let mut ftp = w.login();
        let mut data = ftp.begin("STOR flood.jpg");
        let socket = ftp.socket().try_clone().unwrap();
        let sent = pour(&socket, &vec![b'A'; MIB], 64 * MIB);
        data.write(b"whole");
        data.finish();
        let code = ftp.reply().code;
        let stops = if sent < 32 * MIB { "the server stops reading" } else { "the server reads on" };
        format!("{stops}{}", if code == 226 { "" } else { ", and nothing lands" })
    });
    outcome.map_or_else(|wrong| wrong, |right| format!("{right}; memory + 1 MiB at most; the file lands"))
}

fn telnet_flood(w: &World) -> String {
    let outcome = grows(w, || {
        let mut ftp = w.login();
        let block = b"\xff\xfb\x01\xff\xf4\xff\xf2\xff\xfd\x06".repeat(MIB / 10);
        let sent = pour(ftp.socket(), &block, 32 * MIB);
        // To the end of a sequence, wherever that was cut.
        ftp.send_raw(&block[sent % block.len()..]);
        let code = ftp.command("NOOP").code;
        if code == 200 { "the command is answered".to_owned() } else { format!("{code}") }
    });
    outcome.map_or_else(|wrong| wrong, |right| format!("{right}; memory + 1 MiB at most"))
}

fn urgent_flood(w: &World) -> String {
    let mut ftp = w.login();
    for round in 0..500 {
        for _ in 0..5 {
            socket2::SockRef::from(ftp.socket()).send_out_of_band(b"\xff\xf4\xff\xf2").unwrap();
        }
        socket2::SockRef::from(ftp.socket()).send_out_of_band(b"NOOP\r\n").unwrap();
        let urgent = ftp.reply().code;
        ftp.send_raw(b"NO");
        socket2::SockRef::from(ftp.socket()).send_out_of_band(b"OP").unwrap();
        ftp.send_raw(b"\r\n");
        let split = ftp.reply().code;
        if (urgent, split) != (200, 200) {
            return format!("round {round}: {urgent} {split}");
        }
    }
    "each command is answered".to_owned()
}

fn unread_replies(w: &World) -> String {
    let outcome = grows(w, || {
        let ftp = w.login();
        let sent = pour(ftp.socket(), &b"PWD\r\nFEAT\r\n".repeat(10_000), 64 * MIB);
        w.login().command("NOOP").expect(200);
        if sent < 32 * MIB { "the server stops reading".to_owned() } else { "the server reads on".to_owned() }
    });
    outcome.map_or_else(|wrong| wrong, |right| format!("{right}; memory + 1 MiB at most; others go on"))
}

fn abor_flood(w: &World) -> String {
    let mut ftp = w.login();
    let mut data = ftp.begin("STOR abor.jpg");
    data.write(b"half");
    ftp.send_raw(&b"ABOR\r\n".repeat(1_000));
    let first = ftp.reply().code;
    let others = (0..1_000).filter(|_| matches!(ftp.reply().code, 225 | 226)).count();
    ftp.send_raw(&b"ABOR\r\n".repeat(1_000));
    let idle = (0..1_000).filter(|_| ftp.reply().code == 225).count();
    let landed = w.home().join("abor.jpg").exists();
    if (first, others, idle, landed) == (426, 1_000, 1_000, false) {
        return "each is answered, the upload is suspended".to_owned();
    }
    format!("{first}, {others} and {idle} of 1,000, landed {landed}")
}
