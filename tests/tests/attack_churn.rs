//! Ten thousand of everything: what a client costs is given back when it is gone.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::time::{Duration, Instant};

use ior_tests::{
    Bridge, Credentials, End, ON_BOTH_VERSIONS, World,
    raw::{
        Connect, Disconnect, Publish,
        Version::{V5, V311},
        Will,
    },
};

/// How often something is done.
const OFTEN: usize = 10_000;
/// How many clients do it at the same time.
const AT_ONCE: usize = 8;
/// What the process may keep of it, in bytes: allocators do not give back everything.
const KEPT: u64 = 2 << 20;

#[test]
fn connections_that_end_are_forgotten() {
    let bridge = Bridge::start();
    let ends = all_ends(&bridge);
    often_and_forgotten(&bridge, |number| {
        let who = &ends[number % ends.len()];
        let version = ON_BOTH_VERSIONS[number / 2 % 2];
        // Not of QoS 0: the live lane remembers what has passed, up to a bound of its own.
        let will = Will::new(&who.publish, "gone").qos(1);
        // As many as a device may have, so that none of them has to give way.
        let id = format!("{}", number / ends.len() % 2);
        let (mut client, _) = bridge.connect_with(version, who, Connect::new(&id).will(will));
        match number % 3 {
            0 => client.send(Disconnect::default()),
            1 => client.subscribe(&who.subscribe, 1),
            _ => {}
        }
        drop(client);
    });
}

#[test]
fn failed_logins_are_forgotten() {
    let bridge = World::empty().answering_at_once().start();
    let ends = all_ends(&bridge);
    often_and_forgotten(&bridge, |number| {
        let who = &ends[number % ends.len()];
        let mut client = bridge.open(ON_BOTH_VERSIONS[number / 2 % 2]);
        // A wrong password, a user that there is not, and no login at all.
        let connect = Connect::new(&format!("guest-{number}"));
        client.send(match number % 3 {
            0 => connect.user_name(&who.login.username).password(format!("guess {number}")),
            1 => connect.user_name(&format!("nobody-{number}")).password(&who.login.password),
            _ => connect,
        });
        assert_ne!(client.expect_connack().code, 0);
    });
}

#[test]
fn sessions_of_distinct_client_identifiers_are_forgotten() {
    // What is kept, is kept in SQLite; that is slow only where it has to be synced for each.
    let bridge = World::empty().env("IOR_BRIDGE__DURABILITY", "buffered").start();
    let ends = all_ends(&bridge);
    often_and_forgotten(&bridge, |number| {
        let who = &ends[number % ends.len()];
        let version = ON_BOTH_VERSIONS[number / 2 % 2];
        let connect = Connect::new(&format!("session-{number}")).persistent(version);
        let (mut client, present) = bridge.connect_with(version, who, connect);
        assert!(!present);
        client.subscribe(&who.subscribe, 1);
        client.send(Publish::new(&who.publish, "waits for the peer's sessions").qos(1, 1));
        client.send(Disconnect::default());
    });
    // Of each device no more sessions are left than it may have.
    for (index, who) in ends.iter().enumerate() {
        let numbers = (0..OFTEN).rev().filter(|number| number % ends.len() == index).take(50);
        let ids: Vec<String> = numbers.map(|number| format!("session-{number}")).collect();
        let present = |id: &String| bridge.connect_with(V5, who, Connect::new(id).clean(false)).1;
        assert!(ids.iter().filter(|id| present(id)).count() <= 4);
    }
}

/// Does something ten thousand times, by a few clients at once, and expects memory and file descriptors to be as before.
#[track_caller]
fn often_and_forgotten(bridge: &Bridge, something: impl Fn(usize) + Sync) {
    let something = &something;
    let run = |from: usize, to: usize| {
        std::thread::scope(|scope| {
            for thread in 0..AT_ONCE {
                scope.spawn(move || (from + thread..to).step_by(AT_ONCE).for_each(something));
            }
        });
    };
    // What is made once and kept is there after the first few.
    run(0, OFTEN / 10);
    let quiet = all_ends(bridge);
    bridge.assert_unharmed(&quiet[0]);
    settle(bridge, 64);
    let (files, memory) = (bridge.process().open_files(), bridge.process().resident());
    let since = Instant::now();
    run(OFTEN / 10, OFTEN);
    bridge.assert_unharmed(&quiet[0]);
    settle(bridge, files);
    let grown = bridge.process().resident().saturating_sub(memory);
    eprintln!("{:?}, {files} file descriptors, memory grew by {} KiB", since.elapsed(), grown >> 10);
    assert!(grown <= KEPT, "memory grew by {} KiB", grown >> 10);
    for who in &quiet {
        for version in [V311, V5] {
            bridge.connect_with(version, who, Connect::new("afterwards")).0.expect_silence();
        }
    }
}

/// Waits until there are no more than so many file descriptors. The bridge gives a client two seconds to close its side.
#[track_caller]
fn settle(bridge: &Bridge, files: usize) {
    let until = Instant::now() + Duration::from_secs(10);
    while bridge.process().open_files() > files {
        assert!(Instant::now() < until, "{} file descriptors are open", bridge.process().open_files());
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn all_ends(bridge: &Bridge) -> Vec<Credentials> {
    ["connection-1", "connection-2"]
        .into_iter()
        .flat_map(|name| [bridge.credentials(name, End::From), bridge.credentials(name, End::To)])
        .collect()
}
