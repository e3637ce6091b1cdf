//! A message on its way to the client of one session.

use std::{collections::VecDeque, num::NonZeroU16};

use tokio::time::Instant;

use super::flows::FlowIndex;
use crate::{
    codec::{PacketId, QoS},
    queue::Delivery,
    store::Sequence,
};

/// Room that an empty list keeps: the memory of a burst is given back.
const KEPT_CAPACITY: usize = 16;

/// A message on its way to the client.
#[derive(Debug)]
pub struct Entry {
    /// Its number in the session, from which its Packet Identifier follows.
    pub sequence: Sequence,
    /// What it counts for while it waits.
    pub flow: FlowIndex,
    /// When it is dropped unless it has been sent once, in milliseconds since the Unix epoch.
    pub expires_at: u64,
    /// Whether it was sent before, on another connection: then it is sent again, and does not count any more.
    pub again: bool,
    /// When it arrived, if its client was there: how long it takes to be acknowledged is measured.
    pub arrived: Option<Instant>,
    /// What is sent.
    pub content: Content,
}

/// What is sent.
#[derive(Debug)]
pub enum Content {
    /// PUBLISH.
    Message(Delivery),
    /// PUBREL.
    Released,
    /// Nothing more: its client may not hear this message any more, which is in flight with this QoS.
    Revoked(QoS),
}

impl Entry {
    /// Follows from the number alone, so that a QoS 2 message has the same one after a crash.
    pub fn packet_id(&self) -> PacketId {
        let from_0 = (self.sequence.saturating_sub(1) % u64::from(u16::MAX)) as u16;
        NonZeroU16::MIN.saturating_add(from_0)
    }

    /// Bytes that it counts for.
    pub fn size(&self) -> usize {
        self.message().map_or(0, Delivery::size)
    }

    /// The message, unless it was released.
    pub fn message(&self) -> Option<&Delivery> {
        match &self.content {
            Content::Message(delivery) => Some(delivery),
            Content::Released | Content::Revoked(_) => None,
        }
    }

    /// The QoS in which it was sent, or is to be, unless it was released.
    pub fn qos(&self) -> Option<QoS> {
        match &self.content {
            Content::Message(delivery) => Some(delivery.qos),
            Content::Revoked(qos) => Some(*qos),
            Content::Released => None,
        }
    }

    /// Whether its queue's longest age, and not its publisher, says when it is dropped.
    pub fn ages(&self) -> bool {
        self.message().is_some_and(|delivery| self.expires_at < delivery.message.expires_at())
    }

    /// When it arrived, if that is to be measured, and what it counts for. Once only, and not of one that is revoked.
    pub fn take_arrival(&mut self) -> Option<(FlowIndex, Instant)> {
        let arrived = self.arrived.take().filter(|_| self.message().is_some());
        arrived.map(|arrived| (self.flow, arrived))
    }

    /// Whether it is a message of QoS 2.
    pub fn is_exactly_once(&self) -> bool {
        self.message().is_some_and(|delivery| delivery.qos == QoS::ExactlyOnce)
    }
}

/// Entries in the order of their numbers, and what they hold together.
#[derive(Debug, Default)]
pub struct Entries {
    list: VecDeque<Entry>,
    bytes: usize,
}

impl Entries {
    /// How many.
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// What [`Entry::size`] says of all.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The first.
    pub fn front(&self) -> Option<&Entry> {
        self.list.front()
    }

    /// All.
    pub fn iter(&self) -> impl Iterator<Item = &Entry> {
        self.list.iter()
    }

    /// The one with this number.
    pub fn get(&self, sequence: Sequence) -> Option<&Entry> {
        self.position(sequence).and_then(|at| self.list.get(at))
    }

    /// Appends one with a higher number than all others.
    pub fn push_back(&mut self, entry: Entry) {
        self.count_in(&entry);
        self.list.push_back(entry);
    }

    /// Puts one with a lower number than all others in.
    pub fn push_front(&mut self, entry: Entry) {
        self.count_in(&entry);
        self.list.push_front(entry);
    }

    /// Takes the first out.
    pub fn pop_front(&mut self) -> Option<Entry> {
        self.take_at(Some(0))
    }

    /// Takes the one with this number out.
    pub fn take(&mut self, sequence: Sequence) -> Option<Entry> {
        self.take_at(self.position(sequence))
    }

    /// Takes the first one out that is wanted.
    pub fn take_first(&mut self, wanted: impl Fn(&Entry) -> bool) -> Option<Entry> {
        self.take_at(self.list.iter().position(wanted))
    }

    /// Takes those out that are revoked. Of a QoS 2 message that is sent again its client may know the identifier, so its
    /// PUBREL stays.
    pub fn revoke(&mut self, is_revoked: impl Fn(&Entry) -> bool) -> Vec<Entry> {
        let mut revoked = Vec::new();
        if !self.list.iter().any(&is_revoked) {
            return revoked;
        }
        for entry in std::mem::take(self).list {
            if !is_revoked(&entry) {
                self.push_back(entry);
                continue;
            }
            if entry.again && entry.is_exactly_once() {
                let (sequence, flow, expires_at) = (entry.sequence, entry.flow, entry.expires_at);
                let content = Content::Released;
                self.push_back(Entry { sequence, flow, expires_at, again: true, arrived: None, content });
            }
            revoked.push(entry);
        }
        revoked
    }

    /// How long they take is not measured any more.
    pub fn forget_arrivals(&mut self) {
        for entry in &mut self.list {
            entry.arrived = None;
        }
    }

    /// Takes all out.
    pub fn clear(&mut self) {
        *self = Self::default();
    }

    fn position(&self, sequence: Sequence) -> Option<usize> {
        self.list.binary_search_by_key(&sequence, |entry| entry.sequence).ok()
    }

    fn take_at(&mut self, at: Option<usize>) -> Option<Entry> {
        let entry = self.list.remove(at?)?;
        self.bytes -= entry.size();
        if self.list.is_empty() && self.list.capacity() > KEPT_CAPACITY {
            self.list = VecDeque::new();
        }
        Some(entry)
    }

    fn count_in(&mut self, entry: &Entry) {
        self.bytes += entry.size();
    }
}
