//! RMDA: what it removes, what it leaves, and how that is told.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use landfall_auth::Permissions;

use super::*;

#[test]
fn a_directory_goes_with_all_in_it() {
    let rig = Rig::granting(Grant { quota_bytes: Some(1_000), ..Grant::default() }, |_, _| {});
    let mut client = rig.client();
    for line in ["MKD in", "MKD in/a", "MKD in/a/b", "MKD in/c"] {
        client.expect(line, 257);
    }
    for name in ["in/1.jpg", "in/a/2.jpg", "in/a/b/3.jpg", "4.jpg"] {
        client.upload(&format!("STOR {name}"), b"hello");
    }
    assert_eq!(client.expect("AVBL", 213), "213 980\r\n");
    assert_eq!(client.expect("RMDA in", 250), "250 Removed, with 3 files and 4 directories in all\r\n");
    assert!(!rig.file("in").exists() && rig.file("4.jpg").exists());
    assert_eq!(client.expect("AVBL", 213), "213 995\r\n");
    client.expect("RMDA in", 550);
    client.expect("RMDA 4.jpg", 550);
    assert!(client.expect("RMDA /", 550).contains("top directory"));
    client.expect("RMDA ..", 550);
    assert!(rig.file("4.jpg").exists());
}

#[test]
fn links_go_and_not_what_they_lead_to() {
    let rig = Rig::new();
    let mut client = rig.client();
    let outside = rig.place.path().join("outside");
    let beside = rig.place.path().join("files/beside");
    for directory in [&outside, &beside, &rig.file("in/deep")] {
        std::fs::create_dir_all(directory).unwrap();
        std::fs::write(directory.join("kept.txt"), b"kept").unwrap();
    }
    std::os::unix::fs::symlink(&outside, rig.file("in/out")).unwrap();
    std::os::unix::fs::symlink("../../beside", rig.file("in/beside")).unwrap();
    std::os::unix::fs::symlink(outside.join("kept.txt"), rig.file("in/deep/kept")).unwrap();
    std::os::unix::fs::symlink("../beside", rig.file("link")).unwrap();
    // A link to a directory is none to be removed.
    client.expect("RMDA link", 550);
    client.expect("RMDA in", 250);
    assert!(!rig.file("in").exists());
    assert!(outside.join("kept.txt").exists() && beside.join("kept.txt").exists());
}

#[test]
fn what_cannot_be_named_stays_and_is_told() {
    let rig = Rig::new();
    let mut client = rig.client();
    std::fs::create_dir_all(rig.file("in/a")).unwrap();
    std::fs::create_dir_all(rig.file("in/b")).unwrap();
    std::fs::write(rig.file("in/b/x.jpg"), b"x").unwrap();
    std::fs::write(rig.file("in/a").join(OsStr::from_bytes(b"\xff.jpg")), b"an operator's").unwrap();
    assert_eq!(client.expect("RMDA in", 550), "550 1 files and 1 directories are removed; the rest could not be\r\n");
    assert!(rig.file("in/a").exists() && !rig.file("in/b").exists());
}

#[test]
fn uploads_below() {
    let rig = Rig::new();
    let mut client = rig.client();
    client.expect("MKD in", 257);
    let mut data = client.begin("STOR in/a.bin");
    data.write_all(b"half").unwrap();
    until("receiving", || rig.delivery.registry().list()[0].received_bytes == 4);
    // It could not land any more.
    assert!(rig.client().expect("RMDA in", 450).contains("under way"));
    client.expect("ABOR", 426);
    client.heard(226);
    client.expect("RMDA in", 250);
    // What was suspended below has gone with it.
    client.expect("MKD in", 257);
    client.expect("SIZE in/a.bin", 550);
}

#[test]
fn rmda_takes_the_right_to_delete() {
    let permissions = Permissions { delete: false, ..Permissions::default() };
    let rig = Rig::granting(Grant { permissions: Some(permissions), ..Grant::default() }, |_, _| {});
    let mut client = rig.client();
    client.expect("MKD in", 257);
    assert!(client.expect("RMDA in", 550).contains("may not remove"));
    assert!(rig.file("in").exists());
}

#[test]
fn abor_stops_it_and_the_rest_stands() {
    let rig = Rig::new();
    let mut client = rig.client();
    for directory in 0..20 {
        let directory = rig.file(&format!("in/{directory}"));
        std::fs::create_dir_all(&directory).unwrap();
        for file in 0..250 {
            std::fs::write(directory.join(file.to_string()), b"").unwrap();
        }
    }
    client.send(b"RMDA in\r\nABOR\r\n");
    let reply = client.heard(426);
    client.heard(226);
    assert!(reply.contains(" were removed before the stop"), "{reply}");
    assert!(rig.file("in").exists());
    assert!(client.expect("RMDA in", 250).starts_with("250 Removed, with "));
}
