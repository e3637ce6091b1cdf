//! What once went wrong in the bridge, one test per bug.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::time::{Duration, Instant};

use ior_tests::{
    Bridge, Credentials, DEADLINE, End, ON_BOTH_VERSIONS, World,
    raw::{
        Client, Connect, Disconnect, Kind, Property, Publish, Subscribe,
        Version::{V5, V311},
        Will,
    },
};

/// Default of `limits.retained_per_device`.
const RETAINED_PER_DEVICE: u16 = 1000;
/// Default of `limits.sessions_per_device`.
const SESSIONS_PER_DEVICE: usize = 4;

#[test]
fn limits_of_topics_are_settings() {
    let world = World::empty()
        .env("IOR_BRIDGE__LIMITS__MAX_TOPIC_LENGTH", "256")
        .env("IOR_BRIDGE__LIMITS__MAX_TOPIC_LEVELS", "8");
    let bridge = world.start();
    let mut client = bridge.connect(V5, &ends(&bridge).0);
    let base = ends(&bridge).0.publish;
    let long = |length: usize| format!("{base}/{}", "x".repeat(length - base.len() - 1));
    for (topic, allowed) in [
        (long(256), true),
        (long(257), false),
        (base.clone() + "/4/5/6/7/8", true),
        (base.clone() + "/4/5/6/7/8/9", false),
    ] {
        client.send(Publish::new(&topic, "x").qos(1, 1));
        let reason = client.expect_ack(Kind::PubAck, 1).reason;
        assert_eq!(reason == 0x90, !allowed, "{topic}: {reason:#04x}");
    }
}

#[test]
fn complaints_about_long_names_of_strange_characters_stay_short() {
    const ROUNDS: usize = 1100;
    let bridge = Bridge::start();
    let (who, _) = ends(&bridge);
    let mut client = bridge.connect(V5, &who);
    let strange = |number: usize| format!("{number:06}{}", "\u{1}".repeat(990));
    let before = bridge.process().peak();
    for number in 0..ROUNDS {
        client.send(Publish::new(&strange(number), "x").qos(1, 1));
        assert_eq!(client.expect_ack(Kind::PubAck, 1).reason, 0x87);
    }
    for number in 0..100 {
        client.send(Subscribe::new(1).filter(&strange(number), 1));
        assert_eq!(client.expect_suback(1), [0x87]);
        let (mut named, _) = bridge.connect_with(V5, &who, Connect::new(&strange(number)));
        named.send(vec![0x30, 0]);
        named.receive_anything();
    }
    // The diary is behind by now, but it has written this when it has written all.
    bridge.connect_with(V5, &who, Connect::new("the last one")).0.disconnect();
    bridge.process().wait_for("last line", DEADLINE, |line| line.contains("the last one").then_some(()));
    let longest = bridge.log().lines().map(str::len).max().unwrap();
    assert!(longest <= 1024, "a line of {longest} bytes");
    assert!(bridge.log().len() < 1_500_000, "{} bytes of log", bridge.log().len());
    let grown = bridge.process().peak().saturating_sub(before);
    assert!(grown < 4 << 20, "memory grew by {} KiB", grown >> 10);
}

