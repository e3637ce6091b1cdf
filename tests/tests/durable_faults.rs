//! Disks that are full, fail or are slow: nothing is acknowledged that is not kept, everything else goes on, and it recovers
//! by itself.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::time::{Duration, Instant};

use ior_tests::{
    Bridge, Credentials, DEADLINE, End, ON_BOTH_VERSIONS, World,
    faults::{Faults, Filler, may_mount},
    raw::{
        Client, Connect, Kind, Packet, PingReq, Publish, Subscribe,
        Version::{self, V5, V311},
    },
};
use serde_json::json;

const CANNOT: &str = "messages cannot be kept";
const CAN_AGAIN: &str = "messages are kept again";

#[test]
fn a_full_disk_refuses_what_cannot_be_kept_and_recovers() {
    if !may_mount("a_full_disk_refuses_what_cannot_be_kept_and_recovers") {
        return;
    }
    let bridge = pairs(2).on_small_disk(16 << 20).start();
    let others = Filler::take(&bridge.world().data(), 8 << 20);
    let mut online = OnlinePair::new(&bridge, V5);
    let mut kept = Kept::new(&bridge, "away");
    assert!(bridge.world().run(&["check"]).status.success());
    // 16 MB of messages are more than this disk has.
    let refused = (0..1600).find(|_| kept.offer(&bridge, 10_000) == 0x97);
    let refused = refused.expect("a full disk");
    assert!(refused > 100, "full after {refused} messages of 10 KB on 8 MiB");
    let filler = Filler::fill(&bridge.world().data());
    // What is left in the store's own files may do for a few small ones.
    assert!((0..10_000).any(|_| kept.offer(&bridge, 1) == 0x97), "small messages are kept on a full disk");
    online.assert_goes_on();
    bridge.process().wait_for(CANNOT, DEADLINE, |line| (line.contains(CANNOT)).then_some(()));
    assert_refusals_are_told_by_connection(&bridge);
    let check = bridge.world().run(&["check"]);
    assert_eq!(check.status.code(), Some(1), "{check:?}");
    let said = String::from_utf8_lossy(&check.stdout).into_owned() + &String::from_utf8_lossy(&check.stderr);
    assert!(said.contains(&bridge.world().data().display().to_string()), "{said}");
    drop((filler, others));
    kept.wait_until_taken(&bridge, 10_000);
    bridge.process().wait_for(CAN_AGAIN, DEADLINE, |line| line.contains(CAN_AGAIN).then_some(()));
    assert!(bridge.world().run(&["check"]).status.success());
    online.assert_goes_on();
    let bridge = bridge.kill_and_start();
    kept.assert_all_there(&bridge, &[]);
}

#[test]
fn a_device_that_returns_to_a_full_disk_gets_everything() {
    if !may_mount("a_device_that_returns_to_a_full_disk_gets_everything") {
        return;
    }
    let bridge = pairs(2).on_small_disk(16 << 20).start();
    let others = Filler::take(&bridge.world().data(), 8 << 20);
    let mut kept = Kept::new(&bridge, "away");
    assert!((0..1600).any(|_| kept.offer(&bridge, 10_000) == 0x97), "a full disk");
    let filler = Filler::fill(&bridge.world().data());
    assert!((0..10_000).any(|_| kept.offer(&bridge, 1) == 0x97), "small messages are kept on a full disk");
    let (mut back, _) =
        bridge.connect_with(V5, &end(&bridge, 0, End::To), Connect::new("away").persistent(V5));
    // What it acknowledges cannot be written down, so the bridge may stop after a while, until there is room.
    let mut room = Some((filler, others));
    for number in std::mem::take(&mut kept.taken) {
        let wanted = |packet: &Packet| matches!(packet, Packet::Publish(_));
        let mut next = back.poll(Duration::from_secs(if room.is_some() { 1 } else { 10 })).unwrap();
        if next.is_none() {
            println!("waits for room before {number}");
            drop(room.take());
            next = Some(back.wait_for("what waits, now that there is room", wanted));
        }
        let Some(Packet::Publish(message)) = next else { panic!("{next:?}") };
        assert_eq!(message.payload, payload(number, kept.sizes[number as usize]));
        back.acknowledge(Kind::PubAck, message.id);
    }
    back.disconnect();
    drop(room);
    kept.wait_until_taken(&bridge, 1000);
    let bridge = bridge.restart();
    kept.assert_all_there(&bridge, &[]);
}

