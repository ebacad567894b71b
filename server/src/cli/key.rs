//! `landfall key add | list | remove`: public keys, by which suppliers come in over SFTP.

use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use clap::{Args, Subcommand};
use landfall_auth::Kind;

use super::context::Context;
use super::output;
use super::user::refuse_declared;
use crate::private;

/// Largest file of keys that is read, in bytes.
const MAX_KEY_FILE_BYTES: u64 = 1_048_576;

const EXAMPLES: &str = "\
Examples:
  landfall key add acme ~/.ssh/id_ed25519.pub
  ssh-add -L | landfall key add acme -
  landfall key list acme
  landfall key remove acme SHA256:…";

/// Add, list and remove a supplier's public keys.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES, arg_required_else_help = true)]
pub(super) struct Key {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Add the keys of a file.
    #[command(after_help = "Examples:\n  landfall key add acme id_ed25519.pub\n  ssh-add -L | landfall key add acme -")]
    Add {
        /// Login name.
        user: String,
        /// File with keys in OpenSSH's form, one a line; - for standard input.
        file: PathBuf,
    },
    /// List keys.
    #[command(after_help = "Examples:\n  landfall key list acme\n  landfall key list acme --json")]
    List {
        /// Login name.
        user: String,
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Remove a key.
    #[command(after_help = "Example:\n  landfall key remove acme SHA256:uNiVztksCsDhcc0u9e8BrqyKhWbBb5zZ9nJZkxtmxbE")]
    Remove {
        /// Login name.
        user: String,
        /// The key's fingerprint as `landfall key list` shows it, or its comment.
        fingerprint: String,
    },
}

impl Key {
    pub(super) fn run(self, context: &Context) -> anyhow::Result<()> {
        match self.command {
            Command::Add { user, file } => add(context, &user, &file),
            Command::List { user, json } => list(context, &user, json),
            Command::Remove { user, fingerprint } => {
                let key = context.with_existing(Kind::User, &user, async |loaded, users| {
                    refuse_declared(&loaded, &user)?;
                    Ok(users.remove_key(&user, &fingerprint).await?)
                })?;
                Ok(output::line(&format!("key {} of {user} removed", key.fingerprint()))?)
            }
        }
    }
}

fn add(context: &Context, user: &str, file: &Path) -> anyhow::Result<()> {
    let lines = read_keys(&[file.to_owned()])?;
    // All or nothing, as far as can be seen beforehand.
    for line in &lines {
        landfall_auth::PublicKey::parse(line)?;
    }
    let keys = context.with_existing(Kind::User, user, async |loaded, users| {
        refuse_declared(&loaded, user)?;
        let mut keys = Vec::new();
        for line in &lines {
            keys.push(users.add_key(user, line).await?);
        }
        Ok(keys)
    })?;
    for key in keys {
        output::line(&format!("key {} added to {user}", key.fingerprint()))?;
    }
    Ok(())
}

fn list(context: &Context, user: &str, json: bool) -> anyhow::Result<()> {
    let keys = context.with_existing(Kind::User, user, async |_, users| Ok(users.list_keys(user).await?))?;
    if json {
        let keys: Vec<_> = keys
            .iter()
            .map(|key| {
                serde_json::json!({
                    "kind": key.kind(), "fingerprint": key.fingerprint(), "comment": key.comment(), "key": key.normal(),
                })
            })
            .collect();
        return output::json(&keys);
    }
    if keys.is_empty() {
        return Ok(output::line(&format!("{user} has no keys"))?);
    }
    let rows: Vec<[String; 3]> = keys
        .iter()
        .map(|key| [key.kind().to_owned(), key.fingerprint().to_owned(), key.comment().to_owned()])
        .collect();
    Ok(output::text(&output::table(["KIND", "FINGERPRINT", "COMMENT"], &rows))?)
}

/// The keys in these files, one a line; blank lines and comments are left out.
pub(super) fn read_keys(files: &[PathBuf]) -> anyhow::Result<Vec<String>> {
    let mut lines = Vec::new();
    for file in files {
        let name = file.display();
        let bytes = if file.as_os_str() == "-" {
            let mut bytes = Vec::new();
            std::io::stdin()
                .lock()
                .take(MAX_KEY_FILE_BYTES)
                .read_to_end(&mut bytes)
                .context("reading standard input")?;
            bytes
        } else {
            private::read(file, MAX_KEY_FILE_BYTES).with_context(|| format!("reading {name}"))?
        };
        let text = String::from_utf8(bytes).ok().with_context(|| format!("{name} is not text"))?;
        if text.contains("PRIVATE KEY-----") {
            bail!("{name} is a private key; give the public one, {name}.pub");
        }
        let before = lines.len();
        lines.extend(
            text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')).map(str::to_owned),
        );
        if lines.len() == before {
            bail!("{name} holds no public key");
        }
    }
    Ok(lines)
}
