//! One session: its state, its loop, and who obeys which verb. Moves no payload itself.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;

use landfall_storage::VirtualPath;
use tokio::time::{Duration, Instant, sleep_until};

use super::Engine;
use super::command::{Command, ParseError, Verb, When};
use super::control::{Control, Pending};
use super::facts::Chosen;
use super::login::protocol_name;
use super::passive::Way;
use super::reply::Reply;
use crate::delivery::{self, Algorithm};
use crate::listen::{Connection, Permit, canonical};
use crate::tls::Configs;

/// Bytes of a refused name that the log shows.
const MAX_LOGGED_NAME_BYTES: usize = 256;

/// Why a session ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum End {
    /// The client said goodbye.
    Quit,
    /// The control connection is gone.
    Lost,
    /// A line over the limit.
    LineTooLong,
    /// Somebody's browser.
    Http,
    /// No login in time.
    LoginDeadline,
    /// No command for too long.
    Idle,
    /// The server is going down.
    Draining,
    /// Kicked, or the user was disabled.
    Ended,
    /// Not let in, with this for a reply.
    Denied(Reply),
}

impl End {
    /// For the log.
    fn reason(&self) -> &'static str {
        match self {
            Self::Quit => "quit",
            Self::Lost => "lost",
            Self::LineTooLong => "line too long",
            Self::Http => "not an FTP client",
            Self::LoginDeadline => "no login in time",
            Self::Idle => "idle",
            Self::Draining => "draining",
            Self::Ended => "kicked",
            Self::Denied(_) => "denied",
        }
    }

    /// What the peer hears last.
    fn last_words(&self) -> Option<Reply> {
        match self {
            Self::Quit => Some(Reply::new(221, "Goodbye")),
            Self::Lost | Self::Http => None,
            Self::LineTooLong => Some(Reply::new(500, "The line is longer than 4096 bytes")),
            Self::LoginDeadline => Some(Reply::new(421, "No login in time")),
            Self::Idle => Some(Reply::new(421, "No command for too long")),
            Self::Draining => Some(Reply::new(421, "The server is going down; come back in a minute")),
            Self::Ended => Some(Reply::new(421, "This session was ended by the operator")),
            Self::Denied(reply) => Some(reply.clone()),
        }
    }
}

/// What the next data connection is to be (RFC 4217 section 9).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Protection {
    /// In clear, since nothing else was said.
    #[default]
    Unset,
    /// In clear, after PBSZ or PROT C.
    Clear,
    /// PROT P.
    Private,
}

/// What commands set for those after them. REIN puts it back.
#[derive(Default)]
pub(super) struct State {
    /// Where relative names begin.
    pub(super) directory: VirtualPath,
    /// TYPE A. It begins off, other than RFC 959 says: who sends no TYPE sends images, and converting line ends in
    /// them would destroy them.
    pub(super) ascii: bool,
    /// PBSZ and PROT.
    pub(super) protection: Protection,
    /// EPSV ALL came: no other way from now on (RFC 2428 section 4).
    pub(super) only_epsv: bool,
    /// REST, for the next transfer.
    pub(super) restart: u64,
    /// RANG, for the next RETR or HASH: the first byte and the last.
    pub(super) range: Option<(u64, u64)>,
    /// ALLO, for the next upload.
    pub(super) announced_bytes: Option<u64>,
    /// RNFR.
    pub(super) rename_from: Option<VirtualPath>,
    /// OPTS MLST.
    pub(super) facts: Chosen,
    /// OPTS HASH.
    pub(super) algorithm: Algorithm,
    /// PASV, EPSV, PORT, EPRT, for the next transfer.
    pub(super) way: Option<Way>,
    /// When a passive port that nobody connects to is given back: there are few of them, and they are everybody's.
    pub(super) way_until: Option<Instant>,
}

/// One session.
pub(super) struct Session {
    pub(super) engine: Arc<Engine>,
    pub(super) control: Control,
    pub(super) peer: SocketAddr,
    /// The address that the client connected to, as far as it knows.
    pub(super) local: SocketAddr,
    /// The address that this end of the socket has.
    pub(super) own: SocketAddr,
    pub(super) permit: Permit,
    pub(super) login_by: Instant,
    /// USER, until PASS decides.
    pub(super) claimed: Option<String>,
    pub(super) wrong_logins: u32,
    /// The log has the line that says so already.
    pub(super) refused_in_clear: bool,
    /// When the login was, or else the connect.
    pub(super) since: Instant,
    /// `Some` from the login on.
    pub(super) files: Option<delivery::Session>,
    /// What this control connection's handshake used, and its data connections must.
    pub(super) tls: Option<Configs>,
    pub(super) state: State,
    /// Under TLS from the first byte.
    pub(super) implicit: bool,
}

impl Session {
    pub(super) fn new(engine: Arc<Engine>, connection: Connection) -> Self {
        let Connection { stream, peer, local, login_by, permit } = connection;
        let own = stream.local_addr().map_or(local, canonical);
        Self {
            engine,
            control: Control::new(stream),
            peer,
            local,
            own,
            permit,
            login_by,
            claimed: None,
            wrong_logins: 0,
            refused_in_clear: false,
            since: Instant::now(),
            files: None,
            tls: None,
            state: State::default(),
            implicit: false,
        }
    }

