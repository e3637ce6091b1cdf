//! Topic Aliases, Packet Identifiers and packets as weapons, through the real bridge.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use ior_tests::{
    Audience, Bridge, Credentials, DEADLINE, End, Heard, ON_BOTH_VERSIONS, World,
    raw::{
        Client, Connect, Encode, Kind, Packet, Property, Publish,
        Version::{self, V5, V311},
        Will, frame, string,
    },
};

/// Default of `limits.max_topic_length`.
const TOPIC_LENGTH: usize = 1024;

#[test]
fn aliases_that_are_zero_or_above_the_maximum_end_the_connection() {
    for maximum in [None, Some(0), Some(1)] {
        let world = World::empty();
        let world = match maximum {
            Some(maximum) => world.env("IOR_BRIDGE__LIMITS__TOPIC_ALIAS_MAXIMUM", &maximum.to_string()),
            None => world,
        };
        let bridge = world.start();
        let (from, _) = ends(&bridge);
        let mut audience = Audience::of(&bridge);
        let announced = bridge.connect_with(V5, &from, Connect::new("curious")).0.topic_alias_maximum();
        if let Some(maximum) = maximum {
            assert_eq!(announced, maximum);
        }
        for alias in [0, announced + 1, 0x100, u16::MAX] {
            for topic in [from.publish.as_str(), ""] {
                for qos in 0..=2 {
                    let mut client = bridge.connect(V5, &from);
                    client.send(aliased(topic, alias, qos, "x"));
                    client.expect_ended(0x94);
                }
            }
        }
        audience.expect_silence();
    }
}

#[test]
fn an_alias_set_by_a_denied_publish_leads_nowhere_else() {
    let bridge = Bridge::start();
    let (from, to) = ends(&bridge);
    let mut audience = Audience::of(&bridge);
    for (qos, kind) in [(1, Kind::PubAck), (2, Kind::PubRec)] {
        for denied in [&to.publish, &from.presence, &"elsewhere".to_string()] {
            let mut client = bridge.connect(V5, &from);
            for set_before in [false, true] {
                if set_before {
                    client.send(aliased(&from.publish, 1, 1, "allowed"));
                    client.expect_success(Kind::PubAck, 1);
                    assert_eq!(audience.heard(), [heard(&to, &from.publish, "allowed")]);
                }
                client.send(aliased(denied, 1, qos, "denied"));
                assert_eq!(client.expect_ack(kind, 1).reason, 0x87);
                for _ in 0..2 {
                    client.send(aliased("", 1, qos, "by the alias"));
                    assert_eq!(client.expect_ack(kind, 1).reason, 0x87);
                }
                audience.expect_silence();
            }
            client.send(aliased("", 1, 0, "by the alias"));
            client.expect_ended(0x87);
            audience.expect_silence();
        }
    }
}

/// Regression: what came under an alias after a PUBLISH that was refused for its long topic went to the topic before.
#[test]
fn an_alias_set_by_a_publish_to_a_topic_that_is_too_long_is_forgotten() {
    let bridge = Bridge::start();
    let (from, to) = ends(&bridge);
    let mut audience = Audience::of(&bridge);
    for (topic, qos) in [("x".repeat(TOPIC_LENGTH), 1), ("/x".repeat(64), 2)] {
        let mut client = bridge.connect(V5, &from);
        client.send(aliased(&from.publish, 1, 1, "allowed"));
        client.expect_success(Kind::PubAck, 1);
        assert_eq!(audience.heard(), [heard(&to, &from.publish, "allowed")]);
        client.send(aliased(&format!("{}/{topic}", from.publish), 1, qos, "too long"));
        let kind = if qos == 1 { Kind::PubAck } else { Kind::PubRec };
        assert_eq!(client.expect_ack(kind, 1).reason, 0x90);
        client.send(aliased("", 1, 1, "where to?"));
        client.expect_ended(0x82);
        audience.expect_silence();
    }
}

