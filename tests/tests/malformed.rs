//! Packets that are wrong: MQTT 5 is told why and closed, 3.1.1 is closed, and the broker lives on.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use ior_tests::{
    Broker, ON_BOTH_VERSIONS,
    raw::{
        Connect, Encode, Kind, Packet, Property, Publish, Subscribe, Unsubscribe,
        Version::{self, V5, V311},
        Will, frame, string,
    },
};

const MALFORMED: &[u8] = &[0x81];
const PROTOCOL_ERROR: &[u8] = &[0x82];
/// Where the standard forbids without saying which of the two it is.
const EITHER: &[u8] = &[0x81, 0x82];

struct Case {
    name: &'static str,
    bytes: Vec<u8>,
    /// Reasons of the DISCONNECT that are right; 3.1.1 knows none.
    reasons: &'static [u8],
}

fn case(name: &'static str, bytes: Vec<u8>, reasons: &'static [u8]) -> Case {
    Case { name, bytes, reasons }
}

#[test]
fn wrong_packets_end_the_connection() {
    let broker = Broker::start();
    let mut wrong = Vec::new();
    for version in ON_BOTH_VERSIONS {
        let mut cases = both_versions(version);
        if version == V5 {
            cases.extend(v5_only());
        } else {
            cases.extend(v311_only());
        }
        for case in cases {
            let mut bystander = broker.connect(version, "bystander");
            bystander.subscribe("#", 0);
            let mut client = broker.connect(version, "wrong");
            client.send(case.bytes.clone());
            let answer = client.receive_or_closed();
            let told = match (&answer, version) {
                (Some(Packet::Disconnect(reason, _)), V5) => case.reasons.contains(reason),
                (answer, _) => version == V311 && answer.is_none(),
            };
            if !told {
                let Case { name, bytes, reasons } = case;
                let bytes = &bytes[..bytes.len().min(40)];
                wrong.push(format!("{version:?}, {name} ({bytes:02x?}), {reasons:02x?}: {answer:02x?}"));
            } else if answer.is_some() {
                client.expect_closed();
            }
            bystander.expect_silence();
        }
    }
    assert!(wrong.is_empty(), "wrong answers:\n{}", wrong.join("\n"));
}

