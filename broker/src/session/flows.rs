//! How much of each flow waits for a session, and how much may.

use std::{sync::Arc, time::Duration};

use super::{entry::Entry, latency::Latencies};
use crate::{
    access::Flow,
    limits::{FlowLimits, Limit},
    queue::QueueFull,
    store::{Sequence, Totals},
};

/// Which of a session's flows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct FlowIndex(u32);

/// The flows of a session. There are few: a device has few connections.
#[derive(Debug, Default)]
pub struct Flows {
    uses: Vec<FlowUse>,
}

#[derive(Debug)]
struct FlowUse {
    name: Arc<str>,
    limits: Option<FlowLimits>,
    waiting: Use,
    promised: Use,
    /// Messages with a lower number are gone, wherever they still turn up.
    revoked_below: Sequence,
    /// Messages that gave way, expired or were too large.
    dropped: u64,
    /// Of messages that were acknowledged.
    latencies: Latencies,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Use {
    messages: usize,
    bytes: usize,
}

/// A place in a queue that was promised and is not taken yet: give it back with [`Flows::release`].
#[derive(Debug)]
#[must_use]
pub struct Place {
    /// Of this flow.
    pub flow: FlowIndex,
    bytes: usize,
}

impl Flows {
    /// As it was kept.
    pub fn restored(totals: Vec<(Arc<str>, Totals)>) -> Self {
        let restored = |(name, totals): (Arc<str>, Totals)| FlowUse {
            name,
            limits: None,
            waiting: Use { messages: totals.messages as usize, bytes: totals.bytes as usize },
            promised: Use::default(),
            revoked_below: 0,
            dropped: 0,
            latencies: Latencies::default(),
        };
        Self { uses: totals.into_iter().map(restored).collect() }
    }

    /// The flow of that name, from now on with these limits.
    pub fn find(&mut self, flow: &Flow) -> FlowIndex {
        let index = self.find_by_name(&flow.name);
        self.uses[index.0 as usize].limits = Some(flow.limits);
        index
    }

    /// The flow of that name, whatever its limits.
    pub fn find_by_name(&mut self, name: &Arc<str>) -> FlowIndex {
        let known = self.uses.iter().position(|known| Arc::ptr_eq(&known.name, name) || known.name == *name);
        let index = known.unwrap_or_else(|| {
            self.uses.push(FlowUse {
                name: Arc::clone(name),
                limits: None,
                waiting: Use::default(),
                promised: Use::default(),
                revoked_below: 0,
                dropped: 0,
                latencies: Latencies::default(),
            });
            self.uses.len() - 1
        });
        FlowIndex(index as u32)
    }

    /// Its name.
    pub fn name(&self, flow: FlowIndex) -> &Arc<str> {
        &self.uses[flow.0 as usize].name
    }

    /// Promises a place. An empty flow takes one message of any size.
    ///
    /// # Errors
    /// [`QueueFull`].
    pub fn reserve(&mut self, flow: FlowIndex, bytes: usize) -> Result<Place, QueueFull> {
        self.check_room(flow, bytes)?;
        let promised = &mut self.uses[flow.0 as usize].promised;
        promised.messages += 1;
        promised.bytes += bytes;
        Ok(Place { flow, bytes })
    }

    /// Gives a promised place back.
    pub fn release(&mut self, place: &Place) {
        let promised = &mut self.uses[place.flow.0 as usize].promised;
        promised.messages -= 1;
        promised.bytes -= place.bytes;
    }

    /// A message waits.
    pub fn add(&mut self, flow: FlowIndex, bytes: usize) {
        let waiting = &mut self.uses[flow.0 as usize].waiting;
        waiting.messages += 1;
        waiting.bytes += bytes;
    }

    /// A message does not wait any more.
    pub fn subtract(&mut self, flow: FlowIndex, bytes: usize) {
        self.subtract_all(flow, Totals { messages: 1, bytes: bytes as u64 });
    }

    /// Messages do not wait any more.
    pub fn subtract_all(&mut self, flow: FlowIndex, totals: Totals) {
        let waiting = &mut self.uses[flow.0 as usize].waiting;
        waiting.messages = waiting.messages.saturating_sub(totals.messages as usize);
        waiting.bytes = waiting.bytes.saturating_sub(totals.bytes as usize);
    }

    /// The flows with a name that may not be heard, as far as messages below this number are not revoked.
    pub fn not_heard(&self, below: Sequence, may_hear: impl Fn(&str) -> bool) -> Vec<FlowIndex> {
        let is_concerned = |(_, flow): &(usize, &FlowUse)| {
            flow.revoked_below < below && !flow.name.is_empty() && !may_hear(&flow.name)
        };
        self.uses.iter().enumerate().filter(is_concerned).map(|(at, _)| FlowIndex(at as u32)).collect()
    }

