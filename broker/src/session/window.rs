//! The QoS 1 and 2 messages in flight to a client: sent and not acknowledged to the end.

use std::{collections::VecDeque, num::NonZeroU16};

use crate::{
    codec::{PacketId, QoS, ReasonCode},
    queue::Delivery,
};

/// Room for entries that an empty window keeps: the memory of a burst is given back.
const KEPT_CAPACITY: usize = 16;

/// Messages in flight in the order in which they were sent first.
#[derive(Debug, Default)]
pub struct Window {
    entries: VecDeque<Entry>,
    last_id: u16,
    /// How many of the first entries are to be sent again: those that were in flight when the session was resumed.
    resend_from: Option<usize>,
}

#[derive(Debug)]
struct Entry {
    id: PacketId,
    state: State,
}

#[derive(Debug)]
enum State {
    /// PUBLISH sent; PUBACK or PUBREC is awaited.
    Published(Delivery),
    /// PUBREL sent; PUBCOMP is awaited.
    Released,
}

/// What has to be sent again when a session is resumed `[MQTT-4.4.0-1]`.
#[derive(Debug)]
pub enum Resend<'a> {
    /// PUBLISH with DUP.
    Publish(PacketId, &'a Delivery),
    /// PUBREL.
    PubRel(PacketId),
}

impl Window {
    /// How many are in flight.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// A Packet Identifier that is not in use. The caller keeps the window below 65,535 entries, so that there is one.
    pub fn free_id(&mut self) -> PacketId {
        loop {
            self.last_id = self.last_id.wrapping_add(1);
            if let Some(id) = NonZeroU16::new(self.last_id)
                && self.entries.iter().all(|entry| entry.id != id)
            {
                return id;
            }
        }
    }

    /// Adds a message that was sent for the first time.
    pub fn add(&mut self, id: PacketId, delivery: Delivery) {
        self.entries.push_back(Entry { id, state: State::Published(delivery) });
    }

    /// PUBACK: the message has arrived. Says whether there was one.
    pub fn handle_puback(&mut self, id: PacketId) -> bool {
        self.remove(id, |state| matches!(state, State::Published(d) if d.qos == QoS::AtLeastOnce))
    }

    /// PUBREC: the reason for the PUBREL, or `None` if no PUBREL is due because the client refused the message, which
    /// ends its handshake `[MQTT-4.3.3-4]`.
    pub fn handle_pubrec(&mut self, id: PacketId, reason: ReasonCode) -> Option<ReasonCode> {
        let exactly_once = |state: &State| matches!(state, State::Published(d) if d.qos == QoS::ExactlyOnce);
        if reason.is_error() {
            self.remove(id, exactly_once);
            return None;
        }
        let entry = self.entries.iter_mut().find(|entry| entry.id == id);
        match entry {
            Some(entry) if exactly_once(&entry.state) || matches!(entry.state, State::Released) => {
                entry.state = State::Released;
                Some(ReasonCode::Success)
            }
            _ => Some(ReasonCode::PacketIdentifierNotFound),
        }
    }

    /// PUBCOMP: the message has arrived exactly once. Says whether there was one.
    pub fn handle_pubcomp(&mut self, id: PacketId) -> bool {
        self.remove(id, |state| matches!(state, State::Released))
    }

    /// The session was resumed: all that is in flight is to be sent again, in its order.
    pub fn handle_resume(&mut self) {
        self.resend_from = (!self.entries.is_empty()).then_some(0);
    }

    /// Whether there is something left to be sent again. New messages have to wait for it.
    pub fn is_resending(&self) -> bool {
        self.resend_from.is_some()
    }

    /// The next one to be sent again while fewer than `allowed` of the earlier ones are unacknowledged; call
    /// [`Window::resent`] when it was.
    pub fn poll_resend(&self, allowed: usize) -> Option<Resend<'_>> {
        let at = self.resend_from?;
        let entry = self.entries.get(at)?;
        match &entry.state {
            State::Released => Some(Resend::PubRel(entry.id)),
            State::Published(delivery) => (at < allowed).then_some(Resend::Publish(entry.id, delivery)),
        }
    }

    /// The one that `poll_resend` gave was sent.
    pub fn resent(&mut self) {
        self.resend_from = self.resend_from.map(|at| at + 1).filter(|at| *at < self.entries.len());
    }

    /// Removes the one that `poll_resend` gave instead of sending it, because the client does not take it.
    pub fn discard_resend(&mut self) {
        if let Some(at) = self.resend_from {
            self.entries.remove(at);
            self.resend_from = Some(at).filter(|at| *at < self.entries.len());
        }
    }

    fn remove(&mut self, id: PacketId, wanted: impl Fn(&State) -> bool) -> bool {
        let Some(at) = self.entries.iter().position(|entry| entry.id == id && wanted(&entry.state)) else {
            return false;
        };
        self.entries.remove(at);
        self.resend_from = self
            .resend_from
            .map(|resend_from| if at < resend_from { resend_from - 1 } else { resend_from })
            .filter(|resend_from| *resend_from < self.entries.len());
        if self.entries.is_empty() && self.entries.capacity() > KEPT_CAPACITY {
            self.entries = VecDeque::new();
        }
        true
    }
}

#[cfg(test)]
#[path = "window_tests.rs"]
mod tests;
