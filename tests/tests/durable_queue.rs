//! Limits of what waits for devices that are away, and what clocks do to it.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::time::{Duration, Instant};

use ior_tests::{
    Bridge, Credentials, DEADLINE, End, ON_BOTH_VERSIONS, World,
    faults::set_clock,
    raw::{
        Client, Connect, Kind, Message, Packet, Property, Publish,
        Version::{V5, V311},
    },
};
use serde_json::{Value, json};

const HOUR: i64 = 3600;

#[test]
fn max_messages_of_a_connection_counts_each_direction_for_itself() {
    let bridge = limited(json!({ "max_messages": 5 })).start();
    let (a, b) = ends(&bridge);
    for who in [&a, &b] {
        leave_a_session(&bridge, who);
    }
    let mut publishers = [bridge.connect(V5, &a), bridge.connect(V5, &b)];
    for (publisher, who) in publishers.iter_mut().zip([&a, &b]) {
        for number in 0..5 {
            assert_eq!(offer(publisher, who, number), 0, "number {number}");
        }
        assert_eq!(offer(publisher, who, 5), 0x97);
        publisher.send(Publish::new(&who.publish, "5").qos(2, 9));
        assert_eq!(publisher.expect_ack(Kind::PubRec, 9).reason, 0x97);
    }
    // A client of MQTT 3.1.1 is told by the end of its connection.
    for qos in 1..=2 {
        let mut old = bridge.connect_with(V311, &a, Connect::new("old")).0;
        old.send(Publish::new(&a.publish, "5").qos(qos, 1));
        old.expect_closed();
    }
    // Another connection has its own limits, here the default.
    let other = bridge.credentials("two", End::From);
    leave_a_session(&bridge, &bridge.credentials("two", End::To));
    let mut publisher = bridge.connect(V5, &other);
    for number in 0..20 {
        assert_eq!(offer(&mut publisher, &other, number), 0);
    }
    let bridge = bridge.kill_and_start();
    for who in [&a, &b] {
        assert_eq!(offer(&mut bridge.connect(V5, who), who, 5), 0x97, "still full after a restart");
    }
    // Whatever arrives makes room for as much.
    let (mut reader, _) = session(&bridge, &b);
    for number in 0..5 {
        reader.expect_payload(&number.to_string());
    }
    let mut publisher = bridge.connect(V5, &a);
    for number in 5..10 {
        assert_eq!(offer(&mut publisher, &a, number), 0);
        reader.expect_payload(&number.to_string());
    }
}

#[test]
fn max_bytes_of_a_connection_is_a_limit() {
    let bridge = limited(json!({ "max_bytes": "64KiB" })).start();
    let (from, to) = ends(&bridge);
    leave_a_session(&bridge, &to);
    let mut publisher = bridge.connect(V5, &from);
    let large = vec![b'x'; 10_000];
    let fill = |publisher: &mut Client| {
        let mut taken = 0;
        loop {
            publisher.send(Publish::new(&from.publish, &large).qos(1, 1));
            match publisher.expect_ack(Kind::PubAck, 1).reason {
                0 => taken += 1,
                0x97 => return taken,
                other => panic!("{other:#04x}"),
            }
            assert!(taken < 10);
        }
    };
    assert_eq!(fill(&mut publisher), 6);
    let bridge = bridge.restart();
    let mut publisher = bridge.connect(V5, &from);
    assert_eq!(fill(&mut publisher), 0);
    let (mut reader, _) = session(&bridge, &to);
    for _ in 0..6 {
        assert_eq!(reader.expect_message().payload, large);
    }
    reader.expect_silence();
    reader.disconnect();
    assert_eq!(fill(&mut publisher), 6);
}

#[test]
fn drop_oldest_keeps_the_newest() {
    const KEPT: u32 = 50;
    let bridge = limited(json!({ "max_messages": KEPT, "when_full": "drop_oldest" })).start();
    let (from, to) = ends(&bridge);
    leave_a_session(&bridge, &to);
    for version in ON_BOTH_VERSIONS {
        let mut publisher = bridge.connect(version, &from);
        for number in 0..200 {
            publisher.publish(&from.publish, number.to_string(), 1 + number % 2);
        }
    }
    let bridge = bridge.kill_and_start();
    let mut publisher = bridge.connect(V5, &from);
    for number in 200..210 {
        publisher.publish(&from.publish, number.to_string(), 1);
    }
    let (mut reader, _) = session(&bridge, &to);
    for number in 210 - KEPT..210 {
        reader.expect_payload(&number.to_string());
    }
    reader.expect_silence();
}

