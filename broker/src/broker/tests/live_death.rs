//! rumqttd's router dies while clients are connected.

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_stay_connected_and_go_on_when_the_router_dies() {
    let world = World::start();
    let mut listener = world.listener().await;
    let mut publisher = world.connect(named("publisher", 0)).await;
    for death in 1..=2 {
        world.broker.shared.live.kill_router();
        // QoS 1 does not depend on it.
        publisher.publish("assured", QoS::AtLeastOnce).await;
        assert!(matches!(publisher.next().await, Some(Packet::PubAck(_))));
        assert_eq!(listener.message().await, "assured");

        world.until(|broker| broker.statistics().live_restarts == death).await;
        publisher.publish("live", QoS::AtMostOnce).await;
        assert_eq!(listener.message().await, "live");
        publisher.ping().await;
        listener.ping().await;
    }
    assert_eq!(world.broker.statistics().connected, 2);
}
