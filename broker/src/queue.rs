//! Messages on their way to a session, and the queue of those with QoS 0.

use std::collections::VecDeque;

use crate::{
    codec::QoS,
    limits::{Limit, LimitTally, QueueLimits},
    message::Message,
};

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

/// The QoS 0 messages that wait for a connected client, never more than its limits allow: the oldest make room.
#[derive(Debug)]
pub struct LiveQueue {
    limits: QueueLimits,
    waiting: VecDeque<Delivery>,
    bytes: usize,
    acted: LimitTally,
}

/// The queue holds as much as it may, by this limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueueFull(pub Limit);

impl LiveQueue {
    /// An empty queue; allocates nothing.
    pub fn new(limits: QueueLimits) -> Self {
        Self { limits, waiting: VecDeque::new(), bytes: 0, acted: LimitTally::default() }
    }

    /// Appends, and says how many of the oldest made room. An empty queue takes one message of any size.
    pub fn push(&mut self, delivery: Delivery) -> usize {
        let mut dropped = 0;
        while let Err(QueueFull(limit)) = self.check_room(delivery.size()) {
            self.acted.note(limit);
            dropped += 1;
            self.pop();
        }
        self.bytes += delivery.size();
        self.waiting.push_back(delivery);
        dropped
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

    /// Drops what is revoked; says how many messages that was.
    pub fn revoke(&mut self, is_revoked: impl Fn(&Delivery) -> bool) -> u64 {
        let before = self.waiting.len();
        self.waiting.retain(|delivery| !is_revoked(delivery));
        self.bytes = self.waiting.iter().map(Delivery::size).sum();
        (before - self.waiting.len()) as u64
    }

    /// Drops all that waits.
    pub fn clear(&mut self) {
        self.waiting = VecDeque::new();
        self.bytes = 0;
    }

    /// How often its limits acted since the last call.
    pub fn take_acted(&mut self) -> LimitTally {
        std::mem::take(&mut self.acted)
    }

    fn check_room(&self, bytes: usize) -> Result<(), QueueFull> {
        if self.waiting.is_empty() {
            Ok(())
        } else if self.waiting.len() >= self.limits.messages {
            Err(QueueFull(Limit::LiveQueueMessages))
        } else if self.bytes + bytes > self.limits.bytes {
            Err(QueueFull(Limit::LiveQueueBytes))
        } else {
            Ok(())
        }
    }

    /// Messages and bytes that wait.
    #[cfg(any(test, fuzzing))]
    pub fn held(&self) -> (usize, usize) {
        (self.waiting.len(), self.bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        codec::ForwardedProperties,
        message::{Message, MessageParts},
    };

    fn delivery(payload: &[u8]) -> Delivery {
        let message = Message::new(&MessageParts {
            publisher: 1,
            topic: "t",
            qos: QoS::AtMostOnce,
            retain: false,
            received_at: 0,
            expiry: None,
            forwarded: ForwardedProperties::default(),
            payload,
        });
        Delivery { message, qos: QoS::AtMostOnce, retain: false, subscription_ids: Vec::new() }
    }

    fn payloads(queue: &mut LiveQueue) -> Vec<Vec<u8>> {
        std::iter::from_fn(|| queue.pop()).map(|d| d.message.payload().to_vec()).collect()
    }

    #[test]
    fn drops_the_oldest_and_says_how_many() {
        let mut queue = LiveQueue::new(QueueLimits { messages: 2, bytes: 1_000 });
        assert_eq!(queue.push(delivery(b"1")), 0);
        assert_eq!(queue.push(delivery(b"2")), 0);
        assert_eq!(queue.push(delivery(b"3")), 1);
        assert_eq!(payloads(&mut queue), [b"2", b"3"]);
        assert_eq!(queue.push(delivery(b"4")), 0);
        assert_eq!(queue.push(delivery(&[0; 2_000])), 1, "an empty queue takes any size");
        assert_eq!(payloads(&mut queue), [vec![0; 2_000]]);
        assert_eq!(queue.held(), (0, 0));
    }
}
