//! What becomes of whatever belongs to devices and connections that are removed while the bridge runs, even if they come
//! back at once.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::time::Duration;

use ior_tests::{
    Bridge, Credentials, End, ON_BOTH_VERSIONS, World,
    raw::{
        Client, Connect, Kind, Packet, Property, Publish,
        Version::{self, V5},
        Will,
    },
};
use serde_json::{Value, json};

/// Seconds: longer than two reloads take.
const WILL_DELAY: u32 = 4;

/// How device 2 loses the connection `gone` with device 1, which has another one, `stays`, with device 3.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Loses {
    TheConnection,
    ItsPlace,
    ItsPermission,
}

#[test]
fn what_waited_and_what_was_in_flight_goes_and_nothing_else() {
    for version in ON_BOTH_VERSIONS {
        for loses in [Loses::TheConnection, Loses::ItsPlace] {
            let bridge = world().start();
            let (one, two) = ends(&bridge, "gone");
            let (same, three) = ends(&bridge, "stays");
            let filters = [&one.subscribe, &same.subscribe];
            kept(&bridge, version, &one, "away", &filters).disconnect();
            let mut online = kept(&bridge, version, &one, "online", &filters);
            let mut of_two = bridge.connect(version, &two);
            let mut of_three = bridge.connect(version, &three);
            for text in ["first", "second"] {
                of_two.publish(&two.publish, format!("{text} in gone"), 1);
                of_three.publish(&three.publish, format!("{text} in stays"), 1);
            }
            let in_flight: Vec<_> = (0..4).map(|_| online.expect_publish()).collect();

            reconfigure(&bridge, Some(loses));
            match (loses, version) {
                (Loses::TheConnection, _) => of_two.expect_silence(),
                (_, V5) => of_two.expect_ended(0x98),
                _ => of_two.expect_closed(),
            }
            of_three.expect_silence();
            online.acknowledge(Kind::PubAck, in_flight[0].id);
            of_three.publish(&three.publish, "third in stays", 1);
            online.expect_payload("third in stays");
            online.cut();

            reconfigure(&bridge, None);
            let expected = |first: &str| [first, "second in stays", "third in stays"].map(str::to_owned);
            let mut away = resumed(&bridge, version, &one, "away");
            for text in expected("first in stays") {
                away.expect_payload(&text);
            }
            away.expect_silence();
            let mut online = resumed(&bridge, version, &one, "online");
            for text in &expected("first in stays")[..2] {
                assert!(online.expect_payload(text).dup, "{text}");
            }
            online.expect_silence();
            // The subscription went, too, and can be made again.
            let mut of_two = bridge.connect(version, &two);
            of_two.publish(&two.publish, "too early", 1);
            online.expect_silence();
            online.subscribe(&one.subscribe, 1);
            of_two.publish(&two.publish, "in time", 1);
            online.expect_payload("in time");
            away.expect_silence();
        }
    }
}

#[test]
fn what_a_device_has_published_before_it_was_disabled_still_arrives() {
    let bridge = world().start();
    let (one, two) = ends(&bridge, "gone");
    kept(&bridge, V5, &one, "away", &[&one.subscribe]).disconnect();
    let mut of_two = bridge.connect(V5, &two);
    of_two.publish(&two.publish, "before", 1);
    reconfigure(&bridge, Some(Loses::ItsPermission));
    of_two.expect_ended(0x98);
    // Acknowledged is kept: the connection is still there, and so is the receiver's right to hear it.
    resumed(&bridge, V5, &one, "away").expect_payload("before");
}

#[test]
fn retained_messages_and_wills_go_with_their_connection() {
    for loses in [Loses::TheConnection, Loses::ItsPlace, Loses::ItsPermission] {
        let bridge = world().start();
        let (one, two) = ends(&bridge, "gone");
        let (same, three) = ends(&bridge, "stays");
        let mut mortal = Vec::new();
        for (who, name) in [(&two, "gone"), (&three, "stays")] {
            let mut client = bridge.connect(V5, who);
            client.publish_retained(&who.publish, format!("retained in {name}"), 1);
            client.complete(Publish::new(&format!("{}/0", who.publish), "of QoS 0").retain(), 0);
            // A Will that waits for its delay, and one of a client that is online.
            bridge.connect_with(V5, who, with_will(who, "delayed", WILL_DELAY)).0.cut();
            mortal.push(bridge.connect_with(V5, who, with_will(who, "sudden", 0)).0);
        }
        let mut listener = bridge.connect_with(V5, &one, Connect::new("listener")).0;
        listener.subscribe(&same.subscribe, 1);
        listener.expect_message();
        listener.expect_message();

        reconfigure(&bridge, Some(loses));
        if loses == Loses::TheConnection {
            mortal.remove(0).cut();
        } else {
            mortal.remove(0).expect_ended(0x98);
        }
        mortal.remove(0).cut();
        listener.expect_payload("sudden");
        reconfigure(&bridge, None);
        let mut fresh = bridge.connect_with(V5, &one, Connect::new("fresh")).0;
        fresh.subscribe(&one.subscribe, 1);
        // The one in `stays` is due later than the one in `gone` would have been.
        let wait = Duration::from_secs(u64::from(WILL_DELAY) + 5);
        match listener.poll(wait).unwrap() {
            Some(Packet::Publish(will)) => assert_eq!(will.text(), "delayed"),
            other => panic!("{other:?}"),
        }
        fresh.expect_silence();
    }
}

