//! What the values mean together: what cannot work, and what works but is probably not meant.
//! Looks at values only; what a disk or a network says is found out at the start.

use std::net::{IpAddr, SocketAddr};
use std::path::{Component, Path, PathBuf};

use landfall_auth::{Factor, check_factors};
use landfall_storage::VirtualPath;

use super::units::MOST_SECONDS;
use super::{Config, PassiveHost, TlsHost, TlsPolicy, check_sinks};

/// Longest text before login, in bytes: two screens of a terminal.
const MAX_BANNER_BYTES: usize = 4096;

/// One remark about a value.
#[derive(Debug)]
pub(super) struct Finding {
    /// The key it is about.
    pub(super) key: String,
    /// What is wrong, and what would be right.
    pub(super) message: String,
    /// Does it stop the start?
    pub(super) fatal: bool,
}

/// What was found so far.
#[derive(Default)]
pub(super) struct Findings(pub(super) Vec<Finding>);

impl Findings {
    pub(super) fn error(&mut self, key: &str, message: impl Into<String>) {
        self.0.push(Finding { key: key.to_owned(), message: message.into(), fatal: true });
    }

    pub(super) fn warning(&mut self, key: &str, message: impl Into<String>) {
        self.0.push(Finding { key: key.to_owned(), message: message.into(), fatal: false });
    }
}

/// Everything there is to say about `config`.
pub(super) fn check(config: &Config) -> Vec<Finding> {
    let mut findings = Findings::default();
    places(config, &mut findings);
    listeners(config, &mut findings);
    passive(config, &mut findings);
    proxies(config, &mut findings);
    tls(config, &mut findings);
    limits(config, &mut findings);
    password_cost(config, &mut findings);
    people(config, &mut findings);
    factors(config, &mut findings);
    banner(&config.sftp.banner, &mut findings);
    check_sinks::check(config, &mut findings);
    findings.0
}

fn places(config: &Config, findings: &mut Findings) {
    if config.data_dir.as_os_str().is_empty() {
        findings.error("data_dir", "a directory is expected");
        return;
    }
    // A supplier must never reach the database, the keys or the control socket.
    let (root, data_dir) = (plain(&config.storage.root), plain(&config.data_dir));
    if data_dir.starts_with(&root) {
        findings
            .error("storage.root", "data_dir lies inside it: suppliers would reach database and keys; keep them apart");
    }
    if config.storage.resume_ttl().as_secs() == 0 {
        findings.error("storage.resume_ttl", "at least 1s");
    }
    for pattern in &config.storage.temporary_names {
        if pattern.chars().all(|c| c == '*') || pattern.contains('/') {
            findings.error("storage.temporary_names", format!("\"{pattern}\" is no pattern of a temporary file name"));
        }
    }
}

/// Absolute, without `.` and `..`; links are not looked up.
fn plain(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for part in std::path::absolute(path).unwrap_or_else(|_| path.to_owned()).components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir => {
                plain.pop();
            }
            part => plain.push(part),
        }
    }
    plain
}

/// All addresses to listen on, with their keys.
fn addresses(config: &Config) -> Vec<(&'static str, SocketAddr)> {
    let of = |key, addresses: &[SocketAddr]| addresses.iter().map(|address| (key, *address)).collect::<Vec<_>>();
    let mut all = of("ftp.listen", &config.ftp.listen);
    all.extend(of("ftp.implicit_listen", &config.ftp.implicit_listen));
    all.extend(of("sftp.listen", &config.sftp.listen));
    all.extend(of("http.listen", &config.http.listen));
    all
}

fn listeners(config: &Config, findings: &mut Findings) {
    let all = addresses(config);
    if all.iter().all(|(key, _)| *key == "http.listen") {
        findings.error("", "nothing to listen on: ftp.listen, ftp.implicit_listen and sftp.listen are all empty");
    }
    for (index, (key, address)) in all.iter().enumerate() {
        for (other_key, other) in all.iter().take(index) {
            if address.port() != 0 && address.port() == other.port() && overlap(address.ip(), other.ip()) {
                findings.error(key, format!("{address} collides with {other} of {other_key}"));
            }
        }
        if (1..1024).contains(&address.port()) {
            findings.warning(
                key,
                format!(
                    "port {} needs a privilege (root, CAP_NET_BIND_SERVICE, or net.ipv4.ip_unprivileged_port_start)",
                    address.port()
                ),
            );
        }
    }
}