#[test]
fn max_age_drops_what_waits_for_too_long() {
    let world = limited(json!({ "max_age": "2s", "max_messages": 3 }));
    let bridge = world.start();
    let (from, to) = ends(&bridge);
    leave_a_session(&bridge, &to);
    let mut publisher = bridge.connect(V5, &from);
    for number in 0..3 {
        assert_eq!(offer(&mut publisher, &from, number), 0);
    }
    assert_eq!(offer(&mut publisher, &from, 3), 0x97);
    // A queue full of what is too old takes new ones.
    let start = Instant::now();
    while offer(&mut publisher, &from, 100) != 0 {
        assert!(start.elapsed() < DEADLINE, "what is too old still fills the queue");
        std::thread::sleep(Duration::from_millis(50));
    }
    assert!(start.elapsed() > Duration::from_millis(1500), "{:?}", start.elapsed());
    let bridge = bridge.restart();
    let (mut reader, _) = session(&bridge, &to);
    reader.expect_payload("100");
    reader.expect_silence();
    reader.disconnect();
    // Also while the bridge does not run.
    let mut publisher = bridge.connect(V5, &from);
    assert_eq!(offer(&mut publisher, &from, 4), 0);
    let (_, world) = bridge.stop();
    std::thread::sleep(Duration::from_millis(2500));
    let bridge = world.start();
    let (mut reader, _) = session(&bridge, &to);
    assert_eq!(offer(&mut bridge.connect(V5, &from), &from, 5), 0);
    reader.expect_payload("5");
}

#[test]
fn a_backlog_streams_in_order_while_new_messages_queue_behind_it() {
    const BACKLOG: u32 = 5000;
    const NEW: u32 = 2000;
    for version in ON_BOTH_VERSIONS {
        let bridge = World::durable().start();
        let who = |end| bridge.credentials("connection-1", end);
        let (from, to) = (who(End::From), who(End::To));
        let connect = Connect::new("slow").persistent(version).property(Property::ReceiveMaximum(10));
        let (mut away, _) = bridge.connect_with(version, &to, connect.clone());
        away.subscribe(&to.subscribe, 2);
        away.disconnect();
        let mut publisher = bridge.connect(V5, &from);
        publisher.publish_all(&from.publish, (0..BACKLOG).map(|number| number.to_string()));
        let (mut back, _) = bridge.connect_with(version, &to, connect);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for start in (BACKLOG..BACKLOG + NEW).step_by(100) {
                    publisher
                        .publish_all(&from.publish, (start..start + 99).map(|number| number.to_string()));
                    publisher.publish(&from.publish, (start + 99).to_string(), 2);
                }
            });
            let mut unacknowledged = Vec::new();
            for number in 0..BACKLOG + NEW {
                let message = back.wait_for("a message", |packet| matches!(packet, Packet::Publish(_)));
                let Packet::Publish(message) = message else { unreachable!() };
                assert_eq!(
                    (message.text(), message.dup),
                    (number.to_string().as_str(), false),
                    "{version:?}"
                );
                unacknowledged.push(message);
                assert!(version == V311 || unacknowledged.len() <= 10, "beyond Receive Maximum");
                if unacknowledged.len() == 10 || number + 1 == BACKLOG + NEW {
                    unacknowledged.drain(..).for_each(|message| finish(&mut back, &message));
                }
            }
        });
        back.expect_silence();
    }
}

#[test]
fn a_clock_that_jumps_forward_ages_what_waits_by_the_jump() {
    let (mut world, from, to) = with_messages_and_sessions();
    set_clock(&mut world, 2 * HOUR);
    let bridge = world.start();
    let (mut reader, present) = bridge.connect_with(V5, &to, expiring("long", 24 * HOUR));
    assert!(present);
    let message = reader.expect_payload("long");
    let left = expiry(&message.properties);
    assert!((21 * HOUR..=22 * HOUR).contains(&left), "{left} s left of a day after two hours");
    reader.expect_payload("forever");
    assert_marker_is_next(&bridge, &from, &mut reader);
    let (_, present) = bridge.connect_with(V5, &to, expiring("short", HOUR));
    assert!(!present, "an hour is over");
}