#[test]
fn a_store_that_cannot_write_refuses_both_versions_and_new_sessions() {
    for fault in ["write ENOSPC", "write EIO", "sync EIO"] {
        let (world, faults) = Faults::of(pairs(2));
        let bridge = world.start();
        let mut online: Vec<_> =
            ON_BOTH_VERSIONS.iter().map(|&version| OnlinePair::new(&bridge, version)).collect();
        let mut kept = Kept::new(&bridge, "away");
        for _ in 0..20 {
            assert_eq!(kept.offer(&bridge, 100), 0);
        }
        faults.set(fault);
        for size in [1, 100, 10_000] {
            assert_eq!(kept.offer(&bridge, size), 0x97, "{fault}");
        }
        let from = end(&bridge, 0, End::From);
        let mut publisher = bridge.connect(V5, &from);
        publisher.send(Publish::new(&from.publish, "refused").qos(2, 1));
        assert_eq!(publisher.expect_ack(Kind::PubRec, 1).reason, 0x97, "{fault}");
        publisher.send(Publish::new(&format!("{}/kept", from.publish), "refused").qos(1, 1).retain());
        assert_eq!(publisher.expect_ack(Kind::PubAck, 1).reason, 0x97, "{fault}");
        for qos in 1..=2 {
            let (mut old, _) = bridge.connect_with(V311, &from, Connect::new("old"));
            old.send(Publish::new(&from.publish, "refused").qos(qos, 1));
            old.expect_closed();
        }
        for (version, code) in [(V5, 0x97), (V311, 3)] {
            let mut newcomer = bridge.open(version);
            let connect = Connect::new("newcomer").persistent(version);
            newcomer.send(connect.user_name(&from.login.username).password(&from.login.password));
            assert_eq!(newcomer.expect_connack().code, code, "{fault} {version:?}");
            // One that ends with its connection needs no disk.
            bridge.connect_with(version, &from, Connect::new("passes by")).0.expect_silence();
        }
        bridge.process().wait_for(CANNOT, DEADLINE, |line| line.contains(CANNOT).then_some(()));
        online.iter_mut().for_each(OnlinePair::assert_goes_on);
        faults.clear();
        kept.wait_until_taken(&bridge, 100);
        bridge.process().wait_for(CAN_AGAIN, DEADLINE, |line| line.contains(CAN_AGAIN).then_some(()));
        for _ in 0..20 {
            assert_eq!(kept.offer(&bridge, 100), 0);
        }
        let said = bridge.log();
        // What was refused may be retained or not, but no restart makes another of it.
        let retained = retained(&bridge, "kept");
        let bridge = bridge.kill_and_start();
        kept.assert_all_there(&bridge, &["refused"]);
        assert_eq!(self::retained(&bridge, "kept"), retained, "{fault}");
        let complaints = said.lines().filter(|line| line.contains(CANNOT)).count();
        assert!(complaints <= 3, "{fault}: said {complaints} times that {CANNOT}");
    }
}

#[test]
fn a_start_on_a_failing_disk_names_the_store() {
    for fault in ["write ENOSPC", "write EIO", "sync EIO"] {
        let (world, faults) = Faults::of(pairs(1));
        let bridge = world.start();
        let mut kept = Kept::new(&bridge, "away");
        for _ in 0..20 {
            assert_eq!(kept.offer(&bridge, 100), 0);
        }
        let world = bridge.kill();
        faults.set(fault);
        let (status, said) = world.start_fails();
        assert_eq!(status.code(), Some(1), "{fault}: {said}");
        assert!(said.contains(&world.store().display().to_string()), "{fault}: {said}");
        faults.clear();
        kept.assert_all_there(&world.start(), &[]);
    }
}

#[test]
fn a_subscribe_that_cannot_be_kept_is_refused() {
    let (world, faults) = Faults::of(pairs(1));
    let bridge = world.start();
    let to = end(&bridge, 0, End::To);
    for version in ON_BOTH_VERSIONS {
        let (mut subscriber, _) = bridge.connect_with(version, &to, Connect::new("kept").persistent(version));
        faults.set("write EIO");
        let id = subscriber.packet_id();
        subscriber.send(Subscribe::new(id).filter(&to.subscribe, 1));
        // A SUBACK with a failure, or the end of the connection; only no success.
        if let Some(Packet::SubAck(ack)) = subscriber.receive_or_closed() {
            assert!(ack.codes[0] >= 0x80, "{ack:?}");
        }
        faults.clear();
    }
}

