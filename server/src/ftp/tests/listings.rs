//! LIST, NLST, MLSD, STAT with a path: flags, odd names, links, order, what is below, and how they are stopped.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;

use super::*;

fn sorted(text: &str) -> Vec<&str> {
    let mut lines: Vec<&str> = text.lines().collect();
    lines.sort_unstable();
    lines
}

/// Where names begin in LIST.
const NAME_COLUMN: usize = 59;

/// The last columns of `ls -l` lines.
fn names(long: &str) -> Vec<&str> {
    long.lines().filter(|line| line.len() > NAME_COLUMN).map(|line| &line[NAME_COLUMN..]).collect()
}

impl Client {
    /// The reply of a listing that is told not to be whole, or not to be as it was asked for.
    #[track_caller]
    fn remarked(&mut self, line: &str) -> (String, String) {
        let mut text = String::new();
        self.begin(line).read_to_string(&mut text).unwrap();
        (text, self.reply())
    }
}

#[test]
fn flags_paths_and_hidden_names() {
    let rig = Rig::new();
    let mut client = rig.client();
    for (directory, file) in [("-la", "dash"), (" led", "blank"), ("a b", "inner"), (".h", "hidden"), ("a*", "star")] {
        client.expect(&format!("MKD {directory}"), 257);
        client.upload(&format!("STOR {directory}/{file}"), b"x");
    }
    for (argument, file) in [
        ("-- -la", "dash"),
        ("./-la", "dash"),
        ("-a -- -la", "dash"),
        (" led", "blank"),
        ("-l  led", "blank"),
        ("-a a b", "inner"),
        ("-al /a b", "inner"),
        ("-la .h", "hidden"),
        ("a*", "star"),
    ] {
        let long = client.listed(&format!("LIST {argument}"));
        assert_eq!(names(&long), [file], "{argument}: {long}");
        let bare = client.listed(&format!("NLST {argument}"));
        assert!(bare.lines().count() == 1 && bare.trim_end().ends_with(&format!("/{file}")), "{argument}: {bare}");
    }
    for argument in ["", " ", " -a", " -la", " -al", " -a -l", " -F", " ."] {
        let long = client.listed(&format!("LIST{argument}"));
        let mut told = names(&long);
        told.sort_unstable();
        assert_eq!(told, [" led", "-la", ".h", "a b", "a*"], "LIST{argument}: {long}");
    }
    assert_eq!(sorted(&client.listed("NLST")), [" led", "-la", ".h", "a b", "a*"]);
    assert_eq!(client.listed("MLSD").lines().count(), 5);
}

#[test]
fn newest_first() {
    let rig = Rig::new();
    let mut client = rig.client();
    for (name, time) in [("b", "20200101000000"), ("c", "20220101000000"), ("a", "20210101000000")] {
        client.upload(&format!("STOR {name}"), b"x");
        client.expect(&format!("MFMT {time} {name}"), 213);
    }
    assert_eq!(names(&client.listed("LIST -t")), ["c", "a", "b"]);
    assert_eq!(names(&client.listed("LIST -latr")), ["b", "a", "c"]);
    assert_eq!(client.listed("NLST -t"), "c\r\na\r\nb\r\n");
    for number in 0..10_000 {
        std::fs::write(rig.file(&format!("{number:05}.jpg")), b"").unwrap();
    }
    let (text, reply) = client.remarked("NLST -t");
    assert_eq!(text.lines().count(), 10_003);
    assert_eq!(reply, "226 All sent; not sorted, for there are more than 10000 names\r\n");
}

