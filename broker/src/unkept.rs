//! Retained messages that nobody waits for, on their way to the store: of each topic the last one is kept, after a while.
//! A sensor that retains a value every second costs a memory card a write every few seconds, however many there are.

use std::{collections::HashMap, sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::time::sleep;

use crate::{message::Message, routing::retain_change, shared::Shared, store::Change};

/// How long a retained message of QoS 0 may take to the store.
const PAUSE: Duration = Duration::from_secs(5);

/// So many wait at most: with more they are handed over at once.
const MANY: usize = 1_000;

/// The last change of each topic that is not on its way to the store yet.
#[derive(Default)]
pub struct Unkept {
    changes: Mutex<HashMap<Box<str>, Change>>,
}

/// What waits with a change that was put.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Waiting {
    is_first: bool,
    are_many: bool,
}

impl Unkept {
    /// A later change of the topic was handed to the store.
    pub fn forget(&self, topic: &str) {
        self.changes.lock().remove(topic);
    }

    /// Says whether none waited before, and whether many do now.
    fn put(&self, topic: &str, change: Change) -> Waiting {
        let mut changes = self.changes.lock();
        let were_none = changes.is_empty();
        changes.insert(topic.into(), change);
        Waiting { is_first: were_none, are_many: changes.len() >= MANY }
    }

    fn take(&self) -> Vec<Change> {
        std::mem::take(&mut *self.changes.lock()).into_values().collect()
    }
}

impl Shared {
    /// Keeps a retained message, or its removal, after a while. The server's own is not kept: it is published anew after
    /// every start. The caller holds [`Shared::changing_retained`].
    pub fn keep_retained_later(self: &Arc<Self>, message: &Message, owner: Option<&Arc<str>>) {
        let (Some(owner), true) = (owner, self.keeper.is_some() && message.retain()) else { return };
        let waiting = self.unkept.put(message.topic(), retain_change(message, owner));
        if waiting.are_many {
            self.submit_unkept();
        } else if waiting.is_first {
            let shared = Arc::clone(self);
            tokio::spawn(async move {
                sleep(PAUSE).await;
                shared.keep_retained_now();
            });
        }
    }

    /// Keeps all that waits for it. Nobody changes retained messages meanwhile: an older one must not come after a newer.
    pub fn keep_retained_now(&self) {
        let _changing = self.changing_retained.write();
        self.submit_unkept();
    }

    fn submit_unkept(&self) {
        let changes = self.unkept.take();
        if let Some(keeper) = self.keeper.as_ref().filter(|_| !changes.is_empty()) {
            keeper.store.submit(changes, None);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn removal(topic: &str) -> Change {
        Change::Unretain { topic: topic.into() }
    }

    #[test]
    fn the_last_change_of_a_topic_is_kept_unless_a_later_one_was() {
        let unkept = Unkept::default();
        unkept.put("a", removal("a"));
        unkept.put("a", removal("a"));
        unkept.put("b", removal("b"));
        unkept.forget("b");
        let kept = unkept.take();
        assert!(matches!(&kept[..], [Change::Unretain { topic }] if **topic == *"a"), "{kept:?}");
        assert!(unkept.put("a", removal("a")).is_first);
    }

    /// Regression: every message of a topic that waited alone began a wait of its own, and so each was written.
    #[test]
    fn messages_of_one_topic_wait_together() {
        let unkept = Unkept::default();
        assert!(unkept.put("a", removal("a")).is_first);
        assert!(!unkept.put("a", removal("a")).is_first);
    }
}
