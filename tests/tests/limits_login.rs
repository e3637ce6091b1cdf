//! Limits that hold before somebody has logged in to the real bridge.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::{io::ErrorKind, time::Duration};

use ior_tests::{
    Bridge, Credentials, DEADLINE, End, ON_BOTH_VERSIONS, World,
    raw::{
        Client, Connect, Encode, Property,
        Version::{self, V5, V311},
        Will,
    },
};

const BAD_USER_NAME_OR_PASSWORD: u8 = 0x86;

#[test]
fn an_address_has_as_many_connections_as_allowed() {
    let bridge = World::empty().env("IOR_BRIDGE__LIMITS__CONNECTIONS_PER_ADDRESS", "3").start();
    let (who, peer) = ends(&bridge);
    let mut online = bridge.connect(V5, &who);
    let mut other = bridge.connect(V311, &peer);
    let silent = bridge.open(V5);
    for version in ON_BOTH_VERSIONS {
        bridge.open(version).expect_closed();
    }
    complains(&bridge, "127.0.0.1: its address has limits.connections_per_address connections already");
    online.expect_silence();
    other.expect_silence();
    // Whoever leaves makes room.
    other.disconnect();
    drop(silent);
    let mut again = retry(|| try_connect(&bridge, V5, &peer));
    again.expect_silence();
    online.expect_silence();
}

#[test]
fn guesses_are_answered_late_and_a_right_password_at_once() {
    let bridge = Bridge::start();
    let (who, _) = ends(&bridge);
    for _ in 0..5 {
        let code = guess(&bridge, V5, &who.login.username).expect_connack().code;
        assert_eq!(code, BAD_USER_NAME_OR_PASSWORD);
    }
    for name in [who.login.username.as_str(), "unknown"] {
        // Counted as they come, however many sockets they come from: the last one waits for half a minute.
        let mut guessers: Vec<Client> = (0..7).map(|_| guess(&bridge, V5, name)).collect();
        for version in ON_BOTH_VERSIONS {
            bridge.connect(version, &who).expect_silence();
        }
        let waiting = guessers.iter_mut().map(is_waiting).filter(|waiting| *waiting).count();
        assert!(waiting > 0, "all guesses were answered at once");
    }
    complains(&bridge, "more than limits.failed_logins have failed, so the answer is delayed");
}

#[test]
fn a_delayed_answer_comes_in_the_end() {
    let bridge = World::empty()
        .env("IOR_BRIDGE__LIMITS__FAILED_LOGINS", "1")
        .env("IOR_BRIDGE__LIMITS__FAILED_LOGIN_DELAY_MAX", "1s")
        .start();
    let (who, _) = ends(&bridge);
    for (version, code) in [(V5, BAD_USER_NAME_OR_PASSWORD), (V311, 4)] {
        let guessers = [(); 4].map(|()| guess(&bridge, version, &who.login.username));
        for mut guesser in guessers {
            assert_eq!(guesser.expect_connack().code, code);
            guesser.expect_closed();
        }
    }
}

#[test]
fn guesses_do_not_keep_others_from_logging_in() {
    let bridge = World::empty()
        .env("IOR_BRIDGE__LIMITS__LOGINS", "4")
        .env("IOR_BRIDGE__LIMITS__FAILED_LOGINS", "1")
        .start();
    let (who, _) = ends(&bridge);
    let mut guessers: Vec<Client> = (0..20).map(|_| guess(&bridge, V5, &who.login.username)).collect();
    for version in ON_BOTH_VERSIONS {
        bridge.connect(version, &who).disconnect();
    }
    // Those that had to make room are closed without an answer.
    let closed = guessers.iter_mut().map(|guesser| guesser.is_closed_within(Duration::from_secs(1)));
    assert!(closed.filter(|closed| *closed).count() >= 20 - 4);
}

