//! What the server sends.
//!
//! Every packet is described once, to a [`Sink`] that counts or writes: so the length is exact, and known before.

use super::frame;
use super::packet::{ConnAck, ConnAckProperties, ServerAck, ServerPacket, ServerPublish, Version};
use super::primitives::{variable_len, write_variable};
use super::reason::ReasonCode;

impl ServerPacket<'_> {
    /// How many bytes `encode` appends, for comparison with the client's Maximum Packet Size `[MQTT-3.1.2-24]`.
    pub fn encoded_len(&self, version: Version) -> usize {
        match self.remaining_length(version) {
            Some(remaining) => 1 + variable_len(remaining) + remaining,
            None => 0,
        }
    }

    /// Appends the packet in the form of `version`, the shortest that clients understand.
    ///
    /// A Remaining Length of more than 268,435,455 cannot be written; nothing is appended then. Strings of more than
    /// 65,535 bytes are cut.
    pub fn encode(&self, version: Version, out: &mut Vec<u8>) {
        let Some(remaining) = self.remaining_length(version).filter(|&len| len <= MAXIMUM_REMAINING_LENGTH)
        else {
            return;
        };
        out.reserve(1 + variable_len(remaining) + remaining);
        out.push(self.first_byte());
        write_variable(remaining, out);
        self.body(version, out);
    }

    /// `None` if there is no such packet in this version.
    fn remaining_length(&self, version: Version) -> Option<usize> {
        if version == Version::V311 && matches!(self, Self::Disconnect { .. }) {
            return None;
        }
        Some(count(|sink| self.body(version, sink)))
    }

    fn first_byte(&self) -> u8 {
        let (kind, flags) = match self {
            Self::ConnAck(_) => (frame::CONNACK, 0),
            Self::Publish(publish) => {
                let flags = u8::from(publish.dup) << 3 | (publish.qos as u8) << 1 | u8::from(publish.retain);
                (frame::PUBLISH, flags)
            }
            Self::PubAck(_) => (frame::PUBACK, 0),
            Self::PubRec(_) => (frame::PUBREC, 0),
            Self::PubRel(_) => (frame::PUBREL, 0b0010),
            Self::PubComp(_) => (frame::PUBCOMP, 0),
            Self::SubAck { .. } => (frame::SUBACK, 0),
            Self::UnsubAck { .. } => (frame::UNSUBACK, 0),
            Self::PingResp => (frame::PINGRESP, 0),
            Self::Disconnect { .. } => (frame::DISCONNECT, 0),
        };
        kind << 4 | flags
    }

    fn body(&self, version: Version, sink: &mut impl Sink) {
        match *self {
            Self::ConnAck(ref connack) => connack.body(version, sink),
            Self::Publish(ref publish) => publish.body(version, sink),
            Self::PubAck(ref ack)
            | Self::PubRec(ref ack)
            | Self::PubRel(ref ack)
            | Self::PubComp(ref ack) => {
                ack.body(version, sink);
            }
            Self::SubAck { packet_id, reasons } => {
                sink.u16(packet_id.get());
                if version == Version::V5 {
                    sink.variable(0);
                }
                for reason in reasons {
                    let failed = version == Version::V311 && reason.is_error();
                    sink.u8(if failed { V311_SUBSCRIBE_FAILURE } else { reason.byte() });
                }
            }
            Self::UnsubAck { packet_id, reasons } => {
                sink.u16(packet_id.get());
                if version == Version::V5 {
                    sink.variable(0);
                    for reason in reasons {
                        sink.u8(reason.byte());
                    }
                }
            }
            Self::PingResp => {}
            Self::Disconnect { reason: ReasonCode::Success, reason_string: None } => {}
            Self::Disconnect { reason, reason_string } => {
                sink.u8(reason.byte());
                // The Property Length could be left out if it is 0, but clients are about that do not expect it.
                properties(&ReasonString(reason_string), sink);
            }
        }
    }
}

impl ConnAck<'_> {
    fn body(&self, version: Version, sink: &mut impl Sink) {
        // [MQTT-3.2.2-6]: Session Present is 0 with every refusal.
        sink.u8(u8::from(self.session_present && self.reason == ReasonCode::Success));
        match version {
            Version::V311 => sink.u8(self.reason.v3_connect_return_code()),
            Version::V5 => {
                sink.u8(self.reason.byte());
                properties(&self.properties, sink);
            }
        }
    }
}

