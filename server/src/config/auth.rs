//! `[auth]`: what a password check costs, how many may wait, and where declared public keys lie.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// The section.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Auth {
    /// Memory of one Argon2id verification, in KiB.
    pub argon2_memory_kib: u32,
    /// Passes over that memory.
    pub argon2_iterations: u32,
    /// Lanes of it.
    pub argon2_lanes: u32,
    /// Verifications at a time; by default one per core, as far as their memory stays below 224 MiB.
    pub verifications: Option<u32>,
    /// Verifications that may wait for their turn; more are turned away.
    pub verifications_waiting: u32,
    /// Directory with one file of public keys per user, named after the user.
    pub public_keys_dir: Option<PathBuf>,
}

impl Default for Auth {
    fn default() -> Self {
        Self {
            argon2_memory_kib: 19_456,
            argon2_iterations: 2,
            argon2_lanes: 1,
            verifications: None,
            verifications_waiting: 512,
            public_keys_dir: None,
        }
    }
}
