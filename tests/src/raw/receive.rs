//! Packets that a server sends, read strictly: whatever a server may not send fails the test.

use super::{Kind, Property, Version};

/// What the server sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Packet {
    /// CONNACK.
    ConnAck(ConnAck),
    /// PUBLISH.
    Publish(Message),
    /// PUBACK, PUBREC, PUBREL or PUBCOMP.
    Ack(Ack),
    /// SUBACK.
    SubAck(Codes),
    /// UNSUBACK.
    UnsubAck(Codes),
    /// PINGRESP.
    PingResp,
    /// DISCONNECT.
    Disconnect(u8, Vec<Property>),
    /// AUTH.
    Auth(u8, Vec<Property>),
}

/// CONNACK.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnAck {
    /// Session Present.
    pub session_present: bool,
    /// Return code or Reason Code.
    pub code: u8,
    /// Properties.
    pub properties: Vec<Property>,
}

/// PUBLISH.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// DUP.
    pub dup: bool,
    /// QoS.
    pub qos: u8,
    /// RETAIN.
    pub retain: bool,
    /// Topic Name; empty if only an alias came.
    pub topic: String,
    /// Packet Identifier; 0 with QoS 0.
    pub id: u16,
    /// Payload.
    pub payload: Vec<u8>,
    /// Properties.
    pub properties: Vec<Property>,
    /// Length of the whole packet on the wire.
    pub size: usize,
}

impl Message {
    /// The payload as text.
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.payload).unwrap()
    }

    /// Subscription Identifiers in ascending order.
    pub fn subscription_ids(&self) -> Vec<u32> {
        let mut ids: Vec<u32> = (self.properties.iter())
            .filter_map(|property| if let Property::SubscriptionId(id) = property { Some(*id) } else { None })
            .collect();
        ids.sort_unstable();
        ids
    }
}

/// PUBACK, PUBREC, PUBREL or PUBCOMP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ack {
    /// Which of them.
    pub kind: Kind,
    /// Packet Identifier.
    pub id: u16,
    /// Reason Code; 0 where none came.
    pub reason: u8,
    /// Properties.
    pub properties: Vec<Property>,
}

/// SUBACK or UNSUBACK.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Codes {
    /// Packet Identifier.
    pub id: u16,
    /// One per filter; none in a 3.1.1 UNSUBACK.
    pub codes: Vec<u8>,
    /// Properties.
    pub properties: Vec<Property>,
}

impl Packet {
    /// The first packet in `bytes` and its length, or `None` if it is not complete yet.
    pub(super) fn parse(version: Version, bytes: &[u8]) -> Option<(Self, usize)> {
        let (&first, rest) = bytes.split_first()?;
        let (length, length_bytes) = remaining_length(rest)?;
        let size = 1 + length_bytes + length;
        let body = bytes.get(1 + length_bytes..size)?;
        let mut from = Reader { version, packet_type: first >> 4, bytes: body };
        let mut packet = from.packet(first & 0x0F);
        assert!(from.bytes.is_empty(), "the server sent trailing bytes in {packet:?}: {:?}", from.bytes);
        if let Packet::Publish(message) = &mut packet {
            message.size = size;
        }
        Some((packet, size))
    }
}

fn remaining_length(bytes: &[u8]) -> Option<(usize, usize)> {
    let mut value = 0;
    for (index, byte) in bytes.iter().take(4).enumerate() {
        value |= usize::from(byte & 0x7F) << (7 * index);
        if byte & 0x80 == 0 {
            assert!(index == 0 || *byte != 0, "the server sent a Remaining Length that is not minimal");
            return Some((value, index + 1));
        }
    }
    assert!(bytes.len() < 4, "the server sent a Remaining Length of more than four bytes");
    None
}

/// Takes one packet apart, with a panic for everything that the standards do not allow.
pub(super) struct Reader<'a> {
    version: Version,
    packet_type: u8,
    bytes: &'a [u8],
}