#[test]
fn what_is_below() {
    let rig = Rig::new();
    let mut client = rig.client();
    for directory in ["in", "in/deep", "in/deep/er"] {
        client.expect(&format!("MKD {directory}"), 257);
        client.upload(&format!("STOR {directory}/a.jpg"), b"x");
    }
    // An operator's link that leads back.
    symlink("../..", rig.file("in/deep/back")).unwrap();
    let long = client.listed("LIST -lRa");
    let headings: Vec<&str> = long.lines().filter(|line| line.ends_with(':')).collect();
    // Each directory once, and what the link leads to where the link stands.
    assert_eq!(headings[..2], ["./in:", "./in/deep:"], "{long}");
    assert!(long.contains("\r\n\r\n./in/deep:\r\n"), "{long}");
    assert_eq!(sorted(&headings[2..].join("\n")), ["./in/deep/back:", "./in/deep/er:"], "{long}");
    assert!(client.listed("LIST -R in").contains("\r\n\r\nin/deep/er:\r\n-rw"));
    let bare = client.listed("NLST -R in/deep");
    assert!(bare.lines().any(|line| line == "in/deep/er/a.jpg"), "{bare}");
    // Each name that it tells can be asked for.
    assert_eq!(client.download("RETR in/deep/er/a.jpg"), b"x");
    // Deeper than it goes: what is missing must not look like nothing.
    std::fs::create_dir_all(rig.file(&"d/".repeat(20))).unwrap();
    let (text, reply) = client.remarked("LIST -R d");
    assert!(reply.starts_with("451 Names are missing: -R goes 16 directories deep"), "{reply}");
    assert!(text.lines().filter(|line| line.ends_with(':')).count() < 20);
    assert!(client.expect("STAT -R d", 212).ends_with("212 End\r\n"));
}

#[test]
fn names_that_no_client_could_say_are_not_told() {
    let rig = Rig::new();
    let mut client = rig.client();
    client.upload("STOR caf\u{e9}.jpg", b"x");
    for odd in [b"caf\xe9.jpg".as_slice(), b"a\nb", b"a\r\n-rw-r--r--", b"\x1b[2J", b"\x7f", "\u{85}".as_bytes()] {
        std::fs::write(rig.file("").join(OsStr::from_bytes(odd)), b"x").unwrap();
    }
    for line in ["LIST", "NLST", "MLSD", "LIST *", "NLST -t", "LIST -R"] {
        let text = client.listed(line);
        assert!(text.lines().count() == 1 && text.ends_with("caf\u{e9}.jpg\r\n"), "{line}: {text:?}");
    }
    let status = client.expect("STAT .", 212);
    assert_eq!(status.lines().count(), 3, "{status:?}");
}

#[test]
fn links_are_what_they_lead_to_inside_and_nothing_outside() {
    let rig = Rig::new();
    let mut client = rig.client();
    client.expect("MKD real", 257);
    client.upload("STOR real/a.jpg", b"hello");
    for (target, name) in
        [("real", "dir"), ("real/a.jpg", "file"), ("/etc/passwd", "out"), ("nowhere", "dangling"), ("loop", "loop")]
    {
        symlink(target, rig.file(name)).unwrap();
    }
    rustix::fs::mkfifoat(rustix::fs::CWD, rig.file("fifo"), rustix::fs::Mode::RUSR).unwrap();
    let long = client.listed("LIST");
    let letter = |name: &str| {
        let line = long.lines().find(|line| line.ends_with(&format!(" {name}"))).unwrap();
        (line.as_bytes()[0], line[33..45].trim() == "5")
    };
    assert_eq!(letter("dir"), (b'd', false));
    assert_eq!(letter("file"), (b'-', true));
    for name in ["out", "dangling", "loop", "fifo"] {
        assert_eq!(letter(name), (b's', false), "{long}");
        let facts = client.expect(&format!("MLST {name}"), 250);
        assert!(facts.contains(" type=OS.unix=other;"), "{facts}");
        client.passive();
        client.expect(&format!("RETR {name}"), 550);
        client.expect(&format!("CWD {name}"), 550);
        client.send(format!("MLSD {name}\r\n").as_bytes());
        let reply = client.reply();
        assert!(reply.starts_with("550 ") || reply.starts_with("501 "), "{name}: {reply}");
    }
    assert!(!long.contains("->") && !long.contains("passwd"), "{long}");
    assert!(client.listed("MLSD dir").contains("type=file;size=5;"));
    assert_eq!(client.download("RETR file"), b"hello");
}

