//! The crash test: devices talk while the bridge is killed and started again, over and over. Nothing that was acknowledged
//! is missing, nothing with QoS 2 comes twice, and everything is in order.
//!
//! `IOR_CRASH_ROUNDS` sets how often it is killed, `IOR_CRASH_SEED` repeats the decisions of a run that failed.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::{
    net::SocketAddr,
    sync::{Condvar, Mutex, MutexGuard},
    time::{Duration, Instant},
};

use ior_tests::{
    Bridge, Credentials, End, Happened, Peer, Random, World,
    process::Process,
    raw::{
        Connect, Message, Subscribe,
        Version::{self, V5, V311},
    },
};
use serde_json::json;

const ROUNDS: u64 = 200;
/// How often it is killed while what is left is drained.
const ROUNDS_WHILE_DRAINING: u64 = 5;
/// Messages that a device has on their way at most.
const IN_FLIGHT: usize = 10;
/// How long it may take until everything has arrived in the end.
const DRAINED_WITHIN: Duration = Duration::from_secs(60);
/// How long everybody listens when everything has arrived, for what comes too much.
const AFTERWARDS: Duration = Duration::from_millis(500);

/// What a device publishes: each is numbered from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stream {
    /// QoS 1.
    AtLeastOnce,
    /// QoS 2.
    ExactlyOnce,
    /// QoS 1, retained.
    State,
}

const STREAMS: [Stream; 3] = [Stream::AtLeastOnce, Stream::ExactlyOnce, Stream::State];

/// How the two devices of a connection behave: version, highest QoS that they subscribe with, whether they are away now
/// and then.
const PAIRS: [[(Version, u8, bool); 2]; 4] = [
    [(V5, 2, false), (V311, 2, false)],
    [(V311, 2, false), (V5, 2, true)],
    [(V5, 2, true), (V5, 2, true)],
    [(V311, 1, true), (V311, 2, false)],
];

#[test]
fn nothing_acknowledged_is_lost_and_nothing_comes_twice() {
    let rounds = std::env::var("IOR_CRASH_ROUNDS").map_or(ROUNDS, |rounds| rounds.parse().unwrap());
    crash("fsync", rounds);
}

/// What is written and not synced is lost by a power cut only.
#[test]
fn buffered_survives_kills_too() {
    crash("buffered", ROUNDS / 5);
}

fn crash(durability: &str, rounds: u64) {
    let seed = Random::seed("IOR_CRASH_SEED");
    println!("{durability}: IOR_CRASH_SEED={seed} IOR_CRASH_ROUNDS={rounds}");
    let mut random = Random::new(seed);
    let bridge = world().env("IOR_BRIDGE__DURABILITY", durability).start();
    let devices = devices(&bridge, &mut random);
    let harbour = Harbour::new(devices.len(), bridge.addr);
    let harbour = &harbour;
    let (bridge, devices) = std::thread::scope(|scope| {
        let threads: Vec<_> =
            devices.into_iter().map(|device| scope.spawn(move || device.live(harbour))).collect();
        let _alarm = Alarm(harbour);
        let mut bridge = bridge;
        for _ in 0..rounds {
            bridge = strike(bridge, harbour, &mut random);
        }
        harbour.change(|state| state.draining = Some(Instant::now() + DRAINED_WITHIN));
        for _ in 0..ROUNDS_WHILE_DRAINING {
            bridge = strike(bridge, harbour, &mut random);
        }
        let devices: Vec<_> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
        (bridge, devices)
    });
    for device in &devices {
        let (all, peer) = (harbour.lock().sent[device.peer_index], devices[device.peer_index].name.clone());
        assert_eq!(device.seen, all, "{} got so many of what {peer} sent in {STREAMS:?}", device.name);
        assert!(all.iter().all(|&sent| sent > 0), "{peer} sent {all:?}");
    }
    for device in &devices {
        assert_last_state_is_retained(&bridge, device, harbour);
    }
    let total: u32 = devices.iter().flat_map(|device| device.seen).sum();
    let repeated: u32 = devices.iter().map(|device| device.repeated).sum();
    println!("{durability}: {total} messages, {repeated} of QoS 1 repeated, {rounds} rounds");
}

fn world() -> World {
    let devices: Vec<_> = (0..PAIRS.len() * 2)
        .map(|code| json!({ "code": code, "name": format!("Device {code}"), "type": "test" }))
        .collect();
    let connections: Vec<_> = (0..PAIRS.len())
        .map(|pair| json!({ "name": format!("Pair {pair}"), "from": 2 * pair, "to": 2 * pair + 1 }))
        .collect();
    let world = World::durable();
    world.configure(&json!(devices), &json!(connections));
    world
}

