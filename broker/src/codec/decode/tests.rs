//! Every refusal of the decoder with the statement that asks for it, and what is legal and easily forgotten.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use super::*;
use crate::codec::primitives::{variable_len, write_variable};
use crate::codec::{ConnectError, ConnectProperties, PacketId, ReasonCode, RetainHandling, packet_length};
use ReasonCode::{
    MalformedPacket as Malformed, ProtocolError as Protocol, TopicAliasInvalid, TopicFilterInvalid,
    TopicNameInvalid,
};
use Version::{V5, V311};

#[test]
fn refused_in_both_versions() {
    for version in [V311, V5] {
        for (statement, first, body, reason) in [
            ("MQTT-2.1.3-1 reserved type", 0x00, body(&[]), Malformed),
            ("MQTT-2.1.3-1 flags of PUBACK", 0x41, body(&[ID]), Malformed),
            ("MQTT-3.6.1-1 flags of PUBREL", 0x60, body(&[ID]), Malformed),
            ("MQTT-3.8.1-1 flags of SUBSCRIBE", 0x80, subscribe(version, &[b"\x00\x01a\x00"]), Malformed),
            ("MQTT-3.10.1-1 flags of UNSUBSCRIBE", 0xA0, subscribe(version, &[b"\x00\x01a"]), Malformed),
            ("MQTT-3.14.1-1 flags of DISCONNECT", 0xE1, body(&[]), Malformed),
            ("MQTT-2.1.3-1 flags of PINGREQ", 0xC2, body(&[]), Malformed),
            ("section 3.2: only servers send CONNACK", 0x20, body(&[b"\x00\x00"]), Protocol),
            ("section 3.9: only servers send SUBACK", 0x90, body(&[ID, b"\x00"]), Protocol),
            ("section 3.11: only servers send UNSUBACK", 0xB0, body(&[ID]), Protocol),
            ("section 3.13: only servers send PINGRESP", 0xD0, body(&[]), Protocol),
            (
                "MQTT-3.1.0-2 second CONNECT",
                0x10,
                body(&[b"\x00\x04MQTT\x04\x02\x00\x00\x00\x01c"]),
                Protocol,
            ),
            ("MQTT-3.3.1-4 QoS 3", 0x36, publish(version, b"\x00\x01a", true, b""), Malformed),
            ("MQTT-3.3.1-2 DUP with QoS 0", 0x38, publish(version, b"\x00\x01a", false, b""), Malformed),
            ("MQTT-3.3.2-2 wildcard +", 0x30, publish(version, b"\x00\x01+", false, b""), TopicNameInvalid),
            ("MQTT-3.3.2-2 wildcard #", 0x30, publish(version, b"\x00\x03a/#", false, b""), TopicNameInvalid),
            ("MQTT-4.7.3-1 empty topic", 0x30, publish(version, b"\x00\x00", false, b""), Protocol),
            (
                "MQTT-1.5.4-1 ill-formed UTF-8",
                0x30,
                publish(version, b"\x00\x02\xC3\x28", false, b""),
                Malformed,
            ),
            (
                "MQTT-1.5.4-1 surrogate",
                0x30,
                publish(version, b"\x00\x03\xED\xA0\x80", false, b""),
                Malformed,
            ),
            ("MQTT-1.5.4-2 U+0000", 0x30, publish(version, b"\x00\x02a\x00", false, b""), Malformed),
            ("MQTT-1.5.4-2 U+0000 in a filter", 0x82, subscribe(version, &[b"\x00\x02a\x00\x00"]), Malformed),
            ("section 1.5.4: string too short", 0x30, body(&[b"\x00\x09a"]), Malformed),
            ("section 3.3.2.2: no packet id", 0x32, body(&[b"\x00\x01a"]), Malformed),
            ("MQTT-2.2.1-3 packet id 0 in PUBACK", 0x40, body(&[b"\x00\x00"]), Protocol),
            ("MQTT-2.2.1-3 packet id 0 in SUBSCRIBE", 0x82, body(&[b"\x00\x00\x00\x00\x01a\x00"]), Protocol),
            ("MQTT-2.2.1-3 packet id 0 in UNSUBSCRIBE", 0xA2, body(&[b"\x00\x00\x00\x00\x01a"]), Protocol),
            ("MQTT-3.8.3-2 no filter", 0x82, subscribe(version, &[]), Protocol),
            ("MQTT-3.10.3-2 no filter", 0xA2, subscribe(version, &[]), Protocol),
            ("section 3.8.3: no options", 0x82, subscribe(version, &[b"\x00\x01a"]), Malformed),
            ("MQTT-4.7.3-1 empty filter", 0x82, subscribe(version, &[b"\x00\x00\x00"]), TopicFilterInvalid),
            ("MQTT-4.7.1-1 # not last", 0x82, subscribe(version, &[b"\x00\x03#/a\x00"]), TopicFilterInvalid),
            ("MQTT-4.7.1-1 # in a level", 0xA2, subscribe(version, &[b"\x00\x02a#"]), TopicFilterInvalid),
            ("MQTT-4.7.1-2 + in a level", 0xA2, subscribe(version, &[b"\x00\x02a+"]), TopicFilterInvalid),
            ("section 3.12.2: bytes in PINGREQ", 0xC0, body(&[b"\x00"]), Malformed),
        ] {
            assert_eq!(reason_of(first, &body, version), reason, "{statement} in {version:?}");
        }
    }
}

