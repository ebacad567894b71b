//! Rows about login, names and listings.

use landfall_tests::Ftp;

use super::{Row, World, code, codes, same};

pub(super) const ROWS: [Row; 23] = [
    same("greeting", |w| code(w.stranger().greeting()), "220"),
    same("login", |w| code(&w.stranger().login("acme", "secret-of-acme")), "230"),
    same("wrong password", |w| code(&w.stranger().login("acme", "guess")), "530"),
    same("unknown user", |w| code(&w.stranger().login("nobody", "guess")), "530"),
    same("PWD before login", |w| code(&w.stranger().command("PWD")), "530"),
    same("SYST, TYPE I, NOOP, QUIT", talk, "215 200 200 221"),
    same("FEAT", |w| code(&w.login().command("FEAT")), "211"),
    same("OPTS UTF8 ON", |w| code(&w.login().command("OPTS UTF8 ON")), "200"),
    same("MKD, CWD, CDUP, RMD", directories, "257 250 250 250"),
    same("CWD to what is not there", |w| code(&w.login().command("CWD /nowhere")), "550"),
    same("RMD of a directory with files", rmd_full, "550"),
    same("DELE", dele, "250, gone"),
    same("DELE of what is not there", |w| code(&w.login().command("DELE nothing.jpg")), "550"),
    same("RNFR, RNTO", rename, "350 250, moved"),
    Row {
        name: "RNTO without RNFR",
        run: |w| code(&w.login().command("RNTO b.jpg")),
        landfall: "503",
        peer: "450",
        why: "RFC 959, 4.2: 503 is the code for a bad sequence of commands",
    },
    same("SIZE", size, "213 5"),
    same("SIZE of what is not there", |w| code(&w.login().command("SIZE nothing.jpg")), "550"),
    same("MDTM", mdtm, "213 and 14 digits"),
    Row {
        name: "MFMT",
        run: mfmt,
        landfall: "213, set",
        peer: "500",
        why: "clients keep the camera's time by MFMT; libunftp does not know the verb",
    },
    same("LIST", |w| listed(w, "LIST", "list.jpg"), "226, named"),
    same("NLST", |w| listed(w, "NLST", "nlst.jpg"), "226, named"),
    same("MLSD", |w| listed(w, "MLSD", "mlsd.jpg"), "226, named"),
    same("RETR of what is not there", |w| code(&w.login().download("RETR nothing.jpg").1), "550"),
];

fn with_file(world: &World, name: &str) -> Ftp {
    let mut ftp = world.login();
    ftp.upload(&format!("STOR {name}"), b"12345").expect(226);
    ftp
}

fn talk(w: &World) -> String {
    let mut ftp = w.login();
    codes(&["SYST", "TYPE I", "NOOP", "QUIT"].map(|line| ftp.command(line)))
}

fn directories(w: &World) -> String {
    let mut ftp = w.login();
    codes(&["MKD season", "CWD season", "CDUP", "RMD season"].map(|line| ftp.command(line)))
}

fn rmd_full(w: &World) -> String {
    let mut ftp = w.login();
    ftp.command("MKD full").expect(257);
    ftp.upload("STOR full/a.jpg", b"12345").expect(226);
    code(&ftp.command("RMD full"))
}

fn dele(w: &World) -> String {
    let mut ftp = with_file(w, "dele.jpg");
    let reply = ftp.command("DELE dele.jpg");
    format!("{}, {}", code(&reply), if w.on_disk("dele.jpg").is_none() { "gone" } else { "still there" })
}

fn rename(w: &World) -> String {
    let mut ftp = with_file(w, "before.jpg");
    let replies = ["RNFR before.jpg", "RNTO after.jpg"].map(|line| ftp.command(line));
    let moved = w.on_disk("before.jpg").is_none() && w.on_disk("after.jpg").is_some();
    format!("{}, {}", codes(&replies), if moved { "moved" } else { "not moved" })
}

fn size(w: &World) -> String {
    with_file(w, "size.jpg").command("SIZE size.jpg").text
}

fn mdtm(w: &World) -> String {
    let reply = with_file(w, "mdtm.jpg").command("MDTM mdtm.jpg");
    let time = reply.text.get(4..).unwrap_or_default();
    let digits = time.len() == 14 && time.bytes().all(|byte| byte.is_ascii_digit());
    format!("{} and {}", code(&reply), if digits { "14 digits" } else { time })
}

fn mfmt(w: &World) -> String {
    let mut ftp = with_file(w, "mfmt.jpg");
    let reply = ftp.command("MFMT 20010203040506 mfmt.jpg");
    if reply.code != 213 {
        return code(&reply);
    }
    let set = ftp.command("MDTM mfmt.jpg").text == "213 20010203040506";
    format!("{}, {}", code(&reply), if set { "set" } else { "not set" })
}

fn listed(w: &World, verb: &str, name: &str) -> String {
    let (listing, reply) = with_file(w, name).download(verb);
    let named = String::from_utf8_lossy(&listing).lines().any(|line| line.ends_with(name));
    format!("{}, {}", code(&reply), if named { "named" } else { "not named" })
}
