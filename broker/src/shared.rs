//! What all connections share: the parts of the broker, and how a message passes between them.

use std::{
    net::SocketAddr,
    sync::{Arc, atomic::AtomicBool},
};

use parking_lot::RwLock;

use crate::{
    access::{Access, Grant},
    clock,
    codec::QoS,
    events::{Counters, Event, Events},
    limits::Limits,
    live::LiveLane,
    message::Message,
    queue::Delivery,
    retained::Retained,
    session::{Registry, Session},
    subscriptions::{Match, Subscriptions},
};

/// The index of who wants which topic.
pub type Index = Subscriptions<Arc<Session>>;

/// Sessions that want a message.
pub type Matches = Vec<Match<Arc<Session>>>;

/// The parts of the broker.
pub struct Shared {
    pub access: Arc<dyn Access>,
    pub limits: Limits,
    pub sessions: Registry,
    pub subscriptions: Arc<Index>,
    pub retained: Retained,
    /// Held exclusively while a retained message goes both into the store and into queues, shared while a SUBSCRIBE goes
    /// both into the index and through the store: so that a subscriber gets either the old message and then the new
    /// one, or only the new one, but never misses it.
    pub changing_retained: RwLock<()>,
    pub live: LiveLane,
    pub events: Events,
    pub counters: Counters,
    /// Whoever begins a session after this was set is told that the broker stops.
    pub stopping: AtomicBool,
}

/// Where a QoS 1 or 2 message went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// Every session that wants it has it in its queue.
    Queued,
    /// No session wants it.
    Nobody,
}

/// A message was refused because a queue is full or no more retained messages are kept. Nobody got it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Full;

impl Shared {
    /// Publishes one message, of a Will or of the broker itself.
    ///
    /// # Errors
    /// [`Full`].
    pub async fn publish(&self, message: Message) -> Result<Reach, Full> {
        match message.qos() {
            QoS::AtMostOnce => {
                self.retain(&message)?;
                self.live.publish(&mut vec![message]).await;
                Ok(Reach::Queued)
            }
            QoS::AtLeastOnce | QoS::ExactlyOnce => self.route(&message, &mut Vec::new()),
        }
    }

    /// Keeps the message if it is to be retained.
    ///
    /// # Errors
    /// [`Full`] if no more are kept.
    pub fn retain(&self, message: &Message) -> Result<(), Full> {
        if !message.retain() {
            return Ok(());
        }
        self.retained.store(message).map_err(|_| Full)
    }

    /// The assured lane: puts a QoS 1 or 2 message into the queue of every session that wants it, or of none.
    ///
    /// # Errors
    /// [`Full`].
    pub fn route(&self, message: &Message, matches: &mut Matches) -> Result<Reach, Full> {
        let _changing = message.retain().then(|| self.changing_retained.write());
        self.subscriptions.matching(message.topic(), message.publisher(), matches);
        let reach = if matches.is_empty() { Reach::Nobody } else { Reach::Queued };
        let queued = match matches.as_mut_slice() {
            [only] if only.qos != QoS::AtMostOnce && !message.retain() => {
                let delivery = delivery(message, only);
                only.handle.outbound.lock().push_assured(delivery).map_err(|_| Full)
            }
            all => self.route_to_all(message, all),
        };
        matches.clear();
        if queued.is_err() {
            Counters::add(&self.counters.queue_full, 1);
        }
        queued.map(|()| reach)
    }

    fn route_to_all(&self, message: &Message, matches: &mut [Match<Arc<Session>>]) -> Result<(), Full> {
        let mut promised = Vec::with_capacity(matches.len());
        let mut outcome = Ok(());
        for wanted in matches.iter_mut() {
            let delivery = delivery(message, wanted);
            if delivery.qos == QoS::AtMostOnce {
                promised.push((Arc::clone(&wanted.handle), None, delivery));
                continue;
            }
            match wanted.handle.outbound.lock().reserve(&delivery) {
                Ok(place) => promised.push((Arc::clone(&wanted.handle), Some(place), delivery)),
                Err(_) => outcome = Err(Full),
            }
        }
        if outcome.is_ok() {
            outcome = self.retain(message);
        }
        for (session, place, delivery) in promised {
            let mut outbound = session.outbound.lock();
            match (place, outcome) {
                (Some(place), Ok(())) => outbound.push_reserved(place, delivery),
                (Some(place), Err(_)) => outbound.release(place),
                (None, Ok(())) => outbound.push_live(delivery),
                (None, Err(_)) => {}
            }
        }
        outcome
    }

    /// Whether the grant allows the PUBLISH; a refusal is counted and told.
    pub fn may_publish(&self, grant: &dyn Grant, topic: &str) -> bool {
        let allowed = grant.may_publish(topic);
        if !allowed {
            Counters::add(&self.counters.denied, 1);
            self.events.emit(|| Event::PublishDenied { name: grant.name().into(), topic: topic.into() });
        }
        allowed
    }

    /// Whether the grant allows the Topic Filter; a refusal is counted and told.
    pub fn may_subscribe(&self, grant: &dyn Grant, filter: &str) -> bool {
        let allowed = grant.may_subscribe(filter);
        if !allowed {
            Counters::add(&self.counters.denied, 1);
            self.events.emit(|| Event::SubscribeDenied { name: grant.name().into(), filter: filter.into() });
        }
        allowed
    }

    /// Tells that a message was refused because a queue is full.
    pub fn tell_full(&self, publisher: &Arc<str>, topic: &str) {
        self.events.emit(|| Event::QueueFull { publisher: Arc::clone(publisher), topic: topic.into() });
    }

    /// Tells and counts that a connection did not get past its CONNECT.
    pub fn tell_refused(
        &self,
        peer: SocketAddr,
        user_name: Option<&str>,
        reason: crate::codec::ReasonCode,
        detail: &str,
    ) {
        Counters::add(&self.counters.refused, 1);
        self.events.emit(|| Event::Refused {
            peer,
            user_name: user_name.map(Arc::from),
            reason,
            detail: detail.into(),
        });
    }

    /// Gives a session the retained messages that match a filter it just subscribed to `[MQTT-3.8.4-4]`.
    pub fn send_retained(&self, session: &Session, filter: &str, granted: QoS, subscription_id: Option<u32>) {
        for message in self.retained.matching(filter, clock::unix_ms()) {
            let qos = message.qos().min(granted);
            let delivery =
                Delivery { message, qos, retain: true, subscription_ids: Vec::from_iter(subscription_id) };
            let mut outbound = session.outbound.lock();
            if qos == QoS::AtMostOnce {
                outbound.push_live(delivery);
            } else if outbound.push_assured(delivery).is_err() {
                Counters::add(&self.counters.dropped, 1);
            }
        }
    }
}

/// The end of the live lane: gives a QoS 0 message to every session that wants it.
pub fn deliver_live(subscriptions: &Index, message: &Message, matches: &mut Matches) {
    subscriptions.matching(message.topic(), message.publisher(), matches);
    for wanted in matches.iter_mut() {
        let delivery = delivery(message, wanted);
        wanted.handle.outbound.lock().push_live(delivery);
    }
    matches.clear();
}

fn delivery(message: &Message, wanted: &mut Match<Arc<Session>>) -> Delivery {
    Delivery {
        message: message.clone(),
        qos: message.qos().min(wanted.qos),
        retain: message.retain() && wanted.retain_as_published,
        subscription_ids: std::mem::take(&mut wanted.subscription_ids),
    }
}
