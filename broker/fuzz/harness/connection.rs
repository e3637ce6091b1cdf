//! What must hold for any bytes that a connection brings, before its login and after. Shared by the fuzz target and by the
//! tests of `src/fuzzing.rs`.
//!
//! An input is two bytes and what is sent. The first byte says, from its lowest bit: how the client has logged in (two bits:
//! not at all, 3.1.1, 5, 5 with a session that stays and small packets), whether it has subscribed to everything, whether
//! others publish to it, whether it reads only at the end, how it ends (two bits: it closes its half, it is gone, it falls
//! silent before it closes, another connection takes its session over), and whether the broker has a store. The second byte
//! is the length of the pieces in which the bytes are sent; 0 is all at once.

use std::{
    cell::RefCell,
    future::Future,
    net::SocketAddr,
    num::NonZeroU16,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::BytesMut;
use symqtt_codec::v5::{
    Connect, ConnectProperties, Packet, PubAck, PubAckProperties, Publish, PublishProperties, ReasonCode,
    RetainHandling, Subscribe, SubscribeFilter, SubscribeProperties,
};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream, WriteHalf, duplex, split},
    runtime::{Builder, Runtime},
    sync::Notify,
    task::{JoinHandle, spawn_blocking},
    time::{Instant, sleep, timeout},
};

use super::heard::{DENIED, Expected, check_heard};
use crate::{
    Broker,
    access::{Access, Grant, Login, Refusal},
    clock,
    codec::{self, QoS},
    connection::{self, Arrival},
    limits::{FlowLimits, Limits, QueueLimits, WhenFull},
    store::{Durability, StoreSettings},
    transport::Channel,
};

/// How often a connection is polled at most: no input has so many bytes that they need more.
const MOST_POLLS: usize = 100_000;

/// So many small messages the live lane remembers at most.
const LIVE_LANE_HOLDS: usize = 100_000;

/// Session Expiry Interval that no client exceeds, in seconds.
const LONGEST_SESSION: u32 = 60;

/// The Maximum Packet Size of the client that has one.
const SMALL_PACKET: u32 = 64;

/// The topic of those who have nothing to do with the input.
const HONEST_TOPIC: &str = "$honest";
const HONEST_PASSWORD: &str = "honest password that no input guesses";

const CONNECT_V311: &[u8] = b"\x10\x0D\0\x04MQTT\x04\x02\0\0\0\x01f";
const CONNECT_V5: &[u8] = b"\x10\x19\0\x04MQTT\x05\x02\0\x0A\x0B\x11\0\0\0\x1E\x21\0\x02\x22\0\x01\0\x01f";
const CONNECT_TO_STAY: &[u8] = b"\x10\x18\0\x04MQTT\x05\0\0\0\x0A\x11\0\0\0\x1E\x27\0\0\0\x40\0\x01f";
const SUBSCRIBE_V311: &[u8] = b"\x82\x06\0\x01\0\x01#\x02";
const SUBSCRIBE_V5: &[u8] = b"\x82\x07\0\x01\0\0\x01#\x02";

/// Serves what `input` says; panics if the connection does, if it goes on without end, if it says what a server may not say,
/// or if anybody else notices.
pub fn check(input: &[u8]) {
    thread_local! {
        static WITHOUT_STORE: RefCell<World> = RefCell::new(World::new(false));
        static WITH_STORE: RefCell<World> = RefCell::new(World::new(true));
    }
    let [mode, piece, bytes @ ..] = input else { return };
    let script = Script::new(*mode, usize::from(*piece));
    let world = if mode & 0x80 == 0 { &WITHOUT_STORE } else { &WITH_STORE };
    world.with_borrow_mut(|world| world.check(script, bytes));
}

#[derive(Clone, Copy)]
struct Script {
    greeting: &'static [u8],
    subscribe: &'static [u8],
    expected: Expected,
    is_spoken_to: bool,
    reads_late: bool,
    end: End,
    piece: usize,
}

#[derive(Clone, Copy, PartialEq)]
enum End {
    Close,
    Vanish,
    FallSilent,
    TakeOver,
}

