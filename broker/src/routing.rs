//! How a message gets from whoever published it to the sessions that want it.

use std::{cell::RefCell, sync::Arc};

use tokio::time::Instant;

use crate::{
    access::Flow,
    codec::{PacketId, QoS},
    events::Counters,
    keeping::Group,
    limits::Limit,
    message::Message,
    queue::{Delivery, QueueFull},
    retained::{RetainedFull, is_removal},
    session::{Outbound, Outcome, Place, Receipt, Session, Wanted, Work},
    shared::{Index, Matches, Shared},
    store::Change,
    subscriptions::Match,
};

/// The client that a QoS 1 or 2 message came from.
pub struct Publisher<'a> {
    /// Its session.
    pub session: &'a Arc<Session>,
    /// Of the PUBLISH.
    pub packet_id: PacketId,
    /// What the message counts for.
    pub flow: &'a Flow,
    /// When the message was read.
    pub read_at: Instant,
}

/// Where a QoS 1 or 2 message went.
#[derive(Debug)]
pub struct Routed {
    /// Whether any session wants it.
    pub wanted: bool,
    /// What the publisher's acknowledgement has to wait for: that every session that is kept has the message in the store
    /// or has acknowledged it.
    pub receipt: Option<Arc<Receipt>>,
}

/// A session that gets a message, and how.
struct Receiver<'a> {
    session: &'a Arc<Session>,
    delivery: Delivery,
    way: Way,
}

/// How a session gets a message.
enum Way {
    /// As one of QoS 0.
    Live,
    /// Through its queue, in the place that was promised, or that older messages make.
    Queue(Option<Place>),
}

/// A message that was published but for the live lane.
pub struct Published {
    /// What that shall carry.
    live: Option<Message>,
    outcome: Result<(), Full>,
}

/// A queue is full, or no more retained messages are kept, by this limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Full(pub Limit);

impl From<QueueFull> for Full {
    fn from(QueueFull(limit): QueueFull) -> Self {
        Self(limit)
    }
}

impl From<RetainedFull> for Full {
    fn from(RetainedFull(limit): RetainedFull) -> Self {
        Self(limit)
    }
}

impl Shared {
    /// The assured lane: puts a QoS 1 or 2 message of a client into the queue of every session that wants it, or of none. The
    /// caller has been inside [`Shared::grace`] since it asked the client's grant.
    ///
    /// # Errors
    /// [`Full`]: nobody got it.
    pub fn route(
        self: &Arc<Self>,
        message: &Message,
        publisher: &Publisher<'_>,
        matches: &mut Matches,
    ) -> Result<Routed, Full> {
        let _changing = message.retain().then(|| self.changing_retained.write());
        self.subscriptions.matching(message.topic(), message.publisher(), matches);
        let wanted = !matches.is_empty();
        let remembers = message.qos() == QoS::ExactlyOnce && publisher.session.slot.is_some();
        let routed = match matches.as_mut_slice() {
            [only]
                if only.qos != QoS::AtMostOnce
                    && only.handle.slot.is_none()
                    && !message.retain()
                    && !remembers =>
            {
                let delivery = delivery(message.clone(), only);
                let mut outbound = only.handle.outbound.lock();
                let wanted = Wanted { arrived: Some(publisher.read_at), ..Wanted::default() };
                let pushed = outbound.push_assured(publisher.flow, delivery, wanted);
                pushed.map(|()| None).map_err(Full::from)
            }
            all => self.route_to_all(message, publisher, all),
        };
        matches.clear();
        if let Err(Full(limit)) = routed {
            self.count_full(limit);
        }
        routed.map(|receipt| Routed { wanted, receipt })
    }

    /// Publishes a message that has no publisher who could be refused: of a Will, or of the server itself. Whoever has
    /// room gets it. `owner` is the authenticated name that it counts for if it is retained; none for the server itself.
    ///
    /// # Errors
    /// [`Full`]: somebody who wants it did not get it, or it was not retained.
    pub async fn publish(self: &Arc<Self>, message: Message, owner: Option<&Arc<str>>) -> Result<(), Full> {
        let published = {
            let _inside = self.grace.enter();
            self.publish_assured(message, owner)
        };
        self.publish_live(published).await
    }