#[test]
fn a_clock_that_jumps_back_counts_as_no_time() {
    let (mut world, from, to) = with_messages_and_sessions();
    for offset in [-24 * HOUR, -1000 * HOUR] {
        set_clock(&mut world, offset);
        let bridge = world.start();
        bridge.connect_with(V5, &from, Connect::new("other")).0.publish(&from.publish, "new", 1);
        let (_, again) = bridge.stop();
        world = again;
    }
    let bridge = world.start();
    for (name, session_expiry) in [("short", HOUR), ("long", 24 * HOUR)] {
        let (mut reader, present) = bridge.connect_with(V5, &to, expiring(name, session_expiry));
        assert!(present, "{name}");
        for (text, at_most) in [("short", HOUR), ("long", 24 * HOUR)] {
            let message = reader.expect_payload(text);
            let left = expiry(&message.properties);
            assert!((at_most - 60..=at_most).contains(&left), "{left} s left of {at_most}");
        }
        for text in ["forever", "new", "new"] {
            reader.expect_payload(text);
        }
        assert_marker_is_next(&bridge, &from, &mut reader);
        reader.disconnect();
    }
    // From here on time passes again, and nothing is late by the jump.
    let (_, world) = bridge.stop();
    let bridge = world.start();
    let (_reader, present) = bridge.connect_with(V5, &to, expiring("long", 24 * HOUR));
    assert!(present);
}

/// Does the receiver's part of the handshake.
fn finish(client: &mut Client, message: &Message) {
    if message.qos == 1 {
        return client.acknowledge(Kind::PubAck, message.id);
    }
    client.acknowledge(Kind::PubRec, message.id);
    let is_release = |packet: &Packet| matches!(packet, Packet::Ack(ack) if ack.kind == Kind::PubRel);
    client.wait_for("PUBREL", is_release);
    client.acknowledge(Kind::PubComp, message.id);
}

/// Two sessions, of which one lives for an hour and one for a day, in both of which a message waits that lives for an hour,
/// one for a day, and one forever. The bridge is stopped.
fn with_messages_and_sessions() -> (World, Credentials, Credentials) {
    let bridge = limited(json!({})).start();
    let (from, to) = ends(&bridge);
    for (name, session_expiry) in [("short", HOUR), ("long", 24 * HOUR)] {
        let (mut away, _) = bridge.connect_with(V5, &to, expiring(name, session_expiry));
        away.subscribe(&to.subscribe, 1);
        away.disconnect();
    }
    let mut publisher = bridge.connect(V5, &from);
    for (text, expiry) in [("short", HOUR), ("long", 24 * HOUR)] {
        let publish = Publish::new(&from.publish, text).property(Property::MessageExpiry(expiry as u32));
        publisher.complete(publish, 1);
    }
    publisher.publish(&from.publish, "forever", 1);
    (bridge.stop().1, from, to)
}

fn expiring(name: &str, session_expiry: i64) -> Connect {
    Connect::new(name).clean(false).property(Property::SessionExpiry(session_expiry as u32))
}

fn expiry(properties: &[Property]) -> i64 {
    let find = |property: &Property| match property {
        Property::MessageExpiry(left) => Some(i64::from(*left)),
        _ => None,
    };
    properties.iter().find_map(find).expect("a Message Expiry Interval")
}

#[track_caller]
fn assert_marker_is_next(bridge: &Bridge, from: &Credentials, reader: &mut Client) {
    bridge.connect_with(V5, from, Connect::new("marker")).0.publish(&from.publish, "marker", 1);
    reader.expect_payload("marker");
}

/// Two connections, `one` with this `queue` and `two` without.
fn limited(queue: Value) -> World {
    let device = |code: u32| json!({ "code": code, "name": format!("Device {code}"), "type": "test" });
    let one = json!({ "name": "one", "from": 1, "to": 2, "queue": queue });
    let two = json!({ "name": "two", "from": 3, "to": 4 });
    let world = World::durable();
    world.configure(&json!([device(1), device(2), device(3), device(4)]), &json!([one, two]));
    world
}

fn ends(bridge: &Bridge) -> (Credentials, Credentials) {
    (bridge.credentials("one", End::From), bridge.credentials("one", End::To))
}

fn session(bridge: &Bridge, who: &Credentials) -> (Client, bool) {
    bridge.connect_with(V5, who, Connect::new("away").persistent(V5))
}

fn leave_a_session(bridge: &Bridge, who: &Credentials) {
    let (mut client, _) = session(bridge, who);
    client.subscribe(&who.subscribe, 2);
    client.disconnect();
}

/// Publishes a number with QoS 1 and gives the reason of its PUBACK.
#[track_caller]
fn offer(publisher: &mut Client, who: &Credentials, number: u32) -> u8 {
    publisher.send(Publish::new(&who.publish, number.to_string()).qos(1, 1));
    publisher.expect_ack(Kind::PubAck, 1).reason
}