#[test]
fn presence_follows() {
    let bridge = world().start();
    let (one, two) = ends(&bridge, "gone");
    let mut online = bridge.connect(V5, &one);
    online.subscribe(&one.presence, 1);
    assert!(online.expect_message().text().contains(r#""online":false"#));
    let of_two = bridge.connect(V5, &two);
    assert!(online.expect_message().text().contains(r#""online":true"#));
    reconfigure(&bridge, Some(Loses::TheConnection));
    // It may not hear it any more, not even that it is gone.
    online.expect_silence();
    reconfigure(&bridge, None);
    online.expect_silence();
    online.subscribe(&one.presence, 1);
    assert!(online.expect_message().text().contains(r#""online":true"#), "2 was online all the time");
    reconfigure(&bridge, Some(Loses::ItsPermission));
    assert!(online.expect_message().text().contains(r#""online":false"#));
    drop(of_two);
}

#[test]
fn a_disabled_device_loses_its_sessions() {
    let bridge = world().start();
    let (one, two) = ends(&bridge, "gone");
    for version in ON_BOTH_VERSIONS {
        let name = format!("{version:?}");
        let away = kept(&bridge, version, &two, &name, &[&two.subscribe]);
        away.disconnect();
        bridge.connect(V5, &one).publish(&one.publish, "too late", 1);
        reconfigure(&bridge, Some(Loses::ItsPermission));
        reconfigure(&bridge, None);
        let (mut away, present) = bridge.connect_with(version, &two, persistent(version, &name));
        assert!(!present);
        away.expect_silence();
        away.disconnect();
    }
}

#[test]
fn it_is_gone_from_the_disk_as_well() {
    let bridge = world().start();
    let (one, two) = ends(&bridge, "gone");
    let away = kept(&bridge, V5, &one, "away", &[&one.subscribe]);
    away.disconnect();
    let mut of_two = bridge.connect(V5, &two);
    of_two.publish_retained(&two.publish, "gone", 1);
    reconfigure(&bridge, Some(Loses::TheConnection));
    let world = bridge.kill();
    let (devices, connections) = configuration(None);
    world.configure(&devices, &connections);
    let bridge = world.start();
    let mut away = resumed(&bridge, V5, &one, "away");
    away.expect_silence();
    away.subscribe(&one.subscribe, 1);
    away.expect_silence();
}

fn world() -> World {
    let (devices, connections) = configuration(None);
    let world = World::durable();
    world.configure(&devices, &connections);
    world
}

fn configuration(loses: Option<Loses>) -> (Value, Value) {
    let device = |code: u32| json!({ "code": code, "name": format!("Device {code}"), "type": "test" });
    let gone = json!({ "name": "gone", "from": 1, "to": 2 });
    let stays = json!({ "name": "stays", "from": 1, "to": 3 });
    let mut disabled = device(2);
    disabled["disabled"] = true.into();
    match loses {
        None => (json!([device(1), device(2), device(3)]), json!([gone, stays])),
        Some(Loses::TheConnection) => (json!([device(1), device(2), device(3)]), json!([stays])),
        Some(Loses::ItsPlace) => (json!([device(1), device(3)]), json!([stays])),
        Some(Loses::ItsPermission) => (json!([device(1), disabled, device(3)]), json!([gone, stays])),
    }
}

#[track_caller]
fn reconfigure(bridge: &Bridge, loses: Option<Loses>) {
    let (devices, connections) = configuration(loses);
    bridge.reconfigure(&devices, &connections);
}

fn ends(bridge: &Bridge, connection: &str) -> (Credentials, Credentials) {
    (bridge.credentials(connection, End::From), bridge.credentials(connection, End::To))
}

/// A session that stays.
#[track_caller]
fn kept(bridge: &Bridge, version: Version, who: &Credentials, name: &str, filters: &[&String]) -> Client {
    let (mut client, present) = bridge.connect_with(version, who, persistent(version, name));
    assert!(!present);
    for filter in filters {
        client.subscribe(filter, 1);
    }
    client
}

#[track_caller]
fn resumed(bridge: &Bridge, version: Version, who: &Credentials, name: &str) -> Client {
    let (client, present) = bridge.connect_with(version, who, persistent(version, name));
    assert!(present, "the session {name} is gone");
    client
}

fn persistent(version: Version, name: &str) -> Connect {
    Connect::new(name).persistent(version)
}

fn with_will(who: &Credentials, name: &str, delay: u32) -> Connect {
    let will = Will::new(&who.publish, name).qos(1).property(Property::WillDelay(delay));
    persistent(V5, name).will(will)
}

/// Regression: a connection that got another end in one edit kept what its device had retained, and willed, for the
/// former peer.
#[test]
fn what_was_said_to_one_peer_is_not_told_to_the_next() {
    let devices = json!([1, 2, 3].map(|code| json!({ "code": code, "name": "n", "type": "t" })));
    let with = |peer: u8| json!([{ "name": "c", "from": 1, "to": peer }]);
    for while_running in [true, false] {
        let world = World::durable();
        world.configure(&devices, &with(2));
        let mut bridge = world.start();
        let one = bridge.credentials("c", End::From);
        let will = Will::new(&one.publish, "a will for 2 alone").retain();
        let mut of_one = bridge.connect_with(V5, &one, Connect::new("one").persistent(V5).will(will)).0;
        of_one.publish_retained(&one.publish, "for 2 alone", 1);
        if while_running {
            bridge.reconfigure(&devices, &with(3));
            of_one.cut();
        } else {
            let world = bridge.kill();
            world.configure(&devices, &with(3));
            bridge = world.start();
        }
        let three = bridge.credentials("c", End::To);
        let mut of_three = bridge.connect(V5, &three);
        of_three.subscribe(&three.subscribe, 1);
        of_three.expect_silence();
        let mut of_one = bridge.connect(V5, &one);
        of_one.publish(&one.publish, "for 3", 1);
        of_three.expect_payload("for 3");
        of_three.expect_silence();
    }
}