impl Script {
    fn new(mode: u8, piece: usize) -> Self {
        let maximum_packet_size = (mode & 3 == 3).then_some(SMALL_PACKET as usize);
        let (greeting, subscribe) = match mode & 3 {
            0 => (&b""[..], &b""[..]),
            1 => (CONNECT_V311, SUBSCRIBE_V311),
            2 => (CONNECT_V5, SUBSCRIBE_V5),
            _ => (CONNECT_TO_STAY, SUBSCRIBE_V5),
        };
        Self {
            greeting,
            subscribe: if mode & 4 == 0 { b"" } else { subscribe },
            // The broker does not wait for ever for a client that does not read.
            expected: Expected { maximum_packet_size, to_the_end: mode & 0x10 == 0 },
            is_spoken_to: mode & 8 != 0,
            reads_late: mode & 0x10 != 0,
            end: match mode >> 5 & 3 {
                0 => End::Close,
                1 => End::Vanish,
                2 => End::FallSilent,
                _ => End::TakeOver,
            },
            piece,
        }
    }
}

/// A broker with two clients that exchange a message after every input.
struct World {
    runtime: Runtime,
    broker: Broker,
    honest: [Honest; 2],
    _directory: Option<TempDir>,
}

impl World {
    fn new(keeps: bool) -> Self {
        let runtime = Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
        let directory = keeps.then(|| tempfile::tempdir().unwrap());
        let store = directory.as_ref().map(|directory| StoreSettings {
            directory: directory.path().to_owned(),
            durability: Durability::Buffered,
        });
        let (broker, honest) = runtime.block_on(async {
            let broker = Broker::start(Arc::new(Rules), limits(), store.as_ref()).unwrap();
            let talker = Honest::connect(&broker, "honest-1").await;
            let mut listener = Honest::connect(&broker, "honest-2").await;
            listener.subscribe().await;
            fill_live_lane(&broker).await;
            (broker, [talker, listener])
        });
        Self { runtime, broker, honest, _directory: directory }
    }

    fn check(&mut self, script: Script, bytes: &[u8]) {
        let Self { runtime, broker, honest: [talker, listener], .. } = self;
        runtime.block_on(async {
            play(broker, script, bytes).await;
            forget(broker).await;
            talker.say_to(listener).await;
        });
    }
}

/// So that what the live lane keeps of the messages that passed through it is not taken for growth.
async fn fill_live_lane(broker: &Broker) {
    for number in 0..LIVE_LANE_HOLDS {
        let topic = ["t", "u", "v", "w"][number % 4];
        let _ = broker.publish(topic, b"spoken", QoS::AtMostOnce, false).await;
    }
}

async fn play(broker: &Broker, script: Script, bytes: &[u8]) {
    let mut client = Connection::begin(broker, script);
    client.send(script.greeting).await;
    client.send(script.subscribe).await;
    let piece = if script.piece == 0 { bytes.len().max(1) } else { script.piece };
    for (number, piece) in bytes.chunks(piece).enumerate() {
        if script.is_spoken_to && number % 4 == 0 {
            speak(broker).await;
        }
        client.send(piece).await;
    }
    match script.end {
        End::Close | End::Vanish => {}
        End::FallSilent => sleep(Duration::from_secs(20)).await,
        End::TakeOver => {
            let mut newcomer = Connection::begin(broker, script);
            newcomer.send(script.greeting).await;
            newcomer.end(script).await;
        }
    }
    client.end(script).await;
}

/// One message of each QoS. Whether somebody has room for it is up to the client.
async fn speak(broker: &Broker) {
    for qos in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce] {
        let _ = broker.publish("t", b"spoken", qos, false).await;
    }
}

/// Waits until nothing of the client is left, but for its retained messages, which are removed.
async fn forget(broker: &Broker) {
    sleep(Duration::from_secs(u64::from(LONGEST_SESSION) + 1)).await;
    eventually("every session to end", || {
        let statistics = broker.statistics();
        (statistics.connected, statistics.sessions) == (2, 2)
    })
    .await;
    let statistics = broker.statistics();
    assert_eq!(statistics.live_restarts, 0, "the live lane died");
    assert!(statistics.retained <= limits().retained.messages, "{} retained", statistics.retained);
    for message in broker.shared.retained.matching("#", clock::unix_ms()) {
        let _ = broker.publish(message.topic(), b"", QoS::AtMostOnce, true).await;
    }
    assert_eq!(broker.statistics().retained, 0);
}

