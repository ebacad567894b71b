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
    assert_eq!(user["expires"], "2999-01-31T00:00:00.000Z");
    assert!(!user.to_string().contains("secret-of-acme") && !user.to_string().contains("argon2"));

    let line =
        "user set acme --quota-bytes none --protocol none --network none --expires none --group none --email none";
    server.cli(&line.split_whitespace().collect::<Vec<_>>()).ok();
    let user = show();
    for (part, key, value) in [
        ("grant", "quota_bytes", "unlimited"),
        ("grant", "protocols", "all"),
        ("grant", "networks", "all"),
        ("effective", "max_sessions", "unlimited"),
    ] {
        assert_eq!(user[part][key], value, "{key}");
    }
    assert_eq!(user["grant"]["max_sessions"], serde_json::Value::Null);
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
    fails(&server.cli(&["user", "remove", "acme"]), 2, "--yes");
    server.cli(&["user", "remove", "acme", "--yes"]).ok();
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

#[test]
fn an_own_value_wins_over_a_group() {
    let server = nowhere();
    server.cli(&["group", "add", "press", "--quota-bytes", "1GB", "--protocol", "sftp"]).ok();
    server.cli(&["user", "add", "acme", "--generate-password", "--group", "press"]).ok();
    let effective = || json(&server.cli(&["user", "show", "acme", "--json"]).ok())["effective"].clone();
    assert_eq!(effective()["quota_bytes"], 1_000_000_000);
    server.cli(&["user", "set", "acme", "--quota-bytes", "none", "--protocol", "none"]).ok();
    let holds = effective();
    assert_eq!((&holds["quota_bytes"], &holds["protocols"]), (&"unlimited".into(), &"all".into()));
    assert_eq!((&holds["overwrite"], &holds["permissions"]["write"]), (&"replace".into(), &true.into()));
    assert!(!holds.as_object().unwrap().values().any(serde_json::Value::is_null), "{holds}");
    assert!(server.cli(&["user", "show", "acme"]).ok().stdout.contains("unlimited"));
    server.cli(&["user", "set", "acme", "--quota-bytes", "default", "--protocol", "inherit"]).ok();
    let holds = effective();
    assert_eq!((&holds["quota_bytes"], &holds["protocols"]), (&1_000_000_000.into(), &serde_json::json!(["sftp"])));
}

#[test]
fn a_check_refuses_what_a_start_would() {
    let users = "[[users]]\nname = \"delta\"\npassword = \"x\"\ngroups = [\"gone\"]\n";
    let hash = "[[users]]\nname = \"delta\"\npassword_hash = \"$nonsense$\"\n";
    let key = "[[users]]\nname = \"delta\"\npublic_keys = [\"nonsense\"]\n";
    for (tables, variable, words) in [
        (users, None, "no group \\\"gone\\\""),
        (hash, None, "password_hash"),
        (key, None, "public_keys"),
        ("", Some(("LANDFALL_LOG", "bogus=bogus")), "LANDFALL_LOG: "),
        ("", Some(("LANDFALL_USERS", "acme")), "LANDFALL_USERS: entry 1"),
    ] {
        let mut builder = Server::builder().tables(tables);
        if let Some((name, value)) = variable {
            builder = builder.environment(name, value);
        }
        let server = builder.prepare(Arc::new(TempDir::new().unwrap()));
        let outcome = server.cli(&["config", "check", "--json"]);
        assert_eq!((outcome.status.code(), &json(&outcome)["ok"]), (Some(1), &false.into()), "{words}");
        assert!(json(&outcome)["errors"].to_string().contains(words), "{words:?} is missing in: {}", outcome.stdout);
        let text = server.cli(&["config", "check"]).stderr;
        for cause in text.trim().split(": ").skip(1) {
            assert_eq!(text.matches(cause).count(), 1, "said twice: {text}");
        }
        assert_eq!(server.cli(&["serve"]).status.code(), Some(1), "{words}");
    }
    let server = Server::builder().tables(users).prepare(Arc::new(TempDir::new().unwrap()));
    server.cli(&["group", "add", "gone"]).ok();
    server.cli(&["config", "check"]).ok();
    server.cli(&["user", "add", "other", "--generate-password"]).ok();
}

