//! Attacks by names: out of the jail, into the log, over other names, and those that ask for too much.

use landfall_tests::Ftp;

use super::{Attack, CANARY_BYTES, World, all_hold, by, here};

pub(super) const ATTACKS: &[Attack] = &[
    here(
        "the server's own names",
        "staging folder, database, key and configuration, before anybody has made files of these names",
        "not there",
        own_names,
    ),
    here(
        "out of the jail, by commands",
        "5,000 generated names, each with CWD, DELE, RMD, MKD, RNFR, RNTO, SIZE, MDTM, MFMT, MLST, STAT, SITE CHMOD",
        "nothing outside is changed, made or seen",
        jail_by_commands,
    ),
    here(
        "out of the jail, by transfers",
        "names of the same kinds, each with STOR, APPE, STOU, RETR, LIST, NLST, MLSD",
        "nothing outside is changed, made or seen",
        jail_by_transfers,
    ),
    here(
        "out of the jail, by renaming",
        "RNFR of links and of own files, RNTO to where no supplier may come",
        "nothing outside is changed, made or seen",
        jail_by_renaming,
    ),
    by(
        "swaps of links",
        "directories swapped for links at any instant of a verb",
        "no access outside",
        &[("storage/src/tests/hostile.rs", "a_directory_swapped_for_a_link_at_any_instant_leads_nowhere")],
    ),
    by(
        "names that are none",
        "not UTF-8, NUL, ESC, CR, DEL, 256 bytes, in every verb that takes a name",
        "553 by name, never altered; one escaped line in the log",
        &[("server/src/ftp/tests/verbs.rs", "names_that_are_none")],
    ),
    by(
        "names that look alike",
        "the two normal forms of one letter",
        "two files",
        &[("server/src/ftp/tests/verbs.rs", "names_that_are_none")],
    ),
    here(
        "log injection by names",
        "CR, LF, ESC, quotes, line separators and text of another direction in names",
        "one line each, in which nothing is forged",
        log_injection,
    ),
    here(
        "a listing forged by an operator's file",
        "a file whose name has a line end in it, under LIST, NLST, MLSD, STAT",
        "left out",
        forged_listing,
    ),
    here(
        "glob bombs",
        "`LIST */../*/..`, thousands of stars, stars between letters, over names that nearly match",
        "answered, no name that does not match, others go on",
        glob_bombs,
    ),
    here(
        "LIST -R on a loop of links",
        "LIST -R, NLST -R, STAT -R of a link to itself and of one to its own directory",
        "each ends, within bounds",
        link_loops,
    ),
    here("MKD without end", "MKD and CWD deeper and deeper, by steps and in one path", "553 from the 65th on", depth),
    here(
        "SITE abuse",
        "EXEC, CPFR and CPTO, SYMLINK, set-id and odd modes, 4,000 bytes, nothing at all",
        "501, 504 or 553 for each, no mode beyond 777",
        site,
    ),
];

/// Ways to say "out of here", and words to go on with.
pub(super) fn hostile_names() -> Vec<String> {
    let up = [
        "../",
        "../../",
        "../../../../../../../../",
        "/../",
        "/../../",
        "./../",
        ".//..//",
        "in/../../",
        "in/../../../",
        "....//",
        "..././",
        "..\\",
        "..\\..\\",
        "%2e%2e/",
        "%2e%2e%2f",
        "%252e%252e/",
        "..%2f",
        "..%5c",
        "..;/",
        "\u{2024}\u{2024}/",
        "\u{ff0e}\u{ff0e}/",
        "..\u{2215}",
        "..\u{ff0f}",
        "~/",
        "~root/",
        "~neighbour/",
        "door/",
        "door/../",
        "door/./",
        "round/round/../../",
        "round/door/",
        "loop/",
        "/",
        "//",
        "///",
        "/./",
        "-/",
        "-la ../",
        "\"../\"",
        "`../`",
        "$(../)",
        "$HOME/",
        "${HOME}/",
        "C:/",
        "C:\\",
        "\\\\host\\share\\",
        "file:///",
        "key.jpg/",
        "own.jpg/../../",
        "*/../",
        "?/../",
        "[.][.]/",
        "{..}/",
        " ../",
        ".. /",
        "../ ",
    ];
    let targets = [
        "neighbour/canary.jpg",
        "neighbour",
        "neighbour/",
        "files/neighbour/canary.jpg",
        "outside/canary.jpg",
        "outside",
        "outside/made-by-attack",
        "../outside/canary.jpg",
        "canary.jpg",
        "etc/passwd",
        "etc/shadow",
        "proc/self/environ",
        "proc/self/root/etc/passwd",
        "dev/null",
        "dev/zero",
        "data/landfall.db",
        "landfall.toml",
        "data/tls/key.pem",
        "data/staging",
        ".",
        "..",
        "",
        "made-by-attack",
        "acme",
        "acme/../neighbour/canary.jpg",
        "root/.ssh/authorized_keys",
    ];
    let ends = ["", "/", "/.", "/..", ".", " ", "%00", "%00.jpg", ";type=i", "?", "#", "\\", ":$DATA", "~"];
    let mut names = Vec::new();
    for (number, up) in up.iter().enumerate() {
        for (at, target) in targets.iter().enumerate() {
            for step in 0..4 {
                let end = ends[(number + at * 5 + step * 3) % ends.len()];
                names.push(format!("{up}{target}{end}"));
            }
        }
    }
    names.truncate(5_000);
    names
}

