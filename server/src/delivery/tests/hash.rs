//! Digests: from the receipt where the file is the one that landed, computed where it is not.

use std::io::Write;
use std::os::unix::fs::FileExt;
use std::time::UNIX_EPOCH;

use landfall_storage::Identity;

use super::*;

const BYTES: usize = 9 * 1_024 * 1_024;

async fn land(session: &Session, name: &str, byte: u8, modified: Option<SystemTime>) -> Receipt {
    let mut upload = session.upload(&path(name), Begin::Fresh, None).await.unwrap();
    let landing = tokio::task::spawn_blocking(move || {
        upload.write_at(0, &vec![byte; BYTES]).unwrap();
        if let Some(modified) = modified {
            upload.set_modified(modified);
        }
        upload.finish().unwrap()
    });
    landing.await.unwrap()
}

async fn identity(session: &Session, name: &str) -> Identity {
    session.download(&path(name)).await.unwrap().file().identity().unwrap()
}

async fn receipted(session: &Session, name: &str) -> Option<String> {
    session.receipted(&path(name), &identity(session, name).await).await.unwrap()
}

async fn hashed(session: &Session, name: &str) -> String {
    let file = session.download(&path(name)).await.unwrap();
    let whole = 0..file.size();
    session.hash(&path(name), file, Algorithm::Sha256, whole, |_| ()).await.unwrap()
}

fn sha256(bytes: &[u8]) -> String {
    digest::hex(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes).as_ref())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_as_it_landed_is_not_read_again() {
    let room = Room::new().await;
    let session = room.session("acme", Grant::default()).await;
    let old = UNIX_EPOCH + Duration::from_secs(1_600_000_000);
    let receipt = land(&session, "/a.bin", 1, Some(old)).await;
    assert_eq!(receipt.sha256, sha256(&vec![1; BYTES]));
    assert_eq!(receipted(&session, "/a.bin").await, Some(receipt.sha256.clone()));
    assert_eq!(hashed(&session, "/a.bin").await, receipt.sha256);
    // By another user's receipt, or of another name, it is not known.
    let other = room.session("beta", Grant::default()).await;
    assert_eq!(other.receipted(&path("/a.bin"), &identity(&session, "/a.bin").await).await.unwrap(), None);
    session.rename(&path("/a.bin"), &path("/b.bin"), true).await.unwrap();
    assert_eq!(receipted(&session, "/b.bin").await, None);
    assert_eq!(hashed(&session, "/b.bin").await, receipt.sha256);
    // It survives the process.
    let receipt = land(&session, "/c.bin", 2, Some(old)).await;
    drop(session);
    let room = room.restart().await;
    let session = room.session("acme", Grant::default()).await;
    assert_eq!(receipted(&session, "/c.bin").await, Some(receipt.sha256));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_was_changed_never_gets_the_old_digest() {
    let room = Room::new().await;
    let session = room.session("acme", Grant::default()).await;
    let old = UNIX_EPOCH + Duration::from_secs(1_600_000_000);
    land(&session, "/a.bin", 1, Some(old)).await;
    let landed = identity(&session, "/a.bin").await;
    // One byte in its place, and the old time put back.
    let file = std::fs::File::options().write(true).open(room.on_disk("acme/a.bin")).unwrap();
    let deadline = std::time::Instant::now() + Duration::from_secs(20);
    while identity(&session, "/a.bin").await.changed == landed.changed {
        // Times come in ticks.
        assert!(std::time::Instant::now() < deadline);
        file.write_all_at(&[9], 5).unwrap();
        file.set_modified(old).unwrap();
    }
    let now = identity(&session, "/a.bin").await;
    assert_eq!((now.size, now.inode, now.modified), (landed.size, landed.inode, landed.modified));
    assert_eq!(receipted(&session, "/a.bin").await, None);
    let mut bytes = vec![1; BYTES];
    bytes[5] = 9;
    assert_eq!(hashed(&session, "/a.bin").await, sha256(&bytes));

    // Another file of the same length and time put in its place.
    land(&session, "/b.bin", 2, Some(old)).await;
    let beside = room.on_disk("acme/beside");
    let mut other = std::fs::File::create(&beside).unwrap();
    other.write_all(&vec![3; BYTES]).unwrap();
    other.set_modified(old).unwrap();
    std::fs::rename(&beside, room.on_disk("acme/b.bin")).unwrap();
    assert_eq!(hashed(&session, "/b.bin").await, sha256(&vec![3; BYTES]));

    // A later landing of the same name has a receipt of its own.
    let receipt = land(&session, "/b.bin", 4, Some(old)).await;
    assert_eq!(receipted(&session, "/b.bin").await, Some(receipt.sha256.clone()));
    assert_eq!(receipt.sha256, sha256(&vec![4; BYTES]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_written_in_the_tick_of_its_landing_is_read_again() {
    let room = Room::new().await;
    let session = room.session("acme", Grant::default()).await;
    // As if the clock had stood still: its last write is no earlier than its rename.
    let ahead = crate::clock::now() + Duration::from_hours(1);
    let receipt = land(&session, "/a.bin", 1, Some(ahead)).await;
    assert_eq!(receipted(&session, "/a.bin").await, None);
    assert_eq!(hashed(&session, "/a.bin").await, receipt.sha256);
}

#[tokio::test(flavor = "multi_thread")]
async fn parts_and_other_algorithms_are_computed() {
    let room = Room::new().await;
    let session = room.session("acme", Grant::default()).await;
    land(&session, "/a.bin", 1, None).await;
    let part = |algorithm, part| {
        let session = &session;
        async move {
            let file = session.download(&path("/a.bin")).await.unwrap();
            session.hash(&path("/a.bin"), file, algorithm, part, |_| ()).await
        }
    };
    assert_eq!(part(Algorithm::Sha256, 3..8).await.unwrap(), sha256(&[1; 5]));
    assert_eq!(part(Algorithm::Crc32, 0..0).await.unwrap(), "00000000");
    let end = BYTES as u64;
    #[expect(clippy::reversed_empty_ranges, reason = "that is the mistake")]
    for wrong in [0..end + 1, end + 1..end + 1, 5..3] {
        assert_eq!(part(Algorithm::Md5, wrong).await.unwrap_err().reason, Reason::BadOffset);
    }
}
