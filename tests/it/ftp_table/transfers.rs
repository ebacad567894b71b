//! Rows about uploads and downloads: whole, resumed, cut off.

use super::{Row, World, cargo, code, codes, same};

const HALF: usize = 1_000_000;

pub(super) const ROWS: [Row; 19] = [
    same("STOR, then RETR", round_trip, "226, 226, same bytes"),
    same("STOR and RETR, AUTH TLS and PROT P", round_trip_tls, "226, 226, same bytes"),
    same("STOR of an empty file", |w| code(&w.login().upload("STOR empty.jpg", b"")), "226"),
    Row {
        name: "the name while STOR is under way",
        run: seen_early,
        landfall: "not there yet",
        peer: "there, half written",
        why: "Landfall stages an upload and shows it when it is whole; unftp-sbe-fs writes in place",
    },
    Row {
        name: "the old file while STOR over it is under way",
        run: old_file,
        landfall: "the old one, whole",
        peer: "neither",
        why: "Landfall's rename is the replacement; unftp-sbe-fs truncates first",
    },
    same("REST, RETR", rest_retr, "350, 226, the rest"),
    same("REST counts for one transfer", rest_once, "whole the second time"),
    same("APPE to a file that landed", appe, "226, joined"),
    Row {
        name: "STOR cut off by a lost control connection",
        run: control_lost,
        landfall: "kept for its owner, not published",
        peer: "published as it was",
        why: "a client that is gone has not said that the file is whole",
    },
    Row {
        name: "STOR cut off by a reset of the data connection",
        run: data_reset,
        landfall: "426, kept for its owner, not published",
        peer: "426, published as it was",
        why: "both say so; unftp-sbe-fs has written in place",
    },
    Row {
        name: "STOR under TLS without close_notify",
        run: no_close_notify,
        landfall: "426, kept for its owner, not published",
        peer: "451, published as it was",
        why: "both say so; unftp-sbe-fs has written in place. Under TLS, FIN alone can be forged by anybody on the way (RFC 8446, 6.1)",
    },
    Row {
        name: "STOR shorter than ALLO said",
        run: allo_short,
        landfall: "refused, not published",
        peer: "226, published as it was",
        why: "the client told the size; libunftp does not listen to ALLO",
    },
    same("after a cut: SIZE, REST, STOR", resume, "350, 226, same bytes"),
    Row {
        name: "REST beyond the end, STOR",
        run: beyond_end,
        landfall: "554, nothing there",
        peer: "226, a hole",
        why: "a resume that would make a hole corrupts the file",
    },
    Row {
        name: "ABOR during STOR",
        run: abor,
        landfall: "426 226, kept for its owner, not published",
        peer: "no reply no reply, published as it was",
        why: "RFC 959 has two replies here, one for the transfer and one for ABOR; libunftp's session is locked during a transfer",
    },
    same("NOOP during STOR", |w| during(w, "NOOP", "noop.jpg"), "200, then 226"),
    Row {
        name: "STAT during STOR",
        run: |w| during(w, "STAT", "stat.jpg"),
        landfall: "211, then 226",
        peer: "no reply, then 211",
        why: "libunftp's session is locked during a transfer",
    },
    same("STOR into a directory that is not there", missing_directory, "550, session goes on"),
    same("RETR of a directory", retr_directory, "550"),
];

fn round_trip(w: &World) -> String {
    let mut ftp = w.login();
    let stored = ftp.upload("STOR round.jpg", &cargo());
    let (bytes, fetched) = ftp.download("RETR round.jpg");
    format!("{}, {}, {}", code(&stored), code(&fetched), if bytes == cargo() { "same bytes" } else { "other bytes" })
}

fn round_trip_tls(w: &World) -> String {
    let mut ftp = w.login_tls();
    let stored = ftp.upload("STOR round-tls.jpg", &cargo());
    let (bytes, fetched) = ftp.download("RETR round-tls.jpg");
    format!("{}, {}, {}", code(&stored), code(&fetched), if bytes == cargo() { "same bytes" } else { "other bytes" })
}

