//! What once went wrong in the broker, one test per bug.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::{
    collections::BTreeSet,
    io::{Read, Write},
    net::TcpStream,
    sync::{
        Barrier,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use ior_tests::{
    Broker, ON_BOTH_VERSIONS,
    raw::{
        Client, Connect, Encode, Kind, Packet, PingReq, Property, Publish, Subscribe, Unsubscribe,
        Version::{V5, V311},
        Will,
    },
};

/// Default of `max_topic_length`, in bytes.
const TOPIC_LENGTH: usize = 1024;
/// Default of `max_topic_levels`.
const TOPIC_LEVELS: usize = 64;
/// The most that one client may make the broker grow by at once, in bytes.
const FEW: u64 = 4 << 20;

#[test]
fn one_read_of_short_aliased_publishes_of_a_long_topic_does_not_multiply_it() {
    let broker = Broker::start();
    let mut client = broker.connect(V5, "aliases");
    let topic = "t".repeat(TOPIC_LENGTH);
    client.complete(Publish::new(&topic, "").property(Property::TopicAlias(1)), 1);
    let short = Publish::new("", "").property(Property::TopicAlias(1)).encode(V5);
    assert_eq!(short.len(), 8);
    // What the live lane remembers of messages that have passed is there before.
    for _ in 0..64 {
        client.send(short.repeat(128));
        client.expect_silence();
    }
    let before = broker.peak();
    client.send(short.repeat((64 << 10) / short.len()));
    client.expect_silence();
    assert_growth(before, broker.peak());
}

#[test]
fn a_topic_as_long_and_deep_as_allowed_works() {
    let broker = Broker::start();
    for version in ON_BOTH_VERSIONS {
        for topic in at_the_limits() {
            let mut subscriber = broker.connect(version, "subscriber");
            subscriber.subscribe(&topic, 2);
            let mut publisher = broker.connect(version, "publisher");
            for qos in 0..=2 {
                publisher.publish(&topic, qos.to_string(), qos);
                assert_eq!(subscriber.expect_payload(&qos.to_string()).topic, topic);
            }
            let will = Will::new(&topic, "will");
            broker.connect_with(version, Connect::new("willing").will(will)).0.cut();
            assert_eq!(subscriber.expect_payload("will").topic, topic);
        }
    }
}

#[test]
fn a_topic_beyond_the_limits_is_invalid() {
    let broker = Broker::start();
    for topic in beyond_the_limits() {
        let mut watcher = broker.connect(V5, "watcher");
        watcher.subscribe("#", 0);
        let mut client = broker.connect(V5, "client");
        for (qos, kind) in [(1, Kind::PubAck), (2, Kind::PubRec)] {
            client.send(Publish::new(&topic, "x").qos(qos, 7));
            assert_eq!(client.expect_ack(kind, 7).reason, 0x90);
        }
        client.send(Publish::new(&topic, "x"));
        client.expect_ended(0x90);
        for qos in 0..=2 {
            let mut old = broker.connect(V311, "old");
            let publish = Publish::new(&topic, "x");
            old.send(if qos == 0 { publish } else { publish.qos(qos, 7) });
            old.expect_closed();
        }
        for (version, code) in [(V5, 0x90), (V311, 3)] {
            let mut client = broker.open(version);
            client.send(Connect::new("willing").will(Will::new(&topic, "x")));
            assert_eq!(client.expect_connack().code, code);
            client.expect_closed();
        }
        watcher.expect_silence();
    }
}

#[test]
fn a_filter_beyond_the_limits_is_invalid() {
    let broker = Broker::start();
    for (version, code) in [(V5, 0x8F), (V311, 0x80)] {
        let mut client = broker.connect(version, "client");
        let mut all = Subscribe::new(7).filter("good", 1);
        for topic in beyond_the_limits() {
            all = all.filter(&topic, 1);
        }
        let wild = ["+/".repeat(TOPIC_LEVELS) + "+", "+/".repeat(TOPIC_LEVELS) + "#"];
        for filter in &wild {
            all = all.filter(filter, 1);
        }
        client.send(all);
        assert_eq!(client.expect_suback(7), [1, code, code, code, code]);
        client.publish("good", "still here", 1);
        client.wait_for("message", |packet| matches!(packet, Packet::Publish(_)));
    }
}

#[test]
fn a_filter_repeated_in_one_subscribe_gets_its_retained_messages_once() {
    const EACH: u16 = 1000;
    let broker = Broker::start();
    for name in ["one", "two"] {
        // Two names, because one may not hold so many.
        let (mut publisher, _) = broker.connect_with(V5, Connect::new("publisher").user_name(name));
        for chunk in (1..=EACH).collect::<Vec<_>>().chunks(200) {
            let publish = |id: &u16| Publish::new(&format!("r/{name}/{id}"), "x").retain().qos(1, *id);
            publisher.send(chunk.iter().flat_map(|id| publish(id).encode(V5)).collect::<Vec<u8>>());
            chunk.iter().for_each(|id| publisher.expect_success(Kind::PubAck, *id));
        }
    }
    let mut greedy = broker.connect(V5, "greedy");
    let mut stranger = broker.connect(V5, "stranger");
    greedy.send((0..2000).fold(Subscribe::new(1), |all, _| all.filter("r/#", 1)));
    stranger.expect_silence();
    stranger.publish_retained("other", "x", 1);
    let mut topics = BTreeSet::new();
    let mut codes = Vec::new();
    while topics.len() < 2 * usize::from(EACH) || codes.is_empty() {
        match greedy.receive() {
            Packet::SubAck(ack) => codes = ack.codes,
            Packet::Publish(message) => {
                assert!(topics.insert(message.topic.clone()), "{} twice", message.topic);
                greedy.acknowledge(Kind::PubAck, message.id);
            }
            other => panic!("unexpected {other:?}"),
        }
    }
    greedy.expect_silence();
    assert_eq!((codes.len(), codes[0]), (2000, 1));
    assert!(codes.iter().all(|code| [1, 0x97].contains(code)), "{codes:02x?}");
}

#[test]
fn more_filters_in_one_subscribe_than_a_session_may_have_are_refused() {
    let broker = Broker::start();
    let mut client = broker.connect(V5, "greedy");
    client.send((0..150).fold(Subscribe::new(1), |all, number| all.filter(&format!("f/{number}"), 1)));
    let codes = client.expect_suback(1);
    assert_eq!(codes, [[1; 100].as_slice(), &[0x97; 50]].concat());
}

#[test]
fn a_pipelining_client_of_3_1_1_is_not_cut_at_a_maximum_that_it_cannot_know() {
    let broker = Broker::start();
    let mut client = broker.connect(V311, "eager");
    let ids = || 1..=1100;
    client.send(ids().flat_map(|id| Publish::new("t", "x").qos(2, id).encode(V311)).collect::<Vec<u8>>());
    ids().for_each(|id| client.expect_success(Kind::PubRec, id));
    ids().for_each(|id| client.acknowledge(Kind::PubRel, id));
    ids().for_each(|id| client.expect_success(Kind::PubComp, id));
}

#[test]
fn a_message_as_large_as_allowed_arrives_at_every_qos() {
    let broker = Broker::start();
    let limit = broker.connect(V5, "curious").maximum_packet_size().expect("a Maximum Packet Size");
    for version in ON_BOTH_VERSIONS {
        let mut subscriber = broker.connect(version, "subscriber");
        subscriber.subscribe("large", 2);
        let mut publisher = broker.connect(version, "publisher");
        for qos in 0..=2 {
            let id = publisher.packet_id();
            let publish = |payload: usize| {
                let publish = Publish::new("large", vec![b'x'; payload]);
                if qos == 0 { publish } else { publish.qos(qos, id) }
            };
            let around = limit.saturating_sub(32)..=limit;
            let payload = around.rev().find(|size| publish(*size).encode(version).len() == limit).unwrap();
            publisher.complete(publish(payload), qos);
            assert_eq!(subscriber.expect_message().payload.len(), payload, "{version:?} QoS {qos}");
        }
    }
}

#[test]
fn a_packet_beyond_a_very_small_maximum_packet_size_is_not_sent() {
    let broker = Broker::start();
    let mut tiny = broker.open(V5);
    tiny.send(Connect::new("tiny").property(Property::MaximumPacketSize(10)));
    assert_ended_within(&mut tiny, 10);

    let mut client = broker.connect(V5, "measure");
    let limit = client.largest_packet();
    let connect = || Connect::new("small").property(Property::MaximumPacketSize(limit as u32));
    for acknowledged in [
        (0..50).fold(Subscribe::new(1), |all, n| all.filter(&format!("f/{n}"), 0)).encode(V5),
        Unsubscribe::new(1, &["f"; 50]).encode(V5),
    ] {
        (client, _) = broker.connect_with(V5, connect());
        client.send(acknowledged);
        assert_ended_within(&mut client, limit);
    }
}

#[test]
fn flooding_publishers_do_not_starve_others() {
    const FLOODERS: usize = 2;
    const ROUND_TRIPS: u64 = 20;
    let broker = Broker::start();
    let mut other = broker.connect(V311, "other");
    let (end, acknowledged) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for number in 0..FLOODERS {
            let (mut to, mut from) = login(&broker, &format!("flooder-{number}"));
            let topic = format!("flood/{number}");
            let batch = Publish::new(&topic, "").qos(1, 1).encode(V311).repeat(10_000);
            let (end, acknowledged) = (&end, &acknowledged);
            scope.spawn(move || while !end.load(Ordering::Relaxed) && to.write_all(&batch).is_ok() {});
            scope.spawn(move || {
                let mut bytes = [0; 64 << 10];
                while let Ok(length @ 1..) = from.read(&mut bytes) {
                    acknowledged.fetch_add(length as u64, Ordering::Relaxed);
                    if end.load(Ordering::Relaxed) {
                        let _ = from.shutdown(std::net::Shutdown::Both);
                        return;
                    }
                }
            });
        }
        // A PUBACK has 4 bytes.
        let count = || acknowledged.load(Ordering::Relaxed) / 4;
        while count() < 10_000 {
            std::thread::yield_now();
        }
        let before = count();
        for _ in 0..ROUND_TRIPS {
            other.expect_silence();
        }
        let each = (count() - before) / ROUND_TRIPS;
        end.store(true, Ordering::Relaxed);
        eprintln!("{each} messages of the flood per round trip of another client");
        assert!(each < 8_000, "{each} messages of the flood go before one packet of another client");
    });
}

