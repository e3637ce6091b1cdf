//! What the broker tells about sessions, names, flows and the store.

use std::collections::BTreeSet;

use super::*;
use crate::{
    FlowInfo, NameInfo, Traffic,
    access::Permit,
    limits::{FlowLimits, QueueLimits, WhenFull},
    store::Totals,
};

#[tokio::test]
async fn what_a_name_did_is_told_also_when_its_sessions_are_over() {
    let world = World::of(Arc::new(Streets::with(&["a", "b"], &["x", "y"])), None);
    let mut hears = world.connect(by("b", "hears", 0)).await;
    hears.subscribe("x/#").await;
    for round in 1..=2 {
        let mut says = world.connect(by("a", "says", 0)).await;
        says.say("x/1", QoS::AtMostOnce, b"12345").await;
        says.say("x/2", QoS::AtLeastOnce, b"123").await;
        assert!(matches!(says.next().await, Some(Packet::PubAck(_))));
        for _ in 0..2 {
            says.say("x/3", QoS::ExactlyOnce, b"12").await;
            assert!(matches!(says.next().await, Some(Packet::PubRec(_))), "the second one is a duplicate");
        }
        says.say("z/denied", QoS::AtLeastOnce, b"1").await;
        assert_eq!(says.acknowledged_with().await, ReasonCode::NotAuthorized);
        for _ in 0..3 {
            hears.message().await;
        }
        let counted = |info: &NameInfo| (info.received, info.sent, info.denied, info.dropped);
        let (nothing, three) = (Traffic::default(), Traffic { messages: 3 * round, bytes: 10 * round });
        assert_eq!(counted(&world.name("a")), (three, nothing, round, 0));
        assert_eq!(counted(&world.name("b")), (nothing, three, 0, 0));
        says.disconnect(ReasonCode::Success, None).await;
        world.until(|broker| broker.sessions().len() == 1).await;
        assert_eq!(counted(&world.name("a")), (three, nothing, round, 0), "its session is over");
    }
    assert_eq!(world.broker.names().len(), 2);
}

#[tokio::test]
async fn a_flow_tells_what_was_published_what_waits_and_what_was_lost() {
    for when_full in [WhenFull::Reject, WhenFull::DropOldest] {
        let directory = tempfile::tempdir().unwrap();
        let streets = Streets { when_full, ..Streets::with(&["a", "b"], &["x", "y"]) };
        let world = World::of(Arc::new(streets), Some(directory.path()));
        let mut hears = world.connect(by("b", "hears", 60)).await;
        hears.subscribe("x/#").await;
        drop(hears);
        world.until(|broker| !broker.is_online("b")).await;
        let begun = clock::unix_ms();
        let mut says = world.connect(by("a", "says", 0)).await;
        for _ in 0..3 {
            says.say("x/1", QoS::AtLeastOnce, b"1234").await;
            says.acknowledged_with().await;
        }
        says.say("y", QoS::AtMostOnce, b"1").await;
        says.ping().await;
        world.until(|broker| broker.sessions().iter().any(|session| session.pending == 2)).await;

        let FlowInfo { published, last, refused, dropped, waiting, .. } = world.flow("x");
        let (taken, counts) = match when_full {
            WhenFull::Reject => (2, (1, 0)),
            WhenFull::DropOldest => (3, (0, 1)),
        };
        assert_eq!(published, Traffic { messages: taken, bytes: 4 * taken });
        assert_eq!((refused, dropped), counts);
        assert!(last.is_some_and(|last| last >= begun && last <= clock::unix_ms()));
        assert!(waiting.messages == 2 && waiting.bytes > 8, "{waiting:?}");
        let y = world.flow("y");
        assert_eq!(
            (y.published.messages, y.waiting),
            (1, Totals::default()),
            "of QoS 0, and nobody hears it"
        );

        let mut hears = world.connect(by("b", "hears", 60)).await;
        for _ in 0..2 {
            assert!(matches!(hears.next().await, Some(Packet::Publish(_))));
        }
        assert_eq!(
            world.flow("x").waiting,
            waiting,
            "the flow has as much as its receiver: it is on its way"
        );
        drop(hears);
        world.until(|broker| !broker.is_online("b")).await;
        assert_eq!(world.flow("x").waiting, waiting, "it will be sent again");
        let mut hears = world.connect(by("b", "hears", 60)).await;
        for _ in 0..2 {
            hears.message().await;
        }
        world.until(|broker| broker.sessions().iter().all(|session| session.pending == 0)).await;
        assert_eq!(world.flow("x").waiting, Totals::default());
        assert_eq!(world.name("b").dropped, counts.1);
        world.broker.stop().await;
    }
}

