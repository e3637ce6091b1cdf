//! What is sent again when a session goes on over another connection, and how often it arrives.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use ior_tests::{
    Broker, ON_BOTH_VERSIONS,
    raw::{AckPacket, Client, Kind, Packet, Publish, Version, Version::V5},
};

#[test]
fn qos1_is_sent_again_with_dup_on_resume() {
    let broker = Broker::start();
    for version in ON_BOTH_VERSIONS {
        let (mut subscriber, _) = broker.connect_persistent(version, &name("subscriber", version));
        subscriber.subscribe("again", 1);
        let mut publisher = broker.connect(version, "publisher");
        for text in ["one", "two", "three"] {
            publisher.publish("again", text, 1);
        }
        let first: Vec<u16> = (0..3).map(|_| subscriber.expect_publish().id).collect();
        // Out of order on purpose: only the second one is done.
        subscriber.acknowledge(Kind::PubAck, first[1]);
        subscriber.cut();
        let (mut subscriber, present) = broker.connect_persistent(version, &name("subscriber", version));
        assert!(present);
        for (index, text) in [(0, "one"), (2, "three")] {
            let message = subscriber.expect_payload(text);
            assert!(message.dup && message.qos == 1, "{message:?}");
            assert_eq!(message.id, first[index]);
        }
        subscriber.expect_silence();
        // Nothing is left for another resume.
        subscriber.cut();
        broker.connect_persistent(version, &name("subscriber", version)).0.expect_silence();
    }
}

#[test]
fn what_was_not_sent_yet_has_no_dup_on_resume() {
    let broker = Broker::start();
    for version in ON_BOTH_VERSIONS {
        let (mut subscriber, _) = broker.connect_persistent(version, &name("subscriber", version));
        subscriber.subscribe("later", 2);
        subscriber.cut();
        let mut publisher = broker.connect(version, "publisher");
        publisher.publish("later", "one", 1);
        publisher.publish("later", "two", 2);
        let (mut subscriber, _) = broker.connect_persistent(version, &name("subscriber", version));
        assert!(!subscriber.expect_payload("one").dup);
        assert!(!subscriber.expect_payload("two").dup);
    }
}

#[test]
fn nothing_is_sent_again_while_connected() {
    let broker = Broker::start();
    for version in ON_BOTH_VERSIONS {
        let mut subscriber = broker.connect(version, "subscriber");
        subscriber.subscribe("once", 2);
        let mut publisher = broker.connect(version, "publisher");
        publisher.publish("once", "x", 1);
        publisher.publish("once", "y", 2);
        subscriber.expect_publish();
        subscriber.expect_publish();
        for _ in 0..20 {
            subscriber.expect_silence();
        }
    }
}

/// Where the publisher of a QoS 2 message loses its connection.
#[derive(Debug, Clone, Copy)]
enum PublisherCut {
    HalfPublish,
    AfterPublish,
    AfterPubRec,
    HalfPubRel,
    AfterPubRel,
    AfterPubComp,
}

#[test]
fn qos2_is_delivered_once_wherever_the_publisher_is_cut() {
    use PublisherCut::*;
    let broker = Broker::start();
    for version in ON_BOTH_VERSIONS {
        for cut in [HalfPublish, AfterPublish, AfterPubRec, HalfPubRel, AfterPubRel, AfterPubComp] {
            let mut subscriber = broker.connect(version, "subscriber");
            subscriber.subscribe("exactly", 2);
            let id = format!("{cut:?}{version:?}");
            let (publisher, _) = broker.connect_persistent(version, &id);
            publish_and_lose_the_connection(publisher, cut);
            let (mut publisher, present) = broker.connect_persistent(version, &id);
            assert!(present);
            match cut {
                HalfPublish | AfterPublish => {
                    publisher.send(Publish::new("exactly", "once").qos(2, 11).dup());
                    publisher.expect_success(Kind::PubRec, 11);
                    publisher.acknowledge(Kind::PubRel, 11);
                    publisher.expect_success(Kind::PubComp, 11);
                }
                // Both may come again, as the standard says of a client that does not know that they arrived.
                AfterPubRec | HalfPubRel | AfterPubRel => {
                    publisher.acknowledge(Kind::PubRel, 11);
                    publisher.expect_ack(Kind::PubComp, 11);
                }
                AfterPubComp => {}
            }
            // The identifier is free for another message, which must not be taken for the old one.
            publisher.send(Publish::new("exactly", "marker").qos(2, 11));
            publisher.expect_success(Kind::PubRec, 11);
            publisher.acknowledge(Kind::PubRel, 11);
            publisher.expect_success(Kind::PubComp, 11);
            subscriber.expect_payload("once");
            subscriber.expect_payload("marker");
            subscriber.expect_silence();
        }
    }
}

