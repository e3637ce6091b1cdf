//! Two devices with a connection talk through the real bridge, with clients that others wrote.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use ior_tests::{
    Bridge, Credentials, End, ON_BOTH_VERSIONS,
    clients::{Login, Subscriber, Subscription, Tool},
    raw::{Client, Encode, Kind, Publish, Version, Version::V5},
};

#[test]
fn mosquittos_clients_talk_in_every_direction() {
    every_direction(&[Tool::Mosquitto(Version::V311), Tool::Mosquitto(Version::V5)]);
}

#[test]
fn paho_talks_in_every_direction() {
    every_direction(&[Tool::Paho(Version::V311), Tool::Paho(Version::V5)]);
}

#[test]
fn rumqttc_talks_in_every_direction() {
    every_direction(&[Tool::Rumqttc(Version::V311), Tool::Rumqttc(Version::V5)]);
}

fn every_direction(tools: &[Tool]) {
    let bridge = Bridge::start();
    let mut others = Others::listen(&bridge);
    for &tool in tools {
        for connection in ["connection-1", "connection-2"] {
            for (from, to) in [(End::From, End::To), (End::To, End::From)] {
                let sender = bridge.credentials(connection, from);
                let mut subscriber = subscribe(tool, &bridge.credentials(connection, to), 2);
                for qos in 0..=2 {
                    let payload = format!("{tool:?} on {connection} {from:?} at {qos}");
                    publish(tool, &sender, &sender.publish, qos, &[payload.clone().into_bytes()]);
                    let message = subscriber.expect(&payload);
                    assert_eq!((message.qos, &message.topic), (qos, &sender.publish));
                    let below = format!("{}/below/it", sender.publish);
                    publish(tool, &sender, &below, qos, &[payload.clone().into_bytes()]);
                    assert_eq!(subscriber.expect(&payload).topic, below);
                }
                others.expect_only_their_own(&sender);
            }
        }
    }
}

#[test]
fn clients_of_different_kinds_talk() {
    let bridge = Bridge::start();
    let sender = bridge.credentials("connection-1", End::From);
    let receiver = bridge.credentials("connection-1", End::To);
    for (index, from) in Tool::ALL.into_iter().enumerate() {
        for to in [Tool::ALL[(index + 1) % 6], Tool::ALL[(index + 4) % 6]] {
            for (published, subscribed) in [(2, 1), (1, 2), (1, 0)] {
                let mut subscriber = subscribe(to, &receiver, subscribed);
                let payload = format!("{from:?} to {to:?}, {published} to {subscribed}");
                publish(from, &sender, &sender.publish, published, &[payload.clone().into_bytes()]);
                assert_eq!(subscriber.expect(&payload).qos, published.min(subscribed));
            }
        }
    }
}

#[test]
fn a_thousand_messages_arrive_in_order() {
    let bridge = Bridge::start();
    let sender = bridge.credentials("connection-2", End::From);
    let receiver = bridge.credentials("connection-2", End::To);
    let payloads: Vec<Vec<u8>> = (0..1000).map(|number| format!("message {number}").into_bytes()).collect();
    for tool in Tool::ALL {
        for qos in 0..=2 {
            let mut subscriber = subscribe(tool, &receiver, qos);
            publish(tool, &sender, &sender.publish, qos, &payloads);
            for payload in &payloads {
                assert_eq!(subscriber.expect(payload).qos, qos);
            }
        }
    }
}

#[test]
fn large_payloads_arrive_up_to_the_limit() {
    let bridge = Bridge::start();
    let sender = bridge.credentials("connection-1", End::From);
    let receiver = bridge.credentials("connection-1", End::To);
    let limit = bridge.connect(V5, &sender).maximum_packet_size().expect("a Maximum Packet Size");
    // Room for the topic and the properties of any version.
    let payload: Vec<u8> = (0..limit - 200).map(|index| (index % 251) as u8).collect();
    for tool in Tool::ALL {
        for qos in 0..=2 {
            let mut subscriber = subscribe(tool, &receiver, qos);
            publish(tool, &sender, &sender.publish, qos, std::slice::from_ref(&payload));
            subscriber.expect(&payload);
        }
    }
}

