//! What a connection means in the real bridge: sessions, takeover, wills, retained messages, presence, limits.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use ior_tests::{
    Bridge, Credentials, DEADLINE, End, ON_BOTH_VERSIONS, World,
    raw::{
        Client, Connect, Kind, Property, Publish, Subscribe,
        Version::{self, V5, V311},
        Will,
    },
};
use serde_json::{Value, json};

#[test]
fn qos2_arrives_once_across_dropped_connections() {
    let bridge = Bridge::start();
    let (from, to) = pair(&bridge);
    for version in ON_BOTH_VERSIONS {
        // Cut after: 0 the PUBLISH, 1 its PUBREC, 2 the PUBREL, 3 the PUBCOMP; on either side.
        for publisher_cut in 0..=3 {
            for subscriber_cut in 0..=3 {
                let (mut subscriber, _) = bridge.connect_persistent(version, &to);
                subscriber.subscribe(&to.subscribe, 2);
                let (mut publisher, _) = bridge.connect_persistent(version, &from);
                publisher.send(Publish::new(&from.publish, "once").qos(2, 9));
                if publisher_cut == 0 {
                    publisher = reconnect(&bridge, publisher, version, &from);
                    publisher.send(Publish::new(&from.publish, "once").qos(2, 9).dup());
                }
                publisher.expect_success(Kind::PubRec, 9);
                if publisher_cut == 1 {
                    publisher = reconnect(&bridge, publisher, version, &from);
                }
                publisher.acknowledge(Kind::PubRel, 9);
                if publisher_cut == 2 {
                    publisher = reconnect(&bridge, publisher, version, &from);
                    publisher.acknowledge(Kind::PubRel, 9);
                }
                publisher.expect_ack(Kind::PubComp, 9);

                let mut message = subscriber.expect_publish();
                assert_eq!(message.text(), "once");
                if subscriber_cut == 0 {
                    subscriber = reconnect(&bridge, subscriber, version, &to);
                    let again = subscriber.expect_publish();
                    assert!(again.dup && again.id == message.id && again.text() == "once");
                    message = again;
                }
                subscriber.acknowledge(Kind::PubRec, message.id);
                if subscriber_cut == 1 {
                    subscriber = reconnect(&bridge, subscriber, version, &to);
                }
                subscriber.expect_success(Kind::PubRel, message.id);
                if subscriber_cut == 2 {
                    subscriber = reconnect(&bridge, subscriber, version, &to);
                    subscriber.expect_success(Kind::PubRel, message.id);
                }
                subscriber.acknowledge(Kind::PubComp, message.id);
                if subscriber_cut == 3 {
                    subscriber = reconnect(&bridge, subscriber, version, &to);
                }
                if publisher_cut == 3 {
                    publisher = reconnect(&bridge, publisher, version, &from);
                }
                publisher.publish(&from.publish, "marker", 2);
                subscriber.expect_payload("marker");
                subscriber.expect_silence();
                bridge.connect(version, &from).disconnect();
                bridge.connect(version, &to).disconnect();
            }
        }
    }
}

#[test]
fn a_second_connection_of_a_device_takes_its_session_over() {
    let bridge = Bridge::start();
    let (from, to) = pair(&bridge);
    for version in ON_BOTH_VERSIONS {
        let (mut old, _) = bridge.connect_persistent(version, &to);
        old.subscribe(&to.subscribe, 1);
        let (mut new, present) = bridge.connect_persistent(version, &to);
        assert!(present);
        old.expect_ended(0x8E);
        bridge.connect(version, &from).publish(&from.publish, "x", 1);
        new.expect_payload("x");
        new.disconnect();
        bridge.connect(version, &to).disconnect();
    }
}

