//! What a client publishes: Topic Aliases, the QoS 2 identifiers that it has not released yet, and its quota.

use std::{collections::HashMap, num::NonZeroU16, sync::Arc};

use super::{
    receipt::{Outcome, Receipt},
    traffic::Published,
};
use crate::{
    access::Flow,
    codec::{PacketId, Publish, QoS, ReasonCode, Version},
};

/// The receiving half of a session's protocol state. Without sockets and clocks.
#[derive(Debug)]
pub struct Inbound {
    receive_maximum: NonZeroU16,
    topic_alias_maximum: u16,
    /// By alias − 1; belongs to the network connection.
    aliases: Vec<Option<Box<str>>>,
    /// QoS 2 identifiers whose message was taken and whose PUBREL is still to come; belongs to the session. With a receipt
    /// as long as it may not be kept yet.
    unreleased: HashMap<PacketId, Option<Arc<Receipt>>>,
    /// How many QoS 1 and 2 messages the client may have in flight on this network connection.
    quota: NonZeroU16,
    /// How many of the unreleased, and of the QoS 1 messages that are not acknowledged yet, arrived on this network
    /// connection: the client's quota begins anew with each.
    quota_used: u16,
    published: Published,
}

/// What to do with a PUBLISH.
#[derive(Debug, Clone)]
pub enum Incoming<'a> {
    /// Route it, under this Topic Name.
    New {
        /// With the Topic Alias resolved.
        topic: &'a str,
    },
    /// A QoS 2 message that was taken before: acknowledge it again and do nothing else `[MQTT-4.3.3-10]`; where there is a
    /// receipt, not before it is settled.
    Duplicate(Option<Arc<Receipt>>),
}