fn overlap(a: IpAddr, b: IpAddr) -> bool {
    // `::` takes IPv4 connections too, `0.0.0.0` takes no IPv6 ones.
    let covers = |wide: IpAddr, other: IpAddr| wide.is_unspecified() && (wide.is_ipv6() || other.is_ipv4());
    a == b || covers(a, b) || covers(b, a)
}

fn passive(config: &Config, findings: &mut Findings) {
    let ftp = &config.ftp;
    if ftp.listen.is_empty() && ftp.implicit_listen.is_empty() {
        return;
    }
    let range = ftp.passive_ports;
    if range.first != 0 {
        for (key, address) in addresses(config) {
            if (range.first..=range.last).contains(&address.port()) {
                findings.error(
                    "ftp.passive_ports",
                    format!("{}-{} holds port {} of {key}", range.first, range.last, address.port()),
                );
            }
        }
        let ports = u32::from(range.last - range.first) + 1;
        if ports < 10 {
            findings.warning(
                "ftp.passive_ports",
                match ports {
                    1 => "1 port lets only 1 data connection be set up at a time; 10 or more are usual".to_owned(),
                    ports => format!(
                        "{ports} ports let only {ports} data connections be set up at a time; 10 or more are usual"
                    ),
                },
            );
        }
        if range.first < 1024 {
            findings.warning("ftp.passive_ports", "ports below 1024 need a privilege");
        }
    }
    match &ftp.passive_host {
        PassiveHost::Auto => {}
        PassiveHost::Host(host) if host.parse::<IpAddr>().is_ok_and(|ip| ip.is_ipv6()) => {
            findings.error("ftp.passive_host", "PASV tells IPv4 addresses only; give an IPv4 address or a host name");
        }
        PassiveHost::Host(host) => {
            if !is_host_name(host) {
                findings.error("ftp.passive_host", "auto, an IPv4 address or a host name is expected");
            }
        }
    }
}

fn proxies(config: &Config, findings: &mut Findings) {
    for (key, networks) in
        [("ftp.proxy_protocol", &config.ftp.proxy_protocol), ("sftp.proxy_protocol", &config.sftp.proxy_protocol)]
    {
        if networks.iter().any(|network| network.to_string().ends_with("/0")) {
            findings.warning(key, "everybody is believed to come from wherever they say; list the proxies only");
        }
    }
}

fn tls(config: &Config, findings: &mut Findings) {
    pair("tls", &config.tls.certificate, &config.tls.key, findings);
    hosts(&config.tls.hosts, findings);
    if config.ftp.tls == TlsPolicy::Off {
        if !config.ftp.implicit_listen.is_empty() {
            findings.error("ftp.implicit_listen", "implicit FTPS cannot go with ftp.tls = \"off\"");
        }
        if let Some(address) = config.ftp.listen.iter().find(|address| !address.ip().is_loopback()) {
            findings.warning(
                "ftp.tls",
                format!(
                    "off: passwords and files cross the network in clear on {address}; optional or required is safer"
                ),
            );
        }
    }
}

fn pair(section: &str, certificate: &Path, key: &Path, findings: &mut Findings) {
    let (certificate_key, key_key) = (format!("{section}.certificate"), format!("{section}.key"));
    match (certificate.as_os_str().is_empty(), key.as_os_str().is_empty()) {
        (false, true) => findings.error(&certificate_key, format!("{key_key} is missing: both or neither")),
        (true, false) => findings.error(&key_key, format!("{certificate_key} is missing: both or neither")),
        _ => {}
    }
}

fn hosts(hosts: &[TlsHost], findings: &mut Findings) {
    for (index, host) in hosts.iter().enumerate() {
        let section = format!("tls.hosts.{index}");
        let name = format!("{section}.name");
        if !is_host_name(&host.name) || host.name.parse::<IpAddr>().is_ok() {
            findings.error(&name, "a host name is expected, such as ftp.example.com");
        }
        if hosts.iter().take(index).any(|other| other.name.eq_ignore_ascii_case(&host.name)) {
            findings.error(&name, format!("{} is declared twice", host.name));
        }
        pair(&section, &host.certificate, &host.key, findings);
    }
}

