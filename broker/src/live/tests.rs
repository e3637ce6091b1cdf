#![allow(clippy::unwrap_used, clippy::expect_used)]
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "a slow deliver blocks on purpose, and what the tests collect must not hold the lane up"
)]

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::mpsc::{UnboundedReceiver, unbounded_channel},
    time::{sleep, timeout},
};

use super::*;
use crate::{
    codec::{ForwardedProperties, QoS},
    message::MessageParts,
};

#[tokio::test]
async fn topics_that_kill_rumqttd_go_through_unharmed() {
    let mut world = World::start(LiveSettings { links: 3, ..LiveSettings::default() });
    let topics = ["é", "日本/語", "$share/group/a", "$SYS/x", "/", "m0/live", "a/b/c", "😀"];
    for topic in topics {
        world.publish(&[message(topic, b"payload")]).await;
        let came = world.next().await;
        assert_eq!((came.topic(), came.payload()), (topic, &b"payload"[..]));
    }
    assert_eq!((world.lane.lost(), world.lane.restarts()), (0, 0));
}

#[tokio::test]
async fn empty_payload_passes_whole() {
    let mut world = World::start(LiveSettings::default());
    let sent = Message::new(&MessageParts {
        publisher: 7,
        topic: "a/b",
        qos: QoS::AtMostOnce,
        retain: true,
        received_at: 1234,
        expiry: Some(9),
        forwarded: ForwardedProperties::default(),
        payload: b"",
    });
    world.publish(std::slice::from_ref(&sent)).await;
    assert_eq!(world.next().await.record(), sent.record());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_of_a_mebibyte_pass() {
    let mut world = World::start(LiveSettings::default());
    for fill in 0..20 {
        let sent = message("big", &vec![fill; 1024 * 1024]);
        world.publish(std::slice::from_ref(&sent)).await;
        assert_eq!(world.next().await.record(), sent.record());
    }
    assert_eq!(world.lane.lost(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn burst_within_the_ring_loses_nothing_however_slow_the_receiver() {
    const BURST: u64 = 10_000;
    let (closed, gate) = gate();
    let mut world = World::start_with(LiveSettings { links: 1, ..LiveSettings::default() }, gate);
    // One message that the receiver is stuck with; the others have to stay in the ring.
    for chunk in numbers(0..BURST).chunks(1000) {
        world.publish(chunk).await;
        world.wait(|lane| lane.shared.links[0].intake() == 0).await;
    }
    drop(closed);
    for number in 0..BURST {
        assert_eq!(number_of(&world.next().await), number);
    }
    assert_eq!(world.lane.lost(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_deliver_loses_the_oldest_and_counts_them_exactly() {
    const SENT: u64 = 20_000;
    let (closed, gate) = gate();
    let settings = LiveSettings { links: 1, segment_bytes: 10_000, ..LiveSettings::default() };
    let mut world = World::start_with(settings, gate);
    for chunk in numbers(0..SENT).chunks(500) {
        world.publish(chunk).await;
        world.wait(|lane| lane.shared.links[0].intake() == 0).await;
    }
    drop(closed);
    let (mut came, mut last) = (0, None);
    while last != Some(SENT - 1) {
        let number = number_of(&world.next().await);
        assert!(last < Some(number), "{number} after {last:?}");
        last = Some(number);
        came += 1;
    }
    assert!(came < SENT / 10, "{came} came: the ring is larger than its limit");
    assert_eq!(world.lane.lost(), SENT - came);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn big_messages_to_a_slow_deliver_do_not_pile_up_beyond_the_limit_in_bytes() {
    let (closed, gate) = gate();
    let settings = LiveSettings { links: 1, under_way_bytes: 4 * 1024 * 1024, ..LiveSettings::default() };
    let mut world = World::start_with(settings, gate);
    world.publish(&[message("waits at the gate", b"")]).await;
    world.wait(|lane| lane.shared.links[0].under_way() == 0).await;
    for _ in 0..100 {
        world.publish(&[message("big", &[0; 1024 * 1024])]).await;
    }
    // Four of a little over 1 MiB each are more than 4 MiB; the limit is looked at before one enters.
    assert_eq!(world.lane.lost(), 96);
    drop(closed);
    for _ in 0..5 {
        world.next().await;
    }
    world.publish(&[message("last", b"")]).await;
    assert_eq!(world.next().await.topic(), "last");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn overwritten_messages_do_not_count_as_under_way_for_ever() {
    let settings =
        LiveSettings { links: 1, segment_bytes: 1024, under_way_bytes: 64 * 1024, ..LiveSettings::default() };
    let mut world = World::start_with(settings, || std::thread::sleep(Duration::from_micros(20)));
    for round in 0..20 {
        for chunk in numbers(0..2_000).chunks(100) {
            world.publish(chunk).await;
        }
        world.wait(|lane| lane.shared.links[0].under_way() == 0).await;
        world.publish(&[from("last", round, b"")]).await;
        while world.next().await.topic() != "last" {}
    }
    assert!(world.lane.lost() > 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn routers_channel_never_holds_more_than_two_events_of_a_link() {
    const EACH: u64 = 50_000;
    let settings = LiveSettings { links: 1, intake_messages: 64, ..LiveSettings::default() };
    let shared = Arc::new(Shared {
        links: [Link::new(0, &settings)].into(),
        lost: AtomicU64::new(0),
        restarts: AtomicU64::new(0),
        deliver: Box::new(drop),
    });
    let events = rumqttd::Router::new(0, router::config(&settings)).spawn();
    let (mut tx, rx, _) = rumqttd::local::LinkBuilder::new("m0", events.clone()).build().unwrap();
    tx.subscribe("m0/#").unwrap();
    let [rx] = <[_; 1]>::try_from(router::open(&shared, vec![(tx, rx)])).unwrap();
    let of_task = shared.clone();
    let receiving = tokio::spawn(async move { of_task.links[0].receive(rx, &of_task).await });
    let publishers: Vec<_> = (0..4)
        .map(|publisher| {
            let (shared, events) = (shared.clone(), events.clone());
            tokio::spawn(async move {
                let mut most = 0;
                for number in 0..EACH {
                    let mut batch = vec![numbered("a", publisher, number)];
                    shared.links[0].hand_over(&mut batch, 1, &shared.lost).await;
                    most = most.max(events.len());
                }
                most
            })
        })
        .collect();
    for publisher in publishers {
        let most = publisher.await.unwrap();
        assert!(most <= 2, "{most} events: one of DeviceData and one of Ready were expected at most");
    }
    shared.links[0].kill_router();
    receiving.await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn order_per_topic_holds_with_several_publishers_that_wait_for_room() {
    const PUBLISHERS: u64 = 6;
    const EACH: u64 = 5_000;
    let settings = LiveSettings { links: 2, intake_messages: 3, ..LiveSettings::default() };
    let world = World::start(settings);
    let publishers: Vec<_> = (0..PUBLISHERS)
        .map(|publisher| {
            let lane = world.lane.clone();
            tokio::spawn(async move {
                for start in (0..EACH).step_by(10) {
                    let mut batch = (start..start + 10)
                        .flat_map(|number| {
                            ["a", "b", "shared"].map(|topic| numbered(topic, publisher, number))
                        })
                        .collect();
                    lane.publish(&mut batch).await;
                    assert!(batch.is_empty());
                }
            })
        })
        .collect();
    let mut world = world;
    let mut expected = std::collections::HashMap::new();
    for _ in 0..PUBLISHERS * EACH * 3 {
        let came = world.next().await;
        let next = expected.entry((came.publisher(), came.topic().to_owned())).or_insert(0);
        assert_eq!(number_of(&came), *next);
        *next += 1;
    }
    for publisher in publishers {
        publisher.await.unwrap();
    }
    assert_eq!(world.lane.lost(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn publisher_that_gave_up_waiting_does_not_hold_up_the_next() {
    let settings = LiveSettings { links: 1, intake_messages: 1, ..LiveSettings::default() };
    let mut world = World::start(settings);
    for number in 0..200 {
        let mut batch = numbers(0..50);
        let _ = timeout(Duration::from_micros(number * 5), world.lane.publish(&mut batch)).await;
    }
    world.publish(&[message("last", b"last")]).await;
    while world.next().await.topic() != "last" {}
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn death_of_the_router_is_survived_again_and_again() {
    let mut world = World::start(LiveSettings { links: 2, ..LiveSettings::default() });
    for death in 1..=3 {
        world.lane.shared.links[death as usize % 2].kill_router();
        world.wait(|lane| lane.restarts() == death).await;
        for topic in ["a", "b", "c", "d"] {
            world.publish(&[message(topic, b"")]).await;
            assert_eq!(world.next().await.topic(), topic);
        }
    }
    assert_eq!(world.lane.lost(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_dies_with_a_router_is_counted_and_no_publisher_hangs() {
    const SENT: u64 = 30_000;
    let mut world = World::start(LiveSettings { links: 1, intake_messages: 8, ..LiveSettings::default() });
    let lane = world.lane.clone();
    let publisher = tokio::spawn(async move {
        for number in 0..SENT {
            lane.publish(&mut vec![numbered("a", 1, number)]).await;
        }
    });
    world.next().await;
    world.lane.shared.links[0].kill_router();
    publisher.await.unwrap();
    world.wait(|lane| lane.restarts() == 1).await;
    world.publish(&[message("last", b"")]).await;
    let mut came = 1;
    while world.next().await.topic() != "last" {
        came += 1;
    }
    assert_eq!(came + world.lane.lost(), SENT);
}

#[tokio::test]
async fn settings_out_of_range_are_refused_before_rumqttd_panics() {
    for settings in [
        LiveSettings { links: 0, ..LiveSettings::default() },
        LiveSettings { links: 65, ..LiveSettings::default() },
        LiveSettings { segment_bytes: 1023, ..LiveSettings::default() },
        LiveSettings { segments: 0, ..LiveSettings::default() },
        LiveSettings { intake_messages: 0, ..LiveSettings::default() },
        LiveSettings { under_way_bytes: 0, ..LiveSettings::default() },
    ] {
        assert!(matches!(LiveLane::start(settings, drop), Err(LiveError::Settings(_))));
    }
}

#[tokio::test]
async fn publisher_after_shutdown_does_not_hang() {
    let settings = LiveSettings { intake_messages: 1, ..LiveSettings::default() };
    let world = World::start(settings);
    world.lane.shutdown();
    world.publish(&numbers(0..100)).await;
    assert_eq!(world.lane.lost(), 100);
}

#[tokio::test]
async fn panic_in_deliver_costs_that_message_only() {
    let mut calls = 0;
    let panics = parking_lot::Mutex::new(move || {
        calls += 1;
        assert!(calls != 1, "the first delivery panics");
    });
    let settings = LiveSettings { links: 1, ..LiveSettings::default() };
    let mut world = World::start_with(settings, move || panics.lock()());
    world.publish(&numbers(0..2)).await;
    assert_eq!(number_of(&world.next().await), 1);
    assert_eq!((world.lane.lost(), world.lane.restarts()), (1, 0));
}

struct World {
    lane: Arc<LiveLane>,
    delivered: UnboundedReceiver<Message>,
}

impl World {
    fn start(settings: LiveSettings) -> Self {
        Self::start_with(settings, || ())
    }

    /// `before` runs before each delivery.
    fn start_with(settings: LiveSettings, before: impl Fn() + Send + Sync + 'static) -> Self {
        let (tx, delivered) = unbounded_channel();
        let deliver = move |message| {
            before();
            let _ = tx.send(message);
        };
        Self { lane: Arc::new(LiveLane::start(settings, deliver).unwrap()), delivered }
    }

    async fn publish(&self, messages: &[Message]) {
        let mut batch = messages.to_vec();
        self.lane.publish(&mut batch).await;
        assert!(batch.is_empty());
    }

    async fn next(&mut self) -> Message {
        timeout(Duration::from_secs(20), self.delivered.recv()).await.expect("a message in time").unwrap()
    }

    async fn wait(&self, condition: impl Fn(&LiveLane) -> bool) {
        let met = async {
            while !condition(&self.lane) {
                sleep(Duration::from_millis(1)).await;
            }
        };
        timeout(Duration::from_secs(20), met).await.expect("the condition in time");
    }
}

/// A delivery waits at the gate until what keeps it closed is dropped.
fn gate() -> (std::sync::mpsc::Sender<()>, impl Fn() + Send + Sync + 'static) {
    let (closed, gate) = std::sync::mpsc::channel();
    let gate = parking_lot::Mutex::new(gate);
    (closed, move || assert!(gate.lock().recv().is_err()))
}

fn numbers(range: std::ops::Range<u64>) -> Vec<Message> {
    range.map(|number| numbered("a/b", 1, number)).collect()
}

fn number_of(message: &Message) -> u64 {
    u64::from_le_bytes(message.payload().try_into().unwrap())
}

fn message(topic: &str, payload: &[u8]) -> Message {
    from(topic, 1, payload)
}

fn numbered(topic: &str, publisher: u64, number: u64) -> Message {
    from(topic, publisher, &number.to_le_bytes())
}

fn from(topic: &str, publisher: u64, payload: &[u8]) -> Message {
    Message::new(&MessageParts {
        publisher,
        topic,
        qos: QoS::AtMostOnce,
        retain: false,
        received_at: 0,
        expiry: None,
        forwarded: ForwardedProperties::default(),
        payload,
    })
}