fn both_versions(version: Version) -> Vec<Case> {
    let v5 = version == V5;
    // The length of no properties, where MQTT 5 has some.
    let none: &[u8] = if v5 { &[0] } else { &[] };
    let publish = |first: u8, topic: &[u8], id: &[u8]| {
        frame(first, [&string(topic)[..], id, none, b"payload"].concat())
    };
    let subscribe = |id: u16, rest: &[u8]| frame(0x82, [&id.to_be_bytes()[..], none, rest].concat());
    let unsubscribe = |id: u16, rest: &[u8]| frame(0xA2, [&id.to_be_bytes()[..], none, rest].concat());
    let filter = |filter: &[u8], options: u8| [&string(filter)[..], &[options]].concat();
    vec![
        // Section 2: the fixed header.
        case("packet type 0", frame(0x00, []), EITHER),
        case("Remaining Length of five bytes", vec![0x30, 0x80, 0x80, 0x80, 0x80, 0x01], MALFORMED),
        case("Remaining Length that is not minimal", vec![0xC0, 0x80, 0x00], MALFORMED),
        case("PINGREQ with flags", frame(0xC1, []), MALFORMED),
        case("PINGREQ with a body", frame(0xC0, [0]), MALFORMED),
        case("DISCONNECT with flags", frame(0xE1, []), MALFORMED),
        case("PUBACK with flags", frame(0x42, [0, 1]), MALFORMED),
        case("PUBREC with flags", frame(0x51, [0, 1]), MALFORMED),
        case("PUBREL without its flags", frame(0x60, [0, 1]), MALFORMED),
        case("PUBREL with other flags", frame(0x63, [0, 1]), MALFORMED),
        case("PUBCOMP with flags", frame(0x78, [0, 1]), MALFORMED),
        case(
            "SUBSCRIBE without its flags",
            [&[0x80][..], &Subscribe::new(1).filter("a", 0).encode(version)[1..]].concat(),
            MALFORMED,
        ),
        case(
            "UNSUBSCRIBE without its flags",
            [&[0xA0][..], &Unsubscribe::new(1, &["a"]).encode(version)[1..]].concat(),
            MALFORMED,
        ),
        // Packets that only a server sends.
        case("CONNACK", frame(0x20, [&[0, 0], none].concat()), EITHER),
        case("SUBACK", frame(0x90, [&[0, 1], none, &[0]].concat()), EITHER),
        case("UNSUBACK", frame(0xB0, [&[0, 1][..], none, if v5 { &[0] } else { &[] }].concat()), EITHER),
        case("PINGRESP", frame(0xD0, []), EITHER),
        // PUBLISH.
        case("QoS 3", publish(0x36, b"a", &[0, 1]), MALFORMED),
        case("DUP with QoS 0", publish(0x38, b"a", &[]), EITHER),
        case("packet identifier 0 at QoS 1", publish(0x32, b"a", &[0, 0]), EITHER),
        case("packet identifier 0 at QoS 2", publish(0x34, b"a", &[0, 0]), EITHER),
        case("no packet identifier at QoS 1", frame(0x32, string("a")), MALFORMED),
        case("topic with +", publish(0x30, b"a/+", &[]), &[0x81, 0x82, 0x90]),
        case("topic with #", publish(0x30, b"#", &[]), &[0x81, 0x82, 0x90]),
        case("topic with # inside", publish(0x32, b"a#b", &[0, 1]), &[0x81, 0x82, 0x90]),
        case("empty topic without alias", publish(0x30, b"", &[]), &[0x81, 0x82, 0x90]),
        case("topic with U+0000", publish(0x30, b"a\0b", &[]), &[0x81, 0x90]),
        case("topic that is not UTF-8", publish(0x30, b"a\xFF", &[]), MALFORMED),
        case("topic with a surrogate", publish(0x30, b"a\xED\xA0\x80", &[]), MALFORMED),
        case("topic with an overlong encoding", publish(0x30, b"\xC0\x80", &[]), MALFORMED),
        case("topic beyond U+10FFFF", publish(0x30, b"\xF4\x90\x80\x80", &[]), MALFORMED),
        case("topic that ends within a character", publish(0x30, b"a\xE2\x82", &[]), MALFORMED),
        case("topic longer than the packet", frame(0x30, [0, 200, b'a']), MALFORMED),
        case("PUBLISH without anything", frame(0x30, []), MALFORMED),
        case("PUBLISH of one byte", frame(0x30, [0]), MALFORMED),
        // Acknowledgements.
        case("PUBACK without identifier", frame(0x40, []), MALFORMED),
        case("PUBACK of one byte", frame(0x40, [1]), MALFORMED),
        case("PUBACK 0", frame(0x40, [0, 0]), EITHER),
        case("PUBREC 0", frame(0x50, [0, 0]), EITHER),
        case("PUBREL 0", frame(0x62, [0, 0]), EITHER),
        case("PUBCOMP 0", frame(0x70, [0, 0]), EITHER),
        // SUBSCRIBE.
        case("SUBSCRIBE without filter", subscribe(1, &[]), EITHER),
        case("SUBSCRIBE 0", subscribe(0, &filter(b"a", 0)), EITHER),
        case("SUBSCRIBE with QoS 3", subscribe(1, &filter(b"a", 3)), EITHER),
        case(
            "SUBSCRIBE with QoS 3 behind a good filter",
            subscribe(1, &[filter(b"a", 0), filter(b"b", 3)].concat()),
            EITHER,
        ),
        case("SUBSCRIBE with the highest reserved bits", subscribe(1, &filter(b"a", 0xC0)), MALFORMED),
        case("SUBSCRIBE without options", subscribe(1, &string("a")), MALFORMED),
        case("empty filter", subscribe(1, &filter(b"", 0)), &[0x81, 0x82, 0x8F]),
        case("filter with U+0000", subscribe(1, &filter(b"a\0", 0)), &[0x81, 0x8F]),
        case("filter that is not UTF-8", subscribe(1, &filter(b"\xC3\x28", 0)), MALFORMED),
        case("filter longer than the packet", subscribe(1, &[0, 9, b'a', 0]), MALFORMED),
        case("SUBSCRIBE of one byte", frame(0x82, [0]), MALFORMED),
        // UNSUBSCRIBE.
        case("UNSUBSCRIBE without filter", unsubscribe(1, &[]), EITHER),
        case("UNSUBSCRIBE 0", unsubscribe(0, &string("a")), EITHER),
        case("UNSUBSCRIBE with a cut filter", unsubscribe(1, &[0, 2, b'a']), MALFORMED),
        case("UNSUBSCRIBE that is not UTF-8", unsubscribe(1, &string(b"\xFE")), MALFORMED),
    ]
}

