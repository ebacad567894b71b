//! What a mounted file system asks (sshfs does): files are cut by name, and named where a handle is open.

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::time::{Duration, Instant};

use bytes::{BufMut, BytesMut};
use landfall_auth::{Grant, Permissions};
use tokio::sync::Semaphore;

use super::rig::{CREAT, Client, FRESH, Ground, READ, Reply, WRITE, open_fields};
use crate::sftp::packets;

async fn set_size(client: &mut Client, path: &str, size: u64) -> Reply {
    let fields = |out: &mut BytesMut| {
        packets::string(out, path.as_bytes());
        out.put_u32(1);
        out.put_u64(size);
    };
    client.ask(9, fields).await
}

/// Sets time and mode by name.
async fn dress(client: &mut Client, path: &str, seconds: u32, mode: u32) -> Reply {
    let fields = |out: &mut BytesMut| {
        packets::string(out, path.as_bytes());
        out.put_u32(4 | 8);
        out.put_u32(mode);
        out.put_u32(seconds);
        out.put_u32(seconds);
    };
    client.ask(9, fields).await
}

#[tokio::test]
async fn what_landed_is_cut_by_another_landing() {
    let ground = Ground::new().await;
    let mut client = ground.client().await;
    client.init().await;
    assert_eq!(client.put("a", b"hello world").await.code(), 0);
    std::fs::set_permissions(ground.on_disk("a"), std::fs::Permissions::from_mode(0o600)).unwrap();
    let before = std::fs::File::open(ground.on_disk("a")).unwrap();

    assert_eq!(set_size(&mut client, "a", 5).await.code(), 0);
    assert_eq!(std::fs::read(ground.on_disk("a")).unwrap(), b"hello");
    let facts = std::fs::metadata(ground.on_disk("a")).unwrap();
    assert_eq!(facts.permissions().mode() & 0o777, 0o600);
    // Who reads the file that stood there goes on reading it.
    assert_eq!(before.metadata().unwrap().len(), 11);

    let longer = set_size(&mut client, "a", 6).await;
    assert_eq!((longer.code(), longer.sentence().contains("write what comes behind")), (4, true));
    assert_eq!(set_size(&mut client, "a", 0).await.code(), 0);
    assert_eq!(std::fs::read(ground.on_disk("a")).unwrap(), b"");
    assert_eq!(set_size(&mut client, "none", 0).await.code(), 2);
}

/// As on a file system; and it would be a landing, which no open upload has begun.
#[tokio::test]
async fn a_handle_for_reading_cuts_nothing() {
    let ground = Ground::new().await;
    let mut client = ground.client().await;
    client.init().await;
    assert_eq!(client.put("a", b"hello world").await.code(), 0);
    let handle = client.opened("a", READ).await;
    let fields = |out: &mut BytesMut| {
        packets::string(out, &handle);
        out.put_u32(1);
        out.put_u64(5);
    };
    let refused = client.ask(10, fields).await;
    assert_eq!((refused.code(), refused.sentence().contains("not open for writing")), (4, true));
    assert_eq!(std::fs::read(ground.on_disk("a")).unwrap(), b"hello world");
}

#[tokio::test]
async fn who_may_not_replace_may_not_cut() {
    let ground = Ground::new().await;
    let permissions = Permissions { overwrite: false, ..Permissions::default() };
    let grant = Grant { permissions: Some(permissions), ..Grant::default() };
    let mut client = ground.client_with(Semaphore::MAX_PERMITS, grant).await;
    client.init().await;
    assert_eq!(client.put("a", b"hello world").await.code(), 0);
    assert_eq!(set_size(&mut client, "a", 5).await.code(), 3);
    assert_eq!(std::fs::read(ground.on_disk("a")).unwrap(), b"hello world");
}

#[tokio::test]
async fn what_is_suspended_is_not_landed_by_a_cut() {
    let ground = Ground::new().await;
    let mut client = ground.client().await;
    client.init().await;
    let handle = client.opened("a", FRESH).await;
    assert_eq!(client.wrote(&handle, 0, b"half").await.code(), 0);
    client.vanish().await;
    let mut client = ground.client().await;
    client.init().await;
    assert_eq!(set_size(&mut client, "a", 2).await.code(), 4);
    assert!(!ground.on_disk("a").exists());
    assert_eq!(client.stat("a").await.size(), 4);
}

#[tokio::test]
async fn the_name_of_an_open_upload_means_the_upload() {
    let ground = Ground::new().await;
    let mut client = ground.client().await;
    client.init().await;
    assert_eq!(client.put("a", b"landed before").await.code(), 0);
    let handle = client.opened("a", FRESH).await;
    // Not waited for: the questions come behind it.
    let wrote = client.write(&handle, 0, b"new").await;
    assert_eq!(client.stat("a").await.size(), 3);
    assert_eq!(client.reply(wrote).await.code(), 0);
    assert_eq!(set_size(&mut client, "a", 2).await.code(), 0);
    assert_eq!(dress(&mut client, "a", 1_500_000_000, 0o600).await.code(), 0);
    assert_eq!(client.stat("a").await.size(), 2);
    // For everybody else it is what it was.
    assert_eq!(std::fs::read(ground.on_disk("a")).unwrap(), b"landed before");
    let mut other = ground.client().await;
    other.init().await;
    assert_eq!(other.stat("a").await.size(), 13);

    assert_eq!(client.close(&handle).await.code(), 0);
    assert_eq!(std::fs::read(ground.on_disk("a")).unwrap(), b"ne");
    let facts = std::fs::metadata(ground.on_disk("a")).unwrap();
    assert_eq!((facts.mtime(), facts.permissions().mode() & 0o777), (1_500_000_000, 0o600));
    assert_eq!(client.stat("a").await.size(), 2);
}

