//! `check-file` in its three spellings: what is told of which bytes, and that nobody waits for somebody's large file.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use landfall_auth::{Grant, Permissions};
use tokio::sync::Semaphore;

use super::rig::{FRESH, Ground, READ, Reply, WRITE, noise};
use crate::sftp::packets;

fn sha256(bytes: &[u8]) -> Vec<u8> {
    aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes).as_ref().to_vec()
}

/// The fields of a request: handle or name, algorithms, offset, length, block size.
fn of(what: &[u8], algorithms: &str, part: (u64, u64), block_bytes: u32) -> impl FnOnce(&mut BytesMut) {
    let (what, algorithms) = (what.to_vec(), algorithms.to_owned());
    move |out| {
        packets::string(out, &what);
        packets::string(out, algorithms.as_bytes());
        out.put_u64(part.0);
        out.put_u64(part.1);
        out.put_u32(block_bytes);
    }
}

const WHOLE: (u64, u64) = (0, 0);

/// Algorithm and digests of a reply.
fn told(reply: &Reply) -> (String, Vec<u8>) {
    assert_eq!(reply.kind, 201, "{reply:?}");
    let mut body: Bytes = reply.body.clone();
    let count = body.get_u32() as usize;
    (String::from_utf8(body.split_to(count).to_vec()).unwrap(), body.to_vec())
}

#[tokio::test]
async fn digests_of_a_landed_file() {
    let ground = Ground::new().await;
    let mut client = ground.client().await;
    client.init().await;
    let data = noise(1_000, 7);
    assert_eq!(client.put("a", &data).await.code(), 0);

    let reply = client.extended("check-file-name", of(b"a", "sha256", WHOLE, 0)).await;
    assert_eq!(told(&reply), ("sha256".to_owned(), sha256(&data)));
    // The first of the client's list that is known.
    let reply = client.extended("check-file-name", of(b"a", "sha384,crc32,sha256", WHOLE, 0)).await;
    assert_eq!(told(&reply), ("crc32".to_owned(), crc32fast::hash(&data).to_be_bytes().to_vec()));
    let reply = client.extended("check-file-name", of(b"a", "md5", (10, 20), 0)).await;
    assert_eq!(told(&reply).1.len(), 16);

    let handle = client.opened("a", READ).await;
    let reply = client.extended("check-file-handle", of(&handle, "sha256", (100, 50), 0)).await;
    assert_eq!(told(&reply).1, sha256(&data[100..150]));
    // A length beyond the end is the rest, and so is none.
    for length in [0, 5_000, u64::MAX] {
        let reply = client.extended("check-file-handle", of(&handle, "sha256", (900, length), 0)).await;
        assert_eq!(told(&reply).1, sha256(&data[900..]), "{length}");
    }
    // As paramiko asks and wants to be told.
    let reply = client.extended("check-file", of(&handle, "sha256", WHOLE, 0)).await;
    let mut expected = BytesMut::new();
    packets::string(&mut expected, b"check-file");
    packets::string(&mut expected, b"sha256");
    expected.extend(sha256(&data));
    assert_eq!(reply.body, expected);
}

#[tokio::test]
async fn each_block_has_its_own_digest() {
    let ground = Ground::new().await;
    let mut client = ground.client().await;
    client.init().await;
    let data = noise(1_000_000, 8);
    assert_eq!(client.put("a", &data).await.code(), 0);
    for (part, block) in [(0..1_000_000, 300_000), (0..1_000_000, 1_000_000), (17..60_017, 256), (0..512, 256)] {
        let (from, length) = (part.start as u64, part.len() as u64);
        let blocks = u32::try_from(block).unwrap();
        let reply = client.extended("check-file-name", of(b"a", "sha256", (from, length), blocks)).await;
        let expected: Vec<u8> = data[part.clone()].chunks(block).flat_map(sha256).collect();
        assert!(told(&reply).1 == expected, "{part:?} in blocks of {block}");
    }
    assert_eq!(client.put("none", b"").await.code(), 0);
    for block in [0, 256] {
        let reply = client.extended("check-file-name", of(b"none", "sha256", WHOLE, block)).await;
        assert_eq!(told(&reply).1, sha256(b""));
    }
}

