//! What `[events]` and `[[sinks]]` mean: errors and warnings. Looks at values only.

use std::net::IpAddr;

use super::check::Findings;
use super::sinks::MAX_SINKS;
use super::units::MOST_SECONDS;
use super::{Config, Sink, SinkKind};
use crate::outbox::network;

/// Longest time for one attempt, in seconds.
const MOST_TIMEOUT_SECONDS: u64 = 3_600;

/// Everything there is to say about them.
pub(super) fn check(config: &Config, findings: &mut Findings) {
    let events = &config.events;
    if events.source.is_empty() || events.source.chars().any(|c| c.is_whitespace() || c.is_control()) {
        findings.error("events.source", "a name or an address without spaces is expected, such as landfall");
    }
    if events.retention.0.as_secs() == 0 {
        findings.error("events.retention", "at least 1s");
    } else if events.batch_quiet.0 >= events.retention.0 {
        findings.error("events.batch_quiet", "events.retention is not longer: a batch would be gone before its end");
    }
    if config.sinks.len() > MAX_SINKS {
        findings.error("sinks", format!("at most {MAX_SINKS}"));
    }
    for (index, sink) in config.sinks.iter().enumerate() {
        let key = |name: &str| format!("sinks.{index}.{name}");
        let fits = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
        if sink.name.is_empty() || sink.name.len() > 64 || !sink.name.bytes().all(fits) {
            findings.error(&key("name"), "a name is 1 to 64 letters, digits, . _ -");
        }
        if config.sinks.iter().take(index).any(|other| other.name == sink.name) {
            findings.error(&key("name"), format!("{} is declared twice", sink.name));
        }
        if !(1..=MOST_TIMEOUT_SECONDS).contains(&sink.timeout().as_secs()) {
            findings.error(&key("timeout_seconds"), format!("between 1 and {MOST_TIMEOUT_SECONDS} seconds"));
        }
        if !(1..=MOST_SECONDS).contains(&sink.park_after.0.as_secs()) {
            findings.error(&key("park_after"), "at least 1s");
        }
        match sink.kind {
            SinkKind::Webhook => webhook(sink, key, findings),
            SinkKind::Exec => exec(sink, key, findings),
        }
    }
}

fn webhook(sink: &Sink, key: impl Fn(&str) -> String, findings: &mut Findings) {
    match sink.target() {
        Err(message) if sink.url.is_none() => findings.error(&key("name"), format!("url is missing: {message}")),
        Err(message) => findings.error(&key("url"), message),
        Ok(target) => {
            let address = target.host.parse::<IpAddr>().ok();
            if address.is_some_and(|address| !sink.allow_private_networks && !network::is_public(address)) {
                findings.error(
                    &key("url"),
                    "an address that the Internet does not reach; allow_private_networks = true if that is meant",
                );
            } else if !target.tls && !sink.allow_private_networks {
                findings.warning(&key("url"), "http: what is told crosses the network in clear; https is safer");
            }
        }
    }
    if let Err(message) = sink.key() {
        findings.error(&key(if sink.secret.is_some() { "secret" } else { "name" }), message);
    }
    if !sink.command.is_empty() {
        findings.error(&key("command"), "it belongs to kind = \"exec\"");
    }
}

