//! `Peer`: libunftp with unftp-sbe-fs, the stock stack, as it is set up by its own manual: one folder, one user,
//! certificate and key from files. Holds no change to its behaviour, kind or unkind.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;

use libunftp::ServerBuilder;
use libunftp::options::FtpsRequired;
use tempfile::TempDir;
use tokio::runtime::Runtime;
use unftp_core::auth::{AuthenticationError, Authenticator, Credentials, DefaultUser, Principal};
use unftp_sbe_fs::Filesystem;

use crate::wait_until;

#[derive(Debug)]
struct OneUser {
    name: &'static str,
    password: &'static str,
}

#[async_trait::async_trait]
impl Authenticator for OneUser {
    async fn authenticate(&self, user: &str, shown: &Credentials) -> Result<Principal, AuthenticationError> {
        if user != self.name {
            return Err(AuthenticationError::BadUser);
        }
        if shown.password.as_deref() != Some(self.password) {
            return Err(AuthenticationError::BadPassword);
        }
        Ok(Principal { username: user.to_owned() })
    }
}

/// A libunftp server in this process.
pub struct Peer {
    address: SocketAddr,
    directory: TempDir,
    runtime: Option<Runtime>,
}

impl Peer {
    /// Starts it with the user `acme`, password `secret-of-acme`; with `tls_required`, in clear neither login nor data.
    #[track_caller]
    #[must_use]
    pub fn start(tls_required: bool) -> Self {
        let directory = TempDir::new().expect("a temporary directory");
        let (certificate, key) = certificate_in(&directory);
        let files = directory.path().join("files");
        std::fs::create_dir(&files).expect("a directory of our own");
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        // libunftp does not say which port it was given, so it is given one that was free a moment ago.
        let address = TcpListener::bind(("127.0.0.1", 0)).and_then(|free| free.local_addr()).expect("a free port");
        let required = if tls_required { FtpsRequired::All } else { FtpsRequired::None };
        let server = configured(files, certificate, key, required);
        runtime.spawn(server.listen(address.to_string()));
        wait_until("libunftp to listen", || TcpStream::connect(address).ok());
        Self { address, directory, runtime: Some(runtime) }
    }

    /// Runs one in the foreground, on an address and in a folder of the caller's.
    ///
    /// # Errors
    /// What libunftp says.
    pub fn serve(
        address: SocketAddr,
        files: PathBuf,
        certificate: PathBuf,
        key: PathBuf,
    ) -> Result<(), Box<dyn std::error::Error>> {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        let server = configured(files, certificate, key, FtpsRequired::None);
        Ok(runtime.block_on(server.listen(address.to_string()))?)
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The folder it serves.
    #[must_use]
    pub fn files(&self) -> PathBuf {
        self.directory.path().join("files")
    }
}

fn configured(
    files: PathBuf,
    certificate: PathBuf,
    key: PathBuf,
    required: FtpsRequired,
) -> libunftp::Server<Filesystem, DefaultUser> {
    ServerBuilder::new(Box::new(move || Filesystem::new(files.clone()).expect("the folder is there")))
        .authenticator(Arc::new(OneUser { name: "acme", password: "secret-of-acme" }))
        .ftps(certificate, key)
        .ftps_required(required, required)
        .passive_ports(20_000..=29_999)
        .build()
        .expect("a valid configuration")
}

impl Drop for Peer {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

fn certificate_in(directory: &TempDir) -> (PathBuf, PathBuf) {
    let made = rcgen::generate_simple_self_signed(["landfall.test".to_owned()]).expect("a certificate");
    let (certificate, key) = (directory.path().join("certificate.pem"), directory.path().join("key.pem"));
    std::fs::write(&certificate, made.cert.pem()).expect("a directory of our own");
    std::fs::write(&key, made.signing_key.serialize_pem()).expect("a directory of our own");
    (certificate, key)
}
