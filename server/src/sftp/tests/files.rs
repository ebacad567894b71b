//! Files and names: what an upload becomes, and what each request answers.

use bytes::{Buf, BufMut};
use landfall_auth::{Grant, Overwrite};
use tokio::sync::Semaphore;

use super::rig::{APPEND, CREAT, EXCL, FRESH, Ground, READ, WRITE, noise, open_fields};
use crate::sftp::handles::MAX_HANDLES;
use crate::sftp::packets;

#[tokio::test]
async fn close_lands_and_nothing_is_visible_before() {
    let ground = Ground::new().await;
    let mut client = ground.client().await;
    assert_eq!(client.init().await.kind, 2);
    let handle = client.opened("/a.jpg", FRESH).await;
    let data = noise(100_000, 1);
    assert_eq!(client.wrote(&handle, 0, &data).await.code(), 0);
    assert!(!ground.on_disk("a.jpg").exists());
    assert_eq!(client.close(&handle).await.code(), 0);
    assert_eq!(std::fs::read(ground.on_disk("a.jpg")).unwrap(), data);
    assert_eq!(client.stat("a.jpg").await.size(), 100_000);
    client.end().await;
}

#[tokio::test]
async fn a_channel_that_is_gone_suspends_and_the_next_one_resumes() {
    let ground = Ground::new().await;
    let mut client = ground.client().await;
    client.init().await;
    let data = noise(200_000, 2);
    let handle = client.opened("a.jpg", FRESH).await;
    assert_eq!(client.wrote(&handle, 0, &data[..150_000]).await.code(), 0);
    client.vanish().await;
    assert!(!ground.on_disk("a.jpg").exists());

    let mut client = ground.client().await;
    client.init().await;
    assert_eq!(client.stat("a.jpg").await.size(), 150_000);
    let handle = client.opened("a.jpg", WRITE | CREAT).await;
    assert_eq!(client.named(8, &handle).await.size(), 150_000);
    assert_eq!(client.wrote(&handle, 150_000, &data[150_000..]).await.code(), 0);
    assert_eq!(client.close(&handle).await.code(), 0);
    assert_eq!(std::fs::read(ground.on_disk("a.jpg")).unwrap(), data);
}

#[tokio::test]
async fn what_was_sent_before_the_end_is_done() {
    let ground = Ground::new().await;
    let mut client = ground.client().await;
    client.init().await;
    let closed = client.opened("closed", FRESH).await;
    let open = client.opened("open", FRESH).await;
    client.write(&closed, 0, b"whole").await;
    client.write(&open, 0, b"half").await;
    client.send(4, |out| packets::string(out, &closed)).await;
    client.vanish().await;
    assert_eq!(std::fs::read(ground.on_disk("closed")).unwrap(), b"whole");
    assert!(!ground.on_disk("open").exists());
    let mut client = ground.client().await;
    client.init().await;
    assert_eq!(client.stat("open").await.size(), 4);
}

#[tokio::test]
async fn a_polite_end_answers_everything_first() {
    let ground = Ground::new().await;
    let mut client = ground.client().await;
    client.init().await;
    let handle = client.opened("a", FRESH).await;
    let ids = [
        client.write(&handle, 0, b"bytes").await,
        client.send(4, |out| packets::string(out, &handle)).await,
        client.send(17, |out| packets::string(out, b"a")).await,
    ];
    client.raw_end().await;
    assert_eq!(client.reply(ids[0]).await.code(), 0);
    assert_eq!(client.reply(ids[1]).await.code(), 0);
    // A STAT behind a CLOSE that was not waited for sees what has landed.
    assert_eq!(client.reply(ids[2]).await.size(), 5);
    client.end().await;
}

#[tokio::test]
async fn writes_out_of_order_are_put_in_order() {
    let ground = Ground::new().await;
    let mut client = ground.client().await;
    client.init().await;
    let data = noise(320_000, 3);
    let handle = client.opened("a", FRESH).await;
    let mut order: Vec<usize> = (0..32).collect();
    order.reverse();
    order.swap(3, 20);
    let mut ids = Vec::new();
    for index in order {
        ids.push(client.write(&handle, index as u64 * 10_000, &data[index * 10_000..(index + 1) * 10_000]).await);
    }
    for id in ids {
        assert_eq!(client.reply(id).await.code(), 0);
    }
    assert_eq!(client.close(&handle).await.code(), 0);
    assert_eq!(std::fs::read(ground.on_disk("a")).unwrap(), data);
}

