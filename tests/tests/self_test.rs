//! The self-test: the bridge proves its rules before anybody can connect, and leaves no trace of that.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::process::Command;

use ior_tests::{
    Bridge, DEADLINE, End, World, faults,
    process::Process,
    raw::{Connect, Version::V5},
};

#[test]
fn it_passes_before_the_bridge_is_ready_and_nobody_hears_of_it() {
    let bridge = World::durable().env("IOR_BRIDGE__LIMITS__SESSIONS_PER_DEVICE", "1").start();
    let ends = |bridge: &Bridge| [End::From, End::To].map(|end| bridge.credentials("connection-1", end));
    let [from, to] = ends(&bridge);
    for (own, peer) in [(&from, &to), (&to, &from)] {
        let (mut client, _) = bridge.connect_persistent(V5, own);
        client.subscribe(&own.subscribe, 2);
        client.disconnect();
        let mut other = bridge.connect(V5, peer);
        other.publish(&peer.publish, format!("for {}", own.login.username), 1);
        other.disconnect();
        // The other one's session is kept as well, and a device has only one here.
        let (client, _) = bridge.connect_persistent(V5, peer);
        client.disconnect();
    }
    let bridge = bridge.restart();
    let log = bridge.log();
    let place = |words: &str| log.find(words).unwrap_or_else(|| panic!("no {words:?} in {log}"));
    assert!(place("self-test passed in ") < place("ready: "), "{log}");
    assert!(!log.contains("connected from") && !log.contains("self-test/"), "{log}");
    let [_, to] = ends(&bridge);
    let (mut client, present) = bridge.connect_persistent(V5, &to);
    assert!(present, "the device's own session is still there");
    client.expect_payload("for default.5412");
    client.subscribe(&to.presence, 1);
    let said = client.expect_message();
    assert!(said.text().contains(r#""online":false"#), "{}", said.text());
    client.expect_silence();
}

#[test]
fn it_needs_neither_plain_mqtt_nor_a_connection() {
    let (devices, none) = (serde_json::json!([]), serde_json::json!([]));
    World::with(devices, none).start();
    World::empty().env("IOR_BRIDGE__MQTT__LISTEN", "null").env("IOR_BRIDGE__TLS", "required").start();
}

#[test]
fn its_wrong_password_is_no_failed_login_of_the_device() {
    let bridge = World::empty().env("IOR_BRIDGE__LIMITS__FAILED_LOGINS", "1").start();
    let who = bridge.credentials("connection-1", End::From);
    let mut client = bridge.open(V5);
    client.send(Connect::new("x").user_name(&who.login.username).password("wrong"));
    assert_eq!(client.expect_connack().code, 0x86);
    client.expect_closed();
    bridge.process().wait_for("refusal", DEADLINE, |line| line.contains("wrong password").then_some(()));
    assert!(!bridge.log().contains("answer is delayed"), "{}", bridge.log());
}

#[test]
fn what_cannot_be_proved_stops_the_start() {
    if !faults::may_mount("what_cannot_be_proved_stops_the_start") {
        return;
    }
    // A network of its own, in which not even the loopback interface is up.
    let world =
        World::empty().env("IOR_BRIDGE__MQTT__LISTEN", "0.0.0.0:0").env("IOR_BRIDGE__MQTTS__LISTEN", "null");
    let bridge = world.command(&["run"]);
    let mut alone = Command::new("unshare");
    alone.arg("--net").arg(bridge.get_program()).args(bridge.get_args());
    alone.envs(bridge.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let mut process = Process::start(&mut alone);
    let status = process.wait(DEADLINE);
    assert_eq!(status.code(), Some(1), "{}", process.log());
    let log = process.log();
    assert!(log.contains("the self-test failed, so nobody is let in") && log.contains("`lo` up?"), "{log}");
    assert!(!log.contains("ready"), "{log}");
}