#[test]
fn one_device_cannot_use_up_the_room_for_retained_messages() {
    let bridge = Bridge::start();
    let (from, to) = ends(&bridge);
    let mut greedy = bridge.connect(V5, &from);
    let retain = |number: u16| Publish::new(&format!("{}/{number}", from.publish), "x").retain();
    for number in 1..=RETAINED_PER_DEVICE {
        greedy.complete(retain(number), 1);
    }
    for (qos, kind) in [(1, Kind::PubAck), (2, Kind::PubRec)] {
        greedy.send(retain(0).qos(qos, 1));
        assert_eq!(greedy.expect_ack(kind, 1).reason, 0x97);
    }
    for qos in 1..=2 {
        let (mut old, _) = bridge.connect_with(V311, &from, Connect::new("old"));
        old.send(retain(0).qos(qos, 1));
        old.expect_closed();
    }
    // Others have room, and presence is kept.
    let mut other = bridge.connect(V5, &to);
    other.publish_retained(&to.publish, "has room", 1);
    other.subscribe(&to.presence, 1);
    let online = |client: &mut Client, online: &str| {
        let said = client.expect_message();
        assert!(said.text().contains(online), "{}", said.text());
    };
    online(&mut other, r#""online":true"#);
    // What is replaced or removed makes no difference, or room.
    greedy.complete(retain(1), 1);
    greedy.complete(Publish::new(&format!("{}/2", from.publish), "").retain(), 1);
    greedy.complete(retain(0), 1);
    greedy.disconnect();
    online(&mut other, r#""online":false"#);
}

#[test]
fn sockets_that_never_log_in_do_not_lock_devices_out() {
    let bridge = World::empty().env("IOR_BRIDGE__LIMITS__CONNECTIONS", "20").start();
    let silent: Vec<Client> = (0..100).map(|_| bridge.open(V5)).collect();
    for version in ON_BOTH_VERSIONS {
        bridge.connect(version, &ends(&bridge).0).expect_silence();
    }
    drop(silent);
}

#[test]
fn a_login_that_waits_makes_room_for_another() {
    let bridge = World::empty().env("IOR_BRIDGE__LIMITS__LOGINS", "3").start();
    let (who, _) = ends(&bridge);
    let mut silent: Vec<Client> = (0..3).map(|_| bridge.open(V311)).collect();
    // The server may notice some of them after this login: then there was room for it, and for the next there is none.
    let until = Instant::now() + DEADLINE;
    let closed = loop {
        bridge.connect(V5, &who).disconnect();
        if let Some(closed) =
            silent.iter_mut().position(|client| client.is_closed_within(Duration::from_millis(10)))
        {
            break closed;
        }
        assert!(Instant::now() < until, "no login makes room");
    };
    silent.remove(closed);
    for (number, mut client) in silent.into_iter().enumerate() {
        let connect = Connect::new(&number.to_string()).user_name(&who.login.username);
        client.send(connect.password(&who.login.password));
        assert_eq!(client.expect_connack().code, 0);
    }
}

#[test]
fn a_session_that_is_online_gives_way_when_all_are() {
    for version in ON_BOTH_VERSIONS {
        let bridge = Bridge::start();
        let (who, peer) = ends(&bridge);
        let mut neighbour = bridge.connect(version, &peer);
        let connect =
            |name: String| bridge.connect_with(version, &who, Connect::new(&name).persistent(version)).0;
        let mut clients: Vec<Client> =
            (0..SESSIONS_PER_DEVICE).map(|number| connect(format!("session-{number}"))).collect();
        // The bridge tells them apart by milliseconds.
        std::thread::sleep(Duration::from_millis(5));
        for number in [0, 2, 3] {
            clients[number].expect_silence();
        }
        clients.push(connect("newcomer".into()));
        clients.remove(1).expect_ended(0x97);
        clients.iter_mut().for_each(Client::expect_silence);
        neighbour.expect_silence();
    }
}

#[test]
fn a_will_reaches_those_who_have_room_for_it() {
    let bridge = World::empty().env("IOR_BRIDGE__LIMITS__QUEUE_MESSAGES", "1").start();
    let (from, to) = ends(&bridge);
    let subscribed = |name: &str| {
        let (mut client, _) = bridge.connect_with(V5, &to, Connect::new(name).persistent(V5));
        client.subscribe(&to.subscribe, 1);
        client
    };
    subscribed("away").disconnect();
    let mut here = subscribed("here");
    let will = Will::new(&from.publish, "gone").qos(1).retain();
    let (mut dying, _) = bridge.connect_with(V5, &from, Connect::new("dying").will(will));
    dying.publish(&from.publish, "fills the queue", 1);
    here.expect_payload("fills the queue");
    dying.send(Publish::new(&from.publish, "too much").qos(1, 9));
    assert_eq!(dying.expect_ack(Kind::PubAck, 9).reason, 0x97);
    dying.disconnect_with(Disconnect::default().reason(0x04));
    here.expect_payload("gone");
    subscribed("later").expect_payload("gone");
}

#[test]
fn a_queue_full_of_expired_messages_takes_new_ones() {
    const ROOM: u16 = 3;
    let bridge = World::empty().env("IOR_BRIDGE__LIMITS__QUEUE_MESSAGES", &ROOM.to_string()).start();
    let (from, to) = ends(&bridge);
    let (mut away, _) = bridge.connect_persistent(V5, &to);
    away.subscribe(&to.subscribe, 1);
    away.disconnect();
    let mut publisher = bridge.connect(V5, &from);
    for _ in 0..ROOM {
        publisher.complete(Publish::new(&from.publish, "old").property(Property::MessageExpiry(1)), 1);
    }
    let until = Instant::now() + DEADLINE;
    loop {
        publisher.send(Publish::new(&from.publish, "new").qos(1, 9));
        match publisher.expect_ack(Kind::PubAck, 9).reason {
            0 => break,
            reason => assert_eq!(reason, 0x97),
        }
        assert!(Instant::now() < until, "what has expired still fills the queue");
        std::thread::sleep(Duration::from_millis(50));
    }
    let (mut back, _) = bridge.connect_persistent(V5, &to);
    back.expect_payload("new");
    back.expect_silence();
}

fn ends(bridge: &Bridge) -> (Credentials, Credentials) {
    (bridge.credentials("connection-1", End::From), bridge.credentials("connection-1", End::To))
}