#[tokio::test]
async fn a_flow_tells_how_long_its_messages_took_to_be_acknowledged() {
    let streets = Streets::with(&["a", "b"], &["x", "y"]);
    let world = World::of(Arc::new(streets.clone()), None);
    let mut hears = world.connect(by("b", "hears", 0)).await;
    hears.subscribe("x/#").await;
    let mut says = world.connect(by("a", "says", 0)).await;
    says.say("x/0", QoS::AtMostOnce, b"1").await;
    hears.message().await;
    says.say("y", QoS::AtLeastOnce, b"1").await;
    says.acknowledged_with().await;
    assert_eq!((world.flow("x").latency, world.flow("y").latency), (None, None), "nobody acknowledged one");
    let begun = Instant::now();
    says.say("x/1", QoS::AtLeastOnce, b"1").await;
    hears.message().await;
    world.until(|broker| broker.sessions().iter().all(|session| session.pending == 0)).await;
    let latency = world.flow("x").latency.unwrap();
    assert!(latency.last > Duration::ZERO && latency.last <= begun.elapsed(), "{latency:?}");
    assert_eq!((latency.mean, latency.max), (latency.last, latency.last));
    hears.disconnect(ReasonCode::Success, None).await;
    assert_eq!(world.flow("x").latency, Some(latency), "its receiver's session is over");
    streets.set(&["a", "b"], &["y"]);
    world.broker.reconsider().await;
    assert_eq!(world.flows(), ["y"]);
}

#[tokio::test]
async fn names_and_flows_that_are_gone_are_forgotten_and_come_back_with_nothing() {
    let streets = Streets::with(&["a", "b"], &["x", "y"]);
    let world = World::of(Arc::new(streets.clone()), None);
    let mut says = world.connect(by("a", "says", 0)).await;
    for topic in ["x", "y"] {
        says.say(topic, QoS::AtMostOnce, b"1").await;
    }
    says.say("z", QoS::AtLeastOnce, b"1").await;
    assert_eq!(says.acknowledged_with().await, ReasonCode::NotAuthorized);
    let mut other = world.connect(by("b", "other", 0)).await;
    other.ping().await;

    streets.set(&["a"], &["y"]);
    world.broker.reconsider().await;
    streets.set(&["a", "b"], &["x", "y"]);
    assert_eq!(world.names(), ["a"]);
    assert_eq!(world.flows(), ["y"]);
    says.say("x", QoS::AtMostOnce, b"1").await;
    says.ping().await;
    assert_eq!(world.flow("x").published.messages, 1, "it began anew");
    let a = world.name("a");
    assert_eq!((a.received.messages, a.denied), (3, 1), "the name's counts stay");

    streets.set(&[], &["x", "y"]);
    world.broker.reconsider().await;
    streets.set(&["a"], &["x", "y"]);
    assert!(world.names().is_empty());
    let _says = world.connect(by("a", "says", 0)).await;
    let a = world.name("a");
    assert_eq!((a.received, a.denied), (Traffic::default(), 0));
}

#[tokio::test]
async fn what_was_seen_in_an_earlier_run_stands_until_a_name_is_seen_in_this_one() {
    let streets = Streets::with(&["a", "b"], &[]);
    let world = World::of(Arc::new(streets.clone()), None);
    let seen = [("a", 1_000), ("b", 2_000), ("unknown", 3_000)];
    world.broker.restore_last_seen(seen.map(|(name, at)| (name.into(), at)));
    assert_eq!(world.names(), ["a", "b"]);
    let begun = clock::unix_ms();
    world.connect(by("b", "c", 0)).await.disconnect(ReasonCode::Success, None).await;
    world.until(|broker| broker.sessions().is_empty()).await;
    assert_eq!(world.name("a").last_seen, Some(1_000));
    assert!(world.name("b").last_seen.is_some_and(|at| at >= begun));
    streets.set(&["b"], &[]);
    world.broker.reconsider().await;
    streets.set(&["a", "b"], &[]);
    assert_eq!(world.names(), ["b"]);
}