fn publish_and_lose_the_connection(mut publisher: Client, cut: PublisherCut) {
    use PublisherCut::*;
    use ior_tests::raw::Encode;
    let publish = Publish::new("exactly", "once").qos(2, 11);
    if matches!(cut, HalfPublish) {
        let bytes = publish.encode(publisher.version());
        publisher.send(bytes[..bytes.len() - 2].to_vec());
        return publisher.cut();
    }
    publisher.send(publish);
    if matches!(cut, AfterPublish) {
        return publisher.cut();
    }
    publisher.expect_success(Kind::PubRec, 11);
    match cut {
        HalfPubRel => publisher.send(vec![0x62, 2, 0]),
        AfterPubRel => publisher.acknowledge(Kind::PubRel, 11),
        AfterPubComp => {
            publisher.acknowledge(Kind::PubRel, 11);
            publisher.expect_success(Kind::PubComp, 11);
        }
        _ => {}
    }
    publisher.cut();
}

#[test]
fn qos2_sent_again_in_the_same_connection_is_one_message() {
    let broker = Broker::start();
    for version in ON_BOTH_VERSIONS {
        let mut subscriber = broker.connect(version, "subscriber");
        subscriber.subscribe("exactly", 2);
        let mut publisher = broker.connect(version, "publisher");
        publisher.send(Publish::new("exactly", "once").qos(2, 5));
        publisher.expect_success(Kind::PubRec, 5);
        publisher.send(Publish::new("exactly", "once").qos(2, 5).dup());
        publisher.expect_ack(Kind::PubRec, 5);
        publisher.acknowledge(Kind::PubRel, 5);
        publisher.expect_success(Kind::PubComp, 5);
        publisher.acknowledge(Kind::PubRel, 5);
        publisher.expect_ack(Kind::PubComp, 5);
        publisher.publish("exactly", "marker", 2);
        subscriber.expect_payload("once");
        subscriber.expect_payload("marker");
    }
}

/// Where the subscriber of a QoS 2 message loses its connection.
#[derive(Debug, Clone, Copy)]
enum SubscriberCut {
    BeforePublish,
    AfterPublish,
    AfterPubRec,
    AfterPubRel,
    AfterPubComp,
}

#[test]
fn qos2_is_received_once_wherever_the_subscriber_is_cut() {
    use SubscriberCut::*;
    let broker = Broker::start();
    for version in ON_BOTH_VERSIONS {
        let mut publisher = broker.connect(version, "publisher");
        for cut in [BeforePublish, AfterPublish, AfterPubRec, AfterPubRel, AfterPubComp] {
            let id = format!("{cut:?}{version:?}");
            let (mut subscriber, _) = broker.connect_persistent(version, &id);
            subscriber.subscribe("exactly", 2);
            let packet_id = if matches!(cut, BeforePublish) {
                subscriber.cut();
                publisher.publish("exactly", "once", 2);
                None
            } else {
                publisher.publish("exactly", "once", 2);
                Some(receive_and_lose_the_connection(subscriber, cut))
            };
            let (mut subscriber, present) = broker.connect_persistent(version, &id);
            assert!(present);
            match cut {
                BeforePublish => assert!(!subscriber.expect_payload("once").dup),
                AfterPublish => {
                    let message = subscriber.expect_payload("once");
                    assert!(message.dup && message.qos == 2, "{message:?}");
                    assert_eq!(Some(message.id), packet_id);
                }
                AfterPubRec | AfterPubRel => {
                    subscriber.expect_success(Kind::PubRel, packet_id.unwrap());
                    subscriber.acknowledge(Kind::PubComp, packet_id.unwrap());
                }
                AfterPubComp => {}
            }
            subscriber.expect_silence();
            publisher.publish("exactly", "marker", 2);
            subscriber.expect_payload("marker");
            subscriber.cut();
            broker.connect(version, &id).disconnect();
        }
    }
}

