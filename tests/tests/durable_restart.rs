//! The bridge stops or dies and starts again: everything goes on where it was.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::time::{Duration, Instant};

use ior_tests::{
    Bridge, Broker, Credentials, End, ON_BOTH_VERSIONS, World,
    raw::{
        Client, Connect, Disconnect, Kind, Packet, Property, Publish, Subscribe, Unsubscribe,
        Version::{self, V5, V311},
    },
};
use tempfile::TempDir;

/// How the bridge comes to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ending {
    Stop,
    Kill,
}

const ENDINGS: [Ending; 2] = [Ending::Stop, Ending::Kill];

#[test]
fn what_waits_for_a_device_that_is_away_survives() {
    for ending in ENDINGS {
        let mut bridge = world().start();
        for version in ON_BOTH_VERSIONS {
            let (from, to) = ends(&bridge);
            let away = format!("away-{version:?}");
            let (mut subscriber, present) = session(&bridge, version, &to, &away);
            assert!(!present);
            subscriber.subscribe(&to.subscribe, 2);
            subscriber.disconnect();
            let mut publisher = bridge.connect(version, &from);
            for number in 0..100 {
                publisher.publish(&from.publish, number.to_string(), 1 + number % 2);
            }
            bridge = again(bridge, ending);
            let (mut subscriber, present) = session(&bridge, version, &to, &away);
            assert!(present, "{ending:?} {version:?}");
            for number in 0..100 {
                let message = subscriber.expect_payload(&number.to_string());
                assert_eq!((message.qos, message.dup), (1 + number % 2, false), "{ending:?} {message:?}");
            }
            // What is acknowledged stays so.
            subscriber.expect_silence();
            if ending == Ending::Stop {
                bridge = bridge.restart();
                let (subscriber, present) = session(&bridge, version, &to, &away);
                assert!(present);
                assert_nothing_waits(&bridge, &from, subscriber);
            }
        }
    }
}

#[test]
fn what_was_sent_is_sent_again_with_dup_and_its_identifier() {
    for version in ON_BOTH_VERSIONS {
        let mut bridge = world().start();
        let (from, to) = ends(&bridge);
        let connect = Connect::new("narrow").persistent(version).property(Property::ReceiveMaximum(4));
        let (mut subscriber, _) = bridge.connect_with(version, &to, connect.clone());
        subscriber.subscribe(&to.subscribe, 2);
        let mut publisher = bridge.connect(version, &from);
        for number in 0..6 {
            publisher.publish(&from.publish, number.to_string(), 1 + number % 2);
        }
        let sent_at_first = if version == V5 { 4 } else { 6 };
        let ids: Vec<u16> = (0..sent_at_first).map(|_| subscriber.expect_publish().id).collect();
        // Out of order on purpose.
        subscriber.acknowledge(Kind::PubAck, ids[2]);
        if version == V5 {
            assert_eq!(subscriber.expect_publish().text(), "4");
        }
        subscriber.expect_silence();
        bridge = bridge.restart();
        let (mut subscriber, present) = bridge.connect_with(version, &to, connect);
        assert!(present);
        for (number, id) in [(0, Some(ids[0])), (1, Some(ids[1])), (3, Some(ids[3])), (4, None), (5, None)] {
            let message = subscriber.expect_message();
            let dup = version == V311 || number < 5;
            assert_eq!((message.text(), message.dup), (number.to_string().as_str(), dup), "{version:?}");
            assert!(id.is_none_or(|id| id == message.id), "{version:?}: {message:?} had {id:?}");
        }
        assert_nothing_waits(&bridge, &from, subscriber);
    }
}

/// How far the publisher of a QoS 2 message comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Published {
    Publish,
    PubRec,
    PubRel,
    PubComp,
}

