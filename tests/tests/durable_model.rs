//! Random histories against a small model that says what must and what may be delivered.
//!
//! One device publishes, the other has a session that it leaves and returns to; connections break, the bridge is stopped,
//! killed and started again. `IOR_MODEL_CASES` sets how many histories are tried.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::time::{Duration, Instant};

use ior_tests::{
    Bridge, Credentials, DEADLINE, End, Happened, Peer, World,
    raw::{
        Connect, Disconnect, Message, Packet, PingReq, Property, Publish, Subscribe, Unsubscribe,
        Version::{self, V5, V311},
    },
};
use proptest::{
    collection::vec,
    prelude::*,
    test_runner::{Config, TestRunner},
};

const CASES: u32 = 30;
const STEPS: usize = 25;
const SHORT: u32 = 1;
const IN_FLIGHT: u16 = 5;

#[derive(Debug, Clone)]
enum Step {
    /// Publishes and waits for the acknowledgement.
    Publish {
        qos: u8,
    },
    /// Publishes, and the connection is gone before an answer is read.
    PublishAndBreak {
        qos: u8,
    },
    /// A message that lives for a second.
    PublishShort,
    /// The subscriber connects, if it is away.
    Return,
    /// Takes so many messages, if that many come at once, and acknowledges them; and goes through with the handshakes or
    /// leaves them open.
    Take {
        count: usize,
        finish: bool,
    },
    /// The subscriber's connection breaks, whatever is on its way.
    Break,
    Subscribe {
        qos: u8,
    },
    Unsubscribe,
    /// Clean Start, then a session again.
    StartOver,
    /// The subscriber leaves a session behind that ends after a second; and that passes, the bridge runs or not.
    Expire {
        stopped: bool,
    },
    /// More than a second passes, the bridge runs or not.
    Wait {
        stopped: bool,
    },
    Restart,
    Kill,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (1u8..=2).prop_map(|qos| Step::Publish { qos }),
        4 => (1u8..=2).prop_map(|qos| Step::PublishAndBreak { qos }),
        1 => Just(Step::PublishShort),
        5 => Just(Step::Return),
        6 => (1usize..8, any::<bool>()).prop_map(|(count, finish)| Step::Take { count, finish }),
        2 => Just(Step::Break),
        2 => (1u8..=2).prop_map(|qos| Step::Subscribe { qos }),
        1 => Just(Step::Unsubscribe),
        1 => Just(Step::StartOver),
        1 => any::<bool>().prop_map(|stopped| Step::Expire { stopped }),
        1 => any::<bool>().prop_map(|stopped| Step::Wait { stopped }),
        2 => Just(Step::Restart),
        5 => Just(Step::Kill),
    ]
}

#[test]
fn random_histories_agree_with_the_model() {
    let cases = std::env::var("IOR_MODEL_CASES").map_or(CASES, |cases| cases.parse().unwrap());
    let config = Config { cases, max_shrink_iters: 60, failure_persistence: None, ..Config::default() };
    let histories = (0..4usize, vec(step(), 1..STEPS));
    let outcome = TestRunner::new(config).run(&histories, |(versions, steps)| {
        let versions = [[V5, V5], [V5, V311], [V311, V5], [V311, V311]][versions];
        run(versions, &steps);
        Ok(())
    });
    if let Err(failure) = outcome {
        panic!("{failure}");
    }
}

fn run([publisher, subscriber]: [Version; 2], steps: &[Step]) {
    let mut scene = Scene::new(publisher, subscriber);
    for step in steps {
        scene.play(step);
    }
    scene.finish();
}

/// A message for the session, in the order of publishing.
#[derive(Debug, Clone)]
struct Expected {
    number: u32,
    /// QoS that it is delivered with.
    qos: u8,
    /// It was acknowledged, and the session wanted it. Otherwise it may come or not: nobody knows whether the bridge got
    /// it, or the session may have given it up.
    must: bool,
    /// It lives for a second, unless it was sent before.
    short: bool,
    may_be_sent: bool,
    taken: bool,
    /// It may come again though it was taken: the bridge may not know that, or have got it twice.
    may_repeat: bool,
}

struct Scene {
    bridge: Option<Bridge>,
    from: Credentials,
    to: Credentials,
    publisher: Peer,
    subscriber: Peer,
    subscriber_version: Version,
    published: u32,
    /// Whether there is a session, and the QoS of its subscription.
    session: bool,
    subscribed: Option<u8>,
    /// What the session is given. Anything else may not come.
    expected: Vec<Expected>,
    /// What was taken a moment ago: the bridge does not write that at once.
    recent: Vec<u32>,
}

