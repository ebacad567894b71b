//! The file: who may read it, what a newer program's looks like, copies, and noticing what others write.

use std::os::unix::fs::PermissionsExt;

use landfall_auth::{Database, Error, Grant, Hasher, NewUser, Sync, Users, WorkLimits};

use crate::tests::world::{COST, Outcome, World, named, password};

#[tokio::test]
async fn nobody_else_may_read_the_file() -> Outcome {
    let world = World::new().await?;
    world.add("acme", "pw").await?;
    let mut seen = 0;
    for entry in std::fs::read_dir(world.directory.path())? {
        let mode = entry?.metadata()?.permissions().mode() & 0o777;
        assert_eq!(mode, 0o600);
        seen += 1;
    }
    assert!(seen >= 2, "the database and its -wal");

    let path = world.directory.path().join("loose.db");
    std::fs::write(&path, "")?;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644))?;
    Database::open(&path, Sync::Full).await?;
    assert_eq!(std::fs::metadata(&path)?.permissions().mode() & 0o777, 0o600);
    Ok(())
}

#[tokio::test]
async fn settings_are_those_promised() -> Outcome {
    let directory = tempfile::tempdir()?;
    for (sync, level) in [(Sync::Full, 2_i64), (Sync::Normal, 1)] {
        let db = Database::open(&directory.path().join("x.db"), sync).await?;
        let mode: String = sqlx::query_scalar("PRAGMA journal_mode").fetch_one(db.pool()).await?;
        let synchronous: i64 = sqlx::query_scalar("PRAGMA synchronous").fetch_one(db.pool()).await?;
        let foreign_keys: i64 = sqlx::query_scalar("PRAGMA foreign_keys").fetch_one(db.pool()).await?;
        let busy: i64 = sqlx::query_scalar("PRAGMA busy_timeout").fetch_one(db.pool()).await?;
        assert_eq!((mode.as_str(), synchronous, foreign_keys, busy), ("wal", level, 1, 10_000));
    }
    Ok(())
}

#[tokio::test]
async fn what_was_written_is_there_after_a_restart() -> Outcome {
    let world = World::new().await?;
    world.add("acme", "pw").await?;
    world.users.database().close().await;
    let db = Database::open(&world.directory.path().join("landfall.db"), Sync::Full).await?;
    let users = Users::open(db, Grant::default(), Hasher::new(COST, WorkLimits::default())?);
    assert!(users.get("acme").await?.has_password);
    Ok(())
}