    pub(super) async fn run(mut self, implicit: bool) {
        let Err(end) = self.converse(implicit).await;
        if let Some(reply) = end.last_words() {
            self.control.send(&reply).await.ok();
        }
        self.log_out(end.reason());
        // The place in the limits is held until the socket is closed.
        let Self { control, permit, .. } = self;
        // A stranger who is silent to the end gets no second more for having been told so.
        if end == End::LoginDeadline && control.pending() == Pending::Nothing {
            drop(control);
        } else {
            // Also where the client has gone: its close_notify is to be answered by ours (RFC 5246 section 7.2.1).
            control.close().await;
        }
        drop(permit);
    }

    async fn converse(&mut self, implicit: bool) -> Result<Infallible, End> {
        if implicit {
            self.start_tls().await?;
            self.implicit = true;
            self.state = self.fresh_state();
        }
        self.say(&Reply::new(220, "Landfall")).await?;
        loop {
            let line = self.next_line().await?;
            match Command::parse(&line) {
                // Boxed, so that an idle session does not hold the room of the largest command.
                Ok(command) => Box::pin(self.obey(command)).await?,
                Err(error) => self.not_a_command(error).await?,
            }
        }
    }

    /// What a session begins with, and begins with again at REIN.
    pub(super) fn fresh_state(&self) -> State {
        // Implicit FTPS has been private throughout since before RFC 4217; its clients rarely say PROT.
        let protection = if self.implicit { Protection::Private } else { Protection::Unset };
        State { protection, ..State::default() }
    }

    async fn next_line(&mut self) -> Result<Vec<u8>, End> {
        let ended = self.files.as_ref().map(|files| files.ended().clone());
        let (deadline, overdue) = match &ended {
            Some(_) => (Instant::now() + Duration::from_secs(self.engine.limits.idle_seconds), End::Idle),
            None => (self.login_by, End::LoginDeadline),
        };
        loop {
            let kicked = async {
                match &ended {
                    Some(ended) => ended.cancelled().await,
                    None => std::future::pending().await,
                }
            };
            let unused = async {
                match self.state.way_until {
                    Some(until) => sleep_until(until).await,
                    None => std::future::pending().await,
                }
            };
            // Whoever comes to the passive port is looked at meanwhile.
            let looking = async {
                if let Some(Way::Passive(passive)) = &mut self.state.way {
                    passive.arrival().await;
                }
                std::future::pending::<Infallible>().await
            };
            return tokio::select! {
                biased;
                () = kicked => Err(End::Ended),
                () = self.engine.lifecycle.draining() => Err(End::Draining),
                line = self.control.line() => match line {
                    Ok(Ok(Some(line))) => Ok(line),
                    Ok(Err(_)) => Err(End::LineTooLong),
                    Ok(Ok(None)) | Err(_) => Err(End::Lost),
                },
                () = sleep_until(deadline) => Err(overdue),
                never = looking => match never {},
                () = unused => {
                    (self.state.way, self.state.way_until) = (None, None);
                    continue;
                }
            };
        }
    }

    async fn not_a_command(&mut self, error: ParseError) -> Result<(), End> {
        let reply = match error {
            // A page on another site can make a browser speak here in its visitor's name; not one line more is read.
            ParseError::Http if self.files.is_none() => return Err(End::Http),
            ParseError::Http | ParseError::Unknown => Reply::new(500, "This command is not known; HELP lists all"),
            ParseError::NotOffered => Reply::new(502, "This command is not offered here; HELP lists those that are"),
            ParseError::Empty => Reply::new(500, "A command is needed"),
            ParseError::ArgumentMissing(spec) => Reply::new(501, format!("{} {}", spec.name, spec.help)),
            ParseError::ArgumentUnwanted(spec) => Reply::new(501, format!("{} takes nothing after it", spec.name)),
        };
        self.say(&reply).await
    }

    pub(super) async fn say(&mut self, reply: &Reply) -> Result<(), End> {
        self.control.send(reply).await.map_err(|_| End::Lost)
    }

    /// What this session may do.
    pub(super) fn files(&self) -> Result<delivery::Session, Reply> {
        self.files.clone().ok_or_else(|| Reply::new(530, "Log in with USER and PASS first"))
    }

    /// A name from a client, seen from the current directory.
    pub(super) fn path(&self, name: &[u8]) -> Result<VirtualPath, Reply> {
        Ok(self.state.directory.resolve_bytes(name)?)
    }

    /// The same for something that is to bear that name. A refusal is told to the operator as well, who is asked why a
    /// file never came.
    pub(super) fn new_path(&self, name: &[u8]) -> Result<VirtualPath, Reply> {
        self.path(name).inspect_err(|reply| self.log_refused_name(name, reply))
    }

