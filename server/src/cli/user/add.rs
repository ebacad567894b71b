//! `landfall user add`.

use std::io::Write;
use std::path::PathBuf;

use clap::Args;
use landfall_auth::{Grant, Kind, NewUser};

use super::super::context::Context;
use super::super::key::read_keys;
use super::super::limits::{LimitFlags, Setting, list};
use super::super::password::{Otherwise, PasswordFlags};
use super::{refuse_declared, tell_password};
use crate::config::Moment;

const EXAMPLES: &str = "\
Examples:
  landfall user add acme --generate-password
  printf '%s' \"$SECRET\" | landfall user add acme --password-stdin
  landfall user add beta --key ~/.ssh/id_ed25519.pub --protocol sftp --quota-bytes 10GB";

/// Add a supplier.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(in crate::cli) struct Add {
    /// Login name: letters, digits, . _ @ -
    name: String,
    #[command(flatten)]
    password: PasswordFlags,
    /// File with public keys in OpenSSH's form, one a line; - for standard input. May be given more than once.
    #[arg(long = "key", value_name = "FILE")]
    keys: Vec<PathBuf>,
    /// Address for people.
    #[arg(long)]
    email: Option<String>,
    /// Directory on the storage that is this supplier's root [default: /NAME].
    #[arg(long, value_name = "DIR")]
    home: Option<String>,
    /// Group. May be given more than once; the first that says something wins.
    #[arg(long = "group", value_name = "G", value_delimiter = ',')]
    groups: Vec<String>,
    /// No login from then on: 2027-01-31, or 2027-01-31T12:00:00Z.
    #[arg(long, value_name = "DATE")]
    expires: Option<Setting<Moment>>,
    /// As JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    limits: LimitFlags,
}

impl Add {
    pub(super) fn run(self, context: &Context) -> anyhow::Result<()> {
        let keys = read_keys(&self.keys)?;
        let mut grant = Grant::default();
        self.limits.apply(&mut grant)?;
        let password = self.password.obtain(if keys.is_empty() { Otherwise::AskForKeyToo } else { Otherwise::None })?;
        let groups = list("group", self.groups.into_iter().map(Setting::Set).collect())?;
        let new = NewUser {
            name: self.name.clone(),
            home: self.home,
            email: self.email,
            password: password.as_ref().map(|password| password.secret.clone()),
            keys,
            grant,
            groups: groups.and_then(Setting::into_option).unwrap_or_default(),
            expires: self.expires.and_then(Setting::into_option).map(|moment| moment.0),
            ..NewUser::default()
        };
        new.check()?;
        if let Some(group) = new.groups.first() {
            // Where nothing is stored yet there is no such group, and the attempt must not make a data directory.
            context.with_existing(Kind::Group, group, async |_, _| Ok(()))?;
        }
        let (user, place) = context.with_users(async |loaded, users| {
            refuse_declared(&loaded, &new.name)?;
            let known = users.list_groups().await?;
            if let Some(group) = new.groups.iter().find(|name| !known.iter().any(|group| group.name == **name)) {
                // A group that does not exist grants nothing and forbids nothing, which is never what was meant.
                anyhow::bail!("there is no group \"{group}\"; add it first: landfall group add {group}");
            }
            let user = users.add(new).await?;
            let root = std::path::absolute(&loaded.config.storage.root)?;
            let place = root.join(user.home.trim_start_matches('/'));
            Ok((user, place))
        })?;
        if std::fs::read_dir(&place).is_ok_and(|mut entries| entries.next().is_some()) {
            let note = format!("note: {} holds files already; {} has them from now on", place.display(), user.name);
            drop(writeln!(std::io::stderr(), "{note}"));
        }
        let generated = password.filter(|password| password.generated).map(|password| password.secret);
        let done = format!("user {} added; files land in {}", user.name, place.display());
        tell_password(&user.name, generated.as_ref(), self.json, &done)
    }
}
