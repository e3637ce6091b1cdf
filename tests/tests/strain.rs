//! Clients that strain the server: it stays small, and the others do not notice.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::time::{Duration, Instant};

use ior_tests::{
    Broker, DEADLINE, ON_BOTH_VERSIONS,
    raw::{
        Client, Connect, Encode, Kind, Property, Publish,
        Version::{V5, V311},
    },
};

/// What a whole broker may grow by while it is flooded, in bytes.
const BOUND: u64 = 96 << 20;

#[test]
fn a_header_that_announces_gigabytes_costs_nothing() {
    let broker = Broker::start();
    let before = broker.resident();
    let mut clients = Vec::new();
    for number in 0..50 {
        for version in ON_BOTH_VERSIONS {
            let mut client = broker.connect(version, &format!("liar-{number}-{version:?}"));
            client.send(vec![0x30, 0xFF, 0xFF, 0xFF, 0x7F]);
            client.expect_ended(0x95);
            let mut stranger = broker.open(version);
            stranger.send(vec![0x10, 0xFF, 0xFF, 0xFF, 0x7F]);
            clients.push(stranger);
        }
    }
    for mut stranger in clients {
        assert!(stranger.is_closed_within(DEADLINE));
    }
    assert_growth(&broker, before, 16 << 20);
}

#[test]
fn a_subscriber_that_does_not_read_hurts_nobody() {
    let broker = Broker::start();
    for version in ON_BOTH_VERSIONS {
        for qos in 0..=1 {
            let mut stalled = broker.connect(version, "stalled");
            stalled.subscribe("flood", qos);
            let mut reader = broker.connect(version, "reader");
            reader.subscribe("marker", 1);
            let before = broker.resident();
            let mut flooder = broker.connect(V5, "flooder");
            let payload = vec![b'x'; 16 << 10];
            let mut marker = broker.connect(version, "marker");
            let mut refused = 0;
            for round in 0..70 {
                for _ in 0..100 {
                    if qos == 0 {
                        flooder.send(Publish::new("flood", &payload));
                    } else {
                        let id = flooder.packet_id();
                        flooder.send(Publish::new("flood", &payload).qos(1, id));
                        refused += u32::from(flooder.expect_ack(Kind::PubAck, id).reason == 0x97);
                    }
                }
                let start = Instant::now();
                marker.publish("marker", round.to_string(), 1);
                reader.expect_payload(&round.to_string());
                assert!(start.elapsed() < Duration::from_secs(2), "others wait {:?}", start.elapsed());
            }
            // QoS 0 is dropped; QoS 1 is refused, to the publisher's face, once the queue is full.
            assert_eq!(refused > 0, qos == 1, "{refused} of 7000 refused at QoS {qos}");
            assert_growth(&broker, before, BOUND);
            flooder.expect_silence();
            drop(stalled);
        }
    }
}

#[test]
fn a_client_that_never_acknowledges_gets_no_more_than_its_window() {
    let broker = Broker::start();
    let before = broker.resident();
    let (mut lazy, _) = broker.connect_with(V5, Connect::new("lazy").property(Property::ReceiveMaximum(10)));
    lazy.subscribe("work", 1);
    let mut other = broker.connect(V5, "other");
    other.subscribe("work", 1);
    let mut publisher = broker.connect(V5, "publisher");
    let payload = vec![b'x'; 4 << 10];
    for number in 0..3000u16 {
        publisher.send(Publish::new("work", &payload).qos(1, number + 1));
        // Once its queue is full, the publisher is told so, and nobody else pays.
        if publisher.expect_ack(Kind::PubAck, number + 1).reason < 0x80 {
            other.expect_message();
        }
    }
    for _ in 0..10 {
        lazy.expect_publish();
    }
    lazy.expect_silence();
    assert_growth(&broker, before, BOUND);
}

#[test]
fn a_publisher_at_full_speed_is_bounded() {
    let broker = Broker::start();
    let mut reader = broker.connect(V5, "reader");
    reader.subscribe("speed", 0);
    reader.subscribe("marker", 1);
    let before = broker.resident();
    let mut publishers: Vec<Client> =
        (0..4).map(|number| broker.connect(V311, &format!("publisher-{number}"))).collect();
    let batch: Vec<u8> = (0..1000).flat_map(|_| Publish::new("speed", [b'x'; 1000]).encode(V311)).collect();
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(2) {
        for publisher in &mut publishers {
            publisher.send(batch.clone());
        }
    }
    assert_growth(&broker, before, BOUND);
    for publisher in &mut publishers {
        publisher.expect_silence();
    }
    // What was lost was lost; what is sent now arrives behind what was not.
    broker.connect(V5, "marker").publish("marker", "end", 1);
    let until = Instant::now() + DEADLINE;
    while reader.expect_message().topic != "marker" {
        assert!(Instant::now() < until, "the reader never gets to the marker");
    }
}

#[test]
fn a_publisher_that_never_reads_its_acknowledgements_is_bounded() {
    let broker = Broker::start();
    let before = broker.resident();
    let mut deaf = broker.connect(V311, "deaf");
    deaf.set_write_timeout(Duration::from_secs(1));
    let batch: Vec<u8> =
        (0..2000u16).flat_map(|id| Publish::new("x", "y").qos(1, id + 1).encode(V311)).collect();
    // The server stops reading, or ends the connection, or has all of it: but nothing grows.
    for _ in 0..500 {
        if deaf.try_send(batch.clone()).is_err() {
            break;
        }
    }
    assert_growth(&broker, before, BOUND);
    broker.assert_alive();
}

#[test]
fn many_connections_come_and_go() {
    let broker = Broker::start();
    let mut watcher = broker.connect(V5, "watcher");
    watcher.subscribe("seen", 1);
    for round in 0..5 {
        let clients: Vec<Client> = (0..100)
            .map(|number| {
                let mut client = broker.connect(ON_BOTH_VERSIONS[number % 2], &format!("c{number}"));
                client.subscribe(&format!("c/{number}/#"), (number % 3) as u8);
                client
            })
            .collect();
        for client in clients {
            if round % 2 == 0 { client.disconnect() } else { client.cut() }
        }
        broker.connect(V5, "marker").publish("seen", round.to_string(), 1);
        watcher.expect_payload(&round.to_string());
    }
}

#[track_caller]
fn assert_growth(broker: &Broker, before: Option<u64>, bound: u64) {
    if let (Some(before), Some(after)) = (before, broker.resident()) {
        let grown = after.saturating_sub(before);
        eprintln!("resident memory grew by {} KiB to {} KiB", grown >> 10, after >> 10);
        assert!(grown <= bound, "resident memory grew by {} MiB", grown >> 20);
    }
}
