//! What becomes of Wills, and of whatever belongs to devices and connections that are removed, when the bridge starts again.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::time::{Duration, Instant};

use ior_tests::{
    Bridge, Credentials, End, ON_BOTH_VERSIONS, World,
    raw::{Client, Connect, Packet, Property, Version::V5, Will},
};
use serde_json::{Value, json};

#[test]
fn a_will_that_waits_is_published_after_the_restart() {
    const DELAY: u32 = 3;
    for kill in [false, true] {
        let bridge = world().start();
        let (from, to) = ends(&bridge, "one");
        let mut subscriber = session(&bridge, &to, "subscriber").0;
        subscriber.subscribe(&to.subscribe, 1);
        let left_at = Instant::now();
        for name in ["mortal", "returns"] {
            bridge.connect_with(V5, &from, with_will(&from, name, DELAY)).0.cut();
        }
        let bridge = if kill { bridge.kill_and_start() } else { bridge.restart() };
        // One comes back in time: its Will is not published.
        let (_returned, present) = bridge.connect_with(V5, &from, Connect::new("returns").persistent(V5));
        assert!(present);
        let (mut subscriber, present) = session(&bridge, &to, "subscriber");
        assert!(present);
        let Some(Packet::Publish(will)) = subscriber.poll(Duration::from_secs(u64::from(DELAY) + 3)).unwrap()
        else {
            panic!("no Will came")
        };
        assert_eq!((will.text(), will.topic.as_str()), ("mortal", from.publish.as_str()));
        assert!(left_at.elapsed() >= Duration::from_secs(u64::from(DELAY) - 1), "{:?}", left_at.elapsed());
        // Both were due at the same time.
        assert!(
            subscriber.poll(Duration::from_millis(500)).unwrap().is_none(),
            "the Will of one that came back"
        );
    }
}

#[test]
fn a_will_that_became_due_while_it_was_stopped_is_published_at_the_start() {
    let bridge = world().start();
    let (from, to) = ends(&bridge, "one");
    let mut subscriber = session(&bridge, &to, "subscriber").0;
    subscriber.subscribe(&to.subscribe, 1);
    bridge.connect_with(V5, &from, with_will(&from, "due", 1)).0.cut();
    let (_, world) = bridge.stop();
    std::thread::sleep(Duration::from_secs(2));
    let bridge = world.start();
    session(&bridge, &to, "subscriber").0.expect_payload("due");
    // And only once.
    let bridge = bridge.restart();
    let mut subscriber = session(&bridge, &to, "subscriber").0;
    bridge.connect(V5, &from).publish(&from.publish, "marker", 1);
    subscriber.expect_payload("marker");
}

#[test]
fn nothing_of_a_removed_connection_is_delivered_even_if_it_comes_back() {
    for removed in [Removed::Connection, Removed::Device] {
        for kill in [false, true] {
            let (all, some) = (configuration(None), configuration(Some(removed)));
            let bridge = world().start();
            leave_everything_behind(&bridge);

            let world = end(bridge, kill);
            world.configure(&some.0, &some.1);
            let bridge = world.start();
            assert_the_rest_is_there(&bridge, kill);

            let world = end(bridge, kill);
            world.configure(&all.0, &all.1);
            let bridge = world.start();
            let (from, to) = ends(&bridge, "one");
            let mut subscriber = session(&bridge, &to, "subscriber").0;
            subscriber.subscribe(&to.subscribe, 1);
            // The Will would have been due long ago.
            bridge.connect(V5, &from).publish(&from.publish, "marker", 1);
            subscriber.expect_payload("marker");
        }
    }
}

#[test]
fn the_peer_of_a_removed_device_gets_nothing_of_it() {
    let bridge = world().start();
    let (from, to) = ends(&bridge, "one");
    for version in ON_BOTH_VERSIONS {
        let name = format!("{version:?}");
        let (mut subscriber, _) = bridge.connect_with(version, &to, Connect::new(&name).persistent(version));
        subscriber.subscribe(&to.subscribe, 1);
        subscriber.disconnect();
    }
    bridge.connect(V5, &from).publish(&from.publish, "of the removed device", 1);
    let (_, world) = bridge.stop();
    let some = configuration(Some(Removed::Device));
    world.configure(&some.0, &some.1);
    let bridge = world.start();
    let (other, same) = ends(&bridge, "two");
    for version in ON_BOTH_VERSIONS {
        let name = format!("{version:?}");
        let (mut subscriber, _) =
            bridge.connect_with(version, &same, Connect::new(&name).persistent(version));
        subscriber.subscribe(&same.subscribe, 1);
        bridge.connect(V5, &other).publish(&other.publish, "marker", 1);
        subscriber.expect_payload("marker");
        subscriber.disconnect();
    }
}

