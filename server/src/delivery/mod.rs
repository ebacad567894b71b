//! The meeting place of who and what: all that a protocol may call. One door per verb.
//! Refuses to know replies and packets; it says [`Refusal`], and each protocol words it in its own codes.

pub mod refusal;
pub mod registry;
pub mod session;
pub mod upload;

pub use refusal::{Reason, Refusal};
pub use registry::{Activity, Registry, SessionInfo};
pub use session::{Download, Listing, Session};
pub use upload::{Receipt, Upload};

use std::net::SocketAddr;
use std::sync::Arc;

use landfall_auth::{Protocol, User};

/// The room: opens sessions for users whom `auth::Login` let in.
pub struct Delivery {}

#[allow(unused_variables, clippy::unused_async)]
impl Delivery {
    /// Opens a session; its home directory is made if missing.
    ///
    /// # Errors
    /// A refusal when the user has as many sessions as allowed ([`Reason::Busy`]) or the storage fails.
    pub async fn open(self: &Arc<Self>, user: User, protocol: Protocol, peer: SocketAddr) -> Result<Session, Refusal> {
        todo!()
    }
}
