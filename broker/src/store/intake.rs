//! What waits for the store's thread, in the order in which it was handed over.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use parking_lot::{Condvar, Mutex};
use tokio::sync::Notify;

use super::{
    Change, Inventory, LoadRequest, Loaded, RevokeRequest, StoreError, Totals, TrimRequest, snapshot::Hold,
};

/// Told once what became of a submission, on the store's thread.
pub type Done = Box<dyn FnOnce(Result<(), StoreError>) + Send>;

/// Told what was loaded.
pub type LoadDone = Box<dyn FnOnce(Result<Loaded, StoreError>) + Send>;

/// Told how much was removed.
pub type TrimDone = Box<dyn FnOnce(Result<Totals, StoreError>) + Send>;

/// Told what is there.
pub type CountDone = Box<dyn FnOnce(Result<Inventory, StoreError>) + Send>;

/// Given what holds the log.
pub type HoldDone = Box<dyn FnOnce(Result<Arc<Hold>, StoreError>) + Send>;

/// Bytes that may wait before publishers are asked to.
const ROOM: usize = 16 * 1024 * 1024;

/// Changes that are in no hurry wait for so long at most, and not beyond so many bytes.
const LAZINESS: Duration = Duration::from_secs(1);
const LAZY_BYTES: usize = 256 * 1024;

/// Something to be done by the store's thread.
pub enum Order {
    /// Keep these.
    Apply(Vec<Change>, Option<Done>),
    /// Read these.
    Load(LoadRequest, LoadDone),
    /// Remove these.
    Trim(TrimRequest, TrimDone),
    /// Remove these, in parts: others are carried out between them. Nobody is told any more where it has failed before.
    Revoke(RevokeRequest, Option<Done>),
    /// Say what is there.
    Count(CountDone),
    /// Leave the log where it is.
    Hold(HoldDone),
}

impl Order {
    /// Bytes of memory that it holds, roughly.
    fn weight(&self) -> usize {
        match self {
            Self::Apply(changes, _) => 64 + changes.iter().map(weight).sum::<usize>(),
            Self::Load(request, _) => 128 + request.bytes.min(ROOM / 16),
            Self::Trim(..) | Self::Revoke(..) | Self::Count(_) | Self::Hold(_) => 128,
        }
    }

    fn changes(&self) -> usize {
        match self {
            Self::Apply(changes, _) => changes.len(),
            Self::Load(..) | Self::Trim(..) | Self::Revoke(..) | Self::Count(_) | Self::Hold(_) => 1,
        }
    }
}

/// What the thread is woken with.
pub struct Taken {
    /// In order; empty if nothing came in time.
    pub orders: Vec<Order>,
    /// For [`Intake::finished`].
    pub weight: usize,
    /// Nothing more will come, and this is all there was.
    pub is_last: bool,
}

/// A queue with one taker. Handing over never waits; who can wait asks [`Intake::has_room`] before.
pub struct Intake {
    waiting: Mutex<Waiting>,
    filled: Condvar,
    crowded: AtomicBool,
    roomy: Notify,
}

#[derive(Default)]
struct Waiting {
    orders: VecDeque<(Order, usize)>,
    /// Of what waits and of what was taken and is not finished.
    weight: usize,
    lazy_weight: usize,
    lazy_since: Option<Instant>,
    is_urgent: bool,
    is_closed: bool,
}

impl Intake {
    /// Empty.
    pub fn new() -> Self {
        Self {
            waiting: Mutex::new(Waiting::default()),
            filled: Condvar::new(),
            crowded: AtomicBool::new(false),
            roomy: Notify::new(),
        }
    }

    /// Hands over; gives the order back if the store was closed.
    pub fn push(&self, order: Order) -> Result<(), Order> {
        self.add(order, |waiting, _| waiting.is_urgent = true)
    }

    /// The same for an order that may wait for others.
    pub fn push_lazily(&self, order: Order) -> Result<(), Order> {
        self.add(order, |waiting, weight| {
            waiting.lazy_since.get_or_insert_with(Instant::now);
            waiting.lazy_weight += weight;
            waiting.is_urgent |= waiting.lazy_weight > LAZY_BYTES;
        })
    }