#[test]
fn qos2_of_a_publisher_interrupted_at_every_step_arrives_once() {
    use Published::*;
    for ending in ENDINGS {
        let mut bridge = world().start();
        let (from, to) = ends(&bridge);
        let (mut subscriber, _) = session(&bridge, V5, &to, "subscriber");
        subscriber.subscribe(&to.subscribe, 2);
        let steps: Vec<_> = (ON_BOTH_VERSIONS.into_iter())
            .flat_map(|version| [Publish, PubRec, PubRel, PubComp].map(|step| (version, step)))
            .collect();
        let mut clients = Vec::new();
        for &(version, step) in &steps {
            let name = format!("{version:?}{step:?}");
            let (mut publisher, _) = session(&bridge, version, &from, &name);
            publisher.send(publish(&from, &name).qos(2, 11));
            if step != Publish {
                publisher.expect_success(Kind::PubRec, 11);
            }
            if matches!(step, PubRel | PubComp) {
                publisher.acknowledge(Kind::PubRel, 11);
            }
            if step == PubComp {
                publisher.expect_success(Kind::PubComp, 11);
            }
            clients.push(publisher);
        }
        subscriber.cut();
        bridge = again(bridge, ending);
        drop(clients);
        for &(version, step) in &steps {
            let name = format!("{version:?}{step:?}");
            let (mut publisher, present) = session(&bridge, version, &from, &name);
            assert!(present, "{ending:?} {name}");
            match step {
                Publish => {
                    publisher.send(publish(&from, &name).qos(2, 11).dup());
                    publisher.expect_success(Kind::PubRec, 11);
                    publisher.acknowledge(Kind::PubRel, 11);
                    publisher.expect_success(Kind::PubComp, 11);
                }
                PubRec => {
                    // Once more than it must: the server still knows it.
                    publisher.send(publish(&from, &name).qos(2, 11).dup());
                    publisher.expect_success(Kind::PubRec, 11);
                    publisher.acknowledge(Kind::PubRel, 11);
                    publisher.expect_success(Kind::PubComp, 11);
                }
                PubRel => {
                    publisher.acknowledge(Kind::PubRel, 11);
                    publisher.expect_ack(Kind::PubComp, 11);
                }
                PubComp => {}
            }
            // The identifier is free for another message, which must not be taken for the old one.
            publisher.complete(publish(&from, &format!("{name} next")), 2);
            publisher.send(publish(&from, &format!("{name} same id")).qos(2, 11));
            publisher.expect_success(Kind::PubRec, 11);
            publisher.acknowledge(Kind::PubRel, 11);
            publisher.expect_success(Kind::PubComp, 11);
        }
        let (mut subscriber, _) = session(&bridge, V5, &to, "subscriber");
        let mut arrived: Vec<String> =
            (0..3 * steps.len()).map(|_| subscriber.expect_message().text().to_owned()).collect();
        assert_nothing_waits(&bridge, &from, subscriber);
        arrived.sort();
        let mut expected: Vec<String> = (steps.iter())
            .map(|(version, step)| format!("{version:?}{step:?}"))
            .flat_map(|name| [format!("{name} next"), format!("{name} same id"), name])
            .collect();
        expected.sort();
        assert_eq!(arrived, expected, "{ending:?}");
    }
}

/// How far the subscriber of a QoS 2 message comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Received {
    Publish,
    PubRec,
    PubRel,
    PubComp,
}

#[test]
fn qos2_of_a_subscriber_interrupted_at_every_step_arrives_once() {
    use Received::*;
    for ending in ENDINGS {
        let mut bridge = world().start();
        let (from, to) = ends(&bridge);
        let mut clients = Vec::new();
        for version in ON_BOTH_VERSIONS {
            for step in [Publish, PubRec, PubRel, PubComp] {
                let (mut subscriber, _) = session(&bridge, version, &to, &format!("{version:?}{step:?}"));
                subscriber.subscribe(&to.subscribe, 2);
                clients.push((version, step, subscriber, 0));
            }
        }
        bridge.connect(V5, &from).publish(&from.publish, "once", 2);
        for (_, step, subscriber, id) in &mut clients {
            *id = subscriber.expect_publish().id;
            if *step == Publish {
                continue;
            }
            subscriber.acknowledge(Kind::PubRec, *id);
            if *step == PubRec {
                continue;
            }
            subscriber.expect_success(Kind::PubRel, *id);
            if *step == PubComp {
                subscriber.acknowledge(Kind::PubComp, *id);
                subscriber.expect_silence();
            }
        }
        bridge = again(bridge, ending);
        bridge.connect(V5, &from).publish(&from.publish, "marker", 1);
        for (version, step, _, id) in clients {
            let name = format!("{version:?}{step:?}");
            let (mut subscriber, present) = session(&bridge, version, &to, &name);
            assert!(present, "{ending:?} {name}");
            match subscriber.receive() {
                // Whether the PUBREC arrived only the server knows.
                Packet::Publish(message) if message.text() == "once" && matches!(step, Publish | PubRec) => {
                    assert_eq!((message.id, message.qos), (id, 2), "{name}");
                    assert!(message.dup || ending == Ending::Kill, "{name}: {message:?}");
                    subscriber.acknowledge(Kind::PubRec, id);
                    let released =
                        |packet: &Packet| matches!(packet, Packet::Ack(ack) if ack.kind == Kind::PubRel);
                    subscriber.wait_for("PUBREL", released);
                    subscriber.acknowledge(Kind::PubComp, id);
                }
                // After a kill the server may not know that a PUBCOMP came.
                Packet::Ack(ack)
                    if ack.kind == Kind::PubRel
                        && (matches!(step, PubRec | PubRel) || step == PubComp && ending == Ending::Kill) =>
                {
                    assert_eq!(ack.id, id, "{name}");
                    subscriber.acknowledge(Kind::PubComp, id);
                }
                Packet::Publish(message) if message.text() == "marker" && step == PubComp => continue,
                other => panic!("{ending:?}: {name} got {other:?}"),
            }
            subscriber.expect_payload("marker");
        }
    }
}

