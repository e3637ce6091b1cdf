//! rumqttc, for both versions.

use std::{
    sync::mpsc::{Receiver, channel},
    time::Duration,
};

use rumqttc::v5;

use super::{Login, Received, Subscription as Wanted};
use crate::{DEADLINE, raw::Version};

/// A subscriber on a thread of its own, which ends when this is dropped.
pub(super) struct Subscription {
    messages: Receiver<Received>,
    client: Client,
}

enum Client {
    V311(rumqttc::Client),
    V5(v5::Client),
}

/// What both versions tell in common.
enum Event {
    Subscribed(bool),
    Message(Received),
    Acknowledged,
    Other,
}

impl Subscription {
    #[track_caller]
    pub(super) fn next(&self) -> Received {
        self.messages.recv_timeout(DEADLINE * 4).expect("a message for rumqttc")
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        // The thread may have ended with its connection already.
        match &self.client {
            Client::V311(client) => drop(client.disconnect()),
            Client::V5(client) => drop(client.disconnect()),
        }
    }
}

pub(super) fn subscribe(version: Version, login: &Login, wanted: Wanted<'_>) -> Subscription {
    let (client, mut events) = connect(version, login, wanted.persistent);
    match &client {
        Client::V311(client) => client.subscribe(wanted.filter, qos_v311(wanted.qos)).unwrap(),
        Client::V5(client) => client.subscribe(wanted.filter, qos_v5(wanted.qos)).unwrap(),
    }
    let (sender, messages) = channel();
    let (ready, subscribed) = channel();
    std::thread::spawn(move || {
        while let Some(event) = events() {
            match event {
                // An error means that the test has ended.
                Event::Message(message) => drop(sender.send(message)),
                Event::Subscribed(granted) => drop(ready.send(granted)),
                Event::Acknowledged | Event::Other => {}
            }
        }
    });
    assert!(subscribed.recv_timeout(DEADLINE).expect("SUBACK for rumqttc"), "the subscription was refused");
    Subscription { messages, client }
}

pub(super) fn publish(version: Version, login: &Login, topic: &str, qos: u8, payloads: &[Vec<u8>]) {
    let (client, mut events) = connect(version, login, false);
    let expected = payloads.len();
    let (topic, payloads) = (topic.to_string(), payloads.to_vec());
    let sender = std::thread::spawn(move || {
        for payload in payloads {
            match &client {
                Client::V311(client) => client.publish(&topic, qos_v311(qos), false, payload).unwrap(),
                Client::V5(client) => client.publish(&topic, qos_v5(qos), false, payload).unwrap(),
            }
        }
        client
    });
    let mut acknowledged = 0;
    while acknowledged < expected && qos > 0 {
        match events().expect("the connection of rumqttc's publisher lasts") {
            Event::Acknowledged => acknowledged += 1,
            Event::Subscribed(_) | Event::Message(_) | Event::Other => {}
        }
    }
    if qos > 0 {
        drop(sender.join().unwrap());
        return;
    }
    // QoS 0 is not acknowledged: DISCONNECT, which leaves after all of it, ends the connection.
    let client = std::thread::spawn(move || match sender.join().unwrap() {
        Client::V311(client) => client.disconnect().unwrap(),
        Client::V5(client) => client.disconnect().unwrap(),
    });
    while events().is_some() {}
    client.join().unwrap();
}

type Events = Box<dyn FnMut() -> Option<Event> + Send>;

fn connect(version: Version, login: &Login, persistent: bool) -> (Client, Events) {
    assert!(login.tls.is_none(), "rumqttc is built without TLS");
    let (host, port) = (login.addr.ip().to_string(), login.addr.port());
    let keep_alive = Duration::from_secs(30);
    const LARGEST: usize = 16 << 20;
    match version {
        Version::V311 => {
            let mut options = rumqttc::MqttOptions::new(&login.client_id, host, port);
            options.set_credentials(&login.username, &login.password);
            options.set_clean_session(!persistent).set_keep_alive(keep_alive);
            options.set_max_packet_size(LARGEST, LARGEST);
            let (client, mut connection) = rumqttc::Client::new(options, 50);
            let events = move || connection.recv().ok()?.ok().map(event_v311);
            (Client::V311(client), Box::new(events))
        }
        Version::V5 => {
            let mut options = v5::MqttOptions::new(&login.client_id, host, port);
            options.set_credentials(&login.username, &login.password);
            options.set_clean_start(!persistent).set_keep_alive(keep_alive);
            let mut properties = v5::mqttbytes::v5::ConnectProperties::new();
            properties.session_expiry_interval = Some(if persistent { 3600 } else { 0 });
            properties.max_packet_size = Some(LARGEST as u32);
            options.set_connect_properties(properties);
            let (client, mut connection) = v5::Client::new(options, 50);
            let events = move || connection.recv().ok()?.ok().map(event_v5);
            (Client::V5(client), Box::new(events))
        }
    }
}

fn event_v311(event: rumqttc::Event) -> Event {
    use rumqttc::{Packet, SubscribeReasonCode};
    let rumqttc::Event::Incoming(packet) = event else { return Event::Other };
    match packet {
        Packet::SubAck(ack) => Event::Subscribed(!ack.return_codes.contains(&SubscribeReasonCode::Failure)),
        Packet::PubAck(_) | Packet::PubComp(_) => Event::Acknowledged,
        Packet::Publish(message) => Event::Message(Received {
            qos: message.qos as u8,
            retain: message.retain,
            topic: message.topic,
            payload: message.payload.to_vec(),
        }),
        _ => Event::Other,
    }
}

fn event_v5(event: v5::Event) -> Event {
    use v5::mqttbytes::v5::{Packet, SubscribeReasonCode};
    let v5::Event::Incoming(packet) = event else { return Event::Other };
    match packet {
        Packet::SubAck(ack) => {
            let granted = |code: &SubscribeReasonCode| matches!(code, SubscribeReasonCode::Success(_));
            Event::Subscribed(ack.return_codes.iter().all(granted))
        }
        Packet::PubAck(_) | Packet::PubComp(_) => Event::Acknowledged,
        Packet::Publish(message) => Event::Message(Received {
            qos: message.qos as u8,
            retain: message.retain,
            topic: String::from_utf8(message.topic.to_vec()).unwrap(),
            payload: message.payload.to_vec(),
        }),
        _ => Event::Other,
    }
}

fn qos_v311(qos: u8) -> rumqttc::QoS {
    rumqttc::qos(qos).expect("QoS 0, 1 or 2")
}

fn qos_v5(qos: u8) -> v5::mqttbytes::QoS {
    v5::mqttbytes::qos(qos).expect("QoS 0, 1 or 2")
}
