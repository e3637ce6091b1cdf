//! What a publisher waits for before it acknowledges a message: that everybody who wants it has it, or that it is kept.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    task::Waker,
};

use parking_lot::Mutex;

/// Wakes the connection of a publisher.
#[derive(Debug, Default)]
pub struct Bell {
    waker: Mutex<Option<Waker>>,
}

impl Bell {
    /// Whoever calls this is woken once when the bell rings next.
    pub fn register(&self, waker: &Waker) {
        let mut known = self.waker.lock();
        match &mut *known {
            Some(known) => known.clone_from(waker),
            none => *none = Some(waker.clone()),
        }
    }

    fn ring(&self) {
        let waker = self.waker.lock().take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

/// Counts what is still open, and rings when nothing is. It may be settled while any other lock is held.
#[derive(Debug)]
pub struct Receipt {
    open: AtomicUsize,
    refused: AtomicBool,
    bell: Arc<Bell>,
}

/// What came of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Everybody has it.
    Kept,
    /// It could not be kept for everybody.
    Refused,
}

impl Receipt {
    /// With one part open, which is the caller's.
    pub fn new(bell: &Arc<Bell>) -> Arc<Self> {
        Arc::new(Self { open: AtomicUsize::new(1), refused: AtomicBool::new(false), bell: Arc::clone(bell) })
    }

    /// One more part is open: whoever gets the result settles it.
    pub fn share(self: &Arc<Self>) -> Arc<Self> {
        self.open.fetch_add(1, Ordering::Relaxed);
        Arc::clone(self)
    }

    /// One part is done.
    pub fn settle(&self, kept: bool) {
        if !kept {
            self.refused.store(true, Ordering::Relaxed);
        }
        if self.open.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.bell.ring();
        }
    }

    /// What came of it; `None` while something is open.
    pub fn outcome(&self) -> Option<Outcome> {
        (self.open.load(Ordering::Acquire) == 0)
            .then(|| if self.refused.load(Ordering::Relaxed) { Outcome::Refused } else { Outcome::Kept })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_parts_have_to_be_settled_and_one_refusal_refuses() {
        let receipt = Receipt::new(&Arc::default());
        let other = receipt.share();
        receipt.settle(true);
        assert_eq!(receipt.outcome(), None);
        other.settle(false);
        assert_eq!(receipt.outcome(), Some(Outcome::Refused));
        let receipt = Receipt::new(&Arc::default());
        receipt.settle(true);
        assert_eq!(receipt.outcome(), Some(Outcome::Kept));
    }
}
