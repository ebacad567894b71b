//! The room as a whole over a real store and a real database.
#![expect(clippy::unwrap_used, reason = "tests")]

mod crash;
mod cut;
mod events;
mod hash;

use std::collections::HashMap;
use std::path::PathBuf;

use landfall_auth::{Database, Grant, Overwrite, Permissions, Source, Sync};
use landfall_storage::{Begin, Durability, LocalStore};
use tempfile::TempDir;

use super::ledger::{self, Filter, Intent, Record};
use super::*;

/// SHA-256 of `hello`, by coreutils' sha256sum.
const HELLO: &str = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";

struct Room {
    place: TempDir,
    database: Database,
    delivery: Arc<Delivery>,
}

impl Room {
    async fn new() -> Self {
        let place = tempfile::tempdir().unwrap();
        let database = Database::open(&place.path().join("db"), Sync::Full).await.unwrap();
        database.migrate(&ledger::MIGRATIONS).await.unwrap();
        let delivery = Self::delivery(&place, &database);
        Self { place, database, delivery }
    }

    fn delivery(place: &TempDir, database: &Database) -> Arc<Delivery> {
        let store =
            LocalStore::open(&place.path().join("files"), &place.path().join("staging"), Durability::Full).unwrap();
        Delivery::new(Arc::new(store), Ledger::start(database.clone()), TemporaryNames::default())
    }

    /// As after a crash: a new process over the same storage and database.
    async fn restart(self) -> Self {
        let Self { place, database, delivery } = self;
        drop(delivery);
        let delivery = Self::delivery(&place, &database);
        delivery.reconcile(HashMap::from([("acme".to_owned(), "/acme".to_owned())])).await.unwrap();
        Self { place, database, delivery }
    }

    async fn session(&self, name: &str, grant: Grant) -> Session {
        let user = User {
            id: 1,
            name: name.to_owned(),
            home: format!("/{name}"),
            email: None,
            disabled: false,
            expires: None,
            groups: Vec::new(),
            grant: grant.clone(),
            effective: grant,
            source: Source::Database,
            has_password: true,
            has_totp: false,
            key_count: 0,
        };
        self.delivery.open(user, Protocol::Sftp, SocketAddr::from(([192, 0, 2, 1], 9))).await.unwrap()
    }

    fn on_disk(&self, path: &str) -> PathBuf {
        self.place.path().join("files").join(path)
    }

    async fn ledger(&self) -> Vec<Record> {
        // Rows that nobody waited for are written in order.
        self.delivery.ledger.flush().await;
        ledger::query(self.database.pool(), &Filter::default()).await.unwrap()
    }
}

fn path(text: &str) -> VirtualPath {
    VirtualPath::parse(text).unwrap()
}

async fn send(session: &Session, name: &str, begin: Begin, bytes: &'static [u8]) -> Result<Receipt, Refusal> {
    let mut upload = session.upload(&path(name), begin, None).await?;
    tokio::task::spawn_blocking(move || {
        upload.write_at(upload.size(), bytes)?;
        upload.finish()
    })
    .await
    .unwrap()
}

async fn cut_off(session: &Session, name: &str, bytes: &'static [u8]) {
    let mut upload = session.upload(&path(name), Begin::Fresh, None).await.unwrap();
    tokio::task::spawn_blocking(move || upload.write_at(0, bytes).unwrap()).await.unwrap();
}

#[tokio::test]
async fn a_file_lands_with_its_receipt() {
    let room = Room::new().await;
    let session = room.session("acme", Grant::default()).await;
    let receipt = send(&session, "/a.jpg", Begin::Fresh, b"hello").await.unwrap();
    assert_eq!((receipt.path.as_str(), receipt.size, receipt.sha256.as_str()), ("/a.jpg", 5, HELLO));
    assert_eq!(std::fs::read(room.on_disk("acme/a.jpg")).unwrap(), b"hello");
    let [row] = <[Record; 1]>::try_from(room.ledger().await).unwrap();
    assert_eq!((row.id, row.user.as_str(), row.path.as_str()), (receipt.id, "acme", "/a.jpg"));
    assert_eq!((row.size, row.sha256.as_deref(), row.status.as_str()), (5, Some(HELLO), "landed"));
    assert_eq!((row.protocol.as_str(), row.client_address.as_str()), ("sftp", "192.0.2.1"));
    assert!(row.landed.is_some() && row.reason.is_none());
    assert!(room.delivery.ledger.intents().await.unwrap().is_empty());
}