impl Reader<'_> {
    fn packet(&mut self, flags: u8) -> Packet {
        if self.packet_type != 3 {
            let expected = if self.packet_type == 6 { 2 } else { 0 };
            assert_eq!(flags, expected, "flags of a packet of type {}", self.packet_type);
        }
        match self.packet_type {
            2 => {
                let flags = self.byte();
                assert!(flags < 2, "CONNACK's acknowledge flags are {flags:#04x}");
                let ack =
                    ConnAck { session_present: flags == 1, code: self.byte(), properties: self.properties() };
                assert!(ack.code == 0 || !ack.session_present, "Session Present with a refusal");
                Packet::ConnAck(ack)
            }
            3 => Packet::Publish(self.message(flags)),
            4 => self.ack(Kind::PubAck),
            5 => self.ack(Kind::PubRec),
            6 => self.ack(Kind::PubRel),
            7 => self.ack(Kind::PubComp),
            9 => {
                let codes = self.codes();
                assert!(!codes.codes.is_empty(), "SUBACK without a code");
                if self.version == Version::V311 {
                    assert!(codes.codes.iter().all(|code| matches!(code, 0 | 1 | 2 | 0x80)), "{codes:?}");
                }
                Packet::SubAck(codes)
            }
            11 => {
                let codes = self.codes();
                assert_eq!(codes.codes.is_empty(), self.version == Version::V311, "UNSUBACK's reasons");
                Packet::UnsubAck(codes)
            }
            13 => Packet::PingResp,
            14 if self.version == Version::V5 => {
                let (reason, properties) = self.reason_and_properties();
                Packet::Disconnect(reason, properties)
            }
            15 if self.version == Version::V5 => {
                let (reason, properties) = self.reason_and_properties();
                Packet::Auth(reason, properties)
            }
            other => panic!("a server may not send packets of type {other}"),
        }
    }

    fn message(&mut self, flags: u8) -> Message {
        let (dup, qos, retain) = (flags & 8 != 0, flags >> 1 & 3, flags & 1 != 0);
        assert!(qos < 3, "PUBLISH with QoS 3");
        assert!(qos > 0 || !dup, "DUP with QoS 0");
        let topic = self.string();
        assert!(!topic.contains(['+', '#']), "PUBLISH with a wildcard in its topic {topic}");
        let id = if qos > 0 { self.packet_id() } else { 0 };
        let properties = self.properties();
        let aliased = properties.iter().any(|property| matches!(property, Property::TopicAlias(_)));
        assert!(!topic.is_empty() || aliased, "PUBLISH without topic and alias");
        let payload = std::mem::take(&mut self.bytes).to_vec();
        Message { dup, qos, retain, topic, id, payload, properties, size: 0 }
    }

    fn ack(&mut self, kind: Kind) -> Packet {
        let id = self.packet_id();
        let (reason, properties) = self.reason_and_properties();
        let allowed: &[u8] = match kind {
            Kind::PubAck | Kind::PubRec => &[0, 0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99],
            Kind::PubRel | Kind::PubComp => &[0, 0x92],
        };
        assert!(allowed.contains(&reason), "{kind:?} may not have the reason {reason:#04x}");
        Packet::Ack(Ack { kind, id, reason, properties })
    }

    fn codes(&mut self) -> Codes {
        let (id, properties) = (self.packet_id(), self.properties());
        Codes { id, properties, codes: std::mem::take(&mut self.bytes).to_vec() }
    }

    fn reason_and_properties(&mut self) -> (u8, Vec<Property>) {
        if self.version == Version::V311 || self.bytes.is_empty() {
            return (0, Vec::new());
        }
        let reason = self.byte();
        (reason, if self.bytes.is_empty() { Vec::new() } else { self.properties() })
    }

    fn properties(&mut self) -> Vec<Property> {
        if self.version == Version::V311 {
            return Vec::new();
        }
        let length = self.variable() as usize;
        let mut from = Reader { bytes: self.take(length), ..*self };
        let mut properties: Vec<Property> = Vec::new();
        while !from.bytes.is_empty() {
            let property = Property::decode(&mut from);
            assert!(
                property.allowed_on(self.packet_type),
                "{property:?} on packet type {}",
                self.packet_type
            );
            let same = |other: &Property| std::mem::discriminant(other) == std::mem::discriminant(&property);
            assert!(property.may_repeat() || !properties.iter().any(same), "{property:?} twice");
            properties.push(property);
        }
        properties
    }

    fn packet_id(&mut self) -> u16 {
        let id = self.two();
        assert_ne!(id, 0, "Packet Identifier 0");
        id
    }

    pub(super) fn variable(&mut self) -> u32 {
        let (value, length) = remaining_length(self.bytes).expect("a complete Variable Byte Integer");
        self.take(length);
        value as u32
    }

    pub(super) fn byte(&mut self) -> u8 {
        self.take(1)[0]
    }

    pub(super) fn two(&mut self) -> u16 {
        u16::from_be_bytes(self.take(2).try_into().unwrap())
    }

    pub(super) fn four(&mut self) -> u32 {
        u32::from_be_bytes(self.take(4).try_into().unwrap())
    }

    pub(super) fn string(&mut self) -> String {
        let text = String::from_utf8(self.binary()).expect("valid UTF-8 from the server");
        assert!(!text.contains('\0'), "U+0000 from the server");
        text
    }

    pub(super) fn binary(&mut self) -> Vec<u8> {
        let length = usize::from(self.two());
        self.take(length).to_vec()
    }
}

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> &'a [u8] {
        let (taken, rest) = self.bytes.split_at_checked(length).expect("the server's packet is long enough");
        self.bytes = rest;
        taken
    }
}
