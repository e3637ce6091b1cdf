//! Names that may not log in any more.

use super::*;

#[tokio::test]
async fn clients_of_a_name_that_is_revoked_are_told_and_all_their_sessions_end() {
    for directory in [None, Some(tempfile::tempdir().unwrap())] {
        let rooms = Rooms::new(&[("gone", &["a"]), ("stays", &["a"])]);
        let world = World::of(Arc::new(rooms.clone()), directory.as_ref().map(|directory| directory.path()));
        let mut stays = world.connect(by("stays", "stays", 60)).await;
        stays.subscribe("a/#").await;
        drop(world.connect(by("gone", "offline", 60)).await);
        let mut online = world.connect(by("gone", "online", 60)).await;
        let mut passing = world.connect(by("gone", "passing", 0)).await;
        world.until(|broker| broker.statistics().connected == 3).await;

        rooms.remove("gone");
        let done = world.broker.reconsider().await;

        assert_eq!((done.sessions, done.is_committed), (3, true));
        assert_eq!(online.told().await, Some(ReasonCode::AdministrativeAction));
        assert_eq!(passing.told().await, Some(ReasonCode::AdministrativeAction));
        let left: Vec<_> = world.broker.sessions().into_iter().map(|session| session.client_id).collect();
        assert_eq!(left, ["stays"]);
        stays.ping().await;
        rooms.set("gone", &["a"]);
        for client_id in ["offline", "online"] {
            assert!(!world.connect_for(by("gone", client_id, 60)).await.1, "{client_id} was kept");
        }
        world.broker.stop().await;
    }
}

#[tokio::test]
async fn a_v311_client_of_a_name_that_is_revoked_is_disconnected() {
    let rooms = Rooms::new(&[("gone", &[])]);
    let world = World::of(Arc::new(rooms.clone()), None);
    let mut client = world.client();
    client.stream.write_all(b"\x10\x13\x00\x04MQTT\x04\x80\x00\x00\x00\x01c\x00\x04gone").await.unwrap();
    let mut connack = [0; 4];
    client.stream.read_exact(&mut connack).await.unwrap();
    assert_eq!(connack, [0x20, 2, 0, 0]);

    rooms.remove("gone");
    assert_eq!(world.broker.reconsider().await.sessions, 1);

    assert_eq!(client.stream.read(&mut connack).await.unwrap(), 0, "3.1.1 knows no DISCONNECT of the server");
    assert!(world.broker.sessions().is_empty());
}

#[tokio::test(start_paused = true)]
async fn no_will_of_a_name_that_is_revoked_is_published() {
    let rooms = Rooms::new(&[("gone", &["will"]), ("stays", &["will"])]);
    let world = World::of(Arc::new(rooms.clone()), None);
    let mut stays = world.connect(by("stays", "stays", 60)).await;
    stays.subscribe("will/#").await;
    let will_of =
        |client_id, delay| Connect { username: Some("gone".into()), ..with_will(client_id, 60, delay) };
    drop(world.connect(will_of("delayed", 10)).await);
    world.until(|broker| !broker.is_online("gone")).await;
    let mut online = world.connect(will_of("online", 0)).await;

    rooms.remove("gone");
    world.broker.reconsider().await;
    rooms.set("gone", &["will"]);

    assert_eq!(online.told().await, Some(ReasonCode::AdministrativeAction));
    tokio::time::sleep(Duration::from_secs(100)).await;
    world.broker.publish("will/end", b"", crate::codec::QoS::AtLeastOnce, false).await.unwrap();
    assert_eq!(stays.message().await, "will/end");
}

/// A login that was granted just before is neither let in for good nor leaves anything behind.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_login_at_the_same_time_leaves_no_session_behind() {
    for _ in 0..200 {
        let rooms = Rooms::new(&[("gone", &["a"])]);
        let world = World::of(Arc::new(rooms.clone()), None);
        let mut client = world.client();
        let login = tokio::spawn(async move {
            client.send(Packet::Connect(by("gone", "c", 60))).await;
            client.told().await
        });
        tokio::task::yield_now().await;
        rooms.remove("gone");
        world.broker.reconsider().await;
        let told = timeout(Duration::from_secs(30), login).await.expect("it is closed").unwrap();
        assert!([None, Some(ReasonCode::AdministrativeAction)].contains(&told), "{told:?}");
        world.until(|broker| broker.sessions().is_empty()).await;
    }
}
