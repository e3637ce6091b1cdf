//! SUBSCRIBE and UNSUBSCRIBE: what matches, which options hold, what is refused.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use ior_tests::{
    Broker, ON_BOTH_VERSIONS,
    raw::{
        Client, Kind, Message, Packet, Property, Publish, Subscribe, Unsubscribe,
        Version::{self, V5, V311},
    },
};

/// Filter, topics that it matches, topics that it does not match.
const MATCHES: &[(&str, &[&str], &[&str])] = &[
    ("a", &["a"], &["A", "/a", "a/", "a/b", "b", "aa", " a"]),
    ("/a", &["/a"], &["a", "//a", "/a/"]),
    ("a/", &["a/"], &["a", "a//", "/a"]),
    ("a//b", &["a//b"], &["a/b", "a/x/b"]),
    ("/", &["/"], &["//", "a/", "/a", "a"]),
    ("a/b/c", &["a/b/c"], &["a/b", "a/b/c/d", "a/b/C"]),
    ("+", &["a", "Ä"], &["/", "/a", "a/", "a/b", "$a"]),
    ("/+", &["/a", "/"], &["a", "/a/b", "//"]),
    ("+/+", &["/finance", "a/b", "/", "a/"], &["a", "a/b/c", "$a/b"]),
    ("a/+", &["a/b", "a/"], &["a", "a/b/c", "b/a", "ab"]),
    ("a/+/c", &["a/b/c", "a//c"], &["a/c", "a/b/b/c", "a/b/d", "a/b/c/"]),
    ("+/b", &["a/b", "/b"], &["b", "a/b/c", "$a/b"]),
    ("#", &["a", "a/b/c", "/", "//", "/a"], &["$a", "$SYS/x", "$a/b"]),
    ("/#", &["/", "/a", "/a/b", "//"], &["a", "a/b"]),
    ("a/#", &["a", "a/", "a/b", "a/b/c"], &["ab", "ab/c", "b", "A/b", "/a"]),
    ("a/b/#", &["a/b", "a/b/", "a/b/c/d"], &["a", "a/bc", "a/bc/d", "a/c"]),
    ("+/#", &["a", "a/b", "/", "a/b/c"], &["$a/b", "$a"]),
    ("a/+/#", &["a/b", "a/", "a/b/c/d"], &["a", "b/b"]),
    ("+/a/#", &["x/a", "x/a/b", "/a"], &["a", "x/b/a", "$x/a"]),
    ("sport/tennis/+", &["sport/tennis/player1"], &["sport/tennis/player1/ranking", "sport/tennis"]),
    ("größe/日本/🤖", &["größe/日本/🤖"], &["grosse/日本/🤖", "größe/日本"]),
    // Precomposed and decomposed letters, and U+FEFF, are different: nothing is normalised.
    ("\u{C4}", &["\u{C4}"], &["A\u{308}", "\u{FEFF}\u{C4}"]),
    ("\u{FEFF}bom", &["\u{FEFF}bom"], &["bom"]),
    ("with space", &["with space"], &["with", "withspace", "with  space"]),
];

#[test]
fn filters_match_as_the_standard_says() {
    let broker = Broker::start();
    for version in ON_BOTH_VERSIONS {
        let mut publisher = broker.connect(version, "publisher");
        for (filter, matching, others) in MATCHES {
            let mut subscriber = broker.connect(version, "subscriber");
            subscriber.subscribe(filter, 1);
            // Topics with `$` in front may be refused: only their silence counts.
            for topic in others.iter().filter(|topic| !topic.starts_with('$')) {
                publisher.publish(topic, "other", 1);
            }
            for topic in others.iter().filter(|topic| topic.starts_with('$')) {
                let mut brave = broker.connect(version, "brave");
                brave.send(Publish::new(topic, "other").qos(1, 1));
                brave.receive_anything();
            }
            for topic in *matching {
                publisher.publish(topic, "match", 1);
                let message = subscriber.expect_payload("match");
                assert_eq!(message.topic, *topic, "filter {filter}");
            }
            subscriber.expect_silence();
        }
    }
}

