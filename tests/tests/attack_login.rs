//! Logins that should do nothing, and Client Identifiers of others, through the real bridge.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::sync::Barrier;

use ior_tests::{
    Audience, Bridge, Credentials, End, ON_BOTH_VERSIONS, World,
    raw::{
        Client, Connect, Encode, Packet, PingReq, Property, Publish, Subscribe,
        Version::{self, V5, V311},
        Will,
    },
};
use serde_json::json;

#[test]
fn whoever_is_refused_leaves_no_will_and_no_message() {
    let bridge = World::empty().answering_at_once().start();
    let (from, to) = ends(&bridge);
    let mut audience = Audience::of(&bridge);
    let stranger = bridge.credentials("connection-2", End::From);
    for version in ON_BOTH_VERSIONS {
        let wills = |qos: u8| {
            let will = Will::new(&from.publish, "of nobody").qos(qos);
            let delayed = Will::new(&from.publish, "of nobody, later").property(Property::WillDelay(1));
            [will.clone(), will.retain(), if version == V5 { delayed } else { Will::new("x", "") }]
        };
        for will in (0..=2).flat_map(wills) {
            let connect = || Connect::new(&from.login.client_id).persistent(version).will(will.clone());
            let right = || connect().user_name(&from.login.username);
            let mut refused = vec![
                connect(),
                right(),
                right().password("wrong"),
                right().password(&to.login.password),
                connect().user_name("nobody").password(&from.login.password),
                // A right login that may not publish there.
                connect().user_name(&stranger.login.username).password(&stranger.login.password),
            ];
            if version == V5 {
                let method = Property::AuthenticationMethod("SCRAM-SHA-1".into());
                refused.push(right().password(&from.login.password).property(method));
                refused.push(connect().password(&from.login.password));
            }
            for connect in refused {
                let mut intruder = bridge.open(version);
                let behind = Publish::new(&from.publish, "of nobody").retain().encode(version);
                let subscribe = Subscribe::new(1).filter(&to.subscribe, 1).encode(version);
                intruder.send([connect.encode(version), behind, subscribe].concat());
                assert_ne!(intruder.expect_connack().code, 0);
                intruder.expect_closed();
                // And one that does not wait for the answer.
                let mut hasty = bridge.open(version);
                hasty.send(&connect);
                drop(hasty);
            }
        }
        audience.expect_silence();
    }
    // The delay of the delayed ones has passed when a Will with the same delay has come.
    let will = Will::new(&from.publish, "clock").qos(1).property(Property::WillDelay(1));
    bridge.connect_with(V5, &from, Connect::new("clock").persistent(V5).will(will)).0.cut();
    let mut listener = bridge.connect_with(V5, &to, Connect::new("listens")).0;
    listener.subscribe(&to.subscribe, 1);
    listener.expect_payload("clock");
    assert_eq!(audience.heard().len(), 1, "only the clock's");
    audience.expect_nothing_retained(&bridge);
}

#[test]
fn whoever_is_turned_away_when_the_bridge_is_full_leaves_no_will() {
    let bridge = World::empty().env("IOR_BRIDGE__LIMITS__CONNECTIONS", "2").start();
    let (from, to) = ends(&bridge);
    for version in ON_BOTH_VERSIONS {
        let mut listener = bridge.connect(version, &to);
        listener.subscribe(&to.subscribe, 1);
        let mut publisher = bridge.connect_with(version, &from, Connect::new("publisher")).0;
        let mut late = bridge.open(version);
        late.send(login(&from, "late").will(Will::new(&from.publish, "of nobody").qos(1).retain()));
        assert_eq!(late.expect_connack().code, if version == V5 { 0x89 } else { 3 });
        late.expect_closed();
        publisher.publish(&from.publish, "marker", 1);
        listener.expect_payload("marker");
        listener.disconnect();
        publisher.disconnect();
    }
}

