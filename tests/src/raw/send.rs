//! Packets that a client sends. Nothing is checked, so that a test can send what is wrong.

use super::{
    Property, Version,
    property::{encode_all, variable},
};

/// What can be sent.
pub trait Encode {
    /// The bytes of the whole packet.
    fn encode(&self, version: Version) -> Vec<u8>;
}

/// Bytes are sent as they are.
impl Encode for Vec<u8> {
    fn encode(&self, _: Version) -> Vec<u8> {
        self.clone()
    }
}

impl<T: Encode> Encode for &T {
    fn encode(&self, version: Version) -> Vec<u8> {
        (*self).encode(version)
    }
}

/// A packet from its first byte and all that follows the Remaining Length.
pub fn frame(first: u8, rest: impl AsRef<[u8]>) -> Vec<u8> {
    let rest = rest.as_ref();
    let mut out = vec![first];
    variable(&mut out, rest.len() as u32);
    out.extend(rest);
    out
}

/// A UTF-8 Encoded String or Binary Data: two bytes of length, then the bytes.
pub fn string(text: impl AsRef<[u8]>) -> Vec<u8> {
    let text = text.as_ref();
    let mut out = (text.len() as u16).to_be_bytes().to_vec();
    out.extend(text);
    out
}

/// CONNECT.
#[derive(Debug, Clone)]
pub struct Connect {
    client_id: Vec<u8>,
    clean: bool,
    keep_alive: u16,
    will: Option<Will>,
    user_name: Option<Vec<u8>>,
    password: Option<Vec<u8>>,
    protocol: (String, Option<u8>),
    properties: Vec<Property>,
}

/// The Will of a CONNECT.
#[derive(Debug, Clone)]
pub struct Will {
    topic: Vec<u8>,
    payload: Vec<u8>,
    qos: u8,
    retain: bool,
    properties: Vec<Property>,
}

impl Connect {
    /// Clean, without keep alive, will and login.
    pub fn new(client_id: &(impl AsRef<[u8]> + ?Sized)) -> Self {
        Self {
            client_id: client_id.as_ref().to_vec(),
            clean: true,
            keep_alive: 0,
            will: None,
            user_name: None,
            password: None,
            protocol: ("MQTT".into(), None),
            properties: Vec::new(),
        }
    }

    /// Clean Session or Clean Start.
    pub fn clean(mut self, clean: bool) -> Self {
        self.clean = clean;
        self
    }

    /// A session that outlives the connection: not clean, and with MQTT 5 an expiry far away.
    pub fn persistent(self, version: Version) -> Self {
        match version {
            Version::V311 => self.clean(false),
            Version::V5 => self.clean(false).property(Property::SessionExpiry(3600)),
        }
    }

    /// Keep Alive in seconds.
    pub fn keep_alive(mut self, seconds: u16) -> Self {
        self.keep_alive = seconds;
        self
    }

    /// A Will.
    pub fn will(mut self, will: Will) -> Self {
        self.will = Some(will);
        self
    }

    /// User Name.
    pub fn user_name(mut self, name: &(impl AsRef<[u8]> + ?Sized)) -> Self {
        self.user_name = Some(name.as_ref().to_vec());
        self
    }

    /// Password.
    pub fn password(mut self, password: impl AsRef<[u8]>) -> Self {
        self.password = Some(password.as_ref().to_vec());
        self
    }

    /// Another protocol name and level.
    pub fn protocol(mut self, name: &str, level: u8) -> Self {
        self.protocol = (name.into(), Some(level));
        self
    }

    /// One more property.
    pub fn property(mut self, property: Property) -> Self {
        self.properties.push(property);
        self
    }
}

