//! Rules about files: what each says, on both protocols and everywhere else in the same words; and limits that many
//! writers reach at once.

use std::time::{Duration, Instant};

use landfall_tests::{Ftp, Photograph, Row, Server, Sftp, pattern, photographs, wait_until};

const PASSWORD: &str = "secret-of-acme";

fn ftp(server: &Server) -> Ftp {
    Ftp::connect_as(server.address("ftp"), "acme", PASSWORD)
}

fn sftp(server: &Server) -> Sftp {
    Sftp::connect(server.address("sftp"), "acme", PASSWORD)
}

fn photograph(end: &str) -> Photograph {
    photographs().into_iter().find(|photograph| photograph.name.ends_with(end)).unwrap()
}

/// The newest refusal of that name.
fn refusal(server: &Server, name: &str) -> Row {
    let refused = |row: &Row| row.status == "refused" && row.path == format!("/{name}");
    wait_until("the refusal in the ledger", || server.ledger().into_iter().rev().find(|row| refused(row)))
}

/// Flags, name, bytes, what the sentence holds, FTP's code.
type Case = (Vec<&'static str>, &'static str, Vec<u8>, &'static str, u16);

fn table() -> Vec<Case> {
    let (jpeg, png) = (photograph(".jpg").bytes, photograph(".png").bytes);
    let mut torn = jpeg.clone();
    torn.truncate(jpeg.len() * 6 / 10);
    let mut flipped = png.clone();
    flipped[png.len() / 2] ^= 1;
    vec![
        (vec!["--max-file-bytes", "1000"], "big.bin", pattern(1_001), "larger than the 1000 bytes", 553),
        (vec!["--file-name-pattern", r"[0-9]{4}\.jpg"], "x.jpg", pattern(9), r"[0-9]{4}\.jpg", 553),
        (vec!["--allowed-types", "jpeg,png"], "a.jpg", pattern(99), "its content is not JPEG or PNG", 553),
        (
            vec!["--allowed-types", "jpeg"],
            "b.jpg",
            png.clone(),
            "its content is PNG, and this account may send JPEG",
            553,
        ),
        (vec!["--content-check", "structure"], "torn.jpg", torn.clone(), "of its scan data; send it again", 553),
        (vec!["--content-check", "decode"], "torn.jpg", torn, "send it again", 553),
        (vec!["--content-check", "structure"], "bad.png", flipped, "CRC", 553),
        (
            vec!["--min-pixels", "20000x1"],
            "small.jpg",
            jpeg.clone(),
            "20000x1 are the least; send a larger picture",
            553,
        ),
        (vec!["--max-pixels", "9x9"], "large.png", png, "9x9 are the most; send a smaller picture", 553),
        (vec!["--quota-bytes", "1000"], "q.bin", pattern(1_001), "the quota of 1000 bytes is spent", 552),
        (vec!["--max-uploads-per-day", "0"], "d.bin", pattern(10), "as many as may in one day", 552),
        (vec!["--permissions", "list,read"], "w.bin", pattern(10), "this account may not upload files", 550),
        (vec!["--path-permissions", "/no=read"], "no/w.bin", pattern(10), "may not upload files in that place", 550),
    ]
}

/// One sentence in the FTP reply, the SFTP status, the ledger, the log and the event.
#[test]
fn every_refusal_says_the_same_everywhere() {
    let server = Server::start();
    std::fs::create_dir_all(server.home("acme").join("no")).unwrap();
    for (flags, name, bytes, says, code) in table() {
        let mut command = vec!["user", "set", "acme"];
        command.extend(&flags);
        server.cli(&command).ok();

        let reply = ftp(&server).upload(&format!("STOR {name}"), &bytes).expect(code);
        let sentence = reply.text.get(4..).unwrap().to_owned();
        let short = name.rsplit('/').next().unwrap();
        assert!(sentence.starts_with(&format!("{short} refused: ")) && sentence.contains(says), "{sentence}");
        let row = refusal(&server, name);
        assert_eq!(row.reason.as_deref(), Some(&*sentence), "{flags:?} in the ledger");
        let logged = serde_json::to_string(&sentence).unwrap();
        assert!(server.log().contains(&logged), "{flags:?} in the log");
        let events = server.cli(&["events", "list", "--json"]).ok().stdout;
        let event: serde_json::Value = events
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .find(|event: &serde_json::Value| event.to_string().contains(&row.id))
            .unwrap();
        assert_eq!(event["type"], "landfall.upload.refused");
        assert_eq!(event["data"]["reason"], *sentence, "{flags:?} in the event");

        let status = sftp(&server).put(name, &bytes).unwrap_err();
        assert!(status.contains(&sentence), "{flags:?} over SFTP: {status}");
        assert_eq!(refusal(&server, name).reason.as_deref(), Some(&*sentence), "{flags:?} in the ledger by SFTP");
        assert!(!server.home("acme").join(name).exists());
        let mut undo = vec!["user", "set", "acme", flags[0]];
        undo.push("default");
        server.cli(&undo).ok();
    }
    assert!(server.landed().is_empty());
}

#[test]
fn what_keeps_the_rules_lands() {
    let server = Server::start();
    let rules = "user set acme --allowed-types jpeg,png --content-check decode --min-pixels 10x10 --max-pixels 30000x30000 \
        --file-name-pattern .*[.](jpg|png) --max-file-bytes 100MB --max-uploads-per-day 100000";
    server.cli(&rules.split_whitespace().collect::<Vec<_>>()).ok();
    let allowed = |file: &Photograph| matches!(file.name.rsplit_once('.'), Some((_, "jpg" | "png")));
    let wanted: Vec<Photograph> = photographs().into_iter().filter(allowed).collect();
    let (mut ftp, sftp) = (ftp(&server), sftp(&server));
    for (index, file) in wanted.iter().enumerate() {
        if index % 2 == 0 {
            ftp.upload(&format!("STOR {}", file.name), &file.bytes).expect(226);
        } else {
            sftp.put(&file.name, &file.bytes).unwrap();
        }
    }
    assert_eq!(server.landed().len(), wanted.len());
}

/// A temporary name is the client's own; the rules for the final one are asked by the rename that gives it.
#[test]
fn a_delivering_rename_asks_the_rules() {
    let server = Server::start();
    server.cli(&["user", "set", "acme", "--content-check", "structure", "--file-name-pattern", r".*\.jpg"]).ok();
    let jpeg = photograph(".jpg").bytes;
    let torn = &jpeg[..jpeg.len() / 2];

    let mut ftp = ftp(&server);
    ftp.upload("STOR a.jpg.part", torn).expect(226);
    ftp.command("RNFR a.jpg.part").expect(350);
    let reply = ftp.command("RNTO a.jpg").expect(553);
    assert!(reply.text.starts_with("553 a.jpg refused: JPEG ends after "), "{}", reply.text);
    assert_eq!(refusal(&server, "a.jpg").reason.as_deref(), reply.text.get(4..));
    ftp.upload("STOR a.jpg.part", &jpeg).expect(226);
    ftp.command("RNFR a.jpg.part").expect(350);
    assert!(ftp.command("RNTO a.png").expect(553).text.contains("not of the form"));
    ftp.command("RNFR a.jpg.part").expect(350);
    ftp.command("RNTO a.jpg").expect(250);
    // What has landed keeps the form as well.
    ftp.command("RNFR a.jpg").expect(350);
    assert!(ftp.command("RNTO a.exe").expect(553).text.contains("not of the form"));

    let sftp = sftp(&server);
    sftp.put("b.jpg.filepart", torn).unwrap();
    let status = sftp.rename("b.jpg.filepart", "b.jpg").unwrap_err();
    assert!(status.contains("b.jpg refused: JPEG ends after "), "{status}");
    assert_eq!(server.landed().iter().map(|row| &*row.path).collect::<Vec<_>>(), ["/a.jpg"]);
}

#[test]
fn rules_are_tried_without_sending() {
    let server = Server::start();
    server.cli(&["user", "set", "acme", "--content-check", "structure", "--allowed-types", "jpeg"]).ok();
    let file = photograph(".jpg");
    let path = file.path.to_str().unwrap();
    let tried: serde_json::Value =
        serde_json::from_str(&server.cli(&["rules", "try", "acme", path, "--json"]).ok().stdout).unwrap();
    assert_eq!((&tried["verdict"], &tried["type"]), (&"landed".into(), &"jpeg".into()));
    assert!(tried["width"].as_u64() > Some(10));

    let torn = server.directory().path().join("torn.jpg");
    std::fs::write(&torn, &file.bytes[..file.bytes.len() / 2]).unwrap();
    let torn = torn.to_str().unwrap();
    let outcome = server.cli(&["rules", "try", "acme", torn]);
    assert_eq!(outcome.status.code(), Some(1));
    let reply = ftp(&server).upload("STOR torn.jpg", &file.bytes[..file.bytes.len() / 2]).expect(553);
    assert!(outcome.stdout.contains(reply.text.get(4..).unwrap()), "{} {}", outcome.stdout, reply.text);
    assert_eq!(server.cli(&["rules", "try", "nobody", torn]).status.code(), Some(1));
    assert_eq!(server.cli(&["rules", "try", "acme"]).status.code(), Some(2));
}

/// So many at once, each with a file of 1,000 bytes; how many landed.
fn crowd(server: &Server, writers: usize) -> usize {
    let bytes = pattern(1_000);
    std::thread::scope(|scope| {
        for writer in 0..writers {
            let (server, bytes) = (&server, &bytes);
            scope.spawn(move || {
                if writer % 2 == 0 {
                    ftp(server).upload(&format!("STOR {writer}.bin"), bytes);
                } else {
                    sftp(server).put(&format!("{writer}.bin"), bytes).ok();
                }
            });
        }
    });
    std::fs::read_dir(server.home("acme")).unwrap().count()
}

#[test]
fn fifty_writers_at_a_limit_overshoot_by_nothing() {
    for (flags, room) in
        [(["--quota-bytes", "10500"], 10), (["--quota-files", "7"], 7), (["--max-uploads-per-day", "5"], 5)]
    {
        let server = Server::start();
        server.cli(&["user", "set", "acme", flags[0], flags[1]]).ok();
        let landed = crowd(&server, 50);
        assert!(landed <= room, "{flags:?}: {landed}");
        // What was refused in the crowd has given its place back.
        for index in landed..room {
            ftp(&server).upload(&format!("STOR late-{index}.bin"), &pattern(1_000)).expect(226);
        }
        ftp(&server).upload("STOR more.bin", &pattern(1_000)).expect(552);
        assert_eq!(server.landed().len(), room, "{flags:?}");
    }
}

/// The day's count is the ledger's: a restart does not begin it anew.
#[test]
fn the_days_files_survive_a_restart() {
    let mut server = Server::start();
    server.cli(&["user", "set", "acme", "--max-uploads-per-day", "2"]).ok();
    ftp(&server).upload("STOR a.bin", b"a").expect(226);
    server.stop();
    server.start_again();
    sftp(&server).put("b.bin", b"b").unwrap();
    assert!(
        ftp(&server).upload("STOR c.bin", b"c").expect(552).text.contains("2 files of this account have landed today")
    );
}

/// Lower bounds only: a slow machine is slower, never faster.
#[test]
fn a_rate_is_kept_each_way_and_on_both_protocols() {
    let server = Server::start();
    server.cli(&["user", "set", "acme", "--max-bytes-per-second", "1MB"]).ok();
    let bytes = pattern(2_000_000);
    // Half a second's worth is free, and what comes last is not waited for.
    let least = Duration::from_secs(1);
    let timed = |what: &dyn Fn()| {
        let began = Instant::now();
        what();
        assert!(began.elapsed() >= least, "{:?}", began.elapsed());
    };
    timed(&|| drop(ftp(&server).upload("STOR a.bin", &bytes).expect(226)));
    std::thread::sleep(Duration::from_secs(1));
    timed(&|| sftp(&server).put("b.bin", &bytes).unwrap());
    timed(&|| assert!(ftp(&server).download("RETR a.bin").0 == bytes));
    std::thread::sleep(Duration::from_secs(1));
    timed(&|| assert!(sftp(&server).get("b.bin").unwrap() == bytes));
}

#[test]
fn places_have_permissions_of_their_own() {
    let server = Server::start();
    let paths = ["user", "set", "acme", "--permissions", "list", "--path-permissions", "/in=dropbox"];
    server.cli(&paths).ok();
    server
        .cli(&["user", "set", "acme", "--path-permissions", "/in=dropbox", "--path-permissions", "/out=list,read"])
        .ok();
    for place in ["in", "out"] {
        std::fs::create_dir_all(server.home("acme").join(place)).unwrap();
    }
    std::fs::write(server.home("acme").join("out/report.csv"), "a,b\n").unwrap();
    let (mut ftp, sftp) = (ftp(&server), sftp(&server));
    ftp.upload("STOR in/a.bin", b"a").expect(226);
    sftp.put("in/b.bin", b"b").unwrap();
    ftp.upload("STOR a.bin", b"a").expect(550);
    ftp.upload("STOR out/a.bin", b"a").expect(550);
    assert_eq!(ftp.download("RETR out/report.csv").0, b"a,b\n");
    assert!(sftp.get("in/b.bin").is_err());
    assert!(sftp.list("in").is_err());
    assert_eq!(sftp.list("out").unwrap(), ["report.csv"]);
    let shown = server.cli(&["user", "show", "acme"]).ok().stdout;
    assert!(shown.contains("/in=dropbox; /out=list,read"), "{shown}");
}

#[test]
fn the_ledger_is_found_by_path_content_and_time() {
    let server = Server::start();
    let mut ftp = ftp(&server);
    for name in ["a.jpg", "b.jpg", "[c].txt"] {
        ftp.upload(&format!("STOR {name}"), name.as_bytes()).expect(226);
    }
    ftp.upload("STOR again.jpg", b"a.jpg").expect(226);
    let asked = |flags: &[&str]| {
        let mut command = vec!["uploads", "--json"];
        command.extend(flags);
        let rows = server.cli(&command).ok().stdout;
        let rows = rows.lines().map(|row| serde_json::from_str::<serde_json::Value>(row).unwrap());
        rows.map(|row| row["path"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(asked(&["--path", "*.jpg"]), ["/a.jpg", "/b.jpg", "/again.jpg"]);
    assert_eq!(asked(&["--path", "/[c].*"]), ["/[c].txt"]);
    assert_eq!(asked(&["--sha256", &landfall_tests::sha256(b"a.jpg")]), ["/a.jpg", "/again.jpg"]);
    assert_eq!(asked(&["--user", "acme", "--status", "landed", "--since", "1h", "--limit", "1"]), ["/again.jpg"]);
    assert_eq!(asked(&["--until", "1h"]), Vec::<String>::new());
    assert_eq!(asked(&["--since", "2099-01-01"]), Vec::<String>::new());
    assert!(server.cli(&["uploads"]).ok().stdout.contains("same content landed before as /a.jpg"));

    let csv = server.cli(&["uploads", "--csv", "--path", "*again*"]).ok().stdout;
    let lines: Vec<&str> = csv.split("\r\n").collect();
    assert_eq!(lines.len(), 3, "{csv}");
    assert!(lines[0].starts_with("seq,id,user,path,size,sha256,same_as,protocol,"), "{csv}");
    assert!(lines[1].contains(",acme,/again.jpg,5,") && lines[1].contains(",/a.jpg,ftp,"), "{csv}");
    assert_eq!(server.cli(&["uploads", "--csv", "--json"]).status.code(), Some(2));
    assert_eq!(server.cli(&["uploads", "--sha256", "abc"]).status.code(), Some(2));
}

#[test]
fn rows_go_when_their_time_is_over_and_suspended_ones_stay() {
    let mut server = Server::builder().set("ledger.retention", r#""1s""#).start();
    server.add_user("acme", PASSWORD);
    ftp(&server).upload("STOR a.bin", b"a").expect(226);
    let client = sftp(&server);
    let mut file = client.create("b.bin").unwrap();
    file.write(&pattern(10_000)).unwrap();
    client.cut();
    drop(file);
    wait_until("both rows", || (server.ledger().len() == 2).then_some(()));
    server.stop();
    std::thread::sleep(Duration::from_millis(1_100));
    // The first look is at the start.
    server.start_again();
    let left = wait_until("the old row to go", || Some(server.ledger()).filter(|rows| rows.len() == 1));
    assert_eq!((&*left[0].path, &*left[0].status), ("/b.bin", "suspended"));
    assert!(server.home("acme").join("a.bin").exists());
}
