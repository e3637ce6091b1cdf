//! Subscriptions and messages of a right that was taken away, and of those that were not.

use symqtt_codec::v5::{PubComp, PubCompProperties, PubRec, PubRecProperties};

use super::*;
use crate::codec::QoS::{AtLeastOnce, ExactlyOnce};

#[tokio::test]
async fn of_a_session_without_a_connection_exactly_what_it_may_not_hear_goes() {
    for place in places() {
        let rooms = Rooms::new(&[("hears", &["a", "b"])]);
        let world = World::of(Arc::new(rooms.clone()), path(&place));
        let mut hears = world.connect(by("hears", "c", 60)).await;
        hears.subscribe("a/#").await;
        hears.subscribe("b/#").await;
        world.say_all(&["a/sent", "b/sent"]).await;
        for _ in 0..2 {
            hears.publish_of().await;
        }
        drop(hears);
        world.until_offline("hears").await;
        world.say_all(&["a/1", "b/1", "a/2", "a/3", "b/2"]).await;

        rooms.set("hears", &["b"]);
        let done = world.broker.reconsider().await;
        assert_eq!((done.subscriptions, done.messages, done.is_committed), (1, 4, true));
        assert_eq!(world.broker.sessions()[0].pending, 3);
        rooms.set("hears", &["a", "b"]);

        world.say_all(&["a/after", "b/after"]).await;
        let (mut hears, present) = world.connect_for(by("hears", "c", 60)).await;
        assert!(present);
        hears.expect(&["b/sent", "b/1", "b/2", "b/after"]).await;
        hears.subscribe("a/#").await;
        world.say_all(&["a/again"]).await;
        hears.expect(&["a/again"]).await;
        world.broker.stop().await;
    }
}

#[tokio::test]
async fn of_a_session_with_a_connection_exactly_what_it_may_not_hear_goes_and_the_connection_stays() {
    for place in places() {
        let rooms = Rooms::new(&[("hears", &["a", "b"])]);
        let world = World::of(Arc::new(rooms.clone()), path(&place));
        let mut connect = by("hears", "c", 60);
        connect.properties.receive_maximum = Some(2);
        let mut hears = world.connect(connect.clone()).await;
        hears.subscribe("a/#").await;
        hears.subscribe("b/#").await;
        world.say_all(&["a/1", "b/1", "a/2", "b/2", "a/3", "b/3"]).await;
        let a = hears.publish_of().await;
        assert_eq!(hears.publish_of().await.topic, "b/1");

        rooms.set("hears", &["b"]);
        let done = world.broker.reconsider().await;
        assert_eq!((done.subscriptions, done.messages), (1, 3));
        rooms.set("hears", &["a", "b"]);

        hears.ping().await;
        assert!(hears.input.is_empty(), "what is in flight keeps its place in the Receive Maximum");
        hears.acknowledge(a.pkid.unwrap()).await;
        assert_eq!(hears.publish_of().await.topic, "b/2");
        drop(hears);
        let (mut hears, present) = world.connect_for(connect).await;
        assert!(present);
        hears.expect(&["b/1", "b/2", "b/3"]).await;
        world.say_all(&["a/after", "b/after"]).await;
        hears.expect(&["b/after"]).await;
        world.broker.stop().await;
    }
}

#[tokio::test]
async fn what_was_in_flight_and_revoked_is_not_sent_again() {
    for place in places() {
        let rooms = Rooms::new(&[("hears", &["a", "b"])]);
        let world = World::of(Arc::new(rooms.clone()), path(&place));
        let mut hears = world.connect(by("hears", "c", 60)).await;
        hears.subscribe("a/#").await;
        world.say_all(&["a/1"]).await;
        hears.publish_of().await;
        rooms.set("hears", &["b"]);
        assert_eq!(world.broker.reconsider().await.messages, 1);
        rooms.set("hears", &["a", "b"]);
        drop(hears);
        let mut hears = world.connect(by("hears", "c", 60)).await;
        hears.subscribe("b/#").await;
        world.say_all(&["b/end"]).await;
        hears.expect(&["b/end"]).await;
        world.broker.stop().await;
    }
}

