//! The throttle's rules as tables, under a clock of their own.

use super::*;

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_mins(1);

fn throttle() -> (Throttle, Instant) {
    (Throttle::new(ThrottleLimits::default()), Instant::now())
}

fn net(number: u32) -> Network {
    Network::of_peer(std::net::Ipv4Addr::from_bits(0x0a00_0000 + number).into())
}

/// One wrong guess, start to end, as a letter: (g)one on at once, (d)elayed, (w)ait, (r)efused.
fn wrong(throttle: &Throttle, name: &str, network: Network, now: Instant) -> char {
    match throttle.begin(name, network, now) {
        Admission::Go { guess, delay } => {
            guess.wrong(now);
            if delay.is_zero() { 'g' } else { 'd' }
        }
        Admission::Wait(_) => 'w',
        Admission::Refused { .. } => 'r',
    }
}

fn right(throttle: &Throttle, name: &str, network: Network, now: Instant) -> char {
    match throttle.begin(name, network, now) {
        Admission::Go { guess, delay } => {
            guess.right(now);
            if delay.is_zero() { 'g' } else { 'd' }
        }
        Admission::Wait(_) => 'w',
        Admission::Refused { .. } => 'r',
    }
}

fn refused_for(throttle: &Throttle, name: &str, network: Network, now: Instant) -> Option<Duration> {
    match throttle.begin(name, network, now) {
        Admission::Refused { retry_after } => Some(retry_after),
        Admission::Go { guess, .. } => {
            guess.give_back();
            None
        }
        Admission::Wait(_) => None,
    }
}