/// A client whose bytes are the input.
struct Connection {
    writer: WriteHalf<DuplexStream>,
    /// What it hears, once it reads.
    heard: JoinHandle<Vec<u8>>,
    reads: Arc<Notify>,
    served: JoinHandle<()>,
}

impl Connection {
    fn begin(broker: &Broker, script: Script) -> Self {
        let (ours, served) = serve(broker, if script.reads_late { 256 } else { 64 * 1024 }, MOST_POLLS);
        let (mut reader, writer) = split(ours);
        let reads = Arc::new(Notify::new());
        if !script.reads_late {
            reads.notify_one();
        }
        let may_read = Arc::clone(&reads);
        let heard = tokio::spawn(async move {
            may_read.notified().await;
            let mut heard = Vec::new();
            let _ = reader.read_to_end(&mut heard).await;
            heard
        });
        Self { writer, heard, reads, served }
    }

    /// Gives up if the broker takes no more, which it may.
    async fn send(&mut self, bytes: &[u8]) {
        let _ = timeout(Duration::from_secs(1), self.writer.write_all(bytes)).await;
        sleep(Duration::from_millis(1)).await;
    }

    async fn end(mut self, script: Script) {
        if script.end == End::Vanish {
            self.heard.abort();
            drop(self.writer);
            return until_served(self.served).await;
        }
        let _ = self.writer.shutdown().await;
        self.reads.notify_one();
        until_served(self.served).await;
        check_heard(&self.heard.await.unwrap(), script.expected);
    }
}

/// The other end of a connection that the broker serves.
fn serve(broker: &Broker, pipe: usize, polls: usize) -> (DuplexStream, JoinHandle<()>) {
    let (ours, theirs) = duplex(pipe);
    let shared = Arc::clone(&broker.shared);
    let waiting = shared.admission.enter(limits().logins);
    let peer = SocketAddr::from(([127, 0, 0, 1], 1));
    let now = Instant::now();
    let place = shared.addresses.enter(peer.ip(), 0, now).expect("as many as there are");
    let due = now + limits().connect_timeout;
    let arrival = Arrival { peer, channel: Channel::Tcp, due, place: Arc::new(place) };
    let serving = Box::pin(connection::serve(shared, waiting, theirs, arrival));
    (ours, tokio::spawn(Counted { serving, polls }))
}

async fn until_served(served: JoinHandle<()>) {
    eventually("the connection to end", || served.is_finished()).await;
    served.await.expect("no panic");
}

/// Waits in the runtime's time, and for the broker's threads, which have a time of their own.
async fn eventually(what: &str, condition: impl Fn() -> bool) {
    for _ in 0..2_000 {
        if condition() {
            return;
        }
        sleep(Duration::from_millis(50)).await;
        if !condition() {
            let _ = spawn_blocking(|| std::thread::park_timeout(Duration::from_millis(1))).await;
        }
    }
    panic!("waited in vain for {what}");
}

/// Notices a task that is woken again and again.
struct Counted<F> {
    serving: Pin<Box<F>>,
    /// So many are left.
    polls: usize,
}

impl<F: Future<Output = ()>> Future for Counted<F> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.polls -= 1;
        assert!(self.polls > 0, "the connection is polled without end");
        self.serving.as_mut().poll(cx)
    }
}

/// A client of those who have nothing to do with the input.
struct Honest {
    stream: DuplexStream,
    input: BytesMut,
}

impl Honest {
    async fn connect(broker: &Broker, name: &str) -> Self {
        let (stream, _) = serve(broker, 4096, usize::MAX);
        let mut client = Self { stream, input: BytesMut::new() };
        client
            .send(Packet::Connect(Connect {
                clean_start: true,
                keep_alive: 0,
                properties: ConnectProperties::default(),
                client_id: name.into(),
                will: None,
                username: Some(name.into()),
                password: Some(HONEST_PASSWORD.into()),
            }))
            .await;
        let connack = client.next().await;
        assert!(
            matches!(&connack, Packet::ConnAck(ack) if ack.reason_code == ReasonCode::Success),
            "{connack:?}"
        );
        client
    }