#[tokio::test]
async fn what_is_cut_off_is_its_owners_alone_and_resumes() {
    let room = Room::new().await;
    let session = room.session("acme", Grant::default()).await;
    send(&session, "/a.jpg", Begin::Fresh, b"older and longer").await.unwrap();
    cut_off(&session, "/a.jpg", b"hel").await;
    let before = room.ledger().await.pop().unwrap();
    assert_eq!((before.status.as_str(), before.size), ("suspended", 3));
    assert_eq!(std::fs::read(room.on_disk("acme/a.jpg")).unwrap(), b"older and longer");
    assert_eq!(session.stat(&path("/a.jpg")).await.unwrap().size, 3);
    let listed: Vec<_> = session.list(&path("/")).await.unwrap().collect::<Result<_, _>>().unwrap();
    assert_eq!(listed.iter().map(|entry| (entry.name.as_str(), entry.stat.size)).collect::<Vec<_>>(), [("a.jpg", 3)]);
    cut_off(&session, "/new.jpg", b"hel").await;
    let mut bare: Vec<_> = session.names(&path("/")).await.unwrap().collect::<Result<_, _>>().unwrap();
    bare.sort_unstable();
    assert_eq!(bare, ["a.jpg", "new.jpg"]);
    session.remove_file(&path("/new.jpg")).await.unwrap();
    // Another user over the same directory.
    let mut other = room.session("beta", Grant::default()).await.user().clone();
    other.home = "/acme".to_owned();
    let other = room.delivery.open(other, Protocol::Ftp, SocketAddr::from(([192, 0, 2, 2], 9))).await.unwrap();
    assert_eq!(other.stat(&path("/a.jpg")).await.unwrap().size, 16);

    let beyond = session.upload(&path("/a.jpg"), Begin::Resume { offset: 4 }, None).await;
    assert_eq!(beyond.err().map(|refusal| refusal.reason), Some(Reason::BadOffset));
    let receipt = send(&session, "/a.jpg", Begin::Resume { offset: 3 }, b"lo").await.unwrap();
    assert_eq!((receipt.sha256.as_str(), receipt.id.as_str()), (HELLO, before.id.as_str()));
    assert_eq!(std::fs::read(room.on_disk("acme/a.jpg")).unwrap(), b"hello");
    let after = room.ledger().await.pop().unwrap();
    assert_eq!((after.status.as_str(), after.started), ("landed", before.started));
}

#[tokio::test]
async fn overwrite_policies() {
    let room = Room::new().await;
    let with = |overwrite| Grant { overwrite: Some(overwrite), ..Grant::default() };
    let session = room.session("acme", with(Overwrite::Version)).await;
    for expected in ["/p.jpg", "/p~2.jpg", "/p~3.jpg"] {
        assert_eq!(send(&session, "/p.jpg", Begin::Fresh, b"hello").await.unwrap().path, expected);
    }
    let session = room.session("acme", with(Overwrite::Reject)).await;
    let refused = send(&session, "/p.jpg", Begin::Fresh, b"other").await.unwrap_err();
    assert_eq!(refused.reason, Reason::AlreadyExists);
    let row = room.ledger().await.pop().unwrap();
    assert_eq!((row.status.as_str(), row.reason), ("refused", Some(refused.to_string())));
    let may_not = Permissions { overwrite: false, ..Permissions::default() };
    let session = room.session("acme", Grant { permissions: Some(may_not), ..Grant::default() }).await;
    assert_eq!(send(&session, "/p.jpg", Begin::Fresh, b"other").await.unwrap_err().reason, Reason::Permission);
    assert_eq!(std::fs::read(room.on_disk("acme/p.jpg")).unwrap(), b"hello");
}

#[tokio::test]
async fn a_race_for_a_name_that_is_not_replaced_has_one_winner() {
    let room = Room::new().await;
    let session = room.session("acme", Grant { overwrite: Some(Overwrite::Reject), ..Grant::default() }).await;
    let mut one = session.upload(&path("/p.jpg"), Begin::Fresh, None).await.unwrap();
    let mut two = session.upload(&path("/p.jpg"), Begin::Fresh, None).await.unwrap();
    let (first, second) = tokio::task::spawn_blocking(move || {
        one.write_at(0, b"hello").unwrap();
        two.write_at(0, b"other").unwrap();
        (two.finish(), one.finish())
    })
    .await
    .unwrap();
    assert!(first.is_ok());
    assert_eq!(second.unwrap_err().reason, Reason::AlreadyExists);
    assert_eq!(std::fs::read(room.on_disk("acme/p.jpg")).unwrap(), b"other");
    assert!(room.delivery.store.all_staged().is_empty(), "what a rule refused is not kept");
}

