//! A model of the outbound half and of a receiver that follows the standard, by which sequences of messages, writes,
//! losses of the connection, acknowledgements in any order, wrong ones included, and rights that are taken away and given
//! again, are judged.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::{BTreeSet, HashMap, VecDeque};

use super::{
    super::testing::{AllBut, OneFlow, Sent, delivery, id, read},
    *,
};
use crate::{
    codec::QoS,
    limits::{FlowLimits, QueueLimits},
};

const WAITING: usize = 8;
const LIVE: usize = 5;
const MAX_INFLIGHT: u16 = 6;
/// A large message exceeds it, every other packet does not.
const MAXIMUM_PACKET_SIZE: u32 = 100;

/// What happens to a session.
#[derive(Debug, Clone)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Step {
    Push { qos: u8, large: bool },
    Promise { keep: bool },
    Poll { budget: usize },
    Receive { packets: usize },
    Acknowledge { which: usize, refuse: bool },
    WrongAcknowledgement { kind: u8, id: u16 },
    Disconnect,
    Revoke { topic: usize },
    Connect { version: Version, receive_maximum: u16, limited: bool, aliases: u16 },
}

/// Runs the steps, then lets everything arrive; panics if the model is contradicted.
pub fn check(steps: impl IntoIterator<Item = Step>) {
    let mut world = World::new();
    for step in steps {
        world.run(step);
    }
    world.finish();
}

#[derive(Debug, Clone, Copy)]
struct Pushed {
    number: usize,
    qos: u8,
    large: bool,
}

#[derive(Debug)]
struct Flight {
    id: u16,
    message: Pushed,
    released: bool,
    /// Only its place is left.
    revoked: bool,
    /// On this connection.
    sent: bool,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Due {
    Ack(u16),
    Received(u16),
    Complete(u16),
}

struct World {
    outbound: OneFlow,
    client: Option<ClientSettings>,
    next: usize,
    // What the broker has to do.
    live: VecDeque<usize>,
    waiting: VecDeque<Pushed>,
    in_flight: Vec<Flight>,
    /// By number: what has to arrive. Those that may and need not are not in it.
    owed: HashMap<usize, u8>,
    /// How often those that were revoked may arrive.
    at_most: HashMap<usize, usize>,
    // Between them.
    wire: VecDeque<Sent>,
    // The receiver.
    aliases: HashMap<u16, String>,
    unreleased: HashMap<u16, usize>,
    due: Vec<Due>,
    arrived: Vec<usize>,
}

impl World {
    fn new() -> Self {
        let limits = Limits {
            max_inflight: id(MAX_INFLIGHT),
            live_queue: QueueLimits { messages: LIVE, bytes: 1 << 20 },
            flow: FlowLimits {
                queue: QueueLimits { messages: WAITING, bytes: 1 << 20 },
                ..Limits::default().flow
            },
            ..Limits::default()
        };
        Self {
            outbound: OneFlow::new(&limits),
            client: None,
            next: 0,
            live: VecDeque::new(),
            waiting: VecDeque::new(),
            in_flight: Vec::new(),
            owed: HashMap::new(),
            at_most: HashMap::new(),
            wire: VecDeque::new(),
            aliases: HashMap::new(),
            unreleased: HashMap::new(),
            due: Vec::new(),
            arrived: Vec::new(),
        }
    }

    fn run(&mut self, step: Step) {
        match step {
            Step::Push { qos: 0, .. } => self.push_live(),
            Step::Push { qos, large } => self.push_assured(qos, large, None),
            Step::Promise { keep } => self.push_assured(1, false, Some(keep)),
            Step::Poll { budget } => self.poll(budget),
            Step::Receive { packets } => self.receive(packets),
            Step::Acknowledge { which, refuse } => self.acknowledge(which, refuse),
            Step::WrongAcknowledgement { kind, id } => self.acknowledge_wrongly(kind, id),
            Step::Disconnect => self.disconnect(),
            Step::Revoke { topic } => self.revoke(topic),
            Step::Connect { version, receive_maximum, limited, aliases } => self.connect(ClientSettings {
                version,
                receive_maximum: id(receive_maximum),
                maximum_packet_size: limited.then_some(MAXIMUM_PACKET_SIZE),
                topic_alias_maximum: aliases,
            }),
        }
    }

