//! Every pure function of the FTP engine that takes a peer's bytes, held against a second, slower writing of its rule.
//! Opens no socket and no file.

use std::net::SocketAddr;
use std::time::UNIX_EPOCH;

use landfall::ftp::command::{Argument, Command, MAX_LINE_BYTES, ParseError, Verb, spec};
use landfall::ftp::lines::{Lines, TooLong};
use landfall::ftp::reply::{Reply, file_refused, quoted};
use landfall::ftp::{ascii, facts, ls, passive, time};
use landfall::{delivery, proxy, telemetry};
use landfall_storage::{Kind, Stat, VirtualPath};

/// Longest line of a reply with its line end: code and mark, the text, CRLF.
const MAX_REPLY_LINE_BYTES: usize = 4 + 4_096 + 2;

/// The first byte says where the stream is cut; the rest is what a control connection receives.
pub fn check(input: &[u8]) {
    let Some((cut, stream)) = input.split_first() else { return };
    let (lines, end) = lines_of(stream, usize::from(*cut) + 1);
    assert_eq!((&lines, &end), (&reference_lines(stream).0, &reference_lines(stream).1), "cut into {cut}");
    abor_takes_one_line(stream);
    for line in &lines {
        command(line);
    }
    proxy_header(stream, usize::from(*cut));
    texts(stream);
    text_conversion(stream, usize::from(*cut));
}

// --- lines ------------------------------------------------------------------------------------------------------

/// As the control connection does it: never more than there is room for, and lines taken as they come.
fn lines_of(stream: &[u8], step: usize) -> (Vec<Vec<u8>>, Result<(), TooLong>) {
    let (mut lines, mut found, mut rest) = (Lines::default(), Vec::new(), stream);
    loop {
        loop {
            let seen = lines.peek().map(<[u8]>::to_vec);
            match lines.take() {
                Ok(Some(line)) => {
                    assert_eq!(seen.as_ref(), Some(&line));
                    found.push(line);
                }
                Ok(None) => break,
                Err(too_long) => return (found, Err(too_long)),
            }
        }
        if rest.is_empty() {
            return (found, Ok(()));
        }
        let (now, later) = rest.split_at(step.min(lines.room()).min(rest.len()));
        assert!(!now.is_empty(), "room is only used up by a line that is too long");
        lines.push(now);
        rest = later;
    }
}

/// The rule in other words: Telnet sequences go where a line begins, a line ends with LF, one CR before it goes.
fn reference_lines(stream: &[u8]) -> (Vec<Vec<u8>>, Result<(), TooLong>) {
    let (mut found, mut line, mut at) = (Vec::new(), Vec::new(), 0);
    while let Some(&byte) = stream.get(at) {
        at += 1;
        if byte >= 240 && line.is_empty() {
            // Half a sequence goes as a whole one does; IAC before what is no command of Telnet goes alone.
            match (byte, stream.get(at)) {
                (240..=254, _) => {}
                (_, Some(255)) => {
                    line.push(255);
                    at += 1;
                }
                (_, Some(251..=254)) => at += 2,
                (_, Some(240..)) => at += 1,
                (_, Some(_) | None) => {}
            }
        } else if byte == b'\n' {
            if line.last() == Some(&b'\r') {
                line.pop();
            }
            if line.len() > MAX_LINE_BYTES {
                return (found, Err(TooLong));
            }
            found.push(std::mem::take(&mut line));
        } else {
            line.push(byte);
        }
        if line.len() >= MAX_LINE_BYTES + 2 {
            return (found, Err(TooLong));
        }
    }
    (found, Ok(()))
}

/// An ABOR that overtakes leaves all other lines as they were, in their order.
fn abor_takes_one_line(stream: &[u8]) {
    let mut lines = Lines::default();
    lines.push(stream);
    let is_abor = |line: &[u8]| line.trim_ascii_end().eq_ignore_ascii_case(b"ABOR");
    let (mut expected, end) = drained(lines);
    let found = expected.iter().position(|line| is_abor(line));
    if let Some(found) = found {
        expected.remove(found);
    }
    let mut lines = Lines::default();
    lines.push(stream);
    let taken = lines.take_abor();
    // Behind a line that is too long an ABOR may still be found: it ends the transfer, and then the line the session.
    if end.is_ok() {
        assert_eq!(taken, found.is_some());
        assert_eq!(drained(lines).0, expected);
    }
    let mut lines = Lines::default();
    lines.push(stream);
    lines.clear();
    assert_eq!(lines.peek(), None);
    assert_eq!(lines.take(), Ok(None));
}

fn drained(mut lines: Lines) -> (Vec<Vec<u8>>, Result<(), TooLong>) {
    let mut found = Vec::new();
    loop {
        match lines.take() {
            Ok(Some(line)) => found.push(line),
            Ok(None) => return (found, Ok(())),
            Err(too_long) => return (found, Err(too_long)),
        }
    }
}

