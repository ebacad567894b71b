//! Certificates, resumption, tickets: handshakes in memory.

use std::io::{Read, Write};
use std::sync::Arc;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, HandshakeKind, RootCertStore, ServerConnection};

use super::*;

fn load(directory: &Path) -> Arc<Tls> {
    Tls::load(&config::Tls::default(), directory, &own_names(&config::Ftp::default())).unwrap()
}

fn files(tls: &Tls) -> Files {
    tls.places.read().unwrap().usual.clone()
}

fn reload(tls: &Tls, directory: &Path) -> Result<(), TlsError> {
    tls.reload(&config::Tls::default(), directory, &own_names(&config::Ftp::default()))
}

fn client(tls: &Tls, version: &'static rustls::SupportedProtocolVersion) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    for certificate in certificate::read_chain(&files(tls).certificate).unwrap() {
        roots.add(certificate).unwrap();
    }
    let config = ClientConfig::builder_with_provider(Arc::new(provider::default_provider()))
        .with_protocol_versions(&[version])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    Arc::new(config)
}

/// Shakes hands in memory; how the server came to its keys, and how many bytes it sent after that.
fn shake(server: &Arc<ServerConfig>, client: &Arc<ClientConfig>) -> (HandshakeKind, bool) {
    let mut client = ClientConnection::new(client.clone(), ServerName::try_from("localhost").unwrap()).unwrap();
    let mut server = ServerConnection::new(server.clone()).unwrap();
    let mut late = false;
    while client.is_handshaking() || server.is_handshaking() || client.wants_write() || server.wants_write() {
        let mut bytes = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut bytes).unwrap();
        }
        server.read_tls(&mut &*bytes).unwrap();
        server.process_new_packets().unwrap();
        let mut bytes = Vec::new();
        late |= !client.is_handshaking() && server.wants_write();
        while server.wants_write() {
            server.write_tls(&mut bytes).unwrap();
        }
        let mut rest = &*bytes;
        while !rest.is_empty() {
            client.read_tls(&mut rest).unwrap();
            client.process_new_packets().unwrap();
        }
    }
    server.writer().write_all(b"hello").unwrap();
    let mut bytes = Vec::new();
    server.write_tls(&mut bytes).unwrap();
    client.read_tls(&mut &*bytes).unwrap();
    client.process_new_packets().unwrap();
    let mut hello = [0; 5];
    client.reader().read_exact(&mut hello).unwrap();
    assert_eq!(&hello, b"hello");
    (server.handshake_kind().unwrap(), late)
}