#[test]
fn whoever_hangs_up_while_his_answer_is_delayed_cannot_come_back_before() {
    let bridge = World::empty()
        .env("IOR_BRIDGE__LIMITS__CONNECTIONS_PER_ADDRESS", "8")
        .env("IOR_BRIDGE__LIMITS__FAILED_LOGINS", "1")
        .start();
    let (who, _) = ends(&bridge);
    // None of them waits for its answer, and each takes its place until then.
    for _ in 0..20 {
        let mut client = bridge.open(V5);
        let connect = Connect::new("guest").user_name(&who.login.username).password("wrong");
        // It fails where the bridge has closed.
        let _ = client.try_send(connect);
    }
    complains(&bridge, "its address has limits.connections_per_address connections already");
}

#[test]
fn a_connect_is_small_but_for_its_will() {
    let bridge = Bridge::start();
    let (who, _) = ends(&bridge);
    let login = |client_id: &str| {
        Connect::new(client_id).user_name(&who.login.username).password(&who.login.password)
    };
    for version in ON_BOTH_VERSIONS {
        let mut client = bridge.open(version);
        let will = Will::new(&who.publish, vec![b'w'; 8_000]);
        client.send(login(&"c".repeat(3_900)).will(will));
        assert_eq!(client.expect_connack().code, 0);

        // Known to be too large from its first bytes, so the rest is not waited for.
        let mut client = bridge.open(version);
        let bytes = login(&"c".repeat(4_096)).encode(version);
        client.send(bytes[..20].to_vec());
        client.expect_closed();

        for (client_id, will) in [(10, 8_193), (4_096, 10)] {
            let mut client = bridge.open(version);
            client.send(login(&"c".repeat(client_id)).will(Will::new(&who.publish, vec![b'w'; will])));
            if version == V5 {
                assert_eq!(client.expect_connack().code, 0x95);
            }
            client.expect_closed();
        }
    }
    complains(&bridge, "its CONNECT is larger than limits.max_connect_size");
    complains(&bridge, "its CONNECT without the will is larger than limits.max_connect_size");
    complains(&bridge, "its will is larger than limits.max_will_size");
}

#[test]
fn a_connect_and_a_will_have_few_user_properties() {
    let bridge = Bridge::start();
    let (who, _) = ends(&bridge);
    let login = || Connect::new("c").user_name(&who.login.username).password(&who.login.password);
    for (count, code) in [(64, 0), (65, 0x97)] {
        let connect = (0..count).fold(login(), |all, _| all.property(Property::user("k", "v")));
        let will =
            (0..count).fold(Will::new(&who.publish, "x"), |all, _| all.property(Property::user("k", "v")));
        for connect in [connect, login().will(will)] {
            let mut client = bridge.open(V5);
            client.send(connect);
            assert_eq!(client.expect_connack().code, code, "{count} user properties");
        }
    }
    complains(&bridge, "more user properties than limits.user_properties");
}

fn ends(bridge: &Bridge) -> (Credentials, Credentials) {
    (bridge.credentials("connection-1", End::From), bridge.credentials("connection-1", End::To))
}

fn guess(bridge: &Bridge, version: Version, name: &str) -> Client {
    let mut client = bridge.open(version);
    client.send(Connect::new("guest").user_name(name).password("wrong"));
    client
}

fn is_waiting(client: &mut Client) -> bool {
    matches!(client.poll(Duration::ZERO), Ok(None))
}

/// A client that is logged in, unless the bridge closes the connection.
fn try_connect(bridge: &Bridge, version: Version, who: &Credentials) -> Option<Client> {
    let mut client = bridge.open(version);
    let connect = Connect::new(&who.login.client_id).user_name(&who.login.username);
    match client.try_send(connect.password(&who.login.password)) {
        Err(error) if matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset) => None,
        sent => {
            sent.unwrap();
            client.receive_or_closed().map(|_| client)
        }
    }
}

#[track_caller]
fn retry<T>(attempt: impl Fn() -> Option<T>) -> T {
    let until = std::time::Instant::now() + DEADLINE;
    loop {
        if let Some(done) = attempt() {
            return done;
        }
        assert!(std::time::Instant::now() < until, "it never succeeds");
    }
}

#[track_caller]
fn complains(bridge: &Bridge, what: &str) {
    let complaint = |line: &str| (line.contains("WARN") && line.contains(what)).then_some(());
    bridge.process().wait_for(what, DEADLINE, complaint);
}
