//! `[defaults]`, `[[users]]`, `[[groups]]`: what people are granted, and who they are.
//! The keys of a grant are the same in all three; what they mean is `auth`'s matter.

use landfall_auth::{
    ContentCheck, ContentType, Factor, Grant, NamePattern, Network, Overwrite, Permissions, Pixels, Protocol,
};
use serde::de::{self, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use landfall_storage::VirtualPath;

use super::lists;
use super::units::{ByteSize, Count, Moment, Secret};

/// Permissions as people write them: `dropbox`, `all`, `read-only`, `none`, or the verbs by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verbs(pub Permissions);

const VERBS_FORM: &str =
    "permissions are verbs out of list, read, write, overwrite, delete, rename, mkdir; or one of all, none, dropbox";

impl Verbs {
    /// Upload and nothing else; a file that landed cannot be seen, fetched or replaced.
    const DROPBOX: Permissions = Permissions { write: true, ..Permissions::NONE };

    fn add(permissions: &mut Permissions, verb: &str) -> Result<(), &'static str> {
        match verb.trim() {
            "list" => permissions.list = true,
            "read" => permissions.read = true,
            "write" | "dropbox" => permissions.write = true,
            "overwrite" => permissions.overwrite = true,
            "delete" => permissions.delete = true,
            "rename" => permissions.rename = true,
            "mkdir" => permissions.mkdir = true,
            "all" => *permissions = Permissions::default(),
            "none" | "" => {}
            _ => return Err(VERBS_FORM),
        }
        Ok(())
    }

    /// The verbs that are granted, by name.
    #[must_use]
    pub fn names(&self) -> Vec<&'static str> {
        let Permissions { list, read, write, overwrite, delete, rename, mkdir } = self.0;
        [
            (list, "list"),
            (read, "read"),
            (write, "write"),
            (overwrite, "overwrite"),
            (delete, "delete"),
            (rename, "rename"),
            (mkdir, "mkdir"),
        ]
        .into_iter()
        .filter_map(|(granted, name)| granted.then_some(name))
        .collect()
    }
}

impl FromStr for Verbs {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut permissions = Permissions::NONE;
        for verb in text.split(',') {
            Self::add(&mut permissions, verb)?;
        }
        Ok(Self(permissions))
    }
}

impl fmt::Display for Verbs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 == Self::DROPBOX {
            return f.write_str("dropbox");
        }
        match self.names().as_slice() {
            [] => f.write_str("none"),
            names => f.write_str(&names.join(",")),
        }
    }
}

impl Serialize for Verbs {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.names())
    }
}

impl<'de> Deserialize<'de> for Verbs {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct V;
        impl<'de> Visitor<'de> for V {
            type Value = Verbs;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(VERBS_FORM)
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Verbs, E> {
                text.parse().map_err(E::custom)
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Verbs, A::Error> {
                let mut permissions = Permissions::NONE;
                while let Some(verb) = seq.next_element::<String>()? {
                    Verbs::add(&mut permissions, &verb).map_err(de::Error::custom)?;
                }
                Ok(Verbs(permissions))
            }
            /// `{ delete = false }`: all but what is switched off.
            fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<Verbs, A::Error> {
                Permissions::deserialize(de::value::MapAccessDeserializer::new(map)).map(Verbs)
            }
        }
        deserializer.deserialize_any(V)
    }
}

/// Verbs below a path: `/in=dropbox`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathVerbs {
    /// As the user sees it.
    pub path: String,
    /// What may be done there.
    pub verbs: Verbs,
}

const PATH_VERBS_FORM: &str = "permissions of a path are written PATH=VERBS, such as /in=dropbox or /out=list,read";

impl FromStr for PathVerbs {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (path, verbs) = text.split_once('=').ok_or(PATH_VERBS_FORM)?;
        let plain = VirtualPath::parse(path).map_err(|error| format!("\"{path}\": {error}"))?;
        if !path.starts_with('/') || plain.is_root() {
            return Err(format!("\"{path}\": a path below / is expected; for / itself there are permissions"));
        }
        Ok(Self { path: plain.to_string(), verbs: verbs.parse()? })
    }
}

/// Verbs by path, as a table `{ "/in" = "dropbox" }`, or as `/in=dropbox; /out=list,read`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ByPath(pub BTreeMap<String, Permissions>);