    fn push_live(&mut self) {
        let number = self.number();
        self.outbound.push_live(delivery(&topic(number), QoS::AtMostOnce, &number.to_string()));
        if self.client.is_some() {
            self.live.push_back(number);
            if self.live.len() > LIVE {
                self.live.pop_front();
            }
        }
    }

    fn push_assured(&mut self, qos: u8, large: bool, promise: Option<bool>) {
        let number = self.number();
        let payload = if large { format!("{number:0>300}") } else { number.to_string() };
        let of_model = if qos == 1 { QoS::AtLeastOnce } else { QoS::ExactlyOnce };
        let delivery = delivery(&topic(number), of_model, &payload);
        let accepted = match promise {
            None => self.outbound.push_assured(delivery),
            Some(keep) => match self.outbound.reserve(&delivery) {
                Ok(place) if keep => {
                    self.outbound.push_reserved(place, delivery);
                    Ok(())
                }
                Ok(place) => return self.outbound.release(place),
                Err(full) => Err(full),
            },
        };
        if accepted.is_ok() {
            self.waiting.push_back(Pushed { number, qos, large });
            self.owed.insert(number, qos);
        } else {
            assert!(self.waiting.len() >= WAITING, "refused while there was room");
        }
    }

    fn poll(&mut self, budget: usize) {
        let mut out = Vec::new();
        self.outbound.poll_transmit(0, budget, &mut out);
        let Some(client) = self.client else { return assert!(out.is_empty()) };
        let mut published = 0;
        for packet in read(&out, client.version) {
            self.check(&packet, &client);
            published += u64::from(matches!(packet, Sent::Publish { .. }));
            self.wire.push_back(packet);
        }
        assert_eq!(self.outbound.take_sent().messages, published);
        // Large ones may be dropped after the last packet that the budget allowed.
        while self.outbound.pending() < self.waiting.len() + self.in_flight.len() {
            assert!(self.drop_one_large(&client), "a message is gone");
        }
        if budget == usize::MAX {
            self.check_nothing_was_left_out(&client);
        }
    }

    fn check(&mut self, packet: &Sent, client: &ClientSettings) {
        match packet {
            Sent::Publish { qos: 0, dup, payload, .. } => {
                assert!(!dup);
                assert_eq!(self.live.pop_front(), payload.parse().ok());
            }
            Sent::Publish { dup: false, qos, id, payload, .. } => {
                self.drop_large(client);
                assert!(self.in_flight.iter().all(|flight| flight.sent), "new before all was sent again");
                assert!(self.in_flight.iter().all(|flight| flight.id != *id) && *id != 0, "{id} is in use");
                assert!(self.in_flight.len() < allowed(client), "more than allowed");
                let message = self.waiting.pop_front().expect("something waited");
                assert_eq!((message.qos, message.number), (*qos, payload.parse().unwrap()));
                self.in_flight.push(Flight { id: *id, message, released: false, revoked: false, sent: true });
            }
            Sent::Publish { dup: true, qos, id, payload, .. } => {
                self.drop_large(client);
                let at = self.next_again().expect("something to send again");
                assert!(at < usize::from(client.receive_maximum.get()), "more than the Receive Maximum");
                let flight = &mut self.in_flight[at];
                let expected = (flight.id, flight.message.qos, flight.message.number, flight.released);
                assert_eq!((*id, *qos, payload.parse().unwrap(), false), expected);
                flight.sent = true;
            }
            Sent::PubRel { id, reason } => {
                self.drop_large(client);
                let at = self.next_again().expect("something to send again");
                let flight = &mut self.in_flight[at];
                assert_eq!((*id, *reason, true), (flight.id, 0, flight.released));
                flight.sent = true;
            }
        }
    }

    fn check_nothing_was_left_out(&mut self, client: &ClientSettings) {
        self.drop_large(client);
        assert!(self.live.is_empty());
        match self.next_again() {
            Some(at) => {
                assert!(at >= usize::from(client.receive_maximum.get()) && !self.in_flight[at].released);
            }
            None => assert!(self.waiting.is_empty() || self.in_flight.len() >= allowed(client)),
        }
        assert_eq!(self.outbound.pending(), self.waiting.len() + self.in_flight.len());
    }

