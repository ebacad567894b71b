//! Attacks on and by way of data connections, and on what an upload claims.

use std::net::TcpListener;
use std::os::unix::fs::MetadataExt;

use landfall_tests::{Ftp, wait_until};

use super::{Attack, PASSWORD, World, all_hold, by, here};

pub(super) const ATTACKS: &[Attack] = &[
    here(
        "FTP bounce",
        "PORT and EPRT to other hosts, other loopback addresses, low ports, in every spelling",
        "each is refused, nobody is connected to",
        bounce,
    ),
    by(
        "FTP bounce where active mode is off",
        "PORT and EPRT to the own address",
        "502",
        &[("server/src/ftp/tests/data.rs", "active_mode_is_off")],
    ),
    by(
        "theft of passive ports",
        "a stranger is first at the port, and sends a file of his own",
        "sent away; the owner's transfer goes on",
        &[
            ("server/src/ftp/tests/data.rs", "a_stranger_does_not_get_the_data_connection"),
            ("tests/it/ftp_table/hostile.rs", "theft"),
        ],
    ),
    by(
        "theft under TLS from the same address",
        "a data connection that resumes another session, or none",
        "522 where `tls_session_reuse` is required, nothing lands",
        &[("server/src/ftp/tests/data.rs", "a_session_of_another_connection_does_not_count")],
    ),
    here(
        "data in clear where TLS is required",
        "STOR, APPE, STOU, RETR, LIST, NLST, MLSD by PASV, EPSV, PORT and EPRT, before PROT, after PROT C, after PROT P \
         and C",
        "each is refused, not one byte in clear",
        data_in_clear,
    ),
    here(
        "something else than TLS after PROT P",
        "a file in clear on a protected data connection",
        "425, nothing lands, the session goes on",
        clear_after_prot_p,
    ),
    by(
        "passive ports held",
        "PASV in every session, and nobody connects",
        "each goes back in time; 425 meanwhile",
        &[
            ("server/src/ftp/tests/data.rs", "a_passive_port_that_nobody_uses_goes_back"),
            ("server/src/ftp/tests/data.rs", "passive_ports_run_out_and_come_back"),
        ],
    ),
    by(
        "transfers held",
        "one user begins as many as there may be",
        "450 beyond a quarter of all",
        &[("server/src/ftp/tests/data.rs", "one_user_does_not_run_all_transfers")],
    ),
    here(
        "REST far beyond the end",
        "REST from 2^31 to 2^64-1 before STOR, APPE, STOU and RETR, and numbers that are none",
        "no hole, no file, no download",
        rest_beyond,
    ),
    here(
        "ALLO lies",
        "2^40 to 2^64-1 and fewer bytes than come, then a small file",
        "nothing reserved, nothing lands, a true size does",
        allo_lies,
    ),
    by(
        "quota by many writers",
        "50 uploads at the edge of a quota",
        "overshoot 0 bytes",
        &[("server/src/delivery/tests/mod.rs", "fifty_writers_at_the_edge_of_a_quota_overshoot_by_nothing")],
    ),
    here(
        "a client that dies",
        "FIN and reset of either connection first, in clear and under TLS, at each point of an upload",
        "0 published",
        deaths,
    ),
    by(
        "a client that is killed or falls silent",
        "SIGKILL of nine real clients in mid-upload; silence; TLS without close_notify",
        "0 published, resumed byte for byte",
        &[
            ("tests/it/crash.rs", "a_client_that_dies_publishes_nothing"),
            ("tests/it/cuts.rs", "curl_over_ftp"),
            ("tests/it/cuts.rs", "lftp_over_explicit_ftps"),
            ("server/src/ftp/tests/transfers.rs", "silence_suspends"),
            ("server/src/ftp/tests/data.rs", "without_close_notify_nothing_lands"),
        ],
    ),
];