#[test]
fn the_client_identifier_of_another_device_reaches_nothing_of_it() {
    let bridge = Bridge::start();
    let (from, to) = pair(&bridge);
    let stranger = bridge.credentials("connection-2", End::From);
    for version in ON_BOTH_VERSIONS {
        let (mut victim, _) = bridge.connect_persistent(version, &to);
        victim.subscribe(&to.subscribe, 1);
        let connect = Connect::new(&to.login.client_id).persistent(version);
        let (mut thief, present) = bridge.connect_with(version, &stranger, connect.clone());
        assert!(!present, "the session of another device");
        victim.expect_silence();
        victim.disconnect();
        bridge.connect(version, &from).publish(&from.publish, "secret", 1);
        thief.expect_silence();
        thief.disconnect();
        let (mut victim, present) = bridge.connect_persistent(version, &to);
        assert!(present);
        victim.expect_payload("secret");
        victim.disconnect();
        bridge.connect(version, &to).disconnect();
        bridge.connect_with(version, &stranger, Connect::new(&to.login.client_id)).0.disconnect();
    }
}

#[test]
fn the_oldest_offline_session_of_a_device_gives_way() {
    let bridge = Bridge::start();
    let (_, to) = pair(&bridge);
    for version in ON_BOTH_VERSIONS {
        let connect = |number: u32| Connect::new(&format!("{version:?}-{number}")).persistent(version);
        for number in 0..4 {
            bridge.connect_with(version, &to, connect(number)).0.disconnect();
        }
        // Of five sessions one is too many: the one that has been away longest.
        bridge.connect_with(version, &to, connect(4)).0.disconnect();
        for number in [4, 3, 2, 1] {
            assert!(bridge.connect_with(version, &to, connect(number)).1, "session {number} is gone");
        }
        assert!(!bridge.connect_with(version, &to, connect(0)).1, "the oldest session is still there");
        for number in 0..5 {
            bridge.connect_with(version, &to, Connect::new(&format!("{version:?}-{number}"))).0.disconnect();
        }
    }
}

#[test]
fn the_peer_hears_the_will() {
    let bridge = Bridge::start();
    let (from, to) = pair(&bridge);
    for version in ON_BOTH_VERSIONS {
        let mut listener = bridge.connect(version, &to);
        listener.subscribe(&to.subscribe, 2);
        for (topic, qos) in [(from.publish.clone(), 0), (format!("{}/status", from.publish), 2)] {
            let connect = Connect::new("mortal").will(Will::new(&topic, "gone").qos(qos));
            bridge.connect_with(version, &from, connect).0.cut();
            let message = listener.expect_payload("gone");
            assert_eq!((message.topic, message.qos), (topic, qos));
        }
        listener.expect_silence();
    }
}

#[test]
fn a_will_outside_the_connection_is_refused_at_connect() {
    let bridge = Bridge::start();
    let (from, to) = pair(&bridge);
    for version in ON_BOTH_VERSIONS {
        for topic in [to.publish.as_str(), "elsewhere", &from.presence] {
            let mut client = bridge.open(version);
            let connect = Connect::new("mortal").will(Will::new(topic, "gone"));
            client.send(connect.user_name(&from.login.username).password(&from.login.password));
            assert_eq!(client.expect_connack().code, if version == V5 { 0x87 } else { 5 });
            client.expect_closed();
        }
    }
}

#[test]
fn the_peer_gets_the_retained_message() {
    let bridge = Bridge::start();
    let (from, to) = pair(&bridge);
    for version in ON_BOTH_VERSIONS {
        let topic = format!("{}/state", from.publish);
        let mut client = bridge.connect(version, &from);
        client.publish_retained(&topic, "kept", 1);
        client.disconnect();
        let mut listener = bridge.connect(version, &to);
        listener.subscribe(&to.subscribe, 1);
        let message = listener.expect_payload("kept");
        assert!(message.retain && message.topic == topic);
        bridge.connect(version, &from).publish_retained(&topic, "", 1);
        listener.expect_payload("");
        bridge.connect(version, &to).subscribe(&to.subscribe, 1);
    }
}