    /// No message of the flow below this number waits any more: how many did.
    pub fn revoke(&mut self, flow: FlowIndex, below: Sequence) -> usize {
        let revoked = &mut self.uses[flow.0 as usize];
        revoked.revoked_below = below;
        std::mem::take(&mut revoked.waiting).messages
    }

    /// Whether the message is gone.
    pub fn is_revoked(&self, flow: FlowIndex, sequence: Sequence) -> bool {
        sequence < self.uses[flow.0 as usize].revoked_below
    }

    /// Messages of the flow were lost.
    pub fn count_dropped(&mut self, flow: FlowIndex, messages: u64) {
        self.uses[flow.0 as usize].dropped += messages;
    }

    /// How many were since the last call, of each flow that lost any.
    pub fn take_dropped(&mut self) -> Vec<(Arc<str>, u64)> {
        let lost = self.uses.iter_mut().filter(|flow| flow.dropped > 0);
        lost.map(|flow| (Arc::clone(&flow.name), std::mem::take(&mut flow.dropped))).collect()
    }

    /// So long a message of the flow took to be acknowledged.
    pub fn count_latency(&mut self, flow: FlowIndex, took: Duration) {
        self.uses[flow.0 as usize].latencies.add(took);
    }

    /// How long the last messages took since the last call, of each flow of which some were acknowledged.
    pub fn take_latencies(&mut self) -> Vec<(Arc<str>, Latencies)> {
        let measured = self.uses.iter_mut().filter(|flow| !flow.latencies.is_empty());
        measured.map(|flow| (Arc::clone(&flow.name), std::mem::take(&mut flow.latencies))).collect()
    }

    /// What waits of each flow of which something does, together with messages that do not count any more. One that was
    /// released has arrived.
    pub fn pending<'a>(&self, others: impl Iterator<Item = &'a Entry>) -> Vec<(Arc<str>, Totals)> {
        let mut uses: Vec<_> = self.uses.iter().map(|flow| flow.waiting).collect();
        for entry in others.filter(|entry| entry.message().is_some()) {
            let pending = &mut uses[entry.flow.0 as usize];
            pending.messages += 1;
            pending.bytes += entry.size();
        }
        let pending = self.uses.iter().zip(uses).filter(|(_, pending)| pending.messages > 0);
        let pending = pending.map(|(FlowUse { name, .. }, Use { messages, bytes })| {
            (Arc::clone(name), Totals { messages: messages as u64, bytes: bytes as u64 })
        });
        pending.collect()
    }

    /// Nothing waits.
    pub fn clear(&mut self) {
        for flow in &mut self.uses {
            flow.waiting = Use::default();
        }
    }

    /// By how much a flow exceeds its limits, if one does.
    pub fn excess(&self) -> Option<(FlowIndex, Totals)> {
        self.uses.iter().enumerate().find_map(|(index, flow)| {
            let queue = flow.limits?.queue;
            let messages = flow.waiting.messages.saturating_sub(queue.messages);
            let bytes = flow.waiting.bytes.saturating_sub(queue.bytes);
            let exceeds = (messages > 0 || bytes > 0) && flow.waiting.messages > 1;
            exceeds.then_some((
                FlowIndex(index as u32),
                Totals { messages: messages as u64, bytes: bytes as u64 },
            ))
        })
    }

    /// Whether messages of the flow may wait for a limited time only.
    pub fn has_max_age(&self, flow: FlowIndex) -> bool {
        self.uses[flow.0 as usize].limits.is_some_and(|limits| limits.max_age.is_some())
    }

    fn check_room(&self, flow: FlowIndex, bytes: usize) -> Result<(), QueueFull> {
        let FlowUse { limits, waiting, promised, .. } = &self.uses[flow.0 as usize];
        let Some(FlowLimits { queue, .. }) = limits else { return Ok(()) };
        let messages = waiting.messages + promised.messages;
        if messages == 0 {
            Ok(())
        } else if messages >= queue.messages {
            Err(QueueFull(Limit::QueueMessages))
        } else if waiting.bytes + promised.bytes + bytes > queue.bytes {
            Err(QueueFull(Limit::QueueBytes))
        } else {
            Ok(())
        }
    }

    /// Messages and bytes that wait, and those that are promised.
    #[cfg(any(test, fuzzing))]
    pub fn held(&self) -> (usize, usize, usize, usize) {
        self.uses.iter().fold((0, 0, 0, 0), |(a, b, c, d), flow| {
            let (waiting, promised) = (flow.waiting, flow.promised);
            (a + waiting.messages, b + waiting.bytes, c + promised.messages, d + promised.bytes)
        })
    }
}
