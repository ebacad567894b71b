//! OpenSSH user certificates, made by ssh-keygen and shown by OpenSSH's client.

use std::path::Path;

use landfall_tests::{Server, tool};

use super::{KINDS, Person, by_key, public, shown};

/// A server that believes these authorities.
fn believing(authorities: &[&Path]) -> Server {
    let keys: Vec<String> = authorities.iter().map(|authority| format!("\"{}\"", public(authority))).collect();
    let server = Server::builder().set("sftp.user_ca_keys", &format!("[{}]", keys.join(", "))).start();
    for user in ["acme", "beta"] {
        server.add_user(user, super::PASSWORD);
    }
    server
}

/// Signs the key's public half; the certificate stands beside it, where the client looks for it.
pub(super) fn sign(authority: &Path, key: &Path, options: &[&str]) {
    let (authority, public) = (authority.to_str().unwrap(), key.with_extension("pub"));
    let signed = [&["-q", "-s", authority, "-I", "Ann's laptop", "-z", "4711"], options, &[public.to_str().unwrap()]];
    tool("ssh-keygen", &signed.concat()).ok();
}

#[test]
fn certificates_of_every_kind_open_the_door() {
    let person = Person::new();
    let authorities: Vec<_> = KINDS.iter().map(|(name, kind)| person.key(&format!("ca-{name}"), kind)).collect();
    let paths: Vec<&Path> = authorities.iter().map(AsRef::as_ref).collect();
    let server = believing(&paths);
    for ((name, kind), authority) in KINDS.iter().zip(&paths) {
        let key = person.key(name, kind);
        assert!(!person.log_in(&server, &shown(&by_key(&key)), &[]).came_in(), "{name}: not certified yet");
        sign(authority, &key, &["-n", "somebody,acme"]);
        person.log_in(&server, &shown(&by_key(&key)), &[]).outcome.ok();
        assert!(!person.log_in_as("beta", &server, &shown(&by_key(&key)), &[]).came_in(), "{name}: not for beta");
        assert!(!person.log_in_as("somebody", &server, &shown(&by_key(&key)), &[]).came_in(), "{name}: no such user");
    }
    let log = server.log();
    let line = log.lines().find(|line| line.contains("let in")).expect("a login in the log");
    assert!(line.contains("certificate") && line.contains("Ann's laptop") && line.contains("4711"), "{line}");
    let fingerprint = tool("ssh-keygen", &["-lf", paths[0].to_str().unwrap()]).ok().stdout;
    let fingerprint = fingerprint.split(' ').nth(1).expect("a fingerprint");
    assert!(line.contains(fingerprint), "{line}");
}

#[test]
fn what_is_wrong_with_a_certificate_keeps_its_holder_out() {
    let person = Person::new();
    let authority = person.key("ca", &["ed25519"]);
    let sha1 = person.key("ca-rsa", &["rsa", "-b", "2048"]);
    let stranger = person.key("ca-of-others", &["ed25519"]);
    let server = believing(&[&authority, &sha1]);
    let key = person.key("laptop", &["ed25519"]);
    let table: [(&Path, &[&str], &str); 13] = [
        (&stranger, &["-n", "acme"], "does not list"),
        (&sha1, &["-n", "acme", "-t", "ssh-rsa"], "SHA-1"),
        (&authority, &["-n", "acme", "-V", "20200101:20210101"], ""),
        (&authority, &["-n", "acme", "-V", "+1d:+2d"], ""),
        // OpenSSH's client does not even show this one.
        (&authority, &["-n", "acme", "-h"], ""),
        (&authority, &[], "no principal"),
        (&authority, &["-n", "Acme,acm,acme "], "login incorrect"),
        (&authority, &["-n", "acme", "-O", "force-command=internal-sftp"], "force-command"),
        (&authority, &["-n", "acme", "-O", "verify-required"], "verify-required"),
        (&authority, &["-n", "acme", "-O", "critical:weather@example.com=fine"], "weather@example.com"),
        (&authority, &["-n", "acme", "-O", "source-address=192.0.2.0/24"], "source-address"),
        (&authority, &["-n", "acme", "-O", "source-address=::1/128"], "source-address"),
        (&authority, &["-n", "beta"], "login incorrect"),
    ];
    for (authority, options, reason) in table {
        sign(authority, &key, options);
        let attempted = person.log_in(&server, &shown(&by_key(&key)), &[]);
        assert!(!attempted.came_in(), "{options:?} let in");
        assert!(server.log().contains(reason), "{reason:?} is missing in {}", server.log());
    }
    sign(&authority, &key, &["-n", "acme", "-O", "source-address=192.0.2.0/24,127.0.0.0/8", "-V", "-1m:+1d"]);
    person.log_in(&server, &shown(&by_key(&key)), &[]).outcome.ok();
    // A good certificate does not open the door to somebody shut out.
    server.cli(&["user", "set", "acme", "--protocol", "ftps"]).ok();
    assert!(!person.log_in(&server, &shown(&by_key(&key)), &[]).came_in());
    server.cli(&["user", "set", "acme", "--protocol", "none"]).ok();
    server.cli(&["user", "disable", "acme"]).ok();
    assert!(!person.log_in(&server, &shown(&by_key(&key)), &[]).came_in());
}

