//! Retained messages: what is kept, for how long, and how it is handed out.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::time::Instant;

use ior_tests::{
    Broker, DEADLINE, ON_BOTH_VERSIONS,
    raw::{
        Client, Connect, Kind, Packet, Property, Publish, Subscribe,
        Version::{self, V5, V311},
        Will,
    },
};

#[test]
fn a_new_subscription_gets_the_retained_message() {
    let broker = Broker::start();
    for publisher_version in ON_BOTH_VERSIONS {
        for subscriber_version in ON_BOTH_VERSIONS {
            for published in 0..=2 {
                let topic = format!("kept/{publisher_version:?}/{published}");
                broker.connect(publisher_version, "publisher").publish_retained(&topic, "state", published);
                for subscribed in 0..=2 {
                    let mut client = broker.connect(subscriber_version, "subscriber");
                    client.subscribe(&topic, subscribed);
                    let message = client.expect_payload("state");
                    assert!(message.retain && !message.dup);
                    assert_eq!((message.topic, message.qos), (topic.clone(), published.min(subscribed)));
                    client.expect_silence();
                }
            }
        }
    }
}

#[test]
fn a_subscription_that_comes_right_after_gets_it_once() {
    // At QoS 0 a message is handed on after the publisher has had its PINGRESP: to those who had subscribed by then.
    let broker = Broker::start();
    for version in ON_BOTH_VERSIONS {
        let mut publisher = broker.connect(version, "publisher");
        let mut client = broker.connect(version, "subscriber");
        for number in 0..300 {
            let topic = format!("once/{version:?}/{number}");
            publisher.publish_retained(&topic, "x", 0);
            client.subscribe(&topic, 0);
            assert!(client.expect_payload("x").retain);
            publisher.publish(&topic, "marker", 0);
            client.expect_payload("marker");
        }
    }
}

#[test]
fn an_existing_subscription_gets_it_without_the_flag() {
    let broker = Broker::start();
    for version in ON_BOTH_VERSIONS {
        let mut client = broker.connect(version, "subscriber");
        let topic = format!("live/{version:?}");
        client.subscribe(&topic, 2);
        for qos in 0..=2 {
            broker.connect(version, "publisher").publish_retained(&topic, "x", qos);
            assert!(!client.expect_payload("x").retain);
        }
    }
}

#[test]
fn the_last_retained_message_replaces_the_one_before() {
    let broker = Broker::start();
    for version in ON_BOTH_VERSIONS {
        let mut publisher = broker.connect(version, "publisher");
        for qos in [0, 1, 2, 1, 0] {
            publisher.publish_retained("state", format!("at {qos}"), qos);
            assert_eq!(retained(&broker, version, "state"), [("state".to_string(), format!("at {qos}"))]);
        }
    }
}

#[test]
fn an_empty_payload_with_retain_deletes() {
    let broker = Broker::start();
    for version in ON_BOTH_VERSIONS {
        let mut publisher = broker.connect(version, "publisher");
        let mut listener = broker.connect(version, "listener");
        listener.subscribe("state", 2);
        for qos in 0..=2 {
            publisher.publish_retained("state", "set", 1);
            listener.expect_payload("set");
            publisher.publish_retained("state", "", qos);
            let message = listener.expect_payload("");
            assert!(!message.retain, "current subscribers get it as any other message");
            assert_eq!(retained(&broker, version, "#"), []);
        }
        // Deleting what is not there is fine.
        publisher.publish_retained("state", "", 1);
        listener.expect_payload("");
    }
}

#[test]
fn messages_without_retain_change_nothing() {
    let broker = Broker::start();
    for version in ON_BOTH_VERSIONS {
        let mut publisher = broker.connect(version, "publisher");
        publisher.publish_retained("state", "kept", 1);
        for qos in 0..=2 {
            publisher.publish("state", "passing", qos);
            publisher.publish("state", "", qos);
            publisher.publish("other", "passing", qos);
        }
        publisher.expect_silence();
        assert_eq!(retained(&broker, version, "#"), [("state".to_string(), "kept".to_string())]);
    }
}

