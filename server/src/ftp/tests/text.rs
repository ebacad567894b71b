//! TYPE A: what is stored, what is sent, what is counted, and what cannot be resumed (RFC 959 section 3.1.1.1).

use super::*;

fn sha256(bytes: &[u8]) -> String {
    use std::fmt::Write;
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes);
    digest.as_ref().iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}

#[test]
fn line_ends_cut_in_two() {
    let rig = Rig::new();
    let mut client = rig.client();
    client.expect("TYPE A N", 200);
    let mut data = client.begin("STOR a.txt");
    let mut sent = 0;
    for piece in [b"one\r".as_slice(), b"\ntwo\r\n", b"bare\nlf, bare\r", b"cr\r", b"\r", b"\n"] {
        data.write_all(piece).unwrap();
        sent += piece.len() as u64;
        // So that each piece is a read of its own.
        until("receiving", || client.expect("STAT", 211).contains(&format!("\r\n {sent} bytes so far")));
    }
    drop(data);
    let stored = b"one\ntwo\nbare\nlf, bare\rcr\r\n";
    let reply = client.heard(226);
    // The receipt is for what is stored, which is what whoever fetches the file can check.
    let digest = sha256(stored);
    assert_eq!(reply, format!("226 Landed as /a.txt: {} bytes, sha256 {digest}\r\n", stored.len()));
    assert_eq!(rig.landed("a.txt").unwrap(), stored);
    assert_eq!(client.download("RETR a.txt"), b"one\r\ntwo\r\nbare\r\nlf, bare\rcr\r\n");
    client.expect("TYPE L 8", 200);
    assert_eq!(client.download("RETR a.txt"), stored);
}

#[test]
fn line_ends_on_the_borders_of_large_reads() {
    let rig = Rig::new();
    let mut client = rig.client();
    // Lines of 99 and two: a border falls between CR and LF sooner or later.
    let wire = [vec![b'x'; 99], b"\r\n".to_vec()].concat().repeat(20_000);
    let stored = [vec![b'x'; 99], b"\n".to_vec()].concat().repeat(20_000);
    for under_tls in [false, true] {
        if under_tls {
            client = rig.tls_client(&rustls::version::TLS13);
        }
        client.expect("TYPE A", 200);
        assert!(client.upload("STOR a.txt", &wire).contains(": 2000000 bytes, "));
        assert!(rig.landed("a.txt").unwrap() == stored);
        assert!(client.download("RETR a.txt") == wire);
    }
}

#[test]
fn text_is_appended_and_sent_again_but_not_resumed() {
    let rig = Rig::new();
    let mut client = rig.client();
    client.expect("TYPE A", 200);
    client.upload("APPE log.txt", b"one\r\n");
    client.upload("APPE log.txt", b"two\r\n");
    assert_eq!(rig.landed("log.txt").unwrap(), b"one\ntwo\n");
    client.expect("REST 1", 501);
    client.expect("REST 0", 350);
    client.expect("SIZE log.txt", 550);
    let mut data = client.begin("STOR log.txt");
    data.write_all(b"three\r\nfour").unwrap();
    until("receiving", || client.expect("STAT", 211).contains("\r\n 11 bytes so far"));
    let reply = client.expect("ABOR", 426);
    assert!(reply.ends_with("; 10 bytes are held; TYPE A has no resume, send the file again\r\n"), "{reply}");
    client.heard(226);
    assert!(client.upload("STOR log.txt", b"five\r\n").starts_with("226 "));
    assert_eq!(rig.landed("log.txt").unwrap(), b"five\n");
    client.expect("TYPE I", 200);
    assert!(client.expect("SIZE log.txt", 213).starts_with("213 5\r"));
}

/// ALLO's size may be either that of the text on the wire or of the text as it is stored.
#[test]
fn the_size_announced_of_a_text() {
    let rig = Rig::new();
    let mut client = rig.client();
    client.expect("TYPE A", 200);
    for announced in [5, 4] {
        client.expect(&format!("ALLO {announced}"), 200);
        assert!(client.upload("STOR a.txt", b"one\r\n").starts_with("226 "), "{announced}");
    }
    client.expect("ALLO 3", 200);
    assert!(client.upload("STOR a.txt", b"one\r\n").starts_with("451 "));
}

#[test]
fn types_structures_and_modes() {
    let rig = Rig::new();
    let mut client = rig.client();
    for (line, code) in [
        ("TYPE A", 200),
        ("TYPE a n", 200),
        ("TYPE A T", 504),
        ("TYPE A C", 504),
        ("TYPE I", 200),
        ("TYPE L 8", 200),
        ("TYPE L 36", 504),
        ("TYPE E", 504),
        ("TYPE", 501),
        ("STRU F", 200),
        ("STRU R", 504),
        ("STRU P", 504),
        ("MODE S", 200),
        ("MODE B", 504),
        ("MODE C", 504),
    ] {
        client.expect(line, code);
    }
    // A refused TYPE leaves the one before it.
    client.expect("TYPE A", 200);
    client.expect("TYPE E", 504);
    client.upload("STOR a.txt", b"a\r\n");
    assert_eq!(rig.landed("a.txt").unwrap(), b"a\n");
}
