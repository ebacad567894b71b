//! Harness of the integration tests: the real server in a place of its own, the fault proxy, the watcher, and raw
//! clients. Holds no test, and knows nothing of the server but its command line, its log and its ports.
//!
//! | file | holds |
//! |---|---|
//! | `server.rs` | [`Server`]: a `landfall` process with its own directories and ports |
//! | `command.rs` | [`Run`]: a child process with a bound on its time, dead when dropped |
//! | `ledger.rs` | [`Row`]: what `landfall uploads --json` prints |
//! | `ftp.rs`, `tls.rs` | [`Ftp`]: an FTP client that does what it is told, byte for byte |
//! | `sftp.rs` | [`Sftp`], [`Requests`]: an SFTP client over russh, by calls and by requests |
//! | `ssh.rs` | [`Ssh`]: an SSH client that does what it is told, packet by packet |
//! | `proxy.rs` | [`Proxy`]: a TCP relay that cuts, resets, falls silent or goes slowly |
//! | `watcher.rs` | [`Watcher`]: what was ever visible in a directory |
//! | `photographs.rs` | [`photographs`]: the real images that tests send |
//! | `peer.rs` | [`Peer`]: libunftp, the stock stack that Landfall is compared with |
//! | `fuzz/` | [`fuzz`]: what the fuzzers call |
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails, here and now")]
#![expect(clippy::disallowed_methods, reason = "tests wait, and clear the environment of what they start")]

mod command;
mod ftp;
pub mod fuzz;
mod ledger;
mod peer;
mod photographs;
mod proxy;
mod server;
mod sftp;
pub mod ssh;
mod tls;
mod watcher;

pub use command::{Outcome, Run, connect_from, tool, wait_until};
pub use ftp::{Data, Ftp, Reply};
pub use ledger::Row;
pub use peer::Peer;
pub use photographs::{Photograph, pattern, photographs};
pub use proxy::{Fault, Proxy};
pub use server::{Builder, Server, binary};
pub use sftp::{Handed, Requests, Sftp, Stranger};
pub use ssh::Ssh;
pub use watcher::{Sight, Watcher};

use std::path::PathBuf;

/// SHA-256 as 64 lowercase hexadecimal digits.
#[must_use]
pub fn sha256(bytes: &[u8]) -> String {
    use std::fmt::Write;
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes);
    digest.as_ref().iter().fold(String::with_capacity(64), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a string takes all");
        text
    })
}

/// The top of the source tree.
#[must_use]
pub fn repository() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).parent().expect("the crate stands in the repository").to_owned()
}
