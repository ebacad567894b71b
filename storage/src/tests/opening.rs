//! Opening the store: which staging folder is taken, what earlier runs have left, whose it is.

use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink};
use std::path::Path;

use landfall_storage::{Begin, Durability, Error, LocalStore, RESERVED_NAME, Replace, Store, UploadId};

use crate::tests::support::{Place, land, names_on_disk, path};

fn suspend(store: &LocalStore, owner: &str, at: &str, data: &[u8]) -> UploadId {
    let mut upload = store.stage(owner, &path(at), Begin::Fresh).unwrap();
    upload.write_at(0, data).unwrap();
    upload.id().clone()
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn staging_is_private_and_beside_the_root() {
    let place = Place::new();
    std::fs::create_dir(place.staging()).unwrap();
    std::fs::set_permissions(place.staging(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let store = place.open(Durability::Full);
    assert_eq!(store.staging_path(), place.staging());
    assert_eq!(mode(&place.staging()), 0o700);
    assert!(names_on_disk(&place.root()).is_empty(), "the probe left something");
    assert!(names_on_disk(&place.staging()).is_empty(), "the probe left something");
}

#[test]
fn another_mount_makes_staging_fall_back_into_the_root() {
    let place = Place::new();
    std::fs::create_dir(place.root()).unwrap();
    let memory = tempfile::tempdir_in("/dev/shm").unwrap();
    let device = |path: &Path| std::fs::metadata(path).unwrap().dev();
    let apart = device(memory.path()) != device(&place.root());
    let store = LocalStore::open(&place.root(), &memory.path().join("staging"), Durability::Full).unwrap();
    assert_eq!(store.staging_path() == place.root().join(RESERVED_NAME), apart);
    land(&store, "/a", b"x");
    assert_eq!(std::fs::read(place.root().join("a")).unwrap(), b"x");
}

#[test]
fn a_folder_that_cannot_be_made_makes_staging_fall_back_and_carry_over_later() {
    let place = Place::new();
    std::fs::write(place.staging(), b"in the way").unwrap();
    let store = place.open(Durability::Full);
    let inside = place.root().join(RESERVED_NAME);
    assert_eq!((store.staging_path(), mode(&inside)), (inside.as_path(), 0o700));
    suspend(&store, "acme", "/a", b"1234");
    drop(store);
    assert_eq!(place.open(Durability::Full).all_staged().len(), 1);

    std::fs::remove_file(place.staging()).unwrap();
    let store = place.open(Durability::Full);
    assert_eq!(store.staging_path(), place.staging());
    assert_eq!(store.staged("acme", &path("/a")).unwrap().size, 4);
    assert!(names_on_disk(&place.root()).is_empty());
}

#[test]
fn nested_folders_are_refused() {
    let place = Place::new();
    for (root, staging) in [("files", "files/staging"), ("staging/files", "staging"), ("files", "files")] {
        let base = place.outside();
        let result = LocalStore::open(&base.join(root), &base.join(staging), Durability::Full);
        assert!(matches!(result, Err(Error::Io(_))), "{root} with {staging}: {result:?}");
        std::fs::remove_dir_all(base).unwrap();
    }
}

#[test]
fn the_reserved_name_is_out_of_reach() {
    let place = Place::new();
    std::fs::write(place.staging(), b"in the way").unwrap();
    let store = place.open(Durability::Full);
    let id = suspend(&store, "acme", "/a", b"secret");
    // By another spelling, too: an operator's links.
    symlink(".", place.root().join("here")).unwrap();
    symlink(RESERVED_NAME, place.root().join("link")).unwrap();
    land(&store, "/file", b"x");
    let listed: Vec<_> = store.list(&path("/")).unwrap().map(|entry| entry.unwrap().name).collect();
    assert!(!listed.contains(&RESERVED_NAME.to_owned()), "{listed:?}");
    let bare: Vec<_> = store.names(&path("/")).unwrap().map(Result::unwrap).collect();
    assert_eq!(bare, listed);
    // It is known by its number, whatever its name has become.
    let moved = place.root().join("moved");
    std::fs::rename(place.root().join(RESERVED_NAME), &moved).unwrap();
    assert_eq!(store.list(&path("/")).unwrap().count(), listed.len());
    assert_eq!(store.names(&path("/")).unwrap().count(), listed.len());
    std::fs::rename(&moved, place.root().join(RESERVED_NAME)).unwrap();
    for folder in [format!("/{RESERVED_NAME}"), format!("/here/{RESERVED_NAME}"), "/link".to_owned()] {
        let part = path(&format!("{folder}/{id}.part"));
        let folder = path(&folder);
        assert!(matches!(store.list(&folder), Err(Error::NotFound)), "{folder}");
        assert!(matches!(store.stat(&part), Err(Error::NotFound)), "{part}");
        assert!(matches!(store.open(&part), Err(Error::NotFound)), "{part}");
        assert!(store.remove_file(&part).is_err() && store.set_mode(&part, 0o777).is_err(), "{part}");
        assert!(store.set_modified(&part, std::time::SystemTime::UNIX_EPOCH).is_err(), "{part}");
        assert!(store.rename(&part, &path("/stolen"), Replace::Yes).is_err(), "{part}");
        assert!(store.rename(&path("/file"), &part, Replace::Yes).is_err(), "{part}");
        assert!(store.stage("acme", &part, Begin::Fresh).is_err(), "{part}");
        assert!(store.create_dir_all(&folder.resolve("x").unwrap()).is_err(), "{folder}");
        if folder.as_str() != "/link" {
            assert!(matches!(store.stat(&folder), Err(Error::NotFound)), "{folder}");
            assert!(store.remove_dir(&folder).is_err() && store.remove_file(&folder).is_err(), "{folder}");
            assert!(store.rename(&folder, &path("/stolen"), Replace::Yes).is_err(), "{folder}");
            assert!(store.create_dir(&folder).is_err() && store.set_mode(&folder, 0o777).is_err(), "{folder}");
            assert!(store.stage("acme", &folder, Begin::Fresh).is_err(), "{folder}");
        }
    }
    assert_eq!(mode(&place.root().join(RESERVED_NAME)), 0o700);
    assert_eq!(store.staged("acme", &path("/a")).unwrap().size, 6);
}

#[test]
fn the_reserved_name_is_reserved_when_unused_too() {
    let place = Place::new();
    let store = place.open(Durability::Full);
    std::fs::create_dir(place.root().join(RESERVED_NAME)).unwrap();
    let reserved = path(&format!("/{RESERVED_NAME}"));
    assert!(matches!(store.stat(&reserved), Err(Error::NotFound)));
    assert!(matches!(store.create_dir(&reserved), Err(Error::Path(_))));
    assert_eq!(store.list(&path("/")).unwrap().count() + store.names(&path("/")).unwrap().count(), 0);
    // Deeper down it is a name like any other.
    store.create_dir_all(&path(&format!("/d/{RESERVED_NAME}"))).unwrap();
    assert_eq!(store.list(&path("/d")).unwrap().count(), 1);
}

#[test]
fn a_crash_s_leftovers_go_and_foreign_names_stay() {
    let place = Place::new();
    let store = place.open(Durability::Full);
    let older = suspend(&store, "acme", "/twice", b"older");
    drop(store);
    let staging = place.staging();
    let file = |name: String| std::fs::write(staging.join(name), b"123").unwrap();
    let link = |text: &str, name: String| symlink(text, staging.join(name)).unwrap();
    let fresh = UploadId::fresh;
    file(format!("{}.part", fresh()));
    link("acme\n/orphan", format!("{}.meta", fresh()));
    link("acme\n/orphan", format!("{}.new", fresh()));
    for text in ["no line feed", "acme\n/a\u{1}b", "\n/no-owner", "a/b\n/owner", "acme\n"] {
        let id = fresh();
        file(format!("{id}.part"));
        link(text, format!("{id}.meta"));
    }
    let empty = fresh();
    std::fs::write(staging.join(format!("{empty}.part")), b"").unwrap();
    link("acme\n/empty", format!("{empty}.meta"));
    std::thread::sleep(std::time::Duration::from_millis(20));
    let newer = fresh();
    file(format!("{newer}.part"));
    link("acme\n/twice", format!("{newer}.meta"));
    std::fs::write(staging.join("README"), b"an operator's").unwrap();

    let store = place.open(Durability::Full);
    let staged = store.all_staged();
    assert_eq!(staged.len(), 1, "{staged:?}");
    assert_eq!((&staged[0].id, staged[0].path.as_str(), staged[0].size), (&newer, "/twice", 3));
    assert_ne!(older, newer);
    let left = [format!("{newer}.meta"), format!("{newer}.part"), "README".to_owned()];
    assert_eq!(names_on_disk(&staging), left.into());
}

#[test]
fn a_file_that_has_landed_by_a_second_name_is_not_resumed() {
    let place = Place::new();
    let store = place.open(Durability::Full);
    let id = suspend(&store, "acme", "/a", b"landed");
    drop(store);
    std::fs::hard_link(place.staging().join(format!("{id}.part")), place.root().join("a")).unwrap();
    let store = place.open(Durability::Full);
    assert!(store.all_staged().is_empty());
    assert!(names_on_disk(&place.staging()).is_empty());
    assert_eq!(std::fs::read(place.root().join("a")).unwrap(), b"landed");
}

#[test]
fn zeros_that_a_power_cut_has_left_are_not_resumed() {
    const BLOCK: u64 = 1 << 20;
    let place = Place::new();
    let store = place.open(Durability::Full);
    let id = suspend(&store, "acme", "/a", &vec![1; usize::try_from(BLOCK).unwrap()]);
    drop(store);
    let file = std::fs::File::options().write(true).open(place.staging().join(format!("{id}.part"))).unwrap();
    file.write_at(b"bytes that were sent after the hole", 3 * BLOCK).unwrap();
    let store = place.open(Durability::Full);
    assert_eq!(store.staged("acme", &path("/a")).unwrap().size, BLOCK);
}

/// Nothing that its owner has sent: resumed and landed, it would be the same file a second time.
#[test]
fn a_mere_copy_is_not_there_after_a_kill() {
    for written in [false, true] {
        let place = Place::new();
        let store = place.open(Durability::Process);
        land(&store, "/a", b"landed");
        let mut upload = store.stage("acme", &path("/a"), Begin::Append).unwrap();
        if written {
            upload.write_at(6, b" more").unwrap();
        }
        // As a kill leaves it.
        std::mem::forget(upload);
        let store = place.open(Durability::Process);
        assert_eq!(store.staged("acme", &path("/a")).map(|staged| staged.size), written.then_some(11));
        assert_eq!(names_on_disk(&place.staging()).len(), if written { 2 } else { 0 });
    }
}