impl FromIterator<PathVerbs> for ByPath {
    fn from_iter<I: IntoIterator<Item = PathVerbs>>(all: I) -> Self {
        Self(all.into_iter().map(|one| (one.path, one.verbs.0)).collect())
    }
}

impl FromStr for ByPath {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.split(';').map(str::trim).filter(|one| !one.is_empty()).map(str::parse::<PathVerbs>).collect()
    }
}

impl fmt::Display for ByPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (path, permissions)) in self.0.iter().enumerate() {
            write!(f, "{}{path}={}", if index > 0 { "; " } else { "" }, Verbs(*permissions))?;
        }
        Ok(())
    }
}

impl Serialize for ByPath {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(path, permissions)| (path, Verbs(*permissions))))
    }
}

impl<'de> Deserialize<'de> for ByPath {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct V;
        impl<'de> Visitor<'de> for V {
            type Value = ByPath;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a table such as { \"/in\" = \"dropbox\" }")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<ByPath, E> {
                text.parse().map_err(E::custom)
            }
            fn visit_map<A: de::MapAccess<'de>>(self, mut map: A) -> Result<ByPath, A::Error> {
                let mut all = BTreeMap::new();
                while let Some((path, verbs)) = map.next_entry::<String, Verbs>()? {
                    let one: PathVerbs = format!("{path}={verbs}").parse().map_err(de::Error::custom)?;
                    all.insert(one.path, one.verbs.0);
                }
                Ok(ByPath(all))
            }
        }
        deserializer.deserialize_any(V)
    }
}

/// A picture's width and height, or `unlimited`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size(Option<Pixels>);

impl Size {
    /// The size; `unlimited` where there is none.
    #[must_use]
    pub fn or(self, unlimited: Pixels) -> Pixels {
        self.0.unwrap_or(unlimited)
    }
}

impl FromStr for Size {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "unlimited" { Ok(Self(None)) } else { text.parse().map(|size| Self(Some(size))) }
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(size) if size != Pixels::LEAST && size != Pixels::MOST => write!(f, "{size}"),
            _ => f.write_str("unlimited"),
        }
    }
}

impl From<Pixels> for Size {
    fn from(size: Pixels) -> Self {
        Self(Some(size))
    }
}

impl Serialize for Size {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

/// A protocol's name, for lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Way(pub Protocol);

impl FromStr for Way {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "ftp" => Ok(Self(Protocol::Ftp)),
            "ftps" => Ok(Self(Protocol::Ftps)),
            "sftp" => Ok(Self(Protocol::Sftp)),
            _ => Err("a protocol is one of ftp, ftps, sftp"),
        }
    }
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            Protocol::Ftp => "ftp",
            Protocol::Ftps => "ftps",
            Protocol::Sftp => "sftp",
        })
    }
}

