//! Each change of the ledger is one event, written with it.

use super::*;
use crate::outbox::Event;
use crate::outbox::rows::{self, Filter as EventFilter};

impl Room {
    async fn events(&self) -> Vec<Event> {
        self.delivery.ledger.flush().await;
        rows::query(self.database.pool(), &EventFilter::default()).await.unwrap()
    }
}

async fn intend(room: &Room, intent: Intent) {
    let ledger = room.delivery.ledger.clone();
    tokio::task::spawn_blocking(move || ledger.intend(intent).wait().unwrap()).await.unwrap();
}

fn kinds(events: &[Event]) -> Vec<&str> {
    events.iter().map(|event| event.kind.rsplit('.').next().unwrap()).collect()
}

#[tokio::test]
async fn a_landing_is_one_event_that_says_what_the_receipt_says() {
    let room = Room::new().await;
    let session = room.session("acme", Grant::default()).await;
    let receipt = send(&session, "/a b.jpg", Begin::Fresh, b"hello").await.unwrap();
    let [event] = <[Event; 1]>::try_from(room.events().await).unwrap();
    assert_eq!(event.id, format!("{}-landed", receipt.id));
    assert_eq!((event.user.as_str(), event.subject.as_deref()), ("acme", Some("/a b.jpg")));
    let [row] = <[Record; 1]>::try_from(room.ledger().await).unwrap();
    let data = event.envelope("here")["data"].clone();
    assert_eq!(
        data,
        serde_json::json!({
            "receipt": row.id, "user": "acme", "path": "/a b.jpg", "size": 5, "sha256": HELLO, "protocol": "sftp",
            "client_address": "192.0.2.1", "started": row.started.replace("+00:00", "Z"),
            "landed": row.landed.clone().unwrap(), "status": "landed",
        })
    );
    assert_eq!(Some(event.time), row.landed);
}

#[tokio::test]
async fn cut_off_twice_and_landed_are_three_events_of_one_upload() {
    let room = Room::new().await;
    let session = room.session("acme", Grant::default()).await;
    cut_off(&session, "/a.jpg", b"he").await;
    let mut upload = session.upload(&path("/a.jpg"), Begin::Append, None).await.unwrap();
    tokio::task::spawn_blocking(move || upload.write_at(2, b"ll").map(drop).unwrap()).await.unwrap();
    let receipt = send(&session, "/a.jpg", Begin::Append, b"o").await.unwrap();
    let events = room.events().await;
    assert_eq!(kinds(&events), ["suspended", "suspended", "landed"]);
    assert!(events.iter().all(|event| event.id.starts_with(&receipt.id)), "{events:?}");
    assert_ne!(events[0].id, events[1].id);
    assert!(events[0].data.contains("cut off before its end"), "{}", events[0].data);
}

#[tokio::test]
async fn a_refusal_is_told_with_its_sentence() {
    let room = Room::new().await;
    let grant = Grant { max_file_bytes: Some(3), ..Grant::default() };
    let session = room.session("acme", grant).await;
    let refusal = send(&session, "/a.jpg", Begin::Fresh, b"hello").await.unwrap_err();
    let [event] = <[Event; 1]>::try_from(room.events().await).unwrap();
    assert_eq!(event.kind, "landfall.upload.refused");
    assert_eq!(event.envelope("x")["data"]["reason"], refusal.to_string());
}

#[tokio::test]
async fn a_landing_settled_at_the_start_has_its_event_and_no_second_one() {
    let room = Room::new().await;
    let session = room.session("acme", Grant::default()).await;
    std::fs::write(room.on_disk("acme/a.jpg"), b"hello").unwrap();
    let intent = Intent {
        id: UploadId::fresh().to_string(),
        user: "acme".to_owned(),
        path: "/a.jpg".to_owned(),
        store_path: "/acme/a.jpg".to_owned(),
        size: 5,
        sha256: HELLO.to_owned(),
        protocol: "ftp".to_owned(),
        client_address: "192.0.2.1".to_owned(),
        started: crate::clock::now(),
    };
    intend(&room, intent.clone()).await;
    drop(session);
    let room = room.restart().await;
    let first = room.events().await;
    assert_eq!(kinds(&first), ["landed"]);
    // The same again, as if the receipt's transaction had been lost but for the event's.
    intend(&room, intent).await;
    let room = room.restart().await;
    assert_eq!(room.events().await, first);
}

#[tokio::test]
async fn a_temporary_name_is_told_at_its_end_only() {
    let room = Room::new().await;
    let names = vec!["*.part".to_owned()];
    room.delivery.set_temporary_names(TemporaryNames::new(names));
    let session = room.session("acme", Grant::default()).await;
    send(&session, "/a.jpg.part", Begin::Fresh, b"hello").await.unwrap();
    assert_eq!(room.events().await, []);
    session.rename(&path("/a.jpg.part"), &path("/a.jpg"), true).await.unwrap();
    let events = room.events().await;
    assert_eq!((kinds(&events), events[0].subject.as_deref()), (vec!["landed"], Some("/a.jpg")));
}
