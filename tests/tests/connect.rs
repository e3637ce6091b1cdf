//! CONNECT and CONNACK, keep alive, and what happens before and instead of them.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::time::{Duration, Instant};

use ior_tests::{
    Broker, ON_BOTH_VERSIONS,
    raw::{
        Connect, Disconnect, Encode, Packet, PingReq, Property, Publish, Subscribe,
        Version::{V5, V311},
        Will, frame, string,
    },
};

#[test]
fn accepts_both_versions_on_one_port() {
    let broker = Broker::start();
    for version in ON_BOTH_VERSIONS {
        let (mut client, present) = broker.connect_with(version, Connect::new("either"));
        assert!(!present);
        client.expect_silence();
        client.disconnect();
    }
}

#[test]
fn packets_may_follow_connect_before_connack() {
    let broker = Broker::start();
    for version in ON_BOTH_VERSIONS {
        let mut client = broker.open(version);
        let mut bytes = Connect::new("eager").encode(version);
        bytes.extend(Subscribe::new(7).filter("a", 1).encode(version));
        bytes.extend(PingReq.encode(version));
        client.send(bytes);
        assert_eq!(client.expect_connack().code, 0);
        assert_eq!(client.expect_suback(7), [1]);
        assert_eq!(client.receive(), Packet::PingResp);
    }
}

#[test]
fn packets_may_arrive_byte_by_byte() {
    let broker = Broker::start();
    for version in ON_BOTH_VERSIONS {
        let mut client = broker.open(version);
        let connect =
            Connect::new("slow").user_name("somebody").password("secret").will(Will::new("w", "gone"));
        for byte in connect.encode(version) {
            client.send(vec![byte]);
        }
        assert_eq!(client.expect_connack().code, 0);
        for byte in Subscribe::new(9).filter("slow/#", 0).encode(version) {
            client.send(vec![byte]);
        }
        assert_eq!(client.expect_suback(9), [0]);
    }
}

#[test]
fn unsupported_protocol_levels_are_refused() {
    let broker = Broker::start();
    for (name, level) in [("MQIsdp", 3), ("MQTT", 3), ("MQTT", 6), ("MQTT", 0), ("MQTT", 255), ("MQTT", 0x84)]
    {
        for version in ON_BOTH_VERSIONS {
            let mut client = broker.open(version);
            client.send(Connect::new("future").protocol(name, level));
            let answer = client.read_until_closed();
            let v3: &[u8] = &[0x20, 2, 0, 0x01];
            let v5: &[u8] = &[0x20, 3, 0, 0x84, 0];
            let understood = if level == 3 { answer == v3 } else { answer == v3 || answer == v5 };
            assert!(understood, "{name} level {level} was answered with {answer:02x?}");
        }
    }
    broker.assert_alive();
}

#[test]
fn a_wrong_protocol_name_is_never_accepted() {
    let broker = Broker::start();
    for name in ["mqtt", "MQTTX", "", "HTTP", "MQ\u{0}T"] {
        for version in ON_BOTH_VERSIONS {
            let mut client = broker.open(version);
            client.send(Connect::new("stranger").protocol(name, version.level()));
            let answer = client.read_until_closed();
            let refused = answer.is_empty() || answer == [0x20, 2, 0, 1] || answer == [0x20, 3, 0, 0x84, 0];
            assert!(refused, "protocol name {name:?} was answered with {answer:02x?}");
        }
    }
    broker.assert_alive();
}

#[test]
fn the_first_packet_must_be_connect() {
    let broker = Broker::start();
    for version in ON_BOTH_VERSIONS {
        let packets: [(&str, Vec<u8>); 8] = [
            ("PINGREQ", PingReq.encode(version)),
            ("PUBLISH", Publish::new("a", "x").encode(version)),
            ("PUBLISH of QoS 1", Publish::new("a", "x").qos(1, 1).encode(version)),
            ("SUBSCRIBE", Subscribe::new(1).filter("#", 0).encode(version)),
            ("DISCONNECT", Disconnect::default().encode(version)),
            ("CONNACK", frame(0x20, [0, 0])),
            ("AUTH", frame(0xF0, [])),
            ("packet type 0", frame(0x00, [])),
        ];
        for (name, bytes) in packets {
            let mut client = broker.open(version);
            client.send(bytes);
            let answer = client.read_until_closed();
            assert!(answer.is_empty(), "{name} as first packet was answered with {answer:02x?}");
        }
    }
    broker.assert_alive();
}

#[test]
fn strangers_bytes_do_no_harm() {
    let broker = Broker::start();
    let strangers: [&[u8]; 4] = [
        b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        &[0xFF; 64],
    ];
    for bytes in strangers {
        let mut client = broker.open(V311);
        client.send(bytes.to_vec());
        assert!(client.read_until_closed().is_empty());
    }
    broker.assert_alive();
}

#[test]
fn a_second_connect_ends_the_connection() {
    let broker = Broker::start();
    for version in ON_BOTH_VERSIONS {
        let mut client = broker.connect(version, "twice");
        client.send(Connect::new("twice"));
        client.expect_ended(0x82);
    }
}