#[test]
fn refused_in_3_1_1() {
    for (statement, first, body, reason) in [
        ("MQTT-2.2.2-1 (3.1.1) type 15 is reserved", 0xF0, body(&[b"\x18\x00"]), Malformed),
        ("section 3.4 (3.1.1) reason in PUBACK", 0x40, body(&[ID, b"\x00"]), Malformed),
        ("section 3.14 (3.1.1) reason in DISCONNECT", 0xE0, body(&[b"\x00"]), Malformed),
        ("MQTT-3-8.3-4 (3.1.1) reserved bits", 0x82, subscribe(V311, &[b"\x00\x01a\x04"]), Malformed),
        ("MQTT-3-8.3-4 (3.1.1) QoS 3", 0x82, subscribe(V311, &[b"\x00\x01a\x03"]), Protocol),
        ("MQTT-2.3.1-1 (3.1.1) packet id 0", 0x32, body(&[b"\x00\x01a\x00\x00"]), Protocol),
    ] {
        assert_eq!(reason_of(first, &body, V311), reason, "{statement}");
    }
}

#[test]
fn refused_in_5() {
    let publish = |properties: &[u8]| publish(V5, b"\x00\x01a", false, properties);
    for (statement, first, body, reason) in [
        ("MQTT-2.2.1-3 packet id 0", 0x32, body(&[b"\x00\x01a\x00\x00\x00"]), Protocol),
        ("MQTT-1.5.5-1 property length not minimal", 0x30, body(&[b"\x00\x01a\x80\x00"]), Malformed),
        ("section 2.2.2.1: property length too long", 0x30, body(&[b"\x00\x01a\x05"]), Malformed),
        ("section 2.2.2.2: unknown property", 0x30, publish(b"\x7F\x00"), Malformed),
        ("section 2.2.2.2: misplaced property", 0x30, publish(b"\x21\x00\x01"), Malformed),
        ("section 2.2.2.2: property cut off", 0x30, publish(b"\x02\x00"), Malformed),
        ("section 3.3.2.3.2: Payload Format Indicator 2", 0x30, publish(b"\x01\x02"), Protocol),
        ("section 3.3.2.3.2: twice", 0x30, publish(b"\x01\x01\x01\x01"), Protocol),
        ("section 3.3.2.3.3: twice", 0x30, publish(b"\x02\0\0\0\x01\x02\0\0\0\x01"), Protocol),
        ("section 3.3.2.3.4: alias twice", 0x30, publish(b"\x23\x00\x01\x23\x00\x01"), Protocol),
        ("MQTT-3.3.2-8 alias 0", 0x30, publish(b"\x23\x00\x00"), TopicAliasInvalid),
        ("MQTT-3.3.2-13 Response Topic not UTF-8", 0x30, publish(b"\x08\x00\x01\xFF"), Malformed),
        ("MQTT-3.3.2-14 Response Topic with wildcard", 0x30, publish(b"\x08\x00\x01#"), Protocol),
        ("MQTT-4.7.3-1 empty Response Topic", 0x30, publish(b"\x08\x00\x00"), Protocol),
        ("MQTT-3.3.4-6 Subscription Identifier", 0x30, publish(b"\x0B\x01"), Protocol),
        ("MQTT-1.5.4-2 U+0000 in a User Property", 0x30, publish(b"\x26\x00\x01\x00\x00\x00"), Malformed),
        ("section 3.4.2.1: reason of another packet", 0x40, body(&[ID, b"\x92"]), Protocol),
        ("section 3.6.2.1: reason of another packet", 0x62, body(&[ID, b"\x10"]), Protocol),
        ("section 3.7.2.1: reason of another packet", 0x70, body(&[ID, b"\x80"]), Protocol),
        ("section 3.4.2.2: misplaced property", 0x40, body(&[ID, b"\x00\x02\x01\x01"]), Malformed),
        ("section 3.4.2.2.2: Reason String twice", 0x40, body(&[ID, b"\x00\x06\x1F\0\0\x1F\0\0"]), Protocol),
        ("section 3.4: trailing bytes", 0x40, body(&[ID, b"\x00\x00\x00"]), Malformed),
        ("section 3.14.2.1: only servers send 0x8E", 0xE0, body(&[b"\x8E"]), Protocol),
        ("section 3.14.2.1: not a reason of DISCONNECT", 0xE0, body(&[b"\x01"]), Protocol),
        ("section 3.14.2.2.5: only servers send it", 0xE0, body(&[b"\x00\x03\x1C\x00\x00"]), Protocol),
        ("section 3.14.2.2.2: twice", 0xE0, body(&[b"\x00\x0A\x11\0\0\0\0\x11\0\0\0\0"]), Protocol),
        ("section 3.14: trailing bytes", 0xE0, body(&[b"\x00\x00\x00"]), Malformed),
        ("MQTT-3.15.1-1 flags of AUTH", 0xF1, body(&[b"\x18\x04\x15\x00\x01m"]), Malformed),
        ("section 3.15.2.1: only servers send Success", 0xF0, body(&[]), Protocol),
        ("section 3.15.2.2.2: no method", 0xF0, body(&[b"\x18\x00"]), Protocol),
        ("section 3.8.2.1.2: identifier 0", 0x82, body(&[ID, b"\x02\x0B\x00\x00\x01a\x00"]), Protocol),
        ("section 3.8.2.1.2: twice", 0x82, body(&[ID, b"\x04\x0B\x01\x0B\x01\x00\x01a\x00"]), Protocol),
        ("MQTT-3.8.3-5 reserved bits", 0x82, subscribe(V5, &[b"\x00\x01a\x40"]), Malformed),
        ("section 3.8.3.1: QoS 3", 0x82, subscribe(V5, &[b"\x00\x01a\x03"]), Protocol),
        ("section 3.8.3.1: Retain Handling 3", 0x82, subscribe(V5, &[b"\x00\x01a\x30"]), Protocol),
        ("MQTT-3.8.3-4 No Local, shared", 0x82, subscribe(V5, &[b"\x00\x0A$share/g/a\x04"]), Protocol),
        (
            "MQTT-4.8.2-1 empty ShareName",
            0x82,
            subscribe(V5, &[b"\x00\x09$share//a\x00"]),
            TopicFilterInvalid,
        ),
        ("MQTT-4.8.2-2 ShareName +", 0x82, subscribe(V5, &[b"\x00\x0A$share/+/a\x00"]), TopicFilterInvalid),
        ("MQTT-4.8.2-2 no filter", 0x82, subscribe(V5, &[b"\x00\x08$share/g\x00"]), TopicFilterInvalid),
        ("MQTT-4.8.2-2 empty filter", 0xA2, subscribe(V5, &[b"\x00\x09$share/g/"]), TopicFilterInvalid),
    ] {
        assert_eq!(reason_of(first, &body, V5), reason, "{statement}");
    }
}

