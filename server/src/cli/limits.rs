//! Limits as flags: the same for users and groups, to set and to take away.

use std::fmt;
use std::str::FromStr;

use clap::Args;
use landfall_auth::{Factor, Grant, Network, Overwrite, Permissions};

use super::Usage;
use crate::config::{ByteSize, Verbs, Way};

/// A value, or the wish to have none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Setting<T> {
    Set(T),
    Clear,
}

impl<T> Setting<T> {
    /// What is to be stored.
    pub(super) fn into_option(self) -> Option<T> {
        match self {
            Self::Set(value) => Some(value),
            Self::Clear => None,
        }
    }
}

impl<T: FromStr<Err: fmt::Display>> FromStr for Setting<T> {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "none" | "default" => Ok(Self::Clear),
            text => text.parse().map(Self::Set).map_err(|error| error.to_string()),
        }
    }
}

/// A limit: a value, none at all, or nothing said here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Limit<T> {
    Set(T),
    /// A value of its own: the group's does not count.
    Unlimited,
    /// The group's counts, then the configuration's.
    Inherit,
}

impl<T: FromStr<Err: fmt::Display>> FromStr for Limit<T> {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "none" | "unlimited" => Ok(Self::Unlimited),
            "default" | "inherit" => Ok(Self::Inherit),
            text => text.parse().map(Self::Set).map_err(|error| error.to_string()),
        }
    }
}

/// `none` means no verb at all here: whoever writes it must not give everything away.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct VerbsSetting(Limit<Verbs>);

impl FromStr for VerbsSetting {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "default" | "inherit" => Ok(Self(Limit::Inherit)),
            text => text.parse().map(|verbs| Self(Limit::Set(verbs))),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Policy(Limit<Overwrite>);

impl FromStr for Policy {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "replace" => Ok(Self(Limit::Set(Overwrite::Replace))),
            "reject" => Ok(Self(Limit::Set(Overwrite::Reject))),
            "version" => Ok(Self(Limit::Set(Overwrite::Version))),
            "default" | "inherit" => Ok(Self(Limit::Inherit)),
            _ => Err("an overwrite policy is one of replace, reject, version"),
        }
    }
}

/// The flags.
#[derive(Debug, Default, Args)]
#[command(
    next_help_heading = "Limits (none: no limit, whatever a group says; default: leave it to the groups, then to [defaults])"
)]
pub(super) struct LimitFlags {
    /// Room for all files together: 10GB, 500MiB, or a number of bytes.
    #[arg(long, value_name = "SIZE")]
    quota_bytes: Option<Limit<ByteSize>>,
    /// Number of files.
    #[arg(long, value_name = "N")]
    quota_files: Option<Limit<u64>>,
    /// Largest file.
    #[arg(long, value_name = "SIZE")]
    max_file_bytes: Option<Limit<ByteSize>>,
    /// Sessions at a time, over all protocols.
    #[arg(long, value_name = "N")]
    max_sessions: Option<Limit<u32>>,
    /// Way in: ftp, ftps, sftp. May be given more than once; all ways are open without it.
    #[arg(long = "protocol", value_name = "P", value_delimiter = ',')]
    protocols: Vec<Limit<Way>>,
    /// Network that may come in: 192.0.2.0/24, or one address. May be given more than once.
    #[arg(long = "network", value_name = "N", value_delimiter = ',')]
    networks: Vec<Limit<Network>>,
    /// What has to be shown at a login, one after the other: publickey, password, totp. Any one of key and password
    /// without it.
    #[arg(long = "factors", value_name = "F", value_delimiter = ',')]
    factors: Vec<Limit<Factor>>,
    /// What happens to a file of the same name: replace, reject, version.
    #[arg(long, value_name = "POLICY")]
    overwrite: Option<Policy>,
    /// Verbs out of list,read,write,overwrite,delete,rename,mkdir; or all, none, dropbox (write only).
    #[arg(long, value_name = "VERBS")]
    permissions: Option<VerbsSetting>,
}

