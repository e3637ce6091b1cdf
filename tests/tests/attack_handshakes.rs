//! Handshakes below MQTT that stall or come in crowds, and devices that come over several channels at once.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::{
    io::{ErrorKind, Read, Write},
    net::TcpStream,
    time::Duration,
};

use ior_tests::{
    Bridge, Channel, Credentials, DEADLINE, End, ON_BOTH_VERSIONS, World,
    raw::{Client, Connect, Version, Version::V5, Will},
};

/// Regression: no more than 128 connections could wait to be accepted, and whoever came then had to ask again after a
/// second.
#[test]
fn a_crowd_waits_to_be_accepted_and_nobody_has_to_ask_twice() {
    let bridge = Bridge::start();
    let from = bridge.credentials("connection-1", End::From);
    for addr in [bridge.addr, bridge.mqtts.unwrap(), bridge.websocket.unwrap()] {
        bridge.process().pause();
        // As long as it stands still, the system answers those for whom there is a place.
        let crowd: std::io::Result<Vec<_>> =
            (0..300).map(|_| TcpStream::connect_timeout(&addr, DEADLINE)).collect();
        bridge.process().resume();
        assert_eq!(crowd.unwrap().len(), 300, "{addr}");
        bridge.assert_unharmed(&from);
    }
}

#[test]
fn handshakes_that_stall_on_any_port_delay_nobody_on_any_channel() {
    // Longer than any test: none of them ends by itself.
    let bridge = World::empty().env("IOR_BRIDGE__LIMITS__CONNECT_TIMEOUT", "600s").start();
    let (from, to) = ends(&bridge);
    let hello = [0x16, 3, 1, 2, 0, 1, 0];
    let request = b"GET /mqtt HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n";
    let begins: [&[u8]; 6] = [b"", &hello[..1], &hello, b"G", &request[..20], request];
    let mut stalled = Vec::new();
    for addr in [bridge.addr, bridge.mqtts.unwrap(), bridge.websocket.unwrap()] {
        for number in 0..120 {
            let mut stream = TcpStream::connect(addr).unwrap();
            stream.write_all(begins[number % begins.len()]).unwrap();
            stalled.push(stream);
        }
    }
    for channel in Channel::ALL {
        let way = bridge.way(channel);
        for version in ON_BOTH_VERSIONS {
            let mut listener = log_in(way.addr, version, &to, Connect::new("listener"));
            listener.subscribe(&to.subscribe, 1);
            let mut talks = log_in(way.addr, version, &from, Connect::new("talks"));
            talks.publish(&from.publish, "not delayed", 1);
            listener.expect_payload("not delayed");
        }
    }
    let mut waiting = 0;
    for mut stream in stalled {
        stream.set_nonblocking(true).unwrap();
        waiting +=
            usize::from(stream.read(&mut [0]).is_err_and(|error| error.kind() == ErrorKind::WouldBlock));
    }
    // A plain port closes what is no CONNECT.
    assert!(waiting >= 120, "{waiting} still wait");
}

#[test]
fn the_same_session_over_every_channel_is_one_and_another_devices_is_out_of_reach() {
    let bridge = Bridge::start();
    let (from, to) = ends(&bridge);
    let ways = Channel::ALL.map(|channel| bridge.way(channel));
    for version in ON_BOTH_VERSIONS {
        let session = || Connect::new("shared").persistent(version);
        let mut listener = bridge.connect_with(version, &to, Connect::new("listener")).0;
        listener.subscribe(&to.subscribe, 1);
        let mut before: Option<Client> = None;
        for (index, way) in ways.iter().enumerate() {
            // The peer with the same Client Identifier disturbs nobody.
            log_in(way.addr, version, &to, session()).disconnect();
            if let Some(before) = &mut before {
                before.expect_silence();
            }
            let will = Will::new(&from.publish, format!("will {index}")).qos(1);
            let now = log_in(way.addr, version, &from, session().will(will));
            if let Some(mut before) = before.replace(now) {
                before.expect_ended(0x8E);
                listener.expect_payload(&format!("will {}", index - 1));
                listener.expect_silence();
            }
        }
        // Gone without DISCONNECT, over WebSocket with TLS.
        before.unwrap().cut();
        listener.expect_payload("will 3");
        listener.expect_silence();
        for who in [&from, &to] {
            bridge.connect_with(version, who, Connect::new("shared").clean(true)).0.disconnect();
        }
    }
}

#[test]
fn a_stranger_costs_little_on_every_port() {
    const STRANGERS: usize = 300;
    // A TLS handshake has buffers for a record of each way.
    for (channel, bound) in
        [(Channel::Tcp, 8 << 10), (Channel::Tls, 64 << 10), (Channel::WebSocket, 16 << 10)]
    {
        let bridge = World::empty().env("IOR_BRIDGE__LIMITS__CONNECT_TIMEOUT", "600s").start();
        let (from, to) = ends(&bridge);
        bridge.assert_unharmed(&from);
        let way = bridge.way(channel);
        log_in(way.addr, V5, &from, Connect::new("first")).disconnect();
        let before = bridge.process().resident();
        let mut strangers: Vec<Client> = (0..STRANGERS).map(|_| Client::open(way.addr, V5)).collect();
        strangers.iter_mut().for_each(|stranger| stranger.send(vec![0x10, 0x7F]));
        log_in(way.addr, V5, &to, Connect::new("behind them")).disconnect();
        let each = bridge.process().resident().saturating_sub(before) / STRANGERS as u64;
        eprintln!("{channel:?}: {each} bytes");
        assert!(each <= bound, "{channel:?}: {each} bytes each");
        assert!(!strangers[0].is_closed_within(Duration::ZERO), "they had to give way");
    }
}

#[track_caller]
fn log_in(addr: std::net::SocketAddr, version: Version, who: &Credentials, connect: Connect) -> Client {
    let mut client = Client::open(addr, version);
    client.send(connect.user_name(&who.login.username).password(&who.login.password));
    assert_eq!(client.expect_connack().code, 0);
    client
}

fn ends(bridge: &Bridge) -> (Credentials, Credentials) {
    (bridge.credentials("connection-1", End::From), bridge.credentials("connection-1", End::To))
}
