//! A client of the embedder's own, within the process.

use super::*;

struct Embedder;

/// Whoever comes over this channel.
struct Arrived(Channel);

impl Access for Embedder {
    fn login(&self, login: &Login<'_>) -> Result<Arc<dyn Grant>, Refusal> {
        Ok(Arc::new(Arrived(login.channel)))
    }

    fn grant(&self, name: &str) -> Option<Arc<dyn Grant>> {
        Some(Arc::new(Arrived(if name == "inside" { Channel::Inside } else { Channel::Tcp })))
    }
}

impl Grant for Arrived {
    fn name(&self) -> &str {
        if self.is_inside() { "inside" } else { "outside" }
    }

    fn is_inside(&self) -> bool {
        self.0 == Channel::Inside
    }

    fn may_publish(&self, _topic: &str) -> bool {
        true
    }

    fn may_subscribe(&self, _filter: &str) -> bool {
        true
    }
}

impl World {
    async fn connect_inside(&self) -> Client {
        let mut client = Client { stream: self.broker.connect_inside(), input: BytesMut::new() };
        client.send(Packet::Connect(named("watch", 0))).await;
        assert_eq!(client.connack().await.reason_code, ReasonCode::Success);
        client
    }
}

#[tokio::test(start_paused = true)]
async fn it_takes_part_and_nobody_is_told_of_it() {
    let access = Arc::new(Embedder);
    let world = World { broker: Broker::start(access, Limits { connections: 1, ..few() }, None).unwrap() };
    let mut events = world.broker.events();
    let mut inside = world.connect_inside().await;
    inside.subscribe("#").await;
    let start = Instant::now();
    for _ in 0..3 {
        inside.publish("own", QoS::AtLeastOnce).await;
        let packets = [inside.next().await, inside.next().await];
        assert!(packets.iter().any(|packet| matches!(packet, Some(Packet::Publish(_)))), "{packets:?}");
    }
    assert_elapsed(start, 0);
    world.broker.reconsider().await;
    inside.ping().await;
    assert!(world.broker.sessions().is_empty());
    assert_eq!((world.broker.names(), world.broker.flows()), (vec![], vec![]));
    let statistics = world.broker.statistics();
    assert_eq!((statistics.connected, statistics.sessions, statistics.published), (0, 0, 0));

    // The only place there is.
    let mut outside = world.connect(named("outside", 0)).await;
    outside.ping().await;
    assert_eq!(world.broker.sessions().len(), 1);
    drop(inside);
    world.until(|broker| broker.shared.sessions.all().len() == 1).await;
    assert!(world.broker.names().iter().all(|info| &*info.name == "outside"), "not even now that it is over");
    assert!(world.broker.flows().is_empty());
    let told: Vec<_> = std::iter::from_fn(|| events.try_recv().ok()).collect();
    assert!(matches!(&told[..], [Event::Connected { name, .. }] if &**name == "outside"), "{told:?}");
    assert_eq!(world.broker.statistics().connected, 1);
    // A stop does not wait for it.
    let _inside = world.connect_inside().await;
    drop(outside);
    timeout(LONG, world.broker.stop()).await.unwrap();
}

fn few() -> Limits {
    Limits { publish_rate: 1, ..Limits::default() }
}
