//! What a client receives: what waits for it, what is in flight to it, and the next packet to write.

use std::{collections::HashMap, num::NonZeroU16, sync::Arc, task::Waker};

use tokio::time::Instant;

use super::{
    assured::{Assured, is_revoked},
    entry::Content,
    flows::{FlowIndex, Place},
    latency::Latencies,
    receipt::Receipt,
    traffic::Traffic,
    window::{Received, Window},
    work::{Wanted, Work},
};
use crate::{
    access::{Flow, Grant},
    codec::{PacketId, ReasonCode, ServerAck, ServerPacket, ServerPublish, Version},
    limits::{Limit, LimitTally, Limits},
    message::Expired,
    queue::{Delivery, LiveQueue, QueueFull},
    store::{Loaded, Sequence, StoredSession, Totals, Trim},
};

/// The sending half of a session's protocol state. Without sockets and clocks; all times are milliseconds since the
/// Unix epoch. What is to be done with the store is taken with [`Outbound::take_work`].
#[derive(Debug)]
pub struct Outbound {
    max_inflight: NonZeroU16,
    topic_alias_maximum: u16,
    live: LiveQueue,
    assured: Assured,
    window: Window,
    /// PUBRELs that may go out now.
    released: Vec<PacketId>,
    client: Option<Client>,
    waker: Option<Waker>,
    close_request: Option<ReasonCode>,
    /// Whose turn it is first, so that neither lane starves the other.
    live_first: bool,
    /// Messages that this client did not get although its session was there.
    dropped: Dropped,
    /// PUBLISH packets.
    sent: Traffic,
    acted: LimitTally,
}

/// Messages that a session lost, by cause.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Dropped {
    /// QoS 0 messages that a slow client did not take in time.
    pub live: u64,
    /// QoS 1 and 2 messages that made room for newer ones.
    pub oldest: u64,
    /// Messages above the client's Maximum Packet Size.
    pub too_large: u64,
    /// Messages whose Message Expiry Interval passed while they waited.
    pub expired: u64,
}

impl Dropped {
    /// Of all causes.
    pub fn total(&self) -> u64 {
        self.live + self.oldest + self.too_large + self.expired
    }
}

/// What the connected client takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClientSettings {
    /// Its protocol version.
    pub version: Version,
    /// Its Receive Maximum.
    pub receive_maximum: NonZeroU16,
    /// Its Maximum Packet Size in bytes.
    pub maximum_packet_size: Option<u32>,
    /// Its Topic Alias Maximum.
    pub topic_alias_maximum: u16,
}

#[derive(Debug)]
struct Client {
    settings: ClientSettings,
    aliases: HashMap<Box<str>, NonZeroU16>,
}

impl Outbound {
    /// The state of a new session without a connection. `kept` says whether it is in the store.
    pub fn new(limits: &Limits, kept: bool) -> Self {
        Self::with(limits, Assured::new(kept))
    }

    /// The state of a session as it was kept.
    pub fn restored(limits: &Limits, stored: &StoredSession) -> Self {
        Self::with(limits, Assured::restored(stored, limits.max_inflight.get()))
    }

    fn with(limits: &Limits, assured: Assured) -> Self {
        Self {
            max_inflight: limits.max_inflight,
            topic_alias_maximum: limits.topic_alias_maximum,
            live: LiveQueue::new(limits.live_queue),
            assured,
            window: Window::default(),
            released: Vec::new(),
            client: None,
            waker: None,
            close_request: None,
            live_first: false,
            dropped: Dropped::default(),
            sent: Traffic::default(),
            acted: LimitTally::default(),
        }
    }

    /// A network connection begins: what was in flight is sent again.
    pub fn handle_connect(&mut self, settings: ClientSettings) {
        self.client = Some(Client::new(settings, self.topic_alias_maximum));
        self.close_request = None;
        self.live_first = false;
        self.assured.handle_loadable();
        self.assured.load_if_low();
    }

