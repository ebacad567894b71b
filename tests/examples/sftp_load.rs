//! An SFTP client that costs little, for the benchmark: 32 KiB requests, 64 of them outstanding, as most clients do it;
//! the cipher is given, and the key exchange is always curve25519-sha256.
//! Holds no measuring, and no protocol but what that takes.
//!
//! ```text
//! sftp_load ADDRESS USER KEY CIPHER session       lines on standard input: `put FILE NAME`, `get NAME BYTES`, `tell`
//! sftp_load ADDRESS USER KEY CIPHER login COUNT   logs in and out, four at a time
//! sftp_load ADDRESS USER KEY CIPHER idle COUNT    so many sessions with a channel each, held until standard input ends
//! ```
//! `ready` is printed when the login or the logins are done, `told` for each `tell`.

use std::collections::VecDeque;
use std::error::Error;
use std::io::{BufRead, Read, Write};
use std::net::SocketAddr;
use std::sync::Arc;

use russh::client::{self, Handle, Handler, Msg};
use russh::keys::{PrivateKeyWithHashAlg, PublicKeyOrCertificate};
use russh::{ChannelMsg, ChannelReadHalf, ChannelWriteHalf, Disconnect, Preferred, cipher, kex};

type Fails<T> = Result<T, Box<dyn Error + Send + Sync>>;

const PIECE_BYTES: usize = 32 * 1024;
const OUTSTANDING: usize = 64;
const BESIDE: usize = 4;
const INIT: u8 = 1;
const OPEN: u8 = 3;
const CLOSE: u8 = 4;
const READ: u8 = 5;
const WRITE: u8 = 6;
const STATUS: u8 = 101;
const HANDLE: u8 = 102;
const DATA: u8 = 103;
const FOR_READING: u32 = 0x01;
const FOR_WRITING: u32 = 0x02 | 0x08 | 0x10;

struct TakesAnyHost;

impl Handler for TakesAnyHost {
    type Error = russh::Error;

    async fn check_server_key(&mut self, _: &PublicKeyOrCertificate) -> Result<bool, Self::Error> {
        Ok(true)
    }
}

/// Where to log in, and how.
struct Way {
    address: SocketAddr,
    user: String,
    key: Arc<russh::keys::PrivateKey>,
    config: Arc<client::Config>,
}

impl Way {
    async fn login(&self) -> Fails<Handle<TakesAnyHost>> {
        let mut handle = client::connect(Arc::clone(&self.config), self.address, TakesAnyHost).await?;
        let key = PrivateKeyWithHashAlg::new(Arc::clone(&self.key), None);
        if !handle.authenticate_publickey(&self.user, key).await?.success() {
            return Err("the key was refused".into());
        }
        Ok(handle)
    }

    async fn session(&self) -> Fails<Session> {
        let handle = self.login().await?;
        let channel = handle.channel_open_session().await?;
        channel.request_subsystem(true, "sftp").await?;
        let (read, write) = channel.split();
        let mut session = Session { _handle: handle, read, write, received: VecDeque::new(), id: 0 };
        session.send(INIT, &[&3u32.to_be_bytes()]).await?;
        session.reply().await?;
        Ok(session)
    }
}

/// One channel. Requests are answered in whatever order; only how many is counted.
struct Session {
    _handle: Handle<TakesAnyHost>,
    read: ChannelReadHalf,
    write: ChannelWriteHalf<Msg>,
    received: VecDeque<u8>,
    id: u32,
}

impl Session {
    /// Sends a packet; but for INIT, `fields` begin behind the request's number.
    async fn send(&mut self, kind: u8, fields: &[&[u8]]) -> Fails<()> {
        let id = self.id.to_be_bytes();
        self.id += 1;
        let id: &[u8] = if kind == INIT { &[] } else { &id };
        let length = 1 + id.len() + fields.iter().map(|field| field.len()).sum::<usize>();
        let mut packet = Vec::with_capacity(4 + length);
        packet.extend_from_slice(&u32::try_from(length)?.to_be_bytes());
        packet.push(kind);
        packet.extend_from_slice(id);
        for field in fields {
            packet.extend_from_slice(field);
        }
        Ok(self.write.data_bytes(packet).await?)
    }

    /// The next piece of the stream, without its first `skip` bytes; says how many of those it had.
    async fn receive(&mut self, skip: usize) -> Fails<usize> {
        loop {
            match self.read.wait().await {
                Some(ChannelMsg::Data { data }) => {
                    let skip = skip.min(data.len());
                    self.received.extend(&data[skip..]);
                    return Ok(skip);
                }
                Some(ChannelMsg::Close | ChannelMsg::Failure) | None => return Err("the channel ended".into()),
                Some(_) => {}
            }
        }
    }

    async fn fill(&mut self, bytes: usize) -> Fails<()> {
        while self.received.len() < bytes {
            self.receive(0).await?;
        }
        Ok(())
    }

    /// The next reply: its kind, and what is behind the number of the request. Of data only the length.
    async fn reply(&mut self) -> Fails<(u8, Vec<u8>)> {
        self.fill(9).await?;
        let head: Vec<u8> = self.received.drain(..9).collect();
        let mut left = u32::from_be_bytes([head[0], head[1], head[2], head[3]]) as usize - 5;
        let kind = head[4];
        let kept = if kind == DATA { 4 } else { left };
        self.fill(kept).await?;
        let body = self.received.drain(..kept).collect();
        left -= kept;
        let here = left.min(self.received.len());
        self.received.drain(..here);
        left -= here;
        while left > 0 {
            left -= self.receive(left).await?;
        }
        Ok((kind, body))
    }

