//! Devices that are away cost disk, not memory.
//!
//! `IOR_MEMORY_MESSAGES` sets how many messages wait; what is promised is a million.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::time::{Duration, Instant};

use ior_tests::{
    Bridge, Credentials, End, World,
    raw::{Client, Connect, Kind, Property, Publish, Version::V5},
};

const MESSAGES: usize = 1_000_000;
const MESSAGE_SIZE: usize = 100;
/// What the bridge may grow by, in bytes.
const GROWTH: u64 = 20 << 20;
/// Devices that are away, each with its share of the messages.
const AWAY: usize = 2;
/// How many messages are read of those that wait.
const READ: usize = 3000;
const RECEIVE_MAXIMUM: u16 = 10;

#[test]
fn what_waits_for_devices_that_are_away_is_not_in_memory() {
    let messages: usize =
        std::env::var("IOR_MEMORY_MESSAGES").map_or(MESSAGES, |messages| messages.parse().unwrap());
    let bridge = World::durable()
        .env("IOR_BRIDGE__LIMITS__QUEUE_MESSAGES", "2000000")
        .env("IOR_BRIDGE__LIMITS__QUEUE_BYTES", "2GiB")
        .start();
    for number in 1..=AWAY {
        let (mut away, _) = returning(&bridge, &end(&bridge, number, End::To));
        away.subscribe(&end(&bridge, number, End::To).subscribe, 1);
        away.disconnect();
    }
    // The first messages make room that later ones use again.
    fill(&bridge, 0..1000);
    let before = bridge.process().resident();
    let start = Instant::now();
    fill(&bridge, 1000..messages / AWAY);
    println!("{messages} messages queued in {:?}", start.elapsed());
    let grown = bridge.process().resident().saturating_sub(before);
    println!("memory: {} KiB before, grown by {} KiB", before >> 10, grown >> 10);
    assert!(grown <= GROWTH, "grown by {} KiB", grown >> 10);
    let peak = bridge.process().peak().saturating_sub(before);
    assert!(peak <= 2 * GROWTH, "grown by {} KiB for a while", peak >> 10);

    let start = Instant::now();
    let (status, world) = bridge.stop();
    let stopped = start.elapsed();
    assert!(status.success());
    let start = Instant::now();
    let bridge = world.start();
    let started = start.elapsed();
    let fresh = bridge.process().peak();
    println!("stopped in {stopped:?}, ready in {started:?} with at most {} KiB", fresh >> 10);
    assert!(stopped < Duration::from_secs(2), "stopped in {stopped:?}");
    assert!(started < Duration::from_secs(2), "ready in {started:?}");
    assert!(fresh.saturating_sub(before) <= GROWTH, "{} KiB after the start", fresh >> 10);

    for number in 1..=AWAY {
        read_while_new_ones_come(&bridge, number, messages / AWAY);
    }
    let grown = bridge.process().peak().saturating_sub(before);
    assert!(grown <= GROWTH, "grown by {} KiB when devices return", grown >> 10);
}

#[test]
fn what_waits_behind_a_slow_device_is_not_in_memory() {
    const WAITING: usize = 100_000;
    let bridge = World::durable().start();
    let to = end(&bridge, 1, End::To);
    let (mut slow, _) = returning(&bridge, &to);
    slow.subscribe(&to.subscribe, 1);
    let before = bridge.process().resident();
    let from = end(&bridge, 1, End::From);
    bridge.connect(V5, &from).publish_all(&from.publish, (0..WAITING).map(payload));
    let grown = bridge.process().resident().saturating_sub(before);
    println!("{WAITING} messages behind a slow device: grown by {} KiB", grown >> 10);
    // All of them in memory, with what is around them, are about half as much again.
    assert!(grown <= GROWTH, "grown by {} KiB", grown >> 10);
    for number in 0..WAITING {
        let message = slow.expect_publish();
        assert_eq!(message.payload, payload(number));
        slow.acknowledge(Kind::PubAck, message.id);
    }
}

/// Publishes these numbers to every device that is away.
fn fill(bridge: &Bridge, numbers: std::ops::Range<usize>) {
    for number in 1..=AWAY {
        let from = end(bridge, number, End::From);
        bridge.connect(V5, &from).publish_all(&from.publish, numbers.clone().map(payload));
    }
}

fn read_while_new_ones_come(bridge: &Bridge, connection: usize, waiting: usize) {
    let (from, to) = (end(bridge, connection, End::From), end(bridge, connection, End::To));
    let mut publisher = bridge.connect(V5, &from);
    let (mut subscriber, present) = returning(bridge, &to);
    assert!(present);
    let mut window = Vec::new();
    for number in 0..READ {
        if window.is_empty() {
            // As much as was agreed on, and nothing more until something is acknowledged.
            window.extend((0..RECEIVE_MAXIMUM).map(|_| subscriber.expect_publish()));
            subscriber.expect_silence();
            window.reverse();
            publisher.send(Publish::new(&from.publish, payload(waiting + number / 10)).qos(1, 1));
            publisher.expect_success(Kind::PubAck, 1);
        }
        let message = window.pop().unwrap();
        assert_eq!(message.payload, payload(number), "number {number}");
        assert!(!message.dup);
        subscriber.acknowledge(Kind::PubAck, message.id);
    }
    // The next window is on its way and not acknowledged: it comes again, and then goes on.
    subscriber.cut();
    let (mut subscriber, _) = returning(bridge, &to);
    for number in READ..READ + 100 {
        let message = subscriber.expect_publish();
        assert_eq!(message.payload, payload(number));
        subscriber.acknowledge(Kind::PubAck, message.id);
    }
    subscriber.disconnect();
}

fn payload(number: usize) -> Vec<u8> {
    format!("{number:0MESSAGE_SIZE$}").into_bytes()
}

fn end(bridge: &Bridge, connection: usize, end: End) -> Credentials {
    bridge.credentials(&format!("connection-{connection}"), end)
}

fn returning(bridge: &Bridge, who: &Credentials) -> (Client, bool) {
    let connect = Connect::new("returns").persistent(V5).property(Property::ReceiveMaximum(RECEIVE_MAXIMUM));
    bridge.connect_with(V5, who, connect)
}
