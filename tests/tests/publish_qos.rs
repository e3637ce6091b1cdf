//! PUBLISH at QoS 0, 1 and 2, both ways: what is delivered, at which QoS, in which order, how often.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::HashSet;

use ior_tests::{
    Broker, ON_BOTH_VERSIONS,
    raw::{Client, Kind, Packet, Property, Publish, Version::V5},
};

#[test]
fn delivered_qos_is_the_lower_of_published_and_subscribed() {
    let broker = Broker::start();
    for subscriber_version in ON_BOTH_VERSIONS {
        for publisher_version in ON_BOTH_VERSIONS {
            let mut publisher = broker.connect(publisher_version, "publisher");
            for subscribed in 0..=2 {
                let mut subscriber = broker.connect(subscriber_version, "subscriber");
                subscriber.subscribe("qos/#", subscribed);
                for published in 0..=2 {
                    let payload = format!("{published} to {subscribed}");
                    publisher.publish(&format!("qos/{published}"), &payload, published);
                    let message = subscriber.expect_message();
                    assert_eq!(message.text(), payload);
                    assert_eq!(message.qos, published.min(subscribed), "{payload}");
                    assert_eq!(message.topic, format!("qos/{published}"));
                    assert!(!message.dup && !message.retain);
                }
                subscriber.expect_silence();
            }
        }
    }
}

#[test]
fn any_payload_arrives_unaltered() {
    let broker = Broker::start();
    for version in ON_BOTH_VERSIONS {
        let mut subscriber = broker.connect(version, "subscriber");
        subscriber.subscribe("payload", 2);
        let mut publisher = broker.connect(version, "publisher");
        let every_byte: Vec<u8> = (0..=255).cycle().take(70_000).collect();
        for payload in [&b""[..], b"\0", b"\xFF\xFE", &every_byte] {
            for qos in 0..=2 {
                publisher.publish("payload", payload, qos);
                assert_eq!(subscriber.expect_message().payload, payload);
            }
        }
    }
}

#[test]
fn order_is_kept_per_topic_and_qos() {
    const COUNT: usize = 500;
    let broker = Broker::start();
    for version in ON_BOTH_VERSIONS {
        for qos in 0..=2 {
            let mut subscriber = broker.connect(version, "subscriber");
            subscriber.subscribe("order", qos);
            let mut publisher = broker.connect(version, "publisher");
            let window = usize::from(publisher.receive_maximum()).min(20);
            for batch in (0..COUNT).collect::<Vec<_>>().chunks(window) {
                publish_pipelined(&mut publisher, "order", batch, qos);
            }
            for number in 0..COUNT {
                subscriber.expect_payload(&number.to_string());
            }
            subscriber.expect_silence();
        }
    }
}

#[test]
fn order_is_kept_from_the_network_buffer_on() {
    // Everything is in the server's receive buffer before it reads the first packet.
    let broker = Broker::start();
    for version in ON_BOTH_VERSIONS {
        let mut subscriber = broker.connect(version, "subscriber");
        subscriber.subscribe("burst", 1);
        let mut publisher = broker.connect(version, "publisher");
        let window = publisher.receive_maximum().min(100);
        let mut bytes = Vec::new();
        for number in 1..=window {
            use ior_tests::raw::Encode;
            bytes.extend(Publish::new("burst", number.to_string()).qos(1, number).encode(version));
        }
        publisher.send(bytes);
        for number in 1..=window {
            publisher.expect_success(Kind::PubAck, number);
        }
        for number in 1..=window {
            subscriber.expect_payload(&number.to_string());
        }
    }
}

#[test]
fn packet_identifiers_in_flight_are_distinct() {
    let broker = Broker::start();
    for version in ON_BOTH_VERSIONS {
        let mut subscriber = broker.connect(version, "subscriber");
        subscriber.subscribe("ids/#", 2);
        let mut publisher = broker.connect(version, "publisher");
        for number in 0..16 {
            publisher.publish(&format!("ids/{number}"), "x", 1 + number % 2);
        }
        let ids: HashSet<u16> = (0..16).map(|_| subscriber.expect_publish().id).collect();
        assert_eq!(ids.len(), 16);
    }
}

#[test]
fn dup_is_not_passed_on() {
    let broker = Broker::start();
    for version in ON_BOTH_VERSIONS {
        let mut subscriber = broker.connect(version, "subscriber");
        subscriber.subscribe("dup", 2);
        let mut publisher = broker.connect(version, "publisher");
        publisher.complete(Publish::new("dup", "one").dup(), 1);
        assert!(!subscriber.expect_payload("one").dup);
        publisher.complete(Publish::new("dup", "two").dup(), 2);
        assert!(!subscriber.expect_payload("two").dup);
    }
}

#[test]
fn a_publish_without_subscribers_is_acknowledged() {
    let broker = Broker::start();
    for version in ON_BOTH_VERSIONS {
        let mut publisher = broker.connect(version, "publisher");
        for qos in [1, 2, 0] {
            publisher.publish("nobody/listens", "x", qos);
        }
        publisher.expect_silence();
    }
}

#[test]
fn a_publisher_that_subscribes_hears_itself() {
    let broker = Broker::start();
    for version in ON_BOTH_VERSIONS {
        let mut client = broker.connect(version, "both");
        client.subscribe("self", 1);
        for qos in 0..=1 {
            let id = client.packet_id();
            let publish = Publish::new("self", "echo");
            client.send(if qos == 0 { publish } else { publish.qos(1, id) });
            client.wait_for("the message", |packet| {
                matches!(packet, Packet::Publish(message) if message.text() == "echo" && message.qos == qos)
            });
        }
    }
}