/// Sends lines by the hundred and reads as many final replies; their texts.
fn pipelined(ftp: &mut Ftp, lines: &[String]) -> Vec<String> {
    let mut replies = Vec::new();
    for some in lines.chunks(100) {
        ftp.send_raw(format!("{}\r\n", some.join("\r\n")).as_bytes());
        replies.extend(some.iter().map(|_| ftp.reply().text));
    }
    replies
}

fn jail_by_commands(w: &World) -> String {
    let names = hostile_names();
    assert_eq!(names.len(), 5_000);
    let before = w.around();
    let mut ftp = w.login();
    let mut exceptions = Vec::new();
    let forms: [fn(&str) -> [String; 3]; 4] = [
        |name| [format!("CWD {name}"), "CWD /".to_owned(), format!("DELE {name}")],
        |name| [format!("RNFR {name}"), format!("RNTO moved{}", name.len()), format!("SITE CHMOD 777 {name}")],
        |name| [format!("SIZE {name}"), format!("MDTM {name}"), format!("STAT {name}")],
        |name| [format!("MKD {name}"), format!("RMD {name}"), format!("MFMT 20010203040506 {name}")],
    ];
    for form in forms {
        let lines: Vec<String> = names.iter().flat_map(|name| form(name)).collect();
        let replies = pipelined(&mut ftp, &lines);
        exceptions.extend(seen(&lines, &replies));
    }
    if w.around() != before {
        exceptions.push("something outside has changed".to_owned());
    }
    restore(w);
    exceptions.truncate(5);
    all_hold("nothing outside is changed, made or seen", &exceptions)
}

/// Replies that tell of the canary, whose length is nobody else's, or of the system.
fn seen(lines: &[String], replies: &[String]) -> Vec<String> {
    let telling = lines.iter().zip(replies).filter(|(line, reply)| {
        let said = reply.replace(line.split_once(' ').map_or("", |(_, name)| name), "");
        said.contains(&CANARY_BYTES.to_string()) || said.contains("root:") || said.contains("landfall.db")
    });
    telling.map(|(line, reply)| format!("{line}: {reply}")).collect()
}

/// What the attacks have done inside, where they may, is undone for those that follow.
pub(super) fn restore(w: &World) {
    let home = w.home();
    for name in ["own.jpg", "door", "key.jpg", "loop", "round"] {
        drop(std::fs::remove_file(home.join(name)));
        drop(std::fs::remove_dir_all(home.join(name)));
    }
    w.furnish();
}

fn jail_by_transfers(w: &World) -> String {
    let before = w.around();
    let mut ftp = w.login();
    let mut exceptions = Vec::new();
    for name in hostile_names().iter().step_by(53) {
        for verb in ["STOR", "APPE", "STOU"] {
            ftp.upload(&format!("{verb} {name}"), b"made by an attack");
        }
        for verb in ["RETR", "LIST", "NLST", "MLSD"] {
            let (bytes, _) = ftp.download(&format!("{verb} {name}"));
            let text = String::from_utf8_lossy(&bytes);
            if text.contains("CCCC") || text.contains(&CANARY_BYTES.to_string()) || text.contains("root:") {
                exceptions.push(format!("{verb} {name}"));
            }
        }
    }
    if w.around() != before {
        exceptions.push("something outside has changed".to_owned());
    }
    restore(w);
    all_hold("nothing outside is changed, made or seen", &exceptions)
}