#[test]
fn connects_that_are_refused() {
    let v5 = |flags, properties: &[u8], payload: &[u8]| {
        body(&[b"\x00\x04MQTT\x05", &[flags], b"\x00\x0A", &with_length(properties), payload])
    };
    let v311 = |flags, payload: &[u8]| body(&[b"\x00\x04MQTT\x04", &[flags], b"\x00\x0A", payload]);
    for (statement, body, version, reason) in [
        ("MQTT-3.1.2-3 reserved flag", v311(0x03, b"\0\x01c"), V311, Malformed),
        ("MQTT-3.1.2-3 reserved flag", v5(0x03, b"", b"\0\x01c"), V5, Malformed),
        ("MQTT-3.1.2-11 Will QoS without Will", v5(0x08, b"", b"\0\x01c"), V5, Malformed),
        ("MQTT-3.1.2-13 Will Retain without Will", v311(0x20, b"\0\x01c"), V311, Malformed),
        ("MQTT-3.1.2-12 Will QoS 3", v5(0x1C, b"", b"\0\x01c\0\0\x01w\0\0"), V5, Malformed),
        ("MQTT-3.1.2-22 (3.1.1) Password alone", v311(0x42, b"\0\x01c\0\x01p"), V311, Malformed),
        ("section 3.1.3: trailing bytes", v311(0x02, b"\0\x01c\0"), V311, Malformed),
        ("section 3.1.3: no Password", v5(0xC2, b"", b"\0\x01c\0\x01u"), V5, Malformed),
        ("MQTT-3.1.3-4 Client Identifier not UTF-8", v5(2, b"", b"\0\x01\xFF"), V5, Malformed),
        ("MQTT-3.1.3-12 User Name with U+0000", v5(0x82, b"", b"\0\x01c\0\x01\0"), V5, Malformed),
        ("MQTT-3.1.3-11 Will Topic not UTF-8", v5(6, b"", b"\0\x01c\0\0\x01\xFF\0\0"), V5, Malformed),
        ("MQTT-4.7.1-1 Will Topic with wildcard", v5(6, b"", b"\0\x01c\0\0\x01#\0\0"), V5, TopicNameInvalid),
        ("MQTT-4.7.3-1 empty Will Topic", v5(6, b"", b"\0\x01c\0\0\0\0\0"), V5, TopicNameInvalid),
        (
            "section 3.1.3.2: misplaced Will Property",
            v5(6, b"", b"\0\x01c\x03\x23\0\x01\0\x01w\0\0"),
            V5,
            Malformed,
        ),
        (
            "section 3.1.3.2.2: Will Delay twice",
            v5(6, b"", b"\0\x01c\x0A\x18\0\0\0\0\x18\0\0\0\0\0\x01w\0\0"),
            V5,
            Protocol,
        ),
        ("section 3.1.2.11.2: twice", v5(2, b"\x11\0\0\0\0\x11\0\0\0\0", b"\0\x01c"), V5, Protocol),
        ("section 3.1.2.11.3: Receive Maximum 0", v5(2, b"\x21\0\0", b"\0\x01c"), V5, Protocol),
        ("section 3.1.2.11.4: Maximum Packet Size 0", v5(2, b"\x27\0\0\0\0", b"\0\x01c"), V5, Protocol),
        ("section 3.1.2.11.6: neither 0 nor 1", v5(2, b"\x19\x02", b"\0\x01c"), V5, Protocol),
        ("section 3.1.2.11.7: neither 0 nor 1", v5(2, b"\x17\x02", b"\0\x01c"), V5, Protocol),
        ("section 3.1.2.11.10: data without method", v5(2, b"\x16\0\0", b"\0\x01c"), V5, Protocol),
        ("section 2.2.2.2: misplaced property", v5(2, b"\x02\0\0\0\0", b"\0\x01c"), V5, Malformed),
    ] {
        match decode_connect(&packet(0x10, &body)) {
            Err(ConnectError::Invalid { version: Some(found), error }) => {
                assert_eq!((found, error.reason), (version, reason), "{statement}: {error}");
            }
            other => panic!("{statement}: {other:?}"),
        }
    }
}

