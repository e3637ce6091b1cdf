//! The QoS 1 and 2 messages that wait for one session, in order and within limits: in memory as far as they may be
//! sent soon, the rest of a session that is kept only in the store.
//!
//! Without sockets, files and clocks. What is to be done with the store is noted as [`Work`], which whoever called
//! takes and performs; its result comes back through a `handle_…`.

mod backlog;
mod revoked;

use std::{sync::Arc, time::Duration};

pub use revoked::is_revoked;

use super::{
    entry::{Content, Entries, Entry},
    flows::{FlowIndex, Flows, Place},
    latency::Latencies,
    unsettled::{Arrived, Open, Unsettled, settle},
    work::{Wanted, Work},
};
use crate::{
    access::Flow,
    codec::QoS,
    limits::{Limit, LimitTally, WhenFull},
    queue::{Delivery, QueueFull},
    store::{QueuedMessage, Sequence, StoredSession, Totals, Trim},
};

/// Messages of a kept session that wait in memory at most; what comes while there are more waits in the store only. Few
/// in tests, so that they come to it soon.
const IN_MEMORY: usize = if cfg!(any(test, fuzzing)) { 8 } else { 512 };
/// Their bytes at most, but for one message.
const IN_MEMORY_BYTES: usize = 256 * 1024;
/// With so few left, more are loaded.
const LOAD_BELOW: usize = if cfg!(any(test, fuzzing)) { 2 } else { 64 };
/// So many are loaded at once.
pub const LOAD_MESSAGES: usize = if cfg!(any(test, fuzzing)) { 3 } else { 256 };
/// So many bytes of them.
pub const LOAD_BYTES: usize = 128 * 1024;

/// The messages that wait for a session.
#[derive(Debug)]
pub struct Assured {
    kept: bool,
    over: bool,
    flows: Flows,
    /// The number of the next message.
    next: Sequence,
    /// In memory.
    waiting: Entries,
    /// From this one on messages are in the store, or on their way there, and not in memory.
    stored_from: Option<Sequence>,
    /// The newest of those, up to the last one, are in memory all the same while few are stored: once all before them are
    /// loaded, they follow. Else who returns to a backlog would have all that comes written and loaded for as long as it
    /// comes faster than commits.
    following: Entries,
    unsettled: Unsettled,
    /// While the client owes the acknowledgement of one up to this, what comes is written at once.
    behind_until: Sequence,
    /// Messages below were sent before the connection that is, or comes next.
    sent_below: Sequence,
    /// A load or trim is under way.
    busy: bool,
    /// It is a trim of this flow.
    trimming: Option<FlowIndex>,
    /// What it removes does not count any more, since the flow was revoked.
    ignores_trim: bool,
    /// The last load failed: there is no other one before there is a reason to believe that it would succeed.
    load_failed: bool,
    /// Expired messages in the store are not looked for again before, in milliseconds since the Unix epoch.
    next_search: u64,
    work: Vec<Work>,
    /// Messages that were dropped for their age to make room.
    expired: u64,
    acted: LimitTally,
}

impl Assured {
    /// Without messages. `kept` says whether the session is in the store.
    pub fn new(kept: bool) -> Self {
        Self {
            kept,
            over: false,
            flows: Flows::default(),
            next: 1,
            waiting: Entries::default(),
            stored_from: None,
            following: Entries::default(),
            unsettled: Unsettled::default(),
            behind_until: 0,
            sent_below: 0,
            busy: false,
            trimming: None,
            ignores_trim: false,
            load_failed: false,
            next_search: 0,
            work: Vec::new(),
            expired: 0,
            acted: LimitTally::default(),
        }
    }

    /// As it was kept. `max_inflight` messages may have been sent if the process died while the client was connected.
    pub fn restored(stored: &StoredSession, max_inflight: u16) -> Self {
        let known = stored.record.sent_below;
        let sent_below = match stored.range {
            Some((first, last)) if stored.record.left_at.is_none() => {
                known.max((first + u64::from(max_inflight)).min(last + 1))
            }
            _ => known,
        };
        Self {
            flows: Flows::restored(stored.totals.clone()),
            next: stored.range.map_or(1, |(_, last)| last + 1).max(sent_below),
            stored_from: stored.range.map(|(first, _)| first),
            sent_below,
            ..Self::new(true)
        }
    }

