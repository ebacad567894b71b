//! Rows about what should not work.

use std::net::{SocketAddr, TcpStream};

use landfall_tests::{Ftp, Reply};

use super::{Row, World, code, codes, same};

pub(super) const ROWS: [Row; 18] = [
    same("RETR ../../etc/passwd", |w| code(&w.login().download("RETR ../../../../../../etc/passwd").1), "550"),
    same("commands in one packet", pipelined, "257 215 200"),
    Row {
        name: "a command behind AUTH TLS, in clear, in one packet",
        run: injection,
        landfall: "thrown away",
        peer: "carried out",
        why: "anybody on the way could put it there; libunftp reads it before the handshake",
    },
    Row {
        name: "AUTH TLS under TLS",
        run: |w| code(&w.login_tls().command("AUTH TLS")),
        landfall: "503",
        peer: "234",
        why: "TLS within TLS serves nobody",
    },
    Row {
        name: "64 KiB without a line end, before login",
        run: long_line,
        landfall: "500, closed",
        peer: "no reply, open",
        why: "libunftp holds as much as is sent; Landfall a few KiB",
    },
    Row {
        name: "four wrong passwords on one connection",
        run: guesses,
        landfall: "closed",
        peer: "open",
        why: "guessing on one connection is cheap; libunftp has a policy for it that is off as it comes",
    },
    same("PORT", |w| active(w, "PORT 127,0,0,1,200,200"), "refused"),
    same("EPRT", |w| active(w, "EPRT |1|127.0.0.1|51400|"), "refused"),
    Row {
        name: "a data connection from another address",
        run: theft,
        landfall: "turned away, the upload goes on",
        peer: "turned away, and the client with it",
        why: "whoever guesses the port could stop every upload",
    },
    Row {
        name: "something else than TLS on a protected data connection",
        run: no_handshake,
        landfall: "an error, session goes on",
        peer: "no reply, session goes on",
        why: "libunftp's task for the data connection ends without a word",
    },
    same("TLS required: USER in clear", clear_user, "refused"),
    same("TLS required: STOR by PASV with PROT C", |w| clear_data(w, "PASV"), "refused"),
    Row {
        name: "TLS required: STOR by EPSV with PROT C",
        run: |w| clear_data(w, "EPSV"),
        landfall: "refused",
        peer: "226 in clear",
        why: "libunftp looks at PASV alone; Landfall looks where the data connection is used",
    },
    Row {
        name: "a name with an escape character",
        run: |w| name(w, b"STOR es\x1bcape.jpg\r\n"),
        landfall: "553, nothing there",
        peer: "226, something there",
        why: "it would end in a terminal or a log",
    },
    Row {
        name: "a name that is not UTF-8",
        run: |w| name(w, b"STOR caf\xe9.jpg\r\n"),
        landfall: "553, nothing there",
        peer: "226, something there",
        why: "libunftp stores it under another name than was sent",
    },
    Row {
        name: "CCC",
        run: |w| code(&w.login_tls().command("CCC")),
        landfall: "534",
        peer: "502",
        why: "both refuse; RFC 2228 has a code for what policy denies",
    },
    same("a verb that does not exist", |w| code(&w.login().command("FROB")), "500"),
    same("STOR without PASV", |w| code(&w.login().command("STOR a.jpg")), "425"),
];

fn pipelined(w: &World) -> String {
    let mut ftp = w.login();
    ftp.send_raw(b"PWD\r\nSYST\r\nNOOP\r\n");
    codes(&[ftp.reply(), ftp.reply(), ftp.reply()])
}

fn injection(w: &World) -> String {
    let mut ftp = w.stranger();
    ftp.send_raw(b"AUTH TLS\r\nSYST\r\n");
    ftp.reply().expect(234);
    ftp.upgrade();
    ftp.patience(w.patience);
    // USER's 331 is the first reply under TLS, unless the command that was smuggled in has one too.
    let first = ftp.command("USER acme");
    match first.code {
        331 => "thrown away".to_owned(),
        _ => "carried out".to_owned(),
    }
}

