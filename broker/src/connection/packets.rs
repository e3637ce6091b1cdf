//! What each packet of a client does.

use tokio::io::{AsyncRead, AsyncWrite};

use super::{Connection, Ending};
use crate::{
    codec::{
        ClientDisconnect, ClientPacket, PacketId, Publish, QoS, ReasonCode, RetainHandling, ServerAck,
        ServerPacket, Subscribe, SubscribeFilter, Unsubscribe, Version,
    },
    events::{Counters, DisconnectCause},
    message::{Message, MessageParts},
    routing::Reach,
    session::Incoming,
    subscriptions::SubscriptionOptions,
};

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<'_, S> {
    /// Does what a packet asks for, and appends the answer to the output.
    pub(super) fn handle_packet(&mut self, packet: ClientPacket<'_>) -> Result<(), Ending> {
        match packet {
            ClientPacket::Publish(publish) => return self.handle_publish(&publish),
            ClientPacket::PubAck(ack) => self.session.outbound.lock().handle_puback(ack.packet_id),
            ClientPacket::PubRec(ack) => {
                self.session.outbound.lock().handle_pubrec(ack.packet_id, ack.reason, &mut self.wire.output)
            }
            ClientPacket::PubRel(ack) => {
                let reason = self.session.inbound.lock().handle_pubrel(ack.packet_id);
                self.write(ServerPacket::PubComp(server_ack(ack.packet_id, reason)))?;
            }
            ClientPacket::PubComp(ack) => self.session.outbound.lock().handle_pubcomp(ack.packet_id),
            ClientPacket::Subscribe(subscribe) => self.handle_subscribe(&subscribe)?,
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

    fn handle_publish(&mut self, publish: &Publish<'_>) -> Result<(), Ending> {
        Counters::add(&self.shared.counters.published, 1);
        if !self.shared.limits.allow_topic(publish.topic) {
            return self.refuse_publish(publish, ReasonCode::TopicNameInvalid);
        }
        let message = {
            let mut inbound = self.session.inbound.lock();
            match inbound.handle_publish(publish) {
                Err(reason) => return Err(violation(reason, "a PUBLISH that the session does not allow")),
                Ok(Incoming::Duplicate) => None,
                Ok(Incoming::New { topic }) if !self.shared.may_publish(&*self.grant, topic) => {
                    drop(inbound);
                    return self.refuse_publish(publish, ReasonCode::NotAuthorized);
                }
                Ok(Incoming::New { topic }) => Some(Message::new(&MessageParts {
                    publisher: self.session.id,
                    topic,
                    qos: publish.qos,
                    retain: publish.retain,
                    received_at: self.now,
                    expiry: publish.message_expiry,
                    forwarded: publish.forwarded,
                    payload: publish.payload,
                })),
            }
        };
        match (publish.packet_id, message) {
            (None, Some(message)) => {
                let (message, retained) = self.shared.retain_live(message, Some(&self.session.name));
                if retained.is_err() {
                    Counters::add(&self.shared.counters.queue_full, 1);
                    self.shared.tell_full(&self.session.name, message.topic());
                }
                self.live_bytes += message.size();
                self.live.push(message);
            }
            (None, None) => {}
            (Some(packet_id), None) => self.acknowledge(publish.qos, packet_id, ReasonCode::Success)?,
            (Some(packet_id), Some(message)) => {
                let reason = match self.shared.route(&message, &self.session.name, &mut self.matches) {
                    Ok(Reach::Queued) => ReasonCode::Success,
                    Ok(Reach::Nobody) => ReasonCode::NoMatchingSubscribers,
                    Err(_) => {
                        self.shared.tell_full(&self.session.name, message.topic());
                        return self.refuse_publish(publish, ReasonCode::QuotaExceeded);
                    }
                };
                if publish.qos == QoS::ExactlyOnce {
                    self.session.inbound.lock().accept(packet_id);
                }
                self.acknowledge(publish.qos, packet_id, reason)?;
            }
        }
        Ok(())
    }

    /// Lets the client see that its PUBLISH was refused: in the acknowledgement where there is one that can say so,
    /// else by closing the connection.
    fn refuse_publish(&mut self, publish: &Publish<'_>, reason: ReasonCode) -> Result<(), Ending> {
        let what = match (self.version, publish.packet_id, reason) {
            (Version::V5, Some(packet_id), _) => return self.acknowledge(publish.qos, packet_id, reason),
            (_, _, ReasonCode::QuotaExceeded) => {
                "a queue for its message is full, and MQTT 3.1.1 cannot say so"
            }
            (_, _, ReasonCode::TopicNameInvalid) => {
                "it published to a topic longer or deeper than the limits allow"
            }
            _ => "it published to a topic that it may not publish to",
        };
        Err(violation(reason, what))
    }

    fn acknowledge(&mut self, qos: QoS, packet_id: PacketId, reason: ReasonCode) -> Result<(), Ending> {
        let ack = server_ack(packet_id, reason);
        self.write(match qos {
            QoS::ExactlyOnce => ServerPacket::PubRec(ack),
            QoS::AtLeastOnce | QoS::AtMostOnce => ServerPacket::PubAck(ack),
        })
    }

    fn handle_subscribe(&mut self, subscribe: &Subscribe<'_>) -> Result<(), Ending> {
        let filters = &subscribe.filters;
        let mut reasons = Vec::with_capacity(filters.len());
        for (index, wanted) in filters.iter().enumerate() {
            // A packet can hold far more filters than a session may have.
            if index >= self.shared.limits.subscriptions_per_session {
                reasons.push(ReasonCode::QuotaExceeded);
                continue;
            }
            let repeated = filters[..index].iter().any(|earlier| earlier.filter == wanted.filter);
            reasons.push(match self.subscribe(wanted, subscribe.subscription_id, repeated) {
                Ok(()) => granted(wanted.qos),
                Err(reason) => reason,
            });
        }
        // The retained messages wait in the session until the output, which this is appended to, is written.
        self.write(ServerPacket::SubAck { packet_id: subscribe.packet_id, reasons: &reasons })
    }

    /// Adds or replaces a subscription `[MQTT-3.8.4-3]`, and sends the retained messages that it asks for.
    fn subscribe(
        &mut self,
        wanted: &SubscribeFilter<'_>,
        subscription_id: Option<u32>,
        repeated: bool,
    ) -> Result<(), ReasonCode> {
        if is_shared(wanted.filter) {
            return Err(ReasonCode::SharedSubscriptionsNotSupported);
        }
        if !self.shared.limits.allow_topic(wanted.filter) {
            return Err(ReasonCode::TopicFilterInvalid);
        }
        if !self.shared.may_subscribe(&*self.grant, wanted.filter) {
            return Err(ReasonCode::NotAuthorized);
        }
        let changes = self.shared.changing_retained.read();
        let mut lifetime = self.session.lifetime.lock();
        let before = lifetime.subscriptions.get(wanted.filter).copied();
        if before.is_none() && lifetime.subscriptions.len() >= self.shared.limits.subscriptions_per_session {
            return Err(ReasonCode::QuotaExceeded);
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
        Ok(())
    }

    fn handle_unsubscribe(&mut self, unsubscribe: &Unsubscribe<'_>) -> Result<(), Ending> {
        let mut reasons = Vec::with_capacity(unsubscribe.filters.len());
        for filter in &unsubscribe.filters {
            let existed = self.session.lifetime.lock().subscriptions.remove(*filter).is_some();
            self.shared.subscriptions.remove(filter, self.session.id);
            reasons.push(if existed { ReasonCode::Success } else { ReasonCode::NoSubscriptionExisted });
        }
        self.write(ServerPacket::UnsubAck { packet_id: unsubscribe.packet_id, reasons: &reasons })
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
            self.session_expiry = expiry.min(self.shared.limits.session_expiry_max);
        }
        Ending(DisconnectCause::Client(disconnect.reason))
    }
}

fn violation(reason: ReasonCode, what: &'static str) -> Ending {
    Ending(DisconnectCause::Violation { reason, what })
}

fn server_ack(packet_id: PacketId, reason: ReasonCode) -> ServerAck<'static> {
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