    fn drop_large(&mut self, client: &ClientSettings) {
        while self.drop_one_large(client) {}
    }

    /// What is next and too large for this client is not sent, and not owed any more.
    fn drop_one_large(&mut self, client: &ClientSettings) -> bool {
        if client.maximum_packet_size.is_none() {
            return false;
        }
        let dropped = match self.next_again() {
            Some(at) => {
                let flight = &self.in_flight[at];
                let reached = at < usize::from(client.receive_maximum.get());
                (!flight.released && flight.message.large && reached)
                    .then(|| self.in_flight.remove(at).message)
            }
            None if self.in_flight.len() < allowed(client) => {
                self.waiting.pop_front_if(|message| message.large)
            }
            None => None,
        };
        if let Some(message) = dropped {
            self.owed.remove(&message.number);
        }
        dropped.is_some()
    }

    fn next_again(&self) -> Option<usize> {
        self.in_flight.iter().position(|flight| !flight.sent)
    }

    fn receive(&mut self, packets: usize) {
        for _ in 0..packets {
            let Some(packet) = self.wire.pop_front() else { return };
            match packet {
                Sent::PubRel { id, .. } => {
                    self.unreleased.remove(&id);
                    self.due.push(Due::Complete(id));
                }
                Sent::Publish { qos, id, topic: name, alias, payload, .. } => {
                    let number = payload.parse().unwrap();
                    if alias != 0 && !name.is_empty() {
                        self.aliases.insert(alias, name.clone());
                    }
                    let name = if name.is_empty() { self.aliases[&alias].clone() } else { name };
                    assert_eq!(name, topic(number));
                    match qos {
                        0 => {}
                        1 => {
                            self.due.push(Due::Ack(id));
                            self.arrived.push(number);
                        }
                        _ => {
                            self.due.push(Due::Received(id));
                            if self.unreleased.insert(id, number).is_none() {
                                self.arrived.push(number);
                            }
                        }
                    }
                }
            }
        }
    }

    fn acknowledge(&mut self, which: usize, refuse: bool) {
        if self.due.is_empty() {
            return;
        }
        match self.due.remove(which % self.due.len()) {
            Due::Ack(value) => {
                self.outbound.handle_puback(id(value), Instant::now());
                self.in_flight.retain(|flight| flight.id != value);
            }
            Due::Received(value) if refuse => {
                let mut out = Vec::new();
                self.outbound.handle_pubrec(
                    id(value),
                    ReasonCode::UnspecifiedError,
                    Instant::now(),
                    &mut out,
                );
                assert!(out.is_empty(), "PUBREL after a refusal");
                self.in_flight.retain(|flight| flight.id != value);
                let number = self.unreleased.remove(&value).unwrap();
                self.arrived.retain(|arrived| *arrived != number);
                self.owed.remove(&number);
            }
            Due::Received(value) => {
                let mut out = Vec::new();
                self.outbound.handle_pubrec(id(value), ReasonCode::Success, Instant::now(), &mut out);
                self.wire.extend(read(&out, self.client.unwrap().version));
                assert_eq!(self.wire.back(), Some(&Sent::PubRel { id: value, reason: 0 }));
                let flight = self.in_flight.iter_mut().find(|flight| flight.id == value).unwrap();
                flight.released = true;
            }
            Due::Complete(value) => {
                self.outbound.handle_pubcomp(id(value));
                self.in_flight.retain(|flight| flight.id != value);
            }
        }
    }

