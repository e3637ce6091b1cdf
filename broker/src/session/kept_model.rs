//! A model of the store and of a receiver that follows the standard, by which the outbound half of a session that is kept
//! is judged: through messages, commits that succeed or fail, deaths of the process, losses of the connection,
//! acknowledgements, and rights that are taken away and given again.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use super::{
    super::{
        Bell, LOAD_MESSAGES, Outcome, Receipt,
        testing::{AllBut, Sent, client, delivery, id, read},
    },
    *,
};
use crate::{
    codec::QoS,
    store::{QueuedMessage, SessionRecord, StoredMessage},
};

const MAX_INFLIGHT: u16 = 4;

/// What happens to a session that is kept.
#[derive(Debug, Clone)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Step {
    /// With `late` its publisher's thread is held up before it hands a write over.
    Publish {
        qos: u8,
        at_once: bool,
        late: bool,
        room: usize,
    },
    Commit {
        work: usize,
    },
    Fail {
        work: usize,
    },
    Moment,
    Poll,
    Receive {
        packets: usize,
    },
    Acknowledge {
        which: usize,
    },
    Disconnect,
    Connect {
        receive_maximum: u16,
    },
    Die,
    /// Of one of the rooms.
    Revoke {
        room: usize,
    },
}

/// Runs the steps, then lets everything arrive; panics if the model is contradicted.
pub fn check(steps: impl IntoIterator<Item = Step>) {
    let mut world = World::new();
    for step in steps {
        world.run(step);
    }
    world.finish();
}

/// Topics and flows. The first one is never revoked, and its flow has no name.
pub const ROOMS: [&str; 3] = ["", "a", "b"];

#[derive(Debug)]
struct Revoking {
    flow: Arc<str>,
    from: Sequence,
    below: Sequence,
    sent_below: Sequence,
}

#[derive(Debug)]
enum Task {
    Work(Work),
    Revoke(Revoking),
    PutSession(SessionRecord),
}

struct World {
    limits: Limits,
    flows: Vec<Flow>,
    bell: Arc<Bell>,
    outbound: Outbound,
    online: bool,
    tasks: VecDeque<Task>,
    late: VecDeque<Task>,
    // The store: what is committed.
    kept: BTreeMap<Sequence, StoredMessage>,
    record: SessionRecord,
    // Publishers.
    published: usize,
    rooms: HashMap<usize, usize>,
    /// How often those that were revoked may arrive.
    at_most: HashMap<usize, usize>,
    waiting: HashMap<usize, (u8, Arc<Receipt>)>,
    owed: BTreeMap<usize, u8>,
    // The receiver.
    wire: VecDeque<Sent>,
    unreleased: BTreeMap<u16, usize>,
    due: Vec<Due>,
    arrived: Vec<usize>,
}

#[derive(Debug, Clone, Copy)]
enum Due {
    Ack(u16),
    Received(u16),
    Complete(u16),
}

impl World {
    fn new() -> Self {
        let limits = Limits { max_inflight: id(MAX_INFLIGHT), ..Limits::default() };
        Self {
            flows: ROOMS.map(|room| Flow { name: room.into(), limits: limits.flow }).into(),
            outbound: Outbound::new(&limits, true),
            limits,
            bell: Arc::default(),
            online: false,
            tasks: VecDeque::new(),
            late: VecDeque::new(),
            kept: BTreeMap::new(),
            record: SessionRecord {
                slot: 1,
                name: "n".into(),
                client_id: "c".into(),
                expiry: 1,
                left_at: Some(0),
                sent_below: 0,
                will: None,
            },
            published: 0,
            rooms: HashMap::new(),
            at_most: HashMap::new(),
            waiting: HashMap::new(),
            owed: BTreeMap::new(),
            wire: VecDeque::new(),
            unreleased: BTreeMap::new(),
            due: Vec::new(),
            arrived: Vec::new(),
        }
    }