#[tokio::test]
async fn the_receipt_belongs_to_the_rename_that_ends_a_temporary_name() {
    let room = Room::new().await;
    let session = room.session("acme", Grant::default()).await;
    let sent = send(&session, "/a.jpg.filepart", Begin::Fresh, b"hello").await.unwrap();
    assert!(room.ledger().await.is_empty());
    let delivered = session.rename(&path("/a.jpg.filepart"), &path("/a.jpg"), true).await.unwrap().unwrap();
    assert_eq!((delivered.id, delivered.path.as_str(), delivered.sha256.as_str()), (sent.id, "/a.jpg", HELLO));
    let [row] = <[Record; 1]>::try_from(room.ledger().await).unwrap();
    assert_eq!((row.path.as_str(), row.status.as_str()), ("/a.jpg", "landed"));
}

#[tokio::test]
async fn what_has_not_come_whole_is_not_renamed() {
    let room = Room::new().await;
    let session = room.session("acme", Grant::default()).await;
    for (from, to) in [("/b.jpg.part", "/b.jpg"), ("/c.jpg", "/d.jpg")] {
        // Not even where an older file stands under the name: its owner means the one that was cut off.
        for older in [false, true] {
            if older {
                send(&session, from, Begin::Fresh, b"older").await.unwrap();
            }
            cut_off(&session, from, b"hel").await;
            for replace in [true, false] {
                let refused = session.rename(&path(from), &path(to), replace).await.unwrap_err();
                assert_eq!(refused.reason, Reason::Incomplete, "{from}");
            }
            assert_eq!(session.stat(&path(from)).await.unwrap().size, 3);
            assert!(session.stat(&path(to)).await.is_err());
        }
    }
}

#[tokio::test]
async fn of_uploads_of_one_name_that_are_cut_off_one_is_kept_and_its_row() {
    let room = Room::new().await;
    let session = room.session("acme", Grant { quota_bytes: Some(100), ..Grant::default() }).await;
    let mut uploads = Vec::new();
    for bytes in [b"first", b"other"] {
        let mut upload = session.upload(&path("/a"), Begin::Fresh, None).await.unwrap();
        let written = tokio::task::spawn_blocking(move || upload.write_at(0, bytes).map(|()| upload));
        uploads.push(written.await.unwrap().unwrap());
    }
    tokio::task::spawn_blocking(move || drop(uploads)).await.unwrap();
    let [row] = <[Record; 1]>::try_from(room.ledger().await).unwrap();
    let [staged] = <[_; 1]>::try_from(room.delivery.store.all_staged()).unwrap();
    assert_eq!((row.id.as_str(), row.status.as_str()), (staged.id.as_str(), "suspended"));
    assert_eq!(session.space().await.unwrap().free_bytes, 95);

    // A later one of which nothing is kept outdates it as well.
    let mut first = session.upload(&path("/b"), Begin::Fresh, None).await.unwrap();
    let later = session.upload(&path("/b"), Begin::Fresh, None).await.unwrap();
    let ends = move || first.write_at(0, b"first").map(|()| drop((first, later)));
    tokio::task::spawn_blocking(ends).await.unwrap().unwrap();
    let rows: Vec<String> = room.ledger().await.into_iter().map(|row| row.id).collect();
    let staged: Vec<String> = room.delivery.store.all_staged().iter().map(|staged| staged.id.to_string()).collect();
    assert_eq!(rows, staged);
    assert_eq!(session.space().await.unwrap().free_bytes, 100 - 5 * staged.len() as u64);
}

#[tokio::test]
async fn a_rename_outdates_what_was_suspended_under_its_name() {
    let room = Room::new().await;
    let session = room.session("acme", Grant { quota_bytes: Some(10), ..Grant::default() }).await;
    for from in ["/a.jpg.filepart", "/b.jpg"] {
        cut_off(&session, "/a.jpg", b"hel").await;
        send(&session, from, Begin::Fresh, b"hello").await.unwrap();
        session.rename(&path(from), &path("/a.jpg"), true).await.unwrap();
        // Or else its owner would be shown the part, and could resume it over the whole.
        assert_eq!(session.stat(&path("/a.jpg")).await.unwrap().size, 5);
        assert!(room.delivery.store.all_staged().is_empty());
        assert!(room.ledger().await.iter().all(|row| row.status != "suspended"));
        assert_eq!(session.space().await.unwrap().free_bytes, 5);
        session.remove_file(&path("/a.jpg")).await.unwrap();
    }
}

