//! Cuts of landed files: in place of that very file, or not at all.

use super::*;

/// A landed file of 40,000,000 bytes, and what it takes to see that it is untouched.
async fn large(room: &Room, session: &Session) -> u64 {
    send(session, "/a", Begin::Fresh, b"hello").await.unwrap();
    std::fs::File::options().write(true).open(room.on_disk("acme/a")).unwrap().set_len(40_000_000).unwrap();
    session.stat(&path("/a")).await.unwrap().inode
}

#[tokio::test]
async fn no_more_is_copied_than_is_left() {
    let room = Room::new().await;
    let session = room.session("acme", Grant::default()).await;
    large(&room, &session).await;
    let copied = Arc::new(Mutex::new(0));
    let heard = copied.clone();
    let step: Step = Arc::new(move |bytes| {
        *heard.lock().unwrap() += bytes;
        true
    });
    let receipt = session.cut(&path("/a"), 4, &step).await.unwrap();
    assert_eq!((receipt.path.as_str(), receipt.size), ("/a", 4));
    assert_eq!(std::fs::read(room.on_disk("acme/a")).unwrap(), b"hell");
    assert_eq!(*copied.lock().unwrap(), 4);
}

#[tokio::test]
async fn a_cut_that_nobody_waits_for_is_given_up() {
    let room = Room::new().await;
    let session = room.session("acme", Grant { quota_bytes: Some(80_000_000), ..Grant::default() }).await;
    let inode = large(&room, &session).await;
    let before = room.ledger().await.len();
    let stopped: Step = Arc::new(|_| false);
    assert_eq!(session.cut(&path("/a"), 30_000_000, &stopped).await.unwrap_err().reason, Reason::Incomplete);
    // Nothing of it is suspended: its owner would be shown the part.
    let stat = session.stat(&path("/a")).await.unwrap();
    assert_eq!((stat.size, stat.inode), (40_000_000, inode));
    assert!(room.delivery.store.all_staged().is_empty());
    assert_eq!(room.ledger().await.len(), before);
}

#[tokio::test]
async fn a_cut_replaces_the_file_that_it_is_of_and_no_other() {
    let room = Room::new().await;
    let session = room.session("acme", Grant::default()).await;
    large(&room, &session).await;
    let (other, name) = (room.on_disk("acme/b"), room.on_disk("acme/a"));
    let step: Step =
        Arc::new(move |_| std::fs::write(&other, b"another").is_ok() && std::fs::rename(&other, &name).is_ok());
    let refused = session.cut(&path("/a"), 4, &step).await.unwrap_err();
    assert_eq!((refused.reason, refused.sentence.contains("another file")), (Reason::Busy, true));
    assert_eq!(std::fs::read(room.on_disk("acme/a")).unwrap(), b"another");
    assert!(room.delivery.store.all_staged().is_empty());
}

#[tokio::test]
async fn where_files_are_not_replaced_none_is_cut() {
    for (overwrite, may) in [(Overwrite::Version, true), (Overwrite::Reject, true), (Overwrite::Replace, false)] {
        let room = Room::new().await;
        let permissions = Some(Permissions { overwrite: may, ..Permissions::default() });
        let session = room.session("acme", Grant { overwrite: Some(overwrite), permissions, ..Grant::default() }).await;
        let step: Step = Arc::new(|_| true);
        send(&session, "/a", Begin::Fresh, b"hello").await.unwrap();
        let refused = session.cut(&path("/a"), 4, &step).await.unwrap_err();
        let expected = if may { Reason::AlreadyExists } else { Reason::Permission };
        assert_eq!(refused.reason, expected, "{overwrite:?}: {refused}");
        assert_eq!(std::fs::read(room.on_disk("acme/a")).unwrap(), b"hello");
        assert!(!room.on_disk("acme/a~2").exists());
        // A temporary name is the client's own.
        send(&session, "/b.part", Begin::Fresh, b"hello").await.unwrap();
        session.cut(&path("/b.part"), 4, &step).await.unwrap();
        assert_eq!(std::fs::read(room.on_disk("acme/b.part")).unwrap(), b"hell");
    }
}

/// Its removal may take long, and says nothing about anything that is suspended.
#[tokio::test]
async fn a_mere_copy_goes_while_others_are_suspended() {
    let room = Room::new().await;
    let session = room.session("acme", Grant::default()).await;
    send(&session, "/a", Begin::Fresh, b"hello").await.unwrap();
    let upload = session.upload(&path("/a"), Begin::Append, None).await.unwrap();
    let suspending = room.delivery.suspending.lock().unwrap();
    let (gone, is_gone) = std::sync::mpsc::sync_channel(1);
    std::thread::spawn(move || {
        drop(upload);
        gone.send(()).unwrap();
    });
    is_gone.recv_timeout(Duration::from_secs(20)).unwrap();
    drop(suspending);
    assert!(room.delivery.store.all_staged().is_empty());
}
