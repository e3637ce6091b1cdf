//! Takes over what an earlier run has kept: sessions and retained messages of those who may still do what they did.

use std::{cmp::Reverse, sync::Arc, time::Duration};

use crate::{
    access::Grant,
    clock,
    message::Message,
    session::{PendingWill, Receipt, Session},
    shared::Shared,
    store::{Change, StoredSession},
    subscriptions::SubscriptionOptions,
};

impl Shared {
    /// Takes all over. What belonged to a name that may not log in any more goes.
    pub fn restore(self: &Arc<Self>, mut sessions: Vec<StoredSession>, retained: Vec<RetainedRecord>) {
        for (message, owner) in retained {
            let may_stay = self.access.grant(&owner).is_some_and(|grant| grant.may_publish(message.topic()));
            let expired = message.remaining_expiry(clock::unix_ms()).is_err();
            if !may_stay || expired || self.retained.store(&message, Some(&owner), |_| ()).is_err() {
                self.change(Change::Unretain { topic: message.topic().into() });
            }
        }
        // The process may have died after a session had begun and before the one that it replaced was removed.
        sessions.sort_by_key(|stored| Reverse(stored.record.left_at.unwrap_or(u64::MAX)));
        // All are there before the first Will Message is due.
        let left: Vec<_> = sessions.iter().filter_map(|stored| self.restore_session(stored)).collect();
        for Left { session, will, expiry, ago } in left {
            if ago < Duration::from_secs(expiry.into()) {
                self.begin_afterlife(&session, will, expiry, ago);
            } else {
                let shared = Arc::clone(self);
                tokio::spawn(async move { shared.publish_will(&session, will).await });
            }
        }
    }

    fn restore_session(self: &Arc<Self>, stored: &StoredSession) -> Option<Left> {
        let record = &stored.record;
        let session = Arc::new(Session::restored(stored, &self.limits.load()));
        let grant = self.access.grant(&record.name);
        let Some(grant) = grant.filter(|_| !self.sessions.has(&record.name, &record.client_id)) else {
            self.end_keeping(&session);
            return None;
        };
        let now = clock::unix_ms();
        let will = record.will.as_ref().filter(|will| grant.may_publish(will.message.topic()));
        let left = Left {
            // A clock that went backwards counts as no time passed.
            ago: Duration::from_millis(now.saturating_sub(record.left_at.unwrap_or(now))),
            will: will.map(|will| PendingWill {
                message: will.message.clone(),
                delay: Duration::from_secs(will.delay.into()),
                grant: Arc::clone(&grant),
            }),
            expiry: record.expiry,
            session: Arc::clone(&session),
        };
        if left.ago >= Duration::from_secs(left.expiry.into()) {
            self.end_keeping(&session);
            return Some(left);
        }
        {
            let mut lifetime = session.lifetime.lock();
            lifetime.begun = true;
            lifetime.grant = Some(Arc::clone(&grant));
            lifetime.expiry = left.expiry;
            lifetime.will.clone_from(&left.will);
        }
        self.restore_subscriptions(&session, &stored.subscriptions, &*grant);
        // What was not allowed any more when this process began does not come back if it is again some day.
        if left.will.is_none() && record.will.is_some() {
            self.forget_will(&session);
        }
        self.revoke_messages(&session, &Receipt::new(&session.bell));
        if record.left_at.is_none() {
            // It lost its connection with the process that died.
            self.put_session(&session, Some(now));
        }
        self.sessions.restore(session);
        Some(left)
    }

    fn restore_subscriptions(
        &self,
        session: &Arc<Session>,
        subscriptions: &[(Box<str>, SubscriptionOptions)],
        grant: &dyn Grant,
    ) {
        let mut lifetime = session.lifetime.lock();
        for (filter, options) in subscriptions {
            if self.may_subscribe(grant, filter) {
                lifetime.subscriptions.insert(filter.clone(), *options);
                self.subscriptions.insert(filter, session.id, session, *options);
            } else {
                self.forget_subscription(session, filter);
            }
        }
    }

    fn change(&self, change: Change) {
        if let Some(keeper) = &self.keeper {
            keeper.store.submit_lazily(change);
        }
    }
}

/// A retained message and the name that it counts for.
type RetainedRecord = (Message, Arc<str>);

/// A session that lost its connection some time ago.
struct Left {
    session: Arc<Session>,
    will: Option<PendingWill>,
    expiry: u32,
    ago: Duration,
}
