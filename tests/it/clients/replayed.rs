//! Clients that only run on a desk or in a device, replayed command by command as their logs show it: FileZilla, WinSCP,
//! a camera.

use landfall_tests::{Data, Ftp, Server, pattern, sha256};

const PASSWORD: &str = "secret-of-acme";

/// What stands on the disk and in the ledger, and when it was made there, as `date` says it.
#[track_caller]
fn check(server: &Server, path: &str, bytes: &[u8], modified: Option<&str>) {
    let landed = server.landed();
    let receipts: Vec<_> = landed.iter().map(|row| (row.path.as_str(), row.size, row.sha256.clone())).collect();
    assert_eq!(receipts, [(path, bytes.len() as u64, Some(sha256(bytes)))]);
    let on_disk = server.home("acme").join(path.trim_start_matches('/'));
    assert!(std::fs::read(&on_disk).unwrap() == bytes, "{path} on disk");
    if let Some(modified) = modified {
        let on_disk = on_disk.to_str().unwrap();
        let seen = landfall_tests::tool("date", &["-u", "-r", on_disk, "+%Y%m%d%H%M%S"]).ok().stdout;
        assert_eq!(seen.trim(), modified);
    }
}

fn all(ftp: &mut Ftp, dialogue: &[(&str, u16)]) {
    for (line, code) in dialogue {
        let reply = ftp.command(line);
        assert_eq!(reply.code, *code, "{line}: {}", reply.text);
    }
}

/// Half of a file, and then the line goes dead.
fn half(mut data: Data, bytes: &[u8]) {
    data.write(&bytes[..bytes.len() / 2]);
    data.reset();
}

/// FileZilla 3.6x from its connect to the first listing.
fn filezilla(server: &Server) -> Ftp {
    let mut ftp = Ftp::connect(server.address("ftp"));
    ftp.auth_tls().expect(234);
    all(&mut ftp, &[("USER acme", 331), (&format!("PASS {PASSWORD}"), 230), ("SYST", 215)]);
    let features = ftp.command("FEAT").expect(211).text;
    for feature in [" UTF8", " CLNT", " MLST ", " MFMT", " REST STREAM", " SIZE", " TVFS", " EPSV"] {
        assert!(features.contains(feature), "{feature} is missing in {features}");
    }
    all(&mut ftp, &[("CLNT FileZilla", 200), ("OPTS UTF8 ON", 200)]);
    ftp.protect();
    all(&mut ftp, &[("OPTS MLST type;size;modify;perm;", 200), ("PWD", 257), ("TYPE I", 200)]);
    ftp.download("MLSD").1.expect(226);
    ftp
}

#[test]
fn filezilla_upload() {
    let server = Server::start();
    let (mut ftp, bytes) = (filezilla(&server), pattern(300_000));
    all(&mut ftp, &[("CWD /", 250), ("MKD Fotos", 257), ("CWD /Fotos", 250), ("PWD", 257), ("TYPE I", 200)]);
    ftp.upload("STOR Größe 1.jpg", &bytes).expect(226);
    all(&mut ftp, &[("MFMT 20240229123456 Größe 1.jpg", 213)]);
    let (listing, reply) = ftp.download("MLSD");
    reply.expect(226);
    let listing = String::from_utf8(listing).unwrap();
    assert!(listing.contains("type=file;size=300000;modify=20240229123456;") && listing.contains(" Größe 1.jpg\r\n"));
    // What it says to keep a connection alive.
    all(&mut ftp, &[("NOOP", 200), ("TYPE A", 200), ("TYPE I", 200), ("PWD", 257), ("QUIT", 221)]);
    check(&server, "/Fotos/Größe 1.jpg", &bytes, Some("20240229123456"));
}