#[test]
fn pairs_that_are_online_do_not_wait_for_a_slow_disk() {
    let (world, faults) = Faults::of(pairs(2));
    let bridge = world.start();
    let mut online: Vec<_> =
        ON_BOTH_VERSIONS.iter().map(|&version| OnlinePair::new(&bridge, version)).collect();
    let (from, to) = (end(&bridge, 0, End::From), end(&bridge, 0, End::To));
    let (mut away, _) = bridge.connect_persistent(V5, &to);
    away.subscribe(&to.subscribe, 1);
    away.disconnect();
    let mut publisher = bridge.connect(V5, &from);
    for (delay, rounds) in [(10, 100), (200, 100), (3000, 20)] {
        faults.set(&format!("sync {delay}"));
        // One sync is under way from here on.
        publisher.send(Publish::new(&from.publish, "slow").qos(1, 1));
        let start = Instant::now();
        for _ in 0..rounds {
            online.iter_mut().for_each(OnlinePair::assert_goes_on);
        }
        let took = start.elapsed();
        // Each of these messages waiting for a sync would take rounds times as long; one sync may fall into it.
        let bound = Duration::from_millis(delay).max(Duration::from_millis(1500));
        assert!(took < bound, "{rounds} rounds with syncs of {delay} ms took {took:?}");
        faults.set("sync 1");
        publisher.expect_success(Kind::PubAck, 1);
    }
}

#[test]
fn messages_that_arrive_at_once_are_hardly_written() {
    const MESSAGES: u32 = 500;
    let (world, faults) = Faults::of(pairs(2));
    let bridge = world.start();
    for version in ON_BOTH_VERSIONS {
        let mut online = OnlinePair::new(&bridge, version);
        let (before, start) = (faults.done(), Instant::now());
        for _ in 0..MESSAGES {
            online.exchange(1);
        }
        let done = faults.done();
        let (bytes, syncs) = (done.bytes - before.bytes, done.syncs - before.syncs);
        println!("{MESSAGES} messages in {:?}: {bytes} bytes written, {syncs} syncs", start.elapsed());
        assert!(bytes < 1000 * u64::from(MESSAGES) / 2, "{bytes} bytes for {MESSAGES} messages");
        assert!(syncs <= 4 + 4 * start.elapsed().as_secs(), "{syncs} syncs in {:?}", start.elapsed());
    }
}

#[test]
fn many_pairs_share_a_slow_sync() {
    const PAIRS: usize = 20;
    const WINDOW: u16 = 10;
    const WINDOWS: u16 = 10;
    let (world, faults) = Faults::of(pairs(PAIRS));
    let bridge = world.start();
    let mut publishers = Vec::new();
    for pair in 0..PAIRS {
        let (from, to) = (end(&bridge, pair, End::From), end(&bridge, pair, End::To));
        let (mut away, _) = bridge.connect_persistent(V5, &to);
        away.subscribe(&to.subscribe, 1);
        away.disconnect();
        publishers.push((bridge.connect(V5, &from), from));
    }
    faults.set("sync 200");
    let (before, start) = (faults.done(), Instant::now());
    std::thread::scope(|scope| {
        for (publisher, from) in &mut publishers {
            scope.spawn(move || {
                for _ in 0..WINDOWS {
                    for id in 1..=WINDOW {
                        publisher.send(Publish::new(&from.publish, "x").qos(1, id));
                    }
                    for id in 1..=WINDOW {
                        publisher.expect_success(Kind::PubAck, id);
                    }
                }
            });
        }
    });
    let (syncs, took) = (faults.done().syncs - before.syncs, start.elapsed());
    println!(
        "{} messages with syncs of 200 ms: {took:?}, {syncs} syncs",
        PAIRS * usize::from(WINDOW * WINDOWS)
    );
    // 20 pairs with 10 in flight wait for one sync, or two if they came while one was under way.
    assert!(syncs <= u64::from(WINDOWS) * 3, "{syncs} syncs");
    assert!(took < Duration::from_millis(200) * u32::from(WINDOWS) * 3 + Duration::from_secs(2), "{took:?}");
}

