//! Five hundred wrong passwords over all protocols: throttled, without harm to others and without a trace in memory.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use landfall_tests::{Ftp, Server, Stranger};

const GUESSES: usize = 500;
const GUESSERS: usize = 10;
/// What a guessing storm may leave behind in memory, at most: allocator and caches, no state per guess.
const GROWTH_KIB: u64 = 48 * 1024;

#[test]
fn five_hundred_wrong_passwords_are_throttled_and_harm_nobody() {
    let server = Server::start();
    // Once the right way, so that everything that is made at a first login is there before memory is measured.
    let elsewhere = IpAddr::from([127, 0, 0, 2]);
    right_login(&server, elsewhere);
    let before = server.resident_kib();

    let (ftp, sftp) = (server.address("ftp"), server.address("sftp"));
    let (next, throttled) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let guessers: Vec<_> = (0..GUESSERS)
        .map(|_| {
            let (next, throttled) = (Arc::clone(&next), Arc::clone(&throttled));
            std::thread::spawn(move || {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= GUESSES {
                        return;
                    }
                    let password = format!("guess-{number}");
                    if number % 3 == 2 {
                        let stranger = Stranger::connect(sftp);
                        assert!(!stranger.is_ok_and(|mut stranger| stranger.password("acme", &password)));
                        continue;
                    }
                    let mut client = Ftp::connect(ftp);
                    if number % 3 == 1 && client.auth_tls().code != 234 {
                        continue;
                    }
                    let reply = client.login("acme", &password);
                    assert!(reply.code != 230, "{}", reply.text);
                    if reply.text.contains("too many failed logins") || reply.code == 421 || reply.code == 0 {
                        throttled.fetch_add(1, Ordering::Relaxed);
                    }
                }
            })
        })
        .collect();
    for guesser in guessers {
        guesser.join().unwrap();
    }

    let throttled = throttled.load(Ordering::Relaxed);
    assert!(throttled > GUESSES / 2, "{throttled} of {GUESSES} guesses were throttled");
    let mut here = Ftp::connect(ftp);
    assert_ne!(here.login("acme", "secret-of-acme").code, 230, "the guesser's network is not throttled");
    right_login(&server, elsewhere);
    let after = server.resident_kib();
    eprintln!("{throttled} of {GUESSES} guesses throttled; memory {before} KiB before, {after} KiB after");
    assert!(after <= before + GROWTH_KIB, "memory went from {before} KiB to {after} KiB");
}

/// The right password from another address, over both protocols.
fn right_login(server: &Server, source: IpAddr) {
    let mut ftp = Ftp::connect_from(source, server.address("ftp"));
    ftp.login("acme", "secret-of-acme").expect(230);
    let mut sftp = Stranger::connect_from(source, server.address("sftp")).unwrap();
    assert!(sftp.password("acme", "secret-of-acme"));
}
