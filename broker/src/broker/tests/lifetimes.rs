//! Session expiry and Will Messages, in simulated time.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_session_ends_when_its_expiry_has_passed_counted_from_the_last_connection() {
    let world = World::start();
    for _ in 0..2 {
        drop(world.connect(named("a", 10)).await);
        tokio::time::sleep(Duration::from_secs(9)).await;
        assert!(world.has("a"));
    }
    let (client, present) = world.connect_for(named("a", 10)).await;
    assert!(present);
    let left = Instant::now();
    drop(client);
    world.until(|broker| broker.sessions().is_empty()).await;
    assert_elapsed(left, 10);
    assert!(!world.connect_for(named("a", 10)).await.1);
}

#[tokio::test(start_paused = true)]
async fn no_client_keeps_a_session_longer_than_the_limit() {
    let world = World::with(Limits { session_expiry_max: 60, ..Limits::default() });
    let left = Instant::now();
    world.connect(named("a", u32::MAX)).await.disconnect(ReasonCode::Success, Some(u32::MAX)).await;
    world.until(|broker| broker.sessions().is_empty()).await;
    assert_elapsed(left, 60);
}

#[tokio::test(start_paused = true)]
async fn disconnect_may_change_the_expiry() {
    let world = World::start();
    world.connect(named("a", 60)).await.disconnect(ReasonCode::Success, Some(0)).await;
    world.until(|broker| broker.sessions().is_empty()).await;
    let left = Instant::now();
    world.connect(named("a", 60)).await.disconnect(ReasonCode::Success, Some(5)).await;
    world.until(|broker| broker.sessions().is_empty()).await;
    assert_elapsed(left, 5);
}

#[tokio::test(start_paused = true)]
async fn a_will_goes_out_after_its_delay_or_with_the_session_whichever_is_first_3_1_3_9() {
    for (expiry, delay, due) in [(10, 5, 5), (5, 10, 5), (5, 5, 5), (0, 10, 0), (10, 0, 0), (0, 0, 0)] {
        let world = World::start();
        let mut listener = world.listener().await;
        let client = world.connect(with_will("a", expiry, delay)).await;
        let left = Instant::now();
        drop(client);
        assert_eq!(listener.message().await, "will");
        assert_elapsed(left, due);
        world.until(|broker| broker.sessions().len() == 1).await;
        assert_nothing_else(&world, &mut listener).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_returns_within_the_delay_cancels_its_will() {
    let world = World::start();
    let mut listener = world.listener().await;
    drop(world.connect(with_will("a", 60, 10)).await);
    tokio::time::sleep(Duration::from_secs(9)).await;
    let _back = world.connect(named("a", 60)).await;
    tokio::time::sleep(Duration::from_secs(100)).await;
    assert_nothing_else(&world, &mut listener).await;
}

#[tokio::test(start_paused = true)]
async fn a_clean_start_within_the_delay_publishes_the_will_at_once() {
    let world = World::start();
    let mut listener = world.listener().await;
    drop(world.connect(with_will("a", 60, 10)).await);
    world.until(|broker| !broker.is_online("anonymous")).await;
    let before = Instant::now();
    let (_back, present) = world.connect_for(clean(named("a", 60))).await;
    assert!(!present);
    assert_eq!(listener.message().await, "will");
    assert_elapsed(before, 0);
    tokio::time::sleep(Duration::from_secs(100)).await;
    assert_nothing_else(&world, &mut listener).await;
}

#[tokio::test(start_paused = true)]
async fn disconnect_cancels_the_will_unless_it_asks_for_it_3_14_4_3() {
    let world = World::start();
    let mut listener = world.listener().await;
    world.connect(with_will("a", 60, 5)).await.disconnect(ReasonCode::Success, None).await;
    tokio::time::sleep(Duration::from_secs(100)).await;
    assert_nothing_else(&world, &mut listener).await;
    let left = Instant::now();
    world.connect(with_will("a", 60, 5)).await.disconnect(ReasonCode::DisconnectWithWill, None).await;
    assert_eq!(listener.message().await, "will");
    assert_elapsed(left, 5);
}

#[tokio::test(start_paused = true)]
async fn a_takeover_cancels_a_delayed_will_and_publishes_one_without_delay() {
    for (delay, published) in [(5, false), (0, true)] {
        let world = World::start();
        let mut listener = world.listener().await;
        let mut old = world.connect(with_will("a", 60, delay)).await;
        let _new = world.connect(named("a", 60)).await;
        assert_eq!(old.told().await, Some(ReasonCode::SessionTakenOver));
        if published {
            assert_eq!(listener.message().await, "will");
        }
        tokio::time::sleep(Duration::from_secs(100)).await;
        assert_nothing_else(&world, &mut listener).await;
    }
}

/// Regression: what a session lost after its client had left was not counted when it ended by itself.
#[tokio::test(start_paused = true)]
async fn messages_lost_while_the_client_was_away_are_counted_when_the_session_ends() {
    let queue = crate::limits::QueueLimits { messages: 1, bytes: 10_000 };
    let when_full = crate::limits::WhenFull::DropOldest;
    let world = World::with(Limits {
        flow: crate::limits::FlowLimits { queue, when_full, max_age: None },
        ..Limits::default()
    });
    let mut client = world.connect(named("a", 10)).await;
    client.subscribe("t").await;
    drop(client);
    world.until(|broker| !broker.is_online("anonymous")).await;
    for _ in 0..3 {
        world.broker.publish("t", b"", crate::codec::QoS::AtLeastOnce, false).await.unwrap();
    }
    tokio::time::sleep(Duration::from_secs(20)).await;
    assert!(!world.has("a"));
    assert_eq!(world.broker.statistics().dropped, 2);
}

async fn assert_nothing_else(world: &World, listener: &mut Client) {
    world.broker.publish("end", b"", crate::codec::QoS::AtLeastOnce, false).await.unwrap();
    assert_eq!(listener.message().await, "end");
}
