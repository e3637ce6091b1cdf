//! What a client receives: what waits for it, what is in flight to it, and the next packet to write.

use std::{collections::HashMap, num::NonZeroU16, task::Waker};

use super::window::{Resend, Window};
use crate::{
    codec::{PacketId, ReasonCode, ServerAck, ServerPacket, ServerPublish, Version},
    limits::{Limits, WhenFull},
    message::Expired,
    queue::{Delivery, Queue, QueueFull, Reservation},
};

/// The sending half of a session's protocol state. Without sockets and clocks; all times are milliseconds since the
/// Unix epoch.
#[derive(Debug)]
pub struct Outbound {
    when_full: WhenFull,
    max_inflight: NonZeroU16,
    topic_alias_maximum: u16,
    live: Queue,
    assured: Queue,
    window: Window,
    client: Option<Client>,
    waker: Option<Waker>,
    close_request: Option<ReasonCode>,
    /// Whose turn it is first, so that neither lane starves the other.
    live_first: bool,
    /// Messages that this client did not get although its session was there.
    dropped: Dropped,
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
    /// The state of a new session without a connection.
    pub fn new(limits: &Limits) -> Self {
        Self {
            when_full: limits.flow.when_full,
            max_inflight: limits.max_inflight,
            topic_alias_maximum: limits.topic_alias_maximum,
            live: Queue::new(limits.live_queue),
            assured: Queue::new(limits.flow.queue),
            window: Window::default(),
            client: None,
            waker: None,
            close_request: None,
            live_first: false,
            dropped: Dropped::default(),
        }
    }

    /// A network connection begins: what is in flight is sent again.
    pub fn handle_connect(&mut self, settings: ClientSettings) {
        self.client = Some(Client::new(settings, self.topic_alias_maximum));
        self.close_request = None;
        self.window.handle_resume();
    }

    /// The network connection ended: QoS 0 messages that wait are gone.
    pub fn handle_disconnect(&mut self) {
        self.client = None;
        self.waker = None;
        self.live.clear();
    }

    /// Takes a QoS 0 message; never refuses. Without a connection it is gone, as QoS 0 says.
    pub fn push_live(&mut self, delivery: Delivery) {
        if self.client.is_some() {
            self.dropped.live += self.live.push_dropping_oldest(delivery) as u64;
            self.wake();
        }
    }

    /// Takes a QoS 1 or 2 message.
    ///
    /// # Errors
    /// [`QueueFull`] if the queue is full and the newest message has to give way.
    pub fn push_assured(&mut self, delivery: Delivery) -> Result<(), QueueFull> {
        match self.when_full {
            WhenFull::Reject => self.assured.push(delivery)?,
            WhenFull::DropOldest => self.dropped.oldest += self.assured.push_dropping_oldest(delivery) as u64,
        }
        self.wake();
        Ok(())
    }

    /// Promises a place for a QoS 1 or 2 message; `Ok(None)` if it needs none because older messages give way.
    ///
    /// # Errors
    /// [`QueueFull`].
    pub fn reserve(&mut self, delivery: &Delivery) -> Result<Option<Reservation>, QueueFull> {
        match self.when_full {
            WhenFull::Reject => self.assured.reserve(delivery).map(Some),
            WhenFull::DropOldest => Ok(None),
        }
    }

    /// Takes the message that a place was promised for.
    pub fn push_reserved(&mut self, reservation: Option<Reservation>, delivery: Delivery) {
        match reservation {
            Some(reservation) => self.assured.push_reserved(reservation, delivery),
            None => self.dropped.oldest += self.assured.push_dropping_oldest(delivery) as u64,
        }
        self.wake();
    }

    /// Gives the promised place back.
    pub fn release(&mut self, reservation: Option<Reservation>) {
        if let Some(reservation) = reservation {
            self.assured.release(reservation);
        }
    }

