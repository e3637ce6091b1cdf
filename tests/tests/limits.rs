//! Limits that client and server tell each other, and that the server has.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::HashMap;

use ior_tests::{
    Broker, ON_BOTH_VERSIONS,
    raw::{
        AckPacket, Client, Connect, Encode, Kind, Message, Packet, PingReq, Property, Publish, Subscribe,
        Unsubscribe, Version::V5,
    },
};

#[test]
fn the_clients_receive_maximum_is_respected() {
    let broker = Broker::start();
    for qos in 1..=2 {
        let connect = Connect::new("narrow").property(Property::ReceiveMaximum(2));
        let (mut client, _) = broker.connect_with(V5, connect);
        client.subscribe("window", qos);
        let mut publisher = broker.connect(V5, "publisher");
        for number in 0..5 {
            publisher.publish("window", number.to_string(), qos);
        }
        let first = client.expect_publish();
        let second = client.expect_publish();
        client.expect_silence();
        assert_eq!((first.text(), second.text()), ("0", "1"));
        finish(&mut client, &first);
        let third = client.expect_publish();
        assert_eq!(third.text(), "2");
        client.expect_silence();
        finish(&mut client, &third);
        let fourth = client.expect_publish();
        client.expect_silence();
        finish(&mut client, &second);
        let fifth = client.expect_publish();
        assert_eq!((fourth.text(), fifth.text()), ("3", "4"));
        finish(&mut client, &fourth);
        finish(&mut client, &fifth);
        client.expect_silence();
    }
}

#[test]
fn a_full_window_does_not_stop_qos0_and_other_packets() {
    let broker = Broker::start();
    let connect = Connect::new("narrow").property(Property::ReceiveMaximum(1));
    let (mut client, _) = broker.connect_with(V5, connect);
    client.subscribe("assured", 1);
    client.subscribe("live", 0);
    let mut publisher = broker.connect(V5, "publisher");
    publisher.publish("assured", "one", 1);
    publisher.publish("assured", "two", 1);
    let one = client.expect_publish();
    publisher.publish("live", "passes", 0);
    client.expect_payload("passes");
    client.subscribe("other", 1);
    client.publish("somewhere", "x", 2);
    client.acknowledge(Kind::PubAck, one.id);
    client.expect_payload("two");
}

#[test]
fn a_refusing_pubrec_frees_the_window() {
    let broker = Broker::start();
    let (mut client, _) =
        broker.connect_with(V5, Connect::new("narrow").property(Property::ReceiveMaximum(1)));
    client.subscribe("window", 2);
    let mut publisher = broker.connect(V5, "publisher");
    publisher.publish("window", "one", 2);
    publisher.publish("window", "two", 2);
    let one = client.expect_publish();
    client.send(AckPacket { kind: Kind::PubRec, id: one.id, reason: Some(0x80) });
    client.expect_payload("two");
}

#[test]
fn the_receive_maximum_counts_what_is_sent_again() {
    let broker = Broker::start();
    let connect = |n| Connect::new("narrow").persistent(V5).property(Property::ReceiveMaximum(n));
    let (mut client, _) = broker.connect_with(V5, connect(5));
    client.subscribe("window", 1);
    let mut publisher = broker.connect(V5, "publisher");
    for number in 0..8 {
        publisher.publish("window", number.to_string(), 1);
    }
    for _ in 0..5 {
        client.expect_publish();
    }
    client.cut();
    let (mut client, _) = broker.connect_with(V5, connect(2));
    for pair in [0, 2, 4, 6] {
        let messages = [client.expect_publish(), client.expect_publish()];
        client.expect_silence();
        for (offset, message) in messages.iter().enumerate() {
            assert_eq!(message.text(), (pair + offset).to_string());
            assert_eq!(message.dup, pair + offset < 5);
            client.acknowledge(Kind::PubAck, message.id);
        }
    }
}

