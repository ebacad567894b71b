//! Attacks before the login and on it.

use landfall_tests::Ftp;

use super::{Attack, PASSWORD, World, all_hold, by, here};

pub(super) const ATTACKS: &[Attack] = &[
    by(
        "STARTTLS injection",
        "commands behind AUTH TLS in one packet, in clear",
        "thrown away; the session starts afresh",
        &[
            ("server/src/ftp/tests/login.rs", "what_came_before_the_handshake_is_forgotten"),
            ("tests/it/ftp_table/hostile.rs", "injection"),
        ],
    ),
    by(
        "login in clear",
        "USER and PASS where TLS is required",
        "530, not even a name is taken",
        &[("server/src/ftp/tests/login.rs", "tls_required_means_all_of_it")],
    ),
    here("CCC", "asks to go on in clear, and then goes on in clear", "534, 250 under TLS, closed in clear", ccc),
    by(
        "HTTP to the FTP port",
        "a page makes a browser send a POST with commands in its body",
        "not one line is answered",
        &[("server/src/ftp/tests/login.rs", "a_browser_is_not_answered")],
    ),
    here(
        "other protocols to the FTP port",
        "SSH's first line, a TLS ClientHello, SMTP, SIP, a PROXY line from a stranger, zeros",
        "nothing is done, others go on",
        other_protocols,
    ),
    here(
        "odd user names",
        "NUL, `..`, `/`, ESC, CR, overlong UTF-8 and 4,000 bytes in USER, with a right password",
        "331 530 for each, no directory made",
        odd_user_names,
    ),
    here(
        "user switch in mid-login",
        "USER of one, PASS of another, in every order, also in one packet",
        "only a pair that belongs together comes in",
        user_switch,
    ),
    here("USER after the login", "USER and PASS of another in a session", "530 503, still acme", user_after_login),
    here(
        "REIN and what was prepared",
        "PASV, RNFR, REST, then REIN and a login as another",
        "425 503, nothing is inherited",
        rein_inherits_nothing,
    ),
    here(
        "REIN during a transfer",
        "REIN and a login as another while a file comes in",
        "the file is the first one's, then the second is in",
        rein_during_transfer,
    ),
    here(
        "enumeration by replies",
        "a wrong password for a known, an unknown and a disabled name, and the right one of the disabled",
        "all replies are the same",
        enumeration,
    ),
    by(
        "pipelined guesses",
        "50 PASS behind one USER",
        "one verification",
        &[("server/src/ftp/tests/login.rs", "pipelined_passwords_are_one_try")],
    ),
    by(
        "guessing",
        "500 wrong passwords over all protocols",
        "throttled; nobody else is",
        &[("tests/it/guessing.rs", "five_hundred_wrong_passwords_are_throttled_and_harm_nobody")],
    ),
    here(
        "log injection by user names",
        "CR, ESC, quotes, U+2028 and a forged line in USER",
        "one line each, in which nothing is forged",
        log_injection,
    ),
    here(
        "secrets in what is written",
        "passwords right, wrong, in the wrong place and in the wrong case",
        "in no log, no file and no `config show`",
        secrets,
    ),
];

fn ccc(w: &World) -> String {
    let mut ftp = Ftp::connect_explicit(w.strict.address("ftp"), "acme", PASSWORD);
    let (refused, after) = (ftp.command("CCC").code, ftp.command("CWD /").code);
    let socket = ftp.socket().try_clone().unwrap();
    std::io::Write::write_all(&mut &socket, b"PWD\r\nSTOR a.jpg\r\n").unwrap();
    let last = ftp.reply().code;
    format!("{refused}, {after} under TLS, {} in clear", if last == 0 { "closed" } else { "answered" })
}

