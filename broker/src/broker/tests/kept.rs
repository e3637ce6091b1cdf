//! Sessions that are kept.

use symqtt_codec::v5::{PubComp, PubRel, PubRelProperties, Unsubscribe, UnsubscribeProperties};

use super::*;
use crate::store::{Change, SessionRecord};

/// Regression: a PUBREL that came while an earlier one was waiting for its commit (on the same connection or on the one
/// before) was answered at once. Had the process died then, the identifier would not have been free in the store, and the
/// next message under it would have been taken for a duplicate and lost.
#[tokio::test]
async fn a_second_pubrel_is_not_answered_before_the_identifier_is_free_in_the_store() {
    let directory = tempfile::tempdir().unwrap();
    let world = World::kept_in(directory.path());
    let mut client = world.connect(named("a", 60)).await;
    client.publish("t", QoS::ExactlyOnce).await;
    assert!(matches!(client.next().await, Some(Packet::PubRec(_))));
    let pubrel = || {
        let properties = PubRelProperties::default();
        Packet::PubRel(PubRel { pkid: 1, reason_code: ReasonCode::Success, properties })
    };
    client.send_all([pubrel(), pubrel()]).await;
    let mut reasons = Vec::new();
    for _ in 0..2 {
        match client.next().await {
            Some(Packet::PubComp(PubComp { reason_code, .. })) => reasons.push(reason_code),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(reasons, [ReasonCode::Success, ReasonCode::PacketIdentifierNotFound]);
}

/// Regression: a client that asked for a session that outlives its connection, while another connection had just made one
/// that does not, was given that one: nothing of it was kept.
#[tokio::test]
async fn a_session_that_is_to_stay_is_kept_even_if_another_connection_made_one_that_is_not() {
    let directory = tempfile::tempdir().unwrap();
    let world = World::kept_in(directory.path());
    let made = world.broker.shared.open_session("anonymous", "a", false).await.unwrap();
    assert_eq!(made.slot, None);
    let (_client, present) = world.connect_for(named("a", 60)).await;
    assert!(!present);
    let sessions = world.broker.shared.sessions.of("anonymous");
    assert!(matches!(&sessions[..], [session] if session.slot.is_some()));
    assert!(made.has_ended());
}

/// Regression: an UNSUBSCRIBE of very many filters kept the store's thread busy for everybody.
#[tokio::test]
async fn an_unsubscribe_of_very_many_filters_is_no_burden_for_the_store() {
    let directory = tempfile::tempdir().unwrap();
    let world = World::kept_in(directory.path());
    let mut client = world.connect(named("a", 60)).await;
    client.subscribe("last").await;
    let before = changes(&world);
    let topics: Vec<_> = (0..10_000).map(|n| format!("{n}")).chain(["last".to_owned()]).collect();
    client
        .send(Packet::Unsubscribe(Unsubscribe {
            pkid: 2,
            properties: UnsubscribeProperties::default(),
            topics,
        }))
        .await;
    match client.next().await {
        Some(Packet::UnsubAck(unsuback)) => {
            assert_eq!(unsuback.reason_codes.len(), 10_001);
            assert_eq!(unsuback.reason_codes.last(), Some(&ReasonCode::Success));
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(changes(&world) - before, 1);
}

#[tokio::test]
async fn a_qos_2_message_of_a_kept_session_reaches_one_that_is_not_kept() {
    let directory = tempfile::tempdir().unwrap();
    let world = World::kept_in(directory.path());
    let mut hears = world.connect(named("hears", 0)).await;
    hears.subscribe_at("t", QoS::ExactlyOnce).await;
    let mut says = world.connect(named("says", 60)).await;
    says.publish("t", QoS::ExactlyOnce).await;
    assert!(matches!(says.next().await, Some(Packet::PubRec(_))));
    match hears.next().await {
        Some(Packet::Publish(publish)) => assert_eq!(publish.qos, QoS::ExactlyOnce),
        other => panic!("{other:?}"),
    }
}

/// Regression: a process that died between the beginning of a session and the removal of the one that it replaced left both
/// behind; both were restored, and one of them nobody could reach any more.
#[tokio::test]
async fn of_two_kept_sessions_of_the_same_client_only_the_newer_one_is_restored() {
    let directory = tempfile::tempdir().unwrap();
    let settings = StoreSettings { directory: directory.path().to_owned(), durability: Durability::Buffered };
    let (store, _) = Store::open(&settings, |_| {}).unwrap();
    let now = clock::unix_ms();
    for (slot, left_at) in [(1, Some(now - 2_000)), (2, None), (3, Some(now - 1_000))] {
        let client_id = "a".into();
        let (name, expiry, sent_below, will) = ("anonymous".into(), 1_000, 0, None);
        let record = SessionRecord { slot, name, client_id, expiry, left_at, sent_below, will };
        store.submit(vec![Change::PutSession(record)], None);
    }
    store.close();
    let world = World::kept_in(directory.path());
    let slots = || world.broker.shared.sessions.all().iter().map(|session| session.slot).collect::<Vec<_>>();
    assert_eq!(slots(), [Some(2)]);
    world.broker.stop().await;
    let (_, contents) = Store::open(&settings, |_| {}).unwrap();
    assert_eq!(contents.sessions.iter().map(|session| session.record.slot).collect::<Vec<_>>(), [2]);
}

fn changes(world: &World) -> u64 {
    world.broker.shared.keeper.as_ref().unwrap().store.statistics().changes
}