#[test]
fn more_than_the_servers_receive_maximum_ends_the_connection() {
    let broker = Broker::start();
    let mut client = broker.connect(V5, "eager");
    let window = client.receive_maximum();
    if window == u16::MAX {
        return; // There are no more Packet Identifiers than that.
    }
    for id in 1..=window {
        client.send(Publish::new("window", "x").qos(2, id));
        client.expect_success(Kind::PubRec, id);
    }
    // QoS 0 does not count, nor does the same message again.
    client.send(Publish::new("window", "x"));
    client.send(Publish::new("window", "x").qos(2, 1).dup());
    client.expect_ack(Kind::PubRec, 1);
    client.acknowledge(Kind::PubRel, 1);
    client.expect_success(Kind::PubComp, 1);
    client.send(Publish::new("window", "x").qos(2, window + 1));
    client.expect_success(Kind::PubRec, window + 1);
    client.send(Publish::new("window", "x").qos(2, window + 2));
    client.expect_ended(0x93);
}

#[test]
fn one_byte_more_than_the_servers_maximum_packet_size_is_too_large() {
    let broker = Broker::start();
    let limit = broker.connect(V5, "curious").maximum_packet_size().expect("a Maximum Packet Size");
    for version in ON_BOTH_VERSIONS {
        let mut subscriber = broker.connect(version, "subscriber");
        subscriber.subscribe("large", 1);
        let mut publisher = broker.connect(version, "publisher");
        let publish = |payload: usize, id| Publish::new("large", vec![b'x'; payload]).qos(1, id);
        // Found by trial: the Remaining Length itself has one to four bytes.
        let around = limit.saturating_sub(32)..=limit;
        let payload = around.rev().find(|n| publish(*n, 1).encode(version).len() == limit).unwrap();
        publisher.send(publish(payload, 1));
        publisher.expect_success(Kind::PubAck, 1);
        assert_eq!(subscriber.expect_message().payload.len(), payload);
        let mut sender = broker.connect(version, "sender");
        let encoded = publish(payload + 1, 2).encode(version);
        assert_eq!(encoded.len(), limit + 1);
        // The header alone tells, so the server need not read the rest.
        sender.send(encoded[..5].to_vec());
        sender.expect_ended(0x95);
        subscriber.expect_silence();
    }
}

#[test]
fn nothing_beyond_the_clients_maximum_packet_size_is_sent() {
    let broker = Broker::start();
    let mut publisher = broker.connect(V5, "publisher");
    for qos in 0..=2 {
        let mut measure = broker.connect(V5, "measure");
        measure.subscribe("size", qos);
        publisher.publish("size", [b'x'; 50], qos);
        let size = measure.expect_message().size as u32;
        let connect = |limit| Connect::new("small").property(Property::MaximumPacketSize(limit));
        let (mut exact, _) = broker.connect_with(V5, connect(size));
        exact.subscribe("size", qos);
        publisher.publish("size", [b'x'; 51], qos);
        publisher.publish("size", [b'x'; 50], qos);
        assert_eq!(exact.expect_message().payload.len(), 50);
        exact.expect_silence();
        // The others are not deprived.
        assert_eq!(measure.expect_message().payload.len(), 51);
        assert_eq!(measure.expect_message().payload.len(), 50);
    }
}

#[test]
fn what_is_too_large_for_the_client_does_not_block_its_window() {
    let broker = Broker::start();
    let connect = Connect::new("small")
        .persistent(V5)
        .property(Property::MaximumPacketSize(100))
        .property(Property::ReceiveMaximum(1));
    let (mut client, _) = broker.connect_with(V5, connect.clone());
    client.subscribe("size", 2);
    client.disconnect();
    let mut publisher = broker.connect(V5, "publisher");
    publisher.publish_retained("size/kept", [b'x'; 500], 1);
    for qos in 1..=2 {
        publisher.publish("size", [b'x'; 500], qos);
        publisher.publish("size", format!("fits {qos}"), qos);
    }
    let (mut client, _) = broker.connect_with(V5, connect);
    client.expect_payload("fits 1");
    client.expect_payload("fits 2");
    client.subscribe("size/kept", 1);
    client.expect_silence();
}