#[tokio::test]
async fn a_gap_at_close_does_not_land() {
    let ground = Ground::new().await;
    let mut client = ground.client().await;
    client.init().await;
    let handle = client.opened("a", FRESH).await;
    assert_eq!(client.wrote(&handle, 0, &[1; 1000]).await.code(), 0);
    let ahead = client.write(&handle, 5000, &[2; 1000]).await;
    let closed = client.close(&handle).await;
    let refused = client.reply(ahead).await;
    assert_eq!((refused.code(), refused.sentence().as_str()), (4, "offset 5000 is beyond the 1000 bytes held"));
    assert_eq!(closed.code(), 4);
    assert!(closed.sentence().contains("not landed"), "{}", closed.sentence());
    assert!(!ground.on_disk("a").exists());
    assert_eq!(client.stat("a").await.size(), 1000);
}

#[tokio::test]
async fn a_gap_that_nobody_fills_is_an_error_and_no_hole() {
    let ground = Ground::new().await;
    let mut client = ground.client().await;
    client.init().await;
    let handle = client.opened("a", FRESH).await;
    assert_eq!(client.wrote(&handle, 1 << 40, b"far").await.code(), 4);
    let handle = client.opened("b", FRESH).await;
    for offset in [u64::MAX, u64::MAX - 2, 1 << 63, i64::MAX as u64] {
        assert_eq!(client.wrote(&handle, offset, b"far").await.code(), 4);
    }
    // Nor does more than the room for what comes ahead wait.
    let handle = client.opened("c", FRESH).await;
    let piece = vec![1; 32_768];
    let mut ids = Vec::new();
    for index in 1..200u64 {
        ids.push(client.write(&handle, index * 32_768, &piece).await);
    }
    for id in ids {
        assert_eq!(client.reply(id).await.code(), 4);
    }
}

#[tokio::test]
async fn the_same_bytes_may_be_written_again() {
    let ground = Ground::new().await;
    let mut client = ground.client().await;
    client.init().await;
    let handle = client.opened("a", FRESH).await;
    client.write(&handle, 0, b"hello world").await;
    client.write(&handle, 6, b"there").await;
    client.write(&handle, 0, b"H").await;
    assert_eq!(client.close(&handle).await.code(), 0);
    assert_eq!(std::fs::read(ground.on_disk("a")).unwrap(), b"Hello there");
}

#[tokio::test]
async fn append_goes_to_the_end() {
    let ground = Ground::new().await;
    let mut client = ground.client().await;
    client.init().await;
    assert_eq!(client.put("a", b"one ").await.code(), 0);
    let handle = client.opened("a", WRITE | APPEND | CREAT).await;
    assert_eq!(client.wrote(&handle, 0, b"two ").await.code(), 0);
    assert_eq!(client.wrote(&handle, 0, b"three").await.code(), 0);
    assert_eq!(client.close(&handle).await.code(), 0);
    assert_eq!(std::fs::read(ground.on_disk("a")).unwrap(), b"one two three");
}

#[tokio::test]
async fn open_for_both_reads_back_and_changes_in_place() {
    let ground = Ground::new().await;
    let mut client = ground.client().await;
    client.init().await;
    assert_eq!(client.put("a", b"hello world").await.code(), 0);
    let handle = client.opened("a", READ | WRITE).await;
    assert_eq!(client.wrote(&handle, 0, b"J").await.code(), 0);
    let id = client.read(&handle, 0, 100).await;
    assert_eq!(&client.reply(id).await.bytes()[..], b"Jello world");
    let id = client.read(&handle, 11, 100).await;
    assert_eq!(client.reply(id).await.code(), 1);
    // Landed, it is still what it was.
    assert_eq!(std::fs::read(ground.on_disk("a")).unwrap(), b"hello world");
    assert_eq!(client.close(&handle).await.code(), 0);
    assert_eq!(std::fs::read(ground.on_disk("a")).unwrap(), b"Jello world");
}

#[tokio::test]
async fn open_flags_ask_for_what_is_there() {
    let ground = Ground::new().await;
    let mut client = ground.client().await;
    client.init().await;
    assert_eq!(client.open("none", WRITE).await.code(), 2);
    assert_eq!(client.open("none", READ).await.code(), 2);
    assert_eq!(client.put("a", b"x").await.code(), 0);
    assert_eq!(client.open("a", WRITE | CREAT | EXCL).await.code(), 4);
    let handle = client.opened("b", WRITE | CREAT | EXCL).await;
    assert_eq!(client.close(&handle).await.code(), 0);
    assert_eq!(std::fs::read(ground.on_disk("b")).unwrap(), b"");
    assert_eq!(client.open("/", WRITE | CREAT).await.code(), 4);
    assert_eq!(client.open("no/such/dir", FRESH).await.code(), 2);
}

