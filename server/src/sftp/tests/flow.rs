//! Flow: deep pipelines in both directions, clients that do not read, streams that make no sense.

use bytes::BufMut;
use landfall_auth::Grant;
use tokio::sync::Semaphore;

use super::rig::{Client, FRESH, Ground, READ, noise, request};
use crate::sftp::outbox::Outbox;
use crate::sftp::packets;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writes_go_on_while_nobody_reads_ten_thousand_reads() {
    let ground = Ground::new().await;
    let data = noise(4_000_000, 4);
    // A window that takes the handshake and the acknowledgements below, and a few of the 10,000 replies.
    let mut client = ground.client_with(1_000_000, Grant::default()).await;
    client.init().await;
    std::fs::write(ground.on_disk("down"), &data).unwrap();
    let down = client.opened("down", READ).await;
    let up = client.opened("up", FRESH).await;
    let mut reads = Vec::new();
    for index in 0..10_000u64 {
        reads.push((index, client.read(&down, (index * 400) % 3_900_000, 32_768).await));
    }
    // More than all room for payload: each of these has to be executed for the next ones to be read.
    let mut writes = Vec::new();
    for (index, piece) in data.chunks(32_000).cycle().take(1_000).enumerate() {
        writes.push(client.write(&up, index as u64 * 32_000, piece).await);
    }
    let close = client.send(4, |out| packets::string(out, &up)).await;
    // All of it was taken in, although the client has read next to nothing. It lands, too.
    for _ in 0..2_000 {
        if ground.on_disk("up").exists() {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    assert_eq!(std::fs::metadata(ground.on_disk("up")).unwrap().len(), 32_000_000);

    client.window.add_permits(1 << 40);
    for (index, id) in reads {
        let from = usize::try_from((index * 400) % 3_900_000).unwrap();
        assert_eq!(client.reply(id).await.bytes(), data[from..from + 32_768]);
    }
    for id in writes {
        assert_eq!(client.reply(id).await.code(), 0);
    }
    assert_eq!(client.reply(close).await.code(), 0);
    client.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reads_ahead_of_writes_on_one_handle_do_not_hold_them_up() {
    let ground = Ground::new().await;
    let mut client = ground.client_with(10_000, Grant::default()).await;
    client.init().await;
    let data = noise(256_000, 5);
    let handle = client.opened("both", FRESH | READ).await;
    let first = client.write(&handle, 0, &data).await;
    assert_eq!(client.reply(first).await.code(), 0);
    for _ in 0..50 {
        client.read(&handle, 0, 250_000).await;
    }
    let mut last = 0;
    for index in 1..100u64 {
        last = client.write(&handle, index * 256_000, &data).await;
    }
    client.window.add_permits(1 << 40);
    assert_eq!(client.reply(last).await.code(), 0);
    client.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_download_is_whole_whatever_the_window() {
    let ground = Ground::new().await;
    let data = noise(3_000_000, 6);
    let mut client = ground.client_with(1, Grant::default()).await;
    std::fs::write(ground.on_disk("a"), &data).unwrap();
    let window = client.window.clone();
    let opener = tokio::spawn(async move {
        loop {
            window.add_permits(50_000);
            tokio::task::yield_now().await;
            tokio::time::sleep(std::time::Duration::from_micros(200)).await;
        }
    });
    client.init().await;
    let handle = client.opened("a", READ).await;
    let mut ids = Vec::new();
    for index in 0..30u64 {
        ids.push(client.read(&handle, index * 100_000, 100_000).await);
    }
    let mut read = Vec::new();
    for id in ids {
        read.extend_from_slice(&client.reply(id).await.bytes());
    }
    assert_eq!(read, data);
    let id = client.read(&handle, 3_000_000, 1).await;
    assert_eq!(client.reply(id).await.code(), 1);
    opener.abort();
}

/// Ends the channel, and a packet behind it is not looked at.
async fn ends(mut client: Client, bytes: &[u8]) {
    client.raw(bytes.to_vec()).await;
    client.raw(request(17, 77, |out| packets::string(out, b"/"))).await;
    while let Some((id, _)) = client.any().await {
        assert_ne!(id, 77, "the channel went on");
    }
}

#[tokio::test]
async fn streams_that_make_no_sense_end_their_channel() {
    let ground = Ground::new().await;
    let mut streams: Vec<(bool, Vec<u8>)> = vec![
        (true, vec![0xff, 0xff, 0xff, 0xff]),
        (true, vec![0, 4, 0, 1, 3]),
        (true, vec![0, 0, 0, 0]),
        (true, vec![0, 0, 0, 2, 17, 0]),
        (true, request(1, 3, |_| {}).to_vec()),
        (false, request(17, 1, |out| packets::string(out, b"/")).to_vec()),
        (false, request(6, 1, |out| out.put_bytes(0, 20)).to_vec()),
        (false, request(1, 2, |_| {}).to_vec()),
    ];
    // A string that reaches beyond its packet.
    streams.push((true, request(17, 5, |out| out.put_u32(100)).to_vec()));
    streams.push((true, request(6, 5, |out| out.put_u32(u32::MAX)).to_vec()));
    for (ready, stream) in streams {
        let mut client = ground.client().await;
        if ready {
            client.init().await;
        }
        ends(client, &stream).await;
    }
}

#[tokio::test]
async fn a_fault_suspends_what_is_open() {
    let ground = Ground::new().await;
    let mut client = ground.client().await;
    client.init().await;
    let handle = client.opened("a", FRESH).await;
    assert_eq!(client.wrote(&handle, 0, b"half").await.code(), 0);
    ends(client, &[0xff; 8]).await;
    assert!(!ground.on_disk("a").exists());
    let mut client = ground.client().await;
    client.init().await;
    assert_eq!(client.stat("a").await.size(), 4);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_never_reads_is_slowed_down_and_then_cut_off() {
    const FULL: u32 = 8 << 20;
    let ground = Ground::new().await;
    let mut client = ground.client_with(100_000, Grant::default()).await;
    client.init().await;
    std::fs::write(ground.on_disk("a"), noise(1_000_000, 7)).unwrap();
    let handle = client.opened("a", READ).await;
    assert_eq!(client.connection.window_bytes(FULL), FULL);
    let many = |from: u32| {
        let handle = handle.clone();
        let stream: Vec<u8> = (from..from + 10_000)
            .flat_map(|id| {
                request(5, id, |out| {
                    packets::string(out, &handle);
                    out.put_u64(0);
                    out.put_u32(32_768);
                })
            })
            .collect();
        stream
    };
    let mut sent = 0;
    let mut slowed = false;
    while !client.ended() {
        client.raw(many(100 + sent)).await;
        sent += 10_000;
        slowed |= client.connection.window_bytes(FULL) < FULL;
        assert!(sent < 2_000_000, "nothing stopped it");
    }
    assert!(slowed);
    assert!(client.connection.halted.is_cancelled(), "the client could go on on another channel");
}

#[tokio::test]
async fn a_kick_suspends_at_once() {
    let ground = Ground::new().await;
    let mut client = ground.client_with(Semaphore::MAX_PERMITS, Grant::default()).await;
    client.init().await;
    let handle = client.opened("a", FRESH).await;
    assert_eq!(client.wrote(&handle, 0, b"half").await.code(), 0);
    client.connection.halted.cancel();
    while client.any().await.is_some() {}
    client.connection.tasks.close();
    client.connection.tasks.wait().await;
    assert!(!ground.on_disk("a").exists());
    let mut client = ground.client().await;
    client.init().await;
    assert_eq!(client.stat("a").await.size(), 4);
}

/// All handles at once would otherwise fill far more than the room, each with what it has not handed on.
#[tokio::test]
async fn what_jobs_have_gathered_takes_room_from_others() {
    let ground = Ground::new().await;
    let client = ground.client().await;
    let outbox = Outbox::new(client.connection.clone());
    assert!(outbox.has_room());
    outbox.gathered(1024 * 1024);
    assert!(!outbox.has_room());
    outbox.handed_on(1024 * 1024);
    assert!(outbox.has_room());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_of_all_handles_at_once_are_not_taken_for_one_that_does_not_read() {
    let ground = Ground::new().await;
    let mut client = ground.client_with(100_000, Grant::default()).await;
    client.init().await;
    assert_eq!(client.put("down", &noise(2_000_000, 8)).await.code(), 0);
    let mut handles = Vec::new();
    for _ in 0..64 {
        handles.push(client.opened("down", READ).await);
    }
    let mut reads = Vec::new();
    for handle in &handles {
        for place in 0..4 {
            reads.push(client.read(handle, place * 255_000, 255_000).await);
        }
    }
    // Every queue comes to rest, with nothing taken by the client.
    client.window.add_permits(1 << 40);
    for id in reads {
        assert_eq!(client.reply(id).await.bytes().len(), 255_000);
    }
    assert!(!client.connection.halted.is_cancelled());
    client.end().await;
}