#[tokio::test]
async fn a_qos_2_handshake_that_has_begun_ends_properly() {
    for (place, returns) in places().into_iter().flat_map(|place| {
        let other = place.as_ref().map(|_| tempfile::tempdir().unwrap());
        [(place, false), (other, true)]
    }) {
        let rooms = Rooms::new(&[("hears", &["a"])]);
        let world = World::of(Arc::new(rooms.clone()), path(&place));
        let mut hears = world.connect(by("hears", "c", 60)).await;
        hears.subscribe_at("a/#", QoS::ExactlyOnce).await;
        world.say("a/1", ExactlyOnce).await;
        let pkid = hears.publish_of().await.pkid.unwrap();

        rooms.set("hears", &[]);
        assert_eq!(world.broker.reconsider().await.messages, 1);

        if returns {
            drop(hears);
            hears = world.connect(by("hears", "c", 60)).await;
        } else {
            let properties = PubRecProperties::default();
            hears.send(Packet::PubRec(PubRec { pkid, reason_code: ReasonCode::Success, properties })).await;
        }
        match hears.next().await {
            Some(Packet::PubRel(pubrel)) => {
                assert_eq!((pubrel.pkid, pubrel.reason_code), (pkid, ReasonCode::Success))
            }
            other => panic!("{other:?}"),
        }
        let properties = PubCompProperties::default();
        hears.send(Packet::PubComp(PubComp { pkid, reason_code: ReasonCode::Success, properties })).await;
        hears.ping().await;
        assert_eq!(world.broker.sessions()[0].pending, 0);
        world.broker.stop().await;
    }
}

/// What was revoked does not come back with the right, neither now nor after a restart, nor if the restart came between.
#[tokio::test]
async fn what_is_kept_and_was_revoked_does_not_come_back_with_the_right() {
    for while_it_runs in [true, false] {
        let directory = tempfile::tempdir().unwrap();
        let rooms = Rooms::new(&[("hears", &["a", "b"]), ("says", &["a", "b", "w"])]);
        let start = || World::of(Arc::new(rooms.clone()), Some(directory.path()));
        let world = start();
        let mut hears = world.connect(by("hears", "c", 600)).await;
        hears.subscribe("a/#").await;
        hears.subscribe("b/#").await;
        drop(hears);
        world.until_offline("hears").await;
        world.say_all(&["a/1", "b/1", "a/2", "b/2"]).await;
        let world = if while_it_runs {
            rooms.set("hears", &["b"]);
            assert!(world.broker.reconsider().await.is_committed);
            world
        } else {
            world.broker.stop().await;
            rooms.set("hears", &["b"]);
            start()
        };
        world.broker.stop().await;

        rooms.set("hears", &["a", "b"]);
        let world = start();
        let (mut hears, present) = world.connect_for(by("hears", "c", 600)).await;
        assert!(present);
        world.say_all(&["a/after", "b/after"]).await;
        hears.expect(&["b/1", "b/2", "b/after"]).await;
        world.broker.stop().await;
    }
}

#[tokio::test]
async fn whoever_waits_for_the_acknowledgement_of_a_message_that_is_revoked_is_answered() {
    let directory = tempfile::tempdir().unwrap();
    let rooms = Rooms::new(&[("hears", &["a"]), ("says", &["a"])]);
    let world = World::of(Arc::new(rooms.clone()), Some(directory.path()));
    let mut hears = world.connect(by("hears", "c", 600)).await;
    hears.subscribe("a/#").await;
    let mut says = world.connect(by("says", "s", 0)).await;
    says.publish("a/1", QoS::AtLeastOnce).await;
    hears.publish_of().await;
    rooms.set("hears", &[]);
    world.broker.reconsider().await;
    assert!(matches!(says.next().await, Some(Packet::PubAck(ack)) if ack.reason_code == ReasonCode::Success));
    world.broker.stop().await;
}

#[tokio::test]
async fn rights_that_did_not_change_change_nothing() {
    for place in places() {
        let rooms = Rooms::new(&[("hears", &["a"])]);
        let world = World::of(Arc::new(rooms), path(&place));
        let mut hears = world.connect(by("hears", "c", 60)).await;
        hears.subscribe("a/#").await;
        drop(hears);
        world.until_offline("hears").await;
        world.say("a/1", AtLeastOnce).await;
        let done = world.broker.reconsider().await;
        assert_eq!(done, Reconsidered { is_committed: true, ..Reconsidered::default() });
        world.connect(by("hears", "c", 60)).await.expect(&["a/1"]).await;
        world.broker.stop().await;
    }
}