impl Scene {
    fn new(publisher: Version, subscriber: Version) -> Self {
        let bridge = World::durable().start();
        let [from, to] = [End::From, End::To].map(|end| bridge.credentials("connection-1", end));
        let connect = |who: &Credentials, version: Version| {
            let connect = Connect::new(&who.login.client_id).persistent(version);
            connect.user_name(&who.login.username).password(&who.login.password)
        };
        let narrow = connect(&to, subscriber).property(Property::ReceiveMaximum(IN_FLIGHT));
        let mut scene = Self {
            publisher: Peer::new(publisher, connect(&from, publisher)),
            subscriber: Peer::new(subscriber, narrow),
            subscriber_version: subscriber,
            bridge: Some(bridge),
            from,
            to,
            published: 0,
            session: false,
            subscribed: None,
            expected: Vec::new(),
            recent: Vec::new(),
        };
        let addr = scene.bridge().addr;
        assert!(!scene.publisher.connect(addr).unwrap().session_present);
        // So that it is certain that its session is kept.
        let filter = scene.from.subscribe.replace('#', "nothing");
        scene.publisher.client().subscribe(&filter, 1);
        scene.publisher.cut();
        scene.subscribe(2);
        scene
    }

    fn play(&mut self, step: &Step) {
        match *step {
            Step::Publish { qos } => self.publish(qos),
            Step::PublishAndBreak { qos } => {
                self.settle();
                self.offer(qos);
                self.publisher.cut();
            }
            Step::PublishShort => self.publish_short(),
            Step::Return => self.come_back(),
            Step::Take { count, finish } => self.take(count, finish),
            Step::Break => self.subscriber.lose(),
            Step::Subscribe { qos } => self.subscribe(qos),
            Step::Unsubscribe => self.unsubscribe(),
            Step::StartOver => self.start_over(),
            Step::Expire { stopped } => self.expire(stopped),
            Step::Wait { stopped } => self.wait(stopped),
            Step::Restart => {
                let bridge = self.bridge.take().unwrap().restart();
                self.recent.clear();
                self.started(bridge);
            }
            Step::Kill => {
                let bridge = self.bridge.take().unwrap().kill_and_start();
                for number in std::mem::take(&mut self.recent) {
                    self.entry(number).may_repeat = true;
                }
                self.started(bridge);
            }
        }
    }

    /// All that must come comes, and nothing else.
    fn finish(mut self) {
        self.come_back();
        if self.subscribed.is_none() {
            self.subscribe(2);
        }
        for qos in 1..=2 {
            self.publish(qos);
        }
        while self.is_owed_something() {
            self.take(1, true);
        }
        self.take(1, true);
        let (status, _) = self.bridge.take().unwrap().stop();
        assert!(status.success());
    }

    fn publish(&mut self, qos: u8) {
        self.settle();
        self.offer(qos);
        self.settle();
    }

    /// Sends the next number, without waiting for an answer.
    fn offer(&mut self, qos: u8) {
        self.published += 1;
        self.publisher.publish(&self.from.publish, self.published.to_string(), qos, false);
        if let Some(subscribed) = self.subscribed {
            let expected = Expected {
                number: self.published,
                qos: qos.min(subscribed),
                must: false,
                short: false,
                may_be_sent: false,
                taken: false,
                may_repeat: false,
            };
            self.expected.push(expected);
        }
    }

    /// The publisher connects if it has no connection, and has everything acknowledged.
    fn settle(&mut self) {
        if !self.publisher.is_connected() {
            let again = self.publisher.unacknowledged() > 0;
            let addr = self.bridge().addr;
            assert!(self.publisher.connect(addr).unwrap().session_present);
            // With QoS 1 it is a second message if the bridge got the first one.
            if let Some(last) = self.expected.last_mut().filter(|_| again) {
                last.may_repeat |= last.number == self.published && last.qos == 1;
            }
        }
        let until = Instant::now() + DEADLINE;
        while self.publisher.unacknowledged() > 0 {
            let left = until.checked_duration_since(Instant::now());
            let left = left.unwrap_or_else(|| panic!("{} is not acknowledged", self.published));
            if let Some(Happened::Acknowledged { reason, .. }) = self.publisher.poll(left) {
                assert!(reason < 0x80, "refused with {reason:#04x}");
            }
            assert!(self.publisher.is_connected(), "the bridge closed the publisher's connection");
        }
        if let Some(last) = self.expected.last_mut() {
            last.must |= last.number == self.published && !last.short;
        }
    }

    fn publish_short(&mut self) {
        self.settle();
        self.published += 1;
        let (mut client, _) = self.bridge().connect_with(V5, &self.from, Connect::new("short"));
        let publish = Publish::new(&self.from.publish, self.published.to_string());
        client.complete(publish.property(Property::MessageExpiry(SHORT)), 1);
        client.disconnect();
        if self.subscribed.is_some() {
            let expected = Expected {
                number: self.published,
                qos: 1,
                must: false,
                short: true,
                may_be_sent: self.subscriber.is_connected(),
                taken: false,
                may_repeat: false,
            };
            self.expected.push(expected);
        }
    }

    fn come_back(&mut self) {
        if self.subscriber.is_connected() {
            return;
        }
        let addr = self.bridge().addr;
        let present = self.subscriber.connect(addr).unwrap().session_present;
        assert_eq!(present, self.session, "Session Present");
        self.session = true;
        self.expected.iter_mut().for_each(|expected| expected.may_be_sent = true);
    }