fn jail_by_renaming(w: &World) -> String {
    let before = w.around();
    let mut ftp = w.login();
    let mut exceptions = Vec::new();
    let own = ["own.jpg", "door", "key.jpg", "door/canary.jpg", "round", "loop", "/", ".", "../neighbour/canary.jpg"];
    let to = [
        "../own.jpg",
        "../../own.jpg",
        "/../neighbour/own.jpg",
        "door/own.jpg",
        "round/door/own.jpg",
        "key.jpg",
        "../../outside/canary.jpg",
        "moved/../../own.jpg",
        "",
        "/",
        "..",
        "door/",
        "loop/own.jpg",
    ];
    for from in own {
        for to in to {
            ftp.command(&format!("RNFR {from}"));
            ftp.command(&format!("RNTO {to}"));
            let (bytes, _) = ftp.download(&format!("RETR {}", to.rsplit('/').next().unwrap_or_default()));
            if bytes.contains(&b'C') {
                exceptions.push(format!("{from} to {to}"));
            }
        }
    }
    if w.around() != before {
        exceptions.push("something outside has changed".to_owned());
    }
    restore(w);
    all_hold("nothing outside is changed, made or seen", &exceptions)
}

fn log_injection(w: &World) -> String {
    let mut ftp = w.login();
    let names: [&[u8]; 8] = [
        b"a\x1b[2J\x1b]0;x\x07.jpg",
        b"a\r2030-01-01T00:00:00Z INFO landed user=acme.jpg",
        b"a\", \"message\":\"landed\", \"x\":\".jpg",
        "a\u{2028}INFO forged.jpg".as_bytes(),
        "a\u{202e}gpj.jpg".as_bytes(),
        b"a\xe9\n",
        b"\x00\x01\x02",
        b"a\x9b31m.jpg",
    ];
    for name in names {
        ftp.open_data().fin();
        ftp.send_raw(&[b"STOR ", name, b"\r\nPWD\r\n"].concat());
        while ftp.reply().code != 257 {}
    }
    let log = World::log(&w.open);
    let unreadable =
        log.lines().filter(|line| !line.is_empty() && serde_json::from_str::<serde_json::Value>(line).is_err()).count();
    if unreadable > 0 || log.chars().any(|c| c.is_control() && c != '\n') {
        return format!("{unreadable} forged lines");
    }
    "one line each, in which nothing is forged".to_owned()
}

fn forged_listing(w: &World) -> String {
    let forged = w.home().join("x\r\n-rw-r--r--   1 acme     acme                1 Jan  1 00:00 FORGED");
    std::fs::write(&forged, b"operator's").unwrap();
    let mut ftp = w.login();
    let mut shown: Vec<&str> = ["LIST", "NLST", "MLSD"]
        .into_iter()
        .filter(|verb| ftp.download(verb).0.windows(6).any(|w| w == b"FORGED"))
        .collect();
    if ftp.command("STAT /").text.contains("FORGED") {
        shown.push("STAT");
    }
    std::fs::remove_file(forged).unwrap();
    all_hold("left out", &shown.into_iter().map(str::to_owned).collect::<Vec<_>>())
}

fn glob_bombs(w: &World) -> String {
    let folder = w.home().join("many");
    std::fs::create_dir(&folder).unwrap();
    for number in 0..2_000 {
        std::fs::write(folder.join(format!("{}{number:04}", "a".repeat(240))), b"").unwrap();
    }
    let mut ftp = w.login();
    let mut exceptions = Vec::new();
    for pattern in [
        "*/../*/..".to_owned(),
        "*/*/*/*/*".to_owned(),
        "many/".to_owned() + &"*".repeat(250),
        "many/".to_owned() + &"*a".repeat(124) + "b",
        "many/".to_owned() + &"a*".repeat(124) + "b",
        "many/*".to_owned() + &"?".repeat(250),
        "many/".to_owned() + &"[a-z]".repeat(50),
        "many/{a,b}{a,b}{a,b}{a,b}{a,b}{a,b}".to_owned(),
        "*".repeat(4_000),
        "*/".repeat(2_000),
    ] {
        for verb in ["LIST", "NLST", "STAT"] {
            let line = format!("{verb} {pattern}");
            let (bytes, reply) = if verb == "STAT" { (Vec::new(), ftp.command(&line)) } else { ftp.download(&line) };
            let length = bytes.len() + reply.text.len();
            if reply.code < 200 || length > 1_000 && !pattern.ends_with("**") && !pattern.ends_with("..") {
                exceptions.push(format!("{verb} {:.30}: {}, {length} bytes", pattern, reply.code));
            }
        }
        w.login().command("NOOP").expect(200);
    }
    std::fs::remove_dir_all(folder).unwrap();
    all_hold("answered, no name that does not match, others go on", &exceptions)
}

