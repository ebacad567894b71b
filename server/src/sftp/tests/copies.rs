//! `copy-data`: what it copies, what its landing says of it, and what it refuses.

use bytes::{BufMut, Bytes, BytesMut};
use landfall_auth::Grant;
use tokio::sync::Semaphore;

use super::rig::{APPEND, CREAT, Client, FRESH, Ground, READ, WRITE, noise, sha256};
use crate::sftp::packets;

/// Path, size and digest in the last receipt.
async fn last_receipt(ground: &Ground) -> (String, u64, String) {
    let last = ground.receipts().await.pop().unwrap();
    (last.path, last.size, last.sha256.unwrap())
}

/// Handle, offset and length on the one side, handle and offset on the other.
fn part(from: &Bytes, offset: u64, length: u64, to: &Bytes, at: u64) -> impl FnOnce(&mut BytesMut) {
    let (from, to) = (from.clone(), to.clone());
    move |out| {
        packets::string(out, &from);
        out.put_u64(offset);
        out.put_u64(length);
        packets::string(out, &to);
        out.put_u64(at);
    }
}

async fn client_with(ground: &Ground, name: &str, data: &[u8]) -> Client {
    let mut client = ground.client().await;
    client.init().await;
    assert_eq!(client.put(name, data).await.code(), 0);
    client
}

/// As OpenSSH's `cp` asks for it: more than one slice, to the end.
#[tokio::test]
async fn a_copy_lands_with_the_digest_of_its_bytes() {
    let ground = Ground::new().await;
    let data = noise(35_000_000, 1);
    let mut client = client_with(&ground, "from", b"").await;
    std::fs::write(ground.on_disk("from"), &data).unwrap();
    let (from, to) = (client.opened("from", READ).await, client.opened("to", FRESH).await);
    assert_eq!(client.extended("copy-data", part(&from, 0, 0, &to, 0)).await.code(), 0);
    assert!(!ground.on_disk("to").exists(), "visible before its end");
    assert_eq!(client.named(8, &to).await.size(), data.len() as u64);
    for handle in [&from, &to] {
        assert_eq!(client.close(handle).await.code(), 0);
    }
    assert!(std::fs::read(ground.on_disk("to")).unwrap() == data);
    assert_eq!(last_receipt(&ground).await, ("/to".to_owned(), data.len() as u64, sha256(&data)));
}

#[tokio::test]
async fn parts_go_where_they_are_told() {
    let ground = Ground::new().await;
    let data = noise(1_000_000, 2);
    let mut client = client_with(&ground, "from", &data).await;
    let from = client.opened("from", READ).await;
    let to = client.opened("to", FRESH).await;
    // Between WRITEs, none of which waits for its answer; the last of them comes ahead of its bytes.
    let mut ids = vec![client.write(&to, 0, b"begin").await];
    ids.push(client.write(&to, 105, b"end").await);
    ids.push(client.send_extended("copy-data", part(&from, 500, 100, &to, 5)).await);
    ids.push(client.write(&to, 2, b"G").await);
    ids.push(client.send_extended("copy-data", part(&from, 0, 1, &to, 0)).await);
    for id in ids {
        assert_eq!(client.reply(id).await.code(), 0);
    }
    // A length beyond the end copies what there is, and says so.
    assert_eq!(client.extended("copy-data", part(&from, 999_990, 11, &to, 108)).await.code(), 1);
    assert_eq!(client.extended("copy-data", part(&from, 999_990, 10, &to, 118)).await.code(), 0);
    assert_eq!(client.extended("copy-data", part(&from, 1_000_000, 0, &to, 0)).await.code(), 0);
    assert_eq!(client.close(&to).await.code(), 0);
    let mut expected = [b"beGin", &data[500..600], b"end", &data[999_990..], &data[999_990..]].concat();
    expected[0] = data[0];
    assert_eq!(std::fs::read(ground.on_disk("to")).unwrap(), expected);
    assert_eq!(last_receipt(&ground).await.2, sha256(&expected));

    // Opened with APPEND it goes to the end, and behind what has landed.
    let to = client.opened("to", WRITE | APPEND | CREAT).await;
    assert_eq!(client.extended("copy-data", part(&from, 0, 10, &to, 0)).await.code(), 0);
    assert_eq!(client.close(&to).await.code(), 0);
    expected.extend(&data[..10]);
    assert_eq!(std::fs::read(ground.on_disk("to")).unwrap(), expected);
    assert_eq!(last_receipt(&ground).await.2, sha256(&expected));
}