#[test]
fn explanations_do_not_break_the_clients_maximum_packet_size() {
    let broker = Broker::start();
    for limit in [2, 5, 8, 16, 24, 32, 64] {
        let mut client = broker.open(V5);
        client.send(Connect::new("tiny").property(Property::MaximumPacketSize(limit)));
        // Too small for a CONNACK: the connection may end, but not with more than that.
        if client.receive_or_closed().is_some() {
            client.send(Subscribe::new(1).filter("$share/g/a", 0));
            if client.receive_or_closed().is_some() {
                client.send(Publish::new("a", "x").property(Property::TopicAlias(0)));
                while client.receive_or_closed().is_some() {}
            }
        }
        assert!(client.largest_packet() <= limit as usize, "{} of {limit}", client.largest_packet());
    }
}

#[test]
fn an_acknowledgement_that_is_too_large_is_not_sent() {
    let broker = Broker::start();
    let limit = 64;
    let (mut client, _) =
        broker.connect_with(V5, Connect::new("tiny").property(Property::MaximumPacketSize(limit)));
    client.send((0..80).fold(Subscribe::new(1), |all, n| all.filter(&format!("f/{n}"), 0)));
    client.send(Unsubscribe::new(2, &["f/0"; 80]));
    client.send(PingReq);
    // The server may end the connection instead.
    while !matches!(client.receive_or_closed(), None | Some(Packet::PingResp)) {}
    assert!(client.largest_packet() <= limit as usize, "{} of {limit}", client.largest_packet());
}

#[test]
fn topic_aliases_of_the_client_are_understood() {
    let broker = Broker::start();
    let mut subscriber = broker.connect(V5, "subscriber");
    subscriber.subscribe("alias/#", 2);
    let mut publisher = broker.connect(V5, "publisher");
    let highest = publisher.topic_alias_maximum();
    assert!(highest > 0);
    let aliased = |topic: &str, alias| Publish::new(topic, "x").property(Property::TopicAlias(alias));
    for qos in 0..=2 {
        // Set, used, changed, used, and both ends of the range.
        let script =
            [("alias/a", 1), ("", 1), ("alias/b", highest), ("", highest), ("", 1), ("alias/c", 1), ("", 1)];
        let expected = if highest == 1 {
            ["alias/a", "alias/a", "alias/b", "alias/b", "alias/b", "alias/c", "alias/c"]
        } else {
            ["alias/a", "alias/a", "alias/b", "alias/b", "alias/a", "alias/c", "alias/c"]
        };
        for ((topic, alias), expected) in script.into_iter().zip(expected) {
            publisher.complete(aliased(topic, alias), qos);
            let message = subscriber.expect_message();
            assert_eq!(message.topic, expected);
            assert!(message.properties.is_empty(), "the alias is not passed on: {message:?}");
        }
    }
}

#[test]
fn topic_aliases_end_with_the_connection() {
    let broker = Broker::start();
    let (mut publisher, _) = broker.connect_persistent(V5, "publisher");
    publisher.complete(Publish::new("alias/a", "x").property(Property::TopicAlias(1)), 1);
    publisher.disconnect();
    let (mut publisher, present) = broker.connect_persistent(V5, "publisher");
    assert!(present);
    publisher.send(Publish::new("", "x").property(Property::TopicAlias(1)));
    expect_ended_with_one_of(publisher, &[0x82, 0x94]);
}

#[test]
fn topic_aliases_of_others_are_not_shared() {
    let broker = Broker::start();
    broker.connect(V5, "first").complete(Publish::new("secret", "x").property(Property::TopicAlias(1)), 1);
    let mut second = broker.connect(V5, "second");
    second.send(Publish::new("", "x").property(Property::TopicAlias(1)));
    expect_ended_with_one_of(second, &[0x82, 0x94]);
}

#[test]
fn wrong_topic_aliases_end_the_connection() {
    let broker = Broker::start();
    let highest = broker.connect(V5, "curious").topic_alias_maximum();
    for alias in [0, highest.saturating_add(1), u16::MAX] {
        if alias != 0 && alias <= highest {
            continue;
        }
        for topic in ["alias/a", ""] {
            let mut client = broker.connect(V5, "wrong");
            client.send(Publish::new(topic, "x").property(Property::TopicAlias(alias)));
            client.expect_ended(0x94);
        }
    }
}

