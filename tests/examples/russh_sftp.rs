//! The stock russh-sftp stack as a program of its own, for the benchmark: `russh_sftp ADDRESS FILES HOST_KEY`. One folder,
//! any key; its `server::run` over files of tokio's, as its own example sets it up. Holds no measuring.

use std::collections::HashMap;
use std::io::SeekFrom;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use russh::server::{Auth, ChannelOpenHandle, Msg, Server, Session, VerifiedPublicKey};
use russh::{Channel, ChannelId, Preferred, cipher};
use russh_sftp::protocol::{Attrs, Data, FileAttributes, Handle, OpenFlags, Status, StatusCode};
use tokio::fs::{File, OpenOptions};
use tokio::io::{AsyncReadExt, AsyncSeekExt, AsyncWriteExt};

const CIPHERS: &[cipher::Name] = &[cipher::AES_128_GCM, cipher::CHACHA20_POLY1305];

#[derive(Clone)]
struct Stock {
    files: PathBuf,
}

impl Server for Stock {
    type Handler = Visitor;

    fn new_client(&mut self, _: Option<SocketAddr>) -> Visitor {
        Visitor { files: self.files.clone(), channels: HashMap::new() }
    }
}

struct Visitor {
    files: PathBuf,
    channels: HashMap<ChannelId, Channel<Msg>>,
}

impl russh::server::Handler for Visitor {
    type Error = russh::Error;

    async fn auth_publickey(&mut self, _: &str, _: VerifiedPublicKey<'_>) -> Result<Auth, Self::Error> {
        Ok(Auth::Accept)
    }

    async fn channel_open_session(
        &mut self,
        channel: Channel<Msg>,
        reply: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), Self::Error> {
        self.channels.insert(channel.id(), channel);
        reply.accept().await;
        Ok(())
    }

    async fn channel_eof(&mut self, channel: ChannelId, session: &mut Session) -> Result<(), Self::Error> {
        session.close(channel)
    }

    async fn subsystem_request(&mut self, id: ChannelId, _: &str, session: &mut Session) -> Result<(), Self::Error> {
        let Some(channel) = self.channels.remove(&id) else { return session.channel_failure(id) };
        session.channel_success(id)?;
        russh_sftp::server::run(channel.into_stream(), Sftp { files: self.files.clone(), open: HashMap::new() }).await;
        Ok(())
    }
}

struct Sftp {
    files: PathBuf,
    open: HashMap<String, File>,
}

fn fails(error: &std::io::Error) -> StatusCode {
    match error.kind() {
        std::io::ErrorKind::NotFound => StatusCode::NoSuchFile,
        _ => StatusCode::Failure,
    }
}

fn done(id: u32) -> Status {
    Status { id, status_code: StatusCode::Ok, error_message: String::new(), language_tag: String::new() }
}

impl russh_sftp::server::Handler for Sftp {
    type Error = StatusCode;

    fn unimplemented(&self) -> StatusCode {
        StatusCode::OpUnsupported
    }

    async fn open(&mut self, id: u32, name: String, flags: OpenFlags, _: FileAttributes) -> Result<Handle, StatusCode> {
        let path = self.files.join(name.trim_start_matches('/'));
        let write = flags.contains(OpenFlags::WRITE);
        let mut options = OpenOptions::new();
        options.read(!write).write(write).create(write).truncate(flags.contains(OpenFlags::TRUNCATE));
        self.open.insert(name.clone(), options.open(path).await.map_err(|error| fails(&error))?);
        Ok(Handle { id, handle: name })
    }

    async fn close(&mut self, id: u32, handle: String) -> Result<Status, StatusCode> {
        let mut file = self.open.remove(&handle).ok_or(StatusCode::Failure)?;
        file.flush().await.map_err(|error| fails(&error))?;
        Ok(done(id))
    }

    async fn read(&mut self, id: u32, handle: String, offset: u64, bytes: u32) -> Result<Data, StatusCode> {
        let file = self.open.get_mut(&handle).ok_or(StatusCode::Failure)?;
        file.seek(SeekFrom::Start(offset)).await.map_err(|error| fails(&error))?;
        let mut data = Vec::with_capacity(bytes as usize);
        file.take(u64::from(bytes)).read_to_end(&mut data).await.map_err(|error| fails(&error))?;
        if data.is_empty() { Err(StatusCode::Eof) } else { Ok(Data { id, data }) }
    }

    async fn write(&mut self, id: u32, handle: String, offset: u64, data: Vec<u8>) -> Result<Status, StatusCode> {
        let file = self.open.get_mut(&handle).ok_or(StatusCode::Failure)?;
        file.seek(SeekFrom::Start(offset)).await.map_err(|error| fails(&error))?;
        file.write_all(&data).await.map_err(|error| fails(&error))?;
        Ok(done(id))
    }

    async fn fstat(&mut self, id: u32, handle: String) -> Result<Attrs, StatusCode> {
        let file = self.open.get(&handle).ok_or(StatusCode::Failure)?;
        Ok(Attrs { id, attrs: (&file.metadata().await.map_err(|error| fails(&error))?).into() })
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [address, files, host_key] = &arguments[..] else { return Err("russh_sftp ADDRESS FILES HOST_KEY".into()) };
    let config = russh::server::Config {
        auth_rejection_time_initial: Some(Duration::ZERO),
        keys: vec![russh::keys::load_secret_key(host_key, None)?],
        // Not among its defaults, and the cipher that all are compared with.
        preferred: Preferred { cipher: CIPHERS.into(), ..Preferred::default() },
        ..russh::server::Config::default()
    };
    let address: SocketAddr = address.parse()?;
    Ok(Stock { files: files.into() }.run_on_address(Arc::new(config), address).await?)
}