#[test]
fn filters_match_at_qos0_as_well() {
    let broker = Broker::start();
    let mut publisher = broker.connect(V5, "publisher");
    for (filter, matching, _) in MATCHES {
        let mut subscriber = broker.connect(V5, "subscriber");
        subscriber.subscribe(filter, 0);
        for topic in *matching {
            publisher.publish(topic, "match", 0);
            assert_eq!(subscriber.expect_payload("match").topic, *topic, "filter {filter}");
        }
    }
}

#[test]
fn topics_and_filters_of_the_greatest_length_and_depth_work() {
    let broker = Broker::start();
    for version in ON_BOTH_VERSIONS {
        // The limits `max_topic_length` and `max_topic_levels`.
        for topic in ["t".repeat(1024), vec!["t"; 64].join("/")] {
            let mut subscriber = broker.connect(version, "subscriber");
            subscriber.subscribe(&topic, 1);
            let mut publisher = broker.connect(version, "publisher");
            for qos in 0..=1 {
                publisher.publish(&topic, "x", qos);
                assert_eq!(subscriber.expect_payload("x").topic, topic);
            }
        }
    }
}

#[test]
fn one_acknowledgement_with_one_code_per_filter_in_order() {
    let broker = Broker::start();
    for version in ON_BOTH_VERSIONS {
        let mut client = broker.connect(version, "many");
        let subscribe = Subscribe::new(65535).filter("a", 2).filter("b", 0).filter("c/#", 1).filter("+", 2);
        client.send(subscribe);
        assert_eq!(client.expect_suback(65535), [2, 0, 1, 2]);
        let many = (0..50).fold(Subscribe::new(2), |all, n| all.filter(&format!("f/{n}"), (n % 3) as u8));
        client.send(many);
        let expected: Vec<u8> = (0..50).map(|n| (n % 3) as u8).collect();
        assert_eq!(client.expect_suback(2), expected);
        client.expect_silence();
    }
}

#[test]
fn the_same_filter_twice_in_one_packet_is_one_subscription() {
    let broker = Broker::start();
    for version in ON_BOTH_VERSIONS {
        let mut client = broker.connect(version, "twice");
        client.send(Subscribe::new(1).filter("a", 2).filter("a", 0));
        assert_eq!(client.expect_suback(1), [2, 0]);
        broker.connect(version, "publisher").publish("a", "x", 2);
        assert_eq!(client.expect_payload("x").qos, 0, "the later one holds");
        client.expect_silence();
    }
}

#[test]
fn subscribing_again_changes_the_qos() {
    let broker = Broker::start();
    for version in ON_BOTH_VERSIONS {
        let mut publisher = broker.connect(version, "publisher");
        let mut client = broker.connect(version, "again");
        for qos in [0, 2, 1, 0] {
            client.subscribe("a", qos);
            publisher.publish("a", "x", 2);
            assert_eq!(client.expect_payload("x").qos, qos);
            client.expect_silence();
        }
    }
}

#[test]
fn subscribing_again_loses_nothing() {
    let broker = Broker::start();
    for version in ON_BOTH_VERSIONS {
        let mut client = broker.connect(version, "again");
        client.subscribe("flow", 1);
        let mut publisher = broker.connect(version, "publisher");
        for number in 1..=100 {
            publisher.send(Publish::new("flow", number.to_string()).qos(1, number));
            client.send(Subscribe::new(number).filter("flow", 1 + (number % 2) as u8));
            publisher.expect_success(Kind::PubAck, number);
        }
        let mut next = 1;
        while next <= 100 {
            match client.receive() {
                Packet::Publish(message) => {
                    assert_eq!(message.text(), next.to_string());
                    client.acknowledge(Kind::PubAck, message.id);
                    next += 1;
                }
                Packet::SubAck(_) => {}
                other => panic!("expected PUBLISH or SUBACK, got {other:?}"),
            }
        }
    }
}

