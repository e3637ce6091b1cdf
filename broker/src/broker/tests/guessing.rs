//! Logins that fail, and how long their answer waits.

use super::*;
use crate::limits::Limit;

#[tokio::test(start_paused = true)]
async fn each_login_that_fails_waits_for_longer_and_a_right_password_never_does() {
    let world = guarded(Limits::default());
    for seconds in [0, 0, 0, 0, 0, 1, 2, 4, 8, 16, 30, 30] {
        assert_eq!(fails_after(&world, "a").await, seconds);
        let before = Instant::now();
        log_in(&world, "a").await;
        assert_elapsed(before, 0);
    }
    let limits = world.broker.statistics().limits;
    assert_eq!((limits.of(Limit::FailedLogins), limits.of(Limit::FailedLoginDelayMax)), (7, 2));
    tokio::time::sleep(Duration::from_secs(15 * 60)).await;
    assert_eq!(fails_after(&world, "a").await, 0, "it is forgotten");
}

#[tokio::test(start_paused = true)]
async fn names_that_do_not_exist_wait_like_any_other() {
    for name in ["a", "unknown"] {
        let world = guarded(Limits::default());
        for seconds in [0, 0, 0, 0, 0, 1, 2] {
            assert_eq!(fails_after(&world, name).await, seconds, "{name}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_no_guess_does_not_count() {
    let world = guarded(Limits::default());
    for _ in 0..20 {
        let mut client = world.client();
        client.send(Packet::Connect(login("disabled", "right"))).await;
        let before = Instant::now();
        assert_eq!(client.connack().await.reason_code, ReasonCode::NotAuthorized);
        assert_elapsed(before, 0);
    }
    assert_eq!(fails_after(&world, "disabled").await, 0);
}

#[tokio::test(start_paused = true)]
async fn other_limits_hold_for_the_next_failure() {
    let world = guarded(Limits::default());
    for _ in 0..8 {
        fails_after(&world, "a").await;
    }
    let longest = Duration::from_secs(2);
    world.broker.set_limits(Limits { failed_login_delay_max: longest, ..Limits::default() });
    assert_eq!(fails_after(&world, "a").await, 2);
    world.broker.set_limits(Limits { failed_login_delay_max: Duration::ZERO, ..Limits::default() });
    assert_eq!(fails_after(&world, "a").await, 0);
}

/// Whoever is closed for others has learned that the password is wrong: he must not have won anything by that.
#[tokio::test(start_paused = true)]
async fn a_delayed_login_gives_way_first_without_an_answer_and_keeps_its_place_of_the_address() {
    let world = guarded(Limits { logins: 2, failed_logins: 1, ..Limits::default() });
    fails_after(&world, "a").await;
    fails_after(&world, "a").await;
    world.until(|broker| broker.shared.addresses.taken(Instant::now()) == 0).await;
    let mut hopeful = world.client();
    let mut guesser = world.client();
    guesser.send(Packet::Connect(login("a", "wrong"))).await;
    world.until(|broker| broker.statistics().refused == 3).await;
    let before = Instant::now();
    let newcomer = world.client();
    assert_eq!(guesser.next().await, None, "closed without an answer");
    assert_elapsed(before, 0);
    hopeful.send(Packet::Connect(login("a", "right"))).await;
    assert_eq!(hopeful.connack().await.reason_code, ReasonCode::Success);
    drop((newcomer, hopeful, guesser));
    world.until(|broker| broker.shared.addresses.taken(Instant::now()) == 1).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(world.broker.shared.addresses.taken(Instant::now()), 0);
    assert_eq!(world.broker.statistics().limits.of(Limit::Logins), 1);
}

#[tokio::test(start_paused = true)]
async fn whoever_hangs_up_keeps_its_place_of_the_address_too() {
    let world = guarded(Limits { failed_logins: 1, ..Limits::default() });
    fails_after(&world, "a").await;
    let mut guesser = world.client();
    guesser.send(Packet::Connect(login("a", "wrong"))).await;
    world.until(|broker| broker.statistics().refused == 2).await;
    drop(guesser);
    tokio::time::sleep(Duration::from_millis(900)).await;
    assert_eq!(world.broker.shared.addresses.taken(Instant::now()), 1);
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(world.broker.shared.addresses.taken(Instant::now()), 0);
}

/// After how many seconds a wrong password is answered.
async fn fails_after(world: &World, name: &str) -> u64 {
    let mut client = world.client();
    client.send(Packet::Connect(login(name, "wrong"))).await;
    let before = Instant::now();
    assert_eq!(client.connack().await.reason_code, ReasonCode::BadUserNameOrPassword);
    let seconds = before.elapsed().as_secs();
    assert_elapsed(before, seconds);
    seconds
}

async fn log_in(world: &World, name: &str) {
    let mut client = world.client();
    client.send(Packet::Connect(login(name, "right"))).await;
    assert_eq!(client.connack().await.reason_code, ReasonCode::Success);
}

fn login(name: &str, password: &str) -> Connect {
    Connect { username: Some(name.into()), password: Some(password.to_owned().into()), ..named("c", 0) }
}

fn guarded(limits: Limits) -> World {
    World { broker: Broker::start(Arc::new(Guarded), limits, None).unwrap() }
}

/// Knows two names, and one password.
struct Guarded;

impl Access for Guarded {
    fn login(&self, login: &Login<'_>) -> Result<Arc<dyn Grant>, Refusal> {
        let name = login.user_name.unwrap_or_default();
        let reason = match (name, login.password) {
            ("a", Some(b"right")) => return Ok(Arc::new(Anything(name.to_owned()))),
            ("disabled", Some(b"right")) => crate::codec::ReasonCode::NotAuthorized,
            _ => crate::codec::ReasonCode::BadUserNameOrPassword,
        };
        Err(Refusal { reason, detail: "no".into() })
    }

    fn grant(&self, _name: &str) -> Option<Arc<dyn Grant>> {
        None
    }
}
