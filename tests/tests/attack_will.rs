//! Wills that should not be published, or not twice, through the real bridge.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::{collections::BTreeMap, sync::Barrier, time::Duration};

use ior_tests::{
    Audience, Bridge, Credentials, End, Heard, ON_BOTH_VERSIONS, World,
    raw::{
        Client, Connect, Packet, PingReq, Property,
        Version::{self, V5},
        Will,
    },
};
use serde_json::{Value, json};

#[test]
fn a_denied_will_is_told_at_connect_and_never_published() {
    let bridge = Bridge::start();
    let (from, to) = ends(&bridge, "connection-1");
    let mut audience = Audience::of(&bridge);
    let stranger = bridge.credentials("connection-2", End::From);
    for version in ON_BOTH_VERSIONS {
        let not_authorized = if version == V5 { 0x87 } else { 5 };
        for topic in [&to.publish, &from.presence, &to.presence, &stranger.publish, "$SYS/x", "elsewhere"] {
            for qos in 0..=2 {
                for retain in [false, true] {
                    let will = Will::new(topic, "denied").qos(qos);
                    let will = if retain { will.retain() } else { will };
                    let mut client = bridge.open(version);
                    let connect = Connect::new("mortal").persistent(version).will(will);
                    client.send(connect.user_name(&from.login.username).password(&from.login.password));
                    assert_eq!(client.expect_connack().code, not_authorized, "{topic}");
                    client.expect_closed();
                }
            }
        }
        // No session is left of it either.
        let (client, present) =
            bridge.connect_with(version, &from, Connect::new("mortal").persistent(version));
        assert!(!present);
        client.disconnect();
        bridge.connect_with(version, &from, Connect::new("mortal")).0.disconnect();
        audience.expect_silence();
    }
    audience.expect_nothing_retained(&bridge);
}

#[test]
fn a_denied_will_leaves_the_connection_that_it_would_take_over_alone() {
    let bridge = Bridge::start();
    let (from, to) = ends(&bridge, "connection-1");
    for version in ON_BOTH_VERSIONS {
        let mut device = bridge.connect(version, &from);
        let mut second = bridge.open(version);
        let connect = Connect::new(&from.login.client_id).will(Will::new(&to.publish, "denied"));
        second.send(connect.user_name(&from.login.username).password(&from.login.password));
        assert_ne!(second.expect_connack().code, 0);
        second.expect_closed();
        device.expect_silence();
    }
}

/// The right to publish there is taken away while the bridge is not running; the Wills are due when it starts.
#[test]
fn a_will_whose_right_was_taken_away_is_not_published() {
    for version in ON_BOTH_VERSIONS {
        let world = World::durable();
        configure(&world, &["one", "two"]);
        let bridge = world.start();
        let mut mortals: Vec<Client> = ["one", "two"]
            .map(|connection| {
                let (from, _) = ends(&bridge, connection);
                let will = Will::new(&from.publish, format!("of {connection}")).qos(1).retain();
                let connect = Connect::new(connection).persistent(version).will(will);
                bridge.connect_with(version, &from, connect).0
            })
            .into();
        mortals.iter_mut().for_each(Client::expect_silence);
        let world = bridge.kill();
        configure(&world, &["two"]);
        let bridge = world.start();
        let (_, to) = ends(&bridge, "two");
        // The Will that is still allowed comes, at once or retained.
        let mut curious = bridge.connect_with(version, &to, Connect::new("waits")).0;
        curious.subscribe(&to.subscribe, 1);
        curious.expect_payload("of two");
        let (_, world) = bridge.stop();
        configure(&world, &["one", "two"]);
        let bridge = world.start();
        for (connection, left) in [("one", &[][..]), ("two", &["of two"])] {
            let (_, to) = ends(&bridge, connection);
            assert_eq!(retained(&bridge, &to, version), left);
        }
    }
}