#[test]
fn subscribing_again_sends_retained_messages_again() {
    let broker = Broker::start();
    for version in ON_BOTH_VERSIONS {
        broker.connect(version, "publisher").publish_retained("a/b", "kept", 1);
        let mut client = broker.connect(version, "again");
        for _ in 0..3 {
            client.subscribe("a/#", 1);
            assert!(client.expect_payload("kept").retain);
        }
        client.expect_silence();
    }
}

#[test]
fn overlapping_subscriptions_deliver_at_the_highest_qos() {
    let broker = Broker::start();
    for version in ON_BOTH_VERSIONS {
        let mut client = broker.connect(version, "overlap");
        client.subscribe("a/#", 0);
        client.subscribe("a/b", 2);
        client.subscribe("+/b", 1);
        broker.connect(version, "publisher").publish("a/b", "x", 2);
        let copies = copies_of_one_message(&mut client);
        assert!(copies.iter().any(|copy| copy.qos == 2), "{copies:?}");
    }
}

#[test]
fn every_matching_subscription_identifier_is_told() {
    let broker = Broker::start();
    let mut client = broker.connect(V5, "identified");
    for (id, filter) in [(1, "a/#"), (268_435_455, "a/b"), (128, "+/b")] {
        client.send(
            Subscribe::new(id as u16 & 0x7FFF).filter(filter, 1).property(Property::SubscriptionId(id)),
        );
        assert_eq!(client.expect_suback(id as u16 & 0x7FFF), [1]);
    }
    client.subscribe("a/+", 1);
    let mut publisher = broker.connect(V5, "publisher");
    publisher.publish("a/b", "all", 1);
    let copies = copies_of_one_message(&mut client);
    let mut ids: Vec<u32> = copies.iter().flat_map(Message::subscription_ids).collect();
    ids.sort_unstable();
    assert_eq!(ids, [1, 128, 268_435_455]);
    publisher.publish("a/c", "one", 0);
    let copies = copies_of_one_message(&mut client);
    let ids: Vec<u32> = copies.iter().flat_map(Message::subscription_ids).collect();
    assert_eq!(ids, [1]);
}

#[test]
fn subscribing_again_replaces_the_subscription_identifier() {
    let broker = Broker::start();
    let mut publisher = broker.connect(V5, "publisher");
    publisher.publish_retained("kept", "retained", 1);
    let mut client = broker.connect(V5, "identified");
    for (id, expected) in [(Some(5), vec![5]), (Some(6), vec![6]), (None, vec![])] {
        let packet_id = client.packet_id();
        let subscribe = Subscribe::new(packet_id).filter("kept", 1);
        client.send(match id {
            Some(id) => subscribe.property(Property::SubscriptionId(id)),
            None => subscribe,
        });
        assert_eq!(client.expect_suback(packet_id), [1]);
        assert_eq!(client.expect_payload("retained").subscription_ids(), expected);
        publisher.publish("kept", "live", 1);
        assert_eq!(client.expect_payload("live").subscription_ids(), expected);
    }
}

#[test]
fn no_local_keeps_own_messages_away() {
    let broker = Broker::start();
    for qos in 0..=2 {
        let mut client = broker.connect(V5, "local");
        let mut other = broker.connect(V5, "other");
        client.send(Subscribe::new(1).filter("no/local", qos | Subscribe::NO_LOCAL).filter("local", qos));
        assert_eq!(client.expect_suback(1), [qos, qos]);
        client.publish("no/local", "own", qos);
        // By QoS 0, order holds per topic and publisher only: this one must be through before the other's marker.
        client.send(Publish::new("local", "own"));
        client.expect_payload("own");
        other.publish("no/local", "marker", qos);
        client.expect_payload("marker");
        client.expect_silence();
    }
}

#[test]
fn no_local_holds_after_resume() {
    let broker = Broker::start();
    let (mut client, _) = broker.connect_persistent(V5, "local");
    client.send(Subscribe::new(1).filter("no/local", 1 | Subscribe::NO_LOCAL));
    assert_eq!(client.expect_suback(1), [1]);
    client.publish("no/local", "own", 1);
    client.cut();
    let (mut client, _) = broker.connect_persistent(V5, "local");
    client.publish("no/local", "own", 1);
    broker.connect(V5, "other").publish("no/local", "marker", 1);
    client.expect_payload("marker");
}