#[tokio::test]
async fn its_source_may_be_closed_meanwhile() {
    let ground = Ground::new().await;
    let data = noise(3_000_000, 3);
    let mut client = client_with(&ground, "from", &data).await;
    let (from, to) = (client.opened("from", READ).await, client.opened("to", FRESH).await);
    let ids = [
        client.send_extended("copy-data", part(&from, 0, 0, &to, 0)).await,
        client.send(4, |out| packets::string(out, &from)).await,
        client.send(4, |out| packets::string(out, &to)).await,
    ];
    for id in ids {
        assert_eq!(client.reply(id).await.code(), 0);
    }
    assert!(std::fs::read(ground.on_disk("to")).unwrap() == data);
    // Onto itself: what has landed is read, and stays until the copy lands.
    let (from, to) = (client.opened("from", READ).await, client.opened("from", FRESH).await);
    assert_eq!(client.extended("copy-data", part(&from, 0, 0, &to, 0)).await.code(), 0);
    assert_eq!(client.close(&to).await.code(), 0);
    assert!(std::fs::read(ground.on_disk("from")).unwrap() == data);
}

#[tokio::test]
async fn what_cannot_be_copied_is_refused_and_does_not_land() {
    let ground = Ground::new().await;
    let mut client = client_with(&ground, "from", b"bytes").await;
    let (from, to) = (client.opened("from", READ).await, client.opened("to", FRESH).await);
    let (both, listing) = (client.opened("both", FRESH | READ).await, client.named(11, b"/").await.bytes());
    let stale = Bytes::from_static(b"00000000");
    for (from, to, why) in [
        (&stale, &to, "not open"),
        (&from, &stale, "not open"),
        (&from, &from, "not open"),
        (&from, &listing, "not open"),
        (&listing, &to, "reading alone"),
        (&both, &to, "reading alone"),
        (&to, &to, "reading alone"),
    ] {
        let refused = client.extended("copy-data", part(from, 0, 0, to, 0)).await;
        assert_eq!(refused.code(), 4);
        assert!(refused.sentence().contains(why), "{}", refused.sentence());
    }
    // Those have changed nothing. A copy that was begun is as a WRITE that failed: OpenSSH's client closes all the same.
    let refused = client.extended("copy-data", part(&from, 0, 0, &to, 1)).await;
    assert_eq!((refused.code(), refused.sentence().as_str()), (4, "offset 1 is beyond the 0 bytes held"));
    assert!(client.close(&to).await.sentence().contains("not landed"));
    assert!(!ground.on_disk("to").exists());
}

#[tokio::test]
async fn a_source_that_is_cut_meanwhile_does_not_land_short() {
    let ground = Ground::new().await;
    let mut client = client_with(&ground, "from", &noise(1_000_000, 5)).await;
    for size in [0, 400_000] {
        std::fs::write(ground.on_disk("from"), noise(1_000_000, 5)).unwrap();
        let (from, to) = (client.opened("from", READ).await, client.opened("to", FRESH).await);
        // In place, by a program of the host.
        std::fs::File::options().write(true).open(ground.on_disk("from")).unwrap().set_len(size).unwrap();
        let copied = client.extended("copy-data", part(&from, 0, 0, &to, 0)).await;
        assert_eq!((copied.code(), copied.sentence().contains("changed meanwhile")), (4, true), "{size}");
        assert!(client.close(&to).await.sentence().contains("not landed"));
        assert!(!ground.on_disk("to").exists());
        assert_eq!(client.stat("to").await.code(), 2, "a part of two files can be resumed");
        assert_eq!(client.close(&from).await.code(), 0);
    }
}