impl Encode for Connect {
    fn encode(&self, version: Version) -> Vec<u8> {
        let mut flags = u8::from(self.clean) << 1;
        if let Some(will) = &self.will {
            flags |= 0x04 | will.qos << 3 | u8::from(will.retain) << 5;
        }
        flags |= u8::from(self.password.is_some()) << 6 | u8::from(self.user_name.is_some()) << 7;
        let mut out = string(&self.protocol.0);
        out.push(self.protocol.1.unwrap_or(version.level()));
        out.push(flags);
        out.extend(self.keep_alive.to_be_bytes());
        if version == Version::V5 {
            encode_all(&self.properties, &mut out);
        }
        out.extend(string(&self.client_id));
        if let Some(will) = &self.will {
            if version == Version::V5 {
                encode_all(&will.properties, &mut out);
            }
            out.extend(string(&will.topic));
            out.extend(string(&will.payload));
        }
        if let Some(name) = &self.user_name {
            out.extend(string(name));
        }
        if let Some(password) = &self.password {
            out.extend(string(password));
        }
        frame(0x10, out)
    }
}

impl Will {
    /// QoS 0, not retained.
    pub fn new(topic: &(impl AsRef<[u8]> + ?Sized), payload: impl AsRef<[u8]>) -> Self {
        Self {
            topic: topic.as_ref().to_vec(),
            payload: payload.as_ref().to_vec(),
            qos: 0,
            retain: false,
            properties: Vec::new(),
        }
    }

    /// Will QoS.
    pub fn qos(mut self, qos: u8) -> Self {
        self.qos = qos;
        self
    }

    /// Will Retain.
    pub fn retain(mut self) -> Self {
        self.retain = true;
        self
    }

    /// One more property.
    pub fn property(mut self, property: Property) -> Self {
        self.properties.push(property);
        self
    }
}

/// PUBLISH.
#[derive(Debug, Clone)]
pub struct Publish {
    topic: Vec<u8>,
    payload: Vec<u8>,
    qos: u8,
    id: Option<u16>,
    dup: bool,
    retain: bool,
    properties: Vec<Property>,
}

impl Publish {
    /// QoS 0.
    pub fn new(topic: &(impl AsRef<[u8]> + ?Sized), payload: impl AsRef<[u8]>) -> Self {
        Self {
            topic: topic.as_ref().to_vec(),
            payload: payload.as_ref().to_vec(),
            qos: 0,
            id: None,
            dup: false,
            retain: false,
            properties: Vec::new(),
        }
    }

    /// QoS 1 or 2 (or 3, which does not exist) with this Packet Identifier.
    pub fn qos(mut self, qos: u8, id: u16) -> Self {
        self.qos = qos;
        self.id = Some(id);
        self
    }

    /// With DUP.
    pub fn dup(mut self) -> Self {
        self.dup = true;
        self
    }

    /// With RETAIN.
    pub fn retain(mut self) -> Self {
        self.retain = true;
        self
    }

    /// One more property.
    pub fn property(mut self, property: Property) -> Self {
        self.properties.push(property);
        self
    }
}

impl Encode for Publish {
    fn encode(&self, version: Version) -> Vec<u8> {
        let mut out = string(&self.topic);
        if let Some(id) = self.id {
            out.extend(id.to_be_bytes());
        }
        if version == Version::V5 {
            encode_all(&self.properties, &mut out);
        }
        out.extend(&self.payload);
        frame(0x30 | u8::from(self.dup) << 3 | self.qos << 1 | u8::from(self.retain), out)
    }
}

/// Which acknowledgement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// PUBACK.
    PubAck,
    /// PUBREC.
    PubRec,
    /// PUBREL.
    PubRel,
    /// PUBCOMP.
    PubComp,
}

impl Kind {
    pub(super) fn first_byte(self) -> u8 {
        match self {
            Kind::PubAck => 0x40,
            Kind::PubRec => 0x50,
            Kind::PubRel => 0x62,
            Kind::PubComp => 0x70,
        }
    }
}