#[test]
fn retain_as_published_keeps_the_flag() {
    let broker = Broker::start();
    let mut client = broker.connect(V5, "flags");
    client.send(
        Subscribe::new(1).filter("as/published", 1 | Subscribe::RETAIN_AS_PUBLISHED).filter("plain", 1),
    );
    assert_eq!(client.expect_suback(1), [1, 1]);
    let mut publisher = broker.connect(V311, "publisher");
    for qos in 0..=2 {
        publisher.publish_retained("as/published", "x", qos);
        assert!(client.expect_message().retain);
        publisher.publish("as/published", "x", qos);
        assert!(!client.expect_message().retain);
        publisher.publish_retained("plain", "x", qos);
        assert!(!client.expect_message().retain);
    }
}

#[test]
fn retain_handling_decides_about_retained_messages() {
    let broker = Broker::start();
    broker.connect(V5, "publisher").publish_retained("kept", "retained", 1);
    let cases = [
        ("always", 0x00, true, true),
        ("if new", Subscribe::RETAINED_IF_NEW, true, false),
        ("never", Subscribe::NO_RETAINED, false, false),
    ];
    for (name, handling, first, second) in cases {
        let mut client = broker.connect(V5, "handling");
        for (id, expected) in [(1, first), (2, second)] {
            client.send(Subscribe::new(id).filter("kept", 1 | handling));
            assert_eq!(client.expect_suback(id), [1]);
            if expected {
                assert!(client.expect_payload("retained").retain, "{name}");
            }
            client.expect_silence();
        }
        // A subscription that was ended is new again.
        client.send(Unsubscribe::new(3, &["kept"]));
        assert_eq!(client.expect_unsuback(3), [0]);
        client.send(Subscribe::new(4).filter("kept", 1 | handling));
        assert_eq!(client.expect_suback(4), [1]);
        if first {
            client.expect_payload("retained");
        }
        client.expect_silence();
    }
}

#[test]
fn retain_handling_counts_a_resumed_subscription_as_existing() {
    let broker = Broker::start();
    broker.connect(V5, "publisher").publish_retained("kept", "retained", 1);
    let (mut client, _) = broker.connect_persistent(V5, "handling");
    client.send(Subscribe::new(1).filter("kept", 1 | Subscribe::RETAINED_IF_NEW));
    assert_eq!(client.expect_suback(1), [1]);
    client.expect_payload("retained");
    client.disconnect();
    let (mut client, _) = broker.connect_persistent(V5, "handling");
    client.expect_silence();
    client.send(Subscribe::new(1).filter("kept", 1 | Subscribe::RETAINED_IF_NEW));
    assert_eq!(client.expect_suback(1), [1]);
    client.expect_silence();
}

#[test]
fn shared_subscriptions_are_refused() {
    let broker = Broker::start();
    let mut client = broker.connect(V5, "sharing");
    client.send(
        Subscribe::new(1).filter("a", 1).filter("$share/group/a", 1).filter("$share/g/#", 0).filter("b", 0),
    );
    assert_eq!(client.expect_suback(1), [1, 0x9E, 0x9E, 0]);
    broker.connect(V5, "publisher").publish("a", "x", 1);
    client.expect_payload("x");
    client.expect_silence();
    let mut client = broker.connect(V311, "sharing");
    client.send(Subscribe::new(1).filter("a", 1).filter("$share/group/a", 1));
    assert_eq!(client.expect_suback(1), [1, 0x80]);
}