#[test]
fn connects_at_once_agree_about_whose_session_is_new() {
    const AT_ONCE: usize = 4;
    let broker = Broker::start();
    for round in 0..1000 {
        let connect = Connect::new(&format!("round-{round}")).persistent(V5);
        let barrier = Barrier::new(AT_ONCE);
        let serve = || {
            let mut client = broker.open(V5);
            barrier.wait();
            client.send(&connect);
            // Whoever is taken over before it is served hears only that.
            let present = match client.receive_or_closed() {
                Some(Packet::ConnAck(ack)) => Some(ack.session_present),
                Some(Packet::Disconnect(0x8E, _)) | None => None,
                Some(other) => panic!("unexpected {other:?}"),
            };
            barrier.wait();
            let survives = present.is_some()
                && client.try_send(PingReq).is_ok()
                && matches!(client.receive_or_closed(), Some(Packet::PingResp));
            (survives, present)
        };
        let told: Vec<_> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..AT_ONCE).map(|_| scope.spawn(serve)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        let count = |wanted: &dyn Fn(bool, Option<bool>) -> bool| {
            told.iter().filter(|(survives, present)| wanted(*survives, *present)).count()
        };
        assert_eq!(count(&|survives, _| survives), 1, "round {round}: one of them stays: {told:?}");
        assert!(
            count(&|_, present| present == Some(false)) <= 1,
            "round {round}: a session is new once: {told:?}"
        );
        let last_is_new = count(&|survives, present| survives && present == Some(false)) == 1;
        let known = count(&|_, present| present == Some(true));
        assert!(!last_is_new || known == 0, "round {round}: the last finds the session: {told:?}");
    }
}

