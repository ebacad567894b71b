//! What an admin may set: one file per section, each with defaults, each limit with its unit in its name.

mod ftp;
mod limits;
mod sftp;

pub use ftp::{Ftp, PassiveHost, PortRange, SessionReuse, TlsPolicy};
pub use limits::Limits;
pub use sftp::Sftp;