    /// The part of it that waits for nobody. The caller is inside [`Shared::grace`], and goes on with
    /// [`Shared::publish_live`].
    pub fn publish_assured(self: &Arc<Self>, message: Message, owner: Option<&Arc<str>>) -> Published {
        let (live, outcome) = match message.qos() {
            QoS::AtMostOnce => {
                let (message, retained) = self.retain_live(message, owner);
                (Some(message), retained)
            }
            QoS::AtLeastOnce | QoS::ExactlyOnce => (None, self.route_to_whom_it_can(&message, owner)),
        };
        if let Err(Full(limit)) = outcome {
            self.count_full(limit);
        }
        Published { live, outcome }
    }

    /// The rest.
    ///
    /// # Errors
    /// Those of [`Shared::publish`].
    pub async fn publish_live(&self, published: Published) -> Result<(), Full> {
        if let Some(message) = published.live {
            self.live.publish(&mut vec![message]).await;
        }
        published.outcome
    }

    /// Keeps a QoS 0 message if it is to be retained, and gives what the live lane shall carry: it arrives later, when
    /// others may have subscribed and got it as a retained message.
    pub fn retain_live(
        self: &Arc<Self>,
        message: Message,
        owner: Option<&Arc<str>>,
    ) -> (Message, Result<(), Full>) {
        if !message.retain() {
            return (message, Ok(()));
        }
        let mut changes = self.changing_retained.write();
        *changes += 1;
        let message = message.as_change(*changes);
        let retained = self.retain(&message, owner);
        if retained.is_ok() {
            self.keep_retained_later(&message, owner);
        }
        (message, retained)
    }

    /// Keeps the message if it is to be retained. The caller holds [`Shared::changing_retained`] then.
    fn retain(&self, message: &Message, owner: Option<&Arc<str>>) -> Result<(), Full> {
        if !message.retain() {
            return Ok(());
        }
        let forget = |topic: &str| {
            self.unkept.forget(topic);
            if let Some(keeper) = &self.keeper {
                keeper.store.submit_lazily(Change::Unretain { topic: topic.into() });
            }
        };
        Ok(self.retained.store(message, owner, forget)?)
    }

    /// Gives a session the retained messages that match a filter it just subscribed to `[MQTT-3.8.4-4]`. The caller holds
    /// [`Shared::changing_retained`].
    pub fn send_retained(
        self: &Arc<Self>,
        session: &Arc<Session>,
        filter: &str,
        granted: QoS,
        subscription_id: Option<u32>,
        now: u64,
    ) {
        for message in self.retained.matching(filter, now) {
            let qos = message.qos().min(granted);
            let delivery =
                Delivery { message, qos, retain: true, subscription_ids: Vec::from_iter(subscription_id) };
            if qos == QoS::AtMostOnce {
                session.outbound.lock().push_live(delivery);
            } else if let Err(QueueFull(limit)) = self.push_if_room(session, delivery, Some(now)) {
                Counters::add(&self.counters.dropped, 1);
                self.counters.limits.count(limit);
            }
        }
    }

    fn push_if_room(
        self: &Arc<Self>,
        session: &Arc<Session>,
        delivery: Delivery,
        since: Option<u64>,
    ) -> Result<(), QueueFull> {
        let flow = self.flow_of(delivery.message.topic());
        let wanted = Wanted { since, ..Wanted::default() };
        let push = |outbound: &mut Outbound| outbound.push_assured(&flow, delivery, wanted);
        self.with_outbound(session, push)
    }

    fn route_to_all(
        self: &Arc<Self>,
        message: &Message,
        publisher: &Publisher<'_>,
        matches: &mut [Match<Arc<Session>>],
    ) -> Result<Option<Arc<Receipt>>, Full> {
        let flow = publisher.flow;
        let mut receivers = Vec::with_capacity(matches.len());
        let mut outcome = Ok(());
        for wanted in matches.iter_mut() {
            let delivery = delivery(message.clone(), wanted);
            let session = &wanted.handle;
            if delivery.qos == QoS::AtMostOnce {
                receivers.push(Receiver { session, delivery, way: Way::Live });
                continue;
            }
            match self.with_outbound(session, |outbound| outbound.reserve(flow, &delivery)) {
                Ok(place) => receivers.push(Receiver { session, delivery, way: Way::Queue(place) }),
                Err(full) => outcome = Err(full.into()),
            }
        }
        if outcome.is_ok() {
            outcome = self.retain(message, Some(&publisher.session.name));
        }
        if let Err(full) = outcome {
            for Receiver { session, way, .. } in receivers {
                if let Way::Queue(place) = way {
                    session.outbound.lock().release(place);
                }
            }
            return Err(full);
        }
        Ok(self.deliver(message, publisher, receivers))
    }