#[test]
fn packet_identifiers_of_both_directions_are_independent() {
    let broker = Broker::start();
    for version in ON_BOTH_VERSIONS {
        let mut client = broker.connect(version, "both");
        client.subscribe("in", 2);
        let mut other = broker.connect(version, "other");
        other.publish("in", "from the server", 2);
        let received = client.expect_publish();
        // The same identifier in the other direction, before the first handshake goes on.
        client.send(Publish::new("out", "from the client").qos(2, received.id));
        client.expect_success(Kind::PubRec, received.id);
        client.acknowledge(Kind::PubRec, received.id);
        client.expect_success(Kind::PubRel, received.id);
        client.acknowledge(Kind::PubRel, received.id);
        client.expect_success(Kind::PubComp, received.id);
        client.acknowledge(Kind::PubComp, received.id);
        client.expect_silence();
    }
}

#[test]
fn a_packet_identifier_is_free_after_its_handshake() {
    let broker = Broker::start();
    for version in ON_BOTH_VERSIONS {
        let mut subscriber = broker.connect(version, "subscriber");
        subscriber.subscribe("free", 2);
        let mut publisher = broker.connect(version, "publisher");
        // DUP changes nothing: after the acknowledgement it is another message.
        for text in ["one", "two"] {
            publisher.send(Publish::new("free", text).qos(1, 7).dup());
            publisher.expect_success(Kind::PubAck, 7);
            subscriber.expect_payload(text);
        }
        for text in ["three", "four"] {
            publisher.send(Publish::new("free", text).qos(2, 7).dup());
            publisher.expect_success(Kind::PubRec, 7);
            publisher.acknowledge(Kind::PubRel, 7);
            publisher.expect_success(Kind::PubComp, 7);
            subscriber.expect_payload(text);
        }
    }
}

#[test]
fn pubrel_for_nothing_is_answered() {
    let broker = Broker::start();
    for version in ON_BOTH_VERSIONS {
        let mut client = broker.connect(version, "releases");
        client.acknowledge(Kind::PubRel, 4711);
        let ack = client.expect_ack(Kind::PubComp, 4711);
        assert_eq!(ack.reason, if version == V5 { 0x92 } else { 0 });
        client.expect_silence();
    }
}

#[test]
fn acknowledgements_of_nothing_do_no_harm() {
    let broker = Broker::start();
    for version in ON_BOTH_VERSIONS {
        for kind in [Kind::PubAck, Kind::PubRec, Kind::PubComp] {
            let mut client = broker.connect(version, "confused");
            client.acknowledge(kind, 4711);
            let mut other = broker.connect(version, "other");
            other.subscribe("fine", 1);
            broker.connect(version, "publisher").publish("fine", "x", 1);
            other.expect_payload("x");
        }
    }
}

#[test]
fn acknowledgements_with_reasons_and_properties_are_understood() {
    let broker = Broker::start();
    let mut subscriber = broker.connect(V5, "wordy");
    subscriber.subscribe("wordy", 2);
    let mut publisher = broker.connect(V5, "publisher");
    publisher.publish("wordy", "one", 1);
    let id = subscriber.expect_publish().id;
    let with_reason = |first: u8, id: u16| {
        let [high, low] = id.to_be_bytes();
        let mut rest = vec![high, low, 0, 11, 0x1F, 0, 1, b'r', 0x26, 0, 1, b'k', 0, 1, b'v'];
        assert_eq!(rest.len() - 4, 11);
        ior_tests::raw::frame(first, std::mem::take(&mut rest))
    };
    subscriber.send(with_reason(0x40, id));
    publisher.publish("wordy", "two", 2);
    let id = subscriber.expect_publish().id;
    subscriber.send(with_reason(0x50, id));
    subscriber.expect_success(Kind::PubRel, id);
    subscriber.send(with_reason(0x70, id));
    subscriber.expect_silence();
    let mut client = broker.connect(V5, "releases");
    client.send(Publish::new("wordy", "three").qos(2, 3).property(Property::user("k", "v")));
    client.expect_success(Kind::PubRec, 3);
    client.send(with_reason(0x62, 3));
    client.expect_success(Kind::PubComp, 3);
}

#[test]
fn every_subscriber_gets_its_own_copy() {
    let broker = Broker::start();
    let mut subscribers: Vec<Client> = (0..20)
        .map(|number| {
            let version = ON_BOTH_VERSIONS[number % 2];
            let mut client = broker.connect(version, &format!("subscriber-{number}"));
            client.subscribe("all", (number % 3) as u8);
            client
        })
        .collect();
    let mut publisher = broker.connect(V5, "publisher");
    for qos in 0..=2 {
        publisher.publish("all", format!("at {qos}"), qos);
        for (number, subscriber) in subscribers.iter_mut().enumerate() {
            let message = subscriber.expect_payload(&format!("at {qos}"));
            assert_eq!(message.qos, qos.min((number % 3) as u8));
        }
    }
}

/// Sends all, then does all handshakes.
fn publish_pipelined(publisher: &mut Client, topic: &str, numbers: &[usize], qos: u8) {
    for number in numbers {
        let publish = Publish::new(topic, number.to_string());
        publisher.send(if qos == 0 { publish } else { publish.qos(qos, *number as u16 + 1) });
    }
    let (first, last) = match qos {
        0 => return,
        1 => (Kind::PubAck, None),
        _ => (Kind::PubRec, Some(Kind::PubComp)),
    };
    for number in numbers {
        publisher.expect_success(first, *number as u16 + 1);
    }
    if let Some(last) = last {
        for number in numbers {
            publisher.acknowledge(Kind::PubRel, *number as u16 + 1);
        }
        for number in numbers {
            publisher.expect_success(last, *number as u16 + 1);
        }
    }
}
