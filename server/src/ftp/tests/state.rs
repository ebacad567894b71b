//! What commands leave behind for those after them, and the form of replies that programs read: RFC 959, 1123, 2389, 3659
//! by the letter.

use super::*;

#[test]
fn rnto_follows_rnfr_at_once_or_not_at_all() {
    let rig = Rig::new();
    let mut client = rig.client();
    client.upload("STOR a.bin", b"hello");
    for between in ["NOOP", "PWD", "RNFR b.bin", "STAT"] {
        client.expect("RNFR a.bin", 350);
        client.send(format!("{between}\r\n").as_bytes());
        client.reply();
        client.expect("RNTO c.bin", 503);
    }
    client.expect("RNFR a.bin", 350);
    client.expect("RNTO c.bin", 250);
    assert_eq!(rig.landed("c.bin").unwrap(), b"hello");
}

#[test]
fn rest_is_for_the_next_transfer_whatever_becomes_of_it() {
    let rig = Rig::new();
    let mut client = rig.client();
    client.upload("STOR a.bin", b"hello");
    for spent in ["RETR missing.bin", "NLST", "MLSD", "LIST"] {
        client.expect("REST 3", 350);
        let data = client.passive();
        let _data = connect(data);
        client.send(format!("{spent}\r\n").as_bytes());
        if client.reply().starts_with("150 ") {
            client.heard(226);
        }
        assert_eq!(client.download("RETR a.bin"), b"hello", "{spent}");
    }
    // The offset outlives what stands between by habit.
    client.expect("REST 3", 350);
    client.expect("TYPE I", 200);
    assert_eq!(client.download("RETR a.bin"), b"lo");
}

#[test]
fn rein_begins_again() {
    let rig = Rig::new();
    let mut client = rig.client();
    client.upload("STOR a.bin", b"a\nb");
    client.expect("MKD in", 257);
    for line in ["CWD in", "TYPE A", "EPSV ALL", "OPTS MLST size;", "ALLO 99"] {
        client.send(format!("{line}\r\n").as_bytes());
        assert!(client.reply().starts_with('2'), "{line}");
    }
    client.expect("RNFR /a.bin", 350);
    client.expect("REIN", 220);
    for line in ["PWD", "RNTO b.bin", "NOOP"] {
        client.send(format!("{line}\r\n").as_bytes());
        client.reply();
    }
    client.log_in();
    assert!(client.expect("PWD", 257).starts_with("257 \"/\" "));
    client.expect("RNTO b.bin", 503);
    client.expect("PASV", 227);
    assert!(client.expect("FEAT", 211).contains(" MLST type*;size*;modify*;perm*;unique*;UNIX.mode;\r\n"));
    assert_eq!(client.download("RETR a.bin"), b"a\nb");
    assert!(client.upload("STOR b.bin", b"x").starts_with("226 "));
}

#[test]
fn rein_ends_prot_and_keeps_tls() {
    let rig = Rig::new();
    let mut client = rig.tls_client(&rustls::version::TLS13);
    client.expect("REIN", 220);
    client.log_in();
    assert!(client.expect("STAT", 211).contains("control connection under TLS, data connections in clear"));
    client.expect("PROT P", 503);
    let mut client = rig.implicit_client();
    client.expect("REIN", 220);
    client.log_in();
    assert!(client.expect("STAT", 211).contains("control connection under TLS, data connections private"));
    client.upload("STOR a.bin", b"hello");
    assert_eq!(rig.landed("a.bin").unwrap(), b"hello");
}

#[test]
fn stou_says_a_name_that_can_be_said_again() {
    let rig = Rig::new();
    let mut client = rig.client();
    client.expect("MKD in", 257);
    for (line, prefix, suffix) in [("STOU", "upload-", ""), ("STOU in/a b.jpg", "in/a b-", ".jpg")] {
        let mut data = {
            let address = client.passive();
            connect(address)
        };
        let reply = client.expect(line, 150);
        let name = reply.strip_prefix("150 FILE: ").unwrap().trim_end();
        assert!(name.starts_with(prefix) && name.ends_with(suffix), "{reply}");
        data.write_all(b"hello").unwrap();
        drop(data);
        client.heard(226);
        assert_eq!(client.download(&format!("RETR {name}")), b"hello");
    }
}

