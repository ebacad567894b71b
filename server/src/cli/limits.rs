//! Limits as flags: the same for users and groups, to set and to take away.

use std::fmt;
use std::str::FromStr;

use clap::Args;
use landfall_auth::{Grant, Network, Overwrite};

use super::Usage;
use crate::config::{ByteSize, Verbs, Way};

/// A value, or the wish to have none: then the group's counts, then the configuration's.
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

/// `none` means no verb at all here: whoever writes it must not give everything away.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct VerbsSetting(Setting<Verbs>);

impl FromStr for VerbsSetting {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "default" => Ok(Self(Setting::Clear)),
            text => text.parse().map(|verbs| Self(Setting::Set(verbs))),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Policy(Overwrite);

impl FromStr for Policy {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "replace" => Ok(Self(Overwrite::Replace)),
            "reject" => Ok(Self(Overwrite::Reject)),
            "version" => Ok(Self(Overwrite::Version)),
            _ => Err("an overwrite policy is one of replace, reject, version"),
        }
    }
}

/// The flags. `none` (or `default`) takes a value away.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Limits (`default` takes one away: the group's counts then, or the configuration's)")]
pub(super) struct LimitFlags {
    /// Room for all files together: 10GB, 500MiB, or a number of bytes.
    #[arg(long, value_name = "SIZE")]
    quota_bytes: Option<Setting<ByteSize>>,
    /// Number of files.
    #[arg(long, value_name = "N")]
    quota_files: Option<Setting<u64>>,
    /// Largest file.
    #[arg(long, value_name = "SIZE")]
    max_file_bytes: Option<Setting<ByteSize>>,
    /// Sessions at a time, over all protocols.
    #[arg(long, value_name = "N")]
    max_sessions: Option<Setting<u32>>,
    /// Way in: ftp, ftps, sftp. May be given more than once; all ways are open without it.
    #[arg(long = "protocol", value_name = "P", value_delimiter = ',')]
    protocols: Vec<Setting<Way>>,
    /// Network that may come in: 192.0.2.0/24, or one address. May be given more than once.
    #[arg(long = "network", value_name = "N", value_delimiter = ',')]
    networks: Vec<Setting<Network>>,
    /// What happens to a file of the same name: replace, reject, version.
    #[arg(long, value_name = "POLICY")]
    overwrite: Option<Setting<Policy>>,
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
            && self.overwrite.is_none()
            && self.permissions.is_none()
    }

    /// Changes a grant as the flags say.
    pub(super) fn apply(self, grant: &mut Grant) -> anyhow::Result<()> {
        fn set<T, U>(target: &mut Option<U>, flag: Option<Setting<T>>, into: impl Fn(T) -> U) {
            if let Some(setting) = flag {
                *target = setting.into_option().map(into);
            }
        }
        set(&mut grant.quota_bytes, self.quota_bytes, |size| size.0);
        set(&mut grant.quota_files, self.quota_files, |files| files);
        set(&mut grant.max_file_bytes, self.max_file_bytes, |size| size.0);
        set(&mut grant.max_sessions, self.max_sessions, |sessions| sessions);
        set(&mut grant.protocols, list("protocol", self.protocols)?, |ways| {
            ways.into_iter().map(|way| way.0).collect()
        });
        set(&mut grant.networks, list("network", self.networks)?, |networks| networks);
        set(&mut grant.overwrite, self.overwrite, |policy| policy.0);
        set(&mut grant.permissions, self.permissions.map(|setting| setting.0), |verbs| verbs.0);
        Ok(())
    }
}

/// A repeated flag as one value.
pub(super) fn list<T>(flag: &str, settings: Vec<Setting<T>>) -> anyhow::Result<Option<Setting<Vec<T>>>> {
    let (count, values): (usize, Vec<T>) =
        (settings.len(), settings.into_iter().filter_map(Setting::into_option).collect());
    match (count, values.len()) {
        (0, _) => Ok(None),
        (1, 0) => Ok(Some(Setting::Clear)),
        (all, kept) if all == kept => Ok(Some(Setting::Set(values))),
        _ => Err(Usage(format!("--{flag} none cannot go with other values of --{flag}")).into()),
    }
}

/// A grant's values as people read them, by flag.
pub(super) fn describe(grant: &Grant) -> Vec<(&'static str, String)> {
    fn show<T: fmt::Display>(value: Option<T>) -> String {
        value.map(|value| value.to_string()).unwrap_or_default()
    }
    fn join<T: fmt::Display>(values: Option<Vec<T>>) -> String {
        let values: Vec<String> = values.unwrap_or_default().iter().map(ToString::to_string).collect();
        values.join(", ")
    }
    let overwrite = grant.overwrite.map(|overwrite| match overwrite {
        Overwrite::Replace => "replace",
        Overwrite::Reject => "reject",
        Overwrite::Version => "version",
    });
    let ways = grant.protocols.as_ref().map(|protocols| protocols.iter().copied().map(Way).collect());
    vec![
        ("permissions", show(grant.permissions.map(Verbs))),
        ("overwrite", show(overwrite)),
        ("quota-bytes", show(grant.quota_bytes.map(ByteSize))),
        ("quota-files", show(grant.quota_files)),
        ("max-file-bytes", show(grant.max_file_bytes.map(ByteSize))),
        ("max-sessions", show(grant.max_sessions)),
        ("protocols", join::<Way>(ways)),
        ("networks", join(grant.networks.clone())),
    ]
}

/// What holds where nobody has said anything, by flag.
pub(super) fn unsaid(name: &str) -> &'static str {
    match name {
        "permissions" | "protocols" | "networks" => "all",
        "overwrite" => "replace",
        _ => "no limit",
    }
}
