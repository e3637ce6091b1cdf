//! How a message gets from whoever published it to the sessions that want it.

use std::sync::Arc;

use crate::{
    codec::QoS,
    events::Counters,
    message::Message,
    queue::Delivery,
    session::Session,
    shared::{Index, Matches, Shared},
    subscriptions::Match,
};

/// Where a QoS 1 or 2 message went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// Every session that wants it has it in its queue.
    Queued,
    /// No session wants it.
    Nobody,
}

/// A queue is full, or no more retained messages are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Full;

impl Shared {
    /// The assured lane: puts a QoS 1 or 2 message of a client into the queue of every session that wants it, or of none.
    /// `owner` is the authenticated name that it counts for if it is retained.
    ///
    /// # Errors
    /// [`Full`]: nobody got it.
    pub fn route(&self, message: &Message, owner: &Arc<str>, matches: &mut Matches) -> Result<Reach, Full> {
        let _changing = message.retain().then(|| self.changing_retained.write());
        self.subscriptions.matching(message.topic(), message.publisher(), matches);
        let reach = if matches.is_empty() { Reach::Nobody } else { Reach::Queued };
        let queued = match matches.as_mut_slice() {
            [only] if only.qos != QoS::AtMostOnce && !message.retain() => {
                let delivery = delivery(message, only);
                only.handle.outbound.lock().push_assured(delivery).map_err(|_| Full)
            }
            all => self.route_to_all(message, owner, all),
        };
        matches.clear();
        if queued.is_err() {
            Counters::add(&self.counters.queue_full, 1);
        }
        queued.map(|()| reach)
    }

    /// Publishes a message that has no publisher who could be refused: of a Will, or of the server itself. Whoever has
    /// room gets it. `owner` is the authenticated name that it counts for if it is retained; none for the server itself.
    ///
    /// # Errors
    /// [`Full`]: somebody who wants it did not get it, or it was not retained.
    pub async fn publish(&self, message: Message, owner: Option<&Arc<str>>) -> Result<(), Full> {
        let outcome = match message.qos() {
            QoS::AtMostOnce => {
                let (message, retained) = self.retain_live(message, owner);
                self.live.publish(&mut vec![message]).await;
                retained
            }
            QoS::AtLeastOnce | QoS::ExactlyOnce => self.route_to_whom_it_can(&message, owner),
        };
        if outcome.is_err() {
            Counters::add(&self.counters.queue_full, 1);
        }
        outcome
    }

    /// Keeps a QoS 0 message if it is to be retained, and gives what the live lane shall carry: it arrives later, when
    /// others may have subscribed and got it as a retained message.
    pub fn retain_live(&self, message: Message, owner: Option<&Arc<str>>) -> (Message, Result<(), Full>) {
        if !message.retain() {
            return (message, Ok(()));
        }
        let mut changes = self.changing_retained.write();
        *changes += 1;
        let message = message.as_change(*changes);
        let retained = self.retain(&message, owner);
        (message, retained)
    }

    /// Keeps the message if it is to be retained. The caller holds [`Shared::changing_retained`] then.
    fn retain(&self, message: &Message, owner: Option<&Arc<str>>) -> Result<(), Full> {
        if !message.retain() {
            return Ok(());
        }
        self.retained.store(message, owner).map_err(|_| Full)
    }

    /// Gives a session the retained messages that match a filter it just subscribed to `[MQTT-3.8.4-4]`. The caller holds
    /// [`Shared::changing_retained`].
    pub fn send_retained(
        &self,
        session: &Session,
        filter: &str,
        granted: QoS,
        subscription_id: Option<u32>,
        now: u64,
    ) {
        for message in self.retained.matching(filter, now) {
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

    fn route_to_all(
        &self,
        message: &Message,
        owner: &Arc<str>,
        matches: &mut [Match<Arc<Session>>],
    ) -> Result<(), Full> {
        let mut promised = Vec::with_capacity(matches.len());
        let mut outcome = Ok(());
        for wanted in matches.iter_mut() {
            let delivery = delivery(message, wanted);
            if delivery.qos == QoS::AtMostOnce {
                promised.push((&wanted.handle, None, delivery));
                continue;
            }
            match wanted.handle.outbound.lock().reserve(&delivery) {
                Ok(place) => promised.push((&wanted.handle, Some(place), delivery)),
                Err(_) => outcome = Err(Full),
            }
        }
        if outcome.is_ok() {
            outcome = self.retain(message, Some(owner));
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

    fn route_to_whom_it_can(&self, message: &Message, owner: Option<&Arc<str>>) -> Result<(), Full> {
        let _changing = message.retain().then(|| self.changing_retained.write());
        let mut matches = Matches::new();
        self.subscriptions.matching(message.topic(), message.publisher(), &mut matches);
        let mut outcome = self.retain(message, owner);
        for wanted in &mut matches {
            let delivery = delivery(message, wanted);
            let mut outbound = wanted.handle.outbound.lock();
            if delivery.qos == QoS::AtMostOnce {
                outbound.push_live(delivery);
            } else if outbound.push_assured(delivery).is_err() {
                outcome = Err(Full);
            }
        }
        outcome
    }
}

/// The end of the live lane: gives a QoS 0 message to every session that wants it.
pub fn deliver_live(subscriptions: &Index, message: &Message, matches: &mut Matches) {
    subscriptions.matching(message.topic(), message.publisher(), matches);
    for wanted in matches.iter_mut() {
        if message.retain() && wanted.since >= message.sequence() {
            continue;
        }
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
