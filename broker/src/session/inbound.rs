//! What a client publishes: Topic Aliases, the QoS 2 identifiers that it has not released yet, and its quota.

use std::{collections::HashSet, num::NonZeroU16};

use crate::codec::{PacketId, Publish, QoS, ReasonCode, Version};

/// The receiving half of a session's protocol state. Without sockets and clocks.
#[derive(Debug)]
pub struct Inbound {
    receive_maximum: NonZeroU16,
    topic_alias_maximum: u16,
    /// By alias − 1; belongs to the network connection.
    aliases: Vec<Option<Box<str>>>,
    /// QoS 2 identifiers whose message was taken and whose PUBREL is still to come; belongs to the session.
    unreleased: HashSet<PacketId>,
    /// How many QoS 1 and 2 messages the client may have in flight on this network connection.
    quota: NonZeroU16,
    /// How many of the unreleased arrived on this network connection: the client's quota begins anew with each.
    quota_used: u16,
}

/// What to do with a PUBLISH.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Incoming<'a> {
    /// Route it, under this Topic Name.
    New {
        /// With the Topic Alias resolved.
        topic: &'a str,
    },
    /// A QoS 2 message that was taken before: acknowledge it again and do nothing `[MQTT-4.3.3-10]`.
    Duplicate,
}

impl Inbound {
    /// The state of a new session.
    pub fn new(receive_maximum: NonZeroU16, topic_alias_maximum: u16) -> Self {
        Self {
            receive_maximum,
            topic_alias_maximum,
            aliases: Vec::new(),
            unreleased: HashSet::new(),
            quota: receive_maximum,
            quota_used: 0,
        }
    }

    /// A network connection begins: Topic Aliases and the quota belong to it `[MQTT-3.3.2-7]`. MQTT 3.1.1 knows no
    /// Receive Maximum.
    pub fn handle_connect(&mut self, version: Version) {
        self.aliases = Vec::new();
        self.quota_used = 0;
        self.quota = match version {
            Version::V311 => NonZeroU16::MAX,
            Version::V5 => self.receive_maximum,
        };
    }

    /// The network connection ended.
    pub fn handle_disconnect(&mut self) {
        self.aliases = Vec::new();
    }

    /// Resolves the Topic Alias and recognises QoS 2 messages that were taken before.
    ///
    /// # Errors
    /// Why the connection must end: Topic Alias invalid `[MQTT-3.3.2-8, -9]`, Protocol error for an alias that was
    /// never set, Receive Maximum exceeded `[MQTT-3.3.4-7, -9]`.
    pub fn handle_publish<'a>(&'a mut self, publish: &Publish<'a>) -> Result<Incoming<'a>, ReasonCode> {
        if publish.qos != QoS::AtMostOnce && self.quota_used >= self.quota.get() {
            let known = publish.packet_id.is_some_and(|id| self.unreleased.contains(&id));
            if !known {
                return Err(ReasonCode::ReceiveMaximumExceeded);
            }
        }
        let duplicate = publish.qos == QoS::ExactlyOnce
            && publish.packet_id.is_some_and(|id| self.unreleased.contains(&id));
        let topic = match publish.topic_alias {
            Some(alias) => self.resolve(alias, publish.topic)?,
            None => publish.topic,
        };
        Ok(if duplicate { Incoming::Duplicate } else { Incoming::New { topic } })
    }

    /// The QoS 2 message was taken: from now on this identifier is known until its PUBREL `[MQTT-4.3.3-8]`.
    pub fn accept(&mut self, packet_id: PacketId) {
        if self.unreleased.insert(packet_id) {
            self.quota_used = self.quota_used.saturating_add(1);
        }
    }

    /// PUBREL: the reason for the PUBCOMP.
    pub fn handle_pubrel(&mut self, packet_id: PacketId) -> ReasonCode {
        if self.unreleased.remove(&packet_id) {
            self.quota_used = self.quota_used.saturating_sub(1);
            ReasonCode::Success
        } else {
            ReasonCode::PacketIdentifierNotFound
        }
    }