#[tokio::test]
async fn what_cannot_be_told_is_refused_with_its_reason() {
    let ground = Ground::new().await;
    let mut client = ground.client().await;
    client.init().await;
    assert_eq!(client.put("a", &noise(10_000, 9)).await.code(), 0);
    std::fs::create_dir(ground.on_disk("d")).unwrap();
    std::fs::File::create(ground.on_disk("large")).unwrap().set_len(1 << 40).unwrap();
    for (what, algorithms, part, block, code, why) in [
        ("a", "sha384", WHOLE, 0, 4, "ask for one of sha256"),
        ("a", "", WHOLE, 0, 4, "ask for one of sha256"),
        ("a", "md5", WHOLE, 255, 4, "at least 256 bytes"),
        ("a", "md5", (10_001, 1), 0, 4, "10000 bytes"),
        ("large", "md5", WHOLE, 256, 4, "ask for larger blocks"),
        ("none", "md5", WHOLE, 0, 2, ""),
        ("d", "md5", WHOLE, 0, 4, "directory"),
        ("a\n", "md5", WHOLE, 0, 4, "control"),
    ] {
        let refused = client.extended("check-file-name", of(what.as_bytes(), algorithms, part, block)).await;
        assert_eq!(refused.code(), code, "{what} {algorithms} {part:?} {block}: {}", refused.sentence());
        assert!(refused.sentence().contains(why), "{}", refused.sentence());
    }
    let listing = client.named(11, b"/").await.bytes();
    let upload = client.opened("b", FRESH).await;
    for (handle, why) in
        [(&b"00000000"[..], "not open"), (b"", "not open"), (&listing, "not open"), (&upload, "close the file first")]
    {
        let refused = client.extended("check-file-handle", of(handle, "md5", WHOLE, 0)).await;
        assert_eq!(refused.code(), 4);
        assert!(refused.sentence().contains(why), "{}", refused.sentence());
    }
    let permissions = Some(Permissions { read: false, ..Permissions::default() });
    let mut client = ground.client_with(Semaphore::MAX_PERMITS, Grant { permissions, ..Grant::default() }).await;
    client.init().await;
    assert_eq!(client.extended("check-file-name", of(b"a", "md5", WHOLE, 0)).await.code(), 3);
}

#[tokio::test]
async fn a_digest_keeps_its_place_among_the_other_requests() {
    let ground = Ground::new().await;
    let mut client = ground.client().await;
    client.init().await;
    let handle = client.opened("a", FRESH).await;
    client.write(&handle, 0, b"bytes").await;
    client.send(4, |out| packets::string(out, &handle)).await;
    // Behind a CLOSE that was not waited for.
    let reply = client.extended("check-file-name", of(b"a", "sha256", WHOLE, 0)).await;
    assert_eq!(told(&reply).1, sha256(b"bytes"));
    // In front of one.
    let handle = client.opened("a", READ).await;
    let digest = client.send_extended("check-file-handle", of(&handle, "sha256", WHOLE, 0)).await;
    let read = client.read(&handle, 0, 100).await;
    let closed = client.send(4, |out| packets::string(out, &handle)).await;
    assert_eq!(told(&client.reply(digest).await).1, sha256(b"bytes"));
    assert_eq!(&client.reply(read).await.bytes()[..], b"bytes");
    assert_eq!(client.reply(closed).await.code(), 0);
    client.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_waits_for_a_large_file() {
    let ground = Ground::new().await;
    let mut client = ground.client().await;
    client.init().await;
    assert_eq!(client.put("small", b"bytes").await.code(), 0);
    std::fs::File::create(ground.on_disk("large")).unwrap().set_len(1 << 40).unwrap();
    let large = client.opened("large", READ).await;
    client.send_extended("check-file-handle", of(&large, "sha256", WHOLE, 0)).await;
    client.send_extended("check-file-name", of(b"large", "sha1", WHOLE, 0)).await;
    let reply = client.extended("check-file-name", of(b"small", "sha256", WHOLE, 0)).await;
    assert_eq!(told(&reply).1, sha256(b"bytes"));
    assert_eq!(client.stat("small").await.size(), 5);
    let handle = client.opened("small", READ | WRITE).await;
    assert_eq!(client.wrote(&handle, 5, b" more").await.code(), 0);
    assert_eq!(client.close(&handle).await.code(), 0);
    // More of them than are begun at a time, and then the line is gone.
    for _ in 0..20 {
        client.send_extended("check-file-name", of(b"large", "sha1", WHOLE, 0)).await;
    }
    client.vanish().await;
}
