//! This codec against two others, packet by packet: whoever takes a packet reads the same from it, and where one
//! refuses what another takes, the standard decides, by the statements listed here.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod content;
#[path = "../mutate/mod.rs"]
mod mutate;

use std::collections::BTreeSet;
use std::num::NonZeroU16;

use content::{UNSUPPORTED_PROTOCOL, ours, rmqtt, symqtt};
use ior_broker::codec::{
    ConnAck, ConnAckProperties, PacketId, QoS, ReasonCode, ServerAck, ServerPacket, ServerPublish, Version,
};
use mutate::{OF_PACKETS, Random, seeds, with_right_length};

const RMQTT: &str = "rmqtt-codec";
const SYMQTT: &str = "symqtt-codec";

/// What this codec refuses and another takes: why this one refuses it, who takes it, what decides.
const REFUSED_HERE: &[(&str, &[&str], &str)] = &[
    (UNSUPPORTED_PROTOCOL, &[RMQTT], "MQTT-3.1.2-1, -2: MQIsdp level 3 is MQTT 3.1"),
    ("Will QoS or Will Retain without a Will", &[RMQTT, SYMQTT], "MQTT-3.1.2-11, -13"),
    ("a Password without a User Name: MQTT 3.1.1 does not allow that", &[RMQTT], "MQTT-3.1.2-22 of 3.1.1"),
    ("the Will Topic is empty", &[RMQTT, SYMQTT], "MQTT-4.7.3-1"),
    (
        "a Topic Name contains a wildcard: publish to a topic without + and #",
        &[RMQTT, SYMQTT],
        "MQTT-3.3.2-2, MQTT-4.7.1-1",
    ),
    (
        "the Topic Name is empty and there is no Topic Alias",
        &[RMQTT, SYMQTT],
        "MQTT-4.7.3-1, section 3.3.2.1",
    ),
    ("a string contains U+0000", &[RMQTT], "MQTT-1.5.4-2"),
    ("a length is not encoded in the fewest bytes", &[RMQTT, SYMQTT], "MQTT-1.5.5-1"),
    ("bytes follow the last field", &[RMQTT], "sections 3.1.3, 3.12, 3.14 (3.1.1): nothing follows"),
    ("only a server may send this packet", &[RMQTT, SYMQTT], "table 2-1; they decode for both sides"),
    ("PUBLISH with DUP and QoS 0", &[RMQTT, SYMQTT], "MQTT-3.3.1-2"),
    ("a client sent a Subscription Identifier in PUBLISH", &[RMQTT, SYMQTT], "MQTT-3.3.4-6"),
    ("the Topic Alias is 0", &[SYMQTT], "MQTT-3.3.2-8"),
    ("the Response Topic is empty or contains a wildcard", &[RMQTT, SYMQTT], "MQTT-3.3.2-14, MQTT-4.7.3-1"),
    (
        "a property that is 0 or 1 has another value",
        &[SYMQTT],
        "sections 3.1.2.11.6, 3.1.2.11.7, 3.1.3.2.3, 3.3.2.3.2",
    ),
    ("the Receive Maximum is 0", &[SYMQTT], "section 3.1.2.11.3"),
    ("the Maximum Packet Size is 0", &[SYMQTT], "section 3.1.2.11.4"),
    ("the Packet Identifier is 0", &[SYMQTT], "MQTT-2.2.1-3"),
    ("the Subscription Identifier is 0", &[SYMQTT], "section 3.8.2.1.2"),
    (
        "a Topic Filter is empty, or + or # is not a whole level, or a level follows #",
        &[RMQTT, SYMQTT],
        "MQTT-4.7.1-1, -2, MQTT-4.7.3-1",
    ),
    ("a Shared Subscription is not of the form $share/name/filter", &[RMQTT, SYMQTT], "MQTT-4.8.2-1, -2"),
    ("No Local on a Shared Subscription", &[RMQTT, SYMQTT], "MQTT-3.8.3-4"),
    ("reserved bits are set in the Subscription Options", &[RMQTT], "MQTT-3-8.3-4 of 3.1.1"),
    (
        "a Reason Code that a client may not give in this packet",
        &[RMQTT, SYMQTT],
        "MQTT-3.4.2-1, MQTT-3.5.2-1, MQTT-3.6.2-1, MQTT-3.7.2-1, MQTT-3.14.2-1, MQTT-3.15.2-1",
    ),
    ("a client sent a Server Reference", &[RMQTT, SYMQTT], "section 3.14.2.2.5: the server sends it"),
    (
        "the packet ends in the middle of a field",
        &[RMQTT, SYMQTT],
        "section 3.15.2.1: an AUTH without properties has no reason either",
    ),
    ("AUTH without an Authentication Method", &[RMQTT, SYMQTT], "section 3.15.2.2.2"),
    ("Authentication Data without an Authentication Method", &[RMQTT, SYMQTT], "section 3.1.2.11.10"),
];

