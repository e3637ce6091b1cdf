//! How much a device may publish, where the operator limits it: it is read from later, and nothing is lost.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use ior_tests::{
    Bridge, Credentials, DEADLINE, End, ON_BOTH_VERSIONS, World,
    raw::{Connect, Encode, Kind, PingReq, Publish, Version::V5},
};

#[test]
fn a_device_that_publishes_too_fast_is_held_back_and_loses_nothing() {
    let bridge = World::empty().env("IOR_BRIDGE__LIMITS__PUBLISH_RATE", "50").start();
    let (from, to) = ends(&bridge);
    let mut listener = bridge.connect(V5, &to);
    listener.subscribe(&to.subscribe, 2);
    for version in ON_BOTH_VERSIONS {
        let mut sender = bridge.connect(version, &from);
        let all: Vec<u8> = (1..=80u16)
            .flat_map(|number| {
                let publish = Publish::new(&from.publish, number.to_string());
                let qos = number % 3;
                if qos == 0 { publish } else { publish.qos(qos as u8, number) }.encode(version)
            })
            .collect();
        sender.send(all);
        // QoS 0 has a lane of its own, so it may overtake.
        let mut received: Vec<u16> =
            (1..=80).map(|_| listener.expect_message().text().parse().unwrap()).collect();
        received.sort_unstable();
        assert!(received.into_iter().eq(1..=80));
        for number in (1..=80).filter(|number| number % 3 != 0) {
            let kind = if number % 3 == 1 { Kind::PubAck } else { Kind::PubRec };
            sender.expect_success(kind, number);
        }
        sender.disconnect();
    }
    told_once(
        &bridge,
        "publishes faster than it may, and is held back: nothing is lost (limits.publish_rate in",
    );
}

#[test]
fn a_device_that_is_held_back_hears_the_others_and_can_be_taken_over() {
    for version in ON_BOTH_VERSIONS {
        let bridge = World::empty().env("IOR_BRIDGE__LIMITS__PUBLISH_BANDWIDTH", "1KiB").start();
        let (from, to) = ends(&bridge);
        let mut listener = bridge.connect(version, &to);
        listener.subscribe(&to.subscribe, 1);
        let mut sender = bridge.connect(version, &from);
        sender.subscribe(&from.subscribe, 1);
        // A single message passes, and costs five minutes.
        sender.publish(&from.publish, vec![b'x'; 300 << 10], 1);
        assert_eq!(listener.expect_message().payload.len(), 300 << 10);
        sender.send(Publish::new(&from.publish, "later"));
        sender.send(PingReq);
        listener.expect_silence();
        // The other direction has an allowance of its own.
        listener.publish(&to.publish, "news", 1);
        assert_eq!(sender.expect_publish().text(), "news");
        let mut again = bridge.connect(version, &from);
        sender.expect_ended(0x8E);
        again.send(Publish::new(&from.publish, "later"));
        listener.expect_silence();
        told_once(&bridge, "publishes more bytes than it may, and is held back: nothing is lost");
    }
}

#[test]
fn nobody_is_held_back_unless_the_operator_says_so() {
    let bridge = Bridge::start();
    let (from, to) = ends(&bridge);
    let mut listener = bridge.connect(V5, &to);
    listener.subscribe(&to.subscribe, 1);
    let (mut sender, _) = bridge.connect_with(V5, &from, Connect::new("fast"));
    sender.publish_all(&from.publish, (0..5_000).map(|number: u32| number.to_string()));
    for number in 0..5_000 {
        listener.expect_payload(&number.to_string());
    }
    assert!(!bridge.log().contains("held back"));
}

fn ends(bridge: &Bridge) -> (Credentials, Credentials) {
    (bridge.credentials("connection-1", End::From), bridge.credentials("connection-1", End::To))
}

#[track_caller]
fn told_once(bridge: &Bridge, what: &str) {
    bridge.process().wait_for(what, DEADLINE, |line| line.contains(what).then_some(()));
    assert_eq!(bridge.log().matches(what).count(), 1);
}
