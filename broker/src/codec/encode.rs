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