#[test]
fn a_first_packet_that_is_not_connect_is_not_answered_3_1_0_1() {
    for bytes in [&b""[..], b"\xC0\x00", b"\x30\x03\x00\x01a", b"GET / HTTP/1.1\r\n"] {
        assert_eq!(decode_connect(bytes), Err(ConnectError::NotConnect));
    }
    let malformed = DecodeError { reason: Malformed, what: "wrong flags in the fixed header" };
    let bytes = packet(0x11, b"\x00\x04MQTT\x04\x02\x00\x00\x00\x01c");
    assert_eq!(decode_connect(&bytes), Err(ConnectError::Invalid { version: None, error: malformed }));
}

#[test]
fn an_unsupported_protocol_can_be_answered_3_1_2_1_and_2() {
    for (body, level, answer) in [
        (&b"\x00\x06MQIsdp\x03\x02\x00\x00\x00\x01c"[..], 3, V311),
        (b"\x00\x04MQTT\x03\x02\x00\x00\x00\x01c", 3, V311),
        (b"\x00\x04MQTT\x06\x02\x00\x00\x00\x00\x01c", 6, V5),
        (b"\x00\x04mqtt\x04\x02\x00\x00\x00\x01c", 4, V311),
        (b"\x00\x04MQTT\x84\x02\x00\x00\x00\x01c", 0x84, V311),
        (b"\x00\x00\x05", 5, V5),
    ] {
        let bytes = packet(0x10, body);
        assert_eq!(decode_connect(&bytes), Err(ConnectError::UnsupportedProtocol { level, answer }));
    }
}

