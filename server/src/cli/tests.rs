//! The command line as a whole: every command parses, explains itself, and refuses nonsense.

use clap::error::ErrorKind;

use super::*;
use crate::config;

fn parse(line: &str) -> Result<Cli, ErrorKind> {
    Cli::try_parse_from(line.split_whitespace()).map_err(|error| error.kind())
}

/// Every command that does something, with its name as it is typed.
fn commands(command: &clap::Command, prefix: &str, all: &mut Vec<(String, clap::Command)>) {
    for inner in command.get_subcommands().filter(|inner| inner.get_name() != "help") {
        let name = format!("{prefix} {}", inner.get_name());
        all.push((name.clone(), inner.clone()));
        commands(inner, &name, all);
    }
}

#[test]
fn the_definition_is_sound() {
    tree().debug_assert();
}

#[test]
fn every_command_has_an_example_of_itself() {
    let mut all = Vec::new();
    let mut tree = tree();
    tree.build();
    commands(&tree, "landfall", &mut all);
    assert!(all.len() > 25, "{}", all.len());
    for (name, command) in all {
        let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
        assert!(help.starts_with("Example"), "{name} has no example");
        assert!(help.contains(&name), "{name}: the example shows something else:\n{help}");
        assert!(command.get_about().is_some(), "{name} says nothing about itself");
    }
}

#[test]
fn an_error_says_each_cause_once() {
    let load = config::ConfigError::Read { path: "/x".into(), source: std::io::Error::other("no luck") };
    let error = anyhow::Error::from(load).context("starting");
    assert_eq!(sentence(&error), "starting: cannot read /x: no luck");
}

#[test]
fn what_does_not_exist_yet_is_not_there() {
    for line in ["landfall doctor", "landfall probe x", "landfall user import x"] {
        assert_eq!(parse(line).err(), Some(ErrorKind::InvalidSubcommand), "{line}");
    }
}

#[test]
fn global_options_stand_anywhere() {
    for line in [
        "landfall --config a.toml --data-dir d user list",
        "landfall user --config a.toml list --data-dir d",
        "landfall user list --config a.toml --data-dir d",
    ] {
        let cli = parse(line).unwrap();
        assert_eq!(cli.global.config.as_deref(), Some("a.toml".as_ref()), "{line}");
        assert_eq!(cli.global.data_dir.as_deref(), Some("d".as_ref()), "{line}");
    }
}

#[test]
fn the_commands_of_the_contract_parse() {
    for line in [
        "landfall serve",
        "landfall user add a --password-stdin",
        "landfall user add a --generate-password --email a@b.c --home /x --group g --group h --expires 2027-01-31",
        "landfall user add a --key k1 --key - --quota-bytes 10GB --quota-files 5 --max-file-bytes 1MiB --max-sessions 2",
        "landfall user add a --key k --protocol ftps --protocol sftp --network 10.0.0.0/8 --network ::1 --overwrite version",
        "landfall user add a --key k --protocol ftps,sftp --permissions list,read",
        "landfall user add a --key k --permissions dropbox --json",
        "landfall user list --json",
        "landfall user show a",
        "landfall user set a --quota-bytes none --network none --expires none --email none --group none",
        "landfall user passwd a --password-stdin",
        "landfall user disable a",
        "landfall user enable a",
        "landfall user remove a --yes",
        "landfall group add g --max-sessions 3",
        "landfall group set g --max-sessions default",
        "landfall group list",
        "landfall group show g --json",
        "landfall group remove g",
        "landfall key add a -",
        "landfall key list a --json",
        "landfall key remove a SHA256:x",
        "landfall uploads --user a --since 2h --status suspended --limit 5 --follow --json",
        "landfall uploads --since 2027-01-31",
        "landfall uploads --since 2027-01-31T12:00:00Z",
        "landfall sessions --json",
        "landfall sessions kick 5",
        "landfall config check --json",
        "landfall config show --json",
        "landfall health --json",
        "landfall backup f",
        "landfall restore f --force",
        "landfall completions bash",
        "landfall man",
        "landfall version",
    ] {
        assert!(parse(line).is_ok(), "{line}: {:?}", parse(line).err());
    }
}

#[test]
fn nonsense_is_refused() {
    for line in [
        "landfall user add",
        "landfall user add a --quota-bytes lots",
        "landfall user add a --overwrite maybe",
        "landfall user add a --protocol http",
        "landfall user add a --network 10.0.0.0/33",
        "landfall user add a --permissions fly",
        "landfall user add a --expires soon",
        "landfall user add a --generate-password --password-stdin",
        "landfall user add a --password hunter2",
        "landfall uploads --status gone",
        "landfall uploads --since yesterday",
        "landfall uploads --limit 0",
        "landfall sessions kick all",
        "landfall serve now",
    ] {
        assert!(parse(line).is_err(), "{line}");
    }
}

#[test]
fn flags_change_a_grant() {
    use super::limits::LimitFlags;
    #[derive(Parser)]
    struct Only {
        #[command(flatten)]
        limits: LimitFlags,
    }
    let apply = |line: &str, grant: &mut landfall_auth::Grant| {
        Only::try_parse_from(line.split_whitespace()).unwrap().limits.apply(grant)
    };
    let mut grant = landfall_auth::Grant::default();
    apply("x --quota-bytes 10GB --max-sessions 2 --protocol ftps,sftp --permissions none", &mut grant).unwrap();
    assert_eq!((grant.quota_bytes, grant.max_sessions), (Some(10_000_000_000), Some(2)));
    assert_eq!(grant.protocols.as_ref().map(Vec::len), Some(2));
    assert_eq!(grant.permissions.map(|permissions| permissions.list || permissions.write), Some(false));
    apply("x --quota-bytes none --max-file-bytes unlimited --protocol none --overwrite reject", &mut grant).unwrap();
    let unlimited = Some(landfall_auth::Grant::UNLIMITED);
    assert_eq!((grant.quota_bytes, grant.max_file_bytes, grant.max_sessions), (unlimited, unlimited, Some(2)));
    assert_eq!(grant.protocols.as_deref(), Some(&[][..]));
    apply("x --quota-bytes inherit --protocol default --permissions default --overwrite default", &mut grant).unwrap();
    assert_eq!((grant.quota_bytes, grant.max_sessions, grant.overwrite), (None, Some(2), None));
    assert_eq!((grant.protocols.clone(), grant.permissions), (None, None));
    assert!(apply("x --protocol none,sftp", &mut grant).unwrap_err().is::<Usage>());
}