#[test]
fn a_missing_data_directory_is_not_an_empty_one() {
    let server = nowhere();
    let place = server.data().display().to_string();
    for command in [&["user", "list"][..], &["group", "list"], &["uploads"]] {
        let outcome = server.cli(command).ok();
        assert!(outcome.stderr.contains(&format!("no data directory at {place}")), "{}", outcome.text());
    }
    for command in [
        &["user", "show", "acme"][..],
        &["user", "set", "acme", "--quota-bytes", "1GB"],
        &["user", "add", "acme", "--generate-password", "--group", "gone"],
        &["key", "list", "acme"],
        &["key", "remove", "acme", "x"],
        &["group", "set", "press", "--max-sessions", "1"],
        &["group", "show", "press"],
        &["group", "remove", "press"],
        &["backup", "x.tar"],
    ] {
        fails(&server.cli(command), 1, &place);
    }
    for command in [&["user", "add", "../x", "--generate-password"][..], &["group", "add", "a b"]] {
        fails(&server.cli(command), 2, "cannot be a name");
    }
    fails(&server.cli(&["user", "add", "acme", "--generate-password", "--home", "x"]), 2, "home");
    assert!(!server.data().exists(), "a command that failed made a data directory");
    // Not a directory at all: nobody can tell what is in there.
    std::fs::write(server.data(), "").unwrap();
    fails(&server.cli(&["user", "list"]), 1, &place);
}

#[test]
fn declared_groups_are_changed_where_they_are_declared() {
    let tables = "[[groups]]\nname = \"press\"\nmax_sessions = 3\n";
    let server = Server::builder().tables(tables).start();
    server.cli(&["group", "add", "shops", "--quota-bytes", "none"]).ok();
    let show = |name: &str| json(&server.cli(&["group", "show", name, "--json"]).ok());
    assert_eq!((&show("press")["source"], &show("shops")["source"]), (&"config".into(), &"database".into()));
    assert_eq!(show("shops")["grant"]["quota_bytes"], "unlimited");
    server.cli(&["user", "add", "acme", "--generate-password", "--group", "press"]).ok();
    assert_eq!(show("press")["members"], serde_json::json!(["acme"]));
    fails(&server.cli(&["group", "set", "press", "--max-sessions", "9"]), 1, "landfall.toml line");
    fails(&server.cli(&["group", "remove", "press"]), 1, "landfall.toml line");
    fails(&server.cli(&["group", "add", "Press"]), 1, "landfall.toml line");
    let listed = server.cli(&["group", "list"]).ok().stdout;
    assert!(listed.lines().any(|line| line.starts_with("press") && line.contains("configuration")), "{listed}");
}

#[test]
fn a_wrong_file_is_not_shown_and_a_missing_folder_is_named() {
    let server = nowhere();
    let wrong = server.directory().path().join("wrong");
    std::fs::write(&wrong, "secret-in-a-file ".repeat(100)).unwrap();
    let outcome = server.cli(&["restore", wrong.to_str().unwrap()]);
    fails(&outcome, 1, "no sound backup");
    assert!(!outcome.text().contains("secret-in"), "{}", outcome.text());
    server.cli(&["user", "add", "acme", "--generate-password"]).ok();
    fails(&server.cli(&["backup", "/no/such/folder/x.tar"]), 1, "cannot write /no/such/folder/x.tar: No such file");
    fails(&server.cli(&["backup", "-"]), 2, "name of a file");
}

#[test]
fn a_name_that_comes_back_finds_its_files() {
    let server = nowhere();
    let added = server.cli(&["user", "add", "acme", "--generate-password"]).ok();
    assert!(added.stdout.contains(server.home("acme").to_str().unwrap()), "{}", added.stdout);
    assert!(added.stderr.is_empty(), "{}", added.stderr);
    server.cli(&["user", "remove", "acme", "--yes"]).ok();
    std::fs::create_dir_all(server.home("acme")).unwrap();
    std::fs::write(server.home("acme").join("a.jpg"), "x").unwrap();
    let added = server.cli(&["user", "add", "acme", "--generate-password"]).ok();
    assert!(added.stderr.contains("holds files already"), "{}", added.text());
}

#[test]
fn the_example_configuration_is_all_defaults() {
    let example = landfall_tests::repository().join("landfall.example.toml");
    let server = nowhere();
    let example = example.to_str().unwrap();
    assert_eq!(server.cli(&["config", "check", "--config", example]).ok().stdout, "ok\n");
    let shown = |arguments: &[&str]| {
        let mut command = server.command(arguments);
        command.env_remove("LANDFALL_CONFIG");
        let shown = command.output().unwrap();
        assert!(shown.status.success());
        serde_json::from_slice::<serde_json::Value>(&shown.stdout).unwrap()
    };
    let empty = server.directory().path().join("empty.toml");
    std::fs::write(&empty, "").unwrap();
    let defaults = shown(&["config", "show", "--json", "--config", empty.to_str().unwrap()]);
    let written = shown(&["config", "show", "--json", "--config", example]);
    assert_eq!(written["values"], defaults["values"]);
    let text = std::fs::read_to_string(example).unwrap();
    for key in defaults["sources"].as_object().unwrap().keys() {
        let last = key.rsplit('.').next().unwrap();
        let there = text.lines().any(|line| line.trim_start_matches("# ").starts_with(&format!("{last} = ")));
        let table = text.lines().any(|line| line.trim_start_matches("# ") == format!("[[{key}]]"));
        assert!(there || table, "{key} is missing");
    }
}
