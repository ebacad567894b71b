//! What lands and what does not, over SFTP and across protocols. What FTP does alone stands in the FTP table.

use std::collections::BTreeSet;

use landfall_tests::{Fault, Ftp, Proxy, Server, Sftp, Watcher, pattern, sha256, wait_until};

const PASSWORD: &str = "secret-of-acme";
const HALF: usize = 1_000_000;

fn cargo() -> Vec<u8> {
    pattern(2_500_000)
}

fn ftp(server: &Server) -> Ftp {
    Ftp::connect_as(server.address("ftp"), "acme", PASSWORD)
}

fn sftp(server: &Server) -> Sftp {
    Sftp::connect(server.address("sftp"), "acme", PASSWORD)
}

fn wait_until_suspended(server: &Server, held: Option<u64>) {
    wait_until("the upload to be suspended", || {
        let rows = server.ledger();
        rows.iter().any(|row| row.status == "suspended" && held.is_none_or(|held| row.size == held)).then_some(())
    });
}

#[test]
fn sftp_shows_nothing_before_close() {
    let server = Server::start();
    let client = sftp(&server);
    let mut file = client.create("a.jpg").unwrap();
    file.write(&cargo()).unwrap();
    assert!(!server.home("acme").join("a.jpg").exists());
    file.close().unwrap();
    assert!(std::fs::read(server.home("acme").join("a.jpg")).unwrap() == cargo());
}

#[test]
fn a_lost_sftp_connection_suspends_and_a_new_one_resumes() {
    let server = Server::start();
    let watcher = Watcher::start(&server.files());
    let client = sftp(&server);
    let mut file = client.create("a.jpg").unwrap();
    file.write(&cargo()[..HALF]).unwrap();
    client.cut();
    wait_until_suspended(&server, Some(HALF as u64));
    drop(file);

    let client = sftp(&server);
    assert_eq!(client.size("a.jpg"), Some(HALF as u64));
    let mut file = client.resume("a.jpg", HALF as u64).unwrap();
    file.write(&cargo()[HALF..]).unwrap();
    file.close().unwrap();
    watcher.rounds(1);
    let whole = ("acme/a.jpg".into(), cargo().len() as u64, sha256(&cargo()));
    assert_eq!(watcher.sights().into_iter().collect::<Vec<_>>(), [whole]);
    assert_eq!(server.landed().len(), 1);
}

#[test]
fn what_ftp_began_sftp_ends() {
    let server = Server::start();
    let mut client = ftp(&server);
    let mut data = client.begin("STOR a.jpg");
    data.write(&cargo()[..HALF]);
    data.reset();
    client.reply().expect(426);
    wait_until_suspended(&server, None);

    let client = sftp(&server);
    let held = client.size("a.jpg").expect("the owner sees what is held");
    let mut file = client.resume("a.jpg", held).unwrap();
    file.write(&cargo()[usize::try_from(held).unwrap()..]).unwrap();
    file.close().unwrap();
    assert!(std::fs::read(server.home("acme").join("a.jpg")).unwrap() == cargo());
    assert_eq!(server.landed()[0].sha256, Some(sha256(&cargo())));
}

#[test]
fn sftp_writes_no_hole() {
    let server = Server::start();
    let client = sftp(&server);
    let mut file = client.resume("a.jpg", 1_000).unwrap();
    assert!(file.write(b"tail").is_err());
    drop(file);
    assert!(!server.home("acme").join("a.jpg").exists());
}

#[test]
fn the_old_file_stays_whole_until_the_new_one_lands() {
    let server = Server::start();
    let client = sftp(&server);
    client.put("a.jpg", b"the old one").unwrap();
    let watcher = Watcher::start(&server.files());
    for _ in 0..3 {
        client.put("a.jpg", &cargo()).unwrap();
        watcher.rounds(1);
        client.put("a.jpg", b"the old one").unwrap();
        watcher.rounds(1);
    }
    let seen: BTreeSet<_> = watcher.sights().into_iter().map(|(_, _, digest)| digest).collect();
    assert_eq!(seen, BTreeSet::from([sha256(b"the old one"), sha256(&cargo())]));
}

#[test]
fn an_upload_over_ftp_that_is_cut_leaves_the_old_file() {
    let server = Server::start();
    let mut client = ftp(&server);
    client.upload("STOR a.jpg", b"the old one").expect(226);
    let mut data = client.begin("STOR a.jpg");
    data.write(&cargo()[..HALF]);
    data.reset();
    client.reply().expect(426);
    assert_eq!(std::fs::read(server.home("acme").join("a.jpg")).unwrap(), b"the old one");
    assert_eq!(server.landed().len(), 1);
}

/// SSH connections that end at a byte of every class: version exchange, key exchange, login, data.
#[test]
fn an_sftp_connection_that_ends_anywhere_publishes_nothing() {
    let server = Server::start();
    let watcher = Watcher::start(&server.files());
    for fault in [Fault::Fin, Fault::Reset, Fault::Silence] {
        for bytes in [10, 700, 2_000, 3_000, 100_000, 1_500_000] {
            let proxy = Proxy::start(server.address("sftp"), fault, bytes);
            let address = proxy.address();
            // A client that waits for an answer which never comes is left behind with its proxy.
            std::thread::spawn(move || {
                let Ok(mut stranger) = landfall_tests::Stranger::connect(address) else { return };
                if stranger.password("acme", PASSWORD) {
                    drop(stranger.sftp().put("a.jpg", &cargo()));
                }
            });
            wait_until("the fault to strike", || (proxy.passed() >= bytes).then_some(()));
            drop(proxy);
        }
    }
    watcher.rounds(2);
    assert!(watcher.sights().is_empty());
    assert!(server.landed().is_empty());
    sftp(&server).put("after.jpg", &cargo()).unwrap();
}

#[test]
fn two_sessions_never_mix_their_bytes_under_one_name() {
    let server = Server::start();
    let watcher = Watcher::start(&server.files());
    let (first, second) = (sftp(&server), sftp(&server));
    let mut file = first.create("a.jpg").unwrap();
    file.write(&cargo()[..HALF]).unwrap();
    // What another session is sending cannot be gone on with; beginning anew is another upload.
    assert!(second.resume("a.jpg", HALF as u64).is_err());
    second.put("a.jpg", b"another").unwrap();
    watcher.rounds(1);
    file.write(&cargo()[HALF..]).unwrap();
    file.close().unwrap();
    watcher.rounds(1);
    let seen: BTreeSet<_> = watcher.sights().into_iter().map(|(_, _, digest)| digest).collect();
    assert_eq!(seen, BTreeSet::from([sha256(b"another"), sha256(&cargo())]));
    assert_eq!(server.landed().len(), 2);
}
