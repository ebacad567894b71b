//! Other projects' own tests as outside judges: scripts in `tests/clients` point them at Landfall, and say which apply.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use landfall_tests::{Run, Server, repository};

/// A bound against hanging: a suite is many tests, one after the other.
const PATIENCE: Duration = Duration::from_mins(4);

fn fixtures() -> PathBuf {
    repository().join("target/fixtures")
}

/// A script's command line, with the home of `user` as working directory.
fn script(name: &str, server: &Server, user: &str) -> Command {
    let home = server.home(user);
    std::fs::create_dir_all(&home).unwrap();
    let mut command = Command::new(fixtures().join("venv/bin/python"));
    command.arg(repository().join("tests/clients").join(name)).current_dir(home);
    command
}

/// Runs a script, in whose last line stands `N of M pass`. At least `least` have to.
#[track_caller]
fn judge(command: &mut Command, least: usize) {
    let heard = Run::start(command).outcome_within(PATIENCE).ok().stdout;
    let verdict = heard.lines().last().unwrap_or_default();
    eprintln!("{verdict}");
    let good: usize = verdict.split(' ').next().and_then(|good| good.parse().ok()).unwrap_or_default();
    assert!(good >= least, "{least} passed once\n{heard}");
}

/// Runs the tests of one of pyftpdlib's modules.
fn pyftpdlib(module: &str, least: usize) {
    let start = |tls: &str| {
        let builder = Server::builder().set("ftp.listen", r#"["[::]:0"]"#).set("ftp.active", "true");
        let server = builder.set("ftp.tls", tls).start();
        server.add_user("user", "12345");
        // As ftplib logs in when it is told no name.
        server.add_user("anonymous", "anonymous@");
        server
    };
    let (server, with_tls_required) = (start("\"optional\""), start("\"required\""));
    let mut command = script("pyftpdlib_suite.py", &server, "user");
    command.arg(fixtures().join("pyftpdlib"));
    command.args([server.port("ftp"), with_tls_required.port("ftp"), module.to_owned()]);
    judge(&mut command, least);
}

#[test]
fn pyftpdlib_tests() {
    pyftpdlib("test_functional", 76);
}

#[test]
fn pyftpdlib_tests_tls() {
    pyftpdlib("test_functional_ssl", 76);
}

#[test]
fn paramiko_tests() {
    let server = Server::builder().start();
    server.add_user("slowdive", "pygmalion");
    let mut command = script("paramiko_suite.py", &server, "slowdive");
    judge(command.arg(fixtures().join("paramiko")).arg(server.port("sftp")), 43);
}

/// Runs some of OpenSSH's scripts.
fn openssh(scripts: &[&str], least: usize) {
    let server = Server::builder().start();
    server.add_user("regress", "a password that nobody uses");
    let key = server.add_key("regress");
    let mut command = script("openssh_suite.py", &server, "regress");
    command.arg(fixtures().join("openssh/usr/lib/openssh/regress"));
    command.args([&server.port("sftp"), "regress"]).arg(key).args(scripts);
    // The script changes what the user may do.
    let landfall = server.command(&[]);
    command.env("LANDFALL", landfall.get_program());
    command.envs(landfall.get_envs().filter_map(|(name, value)| Some((name, value?))));
    judge(&mut command, least);
}

#[test]
fn openssh_sftp_tests() {
    openssh(&["sftp.sh", "sftp-cmds.sh", "sftp-uri.sh"], 47);
}

#[test]
fn openssh_sftp_further_tests() {
    openssh(&["sftp-badcmds.sh", "sftp-batch.sh", "sftp-chroot.sh", "sftp-glob.sh"], 27);
}

#[test]
fn openssh_sftp_permission_tests() {
    openssh(&["sftp-perm.sh"], 18);
}

#[test]
fn openssh_scp_tests() {
    openssh(&["scp.sh", "scp3.sh", "scp-uri.sh"], 37);
}