/// It goes on with APPE, after SIZE and MDTM have told it how far the file came.
#[test]
fn filezilla_resume() {
    let server = Server::start();
    let (mut ftp, bytes) = (filezilla(&server), pattern(3_000_000));
    half(ftp.begin("STOR a.jpg"), &bytes);
    ftp.reply().expect(426);
    let mut ftp = filezilla(&server);
    let size = ftp.command("SIZE a.jpg").expect(213).text;
    let held: usize = size[4..].parse().unwrap();
    assert!(held > 0, "nothing was kept");
    all(&mut ftp, &[("MDTM a.jpg", 213), ("TYPE I", 200)]);
    ftp.upload("APPE a.jpg", &bytes[held..]).expect(226);
    all(&mut ftp, &[("MFMT 20240229123456 a.jpg", 213), ("QUIT", 221)]);
    check(&server, "/a.jpg", &bytes, Some("20240229123456"));
}

/// WinSCP 6 from its connect to the first listing.
fn winscp(server: &Server) -> Ftp {
    let mut ftp = Ftp::connect(server.address("ftp"));
    ftp.auth_tls().expect(234);
    all(&mut ftp, &[("USER acme", 331), (&format!("PASS {PASSWORD}"), 230), ("SYST", 215), ("FEAT", 211)]);
    all(&mut ftp, &[("OPTS UTF8 ON", 200), ("CLNT WinSCP-release-6.3.5", 200)]);
    ftp.protect();
    all(&mut ftp, &[("PWD", 257), ("CWD /", 250), ("PWD", 257), ("TYPE A", 200)]);
    ftp.download("MLSD").1.expect(226);
    ftp
}

/// A temporary name, the time, and the rename that ends it; an older file of the final name is removed first.
#[test]
fn winscp_temporary_name() {
    let server = Server::start();
    let (mut ftp, bytes) = (winscp(&server), pattern(300_000));
    all(&mut ftp, &[("TYPE I", 200), ("SIZE a.jpg", 550), ("SIZE a.jpg.filepart", 550)]);
    ftp.upload("STOR a.jpg.filepart", &bytes).expect(226);
    assert_eq!(server.landed(), [], "a temporary name is no delivery");
    all(&mut ftp, &[("DELE a.jpg", 550), ("RNFR a.jpg.filepart", 350), ("RNTO a.jpg", 250)]);
    all(&mut ftp, &[("MFMT 20240229123456 a.jpg", 213), ("QUIT", 221)]);
    check(&server, "/a.jpg", &bytes, Some("20240229123456"));
}

#[test]
fn winscp_resume() {
    for resume in ["REST and STOR", "APPE"] {
        let server = Server::start();
        let (mut ftp, bytes) = (winscp(&server), pattern(3_000_000));
        all(&mut ftp, &[("TYPE I", 200)]);
        half(ftp.begin("STOR a.jpg.filepart"), &bytes);
        ftp.reply().expect(426);
        let mut ftp = winscp(&server);
        all(&mut ftp, &[("TYPE I", 200)]);
        let size = ftp.command("SIZE a.jpg.filepart").expect(213).text;
        let held: usize = size[4..].parse().unwrap();
        assert!(held > 0, "nothing was kept");
        let verb = if resume == "APPE" { "APPE" } else { "STOR" };
        if verb == "STOR" {
            all(&mut ftp, &[(&format!("REST {held}"), 350)]);
        }
        ftp.upload(&format!("{verb} a.jpg.filepart"), &bytes[held..]).expect(226);
        all(&mut ftp, &[("RNFR a.jpg.filepart", 350), ("RNTO a.jpg", 250), ("MDTM 20240229123456 a.jpg", 213)]);
        check(&server, "/a.jpg", &bytes, Some("20240229123456"));
    }
}

/// A camera: bare verbs in clear, no question asked, no goodbye.
#[test]
fn camera() {
    let server = Server::start();
    let bytes = pattern(4_000_000);
    let mut ftp = Ftp::connect(server.address("ftp"));
    all(&mut ftp, &[("USER acme", 331), (&format!("PASS {PASSWORD}"), 230), ("TYPE I", 200)]);
    all(&mut ftp, &[("CWD DCIM", 550), ("MKD DCIM", 257), ("CWD DCIM", 250)]);
    ftp.upload("STOR DSC00001.JPG", &bytes).expect(226);
    ftp.cut();
    check(&server, "/DCIM/DSC00001.JPG", &bytes, None);
}
