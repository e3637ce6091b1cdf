//! What a session's client has published, counted by flow.

use std::{ops::AddAssign, sync::Arc};

use crate::access::Flow;

/// How many messages, and the bytes of their payloads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Traffic {
    /// Messages.
    pub messages: u64,
    /// Bytes.
    pub bytes: u64,
}

/// What a client has published since it was taken last: in all, and in each flow. There are few: a device has few
/// connections.
#[derive(Debug, Default)]
pub struct Published {
    /// In all flows.
    pub total: Traffic,
    /// In the order in which they were first published in.
    pub flows: Vec<PublishedInFlow>,
}

/// What a client has published in one flow.
#[derive(Debug)]
pub struct PublishedInFlow {
    /// The flow's name.
    pub name: Arc<str>,
    /// What was taken.
    pub taken: Traffic,
    /// When the last one was, in milliseconds since the Unix epoch.
    pub last: Option<u64>,
    /// Messages that were refused because a queue was full, because no more are retained, or because they could not be kept.
    pub refused: u64,
}

impl Traffic {
    /// One message more.
    pub fn count(&mut self, payload: &[u8]) {
        self.messages += 1;
        self.bytes += payload.len() as u64;
    }
}

impl AddAssign for Traffic {
    fn add_assign(&mut self, other: Self) {
        self.messages += other.messages;
        self.bytes += other.bytes;
    }
}

impl Published {
    /// A message was taken.
    pub fn count(&mut self, flow: &Flow, payload: &[u8], now: u64) {
        self.total.count(payload);
        let flow = self.find(&flow.name);
        flow.taken.count(payload);
        flow.last = Some(now);
    }

    /// A message of the flow with this name was refused.
    pub fn count_refused(&mut self, flow: &Arc<str>) {
        self.find(flow).refused += 1;
    }

    fn find(&mut self, name: &Arc<str>) -> &mut PublishedInFlow {
        let same = |known: &PublishedInFlow| Arc::ptr_eq(&known.name, name) || known.name == *name;
        let at = self.flows.iter().position(same).unwrap_or_else(|| {
            let name = Arc::clone(name);
            self.flows.push(PublishedInFlow { name, taken: Traffic::default(), last: None, refused: 0 });
            self.flows.len() - 1
        });
        &mut self.flows[at]
    }
}