#[tokio::test]
async fn limits_hold_for_copies() {
    let ground = Ground::new().await;
    drop(client_with(&ground, "from", &noise(20_000_000, 4)).await);
    for grant in [
        Grant { max_file_bytes: Some(19_999_999), ..Grant::default() },
        Grant { quota_bytes: Some(39_999_999), ..Grant::default() },
    ] {
        let mut client = ground.client_with(Semaphore::MAX_PERMITS, grant).await;
        client.init().await;
        let (from, to) = (client.opened("from", READ).await, client.opened("to", FRESH).await);
        assert_eq!(client.extended("copy-data", part(&from, 0, 0, &to, 0)).await.code(), 4);
        assert_eq!(client.close(&to).await.code(), 4);
        assert!(!ground.on_disk("to").exists());
        assert_eq!(client.stat("to").await.code(), 2, "what a rule refuses is not kept");
        client.end().await;
    }
    let grant = Grant { quota_bytes: Some(40_000_000), ..Grant::default() };
    let mut client = ground.client_with(Semaphore::MAX_PERMITS, grant).await;
    client.init().await;
    let (from, to) = (client.opened("from", READ).await, client.opened("to", FRESH).await);
    assert_eq!(client.extended("copy-data", part(&from, 0, 0, &to, 0)).await.code(), 0);
    assert_eq!(client.close(&to).await.code(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_ends_with_its_client() {
    let ground = Ground::new().await;
    let mut client = client_with(&ground, "from", b"").await;
    std::fs::File::options().write(true).open(ground.on_disk("from")).unwrap().set_len(1 << 40).unwrap();
    let (from, to) = (client.opened("from", READ).await, client.opened("to", FRESH).await);
    client.send_extended("copy-data", part(&from, 0, 0, &to, 0)).await;
    // Others go on meanwhile.
    assert_eq!(client.stat("from").await.size(), 1 << 40);
    client.vanish().await;
    assert!(!ground.on_disk("to").exists());
}

/// A client with a source of a terabyte, which is not copied before the test ends.
async fn client_with_terabyte(ground: &Ground) -> Client {
    let client = client_with(ground, "endless", b"").await;
    std::fs::File::options().write(true).open(ground.on_disk("endless")).unwrap().set_len(1 << 40).unwrap();
    client
}

#[test]
fn copies_leave_threads_to_others() {
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = runtime.worker_threads(2).enable_all().max_blocking_threads(6).build().unwrap();
    runtime.block_on(async {
        let ground = Ground::new().await;
        let mut client = client_with_terabyte(&ground).await;
        let from = client.opened("endless", READ).await;
        for number in 0..12 {
            let to = client.opened(&format!("to{number}"), FRESH).await;
            client.send_extended("copy-data", part(&from, 0, 0, &to, 0)).await;
        }
        assert_eq!(client.put("small", b"bytes").await.code(), 0);
        client.vanish().await;
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writes_behind_a_copy_hold_nobody_up() {
    let ground = Ground::new().await;
    let mut client = client_with_terabyte(&ground).await;
    let (from, to) = (client.opened("endless", READ).await, client.opened("to", FRESH).await);
    let mut ids = vec![client.send_extended("copy-data", part(&from, 0, 0, &to, 0)).await];
    let piece = noise(255_000, 7);
    let more_than_all_room = async {
        for number in 0..40 {
            ids.push(client.write(&to, number * 255_000, &piece).await);
        }
        client.stat("endless").await
    };
    let stat = tokio::time::timeout(std::time::Duration::from_secs(20), more_than_all_room).await;
    assert_eq!(stat.unwrap().size(), 1 << 40);
    // The copy ends, and all of them are answered.
    std::fs::File::options().write(true).open(ground.on_disk("endless")).unwrap().set_len(0).unwrap();
    for id in ids {
        assert_eq!(client.reply(id).await.code(), 4);
    }
    assert!(client.close(&to).await.sentence().contains("not landed"));
    assert!(!ground.on_disk("to").exists());
    client.end().await;
}