#[test]
fn presence_follows_the_peer() {
    let bridge = Bridge::start();
    let (from, to) = pair(&bridge);
    for version in ON_BOTH_VERSIONS {
        let mut watcher = bridge.connect(version, &to);
        watcher.subscribe(&to.presence, 1);
        let mut state = presence(&mut watcher);
        assert_eq!(state["online"], false, "{state}");
        for end in ["disconnect", "cut", "takeover"] {
            let client = bridge.connect(version, &from);
            state = presence(&mut watcher);
            assert_eq!(state["online"], true, "{state}");
            let since = state["since"].as_str().expect("since").to_string();
            assert!(since.len() >= 20 && since.contains('T') && since.ends_with('Z'), "RFC 3339: {since}");
            // Who comes later gets it retained.
            let mut late = bridge.connect_with(version, &to, Connect::new("late")).0;
            late.subscribe(&to.presence, 1);
            let message = late.expect_message();
            assert!(message.retain && message.topic == to.presence);
            assert_eq!(serde_json::from_slice::<Value>(&message.payload).unwrap(), state);
            late.disconnect();
            match end {
                "disconnect" => client.disconnect(),
                "cut" => client.cut(),
                _ => {
                    // It never left: at most it is said again.
                    let (client, _) =
                        bridge.connect_with(version, &from, Connect::new(&from.login.client_id));
                    client.disconnect();
                }
            }
            state = presence(&mut watcher);
            while end == "takeover" && state["online"] == true {
                state = presence(&mut watcher);
            }
            assert_eq!(state["online"], false, "after {end}: {state}");
        }
    }
}

#[test]
fn a_device_is_present_until_its_last_connection_ends() {
    let bridge = Bridge::start();
    let (from, to) = pair(&bridge);
    let mut watcher = bridge.connect(V5, &to);
    watcher.subscribe(&to.presence, 1);
    assert_eq!(presence(&mut watcher)["online"], false);
    let one = bridge.connect_with(V5, &from, Connect::new("one")).0;
    assert_eq!(presence(&mut watcher)["online"], true);
    let two = bridge.connect_with(V311, &from, Connect::new("two")).0;
    one.disconnect();
    watcher.expect_silence();
    two.disconnect();
    assert_eq!(presence(&mut watcher)["online"], false);
}

