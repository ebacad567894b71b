//! Two tables of attacks, on FTP and on SSH with SFTP: what each does, and what must come of it. Most are carried out here, over raw sockets,
//! against one server for all, so that none may leave it worse than it was; what a room's own tests show is named
//! instead. The test fails when a row comes out otherwise, when a test that is named is gone, or when
//! `tests/ATTACKS.md` is not what this table prints.

mod channels;
mod data;
mod floods;
mod login;
mod names;
mod sftp;
mod ssh;
mod ssh_login;

use std::collections::BTreeMap;
use std::fmt::Write;
use std::net::IpAddr;
use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};

use landfall_tests::{Ftp, Server, repository};

/// Told to nobody: looked for in all that the server writes.
const PASSWORD: &str = "canary-of-acme-9b1f";
/// What stands where no supplier may come; a length that no other file here has.
const CANARY_BYTES: usize = 7_777;

/// The servers under attack.
struct World {
    /// TLS optional, active mode on.
    open: Server,
    /// TLS required, active mode on.
    strict: Server,
}

impl World {
    fn new() -> Self {
        let start = |tls: &str| {
            let server = Server::builder().set("ftp.active", "true").set("ftp.tls", tls).start();
            server.add_user("acme", PASSWORD);
            server.add_user("neighbour", "secret-of-neighbour");
            server.add_user("disabled", "secret-of-disabled");
            server.cli(&["user", "disable", "disabled"]).ok();
            let mut neighbour = Ftp::connect_explicit(server.address("ftp"), "neighbour", "secret-of-neighbour");
            neighbour.upload("STOR canary.jpg", &canary()).expect(226);
            server
        };
        let world = Self { open: start("\"optional\""), strict: start("\"required\"") };
        let outside = world.outside();
        std::fs::create_dir(&outside).unwrap();
        std::fs::write(outside.join("canary.jpg"), canary()).unwrap();
        world.furnish();
        world
    }

    /// A file of acme's own, and an operator's links: out of the storage, to themselves, to their directory.
    fn furnish(&self) {
        self.login().upload("STOR own.jpg", b"acme's own").expect(226);
        let links =
            [("door", "../../outside"), ("key.jpg", "../../outside/canary.jpg"), ("loop", "loop"), ("round", ".")];
        for (link, target) in links {
            std::os::unix::fs::symlink(target, self.home().join(link)).unwrap();
        }
    }

    /// What the server has logged. Before that, a first start tells people of the user that it has made.
    fn log(server: &Server) -> String {
        let log = server.log();
        let begins = log.find("{\"").unwrap_or(0);
        let told = log.find("More suppliers").map_or(begins, |told| told + log[told..].find('\n').unwrap_or(0) + 1);
        log[told..].to_owned()
    }

    fn stranger(&self) -> Ftp {
        Ftp::connect(self.open.address("ftp"))
    }

    /// A stranger from a network of its own: guesses count per network.
    fn stranger_from(&self, last: u8) -> Ftp {
        Ftp::connect_from(IpAddr::from([127, 0, 0, last]), self.open.address("ftp"))
    }

    fn login(&self) -> Ftp {
        let mut ftp = self.stranger();
        ftp.login("acme", PASSWORD).expect(230);
        ftp
    }

    fn home(&self) -> PathBuf {
        self.open.home("acme")
    }

    /// A directory beside the storage.
    fn outside(&self) -> PathBuf {
        self.open.directory().path().join("outside")
    }

    /// All that is not acme's: contents by path.
    fn around(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let mut found = BTreeMap::new();
        for directory in [self.outside(), self.open.files(), self.open.home("neighbour")] {
            read(&directory, &mut found);
        }
        found
    }

    /// Names in acme's home.
    fn names(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.home()).unwrap().flatten();
        let mut names: Vec<String> = entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }
}

fn canary() -> Vec<u8> {
    vec![b'C'; CANARY_BYTES]
}

fn read(directory: &Path, found: &mut BTreeMap<PathBuf, Vec<u8>>) {
    for entry in std::fs::read_dir(directory).unwrap().flatten() {
        found.insert(entry.path(), std::fs::read(entry.path()).unwrap_or_default());
    }
}

/// One attack.
struct Attack {
    name: &'static str,
    /// What it does.
    does: &'static str,
    /// What must come of it.
    must: &'static str,
    shown: Shown,
}

