//! Whether what a client heard is what a server may say.

use bytes::BytesMut;
use symqtt_codec::{
    v3,
    v5::{Packet, ReasonCode},
};

/// Nobody may publish below it.
pub(super) const DENIED: &str = "no/";

/// What is known about a client.
#[derive(Clone, Copy)]
pub(super) struct Expected {
    /// It announced it in its CONNECT.
    pub(super) maximum_packet_size: Option<usize>,
    /// It read until the end.
    pub(super) to_the_end: bool,
}

/// Panics if a server may not say this: a CONNACK, and what follows it in the same version, whole packets of a server.
pub(super) fn check_heard(heard: &[u8], expected: Expected) {
    let mut rest = BytesMut::from(heard);
    let packets = match heard {
        [0x20, 2, ..] => {
            packets_of(&mut rest, expected, |bytes| v3::Packet::decode(bytes).unwrap().map(brief_3))
        }
        _ => packets_of(&mut rest, expected, |bytes| Packet::decode(bytes).unwrap().map(brief_5)),
    };
    assert!(rest.is_empty() || !expected.to_the_end, "it ends in the middle of a packet: {heard:02X?}");
    let first = packets.first();
    assert!(matches!(first, None | Some(Heard::Welcome | Heard::Turned)), "the first packet is {first:?}");
    for (at, packet) in packets.iter().enumerate() {
        let is_last = at + 1 == packets.len();
        let fits = match packet {
            Heard::Welcome => at == 0,
            Heard::Turned => at == 0 && is_last,
            Heard::Farewell => is_last,
            Heard::Message(topic) => !topic.starts_with(DENIED) && !topic.starts_with('$'),
            Heard::Other => true,
            Heard::Wrong => false,
        };
        assert!(fits, "{packet:?} as number {at} of {packets:?}");
    }
}

#[derive(Debug)]
enum Heard {
    /// CONNACK with Success.
    Welcome,
    /// CONNACK with a refusal.
    Turned,
    /// PUBLISH with its Topic Name, empty if it has a Topic Alias.
    Message(String),
    /// DISCONNECT.
    Farewell,
    /// An acknowledgement, or PINGRESP.
    Other,
    /// What only a client may send.
    Wrong,
}

fn packets_of(
    bytes: &mut BytesMut,
    expected: Expected,
    mut decode: impl FnMut(&mut BytesMut) -> Option<Heard>,
) -> Vec<Heard> {
    let mut packets = Vec::new();
    loop {
        let before = bytes.len();
        let Some(packet) = decode(bytes) else { return packets };
        let size = before - bytes.len();
        assert!(expected.maximum_packet_size.is_none_or(|most| size <= most), "{packet:?} has {size} bytes");
        packets.push(packet);
    }
}

fn brief_3(packet: v3::Packet) -> Heard {
    match packet {
        v3::Packet::ConnAck(ack) if ack.return_code as u8 == 0 => Heard::Welcome,
        v3::Packet::ConnAck(_) => Heard::Turned,
        v3::Packet::Publish(publish) => Heard::Message(publish.topic),
        v3::Packet::PubAck(_)
        | v3::Packet::PubRec(_)
        | v3::Packet::PubRel(_)
        | v3::Packet::PubComp(_)
        | v3::Packet::SubAck(_)
        | v3::Packet::UnsubAck(_)
        | v3::Packet::PingResp(_) => Heard::Other,
        _ => Heard::Wrong,
    }
}

fn brief_5(packet: Packet) -> Heard {
    match packet {
        Packet::ConnAck(ack) if ack.reason_code == ReasonCode::Success => Heard::Welcome,
        Packet::ConnAck(_) => Heard::Turned,
        Packet::Publish(publish) => Heard::Message(publish.topic),
        Packet::Disconnect(_) => Heard::Farewell,
        Packet::PubAck(_)
        | Packet::PubRec(_)
        | Packet::PubRel(_)
        | Packet::PubComp(_)
        | Packet::SubAck(_)
        | Packet::UnsubAck(_)
        | Packet::PingResp(_) => Heard::Other,
        _ => Heard::Wrong,
    }
}