    /// The network connection ended: QoS 0 messages that wait are gone.
    pub fn handle_disconnect(&mut self) {
        self.client = None;
        self.waker = None;
        self.live.clear();
        self.released = Vec::new();
        self.assured.handle_disconnect(self.window.take_all().collect());
    }

    /// What is to be done with the store after the last call.
    pub fn take_work(&mut self) -> Vec<Work> {
        self.assured.take_work()
    }

    /// Takes a QoS 0 message; never refuses. Without a connection it is gone, as QoS 0 says.
    pub fn push_live(&mut self, delivery: Delivery) {
        if self.client.is_some() {
            self.dropped.live += self.live.push(delivery) as u64;
            self.wake();
        }
    }

    /// Takes a QoS 1 or 2 message.
    ///
    /// # Errors
    /// [`QueueFull`] if its flow is full and the newest message has to give way.
    pub fn push_assured(&mut self, flow: &Flow, delivery: Delivery, wanted: Wanted) -> Result<(), QueueFull> {
        let place = self.reserve(flow, &delivery)?;
        self.push_reserved(flow, place, delivery, wanted);
        Ok(())
    }

    /// Promises a place for a QoS 1 or 2 message; `Ok(None)` if it needs none because older messages give way.
    ///
    /// # Errors
    /// [`QueueFull`].
    pub fn reserve(&mut self, flow: &Flow, delivery: &Delivery) -> Result<Option<Place>, QueueFull> {
        self.assured.reserve(flow, delivery)
    }

    /// Takes the message that a place was promised for.
    pub fn push_reserved(&mut self, flow: &Flow, place: Option<Place>, delivery: Delivery, wanted: Wanted) {
        let online = self.client.is_some();
        let in_flight_from = self.window.first();
        if online && self.assured.is_full_in_memory() {
            // Else a later message would be in the store when an earlier one is not, and overtake it after a crash.
            self.write_below(self.assured.next());
        }
        self.dropped.oldest += self.assured.push(flow, place, delivery, wanted, online, in_flight_from);
        self.wake();
    }

    /// Gives the promised place back.
    pub fn release(&mut self, place: Option<Place>) {
        self.assured.release(place);
    }

    /// PUBACK from the client, which was read at `now`. One that nothing waits for is ignored.
    pub fn handle_puback(&mut self, packet_id: PacketId, now: Instant) {
        if let Some(mut entry) = self.window.handle_puback(packet_id) {
            self.measure(entry.take_arrival(), now);
            self.assured.handle_arrived(entry.sequence);
        }
    }

    /// PUBREC from the client, which was read at `now`: writes the PUBREL that it calls for, unless it has to be kept before that it came.
    pub fn handle_pubrec(
        &mut self,
        packet_id: PacketId,
        reason: ReasonCode,
        now: Instant,
        out: &mut Vec<u8>,
    ) {
        let Some(client) = &self.client else { return };
        let version = client.settings.version;
        let received = self.window.handle_pubrec(packet_id, reason);
        if let Received::Release(sequence) = received {
            let arrival = self.window.take_arrival(sequence);
            self.measure(arrival, now);
        }
        match received {
            Received::Nothing => {}
            Received::Refused(sequence) => self.assured.handle_arrived(sequence),
            Received::PubRel(reason) => pubrel(packet_id, reason).encode(version, out),
            Received::Release(sequence) if self.assured.handle_received(sequence) => {}
            Received::Release(sequence) => {
                self.window.handle_released(sequence);
                pubrel(packet_id, ReasonCode::Success).encode(version, out);
            }
        }
    }

    /// PUBCOMP from the client. One that nothing waits for is ignored.
    pub fn handle_pubcomp(&mut self, packet_id: PacketId) {
        if let Some(sequence) = self.window.handle_pubcomp(packet_id) {
            self.assured.handle_arrived(sequence);
        }
    }

