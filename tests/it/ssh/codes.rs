//! Verification codes beside passwords: asked for, sent behind the password, used once; and who learns nothing.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::hmac;
use landfall_tests::{Ftp, Server};
use tempfile::TempDir;

use super::{PASSWORD, Person};

const TYPED: [&str; 2] = ["-oPubkeyAuthentication=no", "-oPreferredAuthentications=keyboard-interactive"];
const UNASKED: [&str; 2] = ["-oPubkeyAuthentication=no", "-oPreferredAuthentications=password"];

/// An authenticator app, written from RFC 6238 and RFC 4648 alone.
struct App(Vec<u8>);

impl App {
    fn new(base32: &str) -> Self {
        let bits: String =
            base32.bytes().flat_map(|byte| format!("{:05b}", value(byte)).into_bytes()).map(char::from).collect();
        let bytes = bits.as_bytes().chunks_exact(8).map(|bits| std::str::from_utf8(bits).unwrap());
        Self(bytes.map(|bits| u8::from_str_radix(bits, 2).unwrap()).collect())
    }

    /// Two codes: one that is good for half a minute at least, and the one after it, which is good already.
    fn codes(&self) -> [String; 2] {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() / 30;
        [now, now + 1].map(|step| {
            let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, &self.0);
            let tag = hmac::sign(&key, &step.to_be_bytes());
            let offset = usize::from(tag.as_ref()[19] & 0xf);
            let number = u32::from_be_bytes(tag.as_ref()[offset..offset + 4].try_into().unwrap()) & 0x7fff_ffff;
            format!("{:06}", number % 1_000_000)
        })
    }
}

fn value(letter: u8) -> u8 {
    match letter {
        b'A'..=b'Z' => letter - b'A',
        b'2'..=b'7' => letter - b'2' + 26,
        _ => panic!("{} is not base32", char::from(letter)),
    }
}

fn enable(server: &Server, user: &str) -> App {
    let told = server.cli(&["user", "totp", user, "enable", "--json"]).ok().stdout;
    let told: serde_json::Value = serde_json::from_str(&told).unwrap();
    let secret = told["secret"].as_str().unwrap();
    let url = format!("otpauth://totp/Landfall:{user}?secret={secret}&issuer=Landfall");
    assert_eq!(told["url"], url);
    App::new(secret)
}

#[test]
fn a_code_is_asked_for_and_counts_once() {
    let (server, person) = (Server::start(), Person::new());
    let app = enable(&server, "acme");
    let [first, second] = app.codes();
    let attempted = person.log_in(&server, &TYPED, &[PASSWORD, &first]);
    attempted.outcome.ok();
    assert!(attempted.asked[0].contains("Password: ") && attempted.asked[1].contains("Verification code: "));
    assert!(!person.log_in(&server, &TYPED, &[PASSWORD, &first]).came_in(), "used before");
    assert!(!person.log_in(&server, &TYPED, &[PASSWORD, ""]).came_in());
    // Behind the password, where it is sent unasked: over SFTP and FTP.
    assert!(!person.log_in(&server, &UNASKED, &[PASSWORD]).came_in());
    person.log_in(&server, &UNASKED, &[&format!("{PASSWORD}{second}")]).outcome.ok();
    let ftp = |user: &str, password: &str| Ftp::connect(server.address("ftp")).login(user, password).code;
    assert_eq!(ftp("acme", &format!("{PASSWORD}{second}")), 530, "used before, over another protocol");
    server.add_user("beta", "secret-of-beta");
    let [third, _] = enable(&server, "beta").codes();
    assert_eq!(ftp("beta", "secret-of-beta"), 530);
    assert_eq!(ftp("beta", &format!("secret-of-beta{third}")), 230);
    let log = server.log();
    assert!(log.contains("used before") && log.contains("wrong or missing"), "{log}");
    for secret in [&first, &second, &third, &PASSWORD.to_owned()] {
        assert!(!log.contains(secret.as_str()), "a secret stands in the log");
    }
}

#[test]
fn nobody_learns_what_was_wrong() {
    let (server, person) = (Server::start(), Person::new());
    server.add_user("beta", "secret-of-beta");
    server.add_user("gone", "secret-of-gone");
    server.cli(&["user", "disable", "gone"]).ok();
    enable(&server, "acme");
    let mut seen = Vec::new();
    for (user, password) in
        [("acme", PASSWORD), ("acme", "wrong"), ("beta", "wrong"), ("gone", "secret-of-gone"), ("nobody", "wrong")]
    {
        let attempted = person.log_in_as(user, &server, &TYPED, &[password, "000000"]);
        assert!(!attempted.came_in(), "{user}");
        let unnamed = |text: &str| text.replace(user, "USER");
        let said: Vec<_> =
            attempted.outcome.stderr.lines().filter(|line| line.contains("denied")).map(unnamed).collect();
        let asked: Vec<_> = attempted.asked.iter().map(|line| unnamed(line)).collect();
        assert_eq!(asked.len(), 2, "{user}: {asked:?}");
        seen.push((asked, said));
    }
    assert!(seen.iter().all(|one| one == &seen[0]), "{seen:?}");
    // Who has no code is not asked for one, if only the password is right.
    let attempted = person.log_in_as("beta", &server, &TYPED, &["secret-of-beta"]);
    attempted.outcome.ok();
    assert_eq!(attempted.asked.len(), 1);
}

