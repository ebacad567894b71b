//! Adding and changing users, keys and groups, and what then holds.

use std::time::Duration;

use landfall_auth::{Change, Error, Grant, Group, Kind, NewUser, Overwrite, Permissions, Secret};

use crate::tests::world::{KEY, OTHER_KEY, Outcome, World, named, password, today};

#[tokio::test]
async fn all_fields_come_back() -> Outcome {
    let world = World::new().await?;
    world.users.add_group(&Group { name: "shops".into(), grant: Grant::default() }).await?;
    let grant = Grant {
        permissions: Some(Permissions { delete: false, ..Permissions::default() }),
        overwrite: Some(Overwrite::Version),
        quota_bytes: Some(u64::MAX),
        networks: Some(vec!["192.0.2.0/24".parse()?]),
        ..Grant::default()
    };
    let added = world
        .users
        .add(NewUser {
            home: Some("/in/acme".into()),
            email: Some("ann@acme.example".into()),
            password: Some(Secret::from("pw")),
            keys: vec![KEY.into(), OTHER_KEY.into()],
            grant: grant.clone(),
            groups: vec!["shops".into()],
            expires: Some(today() + Duration::from_mins(1)),
            disabled: true,
            ..named("acme")
        })
        .await?;
    assert_eq!(added, world.users.get("acme").await?);
    assert_eq!(added, world.users.list().await?.remove(0));
    assert_eq!((added.home.as_str(), added.email.as_deref()), ("/in/acme", Some("ann@acme.example")));
    assert_eq!((added.disabled, added.expires), (true, Some(today() + Duration::from_mins(1))));
    assert_eq!((added.groups.join(","), added.has_password, added.key_count), ("shops".to_owned(), true, 2));
    assert_eq!(added.grant, grant);
    Ok(())
}

#[tokio::test]
async fn a_change_touches_only_what_it_names() -> Outcome {
    let world = World::new().await?;
    world.users.add(NewUser { email: Some("a@b.example".into()), ..named("acme") }).await?;
    world.users.set_password("acme", Some(&Secret::from("pw"))).await?;
    let changed = world.users.update("acme", Change { home: Some("/new".into()), ..Change::default() }).await?;
    assert_eq!(
        (changed.home.as_str(), changed.email.as_deref(), changed.has_password),
        ("/new", Some("a@b.example"), true)
    );
    let changed = world.users.update("acme", Change { email: Some(None), ..Change::default() }).await?;
    assert_eq!((changed.home.as_str(), changed.email), ("/new", None));
    assert!(world.users.disable("acme").await?.disabled);
    assert!(!world.users.enable("acme").await?.disabled);
    world.login.attempt(password("acme", "pw")).await?;
    world.users.set_password("acme", None).await?;
    assert!(!world.users.get("acme").await?.has_password);
    assert!(world.login.attempt(password("acme", "pw")).await.is_err());
    assert!(world.login.attempt(password("acme", "")).await.is_err());
    Ok(())
}

#[tokio::test]
async fn what_cannot_be_is_refused_whole() -> Outcome {
    let world = World::new().await?;
    let cases = [
        named("../x"),
        NewUser { home: Some("relative".into()), ..named("a") },
        NewUser { email: Some("nobody".into()), ..named("b") },
        NewUser { password: Some(Secret::from("")), ..named("c") },
        NewUser { password: Some(Secret::new("x".repeat(1025))), ..named("d") },
        NewUser { password: Some(Secret::from("x")), password_hash: Some("$6$x".into()), ..named("e") },
        NewUser { password_hash: Some("plain".into()), ..named("f") },
        NewUser { keys: vec!["ssh-dss AAAA".into()], ..named("g") },
        NewUser { groups: vec!["missing".into()], ..named("h") },
        NewUser { keys: vec![KEY.into(); 101], ..named("i") },
    ];
    for case in cases {
        let name = case.name.clone();
        assert!(world.users.add(case).await.is_err(), "{name}");
    }
    assert!(world.users.list().await?.is_empty());
    Ok(())
}

#[tokio::test]
async fn names_that_differ_in_case_are_one_name() -> Outcome {
    let world = World::new().await?;
    world.users.add(named("Acme")).await?;
    for name in ["Acme", "acme", "ACME"] {
        match world.users.add(named(name)).await {
            Err(Error::AlreadyExists { kind: Kind::User, name }) => assert_eq!(name, "Acme"),
            other => panic!("{other:?}"),
        }
    }
    assert!(world.users.find("acme").await?.is_none(), "but only the exact name finds it");
    Ok(())
}