impl Serialize for Way {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Declares a section that carries a grant beside fields of its own: serde's `flatten` cannot refuse unknown keys.
macro_rules! granting {
    ($(#[$meta:meta])* $name:ident { $($(#[$field_meta:meta])* $field:ident: $type:ty,)* }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
        #[serde(deny_unknown_fields, default)]
        pub struct $name {
            $($(#[$field_meta])* pub $field: $type,)*
            /// Verbs: a list of them, `dropbox`, `all` or `none`.
            pub permissions: Option<Verbs>,
            /// Other verbs below some paths.
            pub path_permissions: Option<ByPath>,
            /// What to do with a file of the same name: replace, reject, version.
            pub overwrite: Option<Overwrite>,
            /// What files may be, by their content: jpeg, png, webp, gif, tiff, avif, heic, pdf, zip, csv; none or absent
            /// means anything.
            #[serde(deserialize_with = "lists::optional_types")]
            pub allowed_types: Option<Vec<ContentType>>,
            /// How closely their content is looked at: off, structure, decode.
            pub content_check: Option<ContentCheck>,
            /// Smallest picture, such as 800x600.
            pub min_pixels: Option<Size>,
            /// Largest picture.
            pub max_pixels: Option<Size>,
            /// What names of files look like: a regular expression for the whole name; empty or absent: anything.
            pub file_name_pattern: Option<NamePattern>,
            /// Files that land in one day, by UTC.
            pub max_uploads_per_day: Option<Count>,
            /// Bytes per second each way, all sessions together.
            pub max_bytes_per_second: Option<ByteSize>,
            /// Bytes per second each way, in each session.
            pub max_session_bytes_per_second: Option<ByteSize>,
            /// Room for landed and staged files together, in bytes.
            pub quota_bytes: Option<ByteSize>,
            /// Landed and staged files together.
            pub quota_files: Option<Count>,
            /// Largest file, in bytes.
            pub max_file_bytes: Option<ByteSize>,
            /// Sessions at a time, all protocols together.
            pub max_sessions: Option<Count>,
            /// Ways in: ftp, ftps, sftp; none or absent means all.
            #[serde(deserialize_with = "lists::optional_list")]
            pub protocols: Option<Vec<Way>>,
            /// Networks that may come in; none or absent means all.
            #[serde(deserialize_with = "lists::optional_list")]
            pub networks: Option<Vec<Network>>,
            /// What has to be shown at a login, one after the other: publickey, password, totp; none or absent means any
            /// one of key and password.
            #[serde(deserialize_with = "lists::optional_list")]
            pub factors: Option<Vec<Factor>>,
        }

        impl $name {
            /// The grant among the keys.
            #[must_use]
            pub fn grant(&self) -> Grant {
                Grant {
                    permissions: self.permissions.map(|verbs| verbs.0),
                    path_permissions: self.path_permissions.as_ref().map(|all| all.0.clone()),
                    overwrite: self.overwrite,
                    allowed_types: self.allowed_types.clone(),
                    content_check: self.content_check,
                    min_pixels: self.min_pixels.map(|size| size.or(Pixels::LEAST)),
                    max_pixels: self.max_pixels.map(|size| size.or(Pixels::MOST)),
                    file_name_pattern: self.file_name_pattern.clone(),
                    max_uploads_per_day: self.max_uploads_per_day.map(|most| most.0),
                    max_bytes_per_second: self.max_bytes_per_second.map(|rate| rate.0),
                    max_session_bytes_per_second: self.max_session_bytes_per_second.map(|rate| rate.0),
                    quota_bytes: self.quota_bytes.map(|size| size.0),
                    quota_files: self.quota_files.map(|files| files.0),
                    max_file_bytes: self.max_file_bytes.map(|size| size.0),
                    // More sessions than can be counted are no limit.
                    max_sessions: self.max_sessions.map(|most| u32::try_from(most.0).unwrap_or(u32::MAX)),
                    protocols: self.protocols.as_ref().map(|ways| ways.iter().map(|way| way.0).collect()),
                    networks: self.networks.clone(),
                    factors: self.factors.clone(),
                }
            }
        }
    };
}

granting! {
    /// `[defaults]`: what holds for everybody whose groups and own entry do not say otherwise.
    Defaults {}
}

granting! {
    /// One of `[[groups]]`.
    DeclaredGroup {
        /// Name.
        name: String,
    }
}

granting! {
    /// One of `[[users]]`: read-only elsewhere.
    DeclaredUser {
        /// Login name.
        name: String,
        /// Password in clear, for people who trust the place where their configuration lies.
        password: Option<Secret>,
        /// Password as a hash: `$argon2id$…`, or another kind that crypt(3) knows.
        password_hash: Option<Secret>,
        /// What the user's authenticator app shares, in base32: the password needs a verification code beside it.
        totp_secret: Option<Secret>,
        /// Public keys, one per line in OpenSSH's form.
        public_keys: Vec<String>,
        /// Directory on the storage; `/NAME` by default.
        home: Option<String>,
        /// Address for people.
        email: Option<String>,
        /// Groups; the first that says something wins.
        #[serde(deserialize_with = "lists::list")]
        groups: Vec<String>,
        /// May not log in from then on.
        expires: Option<Moment>,
        /// May not log in.
        disabled: bool,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verbs() {
        for (text, shown) in [
            ("list,read", Some("list,read")),
            ("list, read", Some("list,read")),
            ("dropbox", Some("dropbox")),
            ("all", Some("list,read,write,overwrite,delete,rename,mkdir")),
            ("none", Some("none")),
            ("list,fly", None),
        ] {
            assert_eq!(text.parse::<Verbs>().ok().map(|verbs| verbs.to_string()).as_deref(), shown, "{text}");
        }
    }
}
