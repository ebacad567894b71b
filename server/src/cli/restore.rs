//! `landfall restore FILE`: puts a backup in place; what stood there is set aside, not destroyed.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::{Context as _, bail};
use clap::Args;
use landfall_auth::Database;

use super::context::{Context, block_on};
use super::output;
use crate::archive::{self, DATABASE, FOLDERS};
use crate::clock::now;
use crate::control::DataLock;
use crate::private;

const EXAMPLES: &str = "\
Examples:
  landfall restore /backup/landfall-2027-01-31.tar
  landfall restore backup.tar --data-dir /var/lib/landfall --force";

/// Put a backup in place; the server must not run.
///
/// Database, host keys and certificate. What stood in the data directory is set aside in there.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Restore {
    /// A file that `landfall backup` wrote.
    file: PathBuf,
    /// Even if the data directory holds state; that is set aside in there.
    #[arg(long)]
    force: bool,
}

impl Restore {
    pub(super) fn run(self, context: &Context) -> anyhow::Result<()> {
        let data_dir = context.load()?.config.data_dir;
        // Before anything is made: a mistyped name must leave no trace.
        archive::read(&self.file, None)?;
        private::create_dir(&data_dir).with_context(|| data_dir.display().to_string())?;
        let _lock = DataLock::take(&data_dir)?;
        let old = existing(&data_dir);
        if !old.is_empty() && !self.force {
            bail!("{} holds state already ({}); --force sets it aside", data_dir.display(), old.join(", "));
        }
        let fresh = data_dir.join(".restore");
        let done = restore(&self.file, &data_dir, &fresh, &old);
        drop(std::fs::remove_dir_all(&fresh));
        if let Some(aside) = done? {
            output::line(&format!("what stood there is now in {}", aside.display()))?;
        }
        Ok(output::line(&format!("{} restored to {}", self.file.display(), data_dir.display()))?)
    }
}

fn restore(file: &Path, data_dir: &Path, fresh: &Path, old: &[String]) -> anyhow::Result<Option<PathBuf>> {
    // What a killed restore left there.
    drop(std::fs::remove_dir_all(fresh));
    archive::read(file, Some(fresh))?;
    block_on(async { Ok(Database::check_file(&fresh.join(DATABASE)).await?) })?;
    let mut aside = None;
    if !old.is_empty() {
        let seconds = now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
        let directory = data_dir.join(format!("before-restore-{seconds}"));
        private::create_dir(&directory)?;
        for name in old {
            std::fs::rename(data_dir.join(name), directory.join(name))
                .with_context(|| format!("setting {name} aside"))?;
        }
        aside = Some(directory);
    }
    // The database comes last: until it is there, the server has no users and lets nobody in.
    for name in FOLDERS.into_iter().chain([DATABASE]) {
        if fresh.join(name).exists() {
            private::publish(&fresh.join(name), &data_dir.join(name))
                .with_context(|| format!("putting {name} in place"))?;
        }
    }
    Ok(aside)
}

/// What is in the data directory that a backup would replace; a write-ahead log belongs to its own database only.
fn existing(data_dir: &Path) -> Vec<String> {
    let database = ["", "-wal", "-shm", "-journal"].map(|end| format!("{DATABASE}{end}"));
    let names = database.into_iter().chain(FOLDERS.map(str::to_owned));
    names.filter(|name| data_dir.join(name).exists()).collect()
}
