//! Several things in a row, verification codes, certificates: who comes in, and what those learn who do not.

use std::net::IpAddr;
use std::time::UNIX_EPOCH;

use landfall_auth::{
    Attempt, Certificate, Change, Credential, Denied, Factor, Grant, NewUser, Passed, Protocol, Secret, Step, Totp,
    User,
};

use crate::tests::world::{KEY, OTHER_KEY, Outcome, World, key, named, password, today};

/// The code of so many steps from today.
fn code(totp: &Totp, steps: u64) -> Result<String, Box<dyn std::error::Error>> {
    Ok(totp.code_at(today().duration_since(UNIX_EPOCH)?.as_secs() + 30 * steps - 30))
}

fn demanding(factors: &[Factor]) -> Grant {
    Grant { factors: Some(factors.to_vec()), ..Grant::default() }
}

fn is_in(step: Result<Step, Denied>) -> Result<Box<User>, Denied> {
    match step? {
        Step::In(user) => Ok(user),
        Step::More(_) | Step::Ask(_) => Err(Denied::Credentials),
    }
}

fn more(step: Result<Step, Denied>) -> Result<Passed, Denied> {
    match step? {
        Step::More(passed) => Ok(passed),
        Step::In(_) | Step::Ask(_) => Err(Denied::Credentials),
    }
}

async fn with_code(world: &World, name: &str) -> Result<Totp, Box<dyn std::error::Error>> {
    let totp = Totp::generate().ok_or("no randomness")?;
    let user = NewUser { password: Some(Secret::from("pw")), totp: Some(totp.clone()), ..named(name) };
    assert!(world.users.add(user).await?.has_totp);
    Ok(totp)
}

#[tokio::test]
async fn one_after_the_other_in_that_order() -> Outcome {
    let world = World::new().await?;
    let grant = demanding(&[Factor::PublicKey, Factor::Password]);
    for name in ["acme", "beta"] {
        let user =
            NewUser { password: Some(Secret::from("pw")), keys: vec![KEY.into()], grant: grant.clone(), ..named(name) };
        world.users.add(user).await?;
    }
    let login = &world.login;
    let first = more(login.step(key("acme", KEY), None).await)?;
    assert_eq!((first.user(), first.next()), ("acme", Factor::Password));
    assert_eq!(world.users.last_login("acme").await?, None);
    assert_eq!(is_in(login.step(password("acme", "pw"), Some(&first)).await)?.name, "acme");

    let out_of_turn = Denied::NotPermitted("other factors are demanded, or in another order");
    assert_eq!(is_in(login.step(password("acme", "pw"), None).await), Err(out_of_turn));
    assert_eq!(is_in(login.step(password("acme", "no"), None).await), Err(Denied::Credentials));
    assert_eq!(is_in(login.step(key("acme", KEY), Some(&first)).await), Err(out_of_turn));
    assert_eq!(is_in(login.step(password("beta", "pw"), Some(&first)).await), Err(out_of_turn));
    assert!(login.key_is_known(key("acme", KEY), None).await);
    assert!(!login.key_is_known(key("acme", KEY), Some(&first)).await, "it was shown already");
    // Where only one thing can be shown, one is never enough.
    assert!(login.attempt(key("acme", KEY)).await.is_err());
    let by_ftp = Attempt { protocol: Protocol::Ftps, ..password("acme", "pw") };
    assert!(matches!(login.attempt(by_ftp).await, Err(Denied::NotPermitted(why)) if why.contains("FTP")));
    // In between, the user was shut out.
    world.users.disable("acme").await?;
    let shut = Err(Denied::NotPermitted("the user is disabled"));
    assert_eq!(is_in(login.step(password("acme", "pw"), Some(&first)).await), shut);
    Ok(())
}

#[tokio::test]
async fn what_was_shown_first_has_to_be_right_at_the_end() -> Outcome {
    for (replaced, factors) in [
        (true, [Factor::Password, Factor::PublicKey]),
        (true, [Factor::PublicKey, Factor::Password]),
        (false, [Factor::Password, Factor::PublicKey]),
        (false, [Factor::PublicKey, Factor::Password]),
    ] {
        let world = World::new().await?;
        let grant = demanding(&factors);
        let keys = vec![KEY.into(), OTHER_KEY.into()];
        world.users.add(NewUser { password: Some(Secret::from("pw")), keys, grant, ..named("acme") }).await?;
        let show = |factor| match factor {
            Factor::PublicKey => key("acme", KEY),
            _ => password("acme", "pw"),
        };
        let [first, second] = factors;
        let passed = more(world.login.step(show(first), None).await)?;
        match first {
            _ if !replaced => {
                world.users.remove_key("acme", "bob").await?;
            }
            Factor::PublicKey => drop(world.users.remove_key("acme", "ann@example").await?),
            _ => world.users.set_password("acme", Some(&Secret::from("other"))).await?,
        }
        let expected =
            if replaced { Err(Denied::NotPermitted("what was shown first was replaced meanwhile")) } else { Ok(()) };
        let outcome = is_in(world.login.step(show(second), Some(&passed)).await).map(drop);
        assert_eq!(outcome, expected, "{factors:?}");
    }
    Ok(())
}

