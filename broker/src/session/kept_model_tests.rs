//! The outbound half of a session that is kept, against a model of the store and of a receiver that follows the standard, by
//! random sequences: of messages, commits that succeed or fail, deaths of the process, losses of the connection, and
//! acknowledgements.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use proptest::prelude::*;

use super::{
    super::{
        Bell, LOAD_MESSAGES, Outcome, Receipt,
        testing::{Sent, client, delivery, id, read},
    },
    *,
};
use crate::{
    codec::QoS,
    store::{QueuedMessage, SessionRecord, StoredMessage},
};

const MAX_INFLIGHT: u16 = 4;

#[derive(Debug, Clone)]
enum Step {
    /// With `late` its publisher's thread is held up before it hands a write over.
    Publish {
        qos: u8,
        at_once: bool,
        late: bool,
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
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        10 => (1..3_u8, any::<bool>(), prop::bool::weighted(0.2))
            .prop_map(|(qos, at_once, late)| Step::Publish { qos, at_once, late }),
        8 => (1..8_usize).prop_map(|work| Step::Commit { work }),
        1 => (1..8_usize).prop_map(|work| Step::Fail { work }),
        2 => Just(Step::Moment),
        8 => Just(Step::Poll),
        8 => (1..6_usize).prop_map(|packets| Step::Receive { packets }),
        8 => any::<usize>().prop_map(|which| Step::Acknowledge { which }),
        2 => Just(Step::Disconnect),
        4 => (1..9_u16).prop_map(|receive_maximum| Step::Connect { receive_maximum }),
        1 => Just(Step::Die),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn what_was_acknowledged_arrives_whatever_happens(steps in prop::collection::vec(step(), 1..150)) {
        let mut world = World::new();
        for step in steps {
            world.run(step);
        }
        world.finish();
    }
}

#[derive(Debug)]
enum Task {
    Work(Work),
    PutSession(SessionRecord),
}

struct World {
    limits: Limits,
    flow: Flow,
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
            flow: Flow { name: "flow".into(), limits: limits.flow },
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
            Step::Publish { qos, at_once, late } => self.publish(qos, at_once, late),
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
        }
        self.take_work();
        self.settle();
    }

    fn publish(&mut self, qos: u8, at_once: bool, late: bool) {
        self.published += 1;
        let number = self.published;
        let of_model = if qos == 1 { QoS::AtLeastOnce } else { QoS::ExactlyOnce };
        let delivery = delivery("t", of_model, &number.to_string());
        let receipt = Receipt::new(&self.bell);
        let wanted = Wanted { receipt: Some(receipt.share()), at_once, ..Wanted::default() };
        self.outbound.push_assured(&self.flow, delivery, wanted).unwrap();
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
            Task::Work(Work::Revoke { .. }) => panic!("nothing is revoked"),
            Task::Work(Work::Await(_)) => panic!("it is kept itself"),
        }
        self.take_work();
        self.settle();
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
            Due::Ack(value) => self.outbound.handle_puback(id(value)),
            Due::Received(value) => {
                self.outbound.handle_pubrec(id(value), ReasonCode::Success, &mut out);
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

    /// What is not committed is gone; the receiver remembers.
    fn die(&mut self) {
        self.cut();
        self.tasks.clear();
        self.late.clear();
        self.waiting.clear();
        let mut totals = Totals::default();
        for stored in self.kept.values() {
            if let StoredMessage::Message(QueuedMessage { delivery, .. }) = stored {
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
                totals: vec![(Arc::clone(&self.flow.name), totals)],
                range,
            },
        );
    }

    fn finish(mut self) {
        self.connect(3);
        self.tasks.append(&mut self.late);
        for _ in 0..100 {
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
        for (number, qos) in &self.owed {
            let times = self.arrived.iter().filter(|arrived| *arrived == number).count();
            assert!(times == 1 || (times > 1 && *qos == 1), "QoS {qos} {number} arrived {times} times");
        }
        let mut seen = BTreeSet::new();
        let first: Vec<_> = self.arrived.iter().filter(|number| seen.insert(**number)).collect();
        assert!(first.is_sorted(), "out of order: {first:?}");
    }
}

/// Regression: a client that returned to a backlog while messages kept coming, faster than two commits, had all that came
/// written and loaded again for as long as they came.
#[test]
fn a_client_that_has_caught_up_is_sent_to_directly_again_though_messages_keep_coming() {
    let mut world = World::new();
    (0..5).for_each(|_| world.publish(1, false, false));
    world.take_work();
    (0..5).for_each(|_| world.commit(true));
    world.connect(100);
    let mut written = Vec::new();
    for _ in 0..50 {
        world.poll();
        world.take_work();
        // The store does what it was given before; meanwhile one more message comes.
        let before = world.tasks.len();
        world.publish(1, false, false);
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