// --- commands ---------------------------------------------------------------------------------------------------

fn command(line: &[u8]) {
    let word = line.split(|byte| *byte == b' ').next().unwrap_or_default();
    let rest = line.get(word.len() + 1..).unwrap_or_default();
    match Command::parse(line) {
        Ok(command) => {
            assert!(command.spec.name.as_bytes().eq_ignore_ascii_case(word));
            if command.spec.argument == Argument::None {
                assert!(command.argument.is_empty() && rest.iter().all(|byte| *byte == b' '));
            } else {
                assert_eq!(command.argument, rest, "an argument is never altered");
            }
            let again = [command.spec.name.as_bytes(), b" ", &command.argument].concat();
            assert_eq!(Command::parse(&again), Ok(command.clone()));
            if command.spec.verb == Verb::Pass {
                assert_eq!(format!("{command:?}"), "Command { name: \"PASS\", .. }");
            }
            arguments(&command.argument);
        }
        Err(ParseError::Empty) => assert!(word.is_empty()),
        Err(ParseError::Http | ParseError::Unknown | ParseError::NotOffered) => assert_eq!(spec(word), None),
        Err(ParseError::ArgumentMissing(spec)) => {
            assert!(spec.argument == Argument::Required && rest.is_empty());
        }
        Err(ParseError::ArgumentUnwanted(spec)) => {
            assert!(spec.argument == Argument::None && rest.iter().any(|byte| *byte != b' '));
        }
    }
}

fn arguments(argument: &[u8]) {
    let text = String::from_utf8_lossy(argument);
    if let Some(address) = passive::parse_port(&text) {
        let SocketAddr::V4(v4) = address else { panic!("PORT is for IPv4") };
        let canonical = passive::format_pasv(*v4.ip(), v4.port());
        assert_eq!(passive::parse_port(canonical.trim_matches(['(', ')'])), Some(address));
        assert_eq!(text.split(',').count(), 6);
    }
    if let Ok(address) = passive::parse_eprt(&text) {
        let family = if address.is_ipv4() { 1 } else { 2 };
        let canonical = format!("|{family}|{}|{}|", address.ip(), address.port());
        assert_eq!(passive::parse_eprt(&canonical), Ok(address));
    }
    if let Some(found) = time::parse(&text) {
        let whole = time::format(found);
        assert!(whole.len() == 14 && whole.bytes().all(|byte| byte.is_ascii_digit()));
        // All but the seconds, of which a leap second is told as the one before it.
        assert_eq!(whole.get(..12), text.get(..12));
        let again = time::parse(&whole).expect("what is written can be read");
        assert!(found.duration_since(again).is_ok_and(|fraction| fraction.as_secs() == 0));
        let mut column = Vec::new();
        time::write_listed(&mut column, found, again);
        time::write_listed(&mut column, again, UNIX_EPOCH);
        assert_eq!(column.len(), 24);
    }
    let chosen = facts::Chosen::parse(&text);
    assert_eq!(facts::Chosen::parse(&chosen.names()), chosen);
    assert_eq!(chosen.feature().replace('*', ""), facts::NAMES.map(|name| format!("{name};")).concat());
    if let Some(path) = ls::Wanted::parse(argument).path {
        assert!(!path.is_empty() && argument.ends_with(path));
    }
    glob(&text);
    path(argument);
}

/// The pattern is what stands before the first `/`, the name what stands behind it.
fn glob(text: &str) {
    let (pattern, name) = text.split_once('/').unwrap_or((text, "a.jpg"));
    let Some(mut glob) = ls::Glob::parse(pattern) else {
        assert!(!pattern.contains(['*', '?']));
        return;
    };
    let name: String = name.chars().take(300).collect();
    let pattern: Vec<char> = pattern.chars().collect();
    // Row by row: does the pattern up to here match the name up to there?
    let letters: Vec<char> = name.chars().collect();
    let mut matched = vec![false; letters.len() + 1];
    matched[0] = true;
    for wanted in pattern {
        let before = matched.clone();
        for at in 0..matched.len() {
            matched[at] = match wanted {
                '*' => before[at] || at > 0 && matched[at - 1],
                '?' => at > 0 && before[at - 1],
                wanted => at > 0 && before[at - 1] && letters[at - 1] == wanted,
            };
        }
    }
    assert_eq!(glob.matches(&name), Ok(matched[letters.len()]), "{text:?}");
}

fn path(name: &[u8]) {
    let directory = VirtualPath::parse("/in/box").expect("a path");
    let Ok(path) = directory.resolve_bytes(name) else { return };
    let text = std::str::from_utf8(name).expect("only UTF-8 is a path");
    assert!(!text.chars().any(char::is_control));
    let mut parts: Vec<&str> = if text.starts_with('/') { Vec::new() } else { vec!["in", "box"] };
    for part in text.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            // Byte by byte as it was sent: no case, no normal form, no blank is taken away.
            part => parts.push(part),
        }
    }
    assert_eq!(path.components().collect::<Vec<_>>(), parts);
    assert_eq!(VirtualPath::parse(path.as_str()), Ok(path));
}

