//! TLS of the FTP engine as clients meet it: whose session a data connection resumes, which certificate a host shows, and
//! what an outside judge finds.

use landfall_tests::{Ftp, Outcome, Server, repository, tool, wait_until};
use rustix::process::Signal;

const PASSWORD: &str = "secret-of-acme";
const VERSIONS: [&str; 2] = ["1.2", "1.3"];

fn server(reuse: &str) -> Server {
    let server = Server::builder().set("ftp.tls_session_reuse", &format!("\"{reuse}\"")).start();
    server.add_user("acme", PASSWORD);
    server
}

/// A script of `tests/clients`, with the Python that `tests/run` set up.
fn script(name: &str, arguments: &[&str]) -> Outcome {
    let (python, script) = (repository().join("target/fixtures/venv/bin/python"), repository().join("tests/clients"));
    let script = script.join(name);
    tool(python.to_str().unwrap(), &[&[script.to_str().unwrap()], arguments].concat())
}

fn curl(server: &Server, version: &str, files: &str) -> Outcome {
    let clients = repository().join("tests/clients");
    let (from, login) = (format!("{}/{files}", clients.display()), format!("acme:{PASSWORD}"));
    let base = format!("ftp://127.0.0.1:{}/", server.port("ftp"));
    let exact = format!("--tlsv{version}");
    tool("curl", &["-sS", "--insecure", "--ssl-reqd", &exact, "--tls-max", version, "-u", &login, "-T", &from, &base])
}

#[test]
fn curl_resumes_for_one_file_and_for_many() {
    for reuse in ["optional", "required"] {
        for version in VERSIONS {
            let server = server(reuse);
            curl(&server, version, "push_ftp.py").ok();
            // OpenSSL uses each of TLS 1.3's tickets once, and curl remembers the last one only.
            curl(&server, version, "{ftplib_client,paramiko_client,push_sftp,tls_judge}.py").ok();
            assert_eq!(server.landed().len(), 5, "{reuse} {version}");
        }
    }
}

#[test]
fn lftp_resumes_for_many() {
    for priority in ["NORMAL:-VERS-ALL:+VERS-TLS1.2", "NORMAL:-VERS-ALL:+VERS-TLS1.3"] {
        let server = server("required");
        let clients = repository().join("tests/clients");
        let commands = format!(
            "set cmd:fail-exit yes; set net:max-retries 2; set ssl:verify-certificate no; set ftp:ssl-force yes; \
             set ftp:ssl-protect-data yes; set ssl:priority \"{priority}\"; open -u acme,{PASSWORD} \
             ftp://127.0.0.1:{}; lcd {}; mput push_ftp.py push_sftp.py ftplib_client.py; cls; bye",
            server.port("ftp"),
            clients.display()
        );
        tool("lftp", &["--norc", "-c", &commands]).ok();
        assert_eq!(server.landed().len(), 3, "{priority}");
    }
}

#[test]
fn clients_that_resume_and_one_that_does_not() {
    for reuse in ["optional", "required"] {
        let server = server(reuse);
        for version in VERSIONS {
            for way in ["filezilla", "winscp", "shipped"] {
                let outcome = script("ftps_sessions.py", &[&server.port("ftp"), "acme", PASSWORD, version, way]);
                if (reuse, way) == ("required", "shipped") {
                    assert!(outcome.stderr.contains("522 "), "{}", outcome.stderr);
                } else {
                    outcome.ok();
                }
            }
        }
    }
}

#[test]
fn a_host_shows_its_own_certificate() {
    let directory = tempfile::tempdir().unwrap();
    let (certificate, key) = (directory.path().join("cert.pem"), directory.path().join("key.pem"));
    let renew = || {
        let made = rcgen::generate_simple_self_signed(["landfall.test".to_owned()]).unwrap();
        std::fs::write(&certificate, made.cert.pem()).unwrap();
        std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
        made.cert.der().to_vec()
    };
    let first = renew();
    let host = |name: &str, files: &str| format!("[[tls.hosts]]\nname = \"{name}\"\n{files}");
    let files = format!("certificate = '{}'\nkey = '{}'\n", certificate.display(), key.display());
    let builder = Server::builder().set("ftp.tls_session_reuse", "\"required\"");
    let server = builder.tables(&(host("landfall.test", &files) + &host("other.test", ""))).start();
    server.add_user("acme", PASSWORD);
    let address = server.address("ftp");

    // The test client asks for landfall.test.
    let mut client = Ftp::connect(address);
    assert!(client.command("FEAT").expect(211).text.contains("\n HOST"));
    client.command("HOST LANDFALL.test").expect(220);
    client.command("HOST nobody.test").expect(504);
    client.auth_tls().expect(234);
    client.command("HOST other.test").expect(504);
    client.command("HOST landfall.test").expect(220);
    client.command("USER acme").expect(331);
    client.command("HOST landfall.test").expect(503);
    client.command(&format!("PASS {PASSWORD}")).expect(230);
    client.command("HOST landfall.test").expect(503);
    client.protect();
    client.upload("STOR a.jpg", b"a").expect(226);
    assert_eq!(client.certificate().unwrap(), first);
    let implicit = Ftp::connect_implicit(server.address("ftps"));
    assert_eq!(implicit.certificate().unwrap(), first);

    // A reload takes the new one, for new sessions; those under way go on.
    let second = renew();
    server.signal(Signal::HUP);
    let mut next = wait_until("the new certificate", || {
        let next = Ftp::connect_explicit(address, "acme", PASSWORD);
        (next.certificate().unwrap() == second).then_some(next)
    });
    client.upload("STOR b.jpg", b"b").expect(226);
    next.upload("STOR c.jpg", b"c").expect(226);
    next.command("REIN").expect(220);
    next.command("HOST other.test").expect(504);
    next.command("HOST landfall.test").expect(220);
}

#[test]
fn an_outside_judge_finds_what_a_self_signed_certificate_leaves() {
    let server = server("optional");
    for (listener, mode) in [("ftp", "explicit"), ("ftps", "implicit")] {
        script("tls_judge.py", &[&server.port(listener), mode]).ok();
    }
}
