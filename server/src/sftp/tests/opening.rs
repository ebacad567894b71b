//! OPEN for writing: what must be new, and what was opened and left as it was.

use std::os::unix::fs::{MetadataExt, PermissionsExt};

use bytes::BufMut;
use landfall_auth::{Grant, Overwrite, Permissions};
use tokio::sync::Semaphore;

use super::rig::{CREAT, EXCL, FRESH, Ground, READ, TRUNC, WRITE};
use crate::sftp::packets;

const NEW: u32 = WRITE | CREAT | EXCL;

#[tokio::test]
async fn what_must_be_new_never_replaces() {
    for overwrite in [Overwrite::Replace, Overwrite::Version, Overwrite::Reject] {
        let ground = Ground::new().await;
        let grant = Grant { overwrite: Some(overwrite), ..Grant::default() };
        let mut client = ground.client_with(Semaphore::MAX_PERMITS, grant).await;
        client.init().await;
        let handle = client.opened("a", NEW).await;
        // Two at a time: the second one already sees the first.
        let second = client.open("a", NEW | TRUNC).await;
        assert_eq!((second.code(), second.sentence().as_str()), (4, "a file of that name exists already"));
        assert_eq!(client.wrote(&handle, 0, b"mine").await.code(), 0);
        // One that appears meanwhile, whoever has put it there.
        std::fs::write(ground.on_disk("a"), b"theirs").unwrap();
        let closed = client.close(&handle).await;
        assert_eq!(closed.code(), 4, "{overwrite:?}");
        assert!(closed.sentence().contains("this one was to be new"), "{}", closed.sentence());
        assert_eq!(std::fs::read(ground.on_disk("a")).unwrap(), b"theirs");
        assert!(!ground.on_disk("a~2").exists());
        assert_eq!(client.open("a", NEW).await.code(), 4);
        // A temporary name is no exception.
        let handle = client.opened("b.part", NEW).await;
        std::fs::write(ground.on_disk("b.part"), b"theirs").unwrap();
        assert_eq!(client.close(&handle).await.code(), 4);
        assert_eq!(std::fs::read(ground.on_disk("b.part")).unwrap(), b"theirs");
    }
}

/// Of many that open at the same moment, on connections of their own, one lands.
#[tokio::test(flavor = "multi_thread")]
async fn of_many_that_must_be_new_one_lands() {
    let ground = Ground::new().await;
    let mut rivals = Vec::new();
    for number in 0..8u8 {
        let mut client = ground.client().await;
        rivals.push(tokio::spawn(async move {
            client.init().await;
            let opened = client.open("a", NEW).await;
            if opened.kind != 102 {
                assert_eq!(opened.code(), 4);
                return None;
            }
            let handle = opened.bytes();
            assert_eq!(client.wrote(&handle, 0, &[number; 1000]).await.code(), 0);
            let closed = client.close(&handle).await.code();
            client.end().await;
            (closed == 0).then_some(number)
        }));
    }
    let mut winners = Vec::new();
    for rival in rivals {
        winners.extend(rival.await.unwrap());
    }
    assert_eq!(winners.len(), 1, "{winners:?}");
    assert_eq!(std::fs::read(ground.on_disk("a")).unwrap(), [winners[0]; 1000]);
    assert_eq!(ground.receipts().await.iter().filter(|row| row.status == "landed").count(), 1);
}

/// The right to list is not asked for: who may only send may want to send something new.
#[tokio::test]
async fn new_files_in_a_drop_box() {
    let ground = Ground::new().await;
    let permissions = Some(Permissions { write: true, ..Permissions::NONE });
    let mut client = ground.client_with(Semaphore::MAX_PERMITS, Grant { permissions, ..Grant::default() }).await;
    client.init().await;
    let handle = client.opened("a", NEW).await;
    assert_eq!(client.close(&handle).await.code(), 0);
    assert_eq!(client.open("a", NEW).await.code(), 4);
}

#[tokio::test]
async fn what_was_opened_and_not_written_to_does_not_land_again() {
    let ground = Ground::new().await;
    let mut client = ground.client().await;
    client.init().await;
    assert_eq!(client.put("a", b"bytes").await.code(), 0);
    let inode = std::fs::metadata(ground.on_disk("a")).unwrap().ino();
    for flags in [WRITE, WRITE | READ, WRITE | CREAT] {
        let handle = client.opened("a", flags).await;
        assert_eq!(client.named(8, &handle).await.size(), 5);
        assert_eq!(client.close(&handle).await.code(), 0);
    }
    // What is set while it is open holds all the same.
    let handle = client.opened("a", WRITE).await;
    let set = client
        .ask(10, |out| {
            packets::string(out, &handle);
            out.put_u32(0x4 | 0x8);
            out.put_u32(0o100_600);
            out.put_u32(1_500_000_000);
            out.put_u32(1_500_000_001);
        })
        .await;
    assert_eq!(set.code(), 0);
    assert_eq!(client.close(&handle).await.code(), 0);
    let facts = std::fs::metadata(ground.on_disk("a")).unwrap();
    assert_eq!((facts.ino(), facts.mtime(), facts.permissions().mode() & 0o777), (inode, 1_500_000_001, 0o600));
    assert_eq!(ground.receipts().await.len(), 1);
    assert_eq!(ground.delivery.store.all_staged(), []);

    // Truncated it is another file, and so it is with a byte written.
    let handle = client.opened("a", WRITE | TRUNC).await;
    assert_eq!(client.close(&handle).await.code(), 0);
    assert_eq!(std::fs::read(ground.on_disk("a")).unwrap(), b"");
    let handle = client.opened("a", WRITE).await;
    assert_eq!(client.wrote(&handle, 0, b"x").await.code(), 0);
    assert_eq!(client.close(&handle).await.code(), 0);
    assert_eq!(ground.receipts().await.len(), 3);
}

/// All bytes may have come when the line went: then nothing is left to write, and the CLOSE is what was missing.
#[tokio::test]
async fn a_resumed_upload_lands_without_another_byte() {
    let ground = Ground::new().await;
    let mut client = ground.client().await;
    client.init().await;
    assert_eq!(client.put("a", b"old").await.code(), 0);
    let handle = client.opened("a", FRESH).await;
    assert_eq!(client.wrote(&handle, 0, b"all of it").await.code(), 0);
    client.vanish().await;
    let mut client = ground.client().await;
    client.init().await;
    let handle = client.opened("a", WRITE | CREAT).await;
    assert_eq!(client.close(&handle).await.code(), 0);
    assert_eq!(std::fs::read(ground.on_disk("a")).unwrap(), b"all of it");
}