/// PUBACK, PUBREC, PUBREL or PUBCOMP in its short form, or with a reason (MQTT 5).
#[derive(Debug, Clone, Copy)]
pub struct AckPacket {
    /// Which of them.
    pub kind: Kind,
    /// Packet Identifier.
    pub id: u16,
    /// Reason Code, if it is sent.
    pub reason: Option<u8>,
}

impl Encode for AckPacket {
    fn encode(&self, _: Version) -> Vec<u8> {
        let mut out = self.id.to_be_bytes().to_vec();
        out.extend(self.reason);
        frame(self.kind.first_byte(), out)
    }
}

/// SUBSCRIBE.
#[derive(Debug, Clone)]
pub struct Subscribe {
    id: u16,
    filters: Vec<(Vec<u8>, u8)>,
    properties: Vec<Property>,
}

impl Subscribe {
    /// No Local, for [`Subscribe::filter`]'s options.
    pub const NO_LOCAL: u8 = 0x04;
    /// Retain As Published.
    pub const RETAIN_AS_PUBLISHED: u8 = 0x08;
    /// Retain Handling 1: retained messages only for a new subscription.
    pub const RETAINED_IF_NEW: u8 = 0x10;
    /// Retain Handling 2: no retained messages.
    pub const NO_RETAINED: u8 = 0x20;

    /// Without any filter yet.
    pub fn new(id: u16) -> Self {
        Self { id, filters: Vec::new(), properties: Vec::new() }
    }

    /// One more filter with its options byte, which is the QoS or-ed with the constants above.
    pub fn filter(mut self, filter: &(impl AsRef<[u8]> + ?Sized), options: u8) -> Self {
        self.filters.push((filter.as_ref().to_vec(), options));
        self
    }

    /// One more property.
    pub fn property(mut self, property: Property) -> Self {
        self.properties.push(property);
        self
    }
}

impl Encode for Subscribe {
    fn encode(&self, version: Version) -> Vec<u8> {
        let mut out = self.id.to_be_bytes().to_vec();
        if version == Version::V5 {
            encode_all(&self.properties, &mut out);
        }
        for (filter, options) in &self.filters {
            out.extend(string(filter));
            out.push(*options);
        }
        frame(0x82, out)
    }
}

/// UNSUBSCRIBE.
#[derive(Debug, Clone)]
pub struct Unsubscribe {
    id: u16,
    filters: Vec<String>,
}

impl Unsubscribe {
    /// From these filters.
    pub fn new(id: u16, filters: &[&str]) -> Self {
        Self { id, filters: filters.iter().map(|filter| filter.to_string()).collect() }
    }
}

impl Encode for Unsubscribe {
    fn encode(&self, version: Version) -> Vec<u8> {
        let mut out = self.id.to_be_bytes().to_vec();
        if version == Version::V5 {
            out.push(0);
        }
        for filter in &self.filters {
            out.extend(string(filter));
        }
        frame(0xA2, out)
    }
}

/// PINGREQ.
#[derive(Debug, Clone, Copy)]
pub struct PingReq;

impl Encode for PingReq {
    fn encode(&self, _: Version) -> Vec<u8> {
        frame(0xC0, [])
    }
}

/// DISCONNECT: short, or with reason and properties (MQTT 5).
#[derive(Debug, Clone, Default)]
pub struct Disconnect {
    reason: Option<u8>,
    properties: Vec<Property>,
}

impl Disconnect {
    /// The reason.
    pub fn reason(mut self, reason: u8) -> Self {
        self.reason = Some(reason);
        self
    }

    /// One more property.
    pub fn property(mut self, property: Property) -> Self {
        self.properties.push(property);
        self
    }
}

impl Encode for Disconnect {
    fn encode(&self, _: Version) -> Vec<u8> {
        let mut out = Vec::from_iter(self.reason);
        if !self.properties.is_empty() {
            encode_all(&self.properties, &mut out);
        }
        frame(0xE0, out)
    }
}