#[tokio::test]
async fn a_half_login_is_neither_a_guess_nor_makes_anybody_known() -> Outcome {
    let world = World::new().await?;
    let grant = demanding(&[Factor::Password, Factor::PublicKey]);
    world.users.add(NewUser { password: Some(Secret::from("pw")), grant, ..named("acme") }).await?;
    for _ in 0..20 {
        more(world.login.step(password("acme", "pw"), None).await)?;
    }
    for number in 0..10 {
        assert!(world.login.attempt(password(&format!("noise{number}"), "x")).await.is_err());
    }
    // For who is known from there, three of ten would be kept.
    assert!(matches!(world.login.step(password("acme", "pw"), None).await, Err(Denied::Throttled { .. })));
    Ok(())
}

#[tokio::test]
async fn certificates_name_their_users() -> Outcome {
    let world = World::new().await?;
    world.add("acme", "pw").await?;
    world.add("beta", "pw").await?;
    let certificate = Certificate {
        key_id: "laptop".into(),
        serial: 7,
        authority: "SHA256:x".into(),
        principals: vec!["acme".into(), "nobody".into()],
    };
    let credential = Credential::Certificate(&certificate);
    let shown = |user: &'static str| Attempt { credential, ..password(user, "") };
    assert_eq!(world.login.attempt(shown("acme")).await?.name, "acme");
    for other in ["beta", "nobody", "ACME", ""] {
        assert_eq!(world.login.attempt(shown(other)).await, Err(Denied::Credentials), "{other}");
    }
    world.users.disable("acme").await?;
    assert!(matches!(world.login.attempt(shown("acme")).await, Err(Denied::NotPermitted(_))));
    Ok(())
}

#[tokio::test]
async fn codes_behind_passwords_count_once_and_in_order() -> Outcome {
    let world = World::new().await?;
    let totp = with_code(&world, "acme").await?;
    let (before, now, after) = (code(&totp, 0)?, code(&totp, 1)?, code(&totp, 2)?);
    let far = code(&totp, 4)?;
    // Each from a place of its own: this is not about guesses.
    let mut place = 0_u8;
    let mut shown = async |text: &str| {
        place += 1;
        let peer = IpAddr::from([198, 51, 100, place]);
        let protocol = if place.is_multiple_of(2) { Protocol::Ftps } else { Protocol::Sftp };
        world.login.attempt(Attempt { peer, protocol, ..password("acme", text) }).await
    };
    assert!(shown(&format!("pw{before}")).await.is_ok());
    let used = Err(Denied::NotPermitted("the verification code was used before"));
    assert_eq!(shown(&format!("pw{before}")).await, used);
    assert!(shown(&format!("pw{after}")).await.is_ok());
    assert_eq!(shown(&format!("pw{now}")).await, used, "older than one that was used");
    let wrong = Err(Denied::NotPermitted("the verification code is wrong or missing"));
    for text in ["pw", &format!("pw{far}")] {
        assert_eq!(shown(text).await, wrong, "{text}");
    }
    for text in ["", &now, "pw12345é", &format!("{now}pw"), &format!("no{now}")] {
        assert_eq!(shown(text).await, Err(Denied::Credentials), "{text}");
    }
    // A new secret; and none.
    let other = Totp::generate().ok_or("no randomness")?;
    world.users.set_totp("acme", Some(&other)).await?;
    assert!(shown(&format!("pw{after}")).await.is_err());
    world.users.set_totp("acme", None).await?;
    assert!(shown("pw").await.is_ok());
    Ok(())
}

#[tokio::test]
async fn where_nobody_has_a_code_none_is_asked_for() -> Outcome {
    let world = World::new().await?;
    world.add("acme", "pw").await?;
    let ask = async |user: &str, text: &str| world.login.step_and_ask(password(user, text), None).await;
    assert_eq!(is_in(ask("acme", "pw").await)?.name, "acme");
    assert!(matches!(ask("acme", "no").await, Err(Denied::Credentials)));
    with_code(&world, "beta").await?;
    assert!(matches!(ask("acme", "no").await, Ok(Step::Ask(_))));
    assert!(matches!(ask("nobody", "no").await, Ok(Step::Ask(_))));
    assert_eq!(is_in(ask("acme", "pw").await)?.name, "acme", "the password alone is enough here");
    Ok(())
}