#[tokio::test]
async fn a_number_is_never_used_again() -> Outcome {
    let world = World::new().await?;
    let first = world.users.add(named("acme")).await?.id;
    world.users.remove("acme").await?;
    assert!(world.users.add(named("acme")).await?.id > first);
    assert!(matches!(world.users.remove("nobody").await, Err(Error::NotFound { kind: Kind::User, .. })));
    Ok(())
}

#[tokio::test]
async fn keys_come_and_go_by_fingerprint_or_comment() -> Outcome {
    let world = World::new().await?;
    world.users.add(named("acme")).await?;
    let key = world.users.add_key("acme", KEY).await?;
    assert_eq!(key.fingerprint(), "SHA256:FzzFV4i06ba/lvtAUxFNJai1fk5Ie6FikRYjAgXLuGI");
    let again = KEY.replace("ann@example", "another comment");
    assert!(matches!(world.users.add_key("acme", &again).await, Err(Error::AlreadyExists { kind: Kind::Key, .. })));
    world.users.add_key("acme", &OTHER_KEY.replace(" bob", " ann@example")).await?;
    assert!(matches!(world.users.remove_key("acme", "ann@example").await, Err(Error::Ambiguous { .. })));
    world.users.add(NewUser { keys: vec![KEY.replace(" ann@example", "")], ..named("plain") }).await?;
    assert!(matches!(world.users.remove_key("plain", "").await, Err(Error::NotFound { .. })), "nothing names nothing");
    world.users.remove_key("acme", key.fingerprint()).await?;
    world.users.remove_key("acme", "ann@example").await?;
    assert!(world.users.list_keys("acme").await?.is_empty());
    Ok(())
}

#[tokio::test]
async fn own_value_then_first_group_then_default() -> Outcome {
    let world = World::new().await?;
    let grant = |sessions, bytes, files| Grant {
        max_sessions: sessions,
        quota_bytes: bytes,
        quota_files: files,
        ..Grant::default()
    };
    world.users.set_defaults(Grant { max_file_bytes: Some(4), ..grant(Some(4), Some(4), Some(4)) });
    world.users.add_group(&Group { name: "one".into(), grant: grant(Some(2), None, None) }).await?;
    world.users.add_group(&Group { name: "two".into(), grant: grant(Some(3), Some(3), None) }).await?;
    let groups = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    world.users.add(NewUser { groups: groups(&["one", "two"]), ..named("acme") }).await?;
    let holds = |grant: &Grant| (grant.max_sessions, grant.quota_bytes, grant.quota_files, grant.max_file_bytes);
    assert_eq!(holds(&world.users.get("acme").await?.effective), (Some(2), Some(3), Some(4), Some(4)));

    let change = Change { groups: Some(groups(&["two", "one"])), ..Change::default() };
    assert_eq!(world.users.update("acme", change).await?.effective.max_sessions, Some(3));
    let change = Change { grant: Some(grant(Some(1), None, None)), ..Change::default() };
    assert_eq!(world.users.update("acme", change).await?.effective.max_sessions, Some(1));
    world.users.set_group("two", &grant(None, None, Some(9))).await?;
    let acme = world.users.get("acme").await?;
    assert_eq!(holds(&acme.effective), (Some(1), Some(4), Some(9), Some(4)));
    assert_eq!(acme.grant, grant(Some(1), None, None), "the own grant stays what it was");

    // "No limit" is a value too: it wins over the groups, and nothing that looks like a number is left of it.
    let unlimited = grant(Some(Grant::UNLIMITED_SESSIONS), Some(Grant::UNLIMITED), Some(Grant::UNLIMITED));
    let acme = world.users.update("acme", Change { grant: Some(unlimited.clone()), ..Change::default() }).await?;
    assert_eq!(holds(&acme.effective), (None, None, None, Some(4)));
    assert_eq!(acme.grant, unlimited);

    assert!(matches!(world.users.remove_group("two").await, Err(Error::GroupInUse { members: 1, .. })));
    world.users.remove("acme").await?;
    world.users.remove_group("two").await?;
    assert_eq!(world.users.list_groups().await?.len(), 1);
    assert!(matches!(world.users.set_group("two", &Grant::default()).await, Err(Error::NotFound { .. })));
    let twin = Group { name: "ONE".into(), grant: Grant::default() };
    assert!(matches!(world.users.add_group(&twin).await, Err(Error::AlreadyExists { kind: Kind::Group, .. })));
    Ok(())
}

#[tokio::test]
async fn a_change_with_an_unknown_group_changes_nothing() -> Outcome {
    let world = World::new().await?;
    world.users.add(named("acme")).await?;
    let change = Change { home: Some("/new".into()), groups: Some(vec!["missing".into()]), ..Change::default() };
    assert!(matches!(world.users.update("acme", change).await, Err(Error::NotFound { kind: Kind::Group, .. })));
    assert_eq!(world.users.get("acme").await?.home, "/acme");
    Ok(())
}