fn v311_only() -> Vec<Case> {
    vec![
        case("AUTH does not exist", frame(0xF0, [0x18, 0]), &[]),
        case("PUBACK with a reason", frame(0x40, [0, 1, 0]), &[]),
        case("PUBREL with a reason", frame(0x62, [0, 1, 0, 0]), &[]),
        case("DISCONNECT with a reason", frame(0xE0, [0]), &[]),
        case("No Local", Subscribe::new(1).filter("a", Subscribe::NO_LOCAL).encode(V311), &[]),
        case("Retain Handling", Subscribe::new(1).filter("a", Subscribe::RETAINED_IF_NEW).encode(V311), &[]),
    ]
}

fn v5_only() -> Vec<Case> {
    let publish = |properties: &[u8]| {
        let length = [properties.len() as u8];
        frame(0x30, [&string("a")[..], &length, properties, b"payload"].concat())
    };
    let with = |property: Property| Publish::new("a", "x").property(property).encode(V5);
    let twice =
        |property: Property| Publish::new("a", "x").property(property.clone()).property(property).encode(V5);
    let subscribe = |options: u8| Subscribe::new(1).filter("a", options).encode(V5);
    let identified =
        |id: u32| Subscribe::new(1).filter("a", 0).property(Property::SubscriptionId(id)).encode(V5);
    let raw_subscribe = |properties: &[u8]| {
        frame(0x82, [&[0, 1, properties.len() as u8][..], properties, &string("a"), &[0]].concat())
    };
    vec![
        // Properties in general.
        case("property that does not exist", publish(&[0x00, 0]), EITHER),
        case("property that does not exist, two bytes", publish(&[0x80, 0x01]), EITHER),
        case("property identifier that is not minimal", publish(&[0x81, 0x00, 1]), EITHER),
        case(
            "property length that is not minimal",
            frame(0x30, [&string("a")[..], &[0x80, 0x00]].concat()),
            MALFORMED,
        ),
        case(
            "property length beyond the packet",
            frame(0x30, [&string("a")[..], &[9, 0x01, 1]].concat()),
            MALFORMED,
        ),
        case("property that is cut", publish(&[0x02, 0, 0]), MALFORMED),
        case("string property that is cut", publish(&[0x03, 0, 9, b'a']), MALFORMED),
        case("user property without value", publish(&[0x26, 0, 1, b'k']), MALFORMED),
        case("user property that is not UTF-8", publish(&[0x26, 0, 1, 0xFF, 0, 0]), MALFORMED),
        case("user property value with U+0000", publish(&[0x26, 0, 0, 0, 1, 0]), MALFORMED),
        case("content type that is not UTF-8", publish(&[0x03, 0, 1, 0xC0]), MALFORMED),
        case("PUBLISH without property length", frame(0x30, string("a")), MALFORMED),
        // Properties of PUBLISH.
        case("payload format 2", with(Property::PayloadFormat(2)), EITHER),
        case("payload format twice", twice(Property::PayloadFormat(1)), PROTOCOL_ERROR),
        case("message expiry twice", twice(Property::MessageExpiry(1)), PROTOCOL_ERROR),
        case("topic alias twice", twice(Property::TopicAlias(1)), PROTOCOL_ERROR),
        case("response topic twice", twice(Property::ResponseTopic("r".into())), PROTOCOL_ERROR),
        case("correlation data twice", twice(Property::CorrelationData(vec![1])), PROTOCOL_ERROR),
        case("content type twice", twice(Property::ContentType("c".into())), PROTOCOL_ERROR),
        case("topic alias 0", with(Property::TopicAlias(0)), &[0x94]),
        case("response topic with #", with(Property::ResponseTopic("r/#".into())), &[0x81, 0x82, 0x90]),
        case("response topic with +", with(Property::ResponseTopic("+".into())), &[0x81, 0x82, 0x90]),
        case("subscription identifier from a client", with(Property::SubscriptionId(1)), PROTOCOL_ERROR),
        case("session expiry on PUBLISH", with(Property::SessionExpiry(1)), EITHER),
        case("reason string on PUBLISH", with(Property::ReasonString("r".into())), EITHER),
        case("will delay on PUBLISH", with(Property::WillDelay(1)), EITHER),
        case(
            "empty topic without alias, other property",
            Publish::new("", "x").property(Property::PayloadFormat(0)).encode(V5),
            PROTOCOL_ERROR,
        ),
        // SUBSCRIBE and UNSUBSCRIBE.
        case("retain handling 3", subscribe(0x30), EITHER),
        case("reserved bit 6 of the options", subscribe(0x40), MALFORMED),
        case("reserved bit 7 of the options", subscribe(0x80), MALFORMED),
        case("subscription identifier 0", identified(0), EITHER),
        case("subscription identifier twice", raw_subscribe(&[0x0B, 1, 0x0B, 2]), PROTOCOL_ERROR),
        case(
            "subscription identifier of five bytes",
            raw_subscribe(&[0x0B, 0xFF, 0xFF, 0xFF, 0xFF, 0x01]),
            MALFORMED,
        ),
        case("topic alias on SUBSCRIBE", raw_subscribe(&[0x23, 0, 1]), EITHER),
        case(
            "No Local with a shared subscription",
            Subscribe::new(1).filter("$share/g/a", Subscribe::NO_LOCAL).encode(V5),
            PROTOCOL_ERROR,
        ),
        case(
            "subscription identifier on UNSUBSCRIBE",
            frame(0xA2, [&[0, 1, 2, 0x0B, 1][..], &string("a")].concat()),
            EITHER,
        ),
        // Acknowledgements.
        case("PUBACK with an unknown reason", frame(0x40, [0, 1, 0x01]), EITHER),
        case("PUBREL with a reason of PUBACK", frame(0x62, [0, 1, 0x10]), EITHER),
        case("PUBCOMP with a reason of PUBACK", frame(0x70, [0, 1, 0x87]), EITHER),
        case("PUBREC with trailing bytes", frame(0x50, [0, 1, 0, 0, 0]), MALFORMED),
        case("PUBACK with properties that are cut", frame(0x40, [0, 1, 0, 5, 0x1F]), MALFORMED),
        case(
            "reason string twice",
            frame(0x40, [0, 1, 0, 8, 0x1F, 0, 1, b'a', 0x1F, 0, 1, b'b']),
            PROTOCOL_ERROR,
        ),
        case("content type on PUBACK", frame(0x40, [0, 1, 0, 4, 0x03, 0, 1, b'a']), EITHER),
        // DISCONNECT and AUTH.
        case("DISCONNECT with a reason of the server", frame(0xE0, [0x8E]), EITHER),
        case("DISCONNECT with an unknown reason", frame(0xE0, [0x01]), EITHER),
        case(
            "DISCONNECT with session expiry twice",
            frame(0xE0, [0, 10, 0x11, 0, 0, 0, 0, 0x11, 0, 0, 0, 0]),
            PROTOCOL_ERROR,
        ),
        case("DISCONNECT with a server reference", frame(0xE0, [0, 4, 0x1C, 0, 1, b'a']), EITHER),
        case("DISCONNECT with trailing bytes", frame(0xE0, [0, 0, 0]), MALFORMED),
        case("AUTH with an unknown reason", frame(0xF0, [0x01, 0]), EITHER),
        case("AUTH with flags", frame(0xF1, [0x19, 0]), MALFORMED),
    ]
}