#[test]
fn stat_tells_names_and_not_too_many() {
    let rig = Rig::new();
    let mut client = rig.client();
    client.expect("MKD in", 257);
    for number in 0..1_001 {
        std::fs::write(rig.file(&format!("in/{number:04}.jpg")), b"").unwrap();
    }
    assert!(client.expect("STAT in/0007.jpg", 213).ends_with(" 0007.jpg\r\n213 End\r\n"));
    assert!(client.expect("STAT -l in/000?.jpg", 212).ends_with("\r\n212 End\r\n"));
    let status = client.expect("STAT in", 212);
    assert_eq!(status.lines().count(), 1_002);
    assert!(status.ends_with("212 These are not all; LIST tells all\r\n"));
    client.expect("STAT missing", 550);
    assert_eq!(client.expect("STAT missing*", 212), "212 No names\r\n");
    client.expect("STAT missing/*", 550);
}

#[test]
fn the_owners_suspended_upload_is_told_in_every_form() {
    let rig = Rig::new();
    let mut client = rig.client();
    client.expect("MKD in", 257);
    client.expect("ALLO 10", 200);
    assert!(client.upload("STOR in/a.jpg", b"half").starts_with("451 "));
    assert!(client.listed("LIST in").starts_with("--w-------   1 acme     acme                4 "));
    assert!(client.listed("LIST in/a.jpg").starts_with("--w-------   1 acme     acme                4 "));
    assert_eq!(client.listed("NLST in"), "in/a.jpg\r\n");
    assert!(client.listed("MLSD in").starts_with("type=file;size=4;"));
    assert!(client.expect("STAT in", 212).contains("\r\n --w-------   1 acme "));
    assert_eq!(names(&client.listed("LIST -R"))[1], "a.jpg");
}

/// Enough names that no buffers on the way hold them all.
fn many_names(rig: &Rig) {
    for number in 0..30_000 {
        std::fs::File::create(rig.file(&format!("{number:0200}.jpg"))).unwrap();
    }
}

/// Begins a listing that is read so slowly that it stands still.
fn begin_slowly(client: &mut Client, line: &str) -> TcpStream {
    let address = client.passive();
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(2_048).unwrap();
    socket.connect(&address.into()).unwrap();
    client.expect(line, 150);
    socket.into()
}

#[test]
fn a_listing_is_stopped_by_abor_and_by_the_end_of_its_client() {
    let rig = Rig::with(|_, limits| limits.transfers = 1);
    let mut client = rig.client();
    client.upload("STOR a.jpg", b"x");
    many_names(&rig);
    for line in ["LIST", "NLST", "MLSD", "LIST -t", "LIST -R"] {
        let _data = begin_slowly(&mut client, line);
        client.expect("NOOP", 200);
        assert!(client.expect("STAT", 211).contains(&format!(" {}\r\n", &line[..4])));
        client.expect("ABOR", 426);
        client.heard(226);
    }
    for orderly in [true, false] {
        let data = begin_slowly(&mut client, "LIST");
        if !orderly {
            socket2::SockRef::from(client.wire.get_ref().socket()).set_linger(Some(Duration::ZERO)).unwrap();
        }
        client = rig.client();
        // The one place for transfers is free again, although the data connection still stands.
        until("a free place", || {
            client.passive();
            client.send(b"LIST a.jpg\r\n");
            client.reply().starts_with("150 ")
        });
        client.expect("ABOR", 426);
        client.heard(226);
        drop(data);
    }
    let _data = begin_slowly(&mut client, "LIST");
    client.send(b"QUIT\r\n");
    client.expect("ABOR", 426);
    client.heard(226);
    client.heard(221);
}
