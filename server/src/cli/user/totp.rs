//! `landfall user totp`.

use anyhow::Context as _;
use clap::{Args, ValueEnum};

use super::super::context::Context;
use super::super::output;
use super::account::existing;

const EXAMPLES: &str = "\
Examples:
  landfall user totp acme enable
  landfall user totp acme enable --json
  landfall user totp acme remove";

/// Make a supplier's password need a verification code beside it, as authenticator apps show them.
///
/// SFTP clients are asked for it (keyboard-interactive); over FTP, and where an SFTP client sends passwords unasked, the
/// code follows the password directly. Each code opens one connection. Keys need none, unless --factors says so.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(in crate::cli) struct Totp {
    /// Login name.
    name: String,
    /// enable makes a new secret, in place of an older one; remove ends it.
    action: Action,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Action {
    Enable,
    Remove,
}

impl Totp {
    pub(super) fn run(self, context: &Context) -> anyhow::Result<()> {
        let name = &*self.name;
        let made = match self.action {
            Action::Enable => Some(landfall_auth::Totp::generate().context("the system has no randomness to give")?),
            Action::Remove => None,
        };
        existing(context, name, async |users| Ok(users.set_totp(name, made.as_ref()).await?))?;
        let told = made.map(|totp| (totp.base32(), totp.url(name)));
        let (secret, url) =
            (told.as_ref().map(|(secret, _)| secret.expose()), told.as_ref().map(|(_, url)| url.expose()));
        if self.json {
            return output::json(&serde_json::json!({ "name": name, "secret": secret, "url": url }));
        }
        let (Some(secret), Some(url)) = (secret, url) else {
            return Ok(output::line(&format!("the password of {name} needs no verification code any more"))?);
        };
        output::line(&format!("the password of {name} needs a verification code from now on"))?;
        output::line(&format!("secret: {secret}"))?;
        output::line(&format!("url:    {url}"))?;
        Ok(output::line("Both are shown this once: they are for the supplier's authenticator app.")?)
    }
}
