//! What each packet of a client does.

use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncWrite};

use super::{
    Connection, Ending,
    answers::{Answer, What},
};
use crate::{
    access::Flow,
    codec::{
        ClientDisconnect, ClientPacket, PacketId, Publish, QoS, ReasonCode, RetainHandling, ServerAck,
        ServerPacket, Subscribe, SubscribeFilter, Unsubscribe, Version,
    },
    events::{Counters, DisconnectCause},
    limits::{Limit, LimitTally},
    message::{Message, MessageParts},
    routing::{Full, Publisher},
    session::{Incoming, Receipt},
    store::Change,
    subscriptions::SubscriptionOptions,
};

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<'_, S> {
    /// Does what a packet asks for, and appends the answer to the output.
    pub(super) fn handle_packet(&mut self, packet: ClientPacket<'_>) -> Result<(), Ending> {
        let within_limits = self.limits.check_user_properties(packet.user_properties());
        match packet {
            ClientPacket::Publish(publish) => return self.handle_publish(&publish, within_limits),
            ClientPacket::Subscribe(subscribe) => return self.handle_subscribe(&subscribe, within_limits),
            // What acknowledges it, if anything does, cannot say so.
            _ if let Err(limit) = within_limits => return Err(self.end_beyond(limit)),
            ClientPacket::PubAck(ack) => {
                let read_at = self.read_at;
                self.shared.with_outbound(self.session, |outbound| {
                    outbound.handle_puback(ack.packet_id, read_at);
                });
            }
            ClientPacket::PubRec(ack) => {
                let (read_at, out) = (self.read_at, &mut self.wire.output);
                self.shared.with_outbound(self.session, |outbound| {
                    outbound.handle_pubrec(ack.packet_id, ack.reason, read_at, out);
                });
            }
            ClientPacket::PubRel(ack) => self.handle_pubrel(ack.packet_id)?,
            ClientPacket::PubComp(ack) => {
                self.shared.with_outbound(self.session, |outbound| outbound.handle_pubcomp(ack.packet_id));
            }
            ClientPacket::Unsubscribe(unsubscribe) => self.handle_unsubscribe(&unsubscribe)?,
            ClientPacket::PingReq => self.write(ServerPacket::PingResp)?,
            ClientPacket::Disconnect(disconnect) => return Err(self.handle_disconnect(disconnect)),
            ClientPacket::Auth { .. } => {
                return Err(violation(
                    ReasonCode::ProtocolError,
                    "AUTH without an authentication method in CONNECT",
                ));
            }
        }
        Ok(())
    }

    fn handle_publish(
        &mut self,
        publish: &Publish<'_>,
        within_limits: Result<(), Limit>,
    ) -> Result<(), Ending> {
        let shared = self.shared;
        let _inside = shared.grace.enter();
        if !self.grant.is_inside() {
            Counters::add(&shared.counters.published, 1);
        }
        if let Err(limit) = self.limits.check_topic(publish.topic) {
            if let Some(alias) = publish.topic_alias {
                self.session.inbound.lock().forget_alias(alias);
            }
            return self.refuse_beyond(publish, limit);
        }
        let message = {
            let mut inbound = self.session.inbound.lock();
            match inbound.handle_publish(publish) {
                Err(reason) => {
                    drop(inbound);
                    return Err(self.end_publish(reason));
                }
                Ok(Incoming::Duplicate(receipt)) => Err(receipt),
                // The Topic Alias is known from now on all the same.
                Ok(Incoming::New { .. }) if let Err(limit) = within_limits => {
                    drop(inbound);
                    return self.refuse_beyond(publish, limit);
                }
                Ok(Incoming::New { topic }) => {
                    let Some(flow) = shared.permit(&*self.grant, topic) else {
                        drop(inbound);
                        let what = "it published to a topic that it may not publish to";
                        return self.refuse_publish(publish, ReasonCode::NotAuthorized, what);
                    };
                    let message = Message::new(&MessageParts {
                        publisher: self.session.id,
                        topic,
                        qos: publish.qos,
                        retain: publish.retain,
                        received_at: self.now,
                        expiry: publish.message_expiry,
                        forwarded: publish.forwarded,
                        payload: publish.payload,
                    });
                    if publish.qos == QoS::AtMostOnce {
                        inbound.count(&flow, publish.payload, self.now);
                    }
                    Ok((message, flow))
                }
            }
        };
        match (publish.packet_id, message) {
            (None, Ok((message, flow))) => {
                let (message, retained) = self.shared.retain_live(message, Some(&self.session.name));
                if let Err(Full(limit)) = retained {
                    self.shared.count_full(limit);
                    self.shared.tell_full(&self.session.name, message.topic(), limit);
                }
                self.copy(&message, &flow);
                self.live_bytes += message.size();
                self.live.push(message);
            }
            (None, Err(_)) => {}
            (Some(packet_id), Err(None)) => {
                self.acknowledge(publish.qos, packet_id, ReasonCode::Success)?;
            }
            (Some(packet_id), Err(Some(receipt))) => {
                self.acknowledge_when_kept(publish.qos, packet_id, ReasonCode::Success, receipt, None);
            }
            (Some(packet_id), Ok((message, flow))) => {
                return self.route(publish, packet_id, &message, &flow);
            }
        }
        Ok(())
    }

    /// QoS 1 and 2.
    fn route(
        &mut self,
        publish: &Publish<'_>,
        packet_id: PacketId,
        message: &Message,
        flow: &Flow,
    ) -> Result<(), Ending> {
        let publisher = Publisher { session: self.session, packet_id, flow, read_at: self.read_at };
        let routed = match self.shared.route(message, &publisher, &mut self.matches) {
            Ok(routed) => routed,
            Err(Full(limit)) => {
                self.session.inbound.lock().count_refused(&flow.name);
                self.shared.tell_full(&self.session.name, message.topic(), limit);
                let what = "a queue for its message is full, and MQTT 3.1.1 cannot say so";
                return self.refuse_publish(publish, ReasonCode::QuotaExceeded, what);
            }
        };
        self.copy(message, flow);
        let reason = if routed.wanted { ReasonCode::Success } else { ReasonCode::NoMatchingSubscribers };
        {
            let mut inbound = self.session.inbound.lock();
            inbound.count(flow, publish.payload, self.now);
            match publish.qos {
                QoS::ExactlyOnce => inbound.accept(packet_id, routed.receipt.clone()),
                _ if routed.receipt.is_some() => inbound.hold(publish.qos),
                _ => {}
            }
        }
        match routed.receipt {
            None => self.acknowledge(publish.qos, packet_id, reason)?,
            Some(receipt) => {
                let routed = Some((message, flow));
                self.acknowledge_when_kept(publish.qos, packet_id, reason, receipt, routed);
            }
        }
        Ok(())
    }

    /// For whoever looks at messages.
    fn copy(&self, message: &Message, flow: &Flow) {
        if self.shared.taps.are_open() && !self.grant.is_inside() {
            self.shared.taps.copy(&flow.name, &self.session.name, message);
        }
    }

    fn acknowledge_when_kept(
        &mut self,
        qos: QoS,
        packet_id: PacketId,
        reason: ReasonCode,
        receipt: Arc<Receipt>,
        routed: Option<(&Message, &Flow)>,
    ) {
        let bytes = routed.map_or(0, |(message, _)| message.size());
        let flow = routed.map(|(_, flow)| Arc::clone(&flow.name));
        self.answers.push(Answer { receipt, what: What::Publish { qos, packet_id, reason, flow }, bytes });
    }

    /// PUBREL: PUBCOMP once it is kept that the identifier is free. One that is free already is no exception: what
    /// freed it may not be kept yet, or have failed when the connection that waited for it was gone.
    fn handle_pubrel(&mut self, packet_id: PacketId) -> Result<(), Ending> {
        let reason = self.session.inbound.lock().handle_pubrel(packet_id);
        if let Some(slot) = self.session.slot
            && let Some(receipt) = self.keep(vec![Change::Complete { slot, packet_id }])
        {
            self.answers.push(Answer { receipt, what: What::PubComp { packet_id, reason }, bytes: 0 });
            return Ok(());
        }
        self.write(ServerPacket::PubComp(server_ack(packet_id, reason)))
    }

    /// Has changes kept; `None` if there are none, or the session is not kept.
    fn keep(&self, changes: Vec<Change>) -> Option<Arc<Receipt>> {
        let receipt = Receipt::new(&self.session.bell);
        let kept = self.shared.keep(self.session, &receipt, changes);
        receipt.settle(true);
        kept.then_some(receipt)
    }

    /// Lets the client see that its PUBLISH was refused: in the acknowledgement where there is one that can say so,
    /// else by closing the connection.
    fn refuse_publish(
        &mut self,
        publish: &Publish<'_>,
        reason: ReasonCode,
        what: &'static str,
    ) -> Result<(), Ending> {
        match (self.version, publish.packet_id) {
            (Version::V5, Some(packet_id)) => self.acknowledge(publish.qos, packet_id, reason),
            _ => Err(violation(reason, what)),
        }
    }

    /// The same for one that exceeds a limit.
    fn refuse_beyond(&mut self, publish: &Publish<'_>, limit: Limit) -> Result<(), Ending> {
        if self.version == Version::V311 || publish.packet_id.is_none() {
            return Err(self.end_beyond(limit));
        }
        self.shared.tell_limited(&self.session.name, limit);
        let (reason, what) = beyond(limit);
        self.refuse_publish(publish, reason, what)
    }

    /// Ends the connection because of what a packet exceeds.
    fn end_beyond(&self, limit: Limit) -> Ending {
        self.shared.counters.limits.count(limit);
        let (reason, what) = beyond(limit);
        violation(reason, what)
    }

    /// Ends the connection because of a PUBLISH that its state does not allow.
    fn end_publish(&self, reason: ReasonCode) -> Ending {
        match reason {
            ReasonCode::ReceiveMaximumExceeded => self.end_beyond(Limit::ReceiveMaximum),
            ReasonCode::TopicAliasInvalid => self.end_beyond(Limit::TopicAliasMaximum),
            _ => violation(reason, "a PUBLISH that the session does not allow"),
        }
    }

    /// The same for a message that could not be kept.
    pub(super) fn refuse_acknowledgement(&mut self, qos: QoS, packet_id: PacketId) -> Result<(), Ending> {
        match self.version {
            Version::V5 => self.write_acknowledgement(qos, packet_id, ReasonCode::QuotaExceeded),
            Version::V311 => Err(violation(
                ReasonCode::QuotaExceeded,
                "its message could not be kept, and MQTT 3.1.1 cannot say so",
            )),
        }
    }

    /// Not before earlier ones that wait.
    fn acknowledge(&mut self, qos: QoS, packet_id: PacketId, reason: ReasonCode) -> Result<(), Ending> {
        if !self.answers.are_none(qos) {
            let receipt = Receipt::new(&self.session.bell);
            receipt.settle(true);
            self.session.inbound.lock().hold(qos);
            self.acknowledge_when_kept(qos, packet_id, reason, receipt, None);
            return Ok(());
        }
        self.write_acknowledgement(qos, packet_id, reason)
    }

    pub(super) fn write_acknowledgement(
        &mut self,
        qos: QoS,
        packet_id: PacketId,
        reason: ReasonCode,
    ) -> Result<(), Ending> {
        let ack = server_ack(packet_id, reason);
        self.write(match qos {
            QoS::ExactlyOnce => ServerPacket::PubRec(ack),
            QoS::AtLeastOnce | QoS::AtMostOnce => ServerPacket::PubAck(ack),
        })
    }

    fn handle_subscribe(
        &mut self,
        subscribe: &Subscribe<'_>,
        within_limits: Result<(), Limit>,
    ) -> Result<(), Ending> {
        let _inside = self.shared.grace.enter();
        let filters = &subscribe.filters;
        let mut reasons = Vec::with_capacity(filters.len());
        let (mut added, mut changes) = (Vec::new(), Vec::new());
        let mut exceeded = LimitTally::default();
        for (index, wanted) in filters.iter().enumerate() {
            // A packet can hold far more filters than a session may have.
            let too_many = index >= self.limits.subscriptions_per_session;
            if let Some(limit) = within_limits.err().or(too_many.then_some(Limit::SubscriptionsPerSession)) {
                exceeded.note(limit);
                reasons.push(ReasonCode::QuotaExceeded);
                continue;
            }
            let repeated = filters[..index].iter().any(|earlier| earlier.filter == wanted.filter);
            reasons.push(match self.subscribe(wanted, subscribe.subscription_id, repeated) {
                Ok(subscribed) => {
                    if subscribed.is_new {
                        added.push(wanted.filter.into());
                    }
                    changes.extend(self.session.slot.map(|slot| Change::Subscribe {
                        slot,
                        filter: wanted.filter.into(),
                        options: subscribed.options,
                    }));
                    granted(wanted.qos)
                }
                Err((reason, limit)) => {
                    limit.into_iter().for_each(|limit| exceeded.note(limit));
                    reason
                }
            });
        }
        self.shared.tell_all_limited(&self.session.name, &exceeded);
        let packet_id = subscribe.packet_id;
        match self.keep(changes) {
            // The retained messages wait in the session until the output, which this is appended to, is written.
            None => self.write(ServerPacket::SubAck { packet_id, reasons: &reasons })?,
            Some(receipt) => self.answers.push(Answer {
                receipt,
                what: What::SubAck { packet_id, reasons, added },
                bytes: 0,
            }),
        }
        Ok(())
    }

    /// Adds or replaces a subscription `[MQTT-3.8.4-3]`, and sends the retained messages that it asks for. A refusal has a
    /// reason, and the limit that it comes from.
    fn subscribe(
        &mut self,
        wanted: &SubscribeFilter<'_>,
        subscription_id: Option<u32>,
        repeated: bool,
    ) -> Result<Subscribed, (ReasonCode, Option<Limit>)> {
        if is_shared(wanted.filter) {
            return Err((ReasonCode::SharedSubscriptionsNotSupported, None));
        }
        self.limits
            .check_topic(wanted.filter)
            .map_err(|limit| (ReasonCode::TopicFilterInvalid, Some(limit)))?;
        if !self.shared.may_subscribe(&*self.grant, wanted.filter) {
            return Err((ReasonCode::NotAuthorized, None));
        }
        let changes = self.shared.changing_retained.read();
        let mut lifetime = self.session.lifetime.lock();
        let before = lifetime.subscriptions.get(wanted.filter).copied();
        if before.is_none() && lifetime.subscriptions.len() >= self.limits.subscriptions_per_session {
            return Err((ReasonCode::QuotaExceeded, Some(Limit::SubscriptionsPerSession)));
        }
        let send_retained = match wanted.retain_handling {
            RetainHandling::SendAtSubscribe => !repeated,
            RetainHandling::SendIfNew => before.is_none(),
            RetainHandling::DoNotSend => false,
        };
        let options = SubscriptionOptions {
            qos: wanted.qos,
            no_local: wanted.no_local,
            retain_as_published: wanted.retain_as_published,
            subscription_id,
            since: before.filter(|_| !send_retained).map_or(*changes, |before| before.since),
        };
        lifetime.subscriptions.insert(wanted.filter.into(), options);
        self.shared.subscriptions.insert(wanted.filter, self.session.id, self.session, options);
        drop(lifetime);
        if send_retained {
            self.shared.send_retained(self.session, wanted.filter, wanted.qos, subscription_id, self.now);
        }
        Ok(Subscribed { is_new: before.is_none(), options })
    }

    fn handle_unsubscribe(&mut self, unsubscribe: &Unsubscribe<'_>) -> Result<(), Ending> {
        let mut reasons = Vec::with_capacity(unsubscribe.filters.len());
        let mut changes = Vec::new();
        for filter in &unsubscribe.filters {
            let existed = self.session.lifetime.lock().subscriptions.remove(*filter).is_some();
            self.shared.subscriptions.remove(filter, self.session.id);
            reasons.push(if existed { ReasonCode::Success } else { ReasonCode::NoSubscriptionExisted });
            // A packet can hold far more filters than a session may have: the store is not asked for the others.
            if existed {
                changes.extend(
                    self.session.slot.map(|slot| Change::Unsubscribe { slot, filter: (*filter).into() }),
                );
            }
        }
        let packet_id = unsubscribe.packet_id;
        match self.keep(changes) {
            None => self.write(ServerPacket::UnsubAck { packet_id, reasons: &reasons })?,
            Some(receipt) => {
                self.answers.push(Answer { receipt, what: What::UnsubAck { packet_id, reasons }, bytes: 0 })
            }
        }
        Ok(())
    }

    /// A session that was to end with its connection cannot be kept after all `[MQTT-3.14.2-2]`.
    fn handle_disconnect(&mut self, disconnect: ClientDisconnect) -> Ending {
        if let Some(expiry) = disconnect.session_expiry {
            if !self.asked_to_stay && expiry > 0 {
                return violation(
                    ReasonCode::ProtocolError,
                    "DISCONNECT gives a session expiry where CONNECT gave none",
                );
            }
            self.session_expiry = expiry.min(self.limits.session_expiry_max);
            let shortened = self.session_expiry < expiry;
            self.shared.counters.limits.add(Limit::SessionExpiryMax, shortened.into());
        }
        Ending(DisconnectCause::Client(disconnect.reason))
    }
}