#[test]
fn an_alias_of_an_earlier_connection_or_of_another_client_is_unknown() {
    let bridge = Bridge::start();
    let (from, to) = ends(&bridge);
    let mut audience = Audience::of(&bridge);
    let assert_unknown = |mut client: Client| {
        client.send(aliased("", 1, 1, "by the alias"));
        match client.receive() {
            Packet::Disconnect(0x82 | 0x94, _) => client.expect_closed(),
            other => panic!("the alias is known: {other:?}"),
        }
    };
    for take_over in [false, true] {
        let (mut first, _) = bridge.connect_persistent(V5, &from);
        first.complete(Publish::new(&from.publish, "x").property(Property::TopicAlias(1)), 1);
        assert_eq!(audience.heard(), [heard(&to, &from.publish, "x")]);
        assert_unknown(bridge.connect_with(V5, &from, Connect::new("other")).0);
        assert_unknown(bridge.connect(V5, &to));
        if !take_over {
            first.disconnect();
        }
        assert_unknown(bridge.connect_persistent(V5, &from).0);
        audience.expect_silence();
    }
}

#[test]
fn a_qos2_identifier_repeated_without_pubrel_is_one_message() {
    for version in ON_BOTH_VERSIONS {
        let bridge = World::durable().start();
        let (from, to) = ends(&bridge);
        let mut audience = Audience::of(&bridge);
        let publish = |number: usize| {
            let publish = Publish::new(&from.publish, number.to_string()).qos(2, 7);
            if number.is_multiple_of(2) { publish } else { publish.dup() }
        };
        let (mut client, _) = bridge.connect_persistent(version, &from);
        client.send(publish(0));
        client.expect_success(Kind::PubRec, 7);
        client.send((1..1000).flat_map(|number| publish(number).encode(version)).collect::<Vec<u8>>());
        (1..1000).for_each(|_| client.expect_success(Kind::PubRec, 7));
        client.cut();
        let (mut client, present) = bridge.connect_persistent(version, &from);
        assert!(present);
        client.send(publish(1001));
        client.expect_success(Kind::PubRec, 7);
        assert_eq!(audience.heard(), [heard(&to, &from.publish, "0")]);
        let bridge = bridge.kill_and_start();
        let mut audience = Audience::of(&bridge);
        let (mut client, present) = bridge.connect_persistent(version, &from);
        assert!(present);
        client.send(publish(1002));
        client.expect_success(Kind::PubRec, 7);
        audience.expect_silence();
        // Only once it is released it names another message.
        client.acknowledge(Kind::PubRel, 7);
        client.expect_success(Kind::PubComp, 7);
        client.send(publish(2000));
        client.expect_success(Kind::PubRec, 7);
        assert_eq!(audience.heard(), [heard(&to, &from.publish, "2000")]);
    }
}

#[test]
fn all_qos2_identifiers_without_pubrel_cost_little() {
    const ALL: u16 = u16::MAX;
    let bridge = Bridge::start();
    let (from, to) = ends(&bridge);
    let before = bridge.process().resident();
    for version in ON_BOTH_VERSIONS {
        let mut client = bridge.connect_with(version, &from, Connect::new("hoarder")).0;
        let window = if version == V5 { client.receive_maximum() } else { ALL };
        for ids in (1..=window).collect::<Vec<_>>().chunks(1000) {
            let publish = |id: &u16| Publish::new(&from.publish, "x").qos(2, *id).encode(version);
            client.send(ids.iter().flat_map(publish).collect::<Vec<u8>>());
            ids.iter().for_each(|id| client.expect_success(Kind::PubRec, *id));
        }
        if version == V5 {
            client.send(Publish::new(&from.publish, "x").qos(2, window + 1));
            client.expect_ended(0x93);
        }
        let grown = bridge.process().resident().saturating_sub(before);
        assert!(grown < 16 << 20, "{version:?}: memory grew by {} KiB", grown >> 10);
        bridge.assert_unharmed(&to);
    }
}