fn link_loops(w: &World) -> String {
    let mut ftp = w.login();
    let mut exceptions = Vec::new();
    for name in ["loop", "round", "round/round/round/round", "/"] {
        for verb in ["LIST -R", "NLST -laR", "LIST -R -R"] {
            let (bytes, reply) = ftp.download(&format!("{verb} {name}"));
            let text = String::from_utf8_lossy(&bytes);
            if reply.code < 200 || text.lines().count() > 10_000 {
                exceptions.push(format!("{verb} {name}: {} lines", text.lines().count()));
            }
        }
        if ftp.command(&format!("STAT -R {name}")).code < 200 {
            exceptions.push(format!("STAT -R {name}"));
        }
    }
    all_hold("each ends, within bounds", &exceptions)
}

fn depth(w: &World) -> String {
    let mut ftp = w.login();
    let mut deepest = 0;
    let mut last = 0;
    for level in 1..=70 {
        last = ftp.command("MKD d").code;
        if last != 257 {
            break;
        }
        ftp.command("CWD d").expect(250);
        deepest = level;
    }
    let at_once = ftp.command(&format!("MKD /{}", "e/".repeat(65))).code;
    ftp.command("CWD /").expect(250);
    std::fs::remove_dir_all(w.home().join("d")).unwrap();
    // The home itself is one of the 64 that the storage allows.
    if at_once == 553 && (63..=64).contains(&deepest) {
        return format!("{last} from the 65th on");
    }
    format!("{last} from the {}th on, {at_once} at once", deepest + 1)
}

fn site(w: &World) -> String {
    use std::os::unix::fs::PermissionsExt;
    let mut ftp = w.login();
    let mut exceptions = Vec::new();
    let long = "x".repeat(4_000);
    for what in [
        "EXEC id",
        "EXEC /bin/sh",
        "CPFR /etc/passwd",
        "CPTO own.jpg",
        "SYMLINK /etc own",
        "LN -s /etc own",
        "UMASK 0",
        "CHMOD",
        "CHMOD 777",
        "CHMOD 4755 own.jpg",
        "CHMOD 7777 own.jpg",
        "CHMOD 1777 /",
        "CHMOD -1 own.jpg",
        "CHMOD 99999999999 own.jpg",
        "CHMOD u+s own.jpg",
        "CHMOD 0x1ff own.jpg",
        "CHOWN root own.jpg",
        "UTIME own.jpg",
        "UTIME 99999999999999 own.jpg",
        "UTIME 00000000000000 own.jpg",
        "IDLE 999999",
        "ZONE",
        "WHO",
        "INDEX",
        "MINFO",
        "CHECKSUM own.jpg",
        "CHMOD 777 a\u{1}",
        " ",
        "  CHMOD 777 own.jpg",
        &long,
    ] {
        let reply = ftp.command(&format!("SITE {what}"));
        if ![501, 504, 553].contains(&reply.code) {
            exceptions.push(format!("{what:.40}: {}", reply.text));
        }
    }
    let mode = w.home().join("own.jpg").metadata().unwrap().permissions().mode() & 0o7777;
    if mode > 0o777 {
        exceptions.push(format!("{mode:o}"));
    }
    all_hold("501, 504 or 553 for each, no mode beyond 777", &exceptions)
}

fn own_names(w: &World) -> String {
    let mut ftp = w.login();
    let mut exceptions = Vec::new();
    let before = w.around();
    for name in [
        ".landfall",
        ".landfall-staging",
        ".staging",
        "staging",
        "/staging",
        "data",
        "../data/landfall.db",
        "landfall.db",
        "landfall.toml",
        "tls/key.pem",
        ".landfall/staging",
    ] {
        for verb in ["SIZE", "MLST", "CWD", "RNFR", "DELE"] {
            let reply = ftp.command(&format!("{verb} {name}"));
            if reply.code < 500 {
                exceptions.push(format!("{verb} {name}: {}", reply.text));
            }
        }
        let (bytes, reply) = ftp.download(&format!("RETR {name}"));
        if reply.code < 500 || !bytes.is_empty() {
            exceptions.push(format!("RETR {name}: {}", reply.text));
        }
    }
    if w.around() != before {
        exceptions.push("something outside has changed".to_owned());
    }
    all_hold("not there", &exceptions)
}
