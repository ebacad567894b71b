//! Attacks on the login over SSH.

use std::net::IpAddr;

use landfall_tests::Ssh;
use landfall_tests::ssh::{Heard, channel_open, login, message, string};

use super::floods::grows;
use super::ssh::closes;
use super::{Attack, PASSWORD, World, all_hold, by, here};

pub(super) const ATTACKS: &[Attack] = &[
    here(
        "what comes before the login",
        "channels, global requests and data under keys, with nobody logged in",
        "not served, and the login goes on",
        before_login,
    ),
    here(
        "odd user names, SSH",
        "NUL, `..`, `/`, ESC, CR, overlong UTF-8 and 10,000 bytes, with a right password",
        "none comes in, no directory made",
        odd_user_names,
    ),
    here(
        "user switch in mid-authentication (CVE-2026-46705)",
        "a prompt, a key offer or a password of one user, the answer or password of another",
        "only a pair that belongs together comes in",
        user_switch,
    ),
    here(
        "keyboard-interactive flood (CVE-2026-42189)",
        "2^32-1 and 50,000 answers, answers without a question, 1,000 questions",
        "refused or closed; memory + 1 MiB at most; others go on",
        interactive_flood,
    ),
    here("pipelined guesses, SSH", "50 passwords in one packet train", "3 verified at most, closed", pipelined_guesses),
    by(
        "offers and questions without end",
        "strange keys, `none` and prompts until the server has enough",
        "counted over the connection, closed",
        &[
            ("server/src/sftp/tests/ssh.rs", "floods_before_login_are_cut_off"),
            ("server/src/sftp/tests/ssh.rs", "questions_and_offers_are_counted"),
            ("server/src/sftp/tests/ssh.rs", "tries_are_counted_over_the_connection"),
        ],
    ),
    here(
        "log injection by SSH versions and user names",
        "CR, ESC, quotes, U+2028 and a forged line in both",
        "one line each, in which nothing is forged",
        log_injection,
    ),
];

impl World {
    /// Under keys, and asked for the service that logs in; from a network of its own.
    fn ssh_stranger(&self, last: u8) -> Ssh {
        let mut ssh = Ssh::connect_from(IpAddr::from([127, 0, 1, last]), self.open.address("sftp"));
        ssh.exchange();
        ssh.begin_login();
        ssh
    }
}

fn before_login(w: &World) -> String {
    let mut ssh = w.ssh();
    ssh.exchange();
    ssh.begin_login();
    let mut subsystem = vec![message::CHANNEL_REQUEST, 0, 0, 0, 0];
    string(&mut subsystem, b"subsystem");
    subsystem.push(1);
    string(&mut subsystem, b"sftp");
    let mut forward = vec![message::GLOBAL_REQUEST];
    string(&mut forward, b"tcpip-forward");
    forward.push(1);
    string(&mut forward, b"");
    forward.extend(0u32.to_be_bytes());
    for payload in [
        channel_open("session", 0, 1 << 20, &[]),
        subsystem,
        forward,
        [message::CHANNEL_DATA, 0, 0, 0, 0, 0, 0, 0, 1, b'x'].to_vec(),
        vec![message::USERAUTH_SUCCESS],
        vec![message::USERAUTH_INFO_RESPONSE, 0, 0, 0, 0],
    ] {
        ssh.send(&payload);
    }
    // The only one that is answered is the answer that nobody asked for.
    ssh.send(&login(b"acme", "none", &[]));
    let (first, second) = (ssh.answer().kind(), ssh.answer().kind());
    let in_ = ssh.password("acme", PASSWORD);
    if [first, second, in_] == [message::USERAUTH_FAILURE, message::USERAUTH_FAILURE, message::USERAUTH_SUCCESS] {
        return "not served, and the login goes on".to_owned();
    }
    format!("{first} {second} {in_}")
}

