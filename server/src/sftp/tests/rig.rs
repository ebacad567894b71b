//! A session with storage and ledger below it, and a client that speaks SFTP packets to its pump: no SSH between.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use landfall_auth::{Database, Grant, Protocol, Source as Kept, Sync, User};
use landfall_storage::disk::Faults;
use landfall_storage::{Durability, LocalStore};
use tempfile::TempDir;
use tokio::sync::{Semaphore, mpsc};

use crate::delivery::{Delivery, Ledger, TemporaryNames, ledger};
use crate::lifecycle::Lifecycle;
use crate::sftp::connection::Connection;
use crate::sftp::outbox::{Gone, Sink};
use crate::sftp::packets;
use crate::sftp::pump::{self, Input, Source};

/// Longer than anything here takes; a test that waits this long has failed.
const PATIENCE: Duration = Duration::from_secs(20);

pub(super) const WRITE: u32 = 0x02;
pub(super) const READ: u32 = 0x01;
pub(super) const APPEND: u32 = 0x04;
pub(super) const CREAT: u32 = 0x08;
pub(super) const TRUNC: u32 = 0x10;
pub(super) const EXCL: u32 = 0x20;
pub(super) const FRESH: u32 = WRITE | CREAT | TRUNC;

/// Storage and ledger.
pub(super) struct Ground {
    pub(super) place: TempDir,
    pub(super) database: Database,
    pub(super) delivery: Arc<Delivery>,
}

impl Ground {
    pub(super) async fn new() -> Self {
        Self::on(|files, staging| LocalStore::open(files, staging, Durability::Process)).await
    }

    /// On a disk that fails, or takes its time, as told.
    pub(super) async fn with_faults(faults: Arc<dyn Faults>) -> Self {
        Self::on(|files, staging| LocalStore::open_with_faults(files, staging, Durability::Process, faults)).await
    }

    async fn on(open: impl FnOnce(&Path, &Path) -> landfall_storage::Result<LocalStore>) -> Self {
        let place = tempfile::tempdir().unwrap();
        let database = Database::open(&place.path().join("db"), Sync::Normal).await.unwrap();
        database.migrate(&ledger::MIGRATIONS).await.unwrap();
        let store = open(&place.path().join("files"), &place.path().join("staging")).unwrap();
        let delivery = Delivery::new(Arc::new(store), Ledger::start(database.clone()), TemporaryNames::default());
        Self { place, database, delivery }
    }

    /// The ledger's rows of `acme`, oldest first.
    pub(super) async fn receipts(&self) -> Vec<ledger::Record> {
        self.delivery.ledger().flush().await;
        ledger::query(self.database.pool(), &ledger::Filter::default()).await.unwrap()
    }

    /// Where a file of `acme` stands.
    pub(super) fn on_disk(&self, path: &str) -> PathBuf {
        self.place.path().join("files/acme").join(path)
    }

    pub(super) async fn client(&self) -> Client {
        self.client_with(Semaphore::MAX_PERMITS, Grant::default()).await
    }

    /// A client that takes `window_bytes` of replies until it opens its window further.
    pub(super) async fn client_with(&self, window_bytes: usize, grant: Grant) -> Client {
        let user = User {
            id: 1,
            name: "acme".to_owned(),
            home: "/acme".to_owned(),
            email: None,
            disabled: false,
            expires: None,
            groups: Vec::new(),
            grant: grant.clone(),
            effective: grant,
            source: Kept::Database,
            has_password: true,
            has_totp: false,
            key_count: 0,
        };
        let peer = SocketAddr::from(([192, 0, 2, 1], 9));
        let session = self.delivery.open(user, Protocol::Sftp, peer).await.unwrap();
        let connection = Connection::new(session, Lifecycle::default());
        Client::start(connection, window_bytes)
    }
}

struct FromClient(mpsc::Receiver<Input>);

impl Source for FromClient {
    async fn next(&mut self) -> Option<Input> {
        self.0.recv().await
    }
}

struct ToClient {
    window: Arc<Semaphore>,
    replies: mpsc::UnboundedSender<Bytes>,
}

impl Sink for ToClient {
    async fn send(&mut self, mut bytes: Bytes) -> Result<(), Gone> {
        while !bytes.is_empty() {
            let piece = bytes.split_to(bytes.len().min(32 * 1024));
            let size = u32::try_from(piece.len()).unwrap();
            self.window.acquire_many(size).await.map_err(|_| Gone)?.forget();
            self.replies.send(piece).map_err(|_| Gone)?;
        }
        Ok(())
    }

    async fn finish(&mut self) {}

    async fn close(&mut self) {}
}