fn is_host_name(name: &str) -> bool {
    let fits = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_');
    !name.is_empty() && name.len() <= 253 && name.bytes().all(fits)
}

fn limits(config: &Config, findings: &mut Findings) {
    let limits = &config.limits;
    for (key, value) in [
        ("limits.connections", limits.connections),
        ("limits.connections_per_network", limits.connections_per_network),
        ("limits.strangers", limits.strangers),
        ("limits.transfers", limits.transfers),
        ("limits.login_attempts_per_connection", limits.login_attempts_per_connection),
    ] {
        if value == 0 {
            findings.error(key, "at least 1");
        }
    }
    for (key, seconds, least) in [
        ("limits.login_seconds", limits.login_seconds, 1),
        ("limits.handshake_seconds", limits.handshake_seconds, 1),
        ("limits.idle_seconds", limits.idle_seconds, 1),
        ("limits.transfer_idle_seconds", limits.transfer_idle_seconds, 1),
        ("limits.data_connect_seconds", limits.data_connect_seconds, 1),
        ("limits.drain_seconds", limits.drain_seconds, 0),
    ] {
        if !(least..=MOST_SECONDS).contains(&seconds) {
            findings.error(key, format!("between {least} and {MOST_SECONDS} seconds"));
        }
    }
}

fn password_cost(config: &Config, findings: &mut Findings) {
    const MOST_MEMORY_KIB: u32 = 1_048_576;
    let auth = &config.auth;
    let within = |value: u32, least: u32, most: u32| (least..=most).contains(&value);
    for (key, value, least, most) in [
        ("auth.argon2_lanes", auth.argon2_lanes, 1, 16),
        ("auth.argon2_iterations", auth.argon2_iterations, 1, 64),
        ("auth.argon2_memory_kib", auth.argon2_memory_kib, 8 * auth.argon2_lanes.clamp(1, 16), MOST_MEMORY_KIB),
        ("auth.verifications", auth.verifications.unwrap_or(1), 1, 1_024),
        ("auth.verifications_waiting", auth.verifications_waiting, 1, 100_000),
    ] {
        if !within(value, least, most) {
            findings.error(key, format!("between {least} and {most}"));
        }
    }
    if auth.argon2_memory_kib < 19_456 && auth.argon2_memory_kib >= 8 {
        findings.warning("auth.argon2_memory_kib", "less than 19456 makes stolen hashes cheaper to guess");
    }
}

fn people(config: &Config, findings: &mut Findings) {
    for (index, user) in config.users.iter().enumerate() {
        let key = |name: &str| format!("users.{index}.{name}");
        name(&user.name, &key("name"), findings);
        if config.users.iter().take(index).any(|other| other.name == user.name) {
            findings.error(&key("name"), format!("{} is declared twice", user.name));
        }
        if user.password.is_some() && user.password_hash.is_some() {
            findings.error(&key("password"), "password_hash is set too; set one");
        }
        if user.password.as_ref().is_some_and(super::Secret::is_empty) {
            findings.error(&key("password"), "a password cannot be empty");
        }
        if user.password_hash.as_ref().is_some_and(|hash| !hash.expose().starts_with('$')) {
            findings.error(&key("password_hash"), "not a hash: it begins with $, as in $argon2id$…");
        }
        let no_secret = user.password.is_none() && user.password_hash.is_none() && user.public_keys.is_empty();
        if no_secret && config.auth.public_keys_dir.is_none() {
            findings
                .warning(&key("name"), format!("{} has neither password nor public key and cannot log in", user.name));
        }
        if user.home.as_ref().is_some_and(|home| !home.starts_with('/') || VirtualPath::parse(home).is_err()) {
            findings.error(&key("home"), "an absolute path on the storage is expected, such as /acme");
        }
    }
    for (index, group) in config.groups.iter().enumerate() {
        let key = format!("groups.{index}.name");
        name(&group.name, &key, findings);
        if config.groups.iter().take(index).any(|other| other.name == group.name) {
            findings.error(&key, format!("{} is declared twice", group.name));
        }
    }
}

fn factors(config: &Config, findings: &mut Findings) {
    let mut check = |key: String, factors: Option<&Vec<Factor>>| {
        if let Some(Err(error)) = factors.map(|factors| check_factors(factors)) {
            findings.error(&key, error.to_string());
        }
    };
    check("defaults.factors".to_owned(), config.defaults.factors.as_ref());
    for (index, group) in config.groups.iter().enumerate() {
        check(format!("groups.{index}.factors"), group.factors.as_ref());
    }
    for (index, user) in config.users.iter().enumerate() {
        check(format!("users.{index}.factors"), user.factors.as_ref());
    }
}