#[tokio::test]
async fn several_may_open_a_new_file_at_once() -> Outcome {
    // Whether they really meet is chance: ten tries.
    for _ in 0..10 {
        let directory = tempfile::tempdir()?;
        let path = directory.path().join("landfall.db");
        let mut opened = tokio::task::JoinSet::new();
        for _ in 0..6 {
            let path = path.clone();
            opened.spawn(async move { Database::open(&path, Sync::Normal).await.map(drop) });
        }
        while let Some(done) = opened.join_next().await {
            done??;
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_newer_database_is_refused_with_a_sentence() -> Outcome {
    let world = World::new().await?;
    let db = world.users.database();
    let insert = "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) VALUES (?, '', 1, x'', 0)";
    // Another room's migrations are none of this crate's business.
    sqlx::query(insert).bind(1007).execute(db.pool()).await?;
    let path = world.directory.path().join("landfall.db");
    Database::open(&path, Sync::Normal).await?;
    sqlx::query(insert).bind(999).execute(db.pool()).await?;
    match Database::open(&path, Sync::Normal).await {
        Err(error @ Error::NewerSchema { found: 999, .. }) => assert!(error.to_string().contains("newer version")),
        other => panic!("{other:?}"),
    }
    Ok(())
}

#[tokio::test]
async fn other_rooms_bring_their_own_migrations() -> Outcome {
    let world = World::new().await?;
    let migration = |version, sql| {
        let kind = sqlx::migrate::MigrationType::Simple;
        sqlx::migrate::Migration::new(version, "x".into(), kind, sqlx::SqlStr::from_static(sql), false)
    };
    let good = sqlx::migrate::Migrator::with_migrations(vec![migration(1001, "CREATE TABLE ledger (id INTEGER)")]);
    let db = world.users.database();
    db.migrate(&good).await?;
    db.migrate(&good).await?;
    sqlx::query("INSERT INTO ledger VALUES (1)").execute(db.pool()).await?;
    // All or none: the second one's fault takes the first one back.
    let bad = sqlx::migrate::Migrator::with_migrations(vec![
        migration(1001, "CREATE TABLE ledger (id INTEGER)"),
        migration(1002, "CREATE TABLE other (id INTEGER)"),
        migration(1003, "CREATE TABLE other (id INTEGER)"),
    ]);
    assert!(db.migrate(&bad).await.is_err());
    let left: i64 =
        sqlx::query_scalar("SELECT count(*) FROM sqlite_schema WHERE name = 'other'").fetch_one(db.pool()).await?;
    assert_eq!(left, 0);
    Ok(())
}

#[tokio::test]
async fn a_change_by_somebody_else_is_noticed_once() -> Outcome {
    let world = World::new().await?;
    let elsewhere = Database::open(&world.directory.path().join("landfall.db"), Sync::Normal).await?;
    let elsewhere = Users::open(elsewhere, Grant::default(), Hasher::new(COST, WorkLimits::default())?);
    let mut watch = world.users.database().watch().await?;
    assert!(!watch.changed().await?);

    elsewhere.add(named("acme")).await?;
    assert!(watch.changed().await?);
    assert!(!watch.changed().await?);
    assert_eq!(world.users.get("acme").await?.name, "acme");

    elsewhere.add_key("acme", crate::tests::world::KEY).await?;
    assert!(watch.changed().await?);
    elsewhere.disable("acme").await?;
    assert!(watch.changed().await?);
    elsewhere.remove("acme").await?;
    assert!(watch.changed().await?);
    // Also what this process writes itself.
    world.users.add(named("beta")).await?;
    assert!(watch.changed().await?);

    // Commits that are no change of users: the ledger's, for one.
    sqlx::query("CREATE TABLE ledger (id INTEGER)").execute(world.users.database().pool()).await?;
    sqlx::query("INSERT INTO ledger VALUES (1)").execute(world.users.database().pool()).await?;
    assert!(!watch.changed().await?);
    Ok(())
}

#[tokio::test]
async fn a_login_is_no_change() -> Outcome {
    let world = World::new().await?;
    world.add("acme", "pw").await?;
    let mut watch = world.users.database().watch().await?;
    world.login.attempt(password("acme", "pw")).await?;
    while world.users.last_login("acme").await?.is_none() {
        tokio::task::yield_now().await;
    }
    assert!(!watch.changed().await?);
    Ok(())
}

#[tokio::test]
async fn a_copy_is_whole_private_and_sound() -> Outcome {
    let world = World::new().await?;
    world.add("acme", "pw").await?;
    let copy = world.directory.path().join("copy.db");
    world.users.database().backup_to(&copy).await?;
    assert_eq!(std::fs::metadata(&copy)?.permissions().mode() & 0o777, 0o600);
    Database::check_file(&copy).await?;
    world.users.database().check().await?;
    assert!(world.users.database().backup_to(&copy).await.is_err(), "a copy never overwrites a file");
    let users = Users::open(
        Database::open(&copy, Sync::Normal).await?,
        Grant::default(),
        Hasher::new(COST, WorkLimits::default())?,
    );
    assert_eq!(users.list().await?.len(), 1);
    Ok(())
}

#[tokio::test]
async fn damage_and_foreign_files_are_told_apart_from_sound_ones() -> Outcome {
    let world = World::new().await?;
    for number in 0..200 {
        world
            .users
            .add(NewUser { email: Some(format!("u{number}@example.com")), ..named(&format!("u{number}")) })
            .await?;
    }
    let copy = world.directory.path().join("copy.db");
    world.users.database().backup_to(&copy).await?;
    let sound = std::fs::read(&copy)?;
    let mut torn = sound.clone();
    let middle = torn.len() / 2;
    torn.truncate(middle);
    let mut scribbled = sound.clone();
    for byte in scribbled.iter_mut().skip(8192).take(4096) {
        *byte = 0x5a;
    }
    for (what, bytes) in
        [("torn", torn), ("scribbled", scribbled), ("empty", Vec::new()), ("text", b"hello".repeat(500))]
    {
        let path = world.directory.path().join(what);
        std::fs::write(&path, bytes)?;
        let told = Database::check_file(&path).await;
        assert!(matches!(told, Err(Error::Damaged { .. })), "{what}: {told:?}");
    }
    let missing = Database::check_file(&world.directory.path().join("missing")).await;
    assert!(matches!(missing, Err(Error::Damaged { .. })), "{missing:?}");
    Ok(())
}