impl Inbound {
    /// The state of a new session.
    pub fn new(receive_maximum: NonZeroU16, topic_alias_maximum: u16) -> Self {
        Self {
            receive_maximum,
            topic_alias_maximum,
            aliases: Vec::new(),
            unreleased: HashMap::new(),
            quota: receive_maximum,
            quota_used: 0,
            published: Published::default(),
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
        let of_qos_2 = publish.packet_id.filter(|_| publish.qos == QoS::ExactlyOnce);
        let duplicate = of_qos_2.and_then(|id| self.taken_before(id));
        let is_new = publish.qos != QoS::AtMostOnce && duplicate.is_none();
        if is_new && self.quota_used >= self.quota.get() {
            return Err(ReasonCode::ReceiveMaximumExceeded);
        }
        let topic = match publish.topic_alias {
            Some(alias) => self.resolve(alias, publish.topic)?,
            None => publish.topic,
        };
        Ok(duplicate.map_or(Incoming::New { topic }, Incoming::Duplicate))
    }

    /// The client set an alias to a topic that is refused and not worth remembering: what comes under it must not go to
    /// the topic that it stood for before.
    pub fn forget_alias(&mut self, alias: NonZeroU16) {
        if let Some(topic) = self.aliases.get_mut(usize::from(alias.get() - 1)) {
            *topic = None;
        }
    }

    /// The QoS 2 message was taken: from now on this identifier is known until its PUBREL `[MQTT-4.3.3-8]`, or until its
    /// receipt says that it could not be kept.
    pub fn accept(&mut self, packet_id: PacketId, receipt: Option<Arc<Receipt>>) {
        if self.unreleased.insert(packet_id, receipt).is_none() {
            self.quota_used = self.quota_used.saturating_add(1);
        }
    }

    /// A message was taken and is not acknowledged yet. One of QoS 2 counts by its identifier.
    pub fn hold(&mut self, qos: QoS) {
        if qos == QoS::AtLeastOnce {
            self.quota_used = self.quota_used.saturating_add(1);
        }
    }

    /// A message was taken: counts it.
    pub fn count(&mut self, flow: &Flow, payload: &[u8], now: u64) {
        self.published.count(flow, payload, now);
    }

    /// A message of the flow with this name was refused for want of room: counts it.
    pub fn count_refused(&mut self, flow: &Arc<str>) {
        self.published.count_refused(flow);
    }

    /// What was counted since the last call.
    pub fn take_published(&mut self) -> Published {
        std::mem::take(&mut self.published)
    }

    /// A QoS 1 message that was held is acknowledged.
    pub fn acknowledge(&mut self) {
        self.quota_used = self.quota_used.saturating_sub(1);
    }

    /// The receipt of a QoS 2 message is settled: it is kept, or could not be kept and was not taken after all. Nothing
    /// happens if the identifier is that of another message by now.
    pub fn handle_settled(&mut self, packet_id: PacketId, receipt: &Arc<Receipt>, outcome: Outcome) {
        let Some(known) = self.unreleased.get_mut(&packet_id) else { return };
        if !known.as_ref().is_some_and(|known| Arc::ptr_eq(known, receipt)) {
            return;
        }
        match outcome {
            Outcome::Kept => *known = None,
            Outcome::Refused => {
                self.unreleased.remove(&packet_id);
                self.quota_used = self.quota_used.saturating_sub(1);
            }
        }
    }

    /// Identifiers that were kept.
    pub fn restore(&mut self, packet_ids: &[PacketId]) {
        self.unreleased = packet_ids.iter().map(|packet_id| (*packet_id, None)).collect();
    }

    /// PUBREL: the reason for the PUBCOMP.
    pub fn handle_pubrel(&mut self, packet_id: PacketId) -> ReasonCode {
        if self.unreleased.remove(&packet_id).is_some() {
            self.quota_used = self.quota_used.saturating_sub(1);
            ReasonCode::Success
        } else {
            ReasonCode::PacketIdentifierNotFound
        }
    }

    /// Whether the identifier is that of a message that was taken, and the receipt that is still open.
    fn taken_before(&mut self, packet_id: PacketId) -> Option<Option<Arc<Receipt>>> {
        let Some(receipt) = self.unreleased.get(&packet_id)?.clone() else { return Some(None) };
        let Some(outcome) = receipt.outcome() else { return Some(Some(receipt)) };
        self.handle_settled(packet_id, &receipt, outcome);
        (outcome == Outcome::Kept).then_some(None)
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

    /// The topic of a new message.
    fn answer(inbound: &mut Inbound, publish: &Publish<'_>) -> Result<String, ReasonCode> {
        inbound.handle_publish(publish).map(|incoming| match incoming {
            Incoming::New { topic } => topic.to_owned(),
            Incoming::Duplicate(_) => "(duplicate)".to_owned(),
        })
    }

    #[test]
    fn an_alias_stands_for_its_topic_until_it_is_set_again() {
        let mut inbound = inbound(10);
        let qos0 = |topic, alias| publish(QoS::AtMostOnce, 0, topic, alias);
        assert_eq!(answer(&mut inbound, &qos0("a", 1)), Ok("a".to_owned()));
        assert_eq!(answer(&mut inbound, &qos0("", 1)), Ok("a".to_owned()));
        assert_eq!(answer(&mut inbound, &qos0("b", 1)), Ok("b".to_owned()));
        assert_eq!(answer(&mut inbound, &qos0("", 1)), Ok("b".to_owned()));
        assert_eq!(answer(&mut inbound, &qos0("", 2)), Err(ReasonCode::ProtocolError));
        assert_eq!(answer(&mut inbound, &qos0("c", 3)), Err(ReasonCode::TopicAliasInvalid));
    }

    #[test]
    fn aliases_end_with_the_network_connection() {
        let mut inbound = inbound(10);
        inbound.handle_publish(&publish(QoS::AtMostOnce, 0, "a", 1)).unwrap();
        inbound.handle_connect(Version::V5);
        assert_eq!(answer(&mut inbound, &publish(QoS::AtMostOnce, 0, "", 1)), Err(ReasonCode::ProtocolError));
    }

    #[test]
    fn a_qos_2_message_is_new_once_until_it_is_released_across_connections() {
        let mut inbound = inbound(10);
        let message = publish(QoS::ExactlyOnce, 7, "a", 0);
        assert_eq!(answer(&mut inbound, &message), Ok("a".to_owned()));
        inbound.accept(message.packet_id.unwrap(), None);
        inbound.handle_connect(Version::V5);
        assert_eq!(answer(&mut inbound, &message), Ok("(duplicate)".to_owned()));
        assert_eq!(inbound.handle_pubrel(message.packet_id.unwrap()), ReasonCode::Success);
        assert_eq!(inbound.handle_pubrel(message.packet_id.unwrap()), ReasonCode::PacketIdentifierNotFound);
        assert_eq!(answer(&mut inbound, &message), Ok("a".to_owned()));
    }

    #[test]
    fn more_than_the_receive_maximum_ends_the_connection() {
        let mut inbound = inbound(1);
        let first = publish(QoS::ExactlyOnce, 1, "a", 0);
        inbound.handle_publish(&first).unwrap();
        inbound.accept(first.packet_id.unwrap(), None);
        assert_eq!(
            answer(&mut inbound, &first),
            Ok("(duplicate)".to_owned()),
            "a retransmission uses no quota"
        );
        for qos in [QoS::AtLeastOnce, QoS::ExactlyOnce] {
            let second = publish(qos, 2, "a", 0);
            assert_eq!(answer(&mut inbound, &second), Err(ReasonCode::ReceiveMaximumExceeded));
        }
        inbound.handle_pubrel(first.packet_id.unwrap());
        assert!(inbound.handle_publish(&publish(QoS::AtLeastOnce, 2, "a", 0)).is_ok());
    }

    /// Regression: a message that took the identifier of one that was refused a moment before was forgotten with it.
    #[test]
    fn a_settled_receipt_does_not_concern_a_later_message_with_the_same_identifier() {
        let mut inbound = inbound(10);
        let message = publish(QoS::ExactlyOnce, 1, "a", 0);
        let id = message.packet_id.unwrap();
        let (refused, later) = (Receipt::new(&Arc::default()), Receipt::new(&Arc::default()));
        inbound.accept(id, Some(Arc::clone(&refused)));
        refused.settle(false);
        assert_eq!(answer(&mut inbound, &message), Ok("a".to_owned()), "it was not taken after all");
        inbound.accept(id, Some(later));
        inbound.handle_settled(id, &refused, Outcome::Refused);
        assert_eq!(answer(&mut inbound, &message), Ok("(duplicate)".to_owned()));
    }

    #[test]
    fn a_v311_client_knows_no_receive_maximum() {
        let mut inbound = inbound(1);
        inbound.handle_connect(Version::V311);
        for id in 1..=1_100 {
            let message = publish(QoS::ExactlyOnce, id, "a", 0);
            assert!(inbound.handle_publish(&message).is_ok());
            inbound.accept(message.packet_id.unwrap(), None);
        }
    }
}