impl LimitFlags {
    /// True when no flag is given.
    pub(super) fn is_empty(&self) -> bool {
        self.quota_bytes.is_none()
            && self.quota_files.is_none()
            && self.max_file_bytes.is_none()
            && self.max_sessions.is_none()
            && self.protocols.is_empty()
            && self.networks.is_empty()
            && self.factors.is_empty()
            && self.overwrite.is_none()
            && self.permissions.is_none()
    }

    /// Changes a grant as the flags say.
    pub(super) fn apply(self, grant: &mut Grant) -> anyhow::Result<()> {
        fn set<T, U>(target: &mut Option<U>, flag: Option<Limit<T>>, unlimited: U, into: impl Fn(T) -> U) {
            match flag {
                None => {}
                Some(Limit::Set(value)) => *target = Some(into(value)),
                Some(Limit::Unlimited) => *target = Some(unlimited),
                Some(Limit::Inherit) => *target = None,
            }
        }
        let (protocols, networks) = (limits("protocol", self.protocols)?, limits("network", self.networks)?);
        set(&mut grant.quota_bytes, self.quota_bytes, Grant::UNLIMITED, |size| size.0);
        set(&mut grant.quota_files, self.quota_files, Grant::UNLIMITED, |files| files);
        set(&mut grant.max_file_bytes, self.max_file_bytes, Grant::UNLIMITED, |size| size.0);
        set(&mut grant.max_sessions, self.max_sessions, Grant::UNLIMITED_SESSIONS, |sessions| sessions);
        // An empty list is "all", and a value of its own.
        set(&mut grant.protocols, protocols, Vec::new(), |ways| ways.into_iter().map(|way| way.0).collect());
        set(&mut grant.networks, networks, Vec::new(), |networks| networks);
        set(&mut grant.factors, limits("factors", self.factors)?, Vec::new(), |factors| factors);
        set(&mut grant.overwrite, self.overwrite.map(|policy| policy.0), Overwrite::default(), |policy| policy);
        set(&mut grant.permissions, self.permissions.map(|verbs| verbs.0), Permissions::default(), |verbs| verbs.0);
        Ok(())
    }
}

/// A repeated flag as one value; `none` takes all away.
pub(super) fn list<T>(flag: &str, settings: Vec<Setting<T>>) -> anyhow::Result<Option<Setting<Vec<T>>>> {
    let (count, values): (usize, Vec<T>) =
        (settings.len(), settings.into_iter().filter_map(Setting::into_option).collect());
    match (count, values.len()) {
        (0, _) => Ok(None),
        (1, 0) => Ok(Some(Setting::Clear)),
        (all, kept) if all == kept => Ok(Some(Setting::Set(values))),
        _ => Err(alone(flag)),
    }
}

/// The same for a limit.
fn limits<T>(flag: &str, limits: Vec<Limit<T>>) -> anyhow::Result<Option<Limit<Vec<T>>>> {
    let only = limits.len() == 1;
    let mut values = Vec::with_capacity(limits.len());
    for limit in limits {
        match limit {
            Limit::Set(value) => values.push(value),
            Limit::Unlimited if only => return Ok(Some(Limit::Unlimited)),
            Limit::Inherit if only => return Ok(Some(Limit::Inherit)),
            Limit::Unlimited | Limit::Inherit => return Err(alone(flag)),
        }
    }
    Ok(if values.is_empty() { None } else { Some(Limit::Set(values)) })
}

fn alone(flag: &str) -> anyhow::Error {
    Usage(format!("--{flag} none or default cannot go with other values of --{flag}")).into()
}

