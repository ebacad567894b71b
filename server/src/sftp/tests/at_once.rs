//! Requests that are done where they arrive: what they may hold up, and what not.

use std::io;
use std::sync::{Arc, Condvar, Mutex};

use bytes::{BufMut, BytesMut};
use landfall_storage::disk::{Call, Faults};

use super::rig::{FRESH, Ground, READ, noise, open_fields, request, sha256};
use crate::sftp::packets;

/// A disk on which writes stand still until they are let go.
#[derive(Default)]
struct Standstill {
    still: Mutex<bool>,
    changed: Condvar,
    begun: Mutex<usize>,
}

impl Standstill {
    fn set(&self, still: bool) {
        *self.still.lock().unwrap() = still;
        self.changed.notify_all();
    }

    /// How many writes were begun since the last time.
    fn begun(&self) -> usize {
        std::mem::take(&mut self.begun.lock().unwrap())
    }
}

impl Faults for Standstill {
    fn before(&self, call: Call) -> io::Result<()> {
        if call == Call::Write {
            *self.begun.lock().unwrap() += 1;
            let still = self.still.lock().unwrap();
            drop(self.changed.wait_while(still, |still| *still).unwrap());
        }
        Ok(())
    }
}

/// Lets go of whatever stands still, also when a test fails: the runtime would wait for it.
struct LetGo(Arc<Standstill>);

impl Drop for LetGo {
    fn drop(&mut self) {
        self.0.set(false);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_stands_still_leaves_threads_to_others() {
    let disk = Arc::new(Standstill::default());
    let _let_go = LetGo(disk.clone());
    let ground = Ground::with_faults(disk.clone()).await;
    let mut stuck = Vec::new();
    for number in 0..4 {
        let mut client = ground.client().await;
        client.init().await;
        let handle = client.opened(&format!("{number}.jpg"), FRESH).await;
        stuck.push((client, handle));
    }
    disk.set(true);
    let mut writes = Vec::new();
    for (client, handle) in &mut stuck {
        writes.push(client.write(handle, 0, b"a part").await);
    }
    // Each of them has a thread by now, one of them the runtime's own.
    while *disk.begun.lock().unwrap() < stuck.len() {
        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
    }
    let mut other = ground.client().await;
    assert!(other.connection.session.at_once().is_none());
    other.init().await;
    assert_eq!(other.stat("/").await.kind, 105);
    disk.set(false);
    for ((mut client, handle), id) in stuck.into_iter().zip(writes) {
        assert_eq!(client.reply(id).await.code(), 0);
        assert_eq!(client.close(&handle).await.code(), 0);
        client.end().await;
    }
    other.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_there_together_is_written_together() {
    let disk = Arc::new(Standstill::default());
    let ground = Ground::with_faults(disk.clone()).await;
    let mut client = ground.client().await;
    client.init().await;
    let handle = client.opened("a.jpg", FRESH).await;
    disk.begun();
    let data = noise(40_000, 1);
    let mut packets = BytesMut::new();
    for (index, piece) in data.chunks(1_000).enumerate() {
        packets.extend_from_slice(&request(6, 100 + u32::try_from(index).unwrap(), |out| {
            packets::string(out, &handle);
            out.put_u64(index as u64 * 1_000);
            packets::string(out, piece);
        }));
    }
    client.raw(packets.freeze()).await;
    for id in 100..140 {
        assert_eq!(client.reply(id).await.code(), 0);
    }
    assert_eq!(disk.begun(), 1, "not put together");
    assert_eq!(client.close(&handle).await.code(), 0);
    assert_eq!(std::fs::read(ground.on_disk("a.jpg")).unwrap(), data);
    client.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_long_upload_has_its_digest_beside() {
    let ground = Ground::new().await;
    let mut client = ground.client().await;
    client.init().await;
    // Past the length from which on it is, with pieces of all sizes, some of them twice, and one taken back.
    let data = noise(9_000_000, 1);
    let handle = client.opened("a.jpg", FRESH).await;
    let (mut at, mut last) = (0, 0);
    for size in [200_000, 1_000, 60_000, 9_000, 255_000].into_iter().cycle() {
        let end = (at + size).min(data.len());
        last = client.write(&handle, at as u64, &data[at..end]).await;
        at = end;
        if at == data.len() {
            break;
        }
    }
    assert_eq!(client.reply(last).await.code(), 0);
    assert_eq!(client.wrote(&handle, 8_000_000, &data[8_000_000..8_100_000]).await.code(), 0);
    assert_eq!(client.close(&handle).await.code(), 0);
    assert_eq!(std::fs::read(ground.on_disk("a.jpg")).unwrap(), data);
    assert_eq!(ground.receipts().await[0].sha256.as_deref(), Some(&*sha256(&data)));
    client.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_whole_session_in_one_piece_keeps_its_order() {
    let ground = Ground::new().await;
    let mut client = ground.client().await;
    client.init().await;
    let data = noise(50_000, 3);
    // Handles are numbered: the first one of a channel is known beforehand to who has seen one.
    let handle = client.opened("first.jpg", FRESH).await;
    let mut packets = BytesMut::new();
    for (index, piece) in data.chunks(10_000).enumerate() {
        packets.extend_from_slice(&request(6, 100 + u32::try_from(index).unwrap(), |out| {
            packets::string(out, &handle);
            out.put_u64(index as u64 * 10_000);
            packets::string(out, piece);
        }));
    }
    packets.extend_from_slice(&request(8, 110, |out| packets::string(out, &handle)));
    packets.extend_from_slice(&request(4, 111, |out| packets::string(out, &handle)));
    packets.extend_from_slice(&request(17, 112, |out| packets::string(out, b"first.jpg")));
    packets.extend_from_slice(&request(4, 113, |out| packets::string(out, &handle)));
    packets.extend_from_slice(&request(3, 114, |out| open_fields(out, "first.jpg", READ)));
    client.raw(packets.freeze()).await;
    for id in 100..105 {
        assert_eq!(client.reply(id).await.code(), 0);
    }
    assert_eq!(client.reply(110).await.size(), 50_000);
    assert_eq!(client.reply(111).await.code(), 0);
    assert_eq!(client.reply(112).await.size(), 50_000);
    assert_ne!(client.reply(113).await.code(), 0, "closed already");
    let handle = client.reply(114).await.bytes();
    let read = client.read(&handle, 0, 60_000).await;
    assert_eq!(client.reply(read).await.bytes(), data);
    client.end().await;
}