fn exec(sink: &Sink, key: impl Fn(&str) -> String, findings: &mut Findings) {
    match sink.command.first() {
        None => findings.error(&key("name"), "command is missing: [\"/path/of/program\", \"argument\", …]"),
        Some(program) if !program.starts_with('/') => {
            findings.error(&key("command"), "the program's absolute path is expected; no shell looks for it");
        }
        Some(_) if sink.command.iter().any(|part| part.contains('\0')) => {
            findings.error(&key("command"), "an argument holds a zero byte");
        }
        Some(_) => {}
    }
    for (name, set) in [("url", sink.url.is_some()), ("secret", sink.secret.is_some()), ("ca", sink.ca.is_some())] {
        if set {
            findings.error(&key(name), "it belongs to kind = \"webhook\"");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Period, Secret};
    use super::*;

    const SECRET: &str = "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

    fn hook(change: impl FnOnce(&mut Sink)) -> Sink {
        let mut sink = Sink {
            name: "shop".to_owned(),
            url: Some("https://shop.example/hook".to_owned()),
            secret: Some(Secret::new(SECRET.to_owned())),
            ..Sink::default()
        };
        change(&mut sink);
        sink
    }

    fn exec(command: &[&str]) -> Sink {
        let command = command.iter().map(|part| (*part).to_owned()).collect();
        Sink { name: "import".to_owned(), kind: SinkKind::Exec, command, ..Sink::default() }
    }

    fn said(sinks: Vec<Sink>) -> Vec<(String, bool)> {
        let mut findings = Findings::default();
        check(&Config { sinks, ..Config::default() }, &mut findings);
        findings.0.into_iter().map(|finding| (finding.key, finding.fatal)).collect()
    }

    fn error(key: &str) -> Vec<(String, bool)> {
        vec![(key.to_owned(), true)]
    }

    #[test]
    fn sinks_are_checked() {
        assert_eq!(said(vec![hook(|_| ()), exec(&["/bin/true", "a b"])]), []);
        assert_eq!(said(vec![hook(|_| ()), hook(|_| ())]), error("sinks.1.name"));
        assert_eq!(said(vec![hook(|sink| sink.name.clear())]), error("sinks.0.name"));
        assert_eq!(said(vec![hook(|sink| sink.url = None)]), error("sinks.0.name"));
        assert_eq!(said(vec![hook(|sink| sink.url = Some("ftp://a".to_owned()))]), error("sinks.0.url"));
        assert_eq!(said(vec![hook(|sink| sink.url = Some("https://10.0.0.1/".to_owned()))]), error("sinks.0.url"));
        assert_eq!(
            said(vec![hook(|sink| sink.url = Some("http://shop.example/".to_owned()))]),
            [("sinks.0.url".to_owned(), false)]
        );
        let near = |sink: &mut Sink| {
            sink.url = Some("http://127.0.0.1:1/".to_owned());
            sink.allow_private_networks = true;
        };
        assert_eq!(said(vec![hook(near)]), []);
        assert_eq!(said(vec![hook(|sink| sink.secret = None)]), error("sinks.0.name"));
        assert_eq!(
            said(vec![hook(|sink| sink.secret = Some(Secret::new("short".to_owned())))]),
            error("sinks.0.secret")
        );
        assert_eq!(said(vec![hook(|sink| sink.timeout_seconds = Some(0))]), error("sinks.0.timeout_seconds"));
        assert_eq!(
            said(vec![hook(|sink| sink.park_after = Period(std::time::Duration::ZERO))]),
            error("sinks.0.park_after")
        );
        assert_eq!(said(vec![exec(&[])]), error("sinks.0.name"));
        assert_eq!(said(vec![exec(&["import --now"])]), error("sinks.0.command"));
        assert_eq!(said(vec![Sink { url: Some("https://a".to_owned()), ..exec(&["/a"]) }]), error("sinks.0.url"));
        let many = (0..=MAX_SINKS).map(|number| Sink { name: format!("s{number}"), ..exec(&["/a"]) });
        assert_eq!(said(many.collect()), error("sinks"));
    }

    #[test]
    fn events_are_checked() {
        let said = |change: fn(&mut Config)| {
            let mut config = Config::default();
            change(&mut config);
            let mut findings = Findings::default();
            check(&config, &mut findings);
            findings.0.into_iter().map(|finding| (finding.key, finding.fatal)).collect::<Vec<_>>()
        };
        assert_eq!(said(|_| ()), []);
        assert_eq!(said(|config| config.events.source.clear()), error("events.source"));
        assert_eq!(said(|config| config.events.batch_quiet = config.events.retention), error("events.batch_quiet"));
    }
}
