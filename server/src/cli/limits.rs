//! Limits as flags: the same for users and groups, to set and to take away.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use clap::Args;
use landfall_auth::{ContentCheck, ContentType, Factor, Grant, NamePattern, Network, Overwrite, Permissions, Pixels};

use super::Usage;
use crate::config::{ByPath, ByteSize, PathVerbs, Size, Verbs, Way};

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
    /// Files that land in one day, by UTC.
    #[arg(long, value_name = "N")]
    max_uploads_per_day: Option<Limit<u64>>,
    /// Bandwidth each way, over all sessions: bytes per second.
    #[arg(long, value_name = "SIZE")]
    max_bytes_per_second: Option<Limit<ByteSize>>,
    /// Bandwidth each way, in each session: bytes per second.
    #[arg(long, value_name = "SIZE")]
    max_session_bytes_per_second: Option<Limit<ByteSize>>,
    /// What files may be, by their content: jpeg, png, webp, gif, tiff, avif, heic, pdf, zip, csv. May be given more than
    /// once; anything may land without it.
    #[arg(long, value_name = "TYPE", value_delimiter = ',')]
    allowed_types: Vec<Kinds>,
    /// How closely the content of images, PDF and ZIP files is looked at before they land: off, structure, decode.
    #[arg(long, value_name = "DEPTH")]
    content_check: Option<Limit<ContentCheck>>,
    /// Smallest picture, such as 800x600.
    #[arg(long, value_name = "WxH")]
    min_pixels: Option<Limit<Pixels>>,
    /// Largest picture.
    #[arg(long, value_name = "WxH")]
    max_pixels: Option<Limit<Pixels>>,
    /// What names of files look like: a regular expression for the whole name, such as '[0-9]{8}_[0-9]+\.jpg'.
    #[arg(long, value_name = "REGEX")]
    file_name_pattern: Option<Limit<NamePattern>>,
    /// What happens to a file of the same name: replace, reject, version.
    #[arg(long, value_name = "POLICY")]
    overwrite: Option<Policy>,
    /// Verbs out of list,read,write,overwrite,delete,rename,mkdir; or all, none, dropbox (write only).
    #[arg(long, value_name = "VERBS")]
    permissions: Option<VerbsSetting>,
    /// Other verbs below a path, such as /in=dropbox or /out=list,read. May be given more than once.
    #[arg(long, value_name = "PATH=VERBS")]
    path_permissions: Vec<Limit<PathVerbs>>,
}

/// A type, where `any` says what `none` does.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Kinds(Limit<ContentType>);

impl FromStr for Kinds {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "any" { Ok(Self(Limit::Unlimited)) } else { text.parse().map(Self) }
    }
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
            && self.path_permissions.is_empty()
            && self.allowed_types.is_empty()
            && self.content_check.is_none()
            && self.min_pixels.is_none()
            && self.max_pixels.is_none()
            && self.file_name_pattern.is_none()
            && self.max_uploads_per_day.is_none()
            && self.max_bytes_per_second.is_none()
            && self.max_session_bytes_per_second.is_none()
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
        let types = limits("allowed-types", self.allowed_types.into_iter().map(|kind| kind.0).collect())?;
        set(&mut grant.allowed_types, types, Vec::new(), |types| types);
        set(&mut grant.content_check, self.content_check, ContentCheck::Off, |depth| depth);
        set(&mut grant.min_pixels, self.min_pixels, Pixels::LEAST, |size| size);
        set(&mut grant.max_pixels, self.max_pixels, Pixels::MOST, |size| size);
        let any_name = "".parse().map_err(Usage)?;
        set(&mut grant.file_name_pattern, self.file_name_pattern, any_name, |pattern| pattern);
        set(&mut grant.max_uploads_per_day, self.max_uploads_per_day, Grant::UNLIMITED, |files| files);
        set(&mut grant.max_bytes_per_second, self.max_bytes_per_second, Grant::UNLIMITED, |rate| rate.0);
        let rate = self.max_session_bytes_per_second;
        set(&mut grant.max_session_bytes_per_second, rate, Grant::UNLIMITED, |rate| rate.0);
        let paths = limits("path-permissions", self.path_permissions)?;
        set(&mut grant.path_permissions, paths, BTreeMap::new(), |paths| ByPath::from_iter(paths).0);
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
        "path_permissions": grant.path_permissions,
        "overwrite": grant.overwrite,
        "allowed_types": grant.allowed_types.as_ref().map(|types| match types.as_slice() {
            [] => serde_json::json!("any"),
            types => serde_json::json!(types),
        }),
        "content_check": grant.content_check,
        "min_pixels": grant.min_pixels.map(Size::from),
        "max_pixels": grant.max_pixels.map(Size::from),
        "file_name_pattern": grant.file_name_pattern,
        "max_uploads_per_day": bytes(grant.max_uploads_per_day),
        "max_bytes_per_second": bytes(grant.max_bytes_per_second),
        "max_session_bytes_per_second": bytes(grant.max_session_bytes_per_second),
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
        path_permissions: effective.path_permissions.clone().or(Some(BTreeMap::new())),
        overwrite: Some(effective.overwrite.unwrap_or_default()),
        allowed_types: effective.allowed_types.clone().or(Some(Vec::new())),
        content_check: Some(effective.content_check.unwrap_or_default()),
        min_pixels: effective.min_pixels.or(Some(Pixels::LEAST)),
        max_pixels: effective.max_pixels.or(Some(Pixels::MOST)),
        file_name_pattern: effective.file_name_pattern.clone().or_else(|| "".parse().ok()),
        max_uploads_per_day: effective.max_uploads_per_day.or(Some(Grant::UNLIMITED)),
        max_bytes_per_second: effective.max_bytes_per_second.or(Some(Grant::UNLIMITED)),
        max_session_bytes_per_second: effective.max_session_bytes_per_second.or(Some(Grant::UNLIMITED)),
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
    let any = |text: Option<String>| text.map(|text| if text.is_empty() { "any".to_owned() } else { text });
    let types = grant.allowed_types.as_ref();
    let types = types.map(|all| all.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "));
    let paths = grant.path_permissions.as_ref().filter(|paths| !paths.is_empty());
    vec![
        ("path-permissions", show(paths.map(|paths| ByPath(paths.clone())))),
        ("allowed-types", show(any(types))),
        ("content-check", show(grant.content_check.map(ContentCheck::as_str))),
        ("min-pixels", show(grant.min_pixels.map(Size::from))),
        ("max-pixels", show(grant.max_pixels.map(Size::from))),
        ("file-name-pattern", show(any(grant.file_name_pattern.as_ref().map(ToString::to_string)))),
        ("max-uploads-per-day", count(grant.max_uploads_per_day, Grant::UNLIMITED)),
        ("max-bytes-per-second", show(grant.max_bytes_per_second.map(ByteSize))),
        ("max-session-bytes-per-second", show(grant.max_session_bytes_per_second.map(ByteSize))),
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
