//! Strange characters wherever a client may name something, through the real bridge.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use ior_tests::{
    Audience, Bridge, Credentials, DEADLINE, End, Heard, ON_BOTH_VERSIONS, World,
    raw::{
        Connect, Packet, Publish, Subscribe,
        Version::{V5, V311},
        Will,
    },
};
use serde_json::Value;

/// What no text of a packet may hold.
const MALFORMED: &[&[u8]] = &[
    b"\0",
    b"a\0b",
    b"\xFF",
    b"\xC0\x80",
    b"\xC0\xAF",
    b"\xED\xA0\x80",
    b"\xED\xBF\xBF",
    b"\xED\xA0\xBD\xED\xB8\x80",
    b"\xF4\x90\x80\x80",
    b"\xF8\x88\x80\x80\x80",
    b"\xE2\x82",
];

/// What is allowed, each another text than all the others.
const STRANGE: &[&str] = &[
    "x",
    "X",
    " x",
    "x ",
    "\u{FEFF}x",
    "x\u{FEFF}",
    "\u{200B}x",
    "\u{202E}x",
    "\u{1}",
    "\u{7F}",
    "\u{85}",
    "\u{9F}",
    "\t",
    "\n",
    "x\r\nx",
    "\u{1b}[2J",
    "\u{C4}",
    "A\u{308}",
    "\u{FFFD}",
    "\u{FDD0}",
    "\u{FFFF}",
    "\u{10FFFF}",
    "\u{FF58}",
    "..",
    "%00",
    "\\0",
    "'; DROP TABLE sessions; --",
    "{\"a\":1}",
    "${HOME}",
    "$SYS",
];

/// Only in names that are no topics: there they are levels and wildcards.
const SEPARATORS: &[&str] = &["/", "//", "x/", "+", "#", "x/+", "x/#", "$share/g/x"];

#[test]
fn a_user_name_that_only_looks_like_a_devices_is_nobodys() {
    let bridge = World::empty().answering_at_once().start();
    let (from, _) = ends(&bridge);
    let name = from.login.username.as_bytes();
    let additions = MALFORMED.iter().copied().chain(texts());
    let mut names: Vec<Vec<u8>> =
        additions.flat_map(|text| [text.to_vec(), [name, text].concat(), [text, name].concat()]).collect();
    names.extend(
        [
            "default.\u{FF14}569",
            "d\u{E9}fault.4569",
            "d\u{435}fault.4569",
            "default\u{2024}4569",
            "default.04569",
        ]
        .map(|name| name.as_bytes().to_vec()),
    );
    for version in ON_BOTH_VERSIONS {
        for name in &names {
            let mut client = bridge.open(version);
            client.send(Connect::new("guest").user_name(name).password(&from.login.password));
            match client.receive_or_closed() {
                Some(Packet::ConnAck(ack)) => {
                    let refusals: &[u8] = if version == V5 { &[0x81, 0x86] } else { &[4] };
                    assert!(refusals.contains(&ack.code), "{name:02x?}: {:#04x}", ack.code);
                    client.expect_closed();
                }
                None => assert_eq!(version, V311, "MQTT 5 is told why ({name:02x?})"),
                other => panic!("{name:02x?}: {other:?}"),
            }
        }
    }
    bridge.assert_unharmed(&from);
}

#[test]
fn strange_client_identifiers_name_sessions_of_their_own() {
    let names: Vec<&str> = STRANGE.iter().chain(SEPARATORS).copied().collect();
    for version in ON_BOTH_VERSIONS {
        let world = World::durable().env("IOR_BRIDGE__LIMITS__SESSIONS_PER_DEVICE", "100");
        let bridge = world.start();
        let (from, to) = ends(&bridge);
        let mut publisher = bridge.connect(version, &from);
        let session = |bridge: &Bridge, name: &str| {
            bridge.connect_with(version, &to, Connect::new(name).persistent(version))
        };
        for (number, name) in names.iter().enumerate() {
            let (mut client, present) = session(&bridge, name);
            assert!(!present, "{name:?} is the session of another name");
            client.subscribe(&format!("{}/{number}", from.publish), 1);
            client.disconnect();
        }
        for number in 0..names.len() {
            publisher.publish(&format!("{}/{number}", from.publish), number.to_string(), 1);
        }
        publisher.disconnect();
        let bridge = bridge.restart();
        for (number, name) in names.iter().enumerate() {
            let (mut client, present) = session(&bridge, name);
            assert!(present, "{name:?} is gone");
            client.expect_payload(&number.to_string());
            client.expect_silence();
        }
        bridge.assert_unharmed(&from);
    }
}