    /// The session is over: nothing waits, and nothing will.
    pub fn end(&mut self) {
        self.over = true;
        self.waiting.clear();
        self.following.clear();
        self.stored_from = None;
        self.flows.clear();
        self.work.clear();
        self.unsettled.end();
    }

    /// What is to be done with the store.
    pub fn take_work(&mut self) -> Vec<Work> {
        std::mem::take(&mut self.work)
    }

    /// How often its limits acted since the last call.
    pub fn take_acted(&mut self) -> LimitTally {
        std::mem::take(&mut self.acted)
    }

    /// How many messages were dropped for their age to make room since the last call.
    pub fn take_expired(&mut self) -> u64 {
        std::mem::take(&mut self.expired)
    }

    /// How many messages of each flow gave way, expired or were too large since the last call.
    pub fn take_dropped_of_flows(&mut self) -> Vec<(Arc<str>, u64)> {
        self.flows.take_dropped()
    }

    /// So long a message of this flow took to be acknowledged.
    pub fn count_latency(&mut self, flow: FlowIndex, took: Duration) {
        self.flows.count_latency(flow, took);
    }

    /// How long the last messages of each flow took that were acknowledged since the last call.
    pub fn take_latencies(&mut self) -> Vec<(Arc<str>, Latencies)> {
        self.flows.take_latencies()
    }

