//! `[storage]`: where landed files stand and how hard they are held.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::lists;
use super::units::Period;

/// How long a positive answer must live.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Durability {
    /// Survives a power cut.
    #[default]
    Full,
    /// Survives the end of the process.
    Process,
}

impl From<Durability> for landfall_storage::Durability {
    fn from(durability: Durability) -> Self {
        match durability {
            Durability::Full => Self::Full,
            Durability::Process => Self::Process,
        }
    }
}

/// The section.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Storage {
    /// Directory whose content suppliers and integrators see. Empty means `files` in the data directory; a loaded
    /// configuration has it filled in.
    pub root: PathBuf,
    /// Are landings synced to the device?
    pub durability: Durability,
    /// How long a suspended upload can be resumed.
    pub resume_ttl: Period,
    /// Directory for uploads on their way; by default beside the database, or a hidden one inside the root where that
    /// is another mount.
    pub staging: Option<PathBuf>,
    /// Names that uploads wear until their client renames them; `*` stands for any characters.
    #[serde(deserialize_with = "lists::list")]
    pub temporary_names: Vec<String>,
}

impl Storage {
    /// `resume_ttl` as a duration.
    #[must_use]
    pub fn resume_ttl(&self) -> Duration {
        self.resume_ttl.0
    }
}

impl Default for Storage {
    fn default() -> Self {
        Self {
            root: PathBuf::new(),
            durability: Durability::default(),
            resume_ttl: Period(Duration::from_hours(24)),
            staging: None,
            temporary_names: ["*.filepart", "*.part", "*.partial", "*.tmp", ".in.*"].map(str::to_owned).into(),
        }
    }
}
