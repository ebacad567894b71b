//! Verbs on names, and what sessions tell of themselves.

use landfall_auth::Permissions;

use super::*;

#[test]
fn directories() {
    let rig = Rig::new();
    let mut client = rig.client();
    assert!(client.expect("MKD in", 257).starts_with("257 \"/in\" "));
    assert!(client.expect("XMKD in/a \"b\"", 257).contains("\"/in/a \"\"b\"\"\""));
    client.expect("MKD in", 550);
    client.expect("CWD in/a \"b\"", 250);
    assert!(client.expect("PWD", 257).starts_with("257 \"/in/a \"\"b\"\"\" "));
    client.expect("CDUP", 250);
    client.expect("CWD ../../../..", 250);
    assert!(client.expect("XPWD", 257).starts_with("257 \"/\" "));
    client.expect("CWD missing", 550);
    client.expect("RMD in", 550);
    client.expect("RMD in/a \"b\"", 250);
    client.expect("RMD in", 250);
    client.expect("RMD /", 550);
}

#[test]
fn names_that_are_none() {
    let rig = Rig::new();
    let mut client = rig.client();
    for name in [b"a\xe9".as_slice(), b"a\x1b[2J", b"a\x00b", b"a\x7f", &[b'x'; 256], b"a\rb"] {
        for verb in ["STOR", "MKD", "CWD", "DELE", "RNFR", "MLST"] {
            client.send(&[verb.as_bytes(), b" ", name, b"\r\n"].concat());
            let reply = client.heard(553);
            assert!(reply.trim_end().bytes().all(|b| b.is_ascii() && !b.is_ascii_control()), "{reply:?}");
        }
    }
    let told = rig.log.with("refused");
    assert_eq!(told.len(), 2 * 6, "{told:?}");
    assert!(told[0].contains("WARN") && told[0].contains(" refused user=\"acme\" peer=127.0.0.1:"), "{told:?}");
    assert!(told[0].ends_with(" protocol=\"ftp\" name=a\\xe9 reason=\"the name is not valid UTF-8\""), "{told:?}");
    assert!(told[2].contains(" name=a\\x1b[2J "), "{told:?}");
    client.upload("STOR a.bin", b"one");
    client.expect("RNFR a.bin", 350);
    client.send(b"RNTO a\xe9\r\n");
    client.heard(553);
    client.passive();
    client.send(b"STOU a\xe9\r\n");
    client.heard(553);
    assert_eq!(rig.log.with("refused").len(), 14);
    // Both forms of the same letter are names of their own.
    client.upload("STOR \u{e9}.txt", b"one");
    client.upload("STOR e\u{301}.txt", b"two");
    assert_eq!(client.download("RETR \u{e9}.txt"), b"one");
    assert_eq!(client.download("RETR e\u{301}.txt"), b"two");
}

