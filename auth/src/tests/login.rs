//! The door: who is let in, what those hear who are not, and what is written about it.

use std::io::Write;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use landfall_auth::{
    Attempt, Credential, Database, Denied, Grant, Hasher, Login, NewUser, Protocol, Secret, Sync, Throttle,
    ThrottleLimits, Users, WorkLimits,
};

use crate::tests::world::{COST, HOME, KEY, OTHER_KEY, Outcome, World, key, named, password, today};

#[tokio::test]
async fn passwords_and_keys() -> Outcome {
    let world = World::new().await?;
    world.users.add(NewUser { password: Some(Secret::from("pw")), keys: vec![KEY.into()], ..named("acme") }).await?;
    world.users.add(NewUser { keys: vec![OTHER_KEY.into()], ..named("keyed") }).await?;
    let user = world.login.attempt(password("acme", "pw")).await?;
    assert_eq!((user.name.as_str(), user.home.as_str(), user.key_count), ("acme", "/acme", 1));
    assert_eq!(world.login.attempt(key("acme", KEY)).await?.name, "acme");

    let long = "a".repeat(65);
    let huge = "p".repeat(1025);
    for (name, shown) in [
        ("acme", "PW"),
        ("acme", ""),
        ("acme", huge.as_str()),
        ("Acme", "pw"),
        ("keyed", "pw"),
        ("keyed", ""),
        ("nobody", "pw"),
        ("", "pw"),
        ("acme\0", "pw"),
        (long.as_str(), "pw"),
    ] {
        // A fresh count each time: this is about the answer.
        let fresh = doors(&world.users);
        assert_eq!(fresh.attempt(password(name, shown)).await, Err(Denied::Credentials), "{name:?} {shown:.4}");
    }
    for (name, line, opens) in [
        ("acme", KEY, true),
        ("acme", "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIEYqez8RfdVHLExPKqR17ixxIJjrETdYdQgmbaS1kMRI", true),
        ("acme", OTHER_KEY, false),
        ("keyed", OTHER_KEY, true),
        ("nobody", KEY, false),
        ("acme", "ssh-ed25519 AAAA", false),
        ("acme", "", false),
        ("", KEY, false),
    ] {
        assert_eq!(world.login.key_is_known(key(name, line), None).await, opens, "{name} {line}");
        let expected = if opens { Ok(name.to_owned()) } else { Err(Denied::Credentials) };
        assert_eq!(world.login.attempt(key(name, line)).await.map(|user| user.name), expected, "{name} {line}");
    }
    assert!(!world.login.key_is_known(password("acme", "pw"), None).await);
    Ok(())
}

/// A door of its own: same users, nothing counted yet.
fn doors(users: &Users) -> Login {
    Login::new(users.clone(), Throttle::new(ThrottleLimits::default()), today)
}

#[tokio::test]
async fn right_credentials_are_not_all() -> Outcome {
    let world = World::new().await?;
    let allow = |grant: Grant| NewUser { grant, ..NewUser::default() };
    let networks = |range: &str| -> Result<_, Box<dyn std::error::Error>> {
        Ok(allow(Grant { networks: Some(vec![range.parse()?]), ..Grant::default() }))
    };
    let protocols = |list: Vec<Protocol>| allow(Grant { protocols: Some(list), ..Grant::default() });
    let second = Duration::from_secs(1);
    let table = [
        ("free", NewUser::default(), None),
        ("disabled", NewUser { disabled: true, ..NewUser::default() }, Some("the user is disabled")),
        ("over", NewUser { expires: Some(today()), ..NewUser::default() }, Some("the user's time is over")),
        ("running", NewUser { expires: Some(today() + second), ..NewUser::default() }, None),
        ("ftp", protocols(vec![Protocol::Ftp, Protocol::Ftps]), Some("not over this protocol")),
        ("sftp", protocols(vec![Protocol::Sftp]), None),
        ("any", protocols(Vec::new()), None),
        ("here", networks("192.0.2.0/24")?, None),
        ("there", networks("198.51.100.0/24")?, Some("not from this network")),
        ("anywhere", allow(Grant { networks: Some(Vec::new()), ..Grant::default() }), None),
    ];
    for (name, user, reason) in table {
        let user = NewUser { name: name.into(), password: Some(Secret::from("pw")), keys: vec![KEY.into()], ..user };
        world.users.add(user).await?;
        let expected = reason.map_or(Ok(name.to_owned()), |reason| Err(Denied::NotPermitted(reason)));
        let door = doors(&world.users);
        assert_eq!(door.attempt(password(name, "pw")).await.map(|user| user.name), expected, "{name}");
        assert_eq!(door.attempt(key(name, KEY)).await.map(|user| user.name), expected, "{name}");
        assert_eq!(door.key_is_known(key(name, KEY), None).await, reason.is_none(), "{name}");
        // The reason is for those who showed the right thing.
        assert_eq!(door.attempt(password(name, "no")).await, Err(Denied::Credentials), "{name}");
        assert_eq!(door.attempt(key(name, OTHER_KEY)).await, Err(Denied::Credentials), "{name}");
    }
    Ok(())
}

