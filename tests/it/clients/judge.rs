//! pyftpdlib's own functional tests as outside judge: `tests/clients/pyftpdlib_suite.py` says which apply.

use std::process::Command;

use landfall_tests::{Run, Server, repository};

/// Runs the tests of one module; `N of M` stands in its last line.
fn judged_by(module: &str) {
    let start = |tls: &str| {
        let builder = Server::builder().set("ftp.listen", r#"["[::]:0"]"#).set("ftp.active", "true");
        let server = builder.set("ftp.tls", tls).start();
        server.add_user("user", "12345");
        // As ftplib logs in when it is told no name.
        server.add_user("anonymous", "anonymous@");
        server
    };
    let (server, with_tls_required) = (start("\"optional\""), start("\"required\""));
    let home = server.home("user");
    std::fs::create_dir_all(&home).unwrap();
    let fixtures = repository().join("target/fixtures");
    let mut command = Command::new(fixtures.join("venv/bin/python"));
    command
        .arg(repository().join("tests/clients/pyftpdlib_suite.py"))
        .arg(fixtures.join("pyftpdlib"))
        .current_dir(home);
    command.args([server.port("ftp"), with_tls_required.port("ftp"), module.to_owned()]);
    let heard = Run::start(&mut command).outcome().ok().stdout;
    eprintln!("{}", heard.lines().last().unwrap_or_default());
}

#[test]
fn pyftpdlib_tests() {
    judged_by("test_functional");
}

#[test]
fn pyftpdlib_tests_tls() {
    judged_by("test_functional_ssl");
}