    async fn subscribe(&mut self) {
        let filter = SubscribeFilter {
            topic: HONEST_TOPIC.into(),
            qos: symqtt_codec::QoS::AtLeastOnce,
            no_local: false,
            retain_as_published: false,
            retain_handling: RetainHandling::SendAtSubscribe,
        };
        let properties = SubscribeProperties::default();
        self.send(Packet::Subscribe(Subscribe { pkid: 1, properties, filters: vec![filter] })).await;
        assert!(matches!(self.next().await, Packet::SubAck(_)));
    }

    async fn say_to(&mut self, other: &mut Self) {
        self.send(Packet::Publish(Publish {
            dup: false,
            qos: symqtt_codec::QoS::AtLeastOnce,
            retain: false,
            topic: HONEST_TOPIC.into(),
            pkid: Some(1),
            properties: PublishProperties::default(),
            payload: "".into(),
        }))
        .await;
        let heard = other.next().await;
        let Packet::Publish(Publish { pkid: Some(pkid), topic, .. }) = heard else { panic!("{heard:?}") };
        assert_eq!(topic, HONEST_TOPIC);
        let properties = PubAckProperties::default();
        other.send(Packet::PubAck(PubAck { pkid, reason_code: ReasonCode::Success, properties })).await;
        let answer = self.next().await;
        assert!(
            matches!(&answer, Packet::PubAck(ack) if ack.reason_code == ReasonCode::Success),
            "{answer:?}"
        );
    }

    async fn send(&mut self, packet: Packet) {
        let mut bytes = BytesMut::new();
        packet.encode(&mut bytes).unwrap();
        self.stream.write_all(&bytes).await.unwrap();
    }

    async fn next(&mut self) -> Packet {
        loop {
            if let Some(packet) = Packet::decode(&mut self.input).unwrap() {
                return packet;
            }
            assert_ne!(
                self.stream.read_buf(&mut self.input).await.unwrap(),
                0,
                "an honest client was closed"
            );
        }
    }
}

fn limits() -> Limits {
    const FEW: QueueLimits = QueueLimits { messages: 6, bytes: 4096 };
    let few = |number| NonZeroU16::new(number).unwrap();
    Limits {
        connections: 8,
        logins: 4,
        failed_login_delay_max: Duration::from_secs(2),
        max_connect_size: 1024,
        max_will_size: 512,
        max_packet_size: 4096,
        max_topic_length: 128,
        max_topic_levels: 8,
        user_properties: 3,
        receive_maximum: few(4),
        max_inflight: few(3),
        topic_alias_maximum: 2,
        sessions_per_name: 3,
        session_expiry_max: LONGEST_SESSION,
        subscriptions_per_session: 4,
        publish_rate: 100,
        live_queue: FEW,
        flow: FlowLimits { queue: FEW, max_age: None, when_full: WhenFull::Reject },
        retained: FEW,
        retained_per_name: 4,
        ..Limits::default()
    }
}

/// Whoever knows the password is honest and keeps to itself; everybody else may do what is not below `no`.
struct Rules;

struct May {
    name: String,
    is_honest: bool,
}

impl Access for Rules {
    fn login(&self, login: &Login<'_>) -> Result<Arc<dyn Grant>, Refusal> {
        let name = login.user_name.unwrap_or("anonymous").to_owned();
        let is_honest = login.password == Some(HONEST_PASSWORD.as_bytes());
        if name.starts_with("honest") != is_honest {
            let detail = "not what it claims to be".into();
            return Err(Refusal { reason: codec::ReasonCode::BadUserNameOrPassword, detail });
        }
        Ok(Arc::new(May { name, is_honest }))
    }

    fn grant(&self, name: &str) -> Option<Arc<dyn Grant>> {
        Some(Arc::new(May { name: name.to_owned(), is_honest: name.starts_with("honest") }))
    }
}

impl Grant for May {
    fn name(&self) -> &str {
        &self.name
    }

    fn may_publish(&self, topic: &str) -> bool {
        self.may_subscribe(topic)
    }

    fn may_subscribe(&self, filter: &str) -> bool {
        match self.is_honest {
            true => filter == HONEST_TOPIC,
            false => !filter.starts_with('$') && !filter.starts_with(DENIED),
        }
    }
}
