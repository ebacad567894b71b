//! SSH as Landfall offers it: login through the door, then `session` channels with the subsystem `sftp`, and nothing
//! else. Shells, commands, terminals, forwarding and agents are refused. Knows no SFTP.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

use bytes::Bytes;
use russh::keys::Certificate;
use russh::server::{Auth, ChannelOpenHandle, Handler, Msg, PublicKeyOffer, Response, Session, VerifiedPublicKey};
use russh::{Channel, ChannelId, ChannelMsg, ChannelOpenFailure, ChannelReadHalf, ChannelWriteHalf, Pty};
use tokio::sync::watch;

use super::connection::Connection;
use super::login::{Door, Stop};
use super::outbox::{Gone, Sink};
use super::pump::{self, Input, Source};

/// Channels at a time.
const MAX_CHANNELS: usize = 8;
/// Channels over a connection's life: of each that was closed from here first, russh keeps a little.
const MAX_OPENED: usize = 10_000;

/// One SSH connection's handler.
///
/// A channel is read through russh's `Channel`, not through the `data` callback: the callback has to copy what it gets
/// borrowed, the channel hands out the bytes themselves. russh's session task waits when a channel's queue is full, and
/// while it waits it sees neither window adjustments nor the connection's end. So every channel has a task that takes
/// messages from the moment it is opened, and that waits for nothing but the storage.
pub(super) struct Visitor {
    door: Door,
    /// The connection's shared part, once somebody is logged in.
    connection: watch::Receiver<Option<Arc<Connection>>>,
    /// Says to the wire that somebody is logged in.
    known: Arc<AtomicBool>,
    channels: HashMap<ChannelId, Known>,
    opened: usize,
    window_bytes: u32,
    banner: String,
}

/// What is known of a channel.
struct Known {
    /// Dead when the channel's task has ended: russh does not tell of channels that were closed from here.
    task: Weak<()>,
    speaks_sftp: bool,
}

impl Visitor {
    /// Of a new connection.
    pub(super) fn new(
        door: Door,
        connection: watch::Receiver<Option<Arc<Connection>>>,
        known: Arc<AtomicBool>,
        window_bytes: u32,
        banner: String,
    ) -> Self {
        Self { door, connection, known, channels: HashMap::new(), opened: 0, window_bytes, banner }
    }

    fn current(&self) -> Option<Arc<Connection>> {
        self.connection.borrow().clone()
    }

    fn admit(&self) -> Result<(), Stop> {
        if self.door.is_shut() { Err(Stop::TooMany) } else { Ok(()) }
    }
}

/// Logins are boxed: russh keeps room for whatever a callback may need as long as the connection lives.
impl Handler for Visitor {
    type Error = Stop;

    /// RFC 4252 section 5.4; lines end as RFC 4251 has them.
    async fn authentication_banner(&mut self) -> Result<Option<String>, Stop> {
        let lines: Vec<&str> = self.banner.lines().collect();
        Ok((!lines.is_empty()).then(|| lines.join("\r\n") + "\r\n"))
    }

    async fn auth_none(&mut self, user: &str) -> Result<Auth, Stop> {
        self.admit()?;
        self.door.none(user)
    }

    async fn auth_password(&mut self, user: &str, password: &str) -> Result<Auth, Stop> {
        self.admit()?;
        Box::pin(self.door.password(user, password)).await
    }

    async fn auth_publickey_offered(&mut self, user: &str, offer: PublicKeyOffer<'_>) -> Result<Auth, Stop> {
        self.admit()?;
        Box::pin(self.door.offer(user, offer.public_key, offer.algorithm)).await
    }

    async fn auth_publickey(&mut self, user: &str, key: VerifiedPublicKey<'_>) -> Result<Auth, Stop> {
        self.admit()?;
        Box::pin(self.door.key(user, key.public_key, key.algorithm)).await
    }

    async fn auth_openssh_certificate(&mut self, user: &str, certificate: &Certificate) -> Result<Auth, Stop> {
        self.admit()?;
        Box::pin(self.door.certificate(user, certificate)).await
    }