fn long_line(w: &World) -> String {
    let mut ftp = w.stranger();
    ftp.patience(w.patience);
    ftp.send_raw(&vec![b'A'; 65_536]);
    let reply = ftp.reply();
    let after = if reply.code == 1 { Reply::silence() } else { ftp.reply() };
    format!("{}, {}", code(&reply), if after.code == 1 { "open" } else { "closed" })
}

fn guesses(w: &World) -> String {
    let mut ftp = Ftp::connect_from([127, 0, 0, 9].into(), w.address);
    for _ in 0..4 {
        ftp.login("nobody", "guess");
    }
    if ftp.command("NOOP").code == 0 { "closed".to_owned() } else { "open".to_owned() }
}

fn active(w: &World, line: &str) -> String {
    let reply = w.login().command(line);
    if reply.code >= 500 { "refused".to_owned() } else { code(&reply) }
}

fn theft(w: &World) -> String {
    let mut ftp = w.login();
    let reply = ftp.command("EPSV").expect(229);
    let address = SocketAddr::new(w.address.ip(), reply.port());
    let thief = landfall_tests::connect_from([127, 0, 0, 66].into(), address);
    let rightful = TcpStream::connect(address);
    ftp.patience(w.patience);
    ftp.command("STOR theft.jpg");
    if let Ok(mut thief) = thief {
        drop(std::io::Write::write_all(&mut thief, b"the thief's"));
    }
    if let Ok(mut rightful) = rightful {
        drop(std::io::Write::write_all(&mut rightful, b"the client's"));
    }
    ftp.reply();
    match w.on_disk("theft.jpg").as_deref() {
        Some(b"the client's") => "turned away, the upload goes on".to_owned(),
        Some(b"the thief's") => "taken in place of the client's".to_owned(),
        Some(_) => "something else landed".to_owned(),
        None => "turned away, and the client with it".to_owned(),
    }
}

fn no_handshake(w: &World) -> String {
    let mut ftp = w.login_tls();
    ftp.patience(w.patience);
    let mut data = ftp.open_data();
    let begun = ftp.command("STOR handshake.jpg");
    data.write(b"this is not a TLS record, and it is long enough to be seen as none");
    data.fin();
    let reply = if (100..200).contains(&begun.code) { ftp.reply() } else { begun };
    let what = if reply.code >= 400 { "an error".to_owned() } else { code(&reply) };
    let goes_on = ftp.command("NOOP").code == 200;
    format!("{what}, session {}", if goes_on { "goes on" } else { "is broken" })
}

fn clear_user(w: &World) -> String {
    let reply = Ftp::connect(w.strict).login("acme", "secret-of-acme");
    if reply.code >= 500 { "refused".to_owned() } else { code(&reply) }
}

fn clear_data(w: &World, passive: &str) -> String {
    let mut ftp = w.login_strict();
    ftp.command("PBSZ 0");
    ftp.command("PROT C");
    let reply = ftp.command(passive);
    if reply.code >= 500 {
        return "refused".to_owned();
    }
    let data = TcpStream::connect(SocketAddr::new(w.strict.ip(), reply.port()));
    let reply = ftp.command("STOR clear.jpg");
    if reply.code >= 500 {
        return "refused".to_owned();
    }
    if let Ok(mut data) = data {
        drop(std::io::Write::write_all(&mut data, b"in clear"));
    }
    format!("{} in clear", code(&ftp.reply()))
}

fn name(w: &World, line: &[u8]) -> String {
    let count = || std::fs::read_dir(&w.folder).map_or(0, Iterator::count);
    let before = count();
    let mut ftp = w.login();
    let mut data = ftp.open_data();
    ftp.send_raw(line);
    let mut reply = ftp.reply();
    if (100..200).contains(&reply.code) {
        data.write(b"12345");
        data.finish();
        reply = ftp.reply();
    }
    format!("{}, {} there", code(&reply), if count() > before { "something" } else { "nothing" })
}