    /// What of each flow waits, or was sent and has not arrived yet.
    pub fn pending_of_flows<'a>(
        &'a self,
        in_flight: impl Iterator<Item = &'a Entry>,
    ) -> Vec<(Arc<str>, Totals)> {
        self.flows.pending(in_flight.chain(self.waiting.iter().filter(|entry| entry.again)))
    }

    /// How many messages wait, those that are sent again included.
    #[cfg(test)]
    pub fn len(&self) -> usize {
        let waiting = self.flows.pending(std::iter::empty());
        let again = self.waiting.iter().filter(|entry| entry.again).count();
        waiting.iter().map(|(_, waiting)| waiting.messages as usize).sum::<usize>() + again
    }

    /// Messages below were sent before the connection that is, or comes next.
    pub fn sent_below(&self) -> Sequence {
        self.sent_below
    }

    /// Promises a place, so that a message for several queues gets into all of them or into none. A flow that is full
    /// first lets go of what has expired when this message arrived. None is needed where the oldest give way.
    ///
    /// # Errors
    /// [`QueueFull`].
    pub fn reserve(&mut self, flow: &Flow, delivery: &Delivery) -> Result<Option<Place>, QueueFull> {
        let index = self.flows.find(flow);
        if self.over || flow.limits.when_full == WhenFull::DropOldest {
            return Ok(None);
        }
        let bytes = delivery.size();
        self.flows
            .reserve(index, bytes)
            .or_else(|_| {
                self.remove_expired(index, delivery.message.received_at());
                self.flows.reserve(index, bytes)
            })
            .map(Some)
    }

    /// Gives a promised place back.
    pub fn release(&mut self, place: Option<Place>) {
        if let Some(place) = place {
            self.flows.release(&place);
        }
    }

    /// Appends a message that a place was promised for, or that the oldest give way to: how many did. `in_flight_from` is
    /// the oldest in flight, `online` whether there is a client.
    pub fn push(
        &mut self,
        flow: &Flow,
        place: Option<Place>,
        delivery: Delivery,
        wanted: Wanted,
        online: bool,
        in_flight_from: Option<Sequence>,
    ) -> u64 {
        let bytes = delivery.size();
        let index = self.flows.find(flow);
        let mut dropped = 0;
        match &place {
            Some(place) => self.flows.release(place),
            None if self.over => {}
            None => {
                let room;
                (dropped, room) = self.make_room(index, bytes);
                if !room {
                    self.flows.count_dropped(index, 1);
                    settle(wanted.receipt, true);
                    return dropped + 1;
                }
            }
        }
        if self.over {
            settle(wanted.receipt, true);
            return 0;
        }
        let sequence = self.next;
        self.next += 1;
        self.flows.add(index, bytes);
        let max_age = flow.limits.max_age.map_or(u64::MAX, |age| age.as_millis() as u64);
        let since = wanted.since.unwrap_or(delivery.message.received_at());
        let expires_at = delivery.message.expires_at().min(since.saturating_add(max_age));
        let in_memory = !self.kept || online && self.has_memory();
        if self.kept {
            let at_once = wanted.at_once
                || delivery.qos == QoS::ExactlyOnce
                || !in_memory
                || self.is_behind(in_flight_from);
            let receipt = wanted.receipt;
            self.unsettled.push(Open {
                sequence,
                flow: index,
                bytes,
                receipt,
                writing: at_once,
                done: false,
            });
            if at_once {
                self.write(sequence, index, expires_at, delivery.clone());
            }
        } else if wanted.is_remembered && delivery.qos == QoS::ExactlyOnce {
            let receipt = None;
            self.unsettled.push(Open { sequence, flow: index, bytes, receipt, writing: true, done: false });
            self.work.push(Work::Await(sequence));
        }
        let content = Content::Message(delivery);
        let arrived = wanted.arrived.filter(|_| online);
        let entry = Entry { sequence, flow: index, expires_at, again: false, arrived, content };
        if in_memory {
            self.waiting.push_back(entry);
        } else {
            let stored_from = *self.stored_from.get_or_insert(sequence);
            if online {
                self.follow(stored_from, entry);
            }
        }
        dropped
    }

    /// Whether the next message of a session that is kept is the first one that is not in memory.
    pub fn is_full_in_memory(&self) -> bool {
        self.kept && self.stored_from.is_none() && !self.has_memory()
    }

    /// The next one to send. `None` also if it has to be kept before.
    pub fn front(&self) -> Option<&Entry> {
        let front = self.waiting.front()?;
        let held_back = front.is_exactly_once() && self.unsettled.contains(front.sequence);
        (!held_back).then_some(front)
    }

    /// Takes the next one out: it is in flight now.
    pub fn take_front(&mut self) -> Option<Entry> {
        let entry = self.waiting.pop_front()?;
        self.count_out(&entry);
        Some(entry)
    }

    /// The next one is not sent, because it is too large.
    pub fn drop_front(&mut self) {
        if let Some(entry) = self.take_front() {
            self.flows.count_dropped(entry.flow, 1);
            self.handle_arrived(entry.sequence);
        }
    }

    /// The next one to send is too old.
    pub fn drop_expired_front(&mut self) {
        if let Some(entry) = self.take_front() {
            self.count_expired(&entry);
            self.handle_arrived(entry.sequence);
        }
    }

    /// A message arrived for good, or will never have to.
    pub fn handle_arrived(&mut self, sequence: Sequence) {
        if self.kept && self.unsettled.handle_arrived(sequence) == Arrived::Stored {
            self.work.push(Work::Forget(sequence));
        }
    }

    /// PUBREC came: it has to be kept before PUBREL goes out. False if there is no need.
    pub fn handle_received(&mut self, sequence: Sequence) -> bool {
        if self.kept {
            self.work.push(Work::Release(sequence));
        }
        self.kept
    }

    /// A message is in the store, or could not be written: then nobody has it.
    pub fn handle_written(&mut self, sequence: Sequence, written: bool) {
        let Some(open) = self.unsettled.handle_written(sequence, written) else { return };
        if written && open.done {
            if self.kept {
                self.work.push(Work::Forget(sequence));
            }
        } else if !written && !open.done {
            if let Some(entry) = self.waiting.take(sequence).or_else(|| self.following.take(sequence)) {
                self.count_out(&entry);
            } else if self.stored_from.is_some_and(|from| from <= sequence) {
                self.flows.subtract(open.flow, open.bytes);
            }
        }
    }

    /// The first message that its client still has a moment to acknowledge before it is written.
    pub fn first_unwritten(&self) -> Option<Sequence> {
        self.unsettled.first_unwritten()
    }

    /// The number of the next message.
    pub fn next(&self) -> Sequence {
        self.next
    }

    /// The moment is over for those below: they are written. `in_flight` finds a message that is in flight.
    pub fn write_below<'a>(&mut self, below: Sequence, in_flight: impl Fn(Sequence) -> Option<&'a Entry>) {
        for (sequence, flow) in self.unsettled.begin_writing(below).collect::<Vec<_>>() {
            let entry = self.waiting.get(sequence).or_else(|| in_flight(sequence));
            let Some(delivery) = entry.and_then(Entry::message).cloned() else { continue };
            let expires_at = entry.map_or(u64::MAX, |entry| entry.expires_at);
            self.write(sequence, flow, expires_at, delivery);
            self.behind_until = self.next - 1;
        }
    }

    /// The network connection ended, with these in flight: of a session that is kept nothing stays in memory.
    pub fn handle_disconnect(&mut self, in_flight: Vec<Entry>) {
        if let Some(last) = in_flight.last() {
            self.sent_below = self.sent_below.max(last.sequence + 1);
        }
        if !self.kept {
            for entry in in_flight.into_iter().rev() {
                self.waiting.push_front(Entry { again: true, ..entry });
            }
            self.waiting.forget_arrivals();
            return;
        }
        self.write_below(self.next, |sequence| {
            let at = in_flight.binary_search_by_key(&sequence, |entry| entry.sequence).ok()?;
            in_flight.get(at)
        });
        let first = in_flight.first().or(self.waiting.front()).map(|entry| entry.sequence);
        self.stored_from = first.or(self.stored_from);
        for entry in in_flight.iter().chain(self.waiting.iter().filter(|entry| entry.again)) {
            if entry.message().is_some() {
                self.flows.add(entry.flow, entry.size());
            }
        }
        self.waiting.clear();
        self.following.clear();
    }

    fn has_memory(&self) -> bool {
        self.stored_from.is_none() && self.has_room_in_memory()
    }

    /// Whether the client owes an acknowledgement for longer than a moment.
    fn is_behind(&self, in_flight_from: Option<Sequence>) -> bool {
        let oldest = in_flight_from.or_else(|| self.waiting.front().map(|entry| entry.sequence));
        oldest.is_some_and(|oldest| oldest <= self.behind_until)
    }

    fn write(&mut self, sequence: Sequence, flow: FlowIndex, expires_at: u64, delivery: Delivery) {
        let flow = Arc::clone(self.flows.name(flow));
        self.work.push(Work::Write(QueuedMessage { sequence, flow, expires_at, delivery }));
    }

    /// It does not wait in memory any more, nor count.
    fn count_out(&mut self, entry: &Entry) {
        if !entry.again {
            self.flows.subtract(entry.flow, entry.size());
        }
    }

    /// The oldest of the flow give way until there is room: how many, and whether there is room; there is none if all
    /// places are promised.
    fn make_room(&mut self, flow: FlowIndex, bytes: usize) -> (u64, bool) {
        let mut dropped = 0;
        loop {
            match self.flows.reserve(flow, bytes) {
                Ok(place) => {
                    self.flows.release(&place);
                    return (dropped, true);
                }
                Err(QueueFull(limit)) => self.acted.note(limit),
            }
            let oldest = self.waiting.take_first(|entry| entry.flow == flow && !entry.again);
            if let Some(entry) = oldest {
                self.count_out(&entry);
                self.handle_arrived(entry.sequence);
                self.flows.count_dropped(flow, 1);
                dropped += 1;
            } else if self.stored_from.is_some() {
                self.trim(flow, Trim::Oldest { messages: 1, bytes: bytes as u64 });
                return (dropped, true);
            } else {
                return (dropped, false);
            }
        }
    }

    fn remove_expired(&mut self, flow: FlowIndex, now: u64) {
        const PAUSE_MS: u64 = 1000;
        let expired = |entry: &Entry| entry.flow == flow && !entry.again && entry.expires_at <= now;
        while let Some(entry) = self.waiting.take_first(expired) {
            self.count_expired(&entry);
            self.count_out(&entry);
            self.handle_arrived(entry.sequence);
        }
        if self.next_search <= now {
            self.next_search = now + PAUSE_MS;
            self.trim(flow, Trim::Expired(now));
        }
    }

    fn count_expired(&mut self, dropped: &Entry) {
        self.expired += 1;
        self.flows.count_dropped(dropped.flow, 1);
        if dropped.ages() {
            self.acted.note(Limit::QueueMaxAge);
        }
    }

    /// Whether it holds no message in memory.
    #[cfg(any(test, fuzzing))]
    pub fn is_empty_in_memory(&self) -> bool {
        self.waiting.len() + self.following.len() == 0
    }

    /// Messages and bytes that count, and those that are promised.
    #[cfg(any(test, fuzzing))]
    pub fn held(&self) -> (usize, usize, usize, usize) {
        self.flows.held()
    }
}