    /// PUBACK from the client. One that nothing waits for is ignored.
    pub fn handle_puback(&mut self, packet_id: PacketId) {
        self.window.handle_puback(packet_id);
    }

    /// PUBREC from the client: writes the PUBREL that it calls for.
    pub fn handle_pubrec(&mut self, packet_id: PacketId, reason: ReasonCode, out: &mut Vec<u8>) {
        if let (Some(client), Some(reason)) = (&self.client, self.window.handle_pubrec(packet_id, reason)) {
            pubrel(packet_id, reason).encode(client.settings.version, out);
        }
    }

    /// PUBCOMP from the client. One that nothing waits for is ignored.
    pub fn handle_pubcomp(&mut self, packet_id: PacketId) {
        self.window.handle_pubcomp(packet_id);
    }

    /// Appends the next packets to `out` until it holds `budget` bytes or more, or nothing may be sent now.
    pub fn poll_transmit(&mut self, now: u64, budget: usize, out: &mut Vec<u8>) {
        self.transmit_again(now, budget, out);
        if self.window.is_resending() {
            return self.transmit_live(now, budget, out);
        }
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

    /// Forgets all messages and all that is in flight: the session is over.
    pub fn clear(&mut self) {
        self.live.clear();
        self.assured.clear();
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
    pub fn pending(&self) -> usize {
        self.assured.len() + self.window.len()
    }

    /// The messages lost since the last call.
    pub fn take_dropped(&mut self) -> Dropped {
        std::mem::take(&mut self.dropped)
    }

    fn transmit_live(&mut self, now: u64, budget: usize, out: &mut Vec<u8>) {
        let Some(client) = &mut self.client else { return };
        while out.len() < budget
            && let Some(delivery) = self.live.pop()
        {
            match delivery.message.remaining_expiry(now) {
                Err(Expired) => self.dropped.expired += 1,
                Ok(expiry) if client.write(&delivery, None, false, expiry, out) => {}
                Ok(_) => self.dropped.too_large += 1,
            }
        }
    }

    fn transmit_assured(&mut self, now: u64, budget: usize, out: &mut Vec<u8>) {
        let Some(client) = &mut self.client else { return };
        let allowed = usize::from(client.settings.receive_maximum.min(self.max_inflight).get());
        while out.len() < budget
            && self.window.len() < allowed
            && let Some(delivery) = self.assured.pop()
        {
            let Ok(expiry) = delivery.message.remaining_expiry(now) else {
                self.dropped.expired += 1;
                continue;
            };
            let packet_id = self.window.free_id();
            if client.write(&delivery, Some(packet_id), false, expiry, out) {
                self.window.add(packet_id, delivery);
            } else {
                self.dropped.too_large += 1;
            }
        }
    }

    /// Sends again what was in flight when the session was resumed, PUBLISH with DUP `[MQTT-4.4.0-1]`, within the Receive
    /// Maximum of the new connection `[MQTT-3.3.4-9]`.
    fn transmit_again(&mut self, now: u64, budget: usize, out: &mut Vec<u8>) {
        let Some(client) = &mut self.client else { return };
        let allowed = usize::from(client.settings.receive_maximum.get());
        while out.len() < budget {
            match self.window.poll_resend(allowed) {
                None => return,
                Some(Resend::PubRel(packet_id)) => {
                    pubrel(packet_id, ReasonCode::Success).encode(client.settings.version, out);
                    self.window.resent();
                }
                Some(Resend::Publish(packet_id, delivery)) => {
                    // A delivery that has begun is completed, however late.
                    let expiry = delivery.message.remaining_expiry(now).unwrap_or(Some(0));
                    if client.write(delivery, Some(packet_id), true, expiry, out) {
                        self.window.resent();
                    } else {
                        self.dropped.too_large += 1;
                        self.window.discard_resend();
                    }
                }
            }
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

#[cfg(test)]
#[path = "model_tests.rs"]
mod model_tests;