fn devices(bridge: &Bridge, random: &mut Random) -> Vec<Device> {
    let mut devices = Vec::new();
    for (pair, ends) in PAIRS.iter().enumerate() {
        for (end, &(version, highest_qos, visits)) in [End::From, End::To].into_iter().zip(ends) {
            let index = devices.len();
            let credentials = bridge.credentials(&format!("pair-{pair}"), end);
            let connect = Connect::new(&credentials.login.client_id)
                .persistent(version)
                .user_name(&credentials.login.username)
                .password(&credentials.login.password);
            let mut peer = Peer::new(version, connect);
            assert!(!peer.connect(bridge.addr).unwrap().session_present);
            peer.client().subscribe(&credentials.subscribe, highest_qos);
            devices.push(Device {
                index,
                peer_index: index ^ 1,
                name: format!("{} ({version:?})", credentials.login.username),
                credentials,
                highest_qos,
                visits,
                peer,
                random: Random::new(random.within(0..=u64::MAX - 1)),
                sent: [0; 3],
                seen: [0; 3],
                repeated: 0,
            });
        }
    }
    devices
}

/// Lets the bridge run for a while, kills it and starts it again. Now and then it is killed while it stops or while it
/// starts.
fn strike(bridge: Bridge, harbour: &Harbour, random: &mut Random) -> Bridge {
    harbour.wait(random.ms(20..=250));
    harbour.change(|state| state.addr = None);
    if random.once_in(8) {
        bridge.process().terminate();
        harbour.wait(random.ms(0..=40));
    }
    let world = bridge.kill();
    if random.once_in(8) {
        let mut starting = Process::start(&mut world.command(&["run"]));
        harbour.wait(random.ms(0..=80));
        starting.kill();
    }
    let bridge = world.start();
    harbour.change(|state| state.addr = Some(bridge.addr));
    bridge
}

fn assert_last_state_is_retained(bridge: &Bridge, device: &Device, harbour: &Harbour) {
    let (mut reader, _) = bridge.connect_with(V5, &device.credentials, Connect::new("reader"));
    let id = reader.packet_id();
    reader.send(Subscribe::new(id).filter(&device.credentials.subscribe, 1));
    assert_eq!(reader.expect_suback(id), [1]);
    let last = harbour.lock().sent[device.peer_index][Stream::State as usize];
    let retained = reader.expect_message();
    assert!(retained.retain, "{retained:?}");
    assert_eq!(retained.payload, payload(Stream::State, last), "retained for {}", device.name);
}

/// Where the bridge is, and how far everybody is.
struct Harbour {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Clone)]
struct State {
    addr: Option<SocketAddr>,
    /// No new messages any more; until when all must have arrived.
    draining: Option<Instant>,
    /// By device: how many it sent in every stream, once all of them are acknowledged.
    sent: Vec<[u32; 3]>,
    failed: bool,
}

impl Harbour {
    fn new(devices: usize, addr: SocketAddr) -> Self {
        let state = State { addr: Some(addr), draining: None, sent: vec![[0; 3]; devices], failed: false };
        Self { state: Mutex::new(state), changed: Condvar::new() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.lock());
        self.changed.notify_all();
    }

    /// Lets time pass, unless a device has failed: then so does the test.
    fn wait(&self, time: Duration) {
        let (state, _) = self.changed.wait_timeout_while(self.lock(), time, |state| !state.failed).unwrap();
        let failed = state.failed;
        drop(state);
        assert!(!failed, "a device failed, see above");
    }

    /// Where to connect to, as soon as there is something. `None` if it is not worth while any more.
    fn addr(&self) -> Option<SocketAddr> {
        let mut state = self.lock();
        while state.addr.is_none() && !state.failed {
            state = self.changed.wait(state).unwrap();
        }
        state.addr.filter(|_| !state.failed)
    }
}

/// Tells the others when one fails.
struct Alarm<'a>(&'a Harbour);

impl Drop for Alarm<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.change(|state| state.failed = true);
        }
    }
}

/// A device: what it has, how it behaves, and what it saw.
struct Device {
    index: usize,
    peer_index: usize,
    name: String,
    credentials: Credentials,
    highest_qos: u8,
    visits: bool,
    peer: Peer,
    random: Random,
    /// How many it published, by stream.
    sent: [u32; 3],
    /// The last number that it received, by stream. There are no gaps.
    seen: [u32; 3],
    repeated: u32,
}

