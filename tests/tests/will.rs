//! Will Messages: when they are published, when not, and with what.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::time::{Duration, Instant};

use ior_tests::{
    Broker, ON_BOTH_VERSIONS,
    raw::{
        Client, Connect, Disconnect, Property,
        Version::{self, V5, V311},
        Will,
    },
};

#[test]
fn a_lost_connection_publishes_the_will() {
    let broker = Broker::start();
    for version in ON_BOTH_VERSIONS {
        let mut listener = listener(&broker, version);
        for qos in 0..=2 {
            let will = Will::new("wills/a", format!("at {qos}")).qos(qos);
            broker.connect_with(version, Connect::new("mortal").will(will)).0.cut();
            let message = listener.expect_payload(&format!("at {qos}"));
            assert_eq!((message.topic.as_str(), message.qos, message.retain), ("wills/a", qos, false));
        }
        listener.expect_silence();
    }
}

#[test]
fn a_clean_disconnect_cancels_the_will() {
    let broker = Broker::start();
    for version in ON_BOTH_VERSIONS {
        let mut listener = listener(&broker, version);
        broker
            .connect_with(version, Connect::new("polite").will(Will::new("wills/a", "x").qos(1)))
            .0
            .disconnect();
        // Neither now nor when the next connection of the same client is lost.
        broker.connect(version, "polite").cut();
        broker
            .connect_with(version, Connect::new("marker").will(Will::new("wills/m", "marker").qos(1)))
            .0
            .cut();
        listener.expect_payload("marker");
    }
}

#[test]
fn disconnect_with_will_publishes_it() {
    let broker = Broker::start();
    let mut listener = listener(&broker, V5);
    for reason in [0x04, 0x80, 0x81, 0x82, 0x97] {
        let will = Will::new("wills/a", reason.to_string()).qos(1);
        let (client, _) = broker.connect_with(V5, Connect::new("leaves").will(will));
        client.disconnect_with(Disconnect::default().reason(reason));
        listener.expect_payload(&reason.to_string());
    }
    listener.expect_silence();
}

#[test]
fn a_keep_alive_time_out_publishes_the_will() {
    let broker = Broker::start();
    for version in ON_BOTH_VERSIONS {
        let mut listener = listener(&broker, version);
        let will = Will::new("wills/a", "silent").qos(1);
        let _client = broker.connect_with(version, Connect::new("silent").keep_alive(1).will(will));
        listener.expect_payload("silent");
    }
}

#[test]
fn a_protocol_error_publishes_the_will() {
    let broker = Broker::start();
    for version in ON_BOTH_VERSIONS {
        let mut listener = listener(&broker, version);
        let will = Will::new("wills/a", "wrong").qos(1);
        let (mut client, _) = broker.connect_with(version, Connect::new("wrong").will(will));
        client.send(Connect::new("again"));
        client.expect_ended(0x82);
        listener.expect_payload("wrong");
    }
}

#[test]
fn a_takeover_publishes_the_will_of_the_old_connection() {
    let broker = Broker::start();
    for version in ON_BOTH_VERSIONS {
        let mut listener = listener(&broker, version);
        for persistent in [false, true] {
            let connect = |text: &str| {
                let connect = Connect::new("moves").will(Will::new("wills/a", text).qos(1));
                if persistent { connect.persistent(version) } else { connect }
            };
            let (mut old, _) = broker.connect_with(version, connect("old"));
            let (new, _) = broker.connect_with(version, connect("new"));
            old.expect_ended(0x8E);
            listener.expect_payload("old");
            listener.expect_silence();
            new.disconnect();
            broker.connect(version, "moves").disconnect();
        }
        listener.expect_silence();
    }
}

#[test]
fn a_takeover_that_resumes_in_time_cancels_a_delayed_will() {
    let broker = Broker::start();
    let mut listener = listener(&broker, V5);
    let delayed = |id: &str| {
        let will = Will::new("wills/a", id).qos(1).property(Property::WillDelay(1));
        Connect::new(id).persistent(V5).will(will)
    };
    let (mut old, _) = broker.connect_with(V5, delayed("moves"));
    let (mut new, present) = broker.connect_with(V5, delayed("moves"));
    assert!(present);
    old.expect_ended(0x8E);
    broker.connect_with(V5, delayed("clock")).0.cut();
    listener.expect_payload("clock");
    new.expect_silence();
    listener.expect_silence();
}

#[test]
fn a_clean_takeover_ends_the_session_and_so_the_delay() {
    let broker = Broker::start();
    let mut listener = listener(&broker, V5);
    let will = Will::new("wills/a", "ended").qos(1).property(Property::WillDelay(600));
    let (mut old, _) = broker.connect_with(V5, Connect::new("moves").persistent(V5).will(will));
    let _new = broker.connect(V5, "moves");
    old.expect_ended(0x8E);
    listener.expect_payload("ended");
}

#[test]
fn a_clean_start_after_the_connection_was_lost_ends_the_delay() {
    let broker = Broker::start();
    let mut listener = listener(&broker, V5);
    let will = Will::new("wills/a", "ended").qos(1).property(Property::WillDelay(600));
    broker.connect_with(V5, Connect::new("again").persistent(V5).will(will)).0.cut();
    let _new = broker.connect(V5, "again");
    listener.expect_payload("ended");
}

#[test]
fn the_will_waits_for_its_delay() {
    let broker = Broker::start();
    let mut listener = listener(&broker, V5);
    let will = Will::new("wills/a", "late").qos(1).property(Property::WillDelay(2));
    let (client, _) = broker.connect_with(V5, Connect::new("delayed").persistent(V5).will(will));
    let start = Instant::now();
    client.cut();
    listener.expect_payload("late");
    assert!(start.elapsed() >= Duration::from_millis(1900), "published after {:?}", start.elapsed());
}

