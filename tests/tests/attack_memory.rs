//! Clients that announce much, send little, read nothing or never end: the real bridge stays small and quick.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::time::{Duration, Instant};

use ior_tests::{
    Bridge, Credentials, DEADLINE, End, ON_BOTH_VERSIONS, World,
    process::Process,
    raw::{
        Client, Connect, Encode, Kind, Packet, PingReq, Property, Publish,
        Version::{V5, V311},
        Will, frame,
    },
};

/// So many strangers at once: no more than wait to be accepted, so that none of them has to ask twice.
const STRANGERS: usize = 900;

/// What one stranger may cost before he has logged in, in bytes: a few KB.
const BEFORE_LOGIN: u64 = 8 << 10;

#[test]
fn a_stranger_costs_a_few_kilobytes() {
    for version in ON_BOTH_VERSIONS {
        let whole = Connect::new(&"x".repeat(1000)).encode(version);
        for begin in [vec![], vec![0x10], vec![0x10, 0x80, 0x3F], whole[..1000].to_vec()] {
            let bridge = World::empty().env("IOR_BRIDGE__LIMITS__LOGINS", "10000").start();
            let (from, to) = ends(&bridge);
            bridge.assert_unharmed(&from);
            let before = bridge.process().resident();
            let mut strangers = strangers(&bridge, &begin);
            // Served behind all of them.
            bridge.assert_unharmed(&to);
            let each = bridge.process().resident().saturating_sub(before) / STRANGERS as u64;
            assert!(each <= BEFORE_LOGIN, "{each} bytes for {} bytes of CONNECT", begin.len());
            let first = &mut strangers[0];
            assert!(!first.is_closed_within(Duration::ZERO), "they had to give way");
        }
    }
}

/// Regression: whoever had to give way was read from for two seconds more, and kept what he had sent.
#[test]
fn connects_that_lack_their_last_byte_are_bounded_by_their_size_and_number() {
    const LOGINS: usize = 100;
    /// Defaults of `limits.max_connect_size` and `limits.max_will_size`.
    const LARGEST: usize = (4 << 10) + (8 << 10);
    for version in ON_BOTH_VERSIONS {
        let bridge = World::empty().env("IOR_BRIDGE__LIMITS__LOGINS", &LOGINS.to_string()).start();
        let (from, to) = ends(&bridge);
        bridge.assert_unharmed(&from);
        let (before, files) = (bridge.process().resident(), bridge.process().open_files());
        let large = Connect::new("x").will(Will::new("x", vec![b'x'; 8000])).user_name("x");
        let connect = large.password(vec![b'x'; 4000]).encode(version);
        let strangers = strangers(&bridge, &connect[..connect.len() - 1]);
        bridge.assert_unharmed(&to);
        assert_growth(bridge.process(), before, (2 << 20) + (LOGINS * LARGEST * 2) as u64);
        wait_for("file descriptors", || bridge.process().open_files() <= files + LOGINS + 1);
        drop(strangers);
    }
}

#[test]
fn an_announced_length_is_not_allocated() {
    let bridge = Bridge::start();
    let (from, to) = ends(&bridge);
    for version in ON_BOTH_VERSIONS {
        let before = bridge.process().resident();
        for header in
            [vec![0x10, 0xFF, 0xFF, 0xFF, 0x7F], vec![0x10, 0x80, 0x62], vec![0x10, 0x80, 0x80, 0x80, 0x80]]
        {
            let mut strangers: Vec<Client> = (0..50).map(|_| bridge.open(version)).collect();
            strangers.iter_mut().for_each(|stranger| stranger.send(header.clone()));
            for mut stranger in strangers {
                assert_eq!(stranger.read_until_closed(), [0; 0], "{header:02x?}");
            }
        }
        for first in [0x30, 0x32, 0x82, 0xA2, 0x40] {
            let mut client = bridge.connect(version, &from);
            client.send(vec![first, 0xFF, 0xFF, 0xFF, 0x7F]);
            client.expect_ended(0x95);
        }
        // Announced as large as allowed, and never sent.
        let mut idle: Vec<Client> =
            (0..3).map(|n| bridge.connect_with(version, &from, Connect::new(&n.to_string())).0).collect();
        idle.iter_mut().for_each(|client| client.send(vec![0x30, 0xF0, 0xFF, 0x3F]));
        bridge.assert_unharmed(&to);
        assert_growth(bridge.process(), before, 4 << 20);
    }
}

