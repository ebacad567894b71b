//! A slow server, callers who go away, and crowds. Polled by hand on one thread: what happens when is the test's choice.

use std::net::IpAddr;
use std::num::NonZeroUsize;
use std::pin::Pin;
use std::time::{Duration, Instant};

use landfall_auth::{
    Admission, Attempt, Denied, Grant, Hasher, Login, Network, Throttle, ThrottleLimits, User, Users, WorkLimits,
};

use crate::hasher::Rank;
use crate::tests::world::{COST, HOME, Outcome, World, password, poll_once, today};

/// One verification at a time, and that many waiting.
struct Narrow {
    world: World,
    hasher: Hasher,
    throttle: Throttle,
    login: Login,
}

type Trying<'a> = Pin<Box<dyn Future<Output = Result<User, Denied>> + 'a>>;

impl Narrow {
    async fn new(waiting: usize) -> Result<Self, Box<dyn std::error::Error>> {
        let world = World::new().await?;
        world.add("acme", "pw").await?;
        let hasher = Hasher::new(COST, WorkLimits { running: NonZeroUsize::new(1), waiting })?;
        let users = Users::open(world.users.database().clone(), Grant::default(), hasher.clone());
        let throttle = Throttle::new(ThrottleLimits::default());
        let login = Login::new(users, throttle.clone(), today);
        Ok(Self { world, hasher, throttle, login })
    }

