//! `landfall user passwd | disable | enable | remove`.

use std::io::{IsTerminal, Write};

use anyhow::bail;
use clap::Args;
use landfall_auth::Kind;

use super::super::Usage;
use super::super::context::Context;
use super::super::output;
use super::super::password::{Otherwise, PasswordFlags};
use super::{refuse_declared, tell_password};

const PASSWD: &str = "\
Examples:
  landfall user passwd acme --generate-password
  printf '%s' \"$SECRET\" | landfall user passwd acme --password-stdin";

/// Set a new password. Sessions that are open go on.
#[derive(Debug, Args)]
#[command(after_help = PASSWD)]
pub(in crate::cli) struct Passwd {
    /// Login name.
    name: String,
    #[command(flatten)]
    password: PasswordFlags,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

impl Passwd {
    pub(super) fn run(self, context: &Context) -> anyhow::Result<()> {
        let Some(password) = self.password.obtain(Otherwise::Ask)? else { return Ok(()) };
        existing(context, &self.name, async |users| {
            Ok(users.set_password(&self.name, Some(&password.secret)).await?)
        })?;
        let generated = password.generated.then_some(&password.secret);
        tell_password(&self.name, generated, self.json, &format!("password of {} changed", self.name))
    }
}

/// Shut a supplier out: no more logins, and open sessions end within seconds.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  landfall user disable acme")]
pub(in crate::cli) struct Disable {
    /// Login name.
    name: String,
}

impl Disable {
    pub(super) fn run(self, context: &Context) -> anyhow::Result<()> {
        existing(context, &self.name, async |users| Ok(users.disable(&self.name).await?))?;
        Ok(output::line(&format!("user {} disabled; open sessions end", self.name))?)
    }
}

/// Let a supplier in again.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  landfall user enable acme")]
pub(in crate::cli) struct Enable {
    /// Login name.
    name: String,
}

impl Enable {
    pub(super) fn run(self, context: &Context) -> anyhow::Result<()> {
        existing(context, &self.name, async |users| Ok(users.enable(&self.name).await?))?;
        Ok(output::line(&format!("user {} enabled", self.name))?)
    }
}

/// Remove a supplier with its keys. Its files and its rows in the ledger stay.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  landfall user remove acme\n  landfall user remove acme --yes")]
pub(in crate::cli) struct Remove {
    /// Login name.
    name: String,
    /// Do not ask; needed where no terminal is.
    #[arg(long, short)]
    yes: bool,
}

impl Remove {
    pub(super) fn run(self, context: &Context) -> anyhow::Result<()> {
        if !self.yes && !std::io::stdin().is_terminal() {
            return Err(Usage("nobody is there to be asked: add --yes to remove the user".to_owned()).into());
        }
        let home = existing(context, &self.name, async |users| Ok(users.get(&self.name).await?.home))?;
        if !self.yes && !confirmed(&self.name)? {
            bail!("nothing was removed");
        }
        existing(context, &self.name, async |users| Ok(users.remove(&self.name).await?))?;
        Ok(output::line(&format!("user {} removed; the files in {home} stay", self.name))?)
    }
}

fn confirmed(name: &str) -> std::io::Result<bool> {
    eprint!("Remove user {name}? Files stay. [y/N] ");
    std::io::stderr().flush()?;
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

/// Does something with a user that must be there and must not be declared in the configuration.
pub(super) fn existing<T>(
    context: &Context,
    name: &str,
    work: impl AsyncFnOnce(landfall_auth::Users) -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    context.with_existing(Kind::User, name, async |loaded, users| {
        refuse_declared(&loaded, name)?;
        work(users).await
    })
}