#[test]
fn the_servers_topic_aliases_lead_to_the_right_topics() {
    let broker = Broker::start();
    let mut publisher = broker.connect(V5, "publisher");
    for highest in [1, 2, 10] {
        let connect = Connect::new("aliases").property(Property::TopicAliasMaximum(highest));
        let (mut client, _) = broker.connect_with(V5, connect);
        client.subscribe("topics/#", 2);
        let mut aliases = HashMap::new();
        for number in 0..60 {
            let topic = format!("topics/{}", number % 4);
            publisher.publish(&topic, &topic, number % 3);
            let message = client.expect_message();
            let alias = |p: &Property| if let Property::TopicAlias(n) = p { Some(*n) } else { None };
            let received = match message.properties.iter().find_map(alias) {
                Some(alias) => {
                    assert!((1..=highest).contains(&alias), "alias {alias} of {highest}");
                    if !message.topic.is_empty() {
                        aliases.insert(alias, message.topic.clone());
                    }
                    aliases.get(&alias).expect("an alias that was set").clone()
                }
                None => message.topic.clone(),
            };
            assert_eq!((received.as_str(), message.text()), (topic.as_str(), topic.as_str()));
        }
    }
}

#[test]
fn the_server_uses_no_alias_unasked() {
    let broker = Broker::start();
    let mut publisher = broker.connect(V5, "publisher");
    for connect in [Connect::new("plain"), Connect::new("zero").property(Property::TopicAliasMaximum(0))] {
        let (mut client, _) = broker.connect_with(V5, connect);
        client.subscribe("topics/#", 1);
        for number in 0..20 {
            publisher.publish("topics/same", "x", number % 2);
            let message = client.expect_message();
            assert!(message.properties.is_empty(), "{message:?}");
            assert_eq!(message.topic, "topics/same");
        }
    }
}

#[test]
fn a_retransmission_names_its_topic() {
    // Aliases ended with the connection that the message was sent on first.
    let broker = Broker::start();
    let connect = || Connect::new("aliases").persistent(V5).property(Property::TopicAliasMaximum(10));
    let (mut client, _) = broker.connect_with(V5, connect());
    client.subscribe("topics/#", 1);
    let mut publisher = broker.connect(V5, "publisher");
    publisher.publish("topics/a", "one", 1);
    publisher.publish("topics/a", "two", 1);
    client.expect_publish();
    client.expect_publish();
    client.cut();
    let (mut client, _) = broker.connect_with(V5, connect());
    assert_eq!(client.expect_publish().topic, "topics/a");
}

#[test]
fn too_many_subscriptions_are_refused_one_by_one() {
    let broker = Broker::start();
    for version in ON_BOTH_VERSIONS {
        let mut client = broker.connect(version, "greedy");
        let mut granted = 0;
        for id in 1..=100 {
            let packet = (0..1000).fold(Subscribe::new(id), |all, n| all.filter(&format!("f/{id}/{n}"), 1));
            client.send(packet);
            let codes = client.expect_suback(id);
            assert_eq!(codes.len(), 1000);
            let good = codes.iter().take_while(|code| **code == 1).count();
            granted += good;
            let refusal = if version == V5 { 0x97 } else { 0x80 };
            assert!(codes[good..].iter().all(|code| *code == refusal), "{codes:02x?}");
            if good < 1000 {
                break;
            }
        }
        assert!(granted < 100_000, "no limit");
        // What was granted works, and ending one makes room for another.
        client.send(Unsubscribe::new(1000, &["f/1/0"]));
        client.expect_unsuback(1000);
        client.subscribe("room/again", 1);
        broker.connect(version, "publisher").publish("f/1/1", "x", 1);
        client.expect_payload("x");
    }
}

fn finish(client: &mut Client, message: &Message) {
    if message.qos == 1 {
        return client.acknowledge(Kind::PubAck, message.id);
    }
    client.acknowledge(Kind::PubRec, message.id);
    client.expect_success(Kind::PubRel, message.id);
    client.acknowledge(Kind::PubComp, message.id);
}

#[track_caller]
fn expect_ended_with_one_of(mut client: Client, reasons: &[u8]) {
    match client.receive() {
        Packet::Disconnect(reason, _) if reasons.contains(&reason) => {}
        other => panic!("expected DISCONNECT with one of {reasons:02x?}, got {other:?}"),
    }
    client.expect_closed();
}