// --- before the first command ----------------------------------------------------------------------------------

/// A header is decided by its own bytes: by none behind it, and not before its last one has come.
fn proxy_header(stream: &[u8], cut: usize) {
    let whole = proxy::parse(stream);
    match whole {
        Ok(Some((origin, length))) => {
            assert!((1..=proxy::MAX_HEADER_BYTES.min(stream.len())).contains(&length));
            assert_eq!(proxy::parse(&stream[..length]), whole);
            assert_eq!(proxy::parse(&stream[..length - 1]), Ok(None));
            if let proxy::Origin::Relayed { source, destination } = origin {
                assert!([source, destination].iter().all(|address| address.ip() == address.ip().to_canonical()));
            }
        }
        Ok(None) => assert!(stream.len() < proxy::MAX_HEADER_BYTES),
        Err(_) => {}
    }
    // What was no header before cannot become one by what follows.
    if proxy::parse(&stream[..cut.min(stream.len())]).is_err() {
        assert!(whole.is_err());
    }
}

// --- what is said and written -----------------------------------------------------------------------------------

fn texts(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes).into_owned();
    let lines: Vec<String> = text.split('|').map(str::to_owned).collect();
    one_reply(550, &Reply::new(550, text.clone()), 1);
    one_reply(211, &Reply::lines(211, text.clone(), lines.clone(), text.clone()), lines.len() + 2);
    let refusal = delivery::Refusal::new(delivery::Reason::Rule, text.clone());
    one_reply(553, &file_refused(&text, &refusal), 1);

    let quoted = quoted(&text);
    let inside = quoted.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).expect("quotes around it");
    assert_eq!(inside.replace("\"\"", "\""), text);
    assert_eq!(inside.matches('"').count(), 2 * text.matches('"').count());

    let shown = telemetry::printable(&text);
    assert!(!shown.chars().any(char::is_control));

    if ls::showable(&text) {
        let stat = Stat { kind: Kind::File, size: u64::MAX, modified: UNIX_EPOCH, mode: 0o644, inode: 1 };
        let mut line = Vec::new();
        ls::long(&mut line, &text, &stat, "acme", UNIX_EPOCH);
        assert!(line.ends_with(format!(" {text}\r\n").as_bytes()));
        assert_eq!(line.iter().filter(|byte| byte.is_ascii_control()).count(), 2);
    } else {
        assert!(text.chars().any(char::is_control));
    }
}

/// RFC 959 section 4.2: `code SP text CRLF`, or `code-text CRLF`, lines that begin with no code, `code SP text CRLF`.
fn one_reply(code: u16, reply: &Reply, line_count: usize) {
    let mut encoded = Vec::new();
    reply.encode(&mut encoded);
    let encoded = String::from_utf8(encoded).expect("replies are UTF-8");
    let lines: Vec<&str> = encoded.split_inclusive("\r\n").collect();
    assert_eq!(lines.len(), line_count, "{encoded:?}");
    for (number, line) in lines.iter().enumerate() {
        let text = line.strip_suffix("\r\n").expect("a line end");
        assert!(!text.chars().any(char::is_control) && line.len() <= MAX_REPLY_LINE_BYTES, "{line:?}");
        let start = match number {
            last if last + 1 == line_count => format!("{code} "),
            0 => format!("{code}-"),
            _ => " ".to_owned(),
        };
        assert!(text.starts_with(&start), "{encoded:?}");
    }
}

/// TYPE A: where the stream is cut changes nothing.
fn text_conversion(bytes: &[u8], cut: usize) {
    let (left, right) = bytes.split_at(cut.min(bytes.len()));
    let (mut stored, mut sent) = (Vec::new(), Vec::new());
    let (mut to_stored, mut to_network) = (ascii::ToStored::default(), ascii::ToNetwork::default());
    for part in [left, right] {
        to_stored.push(part, &mut stored);
        to_network.push(part, &mut sent);
    }
    to_stored.finish(&mut stored);
    let mut lf = Vec::new();
    for (at, byte) in bytes.iter().enumerate() {
        if *byte != b'\r' || bytes.get(at + 1) != Some(&b'\n') {
            lf.push(*byte);
        }
    }
    assert_eq!(stored, lf);
    let mut crlf = Vec::new();
    for (at, byte) in bytes.iter().enumerate() {
        if *byte == b'\n' && (at == 0 || bytes[at - 1] != b'\r') {
            crlf.push(b'\r');
        }
        crlf.push(*byte);
    }
    assert_eq!(sent, crlf);
}