#[tokio::test]
async fn time_and_mode_set_while_open_are_worn_when_landed() {
    use std::os::unix::fs::{MetadataExt, PermissionsExt};
    let ground = Ground::new().await;
    let mut client = ground.client().await;
    client.init().await;
    let reply = client
        .ask(3, |out| {
            packets::string(out, b"a");
            out.put_u32(FRESH);
            out.put_u32(4);
            out.put_u32(0o100_600);
        })
        .await;
    let handle = reply.bytes();
    assert_eq!(client.wrote(&handle, 0, b"x").await.code(), 0);
    let set = client
        .ask(10, |out| {
            packets::string(out, &handle);
            out.put_u32(0x2 | 0x8);
            out.put_u64(0);
            out.put_u32(1_500_000_000);
            out.put_u32(1_500_000_001);
        })
        .await;
    assert_eq!(set.code(), 0);
    assert_eq!(client.close(&handle).await.code(), 0);
    let facts = std::fs::metadata(ground.on_disk("a")).unwrap();
    assert_eq!((facts.mtime(), facts.permissions().mode() & 0o777), (1_500_000_001, 0o600));
    // Opened again without CREAT it keeps its mode, though some clients send zero then.
    let reply = client
        .ask(3, |out| {
            packets::string(out, b"a");
            out.put_u32(WRITE);
            out.put_u32(4);
            out.put_u32(0);
        })
        .await;
    assert_eq!(client.close(&reply.bytes()).await.code(), 0);
    assert_eq!(std::fs::metadata(ground.on_disk("a")).unwrap().permissions().mode() & 0o777, 0o600);
}

/// By name as well: its client takes the upload that it has open for the file.
#[tokio::test]
async fn time_set_by_name_is_of_the_open_upload() {
    let ground = Ground::new().await;
    let mut client = ground.client().await;
    client.init().await;
    let times = |seconds: u32| {
        move |out: &mut bytes::BytesMut| {
            packets::string(out, b"/d/../a");
            out.put_u32(8);
            out.put_u32(seconds);
            out.put_u32(seconds);
        }
    };
    assert_eq!(client.ask(9, times(1)).await.code(), 2);
    let seen = || std::fs::metadata(ground.on_disk("a")).unwrap().modified().unwrap();
    let at = |seconds| std::time::UNIX_EPOCH + std::time::Duration::from_secs(seconds);
    for (first, second) in [(1_500_000_000, 1_500_000_001), (1_500_000_002, 1_500_000_003)] {
        let handle = client.opened("a", FRESH).await;
        assert_eq!(client.ask(9, times(first)).await.code(), 0);
        assert_eq!(client.close(&handle).await.code(), 0);
        assert_eq!(seen(), at(u64::from(first)));
        assert_eq!(client.ask(9, times(second)).await.code(), 0);
        assert_eq!(seen(), at(u64::from(second)));
    }
}

#[tokio::test]
async fn sizes_cut_and_never_grow() {
    let ground = Ground::new().await;
    let mut client = ground.client().await;
    client.init().await;
    let handle = client.opened("a", FRESH).await;
    assert_eq!(client.wrote(&handle, 0, b"hello world").await.code(), 0);
    let set_size = |size: u64| {
        let handle = handle.clone();
        move |out: &mut bytes::BytesMut| {
            packets::string(out, &handle);
            out.put_u32(1);
            out.put_u64(size);
        }
    };
    assert_eq!(client.ask(10, set_size(1 << 62)).await.code(), 4);
    assert_eq!(client.ask(10, set_size(5)).await.code(), 0);
    assert_eq!(client.named(8, &handle).await.size(), 5);
    assert_eq!(client.close(&handle).await.code(), 0);
    assert_eq!(std::fs::read(ground.on_disk("a")).unwrap(), b"hello");
    let landed = client
        .ask(9, |out| {
            packets::string(out, b"a");
            out.put_u32(1);
            out.put_u64(1 << 30);
        })
        .await;
    assert_eq!(landed.code(), 4);
}

