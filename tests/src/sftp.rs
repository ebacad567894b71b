//! `Sftp`: an SFTP client over russh, one call after the other. Holds its own runtime, so that tests stay plain code.

use std::collections::HashMap;
use std::net::{IpAddr, Shutdown, SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;

use russh::client::{AuthResult, Handle, Handler};
use russh::keys::{PrivateKeyWithHashAlg, PublicKeyOrCertificate};
use russh_sftp::client::error::Error;
use russh_sftp::client::fs::File;
use russh_sftp::client::{RawSftpSession, SftpSession};
use russh_sftp::protocol::OpenFlags;
use tokio::io::{AsyncReadExt, AsyncSeekExt, AsyncWriteExt};
use tokio::runtime::Runtime;

use crate::command::connect_from;

struct TakesAnyHost;

impl Handler for TakesAnyHost {
    type Error = russh::Error;

    async fn check_server_key(&mut self, _: &PublicKeyOrCertificate) -> Result<bool, Self::Error> {
        Ok(true)
    }
}

/// A connection with one SFTP channel.
pub struct Sftp {
    runtime: Runtime,
    handle: Handle<TakesAnyHost>,
    socket: TcpStream,
    session: SftpSession,
}

/// A connection before its login.
pub struct Stranger {
    runtime: Runtime,
    socket: TcpStream,
    handle: Handle<TakesAnyHost>,
}

impl Stranger {
    /// Connects and exchanges keys.
    ///
    /// # Errors
    /// What russh says: the server may refuse or close.
    pub fn connect(peer: SocketAddr) -> Result<Self, russh::Error> {
        Self::connect_from(peer.ip(), peer)
    }

    /// Connects from a given address of this machine and exchanges keys.
    ///
    /// # Errors
    /// What russh says.
    pub fn connect_from(source: IpAddr, peer: SocketAddr) -> Result<Self, russh::Error> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let socket = connect_from(source, peer)?;
        let stream = socket.try_clone()?;
        stream.set_nonblocking(true)?;
        let handle = runtime.block_on(async {
            let stream = tokio::net::TcpStream::from_std(stream)?;
            russh::client::connect_stream(Arc::new(russh::client::Config::default()), stream, TakesAnyHost).await
        })?;
        Ok(Self { runtime, socket, handle })
    }

    /// Shows a password: true when it was right.
    pub fn password(&mut self, user: &str, password: &str) -> bool {
        let answer = self.runtime.block_on(self.handle.authenticate_password(user, password));
        matches!(answer, Ok(AuthResult::Success))
    }

    /// Shows a key: true when it was right.
    #[track_caller]
    pub fn key(&mut self, user: &str, key: &Path) -> bool {
        let key = russh::keys::load_secret_key(key, None).expect("a private key");
        let key = PrivateKeyWithHashAlg::new(Arc::new(key), None);
        matches!(self.runtime.block_on(self.handle.authenticate_publickey(user, key)), Ok(AuthResult::Success))
    }

    /// Opens the channel.
    #[track_caller]
    #[must_use]
    pub fn sftp(self) -> Sftp {
        let session = self.runtime.block_on(async {
            let channel = self.handle.channel_open_session().await.expect("a channel");
            channel.request_subsystem(true, "sftp").await.expect("the subsystem");
            SftpSession::new(channel.into_stream()).await.expect("an SFTP session")
        });
        Sftp { runtime: self.runtime, handle: self.handle, socket: self.socket, session }
    }
}

/// A connection with one SFTP channel, request by request.
pub struct Requests {
    runtime: Runtime,
    _handle: Handle<TakesAnyHost>,
    socket: TcpStream,
    session: RawSftpSession,
}

impl Requests {
    /// Connects, logs in by password and says INIT; gives the extensions of VERSION as well.
    #[track_caller]
    #[must_use]
    pub fn connect(peer: SocketAddr, user: &str, password: &str) -> (Self, HashMap<String, String>) {
        let mut stranger = Stranger::connect(peer).expect("the server listens");
        assert!(stranger.password(user, password), "login refused");
        let Stranger { runtime, socket, handle } = stranger;
        let (session, version) = runtime.block_on(async {
            let channel = handle.channel_open_session().await.expect("a channel");
            channel.request_subsystem(true, "sftp").await.expect("the subsystem");
            let session = RawSftpSession::new(channel.into_stream());
            let version = session.init().await.expect("VERSION");
            (session, version)
        });
        (Self { runtime, _handle: handle, socket, session }, version.extensions)
    }