fn other_protocols(w: &World) -> String {
    let hello = [b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".as_slice(), &[7; 500]].concat();
    let zeros = vec![0; 100_000];
    let before = w.names();
    for bytes in [
        b"SSH-2.0-OpenSSH_9.9\r\n\x00\x00\x05\xdc\x06\x14".as_slice(),
        &hello,
        b"EHLO x\r\nMAIL FROM:<a@b>\r\nDATA\r\nSTOR a.jpg\r\n.\r\n",
        b"INVITE sip:a@b SIP/2.0\r\nVia: x\r\n\r\nDELE own.jpg\r\n",
        b"PROXY TCP4 10.0.0.1 10.0.0.2 1 2\r\nDELE own.jpg\r\n",
        &zeros,
    ] {
        let mut ftp = w.stranger();
        ftp.send_raw(bytes);
        ftp.send_raw(b"\r\nQUIT\r\n");
        loop {
            let reply = ftp.reply();
            if reply.code == 0 || reply.code == 221 {
                break;
            }
            if !(500..=530).contains(&reply.code) {
                return format!("{bytes:?}: {}", reply.text);
            }
        }
    }
    w.login().command("SIZE own.jpg").expect(213);
    all_hold("nothing is done, others go on", &if w.names() == before { vec![] } else { vec!["files".to_owned()] })
}

fn odd_user_names(w: &World) -> String {
    let long = "a".repeat(4_000);
    let names: [&[u8]; 14] = [
        b"acme\0",
        b"acme\0neighbour",
        b"\0acme",
        b"../acme",
        b"acme/..",
        b"./acme",
        b"acme/",
        b" acme",
        b"acme ",
        b"acme\x1b[2J",
        b"ac\rme",
        b"acm\xc1\xa5",
        b"acme\xff",
        long.as_bytes(),
    ];
    let before = w.around();
    let mut exceptions = Vec::new();
    for (number, name) in names.iter().enumerate() {
        let mut ftp = w.stranger_from(100 + u8::try_from(number).unwrap());
        ftp.send_raw(&[b"USER ", *name, b"\r\n"].concat());
        let first = ftp.reply().code;
        let second = ftp.command(&format!("PASS {PASSWORD}")).code;
        if (first, second) != (331, 530) {
            exceptions.push(format!("{}: {first} {second}", name.escape_ascii()));
        }
    }
    if w.around() != before {
        exceptions.push("something was made".to_owned());
    }
    all_hold("331 530 for each, no directory made", &exceptions)
}

fn user_switch(w: &World) -> String {
    let mut exceptions = Vec::new();
    let own = format!("PASS {PASSWORD}");
    let scripts: [(&[&str], bool); 7] = [
        (&["USER acme", "USER neighbour", &own], false),
        (&["USER neighbour", "USER acme", &own], true),
        (&["USER acme", "PASS secret-of-neighbour", "USER neighbour", &own], false),
        (&["USER acme", "PASS wrong", &own], false),
        (&["USER acme", "REIN", &own], false),
        (&["USER nobody", "PASS wrong", "USER acme", &own], true),
        (&["USER disabled", &own, "USER acme", "PASS secret-of-disabled"], false),
    ];
    for (number, (script, comes_in)) in scripts.into_iter().enumerate() {
        for one_packet in [false, true] {
            let mut ftp = w.stranger_from(120 + u8::try_from(number).unwrap() * 2 + u8::from(one_packet));
            if one_packet {
                ftp.send_raw(format!("{}\r\n", script.join("\r\n")).as_bytes());
            }
            let mut last = 0;
            for line in script {
                last = if one_packet { ftp.reply().code } else { ftp.command(line).code };
            }
            let status = ftp.command("STAT").text;
            if (last == 230) != comes_in || status.contains("Logged in as acme") != comes_in {
                exceptions.push(format!("{script:?}: {last}, {status}"));
            }
        }
    }
    all_hold("only a pair that belongs together comes in", &exceptions)
}

fn user_after_login(w: &World) -> String {
    let mut ftp = w.login();
    let (user, pass) = (ftp.command("USER neighbour").code, ftp.command("PASS secret-of-neighbour").code);
    let acme = ftp.command("STAT").text.contains("Logged in as acme") && ftp.command("SIZE own.jpg").code == 213;
    format!("{user} {pass}, {}", if acme { "still acme" } else { "somebody else" })
}

fn rein_inherits_nothing(w: &World) -> String {
    let mut ftp = w.login();
    let data = ftp.open_data();
    ftp.command("RNFR own.jpg").expect(350);
    ftp.command("REST 5").expect(350);
    ftp.command("CWD /").expect(250);
    ftp.command("REIN").expect(220);
    ftp.login("neighbour", "secret-of-neighbour").expect(230);
    let transfer = ftp.command("STOR inherited.jpg").code;
    let rename = ftp.command("RNTO stolen.jpg").code;
    drop(data);
    // REST would have been refused here: nothing is suspended under that name.
    ftp.upload("STOR fresh.jpg", b"whole").expect(226);
    ftp.command("DELE fresh.jpg").expect(250);
    format!("{transfer} {rename}, nothing is inherited")
}

fn rein_during_transfer(w: &World) -> String {
    let mut ftp = w.login();
    let mut data = ftp.begin("STOR rein.jpg");
    ftp.send_raw(b"REIN\r\nUSER neighbour\r\nPASS secret-of-neighbour\r\n");
    data.write(b"acme's");
    data.finish();
    let codes: Vec<u16> = (0..4).map(|_| ftp.reply().code).collect();
    let own = std::fs::read(w.home().join("rein.jpg")).is_ok_and(|bytes| bytes == b"acme's");
    let now = ftp.command("STAT").text;
    if codes == [226, 220, 331, 230] && own && now.contains("Logged in as neighbour") {
        return "the file is the first one's, then the second is in".to_owned();
    }
    format!("{codes:?}, {now}")
}

fn enumeration(w: &World) -> String {
    let mut heard = Vec::new();
    for (last, (user, password)) in
        [("acme", "wrong"), ("nobody", "wrong"), ("disabled", "wrong"), ("disabled", "secret-of-disabled")]
            .into_iter()
            .enumerate()
    {
        let mut ftp = w.stranger_from(140 + u8::try_from(last).unwrap());
        let claimed = ftp.command(&format!("USER {user}")).text;
        let refused = ftp.command(&format!("PASS {password}")).text;
        heard.push((claimed, refused, ftp.command("PWD").text));
    }
    if heard.iter().all(|one| *one == heard[0]) { "all replies are the same".to_owned() } else { format!("{heard:?}") }
}

fn log_injection(w: &World) -> String {
    let names =
        ["a\u{1b}[2Jb", "a\r2030-01-01T00:00:00Z INFO login user=root", "a\", \"level\":\"x", "a\u{2028}b\u{202e}c"];
    for (number, name) in names.iter().enumerate() {
        w.stranger_from(150 + u8::try_from(number).unwrap()).login(name, "wrong").expect(530);
    }
    let log = World::log(&w.open);
    let attempts = log.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let users: Vec<String> =
        attempts.filter_map(|line| line.get("user").and_then(|user| user.as_str().map(str::to_owned))).collect();
    let missing: Vec<String> =
        names.iter().map(|name| format!("{name:?}")).filter(|name| !users.contains(name)).collect();
    let forged = log.chars().any(|c| c.is_control() && c != '\n');
    if forged {
        "a control character".to_owned()
    } else {
        all_hold("one line each, in which nothing is forged", &missing)
    }
}

fn secrets(w: &World) -> String {
    const WRONG: &str = "canary-that-was-wrong";
    let mut ftp = w.stranger();
    ftp.command(&format!("PASS {WRONG}")).expect(503);
    ftp.command("USER acme").expect(331);
    ftp.command(&format!("pass {WRONG}")).expect(530);
    ftp.command("USER acme").expect(331);
    ftp.command(&format!("PASS {PASSWORD}")).expect(230);
    ftp.command(&format!("PASS {WRONG}")).expect(503);
    ftp.command(&format!("XPASS {WRONG}")).expect(500);
    let mut data = ftp.begin("STOR while.jpg");
    ftp.send(&format!("PASS {WRONG}"));
    data.write(b"bytes");
    data.finish();
    ftp.reply().expect(226);
    ftp.reply().expect(503);
    let mut written = w.open.log().into_bytes();
    written.extend(w.open.cli(&["config", "show"]).ok().stdout.into_bytes());
    let mut found = std::collections::BTreeMap::new();
    super::read(&w.open.data(), &mut found);
    written.extend(found.into_values().flatten());
    let shown = [WRONG, PASSWORD]
        .iter()
        .filter(|secret| written.windows(secret.len()).any(|window| window == secret.as_bytes()));
    all_hold("in no log, no file and no `config show`", &shown.map(|secret| (*secret).to_owned()).collect::<Vec<_>>())
}
