//! Takes away what the embedder does not allow any more, from whoever had it when that was allowed.

use std::{collections::HashMap, future::poll_fn, ops::Add, sync::Arc, task::Poll};

use crate::{
    codec::ReasonCode,
    session::{Bell, Outcome, Receipt, Session},
    shared::Shared,
    store::Change,
};

/// What [`crate::Broker::reconsider`] took away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Reconsidered {
    /// Sessions of names that may not log in any more, with all that they had.
    pub sessions: u64,
    /// Subscriptions of the other sessions.
    pub subscriptions: u64,
    /// Messages that waited for the other sessions or were in flight to them.
    pub messages: u64,
    /// Retained messages.
    pub retained: u64,
    /// Will Messages of the other sessions.
    pub wills: u64,
    /// Whether the store has committed all of it. If not, it fails now, and what is missing is done as soon as it can be.
    pub is_committed: bool,
}

/// What two of them took away one after the other.
impl Add for Reconsidered {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            sessions: self.sessions + other.sessions,
            subscriptions: self.subscriptions + other.subscriptions,
            messages: self.messages + other.messages,
            retained: self.retained + other.retained,
            wills: self.wills + other.wills,
            is_committed: self.is_committed && other.is_committed,
        }
    }
}

impl Shared {
    /// See [`crate::Broker::reconsider`].
    pub async fn reconsider(self: &Arc<Self>) -> Reconsidered {
        let _one_at_a_time = self.reconsidering.lock().await;
        // Whoever heard an old answer has acted on it now: what it left behind is found.
        self.grace.pass();
        let mut done =
            Reconsidered { sessions: self.end_revoked_sessions().await, ..Reconsidered::default() };
        let sessions = self.sessions.all();
        let mut without_will = Vec::new();
        for session in &sessions {
            let (subscriptions, had_will) = self.revoke_rights(session);
            done.subscriptions += subscriptions;
            without_will.extend(had_will.then_some(session));
        }
        done.retained = self.revoke_retained();
        // Whoever found a subscription that is gone has put the message into the session's queue now, and whoever saw a
        // Will Message that is gone has had it stored.
        self.grace.pass();
        // What was counted under an old answer is counted by now.
        sessions.iter().for_each(|session| self.take_counts(session));
        self.forget_unknown_names();
        self.forget_unknown_flows();
        done.wills = without_will.len() as u64;
        for session in without_will {
            self.forget_will(session);
        }
        let bell = Arc::default();
        let receipt = Receipt::new(&bell);
        for session in &sessions {
            done.messages += self.revoke_messages(session, &receipt);
        }
        // Whatever a session wanted to have written before is with the store now.
        self.grace.pass();
        receipt.settle(true);
        done.is_committed = settled(&receipt, &bell).await == Outcome::Kept && self.until_settled().await;
        done
    }

    /// Whether clients of this name may still be there.
    pub fn is_known(&self, name: &str) -> bool {
        self.access.grant(name).is_some()
    }

    /// What a session may not hear any more is not there any more; says how many messages that were. The receipt is shared
    /// with what the store has to do for it.
    pub fn revoke_messages(self: &Arc<Self>, session: &Arc<Session>, receipt: &Arc<Receipt>) -> u64 {
        let Some(grant) = session.lifetime.lock().grant.clone() else { return 0 };
        self.with_outbound(session, |outbound| outbound.revoke(&*grant, receipt))
    }

    /// Ends all sessions of names that may not log in any more; says how many.
    async fn end_revoked_sessions(self: &Arc<Self>) -> u64 {
        let is_revoked = |session: &Arc<Session>| !self.is_known(&session.name);
        let revoked: Vec<_> = self.sessions.all().into_iter().filter(is_revoked).collect();
        for session in &revoked {
            session.outbound.lock().request_close(ReasonCode::AdministrativeAction);
        }
        for session in &revoked {
            let attachment = session.attach(ReasonCode::AdministrativeAction).await;
            session.stop_afterlife();
            // The connection that left may have ended it.
            if !session.has_ended() {
                self.end_session(session, attachment).await;
            }
        }
        revoked.len() as u64
    }

    /// The subscriptions and the Will Message that a session may not have any more are gone: how many, and whether.
    fn revoke_rights(&self, session: &Session) -> (u64, bool) {
        let mut lifetime = session.lifetime.lock();
        // One that has not begun yet has nothing, and will ask.
        let Some(grant) = lifetime.grant.clone() else { return (0, false) };
        let before = lifetime.subscriptions.len();
        lifetime.subscriptions.retain(|filter, _| {
            let allowed = grant.may_subscribe(filter);
            if !allowed {
                self.subscriptions.remove(filter, session.id);
                self.forget_subscription(session, filter);
            }
            allowed
        });
        let will = lifetime.will.take_if(|will| !grant.may_publish(will.message.topic()));
        ((before - lifetime.subscriptions.len()) as u64, will.is_some())
    }

    /// Retained messages whose owners may not publish them any more are gone; says how many.
    fn revoke_retained(&self) -> u64 {
        let _changing = self.changing_retained.write();
        let mut grants = HashMap::new();
        let topics = self.retained.revoke(|owner, topic| {
            let grant = grants.entry(Arc::clone(owner)).or_insert_with(|| self.access.grant(owner));
            grant.as_ref().is_none_or(|grant| !grant.may_publish(topic))
        });
        for topic in &topics {
            self.unkept.forget(topic);
        }
        let count = topics.len() as u64;
        if let Some(keeper) = self.keeper.as_ref().filter(|_| count > 0) {
            let changes = topics.into_iter().map(|topic| Change::Unretain { topic }).collect();
            keeper.store.submit(changes, None);
        }
        count
    }

    /// Waits for the store to have done all, and what follows from it: a message that was on its way there is forgotten
    /// once it has arrived.
    async fn until_settled(&self) -> bool {
        self.until_committed().await && self.until_committed().await
    }
}

async fn settled(receipt: &Receipt, bell: &Bell) -> Outcome {
    poll_fn(|cx| {
        bell.register(cx.waker());
        receipt.outcome().map_or(Poll::Pending, Poll::Ready)
    })
    .await
}