fn receive_and_lose_the_connection(mut subscriber: Client, cut: SubscriberCut) -> u16 {
    use SubscriberCut::*;
    let id = subscriber.expect_publish().id;
    if !matches!(cut, AfterPublish) {
        subscriber.acknowledge(Kind::PubRec, id);
        if !matches!(cut, AfterPubRec) {
            subscriber.expect_success(Kind::PubRel, id);
            if matches!(cut, AfterPubComp) {
                subscriber.acknowledge(Kind::PubComp, id);
            }
        }
    }
    subscriber.cut();
    id
}

#[test]
fn a_window_cut_in_every_state_resumes_in_order() {
    let broker = Broker::start();
    for version in ON_BOTH_VERSIONS {
        let (mut subscriber, _) = broker.connect_persistent(version, &name("mixed", version));
        subscriber.subscribe("mixed", 2);
        let mut publisher = broker.connect(version, "publisher");
        for (number, qos) in [(0, 2), (1, 1), (2, 2), (3, 2), (4, 1)] {
            publisher.publish("mixed", number.to_string(), qos);
        }
        let ids: Vec<u16> = (0..5).map(|_| subscriber.expect_publish().id).collect();
        subscriber.acknowledge(Kind::PubRec, ids[0]);
        subscriber.expect_success(Kind::PubRel, ids[0]);
        subscriber.acknowledge(Kind::PubRec, ids[2]);
        subscriber.cut();
        let (mut subscriber, _) = broker.connect_persistent(version, &name("mixed", version));
        let mut released = Vec::new();
        let mut published = Vec::new();
        for _ in 0..5 {
            match subscriber.receive() {
                Packet::Ack(ack) if ack.kind == Kind::PubRel => released.push(ack.id),
                Packet::Publish(message) => {
                    assert!(message.dup, "{message:?}");
                    published.push((message.id, message.text().to_string()));
                }
                other => panic!("expected PUBREL or PUBLISH, got {other:?}"),
            }
        }
        assert_eq!(released, [ids[0], ids[2]]);
        let expected = [(ids[1], "1"), (ids[3], "3"), (ids[4], "4")].map(|(id, text)| (id, text.to_string()));
        assert_eq!(published, expected);
    }
}

#[test]
fn a_refusing_pubrec_ends_the_handshake() {
    let broker = Broker::start();
    let (mut subscriber, _) = broker.connect_persistent(V5, "refuses");
    subscriber.subscribe("refused", 2);
    let mut publisher = broker.connect(V5, "publisher");
    publisher.publish("refused", "x", 2);
    let id = subscriber.expect_publish().id;
    subscriber.send(AckPacket { kind: Kind::PubRec, id, reason: Some(0x97) });
    subscriber.expect_silence();
    publisher.publish("refused", "y", 1);
    let message = subscriber.expect_publish();
    assert_eq!(message.text(), "y");
    subscriber.send(AckPacket { kind: Kind::PubAck, id: message.id, reason: Some(0x80) });
    subscriber.cut();
    broker.connect_persistent(V5, "refuses").0.expect_silence();
}

fn name(role: &str, version: Version) -> String {
    format!("{role}-{version:?}")
}
