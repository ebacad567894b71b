//! Decisions as tables: what is granted, what is so, and what follows.

use landfall_auth::{ContentCheck, ContentType, Grant, Overwrite, Permissions};
use landfall_storage::{Replace, VirtualPath};

use super::*;
use crate::inspect::Findings;

fn path(text: &str) -> VirtualPath {
    VirtualPath::parse(text).unwrap()
}

fn grant(overwrite: Overwrite, may: bool) -> Grant {
    Grant {
        overwrite: Some(overwrite),
        permissions: Some(Permissions { overwrite: may, ..Permissions::default() }),
        ..Grant::default()
    }
}

#[test]
fn placements() {
    use Overwrite::{Reject, Replace as Over, Version};
    let yes = Some(Placement::Exact(Replace::Yes));
    let no = Some(Placement::Exact(Replace::No));
    for (policy, may, occupied, expected) in [
        (Over, true, true, yes),
        (Over, true, false, yes),
        (Over, false, false, no),
        (Over, false, true, None),
        (Reject, true, false, no),
        (Reject, true, true, None),
        (Reject, false, true, None),
        (Version, true, true, Some(Placement::Versioned)),
        (Version, false, true, Some(Placement::Versioned)),
    ] {
        let placed = placement(&grant(policy, may), &path("/a"), occupied).ok();
        assert_eq!(placed, expected, "{policy:?} {may} {occupied}");
    }
}

#[test]
fn verbs_follow_their_permission() {
    use Verb::{Delete, List, MakeDir, Read, Rename, Write};
    let none = Permissions::NONE;
    for (one, permissions) in [
        (List, Permissions { list: true, ..none }),
        (Read, Permissions { read: true, ..none }),
        (Write, Permissions { write: true, ..none }),
        (Delete, Permissions { delete: true, ..none }),
        (Rename, Permissions { rename: true, ..none }),
        (MakeDir, Permissions { mkdir: true, ..none }),
    ] {
        let grant = Grant { permissions: Some(permissions), ..Grant::default() };
        for other in [List, Read, Write, Delete, Rename, MakeDir] {
            assert_eq!(verb(&grant, &path("/a"), other).is_ok(), one == other, "{one:?} {other:?}");
        }
    }
}

#[test]
fn the_longest_path_decides() {
    let dropbox = Permissions { write: true, ..Permissions::NONE };
    let reading = Permissions { list: true, read: true, ..Permissions::NONE };
    let paths = [("/in", dropbox), ("/in/seen", reading), ("/out", reading)];
    let grant = Grant {
        permissions: Some(Permissions::NONE),
        path_permissions: Some(paths.map(|(path, verbs)| (path.to_owned(), verbs)).into()),
        ..Grant::default()
    };
    for (place, asked, may) in [
        ("/", Verb::List, false),
        ("/a.jpg", Verb::Write, false),
        ("/in", Verb::List, false),
        ("/in/a.jpg", Verb::Write, true),
        ("/in/deep/er/a.jpg", Verb::Write, true),
        ("/in/a.jpg", Verb::Read, false),
        ("/in/seen/a.jpg", Verb::Write, false),
        ("/in/seen", Verb::List, true),
        // Not below it: only its name begins so.
        ("/inner/a.jpg", Verb::Write, false),
        ("/out/a.jpg", Verb::Read, true),
    ] {
        assert_eq!(verb(&grant, &path(place), asked).is_ok(), may, "{place} {asked:?}");
    }
    // A directory goes with all that is in it, so the paths in it are asked as well.
    let all = Grant { permissions: Some(Permissions::default()), ..grant };
    assert!(verb_below(&all, &path("/free"), Verb::Rename).is_ok());
    assert!(verb_below(&all, &path("/"), Verb::Delete).is_err());
    assert!(verb_below(&all, &path("/out"), Verb::Delete).is_err());
}

/// A grant of one rule.
fn ruled(rule: impl FnOnce(&mut Grant)) -> Grant {
    let mut grant = Grant::default();
    rule(&mut grant);
    grant
}

fn jpeg(pixels: Option<(u32, u32)>) -> Findings {
    Findings { kind: Some(ContentType::Jpeg), pixels, fault: None }
}

