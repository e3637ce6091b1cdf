//! Takes over what an earlier run has kept: sessions and retained messages of those who may still do what they did.

use std::{sync::Arc, time::Duration};

use crate::{
    clock,
    session::{PendingWill, Session},
    shared::Shared,
    store::{Change, StoredSession},
};

impl Shared {
    /// Takes all over. What belonged to a name that may not log in any more goes.
    pub fn restore(self: &Arc<Self>, sessions: Vec<StoredSession>, retained: Vec<RetainedRecord>) {
        for (message, owner) in retained {
            let may_stay = self.access.grant(&owner).is_some_and(|grant| grant.may_publish(message.topic()));
            let expired = message.remaining_expiry(clock::unix_ms()).is_err();
            if !may_stay || expired || self.retained.store(&message, Some(&owner), |_| ()).is_err() {
                self.change(Change::Unretain { topic: message.topic().into() });
            }
        }
        for stored in sessions {
            self.restore_session(&stored);
        }
    }

    fn restore_session(self: &Arc<Self>, stored: &StoredSession) {
        let record = &stored.record;
        let session = Arc::new(Session::restored(stored, &self.limits));
        let Some(grant) = self.access.grant(&record.name) else { return self.end_keeping(&session) };
        {
            let mut lifetime = session.lifetime.lock();
            lifetime.begun = true;
            for (filter, options) in &stored.subscriptions {
                if self.may_subscribe(&*grant, filter) {
                    lifetime.subscriptions.insert(filter.clone(), *options);
                    self.subscriptions.insert(filter, session.id, &session, *options);
                } else {
                    self.forget_subscription(&session, filter);
                }
            }
            lifetime.grant = Some(Arc::clone(&grant));
        }
        self.sessions.restore(Arc::clone(&session));

        let now = clock::unix_ms();
        // A clock that went backwards counts as no time passed.
        let ago = Duration::from_millis(now.saturating_sub(record.left_at.unwrap_or(now)));
        let will = record.will.as_ref().map(|will| PendingWill {
            message: will.message.clone(),
            delay: Duration::from_secs(will.delay.into()),
            grant,
        });
        self.begin_afterlife(&session, will, record.expiry, ago);
        if record.left_at.is_none() {
            // It lost its connection with the process that died.
            self.put_session(&session, Some(now));
        }
    }

    fn change(&self, change: Change) {
        if let Some(keeper) = &self.keeper {
            keeper.store.submit_lazily(change);
        }
    }
}

/// A retained message and the name that it counts for.
type RetainedRecord = (crate::message::Message, Arc<str>);
