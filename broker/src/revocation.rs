//! Takes away what the embedder does not allow any more, from whoever had it when that was allowed.

use std::sync::Arc;

use crate::{codec::ReasonCode, session::Session, shared::Shared};

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

impl Shared {
    /// See [`crate::Broker::reconsider`].
    pub async fn reconsider(self: &Arc<Self>) -> Reconsidered {
        let _one_at_a_time = self.reconsidering.lock().await;
        self.grace.pass();
        let sessions = self.end_revoked_sessions().await;
        Reconsidered { sessions, is_committed: self.until_committed().await, ..Reconsidered::default() }
    }

    /// Whether clients of this name may still be there.
    pub fn is_known(&self, name: &str) -> bool {
        self.access.grant(name).is_some()
    }

    /// Ends all sessions of names that may not log in any more; says how many.
    async fn end_revoked_sessions(self: &Arc<Self>) -> u64 {
        let is_revoked = |session: &Arc<Session>| !self.is_known(&session.name);
        let revoked: Vec<_> = self.sessions.all().into_iter().filter(is_revoked).collect();
        for session in &revoked {
            session.outbound.lock().request_close(ReasonCode::AdministrativeAction);
        }
        let mut ended = 0;
        for session in &revoked {
            let attachment = session.attach(ReasonCode::AdministrativeAction).await;
            session.stop_afterlife();
            // The connection that left ends it, too.
            ended += 1;
            if !session.has_ended() {
                self.end_session(session, attachment).await;
            }
        }
        ended
    }
}