#[test]
fn nobody_but_the_bridge_says_who_is_present() {
    let bridge = Bridge::start();
    let (from, to) = pair(&bridge);
    let mut watcher = bridge.connect(V5, &to);
    watcher.subscribe(&to.presence, 1);
    presence(&mut watcher);
    for who in [&from, &to] {
        let mut liar = bridge.connect_with(V5, who, Connect::new("liar")).0;
        for topic in [&to.presence, &from.presence] {
            let id = liar.packet_id();
            liar.send(Publish::new(topic, r#"{"online":true}"#).retain().qos(1, id));
            assert_eq!(liar.expect_ack(Kind::PubAck, id).reason, 0x87);
        }
        liar.disconnect();
    }
    // Only the comings and goings of the liar at the other end are told.
    assert_eq!(presence(&mut watcher)["online"], true);
    assert_eq!(presence(&mut watcher)["online"], false);
    watcher.expect_silence();
}

#[test]
fn a_device_in_two_connections_keeps_them_apart() {
    let devices = json!([
        { "code": 1, "name": "Hub", "type": "Raspberry Pi" },
        { "code": "2", "name": "Left", "type": "ESP32" },
        { "code": "three", "name": "Right", "type": "ESP32" }
    ]);
    let connections = json!([
        { "name": "Left", "from": 1, "to": 2 }, { "id": "r", "name": "Right", "from": "three", "to": "1" }
    ]);
    let bridge = World::with(devices, connections).start();
    let (hub_left, left) = (bridge.credentials("left", End::From), bridge.credentials("left", End::To));
    let (right, hub_right) = (bridge.credentials("r", End::From), bridge.credentials("r", End::To));
    assert_eq!(hub_left.login.username, hub_right.login.username);
    assert_eq!(hub_left.login.password, hub_right.login.password);
    let listen = |who: &Credentials| {
        let mut client = bridge.connect(V5, who);
        client.subscribe(&who.subscribe, 1);
        client
    };
    let mut at_left = listen(&left);
    let mut at_right = listen(&right);
    let mut hub = listen(&hub_left);
    hub.subscribe(&hub_right.subscribe, 1);
    hub.publish(&hub_left.publish, "to the left", 1);
    hub.publish(&hub_right.publish, "to the right", 1);
    at_left.expect_payload("to the left");
    at_right.expect_payload("to the right");
    at_left.publish(&left.publish, "from the left", 1);
    assert_eq!(hub.expect_payload("from the left").topic, left.publish);
    at_right.publish(&right.publish, "from the right", 1);
    assert_eq!(hub.expect_payload("from the right").topic, right.publish);
    for client in [&mut at_left, &mut at_right, &mut hub] {
        client.expect_silence();
    }
}

#[test]
fn a_full_queue_refuses_and_keeps_what_it_has() {
    let bridge = World::empty().env("IOR_BRIDGE__LIMITS__QUEUE_MESSAGES", "3").start();
    let (from, to) = pair(&bridge);
    for version in ON_BOTH_VERSIONS {
        let (mut subscriber, _) = bridge.connect_persistent(version, &to);
        subscriber.subscribe(&to.subscribe, 2);
        subscriber.disconnect();
        let mut publisher = bridge.connect(version, &from);
        for number in 0..3 {
            publisher.publish(&from.publish, number.to_string(), 1);
        }
        for (qos, kind) in [(1, Kind::PubAck), (2, Kind::PubRec)] {
            publisher.send(Publish::new(&from.publish, "too many").qos(qos, 77));
            if version == V5 {
                assert_eq!(publisher.expect_ack(kind, 77).reason, 0x97);
            } else {
                publisher.expect_closed();
                publisher = bridge.connect(version, &from);
            }
        }
        let (mut subscriber, _) = bridge.connect_persistent(version, &to);
        for number in 0..3 {
            subscriber.expect_payload(&number.to_string());
        }
        // What was refused is not in the way of a new message with the same Packet Identifier.
        publisher.send(Publish::new(&from.publish, "room again").qos(2, 77));
        publisher.expect_success(Kind::PubRec, 77);
        publisher.acknowledge(Kind::PubRel, 77);
        publisher.expect_success(Kind::PubComp, 77);
        subscriber.expect_payload("room again");
        subscriber.disconnect();
        bridge.connect(version, &to).disconnect();
    }
}

#[test]
fn a_full_queue_drops_its_oldest_where_the_operator_says_so() {
    let world = World::empty().env("IOR_BRIDGE__LIMITS__QUEUE_MESSAGES", "3");
    let bridge = world.env("IOR_BRIDGE__LIMITS__WHEN_FULL", "drop_oldest").start();
    let (from, to) = pair(&bridge);
    for version in ON_BOTH_VERSIONS {
        let (mut subscriber, _) = bridge.connect_persistent(version, &to);
        subscriber.subscribe(&to.subscribe, 2);
        subscriber.disconnect();
        let mut publisher = bridge.connect(version, &from);
        for number in 0..5 {
            publisher.publish(&from.publish, number.to_string(), 1);
        }
        let (mut subscriber, _) = bridge.connect_persistent(version, &to);
        for number in 2..5 {
            subscriber.expect_payload(&number.to_string());
        }
        subscriber.expect_silence();
        subscriber.disconnect();
        bridge.connect(version, &to).disconnect();
    }
}

#[test]
fn a_capped_keep_alive_is_announced_and_held() {
    let bridge = World::empty().env("IOR_BRIDGE__LIMITS__KEEP_ALIVE_MAX", "1s").start();
    let (from, _) = pair(&bridge);
    for asked in [0, 60, u16::MAX] {
        let (mut client, _) = bridge.connect_with(V5, &from, Connect::new("slow").keep_alive(asked));
        let told = client.announced(|p| if let Property::ServerKeepAlive(n) = p { Some(*n) } else { None });
        assert_eq!(told, Some(1), "asked for {asked}");
        client.expect_ended(0x8D);
    }
    let (client, _) = bridge.connect_with(V5, &from, Connect::new("quick").keep_alive(1));
    assert_eq!(client.announced(|p| matches!(p, Property::ServerKeepAlive(_)).then_some(())), None);
}

#[test]
fn a_capped_session_expiry_is_announced() {
    let bridge = World::empty().env("IOR_BRIDGE__LIMITS__SESSION_EXPIRY_MAX", "1h").start();
    let (from, _) = pair(&bridge);
    for (asked, told) in [(60, None), (3600, None), (3601, Some(3600)), (u32::MAX, Some(3600))] {
        let connect = Connect::new("long").property(Property::SessionExpiry(asked));
        let (client, _) = bridge.connect_with(V5, &from, connect);
        let find = |p: &Property| if let Property::SessionExpiry(n) = p { Some(*n) } else { None };
        assert_eq!(client.announced(find), told, "asked for {asked}");
    }
}

#[test]
fn sigterm_says_goodbye_and_ends_well() {
    let bridge = Bridge::start();
    let (from, to) = pair(&bridge);
    let mut v5 = bridge.connect(V5, &from);
    let mut v311 = bridge.connect(V311, &to);
    let stopping = std::thread::spawn(move || bridge.stop());
    v5.expect_ended(0x8B);
    v311.expect_closed();
    let (status, _) = stopping.join().unwrap();
    assert_eq!(status.code(), Some(0));
}

#[test]
fn the_operator_sees_the_connections_and_where_the_files_are() {
    let bridge = Bridge::start();
    let log = bridge.log();
    for word in
        ["4569", "5412", "5648", "9036", "Master 1", "Slave 2", "connection-1", "Connection 2", "credentials"]
    {
        assert!(log.contains(word), "{word} is missing in:\n{log}");
    }
    let (from, _) = pair(&bridge);
    bridge.connect(V5, &from).disconnect();
    bridge.process().wait_for("line about the device", DEADLINE, |line| {
        (line.contains("Master 1") && line.contains("connected")).then_some(())
    });
    assert!(!bridge.log().contains(&from.login.password));
}

#[test]
fn denied_subscriptions_keep_nobody_from_the_others() {
    let bridge = Bridge::start();
    let (from, to) = pair(&bridge);
    for version in ON_BOTH_VERSIONS {
        let mut client = bridge.connect(version, &to);
        client.send(Subscribe::new(5).filter("#", 1).filter(&to.subscribe, 1).filter(&to.publish, 0));
        let denied = if version == V5 { 0x87 } else { 0x80 };
        assert_eq!(client.expect_suback(5), [denied, 1, denied]);
        bridge.connect(version, &from).publish(&from.publish, "x", 1);
        client.expect_payload("x");
        client.expect_silence();
    }
}

fn pair(bridge: &Bridge) -> (Credentials, Credentials) {
    (bridge.credentials("connection-1", End::From), bridge.credentials("connection-1", End::To))
}

#[track_caller]
fn reconnect(bridge: &Bridge, client: Client, version: Version, who: &Credentials) -> Client {
    client.cut();
    let (client, present) = bridge.connect_persistent(version, who);
    assert!(present);
    client
}

#[track_caller]
fn presence(watcher: &mut Client) -> Value {
    let message = watcher.expect_message();
    serde_json::from_slice(&message.payload).unwrap_or_else(|error| panic!("{error}: {message:?}"))
}