#[test]
fn replies_have_the_form_that_programs_read() {
    let rig = Rig::new();
    let mut client = rig.client();
    client.upload("STOR a.bin", b"hello");
    // RFC 3659 section 7.9: no fact, no space.
    assert_eq!(client.expect("OPTS MLST", 200), "200 MLST OPTS\r\n");
    assert_eq!(client.expect("MLST a.bin", 250), "250-Facts:\r\n  /a.bin\r\n250 End\r\n");
    assert_eq!(client.expect("OPTS MLST Size;frob;TYPE;", 200), "200 MLST OPTS type;size;\r\n");
    for malformed in ["OPTS MLST size", "OPTS MLST size ;", "OPTS MLST size; perm;"] {
        client.expect(malformed, 501);
    }
    assert!(client.expect("FEAT", 211).contains(" MLST type*;size*;modify;"), "a malformed choice chose something");
    assert_eq!(client.expect("MLST a.bin", 250), "250-Facts:\r\n type=file;size=5; /a.bin\r\n250 End\r\n");
    assert_eq!(client.expect("MLST", 250), "250-Facts:\r\n type=dir; /\r\n250 End\r\n");
    // RFC 2389 section 3.2: each feature on a line of its own, led by one space.
    let feat = client.expect("FEAT", 211);
    let lines: Vec<&str> = feat.strip_suffix("\r\n").unwrap().split("\r\n").collect();
    assert_eq!((lines[0], *lines.last().unwrap()), ("211-Extensions:", "211 End"));
    let features = &lines[1..lines.len() - 1];
    assert!(features.iter().all(|line| line.starts_with(' ') && !line.starts_with("  ") && line.trim_end() == *line));
    assert!(client.expect("MKD x \"y", 257).starts_with("257 \"/x \"\"y\" "));
    assert_eq!(client.expect("CSID Name=x; Version=1;", 200), "200 Name=Landfall; CaseSensitive=1; DirSep=/;\r\n");
    let available = client.expect("AVBL /", 213);
    assert!(available.trim_end()[4..].bytes().all(|b| b.is_ascii_digit()), "{available}");
}

#[test]
fn room_is_the_quotas_where_that_is_less() {
    let rig = Rig::granting(Grant { quota_bytes: Some(1_000), ..Grant::default() }, |_, _| {});
    let mut client = rig.client();
    client.upload("STOR a.bin", &[0; 300]);
    assert_eq!(client.expect("AVBL", 213), "213 700\r\n");
    client.expect("DELE a.bin", 250);
    assert_eq!(client.expect("AVBL /", 213), "213 1000\r\n");
}

#[test]
fn who_may_not_replace_is_told_so_by_perm_and_cannot_hide_a_file() {
    let grant = Grant { overwrite: Some(landfall_auth::Overwrite::Reject), ..Grant::default() };
    let rig = Rig::granting(grant, |_, _| {});
    let mut client = rig.client();
    client.upload("STOR a.bin", b"hello");
    assert!(client.expect("MLST a.bin", 250).contains("perm=dfr;"));
    let permissions = landfall_auth::Permissions { overwrite: false, ..landfall_auth::Permissions::default() };
    let rig = Rig::granting(Grant { permissions: Some(permissions), ..Grant::default() }, |_, _| {});
    let mut client = rig.client();
    client.upload("STOR a.bin", b"hello");
    for line in ["SITE CHMOD 600 a.bin", "MFF UNIX.mode=600; a.bin"] {
        assert!(client.expect(line, 550).contains("may not change their mode"), "{line}");
    }
    client.expect("MFMT 20200102030405 a.bin", 213);
}