#[tokio::test]
async fn a_rename_outdates_what_is_under_way_under_its_name() {
    let room = Room::new().await;
    let session = room.session("acme", Grant { quota_bytes: Some(10), ..Grant::default() }).await;
    for from in ["/a.jpg.filepart", "/b.jpg"] {
        let mut upload = session.upload(&path("/a.jpg"), Begin::Fresh, None).await.unwrap();
        upload.write_at(0, b"hel").unwrap();
        send(&session, from, Begin::Fresh, b"hello").await.unwrap();
        session.rename(&path(from), &path("/a.jpg"), true).await.unwrap();
        drop(upload);
        assert_eq!(session.stat(&path("/a.jpg")).await.unwrap().size, 5);
        assert!(room.delivery.store.all_staged().is_empty());
        assert_eq!(session.space().await.unwrap().free_bytes, 5);
        session.remove_file(&path("/a.jpg")).await.unwrap();
    }
}

#[tokio::test]
async fn a_rename_that_delivers_follows_the_overwrite_policy_and_its_refusal_is_in_the_ledger() {
    let room = Room::new().await;
    let with = |overwrite| Grant { overwrite: Some(overwrite), ..Grant::default() };
    let session = room.session("acme", with(Overwrite::Version)).await;
    for expected in ["/a.jpg", "/a~2.jpg"] {
        send(&session, "/a.jpg.tmp", Begin::Fresh, b"hello").await.unwrap();
        // Also where the request itself does not replace, as SFTP version 3's does not.
        let delivered = session.rename(&path("/a.jpg.tmp"), &path("/a.jpg"), false).await.unwrap().unwrap();
        assert_eq!((delivered.path.as_str(), delivered.delivered), (expected, true));
    }
    let session = room.session("acme", with(Overwrite::Reject)).await;
    assert!(!send(&session, "/a.jpg.tmp", Begin::Fresh, b"other").await.unwrap().delivered);
    let refused = session.rename(&path("/a.jpg.tmp"), &path("/a.jpg"), true).await.unwrap_err();
    let row = room.ledger().await.pop().unwrap();
    assert_eq!((row.status.as_str(), row.path.as_str(), row.reason), ("refused", "/a.jpg", Some(refused.to_string())));
}

#[tokio::test]
async fn a_full_account_sends_its_catalogue_again() {
    let room = Room::new().await;
    let grant = Grant { quota_files: Some(2), quota_bytes: Some(10), ..Grant::default() };
    let session = room.session("acme", grant).await;
    for _ in 0..3 {
        for name in ["/a", "/b"] {
            send(&session, name, Begin::Fresh, b"hello").await.unwrap();
        }
    }
    let refused = send(&session, "/a", Begin::Fresh, b"hello and more").await.unwrap_err();
    assert!(refused.sentence.contains("10 bytes"), "{refused}");
    let refused = send(&session, "/c", Begin::Fresh, b"").await.unwrap_err();
    assert!(refused.sentence.contains("2 files"), "{refused}");
    // A rename to itself gives nothing back.
    session.rename(&path("/a"), &path("/a"), true).await.unwrap();
    assert_eq!(session.space().await.unwrap().free_bytes, 0);
    assert!(send(&session, "/c", Begin::Fresh, b"x").await.is_err());
}

#[tokio::test]
async fn what_may_not_be_read_is_not_read_through_an_append() {
    let room = Room::new().await;
    let full = room.session("acme", Grant::default()).await;
    send(&full, "/a.jpg", Begin::Fresh, b"secret").await.unwrap();
    let blind = Permissions { read: false, ..Permissions::default() };
    let session = room.session("acme", Grant { permissions: Some(blind), ..Grant::default() }).await;
    let upload = session.upload(&path("/a.jpg"), Begin::Append, None).await.unwrap();
    let read = tokio::task::spawn_blocking(move || upload.read_at(0, &mut [0; 6]).unwrap_err());
    assert_eq!(read.await.unwrap().reason, Reason::Permission);
}

