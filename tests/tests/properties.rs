//! Properties of MQTT 5 that pass through the server, and those that must not.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::time::{Duration, Instant};

use ior_tests::{
    Broker, DEADLINE, ON_BOTH_VERSIONS,
    raw::{
        Connect, Kind, Message, Property, Publish, Subscribe,
        Version::{V5, V311},
    },
};

#[test]
fn user_properties_keep_their_order() {
    let broker = Broker::start();
    let pairs = [("b", "1"), ("a", "2"), ("b", "3"), ("", ""), ("a", "2"), ("ü", "🤖"), ("b", "1")];
    let properties = pairs.map(|(name, value)| Property::user(name, value));
    for qos in 0..=2 {
        let mut client = broker.connect(V5, "subscriber");
        client.subscribe("users", 2);
        let publish = properties.iter().cloned().fold(Publish::new("users", "x"), Publish::property);
        broker.connect(V5, "publisher").complete(publish, qos);
        assert_eq!(client.expect_message().properties, properties);
    }
}

#[test]
fn many_user_properties_pass() {
    let broker = Broker::start();
    let mut client = broker.connect(V5, "subscriber");
    client.subscribe("users", 1);
    let all: Vec<Property> =
        (0..64).map(|number| Property::user(&format!("k{number}"), &number.to_string())).collect();
    let publish = all.iter().cloned().fold(Publish::new("users", "x"), Publish::property);
    broker.connect(V5, "publisher").complete(publish, 1);
    assert_eq!(client.expect_message().properties, all);
}

#[test]
fn request_and_response_properties_pass() {
    let broker = Broker::start();
    let cases = [
        vec![Property::PayloadFormat(0)],
        vec![Property::PayloadFormat(1)],
        vec![Property::ContentType(String::new())],
        vec![Property::ContentType("application/json; charset=utf-8".into())],
        vec![Property::ResponseTopic("answers/to/me".into())],
        vec![Property::CorrelationData(Vec::new())],
        vec![Property::CorrelationData((0..=255).collect())],
        vec![
            Property::user("first", "1"),
            Property::CorrelationData(vec![0]),
            Property::user("second", "2"),
            Property::ResponseTopic("r".into()),
            Property::ContentType("c".into()),
            Property::PayloadFormat(1),
        ],
    ];
    let mut client = broker.connect(V5, "subscriber");
    client.subscribe("rich/#", 2);
    let mut publisher = broker.connect(V5, "publisher");
    for properties in cases {
        for qos in 0..=2 {
            let publish = properties.iter().cloned().fold(Publish::new("rich/a", "text"), Publish::property);
            publisher.complete(publish, qos);
            let message = client.expect_payload("text");
            for property in &properties {
                let format_is_default = *property == Property::PayloadFormat(0);
                let passed = message.properties.contains(property) || format_is_default;
                assert!(passed, "{property:?} is missing in {message:?}");
            }
            assert!(message.properties.len() <= properties.len(), "{message:?}");
        }
    }
}

#[test]
fn properties_stay_behind_for_v311() {
    let broker = Broker::start();
    let mut client = broker.connect(V311, "subscriber");
    client.subscribe("mixed", 2);
    let mut publisher = broker.connect(V5, "publisher");
    for qos in 0..=2 {
        let publish = Publish::new("mixed", "plain")
            .property(Property::user("k", "v"))
            .property(Property::MessageExpiry(60))
            .property(Property::ContentType("text/plain".into()));
        publisher.complete(publish, qos);
        client.expect_payload("plain");
    }
}

#[test]
fn properties_are_kept_in_the_queue() {
    let broker = Broker::start();
    let (mut client, _) = broker.connect_persistent(V5, "away");
    client.subscribe("rich", 2);
    client.disconnect();
    let properties = [Property::ContentType("c".into()), Property::user("k", "v"), Property::user("k", "w")];
    let mut publisher = broker.connect(V5, "publisher");
    for qos in 1..=2 {
        publisher
            .complete(properties.iter().cloned().fold(Publish::new("rich", "x"), Publish::property), qos);
    }
    let (mut client, _) = broker.connect_persistent(V5, "away");
    for _ in 1..=2 {
        assert_eq!(client.expect_message().properties, properties);
    }
}

#[test]
fn a_retransmission_has_the_same_properties() {
    let broker = Broker::start();
    let (mut client, _) = broker.connect_persistent(V5, "flaky");
    client.send(Subscribe::new(1).filter("rich", 2).property(Property::SubscriptionId(9)));
    assert_eq!(client.expect_suback(1), [2]);
    let publish = Publish::new("rich", "x")
        .property(Property::user("k", "v"))
        .property(Property::CorrelationData(vec![7]));
    broker.connect(V5, "publisher").complete(publish, 2);
    let first = client.expect_publish();
    client.cut();
    let (mut client, _) = broker.connect_persistent(V5, "flaky");
    let again = client.expect_publish();
    assert!(again.dup);
    assert_eq!(again.properties, first.properties);
}

#[test]
fn message_expiry_counts_down_while_waiting() {
    let broker = Broker::start();
    let (mut client, _) = broker.connect_persistent(V5, "away");
    client.subscribe("expiring", 1);
    client.disconnect();
    let mut publisher = broker.connect(V5, "publisher");
    let start = Instant::now();
    publisher.complete(Publish::new("expiring", "gone").property(Property::MessageExpiry(1)), 1);
    publisher.complete(Publish::new("expiring", "left").property(Property::MessageExpiry(100)), 1);
    publisher.complete(Publish::new("expiring", "forever"), 1);
    // Time itself is what is tested here.
    std::thread::sleep(Duration::from_millis(2100));
    let (mut client, _) = broker.connect_persistent(V5, "away");
    let message = client.expect_payload("left");
    let waited = start.elapsed().as_secs() as u32;
    let left = expiry(&message).expect("a Message Expiry Interval");
    assert!((100 - waited - 1..=98).contains(&left), "{left} left after {waited} s");
    assert_eq!(expiry(&client.expect_payload("forever")), None);
    client.expect_silence();
}