#[test]
fn packets_that_only_a_server_sends_end_the_connection() {
    let bridge = Bridge::start();
    let (from, to) = ends(&bridge);
    let mut audience = Audience::of(&bridge);
    for version in ON_BOTH_VERSIONS {
        let none: &[u8] = if version == V5 { &[0] } else { &[] };
        let packets = [
            frame(0x20, [&[0, 0], none].concat()),
            frame(0x20, [&[1, 0], none].concat()),
            frame(0x90, [&[0, 1], none, &[0]].concat()),
            frame(0xB0, [&[0, 1][..], none, none].concat()),
            frame(0xD0, []),
            frame(0x00, []),
            frame(0xF0, []),
        ];
        for packet in packets {
            let will = Will::new(&from.publish, "lost");
            let mut client = bridge.connect_with(version, &from, Connect::new("server").will(will)).0;
            client.send([&packet[..], &Publish::new(&from.publish, "behind it").encode(version)].concat());
            match client.receive_or_closed() {
                None => assert_eq!(version, V311, "MQTT 5 is told why ({packet:02x?})"),
                Some(Packet::Disconnect(0x81 | 0x82, _)) => client.expect_closed(),
                other => panic!("{packet:02x?}: {other:?}"),
            }
            audience.expect(&[heard(&to, &from.publish, "lost")]);
            // And instead of CONNECT.
            let mut stranger = bridge.open(version);
            stranger.send(packet);
            assert_eq!(stranger.read_until_closed(), [0; 0]);
        }
    }
    bridge.assert_unharmed(&from);
}

#[test]
fn acknowledgements_of_nothing_do_not_move_what_others_sent() {
    let bridge = Bridge::start();
    let (from, to) = ends(&bridge);
    for version in ON_BOTH_VERSIONS {
        let (mut client, _) = bridge.connect_persistent(version, &to);
        client.subscribe(&to.subscribe, 2);
        let mut publisher = bridge.connect(version, &from);
        publisher.publish(&from.publish, "one", 1);
        publisher.publish(&from.publish, "two", 2);
        let (one, two) = (client.expect_publish(), client.expect_publish());
        // All identifiers but those in flight, and these with the wrong acknowledgement.
        let wrong = |kind: Kind, id: u16| match kind {
            Kind::PubAck => id != one.id,
            Kind::PubRec => id != two.id,
            _ => true,
        };
        for (kind, first) in [(Kind::PubAck, 0x40u8), (Kind::PubRec, 0x50), (Kind::PubComp, 0x70)] {
            let ids = (1..=300).chain([u16::MAX]).filter(|id| wrong(kind, *id));
            client.send(ids.flat_map(|id| frame(first, id.to_be_bytes())).collect::<Vec<u8>>());
        }
        client.acknowledge(Kind::PubAck, one.id);
        client.acknowledge(Kind::PubRec, two.id);
        client.wait_for("PUBREL", |packet| {
            matches!(packet, Packet::Ack(ack) if ack.kind == Kind::PubRel && ack.id == two.id && ack.reason == 0)
        });
        client.acknowledge(Kind::PubComp, two.id);
        publisher.publish(&from.publish, "three", 1);
        client.wait_for(
            "the next message",
            |packet| matches!(packet, Packet::Publish(message) if message.text() == "three"),
        );
        drop(client);
        bridge.connect(version, &to).disconnect();
    }
    bridge.assert_unharmed(&from);
}

#[test]
fn bad_wills_refuse_the_connect_and_are_never_published() {
    let bridge = Bridge::start();
    let (from, _) = ends(&bridge);
    let mut audience = Audience::of(&bridge);
    for version in ON_BOTH_VERSIONS {
        for connect in bad_wills(&from, version) {
            let mut client = bridge.open(version);
            client.send(connect.clone());
            let answer = client.read_until_closed();
            let refused = match (version, &answer[..]) {
                (V5, [0x20, _, 0, code, ..]) => [0x81, 0x82, 0x90].contains(code),
                (V311, []) => true,
                _ => false,
            };
            assert!(refused, "{version:?} {connect:02x?}: {answer:02x?}");
        }
        audience.expect_silence();
    }
    audience.expect_nothing_retained(&bridge);
    bridge.assert_unharmed(&from);
}