    /// Sends a request and waits for its answer.
    ///
    /// # Errors
    /// The server's words.
    pub fn ask<'a, T, F>(&'a self, request: impl FnOnce(&'a RawSftpSession) -> F) -> Result<T, String>
    where
        F: Future<Output = Result<T, Error>> + 'a,
    {
        self.runtime.block_on(request(&self.session)).map_err(|error| error.to_string())
    }

    /// Ends the connection without a CLOSE for what is open.
    pub fn cut(&self) {
        drop(self.socket.shutdown(Shutdown::Both));
    }
}

impl Sftp {
    /// Connects and logs in by password.
    #[track_caller]
    #[must_use]
    pub fn connect(peer: SocketAddr, user: &str, password: &str) -> Self {
        let mut stranger = Stranger::connect(peer).expect("the server listens");
        assert!(stranger.password(user, password), "login refused");
        stranger.sftp()
    }

    /// Connects and logs in by key.
    #[track_caller]
    #[must_use]
    pub fn connect_key(peer: SocketAddr, user: &str, key: &Path) -> Self {
        let mut stranger = Stranger::connect(peer).expect("the server listens");
        assert!(stranger.key(user, key), "login refused");
        stranger.sftp()
    }

    /// OPEN (CREATE, TRUNC), WRITE, CLOSE.
    ///
    /// # Errors
    /// The server's words, whichever request they answered.
    pub fn put(&self, path: &str, bytes: &[u8]) -> Result<(), String> {
        let mut file = self.create(path)?;
        file.write(bytes)?;
        file.close()
    }

    /// OPEN with CREATE and TRUNC.
    ///
    /// # Errors
    /// The server's words.
    pub fn create(&self, path: &str) -> Result<Handed<'_>, String> {
        self.open(path, OpenFlags::CREATE | OpenFlags::TRUNCATE | OpenFlags::WRITE)
    }

    /// OPEN without TRUNC, standing at `offset`: how a client resumes.
    ///
    /// # Errors
    /// The server's words.
    pub fn resume(&self, path: &str, offset: u64) -> Result<Handed<'_>, String> {
        let mut handed = self.open(path, OpenFlags::CREATE | OpenFlags::WRITE)?;
        self.runtime.block_on(handed.file.seek(std::io::SeekFrom::Start(offset))).map_err(|error| error.to_string())?;
        Ok(handed)
    }

    fn open(&self, path: &str, flags: OpenFlags) -> Result<Handed<'_>, String> {
        let file = self.runtime.block_on(self.session.open_with_flags(path, flags));
        file.map(|file| Handed { file, runtime: &self.runtime }).map_err(|error| error.to_string())
    }

    /// The whole content of a file.
    ///
    /// # Errors
    /// The server's words.
    pub fn get(&self, path: &str) -> Result<Vec<u8>, String> {
        self.runtime.block_on(async {
            let mut file = self.session.open(path).await.map_err(|error| error.to_string())?;
            let mut bytes = Vec::new();
            file.read_to_end(&mut bytes).await.map_err(|error| error.to_string())?;
            Ok(bytes)
        })
    }

    /// STAT's size, `None` when there is no such file.
    #[must_use]
    pub fn size(&self, path: &str) -> Option<u64> {
        self.runtime.block_on(self.session.metadata(path)).ok()?.size
    }

    /// Names in a directory.
    ///
    /// # Errors
    /// The server's words.
    pub fn list(&self, path: &str) -> Result<Vec<String>, String> {
        let entries = self.runtime.block_on(self.session.read_dir(path)).map_err(|error| error.to_string())?;
        Ok(entries.map(|entry| entry.file_name()).collect())
    }

    /// RENAME.
    ///
    /// # Errors
    /// The server's words.
    pub fn rename(&self, from: &str, to: &str) -> Result<(), String> {
        self.runtime.block_on(self.session.rename(from, to)).map_err(|error| error.to_string())
    }

    /// True while the server keeps the connection.
    #[must_use]
    pub fn is_open(&self) -> bool {
        !self.handle.is_closed()
    }

    /// Ends the connection without a CLOSE for what is open.
    pub fn cut(&self) {
        drop(self.socket.shutdown(Shutdown::Both));
    }
}

/// An open handle.
pub struct Handed<'a> {
    file: File,
    runtime: &'a Runtime,
}

impl Handed<'_> {
    /// WRITEs; returns when all are acknowledged.
    ///
    /// # Errors
    /// The server's words.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), String> {
        let done = self.runtime.block_on(async {
            self.file.write_all(bytes).await?;
            self.file.flush().await
        });
        done.map_err(|error| error.to_string())
    }

    /// CLOSE.
    ///
    /// # Errors
    /// The server's words: a refusal, say.
    pub fn close(self) -> Result<(), String> {
        self.runtime.block_on(self.file.close()).map_err(|error| error.to_string())
    }
}
