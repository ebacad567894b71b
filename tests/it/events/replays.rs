//! Events once more, events that are set aside, and the ends of batches.

use super::*;

#[test]
fn a_replay_tells_the_same_events_again_also_after_a_time_without_a_server() {
    let receiver = Receiver::willing();
    let mut server = start(Server::builder().tables(&hook(&receiver, "")));
    land(&server, 6);
    expect_all(&server, &receiver);
    // So that all of it is written down as told.
    server.stop();
    server.start_again();
    let before = receiver.deliveries().len();
    let outcome = server.cli(&["events", "replay", "--since", "1h", "--user", "acme"]).ok();
    assert!(outcome.stdout.contains("shop: 3 events of 1 supplier"), "{outcome:?}");
    wait_until("acme's once more", || (receiver.deliveries().len() == before + 3).then_some(()));
    wait_for_log(&server, "replay done");
    server.stop();
    server.cli(&["events", "replay", "--since", "1h", "--sink", "shop", "--json"]).ok();
    server.start_again();
    wait_until("all once more", || (receiver.deliveries().len() == before + 9).then_some(()));
    let all = events(&server);
    let again: Vec<Value> = receiver.deliveries().into_iter().skip(before + 3).map(|one| one.event).collect();
    for user in USERS {
        assert_eq!(of_user(&again, user), of_user(&all, user), "{user}");
    }
    assert_eq!(server.cli(&["events", "replay"]).status.code(), Some(2));
    assert_eq!(server.cli(&["events", "replay", "--since", "1h", "--sink", "other"]).status.code(), Some(1));
}

#[test]
fn what_was_swept_is_told_from_the_ledger() {
    let receiver = Receiver::willing();
    let mut server = start(
        Server::builder()
            .set("events.retention", "\"2s\"")
            .set("events.batch_quiet", "\"0s\"")
            .tables(&hook(&receiver, "")),
    );
    land(&server, 4);
    expect_all(&server, &receiver);
    let told = receiver.deliveries();
    wait_until("the events to be old", || {
        lines(&server.cli(&["events", "list", "--json", "--since", "3s"]).ok().stdout).is_empty().then_some(())
    });
    // Sweeping is an hourly matter, and one of each start.
    server.stop();
    server.start_again();
    wait_for_log(&server, "old events removed");
    assert_eq!(events(&server).len(), 0);
    server.cli(&["events", "replay", "--since", "1h"]).ok();
    wait_until("all once more", || (receiver.deliveries().len() == told.len() + 4).then_some(()));
    let again: Vec<Value> = receiver.deliveries().into_iter().skip(told.len()).map(|one| one.event).collect();
    for user in USERS {
        let before: Vec<Value> = told.iter().map(|one| one.event.clone()).collect();
        assert_eq!(of_user(&again, user), of_user(&before, user), "{user}");
    }
}

#[test]
fn what_is_not_taken_is_parked_and_those_behind_it_go_on() {
    let receiver = Receiver::start(|event| Some(if event["subject"] == "/2.jpg" { 422 } else { 200 }));
    let server = start(Server::builder().tables(&hook(&receiver, "park_after = \"2s\"")));
    land(&server, 6);
    wait_until("the ones behind it", || (of_user(&receiver.taken(), "acme").len() == 2).then_some(()));
    wait_for_log(&server, "event parked");
    let parked = || lines(&server.cli(&["events", "list", "--parked", "--sink", "shop", "--json"]).ok().stdout);
    wait_until("it to be listed", || (parked().len() == 1).then_some(()));
    let one = parked().remove(0);
    assert_eq!((one["sink"].as_str(), one["event"]["subject"].as_str()), (Some("shop"), Some("/2.jpg")));
    assert!(
        one["error"].as_str().unwrap().contains("status 422: as told") && one["attempts"].as_u64() >= Some(2),
        "{one}"
    );
    assert!(server.cli(&["events", "list", "--parked"]).ok().stdout.contains("status 422"));

    receiver.answer(|_| Some(200));
    let outcome = server.cli(&["events", "replay", "--parked"]).ok();
    assert!(outcome.stdout.contains("shop: 1 event of 1 supplier"), "{outcome:?}");
    wait_until("it to be taken", || parked().is_empty().then_some(()));
    let taken = receiver.taken();
    let (mut subjects, all): (Vec<_>, _) = (of_user(&taken, "acme"), of_user(&events(&server), "acme"));
    subjects.sort_by_key(|event| event["subject"].as_str().unwrap().to_owned());
    assert_eq!(ids(&subjects), ids(&all));
}

#[test]
fn a_quiet_supplier_ends_its_batch_also_after_a_kill() {
    let receiver = Receiver::willing();
    let more = "types = [\"landfall.batch.quiet\"]";
    let mut server = start(Server::builder().set("events.batch_quiet", "\"1s\"").tables(&hook(&receiver, more)));
    // What acme's batches list, and what they count: on a slow machine there are more of them.
    let listed = |receiver: &Receiver| {
        let batches = of_user(&receiver.taken(), "acme");
        let files = batches.iter().flat_map(|batch| batch["data"]["files"].as_array().unwrap().clone());
        let paths: Vec<String> = files.map(|file| file["path"].as_str().unwrap().to_owned()).collect();
        let count: u64 = batches.iter().map(|batch| batch["data"]["count"].as_u64().unwrap()).sum();
        let bytes: u64 = batches.iter().map(|batch| batch["data"]["bytes"].as_u64().unwrap()).sum();
        assert!(batches.iter().all(|batch| batch["data"]["count"] != 0 && batch["data"]["truncated"] == false));
        (paths, count, bytes)
    };
    land(&server, 5);
    wait_until("three files in batches", || (listed(&receiver).1 == 3).then_some(()));
    assert_eq!(listed(&receiver), (["/0.jpg", "/2.jpg", "/4.jpg"].map(str::to_owned).into(), 3, 21));
    ftp(&server, "acme").upload("STOR killed.jpg", b"hello").expect(226);
    server.kill();
    server.start_again();
    wait_until("the fourth", || (listed(&receiver).1 == 4).then_some(()));
    // Nothing has landed since: no batch of nothing, and none twice.
    server.stop();
    server.start_again();
    ftp(&server, "acme").upload("STOR last.jpg", b"hello").expect(226);
    wait_until("the last one", || (listed(&receiver).1 == 5).then_some(()));
    assert_eq!(listed(&receiver).0.last().map(String::as_str), Some("/last.jpg"));
}