#[tokio::test]
async fn who_may_not_replace_cannot_do_so_by_way_of_a_temporary_name() {
    let room = Room::new().await;
    let careful = Permissions { overwrite: false, delete: false, ..Permissions::default() };
    let session = room.session("acme", Grant { permissions: Some(careful), ..Grant::default() }).await;
    send(&session, "/keep.jpg", Begin::Fresh, b"hello").await.unwrap();
    let refused = session.rename(&path("/keep.jpg"), &path("/keep.jpg.tmp"), true).await.unwrap_err();
    assert_eq!(refused.reason, Reason::Permission);
    assert_eq!(session.set_mode(&path("/keep.jpg"), 0).await.unwrap_err().reason, Reason::Permission);
}

#[tokio::test]
async fn a_row_of_what_was_suspended_goes_when_its_name_lands() {
    let room = Room::new().await;
    let session = room.session("acme", Grant::default()).await;
    for begin_again in [false, true] {
        cut_off(&session, "/a.jpg", b"hel").await;
        if begin_again {
            cut_off(&session, "/a.jpg", b"he").await;
        }
        send(&session, "/a.jpg", Begin::Fresh, b"hello").await.unwrap();
        assert!(room.ledger().await.iter().all(|row| row.status == "landed"));
    }
    cut_off(&session, "/b.jpg", b"hel").await;
    session.remove_file(&path("/b.jpg")).await.unwrap();
    assert!(room.ledger().await.iter().all(|row| row.status == "landed"));
}

#[tokio::test]
async fn who_may_only_write_may_ask_for_what_the_session_landed() {
    let room = Room::new().await;
    let none =
        Permissions { list: false, read: false, delete: false, rename: false, mkdir: false, ..Permissions::default() };
    send(&room.session("acme", Grant::default()).await, "/other.jpg", Begin::Fresh, b"x").await.unwrap();
    let session = room.session("acme", Grant { permissions: Some(none), ..Grant::default() }).await;
    send(&session, "/a.jpg", Begin::Fresh, b"hello").await.unwrap();
    assert_eq!(session.stat(&path("/a.jpg")).await.unwrap().size, 5);
    assert!(session.stat(&path("/other.jpg")).await.is_err());
}

#[tokio::test]
async fn too_large_is_refused_and_nothing_is_kept() {
    let room = Room::new().await;
    let session = room.session("acme", Grant { max_file_bytes: Some(4), ..Grant::default() }).await;
    assert_eq!(send(&session, "/a.jpg", Begin::Fresh, b"hello").await.unwrap_err().reason, Reason::Rule);
    assert!(room.delivery.store.all_staged().is_empty());
    let row = room.ledger().await.pop().unwrap();
    assert_eq!((row.status.as_str(), row.path.as_str()), ("refused", "/a.jpg"));
    let announced = session.upload(&path("/a.jpg"), Begin::Fresh, Some(5)).await;
    assert_eq!(announced.err().map(|refusal| refusal.reason), Some(Reason::Rule));
}

#[tokio::test]
async fn what_is_not_wanted_at_the_last_instant_is_suspended() {
    let room = Room::new().await;
    let session = room.session("acme", Grant::default()).await;
    let mut upload = session.upload(&path("/a.jpg"), Begin::Fresh, None).await.unwrap();
    let refused = tokio::task::spawn_blocking(move || {
        upload.write_at(0, b"hel").unwrap();
        upload.finish_if(&mut || false)
    });
    assert_eq!(refused.await.unwrap().unwrap_err().reason, Reason::Incomplete);
    assert!(!room.on_disk("acme/a.jpg").exists());
    assert_eq!(room.ledger().await.pop().unwrap().status, "suspended");
    let room = room.restart().await;
    let session = room.session("acme", Grant::default()).await;
    send(&session, "/a.jpg", Begin::Resume { offset: 3 }, b"lo").await.unwrap();
    assert_eq!(std::fs::read(room.on_disk("acme/a.jpg")).unwrap(), b"hello");
}