#[test]
fn who_does_not_connect_is_closed() {
    let broker = Broker::start();
    let mut silent = broker.open(V5);
    let mut half = broker.open(V311);
    let connect = Connect::new("never-finishes").encode(V311);
    half.send(connect[..connect.len() - 1].to_vec());
    silent.expect_closed_within(Duration::from_secs(60));
    half.expect_closed_within(Duration::from_secs(60));
}

#[test]
fn silence_beyond_keep_alive_ends_the_connection() {
    let broker = Broker::start();
    for version in ON_BOTH_VERSIONS {
        let (mut forever, _) = broker.connect_with(version, Connect::new("forever"));
        let start = Instant::now();
        let (mut client, _) = broker.connect_with(version, Connect::new("silent").keep_alive(1));
        client.expect_ended(0x8D);
        assert!(start.elapsed() >= Duration::from_millis(1400), "closed after {:?}", start.elapsed());
        forever.expect_silence();
    }
}

#[test]
fn every_packet_keeps_the_connection_alive() {
    let broker = Broker::start();
    for version in ON_BOTH_VERSIONS {
        let (mut pinging, _) = broker.connect_with(version, Connect::new("pinging").keep_alive(1));
        let (mut publishing, _) = broker.connect_with(version, Connect::new("publishing").keep_alive(1));
        let (mut silent, _) = broker.connect_with(version, Connect::new("silent").keep_alive(1));
        let start = Instant::now();
        while !silent.is_closed_within(Duration::from_millis(200)) {
            assert!(start.elapsed() < Duration::from_secs(10), "the silent one stays connected");
            pinging.expect_silence();
            publishing.send(Publish::new("still/here", "x"));
        }
        pinging.expect_silence();
        publishing.expect_silence();
    }
}

#[test]
fn what_the_server_sends_does_not_keep_a_client_alive() {
    let broker = Broker::start();
    let mut publisher = broker.connect(V311, "talker");
    for version in ON_BOTH_VERSIONS {
        let (mut listener, _) = broker.connect_with(version, Connect::new("listener").keep_alive(1));
        listener.subscribe("talk", 0);
        let start = Instant::now();
        while !listener.is_closed_within(Duration::from_millis(100)) {
            assert!(start.elapsed() < Duration::from_secs(10), "the listener stays connected");
            publisher.publish("talk", "x", 0);
        }
    }
}

#[test]
fn an_empty_client_identifier_gets_one() {
    let broker = Broker::start();
    let assigned = |clean: bool| {
        let mut client = broker.open(V5);
        client.send(Connect::new("").clean(clean).property(Property::SessionExpiry(60)));
        let ack = client.expect_connack();
        assert_eq!((ack.code, ack.session_present), (0, false));
        let find =
            |p: &Property| if let Property::AssignedClientId(id) = p { Some(id.clone()) } else { None };
        (client.announced(find).expect("an Assigned Client Identifier"), client)
    };
    let (first, client) = assigned(true);
    let (second, _) = assigned(true);
    let (third, _) = assigned(false);
    assert!(!first.is_empty() && first != second && second != third && first != third);
    client.disconnect();
    let (_, present) = broker.connect_with(V5, Connect::new(&first).clean(false));
    assert!(present, "the assigned identifier names the session");
}

#[test]
fn a_client_identifier_of_its_own_is_not_assigned_again() {
    let broker = Broker::start();
    let client = broker.connect(V5, "mine");
    assert!(
        !client.announced(|p| matches!(p, Property::AssignedClientId(_)).then_some(true)).unwrap_or(false)
    );
}

#[test]
fn v311_empty_client_identifier_needs_a_clean_session() {
    let broker = Broker::start();
    broker.connect(V311, "").expect_silence();
    broker.connect(V311, "").expect_silence();
    let mut client = broker.open(V311);
    client.send(Connect::new("").clean(false));
    assert_eq!(client.expect_connack().code, 2);
    client.expect_closed();
}

#[test]
fn any_client_identifier_is_taken() {
    let broker = Broker::start();
    let long = "x".repeat(1000);
    for version in ON_BOTH_VERSIONS {
        for id in
            ["0123456789abcdefghijklm", "ABCDEFGHIJKLMNOPQRSTUVWXYZ", "a/b", "#", "+/$SYS", "zwölf 🤖", &long]
        {
            broker.connect(version, id).expect_silence();
        }
        // The longest that fits may be refused, but not harm.
        let mut client = broker.open(version);
        client.send(Connect::new(&"y".repeat(65535)));
        client.receive_anything();
        broker.assert_alive();
    }
}

#[test]
fn the_servers_limits_are_announced() {
    let broker = Broker::start();
    let client = broker.connect(V5, "curious");
    assert_eq!(
        client.announced(|p| if let Property::SharedAvailable(n) = p { Some(*n) } else { None }),
        Some(0)
    );
    assert!(client.announced(|p| matches!(p, Property::ReceiveMaximum(1..)).then_some(())).is_some());
    assert!(client.topic_alias_maximum() > 0);
    assert!(client.maximum_packet_size().expect("a Maximum Packet Size") >= 65536);
}