    async fn auth_keyboard_interactive<'a>(
        &'a mut self,
        user: &str,
        _submethods: &str,
        response: Option<Response<'a>>,
    ) -> Result<Auth, Stop> {
        self.admit()?;
        // More than one is never asked for; of more, one too many is enough to see that.
        let answers = response.map(|answers| answers.take(2).map(|answer| answer.to_vec()).collect());
        Box::pin(self.door.interactive(user, answers)).await
    }

    /// Called before the client's next packet is read.
    async fn auth_succeeded(&mut self, _session: &mut Session) -> Result<(), Stop> {
        self.known.store(true, Ordering::Release);
        Ok(())
    }

    async fn channel_open_session(
        &mut self,
        channel: Channel<Msg>,
        reply: ChannelOpenHandle,
        _session: &mut Session,
    ) -> Result<(), Stop> {
        // The login is handed over on another task, which has it done long before a client's next packet; if it should
        // not, this waits for it.
        let connection = match self.connection.wait_for(Option::is_some).await {
            Ok(connection) => connection.clone(),
            Err(_) => None,
        };
        self.channels.retain(|_, known| known.task.strong_count() > 0);
        let fits = self.channels.len() < MAX_CHANNELS && self.opened < MAX_OPENED;
        let Some(connection) = connection.filter(|_| fits) else {
            reply.reject(ChannelOpenFailure::ResourceShortage).await;
            return Ok(());
        };
        let task = Arc::new(());
        self.channels.insert(channel.id(), Known { task: Arc::downgrade(&task), speaks_sftp: false });
        self.opened += 1;
        reply.accept().await;
        let (read, write) = channel.split();
        let tasks = connection.tasks.clone();
        tasks.spawn(async move {
            serve(connection, read, write).await;
            drop(task);
        });
        Ok(())
    }

    async fn subsystem_request(&mut self, id: ChannelId, name: &str, session: &mut Session) -> Result<(), Stop> {
        match self.channels.get_mut(&id) {
            Some(known) if name == "sftp" && !known.speaks_sftp => {
                known.speaks_sftp = true;
                session.channel_success(id)?;
            }
            _ => session.channel_failure(id)?,
        }
        Ok(())
    }

    async fn shell_request(&mut self, id: ChannelId, session: &mut Session) -> Result<(), Stop> {
        Ok(session.channel_failure(id)?)
    }

    async fn exec_request(&mut self, id: ChannelId, _command: &[u8], session: &mut Session) -> Result<(), Stop> {
        Ok(session.channel_failure(id)?)
    }

    async fn env_request(&mut self, id: ChannelId, _: &str, _: &str, session: &mut Session) -> Result<(), Stop> {
        Ok(session.channel_failure(id)?)
    }

    async fn pty_request(
        &mut self,
        id: ChannelId,
        _term: &str,
        _columns: u32,
        _rows: u32,
        _width: u32,
        _height: u32,
        _modes: &[(Pty, u32)],
        session: &mut Session,
    ) -> Result<(), Stop> {
        Ok(session.channel_failure(id)?)
    }

    async fn x11_request(
        &mut self,
        id: ChannelId,
        _single: bool,
        _protocol: &str,
        _cookie: &str,
        _screen: u32,
        session: &mut Session,
    ) -> Result<(), Stop> {
        Ok(session.channel_failure(id)?)
    }

    fn adjust_window(&mut self, _channel: ChannelId, _current: u32) -> u32 {
        self.current().map_or(self.window_bytes, |connection| connection.window_bytes(self.window_bytes))
    }
}

/// One channel from its opening on.
async fn serve(connection: Arc<Connection>, mut read: ChannelReadHalf, write: ChannelWriteHalf<Msg>) {
    loop {
        match read.wait().await {
            Some(ChannelMsg::RequestSubsystem { name, .. }) if name == "sftp" => break,
            // Bytes for nobody: this is no channel that would ever be served.
            Some(ChannelMsg::Data { .. } | ChannelMsg::ExtendedData { .. } | ChannelMsg::Eof) => {
                let _ = write.close().await;
                return;
            }
            Some(ChannelMsg::Close) | None => return,
            Some(_) => {}
        }
    }
    pump::serve(connection, Reading(read), Writing(write)).await;
}

struct Reading(ChannelReadHalf);

impl Source for Reading {
    async fn next(&mut self) -> Option<Input> {
        loop {
            match self.0.wait().await? {
                ChannelMsg::Data { data } => return Some(Input::Data(data)),
                ChannelMsg::Eof => return Some(Input::End),
                ChannelMsg::Close => return None,
                // Window adjustments are russh's business; everything else was answered by the handler.
                _ => {}
            }
        }
    }
}

struct Writing(ChannelWriteHalf<Msg>);

impl Sink for Writing {
    async fn send(&mut self, bytes: Bytes) -> Result<(), Gone> {
        self.0.data_bytes(bytes).await.map_err(|_| Gone)
    }

    async fn finish(&mut self) {
        // In this order, as OpenSSH's clients expect: they report a lost connection without a status.
        let _ = self.0.exit_status(0).await;
        let _ = self.0.eof().await;
    }

    async fn close(&mut self) {
        let _ = self.0.close().await;
    }
}