    fn subscribe(&mut self, qos: u8) {
        self.settle();
        self.come_back();
        let filter = self.to.subscribe.clone();
        let client = self.subscriber.client();
        let id = client.packet_id();
        client.send(Subscribe::new(id).filter(&filter, qos));
        client.wait_for("SUBACK", |packet| matches!(packet, Packet::SubAck(ack) if ack.codes == [qos]));
        self.subscribed = Some(qos);
    }

    fn unsubscribe(&mut self) {
        self.settle();
        self.come_back();
        let filter = self.to.subscribe.clone();
        let client = self.subscriber.client();
        let id = client.packet_id();
        client.send(Unsubscribe::new(id, &[&filter]));
        client.wait_for("UNSUBACK", |packet| matches!(packet, Packet::UnsubAck(_)));
        self.subscribed = None;
        self.expected.iter_mut().for_each(|expected| expected.must = false);
    }

    fn start_over(&mut self) {
        self.settle();
        self.subscriber.lose();
        let clean = Connect::new(&self.to.login.client_id);
        self.bridge().connect_with(self.subscriber_version, &self.to, clean).0.disconnect();
        self.session_is_over();
        self.subscribe(2);
    }

    fn expire(&mut self, stopped: bool) {
        if self.subscriber_version == V311 {
            return self.start_over();
        }
        self.settle();
        self.come_back();
        let expiry = Property::SessionExpiry(SHORT);
        self.subscriber.disconnect_with(Disconnect::default().reason(0).property(expiry));
        self.wait(stopped);
        self.session_is_over();
        self.subscribe(2);
    }

    fn session_is_over(&mut self) {
        self.session = false;
        self.subscribed = None;
        self.expected.clear();
        self.recent.clear();
    }

    fn wait(&mut self, stopped: bool) {
        let time = Duration::from_millis(u64::from(SHORT) * 1000 + 600);
        if stopped {
            let (status, world) = self.bridge.take().unwrap().stop();
            assert!(status.success());
            std::thread::sleep(time);
            self.started(world.start());
        } else {
            std::thread::sleep(time);
        }
        self.recent.clear();
        self.expected.retain(|expected| !expected.short || expected.may_be_sent);
    }

    fn started(&mut self, bridge: Bridge) {
        self.bridge = Some(bridge);
        self.publisher.cut();
        self.subscriber.cut();
    }

    fn take(&mut self, count: usize, finish: bool) {
        if !self.subscriber.is_connected() {
            return;
        }
        for _ in 0..count {
            let Some(message) = self.next_message() else { break };
            self.check(&message);
        }
        if finish {
            self.finish_handshakes();
        }
        // What was acknowledged is known to the bridge from here on.
        let client = self.subscriber.client();
        client.send(PingReq);
        client.wait_for("PINGRESP", |packet| *packet == Packet::PingResp);
    }

    fn finish_handshakes(&mut self) {
        let until = Instant::now() + DEADLINE;
        while self.subscriber.unreleased() > 0 {
            let left = until.checked_duration_since(Instant::now()).expect("a PUBREL");
            if let Some(Happened::Received(message)) = self.subscriber.poll(left) {
                self.check(&message);
            }
            assert!(self.subscriber.is_connected(), "the bridge closed the connection");
        }
    }

    fn next_message(&mut self) -> Option<Message> {
        let patience = if self.is_owed_something() { DEADLINE } else { Duration::from_millis(30) };
        let until = Instant::now() + patience;
        while let Some(left) = until.checked_duration_since(Instant::now()) {
            if let Some(Happened::Received(message)) = self.subscriber.poll(left) {
                return Some(message);
            }
            assert!(self.subscriber.is_connected(), "the bridge closed the connection");
        }
        assert!(!self.is_owed_something(), "nothing comes, but these must: {:?}", self.expected);
        None
    }

    fn check(&mut self, message: &Message) {
        let number: u32 = message.text().parse().unwrap();
        let index = self.expected.iter().position(|expected| expected.number == number);
        let index = index.unwrap_or_else(|| panic!("{number} may not come: {:?}", self.expected));
        let (before, rest) = self.expected.split_at_mut(index);
        let this = &mut rest[0];
        assert_eq!(message.qos, this.qos, "QoS of {number}");
        if this.taken {
            assert!(this.qos == 1 && this.may_repeat, "{number} comes again: {this:?}");
        } else {
            let missing = before.iter().find(|other| other.qos == this.qos && other.must && !other.taken);
            assert_eq!(missing.map(|missing| missing.number), None, "missing when {number} came");
        }
        let (first, qos) = (!this.taken, this.qos);
        this.taken = true;
        if qos == 1 {
            self.recent.push(number);
        }
        if first {
            // What did not come until now will not: messages of one QoS keep their order.
            self.expected.retain(|other| other.number >= number || other.qos != qos || other.taken);
        }
    }

    /// Whether there is a message that must come and did not yet.
    fn is_owed_something(&self) -> bool {
        self.expected.iter().any(|expected| expected.must && !expected.taken)
    }

    fn entry(&mut self, number: u32) -> &mut Expected {
        self.expected.iter_mut().find(|expected| expected.number == number).expect("it was taken")
    }

    fn bridge(&self) -> &Bridge {
        self.bridge.as_ref().expect("it runs")
    }
}
