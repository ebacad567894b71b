//! FEAT names what works and nothing else; and every verb that is promised is obeyed.

use super::*;
use crate::ftp::command;

/// The verbs that this server promises.
const PROMISED: &str = "USER PASS ACCT CWD CDUP QUIT REIN PORT PASV TYPE STRU MODE RETR STOR STOU APPE ALLO REST RNFR RNTO \
    ABOR DELE RMD MKD PWD LIST NLST SITE SYST STAT HELP NOOP XCWD XCUP XMKD XRMD XPWD FEAT OPTS EPRT EPSV MDTM SIZE MLST \
    MLSD AUTH PBSZ PROT CCC MFMT MFF HASH XCRC XMD5 XSHA1 XSHA256 AVBL CLNT CSID LANG RMDA HOST";

#[test]
fn every_line_of_feat_is_true() {
    let rig = Rig::with(|config, _| config.active = true);
    let mut client = rig.tls_client(&rustls::version::TLS13);
    client.expect("MKD in", 257);
    client.upload("STOR in/a.bin", b"abc");
    let feat = client.expect("FEAT", 211);
    let features: Vec<&str> = feat.lines().filter_map(|line| line.strip_prefix(' ')).collect();
    assert!(features.len() > 20, "{feat}");
    for feature in features {
        let (name, rest) = feature.split_once(' ').unwrap_or((feature, ""));
        match (name, rest) {
            // The client above came that way, and has uploaded.
            ("AUTH", "TLS") | ("PBSZ" | "PROT", "") => {}
            ("AVBL", "") => drop(client.expect("AVBL in", 213)),
            ("CLNT", "") => drop(client.expect("CLNT x", 200)),
            ("CSID", "") => drop(client.expect("CSID Name=x;", 200)),
            ("EPRT", "") => actively(&rig),
            ("EPSV", "") => assert_eq!(client.listed("NLST in"), "in/a.bin\r\n"),
            ("HASH", algorithms) => hashes(&mut client, algorithms),
            ("HOST", "") => drop(rig.stranger().expect("HOST ftp.example.com", 220)),
            ("LANG", "EN*") => drop(client.expect("LANG EN", 200)),
            ("MD5", "") => drop(client.expect("MD5 in/a.bin", 251)),
            ("MDTM", "") => drop(client.expect("MDTM in/a.bin", 213)),
            ("MFF", facts) => {
                for fact in facts.split_terminator(';') {
                    let value = if fact == "modify" { "20200102030405" } else { "0600" };
                    let reply = client.expect(&format!("MFF {fact}={value}; in/a.bin"), 213);
                    assert_eq!(reply, format!("213 {fact}={value}; /in/a.bin\r\n"));
                }
            }
            ("MFMT", "") => drop(client.expect("MFMT 20200102030405 in/a.bin", 213)),
            ("MLST", facts) => {
                for fact in facts.split_terminator(';').map(|fact| fact.trim_end_matches('*')) {
                    client.expect(&format!("OPTS MLST {fact};"), 200);
                    assert!(client.expect("MLST in/a.bin", 250).contains(&format!("\r\n {fact}=")));
                    assert!(client.listed("MLSD in").starts_with(&format!("{fact}=")));
                }
            }
            ("RANG", "STREAM") => {
                client.expect("RANG 1 1", 350);
                assert_eq!(client.download("RETR in/a.bin"), b"b");
            }
            ("REST", "STREAM") => {
                client.expect("REST 1", 350);
                assert_eq!(client.download("RETR in/a.bin"), b"bc");
            }
            ("RMDA", "<path>") => {
                client.expect("MKD out", 257);
                client.expect("RMDA out", 250);
            }
            ("SIZE", "") => drop(client.expect("SIZE in/a.bin", 213)),
            ("TVFS", "") => drop(client.expect("CWD /in/.././/in/..", 250)),
            ("UTF8", "") => {
                client.expect("OPTS UTF8 ON", 200);
                client.upload("STOR \u{e9}\u{1f4f7}.bin", b"x");
                assert!(client.listed("NLST").contains("\u{e9}\u{1f4f7}.bin\r\n"));
            }
            ("XCRC" | "XMD5" | "XSHA" | "XSHA1" | "XSHA256" | "XSHA512", "") => {
                client.expect(&format!("{name} \"in/a.bin\" 0 3"), 250);
            }
            _ => panic!("nobody knows whether {feature} works"),
        }
        if !matches!(name, "TVFS" | "UTF8") {
            assert!(command::spec(name.as_bytes()).is_some(), "{name} is no verb");
        }
    }
}

fn hashes(client: &mut Client, algorithms: &str) {
    for algorithm in algorithms.split_terminator(';') {
        let name = algorithm.trim_end_matches('*');
        // The one with the star is the one in use.
        if name != algorithm {
            assert_eq!(client.expect("OPTS HASH", 200), format!("200 {name}\r\n"));
        }
        client.expect(&format!("OPTS HASH {name}"), 200);
        assert!(client.expect("HASH in/a.bin", 213).starts_with(&format!("213 {name} 0-2 ")));
    }
}

/// EPRT: the server connects to its client.
fn actively(rig: &Rig) {
    let mut client = rig.client();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    client.expect(&format!("EPRT |1|127.0.0.1|{}|", listener.local_addr().unwrap().port()), 200);
    client.expect("NLST in", 150);
    let mut names = String::new();
    listener.accept().unwrap().0.read_to_string(&mut names).unwrap();
    client.heard(226);
    assert_eq!(names, "in/a.bin\r\n");
}

#[test]
fn what_does_not_work_is_not_named() {
    let rig = Rig::with(|config, _| config.tls = config::TlsPolicy::Off);
    let feat = rig.client().expect("FEAT", 211);
    for absent in [" AUTH", " PBSZ", " PROT", " EPRT"] {
        assert!(!feat.contains(absent), "{feat}");
    }
}

#[test]
fn every_promised_verb_is_obeyed() {
    for name in PROMISED.split_ascii_whitespace() {
        assert!(command::spec(name.as_bytes()).is_some(), "{name}");
    }
    let rig = Rig::with(|config, _| config.active = true);
    for spec in command::TABLE {
        let argument = match spec.name {
            "PORT" => " 127,0,0,1,200,200",
            "EPRT" => " |1|127.0.0.1|50000|",
            "TYPE" => " I",
            "MODE" => " S",
            "STRU" => " F",
            "SITE" | "HELP" => " HELP",
            "OPTS" => " UTF8 ON",
            "ALLO" | "REST" => " 5",
            "RANG" => " 0 1",
            _ if spec.argument == command::Argument::Required => " x",
            _ => "",
        };
        // Each to a session of its own, since some end it; then without a login.
        for mut client in [rig.client(), rig.stranger()] {
            client.send(format!("{}{argument}\r\n", spec.name).as_bytes());
            let reply = client.reply();
            assert!(
                reply.len() > 3 && !reply.starts_with("500") && !reply.starts_with("502"),
                "{}: {reply}",
                spec.name
            );
        }
    }
}