/// What this codec takes and another refuses: who refuses it, its error, what decides.
const REFUSED_ELSEWHERE: &[(&str, &str, &str)] = &[
    (
        RMQTT,
        "V311 CONNECT InvalidClientId",
        "MQTT-3.1.3-8 of 3.1.1: the server answers with return code 0x02",
    ),
    (RMQTT, "V5 CONNECT InvalidClientId", "MQTT-3.1.3-6: legal, with Clean Start 0 too"),
    (RMQTT, "V5 CONNECT MalformedPacket", "section 3.1.3.2.4: Message Expiry Interval 0 of a Will is legal"),
    (RMQTT, "V5 PUBLISH MalformedPacket", "section 3.3.2.3.3: Message Expiry Interval 0 is legal"),
];

#[test]
fn client_packets_are_read_as_two_other_codecs_read_them() {
    let seeds = seeds("decode");
    let mut random = Random::new(5);
    let mut seen = BTreeSet::new();
    for round in 0..150_000 {
        let bytes = match seeds.get(round) {
            Some(seed) => seed.clone(),
            None => with_right_length(&random.mutated(&seeds, OF_PACKETS)),
        };
        for version in [Version::V311, Version::V5] {
            let ours = ours(&bytes, version);
            for (codec, theirs) in [(RMQTT, rmqtt(&bytes, version)), (SYMQTT, symqtt(&bytes, version))] {
                match (&ours, theirs) {
                    (Ok(ours), Ok(theirs)) => assert_eq!(*ours, theirs, "{codec} {version:?} {bytes:02X?}"),
                    (Err(_), Err(_)) => {}
                    (Err(what), Ok(_)) => {
                        let known = REFUSED_HERE.iter().any(|row| row.0 == what && row.1.contains(&codec));
                        assert!(
                            known,
                            "{codec} takes what is refused here: {what}: {version:?} {bytes:02X?}"
                        );
                        seen.insert(what.clone());
                    }
                    (Ok(ours), Err(what)) => {
                        let what = format!("{version:?} {} {what}", ours.split(' ').next().unwrap());
                        let known = REFUSED_ELSEWHERE.iter().any(|row| (row.0, row.1) == (codec, &what));
                        assert!(known, "{codec} refuses what is taken here: {what}: {bytes:02X?}");
                        seen.insert(what);
                    }
                }
            }
        }
    }
    let listed = REFUSED_HERE.iter().map(|row| row.0).chain(REFUSED_ELSEWHERE.iter().map(|row| row.1));
    let unseen: Vec<_> = listed.filter(|what| !seen.contains(*what)).collect();
    assert!(unseen.is_empty(), "listed but not seen, strike them out or add a seed: {unseen:#?}");
}

