//! Clients that we did not write, driven as a person would: mosquitto's, Python's paho-mqtt, and rumqttc.

mod mosquitto;
mod paho;
mod rumqtt;

use std::net::SocketAddr;

use crate::{process::Process, raw::Version, tls::Tls};

/// Where and as whom to log in.
#[derive(Debug, Clone)]
pub struct Login {
    /// The broker.
    pub addr: SocketAddr,
    /// Client Identifier.
    pub client_id: String,
    /// User Name.
    pub username: String,
    /// Password.
    pub password: String,
    /// TLS, with the host name `localhost`; not with rumqttc.
    pub tls: Option<Tls>,
}

/// A client and the version that it speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tool {
    /// `mosquitto_pub` and `mosquitto_sub`.
    Mosquitto(Version),
    /// paho-mqtt for Python.
    Paho(Version),
    /// paho-mqtt over WebSocket.
    PahoWebSocket(Version),
    /// rumqttc.
    Rumqttc(Version),
}

/// A message as a subscriber got it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Received {
    /// QoS of the delivery.
    pub qos: u8,
    /// RETAIN.
    pub retain: bool,
    /// Topic Name.
    pub topic: String,
    /// Payload.
    pub payload: Vec<u8>,
}

/// A running subscriber, subscribed already.
pub struct Subscriber {
    source: Source,
    taken: usize,
}

enum Source {
    /// Prints one line per message: `message QOS RETAIN TOPIC HEX`.
    Process(Process),
    Rumqttc(rumqtt::Subscription),
}

/// How a subscriber subscribes.
#[derive(Debug, Clone, Copy)]
pub struct Subscription<'a> {
    /// Topic Filter.
    pub filter: &'a str,
    /// Maximum QoS.
    pub qos: u8,
    /// A session that stays when the subscriber goes.
    pub persistent: bool,
}

impl Login {
    /// What the client connects to.
    fn host(&self) -> String {
        if self.tls.is_some() { "localhost".to_owned() } else { self.addr.ip().to_string() }
    }
}

impl Tool {
    /// Every client that speaks MQTT over TCP, with both versions.
    pub const ALL: [Tool; 6] = [
        Tool::Mosquitto(Version::V311),
        Tool::Mosquitto(Version::V5),
        Tool::Paho(Version::V311),
        Tool::Paho(Version::V5),
        Tool::Rumqttc(Version::V311),
        Tool::Rumqttc(Version::V5),
    ];

    /// Subscribes and waits for the SUBACK.
    #[track_caller]
    pub fn subscribe(self, login: &Login, subscription: Subscription<'_>) -> Subscriber {
        let source = match self {
            Tool::Mosquitto(version) => Source::Process(mosquitto::subscribe(version, login, subscription)),
            Tool::Paho(version) => Source::Process(paho::subscribe("tcp", version, login, subscription)),
            Tool::PahoWebSocket(version) => {
                Source::Process(paho::subscribe("websockets", version, login, subscription))
            }
            Tool::Rumqttc(version) => Source::Rumqttc(rumqtt::subscribe(version, login, subscription)),
        };
        Subscriber { source, taken: 0 }
    }

    /// Publishes all payloads in order, waits until their handshakes are complete, and disconnects.
    #[track_caller]
    pub fn publish(self, login: &Login, topic: &str, qos: u8, payloads: &[Vec<u8>]) {
        match self {
            Tool::Mosquitto(version) => mosquitto::publish(version, login, topic, qos, payloads),
            Tool::Paho(version) => paho::publish("tcp", version, login, topic, qos, payloads),
            Tool::PahoWebSocket(version) => paho::publish("websockets", version, login, topic, qos, payloads),
            Tool::Rumqttc(version) => rumqtt::publish(version, login, topic, qos, payloads),
        }
    }
}

impl Subscriber {
    /// The next message.
    #[track_caller]
    pub fn take(&mut self) -> Received {
        let index = self.taken;
        self.taken += 1;
        match &self.source {
            Source::Process(process) => process.wait_until("message", crate::DEADLINE * 4, |lines| {
                lines.iter().filter_map(|line| line.strip_prefix("message ")).nth(index).map(parse)
            }),
            Source::Rumqttc(subscription) => subscription.next(),
        }
    }

    /// Expects the next message to have this payload.
    #[track_caller]
    pub fn expect(&mut self, payload: impl AsRef<[u8]>) -> Received {
        let message = self.take();
        let (got, wanted) = (&message.payload, payload.as_ref());
        let text = |bytes: &[u8]| String::from_utf8_lossy(&bytes[..bytes.len().min(60)]).into_owned();
        assert!(
            got == wanted,
            "expected {} bytes {:?}, got {} bytes {:?}",
            wanted.len(),
            text(wanted),
            got.len(),
            text(got)
        );
        message
    }
}

fn parse(line: &str) -> Received {
    let mut words = line.splitn(4, ' ');
    let mut word = || words.next().expect("QoS, RETAIN, topic and payload");
    Received {
        qos: word().parse().unwrap(),
        retain: word() == "1",
        topic: word().into(),
        payload: unhex(word()),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Vec<u8> {
    let digit = |byte: u8| (byte as char).to_digit(16).unwrap() as u8;
    text.trim().as_bytes().chunks(2).map(|pair| digit(pair[0]) << 4 | digit(pair[1])).collect()
}
