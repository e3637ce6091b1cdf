//! Properties of MQTT 5 (section 2.2.2).

use super::{receive::Reader, send::string};

/// A property, named as in the standard's table 2-4.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "the standard's names say all")]
pub enum Property {
    PayloadFormat(u8),
    MessageExpiry(u32),
    ContentType(String),
    ResponseTopic(String),
    CorrelationData(Vec<u8>),
    SubscriptionId(u32),
    SessionExpiry(u32),
    AssignedClientId(String),
    ServerKeepAlive(u16),
    AuthenticationMethod(String),
    AuthenticationData(Vec<u8>),
    RequestProblemInformation(u8),
    WillDelay(u32),
    RequestResponseInformation(u8),
    ResponseInformation(String),
    ServerReference(String),
    ReasonString(String),
    ReceiveMaximum(u16),
    TopicAliasMaximum(u16),
    TopicAlias(u16),
    MaximumQos(u8),
    RetainAvailable(u8),
    User(String, String),
    MaximumPacketSize(u32),
    WildcardAvailable(u8),
    SubscriptionIdAvailable(u8),
    SharedAvailable(u8),
    /// Any bytes, to send what is wrong.
    Raw(Vec<u8>),
}

use Property::*;

impl Property {
    /// A user property.
    pub fn user(name: &str, value: &str) -> Self {
        User(name.into(), value.into())
    }

    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        match self {
            PayloadFormat(v) => out.extend([0x01, *v]),
            MessageExpiry(v) => four(out, 0x02, *v),
            ContentType(v) => text(out, 0x03, v),
            ResponseTopic(v) => text(out, 0x08, v),
            CorrelationData(v) => binary(out, 0x09, v),
            SubscriptionId(v) => {
                out.push(0x0B);
                variable(out, *v);
            }
            SessionExpiry(v) => four(out, 0x11, *v),
            AssignedClientId(v) => text(out, 0x12, v),
            ServerKeepAlive(v) => two(out, 0x13, *v),
            AuthenticationMethod(v) => text(out, 0x15, v),
            AuthenticationData(v) => binary(out, 0x16, v),
            RequestProblemInformation(v) => out.extend([0x17, *v]),
            WillDelay(v) => four(out, 0x18, *v),
            RequestResponseInformation(v) => out.extend([0x19, *v]),
            ResponseInformation(v) => text(out, 0x1A, v),
            ServerReference(v) => text(out, 0x1C, v),
            ReasonString(v) => text(out, 0x1F, v),
            ReceiveMaximum(v) => two(out, 0x21, *v),
            TopicAliasMaximum(v) => two(out, 0x22, *v),
            TopicAlias(v) => two(out, 0x23, *v),
            MaximumQos(v) => out.extend([0x24, *v]),
            RetainAvailable(v) => out.extend([0x25, *v]),
            User(name, value) => {
                out.push(0x26);
                out.extend(string(name));
                out.extend(string(value));
            }
            MaximumPacketSize(v) => four(out, 0x27, *v),
            WildcardAvailable(v) => out.extend([0x28, *v]),
            SubscriptionIdAvailable(v) => out.extend([0x29, *v]),
            SharedAvailable(v) => out.extend([0x2A, *v]),
            Raw(bytes) => out.extend(bytes),
        }
    }

    pub(super) fn decode(from: &mut Reader<'_>) -> Self {
        match from.variable() {
            0x01 => PayloadFormat(from.byte()),
            0x02 => MessageExpiry(from.four()),
            0x03 => ContentType(from.string()),
            0x08 => ResponseTopic(from.string()),
            0x09 => CorrelationData(from.binary()),
            0x0B => SubscriptionId(from.variable()),
            0x11 => SessionExpiry(from.four()),
            0x12 => AssignedClientId(from.string()),
            0x13 => ServerKeepAlive(from.two()),
            0x15 => AuthenticationMethod(from.string()),
            0x16 => AuthenticationData(from.binary()),
            0x17 => RequestProblemInformation(from.byte()),
            0x18 => WillDelay(from.four()),
            0x19 => RequestResponseInformation(from.byte()),
            0x1A => ResponseInformation(from.string()),
            0x1C => ServerReference(from.string()),
            0x1F => ReasonString(from.string()),
            0x21 => ReceiveMaximum(from.two()),
            0x22 => TopicAliasMaximum(from.two()),
            0x23 => TopicAlias(from.two()),
            0x24 => MaximumQos(from.byte()),
            0x25 => RetainAvailable(from.byte()),
            0x26 => User(from.string(), from.string()),
            0x27 => MaximumPacketSize(from.four()),
            0x28 => WildcardAvailable(from.byte()),
            0x29 => SubscriptionIdAvailable(from.byte()),
            0x2A => SharedAvailable(from.byte()),
            other => panic!("the server sent a property that does not exist: {other:#04x}"),
        }
    }

    /// Whether a server may put it on packets of this type (the high half of the first byte; table 2-4).
    pub(super) fn allowed_on(&self, packet_type: u8) -> bool {
        const CONNACK: u8 = 2;
        const PUBLISH: u8 = 3;
        match self {
            PayloadFormat(_) | MessageExpiry(_) | ContentType(_) | ResponseTopic(_) | CorrelationData(_) => {
                packet_type == PUBLISH
            }
            SubscriptionId(_) | TopicAlias(_) => packet_type == PUBLISH,
            SessionExpiry(_) | AssignedClientId(_) | ServerKeepAlive(_) | ResponseInformation(_) => {
                packet_type == CONNACK
            }
            ReceiveMaximum(_) | TopicAliasMaximum(_) | MaximumQos(_) | RetainAvailable(_) => {
                packet_type == CONNACK
            }
            MaximumPacketSize(_) | WildcardAvailable(_) | SubscriptionIdAvailable(_) | SharedAvailable(_) => {
                packet_type == CONNACK
            }
            AuthenticationMethod(_) | AuthenticationData(_) => packet_type == CONNACK || packet_type == 15,
            ServerReference(_) => packet_type == CONNACK || packet_type == 14,
            ReasonString(_) => packet_type != PUBLISH,
            User(..) => true,
            RequestProblemInformation(_) | WillDelay(_) | RequestResponseInformation(_) | Raw(_) => false,
        }
    }

    pub(super) fn may_repeat(&self) -> bool {
        matches!(self, User(..) | SubscriptionId(_))
    }
}

/// Appends a Variable Byte Integer (section 1.5.5).
pub(super) fn variable(out: &mut Vec<u8>, mut value: u32) {
    loop {
        let byte = (value % 128) as u8;
        value /= 128;
        out.push(if value > 0 { byte | 0x80 } else { byte });
        if value == 0 {
            break;
        }
    }
}

/// Appends properties with their length.
pub(super) fn encode_all(properties: &[Property], out: &mut Vec<u8>) {
    let mut bytes = Vec::new();
    for property in properties {
        property.encode(&mut bytes);
    }
    variable(out, bytes.len() as u32);
    out.extend(bytes);
}

fn two(out: &mut Vec<u8>, id: u8, value: u16) {
    out.push(id);
    out.extend(value.to_be_bytes());
}

fn four(out: &mut Vec<u8>, id: u8, value: u32) {
    out.push(id);
    out.extend(value.to_be_bytes());
}

fn text(out: &mut Vec<u8>, id: u8, value: &str) {
    out.push(id);
    out.extend(string(value));
}

fn binary(out: &mut Vec<u8>, id: u8, value: &[u8]) {
    out.push(id);
    out.extend((value.len() as u16).to_be_bytes());
    out.extend(value);
}