#[test]
fn wrong_codes_are_guesses() {
    let (server, person) = (Server::start(), Person::new());
    let app = enable(&server, "acme");
    for _ in 0..5 {
        assert!(!person.log_in(&server, &TYPED, &[PASSWORD, "000000"]).came_in());
    }
    let [code, _] = app.codes();
    assert!(!person.log_in(&server, &TYPED, &[PASSWORD, &code]).came_in(), "no guess left");
    assert!(server.log().contains("too many failed logins"));
}

#[test]
fn a_key_and_then_a_code_alone() {
    let (server, person) = (Server::start(), Person::new());
    let key = person.key("laptop", &["ed25519"]);
    server.cli(&["key", "add", "acme", key.with_extension("pub").to_str().unwrap()]).ok();
    server.cli(&["user", "set", "acme", "--factors", "publickey,totp"]).ok();
    let identity = format!("-oIdentityFile={}", key.display());
    let both = ["-oIdentitiesOnly=yes", &identity, "-oPreferredAuthentications=publickey,keyboard-interactive"];
    assert!(!person.log_in(&server, &both, &["000000"]).came_in(), "no code is set up");
    let app = enable(&server, "acme");
    let [code, next] = app.codes();
    let attempted = person.log_in(&server, &both, &[&code]);
    attempted.outcome.ok();
    assert!(attempted.asked.len() == 1 && attempted.asked[0].contains("Verification code"), "{:?}", attempted.asked);
    assert!(!person.log_in(&server, &both, &[&code]).came_in(), "used before");
    assert!(!person.log_in(&server, &UNASKED, &[&format!("{PASSWORD}{next}")]).came_in(), "the key comes first");
}

#[test]
fn codes_outlive_restarts_and_backups_and_end_by_command() {
    let (mut server, person) = (Server::start(), Person::new());
    let app = enable(&server, "acme");
    let shown = |server: &Server| server.cli(&["user", "show", "acme", "--json"]).ok().stdout;
    assert!(shown(&server).contains("\"totp\": true"));
    let [code, next] = app.codes();
    person.log_in(&server, &TYPED, &[PASSWORD, &code]).outcome.ok();
    server.kill();
    server.start_again();
    assert!(!person.log_in(&server, &TYPED, &[PASSWORD, &code]).came_in(), "used before the crash");

    let backup = person.path("backup.tar");
    server.cli(&["backup", backup.to_str().unwrap()]).ok();
    server.cli(&["user", "totp", "acme", "remove"]).ok();
    assert!(shown(&server).contains("\"totp\": false"));
    person.log_in(&server, &TYPED, &[PASSWORD]).outcome.ok();
    let mut other = Server::builder().prepare(Arc::new(TempDir::new().unwrap()));
    other.cli(&["restore", backup.to_str().unwrap()]).ok();
    other.start_again();
    assert!(shown(&other).contains("\"totp\": true"));
    assert!(!person.log_in(&other, &UNASKED, &[PASSWORD]).came_in());
    person.log_in(&other, &UNASKED, &[&format!("{PASSWORD}{next}")]).outcome.ok();
    assert!(!shown(&other).contains("secret"), "the secret is shown once");
}

#[test]
fn declared_users_have_codes_too() {
    let secret = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ";
    let table =
        |secret: &str| format!("[[users]]\nname = \"acme\"\npassword = \"{PASSWORD}\"\ntotp_secret = \"{secret}\"\n");
    let server = Server::builder().tables(&table(secret)).start();
    let [code, _] = App::new(secret).codes();
    let person = Person::new();
    person.log_in(&server, &TYPED, &[PASSWORD, &code]).outcome.ok();
    assert!(!server.cli(&["config", "show"]).ok().stdout.contains(secret));
    let outcome = server.cli(&["user", "totp", "acme", "remove"]);
    assert!(outcome.status.code() == Some(1) && outcome.stderr.contains("change it there"), "{}", outcome.text());
    let wrong = Server::builder().tables(&table("SHORT")).prepare(server.directory());
    let checked = wrong.cli(&["config", "check"]);
    assert!(checked.stderr.contains("totp_secret") && !checked.text().contains("SHORT"), "{}", checked.text());
}
