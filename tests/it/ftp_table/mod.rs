//! One table of FTP scenarios, run against Landfall and against the stock stack (libunftp with unftp-sbe-fs).
//! A row says what each of the two does, and where they differ, why. The test fails when either of them does something
//! else than its row says, or when `tests/FTP_TABLE.md` is not what this table prints.

mod hostile;
mod names;
mod transfers;

use std::fmt::Write;
use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::path::PathBuf;
use std::time::Duration;

use landfall_tests::{Ftp, Peer, Reply, Server, pattern, repository, wait_until};

/// A server under test, as a scenario sees it.
struct World {
    address: SocketAddr,
    /// Another listener of the same server that demands TLS.
    strict: SocketAddr,
    /// What the user sees as `/`.
    folder: PathBuf,
    /// How long to wait where the other of the two may never answer.
    patience: Duration,
    /// How often a login under TLS may be tried: libunftp now and then takes the ClientHello for a command and closes.
    tls_tries: u32,
}

impl World {
    fn stranger(&self) -> Ftp {
        Ftp::connect(self.address)
    }

    fn login(&self) -> Ftp {
        let mut ftp = self.stranger();
        ftp.login("acme", "secret-of-acme").expect(230);
        ftp
    }

    fn login_tls(&self) -> Ftp {
        Self::over_tls(self.address, self.tls_tries)
    }

    /// A login under TLS to the listener that demands it, without PROT.
    fn login_strict(&self) -> Ftp {
        Self::unprotected(self.strict, self.tls_tries)
    }

    fn over_tls(address: SocketAddr, tries: u32) -> Ftp {
        let mut ftp = Self::unprotected(address, tries);
        ftp.protect();
        ftp
    }

    fn unprotected(address: SocketAddr, tries: u32) -> Ftp {
        let mut last = Reply::silence();
        for _ in 0..tries {
            let mut ftp = Ftp::connect(address);
            ftp.auth_tls().expect(234);
            last = ftp.login("acme", "secret-of-acme");
            if last.code != 0 {
                last.expect(230);
                return ftp;
            }
        }
        panic!("{tries} logins under TLS: {}", last.text);
    }

    fn on_disk(&self, name: &str) -> Option<Vec<u8>> {
        std::fs::read(self.folder.join(name)).ok()
    }

    /// What became of an upload that was cut off: asked until the server has made up its mind.
    fn fate(&self, name: &str) -> &'static str {
        let mut ftp = self.login();
        wait_until("the fate of an upload", || {
            if self.on_disk(name).is_some() {
                return Some("published as it was");
            }
            let reply = ftp.command(&format!("SIZE {name}"));
            (reply.code == 213).then_some("kept for its owner, not published")
        })
    }
}

/// One line of the table.
struct Row {
    name: &'static str,
    run: fn(&World) -> String,
    landfall: &'static str,
    peer: &'static str,
    /// Why the two differ; empty where they do not.
    why: &'static str,
}

const fn same(name: &'static str, run: fn(&World) -> String, both: &'static str) -> Row {
    Row { name, run, landfall: both, peer: both, why: "" }
}

/// A reply's code in words that a table can hold.
fn code(reply: &Reply) -> String {
    match reply.code {
        0 => "connection closed".to_owned(),
        1 => "no reply".to_owned(),
        code => code.to_string(),
    }
}

/// Codes one after the other.
fn codes(replies: &[Reply]) -> String {
    replies.iter().map(code).collect::<Vec<_>>().join(" ")
}

/// Something to send, longer than any buffer on the way.
fn cargo() -> Vec<u8> {
    pattern(3_000_000)
}

fn rows() -> impl Iterator<Item = Row> {
    names::ROWS.into_iter().chain(transfers::ROWS).chain(hostile::ROWS)
}

fn landfall() -> (Vec<Server>, World) {
    let open = Server::start();
    let strict = Server::builder().set("ftp.tls", "\"required\"").start();
    strict.add_user("acme", "secret-of-acme");
    let world = World {
        address: open.address("ftp"),
        strict: strict.address("ftp"),
        folder: open.home("acme"),
        patience: Duration::from_secs(30),
        tls_tries: 1,
    };
    (vec![open, strict], world)
}

fn stock() -> (Vec<Peer>, World) {
    let (open, strict) = (Peer::start(false), Peer::start(true));
    let world = World {
        address: open.address(),
        strict: strict.address(),
        folder: open.files(),
        patience: Duration::from_secs(2),
        tls_tries: 50,
    };
    (vec![open, strict], world)
}

/// Runs every row against one server; what differs from the table.
fn differences(world: &World, expected: impl Fn(&Row) -> &'static str) -> Vec<String> {
    let mut differences = Vec::new();
    for row in rows() {
        let seen = std::panic::catch_unwind(AssertUnwindSafe(|| (row.run)(world)));
        let seen = seen.unwrap_or_else(|_| "broken off (see above)".to_owned());
        if seen != expected(&row) {
            differences.push(format!("{}: seen «{seen}», the table says «{}»", row.name, expected(&row)));
        }
    }
    differences
}

#[test]
fn landfall_does_what_the_table_says() {
    let (_servers, world) = landfall();
    let differences = differences(&world, |row| row.landfall);
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

#[test]
fn the_stock_stack_does_what_the_table_says() {
    let (_servers, world) = stock();
    let differences = differences(&world, |row| row.peer);
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

#[test]
fn rows_that_differ_say_why() {
    for row in rows() {
        assert_eq!(row.landfall == row.peer, row.why.is_empty(), "{}", row.name);
    }
}

#[test]
fn the_printed_table_is_current() {
    let mut table = String::from(
        "# FTP: Landfall and the stock stack\n\n\
         Printed from `it/ftp_table`, and run against both on every test run: Landfall, and libunftp 0.24 with\n\
         unftp-sbe-fs 0.4 as its manual sets it up. Where TLS is meant, a login to libunftp is tried again when it takes the\n\
         ClientHello for a command and closes, which it does now and then.\n\n\
         | scenario | Landfall | libunftp | why they differ |\n|---|---|---|---|\n",
    );
    for row in rows() {
        writeln!(table, "| {} | {} | {} | {} |", row.name, row.landfall, row.peer, row.why)
            .expect("a string takes all");
    }
    let path = repository().join("tests/FTP_TABLE.md");
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    if kept != table {
        let fresh = repository().join("target/FTP_TABLE.md");
        std::fs::write(&fresh, table).expect("the target directory");
        panic!("tests/FTP_TABLE.md is not current; the new one is {}", fresh.display());
    }
}
