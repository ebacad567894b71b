//! Commands as an operator or a script calls them: exit codes, outputs, and what they refuse.

use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;
use std::sync::Arc;

use landfall_tests::{Outcome, Server};
use tempfile::TempDir;

/// A place where no server has run yet.
fn nowhere() -> Server {
    Server::builder().prepare(Arc::new(TempDir::new().unwrap()))
}

fn json(outcome: &Outcome) -> serde_json::Value {
    serde_json::from_str(&outcome.stdout).unwrap_or_else(|error| panic!("{error} in {}", outcome.text()))
}

#[track_caller]
fn fails(outcome: &Outcome, code: i32, words: &str) {
    assert_eq!(outcome.status.code(), Some(code), "{}", outcome.text());
    assert!(outcome.stderr.contains(words), "{words:?} is missing in: {}", outcome.text());
    assert!(outcome.stdout.is_empty(), "an error on stdout: {}", outcome.stdout);
}

#[test]
fn users_can_be_kept_before_the_first_start() {
    let server = nowhere();
    assert!(server.cli(&["user", "list"]).ok().stdout.contains("no users"));
    assert_eq!(json(&server.cli(&["user", "list", "--json"]).ok()), serde_json::json!([]));
    assert!(!server.data().exists(), "a question made a data directory");
    fails(&server.cli(&["user", "show", "acme"]), 1, "landfall: there is no user \"acme\"");

    let added = json(&server.cli(&["user", "add", "acme", "--generate-password", "--json"]).ok());
    let password = added["password"].as_str().unwrap();
    assert!(password.len() >= 16 && password.bytes().all(|byte| byte.is_ascii_alphanumeric()), "{password}");
    let mode = |path: &str| std::fs::metadata(server.data().join(path)).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(""), mode("landfall.db")), (0o700, 0o600));
    assert_eq!(json(&server.cli(&["user", "list", "--json"]).ok())[0]["name"], "acme");
    fails(&server.cli_with(&["user", "add", "ACME", "--password-stdin"], "x"), 1, "exists already");
}

#[test]
fn a_user_needs_a_way_in() {
    let server = nowhere();
    fails(&server.cli(&["user", "add", "acme"]), 2, "--generate-password");
    fails(&server.cli_with(&["user", "add", "acme", "--password-stdin"], "\n"), 1, "empty");
    fails(&server.cli(&["user", "add", "acme", "--key", "/no/such/file"]), 1, "/no/such/file");
    fails(&server.cli(&["user", "passwd", "acme"]), 2, "--password-stdin");
    assert!(server.cli(&["user", "list"]).ok().stdout.contains("no users"));
}

#[test]
fn limits_are_set_shown_and_taken_away() {
    let server = nowhere();
    server.cli(&["group", "add", "press", "--max-sessions", "3"]).ok();
    let line = "user add acme --password-stdin --quota-bytes 10GB --protocol ftps,sftp --network 10.0.0.0/8 \
                --permissions dropbox --overwrite version --expires 2999-01-31 --group press --email a@example.com";
    server.cli_with(&line.split_whitespace().collect::<Vec<_>>(), "secret-of-acme").ok();
    let show = || json(&server.cli(&["user", "show", "acme", "--json"]).ok());
    let user = show();
    assert_eq!(user["grant"]["quota_bytes"], 10_000_000_000_u64);
    assert_eq!(user["grant"]["protocols"], serde_json::json!(["ftps", "sftp"]));
    assert_eq!(user["grant"]["overwrite"], "version");
    assert_eq!(user["grant"]["permissions"]["read"], false);
    assert_eq!(user["effective"]["max_sessions"], 3, "the group's value");
    assert_eq!(user["expires"], "2999-01-31T00:00:00Z");
    assert!(!user.to_string().contains("secret-of-acme") && !user.to_string().contains("argon2"));

    let line =
        "user set acme --quota-bytes none --protocol none --network none --expires none --group none --email none";
    server.cli(&line.split_whitespace().collect::<Vec<_>>()).ok();
    let user = show();
    for (part, key) in
        [("grant", "quota_bytes"), ("grant", "protocols"), ("grant", "networks"), ("effective", "max_sessions")]
    {
        assert_eq!(user[part][key], serde_json::Value::Null, "{key}");
    }
    assert_eq!((&user["expires"], &user["email"]), (&serde_json::Value::Null, &serde_json::Value::Null));
    assert_eq!(user["grant"]["overwrite"], "version", "what was not named stays");
    fails(&server.cli(&["user", "set", "acme"]), 2, "nothing to change");
    fails(&server.cli(&["user", "set", "acme", "--group", "gone"]), 1, "there is no group");
}

#[test]
fn keys_come_from_files_and_private_ones_are_turned_away() {
    let server = nowhere();
    server.cli_with(&["user", "add", "acme", "--password-stdin"], "secret-of-acme").ok();
    let private = server.add_key("acme");
    let listed = json(&server.cli(&["key", "list", "acme", "--json"]).ok());
    let fingerprint = listed[0]["fingerprint"].as_str().unwrap();
    assert!(fingerprint.starts_with("SHA256:"));
    fails(&server.cli(&["key", "add", "acme", private.to_str().unwrap()]), 1, "private key");
    let line = std::fs::read_to_string(private.with_extension("pub")).unwrap();
    fails(&server.cli_with(&["key", "add", "acme", "-"], &line), 1, "exists already");
    server.cli(&["key", "remove", "acme", fingerprint]).ok();
    assert_eq!(json(&server.cli(&["key", "list", "acme", "--json"]).ok()), serde_json::json!([]));
    server.cli_with(&["user", "add", "beta", "--key", "-"], &line).ok();
    assert_eq!(json(&server.cli(&["user", "show", "beta", "--json"]).ok())["has_password"], false);
}