#[tokio::test]
async fn changes_count_from_the_next_login_on() -> Outcome {
    let world = World::new().await?;
    world.add("acme", "one").await?;
    world.login.attempt(password("acme", "one")).await?;
    world.users.set_password("acme", Some(&Secret::from("two"))).await?;
    assert_eq!(world.login.attempt(password("acme", "one")).await, Err(Denied::Credentials));
    world.login.attempt(password("acme", "two")).await?;
    world.users.disable("acme").await?;
    assert!(matches!(world.login.attempt(password("acme", "two")).await, Err(Denied::NotPermitted(_))));
    world.users.enable("acme").await?;
    world.login.attempt(password("acme", "two")).await?;
    world.users.remove("acme").await?;
    assert_eq!(world.login.attempt(password("acme", "two")).await, Err(Denied::Credentials));
    Ok(())
}

#[tokio::test]
async fn old_hashes_are_renewed_by_a_login() -> Outcome {
    let world = World::new().await?;
    let stored = |name: &'static str| {
        let pool = world.users.database().pool().clone();
        async move {
            let query = sqlx::query_scalar::<_, String>("SELECT password_hash FROM users WHERE name = ?");
            query.bind(name).fetch_one(&pool).await
        }
    };
    for (name, hash) in [
        ("bcrypt", "$2y$04$NstrpITvDW29/etquUVlnO5dPmL06vaI38dbSqL/m5L1Rci5PNYFq"),
        (
            "crypt",
            "$6$rounds=1500$short$iwquaC/0U9rR8sYHHk4cnCR3KYqK3wlhT1YpLcIt4FYi7x2SH9PIryZ7lIvxc55wbWZy2cS91MGmExRSd5.8T0",
        ),
        ("argon", "$argon2id$v=19$m=64,t=3,p=2$c29tZXNhbHRzb21lc2FsdA$JihI5cU0dA9i7vaff50sicUfQvt0Ynt/Aa7xY0wdEGo"),
    ] {
        world.users.add(NewUser { password_hash: Some(hash.into()), ..named(name) }).await?;
        assert_eq!(world.login.attempt(password(name, "wrong")).await, Err(Denied::Credentials));
        assert_eq!(stored(name).await?, hash, "a wrong password renews nothing");
        world.login.attempt(password(name, "correct horse")).await?;
        let renewed = stored(name).await?;
        assert!(renewed.starts_with("$argon2id$v=19$m=64,t=1,p=1$"), "{renewed}");
        world.login.attempt(password(name, "correct horse")).await?;
        assert_eq!(stored(name).await?, renewed, "once");
    }
    Ok(())
}