#[test]
fn facts_and_times() {
    let rig = Rig::new();
    let mut client = rig.client();
    client.upload("STOR a.bin", b"hello");
    assert!(client.expect("SIZE a.bin", 213).starts_with("213 5\r"));
    client.expect("SIZE /", 550);
    for (line, reply) in [
        ("MFMT 20200102030405 a.bin", "213 Modify=20200102030405; /a.bin\r\n"),
        ("MDTM a.bin", "213 20200102030405\r\n"),
        ("MDTM 20210102030405 a.bin", "213 20210102030405\r\n"),
        ("MDTM a.bin", "213 20210102030405\r\n"),
        ("MFF modify=20220102030405; a.bin", "213 modify=20220102030405; /a.bin\r\n"),
        ("MDTM a.bin", "213 20220102030405\r\n"),
        ("MFF UNIX.mode=666;modify=20220102030406; a.bin", "213 modify=20220102030406;UNIX.mode=0644; /a.bin\r\n"),
        ("MDTM a.bin", "213 20220102030406\r\n"),
    ] {
        assert_eq!(client.expect(line, 213), reply, "{line}");
    }
    for (line, modified) in [
        ("SITE UTIME 202301020304 a.bin", "20230102030400"),
        ("SITE UTIME a.bin 20200101000000 20230102030406 20200101000000 UTC", "20230102030406"),
        ("SITE UTIME 20230102030405 a.bin", "20230102030405"),
    ] {
        assert_eq!(client.expect(line, 200), format!("200 Modify={modified}\r\n"));
        assert_eq!(client.expect("MDTM a.bin", 213), format!("213 {modified}\r\n"));
    }
    assert!(client.expect("SITE CHMOD 600 a.bin", 200).contains(" 600"));
    // Others may not be let write.
    assert!(client.expect("SITE CHMOD 0666 a.bin", 200).contains(" 644"));
    client.expect("SITE CHMOD 600 a.bin", 200);
    for (line, code) in [
        ("SITE CHMOD 4755 a.bin", 501),
        ("SITE CHMOD u+w a.bin", 501),
        ("SITE CHMOD +44 a.bin", 501),
        ("SITE UTIME 2023 a.bin", 501),
        ("MFF modify=20220102030405 a.bin", 501),
        ("MFF modify=2022; a.bin", 501),
        ("MFF UNIX.mode=999; a.bin", 501),
        ("MFF create=20220102030405; a.bin", 504),
        ("MFF UNIX.mode=600;create=20220102030405; a.bin", 504),
        ("MFF modify=20220102030405; b.bin", 550),
    ] {
        client.expect(line, code);
    }
    client.expect("SITE FROB", 504);
    client.expect("MFMT yesterday a.bin", 501);
    client.expect("OPTS MLST type;size;modify;UNIX.mode;", 200);
    let facts = client.expect("MLST a.bin", 250);
    assert!(facts.contains("\r\n type=file;size=5;modify=20230102030405;UNIX.mode=0600; /a.bin\r\n250 "), "{facts}");
    assert!(client.expect("FEAT", 211).contains(" MLST type*;size*;modify*;perm;unique;UNIX.mode*;\r\n"));
}

#[test]
fn a_file_whose_name_looks_like_a_time() {
    let rig = Rig::new();
    let mut client = rig.client();
    client.upload("STOR 20200102030405 a.bin", b"x");
    assert!(!client.expect("MDTM 20200102030405 a.bin", 213).contains("20200102"));
}

#[test]
fn listings() {
    let rig = Rig::new();
    let mut client = rig.client();
    client.expect("MKD in", 257);
    client.upload("STOR in/a b.jpg", b"hello");
    client.upload("STOR in/c.png", b"hello");
    let sorted = |text: String| {
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        lines.sort();
        lines
    };
    assert_eq!(sorted(client.listed("NLST in")), ["in/a b.jpg", "in/c.png"]);
    assert_eq!(sorted(client.listed("NLST in/*.jpg")), ["in/a b.jpg"]);
    assert_eq!(sorted(client.listed("NLST -a in/c.png")), ["in/c.png"]);
    assert_eq!(sorted(client.listed("NLST in/*.gif")), [""; 0]);
    client.expect("CWD in", 250);
    assert_eq!(sorted(client.listed("NLST")), ["a b.jpg", "c.png"]);
    let long = sorted(client.listed("LIST -la"));
    assert!(long.len() == 2 && long[0].starts_with("-rw") && long[0].ends_with(" a b.jpg"), "{long:?}");
    assert!(client.listed("LIST a b.jpg").contains(" 5 "));
    assert!(client.listed("MLSD /").contains("type=dir;"));
    client.passive();
    client.expect("MLSD a b.jpg", 501);
    client.expect("LIST missing", 550);
    let status = client.expect("STAT .", 212);
    assert!(status.contains(" a b.jpg\r\n") && status.ends_with("212 End\r\n"), "{status}");
}

#[test]
fn a_listing_of_many_names() {
    let rig = Rig::new();
    let mut client = rig.client();
    for number in 0..5_000 {
        std::fs::write(rig.file(&format!("{number:05}.jpg")), b"").unwrap();
    }
    assert_eq!(client.listed("MLSD").lines().count(), 5_000);
    let mut data = client.begin("NLST");
    data.read_exact(&mut [0; 10]).unwrap();
    drop(data);
    // Broken off, or sent whole into the sockets' buffers before that was known.
    let reply = client.reply();
    assert!(reply.starts_with("426 ") || reply.starts_with("226 "), "{reply}");
    client.expect("NOOP", 200);
}

