//! `landfall backup FILE`: everything that cannot be made again, in one file, also while the server runs.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use clap::Args;
use landfall_auth::Database;

use super::context::Context;
use super::{Usage, output};
use crate::archive::{self, DATABASE, FOLDERS};
use crate::config::ByteSize;
use crate::private;

const EXAMPLES: &str = "\
Examples:
  landfall backup /backup/landfall-$(date +%F).tar
  landfall restore /backup/landfall-2027-01-31.tar";

/// Write database, host keys and certificate to one file.
///
/// Consistent also while the server runs. The file holds secrets and is readable by its owner only. Landed files are not part of it, nor is a certificate that
/// the configuration names.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Backup {
    /// The file; one that stands there is replaced.
    file: PathBuf,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

impl Backup {
    pub(super) fn run(self, context: &Context) -> anyhow::Result<()> {
        if self.file.as_os_str() == "-" {
            return Err(
                Usage("a backup is read back before it counts: give the name of a file, not -".to_owned()).into()
            );
        }
        let unwritable = || format!("cannot write {}", self.file.display());
        let copy = private::beside(&self.file, "db").with_context(unwritable)?;
        let parts = context.with_users_if_any(async |loaded, users| {
            let data_dir = loaded.config.data_dir;
            // What a killed backup left there.
            drop(std::fs::remove_file(&copy));
            private::create(&copy).and_then(|_| std::fs::remove_file(&copy)).with_context(unwritable)?;
            users.database().backup_to(&copy).await?;
            Database::check_file(&copy).await?;
            let mut files = vec![(DATABASE.to_owned(), copy.clone())];
            files.extend(keys(&data_dir).context("looking for keys")?);
            archive::write(&self.file, &files).with_context(unwritable)
        });
        drop(std::fs::remove_file(&copy));
        let Some(parts) = parts? else { bail!("there is nothing to back up") };
        if self.json {
            return output::json(&serde_json::json!({ "file": self.file, "parts": parts }));
        }
        let in_words = if parts.len() == 1 { "1 part".to_owned() } else { format!("{} parts", parts.len()) };
        let size = ByteSize(parts.iter().map(|part| part.size).sum());
        Ok(output::line(&format!("{} written and read back: {}, {size}", self.file.display(), in_words))?)
    }
}

/// The files of the folders that belong to a backup, with their names in it. Hidden ones are half-written.
fn keys(data_dir: &Path) -> std::io::Result<Vec<(String, PathBuf)>> {
    let mut files = Vec::new();
    for folder in FOLDERS {
        let directory = data_dir.join(folder);
        if !directory.exists() {
            continue;
        }
        for entry in std::fs::read_dir(directory)? {
            let entry = entry?;
            if let Ok(name) = entry.file_name().into_string()
                && !name.starts_with('.')
                && entry.file_type()?.is_file()
            {
                files.push((format!("{folder}/{name}"), entry.path()));
            }
        }
    }
    files.sort();
    Ok(files)
}