#[tokio::test]
async fn guesses_run_out_and_a_right_login_from_elsewhere_still_works() -> Outcome {
    let world = World::new().await?;
    world.add("acme", "pw").await?;
    let mut outcomes = Vec::new();
    for number in 0..40 {
        let name = ["acme", "root", "admin"].get(number % 3).copied().unwrap_or_default();
        let protocol = [Protocol::Ftp, Protocol::Sftp].get(number % 2).copied().unwrap_or(Protocol::Ftps);
        outcomes.push(world.login.attempt(Attempt { protocol, ..password(name, "guess") }).await);
    }
    let tried = outcomes.iter().filter(|outcome| **outcome == Err(Denied::Credentials)).count();
    assert_eq!(tried, 10);
    assert!(matches!(outcomes.last(), Some(Err(Denied::Throttled { .. }))));
    assert!(matches!(world.login.attempt(password("acme", "pw")).await, Err(Denied::Throttled { .. })));
    let elsewhere: IpAddr = "198.51.100.1".parse()?;
    world.login.attempt(Attempt { peer: elsewhere, ..password("acme", "pw") }).await?;
    Ok(())
}

#[tokio::test]
async fn right_credentials_of_somebody_shut_out_count_as_wrong() -> Outcome {
    let world = World::new().await?;
    world.add("acme", "pw").await?;
    world.users.disable("acme").await?;
    for _ in 0..5 {
        assert!(matches!(world.login.attempt(password("acme", "pw")).await, Err(Denied::NotPermitted(_))));
    }
    // Else the count would tell that the password is right.
    assert!(matches!(world.login.attempt(password("acme", "pw")).await, Err(Denied::Throttled { .. })));
    Ok(())
}

#[tokio::test]
async fn what_was_never_looked_at_is_no_guess() -> Outcome {
    let world = World::new().await?;
    world.add("acme", "pw").await?;
    let throttle = Throttle::new(ThrottleLimits::default());
    let broken = Database::open(&world.directory.path().join("broken.db"), Sync::Normal).await?;
    broken.close().await;
    let broken = Users::open(broken, Grant::default(), Hasher::new(COST, WorkLimits::default())?);
    let broken = Login::new(broken, throttle.clone(), today);
    for _ in 0..20 {
        assert_eq!(broken.attempt(password("acme", "pw")).await, Err(Denied::Unavailable));
        assert_eq!(broken.attempt(key("acme", KEY)).await, Err(Denied::Unavailable));
    }
    Login::new(world.users.clone(), throttle, today).attempt(password("acme", "pw")).await?;
    Ok(())
}

#[tokio::test]
async fn a_key_makes_a_network_known_and_is_never_throttled() -> Outcome {
    let world = World::new().await?;
    world.users.add(NewUser { password: Some(Secret::from("pw")), keys: vec![KEY.into()], ..named("acme") }).await?;
    for _ in 0..30 {
        assert_eq!(world.login.attempt(key("acme", OTHER_KEY)).await, Err(Denied::Credentials));
    }
    world.login.attempt(key("acme", KEY)).await?;
    for number in 0..20 {
        assert!(world.login.attempt(password(&format!("noise{number}"), "x")).await.is_err());
    }
    world.login.attempt(password("acme", "pw")).await?;
    for _ in 0..20 {
        assert!(world.login.attempt(password("acme", "x")).await.is_err());
    }
    assert!(matches!(world.login.attempt(password("acme", "pw")).await, Err(Denied::Throttled { .. })));
    world.login.attempt(key("acme", KEY)).await?;
    Ok(())
}