#[test]
fn one_byte_over_the_limit_is_refused() {
    let bridge = Bridge::start();
    let sender = bridge.credentials("connection-1", End::From);
    let receiver = bridge.credentials("connection-1", End::To);
    let limit = bridge.connect(V5, &sender).maximum_packet_size().expect("a Maximum Packet Size");
    for version in ON_BOTH_VERSIONS {
        let mut listener = bridge.connect(version, &receiver);
        listener.subscribe(&receiver.subscribe, 1);
        let publish = |payload: usize| Publish::new(&sender.publish, vec![b'x'; payload]).qos(1, 1);
        let fits = (limit - 64..limit).rev().find(|n| publish(*n).encode(version).len() == limit).unwrap();
        let mut client = bridge.connect(version, &sender);
        client.send(publish(fits));
        client.expect_success(Kind::PubAck, 1);
        assert_eq!(listener.expect_message().payload.len(), fits);
        client.send(publish(fits + 1).encode(version)[..5].to_vec());
        client.expect_ended(0x95);
        let mut client = bridge.connect(version, &sender);
        client.publish(&sender.publish, "next", 1);
        listener.expect_payload("next");
    }
}

#[test]
fn messages_wait_for_a_client_that_is_away() {
    let bridge = Bridge::start();
    let sender = bridge.credentials("connection-1", End::To);
    let receiver = bridge.credentials("connection-1", End::From);
    for tool in Tool::ALL {
        let login =
            Login { client_id: format!("{tool:?}").replace(['(', ')'], "-"), ..receiver.login.clone() };
        let wanted = Subscription { filter: &receiver.subscribe, qos: 2, persistent: true };
        for qos in 1..=2 {
            drop(tool.subscribe(&login, wanted));
            for number in 0..3 {
                publish(tool, &sender, &sender.publish, qos, &[format!("waits {number}").into_bytes()]);
            }
            let mut subscriber = tool.subscribe(&login, wanted);
            for number in 0..3 {
                assert_eq!(subscriber.expect(format!("waits {number}")).qos, qos, "{tool:?}");
            }
            publish(tool, &sender, &sender.publish, qos, &[b"live".to_vec()]);
            subscriber.expect("live");
        }
        bridge.connect_with(V5, &receiver, ior_tests::raw::Connect::new(&login.client_id)).0.disconnect();
    }
}

/// A raw subscriber for every end, to see that nobody hears what is not for him.
struct Others {
    listeners: Vec<(Credentials, Client)>,
    senders: Vec<(Credentials, Client)>,
}

impl Others {
    fn listen(bridge: &Bridge) -> Self {
        let ends = [("connection-1", End::From), ("connection-1", End::To)];
        let ends = ends.into_iter().chain([("connection-2", End::From), ("connection-2", End::To)]);
        let mut others = Self { listeners: Vec::new(), senders: Vec::new() };
        for (connection, end) in ends {
            let who = bridge.credentials(connection, end);
            let connect = |role: &str| {
                let id = ior_tests::raw::Connect::new(&format!("{role}-{}", who.login.client_id));
                bridge.connect_with(V5, &who, id).0
            };
            let mut listener = connect("listens");
            listener.subscribe(&who.subscribe, 1);
            others.senders.push((who.clone(), connect("marks")));
            others.listeners.push((who, listener));
        }
        others
    }

    /// Everybody's peer sends a marker: what came before it must be from the sender, and reach only its peer.
    fn expect_only_their_own(&mut self, sender: &Credentials) {
        for (who, client) in &mut self.senders {
            client.publish(&format!("{}/marker", who.publish), "marker", 1);
        }
        for (who, client) in &mut self.listeners {
            let is_peer = who.subscribe == format!("{}/#", sender.publish);
            loop {
                let message = client.expect_message();
                if message.topic.ends_with("/marker") {
                    break;
                }
                assert!(is_peer, "{} hears {message:?}", who.login.username);
            }
        }
    }
}

#[track_caller]
fn subscribe(tool: Tool, who: &Credentials, qos: u8) -> Subscriber {
    tool.subscribe(&who.login, Subscription { filter: &who.subscribe, qos, persistent: false })
}

/// With another identifier than the subscriber of the same device has.
#[track_caller]
fn publish(tool: Tool, who: &Credentials, topic: &str, qos: u8, payloads: &[Vec<u8>]) {
    let login = Login { client_id: format!("{}-publishes", who.login.client_id), ..who.login.clone() };
    tool.publish(&login, topic, qos, payloads);
}