    /// Only what is wrong: an acknowledgement of what did not arrive would be the client's own loss.
    fn acknowledge_wrongly(&mut self, kind: u8, value: u16) {
        let state = self.in_flight.iter().find(|flight| flight.id == value);
        let state = state.map(|flight| (flight.message.qos, flight.released));
        let packet_id = id(value);
        let mut out = Vec::new();
        match (kind, state) {
            (_, _) if self.client.is_none() => {}
            (0, Some((1, _))) | (1, Some((2, true))) | (2 | 3, Some((2, _))) => {}
            (0, _) => self.outbound.handle_puback(packet_id, Instant::now()),
            (1, _) => self.outbound.handle_pubcomp(packet_id),
            (2, _) => {
                self.outbound.handle_pubrec(
                    packet_id,
                    ReasonCode::UnspecifiedError,
                    Instant::now(),
                    &mut out,
                );
                assert!(out.is_empty());
            }
            _ => {
                self.outbound.handle_pubrec(packet_id, ReasonCode::Success, Instant::now(), &mut out);
                let version = self.client.unwrap().version;
                let reason = if version == Version::V5 { 0x92 } else { 0 };
                assert_eq!(read(&out, version), [Sent::PubRel { id: value, reason }]);
            }
        }
    }

    fn revoke(&mut self, of_topic: usize) {
        let grant = AllBut { topic: topic(of_topic), flow: None };
        self.outbound.revoke(&grant, &Receipt::new(&Arc::default()));
        let is_revoked = |number: &usize| number % 3 == of_topic;
        self.live.retain(|number| !is_revoked(number));
        self.waiting.retain(|message| !is_revoked(&message.number));
        // A PUBREL is not taken back, and of QoS 2 that is all that is sent again.
        for flight in self.in_flight.iter_mut().filter(|flight| is_revoked(&flight.message.number)) {
            flight.revoked = flight.sent && !flight.released;
            flight.released |= !flight.sent && flight.message.qos == 2;
        }
        self.in_flight.retain(|flight| flight.sent || flight.released || !is_revoked(&flight.message.number));
        for number in (1..=self.next).filter(is_revoked) {
            let on_the_wire = self.wire.iter().filter(|packet| number_of(packet) == Some(number)).count();
            let times = self.times(number) + on_the_wire;
            self.at_most.entry(number).and_modify(|most| *most = times.min(*most)).or_insert(times);
            self.owed.remove(&number);
        }
    }

    fn times(&self, number: usize) -> usize {
        self.arrived.iter().filter(|arrived| **arrived == number).count()
    }

    fn disconnect(&mut self) {
        self.outbound.handle_disconnect();
        self.client = None;
        self.in_flight.retain(|flight| !flight.revoked || flight.message.qos == 2);
        for flight in self.in_flight.iter_mut().filter(|flight| flight.revoked) {
            (flight.revoked, flight.released) = (false, true);
        }
        self.live.clear();
        self.wire.clear();
        self.due.clear();
    }

    fn connect(&mut self, client: ClientSettings) {
        self.disconnect();
        self.outbound.handle_connect(client);
        self.client = Some(client);
        self.aliases.clear();
        for flight in &mut self.in_flight {
            flight.sent = false;
        }
    }

    fn finish(mut self) {
        self.connect(super::super::testing::client());
        for _ in 0..100 {
            self.poll(usize::MAX);
            self.receive(usize::MAX);
            while !self.due.is_empty() {
                self.acknowledge(0, false);
            }
        }
        assert_eq!(self.outbound.pending(), 0, "everything was acknowledged");
        assert_eq!((self.outbound.assured.held(), self.outbound.live.held()), ((0, 0, 0, 0), (0, 0)));
        for (number, most) in &self.at_most {
            assert!(self.times(*number) <= *most, "{number} was revoked and arrived later");
        }
        for (number, qos) in &self.owed {
            let times = self.times(*number);
            assert!(times == 1 || (times > 1 && *qos == 1), "QoS {qos} {number} arrived {times} times");
        }
        let mut seen = BTreeSet::new();
        let first: Vec<_> = self.arrived.iter().filter(|number| seen.insert(**number)).collect();
        assert!(first.is_sorted(), "out of order: {first:?}");
    }

    fn number(&mut self) -> usize {
        self.next += 1;
        self.next
    }
}

fn number_of(packet: &Sent) -> Option<usize> {
    match packet {
        Sent::Publish { payload, .. } => payload.parse().ok(),
        Sent::PubRel { .. } => None,
    }
}

fn topic(number: usize) -> String {
    format!("topic/{}", number % 3)
}

fn allowed(client: &ClientSettings) -> usize {
    usize::from(client.receive_maximum.get().min(MAX_INFLIGHT))
}