#[test]
fn session_expiry_that_was_granted_is_not_more_than_asked() {
    let broker = Broker::start();
    for asked in [0, 1, 3600, u32::MAX] {
        let (client, _) = broker
            .connect_with(V5, Connect::new(&format!("e{asked}")).property(Property::SessionExpiry(asked)));
        let granted = client.announced(|p| if let Property::SessionExpiry(n) = p { Some(*n) } else { None });
        assert!(granted.unwrap_or(asked) <= asked, "asked for {asked}, granted {granted:?}");
    }
}

#[test]
fn session_present_tells_whether_there_was_one() {
    let broker = Broker::start();
    for version in ON_BOTH_VERSIONS {
        let id = format!("{version:?}");
        let (client, present) = broker.connect_persistent(version, &id);
        assert!(!present);
        client.disconnect();
        let (client, present) = broker.connect_persistent(version, &id);
        assert!(present);
        client.disconnect();
        let (client, present) = broker.connect_with(version, Connect::new(&id));
        assert!(!present, "a clean start has no session");
        client.disconnect();
        let (_, present) = broker.connect_persistent(version, &id);
        assert!(!present, "the clean session ended with its connection");
    }
}

#[test]
fn extended_authentication_is_refused() {
    let broker = Broker::start();
    let mut client = broker.open(V5);
    client.send(Connect::new("scram").property(Property::AuthenticationMethod("SCRAM-SHA-1".into())));
    assert_eq!(client.expect_connack().code, 0x8C);
    client.expect_closed();
}

#[test]
fn auth_without_an_authentication_method_is_a_protocol_error() {
    let broker = Broker::start();
    let mut client = broker.connect(V5, "auth");
    client.send(frame(0xF0, [0x19, 0]));
    client.expect_ended(0x82);
}

#[test]
fn a_v5_password_needs_no_user_name() {
    let broker = Broker::start();
    broker.connect_with(V5, Connect::new("token").password([0, 0xFF, 0xC0, 0x80])).0.expect_silence();
}

#[test]
fn a_v311_password_needs_a_user_name() {
    let broker = Broker::start();
    let mut client = broker.open(V311);
    client.send(Connect::new("token").password("secret"));
    client.expect_closed();
}

#[test]
fn empty_user_name_and_password_are_legal() {
    let broker = Broker::start();
    for version in ON_BOTH_VERSIONS {
        broker.connect_with(version, Connect::new("blank").user_name("").password("")).0.expect_silence();
    }
}

#[test]
fn without_request_problem_information_no_reason_is_told() {
    let broker = Broker::start();
    let (mut client, _) =
        broker.connect_with(V5, Connect::new("terse").property(Property::RequestProblemInformation(0)));
    client.send(Subscribe::new(1).filter("$share/g/a", 0).filter("b", 0));
    match client.receive() {
        Packet::SubAck(ack) => assert_eq!((ack.id, ack.properties), (1, vec![])),
        other => panic!("expected SUBACK, got {other:?}"),
    }
    client.complete(Publish::new("nobody", "x"), 2);
}

#[test]
fn response_information_is_not_sent_unasked() {
    let broker = Broker::start();
    let client = broker.connect(V5, "plain");
    assert!(client.announced(|p| matches!(p, Property::ResponseInformation(_)).then_some(())).is_none());
}

#[test]
fn the_server_closes_after_disconnect() {
    let broker = Broker::start();
    for version in ON_BOTH_VERSIONS {
        let mut client = broker.connect(version, "polite");
        client.send(Disconnect::default());
        client.expect_closed();
    }
    for reason in [0x00, 0x04, 0x80, 0x81, 0x82, 0x83, 0x90, 0x93, 0x94, 0x95, 0x96, 0x97, 0x98, 0x99] {
        let mut client = broker.connect(V5, "reasoned");
        client.send(Disconnect::default().reason(reason));
        client.expect_closed();
    }
}

#[test]
fn nothing_is_taken_after_disconnect() {
    let broker = Broker::start();
    for version in ON_BOTH_VERSIONS {
        let mut listener = broker.connect(version, "listener");
        listener.subscribe("after", 1);
        let mut client = broker.connect(version, "gone");
        let mut bytes = Disconnect::default().encode(version);
        bytes.extend(Publish::new("after", "late").encode(version));
        client.send(bytes);
        client.expect_closed();
        broker.connect(version, "marker").publish("after", "marker", 1);
        listener.expect_payload("marker");
    }
}

#[test]
fn a_client_identifier_with_a_null_character_is_refused() {
    let broker = Broker::start();
    for version in ON_BOTH_VERSIONS {
        let mut client = broker.open(version);
        let mut rest = string("MQTT");
        rest.extend([version.level(), 2, 0, 0]);
        if version == V5 {
            rest.push(0);
        }
        rest.extend(string("a\0b"));
        client.send(frame(0x10, rest));
        let answer = client.read_until_closed();
        assert!(
            answer.is_empty() || answer[3] >= 0x80 || (version == V311 && answer[3] > 0),
            "{answer:02x?}"
        );
    }
    broker.assert_alive();
}