/// Terminals obey control characters, and a client may show the text as it comes.
fn banner(banner: &str, findings: &mut Findings) {
    if banner.len() > MAX_BANNER_BYTES {
        findings.error("sftp.banner", format!("at most {MAX_BANNER_BYTES} bytes"));
    }
    if banner.chars().any(|c| c.is_control() && !matches!(c, '\n' | '\t')) {
        findings.error("sftp.banner", "it holds control characters other than line ends and tabs");
    }
}

fn name(name: &str, key: &str, findings: &mut Findings) {
    let first = name.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric());
    let rest = name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'@' | b'-'));
    if !first || !rest || name.len() > 64 {
        findings.error(
            key,
            if name.is_empty() {
                "a name is missing".to_owned()
            } else {
                "a name is 1 to 64 letters, digits, . _ @ - and begins with a letter or digit".to_owned()
            },
        );
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::super::{DeclaredGroup, PortRange};
    use super::*;

    fn loaded() -> Config {
        let mut config = Config::default();
        config.storage.root = config.data_dir.join("files");
        config
    }

    fn keys(change: impl FnOnce(&mut Config)) -> Vec<(String, bool)> {
        let mut config = loaded();
        change(&mut config);
        check(&config).into_iter().map(|finding| (finding.key, finding.fatal)).collect()
    }

    fn error(key: &str) -> Vec<(String, bool)> {
        vec![(key.to_owned(), true)]
    }

    fn warning(key: &str) -> Vec<(String, bool)> {
        vec![(key.to_owned(), false)]
    }

    #[test]
    fn the_defaults_are_fine() {
        assert_eq!(keys(|_| ()), []);
    }

    #[test]
    fn listeners_collide() {
        let any = |port| SocketAddr::from(([0, 0, 0, 0], port));
        assert_eq!(keys(|c| c.sftp.listen = vec![any(2121)]), error("sftp.listen"));
        assert_eq!(keys(|c| c.sftp.listen = vec![SocketAddr::from(([127, 0, 0, 1], 2121))]), error("sftp.listen"));
        assert_eq!(keys(|c| c.sftp.listen = vec!["[::]:2121".parse().unwrap()]), error("sftp.listen"));
        assert_eq!(keys(|c| c.sftp.listen = vec!["[::1]:2121".parse().unwrap()]), []);
        assert_eq!(keys(|c| c.sftp.listen = vec![any(0), any(0)]), []);
        assert_eq!(keys(|c| c.sftp.listen = vec![any(50_003)]), error("ftp.passive_ports"));
        assert_eq!(keys(|c| c.ftp.listen = vec![any(21)]), warning("ftp.listen"));
        assert_eq!(
            keys(|c| {
                c.ftp.listen.clear();
                c.sftp.listen.clear();
            }),
            error("")
        );
    }

    #[test]
    fn a_proxy_is_somebody_in_particular() {
        assert_eq!(keys(|c| c.ftp.proxy_protocol = vec!["10.0.0.0/8".parse().unwrap()]), []);
        assert_eq!(keys(|c| c.ftp.proxy_protocol = vec!["0.0.0.0/0".parse().unwrap()]), warning("ftp.proxy_protocol"));
        assert_eq!(keys(|c| c.sftp.proxy_protocol = vec!["::/0".parse().unwrap()]), warning("sftp.proxy_protocol"));
    }

    #[test]
    fn tls_settings_fit_together() {
        assert_eq!(keys(|c| c.tls.certificate = "a.pem".into()), error("tls.certificate"));
        assert_eq!(keys(|c| c.tls.key = "a.pem".into()), error("tls.key"));
        let host = |name: &str, certificate: &str| TlsHost {
            name: name.to_owned(),
            certificate: certificate.into(),
            ..TlsHost::default()
        };
        assert_eq!(keys(|c| c.tls.hosts = vec![host("ftp.example.com", "")]), []);
        assert_eq!(keys(|c| c.tls.hosts = vec![host("ftp.example.com", "a.pem")]), error("tls.hosts.0.certificate"));
        for wrong in ["", "192.0.2.1", "ftp example"] {
            assert_eq!(keys(|c| c.tls.hosts = vec![host(wrong, "")]), error("tls.hosts.0.name"));
        }
        assert_eq!(
            keys(|c| c.tls.hosts = vec![host("a.example", ""), host("A.example", "")]),
            error("tls.hosts.1.name")
        );
        assert_eq!(keys(|c| c.ftp.tls = TlsPolicy::Off), warning("ftp.tls"));
        assert_eq!(
            keys(|c| {
                c.ftp.tls = TlsPolicy::Off;
                c.ftp.listen = vec![SocketAddr::from(([127, 0, 0, 1], 2121))];
                c.ftp.implicit_listen = vec![SocketAddr::from(([127, 0, 0, 1], 990))];
            })
            .into_iter()
            .filter(|(_, fatal)| *fatal)
            .collect::<Vec<_>>(),
            error("ftp.implicit_listen")
        );
    }

    #[test]
    fn suppliers_cannot_reach_the_data_dir() {
        assert_eq!(keys(|c| c.storage.root = c.data_dir.clone()), error("storage.root"));
        assert_eq!(keys(|c| c.storage.root = c.data_dir.join("files/../..")), error("storage.root"));
        assert_eq!(keys(|c| c.storage.root = "/".into()), error("storage.root"));
        assert_eq!(keys(|c| c.storage.root = c.data_dir.with_file_name("landfall-data-files")), []);
    }

    #[test]
    fn numbers_have_bounds() {
        assert_eq!(keys(|c| c.limits.login_seconds = 0), error("limits.login_seconds"));
        assert_eq!(keys(|c| c.limits.idle_seconds = u64::MAX), error("limits.idle_seconds"));
        assert_eq!(keys(|c| c.limits.drain_seconds = 0), []);
        assert_eq!(keys(|c| c.limits.transfers = 0), error("limits.transfers"));
        assert_eq!(keys(|c| c.auth.argon2_iterations = 0), error("auth.argon2_iterations"));
        assert_eq!(keys(|c| c.auth.argon2_memory_kib = 1_024), warning("auth.argon2_memory_kib"));
        assert_eq!(
            keys(|c| c.ftp.passive_ports = PortRange { first: 50_000, last: 50_003 }),
            warning("ftp.passive_ports")
        );
    }

    #[test]
    fn banners_and_factors() {
        for good in ["", "No entry for strangers.\n\tGrüße 😀\n"] {
            assert_eq!(keys(|c| c.sftp.banner = good.to_owned()), [], "{good}");
        }
        for bad in ["\u{1b}[2J", "a\r\nb", "\0", "\u{9b}31m", &"x".repeat(4097)] {
            assert_eq!(keys(|c| c.sftp.banner = bad.to_owned()), error("sftp.banner"), "{bad:.9}");
        }
        let list = |text: &str| text.split(',').map(|factor| factor.parse().unwrap()).collect::<Vec<Factor>>();
        assert_eq!(keys(|c| c.defaults.factors = Some(list("publickey,password"))), []);
        assert_eq!(keys(|c| c.defaults.factors = Some(list("totp,publickey"))), error("defaults.factors"));
        assert_eq!(
            keys(|c| {
                let factors = Some(list("password,totp"));
                c.groups = vec![DeclaredGroup { name: "press".to_owned(), factors, ..DeclaredGroup::default() }];
            }),
            error("groups.0.factors")
        );
    }

    #[test]
    fn people_are_checked() {
        use super::super::{DeclaredUser, Secret};
        let user = |name: &str| DeclaredUser {
            name: name.to_owned(),
            password: Some(Secret::new("secret".to_owned())),
            ..DeclaredUser::default()
        };
        assert_eq!(keys(|c| c.users = vec![user("acme")]), []);
        assert_eq!(keys(|c| c.users = vec![user("acme"), user("acme")]), error("users.1.name"));
        assert_eq!(keys(|c| c.users = vec![user("-acme")]), error("users.0.name"));
        assert_eq!(
            keys(|c| c.users = vec![DeclaredUser { home: Some("acme".into()), ..user("acme") }]),
            error("users.0.home")
        );
        assert_eq!(keys(|c| c.users = vec![DeclaredUser { password: None, ..user("acme") }]), warning("users.0.name"));
    }
}
