//! Messages that wait for one session, in order and within limits.

use std::collections::VecDeque;

use crate::{codec::QoS, limits::QueueLimits, message::Message};

/// A message on its way to one session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// What.
    pub message: Message,
    /// The lower of the published and the subscribed QoS.
    pub qos: QoS,
    /// RETAIN as it is sent.
    pub retain: bool,
    /// Of the subscriptions that matched, if they have any.
    pub subscription_ids: Vec<u32>,
}

impl Delivery {
    /// Bytes that it counts for in a queue: the same on every machine and after every restart, since totals of what is
    /// kept are counted with it.
    pub fn size(&self) -> usize {
        const BOOKKEEPING: usize = 64;
        BOOKKEEPING + self.message.size() + self.subscription_ids.len() * size_of::<u32>()
    }
}

/// A first-in-first-out queue that never holds more than its limits allow.
#[derive(Debug)]
pub struct Queue {
    limits: QueueLimits,
    waiting: VecDeque<Delivery>,
    bytes: usize,
    reserved_messages: usize,
    reserved_bytes: usize,
    /// No waiting message expires before, in milliseconds since the Unix epoch: spares a full queue the search.
    next_expiry: u64,
}

/// The queue holds as much as it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueueFull;

/// A place in a queue that was promised and is not taken yet. Give it back with [`Queue::push_reserved`] or
/// [`Queue::release`].
#[derive(Debug)]
#[must_use]
pub struct Reservation {
    bytes: usize,
}

impl Queue {
    /// An empty queue; allocates nothing.
    pub fn new(limits: QueueLimits) -> Self {
        Self {
            limits,
            waiting: VecDeque::new(),
            bytes: 0,
            reserved_messages: 0,
            reserved_bytes: 0,
            next_expiry: u64::MAX,
        }
    }

    /// How many messages wait.
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Appends.
    ///
    /// # Errors
    /// [`QueueFull`]; the message is not in the queue then.
    pub fn push(&mut self, delivery: Delivery) -> Result<(), QueueFull> {
        let reservation = self.reserve(&delivery)?;
        self.push_reserved(reservation, delivery);
        Ok(())
    }

    /// Appends; the oldest messages make room where that is needed. Says how many were dropped, the new one included if
    /// all places are promised.
    pub fn push_dropping_oldest(&mut self, delivery: Delivery) -> usize {
        let mut dropped = 0;
        loop {
            if let Ok(reservation) = self.reserve(&delivery) {
                self.push_reserved(reservation, delivery);
                return dropped;
            }
            dropped += 1;
            if self.pop().is_none() {
                return dropped;
            }
        }
    }

    /// Promises a place, so that a message for several queues gets into all of them or into none. An empty queue takes
    /// one message of any size; a full one first lets go of what has expired when this message arrived.
    ///
    /// # Errors
    /// [`QueueFull`].
    pub fn reserve(&mut self, delivery: &Delivery) -> Result<Reservation, QueueFull> {
        let bytes = delivery.size();
        if !self.has_room(bytes) {
            self.remove_expired(delivery.message.received_at());
            if !self.has_room(bytes) {
                return Err(QueueFull);
            }
        }
        self.reserved_messages += 1;
        self.reserved_bytes += bytes;
        Ok(Reservation { bytes })
    }

    /// Takes the promised place.
    pub fn push_reserved(&mut self, reservation: Reservation, delivery: Delivery) {
        self.release(reservation);
        self.bytes += delivery.size();
        self.next_expiry = self.next_expiry.min(delivery.message.expires_at());
        self.waiting.push_back(delivery);
    }

    /// Gives a promised place back.
    pub fn release(&mut self, reservation: Reservation) {
        self.reserved_messages -= 1;
        self.reserved_bytes -= reservation.bytes;
    }