fn bounce(w: &World) -> String {
    let mut ftp = w.login();
    let mut exceptions = Vec::new();
    // The victim: on this machine, and yet not where the client comes from.
    let victim = TcpListener::bind("127.0.0.2:0").unwrap();
    victim.set_nonblocking(true).unwrap();
    let port = victim.local_addr().unwrap().port();
    let (high, low) = (port >> 8, port & 255);
    let mut lines: Vec<String> =
        ["127,0,0,2", "10,0,0,1", "0,0,0,0", "255,255,255,255", "224,0,0,1", "169,254,169,254"]
            .iter()
            .map(|host| format!("PORT {host},{high},{low}"))
            .collect();
    lines.extend([0, 1, 21, 22, 25, 80, 443, 1_023].map(|port| format!("PORT 127,0,0,1,{},{}", port >> 8, port & 255)));
    lines.extend([0, 1, 21, 22, 25, 80, 443, 1_023].map(|port| format!("EPRT |1|127.0.0.1|{port}|")));
    lines.extend(
        [
            "127.0.0.2",
            "10.0.0.1",
            "0.0.0.0",
            "0177.0.0.2",
            "0x7f.0.0.2",
            "127.2",
            "2130706434",
            "localhost",
            "127.0.0.1.",
            "",
        ]
        .map(|host| format!("EPRT |1|{host}|{port}|")),
    );
    lines.extend(
        ["::1", "::", "::ffff:127.0.0.2", "::ffff:10.0.0.1", "fe80::1%lo", "::127.0.0.1", "64:ff9b::7f00:2"]
            .map(|host| format!("EPRT |2|{host}|{port}|")),
    );
    lines.extend([
        format!("EPRT |2|127.0.0.1|{port}|"),
        format!("EPRT |1|::ffff:127.0.0.1|{port}|"),
        format!("EPRT |3|127.0.0.1|{port}|"),
        format!("EPRT |1|127.0.0.1|{}|", u32::from(port) + 65_536),
        format!("EPRT |1|127.0.0.1|{port}|{port}|"),
        format!("PORT 127,0,0,1,{high},{low},1"),
        format!("PORT 127,0,0,258,{high},{low}"),
        format!("PORT 127,0,0,-1,{high},{low}"),
    ]);
    for line in lines {
        let refused = ftp.command(&line).code;
        let transfer = ftp.command("LIST").code;
        // 522: another family of addresses than the control connection's.
        if !matches!(refused, 501 | 522) || transfer != 425 {
            exceptions.push(format!("{line}: {refused}, LIST {transfer}"));
        }
    }
    if victim.accept().is_ok() {
        exceptions.push("the victim was connected to".to_owned());
    }
    all_hold("each is refused, nobody is connected to", &exceptions)
}

fn data_in_clear(w: &World) -> String {
    let mut exceptions = Vec::new();
    let home = w.strict.home("acme");
    for protection in [[].as_slice(), &["PBSZ 0"], &["PBSZ 0", "PROT C"], &["PBSZ 0", "PROT P", "PROT C"]] {
        let mut ftp = Ftp::connect(w.strict.address("ftp"));
        ftp.auth_tls().expect(234);
        ftp.login("acme", PASSWORD).expect(230);
        let last = protection.iter().map(|line| ftp.command(line).code).last();
        let protected = protection.contains(&"PROT P");
        if protection.contains(&"PROT C") && last != Some(534) {
            exceptions.push(format!("{protection:?}: {last:?}"));
        }
        for verb in ["STOR clear.jpg", "APPE clear.jpg", "STOU clear.jpg", "RETR canary.jpg", "LIST", "NLST", "MLSD"] {
            for way in ["PASV", "EPSV", "PORT", "EPRT"] {
                if let Some(exception) = clear_transfer(&mut ftp, verb, way, protected) {
                    exceptions.push(format!("{protection:?} {way} {verb}: {exception}"));
                }
            }
        }
    }
    if std::fs::read_dir(home).is_ok_and(|entries| entries.count() > 0) {
        exceptions.push("something landed".to_owned());
    }
    all_hold("each is refused, not one byte in clear", &exceptions)
}

/// A transfer on a bare socket: refused before it begins, or, where PROT P holds, dead in its handshake.
fn clear_transfer(ftp: &mut Ftp, verb: &str, way: &str, protected: bool) -> Option<String> {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let reply = match way {
        "PORT" => ftp.command(&format!("PORT 127,0,0,1,{},{}", port >> 8, port & 255)),
        "EPRT" => ftp.command(&format!("EPRT |1|127.0.0.1|{port}|")),
        way => ftp.command(way),
    };
    if reply.code >= 500 {
        return None;
    }
    let passive = matches!(way, "PASV" | "EPSV").then(|| ftp.connect_data(&reply));
    let begun = ftp.command(verb);
    if !(100..200).contains(&begun.code) {
        return (begun.code != 521 && begun.code != 550).then_some(begun.text);
    }
    let socket = passive.unwrap_or_else(|| listener.accept().unwrap().0);
    std::io::Write::write_all(&mut &socket, b"a file in clear that is long enough to be a TLS record").ok();
    socket.shutdown(std::net::Shutdown::Write).ok();
    let mut bytes = Vec::new();
    std::io::Read::read_to_end(&mut &socket, &mut bytes).ok();
    let ended = ftp.reply();
    // An alert of TLS is all that may come.
    let clear = bytes.first().is_some_and(|first| *first != 21);
    (!protected || clear || ended.code != 425).then(|| format!("{} {bytes:?}", ended.text))
}

fn clear_after_prot_p(w: &World) -> String {
    let mut ftp = Ftp::connect_explicit(w.open.address("ftp"), "acme", PASSWORD);
    let reply = ftp.command("EPSV").expect(229);
    let socket = ftp.connect_data(&reply);
    ftp.command("STOR clear.jpg").expect(150);
    std::io::Write::write_all(&mut &socket, b"a file in clear that is long enough to be a TLS record").unwrap();
    drop(socket);
    let code = ftp.reply().code;
    let landed = w.home().join("clear.jpg").exists();
    let goes_on = ftp.command("NOOP").code == 200;
    format!(
        "{code}, {} lands, the session {}",
        if landed { "it" } else { "nothing" },
        if goes_on { "goes on" } else { "is broken" }
    )
}