#[test]
fn rules_and_what_they_say() {
    let images = || ruled(|grant| grant.allowed_types = Some(vec![ContentType::Jpeg, ContentType::Png]));
    let only = || ruled(|grant| grant.allowed_types = Some(vec![ContentType::Csv]));
    let sku = || ruled(|grant| grant.file_name_pattern = Some(r"[0-9]{4}\.jpg".parse().unwrap()));
    let small = || ruled(|grant| grant.max_file_bytes = Some(10));
    let least = || ruled(|grant| grant.min_pixels = Some("800x600".parse().unwrap()));
    let most = || ruled(|grant| grant.max_pixels = Some("800x600".parse().unwrap()));
    let (text, unknown) = (Findings { kind: Some(ContentType::Csv), ..Findings::default() }, Findings::default());
    for (grant, name, size, content, says) in [
        (Grant::default(), "/a", 11, &unknown, None),
        (small(), "/a", 10, &unknown, None),
        (small(), "/a", 11, &unknown, Some("larger than the 10 bytes that this account may send; send a smaller one")),
        (sku(), "/in/1234.jpg", 1, &unknown, None),
        (sku(), "/1234.jpg/a.jpg", 1, &unknown, Some(r"not of the form [0-9]{4}\.jpg")),
        (images(), "/a", 1, &jpeg(None), None),
        (images(), "/a", 1, &text, Some("its content is CSV, and this account may send JPEG or PNG; convert it")),
        (images(), "/a", 1, &unknown, Some("its content is not JPEG or PNG, which is what this account may send")),
        (only(), "/a", 1, &text, None),
        (only(), "/a", 1, &jpeg(None), Some("its content is JPEG, and this account may send CSV; convert it")),
        (least(), "/a", 1, &jpeg(Some((800, 600))), None),
        (least(), "/a", 1, &jpeg(Some((799, 900))), Some("it has 799x900 pixels, and 800x600 are the least; send")),
        (least(), "/a", 1, &jpeg(None), Some("its size in pixels cannot be told")),
        (least(), "/a", 1, &text, None),
        (most(), "/a", 1, &jpeg(Some((800, 600))), None),
        (most(), "/a", 1, &jpeg(Some((800, 601))), Some("it has 800x601 pixels, and 800x600 are the most; send")),
        (most(), "/a", 1, &unknown, None),
    ] {
        let path = path(name);
        let facts = Facts { path: Some(&path), size, expected_bytes: None, content: Some(content) };
        let refusal = landing(&grant, facts).err();
        let met = match (&refusal, says) {
            (None, None) => true,
            (Some(refusal), Some(says)) => refusal.reason == Reason::Rule && refusal.sentence.contains(says),
            _ => false,
        };
        assert!(met, "{name} {size} {content:?}: {refusal:?} instead of {says:?}");
        // What is tried says the same.
        let tried = trial(&grant, &path, facts).into_iter().find_map(|(_, verdict)| verdict.err());
        assert_eq!(tried, refusal);
    }
}

#[test]
fn announced_sizes_and_temporary_names() {
    let grant = ruled(|grant| {
        grant.max_file_bytes = Some(10);
        grant.file_name_pattern = Some("never".parse().unwrap());
    });
    let asked = |size, expected_bytes| {
        landing(&grant, Facts { path: None, size, expected_bytes, content: None }).err().map(|refusal| refusal.reason)
    };
    assert_eq!(asked(5, None), None);
    assert_eq!(asked(5, Some(5)), None);
    assert_eq!(asked(5, Some(6)), Some(Reason::Incomplete));
    let begun = |temporary, bytes| begin(&grant, &path("/a.part"), temporary, None, bytes).err().map(|no| no.reason);
    assert_eq!(begun(true, None), None);
    assert_eq!(begun(false, None), Some(Reason::Rule));
    assert_eq!(begun(true, Some(11)), Some(Reason::Rule));
}

#[test]
fn the_content_is_looked_at_only_as_closely_as_rules_ask() {
    let depth = |rule: fn(&mut Grant)| inspection(&ruled(rule));
    assert_eq!(depth(|_| {}), None);
    assert_eq!(depth(|grant| grant.allowed_types = Some(Vec::new())), None);
    assert_eq!(depth(|grant| grant.allowed_types = Some(vec![ContentType::Pdf])), Some(Depth::Type));
    assert_eq!(depth(|grant| grant.max_pixels = Some("1x1".parse().unwrap())), Some(Depth::Type));
    assert_eq!(depth(|grant| grant.content_check = Some(ContentCheck::Structure)), Some(Depth::Structure));
    assert_eq!(depth(|grant| grant.content_check = Some(ContentCheck::Decode)), Some(Depth::Decode));
}

#[test]
fn versions() {
    assert_eq!(version_name("photo.jpg", 2).as_deref(), Some("photo~2.jpg"));
    assert_eq!(version_name("archive.tar.gz", 3).as_deref(), Some("archive.tar~3.gz"));
    assert_eq!(version_name(".hidden", 2).as_deref(), Some(".hidden~2"));
    assert_eq!(version_name("plain", 10).as_deref(), Some("plain~10"));
    assert_eq!(version_name(&"x".repeat(255), 2), None);
}