#[test]
fn renames() {
    let rig = Rig::new();
    let mut client = rig.client();
    client.expect("RNTO b.bin", 503);
    client.expect("RNFR a.bin", 550);
    client.upload("STOR a.bin", b"hello");
    client.expect("RNFR a.bin", 350);
    client.expect("RNTO b.bin", 250);
    client.expect("RNTO c.bin", 503);
    assert_eq!(rig.landed("b.bin").unwrap(), b"hello");
    // A client-side temporary name lands at its rename.
    client.upload("STOR p.jpg.filepart", b"photo");
    client.expect("RNFR p.jpg.filepart", 350);
    assert!(client.expect("RNTO p.jpg", 250).starts_with("250 Landed as /p.jpg: 5 bytes, sha256 "));
    client.expect("DELE p.jpg", 250);
    client.expect("DELE p.jpg", 550);
}

#[test]
fn a_dropbox_takes_and_shows_nothing() {
    let permissions = Permissions { write: true, ..Permissions::NONE };
    let rig = Rig::granting(Grant { permissions: Some(permissions), ..Grant::default() }, |_, _| {});
    let mut client = rig.client();
    assert!(client.upload("STOR a.bin", b"hello").starts_with("226 "));
    client.passive();
    for line in ["LIST", "NLST", "MLSD", "RETR a.bin", "DELE a.bin", "MKD in", "SIZE b.bin", "STAT /"] {
        client.expect(line, 550);
    }
    // Clients ask whether their own upload is there.
    client.expect("SIZE a.bin", 213);
    client.expect("STOR a.bin", 550);
}

#[test]
fn small_verbs() {
    let rig = Rig::new();
    let mut client = rig.client();
    for (line, code) in [
        ("SYST", 215),
        ("FEAT", 211),
        ("HELP", 214),
        ("HELP stor", 214),
        ("HELP frob", 502),
        ("SITE HELP", 214),
        ("SITE HELP utime", 214),
        ("SITE HELP frob", 501),
        ("STAT", 211),
        ("ACCT x", 202),
        ("CLNT test", 200),
        ("LANG en-GB", 200),
        ("LANG de", 504),
        ("MODE S", 200),
        ("MODE B", 504),
        ("STRU F", 200),
        ("STRU R", 504),
        ("TYPE L 8", 200),
        ("OPTS UTF8 ON", 200),
        ("LANG en_GB", 501),
        ("OPTS UTF8 OFF", 501),
        ("OPTS FROB", 501),
        ("OPTS STOR", 501),
        ("ALLO x", 501),
        ("ALLO +5", 501),
        ("ALLO 5 R", 501),
        ("ALLO 5 R 80", 200),
        ("ALLO 0", 200),
        ("REST +5", 501),
        ("REST 5 5", 501),
        ("CSID FileZilla", 501),
        ("CSID Name=FTP Voyager; Version=1;", 200),
        ("SMNT /", 502),
        ("mic x", 502),
        ("AVBL", 213),
        ("AVBL /", 213),
        ("AVBL missing", 550),
        ("CCC", 533),
        ("PBSZ 0", 503),
        ("PROT P", 503),
        ("FROB", 500),
        ("STOR", 501),
        ("PASV x", 501),
        ("", 500),
    ] {
        client.expect(line, code);
    }
    let feat = client.expect("FEAT", 211);
    assert!(feat.contains("\r\n AUTH TLS\r\n") && !feat.contains("EPRT"), "{feat}");
}

#[test]
fn every_verb_of_the_table_is_refused_or_harmless_before_login() {
    let rig = Rig::new();
    let mut client = rig.stranger();
    for spec in super::super::command::TABLE {
        if !matches!(spec.name, "QUIT" | "AUTH" | "USER") {
            let reply =
                client.expect(&format!("{} x", spec.name), if bare(spec) { 501 } else { code_before_login(spec) });
            assert!(!reply.is_empty());
        }
    }
}

fn bare(spec: &super::super::command::Spec) -> bool {
    spec.argument == super::super::command::Argument::None
}

fn code_before_login(spec: &super::super::command::Spec) -> u16 {
    match spec.name {
        "CLNT" | "NOOP" => 200,
        "HELP" => 502,
        "HOST" | "LANG" => 504,
        "CSID" | "OPTS" => 501,
        "PASS" | "PBSZ" | "PROT" => 503,
        _ => 530,
    }
}