#[test]
fn made_once_and_kept() {
    use std::os::unix::fs::PermissionsExt;
    let directory = tempfile::tempdir().unwrap();
    let first = load(directory.path()).fingerprint();
    assert_eq!(load(directory.path()).fingerprint(), first);
    assert_eq!(first.len(), 32 * 3 - 1);
    for file in ["tls/key.pem", "tls/cert.pem"] {
        let mode = std::fs::metadata(directory.path().join(file)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{file}");
    }
}

#[test]
fn a_data_connection_resumes_its_control_connection() {
    let directory = tempfile::tempdir().unwrap();
    let tls = load(directory.path());
    let Configs { control, data } = tls.configs();
    for version in [&rustls::version::TLS13, &rustls::version::TLS12] {
        let client = client(&tls, version);
        let (kind, _) = shake(&control, &client);
        assert_eq!(kind, HandshakeKind::Full, "{version:?}");
        let (kind, late) = shake(&data, &client);
        assert_eq!((kind, late), (HandshakeKind::Resumed, false), "{version:?}");
    }
}

#[test]
fn tickets_outlive_a_reload() {
    let directory = tempfile::tempdir().unwrap();
    let tls = load(directory.path());
    let client = client(&tls, &rustls::version::TLS13);
    shake(&tls.configs().control, &client);
    reload(&tls, directory.path()).unwrap();
    assert_eq!(shake(&tls.configs().data, &client).0, HandshakeKind::Resumed);
}

#[test]
fn a_broken_file_changes_nothing_and_a_new_one_counts() {
    let directory = tempfile::tempdir().unwrap();
    let tls = load(directory.path());
    let first = tls.fingerprint();
    assert!(!tls.reload_if_changed().unwrap());
    std::fs::write(&files(&tls).certificate, "-----BEGIN CERTIFICATE-----\nnonsense").unwrap();
    assert!(tls.reload_if_changed().is_err());
    assert!(!tls.reload_if_changed().unwrap(), "complained twice about the same file");
    assert_eq!(tls.fingerprint(), first);

    let other = tempfile::tempdir().unwrap();
    let next = load(other.path());
    std::fs::copy(&files(&next).certificate, &files(&tls).certificate).unwrap();
    assert!(tls.reload_if_changed().is_err(), "a certificate without its key");
    std::fs::copy(&files(&next).key, &files(&tls).key).unwrap();
    assert!(tls.reload_if_changed().unwrap());
    assert_eq!(tls.fingerprint(), next.fingerprint());
}

#[test]
fn errors_name_the_file() {
    let directory = tempfile::tempdir().unwrap();
    let (certificate, key) = (directory.path().join("c.pem"), directory.path().join("k.pem"));
    let config = config::Tls { certificate: certificate.clone(), key: key.clone(), ..config::Tls::default() };
    let error = |config: &config::Tls| Tls::load(config, directory.path(), &[]).err().unwrap().to_string();
    assert!(error(&config).contains("c.pem"));
    std::fs::write(&certificate, "nothing").unwrap();
    assert!(error(&config).contains("c.pem: no certificate"));
    std::fs::copy(&files(&load(directory.path())).certificate, &certificate).unwrap();
    std::fs::write(&key, "nothing").unwrap();
    assert!(error(&config).contains("k.pem: no private key"));
}

/// A control connection over TLS 1.3, after its handshake and with nothing under way.
fn connected(server: &Arc<ServerConfig>, client: &Arc<ClientConfig>) -> (ServerConnection, ClientConnection) {
    let mut client = ClientConnection::new(client.clone(), ServerName::try_from("localhost").unwrap()).unwrap();
    let mut server = ServerConnection::new(server.clone()).unwrap();
    while client.is_handshaking() || server.is_handshaking() || server.wants_write() {
        carry(&mut client, &mut server);
        carry(&mut server, &mut client);
    }
    (server, client)
}

fn carry<A, B>(from: &mut rustls::ConnectionCommon<A>, to: &mut rustls::ConnectionCommon<B>)
where
    A: rustls::SideData,
    B: rustls::SideData,
{
    let mut bytes = Vec::new();
    while from.wants_write() {
        from.write_tls(&mut bytes).unwrap();
    }
    let mut rest = &*bytes;
    while !rest.is_empty() {
        to.read_tls(&mut rest).unwrap();
        to.process_new_packets().unwrap();
    }
}

#[test]
fn a_ticket_is_sent_again_when_asked_for() {
    let directory = tempfile::tempdir().unwrap();
    let tls = load(directory.path());
    let configs = tls.configs();
    let config = client(&tls, &rustls::version::TLS13);
    let (mut server, mut client) = connected(&configs.control, &config);
    let resumes = || shake(&configs.data, &config).0 == HandshakeKind::Resumed;
    // This client uses each of the handshake's two once.
    assert_eq!([resumes(), resumes(), resumes()], [true, true, false]);
    for _ in 0..3 {
        server.writer().write_all(tickets::again()).unwrap();
        server.writer().write_all(b"200 Here").unwrap();
        carry(&mut server, &mut client);
        let mut heard = [0; 64];
        assert_eq!(client.reader().read(&mut heard).unwrap(), 8);
        assert!(resumes());
    }
    // Once the keys have changed there is none to repeat, and nothing else is said instead.
    server.refresh_traffic_keys().unwrap();
    server.writer().write_all(tickets::again()).unwrap();
    server.writer().write_all(b"200").unwrap();
    carry(&mut server, &mut client);
    assert_eq!(client.reader().read(&mut [0; 64]).unwrap(), 3);
}

#[test]
fn a_host_shows_its_own_certificate() {
    let directory = tempfile::tempdir().unwrap();
    let (certificate, key) = (directory.path().join("host.pem"), directory.path().join("host.key"));
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    std::fs::write(&certificate, made.cert.pem()).unwrap();
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    let host = |name: &str, certificate: &Path, key: &Path| config::TlsHost {
        name: name.to_owned(),
        certificate: certificate.to_owned(),
        key: key.to_owned(),
    };
    let none = Path::new("");
    let hosts = vec![host("LocalHost", &certificate, &key), host("alias.example", none, none)];
    let config = config::Tls { hosts, ..config::Tls::default() };
    let tls = Tls::load(&config, directory.path(), &[]).unwrap();
    assert!(tls.is_host("localhost") && tls.is_host("ALIAS.example") && !tls.is_host("example"));

    // The client asks for localhost, and trusts what it is given here only.
    let mut roots = RootCertStore::empty();
    roots.add(made.cert.der().clone()).unwrap();
    let client = ClientConfig::builder_with_provider(Arc::new(provider::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let client = Arc::new(client);
    assert_eq!(shake(&tls.configs().control, &client).0, HandshakeKind::Full);
    assert_eq!(shake(&tls.configs().data, &client).0, HandshakeKind::Resumed);

    // Its files are watched and checked like the usual ones.
    std::fs::write(&key, "nothing").unwrap();
    assert!(tls.reload_if_changed().is_err());
    assert!(check(&config).err().unwrap().to_string().contains("host.key"));
}
