//! Connections that the broker ends.

use super::*;

#[tokio::test(start_paused = true)]
async fn silence_for_one_and_a_half_times_the_keep_alive_ends_the_connection_and_publishes_the_will() {
    let world = World::start();
    let mut listener = world.listener().await;
    let mut client = world.connect(Connect { keep_alive: 10, ..with_will("a", 0, 0) }).await;
    for _ in 0..3 {
        tokio::time::sleep(Duration::from_millis(14_900)).await;
        client.ping().await;
    }
    let last = Instant::now();
    tokio::time::sleep(Duration::from_secs(14)).await;
    // Half a packet is no packet.
    client.stream.write_all(&[0xC0]).await.unwrap();
    assert_eq!(client.told().await, Some(ReasonCode::KeepAliveTimeout));
    assert_elapsed(last, 15);
    assert_eq!(listener.message().await, "will");
}

#[tokio::test(start_paused = true)]
async fn keep_alive_0_is_silence_for_ever() {
    let world = World::start();
    let mut client = world.connect(named("a", 0)).await;
    tokio::time::sleep(Duration::from_secs(48 * 60 * 60)).await;
    client.ping().await;
}

#[tokio::test(start_paused = true)]
async fn a_stranger_has_as_long_as_the_connect_timeout_however_slowly_it_speaks() {
    let world = World::start();
    let mut silent = world.client();
    let mut slow = world.client();
    let before = Instant::now();
    let mut bytes = BytesMut::new();
    Packet::Connect(named("a", 0)).encode(&mut bytes).unwrap();
    for byte in &bytes[..9] {
        slow.stream.write_all(&[*byte]).await.unwrap();
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    assert_eq!((silent.next().await, slow.next().await), (None, None));
    assert_elapsed(before, 10);
    assert_eq!(world.broker.statistics().refused, 2);
}

#[tokio::test(start_paused = true)]
async fn stop_tells_everybody() {
    let world = World::start();
    let mut clients = Vec::new();
    for number in 0..20 {
        let connect = Connect { username: Some(number.to_string()), ..named("a", number) };
        clients.push(world.connect(connect).await);
    }
    world.broker.stop().await;
    for client in &mut clients {
        assert_eq!(client.told().await, Some(ReasonCode::ServerShuttingDown));
    }
    assert_eq!(world.broker.statistics().connected, 0);
}

/// Regression: a client whose CONNECT arrived while the broker stopped came in and was never told.
#[tokio::test(start_paused = true)]
async fn a_client_that_logs_in_while_the_broker_stops_is_told_too() {
    let world = World::start();
    let mut late = world.client();
    tokio::task::yield_now().await;
    world.broker.stop().await;
    late.send(Packet::Connect(named("a", 60))).await;
    assert_eq!(late.told().await, Some(ReasonCode::ServerShuttingDown));
}
