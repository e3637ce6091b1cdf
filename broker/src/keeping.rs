//! Between the sessions and the store: has done what a session wants done, and keeps what sessions are.

use std::{collections::HashSet, future::Future, sync::Arc};

use parking_lot::Mutex;
use tokio::sync::oneshot;

use crate::{
    events::{Event, excerpt},
    session::{LOAD_BYTES, LOAD_MESSAGES, Outbound, Receipt, Session, SessionId, SessionPresence, Work},
    shared::Shared,
    store::{Change, Done, Health, LoadRequest, MAX_SLOT, RevokeRequest, Sequence, Slot, Store, TrimRequest},
};

/// The store with the places of sessions in it.
pub struct Keeper {
    /// The store.
    pub store: Store,
    slots: Mutex<Slots>,
}

#[derive(Default)]
struct Slots {
    used: HashSet<Slot>,
    last: Slot,
}

/// Changes that come into effect together, and who waits for them.
#[derive(Default)]
pub struct Group {
    changes: Vec<Change>,
    written: Vec<(Arc<Session>, Sequence)>,
    receipt: Option<Arc<Receipt>>,
}

impl Keeper {
    /// With the places that are taken already.
    pub fn new(store: Store, used: HashSet<Slot>) -> Self {
        let last = used.iter().copied().max().unwrap_or(0);
        Self { store, slots: Mutex::new(Slots { used, last }) }
    }

    /// A place for a session; `None` if all are taken. One that was given back is not used again before all others.
    pub fn take_slot(&self) -> Option<Slot> {
        let mut slots = self.slots.lock();
        if slots.used.len() >= MAX_SLOT as usize {
            return None;
        }
        loop {
            slots.last = slots.last % MAX_SLOT + 1;
            let slot = slots.last;
            if slots.used.insert(slot) {
                return Some(slot);
            }
        }
    }

    fn give_back(&self, slot: Slot) {
        self.slots.lock().used.remove(&slot);
    }
}

impl Group {
    /// One more change, which a receipt waits for.
    pub fn add(&mut self, change: Change) {
        self.changes.push(change);
    }

    /// Whether there is anything in it.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// Who is told when it is done, beside those whose messages are in it.
    pub fn set_receipt(&mut self, receipt: Arc<Receipt>) {
        self.receipt = Some(receipt);
    }
}

impl Shared {
    /// Works with what a session receives, then has the store do what follows from it.
    pub fn with_outbound<R>(
        self: &Arc<Self>,
        session: &Arc<Session>,
        work_with: impl FnOnce(&mut Outbound) -> R,
    ) -> R {
        let _inside = self.grace.enter();
        let (result, work) = {
            let mut outbound = session.outbound.lock();
            let result = work_with(&mut outbound);
            (result, outbound.take_work())
        };
        self.perform(session, work);
        result
    }

    /// Has the store do what a session wants done.
    pub fn perform(self: &Arc<Self>, session: &Arc<Session>, work: Vec<Work>) {
        for work in work {
            let mut group = Group::default();
            self.gather(session, work, &mut group);
            self.submit(group);
        }
    }

    /// Has the store do it, or if it is about a message of the group puts it into that.
    pub fn gather(self: &Arc<Self>, session: &Arc<Session>, work: Work, group: &mut Group) {
        if let Work::Await(sequence) = work {
            return group.written.push((Arc::clone(session), sequence));
        }
        let (Some(Keeper { store, .. }), Some(slot)) = (&self.keeper, session.slot) else { return };
        let (shared, session) = (Arc::clone(self), Arc::clone(session));
        match work {
            Work::Write(message) => {
                group.written.push((session, message.sequence));
                group.changes.push(Change::Enqueue { slot, message });
            }
            Work::Await(_) => {}
            Work::Forget(sequence) => store.submit_lazily(Change::Forget { slot, sequence }),
            Work::Release(sequence) => {
                let done: Done = Box::new(move |released| {
                    // If not, it is tried again when the store has recovered.
                    if released.is_ok() {
                        shared.with_outbound(&session, |outbound| outbound.handle_released(sequence));
                    }
                });
                store.submit(vec![Change::Release { slot, sequence }], Some(done));
            }
            Work::Load { from, below } => {
                let request = LoadRequest { slot, from, below, messages: LOAD_MESSAGES, bytes: LOAD_BYTES };
                store.load(request, move |loaded| {
                    let damaged = loaded.as_ref().map_or(0, |loaded| loaded.damaged);
                    if damaged > 0 {
                        let name = Arc::clone(&session.name);
                        shared.events.emit(|| Event::StoreDamaged { name, messages: damaged });
                    }
                    let grant = session.lifetime.lock().grant.clone();
                    let allowed =
                        |topic: &str| grant.as_ref().is_some_and(|grant| grant.may_subscribe(topic));
                    shared.with_outbound(&session, |outbound| {
                        outbound.handle_loaded(from, below, loaded.ok(), allowed);
                    });
                });
            }
            Work::Trim { flow, from, what } => {
                let request = TrimRequest { slot, flow: Arc::clone(&flow), from, what };
                store.trim(request, move |removed| {
                    shared.with_outbound(&session, |outbound| {
                        outbound.handle_trimmed(&flow, what, removed.unwrap_or_default());
                    });
                });
            }
            Work::Revoke { flow, from, below, sent_below, receipt } => {
                let request = RevokeRequest { slot, flow, from, below, sent_below };
                store.revoke(request, Box::new(move |revoked| receipt.settle(revoked.is_ok())));
            }
        }
    }