#[test]
fn a_first_packet_that_is_not_connect_is_closed_at_once_without_an_answer() {
    // Whoever is not closed at once would wait for this.
    let bridge = World::empty().env("IOR_BRIDGE__LIMITS__CONNECT_TIMEOUT", "10m").start();
    let (from, _) = ends(&bridge);
    let before = bridge.process().resident();
    for first in (0..=u8::MAX).filter(|first| *first != 0x10) {
        let mut stranger = bridge.open(V5);
        stranger.send(vec![first]);
        // A PUBLISH and its like are legal from their first byte; the packet as a whole is not.
        if let Err(error) = stranger.try_send(vec![2, 0, 1]) {
            eprintln!("closed after {first:#04x} already: {error}");
        }
        assert_eq!(stranger.read_until_closed(), [0; 0], "{first:#04x}");
    }
    let hello = [&[0x16, 3, 1, 2, 0, 1, 0, 1, 0xFC, 3, 3][..], &[7; 508]].concat();
    for foreign in
        [&b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"[..], b"\n", b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\n", &hello]
    {
        let mut stranger = bridge.open(V5);
        stranger.send(foreign.to_vec());
        assert_eq!(stranger.read_until_closed(), [0; 0], "{foreign:02x?}");
    }
    assert_growth(bridge.process(), before, 4 << 20);
    bridge.assert_unharmed(&from);
}

#[test]
fn one_byte_at_a_time_gains_no_time() {
    const STRANGERS: usize = 100;
    let bridge = World::empty().env("IOR_BRIDGE__LIMITS__CONNECT_TIMEOUT", "2s").start();
    let (from, to) = ends(&bridge);
    for version in ON_BOTH_VERSIONS {
        let connect = Connect::new(&"x".repeat(1000)).encode(version);
        let mut strangers: Vec<Client> = (0..STRANGERS).map(|_| bridge.open(version)).collect();
        let since = Instant::now();
        for byte in &connect {
            strangers.retain_mut(|stranger| {
                stranger.try_send(vec![*byte]).is_ok() && !stranger.is_closed_within(Duration::ZERO)
            });
            if strangers.is_empty() {
                break;
            }
            let asked = Instant::now();
            bridge.connect(version, &from).disconnect();
            assert!(asked.elapsed() < Duration::from_secs(1), "a device waits {:?}", asked.elapsed());
            assert!(since.elapsed() < DEADLINE, "{} strangers are still served", strangers.len());
        }
        assert!(strangers.is_empty());
        bridge.assert_unharmed(&to);
    }
}

#[test]
fn a_packet_that_does_not_end_does_not_keep_a_connection_alive() {
    let bridge = Bridge::start();
    let (from, to) = ends(&bridge);
    for version in ON_BOTH_VERSIONS {
        let mut listener = bridge.connect(version, &to);
        listener.subscribe(&to.subscribe, 1);
        let connect = Connect::new("slow").keep_alive(1).will(Will::new(&from.publish, "gone").qos(1));
        let (mut slow, _) = bridge.connect_with(version, &from, connect);
        let publish = Publish::new(&from.publish, "x".repeat(1000)).encode(version);
        let since = Instant::now();
        for byte in publish {
            if slow.try_send(vec![byte]).is_err() || slow.is_closed_within(Duration::from_millis(20)) {
                break;
            }
            assert!(since.elapsed() < DEADLINE, "it is still served");
        }
        listener.expect_payload("gone");
        listener.expect_silence();
    }
}