    /// Waits until there is something to do or until `deadline`, and takes what is there, up to `changes` and `bytes` but
    /// at least one order.
    pub fn take(&self, deadline: Option<Instant>, changes: usize, bytes: usize) -> Taken {
        let mut waiting = self.waiting.lock();
        loop {
            if waiting.is_urgent || waiting.is_closed {
                break;
            }
            let lazy = waiting.lazy_since.map(|since| since + LAZINESS);
            let wake_at = [deadline, lazy].into_iter().flatten().min();
            if wake_at.is_some_and(|at| at <= Instant::now()) {
                break;
            }
            match wake_at {
                Some(at) => drop(self.filled.wait_until(&mut waiting, at)),
                None => self.filled.wait(&mut waiting),
            }
        }
        waiting.take(changes, bytes)
    }

    /// What was taken holds no memory any more.
    pub fn finished(&self, weight: usize) {
        let mut waiting = self.waiting.lock();
        waiting.weight -= weight;
        if waiting.weight <= ROOM && self.crowded.swap(false, Ordering::Relaxed) {
            drop(waiting);
            self.roomy.notify_waiters();
        }
    }

    /// Whether more waits than should.
    pub fn is_crowded(&self) -> bool {
        self.crowded.load(Ordering::Relaxed)
    }

    /// Waits until less does.
    pub async fn has_room(&self) {
        loop {
            let roomy = self.roomy.notified();
            if !self.is_crowded() {
                return;
            }
            roomy.await;
        }
    }

    /// Takes nothing any more, and gives back what waits: nobody will take it.
    pub fn abandon(&self) -> Vec<Order> {
        let mut waiting = self.waiting.lock();
        waiting.is_closed = true;
        waiting.weight = 0;
        self.crowded.store(false, Ordering::Relaxed);
        self.roomy.notify_waiters();
        waiting.orders.drain(..).map(|(order, _)| order).collect()
    }

    /// Takes nothing any more.
    pub fn close(&self) {
        self.waiting.lock().is_closed = true;
        self.filled.notify_one();
    }

    fn add(&self, order: Order, hurry: impl FnOnce(&mut Waiting, usize)) -> Result<(), Order> {
        let weight = order.weight();
        let mut waiting = self.waiting.lock();
        if waiting.is_closed {
            return Err(order);
        }
        // The thread waits only while nothing is urgent, and without a deadline only while nothing is there.
        let was_idle = !waiting.is_urgent;
        let was_empty = waiting.orders.is_empty();
        waiting.orders.push_back((order, weight));
        waiting.weight += weight;
        hurry(&mut waiting, weight);
        if waiting.weight > ROOM {
            self.crowded.store(true, Ordering::Relaxed);
        }
        if was_empty || (was_idle && waiting.is_urgent) {
            self.filled.notify_one();
        }
        Ok(())
    }
}

impl Waiting {
    fn take(&mut self, changes: usize, bytes: usize) -> Taken {
        let mut taken = Taken { orders: Vec::new(), weight: 0, is_last: false };
        let mut count = 0;
        while let Some((order, weight)) = self.orders.front() {
            if !taken.orders.is_empty()
                && (count + order.changes() > changes || taken.weight + weight > bytes)
            {
                self.is_urgent = true;
                return taken;
            }
            count += order.changes();
            taken.weight += weight;
            taken.orders.extend(self.orders.pop_front().map(|(order, _)| order));
        }
        self.is_urgent = false;
        self.lazy_since = None;
        self.lazy_weight = 0;
        taken.is_last = self.is_closed;
        taken
    }
}

/// Bytes of memory that a change holds, roughly.
fn weight(change: &Change) -> usize {
    const BASE: usize = size_of::<Change>();
    BASE + match change {
        Change::PutSession(session) => {
            session.client_id.len() + session.will.as_ref().map_or(0, |will| will.message.size())
        }
        Change::Subscribe { filter, .. } | Change::Unsubscribe { filter, .. } => filter.len(),
        Change::Enqueue { message, .. } => message.delivery.size(),
        Change::Retain { message, .. } => message.size(),
        Change::Unretain { topic } => topic.len(),
        Change::EndSession(_)
        | Change::ForgetWill(_)
        | Change::Forget { .. }
        | Change::Release { .. }
        | Change::Accept { .. }
        | Change::Complete { .. } => 0,
    }
}
