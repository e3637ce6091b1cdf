//! The whole broker without sockets: connections are served over pipes in memory, read and written by another codec.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod ends;
mod guessing;
mod inside;
mod kept;
mod lifetimes;
mod limits;
mod live_death;
mod reports;
mod revocation;
mod takeover;
mod taps;
mod websocket;

use std::{path::Path, sync::Arc, time::Duration};

use bytes::BytesMut;
use symqtt_codec::{
    QoS,
    v5::{
        ConnAck, Connect, ConnectProperties, Disconnect, DisconnectProperties, Packet, PubAck,
        PubAckProperties, Publish, PublishProperties, ReasonCode, RetainHandling, Subscribe, SubscribeFilter,
        SubscribeProperties, Will, WillProperties,
    },
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex},
    time::{Instant, timeout},
};

use super::*;
use crate::{
    access::{Grant, Login, Refusal},
    connection::{self, Arrival},
    store::Durability,
    transport::Channel,
};

/// Longer than everything that a test waits for.
const LONG: Duration = Duration::from_secs(100_000);

struct World {
    broker: Broker,
}

impl World {
    fn start() -> Self {
        Self::with(Limits::default())
    }

    fn with(limits: Limits) -> Self {
        Self { broker: Broker::start(Arc::new(Everything), limits, None).unwrap() }
    }

    /// Where this decides, and everything is in memory unless there is a directory for it.
    fn of(access: Arc<dyn Access>, directory: Option<&Path>) -> Self {
        let settings = directory.map(|directory| StoreSettings {
            directory: directory.to_owned(),
            durability: Durability::Buffered,
        });
        Self { broker: Broker::start(access, Limits::default(), settings.as_ref()).unwrap() }
    }

    /// That keeps what it promises in this directory.
    fn kept_in(directory: &Path) -> Self {
        let settings = StoreSettings { directory: directory.to_owned(), durability: Durability::Buffered };
        Self { broker: Broker::start(Arc::new(Everything), Limits::default(), Some(&settings)).unwrap() }
    }

    /// A connection that says nothing yet.
    fn client(&self) -> Client {
        self.client_with_pipe(64 * 1024)
    }

    fn client_with_pipe(&self, bytes: usize) -> Client {
        let (ours, theirs) = duplex(bytes);
        let peer: std::net::SocketAddr = "127.0.0.1:1".parse().unwrap();
        let shared = &self.broker.shared;
        let limits = shared.limits.load();
        let now = Instant::now();
        let due = now + limits.connect_timeout;
        let place = shared.addresses.enter(peer.ip(), 0, now).unwrap();
        let arrival = Arrival { peer, channel: Channel::Tcp, due, place: Arc::new(place) };
        let waiting = shared.admission.enter(limits.logins);
        tokio::spawn(connection::serve(Arc::clone(shared), waiting, theirs, arrival));
        Client { stream: ours, input: BytesMut::new() }
    }

    async fn connect(&self, connect: Connect) -> Client {
        self.connect_for(connect).await.0
    }

    /// With its Session Present.
    async fn connect_for(&self, connect: Connect) -> (Client, bool) {
        let mut client = self.client();
        client.send(Packet::Connect(connect)).await;
        let connack = client.connack().await;
        assert_eq!(connack.reason_code, ReasonCode::Success);
        (client, connack.session_present)
    }

    /// A client that hears everything.
    async fn listener(&self) -> Client {
        let mut listener = self.connect(named("listener", 0)).await;
        listener.subscribe("#").await;
        listener
    }

    fn has(&self, client_id: &str) -> bool {
        self.broker.sessions().iter().any(|session| session.client_id == client_id)
    }