#[test]
fn keep_alive_0_and_65535_are_kept_and_watched_by_the_system() {
    let bridge = Bridge::start();
    let (from, _) = ends(&bridge);
    for version in ON_BOTH_VERSIONS {
        let connect = |seconds: u16| {
            let connect = Connect::new(&format!("keep-alive-{seconds}")).keep_alive(seconds);
            bridge.connect_with(version, &from, connect).0
        };
        let (mut silent, mut none, mut longest) = (connect(1), connect(0), connect(u16::MAX));
        for client in [&none, &longest] {
            assert!(has_keepalive_timer(&bridge, client), "a peer that is gone would never be noticed");
        }
        // Both have been silent for as long as this one, and longer than it may.
        silent.expect_ended(0x8D);
        none.expect_silence();
        longest.expect_silence();
    }
}

#[test]
fn a_peer_that_is_half_gone_is_gone() {
    let bridge = Bridge::start();
    let (from, to) = ends(&bridge);
    let files = bridge.process().open_files();
    for version in ON_BOTH_VERSIONS {
        let mut listener = bridge.connect(version, &to);
        listener.subscribe(&to.subscribe, 1);
        for round in 0..3 {
            let will = Will::new(&from.publish, format!("gone {round}")).qos(1);
            let connect = Connect::new("half").persistent(version).will(will);
            let (mut client, _) = bridge.connect_with(version, &from, connect);
            client.subscribe(&from.subscribe, 1);
            match round {
                // It says that it sends no more.
                0 => client.cut(),
                // In the middle of a packet.
                1 => {
                    client.send(vec![0x30, 0x7F, 0, 9]);
                    client.cut();
                }
                // With data that it has not read: the system resets the connection.
                _ => {
                    let (mut peer, _) = bridge.connect_with(version, &to, Connect::new("peer"));
                    peer.publish(&to.publish, "unread", 0);
                    drop(client);
                }
            }
            listener.expect_payload(&format!("gone {round}"));
        }
        bridge.connect_with(version, &from, Connect::new("half")).0.disconnect();
    }
    wait_for("file descriptors", || bridge.process().open_files() <= files + 1);
}

#[test]
fn a_subscriber_that_never_reads_costs_no_more_than_its_queue() {
    const PAYLOAD: usize = 16 << 10;
    const ROOM: u16 = 500;
    // Its queue, the QoS 0 messages of `limits.live_queue_bytes`, and what the process needs for the rest.
    const BOUND: u64 = ROOM as u64 * (PAYLOAD as u64 + 1024) + (24 << 20);
    for version in ON_BOTH_VERSIONS {
        for persistent in [false, true] {
            let bridge = World::empty().env("IOR_BRIDGE__LIMITS__QUEUE_MESSAGES", &ROOM.to_string()).start();
            let (from, to) = ends(&bridge);
            let stranger = bridge.credentials("connection-2", End::From);
            let connect = Connect::new("stalled");
            let connect = if persistent { connect.persistent(version) } else { connect };
            let (mut stalled, _) = bridge.connect_with(version, &to, connect.clone());
            stalled.subscribe(&to.subscribe, 1);
            let mut publisher = bridge.connect(V5, &from);
            let mut others = bridge.connect(version, &stranger);
            let before = bridge.process().resident();
            let mut refused = 0;
            for _ in 0..20 {
                for _ in 0..100 {
                    publisher.send(Publish::new(&from.publish, vec![b'x'; PAYLOAD]));
                }
                for _ in 0..50 {
                    publisher.send(Publish::new(&from.publish, vec![b'x'; PAYLOAD]).qos(1, 1));
                    refused += u16::from(publisher.expect_ack(Kind::PubAck, 1).reason == 0x97);
                }
                let asked = Instant::now();
                others.expect_silence();
                assert!(asked.elapsed() < Duration::from_secs(1), "others wait {:?}", asked.elapsed());
            }
            assert!(refused > 0, "the queue has no end");
            assert_growth(bridge.process(), before, BOUND);
            // Its device comes again, and is served although the old connection takes nothing.
            let (mut back, present) = bridge.connect_with(version, &to, connect);
            assert_eq!(present, persistent);
            if present {
                assert_eq!(back.expect_message().payload.len(), PAYLOAD);
            } else {
                back.expect_silence();
            }
            drop((stalled, back));
        }
    }
}