#[test]
fn an_expired_message_is_not_sent_to_v311_either() {
    let broker = Broker::start();
    let (mut client, _) = broker.connect_persistent(V311, "away");
    client.subscribe("expiring", 2);
    client.disconnect();
    let mut publisher = broker.connect(V5, "publisher");
    let expiring =
        |text: &str, seconds| Publish::new("expiring", text).property(Property::MessageExpiry(seconds));
    publisher.complete(expiring("gone", 1), 1);
    publisher.complete(expiring("gone", 1), 2);
    publisher.complete(expiring("left", 100), 1);
    std::thread::sleep(Duration::from_millis(2100));
    let (mut client, _) = broker.connect_persistent(V311, "away");
    client.expect_payload("left");
    client.expect_silence();
}

#[test]
fn what_was_sent_once_does_not_expire() {
    let broker = Broker::start();
    let (mut client, _) = broker.connect_persistent(V5, "flaky");
    client.subscribe("expiring", 2);
    let mut publisher = broker.connect(V5, "publisher");
    let expiring = |text: &str| Publish::new("expiring", text).property(Property::MessageExpiry(1));
    publisher.complete(expiring("sent at 1"), 1);
    publisher.complete(expiring("sent at 2"), 2);
    // This handshake is not complete when the message expires.
    publisher.send(expiring("half").qos(2, 50));
    publisher.expect_success(Kind::PubRec, 50);
    for _ in 0..3 {
        client.expect_publish();
    }
    client.cut();
    std::thread::sleep(Duration::from_millis(1500));
    publisher.acknowledge(Kind::PubRel, 50);
    publisher.expect_success(Kind::PubComp, 50);
    let (mut client, _) = broker.connect_persistent(V5, "flaky");
    for text in ["sent at 1", "sent at 2", "half"] {
        assert!(client.expect_payload(text).dup);
    }
}

#[test]
fn message_expiry_passes_while_connected() {
    let broker = Broker::start();
    let mut client = broker.connect(V5, "subscriber");
    client.subscribe("expiring", 2);
    let mut publisher = broker.connect(V5, "publisher");
    for qos in 0..=2 {
        for seconds in [1, 60, u32::MAX] {
            publisher.complete(Publish::new("expiring", "x").property(Property::MessageExpiry(seconds)), qos);
            let left = expiry(&client.expect_payload("x")).expect("a Message Expiry Interval");
            assert!(left <= seconds && left >= seconds - 1, "{left} of {seconds}");
        }
    }
}

#[test]
fn an_expiry_of_zero_harms_nobody() {
    let broker = Broker::start();
    let mut client = broker.connect(V5, "subscriber");
    client.subscribe("expiring", 1);
    let mut publisher = broker.connect(V5, "publisher");
    publisher.complete(Publish::new("expiring", "zero").property(Property::MessageExpiry(0)), 1);
    publisher.publish("expiring", "marker", 1);
    let until = Instant::now() + DEADLINE;
    while client.expect_message().text() != "marker" {
        assert!(Instant::now() < until);
    }
}

#[test]
fn connect_properties_of_every_kind_are_understood() {
    let broker = Broker::start();
    let connect = Connect::new("rich")
        .property(Property::SessionExpiry(10))
        .property(Property::ReceiveMaximum(10))
        .property(Property::MaximumPacketSize(100_000))
        .property(Property::TopicAliasMaximum(0))
        .property(Property::RequestResponseInformation(1))
        .property(Property::RequestProblemInformation(1))
        .property(Property::user("k", "v"))
        .property(Property::user("k", "v"));
    broker.connect_with(V5, connect).0.expect_silence();
}

#[test]
fn user_properties_are_legal_wherever_a_client_sends_them() {
    let broker = Broker::start();
    let mut client = broker.connect(V5, "wordy");
    client.send(Subscribe::new(1).filter("a", 0).property(Property::user("k", "v")));
    assert_eq!(client.expect_suback(1), [0]);
    // UNSUBSCRIBE and DISCONNECT with one user property of seven bytes.
    client.send(ior_tests::raw::frame(0xA2, b"\0\x02\x07\x26\0\x01k\0\x01v\0\x01a"));
    assert_eq!(client.expect_unsuback(2), [0]);
    client.send(ior_tests::raw::frame(0xE0, b"\0\x07\x26\0\x01k\0\x01v"));
    client.expect_closed();
}

#[test]
fn both_versions_hear_each_other() {
    let broker = Broker::start();
    for from in ON_BOTH_VERSIONS {
        for to in ON_BOTH_VERSIONS {
            let mut client = broker.connect(to, "subscriber");
            client.subscribe("cross", 2);
            let mut publisher = broker.connect(from, "publisher");
            for qos in 0..=2 {
                publisher.publish("cross", "x", qos);
                assert!(client.expect_payload("x").properties.is_empty());
            }
        }
    }
}

fn expiry(message: &Message) -> Option<u32> {
    message.properties.iter().find_map(|p| if let Property::MessageExpiry(n) = p { Some(*n) } else { None })
}
