//! Sessions: how long they last, what they keep, and who may take them over.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use ior_tests::{
    Broker, ON_BOTH_VERSIONS,
    raw::{
        Connect, Disconnect, Kind, Property, Subscribe,
        Version::{V5, V311},
        Will,
    },
};

#[test]
fn messages_wait_while_the_client_is_away() {
    const COUNT: usize = 300;
    let broker = Broker::start();
    for version in ON_BOTH_VERSIONS {
        let id = format!("away-{version:?}");
        let (mut subscriber, _) = broker.connect_persistent(version, &id);
        subscriber.subscribe("inbox/#", 2);
        subscriber.disconnect();
        let mut publisher = broker.connect(version, "publisher");
        for number in 0..COUNT {
            publisher.publish("inbox/a", number.to_string(), 1 + (number % 2) as u8);
        }
        let (mut subscriber, present) = broker.connect_persistent(version, &id);
        assert!(present);
        for number in 0..COUNT {
            let message = subscriber.expect_payload(&number.to_string());
            assert_eq!(message.qos, 1 + (number % 2) as u8);
        }
        // The subscription is still there, without another SUBSCRIBE.
        publisher.publish("inbox/b", "live", 0);
        subscriber.expect_payload("live");
    }
}

#[test]
fn what_waits_is_sent_at_the_subscribed_qos() {
    let broker = Broker::start();
    for version in ON_BOTH_VERSIONS {
        let id = format!("lower-{version:?}");
        let (mut subscriber, _) = broker.connect_persistent(version, &id);
        subscriber.subscribe("inbox", 1);
        subscriber.cut();
        broker.connect(version, "publisher").publish("inbox", "x", 2);
        let (mut subscriber, _) = broker.connect_persistent(version, &id);
        assert_eq!(subscriber.expect_payload("x").qos, 1);
    }
}

#[test]
fn a_clean_session_keeps_nothing() {
    let broker = Broker::start();
    for version in ON_BOTH_VERSIONS {
        let mut subscriber = broker.connect(version, "clean");
        subscriber.subscribe("inbox", 1);
        subscriber.cut();
        let mut publisher = broker.connect(version, "publisher");
        publisher.publish("inbox", "lost", 1);
        let (mut subscriber, present) = broker.connect_persistent(version, "clean");
        assert!(!present);
        publisher.publish("inbox", "lost too", 1);
        subscriber.expect_silence();
        subscriber.disconnect();
        broker.connect(version, "clean").disconnect();
    }
}

#[test]
fn a_clean_start_discards_subscriptions_and_queue() {
    let broker = Broker::start();
    for version in ON_BOTH_VERSIONS {
        let id = format!("fresh-{version:?}");
        let (mut subscriber, _) = broker.connect_persistent(version, &id);
        subscriber.subscribe("inbox", 2);
        let mut publisher = broker.connect(version, "publisher");
        publisher.publish("inbox", "in flight", 2);
        subscriber.expect_publish();
        subscriber.cut();
        publisher.publish("inbox", "queued", 1);
        let (mut subscriber, present) = broker.connect_with(version, Connect::new(&id));
        assert!(!present);
        publisher.publish("inbox", "later", 1);
        subscriber.expect_silence();
    }
}

#[test]
fn clean_start_and_a_session_that_lasts_go_together() {
    let broker = Broker::start();
    let (mut client, present) =
        broker.connect_with(V5, Connect::new("both").property(Property::SessionExpiry(600)));
    assert!(!present);
    client.subscribe("inbox", 1);
    client.disconnect();
    broker.connect(V5, "publisher").publish("inbox", "kept", 1);
    let (mut client, present) = broker.connect_with(V5, Connect::new("both").clean(false));
    assert!(present);
    client.expect_payload("kept");
    // This connection asked for no expiry, so the session ends with it.
    client.disconnect();
    let (_, present) = broker.connect_with(V5, Connect::new("both").clean(false));
    assert!(!present);
}

