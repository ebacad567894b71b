//! The layers together: files and variables as admins write them.

use std::ffi::OsString;
use std::path::Path;

use super::*;

fn environment(pairs: &[(&str, &str)]) -> Vec<(OsString, OsString)> {
    pairs.iter().map(|(name, value)| (OsString::from(name), OsString::from(value))).collect()
}

fn with_file(text: &str, pairs: &[(&str, &str)]) -> Result<Loaded, ConfigError> {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), text).unwrap();
    load(&Flags { config: Some(file.path().to_owned()), data_dir: None }, environment(pairs))
}

fn refusal(text: &str, pairs: &[(&str, &str)]) -> String {
    match with_file(text, pairs) {
        Ok(_) => panic!("accepted"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn without_anything_the_defaults_hold() {
    let loaded = with_file("", &[("HOME", "/root"), ("LANDFALL_PORT", "tcp://10.0.0.1:2121")]).unwrap();
    assert_eq!(loaded.config.data_dir, Path::new("./landfall-data"));
    assert_eq!(loaded.config.storage.root, Path::new("./landfall-data/files"));
    assert_eq!(loaded.config.ftp.passive_ports, PortRange { first: 50_000, last: 50_009 });
    assert_eq!(loaded.origin("http.listen"), Origin::Default);
    assert_eq!(loaded.warnings, []);
}

#[test]
fn later_layers_win_and_are_remembered() {
    let file = "data_dir = \"/a\"\n[ftp]\nlisten = [\"127.0.0.1:21210\"]\n\n[limits]\nidle_seconds = 5\n";
    let loaded = with_file(file, &[("LANDFALL_LIMITS__IDLE_SECONDS", "7"), ("LANDFALL_DATA_DIR", "/b")]).unwrap();
    assert_eq!(loaded.config.limits.idle_seconds, 7);
    assert_eq!(loaded.config.limits.drain_seconds, 30);
    assert_eq!(loaded.config.data_dir, Path::new("/b"));
    assert_eq!(loaded.config.storage.root, Path::new("/b/files"));
    assert_eq!(loaded.origin("limits.idle_seconds"), Origin::Environment("LANDFALL_LIMITS__IDLE_SECONDS".to_owned()));
    let Origin::File(place) = loaded.origin("ftp.listen") else { panic!("not the file") };
    assert!(place.ends_with(" line 3"), "{place}");

    let flags = Flags { config: None, data_dir: Some("/c".into()) };
    let loaded = load(&flags, environment(&[("LANDFALL_DATA_DIR", "/b")])).unwrap();
    assert_eq!(loaded.config.data_dir, Path::new("/c"));
    assert_eq!(loaded.origin("data_dir"), Origin::Flag("--data-dir".to_owned()));
}

#[test]
fn unknown_keys_name_line_and_neighbour() {
    for (text, parts) in [
        ("\n[ftp]\nlisten_adress = []\n", ["line 3", "ftp.listen_adress", "did you mean ftp.listen?"]),
        ("[ftps]\n", ["line 1", "ftps", "did you mean ftp?"]),
        ("passive_ports = \"1-2\"\n", ["line 1", "passive_ports", "did you mean ftp.passive_ports?"]),
        (
            "[[users]]\nname = \"a\"\n[[users]]\nname = \"b\"\npasword = \"x\"\n",
            ["line 5", "users.1.pasword", "did you mean users.password?"],
        ),
        ("users = [\n{ nmae = \"b\" }]\n", ["line 2", "users.0.nmae", "name?"]),
        ("[[groups]]\nquota = 5\n", ["line 2", "groups.0.quota", "quota_"]),
        ("[[sinks]]\nname = \"a\"\nurll = \"x\"\n", ["line 3", "sinks.0.urll", "did you mean sinks.url?"]),
        ("[storage]\nurl = \"s3://bucket\"\n", ["line 2", "storage.url", "this version does not have"]),
    ] {
        let error = refusal(text, &[]);
        for part in parts {
            assert!(error.contains(part), "{part:?} is missing in: {error}");
        }
    }
}

#[test]
fn every_unknown_key_is_told_at_once() {
    let error = refusal("a = 1\n[ftp]\nb = 2\n", &[]);
    assert_eq!(error.lines().count(), 2, "{error}");
}

#[test]
fn wrong_values_name_their_place() {
    for (text, parts) in [
        ("[ftp]\ntls = \"maybe\"\n", ["line 2", "ftp.tls", "maybe"]),
        ("[ftp]\nlisten = [\"2121\"]\n", ["line 2", "ftp.listen", "IP:PORT"]),
        ("[ftp]\npassive_ports = \"9-1\"\n", ["line 2", "ftp.passive_ports", "greater"]),
        ("[storage]\nresume_ttl = \"soon\"\n", ["line 2", "storage.resume_ttl", "24h"]),
        ("[defaults]\nquota_bytes = \"lots\"\n", ["line 2", "defaults.quota_bytes", "10GB"]),
        ("[limits]\ntransfers = -1\n", ["line 2", "limits.transfers", "a whole number from 0 up is expected, not -1"]),
        ("[limits]\ntransfers = [1]\n", ["line 2", "limits.transfers", "expected, not a list"]),
        ("[ftp]\nactive = 1\n", ["line 2", "ftp.active", "true or false is expected, not 1"]),
        ("[limits]\ntransfers = 0\n", ["line 2", "limits.transfers", "at least 1"]),
        ("[[users]]\nname = \"-\"\n", ["line 2", "users.0.name", "begins with"]),
        ("[ftp\n", ["line 1", "", ""]),
    ] {
        let error = refusal(text, &[]);
        for part in parts {
            assert!(error.contains(part), "{part:?} is missing in: {error}");
        }
    }
}

#[test]
fn a_wrong_secret_is_not_quoted() {
    assert!(!refusal("[[users]]\nname = \"a\"\npassword = 271828\n", &[]).contains("271828"));
    assert!(!refusal("[[users]]\nname = \"a\"\npassword = \"hunter2\n", &[]).contains("hunter2"));
}

#[test]
fn variables_take_many_forms() {
    for text in ["[\"127.0.0.1:1\", \"127.0.0.1:2\"]", "127.0.0.1:1,127.0.0.1:2", " 127.0.0.1:1 , 127.0.0.1:2 "] {
        let loaded = with_file("", &[("LANDFALL_FTP__LISTEN", text)]).unwrap();
        assert_eq!(
            loaded.config.ftp.listen,
            ["127.0.0.1:1".parse().unwrap(), "127.0.0.1:2".parse().unwrap()],
            "{text}"
        );
    }
    for text in ["", "[]"] {
        assert_eq!(with_file("", &[("LANDFALL_HTTP__LISTEN", text)]).unwrap().config.http.listen, [], "{text:?}");
    }
    let loaded = with_file(
        "",
        &[
            ("LANDFALL_FTP__ACTIVE", "Yes"),
            ("LANDFALL_FTP__TLS", "required"),
            ("LANDFALL_FTP__PASSIVE_PORTS", "50000"),
            ("LANDFALL_STORAGE__RESUME_TTL", "2h"),
            ("LANDFALL_DEFAULTS__QUOTA_BYTES", "10GB"),
            ("LANDFALL_DEFAULTS__MAX_SESSIONS", "3"),
            ("LANDFALL_DEFAULTS__PERMISSIONS", "dropbox"),
            ("LANDFALL_DEFAULTS__PROTOCOLS", "ftps,sftp"),
            ("LANDFALL_DEFAULTS__NETWORKS", "[\"192.0.2.0/24\"]"),
            ("LANDFALL_DEFAULTS__QUOTA_FILES", ""),
            ("LANDFALL_GROUPS", "[{ name = \"press\", quota_bytes = \"1MB\" }]"),
        ],
    )
    .unwrap();
    let Config { ftp, storage, defaults, groups, .. } = loaded.config;
    assert!(ftp.active);
    assert_eq!(ftp.tls, TlsPolicy::Required);
    assert_eq!(storage.resume_ttl().as_secs(), 7_200);
    let grant = defaults.grant();
    assert_eq!((grant.quota_bytes, grant.max_sessions, grant.quota_files), (Some(10_000_000_000), Some(3), None));
    assert_eq!(grant.protocols.map(|protocols| protocols.len()), Some(2));
    assert_eq!(grant.networks.map(|networks| networks.len()), Some(1));
    assert_eq!(grant.permissions.map(|permissions| (permissions.write, permissions.read)), Some((true, false)));
    assert_eq!(groups.first().and_then(|group| group.grant().quota_bytes), Some(1_000_000));
}

#[test]
fn wrong_variables_are_refused_by_name() {
    for (name, value, parts) in [
        ("LANDFALL_FTP_LISTEN", "127.0.0.1:1", "did you mean LANDFALL_FTP__LISTEN?"),
        ("LANDFALL_DATADIR", "/x", "did you mean LANDFALL_DATA_DIR?"),
        ("LANDFALL_USER", "a:b", "did you mean LANDFALL_USERS?"),
        ("LANDFALL_FTP__ACTIVE", "perhaps", "true or false"),
        ("LANDFALL_LIMITS__TRANSFERS", "many", "a number"),
        ("LANDFALL_FTP__TLS", "maybe", "optional, required, off"),
        ("LANDFALL_FTP__LISTEN", "[oops", "array"),
        ("LANDFALL_LOG_FORMAT", "xml", "json"),
        ("LANDFALL_STORAGE__URL", "s3://bucket", "this version does not have"),
        ("LANDFALL_USERS_FILE", "/no/such/file", "/no/such/file"),
    ] {
        let error = refusal("", &[(name, value)]);
        assert!(error.contains(name) && error.contains(parts), "{parts:?} is missing in: {error}");
    }
}

#[test]
fn links_of_containers_are_not_meant_for_us() {
    let pairs = [
        ("LANDFALL_SERVICE_HOST", "10.0.0.1"),
        ("LANDFALL_SERVICE_PORT_FTP", "2121"),
        ("LANDFALL_PORT_2121_TCP", "tcp://10.0.0.1:2121"),
        ("LANDFALL_PORT_2121_TCP_ADDR", "10.0.0.1"),
    ];
    assert!(with_file("", &pairs).is_ok());
    assert!(with_file("", &[("LANDFALL_PORTS", "1")]).is_err());
}

#[test]
fn the_user_list_comes_from_a_variable_or_a_file() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "acme:hunter2\n").unwrap();
    let path = file.path().to_str().unwrap();
    let loaded = with_file("", &[("LANDFALL_USERS_FILE", path)]).unwrap();
    assert_eq!(loaded.config.user_list.expose(), "acme:hunter2\n");
    assert!(refusal("", &[("LANDFALL_USERS_FILE", path), ("LANDFALL_USERS", "a:b")]).contains("LANDFALL_USERS_FILE"));
    assert!(refusal("", &[("LANDFALL_USERS_FILE", "/no/such/file")]).contains("/no/such/file"));
}

#[test]
fn a_named_file_must_exist() {
    assert!(load(&Flags { config: Some("/no/such.toml".into()), data_dir: None }, []).is_err());
    assert!(load(&Flags::default(), environment(&[("LANDFALL_CONFIG", "/no/such.toml")])).is_err());
}

#[test]
fn people_in_a_file() {
    let loaded = with_file(
        "[defaults]\nquota_bytes = 5\n\n[[users]]\nname = \"acme\"\npassword = \"hunter2\"\nexpires = 2027-01-31\n\
         permissions = [\"list\", \"write\"]\noverwrite = \"version\"\ngroups = [\"press\"]\n\n\
         [[users]]\nname = \"beta\"\npassword_hash = \"$argon2id$x\"\npermissions = { delete = false }\n",
        &[],
    )
    .unwrap();
    let [acme, beta] = loaded.config.users.as_slice() else { panic!("two users") };
    assert_eq!(acme.expires.map(|moment| moment.to_string()).as_deref(), Some("2027-01-31T00:00:00Z"));
    assert_eq!(acme.permissions.map(|verbs| verbs.names()), Some(vec!["list", "write"]));
    assert_eq!(acme.password.as_ref().map(Secret::expose), Some("hunter2"));
    assert_eq!(beta.permissions.map(|verbs| (verbs.0.delete, verbs.0.read)), Some((false, true)));
    assert_eq!(loaded.config.defaults.grant().quota_bytes, Some(5));
}

#[test]
fn show_has_origins_and_no_secret() {
    let file = "[ftp]\ntls = \"required\"\n[[users]]\nname = \"acme\"\npassword = \"hunter2\"\n[[users]]\nname = \"beta\"\npassword_hash = \"$argon2id$canary\"\n";
    let loaded =
        with_file(file, &[("LANDFALL_USERS", "gamma:swordfish"), ("LANDFALL_LIMITS__TRANSFERS", "9")]).unwrap();
    let toml = as_toml(&loaded).unwrap();
    let json = as_json(&loaded).unwrap().to_string();
    for secret in ["hunter2", "canary", "swordfish"] {
        assert!(!toml.contains(secret) && !json.contains(secret) && !format!("{:?}", loaded.config).contains(secret));
    }
    let line = |start: &str| toml.lines().find(|line| line.starts_with(start)).unwrap_or_default().to_owned();
    assert!(line("tls = \"required\"").contains("# file: "), "{toml}");
    assert!(line("transfers = 9").contains("# environment: LANDFALL_LIMITS__TRANSFERS"), "{toml}");
    assert!(line("active = false").contains("# default"), "{toml}");
    assert!(line("data_dir = ").contains("landfall-data"), "{toml}");
    assert!(json.contains("\"limits.transfers\":\"environment: LANDFALL_LIMITS__TRANSFERS\""), "{json}");
    assert!(toml.contains("line 3\n[[users]]\nname = \"acme\""), "{toml}");
}

#[test]
fn what_is_shown_can_be_fed_back() {
    let loaded = with_file("[defaults]\nnetworks = \"10.0.0.0/8\"\npermissions = \"dropbox\"\n", &[]).unwrap();
    let again = with_file(&as_toml(&loaded).unwrap(), &[]).unwrap();
    let told =
        |text: String| text.lines().map(|line| line.split("  # ").next().unwrap().to_owned()).collect::<Vec<_>>();
    assert_eq!(told(as_toml(&again).unwrap()), told(as_toml(&loaded).unwrap()));
    assert_eq!(again.config.defaults.networks, loaded.config.defaults.networks);
}

#[test]
fn what_nobody_set_is_shown_too() {
    let loaded = with_file("[defaults]\nquota_files = \"unlimited\"\n", &[]).unwrap();
    let toml = as_toml(&loaded).unwrap();
    for line in [
        "permissions = [\"list\"",
        "overwrite = \"replace\"",
        "quota_files = \"unlimited\"  # file: ",
        "# quota_bytes = \"unlimited\"  # default",
        "# max_sessions = \"unlimited\"  # default",
        "# staging = \"./landfall-data/staging\"  # default",
        "# verifications = ",
    ] {
        assert!(toml.lines().any(|shown| shown.starts_with(line)), "{line} is missing in:\n{toml}");
    }
    // What stands there as a comment can be taken over as it is.
    let keys: String = toml.lines().map(|line| line.strip_prefix("# ").unwrap_or(line).to_owned() + "\n").collect();
    let again = with_file(&keys, &[]).unwrap();
    assert_eq!(again.config.defaults.grant().quota_bytes, Some(landfall_auth::Grant::UNLIMITED));
    let json = as_json(&loaded).unwrap();
    assert_eq!(json["values"]["defaults"]["max_sessions"], "unlimited");
    assert_eq!(json["values"]["defaults"]["overwrite"], "replace");
    assert_eq!(json["sources"]["defaults.max_sessions"], "default");
}

#[test]
fn the_data_directory_of_a_broken_file_can_be_told() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let flags = Flags { config: Some(file.path().to_owned()), data_dir: None };
    for (text, found) in [
        ("data_dir = '/a'\nnonsense\n", "/a"),
        ("x = 1 # [\ndata_dir = \"/b\" # here\n[ftp]\ntls = oops\n", "/b"),
        ("[ftp]\ndata_dir = '/c'\n", "./landfall-data"),
    ] {
        std::fs::write(file.path(), text).unwrap();
        assert_eq!(data_dir(&flags, []).as_deref(), Some(Path::new(found)), "{text}");
    }
    assert_eq!(data_dir(&flags, environment(&[("LANDFALL_DATA_DIR", "/e")])).as_deref(), Some(Path::new("/e")));
    let missing = Flags { config: Some("/no/such.toml".into()), data_dir: None };
    assert_eq!(data_dir(&missing, []), None);
}