#[test]
fn a_qos2_message_is_delivered_after_its_sync() {
    let (world, faults) = Faults::of(pairs(1));
    let bridge = world.start();
    let (from, to) = (end(&bridge, 0, End::From), end(&bridge, 0, End::To));
    let (mut subscriber, _) = bridge.connect_persistent(V5, &to);
    subscriber.subscribe(&to.subscribe, 2);
    let (mut publisher, _) = bridge.connect_persistent(V5, &from);
    faults.set("sync 300");
    let start = Instant::now();
    publisher.send(Publish::new(&from.publish, "x").qos(2, 1));
    publisher.expect_success(Kind::PubRec, 1);
    assert!(start.elapsed() >= Duration::from_millis(300), "PUBREC after {:?}", start.elapsed());
    subscriber.expect_payload("x");
    publisher.acknowledge(Kind::PubRel, 1);
    publisher.expect_success(Kind::PubComp, 1);
    assert!(start.elapsed() >= Duration::from_millis(600), "PUBCOMP after {:?}", start.elapsed());
}

#[test]
fn a_publisher_that_returns_while_its_message_is_synced_gets_its_answer() {
    let (world, faults) = Faults::of(pairs(1));
    let bridge = world.start();
    let (from, to) = (end(&bridge, 0, End::From), end(&bridge, 0, End::To));
    let (mut away, _) = bridge.connect_persistent(V5, &to);
    away.subscribe(&to.subscribe, 2);
    away.disconnect();
    faults.set("sync 200");
    for version in ON_BOTH_VERSIONS {
        for (qos, answer) in [(1, Kind::PubAck), (2, Kind::PubRec)] {
            for after in [0, 50, 150] {
                let text = format!("{version:?} {qos} {after}");
                let connect =
                    || bridge.connect_with(version, &from, Connect::new("returns").persistent(version)).0;
                let mut publisher = connect();
                publisher.send(Publish::new(&from.publish, &text).qos(qos, 1));
                std::thread::sleep(Duration::from_millis(after));
                drop(publisher);
                let mut publisher = connect();
                publisher.send(Publish::new(&from.publish, &text).qos(qos, 1).dup());
                publisher.expect_success(answer, 1);
                if qos == 2 {
                    publisher.acknowledge(Kind::PubRel, 1);
                    publisher.expect_success(Kind::PubComp, 1);
                }
                publisher.disconnect();
            }
        }
    }
    faults.clear();
    let (mut back, _) = bridge.connect_persistent(V5, &to);
    bridge.connect(V5, &from).publish(&from.publish, "marker", 2);
    let mut once = Vec::new();
    loop {
        let message = back.expect_message();
        if message.text() == "marker" {
            break;
        }
        assert!(message.qos == 1 || !once.contains(&message.payload), "{} came twice", message.text());
        once.push(message.payload);
    }
    once.dedup();
    assert_eq!(once.len(), 12);
}

/// Whatever was refused is told where it was refused, and that nothing can be kept before all else.
#[track_caller]
fn assert_refusals_are_told_by_connection(bridge: &Bridge) {
    let status = bridge.world().run(&["status", "--json"]);
    let report: serde_json::Value = serde_json::from_slice(&status.stdout).unwrap();
    let not_kept = report["totals"]["not_kept"].as_u64().unwrap();
    let refused = not_kept + report["totals"]["queue_full"].as_u64().unwrap();
    assert!(not_kept > 0 && report["connections"][0]["from_to"]["refused"] == refused, "{report:#}");
    let text = String::from_utf8(bridge.world().run(&["status"]).stdout).unwrap();
    assert!(text.lines().nth(1).unwrap().contains(CANNOT), "{text}");
}

/// A connection whose two devices are online, with persistent sessions.
struct OnlinePair {
    publisher: Client,
    subscriber: Client,
    topic: String,
    number: u32,
}

impl OnlinePair {
    /// The second connection's.
    fn new(bridge: &Bridge, version: Version) -> Self {
        let (from, to) = (end(bridge, 1, End::From), end(bridge, 1, End::To));
        let connect = Connect::new(&format!("online {version:?}")).persistent(version);
        let (publisher, _) = bridge.connect_with(version, &from, connect.clone());
        let (mut subscriber, _) = bridge.connect_with(version, &to, connect);
        let topic = format!("{}/{version:?}", from.publish);
        subscriber.subscribe(&topic, 1);
        Self { publisher, subscriber, topic, number: 0 }
    }

    #[track_caller]
    fn exchange(&mut self, qos: u8) {
        self.number += 1;
        let text = self.number.to_string();
        let publish = Publish::new(&self.topic, &text);
        if qos == 0 {
            self.publisher.send(publish);
            self.subscriber.expect_payload(&text);
            return;
        }
        self.publisher.send(publish.qos(1, 1));
        self.subscriber.expect_payload(&text);
        self.publisher.expect_success(Kind::PubAck, 1);
    }