#[tokio::test]
async fn names_are_made_renamed_listed_and_removed() {
    let ground = Ground::new().await;
    let mut client = ground.client().await;
    client.init().await;
    let make = client
        .ask(14, |out| {
            packets::string(out, b"d");
            out.put_u32(0);
        })
        .await;
    assert_eq!(make.code(), 0);
    for name in ["d/a", "d/b"] {
        assert_eq!(client.put(name, name.as_bytes()).await.code(), 0);
    }
    let rename = |from: &'static str, to: &'static str| {
        move |out: &mut bytes::BytesMut| {
            packets::string(out, from.as_bytes());
            packets::string(out, to.as_bytes());
        }
    };
    assert_eq!(client.ask(18, rename("d/a", "d/b")).await.code(), 4, "version 3 RENAME never replaces");
    let posix = client
        .ask(200, |out| {
            packets::string(out, b"posix-rename@openssh.com");
            rename("d/a", "d/b")(out);
        })
        .await;
    assert_eq!(posix.code(), 0);
    assert_eq!(std::fs::read(ground.on_disk("d/b")).unwrap(), b"d/a");

    let handle = client.named(11, b"d").await.bytes();
    let mut names = client.named(12, &handle).await.names();
    names.sort_unstable();
    assert_eq!(names, [".", "..", "b"]);
    assert_eq!(client.named(12, &handle).await.code(), 1);
    assert_eq!(client.close(&handle).await.code(), 0);

    assert_eq!(client.named(15, b"d").await.code(), 4, "not empty");
    assert_eq!(client.named(13, b"d/b").await.code(), 0);
    assert_eq!(client.named(15, b"d").await.code(), 0);
    assert_eq!(client.stat("d").await.code(), 2);
    assert_eq!(client.named(16, b"x/../y/./z").await.names(), ["/y/z"]);
    assert_eq!(client.named(16, b"../../..").await.names(), ["/"]);
}

#[tokio::test]
async fn many_names_take_several_replies() {
    let ground = Ground::new().await;
    let mut client = ground.client().await;
    client.init().await;
    for number in 0..1200 {
        std::fs::write(ground.on_disk(&format!("{number:04}")), b"").unwrap();
    }
    let handle = client.named(11, b"/").await.bytes();
    let mut names = Vec::new();
    loop {
        let reply = client.named(12, &handle).await;
        if reply.kind == 101 {
            assert_eq!(reply.code(), 1);
            break;
        }
        names.extend(reply.names());
    }
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), 1202);
}

#[tokio::test]
async fn names_that_cannot_be_are_refused_under_their_own_id() {
    let ground = Ground::new().await;
    let mut client = ground.client().await;
    client.init().await;
    for (name, why) in [(&b"caf\xe9"[..], "UTF-8"), (b"a\nb", "control"), (b"", "empty"), (&[b'x'; 300], "255")] {
        let reply = client.named(17, name).await;
        assert_eq!(reply.code(), 4);
        assert!(reply.sentence().contains(why), "{}", reply.sentence());
    }
    assert_eq!(client.stat("/").await.kind, 105);
}

#[tokio::test]
async fn refused_requests_say_so() {
    let ground = Ground::new().await;
    let mut client = ground.client().await;
    client.init().await;
    assert_eq!(client.named(19, b"a").await.code(), 8);
    let link = client
        .ask(20, |out| {
            packets::string(out, b"a");
            packets::string(out, b"/etc/passwd");
        })
        .await;
    assert_eq!(link.code(), 8);
    assert_eq!(client.ask(77, |_| {}).await.code(), 8);
    assert_eq!(client.ask(200, |out| packets::string(out, b"nonsense@example.org")).await.code(), 8);
}

#[tokio::test]
async fn extensions_answer() {
    let ground = Ground::new().await;
    let mut client = ground.client().await;
    let version = client.init().await;
    let pairs = version.pairs();
    for (name, value) in [
        ("posix-rename@openssh.com", &b"1"[..]),
        ("statvfs@openssh.com", b"2"),
        ("limits@openssh.com", b"1"),
        ("fsync@openssh.com", b"1"),
        ("check-file", b"sha256,sha512,sha1,md5,crc32"),
    ] {
        assert!(pairs.iter().any(|pair| pair.0 == name && pair.1 == value), "{name}");
    }
    let limits = client.ask(200, |out| packets::string(out, b"limits@openssh.com")).await;
    assert_eq!((limits.kind, limits.body.len()), (201, 32));
    let space = client
        .ask(200, |out| {
            packets::string(out, b"statvfs@openssh.com");
            packets::string(out, b"/");
        })
        .await;
    assert_eq!((space.kind, space.body.len()), (201, 88));
    let handle = client.opened("a", FRESH).await;
    client.write(&handle, 0, b"durable").await;
    let by_handle = |handle: bytes::Bytes| move |out: &mut bytes::BytesMut| packets::string(out, &handle);
    assert_eq!(client.extended("fsync@openssh.com", by_handle(handle.clone())).await.code(), 0);
    let space = client.extended("fstatvfs@openssh.com", by_handle(handle.clone())).await;
    assert_eq!((space.kind, space.body.len()), (201, 88));
    assert_eq!(client.close(&handle).await.code(), 0);
    for name in ["fsync@openssh.com", "fstatvfs@openssh.com"] {
        assert_eq!(client.extended(name, by_handle(handle.clone())).await.code(), 4, "{name}");
    }
    let set = client
        .extended("lsetstat@openssh.com", |out| {
            packets::string(out, b"a");
            out.put_u32(8);
            out.put_u32(1_500_000_000);
            out.put_u32(1_500_000_001);
        })
        .await;
    assert_eq!(set.code(), 0);
    let modified = std::fs::metadata(ground.on_disk("a")).unwrap().modified().unwrap();
    assert_eq!(modified, std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_500_000_001));
}