    fn run(&mut self, step: Step) {
        match step {
            Step::Publish { qos, at_once, late, room } => self.publish(qos, at_once, late, room),
            Step::Commit { work } => {
                (0..work).for_each(|_| self.commit(true));
                self.tasks.append(&mut self.late);
            }
            Step::Fail { work } => (0..work).for_each(|_| self.commit(false)),
            Step::Moment => {
                if let Some(below) = self.outbound.unwritten_below() {
                    self.outbound.write_below(below);
                }
            }
            Step::Poll => self.poll(),
            Step::Receive { packets } => self.receive(packets),
            Step::Acknowledge { which } => self.acknowledge(which),
            Step::Disconnect => self.disconnect(),
            Step::Connect { receive_maximum } => self.connect(receive_maximum),
            Step::Die => self.die(),
            Step::Revoke { room } => self.revoke(room),
        }
        self.take_work();
        self.settle();
    }

    fn publish(&mut self, qos: u8, at_once: bool, late: bool, room: usize) {
        self.published += 1;
        let number = self.published;
        let of_model = if qos == 1 { QoS::AtLeastOnce } else { QoS::ExactlyOnce };
        let delivery = delivery(&format!("room {}", ROOMS[room]), of_model, &number.to_string());
        self.rooms.insert(number, room);
        let receipt = Receipt::new(&self.bell);
        let wanted = Wanted { receipt: Some(receipt.share()), at_once, ..Wanted::default() };
        self.outbound.push_assured(&self.flows[room], delivery, wanted).unwrap();
        receipt.settle(true);
        self.waiting.insert(number, (qos, receipt));
        if late {
            self.late.extend(self.outbound.take_work().into_iter().map(Task::Work));
        }
    }

    fn commit(&mut self, succeeds: bool) {
        let Some(task) = self.tasks.pop_front() else { return };
        match task {
            Task::PutSession(record) => self.record = record,
            Task::Work(Work::Write(message)) => {
                let sequence = message.sequence;
                if succeeds {
                    self.kept.insert(sequence, StoredMessage::Message(message));
                }
                self.outbound.handle_written(sequence, succeeds);
            }
            Task::Work(Work::Forget(sequence)) => drop(self.kept.remove(&sequence)),
            // If it fails it is tried again when the store has recovered: here at once.
            Task::Work(Work::Release(sequence)) => {
                if let Some(stored) = self.kept.get_mut(&sequence) {
                    *stored = StoredMessage::Released(sequence);
                }
                self.outbound.handle_released(sequence);
            }
            Task::Work(Work::Load { from, below }) => {
                let mut rows = self.kept.range(from..below).map(|(_, stored)| stored.clone());
                let messages: Vec<_> = rows.by_ref().take(LOAD_MESSAGES).collect();
                let loaded = Loaded { messages, complete: rows.next().is_none(), damaged: 0 };
                self.outbound.handle_loaded(from, below, succeeds.then_some(loaded), |_| true);
                if !succeeds {
                    self.outbound.handle_store_recovered();
                }
            }
            Task::Work(Work::Trim { .. }) => panic!("nothing is full"),
            // In parts, others between them; what fails is tried again at once.
            Task::Work(Work::Revoke { flow, from, below, sent_below, .. }) => {
                self.tasks.push_back(Task::Revoke(Revoking { flow, from, below, sent_below }));
            }
            Task::Revoke(request) => {
                let left = if succeeds { self.remove_part(request) } else { Some(request) };
                self.tasks.extend(left.map(Task::Revoke));
            }
            Task::Work(Work::Await(_)) => panic!("it is kept itself"),
        }
        self.take_work();
        self.settle();
    }

