//! Rights that are taken away while clients make use of them.

use std::sync::atomic::AtomicBool;

use super::*;

/// Publishes to both rooms, of all kinds, until it is told to stop, or may not any more.
async fn say_without_end(mut says: Client, stop: Arc<AtomicBool>) {
    let mut pkid = 0;
    while !stop.load(Ordering::Relaxed) {
        for (topic, qos, retain) in [
            ("a/x", QoS::AtLeastOnce, false),
            ("b/x", QoS::AtLeastOnce, false),
            ("a/x", QoS::AtMostOnce, false),
            ("a/r", QoS::AtLeastOnce, true),
            ("a/q", QoS::AtMostOnce, true),
        ] {
            pkid = pkid % 1_000 + 1;
            let publish = Publish {
                dup: false,
                qos,
                retain,
                topic: topic.into(),
                pkid: (qos != QoS::AtMostOnce).then_some(pkid),
                properties: PublishProperties::default(),
                payload: "x".into(),
            };
            says.send(Packet::Publish(publish)).await;
            if qos != QoS::AtMostOnce {
                let Some(Packet::PubAck(_)) = says.next().await else {
                    // A QoS 0 message that it may not publish closes its connection.
                    return;
                };
            }
        }
    }
}

/// Subscribes and acknowledges until it is told to stop, and closes then.
async fn hear_without_end(mut hears: Client, stop: Arc<AtomicBool>) {
    let subscribe = |topic: &str, pkid| {
        let options = SubscribeFilter {
            topic: topic.to_owned(),
            qos: QoS::AtLeastOnce,
            no_local: false,
            retain_as_published: false,
            retain_handling: RetainHandling::SendAtSubscribe,
        };
        let properties = SubscribeProperties::default();
        Packet::Subscribe(Subscribe { pkid, properties, filters: vec![options] })
    };
    hears.send(subscribe("b/#", 1)).await;
    while !stop.load(Ordering::Relaxed) {
        hears.send(subscribe("a/#", 2)).await;
        for _ in 0..10 {
            match timeout(Duration::from_millis(1), hears.stream.read_buf(&mut hears.input)).await {
                Ok(read) => assert!(read.unwrap() > 0),
                Err(_) => break,
            }
        }
        while let Some(packet) = Packet::decode(&mut hears.input).unwrap() {
            if let Packet::Publish(Publish { pkid: Some(pkid), .. }) = packet {
                hears.acknowledge(pkid).await;
            }
        }
    }
}

/// However the parts of a publication, a subscription and a revocation fall: when the rights are as they should be, nothing
/// is left that is not allowed, and what is allowed goes on.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nothing_is_left_behind_by_whoever_asked_just_before() {
    for round in 0..40 {
        let place = (round % 2 == 1).then(|| tempfile::tempdir().unwrap());
        let (before, after): (&[&str], &[&str]) = (&["a", "b"], &["b"]);
        let rooms = Rooms::new(&[("says", before), ("hears", before)]);
        let world = World::of(Arc::new(rooms.clone()), path(&place));
        let stop = Arc::new(AtomicBool::new(false));
        let says = world.connect(by("says", "s", 0)).await;
        let hears = world.connect(by("hears", "h", 600)).await;
        let tasks = [
            tokio::spawn(say_without_end(says, Arc::clone(&stop))),
            tokio::spawn(hear_without_end(hears, Arc::clone(&stop))),
        ];
        tokio::time::sleep(Duration::from_millis(round % 7)).await;

        rooms.set("hears", after);
        rooms.set("says", after);
        let done = world.broker.reconsider().await;
        assert!(done.is_committed);
        let session = world.broker.shared.sessions.of("hears").remove(0);
        let filters: Vec<_> = session.lifetime.lock().subscriptions.keys().cloned().collect();
        let mut matches = Vec::new();
        world.broker.shared.subscriptions.matching("a/x", 0, &mut matches);
        let retained = world.broker.shared.retained.matching("a/#", 0);
        assert!(
            matches.is_empty() && retained.is_empty(),
            "{matches:?} {retained:?}",
            matches = matches.len()
        );
        assert!(!filters.iter().any(|filter| filter.starts_with('a')), "{filters:?}");
        assert_eq!(
            world.broker.reconsider().await,
            Reconsidered { is_committed: true, ..Reconsidered::default() }
        );

        stop.store(true, Ordering::Relaxed);
        for task in tasks {
            timeout(LONG, task).await.unwrap().unwrap();
        }
        world.until_offline("hears").await;
        rooms.set("hears", before);
        world.say_all(&["a/end", "b/end"]).await;
        let mut hears = world.connect(by("hears", "h", 600)).await;
        loop {
            let topic = hears.message().await;
            assert!(topic.starts_with('b'), "{topic}");
            if topic == "b/end" {
                break;
            }
        }
        world.broker.stop().await;
    }
}