#[test]
fn malformed_client_identifiers_are_refused() {
    let bridge = Bridge::start();
    let (from, _) = ends(&bridge);
    for version in ON_BOTH_VERSIONS {
        for name in MALFORMED {
            let mut client = bridge.open(version);
            client.send(login(&from, name));
            match client.receive_or_closed() {
                Some(Packet::ConnAck(ack)) => {
                    assert!(version == V5 && [0x81, 0x85].contains(&ack.code), "{name:02x?}: {ack:?}");
                }
                None => assert_eq!(version, V311, "MQTT 5 is told why ({name:02x?})"),
                other => panic!("{name:02x?}: {other:?}"),
            }
        }
    }
    bridge.assert_unharmed(&from);
}

#[test]
fn strange_topics_and_filters_pass_unaltered() {
    let bridge = Bridge::start();
    let (from, to) = ends(&bridge);
    let mut audience = Audience::of(&bridge);
    for version in ON_BOTH_VERSIONS {
        let mut publisher = bridge.connect(version, &from);
        for name in STRANGE {
            let topic = format!("{}/{name}", from.publish);
            let mut exact = bridge.connect_with(version, &to, Connect::new("exact")).0;
            exact.subscribe(&topic, 2);
            for qos in 0..=2 {
                publisher.publish(&topic, "x", qos);
                assert_eq!(exact.expect_message().topic, topic);
                assert_eq!(audience.heard(), [heard(&to, &topic, "x")]);
            }
            // The others do not match this filter.
            for other in STRANGE.iter().filter(|other| *other != name) {
                publisher.publish(&format!("{}/{other}", from.publish), "other", 1);
            }
            publisher.publish(&topic, "end", 1);
            exact.expect_payload("end");
            audience.heard();
        }
    }
    bridge.assert_unharmed(&from);
}

#[test]
fn strange_topics_in_front_of_the_own_are_other_topics() {
    let bridge = Bridge::start();
    let (from, to) = ends(&bridge);
    let mut audience = Audience::of(&bridge);
    for version in ON_BOTH_VERSIONS {
        let denied = if version == V5 { 0x87 } else { 0x80 };
        for name in STRANGE {
            for (topic, filter) in [
                (format!("{name}{}", from.publish), format!("{name}{}", from.publish)),
                (format!("{}{name}", from.publish), format!("{}{name}", from.publish)),
                (format!("{name}/{}", from.publish), format!("{name}/{}/#", from.publish)),
            ] {
                let mut publisher = bridge.connect(version, &from);
                publisher.send(Publish::new(&topic, "denied"));
                publisher.expect_ended(0x87);
                let mut subscriber = bridge.connect(version, &to);
                subscriber.send(Subscribe::new(1).filter(&filter, 1));
                assert_eq!(subscriber.expect_suback(1), [denied], "{filter:?}");
            }
        }
        audience.expect_silence();
    }
    bridge.assert_unharmed(&from);
}

#[test]
fn malformed_topics_filters_and_will_topics_are_refused() {
    let bridge = Bridge::start();
    let (from, to) = ends(&bridge);
    let mut audience = Audience::of(&bridge);
    for version in ON_BOTH_VERSIONS {
        for name in MALFORMED {
            let topic = [from.publish.as_bytes(), b"/", name].concat();
            for qos in 0..=2 {
                let mut publisher = bridge.connect(version, &from);
                let publish = Publish::new(&topic, "malformed").retain();
                publisher.send(if qos == 0 { publish } else { publish.qos(qos, 1) });
                publisher.expect_ended(0x81);
            }
            let mut subscriber = bridge.connect(version, &to);
            subscriber.send(Subscribe::new(1).filter(&topic, 1).filter(&to.subscribe, 1));
            subscriber.expect_ended(0x81);
            let mut mortal = bridge.open(version);
            mortal.send(login(&from, "mortal").will(Will::new(&topic, "malformed").retain()));
            match mortal.receive_or_closed() {
                Some(Packet::ConnAck(ack)) => assert!(version == V5 && ack.code == 0x81, "{ack:?}"),
                None => assert_eq!(version, V311, "MQTT 5 is told why ({name:02x?})"),
                other => panic!("{name:02x?}: {other:?}"),
            }
        }
        audience.expect_silence();
    }
    audience.expect_nothing_retained(&bridge);
    bridge.assert_unharmed(&from);
}