    /// Says what is left to do.
    fn remove_part(&mut self, request: Revoking) -> Option<Revoking> {
        let end = request.below.min(request.from + 2);
        for sequence in request.from..end {
            let Some(StoredMessage::Message(message)) = self.kept.get(&sequence) else { continue };
            if message.flow != request.flow {
                continue;
            }
            if sequence < request.sent_below && message.delivery.qos == QoS::ExactlyOnce {
                self.kept.insert(sequence, StoredMessage::Released(sequence));
            } else {
                self.kept.remove(&sequence);
            }
        }
        (end < request.below).then_some(Revoking { from: end, ..request })
    }

    /// The right is taken away, and given again before anything else happens. What is on the wire was sent.
    fn revoke(&mut self, room: usize) {
        let receipt = Receipt::new(&self.bell);
        let grant = AllBut { topic: format!("room {}", ROOMS[room]), flow: Some(ROOMS[room]) };
        self.outbound.revoke(&grant, &receipt);
        for number in (1..=self.published).filter(|number| self.rooms[number] == room) {
            let on_the_wire = self.wire.iter().filter(|packet| number_of(packet) == Some(number)).count();
            let times = self.times(number) + on_the_wire;
            self.at_most.entry(number).and_modify(|most| *most = times.min(*most)).or_insert(times);
            self.owed.remove(&number);
            if let Some((_, receipt)) = self.waiting.remove(&number) {
                assert_eq!(receipt.outcome(), Some(Outcome::Kept), "its publisher waits for ever");
            }
        }
    }

    fn times(&self, number: usize) -> usize {
        self.arrived.iter().filter(|arrived| **arrived == number).count()
    }

    fn take_work(&mut self) {
        self.tasks.extend(self.outbound.take_work().into_iter().map(Task::Work));
    }

    /// Whoever is acknowledged relies on it.
    fn settle(&mut self) {
        let owed = &mut self.owed;
        self.waiting.retain(|number, (qos, receipt)| {
            if receipt.outcome() == Some(Outcome::Kept) {
                owed.insert(*number, *qos);
            }
            receipt.outcome().is_none()
        });
    }

    fn poll(&mut self) {
        let mut out = Vec::new();
        self.outbound.poll_transmit(0, usize::MAX, &mut out);
        self.wire.extend(read(&out, Version::V5));
        assert!(self.online || self.wire.is_empty());
    }

    fn receive(&mut self, packets: usize) {
        for _ in 0..packets {
            let Some(packet) = self.wire.pop_front() else { return };
            match packet {
                Sent::PubRel { id, .. } => {
                    self.unreleased.remove(&id);
                    self.due.push(Due::Complete(id));
                }
                Sent::Publish { qos, id, payload, .. } => {
                    let number = payload.parse().unwrap();
                    if qos == 1 {
                        self.due.push(Due::Ack(id));
                        self.arrived.push(number);
                    } else {
                        self.due.push(Due::Received(id));
                        match self.unreleased.insert(id, number) {
                            None => self.arrived.push(number),
                            Some(before) => assert_eq!(before, number, "an identifier of another message"),
                        }
                    }
                }
            }
        }
    }

    fn acknowledge(&mut self, which: usize) {
        if self.due.is_empty() {
            return;
        }
        let mut out = Vec::new();
        match self.due.remove(which % self.due.len()) {
            Due::Ack(value) => self.outbound.handle_puback(id(value), Instant::now()),
            Due::Received(value) => {
                self.outbound.handle_pubrec(id(value), ReasonCode::Success, Instant::now(), &mut out);
            }
            Due::Complete(value) => self.outbound.handle_pubcomp(id(value)),
        }
        self.wire.extend(read(&out, Version::V5));
    }

    fn disconnect(&mut self) {
        if !self.online {
            return;
        }
        self.outbound.handle_disconnect();
        self.take_work();
        self.tasks.push_back(Task::PutSession(SessionRecord {
            left_at: Some(0),
            sent_below: self.outbound.sent_below(),
            ..self.record.clone()
        }));
        self.cut();
        assert!(self.outbound.assured.is_empty_in_memory(), "a session without a connection holds messages");
    }

    fn cut(&mut self) {
        self.online = false;
        self.wire.clear();
        self.due.clear();
    }