/// Steps: (name, network, seconds, is it the right password?, expected letter).
type Step = (&'static str, u32, u64, bool, char);

fn run(what: &str, steps: impl IntoIterator<Item = Step>) {
    let (throttle, start) = throttle();
    for (index, (name, network, seconds, is_right, expected)) in steps.into_iter().enumerate() {
        let step = if is_right { right } else { wrong };
        let seen = step(&throttle, name, net(network), start + SECOND * u32::try_from(seconds).unwrap_or(0));
        assert_eq!(seen, expected, "{what}, step {index}: {name} from {network} at {seconds} s");
    }
}

fn times(count: usize, step: Step) -> impl Iterator<Item = Step> {
    std::iter::repeat_n(step, count)
}

#[test]
fn a_network_has_ten_guesses_in_ten_minutes() {
    let five = |name, at| times(5, (name, 1, at, false, 'g'));
    let spent = || five("a", 0).chain(five("b", 300));
    run("all names together", spent().chain([("c", 1, 301, false, 'r'), ("a", 1, 301, true, 'r')]));
    run("another network", spent().chain([("a", 2, 301, false, 'g')]));
    run(
        "the window slides",
        spent().chain([("c", 1, 599, false, 'r')]).chain(five("c", 600)).chain([("d", 1, 600, false, 'r')]),
    );
    run("all over", spent().chain([("c", 1, 900, false, 'g')]));
}

#[test]
fn one_name_takes_half_of_them() {
    let spent = || times(5, ("a", 1, 0, false, 'g'));
    run("that name", spent().chain([("a", 1, 1, false, 'r'), ("a", 1, 1, true, 'r'), ("a", 1, 600, false, 'g')]));
    run("another name", spent().chain(times(5, ("b", 1, 1, false, 'g'))).chain([("c", 1, 1, false, 'r')]));
    run("that name elsewhere", spent().chain([("a", 2, 1, true, 'g')]));
}

#[test]
fn a_right_password_takes_no_guess_and_gives_none_back() {
    run("hundreds of right ones", times(300, ("a", 1, 0, true, 'g')));
    let washing = (0..20).flat_map(|round| {
        [("mine", 1, round, true, 'g'), ("victim", 1, round, false, if round < 5 { 'g' } else { 'r' })]
    });
    run("an own account washes nothing away", washing);
    let names = ["v0", "v1", "v2", "v3", "v4", "v5", "v6", "v7", "v8", "v9"];
    let many = names
        .iter()
        .enumerate()
        .flat_map(|(index, name)| [("mine", 1, 0, true, 'g'), (*name, 1, 0, false, if index < 7 { 'g' } else { 'r' })]);
    run("nor on many names", many);
}

#[test]
fn the_last_three_are_kept_for_names_known_there() {
    let known = [("a", 1, 0, true, 'g')];
    let noise = || ["r0", "r1", "r2", "r3", "r4", "r5", "r6"].into_iter().map(|name| (name, 1, 1, false, 'g'));
    run(
        "noise stops at seven",
        known.into_iter().chain(noise()).chain([("root", 1, 1, false, 'r'), ("a", 1, 1, true, 'g')]),
    );
    run(
        "ten is the end all the same",
        known.into_iter().chain(noise()).chain(times(3, ("a", 1, 1, false, 'g'))).chain([("a", 1, 1, true, 'r')]),
    );
    run(
        "a name known elsewhere is strange here",
        [("a", 2, 0, true, 'g')]
            .into_iter()
            .chain(known)
            .chain([("b", 2, 0, true, 'g')])
            .chain(noise())
            .chain([("b", 1, 1, true, 'r')]),
    );
}

#[test]
fn guesses_under_way_count() {
    let (throttle, now) = throttle();
    let mut under_way = Vec::new();
    for number in 0..10 {
        match throttle.begin(&format!("user{number}"), net(1), now) {
            Admission::Go { mut guess, .. } => {
                guess.looked_at(now);
                under_way.push(guess);
            }
            _ => panic!("guess {number}"),
        }
    }
    assert_eq!(wrong(&throttle, "x", net(1), now), 'w');
    assert_eq!(wrong(&throttle, "x", net(2), now), 'g', "other networks go on");
    if let Some(guess) = under_way.pop() {
        guess.right(now);
    }
    assert_eq!(right(&throttle, "user9", net(1), now), 'g', "a right one makes room");
    if let Some(guess) = under_way.pop() {
        guess.give_back();
    }
    assert_eq!(right(&throttle, "user9", net(1), now), 'g', "so does one that was never looked at");
    // Hanging up is no way to guess for nothing.
    drop(under_way);
    assert_eq!(wrong(&throttle, "user9", net(1), now), 'g');
    assert_eq!(wrong(&throttle, "user9", net(1), now), 'g');
    assert_eq!(wrong(&throttle, "user9", net(1), now), 'r');
}

#[test]
fn what_was_dropped_before_anybody_looked_is_given_back() {
    let (throttle, now) = throttle();
    for round in 0..3 {
        let under_way: Vec<_> = (0..10).map(|number| throttle.begin(&format!("user{number}"), net(1), now)).collect();
        assert!(under_way.iter().all(|admission| matches!(admission, Admission::Go { .. })), "round {round}");
        assert_eq!(right(&throttle, "x", net(1), now), 'w', "until then they count");
    }
    assert_eq!(right(&throttle, "x", net(1), now), 'g');
}

#[test]
fn a_guess_says_whether_the_pair_is_known() {
    let (throttle, now) = throttle();
    let is_known = |name: &str, network: u32| match throttle.begin(name, net(network), now) {
        Admission::Go { guess, .. } => Some(guess.is_known()),
        _ => None,
    };
    assert_eq!(is_known("a", 1), Some(false));
    assert_eq!(right(&throttle, "a", net(1), now), 'g');
    assert_eq!((is_known("a", 1), is_known("a", 2), is_known("b", 1)), (Some(true), Some(false), Some(false)));
}

#[test]
fn of_one_name_five_may_be_under_way() {
    let (throttle, now) = throttle();
    let under_way: Vec<_> = (0..5).map(|_| throttle.begin("a", net(1), now)).collect();
    assert!(under_way.iter().all(|admission| matches!(admission, Admission::Go { .. })));
    assert_eq!(wrong(&throttle, "a", net(1), now), 'w');
    assert_eq!(right(&throttle, "b", net(1), now), 'g');
}

#[tokio::test]
async fn who_waits_is_woken_when_a_guess_ends() {
    let (throttle, now) = throttle();
    let under_way: Vec<_> = (0..5).map(|_| throttle.begin("a", net(1), now)).collect();
    let waits: Vec<_> = (0..3).map(|_| throttle.begin("a", net(1), now)).collect();
    // Ends before anybody listens: the news must not be lost.
    for admission in under_way {
        if let Admission::Go { guess, .. } = admission {
            guess.wrong(now);
        }
    }
    for wait in waits {
        let Admission::Wait(ended) = wait else { panic!("a wait") };
        assert!(tokio::time::timeout(MINUTE, ended).await.is_ok(), "the news was lost");
    }
    assert_eq!(wrong(&throttle, "a", net(1), now), 'r');
}

#[test]
fn it_says_when_to_come_back() {
    let (throttle, start) = throttle();
    for minute in 0..5 {
        wrong(&throttle, "a", net(1), start + MINUTE * minute);
    }
    let now = start + MINUTE * 5;
    assert_eq!(refused_for(&throttle, "a", net(1), now), Some(MINUTE * 5), "when the first of the name's five is over");
    for _ in 0..5 {
        wrong(&throttle, "b", net(1), now);
    }
    assert_eq!(refused_for(&throttle, "c", net(1), now), Some(MINUTE * 5), "when the first of all ten is");
    assert_eq!(refused_for(&throttle, "b", net(1), now), Some(MINUTE * 10), "the later of the two reasons");
    assert_eq!(refused_for(&throttle, "c", net(1), now + MINUTE * 5), None);
}

#[test]
fn others_guesses_slow_strangers_down_and_refuse_nobody() {
    let (throttle, now) = throttle();
    assert_eq!(right(&throttle, "a", net(1), now), 'g');
    let mut delays = Vec::new();
    for number in 0..1000 {
        match throttle.begin("a", net(100 + number), now) {
            Admission::Go { guess, delay } => {
                delays.push(delay);
                guess.wrong(now);
            }
            _ => panic!("network {number} was refused or made to wait"),
        }
    }
    assert!(delays.iter().take(21).all(Duration::is_zero), "nobody is slowed down at first");
    assert!(delays.is_sorted() && delays.get(21).is_some_and(|delay| !delay.is_zero()));
    assert_eq!(delays.last(), Some(&Duration::from_secs(5)), "bounded");
    assert_eq!(right(&throttle, "a", net(1), now), 'g', "where it was opened before, at once");
    assert_eq!(right(&throttle, "a", net(2), now), 'd', "from a new place, after the delay");
    assert_eq!(right(&throttle, "a", net(2), now), 'g', "which is known from then on");
    assert_eq!(right(&throttle, "b", net(3), now), 'g', "other names have nothing to do with it");
    assert_eq!(right(&throttle, "a", net(4), now + MINUTE * 9), 'd');
    assert_eq!(right(&throttle, "a", net(5), now + MINUTE * 10), 'g', "half has leaked away");
}

#[test]
fn only_the_latest_networks_of_a_name_are_known() {
    let (throttle, now) = throttle();
    for number in 0..17 {
        right(&throttle, "a", net(number), now);
    }
    throttle.remember("a", net(1), now);
    throttle.remember("a", net(17), now);
    let state = throttle.lock();
    let known: Vec<_> = state.known.values().flat_map(|known| known.networks.clone()).collect();
    assert_eq!(known.len(), 16);
    assert!(!known.contains(&net(0)) && !known.contains(&net(2)), "those that were quiet longest went");
    assert!(known.contains(&net(1)) && known.contains(&net(17)));
    assert_eq!(state.known_counts.len(), 16);
    assert!(state.known_counts.values().all(|count| *count == 1));
}

#[test]
fn one_ipv6_subscriber_is_one_network() {
    let (throttle, now) = throttle();
    for number in 0..10_u128 {
        let peer = std::net::Ipv6Addr::from_bits(0x2001_0db8_0000_0001 << 64 | number);
        assert_eq!(wrong(&throttle, &number.to_string(), Network::of_peer(peer.into()), now), 'g');
    }
    let peer = std::net::Ipv6Addr::from_bits(0x2001_0db8_0000_0001 << 64 | 0xffff);
    assert_eq!(wrong(&throttle, "x", Network::of_peer(peer.into()), now), 'r');
    let mapped = std::net::Ipv4Addr::new(10, 0, 0, 1).to_ipv6_mapped();
    assert_eq!(Network::of_peer(mapped.into()), net(1));
}

#[test]
fn a_flood_of_addresses_and_names_leaves_it_flat() {
    let limits = ThrottleLimits { entries_max: 256, ..ThrottleLimits::default() };
    let throttle = Throttle::new(limits);
    let start = Instant::now();
    let under_way = throttle.begin("held", net(0), start);
    for number in 1..20_000_u32 {
        let now = start + Duration::from_millis(u64::from(number));
        let name = format!("name{number}");
        assert_eq!(wrong(&throttle, &name, net(number), now), 'g');
        assert_eq!(right(&throttle, &name, net(number), now), 'g');
        let state = throttle.lock();
        assert!(state.networks.len() <= 256 && state.names.len() <= 256 && state.known.len() <= 256);
        assert!(state.known_counts.len() <= 256);
    }
    let state = throttle.lock();
    assert!(state.networks.contains_key(&net(19_999)), "the latest are there");
    assert!(state.networks.contains_key(&net(0)), "and those with a guess under way");
    drop(state);
    drop(under_way);
}

#[test]
fn nothing_is_left_of_who_only_came_in() {
    let (throttle, now) = throttle();
    for number in 0..100 {
        right(&throttle, "a", net(number), now);
    }
    assert!(throttle.lock().networks.is_empty());
}

#[test]
fn limits_change_at_once() {
    let (throttle, now) = throttle();
    assert_eq!(wrong(&throttle, "a", net(1), now), 'g');
    throttle.set_limits(ThrottleLimits { guesses_per_network: 1, ..ThrottleLimits::default() });
    assert_eq!(wrong(&throttle, "b", net(1), now), 'r');
    for number in 0..40 {
        wrong(&throttle, "a", net(100 + number), now);
    }
    let longest = ThrottleLimits::default().delay_max;
    throttle.set_limits(ThrottleLimits { failures_before_delay: 1, ..ThrottleLimits::default() });
    let delayed = throttle.begin("a", net(2), now);
    assert!(
        matches!(delayed, Admission::Go { delay, .. } if delay == longest),
        "what was counted before stays bounded"
    );
    throttle.set_limits(ThrottleLimits { guesses_per_network: 0, ..ThrottleLimits::default() });
    assert_eq!(refused_for(&throttle, "b", net(9), now), Some(MINUTE * 10));
}

#[test]
fn codes_of_strangers_run_out_and_come_back() {
    let (throttle, start) = throttle();
    for _ in 0..5 {
        assert!(throttle.may_try_code("acme", false, start));
        throttle.wrong_code("acme", start);
    }
    assert!(!throttle.may_try_code("acme", false, start));
    assert!(throttle.may_try_code("acme", true, start) && throttle.may_try_code("beta", false, start));
    // More of them do not make it longer.
    for _ in 0..50 {
        throttle.wrong_code("acme", start);
    }
    assert!(!throttle.may_try_code("acme", false, start + MINUTE + 59 * SECOND));
    assert!(throttle.may_try_code("acme", false, start + 2 * MINUTE));
}