#[test]
fn subscriptions_survive_with_their_options() {
    for ending in ENDINGS {
        let bridge = world().start();
        let (from, to) = ends(&bridge);
        let (mut subscriber, _) = session(&bridge, V5, &to, "options");
        let topic = |name: &str| format!("{}/{name}", from.publish);
        for (number, (name, options)) in [
            ("a", 0),
            ("b", 1),
            ("c", 2 | Subscribe::RETAIN_AS_PUBLISHED),
            ("d", 1 | Subscribe::NO_RETAINED),
            ("gone", 1),
        ]
        .into_iter()
        .enumerate()
        {
            let id = subscriber.packet_id();
            let identifier = Property::SubscriptionId(number as u32 + 1);
            subscriber.send(Subscribe::new(id).filter(&topic(name), options).property(identifier));
            assert_eq!(subscriber.expect_suback(id), [options & 3]);
        }
        let id = subscriber.packet_id();
        subscriber.send(Unsubscribe::new(id, &[&topic("gone")]));
        assert_eq!(subscriber.expect_unsuback(id), [0]);
        let bridge = again(bridge, ending);
        let (mut subscriber, present) = session(&bridge, V5, &to, "options");
        assert!(present);
        let mut publisher = bridge.connect(V5, &from);
        for name in ["gone", "a", "b", "c", "d"] {
            publisher.publish_retained(&topic(name), name, 2);
        }
        // QoS 0 takes its own way.
        for (name, qos) in [("b", 1), ("c", 2), ("d", 1), ("a", 0)] {
            let by_topic =
                |packet: &Packet| matches!(packet, Packet::Publish(message) if message.text() == name);
            let Packet::Publish(message) = subscriber.wait_for(name, by_topic) else { unreachable!() };
            assert_eq!((message.qos, message.retain), (qos, name == "c"), "{message:?}");
            let identifier = 1 + ["a", "b", "c", "d"].iter().position(|other| *other == name).unwrap();
            assert_eq!(message.subscription_ids(), [identifier as u32]);
        }
        assert!(
            subscriber.poll(Duration::from_millis(50)).unwrap().is_none(),
            "nothing more, not even from the filter that is gone"
        );
    }
}

#[test]
fn no_local_survives() {
    let directory = TempDir::new().unwrap();
    let broker = Broker::with_store(directory.path());
    let (mut client, _) = broker.connect_persistent(V5, "selfish");
    client.send(Subscribe::new(1).filter("topic", 1 | Subscribe::NO_LOCAL));
    assert_eq!(client.expect_suback(1), [1]);
    client.subscribe("other", 1);
    broker.kill();
    let broker = Broker::with_store(directory.path());
    let (mut client, present) = broker.connect_persistent(V5, "selfish");
    assert!(present);
    client.send(Publish::new("topic", "own").qos(1, 1));
    client.send(Publish::new("other", "own too").qos(1, 2));
    let is_message = |packet: &Packet| matches!(packet, Packet::Publish(_));
    let Packet::Publish(message) = client.wait_for("a message", is_message) else { unreachable!() };
    assert_eq!(message.text(), "own too");
    broker.connect(V5, "another").publish("topic", "of another", 1);
    let Packet::Publish(message) = client.wait_for("a message", is_message) else { unreachable!() };
    assert_eq!(message.text(), "of another");
}

