//! What a session may not hear any more goes: from memory at once, from the store as soon as that has done it.

use std::sync::Arc;

use super::Assured;
use crate::{
    access::Grant,
    session::{
        entry::{Entries, Entry},
        receipt::Receipt,
        work::Work,
    },
};

impl Assured {
    /// Nothing waits any more that the grant does not allow; says how many messages did. `receipt` is shared with what the
    /// store has to do. What is in the store only and of no flow with a name is looked at when it is loaded.
    pub fn revoke(&mut self, grant: &dyn Grant, receipt: &Arc<Receipt>) -> u64 {
        let mut revoked = self.revoke_in_memory(grant);
        if self.kept {
            for flow in self.flows.not_heard(self.next, |flow| grant.may_hear(flow)) {
                revoked += self.flows.revoke(flow, self.next) as u64;
                self.unsettled.handle_revoked(flow);
                self.ignores_trim |= self.trimming == Some(flow);
                self.work.extend(self.stored_from.map(|from| Work::Revoke {
                    flow: Arc::clone(self.flows.name(flow)),
                    from,
                    below: self.next,
                    sent_below: self.sent_below,
                    receipt: receipt.share(),
                }));
            }
        }
        revoked
    }

    /// A message in flight was revoked. Where `is_released`, its PUBREL may still be due, and is all that is kept of it.
    pub fn handle_revoked(&mut self, sequence: u64, is_released: bool) {
        if is_released {
            self.handle_received(sequence);
        } else {
            self.handle_arrived(sequence);
        }
    }

    fn revoke_in_memory(&mut self, grant: &dyn Grant) -> u64 {
        let take = |entries: &mut Entries| entries.revoke(|entry| is_revoked(entry, grant));
        let mut revoked = take(&mut self.waiting);
        revoked.append(&mut take(&mut self.following));
        for entry in &revoked {
            self.count_out(entry);
            self.handle_revoked(entry.sequence, entry.again && entry.is_exactly_once());
        }
        revoked.len() as u64
    }
}

/// Whether the client may not hear the message any more.
pub fn is_revoked(entry: &Entry, grant: &dyn Grant) -> bool {
    entry.message().is_some_and(|delivery| !grant.may_subscribe(delivery.message.topic()))
}