fn rest_beyond(w: &World) -> String {
    let mut ftp = w.login();
    let mut exceptions = Vec::new();
    let before = w.names();
    for offset in [31, 32, 40, 53, 62, 63].map(|bits| 1_u64 << bits).into_iter().chain([u64::MAX - 1, u64::MAX]) {
        for verb in ["STOR hole.jpg", "RETR own.jpg"] {
            ftp.command(&format!("REST {offset}")).expect(350);
            let (bytes, reply) = ftp.download(verb);
            if reply.code != 554 || !bytes.is_empty() {
                exceptions.push(format!("REST {offset}, {verb}: {}", reply.text));
            }
        }
        // These begin elsewhere than REST says: what is asked for is not to be had.
        for verb in ["APPE own.jpg", "STOU u.jpg"] {
            ftp.command(&format!("REST {offset}")).expect(350);
            let reply = ftp.upload(verb, b"");
            if reply.code != 503 {
                exceptions.push(format!("REST {offset}, {verb}: {}", reply.text));
            }
        }
    }
    for number in ["18446744073709551616", "-1", "1e9", "0x10", "1 2", "９", ""] {
        let code = ftp.command(&format!("REST {number}")).code;
        if code != 501 {
            exceptions.push(format!("REST {number}: {code}"));
        }
    }
    if w.names() != before {
        exceptions.push(format!("{:?}", w.names()));
    }
    all_hold("no hole, no file, no download", &exceptions)
}

fn allo_lies(w: &World) -> String {
    let mut ftp = w.login();
    let mut exceptions = Vec::new();
    for announced in [1_u64 << 40, 1 << 62, 1 << 63, u64::MAX, 4] {
        ftp.command(&format!("ALLO {announced}")).expect(200);
        let reply = ftp.upload("STOR lie.jpg", b"small");
        if reply.code < 400 || w.home().join("lie.jpg").exists() {
            exceptions.push(format!("ALLO {announced}: {}", reply.text));
        }
    }
    for number in ["18446744073709551616", "-1", "x", "1e9"] {
        let code = ftp.command(&format!("ALLO {number}")).code;
        if code != 501 {
            exceptions.push(format!("ALLO {number}: {code}"));
        }
    }
    let staged = std::fs::read_dir(w.open.data().join("staging")).unwrap().flatten();
    let reserved: u64 = staged.map(|entry| entry.metadata().map_or(0, |facts| facts.blocks() * 512)).sum();
    if reserved > 1_000_000 {
        exceptions.push(format!("{reserved} bytes are reserved"));
    }
    ftp.command("ALLO 5 R 5").expect(200);
    ftp.upload("STOR lie.jpg", b"small").expect(226);
    ftp.command("DELE lie.jpg").expect(250);
    all_hold("nothing reserved, nothing lands, a true size does", &exceptions)
}

/// How far an upload comes before its client dies.
const POINTS: [&str; 7] = [
    "in the middle of USER",
    "after the login",
    "in the middle of STOR",
    "after EPSV",
    "after STOR",
    "at the first byte",
    "in the middle of the data",
];

fn deaths(w: &World) -> String {
    let before = w.names();
    for (point, _) in POINTS.iter().enumerate() {
        for tls in [false, true] {
            for (control_first, reset) in [(true, false), (true, true), (false, true)] {
                die(w, point, tls, control_first, reset);
            }
        }
    }
    // Landings that were under way would be done by then: each session has left.
    let nobody = || (!w.open.cli(&["sessions", "--json"]).ok().stdout.contains("acme")).then_some(());
    wait_until("the sessions to end", nobody);
    let published: Vec<String> = w.names().into_iter().filter(|name| !before.contains(name)).collect();
    all_hold("0 published", &published)
}

fn die(w: &World, point: usize, tls: bool, control_first: bool, reset: bool) {
    let mut ftp = w.stranger();
    if tls {
        ftp.auth_tls().expect(234);
    }
    if point == 0 {
        ftp.send_raw(b"USER ac");
        return end(ftp, reset);
    }
    ftp.login("acme", PASSWORD).expect(230);
    if tls {
        ftp.protect();
    }
    let name = format!("STOR dead-{point}-{tls}-{control_first}-{reset}.jpg");
    match point {
        1 => return end(ftp, reset),
        2 => {
            ftp.send_raw(name.as_bytes());
            return end(ftp, reset);
        }
        _ => {}
    }
    let data = ftp.open_data();
    if point > 3 {
        ftp.command(&name).expect(150);
    }
    let mut data = if point > 4 { data.start() } else { data };
    match point {
        5 => data.write(b"a"),
        6 => data.write(&b"a".repeat(200_000)),
        _ => {}
    }
    if control_first {
        end(ftp, reset);
        if reset { data.reset() } else { data.fin() }
    } else {
        data.reset();
        end(ftp, reset);
    }
}

fn end(ftp: Ftp, reset: bool) {
    if reset { ftp.reset() } else { ftp.cut() }
}