#[test]
fn a_wrong_password_does_not_disturb_whom_it_names() {
    let bridge = Bridge::start();
    let (from, to) = ends(&bridge);
    for version in ON_BOTH_VERSIONS {
        let will = Will::new(&from.publish, "lost").qos(1);
        let connect = Connect::new(&from.login.client_id).persistent(version).will(will);
        let mut device = bridge.connect_with(version, &from, connect).0;
        device.subscribe(&from.subscribe, 1);
        for clean in [false, true] {
            let mut intruder = bridge.open(version);
            let connect = Connect::new(&from.login.client_id).clean(clean).user_name(&from.login.username);
            intruder.send(connect.password("wrong"));
            assert_ne!(intruder.expect_connack().code, 0);
            intruder.expect_closed();
        }
        device.expect_silence();
        device.disconnect();
        let (mut device, present) = bridge.connect_persistent(version, &from);
        assert!(present, "the session of the device is gone");
        bridge.connect(version, &to).publish(&to.publish, "still subscribed", 1);
        device.expect_payload("still subscribed");
        device.disconnect();
        bridge.connect(version, &from).disconnect();
    }
}

#[test]
fn a_stored_session_is_out_of_reach_for_every_other_device() {
    let devices = json!([
        { "code": "1", "name": "One", "type": "test" },
        { "code": "2", "name": "Two", "type": "test" },
        { "code": "1", "name": "Another's one", "type": "test", "user": "other" },
        { "code": "2", "name": "Another's two", "type": "test", "user": "other" },
        { "code": "12", "name": "Twelve", "type": "test" },
    ]);
    let connections = json!([
        { "name": "pair", "from": "1", "to": "2" },
        { "name": "pair", "from": "1", "to": "2", "user": "other" },
        { "name": "long", "from": "12", "to": "2" },
    ]);
    for version in ON_BOTH_VERSIONS {
        let world = World::durable();
        world.configure(&devices, &connections);
        let bridge = world.start();
        let file = |bridge: &Bridge, path: &str| {
            Credentials::read(&bridge.world().data().join("credentials").join(path), bridge.addr)
        };
        let victim = file(&bridge, "default/pair/from.json");
        let peer = file(&bridge, "default/pair/to.json");
        let thieves = ["other/pair/from.json", "other/pair/to.json", "default/long/from.json"];
        let ids = ["", ".1", &victim.login.client_id, "default.1default.1"].map(|id| format!("s{id}"));
        for id in &ids {
            let mut client = bridge.connect_with(version, &victim, session(id, version)).0;
            client.subscribe(&victim.subscribe, 1);
            client.disconnect();
            break_in(&bridge, version, &thieves.map(|thief| file(&bridge, thief)), id);
        }
        bridge.connect(version, &peer).publish(&peer.publish, "secret", 1);
        let bridge = bridge.restart();
        for id in &ids {
            break_in(&bridge, version, &thieves.map(|thief| file(&bridge, thief)), id);
            let (mut client, present) = bridge.connect_with(version, &victim, session(id, version));
            assert!(present, "the session {id} is gone");
            client.expect_payload("secret");
            client.disconnect();
        }
    }
}

#[test]
fn empty_client_identifiers_at_the_same_instant_are_different_clients() {
    const AT_ONCE: usize = 8;
    let world = World::empty().env("IOR_BRIDGE__LIMITS__SESSIONS_PER_DEVICE", "100");
    let bridge = world.start();
    let (from, to) = ends(&bridge);
    for version in ON_BOTH_VERSIONS {
        let mut publisher = bridge.connect(version, &from);
        for round in 0..20 {
            let barrier = Barrier::new(AT_ONCE);
            let come = |_| {
                let mut client = bridge.open(version);
                let connect = login(&to, "").encode(version);
                barrier.wait();
                client.send(connect);
                let ack = client.expect_connack();
                assert_eq!((ack.code, ack.session_present), (0, false));
                let assigned = |p: &Property| match p {
                    Property::AssignedClientId(id) => Some(id.clone()),
                    _ => None,
                };
                let id = client.announced(assigned);
                client.subscribe(&to.subscribe, 1);
                (client, id)
            };
            let mut clients = at_once(AT_ONCE, come);
            let mut ids: Vec<_> = clients.iter().filter_map(|(_, id)| id.clone()).collect();
            ids.sort_unstable();
            ids.dedup();
            assert_eq!(ids.len(), if version == V5 { AT_ONCE } else { 0 });
            publisher.publish(&from.publish, round.to_string(), 1);
            for (client, _) in &mut clients {
                client.expect_payload(&round.to_string());
            }
        }
    }
}