#[test]
fn strange_will_topics_are_the_own_or_refused() {
    let bridge = Bridge::start();
    let (from, to) = ends(&bridge);
    let mut audience = Audience::of(&bridge);
    for version in ON_BOTH_VERSIONS {
        for name in STRANGE {
            let topic = format!("{}/{name}", from.publish);
            let will = Will::new(&topic, "gone").qos(1);
            bridge.connect_with(version, &from, Connect::new("mortal").will(will)).0.cut();
            audience.expect(&[heard(&to, &topic, "gone")]);
            for topic in [format!("{name}{}", from.publish), format!("{}{name}", from.publish)] {
                let mut mortal = bridge.open(version);
                mortal.send(login(&from, "mortal").will(Will::new(&topic, "gone").qos(1)));
                assert_eq!(mortal.expect_connack().code, if version == V5 { 0x87 } else { 5 }, "{topic:?}");
            }
        }
        for wildcard in ["+", "#", "a/+", "+/a", "a/#", "#/a", "a+", "a#"] {
            let mut mortal = bridge.open(version);
            let topic = format!("{}/{wildcard}", from.publish);
            mortal.send(login(&from, "mortal").will(Will::new(&topic, "gone").qos(1)));
            let refused = match mortal.receive_or_closed() {
                Some(Packet::ConnAck(ack)) => version == V5 && [0x81, 0x82, 0x90].contains(&ack.code),
                None => version == V311,
                _ => false,
            };
            assert!(refused, "{topic}");
        }
        audience.expect_silence();
    }
    bridge.assert_unharmed(&from);
}

#[test]
fn nothing_that_a_client_sends_begins_a_line_of_the_log() {
    for format in ["text", "json"] {
        let bridge = World::empty().answering_at_once().env("IOR_BRIDGE__LOG__FORMAT", format).start();
        let (from, to) = ends(&bridge);
        for version in ON_BOTH_VERSIONS {
            for evil in [
                "\n2026-01-01T00:00:00.000000Z  INFO forged: all is well",
                "\r\u{1b}[2K\u{1b}[1Aforged",
                "\u{85}forged",
                "\u{2028}forged",
                "\"}\n{\"forged\":\"yes",
            ] {
                let mut stranger = bridge.open(version);
                stranger.send(Connect::new(evil).user_name(evil).password(evil));
                assert_ne!(stranger.expect_connack().code, 0);
                let mut device = bridge.connect_with(version, &from, Connect::new(evil)).0;
                device.send(Subscribe::new(1).filter(evil, 1));
                device.expect_suback(1);
                device.send(Publish::new(evil, evil));
                device.expect_ended(0x87);
                let mut mortal = bridge.open(version);
                mortal.send(login(&from, evil).will(Will::new(evil, evil)));
                assert_ne!(mortal.expect_connack().code, 0);
            }
        }
        bridge.connect_with(V5, &to, Connect::new("the last one")).0.disconnect();
        bridge.process().wait_for("last line", DEADLINE, |line| {
            (line.contains("the last one") && line.contains("disconnected")).then_some(())
        });
        let log = bridge.log();
        assert!(!log.contains(|c: char| c.is_control() && c != '\n'), "{log:?}");
        for line in log.lines().filter(|line| !line.is_empty()) {
            assert!(!line.contains('\u{2028}'), "{line:?}");
            if format == "json" {
                assert!(serde_json::from_str::<Value>(line).unwrap().is_object(), "{line}");
            } else {
                let is_date = |c: char| c.is_ascii_digit() || "-T:.Z".contains(c);
                assert!(line.split(' ').next().unwrap().chars().all(is_date), "{line}");
            }
        }
    }
}

fn ends(bridge: &Bridge) -> (Credentials, Credentials) {
    (bridge.credentials("connection-1", End::From), bridge.credentials("connection-1", End::To))
}

fn texts() -> impl Iterator<Item = &'static [u8]> {
    STRANGE.iter().chain(SEPARATORS).map(|text| text.as_bytes())
}

fn login(who: &Credentials, client_id: &(impl AsRef<[u8]> + ?Sized)) -> Connect {
    Connect::new(client_id).user_name(&who.login.username).password(&who.login.password)
}

fn heard(by: &Credentials, topic: &str, payload: &str) -> Heard {
    Heard { by: by.login.username.clone(), topic: topic.into(), payload: payload.into() }
}