#[test]
fn invalid_filters_are_refused() {
    // Well-formed strings that are no Topic Filters [MQTT-4.7.1-1, -2, -3]: an error code for the filter or the end of
    // the connection are both right; a subscription is not.
    let broker = Broker::start();
    for version in ON_BOTH_VERSIONS {
        for filter in
            ["a#", "#a", "#/a", "a/#/b", "a+", "+a", "a/+b/c", "a/b+", "##", "++", "a/##", "+#", "/#/"]
        {
            let mut client = broker.connect(version, "wrong");
            client.send(Subscribe::new(1).filter(filter, 0));
            match client.receive_or_closed() {
                None => assert_eq!(version, V311, "MQTT 5 is told why ({filter})"),
                Some(Packet::SubAck(ack)) => assert!(ack.codes[0] >= 0x80, "{filter} was granted"),
                Some(Packet::Disconnect(reason, _)) => {
                    assert!([0x81, 0x82, 0x8F].contains(&reason), "{filter}: {reason:02x}");
                }
                other => panic!("{filter}: {other:?}"),
            }
        }
    }
    broker.assert_alive();
}

#[test]
fn malformed_shared_subscriptions_are_refused() {
    let broker = Broker::start();
    for filter in ["$share/", "$share//a", "$share/g", "$share/g/", "$share/+/a", "$share/#", "$share/g#/a"] {
        let mut client = broker.connect(V5, "wrong");
        client.send(Subscribe::new(1).filter(filter, 0));
        match client.receive_or_closed() {
            Some(Packet::SubAck(ack)) => assert!(ack.codes[0] >= 0x80, "{filter} was granted"),
            Some(Packet::Disconnect(reason, _)) => {
                assert!([0x81, 0x82, 0x8F, 0x9E].contains(&reason), "{filter}: {reason:02x}");
            }
            other => panic!("{filter}: {other:?}"),
        }
    }
}