#[test]
fn without_authorities_no_certificate_is_looked_at() {
    let (server, person) = (Server::start(), Person::new());
    let (authority, key) = (person.key("ca", &["ed25519"]), person.key("laptop", &["ed25519"]));
    sign(&authority, &key, &["-n", "acme"]);
    assert!(!person.log_in(&server, &shown(&by_key(&key)), &[]).came_in());
    // The key itself, once it is known, opens the door beside its certificate.
    server.cli(&["key", "add", "acme", key.with_extension("pub").to_str().unwrap()]).ok();
    person.log_in(&server, &shown(&by_key(&key)), &[]).outcome.ok();
}

#[test]
fn many_keys_come_before_the_right_one() {
    let person = Person::new();
    let authority = person.key("ca", &["ed25519"]);
    let server = believing(&[&authority]);
    // More than a connection has wrong passwords: keys that do not fit are no guesses.
    let wrong: Vec<_> = (0..6).map(|number| person.key(&format!("old-{number}"), &["ed25519"])).collect();
    let right = person.key("right", &["ed25519"]);
    server.cli(&["key", "add", "acme", right.with_extension("pub").to_str().unwrap()]).ok();
    let mut options = Vec::new();
    for key in wrong.iter().chain([&right]) {
        options.extend(by_key(key));
    }
    person.log_in(&server, &shown(&options), &[]).outcome.ok();
}

#[test]
fn a_source_address_is_the_one_that_the_proxy_tells() {
    let person = Person::new();
    let authority = person.key("ca", &["ed25519"]);
    let keys = format!("[\"{}\"]", public(&authority));
    let server =
        Server::builder().set("sftp.user_ca_keys", &keys).set("sftp.proxy_protocol", "[\"127.0.0.1\"]").start();
    server.add_user("acme", super::PASSWORD);
    let key = person.key("laptop", &["ed25519"]);
    sign(&authority, &key, &["-n", "acme", "-O", "source-address=192.0.2.0/24"]);
    for (from, comes_in) in [("192.0.2.9", true), ("198.51.100.9", false)] {
        let script = format!(
            "exec 3<>/dev/tcp/127.0.0.1/{}\nprintf 'PROXY TCP4 {from} 203.0.113.1 4000 22\\r\\n' >&3\n\
             cat <&3 &\nexec cat >&3\n",
            server.port("sftp")
        );
        let proxy = person.path("proxy");
        std::fs::write(&proxy, script).unwrap();
        let mut options = by_key(&key).to_vec();
        options.push(format!("-oProxyCommand=bash {}", proxy.display()));
        assert_eq!(person.log_in(&server, &shown(&options), &[]).came_in(), comes_in, "{from}");
    }
}