#[test]
fn a_session_expires() {
    let broker = Broker::start();
    let mut listener = broker.connect(V5, "listener");
    listener.subscribe("wills/#", 1);
    let short = Connect::new("short").clean(false).property(Property::SessionExpiry(1));
    let will = Will::new("wills/short", "expired").qos(1).property(Property::WillDelay(60));
    let (mut client, _) = broker.connect_with(V5, short.clone().will(will));
    client.subscribe("inbox", 1);
    client.cut();
    // The end of a session publishes its will: so we know when it has happened without sleeping.
    listener.expect_payload("expired");
    let mut publisher = broker.connect(V5, "publisher");
    publisher.publish("inbox", "too late", 1);
    let (mut client, present) = broker.connect_with(V5, short);
    assert!(!present);
    publisher.publish("inbox", "still nobody", 1);
    client.expect_silence();
}

#[test]
fn a_session_that_is_resumed_in_time_does_not_expire() {
    let broker = Broker::start();
    let mut listener = broker.connect(V5, "listener");
    listener.subscribe("wills/#", 1);
    let connect = |id: &str, will: &str| {
        let will = Will::new(&format!("wills/{will}"), will).qos(1).property(Property::WillDelay(60));
        Connect::new(id).clean(false).property(Property::SessionExpiry(1)).will(will)
    };
    let (client, _) = broker.connect_with(V5, connect("resumes", "resumes"));
    client.cut();
    let (mut client, present) = broker.connect_with(V5, connect("resumes", "resumes"));
    assert!(present);
    broker.connect_with(V5, connect("clock", "clock")).0.cut();
    // Its second has passed, so that of the first connection of the other has passed, too.
    listener.expect_payload("clock");
    client.expect_silence();
    client.disconnect();
    let (_, present) = broker.connect_with(V5, connect("resumes", "resumes"));
    assert!(present);
}

#[test]
fn the_longest_expiry_never_ends() {
    let broker = Broker::start();
    let connect = Connect::new("forever").clean(false).property(Property::SessionExpiry(u32::MAX));
    broker.connect_with(V5, connect.clone()).0.disconnect();
    assert!(broker.connect_with(V5, connect).1);
}

#[test]
fn disconnect_can_end_the_session() {
    let broker = Broker::start();
    let (client, _) = broker.connect_persistent(V5, "leaves");
    client.disconnect_with(Disconnect::default().reason(0).property(Property::SessionExpiry(0)));
    assert!(!broker.connect_persistent(V5, "leaves").1);
}

#[test]
fn disconnect_can_change_the_expiry() {
    let broker = Broker::start();
    let (client, _) =
        broker.connect_with(V5, Connect::new("longer").clean(false).property(Property::SessionExpiry(1)));
    client.disconnect_with(Disconnect::default().reason(0).property(Property::SessionExpiry(600)));
    // Another session of one second tells when the first would have expired.
    let mut listener = broker.connect(V5, "listener");
    listener.subscribe("wills/#", 1);
    let will = Will::new("wills/clock", "expired").qos(1).property(Property::WillDelay(60));
    let clock = Connect::new("clock").property(Property::SessionExpiry(1)).will(will);
    broker.connect_with(V5, clock).0.cut();
    listener.expect_payload("expired");
    assert!(broker.connect_persistent(V5, "longer").1);
}

#[test]
fn disconnect_cannot_give_expiry_to_a_session_without_one() {
    let broker = Broker::start();
    let mut client = broker.connect(V5, "wants-more");
    client.send(Disconnect::default().reason(0).property(Property::SessionExpiry(60)));
    client.expect_ended(0x82);
    assert!(!broker.connect_persistent(V5, "wants-more").1);
}

#[test]
fn a_second_connection_takes_the_session_over() {
    let broker = Broker::start();
    for old_version in ON_BOTH_VERSIONS {
        for new_version in ON_BOTH_VERSIONS {
            let mut old = broker.connect(old_version, "same");
            let mut new = broker.connect(new_version, "same");
            old.expect_ended(0x8E);
            new.expect_silence();
        }
    }
}