#[tokio::test]
async fn a_session_tells_of_its_connection_as_long_as_it_has_one() {
    let directory = tempfile::tempdir().unwrap();
    let begun = clock::unix_ms();
    let heard = {
        let world = World::kept_in(directory.path());
        let mut client = world.connect(Connect { keep_alive: 30, ..named("a", 60) }).await;
        client.subscribe("x").await;
        client.subscribe("y").await;
        let session = world.broker.sessions().remove(0);
        let connection = session.connection.unwrap();
        assert_eq!(connection.peer, "127.0.0.1:1".parse().unwrap());
        assert_eq!((connection.channel, connection.keep_alive), (Channel::Tcp, 30));
        assert_eq!(connection.version, crate::codec::Version::V5);
        assert!(connection.since >= begun && connection.since <= clock::unix_ms());
        assert_eq!((session.online, session.kept, session.subscriptions), (true, true, 2));
        drop(client);
        world.until(|broker| !broker.is_online("anonymous")).await;
        let session = world.broker.sessions().remove(0);
        assert_eq!((session.connection, session.subscriptions), (None, 2));
        world.broker.stop().await;
        session.last_heard.unwrap()
    };
    let world = World::kept_in(directory.path());
    let session = world.broker.sessions().remove(0);
    assert_eq!((session.connection, session.subscriptions), (None, 2));
    assert!(session.last_heard.is_some_and(|at| at >= heard && at < heard + 1_000), "when it left");
}

#[tokio::test]
async fn the_store_tells_what_it_did_and_how_it_is() {
    let directory = tempfile::tempdir().unwrap();
    let begun = clock::unix_ms();
    let world = World::kept_in(directory.path());
    world.connect(named("a", 60)).await.subscribe("x").await;
    let store = world.broker.store().unwrap();
    assert_eq!(store.health, Health::Fine);
    assert!(store.statistics.commits > 0 && store.statistics.bytes > 0);
    assert!(store.statistics.last_commit.is_some_and(|at| at >= begun && at <= clock::unix_ms()));
    assert_eq!(World::start().broker.store(), None);
}

/// Whoever asks looks into the sessions while they count, and refuse.
#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn asking_all_the_time_disturbs_nobody_and_sees_every_number_only_grow() {
    const MESSAGES: u64 = 300;
    let world = World::of(Arc::new(Streets::with(&["a", "b"], &["x"])), None);
    let mut hears = world.connect(by("b", "hears", 0)).await;
    hears.subscribe("x").await;
    let says = async {
        let mut says = world.connect(by("a", "says", 0)).await;
        for number in 0..MESSAGES {
            if number % 10 == 0 {
                says.disconnect(ReasonCode::Success, None).await;
                says = world.connect(by("a", "says", 0)).await;
            }
            says.say("x", QoS::AtLeastOnce, b"1").await;
            assert_eq!(says.acknowledged_with().await, ReasonCode::Success);
            says.say("z", QoS::AtLeastOnce, b"1").await;
            assert_eq!(says.acknowledged_with().await, ReasonCode::NotAuthorized);
            hears.message().await;
        }
    };
    let asks = async {
        let mut before = (0, 0, 0);
        while before.2 < MESSAGES {
            let names = world.broker.names();
            let of_flow = world.broker.flows().first().map_or(0, |flow| flow.published.messages);
            let of_a = names.iter().find(|info| &*info.name == "a");
            let now = of_a.map_or((0, 0, 0), |a| (a.received.messages, of_flow, a.denied));
            assert!(now.0 >= before.0 && now.1 >= before.1 && now.2 >= before.2, "{before:?}, {now:?}");
            before = now;
            tokio::task::yield_now().await;
        }
    };
    tokio::join!(says, asks);
    assert_eq!(world.name("a").received.messages, MESSAGES);
}

#[tokio::test]
async fn what_is_to_be_forgotten_was_never_counted_and_all_that_follows_is() {
    let world = World::of(Arc::new(Streets::with(&["a"], &["x"])), None);
    world.broker.restore_last_seen([("a".into(), 1_000)]);
    let mut says = world.connect(by("a", "says", 0)).await;
    let mut say = async |topic, reason| {
        says.say(topic, QoS::AtLeastOnce, b"1").await;
        assert_eq!(says.acknowledged_with().await, reason);
    };
    say("x", ReasonCode::NoMatchingSubscribers).await;
    say("z", ReasonCode::NotAuthorized).await;
    world.broker.forget_counts();
    let a = world.name("a");
    assert_eq!((a.received, a.denied), (Traffic::default(), 0));
    assert!(a.last_seen > Some(1_000), "it is there");
    assert!(world.flows().is_empty());
    let Statistics { connected, published, denied, .. } = world.broker.statistics();
    assert_eq!((connected, published, denied), (1, 0, 0));

    say("x", ReasonCode::NoMatchingSubscribers).await;
    assert_eq!(world.name("a").received.messages, 1);
    assert_eq!(world.flow("x").published.messages, 1);
    assert_eq!(world.broker.statistics().published, 1);
}