impl Device {
    fn live(mut self, harbour: &Harbour) -> Self {
        let _alarm = Alarm(harbour);
        let mut finished_at = None;
        loop {
            if !self.peer.is_connected() {
                let Some(addr) = harbour.addr() else { return self };
                self.connect(addr, harbour);
            }
            let leaves_at = self.visits.then(|| Instant::now() + self.random.ms(20..=400));
            while self.peer.is_connected() {
                let draining = self.take_part(harbour);
                let all_here = draining.is_some() && self.is_finished(harbour);
                if all_here && Instant::now() > *finished_at.get_or_insert(Instant::now() + AFTERWARDS)
                    || draining.is_some_and(|until| Instant::now() > until)
                    || harbour.lock().failed
                {
                    return self;
                }
                if draining.is_none() && leaves_at.is_some_and(|at| Instant::now() > at) {
                    self.leave();
                    harbour.wait(self.random.ms(20..=400));
                }
            }
        }
    }

    fn connect(&mut self, addr: SocketAddr, harbour: &Harbour) {
        match self.peer.connect(addr) {
            Ok(ack) if ack.code == 0 => {
                assert!(ack.session_present, "{}'s session is gone", self.name);
            }
            // Somebody else may have got the port of a bridge that is gone, and refuses.
            Ok(ack) => assert_ne!(harbour.lock().addr, Some(addr), "{}: CONNACK {}", self.name, ack.code),
            Err(_) => harbour.wait(Duration::from_millis(5)),
        }
    }

    /// Publishes a little and reads a little. Says until when all must have arrived, if that has begun.
    fn take_part(&mut self, harbour: &Harbour) -> Option<Instant> {
        let draining = harbour.lock().draining;
        if draining.is_none() {
            for _ in 0..self.random.within(0..=3) {
                if self.peer.unacknowledged() < IN_FLIGHT {
                    self.publish();
                }
            }
        } else if self.peer.unacknowledged() == 0 {
            harbour.change(|state| state.sent[self.index] = self.sent);
        }
        let until = Instant::now() + self.random.ms(1..=10);
        while let Some(left) = until.checked_duration_since(Instant::now()) {
            match self.peer.poll(left) {
                Some(Happened::Received(message)) => self.receive(&message),
                Some(Happened::Acknowledged { reason, .. }) => {
                    assert!(reason < 0x80, "{}: refused with {reason:#04x}", self.name);
                }
                None if !self.peer.is_connected() => break,
                None => {}
            }
        }
        draining
    }

    fn publish(&mut self) {
        let stream = match self.random.within(0..=19) {
            0 => Stream::State,
            1..=9 => Stream::AtLeastOnce,
            _ => Stream::ExactlyOnce,
        };
        self.sent[stream as usize] += 1;
        let topic = match stream {
            Stream::State => format!("{}/state", self.credentials.publish),
            _ => self.credentials.publish.clone(),
        };
        let payload = payload(stream, self.sent[stream as usize]);
        self.peer.publish(&topic, payload, qos(stream), stream == Stream::State);
    }

    fn receive(&mut self, message: &Message) {
        let (stream, number) = read(&message.payload);
        let qos = qos(stream).min(self.highest_qos);
        assert_eq!(message.qos, qos, "{}: {stream:?} {number}", self.name);
        assert_eq!(message.payload, payload(stream, number), "{}: not what was sent", self.name);
        let seen = &mut self.seen[stream as usize];
        if number == *seen + 1 {
            *seen = number;
            return;
        }
        assert!(number <= *seen, "{}: {stream:?} {number} comes after {seen}", self.name);
        assert!(qos == 1, "{}: {stream:?} {number} of QoS 2 comes again, after {seen}", self.name);
        self.repeated += 1;
    }

    /// Whether all its messages are acknowledged, and all of its peer's are here.
    fn is_finished(&self, harbour: &Harbour) -> bool {
        self.peer.unacknowledged() == 0 && harbour.lock().sent[self.peer_index] == self.seen
    }

    fn leave(&mut self) {
        if self.random.once_in(2) {
            self.peer.disconnect();
        } else {
            self.peer.cut();
        }
    }
}

fn qos(stream: Stream) -> u8 {
    if stream == Stream::ExactlyOnce { 2 } else { 1 }
}

/// From some bytes to two kilobytes, so that messages of a commit lie across many pages.
fn payload(stream: Stream, number: u32) -> Vec<u8> {
    let mut payload = format!("{} {number} ", stream as usize).into_bytes();
    payload.resize(payload.len() + (number as usize * 37) % 2000 / (1 + number as usize % 7), b'.');
    payload
}

fn read(payload: &[u8]) -> (Stream, u32) {
    let text = std::str::from_utf8(payload).unwrap();
    let mut parts = text.split(' ');
    let stream: usize = parts.next().unwrap().parse().unwrap();
    (STREAMS[stream], parts.next().unwrap().parse().unwrap())
}