#[test]
fn the_bridge_stops_in_time_with_clients_that_never_read() {
    let bridge = Bridge::start();
    let (from, to) = ends(&bridge);
    let mut stalled: Vec<Client> = (0..3)
        .map(|number| {
            let version = ON_BOTH_VERSIONS[number % 2];
            let (mut client, _) = bridge.connect_with(version, &to, Connect::new(&number.to_string()));
            client.subscribe(&to.subscribe, 0);
            client
        })
        .collect();
    let mut publisher = bridge.connect(V5, &from);
    for _ in 0..1000 {
        publisher.send(Publish::new(&from.publish, vec![b'x'; 16 << 10]));
    }
    publisher.expect_silence();
    let (status, _) = bridge.stop();
    assert!(status.success(), "{status}");
    stalled.clear();
}

#[test]
fn a_subscriber_that_never_acknowledges_gets_its_window_and_no_more() {
    const MESSAGES: u16 = 400;
    const WINDOW: u16 = 128;
    for version in ON_BOTH_VERSIONS {
        for qos in 1..=2 {
            let bridge = Bridge::start();
            let (from, to) = ends(&bridge);
            let subscriber = |name: &str| {
                let (mut client, _) =
                    bridge.connect_with(version, &to, Connect::new(name).persistent(version));
                client.subscribe(&to.subscribe, qos);
                client
            };
            let mut diligent = subscriber("diligent");
            let mut lazy = subscriber("lazy");
            publish_all(&mut bridge.connect(version, &from), &from.publish, MESSAGES, qos);
            (0..MESSAGES).for_each(|number| drop(diligent.expect_payload(&number.to_string())));
            let first: Vec<_> = (0..WINDOW).map(|_| lazy.expect_publish()).collect();
            lazy.expect_silence();
            drop(lazy);
            // It gets them again, in their order, and then all others.
            let (mut back, present) =
                bridge.connect_with(version, &to, Connect::new("lazy").persistent(version));
            assert!(present);
            for number in 0..MESSAGES {
                let message = back.expect_payload(&number.to_string());
                assert_eq!(message.dup, number < WINDOW, "message {number}");
            }
            assert_eq!(first.last().unwrap().text(), (WINDOW - 1).to_string());
            back.expect_silence();
        }
    }
}

#[test]
fn a_publisher_that_never_reads_its_answers_is_bounded() {
    let bridge = Bridge::start();
    let (from, to) = ends(&bridge);
    for version in ON_BOTH_VERSIONS {
        let publish = Publish::new(&from.publish, "y").qos(1, 1).encode(version);
        for packet in [publish, PingReq.encode(version), frame(0x50, [0, 9])] {
            let before = bridge.process().resident();
            let (mut deaf, _) = bridge.connect_with(version, &from, Connect::new("deaf"));
            deaf.set_write_timeout(Duration::from_millis(300));
            let batch = packet.repeat(10_000);
            // The server stops reading, or ends the connection, or has all of it: but nothing grows.
            for _ in 0..200 {
                if deaf.try_send(batch.clone()).is_err() {
                    break;
                }
            }
            assert_growth(bridge.process(), before, 8 << 20);
            bridge.assert_unharmed(&to);
        }
    }
}