    fn resolve<'a>(&'a mut self, alias: NonZeroU16, topic: &'a str) -> Result<&'a str, ReasonCode> {
        if alias.get() > self.topic_alias_maximum {
            return Err(ReasonCode::TopicAliasInvalid);
        }
        let index = usize::from(alias.get() - 1);
        if !topic.is_empty() {
            if self.aliases.len() <= index {
                self.aliases.resize(index + 1, None);
            }
            if let Some(slot) = self.aliases.get_mut(index) {
                *slot = Some(topic.into());
            }
            return Ok(topic);
        }
        self.aliases.get(index).and_then(Option::as_deref).ok_or(ReasonCode::ProtocolError)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::codec::ForwardedProperties;

    fn inbound(receive_maximum: u16) -> Inbound {
        Inbound::new(NonZeroU16::new(receive_maximum).unwrap(), 2)
    }

    fn publish(qos: QoS, id: u16, topic: &str, alias: u16) -> Publish<'_> {
        Publish {
            dup: false,
            qos,
            retain: false,
            topic,
            packet_id: NonZeroU16::new(id),
            message_expiry: None,
            topic_alias: NonZeroU16::new(alias),
            forwarded: ForwardedProperties::default(),
            payload: b"",
        }
    }

    #[test]
    fn an_alias_stands_for_its_topic_until_it_is_set_again() {
        let mut inbound = inbound(10);
        let qos0 = |topic, alias| publish(QoS::AtMostOnce, 0, topic, alias);
        assert_eq!(inbound.handle_publish(&qos0("a", 1)), Ok(Incoming::New { topic: "a" }));
        assert_eq!(inbound.handle_publish(&qos0("", 1)), Ok(Incoming::New { topic: "a" }));
        assert_eq!(inbound.handle_publish(&qos0("b", 1)), Ok(Incoming::New { topic: "b" }));
        assert_eq!(inbound.handle_publish(&qos0("", 1)), Ok(Incoming::New { topic: "b" }));
        assert_eq!(inbound.handle_publish(&qos0("", 2)), Err(ReasonCode::ProtocolError));
        assert_eq!(inbound.handle_publish(&qos0("c", 3)), Err(ReasonCode::TopicAliasInvalid));
    }

    #[test]
    fn aliases_end_with_the_network_connection() {
        let mut inbound = inbound(10);
        inbound.handle_publish(&publish(QoS::AtMostOnce, 0, "a", 1)).unwrap();
        inbound.handle_connect(Version::V5);
        assert_eq!(
            inbound.handle_publish(&publish(QoS::AtMostOnce, 0, "", 1)),
            Err(ReasonCode::ProtocolError)
        );
    }

    #[test]
    fn a_qos_2_message_is_new_once_until_it_is_released_across_connections() {
        let mut inbound = inbound(10);
        let message = publish(QoS::ExactlyOnce, 7, "a", 0);
        assert_eq!(inbound.handle_publish(&message), Ok(Incoming::New { topic: "a" }));
        inbound.accept(message.packet_id.unwrap());
        inbound.handle_connect(Version::V5);
        assert_eq!(inbound.handle_publish(&message), Ok(Incoming::Duplicate));
        assert_eq!(inbound.handle_pubrel(message.packet_id.unwrap()), ReasonCode::Success);
        assert_eq!(inbound.handle_pubrel(message.packet_id.unwrap()), ReasonCode::PacketIdentifierNotFound);
        assert_eq!(inbound.handle_publish(&message), Ok(Incoming::New { topic: "a" }));
    }

    #[test]
    fn more_than_the_receive_maximum_ends_the_connection() {
        let mut inbound = inbound(1);
        let first = publish(QoS::ExactlyOnce, 1, "a", 0);
        inbound.handle_publish(&first).unwrap();
        inbound.accept(first.packet_id.unwrap());
        assert_eq!(inbound.handle_publish(&first), Ok(Incoming::Duplicate), "a retransmission uses no quota");
        for qos in [QoS::AtLeastOnce, QoS::ExactlyOnce] {
            let second = publish(qos, 2, "a", 0);
            assert_eq!(inbound.handle_publish(&second), Err(ReasonCode::ReceiveMaximumExceeded));
        }
        inbound.handle_pubrel(first.packet_id.unwrap());
        assert!(inbound.handle_publish(&publish(QoS::AtLeastOnce, 2, "a", 0)).is_ok());
    }

    #[test]
    fn a_v311_client_knows_no_receive_maximum() {
        let mut inbound = inbound(1);
        inbound.handle_connect(Version::V311);
        for id in 1..=1_100 {
            let message = publish(QoS::ExactlyOnce, id, "a", 0);
            assert!(inbound.handle_publish(&message).is_ok());
            inbound.accept(message.packet_id.unwrap());
        }
    }
}