impl Properties for ConnAckProperties<'_> {
    fn write(&self, sink: &mut impl Sink) {
        if let Some(seconds) = self.session_expiry {
            sink.u8(0x11);
            sink.u32(seconds);
        }
        if let Some(maximum) = self.receive_maximum {
            sink.u8(0x21);
            sink.u16(maximum.get());
        }
        if let Some(bytes) = self.maximum_packet_size {
            sink.u8(0x27);
            sink.u32(bytes);
        }
        if let Some(client_id) = self.assigned_client_id {
            sink.u8(0x12);
            sink.string(client_id);
        }
        if let Some(maximum) = self.topic_alias_maximum {
            sink.u8(0x22);
            sink.u16(maximum);
        }
        ReasonString(self.reason_string).write(sink);
        if let Some(available) = self.shared_subscription_available {
            sink.u8(0x2A);
            sink.u8(u8::from(available));
        }
        if let Some(seconds) = self.server_keep_alive {
            sink.u8(0x13);
            sink.u16(seconds);
        }
    }
}

impl ServerPublish<'_> {
    fn body(&self, version: Version, sink: &mut impl Sink) {
        sink.string(self.topic);
        if let Some(packet_id) = self.packet_id {
            sink.u16(packet_id.get());
        }
        if version == Version::V5 {
            properties(self, sink);
        }
        sink.bytes(self.payload);
    }
}

impl Properties for ServerPublish<'_> {
    fn write(&self, sink: &mut impl Sink) {
        if let Some(seconds) = self.message_expiry {
            sink.u8(0x02);
            sink.u32(seconds);
        }
        if let Some(alias) = self.topic_alias {
            sink.u8(0x23);
            sink.u16(alias.get());
        }
        for &id in self.subscription_ids {
            sink.u8(0x0B);
            sink.variable(id as usize);
        }
        sink.bytes(self.forwarded);
    }
}

impl ServerAck<'_> {
    fn body(&self, version: Version, sink: &mut impl Sink) {
        sink.u16(self.packet_id.get());
        if version == Version::V5 && (self.reason != ReasonCode::Success || self.reason_string.is_some()) {
            sink.u8(self.reason.byte());
            if self.reason_string.is_some() {
                properties(&ReasonString(self.reason_string), sink);
            }
        }
    }
}

struct ReasonString<'a>(Option<&'a str>);

impl Properties for ReasonString<'_> {
    fn write(&self, sink: &mut impl Sink) {
        if let Some(reason) = self.0 {
            sink.u8(0x1F);
            sink.string(reason);
        }
    }
}

/// Properties without their length.
trait Properties {
    fn write(&self, sink: &mut impl Sink);
}

/// Writes properties with their length before them.
fn properties(properties: &impl Properties, sink: &mut impl Sink) {
    sink.variable(count(|counter| properties.write(counter)));
    properties.write(sink);
}

/// Where the fields of a packet go.
trait Sink {
    fn bytes(&mut self, bytes: &[u8]);

    fn variable(&mut self, value: usize);

    fn u8(&mut self, value: u8) {
        self.bytes(&[value]);
    }

    fn u16(&mut self, value: u16) {
        self.bytes(&value.to_be_bytes());
    }

    fn u32(&mut self, value: u32) {
        self.bytes(&value.to_be_bytes());
    }

    fn string(&mut self, text: &str) {
        let text = &text[..text.floor_char_boundary(usize::from(u16::MAX))];
        self.u16(text.len() as u16);
        self.bytes(text.as_bytes());
    }
}

impl Sink for Vec<u8> {
    fn bytes(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }

    fn variable(&mut self, value: usize) {
        write_variable(value, self);
    }
}

struct Counter(usize);

impl Sink for Counter {
    fn bytes(&mut self, bytes: &[u8]) {
        self.0 += bytes.len();
    }

    fn variable(&mut self, value: usize) {
        self.0 += variable_len(value);
    }
}

fn count(write: impl FnOnce(&mut Counter)) -> usize {
    let mut counter = Counter(0);
    write(&mut counter);
    counter.0
}