#[test]
fn server_packets_are_read_by_two_other_codecs() {
    let publish = ServerPacket::Publish(ServerPublish {
        dup: true,
        qos: QoS::ExactlyOnce,
        retain: true,
        topic: "a/é",
        packet_id: PacketId::new(7),
        message_expiry: Some(9),
        topic_alias: NonZeroU16::new(3),
        subscription_ids: &[1, 268_435_455],
        forwarded: b"\x01\x01\x03\x00\x01t\x26\x00\x01k\x00\x01v",
        payload: b"payload",
    });
    let connack = ServerPacket::ConnAck(ConnAck {
        session_present: true,
        reason: ReasonCode::Success,
        properties: ConnAckProperties {
            session_expiry: Some(11),
            receive_maximum: NonZeroU16::new(12),
            maximum_packet_size: Some(13),
            assigned_client_id: Some("assigned"),
            topic_alias_maximum: Some(14),
            reason_string: Some("why"),
            shared_subscription_available: Some(false),
            server_keep_alive: Some(15),
        },
    });
    let refusal = ServerPacket::ConnAck(ConnAck {
        session_present: false,
        reason: ReasonCode::NotAuthorized,
        properties: ConnAckProperties::default(),
    });
    let ack = |reason, reason_string| ServerAck { packet_id: PacketId::MIN, reason, reason_string };
    let granted = &[ReasonCode::GrantedQos2, ReasonCode::NotAuthorized];
    let suback = ServerPacket::SubAck { packet_id: PacketId::MIN, reasons: granted };
    let removed = &[ReasonCode::Success, ReasonCode::NoSubscriptionExisted];
    let unsuback = ServerPacket::UnsubAck { packet_id: PacketId::MIN, reasons: removed };
    let disconnect = |reason, reason_string| ServerPacket::Disconnect { reason, reason_string };
    let forwarded = "Forwarded { payload_format: 1, content_type: Some(\"t\"), response_topic: None, \
                     correlation_data: None, user: [(\"k\", \"v\")] }";
    let published = format!("PUBLISH ((true, 2, true), \"a/é\", Some(7), (Some(9), Some(3)), {forwarded}");
    let sent = [
        (publish, vec!["PUBLISH ((true, 2, true), \"a/é\", Some(7), (None, None)"], vec![published.as_str()]),
        (
            connack,
            vec!["session_present: true", "ccepted"],
            vec!["Some(11)", "12", "13", "assigned", "14", "why", "15"],
        ),
        (
            refusal,
            vec!["session_present: false", "NotAuthorized"],
            vec!["session_present: false", "NotAuthorized"],
        ),
        (ServerPacket::PubAck(ack(ReasonCode::Success, None)), vec!["PUBACK (1, 0)"], vec!["PUBACK (1, 0)"]),
        (
            ServerPacket::PubRec(ack(ReasonCode::QuotaExceeded, Some("full"))),
            vec!["PUBREC (1, 0)"],
            vec!["PUBREC (1, 151)"],
        ),
        (ServerPacket::PubRel(ack(ReasonCode::Success, None)), vec!["PUBREL (1, 0)"], vec!["PUBREL (1, 0)"]),
        (
            ServerPacket::PubComp(ack(ReasonCode::PacketIdentifierNotFound, None)),
            vec!["PUBCOMP (1, 0)"],
            vec!["PUBCOMP (1, 146)"],
        ),
        (suback, vec!["Success(ExactlyOnce), Failure"], vec!["2, NotAuthorized"]),
        (unsuback, vec!["1"], vec!["Success, NoSubscriptionExisted"]),
        (ServerPacket::PingResp, vec!["PingResp"], vec!["PingResp"]),
        (disconnect(ReasonCode::SessionTakenOver, Some("elsewhere")), vec![], vec!["DISCONNECT (142, None)"]),
        (disconnect(ReasonCode::Success, None), vec![], vec!["DISCONNECT (0, None)"]),
    ];
    for (packet, in_v311, in_v5) in sent {
        for (version, parts) in [(Version::V311, in_v311), (Version::V5, in_v5)] {
            let mut bytes = Vec::new();
            packet.encode(version, &mut bytes);
            assert_eq!(bytes.len(), packet.encoded_len(version));
            if bytes.is_empty() {
                continue;
            }
            for (codec, content) in [(RMQTT, rmqtt(&bytes, version)), (SYMQTT, symqtt(&bytes, version))] {
                let content = content.unwrap_or_else(|error| panic!("{codec} refuses {packet:?}: {error}"));
                for part in &parts {
                    assert!(content.contains(part), "{codec} reads {packet:?} without {part}: {content}");
                }
            }
        }
    }
}