    async fn acknowledged(&mut self) -> Fails<()> {
        match self.reply().await? {
            (STATUS, body) if body.starts_with(&[0; 4]) => Ok(()),
            (_, body) => Err(String::from_utf8_lossy(&body).into()),
        }
    }

    async fn open(&mut self, name: &str, flags: u32) -> Fails<Vec<u8>> {
        let length = u32::try_from(name.len())?.to_be_bytes();
        self.send(OPEN, &[&length, name.as_bytes(), &flags.to_be_bytes(), &[0; 4]]).await?;
        match self.reply().await? {
            (HANDLE, handle) => Ok(handle),
            (_, body) => Err(String::from_utf8_lossy(&body).into()),
        }
    }

    async fn close(&mut self, handle: &[u8]) -> Fails<()> {
        self.send(CLOSE, &[handle]).await?;
        self.acknowledged().await
    }

    async fn put(&mut self, path: &str, name: &str) -> Fails<()> {
        let mut file = std::fs::File::open(path)?;
        let handle = self.open(name, FOR_WRITING).await?;
        let (mut offset, mut outstanding) = (0u64, 0);
        let mut piece = vec![0; PIECE_BYTES];
        loop {
            let bytes = file.read(&mut piece)?;
            if bytes == 0 {
                break;
            }
            let piece = &piece[..bytes];
            let length = u32::try_from(bytes)?.to_be_bytes();
            self.send(WRITE, &[&handle, &offset.to_be_bytes(), &length, piece]).await?;
            offset += piece.len() as u64;
            outstanding += 1;
            if outstanding == OUTSTANDING {
                self.acknowledged().await?;
                outstanding -= 1;
            }
        }
        for _ in 0..outstanding {
            self.acknowledged().await?;
        }
        self.close(&handle).await
    }

    async fn get(&mut self, name: &str, bytes: u64) -> Fails<()> {
        let handle = self.open(name, FOR_READING).await?;
        let (mut asked, mut received, mut outstanding) = (0, 0, 0);
        let piece = PIECE_BYTES as u64;
        while received < bytes {
            while asked < bytes && outstanding < OUTSTANDING {
                self.send(READ, &[&handle, &asked.to_be_bytes(), &u32::try_from(piece)?.to_be_bytes()]).await?;
                asked += piece;
                outstanding += 1;
            }
            match self.reply().await? {
                (DATA, length) => {
                    received += u64::from(u32::from_be_bytes([length[0], length[1], length[2], length[3]]));
                }
                (_, body) => return Err(String::from_utf8_lossy(&body).into()),
            }
            outstanding -= 1;
        }
        self.close(&handle).await
    }
}

fn say(word: &str) -> Fails<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{word}")?;
    Ok(out.flush()?)
}

/// Does what standard input says, line by line. Waits for it in place: there is nothing else to do.
async fn obey(mut session: Session) -> Fails<()> {
    say("ready")?;
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        match line.split(' ').collect::<Vec<_>>()[..] {
            ["put", path, name] => session.put(path, name).await?,
            ["get", name, bytes] => session.get(name, bytes.parse()?).await?,
            ["tell"] => say("told")?,
            _ => return Err(format!("not understood: {line}").into()),
        }
    }
    Ok(())
}

/// Does `work` `count` times, [`BESIDE`] at a time, and keeps what it made.
async fn each<T, W>(count: usize, work: impl Fn() -> W + Clone + Send + 'static) -> Fails<Vec<T>>
where
    T: Send + 'static,
    W: Future<Output = Fails<T>> + Send,
{
    let workers: Vec<_> = (0..BESIDE)
        .map(|worker| {
            let work = work.clone();
            tokio::spawn(async move {
                let mut made = Vec::new();
                for _ in (worker..count).step_by(BESIDE) {
                    made.push(work().await?);
                }
                Fails::Ok(made)
            })
        })
        .collect();
    let mut made = Vec::with_capacity(count);
    for worker in workers {
        made.append(&mut worker.await??);
    }
    Ok(made)
}

/// On one thread where one session is all there is: whatever the client does not use is the server's.
fn main() -> Fails<()> {
    let mut runtime = match std::env::args().nth(5).as_deref() {
        Some("session") => tokio::runtime::Builder::new_current_thread(),
        _ => tokio::runtime::Builder::new_multi_thread(),
    };
    runtime.enable_all().build()?.block_on(run())
}

async fn run() -> Fails<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let [address, user, key, cipher, what, rest @ ..] = &arguments[..] else {
        return Err("sftp_load ADDRESS USER KEY CIPHER session | login COUNT | idle COUNT".into());
    };
    let preferred = Preferred {
        cipher: vec![cipher::Name::try_from(*cipher).map_err(|()| "no such cipher")?].into(),
        // What every server here knows, so that all do the same work for a login.
        kex: vec![kex::CURVE25519].into(),
        ..Preferred::default()
    };
    let config = client::Config { preferred, nodelay: true, ..client::Config::default() };
    let way = Arc::new(Way {
        address: address.parse()?,
        user: (*user).to_owned(),
        key: Arc::new(russh::keys::load_secret_key(key, None)?),
        config: Arc::new(config),
    });
    match (*what, rest) {
        ("session", []) => obey(way.session().await?).await,
        ("login", [count]) => {
            let login = move || {
                let way = Arc::clone(&way);
                async move { Ok(way.login().await?.disconnect(Disconnect::ByApplication, "", "").await?) }
            };
            each(count.parse()?, login).await?;
            say("ready")
        }
        ("idle", [count]) => {
            let session = move || {
                let way = Arc::clone(&way);
                async move { way.session().await }
            };
            let held = each(count.parse()?, session).await?;
            say("ready")?;
            std::io::stdin().lock().lines().for_each(drop);
            drop(held);
            Ok(())
        }
        _ => Err("session | login COUNT | idle COUNT".into()),
    }
}
