//! Declared users: kept as the configuration has them, changed nowhere else.

use landfall_auth::{Change, DeclaredUser, Error, Grant, Group, Secret, Source, Synced};

use crate::tests::world::{KEY, OTHER_KEY, Outcome, World, key, named, password};

fn declared(name: &str) -> DeclaredUser {
    DeclaredUser { name: name.to_owned(), ..DeclaredUser::default() }
}

fn with_password(name: &str, password: &str) -> DeclaredUser {
    DeclaredUser { password: Some(Secret::from(password)), ..declared(name) }
}

const fn synced(added: usize, changed: usize, removed: usize) -> Synced {
    Synced { added, changed, removed }
}

#[tokio::test]
async fn users_follow_the_configuration() -> Outcome {
    let world = World::new().await?;
    let mut watch = world.users.database().watch().await?;
    world.add("own", "pw").await?;
    let keyed = DeclaredUser { public_keys: vec![KEY.into()], ..declared("keyed") };
    let first = vec![with_password("acme", "one"), keyed.clone()];
    assert_eq!(world.users.declare(first.clone()).await?, synced(2, 0, 0));
    assert_eq!(world.users.get("acme").await?.source, Source::Config);
    world.login.attempt(password("acme", "one")).await?;
    world.login.attempt(key("keyed", KEY)).await?;

    assert!(watch.changed().await?);
    assert_eq!(world.users.declare(first).await?, synced(0, 0, 0), "the same again writes nothing");
    assert!(!watch.changed().await?);

    let id = world.users.get("acme").await?.id;
    let other_key = DeclaredUser { public_keys: vec![OTHER_KEY.into()], ..keyed };
    assert_eq!(world.users.declare(vec![with_password("acme", "two"), other_key]).await?, synced(0, 2, 0));
    assert_eq!(world.users.get("acme").await?.id, id);
    world.login.attempt(password("acme", "two")).await?;
    assert!(world.login.attempt(password("acme", "one")).await.is_err());
    assert!(world.login.attempt(key("keyed", KEY)).await.is_err());
    world.login.attempt(key("keyed", OTHER_KEY)).await?;

    let disabled = DeclaredUser { disabled: true, ..with_password("acme", "two") };
    assert_eq!(world.users.declare(vec![disabled]).await?, synced(0, 1, 1));
    assert!(world.users.get("acme").await?.disabled);
    assert_eq!(world.users.declare(Vec::new()).await?, synced(0, 0, 1));
    let left: Vec<_> = world.users.list().await?.into_iter().map(|user| user.name).collect();
    assert_eq!(left, ["own"], "users of the database stay");
    Ok(())
}

#[tokio::test]
async fn one_bad_entry_changes_nothing() -> Outcome {
    let world = World::new().await?;
    world.add("own", "pw").await?;
    world.users.declare(vec![with_password("kept", "pw")]).await?;
    let both = DeclaredUser { password_hash: Some("$6$abcdefgh$x".into()), ..with_password("bad", "pw") };
    for bad in [
        declared("own"),
        declared("OWN"),
        declared("good"),
        declared("GOOD"),
        declared("../bad"),
        with_password("bad", ""),
        both,
        DeclaredUser { password_hash: Some("secret".into()), ..declared("bad") },
        DeclaredUser { public_keys: vec!["junk".into()], ..declared("bad") },
        DeclaredUser { groups: vec!["missing".into()], ..declared("bad") },
    ] {
        let name = bad.name.clone();
        let told = world.users.declare(vec![declared("good"), bad]).await;
        let Err(told) = told else { panic!("{name}: accepted") };
        assert!(told.to_string().contains(&name), "{told}");
        let names: Vec<_> = world.users.list().await?.into_iter().map(|user| user.name).collect();
        assert_eq!(names, ["kept", "own"], "{name}");
    }
    Ok(())
}

#[tokio::test]
async fn a_name_may_come_back_in_another_case() -> Outcome {
    let world = World::new().await?;
    world.users.declare(vec![declared("acme")]).await?;
    assert_eq!(world.users.declare(vec![declared("Acme")]).await?, synced(1, 0, 1));
    assert_eq!(world.users.list().await?.len(), 1);
    Ok(())
}

#[tokio::test]
async fn declared_users_are_read_only_elsewhere() -> Outcome {
    let world = World::new().await?;
    world.users.add_group(&Group { name: "shops".into(), grant: Grant::default() }).await?;
    let user =
        DeclaredUser { public_keys: vec![KEY.into()], groups: vec!["shops".into()], ..with_password("acme", "pw") };
    world.users.declare(vec![user]).await?;
    let users = &world.users;
    let told = [
        users.update("acme", Change::default()).await.err(),
        users.set_password("acme", Some(&Secret::from("new"))).await.err(),
        users.set_password("acme", None).await.err(),
        users.disable("acme").await.err(),
        users.remove("acme").await.err(),
        users.add_key("acme", OTHER_KEY).await.err(),
        users.remove_key("acme", "ann@example").await.err(),
    ];
    for (index, told) in told.into_iter().enumerate() {
        assert!(matches!(told, Some(Error::ReadOnly { .. })), "{index}: {told:?}");
    }
    assert!(matches!(users.add(named("ACME")).await, Err(Error::AlreadyExists { .. })));
    Ok(())
}

#[tokio::test]
async fn a_declared_hash_is_kept_as_it_is() -> Outcome {
    let world = World::new().await?;
    let hash = "$2b$04$yldfyZTrlxqUb7n7SzyWxu01srjcrxsjuj7UcW8eZ.eP/GplM8Nxq";
    let user = DeclaredUser { password_hash: Some(hash.into()), ..declared("acme") };
    world.users.declare(vec![user.clone()]).await?;
    world.login.attempt(password("acme", "correct horse")).await?;
    let stored: String =
        sqlx::query_scalar("SELECT password_hash FROM users").fetch_one(world.users.database().pool()).await?;
    assert_eq!(stored, hash, "what the configuration says is never upgraded");
    assert_eq!(world.users.declare(vec![user]).await?, synced(0, 0, 0));
    Ok(())
}