    /// [`Work::Write`] was done, or failed.
    pub fn handle_written(&mut self, sequence: Sequence, written: bool) {
        self.assured.handle_written(sequence, written);
        self.load_if_online();
        self.wake();
    }

    /// [`Work::Release`] was done.
    pub fn handle_released(&mut self, sequence: Sequence) {
        if let Some(packet_id) = self.window.handle_released(sequence) {
            self.released.push(packet_id);
            self.wake();
        }
    }

    /// [`Work::Load`] was done; `None` if it failed. `allowed` says whether the session may still hear a topic.
    pub fn handle_loaded(
        &mut self,
        from: Sequence,
        below: Sequence,
        loaded: Option<Loaded>,
        allowed: impl Fn(&str) -> bool,
    ) {
        self.assured.handle_loaded(from, below, loaded, self.client.is_some(), allowed);
        self.load_if_online();
        self.wake();
    }

    /// [`Work::Trim`] was done; nothing was removed if it failed.
    pub fn handle_trimmed(&mut self, flow: &Arc<str>, what: Trim, removed: Totals) {
        let expired = matches!(what, Trim::Expired(_));
        let dropped = if expired { &mut self.dropped.expired } else { &mut self.dropped.oldest };
        *dropped += removed.messages;
        self.assured.handle_trimmed(flow, removed, expired);
        self.load_if_online();
    }

    /// Nothing is left that the grant does not allow, but of what is in flight its place; says how many messages it was.
    /// `receipt` is shared with what the store has to do before it has forgotten them, too.
    pub fn revoke(&mut self, grant: &dyn Grant, receipt: &Arc<Receipt>) -> u64 {
        let mut revoked = self.live.revoke(|delivery| !grant.may_subscribe(delivery.message.topic()));
        for (sequence, is_released) in self.window.revoke(|entry| is_revoked(entry, grant)) {
            self.assured.handle_revoked(sequence, is_released);
            revoked += 1;
        }
        revoked += self.assured.revoke(grant, receipt);
        self.load_if_online();
        self.wake();
        revoked
    }

    /// The store can be used again: tries again what failed meanwhile.
    pub fn handle_store_recovered(&mut self) {
        for sequence in self.window.releasing() {
            self.assured.handle_received(sequence);
        }
        self.assured.handle_loadable();
        self.load_if_online();
    }

    /// If messages wait for their acknowledgement before they are written: the number of the next message. Once a moment
    /// has passed, those below are written with [`Outbound::write_below`].
    pub fn unwritten_below(&self) -> Option<Sequence> {
        self.assured.first_unwritten().map(|_| self.assured.next())
    }

    /// Has messages below written that are not acknowledged yet.
    pub fn write_below(&mut self, below: Sequence) {
        self.assured.write_below(below, |sequence| self.window.get(sequence));
    }

    /// Messages below were sent before the connection that is, or comes next.
    pub fn sent_below(&self) -> Sequence {
        self.assured.sent_below()
    }

    /// Appends the next packets to `out` until it holds `budget` bytes or more, or nothing may be sent now.
    pub fn poll_transmit(&mut self, now: u64, budget: usize, out: &mut Vec<u8>) {
        self.transmit_released(out);
        if self.live_first {
            self.transmit_live(now, budget, out);
            self.transmit_assured(now, budget, out);
        } else {
            self.transmit_assured(now, budget, out);
            self.transmit_live(now, budget, out);
        }
        self.live_first = !self.live_first;
    }

    /// Asks the connection, if there is one, to tell the client this reason and to close.
    pub fn request_close(&mut self, reason: ReasonCode) {
        self.close_request = Some(reason);
        self.wake();
    }

    /// Why the connection is asked to close.
    pub fn close_request(&self) -> Option<ReasonCode> {
        self.close_request
    }

    /// Forgets all messages and all that is in flight, and takes no more: the session is over.
    pub fn end(&mut self) {
        self.live.clear();
        self.assured.end();
        self.window = Window::default();
    }