/// One reply: its type and what follows the id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Reply {
    pub(super) kind: u8,
    pub(super) body: Bytes,
}

impl Reply {
    /// The code of a status, which it must be.
    pub(super) fn code(&self) -> u32 {
        assert_eq!(self.kind, 101, "not a status: {self:?}");
        self.body.clone().get_u32()
    }

    /// The sentence of a status.
    pub(super) fn sentence(&self) -> String {
        assert_eq!(self.kind, 101, "not a status: {self:?}");
        let mut body = self.body.slice(4..);
        let count = body.get_u32() as usize;
        String::from_utf8(body[..count].to_vec()).unwrap()
    }

    /// The payload of DATA or the handle of HANDLE.
    pub(super) fn bytes(&self) -> Bytes {
        assert!(self.kind == 102 || self.kind == 103, "neither handle nor data: {self:?}");
        let mut body = self.body.clone();
        let count = body.get_u32() as usize;
        body.slice(..count)
    }

    /// The size in ATTRS.
    pub(super) fn size(&self) -> u64 {
        assert_eq!(self.kind, 105, "not attributes: {self:?}");
        self.body.slice(4..).get_u64()
    }

    /// The pairs in VERSION.
    pub(super) fn pairs(&self) -> Vec<(String, Bytes)> {
        assert_eq!(self.kind, 2, "not a version: {self:?}");
        let mut body = self.body.clone();
        let mut pairs = Vec::new();
        while body.has_remaining() {
            let [name, value] = [(); 2].map(|()| {
                let count = body.get_u32() as usize;
                body.split_to(count)
            });
            pairs.push((String::from_utf8(name.to_vec()).unwrap(), value));
        }
        pairs
    }

    /// The names in NAME.
    pub(super) fn names(&self) -> Vec<String> {
        assert_eq!(self.kind, 104, "not names: {self:?}");
        let mut body = self.body.clone();
        let count = body.get_u32();
        let text = |body: &mut Bytes| {
            let count = body.get_u32() as usize;
            String::from_utf8(body.split_to(count).to_vec()).unwrap()
        };
        (0..count)
            .map(|_| {
                let name = text(&mut body);
                text(&mut body);
                if body.get_u32() != 0 {
                    body.advance(28);
                }
                name
            })
            .collect()
    }
}

/// The other side of a pump.
pub(super) struct Client {
    pub(super) connection: Arc<Connection>,
    pub(super) window: Arc<Semaphore>,
    to: Option<mpsc::Sender<Input>>,
    from: mpsc::UnboundedReceiver<Bytes>,
    read: BytesMut,
    early: HashMap<u32, Reply>,
    last_id: u32,
    pump: tokio::task::JoinHandle<()>,
}

impl Client {
    /// A further channel of `connection`.
    pub(super) fn start(connection: Arc<Connection>, window_bytes: usize) -> Self {
        let (to, from_client) = mpsc::channel(4);
        let (replies, from) = mpsc::unbounded_channel();
        let window = Arc::new(Semaphore::new(window_bytes));
        let sink = ToClient { window: window.clone(), replies };
        let pump = tokio::spawn(pump::serve(connection.clone(), FromClient(from_client), sink));
        let (read, early) = (BytesMut::new(), HashMap::new());
        Self { connection, window, to: Some(to), from, read, early, last_id: 0, pump }
    }

    /// Sends bytes as they are.
    pub(super) async fn raw(&mut self, bytes: impl Into<Bytes>) {
        let _ = self.to.as_ref().unwrap().send(Input::Data(bytes.into())).await;
    }

    /// Sends a request and says its id.
    pub(super) async fn send(&mut self, kind: u8, fields: impl FnOnce(&mut BytesMut)) -> u32 {
        self.last_id += 1;
        let id = self.last_id;
        self.raw(request(kind, id, fields)).await;
        id
    }

    /// Waits for the reply to a request.
    pub(super) async fn reply(&mut self, id: u32) -> Reply {
        loop {
            if let Some(reply) = self.early.remove(&id) {
                return reply;
            }
            let (id, reply) = self.any().await.expect("the channel has ended");
            self.early.insert(id, reply);
        }
    }

    /// Waits for any reply; `None` when there will be no more.
    pub(super) async fn any(&mut self) -> Option<(u32, Reply)> {
        loop {
            if self.read.len() >= 4 {
                let length = self.read.clone().get_u32() as usize;
                if self.read.len() >= 4 + length {
                    let mut packet = self.read.split_to(4 + length).freeze();
                    packet.advance(4);
                    let kind = packet.get_u8();
                    let id = packet.get_u32();
                    return Some((id, Reply { kind, body: packet }));
                }
            }
            let piece = tokio::time::timeout(PATIENCE, self.from.recv()).await.expect("no reply came")?;
            self.read.extend_from_slice(&piece);
        }
    }

