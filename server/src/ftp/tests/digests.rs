//! HASH, RANG and the older verbs for digests: values, ranges, codes, and what may be said while a large file is read.

use landfall_auth::Permissions;

use super::*;

const ABC_SHA256: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
const ABC_SHA1: &str = "a9993e364706816aba3e25717850c26c9cd0d89d";
const ABC_MD5: &str = "900150983cd24fb0d6963f7d28e17f72";
const ABC_CRC32: &str = "352441c2";
/// Far more than any test waits for.
const HUGE_BYTES: u64 = 1 << 40;

#[test]
fn hash_tells_the_digest_that_opts_chose() {
    let rig = Rig::new();
    let mut client = rig.client();
    client.upload("STOR a b.bin", b"abc");
    client.upload("STOR empty", b"");
    assert_eq!(client.expect("OPTS HASH", 200), "200 SHA-256\r\n");
    assert_eq!(client.expect("HASH a b.bin", 213), format!("213 SHA-256 0-2 {ABC_SHA256} a b.bin\r\n"));
    for (name, digest) in [("sha-1", ABC_SHA1), ("MD5", ABC_MD5), ("CRC32", ABC_CRC32)] {
        let name_told = name.to_uppercase();
        assert_eq!(client.expect(&format!("OPTS HASH {name}"), 200), format!("200 {name_told}\r\n"));
        let feat = client.expect("FEAT", 211);
        assert!(feat.contains(&format!("{name_told}*;")) && feat.matches("*;").count() == 5 + 1, "{feat}");
        assert_eq!(client.expect("HASH a b.bin", 213), format!("213 {name_told} 0-2 {digest} a b.bin\r\n"));
    }
    assert!(client.expect("HASH empty", 213).starts_with("213 CRC32 0-0 00000000 empty"));
    client.expect("OPTS HASH CRC-37", 501);
    assert_eq!(client.expect("OPTS HASH", 200), "200 CRC32\r\n");
    client.expect("REIN", 220);
    client.log_in();
    assert_eq!(client.expect("OPTS HASH", 200), "200 SHA-256\r\n");
}

#[test]
fn the_older_verbs() {
    let rig = Rig::new();
    let mut client = rig.client();
    client.upload("STOR a b.bin", b"abc");
    client.upload("STOR 1 2.bin 5", b"xabcx");
    for (line, digest) in [
        ("XCRC a b.bin", ABC_CRC32),
        ("XCRC \"a b.bin\"", ABC_CRC32),
        ("XCRC \"/a b.bin\" 0 3", ABC_CRC32),
        ("XMD5 a b.bin", ABC_MD5),
        ("XSHA a b.bin", ABC_SHA1),
        ("XSHA1 a b.bin 3", ABC_SHA1),
        ("XSHA256 1 2.bin 5 1 4", ABC_SHA256),
        ("XSHA256 \"1 2.bin 5\" 1 4", ABC_SHA256),
    ] {
        assert_eq!(client.expect(line, 250), format!("250 {}\r\n", digest.to_uppercase()), "{line}");
    }
    assert!(client.expect("XSHA512 a b.bin", 250).starts_with("250 DDAF35A193617ABA"));
    assert_eq!(client.expect("MD5 a b.bin", 251), format!("251 a b.bin {}\r\n", ABC_MD5.to_uppercase()));
    for (line, code) in [
        ("XCRC \"a b.bin\" 0 4", 554),
        ("XCRC \"a b.bin\" 3 2", 554),
        ("XCRC \"a b.bin\" x", 501),
        ("XCRC \"a b.bin", 501),
        ("XCRC missing", 550),
        ("XCRC missing 1 2", 550),
        ("XCRC /", 550),
        ("XMD5", 501),
        ("MD5 a b.bin 3", 550),
    ] {
        client.expect(line, code);
    }
}

#[test]
fn rang_is_for_the_next_hash_or_retr() {
    let rig = Rig::new();
    let mut client = rig.client();
    client.upload("STOR a.bin", b"xabcx");
    client.expect("RANG 1 3", 350);
    assert_eq!(client.expect("HASH a.bin", 213), format!("213 SHA-256 1-3 {ABC_SHA256} a.bin\r\n"));
    assert!(client.expect("HASH a.bin", 213).starts_with("213 SHA-256 0-4 "));
    client.expect("RANG 3 99", 350);
    assert!(client.expect("HASH a.bin", 213).starts_with("213 SHA-256 3-4 "));
    client.expect("RANG 5 9", 350);
    client.expect("HASH a.bin", 554);
    for (range, bytes) in [
        ("RANG 1 3", b"abc".as_slice()),
        ("RANG 3 99", b"cx"),
        ("RANG 4 4", b"x"),
        ("RANG 5 9", b""),
        ("RANG 0 0", b"x"),
        ("RANG 0 18446744073709551615", b"xabcx"),
        ("RANG 1 0", b"xabcx"),
    ] {
        client.expect("RANG 2 2", 350);
        client.expect(range, 350);
        assert_eq!(client.download("RETR a.bin"), bytes, "{range}");
    }
    // It was for that one; the last of RANG and REST counts; what is wrong takes it back.
    for lines in [[("RANG 1 3", 350), ("RETR missing", 550)], [("RANG 1 3", 350), ("RANG 3 1", 501)]] {
        client.passive();
        for (line, code) in lines {
            client.expect(line, code);
        }
        assert_eq!(client.download("RETR a.bin"), b"xabcx");
    }
    client.expect("RANG 1 3", 350);
    client.expect("REST 4", 350);
    assert_eq!(client.download("RETR a.bin"), b"x");
    client.expect("REST 4", 350);
    client.expect("RANG 1 3", 350);
    assert_eq!(client.download("RETR a.bin"), b"abc");
    for line in ["RANG", "RANG 1", "RANG 1 2 3", "RANG a b", "RANG -1 2", "RANG 0 18446744073709551616"] {
        client.expect(line, 501);
    }
    client.expect("TYPE A", 200);
    client.expect("RANG 1 3", 551);
    client.expect("TYPE I", 200);
    // An upload of a part could not land whole or not at all.
    for line in ["STOR a.bin", "APPE a.bin", "STOU a.bin"] {
        client.expect("RANG 1 3", 350);
        client.passive();
        client.expect(line, 504);
        assert_eq!(rig.landed("a.bin").unwrap(), b"xabcx");
    }
    assert!(client.upload("STOR a.bin", b"abc").starts_with("226 "));
}

