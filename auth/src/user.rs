//! Plain data about people: users, groups, what they are granted. Does nothing, decides nothing.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use crate::factors::Factor;
use crate::rules::{ContentCheck, ContentType, NamePattern, Pixels};

/// How somebody came in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// FTP in clear.
    Ftp,
    /// FTP under TLS, explicit or implicit.
    Ftps,
    /// SFTP.
    Sftp,
}

/// What to do with a file that landed earlier under the same name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Overwrite {
    /// Replace it, atomically.
    #[default]
    Replace,
    /// Refuse the upload.
    Reject,
    /// Keep both: `photo.jpg`, `photo~2.jpg`.
    Version,
}

/// Verbs that a user may use. All but none of them by default.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[expect(clippy::struct_excessive_bools, reason = "one for each verb; they are independent")]
pub struct Permissions {
    /// See names and facts.
    pub list: bool,
    /// Download.
    pub read: bool,
    /// Upload new files.
    pub write: bool,
    /// Upload over files that landed earlier.
    pub overwrite: bool,
    /// Remove files and directories.
    pub delete: bool,
    /// Rename files and directories.
    pub rename: bool,
    /// Make directories.
    pub mkdir: bool,
}

impl Permissions {
    /// No verb at all.
    pub const NONE: Self =
        Self { list: false, read: false, write: false, overwrite: false, delete: false, rename: false, mkdir: false };
}

impl Default for Permissions {
    fn default() -> Self {
        Self { list: true, read: true, write: true, overwrite: true, delete: true, rename: true, mkdir: true }
    }
}

/// What a user or a group is granted; `None` leaves it to the group, then to the configuration's `[defaults]`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Grant {
    /// Verbs.
    pub permissions: Option<Permissions>,
    /// Other verbs below some paths, as the user sees them: the longest that holds a file counts, and no other.
    pub path_permissions: Option<BTreeMap<String, Permissions>>,
    /// What to do with a file of the same name.
    pub overwrite: Option<Overwrite>,
    /// What files may be, by their content; empty or `None` means anything.
    pub allowed_types: Option<Vec<ContentType>>,
    /// How closely their content is looked at.
    pub content_check: Option<ContentCheck>,
    /// Smallest picture.
    pub min_pixels: Option<Pixels>,
    /// Largest picture.
    pub max_pixels: Option<Pixels>,
    /// What names of files look like.
    pub file_name_pattern: Option<NamePattern>,
    /// Files that land in one day, by UTC.
    pub max_uploads_per_day: Option<u64>,
    /// Bytes per second each way, all sessions together.
    pub max_bytes_per_second: Option<u64>,
    /// Bytes per second each way, in each session.
    pub max_session_bytes_per_second: Option<u64>,
    /// Room for landed and staged files together, in bytes.
    pub quota_bytes: Option<u64>,
    /// Landed and staged files together.
    pub quota_files: Option<u64>,
    /// Largest file, in bytes.
    pub max_file_bytes: Option<u64>,
    /// Sessions at a time, all protocols together.
    pub max_sessions: Option<u32>,
    /// Ways in; empty or `None` means all.
    pub protocols: Option<Vec<Protocol>>,
    /// Networks that may come in; empty or `None` means all.
    pub networks: Option<Vec<Network>>,
    /// What has to be shown at a login, one after the other; empty or `None` means any one of key and password.
    pub factors: Option<Vec<Factor>>,
}

impl Grant {
    /// A number that stands for "no limit" and is a value of its own: it wins over the group's and the defaults'.
    pub const UNLIMITED: u64 = u64::MAX;
    /// The same for sessions.
    pub const UNLIMITED_SESSIONS: u32 = u32::MAX;
}

/// Where a user's entry is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    /// In the database: commands change it.
    #[default]
    Database,
    /// In the configuration (`[[users]]`, `LANDFALL_USERS`, key directory): read-only elsewhere.
    Config,
}

/// A user. Secrets are not part of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    /// Row number, never used again.
    pub id: i64,
    /// Login name: 1 to 64 bytes of `[A-Za-z0-9._@-]`, beginning with a letter or digit.
    pub name: String,
    /// Directory on the storage that is this user's root, as an absolute path; `/NAME` by default.
    pub home: String,
    /// Address for people.
    pub email: Option<String>,
    /// May not log in.
    pub disabled: bool,
    /// May not log in from then on.
    pub expires: Option<SystemTime>,
    /// Groups, first wins.
    pub groups: Vec<String>,
    /// The user's own grant.
    pub grant: Grant,
    /// Own values, where missing the groups', where missing the defaults': what holds. `None`: no limit.
    pub effective: Grant,
    /// Where the entry is kept.
    pub source: Source,
    /// True when a password is set.
    pub has_password: bool,
    /// True when the password needs a verification code beside it.
    pub has_totp: bool,
    /// Public keys on file.
    pub key_count: u32,
}

/// A group of users that share a grant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Group {
    /// Name, in the form of a user's.
    pub name: String,
    /// What its members are granted.
    pub grant: Grant,
}

/// An address range: `192.0.2.0/24`, `2001:db8::/32`, or one address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Network {
    address: IpAddr,
    prefix_bits: u8,
}

impl Network {
    /// The range of `prefix_bits` around `address`; longer than the address is the address itself.
    #[must_use]
    pub fn new(address: IpAddr, prefix_bits: u8) -> Self {
        let address = address.to_canonical();
        let most = if address.is_ipv4() { 32 } else { 128 };
        let prefix_bits = prefix_bits.min(most);
        Self { address: mask(address, prefix_bits), prefix_bits }
    }

    /// The range whose members share one fate in limits and throttles: IPv4 /32, IPv6 /64.
    #[must_use]
    pub fn of_peer(address: IpAddr) -> Self {
        let address = address.to_canonical();
        Self::new(address, if address.is_ipv4() { 32 } else { 64 })
    }

    /// True when `address` is inside. IPv4 in IPv6 counts as IPv4.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        address.is_ipv4() == self.address.is_ipv4() && mask(address, self.prefix_bits) == self.address
    }
}

fn mask(address: IpAddr, prefix_bits: u8) -> IpAddr {
    match address {
        IpAddr::V4(v4) => {
            IpAddr::V4((v4.to_bits() & u32::MAX.checked_shl(32 - u32::from(prefix_bits)).unwrap_or(0)).into())
        }
        IpAddr::V6(v6) => {
            IpAddr::V6((v6.to_bits() & u128::MAX.checked_shl(128 - u32::from(prefix_bits)).unwrap_or(0)).into())
        }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix_bits)
    }
}

/// A text that is not an address range.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not an address or a range such as 192.0.2.0/24")]
pub struct NetworkError;

impl FromStr for Network {
    type Err = NetworkError;

    fn from_str(text: &str) -> Result<Self, NetworkError> {
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let address: IpAddr = address.trim().parse().map_err(|_| NetworkError)?;
        let most: u8 = if address.is_ipv4() { 32 } else { 128 };
        let prefix_bits = match prefix {
            Some(prefix) => prefix.trim().parse().ok().filter(|bits| *bits <= most).ok_or(NetworkError)?,
            None => most,
        };
        Ok(Self::new(address, prefix_bits))
    }
}

impl Serialize for Network {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Network {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}