#[test]
fn it_outlives_the_session_that_published_it() {
    let broker = Broker::start();
    for version in ON_BOTH_VERSIONS {
        let mut publisher = broker.connect(version, "publisher");
        publisher.publish_retained("state", "kept", 1);
        publisher.cut();
        broker.connect(version, "publisher").disconnect();
        assert_eq!(retained(&broker, version, "state").len(), 1);
    }
}

#[test]
fn a_wildcard_gets_all_of_them() {
    const COUNT: usize = 450;
    let broker = Broker::start();
    let mut publisher = broker.connect(V5, "publisher");
    for number in 0..COUNT {
        publisher.publish_retained(&format!("many/{number:03}"), number.to_string(), 1);
    }
    publisher.publish_retained("few/1", "x", 1);
    publisher.publish_retained("$hidden/1", "x", 1);
    for version in ON_BOTH_VERSIONS {
        let all = retained(&broker, version, "many/#");
        assert_eq!(all.len(), COUNT);
        assert!(all.iter().enumerate().all(|(number, (topic, _))| *topic == format!("many/{number:03}")));
        assert_eq!(retained(&broker, version, "+/1").len(), 1);
        assert_eq!(retained(&broker, version, "#").len(), COUNT + 1, "no topic that begins with $");
    }
}

#[test]
fn it_respects_the_receive_maximum() {
    let broker = Broker::start();
    let mut publisher = broker.connect(V5, "publisher");
    for number in 0..10 {
        publisher.publish_retained(&format!("window/{number}"), "x", 1);
    }
    let (mut client, _) =
        broker.connect_with(V5, Connect::new("narrow").property(Property::ReceiveMaximum(3)));
    client.subscribe("window/#", 1);
    let first: Vec<u16> = (0..3).map(|_| client.expect_publish().id).collect();
    client.expect_silence();
    for id in first {
        client.acknowledge(Kind::PubAck, id);
    }
    for _ in 3..10 {
        client.expect_message();
    }
    client.expect_silence();
}

#[test]
fn it_carries_its_properties() {
    let broker = Broker::start();
    let properties = [
        Property::PayloadFormat(1),
        Property::ContentType("text/plain".into()),
        Property::ResponseTopic("answers".into()),
        Property::CorrelationData(vec![0, 255]),
        Property::user("b", "1"),
        Property::user("a", "2"),
    ];
    let publish = properties.iter().cloned().fold(Publish::new("state", "x").retain(), Publish::property);
    broker.connect(V5, "publisher").complete(publish, 1);
    let mut client = broker.connect(V5, "subscriber");
    client.subscribe("state", 1);
    let message = client.expect_message();
    for property in &properties {
        assert!(message.properties.contains(property), "{property:?} is missing in {message:?}");
    }
}

#[test]
fn it_expires() {
    let broker = Broker::start();
    let mut publisher = broker.connect(V5, "publisher");
    publisher.complete(Publish::new("short", "x").retain().property(Property::MessageExpiry(2)), 1);
    publisher.complete(Publish::new("long", "x").retain().property(Property::MessageExpiry(1000)), 1);
    let start = Instant::now();
    assert_eq!(retained(&broker, V311, "#").len(), 2);
    while retained(&broker, V311, "short").len() == 1 {
        assert!(start.elapsed() < DEADLINE, "the message does not expire");
        std::thread::yield_now();
    }
    assert!(start.elapsed().as_millis() >= 900, "expired after {:?}", start.elapsed());
    let mut client = broker.connect(V5, "subscriber");
    client.subscribe("long", 1);
    let message = client.expect_message();
    let left = message
        .properties
        .iter()
        .find_map(|p| if let Property::MessageExpiry(n) = p { Some(*n) } else { None });
    assert!((900..1000).contains(&left.expect("a Message Expiry Interval")), "{left:?}");
}