#[tokio::test]
async fn five_hundred_at_once_are_ten_guesses() -> Outcome {
    let world = World::new().await?;
    world.add("acme", "pw").await?;
    let mut tries = tokio::task::JoinSet::new();
    for number in 0..500 {
        let login = world.login.clone();
        tries.spawn(async move { login.attempt(password(&format!("user{}", number % 50), "guess")).await });
    }
    let mut wrong = 0;
    while let Some(outcome) = tries.join_next().await {
        match outcome? {
            Err(Denied::Credentials) => wrong += 1,
            Err(Denied::Throttled { .. } | Denied::Unavailable) => {}
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(wrong, 10);
    Ok(())
}

#[tokio::test]
async fn five_hundred_right_ones_at_once_all_come_in() -> Outcome {
    let world = World::new().await?;
    for number in 0..10 {
        world.add(&format!("user{number}"), "pw").await?;
    }
    let mut tries = tokio::task::JoinSet::new();
    for number in 0..500 {
        let login = world.login.clone();
        tries.spawn(async move { login.attempt(password(&format!("user{}", number % 10), "pw")).await });
    }
    while let Some(outcome) = tries.join_next().await {
        outcome??;
    }
    Ok(())
}

#[tokio::test]
async fn who_comes_when_too_many_wait_is_sent_away_and_loses_no_guess() -> Outcome {
    let world = World::new().await?;
    world.add("acme", "pw").await?;
    let limits = WorkLimits { running: std::num::NonZeroUsize::new(1), waiting: 0 };
    let users = Users::open(world.users.database().clone(), Grant::default(), Hasher::new(COST, limits)?);
    let login = doors(&users);
    let mut tries = tokio::task::JoinSet::new();
    for number in 0..50_u8 {
        let login = login.clone();
        let peer = IpAddr::from([10, 0, 0, number]);
        tries.spawn(async move { login.attempt(Attempt { peer, ..password("acme", "guess") }).await });
    }
    let outcomes: Vec<_> = tries.join_all().await;
    assert!(outcomes.contains(&Err(Denied::Credentials)));
    assert!(outcomes.contains(&Err(Denied::Unavailable)));
    Ok(())
}

#[tokio::test]
async fn the_last_login_is_written_down() -> Outcome {
    let world = World::new().await?;
    world.add("acme", "pw").await?;
    assert_eq!(world.users.last_login("acme").await?, None);
    world.login.attempt(password("acme", "pw")).await?;
    let last = loop {
        if let Some(last) = world.users.last_login("acme").await? {
            break last;
        }
        tokio::task::yield_now().await;
    };
    assert_eq!((last.at, last.protocol.as_str(), last.peer), (today(), "sftp", HOME.to_string()));

    // Not more than once a minute: the first of these two writes nothing, the second does.
    let later: [fn() -> SystemTime; 2] = [|| today() + Duration::from_secs(59), || today() + Duration::from_mins(1)];
    let mut seen = Vec::new();
    for clock in later {
        let login = Login::new(world.users.clone(), Throttle::new(ThrottleLimits::default()), clock);
        login.attempt(password("acme", "pw")).await?;
        // The write is a task of its own; on this one thread it has begun, and the next writer stands behind it.
        tokio::task::yield_now().await;
        drop(world.users.database().write().await?);
        seen.push(world.users.last_login("acme").await?.map(|last| last.at));
    }
    assert_eq!(seen, [Some(today()), Some(today() + Duration::from_mins(1))]);
    Ok(())
}

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().map_err(|_| std::io::ErrorKind::Other)?.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn each_decision_is_one_line_without_secrets_or_tricks() -> Outcome {
    let world = World::new().await?;
    world.add("acme", "canary-right").await?;
    let lines = Lines::default();
    let writer = lines.clone();
    let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).finish();
    let guard = tracing::subscriber::set_default(subscriber);
    let nasty = format!("x\r\n2030-01-01 INFO login user=\"root\"\u{1b}[31m\u{202e}{}", "y".repeat(500));
    world.login.attempt(password("acme", "canary-right")).await?;
    let denied = [
        password("acme", "canary-wrong"),
        password(&nasty, "canary-nasty"),
        Attempt { credential: Credential::PublicKey("canary-key"), ..password("acme", "") },
    ];
    for attempt in denied {
        assert_eq!(world.login.attempt(attempt).await, Err(Denied::Credentials));
    }
    drop(guard);
    let text = String::from_utf8(lines.0.lock().map_err(|_| "poisoned")?.clone())?;
    let logins: Vec<&str> = text.lines().filter(|line| line.contains("login")).collect();
    assert_eq!(logins.len(), 4, "{text}");
    assert!(!text.contains("canary"), "{text}");
    assert!(!text.contains('\u{1b}') && !text.contains('\r') && !text.contains('\u{202e}'), "{text:?}");
    assert!(
        logins
            .iter()
            .all(|line| line.contains("peer=192.0.2.7") && line.contains("protocol=\"sftp\"") && line.len() < 400)
    );
    assert!(logins.first().is_some_and(|line| line.contains("INFO") && line.contains("user=\"acme\"")), "{text}");
    assert!(logins.iter().skip(1).all(|line| line.contains("WARN")), "{text}");
    Ok(())
}