/// A subscription that was made or replaced.
struct Subscribed {
    is_new: bool,
    options: SubscriptionOptions,
}

fn violation(reason: ReasonCode, what: &'static str) -> Ending {
    Ending(DisconnectCause::Violation { reason, what })
}

/// What a client is told when it exceeds a limit.
fn beyond(limit: Limit) -> (ReasonCode, &'static str) {
    match limit {
        Limit::MaxTopicLength => (
            ReasonCode::TopicNameInvalid,
            "it published to a topic that is longer than limits.max_topic_length",
        ),
        Limit::MaxTopicLevels => (
            ReasonCode::TopicNameInvalid,
            "it published to a topic that has more levels than limits.max_topic_levels",
        ),
        Limit::ReceiveMaximum => {
            (ReasonCode::ReceiveMaximumExceeded, "it had more messages in flight than limits.receive_maximum")
        }
        Limit::TopicAliasMaximum => {
            (ReasonCode::TopicAliasInvalid, "it used a topic alias above limits.topic_alias_maximum")
        }
        _ => (
            ReasonCode::QuotaExceeded,
            "it sent a packet with more user properties than limits.user_properties",
        ),
    }
}

pub(super) fn server_ack(packet_id: PacketId, reason: ReasonCode) -> ServerAck<'static> {
    ServerAck { packet_id, reason, reason_string: None }
}

fn granted(qos: QoS) -> ReasonCode {
    match qos {
        QoS::AtMostOnce => ReasonCode::Success,
        QoS::AtLeastOnce => ReasonCode::GrantedQos1,
        QoS::ExactlyOnce => ReasonCode::GrantedQos2,
    }
}

fn is_shared(filter: &str) -> bool {
    filter == "$share" || filter.starts_with("$share/")
}