    fn from(&self, peer: IpAddr, shown: &'static str) -> Trying<'_> {
        let login = self.login.clone();
        Box::pin(async move { login.attempt(Attempt { peer, ..password("acme", shown) }).await })
    }

    /// A try that has a place in the queue, or what became of it.
    async fn queued(&self, peer: IpAddr, shown: &'static str) -> Result<Trying<'_>, Result<User, Denied>> {
        let before = self.hasher.places_free();
        let mut trying = self.from(peer, shown);
        loop {
            if let Some(outcome) = poll_once(trying.as_mut()).await {
                return Err(outcome);
            }
            if self.hasher.places_free() < before {
                return Ok(trying);
            }
            tokio::task::yield_now().await;
        }
    }

    /// Hangs up as soon as the verification has begun, and before it can have ended.
    async fn hang_up_on_verification(&self, shown: &'static str) {
        while self.hasher.turns_free() == 0 {
            tokio::task::yield_now().await;
        }
        let mut trying = self.from(HOME, shown);
        while self.hasher.turns_free() == 1 {
            assert_eq!(poll_once(trying.as_mut()).await, None);
            if self.hasher.turns_free() == 1 {
                tokio::task::yield_now().await;
            }
        }
    }
}

fn stranger(number: u8) -> IpAddr {
    IpAddr::from([10, 0, 0, number])
}

#[tokio::test]
async fn a_right_password_counts_as_right_when_its_caller_has_gone() -> Outcome {
    let narrow = Narrow::new(8).await?;
    for _ in 0..10 {
        narrow.hang_up_on_verification("pw").await;
    }
    narrow.login.attempt(password("acme", "pw")).await?;
    Ok(())
}

#[tokio::test]
async fn what_a_right_password_does_is_done_when_its_caller_has_gone() -> Outcome {
    let narrow = Narrow::new(8).await?;
    narrow.hang_up_on_verification("pw").await;
    // The verification runs on another thread; that it ends is all that is waited for.
    while narrow.hasher.turns_free() == 0 {
        tokio::task::yield_now().await;
    }
    let done = async {
        loop {
            match narrow.throttle.begin("acme", Network::of_peer(HOME), Instant::now()) {
                Admission::Go { guess, .. } if guess.is_known() => break,
                _ => tokio::task::yield_now().await,
            }
        }
        while narrow.world.users.last_login("acme").await?.is_none() {
            tokio::task::yield_now().await;
        }
        Ok::<_, landfall_auth::Error>(())
    };
    // Only so that a failure is one, and no endless wait.
    tokio::time::timeout(Duration::from_mins(1), done).await.map_err(|_| "forgotten")??;
    Ok(())
}

#[tokio::test]
async fn a_wrong_password_counts_as_wrong_when_its_caller_has_gone() -> Outcome {
    let narrow = Narrow::new(8).await?;
    for _ in 0..5 {
        narrow.hang_up_on_verification("guess").await;
    }
    // Comes when the last one has ended.
    assert!(matches!(narrow.login.attempt(password("acme", "pw")).await, Err(Denied::Throttled { .. })));
    Ok(())
}

#[tokio::test]
async fn who_goes_away_while_waiting_leaves_the_queue_and_loses_no_guess() -> Outcome {
    let narrow = Narrow::new(20).await?;
    let held = narrow.hasher.turn(Rank::Operator).await?;
    let free = narrow.hasher.places_free();
    for round in 0..3 {
        let mut waiting = Vec::new();
        for _ in 0..5 {
            waiting.push(narrow.queued(HOME, "pw").await.map_err(|outcome| format!("{outcome:?}"))?);
        }
        assert_eq!(narrow.hasher.places_free(), free - 5);
        // Until then they count, or many at once would be many guesses.
        let sixth = narrow.throttle.begin("acme", Network::of_peer(HOME), Instant::now());
        assert!(matches!(sixth, Admission::Wait(_)), "round {round}");
        drop(waiting);
        assert_eq!(narrow.hasher.places_free(), free, "round {round}");
    }
    drop(held);
    assert_eq!(narrow.hasher.turns_free(), 1, "nobody is left to be verified");
    narrow.login.attempt(password("acme", "pw")).await?;
    Ok(())
}

#[tokio::test]
async fn a_storm_of_strangers_does_not_keep_out_whom_we_know() -> Outcome {
    let narrow = Narrow::new(8).await?;
    narrow.login.attempt(password("acme", "pw")).await?;
    let held = narrow.hasher.turn(Rank::Operator).await?;
    let mut storm = Vec::new();
    let denied = loop {
        match narrow.queued(stranger(u8::try_from(storm.len())?), "guess").await {
            Ok(waiting) => storm.push(waiting),
            Err(outcome) => break outcome,
        }
    };
    assert_eq!((storm.len(), denied), (5, Err(Denied::Unavailable)), "six of nine places are the strangers'");
    let mut known = narrow.queued(HOME, "pw").await.map_err(|outcome| format!("{outcome:?}"))?;
    drop(held);
    // One stranger stood at the head of the line; the others come after.
    let mut done = 0;
    let user = loop {
        let mut ended = Vec::new();
        for (index, trying) in storm.iter_mut().enumerate() {
            if poll_once(trying.as_mut()).await.is_some() {
                ended.push(index);
            }
        }
        done += ended.len();
        ended.into_iter().rev().for_each(|index| drop(storm.remove(index)));
        if let Some(outcome) = poll_once(known.as_mut()).await {
            break outcome?;
        }
        tokio::task::yield_now().await;
    };
    assert_eq!(user.name, "acme");
    assert!(done <= 2, "{done} strangers came first");
    Ok(())
}

#[tokio::test]
async fn one_networks_crowd_leaves_others_room_to_wait() -> Outcome {
    let narrow = Narrow::new(8).await?;
    let _held = narrow.hasher.turn(Rank::Operator).await?;
    let mut crowd = Vec::new();
    // Five are under way as far as the queue for verification; the others wait until one of those has ended.
    for _ in 0..5 {
        crowd.push(narrow.queued(HOME, "guess").await.map_err(|outcome| format!("{outcome:?}"))?);
    }
    let mut waiting = 0;
    let denied = loop {
        let mut trying = narrow.from(HOME, "guess");
        if let Some(outcome) = poll_once(trying.as_mut()).await {
            break outcome;
        }
        crowd.push(trying);
        waiting += 1;
    };
    assert_eq!((waiting, denied), (512, Err(Denied::Unavailable)));
    // Elsewhere there is room.
    let under_way: Vec<_> =
        (0..5).map(|_| narrow.throttle.begin("acme", Network::of_peer(stranger(1)), Instant::now())).collect();
    let mut elsewhere = narrow.from(stranger(1), "pw");
    assert_eq!(poll_once(elsewhere.as_mut()).await, None);
    drop(under_way);
    Ok(())
}