/// CONNECTs with the right login and a Will that is wrong in one way.
fn bad_wills(who: &Credentials, version: Version) -> Vec<Vec<u8>> {
    let topic = who.publish.as_str();
    let none: &[u8] = if version == V5 { &[0] } else { &[] };
    let raw = |flags: u8, will: &[&[u8]]| {
        let header = [&string("MQTT")[..], &[version.level(), 0xC0 | flags, 0, 0], none].concat();
        let login = [string(&who.login.username), string(&who.login.password)].concat();
        frame(0x10, [&header[..], &string("mortal"), &will.concat(), &login].concat())
    };
    let whole: [&[u8]; 3] = [none, &string(topic), &string("x")];
    let mut all = vec![
        raw(0x1E, &whole),
        raw(0x0A, &[]),
        raw(0x22, &[]),
        raw(0x2A, &whole),
        raw(0x02, &whole),
        raw(0x07, &whole),
        raw(0x06, &[none, &string(topic)]),
        raw(0x06, &[none, &[0xFF, 0xFF], topic.as_bytes()]),
        raw(0x06, &[none, &string(""), &string("x")]),
    ];
    if version == V311 {
        // What would be right in MQTT 5.
        all.push(raw(0x06, &[&[0], &string(topic), &string("x")]));
        return all;
    }
    let with = |properties: &[Property]| {
        let will = Will::new(topic, "x").retain();
        let will = properties.iter().cloned().fold(will, Will::property);
        let connect = Connect::new("mortal").will(will).user_name(&who.login.username);
        connect.password(&who.login.password).encode(V5)
    };
    all.extend([
        with(&[Property::WillDelay(0), Property::WillDelay(0)]),
        with(&[Property::MessageExpiry(1), Property::MessageExpiry(1)]),
        with(&[Property::PayloadFormat(0), Property::PayloadFormat(0)]),
        with(&[Property::PayloadFormat(2)]),
        with(&[Property::ContentType("a".into()), Property::ContentType("a".into())]),
        with(&[Property::ContentType("\0".into())]),
        with(&[Property::ResponseTopic("a/+".into())]),
        with(&[Property::ResponseTopic("#".into())]),
        with(&[Property::CorrelationData(vec![1]), Property::CorrelationData(vec![1])]),
        with(&[Property::SessionExpiry(1)]),
        with(&[Property::TopicAlias(1)]),
        with(&[Property::SubscriptionId(1)]),
        with(&[Property::ReasonString("a".into())]),
        with(&[Property::user("\0", "")]),
        with(&[Property::Raw(vec![0x18, 0, 0, 0])]),
        with(&[Property::Raw(vec![0x26, 0, 1, b'a'])]),
        with(&[Property::Raw(vec![0x7F, 0])]),
        raw(0x06, &[&[0xFF, 0xFF, 0xFF, 0x7F], &string(topic), &string("x")]),
        raw(0x06, &[&[0x80, 0x00], &string(topic), &string("x")]),
    ]);
    all
}

#[test]
fn a_large_will_is_refused_and_never_published() {
    let bridge = Bridge::start();
    let (from, to) = ends(&bridge);
    for version in ON_BOTH_VERSIONS {
        for (size, fits) in [(7 << 10, true), (9 << 10, false), (60 << 10, false)] {
            let mut listener = bridge.connect(version, &to);
            listener.subscribe(&to.subscribe, 1);
            let mut client = bridge.open(version);
            let connect = Connect::new("heavy").will(Will::new(&from.publish, vec![b'x'; size]).qos(1));
            let connect = connect.user_name(&from.login.username).password(&from.login.password);
            // Whether the largest is read to its end or not is up to the server.
            let sent = client.try_send(connect);
            if fits {
                sent.unwrap();
                assert_eq!(client.expect_connack().code, 0);
                client.cut();
                assert_eq!(listener.expect_message().payload.len(), size);
            } else {
                assert!(client.is_closed_within(DEADLINE));
                listener.expect_silence();
            }
        }
    }
}

fn ends(bridge: &Bridge) -> (Credentials, Credentials) {
    (bridge.credentials("connection-1", End::From), bridge.credentials("connection-1", End::To))
}

fn aliased(topic: &str, alias: u16, qos: u8, payload: &str) -> Publish {
    let publish = Publish::new(topic, payload).property(Property::TopicAlias(alias));
    if qos == 0 { publish } else { publish.qos(qos, 1) }
}

fn heard(by: &Credentials, topic: &str, payload: &str) -> Heard {
    Heard { by: by.login.username.clone(), topic: topic.into(), payload: payload.into() }
}