/// Waits until the server has taken what was sent, as far as anybody can see it from outside.
fn settle(w: &World, name: &str) {
    let mut other = w.login();
    for _ in 0..200 {
        if w.on_disk(name).is_some_and(|bytes| bytes.len() >= HALF)
            || other.command(&format!("SIZE {name}")).text == format!("213 {HALF}")
        {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
}

fn seen_early(w: &World) -> String {
    let mut ftp = w.login();
    let mut data = ftp.begin("STOR early.jpg");
    data.write(&cargo()[..HALF]);
    settle(w, "early.jpg");
    let seen = w.on_disk("early.jpg");
    data.finish();
    ftp.reply().expect(226);
    if seen.is_none() { "not there yet".to_owned() } else { "there, half written".to_owned() }
}

fn old_file(w: &World) -> String {
    let mut ftp = w.login();
    ftp.upload("STOR old.jpg", b"the old one").expect(226);
    let mut data = ftp.begin("STOR old.jpg");
    data.write(&cargo()[..HALF]);
    settle(w, "old.jpg");
    let seen = w.on_disk("old.jpg").unwrap_or_default();
    data.finish();
    ftp.reply().expect(226);
    if seen == b"the old one" { "the old one, whole".to_owned() } else { "neither".to_owned() }
}

fn rest_retr(w: &World) -> String {
    let mut ftp = w.login();
    ftp.upload("STOR rest.jpg", b"0123456789").expect(226);
    let rest = ftp.command("REST 4");
    let (bytes, reply) = ftp.download("RETR rest.jpg");
    format!("{}, {}, {}", code(&rest), code(&reply), if bytes == b"456789" { "the rest" } else { "something else" })
}

fn rest_once(w: &World) -> String {
    let mut ftp = w.login();
    ftp.upload("STOR once.jpg", b"0123456789").expect(226);
    ftp.command("REST 4").expect(350);
    ftp.download("RETR once.jpg").1.expect(226);
    let whole = ftp.download("RETR once.jpg").0 == b"0123456789";
    if whole { "whole the second time".to_owned() } else { "cut the second time".to_owned() }
}

fn appe(w: &World) -> String {
    let mut ftp = w.login();
    ftp.upload("STOR appe.jpg", b"0123").expect(226);
    let reply = ftp.upload("APPE appe.jpg", b"4567");
    let joined = w.on_disk("appe.jpg").is_some_and(|bytes| bytes == b"01234567");
    format!("{}, {}", code(&reply), if joined { "joined" } else { "not joined" })
}

fn control_lost(w: &World) -> String {
    let mut ftp = w.login();
    let mut data = ftp.begin("STOR lost.jpg");
    data.write(&cargo()[..HALF]);
    ftp.cut();
    data.fin();
    w.fate("lost.jpg").to_owned()
}

fn data_reset(w: &World) -> String {
    let mut ftp = w.login();
    let mut data = ftp.begin("STOR reset.jpg");
    data.write(&cargo()[..HALF]);
    settle(w, "reset.jpg");
    data.reset();
    let reply = ftp.reply();
    format!("{}, {}", code(&reply), w.fate("reset.jpg"))
}

fn no_close_notify(w: &World) -> String {
    let mut ftp = w.login_tls();
    let mut data = ftp.begin("STOR notify.jpg");
    data.write(&cargo()[..HALF]);
    data.fin();
    let reply = ftp.reply();
    format!("{}, {}", code(&reply), w.fate("notify.jpg"))
}

fn allo_short(w: &World) -> String {
    let mut ftp = w.login();
    let allo = ftp.command(&format!("ALLO {}", cargo().len()));
    assert!((200..300).contains(&allo.code), "{}", allo.text);
    let reply = ftp.upload("STOR allo.jpg", &cargo()[..HALF]);
    let what = if reply.code < 400 { code(&reply) } else { "refused".to_owned() };
    format!("{what}, {}", if w.on_disk("allo.jpg").is_some() { "published as it was" } else { "not published" })
}

fn resume(w: &World) -> String {
    let mut ftp = w.login();
    let mut data = ftp.begin("STOR resume.jpg");
    data.write(&cargo()[..HALF]);
    settle(w, "resume.jpg");
    data.reset();
    ftp.reply();
    drop(ftp);
    w.fate("resume.jpg");
    let mut ftp = w.login();
    ftp.command("TYPE I");
    let held: usize = ftp.command("SIZE resume.jpg").text.get(4..).and_then(|text| text.parse().ok()).unwrap_or(0);
    let rest = ftp.command(&format!("REST {held}"));
    let reply = ftp.upload("STOR resume.jpg", &cargo()[held..]);
    let same = w.on_disk("resume.jpg").is_some_and(|bytes| bytes == cargo());
    format!("{}, {}, {}", code(&rest), code(&reply), if same { "same bytes" } else { "other bytes" })
}

fn beyond_end(w: &World) -> String {
    let mut ftp = w.login();
    ftp.command("REST 1000");
    let reply = ftp.upload("STOR beyond.jpg", b"tail");
    let there = w.on_disk("beyond.jpg");
    format!("{}, {}", code(&reply), if there.is_some() { "a hole" } else { "nothing there" })
}

fn abor(w: &World) -> String {
    let mut ftp = w.login();
    let mut data = ftp.begin("STOR abor.jpg");
    data.write(&cargo()[..HALF]);
    settle(w, "abor.jpg");
    ftp.patience(w.patience);
    let replies = [ftp.command("ABOR"), ftp.reply()];
    drop(data);
    drop(ftp);
    format!("{}, {}", codes(&replies), w.fate("abor.jpg"))
}

fn during(w: &World, verb: &str, name: &str) -> String {
    let mut ftp = w.login();
    let mut data = ftp.begin(&format!("STOR {name}"));
    data.write(&cargo()[..HALF]);
    ftp.patience(w.patience);
    let now = ftp.command(verb);
    data.finish();
    format!("{}, then {}", code(&now), code(&ftp.reply()))
}

fn missing_directory(w: &World) -> String {
    let mut ftp = w.login();
    let reply = ftp.upload("STOR nowhere/a.jpg", b"12345");
    let goes_on = ftp.command("NOOP").code == 200;
    format!("{}, session {}", code(&reply), if goes_on { "goes on" } else { "is broken" })
}

fn retr_directory(w: &World) -> String {
    let mut ftp = w.login();
    ftp.command("MKD shelf").expect(257);
    code(&ftp.download("RETR shelf").1)
}
