//! How long messages took to be acknowledged.

use std::{collections::VecDeque, time::Duration};

/// So many are remembered.
const REMEMBERED: usize = 16;

/// How long the last messages took, from their arrival to PUBACK or, with QoS 2, PUBREC: then their receiver had them. Only those
/// count whose receiver was connected when they came and stayed so: else one that waited for a week would hide how fast all
/// others were.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Latency {
    /// The last one.
    pub last: Duration,
    /// The last 16 on average.
    pub mean: Duration,
    /// The longest of these.
    pub max: Duration,
}

/// The last of them, in microseconds, oldest first.
#[derive(Debug, Default)]
pub struct Latencies(VecDeque<u32>);

impl Latencies {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// A message took so long.
    pub fn add(&mut self, took: Duration) {
        self.push(u32::try_from(took.as_micros()).unwrap_or(u32::MAX));
    }

    /// Those of messages that were acknowledged later.
    pub fn append(&mut self, newer: Self) {
        newer.0.into_iter().for_each(|took| self.push(took));
    }

    /// In sum.
    pub fn sum_up(&self) -> Option<Latency> {
        let micros = |took: u32| Duration::from_micros(took.into());
        let sum: Duration = self.0.iter().copied().map(micros).sum();
        Some(Latency {
            last: micros(*self.0.back()?),
            mean: sum / self.0.len() as u32,
            max: micros(self.0.iter().copied().max()?),
        })
    }

    fn push(&mut self, took: u32) {
        if self.0.len() == REMEMBERED {
            self.0.pop_front();
        }
        self.0.push_back(took);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use tokio::time::Instant;

    use super::{
        super::testing::{client, delivery, id},
        *,
    };
    use crate::{
        access::Flow,
        codec::{QoS, ReasonCode},
        limits::Limits,
        session::{Outbound, Wanted},
    };

    #[test]
    fn the_last_sixteen_are_summed_up() {
        let mut latencies = Latencies::default();
        assert_eq!(latencies.sum_up(), None);
        latencies.add(Duration::from_secs(7_000));
        let very_long = Duration::from_micros(u32::MAX.into());
        let alone = Latency { last: very_long, mean: very_long, max: very_long };
        assert_eq!(latencies.sum_up(), Some(alone), "more than is remembered of one");
        let mut newer = Latencies::default();
        (1..=16).for_each(|ms| newer.add(Duration::from_millis(ms)));
        latencies.append(newer);
        let Latency { last, mean, max } = latencies.sum_up().unwrap();
        assert_eq!((last, mean, max), (ms(16), Duration::from_micros(8_500), ms(16)));
        latencies.add(ms(2));
        let Latency { last, mean, max } = latencies.sum_up().unwrap();
        assert_eq!((last, max), (ms(2), ms(16)));
        assert_eq!(mean, ms(137) / 16, "1 ms gave way to 2 ms");
    }

    #[test]
    fn a_message_takes_until_its_client_has_it() {
        let mut receiver = Receiver::new();
        receiver.connect();
        receiver.push(QoS::AtLeastOnce, 0);
        receiver.push(QoS::ExactlyOnce, 1);
        receiver.push(QoS::ExactlyOnce, 2);
        receiver.puback(1, 5);
        receiver.pubrec(2, ReasonCode::Success, 9);
        receiver.pubrec(2, ReasonCode::Success, 90);
        receiver.outbound.handle_pubcomp(id(2));
        receiver.pubrec(3, ReasonCode::QuotaExceeded, 10);
        assert_eq!(receiver.latencies(), [5, 8], "what was refused did not arrive");
        assert!(receiver.latencies().is_empty(), "they are told once");
    }

    #[test]
    fn what_had_to_wait_for_its_client_is_not_measured() {
        let mut receiver = Receiver::new();
        receiver.push(QoS::AtLeastOnce, 0);
        receiver.connect();
        receiver.puback(1, 1_000);
        receiver.push(QoS::AtLeastOnce, 1_001);
        receiver.push(QoS::ExactlyOnce, 1_001);
        receiver.outbound.handle_disconnect();
        receiver.connect();
        receiver.puback(2, 2_000);
        receiver.pubrec(3, ReasonCode::Success, 2_000);
        assert!(receiver.latencies().is_empty());
        receiver.push(QoS::AtLeastOnce, 3_000);
        receiver.puback(4, 3_007);
        assert_eq!(receiver.latencies(), [7]);
    }

    /// The receiving half of a session, with times in milliseconds since its beginning.
    struct Receiver {
        outbound: Outbound,
        flow: Flow,
        begun: Instant,
    }

    impl Receiver {
        fn new() -> Self {
            let limits = Limits::default();
            let flow = Flow { name: "flow".into(), limits: limits.flow };
            Self { outbound: Outbound::new(&limits, false), flow, begun: Instant::now() }
        }

        fn connect(&mut self) {
            self.outbound.handle_connect(client());
            self.transmit();
        }

        fn push(&mut self, qos: QoS, at: u64) {
            let wanted = Wanted { arrived: Some(self.begun + ms(at)), ..Wanted::default() };
            self.outbound.push_assured(&self.flow, delivery("t", qos, "x"), wanted).unwrap();
            self.transmit();
        }

        fn puback(&mut self, packet_id: u16, at: u64) {
            self.outbound.handle_puback(id(packet_id), self.begun + ms(at));
        }

        fn pubrec(&mut self, packet_id: u16, reason: ReasonCode, at: u64) {
            self.outbound.handle_pubrec(id(packet_id), reason, self.begun + ms(at), &mut Vec::new());
        }

        fn latencies(&mut self) -> Vec<u32> {
            let taken = self.outbound.take_latencies().into_iter();
            taken.flat_map(|(_, latencies)| latencies.0).map(|micros| micros / 1000).collect()
        }

        fn transmit(&mut self) {
            self.outbound.poll_transmit(0, usize::MAX, &mut Vec::new());
        }
    }

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }
}