#[test]
fn takeover_keeps_subscriptions_and_what_is_in_flight() {
    let broker = Broker::start();
    for version in ON_BOTH_VERSIONS {
        let id = format!("moves-{version:?}");
        let (mut old, _) = broker.connect_persistent(version, &id);
        old.subscribe("inbox", 2);
        let mut publisher = broker.connect(version, "publisher");
        publisher.publish("inbox", "one", 1);
        publisher.publish("inbox", "two", 2);
        let one = old.expect_publish();
        let two = old.expect_publish();
        old.acknowledge(Kind::PubRec, two.id);
        old.expect_success(Kind::PubRel, two.id);
        let (mut new, present) = broker.connect_persistent(version, &id);
        assert!(present);
        old.expect_ended(0x8E);
        let again = new.expect_publish();
        assert!(again.dup && again.id == one.id && again.text() == "one", "{again:?}");
        new.expect_success(Kind::PubRel, two.id);
        new.acknowledge(Kind::PubAck, again.id);
        new.acknowledge(Kind::PubComp, two.id);
        publisher.publish("inbox", "three", 1);
        new.expect_payload("three");
    }
}

#[test]
fn a_clean_takeover_starts_anew() {
    let broker = Broker::start();
    for version in ON_BOTH_VERSIONS {
        let id = format!("anew-{version:?}");
        let (mut old, _) = broker.connect_persistent(version, &id);
        old.subscribe("inbox", 1);
        let (mut new, present) = broker.connect_with(version, Connect::new(&id));
        assert!(!present);
        old.expect_ended(0x8E);
        broker.connect(version, "publisher").publish("inbox", "x", 1);
        new.expect_silence();
    }
}

#[test]
fn many_takeovers_in_a_row_leave_one_connection() {
    let broker = Broker::start();
    for version in ON_BOTH_VERSIONS {
        let id = format!("hot-{version:?}");
        let mut all: Vec<_> = (0..50).map(|_| broker.connect_persistent(version, &id).0).collect();
        let mut last = all.pop().unwrap();
        for mut old in all {
            old.expect_ended(0x8E);
        }
        last.subscribe("inbox", 1);
        broker.connect(version, "publisher").publish("inbox", "x", 1);
        last.expect_payload("x");
        last.expect_silence();
    }
}

#[test]
fn the_same_client_identifier_of_another_user_is_another_session() {
    let broker = Broker::start();
    for version in ON_BOTH_VERSIONS {
        let connect = |user: &str| {
            Connect::new(&format!("shared-{version:?}")).persistent(version).user_name(user).password("x")
        };
        let (mut alice, _) = broker.connect_with(version, connect("alice"));
        alice.subscribe("for/alice", 1);
        let (mut bob, present) = broker.connect_with(version, connect("bob"));
        assert!(!present, "bob sees alice's session");
        alice.expect_silence();
        alice.disconnect();
        broker.connect(version, "publisher").publish("for/alice", "secret", 1);
        bob.expect_silence();
        bob.disconnect();
        assert!(broker.connect_with(version, connect("bob")).1);
        let (mut alice, present) = broker.connect_with(version, connect("alice"));
        assert!(present);
        alice.expect_payload("secret");
    }
}

#[test]
fn subscription_options_are_kept_with_the_session() {
    let broker = Broker::start();
    let (mut client, _) = broker.connect_persistent(V5, "options");
    let options = 1 | Subscribe::NO_LOCAL | Subscribe::RETAIN_AS_PUBLISHED;
    client.send(Subscribe::new(1).filter("opt", options).property(Property::SubscriptionId(77)));
    assert_eq!(client.expect_suback(1), [1]);
    client.disconnect();
    let mut publisher = broker.connect(V5, "publisher");
    publisher.publish_retained("opt", "queued", 1);
    let (mut client, _) = broker.connect_persistent(V5, "options");
    let message = client.expect_payload("queued");
    assert!(message.retain, "Retain As Published");
    assert_eq!(message.subscription_ids(), [77]);
    client.publish("opt", "own", 1);
    publisher.publish("opt", "marker", 1);
    assert_eq!(client.expect_payload("marker").subscription_ids(), [77]);
}

#[test]
fn the_queue_of_a_v311_session_outlives_many_connections() {
    let broker = Broker::start();
    let (mut client, _) = broker.connect_persistent(V311, "flaky");
    client.subscribe("inbox", 1);
    let mut publisher = broker.connect(V311, "publisher");
    for number in 0..20 {
        publisher.publish("inbox", number.to_string(), 1);
        client.cut();
        client = broker.connect_persistent(V311, "flaky").0;
    }
    for number in 0..20 {
        client.expect_payload(&number.to_string());
    }
    client.expect_silence();
}