#[test]
fn properties_of_a_message_survive() {
    let bridge = world().start();
    let (from, to) = ends(&bridge);
    let (mut subscriber, _) = session(&bridge, V5, &to, "away");
    subscriber.subscribe(&to.subscribe, 1);
    subscriber.disconnect();
    let properties = [
        Property::PayloadFormat(1),
        Property::ContentType("text/plain".into()),
        Property::ResponseTopic("answers".into()),
        Property::CorrelationData(vec![0, 1, 2]),
        Property::user("b", "1"),
        Property::user("a", "2"),
    ];
    let with_properties = properties.iter().cloned().fold(publish(&from, "x"), Publish::property);
    bridge.connect(V5, &from).complete(with_properties, 1);
    let bridge = bridge.kill_and_start();
    let (mut subscriber, _) = session(&bridge, V5, &to, "away");
    let message = subscriber.expect_payload("x");
    assert_eq!(message.properties.len(), properties.len(), "{message:?}");
    for property in &properties {
        assert!(message.properties.contains(property), "{property:?} is not in {message:?}");
    }
    let users = |all: &[Property]| -> Vec<Property> {
        all.iter().filter(|property| matches!(property, Property::User(..))).cloned().collect()
    };
    assert_eq!(users(&message.properties), users(&properties), "in their order");
}

#[test]
fn retained_messages_survive() {
    for ending in ENDINGS {
        let bridge = world().start();
        let (from, to) = ends(&bridge);
        let topic = |name: &str| format!("{}/{name}", from.publish);
        let mut publisher = bridge.connect(V5, &from);
        publisher.publish_retained(&topic("live"), "at 0", 0);
        publisher.publish_retained(&topic("gone at once"), "x", 0);
        publisher.publish_retained(&topic("gone at once"), "", 0);
        if ending == Ending::Kill {
            // So long may a retained QoS 0 message take.
            std::thread::sleep(Duration::from_secs(6));
        }
        for qos in 1..=2 {
            publisher.publish_retained(&topic(&format!("gone {qos}")), "x", qos);
            publisher.publish_retained(&topic(&format!("gone {qos}")), "", qos);
            publisher.publish_retained(&topic(&qos.to_string()), "old", qos);
            publisher.publish_retained(&topic(&qos.to_string()), format!("at {qos}"), qos);
        }
        let bridge = again(bridge, ending);
        for version in ON_BOTH_VERSIONS {
            let mut subscriber = bridge.connect(version, &to);
            subscriber.send(Subscribe::new(1).filter(&to.subscribe, 2));
            let mut retained = Vec::new();
            subscriber.wait_for("SUBACK", |packet| matches!(packet, Packet::SubAck(_)));
            for _ in 0..3 {
                let message = subscriber.expect_message();
                assert!(message.retain);
                retained.push((message.text().to_owned(), message.qos));
            }
            retained.sort();
            let expected = [("at 0", 0), ("at 1", 1), ("at 2", 2)].map(|(text, qos)| (text.to_owned(), qos));
            assert_eq!(retained, expected, "{ending:?}");
            subscriber.expect_silence();
        }
    }
}

#[test]
fn session_and_message_expiry_count_while_it_is_stopped() {
    const SHORT: u32 = 2;
    let bridge = world().start();
    let (from, to) = ends(&bridge);
    let connect =
        |name: &str, expiry| Connect::new(name).clean(false).property(Property::SessionExpiry(expiry));
    for (name, expiry) in [("short", SHORT), ("long", 3600)] {
        let (mut subscriber, _) = bridge.connect_with(V5, &to, connect(name, expiry));
        subscriber.subscribe(&to.subscribe, 1);
        subscriber.disconnect();
    }
    let mut publisher = bridge.connect(V5, &from);
    for (text, expiry) in [("short", SHORT), ("long", 100)] {
        publisher.complete(publish(&from, text).property(Property::MessageExpiry(expiry)), 1);
    }
    publisher.complete(publish(&from, "forever"), 1);
    let (_, world) = bridge.stop();
    std::thread::sleep(Duration::from_secs(u64::from(SHORT) + 1));
    let bridge = world.start();
    let (_short, present) = bridge.connect_with(V5, &to, connect("short", SHORT));
    assert!(!present, "the session is over");
    let (mut long, present) = bridge.connect_with(V5, &to, connect("long", 3600));
    assert!(present);
    let message = long.expect_payload("long");
    let left = message.properties.iter().find_map(|property| match property {
        Property::MessageExpiry(left) => Some(*left),
        _ => None,
    });
    assert!(left.is_some_and(|left| (50..=100 - SHORT - 1).contains(&left)), "{left:?} left of 100");
    long.expect_payload("forever");
    long.expect_silence();
}