    #[track_caller]
    fn assert_goes_on(&mut self) {
        self.exchange(0);
        self.exchange(1);
    }
}

/// A device of the first connection that is away, and what was acknowledged for it.
struct Kept {
    publisher: Client,
    name: String,
    offered: u32,
    taken: Vec<u32>,
    sizes: Vec<usize>,
}

impl Kept {
    fn new(bridge: &Bridge, name: &str) -> Self {
        let (from, to) = (end(bridge, 0, End::From), end(bridge, 0, End::To));
        let (mut away, _) = bridge.connect_with(V5, &to, Connect::new(name).persistent(V5));
        away.subscribe(&to.subscribe, 2);
        away.disconnect();
        let (publisher, _) = bridge.connect_with(V5, &from, Connect::new("keeps"));
        Self { publisher, name: name.into(), offered: 0, taken: Vec::new(), sizes: Vec::new() }
    }

    /// Publishes the next number in a message of this size, and gives the reason of the PUBACK.
    #[track_caller]
    fn offer(&mut self, bridge: &Bridge, size: usize) -> u8 {
        let topic = end(bridge, 0, End::From).publish;
        self.publisher.send(Publish::new(&topic, payload(self.offered, size)).qos(1, 1));
        let reason = self.publisher.expect_ack(Kind::PubAck, 1).reason;
        if reason < 0x80 {
            self.taken.push(self.offered);
        }
        self.sizes.push(size);
        self.offered += 1;
        reason
    }

    #[track_caller]
    fn wait_until_taken(&mut self, bridge: &Bridge, size: usize) {
        let until = Instant::now() + 2 * DEADLINE;
        while self.offer(bridge, size) != 0 {
            assert!(Instant::now() < until, "nothing is kept though there is room again");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// The device returns and finds what was acknowledged, in order, and of what was refused only what is among `also`.
    #[track_caller]
    fn assert_all_there(&self, bridge: &Bridge, also: &[&str]) {
        let (from, to) = (end(bridge, 0, End::From), end(bridge, 0, End::To));
        bridge.connect(V5, &from).publish(&from.publish, "marker", 1);
        let (mut back, present) = bridge.connect_with(V5, &to, Connect::new(&self.name).persistent(V5));
        assert!(present);
        let mut expected = self.taken.iter();
        loop {
            let message = back.expect_message();
            let text = message.text().trim_end_matches('.');
            if text == "marker" {
                break;
            }
            let Ok(number) = text.parse::<u32>() else {
                assert!(also.contains(&text), "{text}");
                continue;
            };
            assert_eq!(message.payload, payload(number, self.sizes[number as usize]));
            // After a failed sync nobody knows whether what was refused is on disk.
            if also.is_empty() || self.taken.contains(&number) {
                assert_eq!(Some(&number), expected.next());
            }
        }
        assert_eq!(expected.next(), None, "is missing of {} messages", self.taken.len());
    }
}

/// What is retained at this level below what the first connection's `from` may publish to.
fn retained(bridge: &Bridge, level: &str) -> Option<String> {
    let topic = format!("{}/{level}", end(bridge, 0, End::From).publish);
    let (mut reader, _) = bridge.connect_with(V5, &end(bridge, 0, End::To), Connect::new("reader"));
    reader.subscribe(&topic, 0);
    reader.send(PingReq);
    match reader.receive() {
        Packet::Publish(message) => Some(message.text().to_owned()),
        Packet::PingResp => None,
        other => panic!("{other:?}"),
    }
}

fn payload(number: u32, size: usize) -> Vec<u8> {
    let mut payload = number.to_string().into_bytes();
    payload.resize(size.max(payload.len()), b'.');
    payload
}

fn pairs(count: usize) -> World {
    let device = |code: usize| json!({ "code": code, "name": format!("Device {code}"), "type": "test" });
    let connection =
        |pair: usize| json!({ "name": format!("pair {pair}"), "from": 2 * pair, "to": 2 * pair + 1 });
    let world = World::durable().env("IOR_BRIDGE__LIMITS__SESSIONS_PER_DEVICE", "10");
    let devices: Vec<_> = (0..2 * count).map(device).collect();
    let connections: Vec<_> = (0..count).map(connection).collect();
    world.configure(&json!(devices), &json!(connections));
    world
}

fn end(bridge: &Bridge, pair: usize, end: End) -> Credentials {
    bridge.credentials(&format!("pair-{pair}"), end)
}