#[test]
fn a_retained_message_that_replaces_takes_its_own_expiry() {
    let broker = Broker::start();
    let mut publisher = broker.connect(V5, "publisher");
    publisher.complete(Publish::new("state", "short").retain().property(Property::MessageExpiry(1)), 1);
    publisher.complete(Publish::new("clock", "short").retain().property(Property::MessageExpiry(1)), 1);
    publisher.publish_retained("state", "forever", 1);
    let start = Instant::now();
    while retained(&broker, V311, "clock").len() == 1 {
        assert!(start.elapsed() < DEADLINE, "the message does not expire");
        std::thread::yield_now();
    }
    assert_eq!(retained(&broker, V5, "state"), [("state".to_string(), "forever".to_string())]);
}

#[test]
fn a_will_may_be_retained() {
    let broker = Broker::start();
    for version in ON_BOTH_VERSIONS {
        let mut listener = broker.connect(version, "listener");
        listener.subscribe("status", 1);
        let will = Will::new("status", "gone").qos(1).retain();
        broker.connect_with(version, Connect::new("mortal").will(will)).0.cut();
        assert!(!listener.expect_payload("gone").retain);
        assert_eq!(retained(&broker, version, "status"), [("status".to_string(), "gone".to_string())]);
        let will = Will::new("status", "").qos(1).retain();
        broker.connect_with(version, Connect::new("mortal").will(will)).0.cut();
        listener.expect_payload("");
        assert_eq!(retained(&broker, version, "status"), []);
        let will = Will::new("status", "passing").qos(1);
        broker.connect_with(version, Connect::new("mortal").will(will)).0.cut();
        listener.expect_payload("passing");
        assert_eq!(retained(&broker, version, "status"), []);
    }
}

#[test]
fn a_subscriber_between_two_states_misses_none() {
    // Subscribing while a publisher changes the state at full speed: what comes ends with the last state.
    let broker = Broker::start();
    let mut publisher = broker.connect(V311, "publisher");
    let mut subscribers = Vec::new();
    for number in 0..50 {
        publisher.send(Publish::new("state", number.to_string()).retain().qos(1, number + 1));
        let mut client = broker.connect(V5, &format!("subscriber-{number}"));
        client.send(Subscribe::new(1).filter("state", 1));
        subscribers.push(client);
    }
    for number in 0..50 {
        publisher.expect_success(Kind::PubAck, number + 1);
    }
    for client in &mut subscribers {
        client.wait_for("SUBACK", |packet| matches!(packet, Packet::SubAck(ack) if ack.codes == [1]));
    }
    publisher.publish("state", "end", 1);
    for client in &mut subscribers {
        let mut last = -1;
        loop {
            let message = client.expect_message();
            if message.text() == "end" {
                break;
            }
            let number: i32 = message.text().parse().unwrap();
            assert!(number >= last, "{number} after {last}");
            last = number;
        }
        assert_eq!(last, 49, "the last state");
    }
}

/// What a new subscription gets, sorted by topic.
fn retained(broker: &Broker, version: Version, filter: &str) -> Vec<(String, String)> {
    let mut client: Client = broker.connect(version, "looks");
    client.send(Subscribe::new(1).filter(filter, 1));
    match client.receive() {
        Packet::SubAck(ack) if ack.codes == [1] => {}
        Packet::SubAck(_) | Packet::Disconnect(..) => return Vec::new(),
        other => panic!("expected SUBACK, got {other:?}"),
    }
    let mut found = Vec::new();
    client.send(ior_tests::raw::PingReq);
    let mut pinged = false;
    loop {
        match client.receive() {
            Packet::Publish(message) => {
                assert!(message.retain, "{message:?}");
                if message.qos == 1 {
                    client.acknowledge(Kind::PubAck, message.id);
                }
                found.push((message.topic, String::from_utf8(message.payload).unwrap()));
                pinged = false;
            }
            // A full window may hold messages back until the server saw the acknowledgements.
            Packet::PingResp if pinged || found.is_empty() => break,
            Packet::PingResp => {
                pinged = true;
                client.send(ior_tests::raw::PingReq);
            }
            other => panic!("expected PUBLISH or PINGRESP, got {other:?}"),
        }
    }
    found.sort();
    found
}