#[test]
fn legal_connects_that_are_easily_forgotten() {
    // Section 3.1.2.9: in MQTT 5 a Password needs no User Name, and it is any bytes.
    let bytes = packet(0x10, b"\x00\x04MQTT\x05\x42\x00\x00\x00\x00\x01c\x00\x02\xFF\x00");
    let connect = decode_connect(&bytes).unwrap();
    assert_eq!((connect.user_name, connect.password), (None, Some(&b"\xFF\x00"[..])));

    // MQTT-3.1.3-6: an empty Client Identifier, in MQTT 5 with Clean Start 0 too.
    let bytes = packet(0x10, b"\x00\x04MQTT\x05\x00\x00\x00\x05\x11\x00\x00\x00\x00\x00\x00");
    let connect = decode_connect(&bytes).unwrap();
    assert_eq!((connect.client_id, connect.clean_start, connect.properties.session_expiry), ("", false, 0));

    // MQTT-3.1.3-8 (3.1.1): the server answers with 0x02, so the decoder has to let it through.
    let bytes = packet(0x10, b"\x00\x04MQTT\x04\x00\x00\x00\x00\x00");
    assert_eq!(decode_connect(&bytes).unwrap().client_id, "");

    // Section 3.1.2.11.5: Topic Alias Maximum 0. Section 1.5.7: empty names and values, the same name twice.
    let bytes = packet(
        0x10,
        b"\x00\x04MQTT\x05\x02\x00\x00\x0D\x22\x00\x00\x26\x00\x00\x00\x00\x26\x00\x00\x00\x00\x00\x01c",
    );
    let expected = ConnectProperties { user_properties: 2, ..ConnectProperties::default() };
    assert_eq!(decode_connect(&bytes).unwrap().properties, expected);

    // Section 3.1.3.3: an empty Will Payload, and Message Expiry 0 in the Will.
    let bytes = packet(
        0x10,
        b"\x00\x04MQTT\x05\x2E\x00\x00\x00\x00\x01c\x0C\x18\x00\x00\x00\x07\x02\x00\x00\x00\x00\x01\x01\x00\x01w\x00\x00",
    );
    let will = decode_connect(&bytes).unwrap().will.unwrap();
    assert_eq!((will.topic, will.payload, will.qos, will.retain), ("w", &b""[..], QoS::AtLeastOnce, true));
    assert_eq!((will.delay, will.message_expiry, will.forwarded.len()), (7, Some(0), 2));
    assert_eq!(
        will.size,
        bytes.len() - 2 - 11 - 3,
        "what follows the fixed header, the variable one and the identifier"
    );
}