    async fn until(&self, condition: impl Fn(&Broker) -> bool) {
        let met = async {
            while !condition(&self.broker) {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        timeout(LONG, met).await.expect("the condition in time");
    }
}

struct Client {
    stream: DuplexStream,
    input: BytesMut,
}

impl Client {
    async fn send(&mut self, packet: Packet) {
        self.send_all([packet]).await;
    }

    /// All at once.
    async fn send_all(&mut self, packets: impl IntoIterator<Item = Packet>) {
        let mut bytes = BytesMut::new();
        for packet in packets {
            packet.encode(&mut bytes).unwrap();
        }
        // An error says that the broker has closed, which the test reads next.
        let _ = self.stream.write_all(&bytes).await;
    }

    /// The next packet; `None` when the broker has closed.
    async fn next(&mut self) -> Option<Packet> {
        timeout(LONG, async {
            loop {
                if let Some(packet) = Packet::decode(&mut self.input).unwrap() {
                    return Some(packet);
                }
                if self.stream.read_buf(&mut self.input).await.unwrap() == 0 {
                    return None;
                }
            }
        })
        .await
        .expect("a packet in time")
    }

    async fn connack(&mut self) -> ConnAck {
        match self.next().await {
            Some(Packet::ConnAck(connack)) => connack,
            other => panic!("{other:?}"),
        }
    }

    async fn subscribe(&mut self, filter: &str) {
        self.subscribe_at(filter, QoS::AtLeastOnce).await;
    }

    async fn subscribe_at(&mut self, filter: &str, qos: QoS) {
        let topic = filter.to_owned();
        let options = SubscribeFilter {
            topic,
            qos,
            no_local: false,
            retain_as_published: false,
            retain_handling: RetainHandling::SendAtSubscribe,
        };
        let properties = SubscribeProperties::default();
        self.send(Packet::Subscribe(Subscribe { pkid: 1, properties, filters: vec![options] })).await;
        assert!(matches!(self.next().await, Some(Packet::SubAck(_))));
    }

    async fn publish(&mut self, topic: &str, qos: QoS) {
        self.publish_with(topic, qos, b"", PublishProperties::default()).await;
    }

    async fn publish_with(&mut self, topic: &str, qos: QoS, payload: &[u8], properties: PublishProperties) {
        let payload = payload.to_vec().into();
        let pkid = (qos != QoS::AtMostOnce).then_some(1);
        let publish =
            Publish { dup: false, qos, retain: false, topic: topic.into(), pkid, properties, payload };
        self.send(Packet::Publish(publish)).await;
    }

    /// Topic of the next message, which is acknowledged.
    async fn message(&mut self) -> String {
        match self.next().await {
            Some(Packet::Publish(publish)) => {
                if let Some(pkid) = publish.pkid {
                    let properties = PubAckProperties::default();
                    let ack = PubAck { pkid, reason_code: ReasonCode::Success, properties };
                    self.send(Packet::PubAck(ack)).await;
                }
                publish.topic
            }
            other => panic!("{other:?}"),
        }
    }

    async fn ping(&mut self) {
        self.send(Packet::PingReq(symqtt_codec::v5::PingReq)).await;
        assert!(matches!(self.next().await, Some(Packet::PingResp(_))));
    }

    async fn disconnect(mut self, reason_code: ReasonCode, session_expiry_interval: Option<u32>) {
        let properties = DisconnectProperties { session_expiry_interval, ..DisconnectProperties::default() };
        self.send(Packet::Disconnect(Disconnect { reason_code, properties })).await;
        assert_eq!(self.next().await, None);
    }

    /// Reads to the end: the reason that the broker gave.
    async fn told(&mut self) -> Option<ReasonCode> {
        let mut reason = None;
        while let Some(packet) = self.next().await {
            if let Packet::Disconnect(disconnect) = packet {
                reason = Some(disconnect.reason_code);
            }
        }
        reason
    }
}

fn named(client_id: &str, session_expiry: u32) -> Connect {
    Connect {
        clean_start: false,
        keep_alive: 0,
        properties: ConnectProperties {
            session_expiry_interval: Some(session_expiry),
            ..ConnectProperties::default()
        },
        client_id: client_id.into(),
        will: None,
        username: (client_id == "listener").then(|| "listener".into()),
        password: None,
    }
}

/// Its will goes to the topic `will`.
fn with_will(client_id: &str, session_expiry: u32, delay: u32) -> Connect {
    let properties = WillProperties { will_delay_interval: Some(delay), ..WillProperties::default() };
    let topic = "will".into();
    let will = Will { properties, topic, payload: "".into(), qos: QoS::AtLeastOnce, retain: false };
    Connect { will: Some(will), ..named(client_id, session_expiry) }
}

fn clean(connect: Connect) -> Connect {
    Connect { clean_start: true, ..connect }
}

/// Whether it is now `seconds` since then, to the resolution of timers.
fn assert_elapsed(since: Instant, seconds: u64) {
    let (elapsed, expected) = (since.elapsed(), Duration::from_secs(seconds));
    assert!(elapsed >= expected && elapsed < expected + Duration::from_millis(20), "{elapsed:?} passed");
}

/// The user name is the name.
struct Everything;

struct Anything(String);

impl Access for Everything {
    fn login(&self, login: &Login<'_>) -> Result<Arc<dyn Grant>, Refusal> {
        Ok(Arc::new(Anything(login.user_name.unwrap_or("anonymous").to_owned())))
    }

    fn grant(&self, name: &str) -> Option<Arc<dyn Grant>> {
        Some(Arc::new(Anything(name.to_owned())))
    }
}

impl Grant for Anything {
    fn name(&self) -> &str {
        &self.0
    }

    fn may_publish(&self, _topic: &str) -> bool {
        true
    }

    fn may_subscribe(&self, _filter: &str) -> bool {
        true
    }
}