    /// Puts the message into the places that were promised, and has kept what must be kept before the publisher may be
    /// acknowledged. All that belongs to a QoS 2 message is kept together.
    fn deliver(
        self: &Arc<Self>,
        message: &Message,
        publisher: &Publisher<'_>,
        receivers: Vec<Receiver<'_>>,
    ) -> Option<Arc<Receipt>> {
        let receipt = Receipt::new(&publisher.session.bell);
        let at_once = message.qos() == QoS::ExactlyOnce;
        let is_remembered = at_once && publisher.session.slot.is_some();
        let mut group = Group::default();
        for Receiver { session, delivery, way } in receivers {
            let Way::Queue(place) = way else {
                session.outbound.lock().push_live(delivery);
                continue;
            };
            let receipt = session.slot.map(|_| receipt.share());
            let arrived = Some(publisher.read_at);
            let wanted = Wanted { receipt, at_once, is_remembered, since: None, arrived };
            let work = {
                let mut outbound = session.outbound.lock();
                outbound.push_reserved(publisher.flow, place, delivery, wanted);
                outbound.take_work()
            };
            for work in work {
                match work {
                    Work::Write(_) | Work::Await(_) => self.gather(session, work, &mut group),
                    other => self.perform(session, vec![other]),
                }
            }
        }
        if self.keeper.is_some() {
            if message.retain() {
                self.unkept.forget(message.topic());
                group.add(retain_change(message, &publisher.session.name));
            }
            if at_once && let Some(slot) = publisher.session.slot {
                group.add(Change::Accept { slot, packet_id: publisher.packet_id });
            }
        }
        if !group.is_empty() {
            group.set_receipt(receipt.share());
            self.submit(group);
        }
        receipt.settle(true);
        (receipt.outcome() != Some(Outcome::Kept)).then_some(receipt)
    }

    fn route_to_whom_it_can(
        self: &Arc<Self>,
        message: &Message,
        owner: Option<&Arc<str>>,
    ) -> Result<(), Full> {
        let _changing = message.retain().then(|| self.changing_retained.write());
        let mut matches = Matches::new();
        self.subscriptions.matching(message.topic(), message.publisher(), &mut matches);
        let mut outcome = self.retain(message, owner);
        if outcome.is_ok() {
            self.keep_retained_later(message, owner);
        }
        for wanted in &mut matches {
            let delivery = delivery(message.clone(), wanted);
            if delivery.qos == QoS::AtMostOnce {
                wanted.handle.outbound.lock().push_live(delivery);
            } else if let Err(full) = self.push_if_room(&wanted.handle, delivery, None) {
                outcome = Err(full.into());
            }
        }
        outcome
    }
}

/// What the store is told of a message that is published with RETAIN.
pub fn retain_change(message: &Message, owner: &Arc<str>) -> Change {
    if is_removal(message) {
        Change::Unretain { topic: message.topic().into() }
    } else {
        Change::Retain { message: message.clone(), owner: Arc::clone(owner) }
    }
}

thread_local! {
    /// Who wants the message that a thread delivers: not allocated anew for each.
    static MATCHES: RefCell<Matches> = const { RefCell::new(Matches::new()) };
}

/// The end of the live lane: gives a QoS 0 message to every session that wants it.
pub fn deliver_live(subscriptions: &Index, message: Message) {
    MATCHES.with_borrow_mut(|matches| deliver_to_matching(subscriptions, message, matches));
}

fn deliver_to_matching(subscriptions: &Index, message: Message, matches: &mut Matches) {
    subscriptions.matching(message.topic(), message.publisher(), matches);
    matches.retain(|wanted| !message.retain() || wanted.since < message.sequence());
    let Some(mut last) = matches.pop() else { return };
    for wanted in matches.iter_mut() {
        let delivery = delivery(message.clone(), wanted);
        wanted.handle.outbound.lock().push_live(delivery);
    }
    matches.clear();
    let delivery = delivery(message, &mut last);
    last.handle.outbound.lock().push_live(delivery);
}

fn delivery(message: Message, wanted: &mut Match<Arc<Session>>) -> Delivery {
    Delivery {
        qos: message.qos().min(wanted.qos),
        retain: message.retain() && wanted.retain_as_published,
        subscription_ids: std::mem::take(&mut wanted.subscription_ids),
        message,
    }
}
