//! What waits for a session in the store only: how it comes back into memory, and how it is removed unseen.

use std::sync::Arc;

use super::{Assured, IN_MEMORY, IN_MEMORY_BYTES, LOAD_BELOW};
use crate::{
    codec::QoS,
    limits::Limit,
    session::{
        entry::{Content, Entry},
        flows::FlowIndex,
        work::Work,
    },
    store::{Loaded, QueuedMessage, Sequence, StoredMessage, Totals, Trim},
};

impl Assured {
    /// A client came, or the store can be used again: a load may succeed.
    pub fn handle_loadable(&mut self) {
        self.load_failed = false;
    }

    /// Has more messages loaded, if there are some in the store and few in memory.
    pub fn load_if_low(&mut self) {
        self.join_following();
        let Some(from) = self.stored_from else { return };
        let below = self.unsettled.first_from(from).unwrap_or(self.next).min(self.following_from());
        let has_enough = self.waiting.len() >= LOAD_BELOW || self.waiting.bytes() >= IN_MEMORY_BYTES;
        if self.busy || self.load_failed || has_enough {
            return;
        }
        if from == self.next {
            self.stored_from = None;
        } else if from < below {
            self.busy = true;
            self.work.push(Work::Load { from, below });
        }
    }

    /// Messages were loaded, or could not be. `allowed` says whether the session may still hear a topic: what it may
    /// not is gone.
    pub fn handle_loaded(
        &mut self,
        from: Sequence,
        below: Sequence,
        loaded: Option<Loaded>,
        online: bool,
        allowed: impl Fn(&str) -> bool,
    ) {
        self.busy = false;
        let Some(loaded) = loaded else {
            self.load_failed = true;
            return;
        };
        if !online || self.stored_from != Some(from) {
            return;
        }
        let mut last = None;
        for stored in loaded.messages {
            let sequence = match &stored {
                StoredMessage::Message(message) => message.sequence,
                StoredMessage::Released(sequence) => *sequence,
            };
            last = Some(sequence);
            if let Some(entry) = self.entry(stored, &allowed) {
                self.waiting.push_back(entry);
            } else {
                self.work.push(Work::Forget(sequence));
            }
        }
        let loaded_below = match last {
            Some(last) if !loaded.complete => last + 1,
            _ => below,
        };
        self.behind_until = self.behind_until.max(loaded_below - 1);
        self.stored_from = Some(loaded_below).filter(|from| *from < self.next);
        if self.stored_from.is_none() {
            self.recount();
        }
    }

    /// Messages that were in the store only were removed: for their age if `expired`.
    pub fn handle_trimmed(&mut self, flow: &Arc<str>, removed: Totals, expired: bool) {
        self.busy = false;
        self.trimming = None;
        let flow = self.flows.find_by_name(flow);
        self.flows.count_dropped(flow, removed.messages);
        if expired && self.flows.has_max_age(flow) {
            self.acted.note_all(Limit::QueueMaxAge, removed.messages);
        }
        if !std::mem::take(&mut self.ignores_trim) {
            self.flows.subtract_all(flow, removed);
        }
        if removed.messages > 0
            && let Some((flow, excess)) = self.flows.excess()
        {
            self.trim(flow, Trim::Oldest { messages: excess.messages, bytes: excess.bytes });
        }
    }

    /// Keeps a message that is written in memory, too, if it is one of few: what is trimmed may be among them.
    pub(super) fn follow(&mut self, stored_from: Sequence, entry: Entry) {
        let are_few = entry.sequence - stored_from < IN_MEMORY as Sequence;
        if are_few && self.trimming.is_none() && self.has_room_in_memory() {
            self.following.push_back(entry);
        } else {
            self.following.clear();
        }
    }

    /// A delivery that has begun is completed: what was sent before does not give way.
    pub(super) fn trim(&mut self, flow: FlowIndex, what: Trim) {
        if let Some(stored_from) = self.stored_from.filter(|_| !self.busy) {
            self.busy = true;
            self.trimming = Some(flow);
            self.following.clear();
            let from = stored_from.max(self.sent_below);
            self.work.push(Work::Trim { flow: Arc::clone(self.flows.name(flow)), from, what });
        }
    }

    fn entry(&mut self, stored: StoredMessage, allowed: impl Fn(&str) -> bool) -> Option<Entry> {
        match stored {
            StoredMessage::Released(sequence) => Some(Entry {
                sequence,
                flow: FlowIndex::default(),
                expires_at: u64::MAX,
                again: true,
                arrived: None,
                content: Content::Released,
            }),
            StoredMessage::Message(QueuedMessage { sequence, flow, expires_at, delivery }) => {
                let flow = self.flows.find_by_name(&flow);
                let again = sequence < self.sent_below;
                let counts = !self.flows.is_revoked(flow, sequence);
                let allowed = counts && allowed(delivery.message.topic());
                if counts && (again || !allowed) {
                    self.flows.subtract(flow, delivery.size());
                }
                let content = if allowed {
                    Content::Message(delivery)
                } else if again && delivery.qos == QoS::ExactlyOnce {
                    // Its client may know the identifier, which is free again only after PUBREL.
                    self.work.push(Work::Release(sequence));
                    Content::Released
                } else {
                    return None;
                };
                Some(Entry { sequence, flow, expires_at, again, arrived: None, content })
            }
        }
    }

    pub(super) fn has_room_in_memory(&self) -> bool {
        self.waiting.len() + self.following.len() < IN_MEMORY
            && self.waiting.bytes() + self.following.bytes() < IN_MEMORY_BYTES
    }

    /// From this one on messages are in memory again.
    fn following_from(&self) -> Sequence {
        self.following.front().map_or(Sequence::MAX, |entry| entry.sequence)
    }

    /// If all before those that follow are loaded, nothing is in the store only any more.
    fn join_following(&mut self) {
        if self.busy || self.stored_from.is_none_or(|from| from < self.following_from()) {
            return;
        }
        while let Some(entry) = self.following.pop_front() {
            self.waiting.push_back(entry);
        }
        self.stored_from = None;
        self.recount();
    }

    /// All that waits is in memory: counts it anew, without what damaged records and refused writes have left behind.
    fn recount(&mut self) {
        self.flows.clear();
        for entry in self.waiting.iter().filter(|entry| !entry.again) {
            self.flows.add(entry.flow, entry.size());
        }
    }
}
