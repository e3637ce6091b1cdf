//! How sessions begin, outlive their connection, and end; and what becomes of their Will Messages.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::MutexGuard,
    time::{Instant, sleep_until},
};

use crate::{
    access::Grant,
    clock,
    codec::ReasonCode,
    limits::Limit,
    routing::Full,
    session::{Outbound, PendingWill, Session, SessionPresence},
    shared::Shared,
};

impl Shared {
    /// Finds or makes the session; a new one that outlives its connection is kept, if there is a store. It may have
    /// ended before the caller is attached to it: then open again. `None` if no more sessions can be kept.
    pub async fn open_session(
        self: &Arc<Self>,
        name: &str,
        client_id: &str,
        outlives_connection: bool,
    ) -> Option<Arc<Session>> {
        let new_id = || self.new_session_id(outlives_connection);
        let found = {
            let _inside = self.grace.enter();
            let found = self.sessions.find_or_create(name, client_id, &self.limits.load(), new_id)?;
            if let Some(evicted) = &found.evicted {
                // Nobody else finds it any more, so it must not be sent anything from now on.
                evicted.outbound.lock().request_close(ReasonCode::QuotaExceeded);
            }
            found
        };
        if let Some(evicted) = found.evicted {
            self.tell_limited(&evicted.name, Limit::SessionsPerName);
            let attachment = evicted.attach(ReasonCode::QuotaExceeded).await;
            evicted.stop_afterlife();
            if !evicted.has_ended() {
                self.end_session(&evicted, attachment).await;
            }
        }
        Some(found.session)
    }

    /// The attached connection begins: the afterlife is over, and with it the delayed Will Message `[MQTT-3.1.3-9]`.
    /// Subscriptions that the grant does not allow any more are gone. Says whether a session goes on that has begun
    /// before: that is Session Present `[MQTT-3.2.2-2]`. The Will Message of the CONNECT is kept with the session, unless it
    /// was revoked since.
    pub fn begin_session(
        &self,
        session: &Session,
        grant: &Arc<dyn Grant>,
        will: Option<PendingWill>,
        expiry: u32,
    ) -> bool {
        session.stop_afterlife();
        let _inside = self.grace.enter();
        let mut lifetime = session.lifetime.lock();
        lifetime.presence = SessionPresence::Online;
        lifetime.will = will.filter(|will| grant.may_publish(will.message.topic()));
        lifetime.expiry = expiry;
        lifetime.grant = Some(Arc::clone(grant));
        lifetime.subscriptions.retain(|filter, _| {
            let allowed = self.may_subscribe(&**grant, filter);
            if !allowed {
                self.subscriptions.remove(filter, session.id);
                self.forget_subscription(session, filter);
            }
            allowed
        });
        std::mem::replace(&mut lifetime.begun, true)
    }

    /// The connection has ended: publishes or keeps the Will Message, if that is not cancelled, and keeps the session for
    /// `expiry` or ends it. The caller holds the attachment.
    pub async fn leave_session(
        self: &Arc<Self>,
        session: &Arc<Session>,
        attachment: MutexGuard<'_, ()>,
        publishes_will: bool,
        expiry: u32,
    ) {
        session.lifetime.lock().connection = None;
        session.inbound.lock().handle_disconnect();
        self.with_outbound(session, Outbound::handle_disconnect);
        self.take_counts(session);
        if !publishes_will {
            session.lifetime.lock().will = None;
        }
        if expiry == 0 || !self.is_known(&session.name) {
            return self.end_session(session, attachment).await;
        }
        let will = session.lifetime.lock().will.take();
        let (due_now, pending) = match will {
            Some(will) if will.delay.is_zero() => (Some(will), None),
            other => (None, other),
        };
        self.begin_afterlife(session, pending, expiry, Duration::ZERO);
        self.publish_will(session, due_now).await;
        self.put_session(session, Some(clock::unix_ms()));
        drop(attachment);
    }

    /// The session goes on without a connection, which it has lost some time ago.
    pub fn begin_afterlife(
        self: &Arc<Self>,
        session: &Arc<Session>,
        will: Option<PendingWill>,
        expiry: u32,
        ago: Duration,
    ) {
        let now = Instant::now();
        let left = |time: Duration| now + time.saturating_sub(ago);
        let afterlife = Afterlife {
            shared: Arc::clone(self),
            session: Arc::clone(session),
            will_due: will.as_ref().map(|will| left(will.delay)),
            ends: left(Duration::from_secs(expiry.into())),
        };
        let mut lifetime = session.lifetime.lock();
        lifetime.expiry = expiry;
        lifetime.will = will;
        lifetime.presence = SessionPresence::Offline {
            since: now.checked_sub(ago).unwrap_or(now),
            afterlife: tokio::spawn(afterlife.run()).abort_handle(),
        };
    }

    /// Ends a session: its subscriptions and messages go, its Will Message is published. Needs the attachment, so that no
    /// connection works with it meanwhile.
    pub async fn end_session(self: &Arc<Self>, session: &Session, attachment: MutexGuard<'_, ()>) {
        let will = {
            let mut lifetime = session.lifetime.lock();
            lifetime.presence = SessionPresence::Ended;
            lifetime.will.take()
        };
        self.sessions.remove(session);
        self.take_counts(session);
        let subscriptions = std::mem::take(&mut session.lifetime.lock().subscriptions);
        for filter in subscriptions.keys() {
            self.subscriptions.remove(filter, session.id);
        }
        session.outbound.lock().end();
        self.end_keeping(session);
        drop(attachment);
        self.publish_will(session, will).await;
    }

    /// Publishes a Will Message if its client may still do so.
    pub async fn publish_will(self: &Arc<Self>, session: &Session, will: Option<PendingWill>) {
        let Some(will) = will else { return };
        let published = {
            let _inside = self.grace.enter();
            if !self.is_known(&session.name) || !self.may_publish(&*will.grant, will.message.topic()) {
                return;
            }
            let message = will.message.published_by(session.id, clock::unix_ms());
            if self.taps.are_open() && !will.grant.is_inside() {
                let flow = self.flow_of(message.topic());
                self.taps.copy(&flow.name, &session.name, &message);
            }
            self.publish_assured(message, Some(&session.name))
        };
        if let Err(Full(limit)) = self.publish_live(published).await {
            self.tell_full(&session.name, will.message.topic(), limit);
        }
    }
}

/// What is left to do for a session without a connection. Aborted when a connection attaches to it.
struct Afterlife {
    shared: Arc<Shared>,
    session: Arc<Session>,
    will_due: Option<Instant>,
    ends: Instant,
}

impl Afterlife {
    async fn run(self) {
        if let Some(due) = self.will_due.filter(|due| *due < self.ends) {
            sleep_until(due).await;
            let will = self.session.lifetime.lock().will.take();
            let (shared, session) = (Arc::clone(&self.shared), Arc::clone(&self.session));
            // In a task of its own, since this one is aborted when the client returns.
            let published = tokio::spawn(async move { shared.publish_will(&session, will).await });
            // An error says that publishing panicked: it will not be better next time.
            let _ = published.await;
            if let Some(_attachment) = self.session.try_attach() {
                self.shared.forget_will(&self.session);
            }
        }
        sleep_until(self.ends).await;
        if let Some(attachment) = self.session.try_attach() {
            self.shared.end_session(&self.session, attachment).await;
        }
    }
}