/// Who may log in, and which flows there are: the first levels of topics, two messages in each. Everybody may do anything
/// there, and nothing else.
#[derive(Clone)]
pub(super) struct Streets {
    names: Arc<RwLock<BTreeSet<String>>>,
    flows: Arc<RwLock<BTreeSet<String>>>,
    when_full: WhenFull,
}

struct InStreets {
    name: String,
    streets: Streets,
}

impl Streets {
    pub(super) fn with(names: &[&str], flows: &[&str]) -> Self {
        let streets = Self { names: Arc::default(), flows: Arc::default(), when_full: WhenFull::Reject };
        streets.set(names, flows);
        streets
    }

    pub(super) fn set(&self, names: &[&str], flows: &[&str]) {
        let owned = |all: &[&str]| all.iter().map(|one| (*one).to_owned()).collect();
        *self.names.write() = owned(names);
        *self.flows.write() = owned(flows);
    }
}

impl Access for Streets {
    fn login(&self, login: &Login<'_>) -> Result<Arc<dyn Grant>, Refusal> {
        let refusal =
            || Refusal { reason: crate::codec::ReasonCode::NotAuthorized, detail: "unknown".to_owned() };
        self.grant(login.user_name.unwrap_or_default()).ok_or_else(refusal)
    }

    fn grant(&self, name: &str) -> Option<Arc<dyn Grant>> {
        self.names.read().get(name)?;
        Some(Arc::new(InStreets { name: name.to_owned(), streets: self.clone() }))
    }

    fn flow(&self, topic: &str) -> Option<Flow> {
        let name = topic.split('/').next().unwrap_or_default().into();
        let queue = QueueLimits { messages: 2, bytes: 10_000 };
        Some(Flow { name, limits: FlowLimits { queue, max_age: None, when_full: self.when_full } })
    }

    fn has_flow(&self, name: &str) -> bool {
        self.flows.read().contains(name)
    }
}

impl Grant for InStreets {
    fn name(&self) -> &str {
        &self.name
    }

    fn may_publish(&self, topic: &str) -> bool {
        self.may_subscribe(topic)
    }

    fn permit(&self, topic: &str) -> Permit {
        match self.streets.flow(topic) {
            Some(flow) if self.may_publish(topic) => Permit::InFlow(flow),
            _ => Permit::Refused,
        }
    }

    fn may_subscribe(&self, filter: &str) -> bool {
        self.streets.has_flow(filter.split('/').next().unwrap_or_default())
    }
}

pub(super) fn by(name: &str, client_id: &str, session_expiry: u32) -> Connect {
    Connect { username: Some(name.into()), ..named(client_id, session_expiry) }
}

impl World {
    fn name(&self, name: &str) -> NameInfo {
        self.broker.names().into_iter().find(|info| &*info.name == name).unwrap()
    }

    fn names(&self) -> Vec<String> {
        let names: BTreeSet<_> = self.broker.names().iter().map(|info| info.name.to_string()).collect();
        names.into_iter().collect()
    }

    fn flow(&self, name: &str) -> FlowInfo {
        self.broker.flows().into_iter().find(|info| &*info.name == name).unwrap()
    }

    fn flows(&self) -> Vec<String> {
        let flows: BTreeSet<_> = self.broker.flows().iter().map(|info| info.name.to_string()).collect();
        flows.into_iter().collect()
    }
}

impl Client {
    pub(super) async fn say(&mut self, topic: &str, qos: QoS, payload: &[u8]) {
        self.publish_with(topic, qos, payload, PublishProperties::default()).await;
    }

    /// Reads the PUBACK.
    pub(super) async fn acknowledged_with(&mut self) -> ReasonCode {
        match self.next().await {
            Some(Packet::PubAck(ack)) => ack.reason_code,
            other => panic!("{other:?}"),
        }
    }
}
