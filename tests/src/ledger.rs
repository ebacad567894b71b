//! `Row`: what `landfall uploads --json` prints, one object per line.

use serde::Deserialize;

/// A receipt, a refusal, or a suspended upload.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Row {
    /// Identity of the upload.
    pub id: String,
    /// Whose it is.
    pub user: String,
    /// The name as the user sees it.
    pub path: String,
    /// Bytes.
    pub size: u64,
    /// SHA-256 of a landed file.
    #[serde(default)]
    pub sha256: Option<String>,
    /// `ftp`, `ftps` or `sftp`.
    pub protocol: String,
    /// `landed`, `refused` or `suspended`.
    pub status: String,
    /// Why it was refused.
    #[serde(default)]
    pub reason: Option<String>,
}

/// All rows in a command's output.
#[track_caller]
pub(crate) fn rows(text: &str) -> Vec<Row> {
    let lines = text.lines().filter(|line| !line.trim().is_empty());
    lines.map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error} in {line}"))).collect()
}
