//! `landfall user list | show`.

use clap::Args;
use landfall_auth::{Kind, Source, User};
use serde::Serialize;

use super::super::context::Context;
use super::super::limits::{as_json, describe, in_full};
use super::super::output;
use crate::clock::now;
use crate::config::Moment;

/// List all suppliers.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  landfall user list\n  landfall user list --json")]
pub(in crate::cli) struct List {
    /// As JSON.
    #[arg(long)]
    json: bool,
}

impl List {
    pub(super) fn run(self, context: &Context) -> anyhow::Result<()> {
        let users = context.with_users_if_any(async |_, users| Ok(users.list().await?))?.unwrap_or_default();
        if self.json {
            return output::json(&users.into_iter().map(Shown::from).collect::<Vec<_>>());
        }
        if users.is_empty() {
            return Ok(output::line("no users; add one: landfall user add NAME --generate-password")?);
        }
        let rows: Vec<[String; 6]> = users
            .iter()
            .map(|user| {
                [
                    user.name.clone(),
                    state(user).to_owned(),
                    if user.has_password { "yes" } else { "no" }.to_owned(),
                    user.key_count.to_string(),
                    kept_in(user.source).to_owned(),
                    user.home.clone(),
                ]
            })
            .collect();
        Ok(output::text(&output::table(["NAME", "STATE", "PASSWORD", "KEYS", "KEPT IN", "HOME"], &rows))?)
    }
}

/// Show one supplier and what holds for it.
///
/// In JSON a limit of "grant" is null where the supplier has no value of its own, "unlimited" (lists: "all") where its
/// own value is that there is no limit; "effective" is never null.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  landfall user show acme\n  landfall user show acme --json")]
pub(in crate::cli) struct Show {
    /// Login name.
    name: String,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

impl Show {
    pub(super) fn run(self, context: &Context) -> anyhow::Result<()> {
        let name = &*self.name;
        let (user, last_login, keys) = context.with_existing(Kind::User, name, async |_, users| {
            Ok((users.get(name).await?, users.last_login(name).await?, users.list_keys(name).await?))
        })?;
        if self.json {
            let last_login = last_login.map(|login| {
                let at = Moment(login.at).in_full();
                serde_json::json!({ "at": at, "protocol": login.protocol, "peer": login.peer })
            });
            let keys: Vec<&str> = keys.iter().map(landfall_auth::PublicKey::fingerprint).collect();
            return output::json(&Detailed { user: Shown::from(user), last_login, keys });
        }
        let login = last_login.map(|login| format!("{} over {} from {}", Moment(login.at), login.protocol, login.peer));
        let facts = [
            ("name", user.name.clone()),
            ("home", user.home.clone()),
            ("email", user.email.clone().unwrap_or_default()),
            ("state", state(&user).to_owned()),
            ("expires", user.expires.map(|end| Moment(end).to_string()).unwrap_or_default()),
            ("groups", user.groups.join(", ")),
            ("password", if user.has_password { "yes" } else { "no" }.to_owned()),
            ("totp", if user.has_totp { "on" } else { "off" }.to_owned()),
            ("kept in", kept_in(user.source).to_owned()),
            ("last login", login.unwrap_or_default()),
        ];
        let mut text = output::facts(&facts);
        for key in &keys {
            text.push_str(&output::facts(&[("key       ", format!("{} {}", key.fingerprint(), key.comment()))]));
        }
        text.push('\n');
        let rows: Vec<[String; 3]> = describe(&user.grant)
            .into_iter()
            .zip(describe(&in_full(&user.effective)))
            .map(|((name, own), (_, holds))| [name.to_owned(), own, holds])
            .collect();
        text.push_str(&output::table(["LIMIT", "OWN", "WHAT HOLDS"], &rows));
        Ok(output::text(&text)?)
    }
}

fn state(user: &User) -> &'static str {
    if user.disabled {
        "disabled"
    } else if user.expires.is_some_and(|end| end <= now()) {
        "expired"
    } else {
        "active"
    }
}

/// Where an entry is kept, in words.
pub(in crate::cli) fn kept_in(source: Source) -> &'static str {
    match source {
        Source::Database => "database",
        Source::Config => "configuration",
    }
}

/// A user as programs see it: times in RFC 3339.
#[derive(Serialize)]
pub(super) struct Shown {
    name: String,
    state: &'static str,
    home: String,
    email: Option<String>,
    disabled: bool,
    expires: Option<String>,
    groups: Vec<String>,
    source: Source,
    has_password: bool,
    totp: bool,
    key_count: u32,
    grant: serde_json::Value,
    effective: serde_json::Value,
}

impl From<User> for Shown {
    fn from(user: User) -> Self {
        Self {
            state: state(&user),
            name: user.name,
            home: user.home,
            email: user.email,
            disabled: user.disabled,
            expires: user.expires.map(|end| Moment(end).in_full()),
            groups: user.groups,
            source: user.source,
            has_password: user.has_password,
            totp: user.has_totp,
            key_count: user.key_count,
            grant: as_json(&user.grant),
            effective: as_json(&in_full(&user.effective)),
        }
    }
}

#[derive(Serialize)]
struct Detailed<'a> {
    #[serde(flatten)]
    user: Shown,
    last_login: Option<serde_json::Value>,
    keys: Vec<&'a str>,
}