#[tokio::test]
async fn fewer_bytes_than_announced_are_suspended() {
    let room = Room::new().await;
    let session = room.session("acme", Grant::default()).await;
    let mut upload = session.upload(&path("/a.jpg"), Begin::Fresh, Some(6)).await.unwrap();
    let refused = tokio::task::spawn_blocking(move || {
        upload.write_at(0, b"hello").unwrap();
        upload.finish().unwrap_err()
    });
    assert_eq!(refused.await.unwrap().reason, Reason::Incomplete);
    assert!(!room.on_disk("acme/a.jpg").exists());
    assert_eq!(session.stat(&path("/a.jpg")).await.unwrap().size, 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_writers_at_the_edge_of_a_quota_overshoot_by_nothing() {
    let room = Room::new().await;
    let session = room.session("acme", Grant { quota_bytes: Some(10 * 1_000), ..Grant::default() }).await;
    let mut writers = tokio::task::JoinSet::new();
    for number in 0..50 {
        let session = session.clone();
        writers.spawn(async move {
            let mut upload = session.upload(&path(&format!("/{number}.jpg")), Begin::Fresh, None).await?;
            tokio::task::spawn_blocking(move || {
                for at in 0..10 {
                    upload.write_at(at * 100, &[7; 100])?;
                }
                upload.finish()
            })
            .await
            .unwrap()
        });
    }
    let outcomes = writers.join_all().await;
    assert!(outcomes.iter().flatten().all(|receipt| receipt.size == 1_000));
    assert!(outcomes.iter().filter_map(|outcome| outcome.as_ref().err()).all(|r| r.reason == Reason::Quota));
    let landed: u64 =
        std::fs::read_dir(room.on_disk("acme")).unwrap().map(|e| e.unwrap().metadata().unwrap().len()).sum();
    assert!(landed <= 10_000, "{landed} bytes landed");
    // What an integrator takes away is room again, at once or as soon as the count may be taken again.
    assert_eq!(session.space().await.unwrap().free_bytes, 10_000 - landed);
}

#[tokio::test]
async fn replacing_and_removing_give_room_back() {
    let room = Room::new().await;
    let session = room.session("acme", Grant { quota_files: Some(2), ..Grant::default() }).await;
    send(&session, "/a", Begin::Fresh, b"hello").await.unwrap();
    send(&session, "/a", Begin::Fresh, b"hello").await.unwrap();
    send(&session, "/b", Begin::Fresh, b"hello").await.unwrap();
    assert_eq!(send(&session, "/c", Begin::Fresh, b"hello").await.unwrap_err().reason, Reason::Quota);
    session.remove_file(&path("/b")).await.unwrap();
    send(&session, "/c", Begin::Fresh, b"hello").await.unwrap();
}

#[tokio::test]
async fn a_crash_between_intent_and_receipt_is_settled_at_the_start() {
    let room = Room::new().await;
    room.session("acme", Grant::default()).await;
    // (name, what stands there after the crash, is it the upload's content)
    let cases: [(&str, Option<&[u8]>, bool); 4] = [
        ("renamed", Some(b"hello"), true),
        ("not", None, false),
        ("older", Some(b"older"), false),
        ("x.part", Some(b"hello"), true),
    ];
    for (name, content, _) in cases {
        if let Some(content) = content {
            std::fs::write(room.on_disk("acme").join(name), content).unwrap();
        }
        let intent = Intent {
            id: UploadId::fresh().to_string(),
            user: "acme".to_owned(),
            path: format!("/{name}"),
            store_path: format!("/acme/{name}"),
            size: 5,
            sha256: HELLO.to_owned(),
            protocol: "ftp".to_owned(),
            client_address: "192.0.2.1".to_owned(),
            started: crate::clock::now(),
        };
        let ledger = room.delivery.ledger.clone();
        tokio::task::spawn_blocking(move || ledger.intend(intent).wait().unwrap()).await.unwrap();
    }
    let room = room.restart().await;
    let rows = room.ledger().await;
    assert_eq!(
        rows.iter().map(|row| (row.path.as_str(), row.status.as_str())).collect::<Vec<_>>(),
        [("/renamed", "landed")]
    );
    assert!(room.delivery.ledger.intents().await.unwrap().is_empty());
    assert!(room.delivery.ledger.temporary("/acme/x.part").await.unwrap().is_some());
}

#[tokio::test]
async fn rights_are_asked_at_every_door() {
    let room = Room::new().await;
    let none = Permissions::NONE;
    let full = room.session("acme", Grant::default()).await;
    send(&full, "/a", Begin::Fresh, b"hello").await.unwrap();
    let session = room.session("acme", Grant { permissions: Some(none), ..Grant::default() }).await;
    let a = path("/a");
    let reasons = [
        session.stat(&a).await.err(),
        session.list(&path("/")).await.err(),
        session.download(&a).await.err(),
        session.upload(&path("/b"), Begin::Fresh, None).await.err(),
        session.make_dir(&path("/d")).await.err(),
        session.remove_file(&a).await.err(),
        session.remove_dir(&a).await.err(),
        session.rename(&a, &path("/b"), true).await.err(),
        session.rename(&path("/a.part"), &path("/b"), true).await.err(),
        session.set_modified(&a, crate::clock::now()).await.err(),
        session.set_mode(&a, 0o600).await.err(),
    ];
    for (door, refusal) in reasons.into_iter().enumerate() {
        assert_eq!(refusal.map(|refusal| refusal.reason), Some(Reason::Permission), "door {door}");
    }
}

#[tokio::test]
async fn sessions_are_counted_and_listed() {
    let room = Room::new().await;
    let grant = Grant { max_sessions: Some(1), ..Grant::default() };
    let session = room.session("acme", grant.clone()).await;
    let again = room.delivery.open(session.user().clone(), Protocol::Ftp, SocketAddr::from(([192, 0, 2, 1], 1))).await;
    assert_eq!(again.err().map(|refusal| refusal.reason), Some(Reason::Busy));
    session.doing("STOR /a.jpg");
    let [info] = <[SessionInfo; 1]>::try_from(room.delivery.registry().list()).unwrap();
    assert_eq!((info.user.as_str(), info.activity.as_str()), ("acme", "STOR /a.jpg"));
    drop(session);
    room.session("acme", grant).await;
}

#[tokio::test]
async fn a_client_that_is_back_before_its_old_session_has_gone_goes_on() {
    let room = Room::new().await;
    let (old, new) = (room.session("acme", Grant::default()).await, room.session("acme", Grant::default()).await);
    let a = path("/a.jpg");
    let mut cut = old.upload(&a, Begin::Fresh, None).await.unwrap();
    cut.write_at(0, b"hel").unwrap();
    let gone = async {
        // Until the other has found it taken.
        tokio::time::sleep(Duration::from_millis(50)).await;
        drop(cut);
    };
    let (resumed, ()) = tokio::join!(new.upload(&a, Begin::Resume { offset: 3 }, None), gone);
    assert_eq!(resumed.unwrap().size(), 3);
    let _held = old.upload(&a, Begin::Append, None).await.unwrap();
    let refused = new.upload(&a, Begin::Append, None).await.err().unwrap();
    assert_eq!(refused.reason, Reason::Busy);
}

#[tokio::test]
async fn a_copy_of_what_is_written_to_meanwhile_does_not_land() {
    let room = Room::new().await;
    let session = room.session("acme", Grant::default()).await;
    send(&session, "/from", Begin::Fresh, b"").await.unwrap();
    let file = std::fs::File::options().write(true).open(room.on_disk("acme/from")).unwrap();
    file.set_len(40_000_000).unwrap();
    let source = session.download(&path("/from")).await.unwrap();
    let mut upload = session.upload(&path("/to"), Begin::Fresh, None).await.unwrap();
    let copied = upload.copy(0, &source, 0..u64::MAX, &mut |_| {
        // Of the same length afterwards, and of another time.
        file.set_modified(SystemTime::UNIX_EPOCH).is_ok()
    });
    assert_eq!(copied.unwrap_err().reason, Reason::Busy);
    assert_eq!(upload.finish().unwrap_err().reason, Reason::Busy);
    assert!(room.delivery.store.all_staged().is_empty());
    assert!(!room.on_disk("acme/to").exists());
}

#[tokio::test]
async fn of_what_is_left_as_it_was_the_time_is_set_though_the_mode_is_refused() {
    let room = Room::new().await;
    let permissions = Some(Permissions { overwrite: false, ..Permissions::default() });
    let grant = Grant { overwrite: Some(Overwrite::Version), permissions, ..Grant::default() };
    let session = room.session("acme", grant).await;
    send(&session, "/a.jpg", Begin::Fresh, b"hello").await.unwrap();
    let upload = session.upload(&path("/a.jpg"), Begin::Append, None).await.unwrap();
    assert!(upload.is_mere_copy());
    let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1_500_000_001);
    assert_eq!(upload.leave(Some(time), Some(0)).unwrap_err().reason, Reason::Permission);
    assert_eq!(session.stat(&path("/a.jpg")).await.unwrap().modified, time);
}