#[test]
fn properties_without_end_are_bounded_by_the_packet() {
    let bridge = World::empty().env("IOR_BRIDGE__LIMITS__USER_PROPERTIES", "1000000").start();
    let (from, to) = ends(&bridge);
    let mut listener = bridge.connect(V5, &to);
    listener.subscribe(&to.subscribe, 1);
    // Of the least size: most for the bytes.
    let many = |count: usize| {
        let all = Publish::new(&from.publish, "x").qos(1, 1);
        (0..count).fold(all, |all, _| all.property(Property::user("", "")))
    };
    let before = bridge.process().peak();
    let mut publisher = bridge.connect(V5, &from);
    publisher.send(many(200_000));
    publisher.expect_success(Kind::PubAck, 1);
    let users = |packet: &Packet| match packet {
        Packet::Publish(message) => message.properties.len() == 200_000,
        _ => false,
    };
    listener.wait_for("all properties", users);
    let grown = bridge.process().peak().saturating_sub(before);
    assert!(grown <= 16 << 20, "memory grew by {} KiB for 1 MB", grown >> 10);
    // 3.1.1 has none of it, and CONNECT has no room for many.
    let mut stranger = bridge.open(V5);
    let connect = (0..2000).fold(Connect::new("x"), |all, _| all.property(Property::user("", "")));
    let _ = stranger.try_send(connect);
    assert!(stranger.is_closed_within(DEADLINE));
    bridge.connect(V311, &from).expect_silence();
}

fn ends(bridge: &Bridge) -> (Credentials, Credentials) {
    (bridge.credentials("connection-1", End::From), bridge.credentials("connection-1", End::To))
}

/// Publishes the numbers below `count`, all at once.
#[track_caller]
fn publish_all(client: &mut Client, topic: &str, count: u16, qos: u8) {
    let publish = |id: u16| Publish::new(topic, (id - 1).to_string()).qos(qos, id).encode(client.version());
    let packets: Vec<u8> = (1..=count).flat_map(publish).collect();
    client.send(packets);
    if qos == 1 {
        return (1..=count).for_each(|id| client.expect_success(Kind::PubAck, id));
    }
    (1..=count).for_each(|id| client.expect_success(Kind::PubRec, id));
    (1..=count).for_each(|id| client.acknowledge(Kind::PubRel, id));
    (1..=count).for_each(|id| client.expect_success(Kind::PubComp, id));
}

/// Strangers who have all sent the same.
fn strangers(bridge: &Bridge, begin: &[u8]) -> Vec<Client> {
    let come = |_| {
        let mut client = bridge.open(V5);
        // Whoever had to give way by now is closed.
        let _ = client.try_send(begin.to_vec());
        client
    };
    (0..STRANGERS).map(come).collect()
}

/// Whether the system asks after the other side of this connection (SO_KEEPALIVE), as /proc tells.
fn has_keepalive_timer(bridge: &Bridge, client: &Client) -> bool {
    const KEEPALIVE: &str = "02";
    let table = std::fs::read_to_string(format!("/proc/{}/net/tcp", bridge.process().id())).unwrap();
    let ends = [bridge.addr, client.local_addr()].map(|addr| format!(":{:04X}", addr.port()));
    let of_connection = |line: &&str| {
        let mut columns = line.split_whitespace().skip(1);
        ends.iter().all(|end| columns.next().is_some_and(|column| column.ends_with(end)))
    };
    let line = table.lines().find(of_connection).expect("the connection in /proc/net/tcp");
    line.split_whitespace().nth(5).unwrap().starts_with(KEEPALIVE)
}

#[track_caller]
fn wait_for(what: &str, condition: impl Fn() -> bool) {
    let until = Instant::now() + DEADLINE;
    while !condition() {
        assert!(Instant::now() < until, "{what} do not return");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[track_caller]
fn assert_growth(process: &Process, before: u64, bound: u64) {
    let grown = process.resident().saturating_sub(before);
    eprintln!("resident memory grew by {} KiB", grown >> 10);
    assert!(grown <= bound, "resident memory grew by {} KiB", grown >> 10);
}