#[test]
fn every_will_is_published_once_when_connections_take_over_in_a_hurry() {
    const AT_ONCE: usize = 4;
    const ROUNDS: usize = 25;
    let bridge = Bridge::start();
    let (from, to) = ends(&bridge, "connection-1");
    for version in ON_BOTH_VERSIONS {
        let mut audience = Audience::of(&bridge);
        let mut expected = 0;
        for round in 0..ROUNDS {
            let barrier = Barrier::new(AT_ONCE);
            let come = |number: usize| {
                let will = Will::new(&from.publish, format!("{round}.{number}")).qos(1);
                let connect = Connect::new("same").will(will).user_name(&from.login.username);
                let connect = connect.password(&from.login.password);
                let connect = if number < 2 { connect } else { connect.persistent(version) };
                let mut client = bridge.open(version);
                barrier.wait();
                client.send(connect);
                // Whoever is let in has a Will, even if he is taken over at once.
                (client.expect_connack().code == 0).then_some(client)
            };
            let clients: Vec<Client> = std::thread::scope(|scope| {
                let come = &come;
                let threads: Vec<_> = (0..AT_ONCE).map(|number| scope.spawn(move || come(number))).collect();
                threads.into_iter().filter_map(|thread| thread.join().unwrap()).collect()
            });
            expected += clients.len();
        }
        // The last one is lost and not taken over.
        bridge.connect_with(version, &from, Connect::new("same")).0.disconnect();
        let mut counts: BTreeMap<Vec<u8>, usize> = BTreeMap::new();
        for Heard { by, payload, .. } in audience.heard() {
            assert_eq!(by, to.login.username);
            *counts.entry(payload).or_default() += 1;
        }
        assert!(counts.values().all(|count| *count == 1), "{counts:?}");
        assert_eq!(counts.len(), expected);
    }
}

/// Clients come back about when their Will is due.
#[test]
fn a_delayed_will_is_published_at_most_once_however_close_the_return_is() {
    const CLIENTS: u64 = 60;
    let world = World::empty().env("IOR_BRIDGE__LIMITS__SESSIONS_PER_DEVICE", "1000");
    let bridge = world.start();
    let (from, to) = ends(&bridge, "connection-1");
    let mut listener = bridge.connect(V5, &to);
    listener.subscribe(&to.subscribe, 1);
    let connect = |number: u64| {
        let will = Will::new(&from.publish, number.to_string()).qos(1).property(Property::WillDelay(1));
        Connect::new(&format!("delayed-{number}")).persistent(V5).will(will)
    };
    std::thread::scope(|scope| {
        for number in 0..CLIENTS {
            let (bridge, from, connect) = (&bridge, &from, &connect);
            scope.spawn(move || {
                bridge.connect_with(V5, from, connect(number)).0.cut();
                // From a fifth of a second before it is due to a fifth of a second after.
                std::thread::sleep(Duration::from_millis(800 + number * 400 / CLIENTS));
                let (client, present) = bridge.connect_with(V5, from, connect(number));
                assert!(present);
                client.disconnect();
            });
        }
    });
    // What is due later than all of them comes behind all of them.
    let clock = Will::new(&from.publish, "clock").qos(1).property(Property::WillDelay(2));
    bridge.connect_with(V5, &from, Connect::new("clock").persistent(V5).will(clock)).0.cut();
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    loop {
        let message = listener.expect_message();
        match message.text() {
            "clock" => break,
            text => *counts.entry(text.into()).or_default() += 1,
        }
    }
    assert!(counts.values().all(|count| *count == 1), "{counts:?}");
    eprintln!("{} of {CLIENTS} Wills were published before their clients came back", counts.len());
}

/// Device 1 has two peers, each in a connection of its own.
fn configure(world: &World, connections: &[&str]) {
    let device = |code: u32| json!({ "code": code, "name": format!("Device {code}"), "type": "test" });
    let connection = |name: &&str| {
        let to = if *name == "one" { 2 } else { 3 };
        json!({ "name": name, "from": 1, "to": to })
    };
    let connections: Vec<Value> = connections.iter().map(connection).collect();
    world.configure(&json!([device(1), device(2), device(3)]), &json!(connections));
}

fn ends(bridge: &Bridge, connection: &str) -> (Credentials, Credentials) {
    (bridge.credentials(connection, End::From), bridge.credentials(connection, End::To))
}

/// The retained messages of the peer.
#[track_caller]
fn retained(bridge: &Bridge, who: &Credentials, version: Version) -> Vec<String> {
    let mut client = bridge.connect_with(version, who, Connect::new("curious")).0;
    client.subscribe(&who.subscribe, 0);
    let mut found = Vec::new();
    client.send(PingReq);
    loop {
        match client.receive() {
            Packet::Publish(message) => found.push(message.text().to_owned()),
            Packet::PingResp => return found,
            other => panic!("expected PUBLISH or PINGRESP, got {other:?}"),
        }
    }
}
