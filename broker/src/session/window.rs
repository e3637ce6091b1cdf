//! The QoS 1 and 2 messages in flight to a client: sent and not acknowledged to the end.

use std::collections::VecDeque;

use tokio::time::Instant;

use super::{
    entry::{Content, Entry},
    flows::FlowIndex,
};
use crate::{
    codec::{PacketId, QoS, ReasonCode},
    store::Sequence,
};

/// Room for entries that an empty window keeps: the memory of a burst is given back.
const KEPT_CAPACITY: usize = 16;

/// Messages in flight on one network connection, in the order in which they were sent.
#[derive(Debug, Default)]
pub struct Window {
    entries: VecDeque<InFlight>,
}

#[derive(Debug)]
struct InFlight {
    entry: Entry,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// PUBLISH sent; PUBACK or PUBREC is awaited.
    Published,
    /// PUBREC came; before PUBREL goes out it has to be kept that it came.
    Releasing,
    /// PUBREL sent; PUBCOMP is awaited.
    Released,
}

/// What a PUBREC calls for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Received {
    /// It is the first for this message: release it.
    Release(Sequence),
    /// It came before: the PUBREL is due, with this reason.
    PubRel(ReasonCode),
    /// The client refused the message, which ends its handshake `[MQTT-4.3.3-4]`.
    Refused(Sequence),
    /// Nothing: PUBREL follows by itself, or there is no such message and the client does not want it either.
    Nothing,
}

impl Window {
    /// How many are in flight.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether the Packet Identifier of the next one to send is in use. All numbers in flight are lower, so it cannot be
    /// unless the oldest is from a whole round of identifiers ago.
    pub fn is_in_use(&self, next: &Entry) -> bool {
        const ROUND: Sequence = u16::MAX as Sequence;
        let may_be = self.first().is_some_and(|first| first.saturating_add(ROUND) <= next.sequence);
        may_be && self.entries.iter().any(|in_flight| in_flight.entry.packet_id() == next.packet_id())
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter().map(|in_flight| &in_flight.entry)
    }

    /// The oldest in flight.
    pub fn first(&self) -> Option<Sequence> {
        self.entries.front().map(|in_flight| in_flight.entry.sequence)
    }

    /// The message with this number, if it is in flight.
    pub fn get(&self, sequence: Sequence) -> Option<&Entry> {
        let at = self.entries.binary_search_by_key(&sequence, |in_flight| in_flight.entry.sequence).ok()?;
        self.entries.get(at).map(|in_flight| &in_flight.entry)
    }

    /// Adds what was sent: a PUBLISH, or the PUBREL of a message that was released on an earlier connection. Numbers
    /// ascend.
    pub fn add(&mut self, entry: Entry) {
        let state = match entry.content {
            Content::Message(_) | Content::Revoked(_) => State::Published,
            Content::Released => State::Released,
        };
        self.entries.push_back(InFlight { entry, state });
    }

    /// PUBACK: which message has arrived, if one has.
    pub fn handle_puback(&mut self, id: PacketId) -> Option<Entry> {
        self.remove(id, |in_flight| in_flight.awaits_first_answer(QoS::AtLeastOnce))
    }

    /// PUBREC.
    pub fn handle_pubrec(&mut self, id: PacketId, reason: ReasonCode) -> Received {
        if reason.is_error() {
            let refused = self.remove(id, |in_flight| in_flight.awaits_first_answer(QoS::ExactlyOnce));
            return refused.map_or(Received::Nothing, |entry| Received::Refused(entry.sequence));
        }
        match self.entries.iter_mut().find(|in_flight| in_flight.entry.packet_id() == id) {
            Some(in_flight) if in_flight.awaits_first_answer(QoS::ExactlyOnce) => {
                in_flight.state = State::Releasing;
                Received::Release(in_flight.entry.sequence)
            }
            Some(InFlight { state: State::Releasing, .. }) => Received::Nothing,
            Some(InFlight { state: State::Released, .. }) => Received::PubRel(ReasonCode::Success),
            _ => Received::PubRel(ReasonCode::PacketIdentifierNotFound),
        }
    }