#[tokio::test]
async fn both_sides_say_who_they_are() {
    let ground = Ground::new().await;
    let mut client = ground.client().await;
    let pairs = client.init().await.pairs();
    let mut vendor = pairs.into_iter().find(|pair| pair.0 == "vendor-id").unwrap().1;
    let texts = [(); 3].map(|()| {
        let count = vendor.get_u32() as usize;
        vendor.split_to(count)
    });
    assert_eq!(texts, ["Landfall", "Landfall", ""]);
    assert_eq!((vendor.get_u64(), vendor.len()), (0, 0));
    let noted = client
        .extended("vendor-id", |out| {
            for text in ["Martin Prikryl", "WinSCP", "6.3.5"] {
                packets::string(out, text.as_bytes());
            }
            out.put_u64(15_000);
        })
        .await;
    assert_eq!(noted.code(), 0);
}

#[tokio::test]
async fn handles_are_stale_once_closed_and_bounded() {
    let ground = Ground::new().await;
    let mut client = ground.client().await;
    client.init().await;
    let first = client.opened("first", FRESH).await;
    assert_eq!(client.close(&first).await.code(), 0);
    let second = client.opened("second", FRESH).await;
    assert_eq!(client.wrote(&first, 0, b"stale").await.code(), 4);
    assert_eq!(client.close(&first).await.code(), 4);
    assert_eq!(client.named(8, &first).await.code(), 4);
    assert_eq!(client.named(12, &second).await.code(), 4, "not a directory's handle");

    for number in 1..MAX_HANDLES {
        client.opened(&format!("{number}"), FRESH).await;
    }
    // The limit is the connection's, not the channel's.
    let mut other = super::rig::Client::start(client.connection.clone(), Semaphore::MAX_PERMITS);
    other.init().await;
    for client in [&mut client, &mut other] {
        let refused = client.open("one more", FRESH).await;
        assert_eq!(refused.code(), 4);
        assert!(refused.sentence().contains("handles"), "{}", refused.sentence());
    }
    assert_eq!(client.close(&second).await.code(), 0);
    other.opened("one more", FRESH).await;
}

#[tokio::test]
async fn a_refusal_by_a_rule_reaches_the_client() {
    let ground = Ground::new().await;
    let grant = Grant { max_file_bytes: Some(1000), overwrite: Some(Overwrite::Reject), ..Grant::default() };
    let mut client = ground.client_with(Semaphore::MAX_PERMITS, grant).await;
    client.init().await;
    let handle = client.opened("big", FRESH).await;
    assert_eq!(client.wrote(&handle, 0, &[1; 1000]).await.code(), 0);
    assert_eq!(client.wrote(&handle, 1000, &[1; 1]).await.code(), 4);
    // Not even when the client goes on as if nothing had happened.
    assert_eq!(client.wrote(&handle, 0, &[1; 1]).await.code(), 4);
    let closed = client.close(&handle).await;
    assert_eq!(closed.code(), 4);
    assert!(closed.sentence().contains("not landed"), "{}", closed.sentence());
    assert!(!ground.on_disk("big").exists());
}

#[tokio::test]
async fn a_directory_is_no_file() {
    let ground = Ground::new().await;
    let mut client = ground.client().await;
    client.init().await;
    std::fs::create_dir(ground.on_disk("d")).unwrap();
    assert_eq!(client.open("d", READ).await.code(), 4);
    assert_eq!(client.open("d", FRESH).await.code(), 4);
    assert_eq!(client.named(11, b"none").await.code(), 2);
    let reply = client.ask(3, |out| open_fields(out, "d/../e", FRESH)).await;
    assert_eq!(client.close(&reply.bytes()).await.code(), 0);
    assert!(ground.on_disk("e").exists());
}
