//! What all connections share: the parts of the broker, and how they tell what happened.

use std::{
    borrow::Cow,
    net::SocketAddr,
    sync::{Arc, atomic::AtomicBool},
};

use arc_swap::ArcSwap;
use parking_lot::{Mutex, RwLock};

use crate::{
    access::{Access, Flow, Grant, Permit},
    addresses::Addresses,
    admission::Admission,
    allowance::Allowances,
    codec::ReasonCode,
    events::{Counters, Event, Events, excerpt},
    grace::Grace,
    guessing::Guesses,
    keeping::Keeper,
    ledger::Ledger,
    limits::{Limit, LimitTally, Limits},
    live::LiveLane,
    retained::Retained,
    session::{Registry, Session},
    subscriptions::{Match, Subscriptions},
    tap::Taps,
    unkept::Unkept,
};

/// The index of who wants which topic.
pub type Index = Subscriptions<Arc<Session>>;

/// Sessions that want a message.
pub type Matches = Vec<Match<Arc<Session>>>;

/// The parts of the broker.
pub struct Shared {
    pub access: Arc<dyn Access>,
    /// As they are now; a connection keeps those that it began with.
    pub limits: ArcSwap<Limits>,
    pub admission: Arc<Admission>,
    /// Of all connections.
    pub addresses: Arc<Addresses>,
    /// Logins that failed.
    pub guesses: Mutex<Guesses>,
    /// What names may publish.
    pub allowances: Allowances,
    pub sessions: Registry,
    pub subscriptions: Arc<Index>,
    pub retained: Retained,
    /// Counts the changes of the retained messages. Held exclusively while a retained message goes both into the store
    /// and into queues, shared while a SUBSCRIBE goes both into the index and through the store: so that a subscriber
    /// gets either the old message and then the new one, or only the new one, but never misses it nor gets it twice.
    pub changing_retained: RwLock<u64>,
    pub live: LiveLane,
    /// The store, unless everything is in memory only.
    pub keeper: Option<Keeper>,
    /// Retained messages on their way to the store.
    pub unkept: Unkept,
    /// Of messages whose topics the embedder gives no flow.
    pub common_flow: Flow,
    /// Who asks a grant or the index, and acts on the answer.
    pub grace: Arc<Grace>,
    /// Held while rights that were taken away are followed by what was had by them.
    pub reconsidering: tokio::sync::Mutex<()>,
    pub events: Events,
    pub counters: Counters,
    /// What was counted of names and flows.
    pub ledger: Ledger,
    /// Who looks at messages.
    pub taps: Arc<Taps>,
    /// Whoever begins a session after this was set is told that the broker stops.
    pub stopping: AtomicBool,
}

impl Shared {
    /// Whether the grant allows a message; a refusal is counted and told.
    pub fn may_publish(&self, grant: &dyn Grant, topic: &str) -> bool {
        let allowed = grant.may_publish(topic);
        if !allowed {
            self.tell_publish_denied(grant, topic);
        }
        allowed
    }

    /// Whether the grant allows the Topic Filter; a refusal is counted and told.
    pub fn may_subscribe(&self, grant: &dyn Grant, filter: &str) -> bool {
        let allowed = grant.may_subscribe(filter);
        if !allowed {
            self.count_denied(grant);
            self.events
                .emit(|| Event::SubscribeDenied { name: grant.name().into(), filter: excerpt(filter) });
        }
        allowed
    }

    /// The flow of a PUBLISH, if the grant allows it; a refusal is counted and told.
    pub fn permit(&self, grant: &dyn Grant, topic: &str) -> Option<Cow<'_, Flow>> {
        match grant.permit(topic) {
            Permit::InFlow(flow) => Some(Cow::Owned(flow)),
            Permit::Allowed => Some(self.flow_of(topic)),
            Permit::Refused => {
                self.tell_publish_denied(grant, topic);
                None
            }
        }
    }

    /// The flow that messages of a topic count for.
    pub fn flow_of(&self, topic: &str) -> Cow<'_, Flow> {
        self.access.flow(topic).map_or(Cow::Borrowed(&self.common_flow), Cow::Owned)
    }

    /// Counts that a message was refused because of a limit of queues or retained messages.
    pub fn count_full(&self, limit: Limit) {
        Counters::add(&self.counters.queue_full, 1);
        self.counters.limits.count(limit);
    }

    /// Tells that a message was refused because of a limit of queues or retained messages.
    pub fn tell_full(&self, publisher: &Arc<str>, topic: &str, limit: Limit) {
        self.events.emit(|| Event::QueueFull {
            publisher: Arc::clone(publisher),
            topic: excerpt(topic),
            limit,
        });
    }

    /// Counts and tells that a limit acted on a client that is logged in and may stay.
    pub fn tell_limited(&self, name: &Arc<str>, limit: Limit) {
        self.counters.limits.count(limit);
        self.events.emit(|| Event::LimitReached { name: Arc::clone(name), limit });
    }

    /// The same for limits that acted as often as was noted; each is told once.
    pub fn tell_all_limited(&self, name: &Arc<str>, noted: &LimitTally) {
        for (limit, times) in noted.iter() {
            self.counters.limits.add(limit, times);
            self.events.emit(|| Event::LimitReached { name: Arc::clone(name), limit });
        }
    }

    /// Tells and counts that a connection did not get past its CONNECT.
    pub fn tell_refused(&self, peer: SocketAddr, user_name: Option<&str>, reason: ReasonCode, detail: &str) {
        Counters::add(&self.counters.refused, 1);
        self.events.emit(|| Event::Refused {
            peer,
            user_name: user_name.map(excerpt),
            reason,
            detail: detail.into(),
        });
    }

    fn tell_publish_denied(&self, grant: &dyn Grant, topic: &str) {
        self.count_denied(grant);
        self.events.emit(|| Event::PublishDenied { name: grant.name().into(), topic: excerpt(topic) });
    }

    fn count_denied(&self, grant: &dyn Grant) {
        if !grant.is_inside() {
            Counters::add(&self.counters.denied, 1);
            self.ledger.count_denied(grant.name());
        }
    }
}