/// A grant for programs. `null`: nothing said here; `"unlimited"` and, for lists, `"all"`: no limit, and a value of its own.
pub(super) fn as_json(grant: &Grant) -> serde_json::Value {
    fn number(value: Option<u64>, unlimited: bool) -> serde_json::Value {
        if unlimited { "unlimited".into() } else { value.into() }
    }
    fn items<T: fmt::Display>(values: Option<Vec<T>>) -> serde_json::Value {
        match values {
            Some(values) if values.is_empty() => "all".into(),
            values => values.map(|all| all.iter().map(ToString::to_string).collect::<Vec<_>>()).into(),
        }
    }
    let bytes = |value: Option<u64>| number(value, value == Some(Grant::UNLIMITED));
    let sessions = grant.max_sessions;
    serde_json::json!({
        "permissions": grant.permissions,
        "overwrite": grant.overwrite,
        "quota_bytes": bytes(grant.quota_bytes),
        "quota_files": bytes(grant.quota_files),
        "max_file_bytes": bytes(grant.max_file_bytes),
        "max_sessions": number(sessions.map(u64::from), sessions == Some(Grant::UNLIMITED_SESSIONS)),
        "protocols": items(grant.protocols.as_ref().map(|all| all.iter().copied().map(Way).collect())),
        "networks": items(grant.networks.clone()),
        "factors": grant.factors.as_ref().map(|factors| match factors.as_slice() {
            [] => serde_json::json!("any"),
            factors => serde_json::json!(factors),
        }),
    })
}

/// What holds, with nothing left unsaid.
pub(super) fn in_full(effective: &Grant) -> Grant {
    Grant {
        permissions: Some(effective.permissions.unwrap_or_default()),
        overwrite: Some(effective.overwrite.unwrap_or_default()),
        quota_bytes: effective.quota_bytes.or(Some(Grant::UNLIMITED)),
        quota_files: effective.quota_files.or(Some(Grant::UNLIMITED)),
        max_file_bytes: effective.max_file_bytes.or(Some(Grant::UNLIMITED)),
        max_sessions: effective.max_sessions.or(Some(Grant::UNLIMITED_SESSIONS)),
        protocols: effective.protocols.clone().or(Some(Vec::new())),
        networks: effective.networks.clone().or(Some(Vec::new())),
        factors: effective.factors.clone().or(Some(Vec::new())),
    }
}

/// A grant's values as people read them, by flag; empty where nothing is said.
pub(super) fn describe(grant: &Grant) -> Vec<(&'static str, String)> {
    fn show<T: fmt::Display>(value: Option<T>) -> String {
        value.map(|value| value.to_string()).unwrap_or_default()
    }
    fn join<T: fmt::Display>(values: Option<Vec<T>>) -> String {
        match values {
            Some(values) if values.is_empty() => "all".to_owned(),
            values => values.unwrap_or_default().iter().map(ToString::to_string).collect::<Vec<_>>().join(", "),
        }
    }
    let overwrite = grant.overwrite.map(|overwrite| match overwrite {
        Overwrite::Replace => "replace",
        Overwrite::Reject => "reject",
        Overwrite::Version => "version",
    });
    let count = |count: Option<u64>, unlimited| show(count.map(|count| Count { count, unlimited }));
    let ways = grant.protocols.as_ref().map(|protocols| protocols.iter().copied().map(Way).collect());
    vec![
        ("permissions", show(grant.permissions.map(Verbs))),
        ("overwrite", show(overwrite)),
        ("quota-bytes", show(grant.quota_bytes.map(ByteSize))),
        ("quota-files", count(grant.quota_files, Grant::UNLIMITED)),
        ("max-file-bytes", show(grant.max_file_bytes.map(ByteSize))),
        ("max-sessions", count(grant.max_sessions.map(u64::from), u64::from(Grant::UNLIMITED_SESSIONS))),
        ("protocols", join::<Way>(ways)),
        ("networks", join(grant.networks.clone())),
        ("factors", if grant.factors == Some(Vec::new()) { "any".to_owned() } else { join(grant.factors.clone()) }),
    ]
}

/// A number of which one means that there is no limit.
struct Count {
    count: u64,
    unlimited: u64,
}

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.count == self.unlimited { f.write_str("unlimited") } else { write!(f, "{}", self.count) }
    }
}