/// Where it is carried out.
enum Shown {
    /// Here; what came of it.
    Here(fn(&World) -> String),
    /// By these tests: file and name.
    By(&'static [(&'static str, &'static str)]),
}

const fn here(name: &'static str, does: &'static str, must: &'static str, run: fn(&World) -> String) -> Attack {
    Attack { name, does, must, shown: Shown::Here(run) }
}

const fn by(
    name: &'static str,
    does: &'static str,
    must: &'static str,
    tests: &'static [(&'static str, &'static str)],
) -> Attack {
    Attack { name, does, must, shown: Shown::By(tests) }
}

/// What holds, or the list of what does not.
fn all_hold(holds: &str, exceptions: &[String]) -> String {
    if exceptions.is_empty() { holds.to_owned() } else { exceptions.join("; ") }
}

/// The tables, by what is attacked.
const TABLES: [(&str, &[&[Attack]]); 2] = [
    ("FTP", &[login::ATTACKS, data::ATTACKS, names::ATTACKS, floods::ATTACKS]),
    ("SSH and SFTP", &[ssh::ATTACKS, ssh_login::ATTACKS, channels::ATTACKS, sftp::ATTACKS]),
];

fn attacks() -> impl Iterator<Item = &'static Attack> {
    TABLES.iter().flat_map(|(_, tables)| tables.iter().copied().flatten())
}

/// Carries out one table on servers of its own.
fn carry_out(subject: &str) {
    let world = World::new();
    let mut differences = Vec::new();
    let tables = TABLES.iter().filter(|(name, _)| *name == subject);
    for attack in tables.flat_map(|(_, tables)| tables.iter().copied().flatten()) {
        let Shown::Here(run) = attack.shown else { continue };
        let seen = std::panic::catch_unwind(AssertUnwindSafe(|| run(&world)));
        let seen = seen.unwrap_or_else(|_| "broken off (see above)".to_owned());
        if seen != attack.must {
            differences.push(format!("{}: seen «{seen}», the table says «{}»", attack.name, attack.must));
        }
    }
    assert!(differences.is_empty(), "{}", differences.join("\n"));
    nothing_is_left_of_them(&world);
}

#[test]
fn every_attack_on_ftp_comes_to_what_the_table_says() {
    carry_out("FTP");
}

#[test]
fn every_attack_on_ssh_comes_to_what_the_table_says() {
    carry_out("SSH and SFTP");
}

/// After all of them: nothing told, nothing forged, nobody in the way of others.
fn nothing_is_left_of_them(world: &World) {
    let log = World::log(&world.open) + "\n" + &World::log(&world.strict);
    for secret in [PASSWORD, "secret-of-neighbour", "secret-of-disabled"] {
        assert!(!log.contains(secret), "{secret} is in the log");
    }
    for line in log.lines().filter(|line| !line.is_empty()) {
        assert!(serde_json::from_str::<serde_json::Value>(line).is_ok(), "a forged line: {line}");
    }
    assert!(!log.contains("panicked"), "{log}");
    world.login().upload("STOR after.jpg", b"as ever").expect(226);
}

#[test]
fn the_tests_that_are_named_exist() {
    for attack in attacks() {
        let Shown::By(tests) = attack.shown else { continue };
        for (file, test) in tests {
            let text = std::fs::read_to_string(repository().join(file)).unwrap_or_default();
            assert!(text.contains(&format!("fn {test}(")), "{}: no {test} in {file}", attack.name);
        }
    }
}

#[test]
fn the_printed_attacks_are_current() {
    let mut table = String::from(
        "# Attacks, and what comes of them\n\n\
         Printed from `it/attacks`, which carries them out on every test run where no other test is named.\n",
    );
    for (subject, attacks) in TABLES {
        write!(
            table,
            "\n## {subject}\n\n| attack | what it does | what must come of it | shown by |\n|---|---|---|---|\n"
        )
        .expect("a string takes all");
        for Attack { name, does, must, shown } in attacks.iter().copied().flatten() {
            let shown = match shown {
                Shown::Here(_) => "`it/attacks`".to_owned(),
                Shown::By(tests) => {
                    tests.iter().map(|(file, test)| format!("`{test}` in `{file}`")).collect::<Vec<_>>().join(", ")
                }
            };
            writeln!(table, "| {name} | {does} | {must} | {shown} |").expect("a string takes all");
        }
    }
    let path = repository().join("tests/ATTACKS.md");
    if std::fs::read_to_string(&path).unwrap_or_default() != table {
        let fresh = repository().join("target/ATTACKS.md");
        std::fs::write(&fresh, table).expect("the target directory");
        panic!("tests/ATTACKS.md is not current; the new one is {}", fresh.display());
    }
}
