//! `landfall user list | show`.

use clap::Args;
use landfall_auth::{Kind, Source, User};
use serde::Serialize;

use super::super::context::Context;
use super::super::limits::{describe, unsaid};
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
                    source(user).to_owned(),
                    user.home.clone(),
                ]
            })
            .collect();
        Ok(output::text(&output::table(["NAME", "STATE", "PASSWORD", "KEYS", "KEPT IN", "HOME"], &rows))?)
    }
}

/// Show one supplier and what holds for it.
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
        let found = context.with_users_if_any(async |_, users| {
            Ok((users.get(&self.name).await?, users.last_login(&self.name).await?, users.list_keys(&self.name).await?))
        })?;
        let Some((user, last_login, keys)) = found else {
            return Err(landfall_auth::Error::NotFound { kind: Kind::User, name: self.name }.into());
        };
        let last_login = last_login.map(|login| {
            serde_json::json!({ "at": Moment(login.at).to_string(), "protocol": login.protocol, "peer": login.peer })
        });
        if self.json {
            let keys: Vec<&str> = keys.iter().map(landfall_auth::PublicKey::fingerprint).collect();
            return output::json(&Detailed { user: Shown::from(user), last_login, keys });
        }
        let login = last_login.as_ref().map(|login| {
            let part = |name: &str| login.get(name).and_then(serde_json::Value::as_str).unwrap_or_default();
            format!("{} over {} from {}", part("at"), part("protocol"), part("peer"))
        });
        let facts = [
            ("name", user.name.clone()),
            ("home", user.home.clone()),
            ("email", user.email.clone().unwrap_or_default()),
            ("state", state(&user).to_owned()),
            ("expires", user.expires.map(|end| Moment(end).to_string()).unwrap_or_default()),
            ("groups", user.groups.join(", ")),
            ("password", if user.has_password { "yes" } else { "no" }.to_owned()),
            ("kept in", source(&user).to_owned()),
            ("last login", login.unwrap_or_default()),
        ];
        let mut text = output::facts(&facts);
        for key in &keys {
            text.push_str(&output::facts(&[("key       ", format!("{} {}", key.fingerprint(), key.comment()))]));
        }
        text.push('\n');
        let rows: Vec<[String; 3]> = describe(&user.grant)
            .into_iter()
            .zip(describe(&user.effective))
            .map(|((name, own), (_, effective))| {
                let holds = if effective.is_empty() { unsaid(name).to_owned() } else { effective };
                [name.to_owned(), own, holds]
            })
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

fn source(user: &User) -> &'static str {
    match user.source {
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
    key_count: u32,
    grant: landfall_auth::Grant,
    effective: landfall_auth::Grant,
}

impl From<User> for Shown {
    fn from(user: User) -> Self {
        Self {
            state: state(&user),
            name: user.name,
            home: user.home,
            email: user.email,
            disabled: user.disabled,
            expires: user.expires.map(|end| Moment(end).to_string()),
            groups: user.groups,
            source: user.source,
            has_password: user.has_password,
            key_count: user.key_count,
            grant: user.grant,
            effective: user.effective,
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
