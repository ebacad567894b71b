//! The main job: twenty-four photographs over every way in. All land, every receipt is right, each comes back over the
//! other protocol, and nobody who reads the folder meanwhile ever sees anything but whole photographs.

use std::collections::BTreeSet;

use landfall_tests::{Ftp, Photograph, Server, Sftp, Watcher, photographs};

const PASSWORD: &str = "secret-of-acme";

fn all_land(send: impl Fn(&Server, &[Photograph]), fetch: impl Fn(&Server, &str) -> Vec<u8>, protocol: &str) {
    let server = Server::start();
    let photographs = photographs();
    assert_eq!(photographs.len(), 24);
    let watcher = Watcher::start(&server.files());
    send(&server, &photographs);
    watcher.rounds(1);

    let seen: BTreeSet<_> = watcher
        .sights()
        .into_iter()
        .map(|(path, size, digest)| (path.to_str().unwrap().to_owned(), size, digest))
        .collect();
    let whole = |photograph: &Photograph| {
        (format!("acme/{}", photograph.name), photograph.bytes.len() as u64, photograph.sha256.clone())
    };
    assert_eq!(seen, photographs.iter().map(whole).collect(), "something else was visible, or not all of it");

    let landed: BTreeSet<_> = server
        .landed()
        .into_iter()
        .map(|row| (row.path, row.size, row.sha256.unwrap_or_default(), row.user, row.protocol))
        .collect();
    let receipt = |photograph: &Photograph| {
        let size = photograph.bytes.len() as u64;
        (format!("/{}", photograph.name), size, photograph.sha256.clone(), "acme".to_owned(), protocol.to_owned())
    };
    assert_eq!(landed, photographs.iter().map(receipt).collect());

    for photograph in &photographs {
        assert!(fetch(&server, &photograph.name) == photograph.bytes, "{} over the other protocol", photograph.name);
    }
}

fn send_ftp(mut ftp: Ftp, photographs: &[Photograph]) {
    for photograph in photographs {
        ftp.upload(&format!("STOR {}", photograph.name), &photograph.bytes).expect(226);
    }
}

fn send_sftp(sftp: &Sftp, photographs: &[Photograph]) {
    for photograph in photographs {
        sftp.put(&photograph.name, &photograph.bytes).unwrap();
    }
}

fn fetch_ftp(server: &Server, name: &str) -> Vec<u8> {
    let mut ftp = Ftp::connect_explicit(server.address("ftp"), "acme", PASSWORD);
    let (bytes, reply) = ftp.download(&format!("RETR {name}"));
    reply.expect(226);
    bytes
}

fn fetch_sftp(server: &Server, name: &str) -> Vec<u8> {
    Sftp::connect(server.address("sftp"), "acme", PASSWORD).get(name).unwrap()
}

#[test]
fn over_ftp() {
    let send = |server: &Server, photographs: &[Photograph]| {
        let mut ftp = Ftp::connect(server.address("ftp"));
        ftp.login("acme", PASSWORD).expect(230);
        send_ftp(ftp, photographs);
    };
    all_land(send, fetch_sftp, "ftp");
}

#[test]
fn over_explicit_ftps() {
    let send = |server: &Server, photographs: &[Photograph]| {
        send_ftp(Ftp::connect_explicit(server.address("ftp"), "acme", PASSWORD), photographs);
    };
    all_land(send, fetch_sftp, "ftps");
}

#[test]
fn over_implicit_ftps() {
    let send = |server: &Server, photographs: &[Photograph]| {
        let mut ftp = Ftp::connect_implicit(server.address("ftps"));
        ftp.login("acme", PASSWORD).expect(230);
        ftp.protect();
        send_ftp(ftp, photographs);
    };
    all_land(send, fetch_sftp, "ftps");
}

#[test]
fn over_sftp_by_password() {
    let send = |server: &Server, photographs: &[Photograph]| {
        send_sftp(&Sftp::connect(server.address("sftp"), "acme", PASSWORD), photographs);
    };
    all_land(send, fetch_ftp, "sftp");
}

#[test]
fn over_sftp_by_key() {
    let send = |server: &Server, photographs: &[Photograph]| {
        let key = server.add_key("acme");
        send_sftp(&Sftp::connect_key(server.address("sftp"), "acme", &key), photographs);
    };
    all_land(send, fetch_ftp, "sftp");
}