    /// Takes the message that waits for longest. The memory of a burst is given back when the queue runs empty.
    pub fn pop(&mut self) -> Option<Delivery> {
        const KEPT_CAPACITY: usize = 16;
        let delivery = self.waiting.pop_front()?;
        self.bytes -= delivery.size();
        if self.waiting.is_empty() && self.waiting.capacity() > KEPT_CAPACITY {
            self.waiting = VecDeque::new();
        }
        Some(delivery)
    }

    /// Bytes that wait, and messages and bytes that are promised.
    #[cfg(test)]
    pub fn held(&self) -> (usize, usize, usize) {
        (self.bytes, self.reserved_messages, self.reserved_bytes)
    }

    /// Drops all that waits.
    pub fn clear(&mut self) {
        self.waiting = VecDeque::new();
        self.bytes = 0;
    }

    fn has_room(&self, bytes: usize) -> bool {
        let messages = self.waiting.len() + self.reserved_messages;
        messages == 0
            || messages < self.limits.messages
                && self.bytes + self.reserved_bytes + bytes <= self.limits.bytes
    }

    fn remove_expired(&mut self, now: u64) {
        if now < self.next_expiry {
            return;
        }
        self.waiting.retain(|delivery| delivery.message.expires_at() > now);
        self.bytes = self.waiting.iter().map(Delivery::size).sum();
        self.next_expiry =
            self.waiting.iter().map(|delivery| delivery.message.expires_at()).min().unwrap_or(u64::MAX);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::{codec::ForwardedProperties, message::MessageParts};

    fn delivery(payload: &[u8]) -> Delivery {
        let message = Message::new(&MessageParts {
            publisher: 1,
            topic: "t",
            qos: QoS::AtLeastOnce,
            retain: false,
            received_at: 0,
            expiry: None,
            forwarded: ForwardedProperties::default(),
            payload,
        });
        Delivery { message, qos: QoS::AtLeastOnce, retain: false, subscription_ids: Vec::new() }
    }

    fn payloads(queue: &mut Queue) -> Vec<Vec<u8>> {
        std::iter::from_fn(|| queue.pop()).map(|d| d.message.payload().to_vec()).collect()
    }

    #[test]
    fn keeps_order_and_refuses_beyond_the_message_limit() {
        let mut queue = Queue::new(QueueLimits { messages: 2, bytes: 10_000 });
        queue.push(delivery(b"1")).unwrap();
        queue.push(delivery(b"2")).unwrap();
        assert_eq!(queue.push(delivery(b"3")), Err(QueueFull));
        assert_eq!(payloads(&mut queue), [b"1", b"2"]);
        queue.push(delivery(b"4")).unwrap();
    }

    #[test]
    fn refuses_beyond_the_byte_limit() {
        let mut queue = Queue::new(QueueLimits { messages: 100, bytes: 1_000 });
        queue.push(delivery(&[0; 600])).unwrap();
        assert_eq!(queue.push(delivery(&[0; 600])), Err(QueueFull));
        queue.push(delivery(&[0; 10])).unwrap();
    }

    #[test]
    fn a_reserved_place_counts_until_it_is_released() {
        let mut queue = Queue::new(QueueLimits { messages: 1, bytes: 10_000 });
        let reservation = queue.reserve(&delivery(b"1")).unwrap();
        assert_eq!(queue.push(delivery(b"2")), Err(QueueFull));
        queue.release(reservation);
        queue.push(delivery(b"2")).unwrap();
    }

    #[test]
    fn drops_the_oldest_and_says_how_many() {
        let mut queue = Queue::new(QueueLimits { messages: 2, bytes: 1_000 });
        assert_eq!(queue.push_dropping_oldest(delivery(b"1")), 0);
        assert_eq!(queue.push_dropping_oldest(delivery(b"2")), 0);
        assert_eq!(queue.push_dropping_oldest(delivery(b"3")), 1);
        assert_eq!(payloads(&mut queue), [b"2", b"3"]);
        queue.push(delivery(b"4")).unwrap();
        assert_eq!(queue.push_dropping_oldest(delivery(&[0; 2_000])), 1, "an empty queue takes any size");
        assert_eq!(payloads(&mut queue), [vec![0; 2_000]]);
    }
}