fn at_the_limits() -> [String; 2] {
    ["t".repeat(TOPIC_LENGTH), "t/".repeat(TOPIC_LEVELS - 1) + "t"]
}

fn beyond_the_limits() -> [String; 2] {
    ["t".repeat(TOPIC_LENGTH + 1), "t/".repeat(TOPIC_LEVELS) + "t"]
}

/// Both directions of a connection that is logged in.
fn login(broker: &Broker, client_id: &str) -> (TcpStream, TcpStream) {
    let mut stream = TcpStream::connect(broker.addr).unwrap();
    stream.write_all(&Connect::new(client_id).encode(V311)).unwrap();
    let mut ack = [0; 4];
    stream.read_exact(&mut ack).unwrap();
    assert_eq!(ack, [0x20, 2, 0, 0]);
    (stream.try_clone().unwrap(), stream)
}

#[track_caller]
fn assert_ended_within(client: &mut Client, limit: usize) {
    while let Some(packet) = client.receive_or_closed() {
        assert!(matches!(packet, Packet::ConnAck(_) | Packet::Disconnect(..)), "unexpected {packet:?}");
    }
    assert!(client.largest_packet() <= limit, "{} bytes of {limit}", client.largest_packet());
}

#[track_caller]
fn assert_growth(before: Option<u64>, after: Option<u64>) {
    if let (Some(before), Some(after)) = (before, after) {
        // The kernel counts in batches: the peak may be read a few pages smaller than before.
        let grown = after.saturating_sub(before);
        eprintln!("memory grew by {} KiB", grown >> 10);
        assert!(grown <= FEW, "memory grew by {} KiB", grown >> 10);
    }
}