#[test]
fn the_same_client_identifier_at_the_same_instant_leaves_one_that_lasts() {
    const AT_ONCE: usize = 4;
    let bridge = Bridge::start();
    let (from, to) = ends(&bridge);
    for version in ON_BOTH_VERSIONS {
        let mut publisher = bridge.connect(version, &from);
        for round in 0..100 {
            let barrier = Barrier::new(AT_ONCE);
            let come = |number: usize| {
                let mut client = bridge.open(version);
                // Some clean, some not: whoever comes later ends or takes over what the others have.
                let connect = login(&to, "same");
                let connect = if number.is_multiple_of(2) { connect } else { connect.persistent(version) };
                let subscribe = Subscribe::new(1).filter(&to.subscribe, 1).encode(version);
                let bytes = [connect.encode(version), subscribe].concat();
                barrier.wait();
                client.send(bytes);
                while !matches!(client.receive_or_closed(), Some(Packet::SubAck(_)) | None) {}
                client
            };
            let clients = at_once(AT_ONCE, come);
            // Whoever still answers when all others are gone must stay.
            let mut left: Vec<Client> = clients.into_iter().filter_map(answers).collect();
            left = left.into_iter().filter_map(answers).collect();
            assert_eq!(left.len(), 1, "round {round}");
            publisher.publish(&from.publish, round.to_string(), 1);
            left[0].expect_payload(&round.to_string());
            left[0].expect_silence();
        }
    }
    bridge.assert_unharmed(&from);
}

#[test]
fn what_an_old_connection_still_does_does_not_reach_the_new_one() {
    let bridge = Bridge::start();
    let (from, to) = ends(&bridge);
    for version in ON_BOTH_VERSIONS {
        for round in 0..50 {
            let mut old = bridge.connect_persistent(version, &to).0;
            // The old one dies in every way while the new one comes.
            let death: Vec<u8> = match round % 4 {
                0 => vec![0xE0, 0],
                1 => vec![0xFF; 100],
                2 => PingReq.encode(version).repeat(1000),
                _ => Vec::new(),
            };
            let (mut new, barrier) = (bridge.open(version), Barrier::new(2));
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    barrier.wait();
                    // It may be closed already.
                    let _ = old.try_send(death);
                    drop(old);
                });
                barrier.wait();
                new.send(login(&to, &to.login.client_id).persistent(version));
            });
            assert_eq!(new.expect_connack().code, 0);
            new.subscribe(&to.subscribe, 1);
            bridge.connect(version, &from).publish(&from.publish, round.to_string(), 1);
            new.expect_payload(&round.to_string());
            new.disconnect();
        }
        bridge.connect(version, &to).disconnect();
    }
    bridge.assert_unharmed(&from);
}

fn ends(bridge: &Bridge) -> (Credentials, Credentials) {
    (bridge.credentials("connection-1", End::From), bridge.credentials("connection-1", End::To))
}

fn login(who: &Credentials, client_id: &str) -> Connect {
    Connect::new(client_id).user_name(&who.login.username).password(&who.login.password)
}

fn session(id: &str, version: Version) -> Connect {
    Connect::new(id).persistent(version)
}

/// Others use the Client Identifier, in both versions and in every way.
#[track_caller]
fn break_in(bridge: &Bridge, of: Version, thieves: &[Credentials], id: &str) {
    for thief in thieves {
        for version in [of, if of == V5 { V311 } else { V5 }] {
            for connect in [session(id, version), Connect::new(id)] {
                let (mut client, present) = bridge.connect_with(version, thief, connect);
                assert!(!present, "{} has got the session {id}", thief.login.username);
                client.expect_silence();
                client.disconnect();
            }
        }
    }
}

fn at_once<T: Send>(count: usize, come: impl Fn(usize) -> T + Sync) -> Vec<T> {
    let come = &come;
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..count).map(|number| scope.spawn(move || come(number))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    })
}

/// The client, if the server still serves it.
fn answers(mut client: Client) -> Option<Client> {
    client.try_send(PingReq).ok()?;
    loop {
        match client.receive_or_closed()? {
            Packet::PingResp => return Some(client),
            Packet::Disconnect(..) => return None,
            _ => {}
        }
    }
}
