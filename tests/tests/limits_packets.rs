//! Limits of single packets, and what a client is told when one exceeds them.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use ior_tests::{
    Broker, ON_BOTH_VERSIONS,
    raw::{Client, Connect, Kind, Property, Publish, Subscribe, Unsubscribe, Version::V5, Will},
};

/// Default of `limits.user_properties`.
const USER_PROPERTIES: usize = 64;
/// Default of `limits.max_topic_length`.
const TOPIC_LENGTH: usize = 1024;
/// Default of `limits.max_topic_levels`.
const TOPIC_LEVELS: usize = 64;

#[test]
fn a_publish_has_few_user_properties() {
    let broker = Broker::start();
    let mut listener = broker.connect(V5, "listener");
    listener.subscribe("topic", 2);
    let mut client = broker.connect(V5, "client");
    let publish =
        |count| (0..count).fold(Publish::new("topic", "x"), |all, _| all.property(Property::user("k", "v")));
    for (qos, kind) in [(1, Kind::PubAck), (2, Kind::PubRec)] {
        client.send(publish(USER_PROPERTIES).qos(qos, 1));
        client.expect_success(kind, 1);
        assert_eq!(listener.expect_message().properties.len(), USER_PROPERTIES);
        client.send(publish(USER_PROPERTIES + 1).qos(qos, 2));
        assert_eq!(client.expect_ack(kind, 2).reason, 0x97);
    }
    client.send(publish(USER_PROPERTIES));
    assert_eq!(listener.expect_message().properties.len(), USER_PROPERTIES);
    client.send(publish(USER_PROPERTIES + 1));
    client.expect_ended(0x97);
    listener.expect_silence();
}

#[test]
fn a_subscribe_has_few_user_properties() {
    let broker = Broker::start();
    let mut client = broker.connect(V5, "client");
    let subscribe = |count| {
        let subscribe = Subscribe::new(1).filter("a", 0).filter("b", 1);
        (0..count).fold(subscribe, |all, _| all.property(Property::user("k", "v")))
    };
    client.send(subscribe(USER_PROPERTIES + 1));
    assert_eq!(client.expect_suback(1), [0x97, 0x97]);
    broker.connect(V5, "publisher").publish("b", "nobody wants it", 1);
    client.expect_silence();
    client.send(subscribe(USER_PROPERTIES));
    assert_eq!(client.expect_suback(1), [0, 1]);
}

#[test]
fn topics_filters_and_will_topics_are_neither_too_long_nor_too_deep() {
    let broker = Broker::start();
    let long = "x".repeat(TOPIC_LENGTH);
    let deep = "/".repeat(TOPIC_LEVELS - 1);
    for version in ON_BOTH_VERSIONS {
        for allowed in [&long, &deep] {
            let will = Connect::new("will").will(Will::new(allowed, "x"));
            let (mut client, _) = broker.connect_with(version, will);
            client.subscribe(allowed, 1);
            client.publish(allowed, "x", 1);
            client.expect_payload("x");
        }
        for refused in [format!("{long}x"), format!("{deep}/")] {
            let v5 = version == V5;
            let mut client = broker.open(version);
            client.send(Connect::new("will").will(Will::new(&refused, "x")));
            assert_eq!(client.expect_connack().code, if v5 { 0x90 } else { 3 });
            client.expect_closed();

            let mut client = broker.connect(version, "client");
            client.send(Subscribe::new(1).filter(&refused, 1));
            assert_eq!(client.expect_suback(1), [if v5 { 0x8F } else { 0x80 }]);
            client.send(Unsubscribe::new(2, &[&refused]));
            client.expect_unsuback(2);
            publish_refused(&mut client, &refused);
            let mut client = broker.connect(version, "client");
            client.send(Publish::new(&refused, "x"));
            client.expect_ended(0x90);
        }
    }
}

fn publish_refused(client: &mut Client, topic: &str) {
    client.send(Publish::new(topic, "x").qos(1, 3));
    if client.version() == V5 {
        assert_eq!(client.expect_ack(Kind::PubAck, 3).reason, 0x90);
    } else {
        client.expect_closed();
    }
}