    /// Whoever calls this is woken once when there is something new to send, or [`Outbound::wake`] is called.
    pub fn register(&mut self, waker: &Waker) {
        match &mut self.waker {
            Some(known) => known.clone_from(waker),
            none => *none = Some(waker.clone()),
        }
    }

    /// Wakes the connection.
    pub fn wake(&mut self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    /// How many QoS 1 and 2 messages wait or are in flight.
    #[cfg(test)]
    pub fn pending(&self) -> usize {
        self.assured.len() + self.window.len()
    }

    /// The messages lost since the last call.
    pub fn take_dropped(&mut self) -> Dropped {
        self.dropped.expired += self.assured.take_expired();
        std::mem::take(&mut self.dropped)
    }

    /// Those of QoS 1 and 2 by the name of their flow.
    pub fn take_dropped_of_flows(&mut self) -> Vec<(Arc<str>, u64)> {
        self.assured.take_dropped_of_flows()
    }

    /// How long the last messages of each flow took since the last call, from their arrival to PUBACK or PUBREC. Those that
    /// did not have to wait for their client to connect.
    pub fn take_latencies(&mut self) -> Vec<(Arc<str>, Latencies)> {
        self.assured.take_latencies()
    }

    /// The PUBLISH packets sent since the last call; one that was sent again counts again.
    pub fn take_sent(&mut self) -> Traffic {
        std::mem::take(&mut self.sent)
    }

    /// The QoS 1 and 2 messages that wait, or were sent and have not arrived yet, by the name of their flow.
    pub fn pending_of_flows(&self) -> Vec<(Arc<str>, Totals)> {
        self.assured.pending_of_flows(self.window.iter())
    }

    /// How often limits of this session acted since the last call.
    pub fn take_acted(&mut self) -> LimitTally {
        let mut acted = std::mem::take(&mut self.acted);
        acted.append(&self.live.take_acted());
        acted.append(&self.assured.take_acted());
        acted
    }

    fn transmit_released(&mut self, out: &mut Vec<u8>) {
        let Some(client) = &self.client else { return };
        for packet_id in self.released.drain(..) {
            pubrel(packet_id, ReasonCode::Success).encode(client.settings.version, out);
        }
    }

    fn transmit_live(&mut self, now: u64, budget: usize, out: &mut Vec<u8>) {
        let Some(client) = &mut self.client else { return };
        while out.len() < budget
            && let Some(delivery) = self.live.pop()
        {
            match delivery.message.remaining_expiry(now) {
                Err(Expired) => self.dropped.expired += 1,
                Ok(expiry) if client.write(&delivery, None, false, expiry, out) => {
                    self.sent.count(delivery.message.payload());
                }
                Ok(_) => self.dropped.too_large += 1,
            }
        }
    }

    /// What was in flight when the session was resumed comes first and again, PUBLISH with DUP `[MQTT-4.4.0-1]`, within
    /// the Receive Maximum of the new connection `[MQTT-3.3.4-9]`.
    fn transmit_assured(&mut self, now: u64, budget: usize, out: &mut Vec<u8>) {
        let Some(client) = &mut self.client else { return };
        let receive_maximum = client.settings.receive_maximum;
        while out.len() < budget
            && let Some(next) = self.assured.front()
        {
            let packet_id = next.packet_id();
            match &next.content {
                Content::Released | Content::Revoked(_) => {
                    pubrel(packet_id, ReasonCode::Success).encode(client.settings.version, out);
                }
                Content::Message(delivery) => {
                    let allowed =
                        if next.again { receive_maximum } else { receive_maximum.min(self.max_inflight) };
                    if self.window.len() >= usize::from(allowed.get()) {
                        if allowed < receive_maximum {
                            self.acted.note(Limit::MaxInflight);
                        }
                        break;
                    }
                    if self.window.is_in_use(next) {
                        break;
                    }
                    // A delivery that has begun is completed, however late.
                    if !next.again && next.expires_at <= now {
                        self.assured.drop_expired_front();
                        continue;
                    }
                    let expiry = delivery.message.remaining_expiry(now).unwrap_or(Some(0));
                    if !client.write(delivery, Some(packet_id), next.again, expiry, out) {
                        self.dropped.too_large += 1;
                        self.assured.drop_front();
                        continue;
                    }
                    self.sent.count(delivery.message.payload());
                }
            }
            if let Some(sent) = self.assured.take_front() {
                self.window.add(sent);
            }
        }
        self.assured.load_if_low();
    }

    fn measure(&mut self, arrival: Option<(FlowIndex, Instant)>, now: Instant) {
        if let Some((flow, arrived)) = arrival {
            self.assured.count_latency(flow, now.saturating_duration_since(arrived));
        }
    }

    fn load_if_online(&mut self) {
        if self.client.is_some() {
            self.assured.load_if_low();
        }
    }
}

impl Client {
    fn new(settings: ClientSettings, topic_alias_maximum: u16) -> Self {
        let settings = ClientSettings {
            topic_alias_maximum: settings.topic_alias_maximum.min(topic_alias_maximum),
            ..settings
        };
        Self { settings, aliases: HashMap::new() }
    }