#[test]
fn a_clean_stop_with_a_full_queue_takes_under_two_seconds() {
    const QUEUE: u32 = 100_000;
    let bridge = world().start();
    let (from, to) = ends(&bridge);
    let (mut subscriber, _) = session(&bridge, V5, &to, "away");
    subscriber.subscribe(&to.subscribe, 1);
    subscriber.disconnect();
    let mut publisher = bridge.connect(V5, &from);
    publisher.publish_all(&from.publish, (0..QUEUE).map(|number| number.to_string()));
    publisher.send(publish(&from, "too much").qos(1, 1));
    assert_eq!(publisher.expect_ack(Kind::PubAck, 1).reason, 0x97, "the queue is full");
    let start = Instant::now();
    let (status, world) = bridge.stop();
    assert!(status.success());
    assert!(start.elapsed() < Duration::from_secs(2), "it took {:?}", start.elapsed());
    let start = Instant::now();
    let bridge = world.start();
    assert!(start.elapsed() < Duration::from_secs(2), "the start took {:?}", start.elapsed());
    // Full is still full.
    let mut publisher = bridge.connect(V5, &from);
    publisher.send(publish(&from, "too much").qos(1, 1));
    assert_eq!(publisher.expect_ack(Kind::PubAck, 1).reason, 0x97);
    let (mut subscriber, _) = session(&bridge, V5, &to, "away");
    for number in 0..1000 {
        subscriber.expect_payload(&number.to_string());
    }
}

#[test]
fn a_session_that_was_ended_does_not_come_back() {
    for version in ON_BOTH_VERSIONS {
        let bridge = world().start();
        let (from, to) = ends(&bridge);
        let (mut subscriber, _) = session(&bridge, version, &to, "ended");
        subscriber.subscribe(&to.subscribe, 1);
        subscriber.disconnect();
        bridge.connect(version, &from).publish(&from.publish, "old", 1);
        // Ended by a Clean Session or Clean Start, and in MQTT 5 also by an expiry of 0 at the end.
        let (clean, present) = bridge.connect_with(version, &to, Connect::new("ended"));
        assert!(!present);
        clean.disconnect();
        if version == V5 {
            let (mut other, _) = session(&bridge, V5, &to, "given up");
            other.subscribe(&to.subscribe, 1);
            other.disconnect_with(Disconnect::default().reason(0).property(Property::SessionExpiry(0)));
        }
        let bridge = bridge.restart();
        assert!(!session(&bridge, version, &to, "given up").1);
        let (mut subscriber, present) = session(&bridge, version, &to, "ended");
        assert!(!present);
        subscriber.subscribe(&to.subscribe, 1);
        assert_nothing_waits(&bridge, &from, subscriber);
    }
}

fn world() -> World {
    World::durable().env("IOR_BRIDGE__LIMITS__SESSIONS_PER_DEVICE", "100")
}

fn ends(bridge: &Bridge) -> (Credentials, Credentials) {
    (bridge.credentials("connection-1", End::From), bridge.credentials("connection-1", End::To))
}

fn session(bridge: &Bridge, version: Version, who: &Credentials, name: &str) -> (Client, bool) {
    bridge.connect_with(version, who, Connect::new(name).persistent(version))
}

fn publish(from: &Credentials, text: &str) -> Publish {
    Publish::new(&from.publish, text)
}

fn again(bridge: Bridge, ending: Ending) -> Bridge {
    match ending {
        Ending::Stop => bridge.restart(),
        Ending::Kill => bridge.kill_and_start(),
    }
}

/// What was kept arrives before what is published now.
#[track_caller]
fn assert_nothing_waits(bridge: &Bridge, from: &Credentials, mut subscriber: Client) {
    let (mut publisher, _) = bridge.connect_with(V5, from, Connect::new("marker"));
    publisher.publish(&from.publish, "marker", 1);
    subscriber.expect_payload("marker");
}
