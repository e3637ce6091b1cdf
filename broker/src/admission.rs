//! How many connections there may be: those that are logged in have places, those that are not yet wait in line.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use parking_lot::Mutex;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

/// No limit is higher.
const MAX_PLACES: u32 = 1 << 24;

/// Counts connections. Strangers who never send a CONNECT take nothing from clients that are logged in, and not for long
/// from those that want to log in: when the line is full, the one that waits for longest is closed; whoever has failed to
/// log in and waits for the answer goes first.
pub struct Admission {
    places: Arc<Semaphore>,
    line: Mutex<Line>,
    last_number: AtomicU64,
    gave_way: AtomicU64,
}

/// In the order in which they arrived.
#[derive(Default)]
struct Line {
    /// Those that may still log in.
    hopeful: BTreeMap<u64, Arc<Notify>>,
    /// Those whose login failed and is answered later.
    delayed: BTreeMap<u64, Arc<Notify>>,
}

/// A connection that has not logged in yet. Leaves the line when it is dropped.
pub struct Waiting {
    admission: Arc<Admission>,
    number: u64,
    give_way: Arc<Notify>,
}

impl Admission {
    /// Without connections.
    pub fn new() -> Self {
        Self {
            places: Arc::new(Semaphore::new(MAX_PLACES as usize)),
            line: Mutex::default(),
            last_number: AtomicU64::new(0),
            gave_way: AtomicU64::new(0),
        }
    }

    /// A connection arrived: it waits in line until it has logged in, among at most `logins`.
    pub fn enter(self: &Arc<Self>, logins: usize) -> Waiting {
        let number = self.last_number.fetch_add(1, Ordering::Relaxed);
        let give_way = Arc::new(Notify::new());
        let mut line = self.line.lock();
        // More than one give way where the limit was lowered.
        while line.hopeful.len() + line.delayed.len() >= logins.max(1)
            && let Some((_, longest)) = line.delayed.pop_first().or_else(|| line.hopeful.pop_first())
        {
            longest.notify_one();
            self.gave_way.fetch_add(1, Ordering::Relaxed);
        }
        line.hopeful.insert(number, Arc::clone(&give_way));
        drop(line);
        Waiting { admission: Arc::clone(self), number, give_way }
    }

    /// How many had to make room for others.
    pub fn gave_way(&self) -> u64 {
        self.gave_way.load(Ordering::Relaxed)
    }

    /// A place for a client that has logged in, one of `connections`; `None` if all are taken.
    pub fn take_place(&self, connections: usize) -> Option<OwnedSemaphorePermit> {
        // Nobody else takes one meanwhile.
        let _line = self.line.lock();
        let taken = MAX_PLACES as usize - self.places.available_permits();
        if taken >= connections {
            return None;
        }
        Arc::clone(&self.places).try_acquire_owned().ok()
    }

    /// Waits until no client is left; nobody gets a place any more.
    pub async fn all_gone(&self) {
        // An error says that the semaphore is closed, which nobody does.
        let _ = self.places.acquire_many(MAX_PLACES).await;
    }
}

impl Waiting {
    /// The login failed and is answered later: all others come before it.
    pub fn give_way_first(&self) {
        let mut line = self.admission.line.lock();
        if let Some(give_way) = line.hopeful.remove(&self.number) {
            line.delayed.insert(self.number, give_way);
        }
    }

    /// Ready when the connection has to make room for others.
    pub async fn must_give_way(&self) {
        self.give_way.notified().await;
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let mut line = self.admission.line.lock();
        line.hopeful.remove(&self.number);
        line.delayed.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use std::{future::Future, pin::pin, task::Context};

    use super::*;

    fn gives_way(waiting: &Waiting) -> bool {
        let must = pin!(waiting.must_give_way());
        must.poll(&mut Context::from_waker(std::task::Waker::noop())).is_ready()
    }

    #[test]
    fn the_one_that_waits_for_longest_gives_way() {
        let admission = Arc::new(Admission::new());
        let first = admission.enter(2);
        let second = admission.enter(2);
        assert!(!gives_way(&first) && !gives_way(&second));
        let third = admission.enter(2);
        assert!(gives_way(&first) && !gives_way(&second) && !gives_way(&third));
        drop(second);
        let fourth = admission.enter(2);
        assert!(!gives_way(&third) && !gives_way(&fourth), "whoever has logged in is not in line any more");
    }

    #[test]
    fn whoever_has_failed_gives_way_first() {
        let admission = Arc::new(Admission::new());
        let enter = || admission.enter(3);
        let [first, second, third] = [enter(), enter(), enter()];
        third.give_way_first();
        second.give_way_first();
        let fourth = enter();
        assert!(gives_way(&second) && !gives_way(&first) && !gives_way(&third));
        let fifth = enter();
        assert!(gives_way(&third) && !gives_way(&first));
        let _sixth = enter();
        assert!(gives_way(&first) && !gives_way(&fourth) && !gives_way(&fifth));
        assert_eq!(admission.gave_way(), 3);
        drop([first, second, third]);
        assert!(admission.line.lock().delayed.is_empty());
    }

    #[test]
    fn there_are_as_many_places_as_connections_allowed() {
        let admission = Admission::new();
        let place = admission.take_place(1);
        assert!(place.is_some() && admission.take_place(1).is_none());
        let second = admission.take_place(2);
        assert!(second.is_some() && admission.take_place(1).is_none(), "the limit was raised and lowered");
        drop((place, second));
        assert!(admission.take_place(1).is_some());
    }
}
