//! SIGKILL the server during uploads, start it again, and compare the client's journal with tree and ledger. A dozen
//! kills by default; `tests/torture/kill9 COUNT` for more.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use landfall_tests::{Ftp, Row, Server, Stranger, pattern, sha256};

const PASSWORD: &str = "secret-of-acme";

/// What a client knows about one name: every content it began to send, in order, and the last that was acknowledged.
#[derive(Debug, Default, Clone)]
struct Entry {
    sent: Vec<String>,
    acknowledged: Option<usize>,
}

type Journal = Arc<Mutex<BTreeMap<String, Entry>>>;

/// Sends a file under a name; true when the server said that it landed.
type Send = Box<dyn FnMut(&str, &[u8]) -> bool>;

#[derive(Clone, Copy)]
enum Way {
    Ftp,
    Ftps,
    Sftp,
}

#[derive(Clone)]
struct Client {
    way: Way,
    number: usize,
    journal: Journal,
    stop: Arc<AtomicBool>,
}

impl Client {
    fn begin(&self, name: &str, bytes: &[u8]) -> usize {
        let mut journal = self.journal.lock().unwrap();
        let entry = journal.entry(name.to_owned()).or_default();
        entry.sent.push(sha256(bytes));
        entry.sent.len() - 1
    }

    fn acknowledged(&self, name: &str, index: usize) {
        self.journal.lock().unwrap().get_mut(name).unwrap().acknowledged = Some(index);
    }

    /// Uploads until the server is gone: a few names each, over and over, each time another content.
    fn run(&self, server: &Addresses, round: usize) {
        let Some(mut send) = self.connect(server) else { return };
        for turn in 0.. {
            if self.stop.load(Ordering::Relaxed) {
                return;
            }
            let name = format!("{}-{}.jpg", self.number, turn % 3);
            let mut bytes = pattern(20_000 + 90_000 * (turn % 4));
            bytes.extend(format!("{} {round} {turn}", self.number).bytes());
            let index = self.begin(&name, &bytes);
            if !send(&name, &bytes) {
                return;
            }
            self.acknowledged(&name, index);
        }
    }

    fn connect(&self, server: &Addresses) -> Option<Send> {
        if let Way::Sftp = self.way {
            let mut stranger = Stranger::connect(server.sftp).ok()?;
            let sftp = stranger.password("acme", PASSWORD).then(|| stranger.sftp())?;
            return Some(Box::new(move |name, bytes| sftp.put(name, bytes).is_ok()));
        }
        let mut ftp = Ftp::connect(server.ftp);
        if let Way::Ftps = self.way {
            (ftp.auth_tls().code == 234).then_some(())?;
        }
        (ftp.login("acme", PASSWORD).code == 230).then_some(())?;
        if let Way::Ftps = self.way {
            ftp.protect();
        }
        Some(Box::new(move |name, bytes| ftp.upload(&format!("STOR {name}"), bytes).code == 226))
    }
}

#[derive(Clone, Copy)]
struct Addresses {
    ftp: std::net::SocketAddr,
    sftp: std::net::SocketAddr,
}

fn kills() -> usize {
    std::env::var("TORTURE_KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(12)
}

#[test]
fn the_server_killed_during_uploads_loses_and_tears_nothing() {
    let mut server = Server::start();
    let journal = Journal::default();
    for round in 0..kills() {
        let addresses = Addresses { ftp: server.address("ftp"), sftp: server.address("sftp") };
        let stop = Arc::new(AtomicBool::new(false));
        let ways = [Way::Ftp, Way::Ftps, Way::Sftp];
        let clients: Vec<JoinHandle<()>> = (0..6)
            .map(|number| {
                let way = ways[number % ways.len()];
                let client = Client { way, number, journal: Arc::clone(&journal), stop: Arc::clone(&stop) };
                std::thread::spawn(move || client.run(&addresses, round))
            })
            .collect();
        // Any instant will do; these are spread over logins, transfers and landings.
        std::thread::sleep(Duration::from_millis(150 + (round as u64 * 97) % 500));
        server.kill();
        stop.store(true, Ordering::Relaxed);
        for client in clients {
            // A client whose connection broke in an unexpected place has noted what was acknowledged before.
            drop(client.join());
        }
        server.start_again();
        check(&server, &journal.lock().unwrap());
    }
    let journal = journal.lock().unwrap();
    let sent: usize = journal.values().map(|entry| entry.sent.len()).sum();
    let acknowledged = journal.values().filter(|entry| entry.acknowledged.is_some()).count();
    eprintln!("{} kills; {sent} uploads begun; {acknowledged} names acknowledged, all there; none torn", kills());
    assert!(acknowledged > 0, "nothing was ever acknowledged: the kills came too early");
}

fn check(server: &Server, journal: &BTreeMap<String, Entry>) {
    let ledger = server.ledger();
    let receipts: BTreeSet<(&str, &str)> = ledger
        .iter()
        .filter(|row| row.status == "landed")
        .map(|row| (row.path.trim_start_matches('/'), row.sha256.as_deref().unwrap_or_default()))
        .collect();
    let mut on_disk = BTreeMap::new();
    for entry in std::fs::read_dir(server.home("acme")).unwrap().flatten() {
        let name = entry.file_name().to_str().unwrap().to_owned();
        on_disk.insert(name, sha256(&std::fs::read(entry.path()).unwrap()));
    }
    for (name, digest) in &on_disk {
        let entry = journal.get(name).unwrap_or_else(|| panic!("{name} was never sent"));
        let index = entry.sent.iter().rposition(|sent| sent == digest);
        let index = index.unwrap_or_else(|| panic!("{name} is torn: no upload had these bytes"));
        let last = entry.acknowledged;
        assert!(last.is_none_or(|last| index >= last), "{name} is older than what was acknowledged last");
        assert!(receipts.contains(&(name.as_str(), digest.as_str())), "{name} landed without a receipt");
    }
    for (name, entry) in journal {
        let Some(last) = entry.acknowledged else { continue };
        assert!(on_disk.contains_key(name), "{name} was acknowledged and is gone");
        assert!(
            receipts.contains(&(name.as_str(), entry.sent[last].as_str())),
            "{name} was acknowledged without a receipt"
        );
    }
    // What is staged is suspended, and known: each staging file has its row.
    let suspended: BTreeSet<&str> = ledger.iter().filter(|row| row.status == "suspended").map(id).collect();
    let staged = staged(server);
    assert_eq!(staged.iter().map(String::as_str).collect::<BTreeSet<_>>(), suspended, "staging and ledger disagree");
}

fn id(row: &Row) -> &str {
    &row.id
}

/// Identities of the files in the staging folder.
fn staged(server: &Server) -> BTreeSet<String> {
    let entries = std::fs::read_dir(server.data().join("staging")).unwrap().flatten();
    let names = entries.map(|entry| entry.file_name().to_str().unwrap().to_owned());
    names.map(|name| name.split('.').next().unwrap_or_default().to_owned()).filter(|name| name.len() == 32).collect()
}