    /// Has the store do all that is in the group at once.
    pub fn submit(self: &Arc<Self>, group: Group) {
        let Some(Keeper { store, .. }) = self.keeper.as_ref().filter(|_| !group.is_empty()) else { return };
        let Group { changes, written, receipt } = group;
        let shared = Arc::clone(self);
        let done: Done = Box::new(move |kept| {
            for (session, sequence) in written {
                shared.with_outbound(&session, |outbound| outbound.handle_written(sequence, kept.is_ok()));
            }
            if let Some(receipt) = receipt {
                receipt.settle(kept.is_ok());
            }
        });
        store.submit(changes, Some(done));
    }

    /// Has the store make a change of a session, if it is kept: the receipt is settled then. Says whether it is kept.
    pub fn keep(self: &Arc<Self>, session: &Session, receipt: &Arc<Receipt>, changes: Vec<Change>) -> bool {
        let kept = session.slot.is_some() && !changes.is_empty();
        if kept {
            let mut group = Group { changes, ..Group::default() };
            group.set_receipt(receipt.share());
            self.submit(group);
        }
        kept
    }

    /// What a new session is known by: kept if it is to outlive its connection and there is a store. `None` if no more
    /// sessions can be kept.
    pub fn new_session_id(&self, outlives_connection: bool) -> Option<SessionId> {
        match self.keeper.as_ref().filter(|_| outlives_connection) {
            Some(keeper) => keeper.take_slot().map(SessionId::Kept),
            None => Some(self.sessions.passing()),
        }
    }

    /// Whether the session is kept, or nothing is.
    pub fn can_outlive(&self, session: &Session) -> bool {
        session.slot.is_some() || self.keeper.is_none()
    }

    /// Keeps what the session is now, whenever that succeeds. `left_at` is when its connection ended.
    pub fn put_session(&self, session: &Session, left_at: Option<u64>) {
        let _inside = self.grace.enter();
        if let (Some(keeper), Some(slot)) = (&self.keeper, session.slot) {
            keeper.store.submit(vec![Change::PutSession(session.record(slot, left_at))], None);
        }
    }

    /// Keeps a new session. False if it could not be kept.
    pub async fn begin_keeping(&self, session: &Session) -> bool {
        let (Some(keeper), Some(slot)) = (&self.keeper, session.slot) else { return true };
        let committed = {
            let _inside = self.grace.enter();
            // Whatever a session that had this place before may have left behind goes first.
            let put = Change::PutSession(session.record(slot, None));
            commit(&keeper.store, vec![Change::EndSession(slot), put])
        };
        committed.await
    }

    /// Waits until the store has committed what it was given before; false if it could not.
    pub async fn until_committed(&self) -> bool {
        match &self.keeper {
            Some(keeper) => commit(&keeper.store, Vec::new()).await,
            None => true,
        }
    }

    /// The subscription of a session is not kept any more, whenever that succeeds.
    pub fn forget_subscription(&self, session: &Session, filter: &str) {
        if let (Some(keeper), Some(slot)) = (&self.keeper, session.slot) {
            keeper.store.submit(vec![Change::Unsubscribe { slot, filter: filter.into() }], None);
        }
    }

    /// The Will Message of a session was published or revoked: it is not kept any more.
    pub fn forget_will(&self, session: &Session) {
        if let (Some(keeper), Some(slot)) = (&self.keeper, session.slot) {
            keeper.store.submit(vec![Change::ForgetWill(slot)], None);
        }
    }

    /// All that is kept of a session that is over goes.
    pub fn end_keeping(&self, session: &Session) {
        if let (Some(keeper), Some(slot)) = (&self.keeper, session.slot) {
            keeper.store.submit(vec![Change::EndSession(slot)], None);
            keeper.give_back(slot);
        }
    }

    /// Whether so much waits for the store that publishers have to wait, too.
    pub fn is_crowded(&self) -> bool {
        self.keeper.as_ref().is_some_and(|keeper| keeper.store.is_crowded())
    }

    /// Waits until the store can be given more.
    pub async fn until_room(&self) {
        if let Some(keeper) = &self.keeper {
            keeper.store.has_room().await;
        }
    }

    /// Tells how the store is, and has sessions try again what failed.
    pub fn handle_health(self: &Arc<Self>, health: &Health) {
        match health {
            Health::Failing(detail) => {
                let detail = excerpt(detail);
                self.events.emit(|| Event::StoreFailing { detail });
            }
            Health::Fine => {
                self.events.emit(|| Event::StoreRecovered);
                for session in self.sessions.all() {
                    self.with_outbound(&session, Outbound::handle_store_recovered);
                }
            }
        }
    }

    /// Nothing that a session has in memory only may be lost when the process ends: sessions that still have a
    /// connection leave it now, as far as the store is concerned. Then the store is closed.
    pub async fn close_store(self: &Arc<Self>, now: u64) {
        if self.keeper.is_none() {
            return;
        }
        for session in self.sessions.all() {
            if matches!(session.lifetime.lock().presence, SessionPresence::Online) {
                self.with_outbound(&session, Outbound::handle_disconnect);
                self.put_session(&session, Some(now));
            }
        }
        self.keep_retained_now();
        let shared = Arc::clone(self);
        // An error says that closing panicked, which ends the process no less.
        let _ = tokio::task::spawn_blocking(move || {
            if let Some(keeper) = &shared.keeper {
                keeper.store.close();
            }
        })
        .await;
    }
}

/// Hands them over, and gives what waits for them.
fn commit(store: &Store, changes: Vec<Change>) -> impl Future<Output = bool> + use<> {
    let (told, committed) = oneshot::channel();
    let done: Done = Box::new(move |kept| {
        // An error says that nobody waits any more.
        let _ = told.send(kept.is_ok());
    });
    store.submit(changes, Some(done));
    async move { committed.await.unwrap_or(false) }
}
