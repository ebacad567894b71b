//! What a start makes of what a crash has left: suspended uploads, and their rows.

use super::*;

#[tokio::test]
async fn suspended_rows_follow_what_is_staged() {
    let room = Room::new().await;
    let session = room.session("acme", Grant::default()).await;
    cut_off(&session, "/kept.jpg", b"hel").await;
    drop(session);
    room.ledger().await;
    sqlx::query("DELETE FROM receipts").execute(room.database.pool()).await.unwrap();
    let room = room.restart().await;
    let row = room.ledger().await.pop().unwrap();
    assert_eq!((row.path.as_str(), row.status.as_str(), row.size), ("/kept.jpg", "suspended", 3));
    room.delivery.sweep(Duration::ZERO, None).await.unwrap();
    let row = room.ledger().await.pop().unwrap();
    assert_eq!((row.status.as_str(), row.reason.is_some()), ("refused", true));
    assert!(room.delivery.store.all_staged().is_empty());
}

#[tokio::test]
async fn a_suspended_row_says_what_is_held_after_a_crash_in_its_resumption() {
    let room = Room::new().await;
    let session = room.session("acme", Grant::default()).await;
    cut_off(&session, "/kept.jpg", b"hel").await;
    drop(session);
    let before = room.ledger().await.pop().unwrap();
    sqlx::query("UPDATE receipts SET size = 1").execute(room.database.pool()).await.unwrap();
    let room = room.restart().await;
    let [row] = <[Record; 1]>::try_from(room.ledger().await).unwrap();
    assert_eq!((row.id, row.status.as_str(), row.size), (before.id, "suspended", 3));
    assert_eq!(
        (row.protocol, row.client_address, row.started),
        (before.protocol, before.client_address, before.started)
    );
    assert!(row.seq > before.seq, "followers do not see it");
}

#[tokio::test]
async fn what_a_landing_has_outdated_is_removed_where_that_failed_before() {
    let room = Room::new().await;
    let session = room.session("acme", Grant::default()).await;
    cut_off(&session, "/a.jpg", b"hel").await;
    let (staging, aside) = (room.place.path().join("staging"), room.place.path().join("aside"));
    std::fs::create_dir(&aside).unwrap();
    let names: Vec<_> = std::fs::read_dir(&staging).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    for name in &names {
        std::fs::rename(staging.join(name), aside.join(name)).unwrap();
    }
    send(&session, "/a.jpg", Begin::Fresh, b"hello").await.unwrap();
    for name in &names {
        std::fs::rename(aside.join(name), staging.join(name)).unwrap();
    }
    // Moving them has made them younger than the landing.
    let later = "UPDATE receipts SET landed = landed + 60000, changed = changed + 60000";
    sqlx::query(later).execute(room.database.pool()).await.unwrap();
    drop(session);
    let room = room.restart().await;
    assert!(room.delivery.store.all_staged().is_empty());
    let [row] = <[Record; 1]>::try_from(room.ledger().await).unwrap();
    assert_eq!(row.status, "landed");
}

/// From now on the ledger's disk has no room for another page. Who fails by that gets another connection, and finds room.
async fn fill(room: &Room) {
    let database = room.database.clone();
    let filled = tokio::task::spawn_blocking(move || {
        let connection = database.writer().unwrap();
        let pages: i64 = connection.query_row("PRAGMA page_count", [], |row| row.get(0)).unwrap();
        connection.query_row(&format!("PRAGMA max_page_count = {pages}"), [], |_| Ok(())).unwrap();
        connection.keep();
    });
    filled.await.unwrap();
}

#[tokio::test]
async fn a_row_that_the_disk_has_no_room_for_is_owed() {
    let room = Room::new().await;
    let session = room.session("acme", Grant::default()).await;
    fill(&room).await;
    let names: Vec<String> = (0..60).map(|number| format!("/{number:02}.jpg")).collect();
    for name in &names {
        cut_off(&session, name, b"hel").await;
    }
    let mut told: Vec<String> = room.ledger().await.into_iter().map(|row| row.path).collect();
    told.sort_unstable();
    assert_eq!(told, names);
}

#[tokio::test]
async fn a_landing_that_the_ledger_has_no_room_for_is_refused_for_that_and_accounted_for() {
    let room = Room::new().await;
    let session = room.session("acme", Grant::default()).await;
    fill(&room).await;
    let mut sent = 0;
    let refusal = loop {
        match send(&session, &format!("/{sent:02}.jpg"), Begin::Fresh, b"hello").await {
            Ok(_) if sent < 60 => sent += 1,
            outcome => break outcome.unwrap_err(),
        }
    };
    assert_eq!((refusal.reason, refusal.sentence.contains("no space left")), (Reason::NoSpace, true), "{refusal}");
    let visible = std::fs::read_dir(room.on_disk("acme")).unwrap().count();
    let told = room.ledger().await.into_iter().filter(|row| row.status == "landed").count();
    assert_eq!(told, visible);
    send(&session, "/next.jpg", Begin::Fresh, b"hello").await.unwrap();
}