#[test]
fn wrong_connects_are_refused() {
    let broker = Broker::start();
    for version in ON_BOTH_VERSIONS {
        for (name, bytes) in wrong_connects(version) {
            let mut client = broker.open(version);
            client.send(bytes);
            // The server may answer with a CONNACK, which then must tell a refusal.
            let answer = client.read_until_closed();
            let refused = match (version, answer.as_slice()) {
                (_, []) => true,
                (V5, [0x20, _, 0, code, ..]) => [0x80, 0x81, 0x82, 0x85, 0x90, 0x99].contains(code),
                _ => false,
            };
            assert!(refused, "{version:?}, {name}: answered with {answer:02x?}");
        }
    }
    broker.assert_alive();
}

fn wrong_connects(version: Version) -> Vec<(&'static str, Vec<u8>)> {
    let v5 = version == V5;
    let none: &[u8] = if v5 { &[0] } else { &[] };
    let connect = |flags: u8, rest: &[&[u8]]| {
        let header = [&string("MQTT")[..], &[version.level(), flags, 0, 0], none].concat();
        frame(0x10, [&header[..], &rest.concat()].concat())
    };
    let id = string("wrong");
    let will = [none, &string("w"), &string("gone")].concat();
    let ok = Connect::new("wrong").encode(version);
    let mut cases = vec![
        ("reserved flag", connect(0x03, &[&id])),
        ("fixed header flags", [&[0x11][..], &ok[1..]].concat()),
        ("will QoS without will", connect(0x0A, &[&id])),
        ("will retain without will", connect(0x22, &[&id])),
        ("will QoS 3", connect(0x1E, &[&id, &will])),
        ("will flag without will", connect(0x06, &[&id])),
        ("will without flag", connect(0x02, &[&id, &will])),
        ("user name flag without user name", connect(0x82, &[&id])),
        ("user name without flag", connect(0x02, &[&id, &string("u")])),
        ("password flag without password", connect(0xC2, &[&id, &string("u")])),
        ("no client identifier", connect(0x02, &[])),
        ("client identifier that is cut", connect(0x02, &[&[0, 9, b'a']])),
        ("client identifier that is not UTF-8", connect(0x02, &[&string(b"\xFF")])),
        ("user name that is not UTF-8", connect(0x82, &[&id, &string(b"\xC0\xAF")])),
        ("user name with U+0000", connect(0x82, &[&id, &string("a\0b")])),
        ("trailing bytes", connect(0x02, &[&id, &[0]])),
        ("no bytes", frame(0x10, [])),
        ("protocol name alone", frame(0x10, string("MQTT"))),
        ("no flags", frame(0x10, [&string("MQTT")[..], &[version.level()]].concat())),
        ("no keep alive", frame(0x10, [&string("MQTT")[..], &[version.level(), 2]].concat())),
        ("will topic with #", Connect::new("wrong").will(Will::new("w/#", "x")).encode(version)),
        ("will topic with +", Connect::new("wrong").will(Will::new("+", "x")).encode(version)),
        ("empty will topic", Connect::new("wrong").will(Will::new("", "x")).encode(version)),
        ("will topic with U+0000", Connect::new("wrong").will(Will::new("a\0", "x")).encode(version)),
        ("Remaining Length of five bytes", vec![0x10, 0x80, 0x80, 0x80, 0x80, 0x01]),
        ("Remaining Length that is not minimal", [&[0x10, ok[1] | 0x80, 0][..], &ok[2..]].concat()),
    ];
    if !v5 {
        cases.push(("password without user name", connect(0x42, &[&id, &string("p")])));
        return cases;
    }
    let with = |property: Property| Connect::new("wrong").property(property).encode(V5);
    let twice =
        |property: Property| Connect::new("wrong").property(property.clone()).property(property).encode(V5);
    let will =
        |property: Property| Connect::new("wrong").will(Will::new("w", "x").property(property)).encode(V5);
    cases.extend([
        ("receive maximum 0", with(Property::ReceiveMaximum(0))),
        ("maximum packet size 0", with(Property::MaximumPacketSize(0))),
        ("request response information 2", with(Property::RequestResponseInformation(2))),
        ("request problem information 2", with(Property::RequestProblemInformation(2))),
        ("session expiry twice", twice(Property::SessionExpiry(1))),
        ("receive maximum twice", twice(Property::ReceiveMaximum(1))),
        ("maximum packet size twice", twice(Property::MaximumPacketSize(100))),
        ("topic alias maximum twice", twice(Property::TopicAliasMaximum(0))),
        ("request problem information twice", twice(Property::RequestProblemInformation(1))),
        ("request response information twice", twice(Property::RequestResponseInformation(0))),
        ("authentication method twice", twice(Property::AuthenticationMethod("m".into()))),
        ("authentication data without method", with(Property::AuthenticationData(vec![1]))),
        ("topic alias on CONNECT", with(Property::TopicAlias(1))),
        ("assigned client identifier on CONNECT", with(Property::AssignedClientId("a".into()))),
        ("server keep alive on CONNECT", with(Property::ServerKeepAlive(1))),
        ("will delay on CONNECT", with(Property::WillDelay(1))),
        ("property that does not exist", with(Property::Raw(vec![0x7F, 0]))),
        ("property that is cut", with(Property::Raw(vec![0x11, 0]))),
        ("session expiry on the will", will(Property::SessionExpiry(1))),
        ("topic alias on the will", will(Property::TopicAlias(1))),
        ("payload format 2 on the will", will(Property::PayloadFormat(2))),
        ("response topic with wildcard on the will", will(Property::ResponseTopic("#".into()))),
    ]);
    cases
}

