//! `landfall group …`: limits that several suppliers share.

use clap::{Args, Subcommand};
use landfall_auth::{Error, Grant, Kind};

use super::context::Context;
use super::limits::{LimitFlags, describe};
use super::{Usage, output};

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
                let mut grant = Grant::default();
                limits.apply(&mut grant)?;
                let group = landfall_auth::Group { name, grant };
                context.with_users(async |_, users| Ok(users.add_group(&group).await?))?;
                Ok(output::line(&format!("group {} added", group.name))?)
            }
            Command::Set { name, limits } => {
                if limits.is_empty() {
                    return Err(Usage("nothing to change: name at least one limit".to_owned()).into());
                }
                context.with_users(async |_, users| {
                    let group = users.list_groups().await?.into_iter().find(|group| group.name == name);
                    let mut grant = group.ok_or(Error::NotFound { kind: Kind::Group, name: name.clone() })?.grant;
                    limits.apply(&mut grant)?;
                    Ok(users.set_group(&name, &grant).await?)
                })?;
                Ok(output::line(&format!("group {name} changed"))?)
            }
            Command::List { json } => list(context, json),
            Command::Remove { name } => {
                context.with_users(async |_, users| Ok(users.remove_group(&name).await?))?;
                Ok(output::line(&format!("group {name} removed"))?)
            }
        }
    }
}

fn list(context: &Context, json: bool) -> anyhow::Result<()> {
    let groups = context.with_users_if_any(async |_, users| Ok(users.list_groups().await?))?.unwrap_or_default();
    if json {
        return output::json(&groups);
    }
    if groups.is_empty() {
        return Ok(output::line("no groups")?);
    }
    let rows: Vec<[String; 2]> = groups
        .into_iter()
        .map(|group| {
            let limits: Vec<String> = describe(&group.grant)
                .into_iter()
                .filter(|(_, value)| !value.is_empty())
                .map(|(name, value)| format!("{name}={value}"))
                .collect();
            [group.name, limits.join(" ")]
        })
        .collect();
    Ok(output::text(&output::table(["NAME", "LIMITS"], &rows))?)
}