#[test]
fn hash_has_codes_of_its_own() {
    let rig = Rig::new();
    let mut client = rig.client();
    client.expect("MKD in", 257);
    client.expect("HASH in", 553);
    client.expect("HASH missing", 550);
    client.send(b"HASH a\xe9\r\n");
    client.heard(553);
    // What is suspended has no digest yet.
    let mut data = client.begin("STOR a.bin");
    data.write_all(b"half").unwrap();
    until("receiving", || rig.delivery.registry().list()[0].received_bytes == 4);
    client.expect("ABOR", 426);
    client.heard(226);
    for line in ["HASH a.bin", "XCRC a.bin", "MD5 a.bin"] {
        assert!(client.expect(line, 550).contains("not landed yet: only 4 bytes have come"), "{line}");
    }
    let permissions = Permissions { read: false, ..Permissions::default() };
    let rig = Rig::granting(Grant { permissions: Some(permissions), ..Grant::default() }, |_, _| {});
    let mut client = rig.client();
    client.upload("STOR a.bin", b"abc");
    client.expect("HASH a.bin", 552);
    client.expect("XMD5 a.bin", 550);
}

/// A file that takes an hour to read and no room.
fn huge(rig: &Rig) {
    std::fs::File::create(rig.file("huge.bin")).unwrap().set_len(HUGE_BYTES).unwrap();
}

/// Is it open in this process?
fn being_read() -> bool {
    let files = std::fs::read_dir("/proc/self/fd").unwrap().flatten();
    files.filter_map(|file| std::fs::read_link(file.path()).ok()).any(|path| path.ends_with("acme/huge.bin"))
}

#[test]
fn a_session_lives_while_a_large_file_is_read() {
    let rig = Rig::new();
    let mut client = rig.client();
    let mut other = rig.client();
    huge(&rig);
    client.send(b"HASH huge.bin\r\n");
    until("reading", being_read);
    let status = client.expect("STAT", 211);
    assert!(status.starts_with("211-The command before runs:\r\n "), "{status}");
    assert!(status.contains(" bytes have been read for the digest so far\r\n"));
    assert!(rig.delivery.registry().list()[0].activity.starts_with("HASH /huge.bin"));
    // A small file of the same user has its turn meanwhile.
    other.upload("STOR a.bin", b"abc");
    assert!(other.expect("HASH a.bin", 213).contains(ABC_SHA256));
    // These wait for their turn: a reply before the digest's would be taken for it.
    client.send(b"NOOP\r\nPWD\r\n");
    client.expect("ABOR", 426);
    client.heard(226);
    client.heard(200);
    client.heard(257);
    until("letting go of the file", || !being_read());
    client.expect("ABOR", 225);
}

#[test]
fn whoever_goes_takes_the_reading_along() {
    let rig = Rig::new();
    let mut client = rig.client();
    huge(&rig);
    client.send(b"HASH huge.bin\r\n");
    until("reading", being_read);
    drop(client);
    until("letting go of the file", || !being_read() && rig.delivery.registry().count() == 0);

    let mut client = rig.client();
    client.send(b"XMD5 huge.bin\r\n");
    until("reading", being_read);
    let id = rig.delivery.registry().list()[0].id;
    assert!(rig.delivery.registry().kick(id));
    client.heard(426);
    client.heard(421);
    until("letting go of the file", || !being_read());

    let mut client = rig.client();
    client.send(b"HASH huge.bin\r\n");
    until("reading", being_read);
    rig.lifecycle.stop();
    client.heard(426);
    client.heard(421);
    until("letting go of the file", || !being_read());
}

#[test]
fn a_file_that_shrinks_while_it_is_read_has_no_digest() {
    let rig = Rig::new();
    let mut client = rig.client();
    huge(&rig);
    client.send(b"HASH huge.bin\r\n");
    until("reading", being_read);
    std::fs::File::options().write(true).open(rig.file("huge.bin")).unwrap().set_len(5).unwrap();
    assert!(client.heard(450).contains("was written to while it was read"));
}