    /// The same for a file: `a/`, `a/.` and `a/..` are names of directories.
    pub(super) fn new_file_path(&self, name: &[u8]) -> Result<VirtualPath, Reply> {
        let path = self.new_path(name)?;
        if matches!(name.rsplit(|byte| *byte == b'/').next(), None | Some(b"" | b"." | b"..")) {
            let reply = Reply::new(553, "that is the name of a directory; send the file's own name");
            self.log_refused_name(name, &reply);
            return Err(reply);
        }
        Ok(path)
    }

    fn log_refused_name(&self, name: &[u8], reply: &Reply) {
        let Some(files) = &self.files else { return };
        let (shown, cut) = name.split_at(name.len().min(MAX_LOGGED_NAME_BYTES));
        tracing::warn!(
            user = files.user().name,
            peer = %self.peer,
            protocol = protocol_name(files),
            name = %format_args!("{}{}", shown.escape_ascii(), if cut.is_empty() { "" } else { "…" }),
            reason = reply.text(),
            "refused"
        );
    }

    async fn obey(&mut self, command: Command) -> Result<(), End> {
        if command.spec.when == When::LoggedIn
            && let Err(reply) = self.files()
        {
            return self.say(&reply).await;
        }
        if command.spec.verb != Verb::Rnto {
            // RFC 959 section 4.1.3: RNTO follows at once, or not at all.
            self.state.rename_from = None;
        }
        let argument = command.argument.as_slice();
        let text = command.text();
        let done = match command.spec.verb {
            Verb::Abor => Ok(self.abort_nothing()),
            Verb::Acct => Ok(Reply::new(202, "No account is needed")),
            Verb::Allo => self.allo(&text),
            Verb::Appe => return self.appe(argument).await,
            Verb::Auth => return self.auth(&text).await,
            Verb::Avbl => self.avbl(argument).await,
            Verb::Ccc => Err(self.ccc()),
            Verb::Cdup => self.cwd(b"..").await,
            Verb::Clnt => Ok(Reply::new(200, "Noted")),
            Verb::Csid => Self::csid(&text),
            Verb::Cwd => self.cwd(argument).await,
            Verb::Dele => self.dele(argument).await,
            Verb::Eprt => self.eprt(&text),
            Verb::Epsv => self.epsv(&text).await,
            Verb::Feat => Ok(self.feat()),
            Verb::Hash => return self.hash(argument).await,
            Verb::Help => Ok(Self::help(argument)),
            Verb::Host => self.host(&text),
            Verb::Lang => Self::lang(&text),
            Verb::List => return self.list(argument).await,
            Verb::Md5 => return self.md5(argument).await,
            Verb::Mdtm => self.mdtm(argument).await,
            Verb::Mff => self.mff(argument).await,
            Verb::Mfmt => self.mfmt(argument).await,
            Verb::Mkd => self.mkd(argument).await,
            Verb::Mlsd => return self.mlsd(argument).await,
            Verb::Mlst => self.mlst(argument).await,
            Verb::Mode => Self::mode(&text),
            Verb::Nlst => return self.nlst(argument).await,
            Verb::Noop => Ok(Reply::new(200, "Here")),
            Verb::Opts => self.opts(&text),
            Verb::Pass => self.pass(&text).await?,
            Verb::Pasv => self.pasv().await,
            Verb::Pbsz => self.pbsz(&text),
            Verb::Port => self.port(&text),
            Verb::Prot => self.prot(&text),
            Verb::Pwd => Ok(self.pwd()),
            Verb::Quit => return Err(End::Quit),
            Verb::Rang => self.rang(&text),
            Verb::Rein => Ok(self.rein()),
            Verb::Rest => self.rest(&text),
            Verb::Retr => return self.retr(argument).await,
            Verb::Rmd => self.rmd(argument).await,
            Verb::Rmda => return self.rmda(argument).await,
            Verb::Rnfr => self.rnfr(argument).await,
            Verb::Rnto => self.rnto(argument).await,
            Verb::Site => self.site(argument).await,
            Verb::Size => self.size(argument).await,
            Verb::Stat => return self.stat(argument).await,
            Verb::Stor => return self.stor(argument).await,
            Verb::Stou => return self.stou(argument).await,
            Verb::Stru => Self::stru(&text),
            Verb::Syst => Ok(Reply::new(215, "UNIX Type: L8")),
            Verb::Type => self.set_type(&text),
            Verb::User => self.user(&text),
            Verb::Xcrc => return self.digest_of_part("XCRC", argument, Algorithm::Crc32).await,
            Verb::Xmd5 => return self.digest_of_part("XMD5", argument, Algorithm::Md5).await,
            Verb::Xsha1 => return self.digest_of_part("XSHA1", argument, Algorithm::Sha1).await,
            Verb::Xsha256 => return self.digest_of_part("XSHA256", argument, Algorithm::Sha256).await,
            Verb::Xsha512 => return self.digest_of_part("XSHA512", argument, Algorithm::Sha512).await,
        };
        match done {
            Ok(reply) | Err(reply) => self.say(&reply).await,
        }
    }
}
