//! The door, from outside: who is let in, and what those hear who are not.

mod common;

use common::{KEY, OTHER_KEY, Outcome, World, key, named, password};
use landfall_auth::{Denied, NewUser, Secret};

#[tokio::test]
async fn right_password_and_right_key_open_the_door() -> Outcome {
    let world = World::new().await?;
    world.users.add(NewUser { password: Some(Secret::from("pw")), keys: vec![KEY.into()], ..named("acme") }).await?;
    let user = world.login.attempt(password("acme", "pw")).await?;
    assert_eq!((user.name.as_str(), user.home.as_str(), user.key_count), ("acme", "/acme", 1));
    assert_eq!(world.login.attempt(key("acme", KEY)).await?.name, "acme");
    assert!(world.login.key_is_known(key("acme", KEY)).await);
    assert!(!world.login.key_is_known(key("acme", OTHER_KEY)).await);
    assert!(!world.login.key_is_known(key("nobody", KEY)).await);
    assert_eq!(world.login.attempt(password("acme", "PW")).await, Err(Denied::Credentials));
    assert_eq!(world.login.attempt(password("nobody", "pw")).await, Err(Denied::Credentials));
    assert_eq!(world.login.attempt(key("acme", OTHER_KEY)).await, Err(Denied::Credentials));
    Ok(())
}