#[tokio::test]
async fn who_hangs_up_before_the_code_has_guessed() -> Outcome {
    for shown in ["pw", "no"] {
        let world = World::new().await?;
        let totp = with_code(&world, "acme").await?;
        let login = &world.login;
        for _ in 0..5 {
            assert!(matches!(login.step_and_ask(password("acme", shown), None).await, Ok(Step::Ask(_))));
        }
        let next = login.step_and_ask(password("acme", "pw"), None).await;
        assert!(matches!(next, Err(Denied::Throttled { .. })), "{shown}");
        // Elsewhere, the right answers open the door, and the wrong ones do not, whichever is wrong.
        let elsewhere: IpAddr = "198.51.100.1".parse()?;
        for (text, answer, opens) in [
            (shown, "000000".to_owned(), false),
            ("no", code(&totp, 1)?, false),
            ("pw", code(&totp, 1)?, true),
            ("pw", code(&totp, 1)?, false),
        ] {
            let Step::Ask(unanswered) =
                login.step_and_ask(Attempt { peer: elsewhere, ..password("acme", text) }, None).await?
            else {
                return Err("not asked".into());
            };
            assert_eq!(is_in(unanswered.answer(&answer).await).is_ok(), opens, "{text} {answer}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_code_does_not_count_when_the_user_was_changed_after_the_password() -> Outcome {
    for what in ["nothing", "disabled", "secret", "no secret", "password", "expired", "network", "another"] {
        let world = World::new().await?;
        let totp = with_code(&world, "acme").await?;
        let Step::Ask(unanswered) = world.login.step_and_ask(password("acme", "pw"), None).await? else {
            return Err("not asked".into());
        };
        let users = &world.users;
        match what {
            "disabled" => drop(users.disable("acme").await?),
            "secret" => users.set_totp("acme", Totp::generate().as_ref()).await?,
            "no secret" => users.set_totp("acme", None).await?,
            "password" => users.set_password("acme", Some(&Secret::from("other"))).await?,
            "expired" => {
                drop(users.update("acme", Change { expires: Some(Some(UNIX_EPOCH)), ..Change::default() }).await?);
            }
            "network" => {
                let grant = Grant { networks: Some(vec!["198.51.100.0/24".parse()?]), ..Grant::default() };
                users.update("acme", Change { grant: Some(grant), ..Change::default() }).await?;
            }
            "another" => {
                users.remove("acme").await?;
                with_code(&world, "acme").await?;
            }
            _ => {}
        }
        let outcome = is_in(unanswered.answer(&code(&totp, 1)?).await).map(drop);
        let changed = Err(Denied::NotPermitted("the user was changed meanwhile"));
        assert_eq!(outcome, if what == "nothing" { Ok(()) } else { changed }, "{what}");
    }
    Ok(())
}

#[tokio::test]
async fn strangers_who_know_the_password_have_few_codes_to_guess() -> Outcome {
    let world = World::new().await?;
    let totp = with_code(&world, "acme").await?;
    let from = |place: u8| Attempt { peer: IpAddr::from([198, 51, 100, place]), ..password("acme", "pw000000") };
    let home = async |text: String| world.login.attempt(password("acme", &text)).await;
    home(format!("pw{}", code(&totp, 0)?)).await?;
    for place in 0..20 {
        assert!(world.login.attempt(from(place)).await.is_err());
    }
    let right = format!("pw{}", code(&totp, 1)?);
    let stranger = Attempt { credential: Credential::Password(&right), ..from(99) };
    assert!(matches!(world.login.attempt(stranger).await, Err(Denied::NotPermitted(why)) if why.contains("too many")));
    home(right).await?;
    Ok(())
}

#[tokio::test]
async fn a_code_alone_follows_a_key() -> Outcome {
    let world = World::new().await?;
    let totp = with_code(&world, "acme").await?;
    world.users.add_key("acme", KEY).await?;
    let grant = demanding(&[Factor::PublicKey, Factor::Totp]);
    world.users.update("acme", Change { grant: Some(grant), ..Default::default() }).await?;
    let right = code(&totp, 1)?;
    let by_code = |code| Attempt { credential: Credential::Code(code), ..password("acme", "") };
    assert!(is_in(world.login.step(by_code(&right), None).await).is_err(), "the key comes first");
    assert!(world.login.step(key("acme", OTHER_KEY), None).await.is_err());
    let passed = more(world.login.step(key("acme", KEY), None).await)?;
    assert_eq!(passed.next(), Factor::Totp);
    assert!(is_in(world.login.step(by_code("000000"), Some(&passed)).await).is_err());
    assert_eq!(is_in(world.login.step(by_code(&right), Some(&passed)).await)?.name, "acme");
    assert!(is_in(world.login.step(by_code(&right), Some(&passed)).await).is_err(), "used before");
    Ok(())
}