#[test]
fn declared_users_are_changed_where_they_are_declared() {
    let server = Server::builder()
        .tables("[[users]]\nname = \"delta\"\npassword = \"secret-of-delta\"\n")
        .environment("LANDFALL_USERS", "echo:secret-of-echo")
        .prepare(Arc::new(TempDir::new().unwrap()));
    // Before a server has put them into the database, and without touching it.
    fails(&server.cli(&["user", "add", "delta", "--generate-password"]), 1, "landfall.toml line");
    fails(&server.cli(&["user", "add", "Echo", "--generate-password"]), 1, "LANDFALL_USERS");
}

#[test]
fn the_configuration_is_checked_and_shown_without_secrets() {
    let tables = "[[users]]\nname = \"delta\"\npassword = \"secret-of-delta\"\n";
    let server = Server::builder()
        .tables(tables)
        .environment("LANDFALL_USERS", "echo:secret-of-echo:1001")
        .environment("LANDFALL_LIMITS__TRANSFERS", "77")
        .prepare(Arc::new(TempDir::new().unwrap()));
    let check = server.cli(&["config", "check"]).ok().stdout;
    assert!(check.lines().last() == Some("ok") && check.contains("uid and gid"), "{check}");
    for arguments in [&["config", "show"][..], &["config", "show", "--json"]] {
        let shown = server.cli(arguments).ok().text();
        assert!(shown.contains("77") && shown.contains("LANDFALL_LIMITS__TRANSFERS"), "{shown}");
        assert!(shown.contains("delta") && shown.contains("landfall.toml line"), "{shown}");
        assert!(!shown.contains("secret-of"), "{shown}");
    }
    assert!(!server.data().exists(), "a check made a data directory");

    let wrong = Server::builder()
        .tables("[[users]]\nname = \"delta\"\npassword_hash = \"$nonsense$\"\n")
        .prepare(Arc::new(TempDir::new().unwrap()));
    fails(&wrong.cli(&["config", "check"]), 1, "delta");
    let wrong = Server::builder().set("ftp.tls", "\"maybe\"").prepare(Arc::new(TempDir::new().unwrap()));
    fails(&wrong.cli(&["config", "check"]), 1, "ftp.tls");
    let outcome = wrong.cli(&["config", "check", "--json"]);
    assert_eq!((outcome.status.code(), &json(&outcome)["ok"]), (Some(1), &serde_json::json!(false)));
}

#[test]
fn a_flag_wins_over_the_environment() {
    let server = nowhere();
    let elsewhere = server.directory().path().join("elsewhere");
    let flag = elsewhere.to_str().unwrap();
    let mut command = server.command(&["user", "add", "acme", "--generate-password", "--data-dir", flag]);
    command.env("LANDFALL_DATA_DIR", server.directory().path().join("other"));
    assert!(command.output().unwrap().status.success());
    assert!(elsewhere.join("landfall.db").exists());
    assert!(!server.data().exists() && !server.directory().path().join("other").exists());
}

#[test]
fn a_backup_is_for_its_owner_and_a_damaged_one_is_refused() {
    let server = nowhere();
    let file = server.directory().path().join("backup.tar");
    let name = file.to_str().unwrap();
    fails(&server.cli(&["backup", name]), 1, "nothing to back up");
    server.cli(&["user", "add", "acme", "--generate-password"]).ok();
    server.cli(&["backup", name]).ok();
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let names: Vec<_> =
        std::fs::read_dir(server.directory().path()).unwrap().flatten().map(|entry| entry.file_name()).collect();
    assert!(!names.iter().any(|name| name.to_string_lossy().starts_with('.')), "left behind: {names:?}");

    fails(&server.cli(&["restore", name]), 1, "--force");
    server.cli(&["user", "remove", "acme"]).ok();
    server.cli(&["restore", name, "--force"]).ok();
    server.cli(&["user", "show", "acme"]).ok();

    let sound = std::fs::read(&file).unwrap();
    std::fs::write(&file, &sound[..sound.len() / 2]).unwrap();
    let other = nowhere();
    fails(&other.cli(&["restore", name]), 1, "no sound backup");
    assert!(!other.data().exists(), "a refused restore left something behind");
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let server = nowhere();
    let mut child =
        server.command(&["completions", "bash"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut first = String::new();
    BufReader::with_capacity(16, child.stdout.take().unwrap()).read_line(&mut first).unwrap();
    let outcome = child.wait_with_output().unwrap();
    assert!(outcome.status.success(), "{}", String::from_utf8_lossy(&outcome.stderr));
    assert!(outcome.stderr.is_empty(), "{}", String::from_utf8_lossy(&outcome.stderr));
}

#[test]
fn pages_and_completions() {
    let server = nowhere();
    assert!(server.cli(&["man"]).ok().stdout.contains(".TH landfall 1"));
    for shell in ["bash", "zsh", "fish"] {
        assert!(server.cli(&["completions", shell]).ok().stdout.contains("landfall"), "{shell}");
    }
    let version = server.cli(&["version"]).ok().stdout;
    assert_eq!(server.cli(&["--version"]).ok().stdout, version);
    let pages = server.directory().path().join("man");
    server.cli(&["man", "--dir", pages.to_str().unwrap()]).ok();
    assert!(pages.join("landfall-user-add.1").exists());
}
