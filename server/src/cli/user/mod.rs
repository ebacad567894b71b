//! `landfall user …`: one file per group of verbs. What a user may be called and have is decided in `auth`.

mod account;
mod add;
mod set;
mod show;
mod totp;

pub(super) use show::kept_in;

use anyhow::bail;
use clap::{Args, Subcommand};
use landfall_auth::Secret;

use super::context::Context;
use super::output;
use crate::config::Loaded;
use crate::people;

const EXAMPLES: &str = "\
Examples:
  landfall user add acme --generate-password
  landfall user add beta --key beta.pub --protocol sftp --quota-bytes 10GB
  landfall user set acme --permissions dropbox
  landfall user disable acme";

/// Add, change, list and remove suppliers.
///
/// Changes count from the next login on, also while the server runs; a disabled supplier's sessions end.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES, arg_required_else_help = true)]
pub(super) struct User {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Add(add::Add),
    List(show::List),
    Show(show::Show),
    Set(set::Set),
    Passwd(account::Passwd),
    Totp(totp::Totp),
    Disable(account::Disable),
    Enable(account::Enable),
    Remove(account::Remove),
}

impl User {
    pub(super) fn run(self, context: &Context) -> anyhow::Result<()> {
        match self.command {
            Command::Add(command) => command.run(context),
            Command::List(command) => command.run(context),
            Command::Show(command) => command.run(context),
            Command::Set(command) => command.run(context),
            Command::Passwd(command) => command.run(context),
            Command::Totp(command) => command.run(context),
            Command::Disable(command) => command.run(context),
            Command::Enable(command) => command.run(context),
            Command::Remove(command) => command.run(context),
        }
    }
}

/// Refuses to touch a user that the configuration declares, and says where it does. The database may not know it yet:
/// the server writes declared users there when it starts.
pub(super) fn refuse_declared(loaded: &Loaded, name: &str) -> anyhow::Result<()> {
    let same = |other: &str| other.eq_ignore_ascii_case(name);
    if let Some(index) = loaded.config.users.iter().position(|user| same(&user.name)) {
        bail!(
            "user \"{name}\" is declared in the configuration ({}); change it there",
            loaded.origin(&format!("users.{index}.name"))
        );
    }
    if people::declared_names(&loaded.config)?.iter().any(|declared| same(declared)) {
        bail!("user \"{name}\" is declared in LANDFALL_USERS or auth.public_keys_dir; change it there");
    }
    Ok(())
}

/// Tells a generated password, the only time that anybody can.
fn tell_password(name: &str, password: Option<&Secret>, json: bool, done: &str) -> anyhow::Result<()> {
    match (password, json) {
        (password, true) => {
            output::json(&serde_json::json!({ "name": name, "password": password.map(Secret::expose) }))
        }
        (Some(password), false) => {
            output::line(done)?;
            output::line(&format!("password: {}", password.expose()))?;
            Ok(output::line("It is shown this once and stored nowhere in clear.")?)
        }
        (None, false) => Ok(output::line(done)?),
    }
}
