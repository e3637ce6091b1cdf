//! Changes that nobody would try again if they fail: the store does.

use std::collections::{BTreeMap, BTreeSet};

use super::{Change, Sequence, Slot};
use crate::codec::PacketId;

/// So many are kept at most. More than that are not owed by sessions that work with what is in memory.
const CAPACITY: usize = 200_000;

/// Changes that failed and are tried again, the last one for each thing. Those that free space come first.
#[derive(Debug, Default)]
pub struct Owed {
    changes: BTreeMap<Thing, Change>,
    dropped: u64,
}

/// What a change is about, in the order in which they are tried.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Thing {
    /// The end of a session comes before what its successor of the same number brings.
    End(Slot),
    Session(Slot),
    /// After what else is said of the session.
    Will(Slot),
    Subscription(Slot, Box<str>),
    Message(Slot, Sequence),
    Identifier(Slot, PacketId),
    Retained(Box<str>),
    /// After the message itself.
    Release(Slot, Sequence),
}

impl Owed {
    /// Nothing.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.changes.len()
    }

    /// How many had no place, since the last time that this was asked.
    pub fn take_dropped(&mut self) -> u64 {
        std::mem::take(&mut self.dropped)
    }

    /// This one, too, in place of what it makes needless.
    pub fn add(&mut self, change: Change) {
        let thing = match &change {
            Change::PutSession(session) => {
                self.changes.remove(&Thing::Will(session.slot));
                Thing::Session(session.slot)
            }
            Change::ForgetWill(slot) => Thing::Will(*slot),
            Change::EndSession(slot) => {
                let slot = *slot;
                self.changes.retain(|thing, _| thing.slot() != Some(slot));
                Thing::End(slot)
            }
            Change::Subscribe { slot, filter, .. } | Change::Unsubscribe { slot, filter } => {
                Thing::Subscription(*slot, filter.clone())
            }
            Change::Enqueue { slot, message } => Thing::Message(*slot, message.sequence),
            Change::Forget { slot, sequence } => {
                self.changes.remove(&Thing::Release(*slot, *sequence));
                Thing::Message(*slot, *sequence)
            }
            Change::Release { slot, sequence } => Thing::Release(*slot, *sequence),
            Change::Accept { slot, packet_id } | Change::Complete { slot, packet_id } => {
                Thing::Identifier(*slot, *packet_id)
            }
            Change::Retain { message, .. } => Thing::Retained(message.topic().into()),
            Change::Unretain { topic } => Thing::Retained(topic.clone()),
        };
        if self.changes.len() < CAPACITY || self.changes.contains_key(&thing) {
            self.changes.insert(thing, change);
        } else {
            self.dropped += 1;
        }
    }

    /// Those that free space.
    pub fn deletions(&self) -> impl Iterator<Item = &Change> {
        self.changes.values().filter(|change| is_deletion(change))
    }

    /// The others.
    pub fn additions(&self) -> impl Iterator<Item = &Change> {
        self.changes.values().filter(|change| !is_deletion(change))
    }

    /// The messages of a session's queue that are owed to go; `None` if anything else is owed to the queue, so that what is
    /// kept of it says too little.
    pub fn forgotten(&self, slot: Slot) -> Option<BTreeSet<Sequence>> {
        if self.changes.contains_key(&Thing::End(slot)) {
            return None;
        }
        let mut released = self.changes.range(Thing::Release(slot, 0)..=Thing::Release(slot, Sequence::MAX));
        if released.next().is_some() {
            return None;
        }
        self.changes
            .range(Thing::Message(slot, 0)..=Thing::Message(slot, Sequence::MAX))
            .map(|(_, change)| match change {
                Change::Forget { sequence, .. } => Some(*sequence),
                _ => None,
            })
            .collect()
    }

    /// [`Owed::deletions`] are done.
    pub fn settle_deletions(&mut self) {
        self.changes.retain(|_, change| !is_deletion(change));
    }

    /// All are done.
    pub fn clear(&mut self) {
        self.changes.clear();
    }
}

impl Thing {
    fn slot(&self) -> Option<Slot> {
        match self {
            Self::End(slot)
            | Self::Session(slot)
            | Self::Will(slot)
            | Self::Subscription(slot, _)
            | Self::Message(slot, _)
            | Self::Identifier(slot, _)
            | Self::Release(slot, _) => Some(*slot),
            Self::Retained(_) => None,
        }
    }
}

fn is_deletion(change: &Change) -> bool {
    match change {
        Change::EndSession(_)
        | Change::Unsubscribe { .. }
        | Change::Forget { .. }
        | Change::Complete { .. }
        | Change::Unretain { .. } => true,
        Change::PutSession(_)
        | Change::ForgetWill(_)
        | Change::Subscribe { .. }
        | Change::Enqueue { .. }
        | Change::Release { .. }
        | Change::Accept { .. }
        | Change::Retain { .. } => false,
    }
}

/// What must not stay if it should turn out to be there after all: a message that its publisher was told was not taken,
/// and its identifier.
pub fn undoing(change: &Change) -> Option<Change> {
    match change {
        Change::Enqueue { slot, message } => Some(Change::Forget { slot: *slot, sequence: message.sequence }),
        Change::Accept { slot, packet_id } => Some(Change::Complete { slot: *slot, packet_id: *packet_id }),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn forget(slot: Slot, sequence: Sequence) -> Change {
        Change::Forget { slot, sequence }
    }

    fn names(changes: impl Iterator<Item = impl std::fmt::Debug>) -> Vec<String> {
        changes.map(|change| format!("{change:?}").replace([' ', '\n'], "")).collect()
    }

    #[test]
    fn the_last_change_of_a_thing_counts() {
        let mut owed = Owed::default();
        owed.add(Change::Release { slot: 1, sequence: 5 });
        owed.add(forget(1, 5));
        owed.add(forget(1, 5));
        owed.add(Change::Accept { slot: 1, packet_id: PacketId::MIN });
        owed.add(Change::Complete { slot: 1, packet_id: PacketId::MIN });
        assert_eq!(names(owed.deletions()), ["Forget{slot:1,sequence:5}", "Complete{slot:1,packet_id:1}"]);
        assert_eq!(owed.additions().count(), 0);
        owed.settle_deletions();
        assert!(owed.is_empty());
    }

    #[test]
    fn the_end_of_a_session_makes_what_was_owed_to_it_needless_and_comes_before_its_successor() {
        let mut owed = Owed::default();
        owed.add(forget(1, 5));
        owed.add(forget(2, 6));
        owed.add(Change::EndSession(1));
        owed.add(forget(1, 1));
        assert_eq!(
            names(owed.deletions()),
            ["EndSession(1)", "Forget{slot:1,sequence:1}", "Forget{slot:2,sequence:6}"]
        );
    }

    #[test]
    fn has_a_bound() {
        let mut owed = Owed::default();
        (1..=CAPACITY as u64 + 7).for_each(|sequence| owed.add(forget(1, sequence)));
        assert_eq!((owed.len(), owed.take_dropped(), owed.take_dropped()), (CAPACITY, 7, 0));
    }
}
