//! A file tried against a grant without being sent: every rule by itself. Writes nothing, and knows no storage.

use std::io;

use landfall_auth::Grant;
use landfall_storage::VirtualPath;

use super::policy::{self, Facts};
use super::refusal::Refusal;
use crate::inspect::{Depth, Findings, Source, examine};

/// What one rule says.
#[derive(Debug)]
pub struct Check {
    /// The rule's key in the configuration.
    pub rule: &'static str,
    /// Why the file breaks it.
    pub refusal: Option<Refusal>,
}

/// What all rules say.
#[derive(Debug)]
pub struct Trial {
    /// What the file holds.
    pub content: Findings,
    /// In the order in which they are asked.
    pub checks: Vec<Check>,
}

impl Trial {
    /// What its sender would be told.
    #[must_use]
    pub fn refusal(&self) -> Option<&Refusal> {
        self.checks.iter().find_map(|check| check.refusal.as_ref())
    }
}

/// Asks every rule of `grant` about a file that would be sent as `path`.
///
/// # Errors
/// Those of the source.
pub fn try_file(grant: &Grant, path: &VirtualPath, source: &dyn Source) -> io::Result<Trial> {
    let content = examine(source, policy::inspection(grant).unwrap_or(Depth::Type))?;
    let facts = Facts { path: Some(path), size: source.size(), expected_bytes: None, content: Some(&content) };
    let name = path.file_name().unwrap_or_default();
    let checks = policy::trial(grant, path, facts).into_iter();
    let checks =
        checks.map(|(rule, verdict)| Check { rule, refusal: verdict.err().map(|refusal| refusal.of_file(name)) });
    Ok(Trial { checks: checks.collect(), content })
}