    fn connect(&mut self, receive_maximum: u16) {
        self.disconnect();
        self.tasks.push_back(Task::PutSession(SessionRecord {
            left_at: None,
            sent_below: self.outbound.sent_below(),
            ..self.record.clone()
        }));
        self.outbound.handle_connect(ClientSettings { receive_maximum: id(receive_maximum), ..client() });
        self.online = true;
    }

    /// What is not committed is gone; the receiver remembers. If that is so of a revocation, the right is still taken away
    /// at the next start.
    fn die(&mut self) {
        self.cut();
        let mut undone = BTreeSet::new();
        for stored in self.kept.values() {
            let StoredMessage::Message(message) = stored else { continue };
            let number = str::from_utf8(message.delivery.message.payload()).unwrap().parse().unwrap();
            if self.at_most.contains_key(&number) {
                assert!(!self.tasks.is_empty() || !self.late.is_empty(), "{number} was revoked and is kept");
                undone.insert(self.rooms[&number]);
            }
        }
        self.tasks.clear();
        self.late.clear();
        self.waiting.clear();
        let mut totals: HashMap<Arc<str>, Totals> = HashMap::new();
        for stored in self.kept.values() {
            if let StoredMessage::Message(QueuedMessage { delivery, flow, .. }) = stored {
                let totals = totals.entry(Arc::clone(flow)).or_default();
                totals.messages += 1;
                totals.bytes += delivery.size() as u64;
            }
        }
        let range = self.kept.keys().next().copied().zip(self.kept.keys().last().copied());
        self.outbound = Outbound::restored(
            &self.limits,
            &StoredSession {
                record: self.record.clone(),
                subscriptions: Vec::new(),
                unreleased: Vec::new(),
                totals: totals.into_iter().collect(),
                range,
            },
        );
        undone.into_iter().for_each(|room| self.revoke(room));
    }

    fn finish(mut self) {
        self.connect(3);
        self.tasks.append(&mut self.late);
        for _ in 0..200 {
            self.take_work();
            while !self.tasks.is_empty() {
                self.commit(true);
            }
            self.poll();
            self.receive(usize::MAX);
            while !self.due.is_empty() {
                self.acknowledge(0);
            }
            self.settle();
        }
        assert_eq!(self.outbound.pending(), 0, "everything was acknowledged");
        assert_eq!(self.outbound.assured.held(), (0, 0, 0, 0));
        assert!(self.kept.is_empty(), "the store keeps what nobody needs: {:?}", self.kept);
        assert!(self.waiting.is_empty(), "a publisher waits for ever");
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
}

fn number_of(packet: &Sent) -> Option<usize> {
    match packet {
        Sent::Publish { payload, .. } => payload.parse().ok(),
        Sent::PubRel { .. } => None,
    }
}

/// Regression: a client that returned to a backlog while messages kept coming, faster than two commits, had all that came
/// written and loaded again for as long as they came.
#[cfg(test)]
#[test]
fn a_client_that_has_caught_up_is_sent_to_directly_again_though_messages_keep_coming() {
    let mut world = World::new();
    (0..5).for_each(|_| world.publish(1, false, false, 0));
    world.take_work();
    (0..5).for_each(|_| world.commit(true));
    world.connect(100);
    let mut written = Vec::new();
    for _ in 0..50 {
        world.poll();
        world.take_work();
        // The store does what it was given before; meanwhile one more message comes.
        let before = world.tasks.len();
        world.publish(1, false, false, 0);
        world.take_work();
        written.push(
            world.tasks.iter().skip(before).filter(|task| matches!(task, Task::Work(Work::Write(_)))).count(),
        );
        (0..before).for_each(|_| world.commit(true));
        world.poll();
        world.receive(usize::MAX);
        while !world.due.is_empty() {
            world.acknowledge(0);
        }
    }
    assert_eq!(written[40..], [0; 10], "{written:?}");
    world.finish();
}
