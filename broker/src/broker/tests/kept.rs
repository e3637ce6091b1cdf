//! Sessions that are kept.

use symqtt_codec::v5::{PubComp, PubRel, PubRelProperties, Unsubscribe, UnsubscribeProperties};

use super::*;

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

fn changes(world: &World) -> u64 {
    world.broker.shared.keeper.as_ref().unwrap().store.statistics().changes
}