#[test]
fn unsubscribe_ends_delivery_and_tells_what_was() {
    let broker = Broker::start();
    for version in ON_BOTH_VERSIONS {
        let mut publisher = broker.connect(version, "publisher");
        let mut client = broker.connect(version, "leaves");
        for (filter, qos) in [("a/#", 1), ("b", 2), ("c", 0), ("marker", 1)] {
            client.subscribe(filter, qos);
        }
        client.send(Unsubscribe::new(100, &["a/#", "never", "b", "a/#", "C", "+"]));
        let reasons = client.expect_unsuback(100);
        if version == V5 {
            assert_eq!(reasons, [0, 0x11, 0, 0x11, 0x11, 0x11]);
        }
        for topic in ["a/x", "b", "marker"] {
            publisher.publish(topic, topic, 1);
        }
        client.expect_payload("marker");
        publisher.publish("c", "still", 0);
        client.expect_payload("still");
        client.send(Unsubscribe::new(101, &["c"]));
        client.expect_unsuback(101);
        publisher.publish("c", "gone", 0);
        publisher.publish("marker", "marker", 1);
        client.expect_payload("marker");
        client.expect_silence();
    }
}

#[test]
fn unsubscribe_compares_character_by_character() {
    let broker = Broker::start();
    for version in ON_BOTH_VERSIONS {
        let mut client = broker.connect(version, "exact");
        client.subscribe("a/b", 1);
        client.send(Unsubscribe::new(100, &["a/+", "#", "a/#", "A/B", "a/b/", "/a/b"]));
        let reasons = client.expect_unsuback(100);
        assert!(reasons.iter().all(|reason| *reason == 0x11), "{reasons:02x?}");
        broker.connect(version, "publisher").publish("a/b", "x", 1);
        client.expect_payload("x");
    }
}

#[test]
fn a_handshake_that_began_is_finished_after_unsubscribe() {
    let broker = Broker::start();
    for version in ON_BOTH_VERSIONS {
        let mut client = broker.connect(version, "leaves");
        client.subscribe("a", 2);
        broker.connect(version, "publisher").publish("a", "x", 2);
        let message = client.expect_publish();
        client.send(Unsubscribe::new(100, &["a"]));
        client.expect_unsuback(100);
        client.acknowledge(Kind::PubRec, message.id);
        client.expect_success(Kind::PubRel, message.id);
        client.acknowledge(Kind::PubComp, message.id);
        client.expect_silence();
    }
}

#[test]
fn unsubscribing_leaves_overlapping_subscriptions_alone() {
    let broker = Broker::start();
    for version in ON_BOTH_VERSIONS {
        let mut client = broker.connect(version, "overlap");
        client.subscribe("a/#", 1);
        client.subscribe("a/b", 1);
        client.send(Unsubscribe::new(100, &["a/b"]));
        client.expect_unsuback(100);
        broker.connect(version, "publisher").publish("a/b", "x", 1);
        client.expect_payload("x");
        client.expect_silence();
    }
}

#[test]
fn subscriptions_of_others_are_untouched() {
    let broker = Broker::start();
    let versions: [Version; 2] = ON_BOTH_VERSIONS;
    for version in versions {
        let mut stays = broker.connect(version, "stays");
        stays.subscribe("a", 0);
        let mut leaves = broker.connect(version, "leaves");
        leaves.subscribe("a", 0);
        leaves.send(Unsubscribe::new(9, &["a"]));
        leaves.expect_unsuback(9);
        broker.connect(version, "publisher").publish("a", "x", 0);
        stays.expect_payload("x");
        leaves.expect_silence();
    }
}

/// The server may send one copy or one per matching subscription: all up to a silence, which must be one message.
fn copies_of_one_message(client: &mut Client) -> Vec<Message> {
    let first = client.expect_message();
    let mut copies = vec![first];
    client.send(ior_tests::raw::PingReq);
    loop {
        match client.receive() {
            Packet::Publish(copy) => {
                if copy.qos == 1 {
                    client.acknowledge(Kind::PubAck, copy.id);
                }
                assert_eq!(copy.payload, copies[0].payload);
                copies.push(copy);
            }
            Packet::PingResp => return copies,
            other => panic!("expected PUBLISH or PINGRESP, got {other:?}"),
        }
    }
}