    /// When the message arrived whose PUBREC came, if that is to be measured, and what it counts for. Once only.
    pub fn take_arrival(&mut self, sequence: Sequence) -> Option<(FlowIndex, Instant)> {
        let at = self.entries.binary_search_by_key(&sequence, |in_flight| in_flight.entry.sequence).ok()?;
        self.entries.get_mut(at)?.entry.take_arrival()
    }

    /// It is kept that PUBREC came: the identifier of the PUBREL that is due, unless that was known before or the message
    /// is not in flight any more.
    pub fn handle_released(&mut self, sequence: Sequence) -> Option<PacketId> {
        let at = self.entries.binary_search_by_key(&sequence, |in_flight| in_flight.entry.sequence).ok()?;
        let in_flight = self.entries.get_mut(at).filter(|in_flight| in_flight.state == State::Releasing)?;
        in_flight.state = State::Released;
        in_flight.entry.content = Content::Released;
        Some(in_flight.entry.packet_id())
    }

    /// PUBCOMP: which message has arrived exactly once, if one has.
    pub fn handle_pubcomp(&mut self, id: PacketId) -> Option<Sequence> {
        self.remove(id, |in_flight| in_flight.state == State::Released).map(|entry| entry.sequence)
    }

    /// Those whose release has to be kept: since PUBREC came, and their PUBREL waits for it, or since nothing else is left
    /// of the message.
    pub fn releasing(&self) -> impl Iterator<Item = Sequence> {
        let is_releasing = |in_flight: &&InFlight| {
            in_flight.state == State::Releasing
                || matches!(in_flight.entry.content, Content::Revoked(QoS::ExactlyOnce))
        };
        self.entries.iter().filter(is_releasing).map(|in_flight| in_flight.entry.sequence)
    }

    /// Of what is revoked nothing stays but its place, until its client has acknowledged it. Gives the numbers, and whether
    /// a release has to be kept in the message's stead.
    pub fn revoke(&mut self, is_revoked: impl Fn(&Entry) -> bool) -> Vec<(Sequence, bool)> {
        let mut revoked = Vec::new();
        for InFlight { entry, state } in self.entries.iter_mut().filter(|one| is_revoked(&one.entry)) {
            let Some(qos) = entry.qos() else { continue };
            entry.content = Content::Revoked(qos);
            if *state == State::Published {
                revoked.push((entry.sequence, qos == QoS::ExactlyOnce));
            }
        }
        revoked
    }

    /// The network connection ended: takes all out. A message whose release is not kept yet counts as not released. Of what
    /// was revoked only the PUBREL of QoS 2 is left to send.
    pub fn take_all(&mut self) -> impl DoubleEndedIterator<Item = Entry> {
        std::mem::take(&mut self.entries).into_iter().filter_map(|InFlight { entry, .. }| {
            match entry.content {
                Content::Revoked(QoS::ExactlyOnce) => Some(Entry { content: Content::Released, ..entry }),
                Content::Revoked(_) => None,
                Content::Message(_) | Content::Released => Some(entry),
            }
        })
    }

    fn remove(&mut self, id: PacketId, wanted: impl Fn(&InFlight) -> bool) -> Option<Entry> {
        let at = self
            .entries
            .iter()
            .position(|in_flight| in_flight.entry.packet_id() == id && wanted(in_flight))?;
        let removed = self.entries.remove(at)?;
        if self.entries.is_empty() && self.entries.capacity() > KEPT_CAPACITY {
            self.entries = VecDeque::new();
        }
        Some(removed.entry)
    }
}

impl InFlight {
    fn awaits_first_answer(&self, wanted: QoS) -> bool {
        self.state == State::Published && self.entry.qos() == Some(wanted)
    }
}

#[cfg(test)]
#[path = "window_tests.rs"]
mod tests;