    pub(super) async fn ask(&mut self, kind: u8, fields: impl FnOnce(&mut BytesMut)) -> Reply {
        let id = self.send(kind, fields).await;
        self.reply(id).await
    }

    pub(super) async fn init(&mut self) -> Reply {
        self.raw(request(1, 3, |_| {})).await;
        self.any().await.unwrap().1
    }

    pub(super) async fn open(&mut self, path: &str, flags: u32) -> Reply {
        self.ask(3, |out| open_fields(out, path, flags)).await
    }

    pub(super) async fn opened(&mut self, path: &str, flags: u32) -> Bytes {
        self.open(path, flags).await.bytes()
    }

    pub(super) async fn write(&mut self, handle: &[u8], offset: u64, data: &[u8]) -> u32 {
        self.send(6, |out| {
            packets::string(out, handle);
            out.put_u64(offset);
            packets::string(out, data);
        })
        .await
    }

    pub(super) async fn wrote(&mut self, handle: &[u8], offset: u64, data: &[u8]) -> Reply {
        let id = self.write(handle, offset, data).await;
        self.reply(id).await
    }

    pub(super) async fn read(&mut self, handle: &[u8], offset: u64, wanted: u32) -> u32 {
        self.send(5, |out| {
            packets::string(out, handle);
            out.put_u64(offset);
            out.put_u32(wanted);
        })
        .await
    }

    pub(super) async fn close(&mut self, handle: &[u8]) -> Reply {
        self.named(4, handle).await
    }

    /// A request whose only field is a string.
    pub(super) async fn named(&mut self, kind: u8, field: &[u8]) -> Reply {
        self.ask(kind, |out| packets::string(out, field)).await
    }

    /// An extended request.
    pub(super) async fn extended(&mut self, name: &str, fields: impl FnOnce(&mut BytesMut)) -> Reply {
        let id = self.send_extended(name, fields).await;
        self.reply(id).await
    }

    pub(super) async fn send_extended(&mut self, name: &str, fields: impl FnOnce(&mut BytesMut)) -> u32 {
        self.send(200, |out| {
            packets::string(out, name.as_bytes());
            fields(out);
        })
        .await
    }

    pub(super) async fn stat(&mut self, path: &str) -> Reply {
        self.named(17, path.as_bytes()).await
    }

    pub(super) async fn put(&mut self, path: &str, data: &[u8]) -> Reply {
        let handle = self.opened(path, FRESH).await;
        let mut ids = Vec::new();
        for (index, piece) in data.chunks(30_000).enumerate() {
            ids.push(self.write(&handle, index as u64 * 30_000, piece).await);
        }
        for id in ids {
            assert_eq!(self.reply(id).await.code(), 0);
        }
        self.close(&handle).await
    }

    /// True when the pump takes no more.
    pub(super) fn ended(&self) -> bool {
        self.to.as_ref().is_none_or(mpsc::Sender::is_closed)
    }

    /// Says that nothing more is sent, and waits for the end.
    pub(super) async fn end(mut self) {
        self.raw_end().await;
        self.to = None;
        while self.any().await.is_some() {}
        tokio::time::timeout(PATIENCE, self.pump).await.expect("the pump did not end").unwrap();
    }

    pub(super) async fn raw_end(&mut self) {
        let _ = self.to.as_ref().unwrap().send(Input::End).await;
    }

    /// Is gone at once, and waits for the end.
    pub(super) async fn vanish(mut self) {
        self.to = None;
        tokio::time::timeout(PATIENCE, self.pump).await.expect("the pump did not end").unwrap();
    }
}

/// The bytes of a request.
pub(super) fn request(kind: u8, id: u32, fields: impl FnOnce(&mut BytesMut)) -> Bytes {
    let mut body = BytesMut::new();
    body.put_u8(kind);
    body.put_u32(id);
    fields(&mut body);
    let mut out = BytesMut::new();
    packets::string(&mut out, &body);
    out.freeze()
}

pub(super) fn open_fields(out: &mut BytesMut, path: &str, flags: u32) {
    packets::string(out, path.as_bytes());
    out.put_u32(flags);
    out.put_u32(0);
}

/// Bytes that differ everywhere.
pub(super) fn noise(count: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(count + 8);
    while bytes.len() < count {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(count);
    bytes
}

/// The digest as the ledger tells it.
pub(super) fn sha256(bytes: &[u8]) -> String {
    use std::fmt::Write;
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes);
    digest.as_ref().iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}