fn odd_user_names(w: &World) -> String {
    let long = "a".repeat(10_000);
    let names: [&[u8]; 13] = [
        b"acme\0",
        b"acme\0neighbour",
        b"\0acme",
        b"../acme",
        b"acme/..",
        b"./acme",
        b" acme",
        b"acme ",
        b"acme\x1b[2J",
        b"ac\rme",
        b"acm\xc1\xa5",
        b"",
        long.as_bytes(),
    ];
    let before = w.around();
    let mut password = vec![0];
    string(&mut password, PASSWORD.as_bytes());
    let mut exceptions = Vec::new();
    for (number, name) in names.iter().enumerate() {
        let mut ssh = w.ssh_stranger(1 + u8::try_from(number).unwrap());
        ssh.send(&login(name, "password", &password));
        let answer = ssh.answer();
        // What is not UTF-8 is no SSH (RFC 4252 section 5): closed.
        if answer != Heard::Closed && answer.kind() != message::USERAUTH_FAILURE {
            exceptions.push(format!("{:.20}: {}", name.escape_ascii().to_string(), answer.kind()));
        }
    }
    if w.around() != before {
        exceptions.push("something was made".to_owned());
    }
    all_hold("none comes in, no directory made", &exceptions)
}

/// An answer to keyboard-interactive.
fn answers(count: u32, each: &[&str]) -> Vec<u8> {
    let mut payload = vec![message::USERAUTH_INFO_RESPONSE];
    payload.extend(count.to_be_bytes());
    for answer in each {
        string(&mut payload, answer.as_bytes());
    }
    payload
}

fn asks(user: &str) -> Vec<u8> {
    login(user.as_bytes(), "keyboard-interactive", &[0; 8])
}

fn says(user: &str, password: &str) -> Vec<u8> {
    let mut fields = vec![0];
    string(&mut fields, password.as_bytes());
    login(user.as_bytes(), "password", &fields)
}

fn user_switch(w: &World) -> String {
    let other = "secret-of-neighbour";
    let scripts: Vec<(Vec<Vec<u8>>, bool)> = vec![
        (vec![asks("neighbour"), answers(1, &[PASSWORD])], false),
        (vec![asks("acme"), asks("neighbour"), answers(1, &[PASSWORD])], false),
        (vec![asks("neighbour"), asks("acme"), answers(1, &[PASSWORD])], true),
        (vec![asks("acme"), says("neighbour", "wrong"), answers(1, &[PASSWORD])], false),
        (vec![asks("acme"), says("neighbour", PASSWORD)], false),
        (vec![says("neighbour", PASSWORD), says("acme", other)], false),
        (vec![asks("acme"), login(b"neighbour", "none", &[]), answers(1, &[PASSWORD])], false),
        (vec![asks("disabled"), answers(1, &["secret-of-disabled"])], false),
        (vec![says("nobody", "wrong"), says("acme", PASSWORD)], true),
    ];
    let mut exceptions = Vec::new();
    for (number, (script, comes_in)) in scripts.into_iter().enumerate() {
        for one_packet in [false, true] {
            let mut ssh = w.ssh_stranger(30 + u8::try_from(number).unwrap() * 2 + u8::from(one_packet));
            let train: Vec<u8> = script.iter().flat_map(|payload| ssh.packet(payload, 0)).collect();
            if one_packet {
                ssh.send_raw(&train);
            }
            let mut kinds = Vec::new();
            let mut rest = train.as_slice();
            for _ in &script {
                if !one_packet {
                    let length = 4 + 16 + u32::from_be_bytes(*rest.first_chunk().unwrap()) as usize;
                    ssh.send_raw(&rest[..length]);
                    rest = &rest[length..];
                }
                kinds.push(ssh.answer().kind());
            }
            let came_in = kinds.last() == Some(&message::USERAUTH_SUCCESS);
            let before = kinds.iter().rev().skip(1).any(|kind| *kind == message::USERAUTH_SUCCESS);
            let files = came_in && ssh.open("session", 0, 1 << 20, &[]).is_some();
            if came_in != comes_in || before || files != comes_in {
                exceptions.push(format!("script {number}, one packet {one_packet}: {kinds:?}"));
            }
        }
    }
    all_hold("only a pair that belongs together comes in", &exceptions)
}