    /// Appends a PUBLISH; false, and nothing is appended, if it exceeds the client's Maximum Packet Size
    /// `[MQTT-3.1.2-24]`.
    fn write(
        &mut self,
        delivery: &Delivery,
        packet_id: Option<PacketId>,
        dup: bool,
        expiry: Option<u32>,
        out: &mut Vec<u8>,
    ) -> bool {
        let message = &delivery.message;
        let topic = message.topic();
        let alias = self.aliases.get(topic).copied();
        let new_alias = self.free_alias().filter(|_| alias.is_none());
        let without_alias = ServerPublish {
            dup,
            qos: delivery.qos,
            retain: delivery.retain,
            topic,
            packet_id,
            message_expiry: expiry,
            topic_alias: None,
            subscription_ids: &delivery.subscription_ids,
            forwarded: message.forwarded(),
            payload: message.payload(),
        };
        let version = self.settings.version;
        let maximum = self.settings.maximum_packet_size;
        let fits = |packet: &ServerPacket<'_>| {
            maximum.is_none_or(|maximum| packet.encoded_len(version) <= maximum as usize)
        };
        let aliased = alias.or(new_alias).map(|topic_alias| {
            ServerPacket::Publish(ServerPublish {
                topic: if alias.is_some() { "" } else { topic },
                topic_alias: Some(topic_alias),
                ..without_alias
            })
        });
        if let Some(packet) = aliased.filter(fits) {
            packet.encode(version, out);
            if let Some(alias) = new_alias {
                self.aliases.insert(topic.into(), alias);
            }
            return true;
        }
        let packet = ServerPacket::Publish(without_alias);
        let written = fits(&packet);
        if written {
            packet.encode(version, out);
        }
        written
    }

    fn free_alias(&self) -> Option<NonZeroU16> {
        let used = u16::try_from(self.aliases.len()).unwrap_or(u16::MAX);
        (used < self.settings.topic_alias_maximum).then(|| NonZeroU16::MIN.saturating_add(used))
    }
}

fn pubrel(packet_id: PacketId, reason: ReasonCode) -> ServerPacket<'static> {
    ServerPacket::PubRel(ServerAck { packet_id, reason, reason_string: None })
}

#[cfg(test)]
#[path = "outbound_tests.rs"]
mod tests;

#[cfg(any(test, fuzzing))]
#[path = "model.rs"]
pub mod model;

#[cfg(test)]
#[path = "model_tests.rs"]
mod model_tests;

#[cfg(test)]
#[path = "kept_tests.rs"]
mod kept_tests;

#[cfg(any(test, fuzzing))]
#[path = "kept_model.rs"]
pub mod kept_model;

#[cfg(test)]
#[path = "kept_model_tests.rs"]
mod kept_model_tests;
