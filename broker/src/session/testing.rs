//! What the tests of this module share: deliveries, and what was sent as another codec reads it.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::{
    num::NonZeroU16,
    ops::{Deref, DerefMut},
};

use bytes::BytesMut;
use symqtt_codec::{v3, v5};

use super::{ClientSettings, Outbound, Place, Wanted};
use crate::{
    access::{Flow, Grant},
    codec::{ForwardedProperties, PacketId, QoS, Version},
    limits::Limits,
    message::{Message, MessageParts},
    queue::{Delivery, QueueFull},
};

/// The sending half of a session in whose queue all messages are of one flow.
pub struct OneFlow {
    outbound: Outbound,
    pub flow: Flow,
}

impl OneFlow {
    /// Of a session that is not kept.
    pub fn new(limits: &Limits) -> Self {
        Self::with(limits, Outbound::new(limits, false))
    }

    pub fn with(limits: &Limits, outbound: Outbound) -> Self {
        Self { outbound, flow: Flow { name: "".into(), limits: limits.flow } }
    }

    pub fn push_assured(&mut self, delivery: Delivery) -> Result<(), QueueFull> {
        self.outbound.push_assured(&self.flow, delivery, Wanted::default())
    }

    pub fn reserve(&mut self, delivery: &Delivery) -> Result<Option<Place>, QueueFull> {
        self.outbound.reserve(&self.flow, delivery)
    }

    pub fn push_reserved(&mut self, place: Option<Place>, delivery: Delivery) {
        self.outbound.push_reserved(&self.flow, place, delivery, Wanted::default());
    }
}

impl Deref for OneFlow {
    type Target = Outbound;

    fn deref(&self) -> &Outbound {
        &self.outbound
    }
}

impl DerefMut for OneFlow {
    fn deref_mut(&mut self) -> &mut Outbound {
        &mut self.outbound
    }
}

/// May hear all topics but this one, and all flows but this one.
pub struct AllBut {
    pub topic: String,
    pub flow: Option<&'static str>,
}

impl Grant for AllBut {
    fn name(&self) -> &str {
        "n"
    }

    fn may_publish(&self, _topic: &str) -> bool {
        true
    }

    fn may_subscribe(&self, topic: &str) -> bool {
        topic != self.topic
    }

    fn may_hear(&self, flow: &str) -> bool {
        self.flow != Some(flow)
    }
}

/// A packet that was sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sent {
    Publish { dup: bool, qos: u8, id: u16, topic: String, alias: u16, expiry: Option<u32>, payload: String },
    PubRel { id: u16, reason: u8 },
}

impl Sent {
    /// As short as a test wants to read it: `1#7 dup payload`, `pubrel 7`.
    #[cfg(test)]
    pub fn brief(&self) -> String {
        match self {
            Self::Publish { dup, qos, id, payload, .. } => {
                format!("{qos}#{id} {}{payload}", if *dup { "dup " } else { "" })
            }
            Self::PubRel { id, reason: 0 } => format!("pubrel {id}"),
            Self::PubRel { id, reason } => format!("pubrel {id} 0x{reason:02X}"),
        }
    }
}

/// Reads all packets.
pub fn read(bytes: &[u8], version: Version) -> Vec<Sent> {
    let mut bytes = BytesMut::from(bytes);
    let mut all = Vec::new();
    while !bytes.is_empty() {
        all.push(match version {
            Version::V311 => read_3(v3::Packet::decode(&mut bytes).unwrap().unwrap()),
            Version::V5 => read_5(v5::Packet::decode(&mut bytes).unwrap().unwrap()),
        });
    }
    all
}

fn read_3(packet: v3::Packet) -> Sent {
    match packet {
        v3::Packet::Publish(p) => Sent::Publish {
            dup: p.dup,
            qos: p.qos as u8,
            id: p.pkid.unwrap_or(0),
            topic: p.topic,
            alias: 0,
            expiry: None,
            payload: String::from_utf8(p.payload.to_vec()).unwrap(),
        },
        v3::Packet::PubRel(p) => Sent::PubRel { id: p.pkid, reason: 0 },
        other => panic!("{other:?}"),
    }
}

fn read_5(packet: v5::Packet) -> Sent {
    match packet {
        v5::Packet::Publish(p) => Sent::Publish {
            dup: p.dup,
            qos: p.qos as u8,
            id: p.pkid.unwrap_or(0),
            topic: p.topic,
            alias: p.properties.topic_alias.unwrap_or(0),
            expiry: p.properties.message_expiry_interval,
            payload: String::from_utf8(p.payload.to_vec()).unwrap(),
        },
        v5::Packet::PubRel(p) => Sent::PubRel { id: p.pkid, reason: p.reason_code as u8 },
        other => panic!("{other:?}"),
    }
}

/// A message on the topic `topic`, received at 0.
pub fn delivery(topic: &str, qos: QoS, payload: &str) -> Delivery {
    expiring(topic, qos, payload, None)
}

pub fn expiring(topic: &str, qos: QoS, payload: &str, expiry: Option<u32>) -> Delivery {
    let message = Message::new(&MessageParts {
        publisher: 1,
        topic,
        qos,
        retain: false,
        received_at: 0,
        expiry,
        forwarded: ForwardedProperties::default(),
        payload: payload.as_bytes(),
    });
    Delivery { message, qos, retain: false, subscription_ids: Vec::new() }
}

/// A MQTT 5 client without limits and aliases.
pub fn client() -> ClientSettings {
    ClientSettings {
        version: Version::V5,
        receive_maximum: NonZeroU16::MAX,
        maximum_packet_size: None,
        topic_alias_maximum: 0,
    }
}

pub fn id(value: u16) -> PacketId {
    PacketId::new(value).unwrap()
}