#[tokio::test]
async fn a_new_file_is_dressed_by_name_before_it_is_closed() {
    let ground = Ground::new().await;
    let mut client = ground.client().await;
    client.init().await;
    // As `touch` does over sshfs.
    let handle = client.opened("new", WRITE | CREAT).await;
    assert_eq!(dress(&mut client, "new", 1_400_000_000, 0o644).await.code(), 0);
    assert_eq!(client.close(&handle).await.code(), 0);
    assert_eq!(std::fs::metadata(ground.on_disk("new")).unwrap().mtime(), 1_400_000_000);
}

#[tokio::test]
async fn a_stat_and_a_close_that_are_not_waited_for_are_both_answered() {
    let ground = Ground::new().await;
    let mut client = ground.client().await;
    client.init().await;
    for round in 0..50 {
        let handle = client.opened("a", FRESH | READ).await;
        let wrote = client.write(&handle, 0, b"bytes").await;
        let stat = client.send(17, |out| packets::string(out, b"a")).await;
        let closed = client.send(4, |out| packets::string(out, &handle)).await;
        assert_eq!(client.reply(wrote).await.code(), 0);
        assert_eq!(client.reply(closed).await.code(), 0);
        assert_eq!(client.reply(stat).await.size(), 5, "round {round}");
    }
    client.end().await;
}

/// The queue of names is held up meanwhile: by an upload that another session has.
#[tokio::test]
async fn what_is_asked_by_name_before_a_close_is_done_before_it() {
    let ground = Ground::new().await;
    let mut other = ground.client().await;
    other.init().await;
    let held = other.opened("held", FRESH).await;
    assert_eq!(other.wrote(&held, 0, b"bytes").await.code(), 0);
    let mut client = ground.client().await;
    client.init().await;
    let handle = client.opened("a", FRESH).await;
    let wrote = client.write(&handle, 0, b"hello world").await;
    let waits = client.send(3, |out| open_fields(out, "held", WRITE | CREAT)).await;
    let cut = client.send(9, |out| {
        packets::string(out, b"a");
        out.put_u32(1);
        out.put_u64(5);
    });
    let cut = cut.await;
    let closed = client.send(4, |out| packets::string(out, &handle)).await;
    for id in [wrote, cut, closed] {
        assert_eq!(client.reply(id).await.code(), 0);
    }
    assert_eq!(client.reply(waits).await.code(), 4);
    assert_eq!(std::fs::read(ground.on_disk("a")).unwrap(), b"hello");
    let landings = ground.receipts().await;
    let landings: Vec<_> = landings.iter().filter(|row| row.path == "/a").map(|row| row.size).collect();
    assert_eq!(landings, [5], "it landed before it was cut");
}

/// sshfs has several threads: the next one asks by name while the CLOSE is under way.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_asked_by_name_behind_a_close_sees_what_has_landed() {
    let ground = Ground::new().await;
    let mut client = ground.client().await;
    client.init().await;
    for round in 0..20 {
        let handle = client.opened("draft", FRESH).await;
        let wrote = client.write(&handle, 0, &vec![7; 200_000]).await;
        let closed = client.send(4, |out| packets::string(out, &handle)).await;
        let name = format!("name{round}");
        let renamed = client.send(18, |out| {
            packets::string(out, b"draft");
            packets::string(out, name.as_bytes());
        });
        let renamed = renamed.await;
        let stat = client.send(17, |out| packets::string(out, name.as_bytes())).await;
        let opened = client.send(3, |out| open_fields(out, &name, READ)).await;
        for id in [wrote, closed, renamed] {
            assert_eq!(client.reply(id).await.code(), 0, "round {round}");
        }
        assert_eq!(client.reply(stat).await.size(), 200_000);
        let handle = client.reply(opened).await.bytes();
        assert_eq!(client.close(&handle).await.code(), 0);
    }
    client.end().await;
}

#[tokio::test]
async fn of_two_uploads_of_a_name_the_later_one_is_meant() {
    let ground = Ground::new().await;
    let mut client = ground.client().await;
    client.init().await;
    let first = client.opened("a", FRESH).await;
    let between = client.opened("b", FRESH).await;
    assert_eq!(client.wrote(&first, 0, b"first").await.code(), 0);
    let later = client.opened("a", FRESH).await;
    assert_eq!(client.stat("a").await.size(), 0);
    for handle in [between, first, later] {
        assert_eq!(client.close(&handle).await.code(), 0);
    }
    assert_eq!(std::fs::read(ground.on_disk("a")).unwrap(), b"");
}

#[tokio::test]
async fn a_client_that_leaves_closing_to_us_is_not_kept_waiting() {
    let ground = Ground::new().await;
    let mut client = ground.client().await;
    client.init().await;
    let began = Instant::now();
    // OpenSSH's clients say that they send no more, and wait for the channel to be closed.
    client.raw_end().await;
    while client.any().await.is_some() {}
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
}