const MAXIMUM_REMAINING_LENGTH: usize = 268_435_455;
const V311_SUBSCRIBE_FAILURE: u8 = 0x80;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use std::num::NonZeroU16;

    use super::*;
    use crate::codec::{PacketId, QoS};
    use Version::{V5, V311};

    #[test]
    fn acknowledgements_take_the_shortest_form_3_4_2_1() {
        let ack = |reason, reason_string| ServerAck { packet_id: PacketId::MIN, reason, reason_string };
        let denied = ServerPacket::PubAck(ack(ReasonCode::NotAuthorized, None));
        assert_bytes(&ServerPacket::PubAck(ack(ReasonCode::Success, None)), V5, b"\x40\x02\x00\x01");
        assert_bytes(&denied, V5, b"\x40\x03\x00\x01\x87");
        assert_bytes(&denied, V311, b"\x40\x02\x00\x01");
        let told = ServerPacket::PubRec(ack(ReasonCode::QuotaExceeded, Some("full")));
        assert_bytes(&told, V5, b"\x50\x0B\x00\x01\x97\x07\x1F\x00\x04full");
        assert_bytes(&ServerPacket::PubRel(ack(ReasonCode::Success, None)), V5, b"\x62\x02\x00\x01");
        let unknown = ServerPacket::PubComp(ack(ReasonCode::PacketIdentifierNotFound, None));
        assert_bytes(&unknown, V5, b"\x70\x03\x00\x01\x92");
    }

    #[test]
    fn subscribe_acknowledgements_of_3_1_1_know_one_error_3_9_3_2() {
        let reasons = &[ReasonCode::GrantedQos2, ReasonCode::NotAuthorized];
        let suback = ServerPacket::SubAck { packet_id: PacketId::MIN, reasons };
        assert_bytes(&suback, V311, b"\x90\x04\x00\x01\x02\x80");
        assert_bytes(&suback, V5, b"\x90\x05\x00\x01\x00\x02\x87");
        let unsuback = ServerPacket::UnsubAck { packet_id: PacketId::MIN, reasons };
        assert_bytes(&unsuback, V311, b"\xB0\x02\x00\x01");
        assert_bytes(&unsuback, V5, b"\xB0\x05\x00\x01\x00\x02\x87");
    }

    #[test]
    fn a_refusal_has_no_session_3_2_2_6() {
        let refused = ServerPacket::ConnAck(ConnAck {
            session_present: true,
            reason: ReasonCode::BadUserNameOrPassword,
            properties: ConnAckProperties::default(),
        });
        assert_bytes(&refused, V311, b"\x20\x02\x00\x04");
        assert_bytes(&refused, V5, b"\x20\x03\x00\x86\x00");
    }

    #[test]
    fn all_properties_of_connack() {
        let accepted = ServerPacket::ConnAck(ConnAck {
            session_present: true,
            reason: ReasonCode::Success,
            properties: ConnAckProperties {
                session_expiry: Some(1),
                receive_maximum: NonZeroU16::new(2),
                maximum_packet_size: Some(3),
                assigned_client_id: Some("c"),
                topic_alias_maximum: Some(4),
                reason_string: Some("r"),
                shared_subscription_available: Some(false),
                server_keep_alive: Some(5),
            },
        });
        assert_bytes(&accepted, V311, b"\x20\x02\x01\x00");
        let properties =
            b"\x11\0\0\0\x01\x21\0\x02\x27\0\0\0\x03\x12\0\x01c\x22\0\x04\x1F\0\x01r\x2A\0\x13\0\x05";
        assert_bytes(&accepted, V5, &[&[0x20, 32, 1, 0, 29], &properties[..]].concat());
    }

    #[test]
    fn disconnect_is_for_5_only_3_14() {
        let disconnect = |reason, reason_string| ServerPacket::Disconnect { reason, reason_string };
        assert_bytes(&disconnect(ReasonCode::ServerShuttingDown, None), V311, b"");
        assert_bytes(&disconnect(ReasonCode::ServerShuttingDown, None), V5, b"\xE0\x02\x8B\x00");
        assert_bytes(&disconnect(ReasonCode::Success, None), V5, b"\xE0\x00");
        assert_bytes(&disconnect(ReasonCode::Success, Some("r")), V5, b"\xE0\x06\x00\x04\x1F\x00\x01r");
        assert_bytes(&ServerPacket::PingResp, V311, b"\xD0\x00");
    }

    #[test]
    fn publish_leaves_properties_out_for_3_1_1() {
        let publish = ServerPacket::Publish(ServerPublish {
            dup: true,
            qos: QoS::AtLeastOnce,
            retain: true,
            topic: "a",
            packet_id: Some(PacketId::MIN),
            message_expiry: Some(7),
            topic_alias: NonZeroU16::new(2),
            subscription_ids: &[1, 128],
            forwarded: b"\x01\x01",
            payload: b"x",
        });
        assert_bytes(&publish, V311, b"\x3B\x06\x00\x01a\x00\x01x");
        assert_bytes(
            &publish,
            V5,
            b"\x3B\x16\x00\x01a\x00\x01\x0F\x02\0\0\0\x07\x23\0\x02\x0B\x01\x0B\x80\x01\x01\x01x",
        );
    }

    #[test]
    fn what_cannot_be_written_is_cut_or_left_out() {
        let reason = "é".repeat(40_000);
        let packet =
            ServerPacket::Disconnect { reason: ReasonCode::ServerBusy, reason_string: Some(&reason) };
        let mut out = Vec::new();
        packet.encode(V5, &mut out);
        assert_eq!(out.len(), packet.encoded_len(V5));
        assert_eq!(out.len(), 1 + 3 + 1 + 3 + 1 + 2 + 65_534);
    }

    fn assert_bytes(packet: &ServerPacket<'_>, version: Version, bytes: &[u8]) {
        let mut out = vec![0xAA];
        packet.encode(version, &mut out);
        assert_eq!(out[1..], *bytes, "{packet:?}");
        assert_eq!(packet.encoded_len(version), bytes.len(), "{packet:?}");
    }
}