#[test]
fn legal_packets_that_are_easily_forgotten() {
    // Section 3.14.2.1: DISCONNECT of one byte, and of none.
    for (body, reason) in [(&b"\x04"[..], ReasonCode::DisconnectWithWill), (b"", ReasonCode::Success)] {
        let bytes = packet(0xE0, body);
        let Ok(ClientPacket::Disconnect(disconnect)) = decode(&bytes, V5) else { panic!() };
        assert_eq!((disconnect.reason, disconnect.session_expiry), (reason, None));
    }
    // Section 3.14.2.2.2: Session Expiry 0.
    let bytes = packet(0xE0, b"\x00\x05\x11\x00\x00\x00\x00");
    let Ok(ClientPacket::Disconnect(disconnect)) = decode(&bytes, V5) else { panic!() };
    assert_eq!(disconnect.session_expiry, Some(0));
    // Section 3.4.2.1: acknowledgements without properties, and without a reason.
    for (body, reason) in [
        (&b"\x00\x01"[..], ReasonCode::Success),
        (b"\x00\x01\x00", ReasonCode::Success),
        (b"\x00\x01\x97", ReasonCode::QuotaExceeded),
        (b"\x00\x01\x10\x00", ReasonCode::NoMatchingSubscribers),
    ] {
        let bytes = packet(0x50, body);
        let Ok(ClientPacket::PubRec(ack)) = decode(&bytes, V5) else { panic!("{body:?}") };
        assert_eq!((ack.packet_id, ack.reason), (PacketId::MIN, reason));
    }
    // Section 3.3.2.3.4: Topic Alias with an empty topic. Section 3.3.2.3.3: Message Expiry 0.
    let bytes = packet(0x30, b"\x00\x00\x08\x23\x00\x05\x02\x00\x00\x00\x00");
    let Ok(ClientPacket::Publish(publish)) = decode(&bytes, V5) else { panic!() };
    assert_eq!((publish.topic, publish.topic_alias.unwrap().get(), publish.payload), ("", 5, &b""[..]));
    assert_eq!((publish.message_expiry, publish.forwarded.is_empty()), (Some(0), true));
    // MQTT-1.5.4-3: U+FEFF is a character as any other. Section 4.7.3: so are a space and a lone separator.
    for topic in [&b"\x00\x03\xEF\xBB\xBF"[..], b"\x00\x01 ", b"\x00\x01/"] {
        assert!(decode(&packet(0x30, topic), V311).is_ok());
    }
    // Section 3.8.2.1.2: the largest Subscription Identifier.
    let bytes = packet(0x82, b"\x00\x01\x05\x0B\xFF\xFF\xFF\x7F\x00\x01a\x2E");
    let Ok(ClientPacket::Subscribe(subscribe)) = decode(&bytes, V5) else { panic!() };
    assert_eq!(subscribe.subscription_id, Some(268_435_455));
    let [filter] = &subscribe.filters[..] else { panic!() };
    assert_eq!((filter.qos, filter.no_local, filter.retain_as_published), (QoS::ExactlyOnce, true, true));
    assert_eq!(filter.retain_handling, RetainHandling::DoNotSend);
    // MQTT 3.1.1 knows no Shared Subscriptions; without a `/` it is none in MQTT 5 either.
    assert!(decode(&packet(0x82, b"\x00\x01\x00\x08$share/g\x00"), V311).is_ok());
    assert!(decode(&packet(0x82, b"\x00\x01\x00\x00\x06$share\x04"), V5).is_ok());
}

#[test]
fn only_exactly_one_whole_packet_is_decoded() {
    for bytes in
        [&b""[..], b"\xC0", b"\xC0\x01", b"\xC0\x00\x00", b"\xC0\x80\x00", b"\x30\xFF\xFF\xFF\xFF\x01"]
    {
        assert_eq!(decode(bytes, V5).unwrap_err().reason, Malformed, "{bytes:02X?}");
    }
}

/// Packet Identifier 1.
const ID: &[u8] = b"\x00\x01";

fn reason_of(first: u8, body: &[u8], version: Version) -> ReasonCode {
    let bytes = packet(first, body);
    assert!(
        packet_length(&bytes, u32::MAX).is_err_and(|error| decode(&bytes, version) == Err(error))
            || packet_length(&bytes, u32::MAX) == Ok(Some(bytes.len()))
    );
    match decode(&bytes, version) {
        Err(error) => error.reason,
        Ok(packet) => panic!("{bytes:02X?} is taken: {packet:?}"),
    }
}

fn packet(first: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first];
    write_variable(body.len(), &mut bytes);
    assert_eq!(bytes.len(), 1 + variable_len(body.len()));
    bytes.extend_from_slice(body);
    bytes
}

fn body(parts: &[&[u8]]) -> Vec<u8> {
    parts.concat()
}

fn with_length(properties: &[u8]) -> Vec<u8> {
    [&[properties.len() as u8], properties].concat()
}

fn publish(version: Version, topic: &[u8], packet_id: bool, properties: &[u8]) -> Vec<u8> {
    let properties = if version == V5 { with_length(properties) } else { Vec::new() };
    [topic, if packet_id { ID } else { b"" }, &properties].concat()
}

fn subscribe(version: Version, filters: &[&[u8]]) -> Vec<u8> {
    [ID, if version == V5 { b"\x00" } else { b"" }, &filters.concat()].concat()
}

#[test]
fn whether_there_is_a_will_is_known_from_the_first_bytes() {
    let connect = |flags: u8| packet(0x10, &[&b"\x00\x04MQTT\x05"[..], &[flags, 0, 0, 0, 0, 0]].concat());
    for (flags, has_will) in [(0b0000_0110, true), (0b0000_0010, false)] {
        let bytes = connect(flags);
        for length in 0..bytes.len() {
            let expected = (length > 9).then_some(has_will);
            assert_eq!(connect_has_will(&bytes[..length]), expected, "{length} bytes");
        }
    }
    assert_eq!(connect_has_will(&packet(0x10, b"\x00\x06MQIsdp\x03\x06")), Some(false));
    assert_eq!(connect_has_will(&packet(0x10, b"\xFF\xFF")), Some(false));
}
