//! `landfall group …`: limits that several suppliers share.

use anyhow::bail;
use clap::{Args, Subcommand};
use landfall_auth::{Error, Grant, Kind, Source, Users};

use super::context::Context;
use super::limits::{LimitFlags, as_json, describe};
use super::user::kept_in;
use super::{Usage, output};
use crate::config::Loaded;

const EXAMPLES: &str = "\
Examples:
  landfall group add press --quota-bytes 50GB --permissions dropbox
  landfall group set press --quota-bytes none
  landfall user add acme --group press --generate-password";

/// Add, change, list and remove groups of suppliers.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES, arg_required_else_help = true)]
pub(super) struct Group {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Add a group.
    #[command(after_help = "Example:\n  landfall group add press --quota-bytes 50GB")]
    Add {
        /// Name.
        name: String,
        #[command(flatten)]
        limits: LimitFlags,
    },
    /// Change a group's limits; what is not named stays as it is.
    #[command(after_help = "Example:\n  landfall group set press --max-sessions 4 --quota-bytes none")]
    Set {
        /// Name.
        name: String,
        #[command(flatten)]
        limits: LimitFlags,
    },
    /// List all groups.
    #[command(after_help = "Examples:\n  landfall group list\n  landfall group list --json")]
    List {
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Show one group, its limits and who is in it.
    ///
    /// In JSON a limit is null where the group says nothing, "unlimited" (lists: "all") where it lifts the limit.
    #[command(after_help = "Examples:\n  landfall group show press\n  landfall group show press --json")]
    Show {
        /// Name.
        name: String,
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Remove a group that nobody is in.
    #[command(after_help = "Example:\n  landfall group remove press")]
    Remove {
        /// Name.
        name: String,
    },
}

impl Group {
    pub(super) fn run(self, context: &Context) -> anyhow::Result<()> {
        match self.command {
            Command::Add { name, limits } => {
                if !landfall_auth::is_name(&name) {
                    return Err(Error::InvalidName { name }.into());
                }
                let mut grant = Grant::default();
                limits.apply(&mut grant)?;
                let group = landfall_auth::Group { name, grant };
                context.with_users(async |loaded, users| {
                    refuse_declared(&loaded, &group.name)?;
                    Ok(users.add_group(&group).await?)
                })?;
                Ok(output::line(&format!("group {} added", group.name))?)
            }
            Command::Set { name, limits } => {
                if limits.is_empty() {
                    return Err(Usage("nothing to change: name at least one limit".to_owned()).into());
                }
                context.with_existing(Kind::Group, &name, async |loaded, users| {
                    refuse_declared(&loaded, &name)?;
                    let mut grant = find(&users, &name).await?.grant;
                    limits.apply(&mut grant)?;
                    Ok(users.set_group(&name, &grant).await?)
                })?;
                Ok(output::line(&format!("group {name} changed"))?)
            }
            Command::List { json } => list(context, json),
            Command::Show { name, json } => show(context, &name, json),
            Command::Remove { name } => {
                context.with_existing(Kind::Group, &name, async |loaded, users| {
                    refuse_declared(&loaded, &name)?;
                    Ok(users.remove_group(&name).await?)
                })?;
                Ok(output::line(&format!("group {name} removed"))?)
            }
        }
    }
}

/// Refuses to touch a group that the configuration declares: the next start or reload would undo the change.
fn refuse_declared(loaded: &Loaded, name: &str) -> anyhow::Result<()> {
    if let Some(index) = declared(loaded, name) {
        bail!(
            "group \"{name}\" is declared in the configuration ({}); change it there",
            loaded.origin(&format!("groups.{index}.name"))
        );
    }
    Ok(())
}

fn declared(loaded: &Loaded, name: &str) -> Option<usize> {
    loaded.config.groups.iter().position(|group| group.name.eq_ignore_ascii_case(name))
}

async fn find(users: &Users, name: &str) -> anyhow::Result<landfall_auth::Group> {
    let group = users.list_groups().await?.into_iter().find(|group| group.name == name);
    Ok(group.ok_or_else(|| Error::NotFound { kind: Kind::Group, name: name.to_owned() })?)
}

/// A group and where it is kept.
struct Shown {
    group: landfall_auth::Group,
    source: Source,
}

impl Shown {
    fn of(loaded: &Loaded, group: landfall_auth::Group) -> Self {
        let source = if declared(loaded, &group.name).is_some() { Source::Config } else { Source::Database };
        Self { group, source }
    }

    fn as_json(&self) -> serde_json::Value {
        serde_json::json!({ "name": self.group.name, "source": self.source, "grant": as_json(&self.group.grant) })
    }
}

fn list(context: &Context, json: bool) -> anyhow::Result<()> {
    let groups = context.with_users_if_any(async |loaded, users| {
        Ok(users.list_groups().await?.into_iter().map(|group| Shown::of(&loaded, group)).collect::<Vec<_>>())
    })?;
    let groups = groups.unwrap_or_default();
    if json {
        return output::json(&groups.iter().map(Shown::as_json).collect::<Vec<_>>());
    }
    if groups.is_empty() {
        return Ok(output::line("no groups")?);
    }
    let rows: Vec<[String; 3]> = groups
        .into_iter()
        .map(|Shown { group, source }| {
            let limits: Vec<String> = describe(&group.grant)
                .into_iter()
                .filter(|(_, value)| !value.is_empty())
                .map(|(name, value)| format!("{name}={value}"))
                .collect();
            [group.name, kept_in(source).to_owned(), limits.join(" ")]
        })
        .collect();
    Ok(output::text(&output::table(["NAME", "KEPT IN", "LIMITS"], &rows))?)
}

fn show(context: &Context, name: &str, json: bool) -> anyhow::Result<()> {
    let (shown, members) = context.with_existing(Kind::Group, name, async |loaded, users| {
        let shown = Shown::of(&loaded, find(&users, name).await?);
        let members = users.list().await?.into_iter().filter(|user| user.groups.iter().any(|group| group == name));
        Ok((shown, members.map(|user| user.name).collect::<Vec<_>>()))
    })?;
    if json {
        let mut value = shown.as_json();
        if let Some(object) = value.as_object_mut() {
            object.insert("members".to_owned(), members.into());
        }
        return output::json(&value);
    }
    let Shown { group, source } = shown;
    let facts = [("name", group.name), ("kept in", kept_in(source).to_owned()), ("members", members.join(", "))];
    let rows: Vec<[String; 2]> =
        describe(&group.grant).into_iter().map(|(name, value)| [name.to_owned(), value]).collect();
    Ok(output::text(&format!("{}\n{}", output::facts(&facts), output::table(["LIMIT", "VALUE"], &rows)))?)
}