#[test]
fn a_wrong_packet_takes_nothing_with_it() {
    // What came before the wrong packet holds, what comes after it does not.
    let broker = Broker::start();
    for version in ON_BOTH_VERSIONS {
        let mut listener = broker.connect(version, "listener");
        listener.subscribe("story", 1);
        let mut client = broker.connect(version, "wrong");
        let mut bytes = Publish::new("story", "before").qos(1, 1).encode(version);
        bytes.extend(frame(0x36, b"\0\x05story\0\x02\0wrong"));
        bytes.extend(Publish::new("story", "after").qos(1, 3).encode(version));
        client.send(bytes);
        client.wait_for(
            "PUBACK",
            |packet| matches!(packet, Packet::Ack(ack) if ack.kind == Kind::PubAck && ack.id == 1),
        );
        client.expect_ended(0x81);
        listener.expect_payload("before");
        listener.expect_silence();
    }
}

#[test]
fn a_subscribe_with_one_wrong_filter_subscribes_to_none() {
    let broker = Broker::start();
    for version in ON_BOTH_VERSIONS {
        let (mut client, _) = broker.connect_persistent(version, &format!("wrong-{version:?}"));
        client.send(Subscribe::new(1).filter("a", 1).filter("b", 3));
        assert!(!matches!(client.receive_or_closed(), Some(Packet::SubAck(_))));
        assert!(client.is_closed_within(ior_tests::DEADLINE));
        broker.connect(version, "publisher").publish("a", "x", 1);
        broker.connect_persistent(version, &format!("wrong-{version:?}")).0.expect_silence();
    }
}

#[test]
fn cut_packets_harm_nobody() {
    // Every good packet, ended after every byte by the end of the connection.
    let broker = Broker::start();
    for version in ON_BOTH_VERSIONS {
        let packets = [
            Publish::new("story", "x").qos(1, 1).encode(version),
            Subscribe::new(1).filter("story", 0).encode(version),
            Unsubscribe::new(1, &["story"]).encode(version),
        ];
        let mut listener = broker.connect(version, "listener");
        listener.subscribe("story", 1);
        for packet in packets {
            for length in 1..packet.len() {
                let mut client = broker.connect(version, "cut");
                client.send(packet[..length].to_vec());
                client.cut();
            }
        }
        listener.expect_silence();
        let connect = Connect::new("cut").will(Will::new("story", "x")).encode(version);
        for length in 1..connect.len() {
            let mut client = broker.open(version);
            client.send(connect[..length].to_vec());
            client.cut();
        }
        listener.expect_silence();
    }
}