#[test]
fn a_disabled_device_cannot_return_until_it_is_enabled() {
    let (mut devices, connections) = configuration(None);
    let bridge = world().start();
    let (from, to) = ends(&bridge, "one");
    let mut subscriber = session(&bridge, &to, "subscriber").0;
    subscriber.subscribe(&to.subscribe, 1);
    subscriber.disconnect();
    bridge.connect_with(V5, &to, with_will(&to, "of the disabled one", 1)).0.cut();
    let (_, world) = bridge.stop();
    devices[1]["disabled"] = json!(true);
    world.configure(&devices, &connections);
    let bridge = world.start();
    let mut refused = bridge.open(V5);
    let connect = Connect::new("subscriber").persistent(V5);
    refused.send(connect.user_name(&to.login.username).password(&to.login.password));
    assert_eq!(refused.expect_connack().code, 0x87);
    // Its Will is due, and it may not publish.
    let mut peer = bridge.connect(V5, &from);
    peer.subscribe(&from.subscribe, 1);
    assert!(peer.poll(Duration::from_millis(1500)).unwrap().is_none(), "something of a disabled device");
    let (_, world) = bridge.stop();
    devices[1]["disabled"] = json!(false);
    world.configure(&devices, &connections);
    let bridge = world.start();
    let mut subscriber = session(&bridge, &to, "subscriber").0;
    subscriber.subscribe(&to.subscribe, 1);
    bridge.connect(V5, &from).publish(&from.publish, "marker", 1);
    subscriber.expect_payload("marker");
}

fn world() -> World {
    let (devices, connections) = configuration(None);
    let world = World::durable();
    world.configure(&devices, &connections);
    world
}

#[derive(Debug, Clone, Copy)]
enum Removed {
    Connection,
    Device,
}

/// Device 2 is the peer of device 1 in connection `one` and of device 3 in connection `two`.
fn configuration(without: Option<Removed>) -> (Value, Value) {
    let device = |code: u32| json!({ "code": code, "name": format!("Device {code}"), "type": "test" });
    let one = json!({ "name": "one", "from": 1, "to": 2 });
    let two = json!({ "name": "two", "from": 3, "to": 2 });
    match without {
        None => (json!([device(1), device(2), device(3)]), json!([one, two])),
        Some(Removed::Connection) => (json!([device(1), device(2), device(3)]), json!([two])),
        Some(Removed::Device) => (json!([device(2), device(3)]), json!([two])),
    }
}

/// A queue, a retained message and a Will that waits, in both connections.
fn leave_everything_behind(bridge: &Bridge) {
    let to = ends(bridge, "one").1;
    let mut subscriber = session(bridge, &to, "subscriber").0;
    for name in ["one", "two"] {
        subscriber.subscribe(&ends(bridge, name).1.subscribe, 1);
    }
    subscriber.disconnect();
    for name in ["one", "two"] {
        let from = ends(bridge, name).0;
        let mut publisher = bridge.connect(V5, &from);
        publisher.publish(&from.publish, format!("queued in {name}"), 1);
        publisher.publish_retained(&from.publish, format!("retained in {name}"), 1);
        bridge.connect_with(V5, &from, with_will(&from, &format!("will in {name}"), 1)).0.cut();
    }
}

fn assert_the_rest_is_there(bridge: &Bridge, kill: bool) {
    let (from, to) = ends(bridge, "two");
    let (mut subscriber, present) = session(bridge, &to, "subscriber");
    assert!(present);
    for text in ["queued in two", "retained in two", "will in two"] {
        subscriber.expect_payload(text);
    }
    let mut fresh = bridge.connect_with(V5, &to, Connect::new("fresh")).0;
    fresh.subscribe(&to.subscribe, 1);
    fresh.expect_payload("retained in two");
    bridge.connect(V5, &from).publish(&from.publish, "marker", 1);
    subscriber.expect_payload("marker");
    if kill {
        // What was acknowledged a moment ago may come again after a kill.
        std::thread::sleep(Duration::from_millis(1500));
    }
}

fn end(bridge: Bridge, kill: bool) -> World {
    if kill { bridge.kill() } else { bridge.stop().1 }
}

fn with_will(who: &Credentials, name: &str, delay: u32) -> Connect {
    let will = Will::new(&who.publish, name).qos(1).property(Property::WillDelay(delay));
    Connect::new(name).persistent(V5).will(will)
}

fn ends(bridge: &Bridge, connection: &str) -> (Credentials, Credentials) {
    (bridge.credentials(connection, End::From), bridge.credentials(connection, End::To))
}

fn session(bridge: &Bridge, who: &Credentials, name: &str) -> (Client, bool) {
    bridge.connect_with(V5, who, Connect::new(name).persistent(V5))
}