fn interactive_flood(w: &World) -> String {
    let many = vec!["x"; 3_000];
    let outcome = grows(w, || {
        let mut exceptions = Vec::new();
        let mut network = 60;
        let mut stranger = || {
            network += 1;
            w.ssh_stranger(network)
        };
        for payload in [
            answers(u32::MAX, &[]),
            answers(u32::MAX, &["x"]),
            answers(3_000, &many),
            answers(0, &[]),
            answers(2, &["x"]),
        ] {
            let mut ssh = stranger();
            ssh.send(&asks("acme"));
            ssh.answer();
            ssh.send(&payload);
            let answer = ssh.answer();
            if answer != Heard::Closed && answer.kind() != message::USERAUTH_FAILURE {
                exceptions.push(format!("{} answers: {}", payload.len(), answer.kind()));
            }
        }
        // More than fits a packet before the login.
        let mut ssh = stranger();
        ssh.send(&asks("acme"));
        ssh.answer();
        ssh.send(&answers(50_000, &vec![""; 50_000]));
        if !closes(&mut ssh) {
            exceptions.push("50,000 answers".to_owned());
        }
        for payload in [asks("acme"), answers(1, &["unasked"])] {
            let mut ssh = stranger();
            let train: Vec<u8> = (0..1_000).flat_map(|_| ssh.packet(&payload, 0)).collect();
            ssh.send_raw(&train);
            if !closes(&mut ssh) {
                exceptions.push(format!("message {} by the thousand", payload[0]));
            }
        }
        w.sftp_works();
        all_hold("refused or closed", &exceptions)
    });
    outcome.map_or_else(|wrong| wrong, |right| format!("{right}; memory + 1 MiB at most; others go on"))
}

fn pipelined_guesses(w: &World) -> String {
    let mut ssh = w.ssh_stranger(90);
    let train: Vec<u8> = (0..50).flat_map(|number| ssh.packet(&says("acme", &format!("guess-{number}")), 0)).collect();
    ssh.send_raw(&train);
    let mut failures = 0;
    loop {
        match ssh.answer() {
            Heard::Packet(payload) if payload[0] == message::USERAUTH_FAILURE => failures += 1,
            Heard::Packet(_) => {}
            Heard::Closed => break,
            Heard::Silence => return "not closed".to_owned(),
        }
    }
    if failures <= 3 { "3 verified at most, closed".to_owned() } else { format!("{failures} verified") }
}

fn log_injection(w: &World) -> String {
    let names =
        ["s\u{1b}[2Jb", "s\r2030-01-01T00:00:00Z INFO login user=root", "s\", \"level\":\"x", "s\u{2028}b\u{202e}c"];
    for (number, name) in names.iter().enumerate() {
        let network = IpAddr::from([127, 0, 1, 100 + u8::try_from(number).unwrap()]);
        let mut ssh = w.ssh_stranger(110 + u8::try_from(number).unwrap());
        ssh.password(name, "wrong");
        // The same as a version: refused for its control characters, or of no interest to the log.
        let mut ssh = Ssh::silent_from(network, w.open.address("sftp"));
        ssh.send_raw(format!("SSH-2.0-{name}\r\n").as_bytes());
        ssh.send_raw(b"\0\0\0\0\0\0\0\0");
        closes(&mut ssh);
    }
    let log = World::log(&w.open);
    let lines = log.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let users: Vec<String> =
        lines.filter_map(|line| line.get("user").and_then(|user| user.as_str().map(str::to_owned))).collect();
    let missing: Vec<String> =
        names.iter().map(|name| format!("{name:?}")).filter(|name| !users.contains(name)).collect();
    if log.chars().any(|c| c.is_control() && c != '\n') {
        return "a control character".to_owned();
    }
    all_hold("one line each, in which nothing is forged", &missing)
}
