//! Retained and Will Messages.

use super::*;

impl Client {
    async fn retain(&mut self, topic: &str, qos: QoS) {
        self.send(Packet::Publish(Publish {
            dup: false,
            qos,
            retain: true,
            topic: topic.into(),
            pkid: (qos != QoS::AtMostOnce).then_some(1),
            properties: PublishProperties::default(),
            payload: "x".into(),
        }))
        .await;
        if qos == QoS::AtLeastOnce {
            assert!(matches!(self.next().await, Some(Packet::PubAck(_))));
        } else {
            self.ping().await;
        }
    }
}

#[tokio::test]
async fn retained_messages_that_their_owner_may_not_publish_go_and_no_others() {
    for place in places() {
        let all: &[(&str, &[&str])] =
            &[("gone", &["a"]), ("stays", &["a", "b", "c"]), ("hears", &["a", "b", "c"])];
        let rooms = Rooms::new(all);
        let world = World::of(Arc::new(rooms.clone()), path(&place));
        let mut gone = world.connect(by("gone", "g", 0)).await;
        let mut stays = world.connect(by("stays", "s", 0)).await;
        gone.retain("a/gone", QoS::AtLeastOnce).await;
        gone.retain("a/gone, of QoS 0", QoS::AtMostOnce).await;
        stays.retain("a/stays", QoS::AtLeastOnce).await;
        stays.retain("b/denied", QoS::AtLeastOnce).await;
        stays.retain("b/denied, of QoS 0", QoS::AtMostOnce).await;
        stays.retain("c/stays, of QoS 0", QoS::AtMostOnce).await;
        world.broker.publish("b/server", b"x", crate::codec::QoS::AtLeastOnce, true).await.unwrap();

        rooms.remove("gone");
        rooms.set("stays", &["a", "c"]);
        assert_eq!(world.broker.reconsider().await.retained, 4);
        rooms.set("gone", &["a"]);
        rooms.set("stays", &["a", "b", "c"]);

        let mut expected = vec!["a/stays", "b/server", "c/stays, of QoS 0"];
        let mut hears = world.connect(by("hears", "h", 0)).await;
        assert_eq!(retained(&mut hears).await, expected);
        world.broker.stop().await;
        if place.is_some() {
            let world = World::of(Arc::new(rooms), path(&place));
            expected.remove(1);
            let mut hears = world.connect(by("hears", "h", 0)).await;
            assert_eq!(retained(&mut hears).await, expected);
            world.broker.stop().await;
        }
    }
}

async fn retained(hears: &mut Client) -> Vec<String> {
    for filter in ["a/#", "b/#", "c/#"] {
        let topic = filter.to_owned();
        let options = SubscribeFilter {
            topic,
            qos: QoS::AtLeastOnce,
            no_local: false,
            retain_as_published: false,
            retain_handling: RetainHandling::SendAtSubscribe,
        };
        let properties = SubscribeProperties::default();
        hears.send(Packet::Subscribe(Subscribe { pkid: 1, properties, filters: vec![options] })).await;
    }
    let mut topics = Vec::new();
    // What was read at once is answered at once; then come the messages.
    for _ in 0..2 {
        hears.send(Packet::PingReq(symqtt_codec::v5::PingReq)).await;
        loop {
            match hears.next().await {
                Some(Packet::Publish(publish)) => topics.push(publish.topic),
                Some(Packet::PingResp(_)) => break,
                _ => {}
            }
        }
    }
    topics.sort();
    topics
}

/// Also if the right is back by then.
#[tokio::test(start_paused = true)]
async fn a_will_on_a_topic_that_is_not_allowed_any_more_is_never_published() {
    for online in [true, false] {
        let rooms = Rooms::new(&[("wills", &["will", "b"]), ("hears", &["will"])]);
        let world = World::of(Arc::new(rooms.clone()), None);
        let mut hears = world.connect(by("hears", "h", 600)).await;
        hears.subscribe("will/#").await;
        let client = world.connect(will_of_wills()).await;
        let client = online.then_some(client);
        world.until(|broker| broker.is_online("wills") == online).await;

        rooms.set("wills", &["b"]);
        assert_eq!(world.broker.reconsider().await.wills, 1);
        rooms.set("wills", &["will", "b"]);

        drop(client);
        tokio::time::sleep(Duration::from_secs(100)).await;
        world.say("will/end", crate::codec::QoS::AtLeastOnce).await;
        hears.expect(&["will/end"]).await;
    }
}

#[tokio::test]
async fn a_will_on_a_topic_that_is_not_allowed_any_more_is_not_kept() {
    for (online, while_it_runs) in [(true, true), (false, true), (false, false)] {
        let directory = tempfile::tempdir().unwrap();
        let rooms = Rooms::new(&[("wills", &["will", "b"])]);
        let mut world = World::of(Arc::new(rooms.clone()), Some(directory.path()));
        let client = world.connect(will_of_wills()).await;
        let client = online.then_some(client);
        world.until(|broker| broker.is_online("wills") == online).await;
        rooms.set("wills", &["b"]);
        if while_it_runs {
            assert_eq!(world.broker.reconsider().await.wills, 1);
        } else {
            world.broker.stop().await;
            world = World::of(Arc::new(rooms.clone()), Some(directory.path()));
        }
        drop(client);
        world.broker.stop().await;

        rooms.set("wills", &["will", "b"]);
        let world = World::of(Arc::new(rooms), Some(directory.path()));
        assert!(world.broker.shared.sessions.of("wills")[0].lifetime.lock().will.is_none());
        world.broker.stop().await;
    }
}

/// Its will goes out ten seconds after its connection.
fn will_of_wills() -> Connect {
    Connect { username: Some("wills".into()), ..with_will("w", 600, 10) }
}
