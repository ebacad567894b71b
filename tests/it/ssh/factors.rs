//! Several factors in a row, with OpenSSH's client: what has to come first, what is asked then, and what does not help.

use landfall_tests::{Ftp, Server, Stranger};

use super::{PASSWORD, Person, by_key, shown};

const BOTH: [&str; 2] = ["-oIdentitiesOnly=yes", "-oPreferredAuthentications=publickey,password"];

fn with_key(server: &Server, person: &Person) -> String {
    let key = person.key("laptop", &["ed25519"]);
    server.cli(&["key", "add", "acme", key.with_extension("pub").to_str().unwrap()]).ok();
    format!("-oIdentityFile={}", key.display())
}

#[test]
fn a_key_and_then_the_password() {
    let (server, person) = (Server::start(), Person::new());
    let identity = with_key(&server, &person);
    server.cli(&["user", "set", "acme", "--factors", "publickey,password"]).ok();
    let both = [&BOTH[..], &[&identity]].concat();
    let attempted = person.log_in(&server, &both, &[PASSWORD]);
    attempted.outcome.ok();
    assert_eq!(attempted.asked.len(), 1, "{:?}", attempted.asked);
    // By keyboard-interactive as well.
    let typed = ["-oIdentitiesOnly=yes", "-oPreferredAuthentications=publickey,keyboard-interactive", &identity];
    person.log_in(&server, &typed, &[PASSWORD]).outcome.ok();

    let only_key = person.log_in(&server, &["-oIdentitiesOnly=yes", "-oPasswordAuthentication=no", &identity], &[]);
    assert!(!only_key.came_in());
    let only_password = ["-oPubkeyAuthentication=no"];
    let attempted = person.log_in(&server, &only_password, &[PASSWORD, PASSWORD]);
    assert!(!attempted.came_in());
    assert!(!attempted.outcome.text().contains("partial"), "{}", attempted.outcome.text());
    let verbose = [&both[..], &["-v"]].concat();
    let wrong = person.log_in(&server, &verbose, &["wrong"]);
    assert!(!wrong.came_in());
    let text = wrong.outcome.text();
    assert!(text.contains("with partial success"), "{text}");
    let last = text.lines().rfind(|line| line.contains("Authentications that can continue")).expect("what may follow");
    assert!(last.contains("password,keyboard-interactive") && !last.contains("publickey"), "{last}");
    let log = server.log();
    assert!(log.contains("password is demanded next") && log.contains("in another order"), "{log}");
    // FTP has no keys.
    Ftp::connect(server.address("ftp")).login("acme", PASSWORD).expect(530);
}

#[test]
fn a_password_and_then_a_certificate() {
    let person = Person::new();
    let authority = person.key("ca", &["ed25519"]);
    let keys = format!("[\"{}\"]", super::public(&authority));
    let tables =
        format!("[[users]]\nname = \"acme\"\npassword = \"{PASSWORD}\"\nfactors = [\"password\", \"publickey\"]\n");
    let server = Server::builder().set("sftp.user_ca_keys", &keys).tables(&tables).start();
    let key = person.key("laptop", &["ed25519"]);
    super::certificates::sign(&authority, &key, &["-n", "acme"]);
    assert!(!person.log_in(&server, &shown(&by_key(&key)), &[]).came_in(), "the password comes first");
    let identity = format!("-oIdentityFile={}", key.display());
    let both = ["-oIdentitiesOnly=yes", "-oPreferredAuthentications=password,publickey", &identity];
    person.log_in(&server, &both, &[PASSWORD]).outcome.ok();
}

#[test]
fn a_group_demands_and_a_user_need_not() {
    let (server, person) = (Server::start(), Person::new());
    server.cli(&["group", "add", "careful", "--factors", "publickey"]).ok();
    server.cli(&["user", "set", "acme", "--group", "careful"]).ok();
    let identity = with_key(&server, &person);
    let by_password = ["-oPubkeyAuthentication=no", "-oPreferredAuthentications=password"];
    assert!(!person.log_in(&server, &by_password, &[PASSWORD]).came_in());
    person.log_in(&server, &["-oIdentitiesOnly=yes", &identity], &[]).outcome.ok();
    server.cli(&["user", "set", "acme", "--factors", "none"]).ok();
    person.log_in(&server, &by_password, &[PASSWORD]).outcome.ok();
    let shown = server.cli(&["user", "show", "acme", "--json"]).ok().stdout;
    let shown: serde_json::Value = serde_json::from_str(&shown).unwrap();
    assert_eq!((&shown["grant"]["factors"], &shown["effective"]["factors"]), (&"any".into(), &"any".into()));
    for wrong in ["totp", "password,totp", "publickey,publickey", "voice"] {
        assert_eq!(server.cli(&["user", "set", "acme", "--factors", wrong]).status.code(), Some(2), "{wrong}");
    }
}

#[test]
fn what_one_has_shown_does_not_help_another() {
    let (server, person) = (Server::start(), Person::new());
    server.add_user("beta", "secret-of-beta");
    let key = person.key("laptop", &["ed25519"]);
    for user in ["acme", "beta"] {
        server.cli(&["user", "set", user, "--factors", "publickey,password"]).ok();
    }
    server.cli(&["key", "add", "acme", key.with_extension("pub").to_str().unwrap()]).ok();
    let stranger = || Stranger::connect(server.address("sftp")).unwrap();
    // The right key for acme, then another's right password, then acme's: the key is forgotten.
    let mut switching = stranger();
    assert!(!switching.key("acme", &key));
    assert!(!switching.password("beta", "secret-of-beta"));
    assert!(!switching.password("acme", PASSWORD));
    // The same key twice is one factor.
    let mut twice = stranger();
    assert!(!twice.key("acme", &key));
    assert!(!twice.key("acme", &key));
    assert!(twice.password("acme", PASSWORD), "once more in its turn");
}