#[test]
fn coming_back_in_time_cancels_the_will() {
    let broker = Broker::start();
    let mut listener = listener(&broker, V5);
    let delayed = |id: &str| {
        let will = Will::new("wills/a", id).qos(1).property(Property::WillDelay(1));
        Connect::new(id).persistent(V5).will(will)
    };
    broker.connect_with(V5, delayed("back")).0.cut();
    let (mut back, present) = broker.connect_persistent(V5, "back");
    assert!(present);
    broker.connect_with(V5, delayed("clock")).0.cut();
    listener.expect_payload("clock");
    back.expect_silence();
    listener.expect_silence();
}

#[test]
fn the_end_of_the_session_ends_the_delay() {
    let broker = Broker::start();
    let mut listener = listener(&broker, V5);
    let delayed = |text: &str| Will::new("wills/a", text).qos(1).property(Property::WillDelay(600));
    // No expiry: the session ends with its connection.
    broker.connect_with(V5, Connect::new("at-once").will(delayed("at once"))).0.cut();
    listener.expect_payload("at once");
    let start = Instant::now();
    let connect = Connect::new("soon").property(Property::SessionExpiry(1)).will(delayed("soon"));
    broker.connect_with(V5, connect).0.cut();
    listener.expect_payload("soon");
    assert!(start.elapsed() >= Duration::from_millis(900), "published after {:?}", start.elapsed());
}

#[test]
fn disconnect_with_will_respects_the_delay() {
    let broker = Broker::start();
    let mut listener = listener(&broker, V5);
    let will = Will::new("wills/a", "late").qos(1).property(Property::WillDelay(1));
    let (client, _) = broker.connect_with(V5, Connect::new("leaves").persistent(V5).will(will));
    let start = Instant::now();
    client.disconnect_with(Disconnect::default().reason(4));
    listener.expect_payload("late");
    assert!(start.elapsed() >= Duration::from_millis(900), "published after {:?}", start.elapsed());
}

#[test]
fn the_will_is_published_once() {
    let broker = Broker::start();
    for version in ON_BOTH_VERSIONS {
        let mut listener = listener(&broker, version);
        let will = Will::new("wills/a", "once").qos(2);
        let (client, _) = broker.connect_with(version, Connect::new("mortal").persistent(version).will(will));
        client.cut();
        listener.expect_payload("once");
        broker.connect_persistent(version, "mortal").0.cut();
        broker
            .connect_with(version, Connect::new("marker").will(Will::new("wills/m", "marker").qos(2)))
            .0
            .cut();
        listener.expect_payload("marker");
        broker.connect(version, "mortal").disconnect();
    }
}

#[test]
fn the_wills_properties_are_passed_on() {
    let broker = Broker::start();
    let mut listener = listener(&broker, V5);
    let properties = [
        Property::PayloadFormat(1),
        Property::ContentType("text/plain".into()),
        Property::ResponseTopic("who/asks".into()),
        Property::CorrelationData(vec![1, 0, 2]),
        Property::user("z", "first"),
        Property::user("a", "second"),
        Property::user("z", "third"),
    ];
    let will = properties.iter().cloned().fold(Will::new("wills/a", "rich").qos(1), Will::property);
    let will = will.property(Property::WillDelay(0)).property(Property::MessageExpiry(600));
    broker.connect_with(V5, Connect::new("rich").will(will)).0.cut();
    let message = listener.expect_payload("rich");
    let users = |all: &[Property]| -> Vec<Property> {
        all.iter().filter(|property| matches!(property, Property::User(..))).cloned().collect()
    };
    assert_eq!(users(&message.properties), users(&properties));
    for property in &properties {
        assert!(message.properties.contains(property), "{property:?} is missing in {message:?}");
    }
    let expiry = |p: &Property| if let Property::MessageExpiry(n) = p { Some(*n) } else { None };
    let left = message.properties.iter().find_map(expiry).expect("a Message Expiry Interval");
    assert!((590..=600).contains(&left), "{left}");
}

#[test]
fn an_empty_will_is_published() {
    let broker = Broker::start();
    for version in ON_BOTH_VERSIONS {
        let mut listener = listener(&broker, version);
        broker
            .connect_with(version, Connect::new("mortal").will(Will::new("wills/empty", "").qos(1)))
            .0
            .cut();
        assert_eq!(listener.expect_payload("").topic, "wills/empty");
    }
}

#[test]
fn a_will_waits_for_those_who_are_away() {
    let broker = Broker::start();
    for version in ON_BOTH_VERSIONS {
        let id = format!("away-{version:?}");
        let (mut away, _) = broker.connect_persistent(version, &id);
        away.subscribe("wills/#", 1);
        away.disconnect();
        let mut witness = listener(&broker, version);
        broker.connect_with(version, Connect::new("mortal").will(Will::new("wills/a", "x").qos(1))).0.cut();
        witness.expect_payload("x");
        broker.connect_persistent(version, &id).0.expect_payload("x");
    }
}

#[test]
fn a_new_connect_replaces_the_will() {
    let broker = Broker::start();
    for version in [V311, V5] {
        let mut listener = listener(&broker, version);
        let connect =
            |text: &str| Connect::new("changes").persistent(version).will(Will::new("wills/a", text).qos(1));
        broker.connect_with(version, connect("first")).0.disconnect();
        broker.connect_with(version, connect("second")).0.cut();
        listener.expect_payload("second");
        listener.expect_silence();
        broker.connect(version, "changes").disconnect();
    }
}

fn listener(broker: &Broker, version: Version) -> Client {
    let mut listener = broker.connect(version, "listener");
    listener.subscribe("wills/#", 2);
    listener
}
