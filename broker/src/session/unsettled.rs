//! The messages of a kept session that are not in the store yet: those on their way there, and those that their client
//! may still acknowledge before they have to go.

use std::{collections::VecDeque, sync::Arc};

use super::{flows::FlowIndex, receipt::Receipt};
use crate::store::Sequence;

/// In the order of their numbers.
#[derive(Debug, Default)]
pub struct Unsettled {
    list: VecDeque<Open>,
}

/// A message that is not in the store yet.
#[derive(Debug)]
pub struct Open {
    /// Its number.
    pub sequence: Sequence,
    /// What it counts for.
    pub flow: FlowIndex,
    /// How much it counts.
    pub bytes: usize,
    /// Settled when it is in the store, or has arrived.
    pub receipt: Option<Arc<Receipt>>,
    /// Whether it is on its way to the store. If not, its client has a moment to acknowledge it.
    pub writing: bool,
    /// Whether it arrived meanwhile, or gave way, so that the store shall forget it.
    pub done: bool,
}

/// What has to be done for a message that arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arrived {
    /// Nothing, or not yet: the store never hears of it, or is told to forget it when it has it.
    Settled,
    /// The store has it and is to forget it.
    Stored,
}

impl Unsettled {
    /// One with a higher number than all others.
    pub fn push(&mut self, open: Open) {
        self.list.push_back(open);
    }

    /// Whether the message is not in the store yet.
    pub fn contains(&self, sequence: Sequence) -> bool {
        self.position(sequence).is_some()
    }

    /// The first one from this number on.
    pub fn first_from(&self, sequence: Sequence) -> Option<Sequence> {
        let at = self.list.partition_point(|open| open.sequence < sequence);
        self.list.get(at).map(|open| open.sequence)
    }

    /// The first one that is not on its way to the store.
    pub fn first_unwritten(&self) -> Option<Sequence> {
        self.list.iter().find(|open| !open.writing).map(|open| open.sequence)
    }

    /// Those below this number that are not on their way to the store, which they are from now on.
    pub fn begin_writing(&mut self, below: Sequence) -> impl Iterator<Item = (Sequence, FlowIndex)> {
        self.list.iter_mut().take_while(move |open| open.sequence < below).filter_map(|open| {
            (!std::mem::replace(&mut open.writing, true)).then_some((open.sequence, open.flow))
        })
    }

    /// The message arrived for good: whoever waits for it need not wait any longer.
    pub fn handle_arrived(&mut self, sequence: Sequence) -> Arrived {
        let Some(at) = self.position(sequence) else { return Arrived::Stored };
        if let Some(open) = self.list.get_mut(at).filter(|open| open.writing) {
            open.done = true;
            settle(open.receipt.take(), true);
        } else if let Some(open) = self.list.remove(at) {
            settle(open.receipt, true);
        }
        Arrived::Settled
    }

    /// The messages of a flow that are on their way to the store are not wanted there any more.
    pub fn handle_revoked(&mut self, flow: FlowIndex) {
        for open in self.list.iter_mut().filter(|open| open.flow == flow && open.writing) {
            open.done = true;
            settle(open.receipt.take(), true);
        }
    }

    /// The message was written, or could not be: takes it out and tells who waits for it.
    pub fn handle_written(&mut self, sequence: Sequence, written: bool) -> Option<Open> {
        let mut open = self.position(sequence).and_then(|at| self.list.remove(at))?;
        settle(open.receipt.take(), written);
        Some(open)
    }

    /// The session is over: nobody has to wait for it.
    pub fn end(&mut self) {
        for open in self.list.drain(..) {
            settle(open.receipt, true);
        }
    }

    fn position(&self, sequence: Sequence) -> Option<usize> {
        self.list.binary_search_by_key(&sequence, |open| open.sequence).ok()
    }
}

/// Tells who waits, if anybody does.
pub fn settle(receipt: Option<Arc<Receipt>>, kept: bool) {
    if let Some(receipt) = receipt {
        receipt.settle(kept);
    }
}
