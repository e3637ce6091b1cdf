//! What a client is answered once what it sent is kept.

use std::{collections::VecDeque, sync::Arc, task::Context};

use tokio::io::{AsyncRead, AsyncWrite};

use super::{Connection, Ending, packets::server_ack};
use crate::{
    codec::{PacketId, QoS, ReasonCode, ServerPacket},
    events::{Counters, DisconnectCause},
    session::{Outcome, Receipt},
};

/// Beyond so many answers that wait nothing more is read from the client.
const MANY: usize = 4096;
/// Beyond so many bytes of messages whose acknowledgement waits nothing more is read from the client.
const MANY_BYTES: usize = 1024 * 1024;

/// The answers that wait. Each kind of acknowledgement goes out in the order of what it acknowledges
/// `[MQTT-4.6.0-2, -3]`.
#[derive(Default)]
pub struct Answers {
    /// PUBACKs: some wait for an acknowledgement of somebody else.
    of_qos_1: VecDeque<Answer>,
    /// All others wait for the store only.
    others: VecDeque<Answer>,
    /// How many of them are SUBACKs.
    of_subscribe: usize,
    bytes: usize,
}

/// An answer and what it waits for.
pub struct Answer {
    /// Settled when it may go out.
    pub receipt: Arc<Receipt>,
    /// What goes out.
    pub what: What,
    /// Bytes of the message that is acknowledged.
    pub bytes: usize,
}

/// What is answered.
pub enum What {
    /// PUBACK or PUBREC, for a message of the flow with this name unless it is a duplicate.
    Publish { qos: QoS, packet_id: PacketId, reason: ReasonCode, flow: Option<Arc<str>> },
    /// PUBCOMP.
    PubComp { packet_id: PacketId, reason: ReasonCode },
    /// SUBACK.
    SubAck { packet_id: PacketId, reasons: Vec<ReasonCode>, added: Vec<Box<str>> },
    /// UNSUBACK.
    UnsubAck { packet_id: PacketId, reasons: Vec<ReasonCode> },
}

impl Answers {
    /// One more that waits.
    pub fn push(&mut self, answer: Answer) {
        self.bytes += answer.bytes;
        self.of_subscribe += usize::from(answer.is_of_subscribe());
        match answer.what {
            What::Publish { qos: QoS::AtLeastOnce, .. } => self.of_qos_1.push_back(answer),
            _ => self.others.push_back(answer),
        }
    }

    /// Whether so many wait that the client has to wait, too.
    pub fn are_many(&self) -> bool {
        self.of_qos_1.len() + self.others.len() >= MANY || self.bytes >= MANY_BYTES
    }

    /// Whether a SUBACK waits: clients expect it before what they subscribed to, though they may not rely on it.
    pub fn include_suback(&self) -> bool {
        self.of_subscribe > 0
    }

    /// Whether none wait that an acknowledgement of this QoS must not overtake.
    pub fn are_none(&self, qos: QoS) -> bool {
        match qos {
            QoS::AtLeastOnce => self.of_qos_1.is_empty(),
            QoS::ExactlyOnce | QoS::AtMostOnce => self.others.is_empty(),
        }
    }

    fn pop_due(&mut self) -> Option<(Outcome, Answer)> {
        for queue in [&mut self.of_qos_1, &mut self.others] {
            let Some(outcome) = queue.front().and_then(|answer| answer.receipt.outcome()) else { continue };
            let Some(answer) = queue.pop_front() else { continue };
            if queue.is_empty() {
                *queue = VecDeque::new();
            }
            self.bytes -= answer.bytes;
            self.of_subscribe -= usize::from(answer.is_of_subscribe());
            return Some((outcome, answer));
        }
        None
    }
}

impl Answer {
    fn is_of_subscribe(&self) -> bool {
        matches!(self.what, What::SubAck { .. })
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<'_, S> {
    /// Appends all answers that are due.
    pub(super) fn write_answers(&mut self, cx: &mut Context<'_>) -> Result<(), Ending> {
        if self.answers.are_none(QoS::AtLeastOnce) && self.answers.are_none(QoS::ExactlyOnce) {
            return Ok(());
        }
        self.session.bell.register(cx.waker());
        while let Some((outcome, Answer { what, receipt, .. })) = self.answers.pop_due() {
            match what {
                What::Publish { qos, packet_id, reason, flow } => {
                    if let Some(flow) = flow.filter(|_| outcome == Outcome::Refused) {
                        self.session.inbound.lock().count_refused(&flow);
                    }
                    self.answer_publish(qos, packet_id, reason, &receipt, outcome)?;
                }
                What::PubComp { packet_id, reason } => self.answer_pubrel(packet_id, reason, outcome)?,
                What::SubAck { packet_id, reasons, added } => {
                    self.answer_subscribe(packet_id, reasons, &added, outcome)?;
                }
                What::UnsubAck { packet_id, mut reasons } => {
                    if outcome == Outcome::Refused {
                        reasons.fill(ReasonCode::UnspecifiedError);
                    }
                    self.write(ServerPacket::UnsubAck { packet_id, reasons: &reasons })?;
                }
            }
        }
        Ok(())
    }

    fn answer_publish(
        &mut self,
        qos: QoS,
        packet_id: PacketId,
        reason: ReasonCode,
        receipt: &Arc<Receipt>,
        outcome: Outcome,
    ) -> Result<(), Ending> {
        {
            let mut inbound = self.session.inbound.lock();
            match qos {
                QoS::ExactlyOnce => inbound.handle_settled(packet_id, receipt, outcome),
                QoS::AtLeastOnce | QoS::AtMostOnce => inbound.acknowledge(),
            }
        }
        match outcome {
            Outcome::Kept => self.write_acknowledgement(qos, packet_id, reason),
            Outcome::Refused => {
                Counters::add(&self.shared.counters.not_kept, 1);
                self.refuse_acknowledgement(qos, packet_id)
            }
        }
    }

    /// An identifier that is not free again in the store must not be told to be free.
    fn answer_pubrel(
        &mut self,
        packet_id: PacketId,
        reason: ReasonCode,
        outcome: Outcome,
    ) -> Result<(), Ending> {
        if outcome == Outcome::Refused {
            return Err(Ending(DisconnectCause::Server(ReasonCode::QuotaExceeded)));
        }
        self.write(ServerPacket::PubComp(server_ack(packet_id, reason)))
    }

    /// Subscriptions that could not be kept are taken back.
    fn answer_subscribe(
        &mut self,
        packet_id: PacketId,
        mut reasons: Vec<ReasonCode>,
        added: &[Box<str>],
        outcome: Outcome,
    ) -> Result<(), Ending> {
        if outcome == Outcome::Refused {
            let mut lifetime = self.session.lifetime.lock();
            for filter in added {
                lifetime.subscriptions.remove(filter);
                self.shared.subscriptions.remove(filter, self.session.id);
                // Nobody knows whether the attempt that failed is in effect after all.
                self.shared.forget_subscription(self.session, filter);
            }
            for reason in reasons.iter_mut().filter(|reason| !reason.is_error()) {
                *reason = ReasonCode::QuotaExceeded;
            }
        }
        self.write(ServerPacket::SubAck { packet_id, reasons: &reasons })
    }
}
