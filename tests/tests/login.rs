//! Who may log in to the real bridge, and what everybody else is told.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::{os::unix::fs::PermissionsExt, process::Command};

use ior_tests::{
    Bridge, Credentials, End, ON_BOTH_VERSIONS, World,
    raw::{
        Connect,
        Version::{V5, V311},
    },
};
use serde_json::json;

/// Reason Code for MQTT 5 and return code for 3.1.1.
const BAD_USER_NAME_OR_PASSWORD: (u8, u8) = (0x86, 4);
const NOT_AUTHORIZED: (u8, u8) = (0x87, 5);

#[test]
fn the_credentials_of_the_file_are_accepted() {
    let bridge = Bridge::start();
    for connection in ["connection-1", "connection-2"] {
        for end in [End::From, End::To] {
            let who = bridge.credentials(connection, end);
            for version in ON_BOTH_VERSIONS {
                bridge.connect(version, &who).expect_silence();
            }
        }
    }
}

#[test]
fn any_client_identifier_goes_with_them() {
    let bridge = Bridge::start();
    let who = bridge.credentials("connection-1", End::From);
    for version in ON_BOTH_VERSIONS {
        for id in ["", "default.5412", "whatever", "a/b", "#"] {
            bridge.connect_with(version, &who, Connect::new(id)).0.disconnect();
        }
    }
}

#[test]
fn a_wrong_password_is_refused() {
    let bridge = answering_at_once();
    let who = bridge.credentials("connection-1", End::From);
    let right = who.login.password.as_str();
    let peer = bridge.credentials("connection-1", End::To).login.password;
    let key = who.json["key"].as_str().unwrap().to_string();
    let longer = format!("{right}=");
    let wrong: [&[u8]; 8] = [
        b"",
        b"password",
        &right.as_bytes()[..right.len() - 1],
        longer.as_bytes(),
        peer.as_bytes(),
        key.as_bytes(),
        &[0xFF, 0, 0xFE],
        &[b'x'; 1000],
    ];
    for password in wrong {
        let connect = Connect::new("guest").user_name(&who.login.username).password(password);
        refused(&bridge, &connect, BAD_USER_NAME_OR_PASSWORD);
    }
}

#[test]
fn an_unknown_user_is_refused_like_a_wrong_password() {
    let bridge = answering_at_once();
    let who = bridge.credentials("connection-1", End::From);
    for name in [
        "",
        "4569",
        "default.",
        "default.1",
        "DEFAULT.4569",
        "default.4569 ",
        "other.4569",
        "default/4569",
        "admin",
    ] {
        let connect = Connect::new("guest").user_name(name).password(&who.login.password);
        refused(&bridge, &connect, BAD_USER_NAME_OR_PASSWORD);
    }
}

#[test]
fn nobody_comes_in_without_a_login() {
    let bridge = Bridge::start();
    let who = bridge.credentials("connection-1", End::From);
    let without_password = Connect::new("guest").user_name(&who.login.username);
    refused(&bridge, &without_password, BAD_USER_NAME_OR_PASSWORD);
    for version in ON_BOTH_VERSIONS {
        let mut client = bridge.open(version);
        client.send(Connect::new(&who.login.client_id));
        let code = client.expect_connack().code;
        let allowed: [u8; 2] = if version == V5 { [0x86, 0x87] } else { [4, 5] };
        assert!(allowed.contains(&code), "{code:#04x}");
        client.expect_closed();
    }
    // MQTT 5 allows a password without a user name: it is nobody's.
    let mut client = bridge.open(V5);
    client.send(Connect::new(&who.login.client_id).password(&who.login.password));
    assert!([0x86, 0x87].contains(&client.expect_connack().code));
    client.expect_closed();
}

#[test]
fn a_disabled_device_is_refused() {
    let devices = json!([{ "code": 1, "name": "On", "type": "Robot" }, { "code": 2, "name": "Off", "type": "Robot", "disabled": true }]);
    let bridge = World::with(devices, json!([{ "name": "Pair", "from": 1, "to": 2 }])).start();
    let off = bridge.credentials("pair", End::To);
    let connect = Connect::new("off").user_name(&off.login.username);
    refused(&bridge, &connect.clone().password(&off.login.password), NOT_AUTHORIZED);
    // Without the password nobody learns that the device exists.
    refused(&bridge, &connect.password("wrong"), BAD_USER_NAME_OR_PASSWORD);
    bridge.connect(V5, &bridge.credentials("pair", End::From)).expect_silence();
}

#[test]
fn what_follows_a_refused_connect_is_not_done() {
    let bridge = Bridge::start();
    let peer = bridge.credentials("connection-1", End::To);
    let who = bridge.credentials("connection-1", End::From);
    for version in ON_BOTH_VERSIONS {
        use ior_tests::raw::{Encode, Publish, Will};
        let mut listener = bridge.connect(version, &peer);
        listener.subscribe(&peer.subscribe, 1);
        let mut intruder = bridge.open(version);
        let connect = Connect::new("guest").user_name(&who.login.username).password("wrong");
        let mut bytes = connect.will(Will::new(&who.publish, "will")).encode(version);
        bytes.extend(Publish::new(&who.publish, "intruder").encode(version));
        intruder.send(bytes);
        assert_ne!(intruder.expect_connack().code, 0);
        intruder.expect_closed();
        bridge.connect(version, &who).publish(&who.publish, "marker", 1);
        listener.expect_payload("marker");
    }
}

#[test]
fn a_refused_client_says_so_to_the_person() {
    let bridge = Bridge::start();
    let who = bridge.credentials("connection-1", End::From);
    for (version, text) in [("mqttv311", "not authorised"), ("mqttv5", "Not authorized")] {
        let output = Command::new("mosquitto_sub")
            .args([
                "-h",
                "127.0.0.1",
                "-p",
                &bridge.addr.port().to_string(),
                "-V",
                version,
                "-t",
                &who.subscribe,
            ])
            .args(["-u", &who.login.username, "-P", "wrong"])
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success());
        let told = said.contains(text) || said.to_lowercase().contains("bad user name or password");
        assert!(told, "{version}: {said}");
    }
}

#[test]
fn a_refusal_is_in_the_log_without_the_secret() {
    let bridge = Bridge::start();
    let who = bridge.credentials("connection-1", End::From);
    let mut client = bridge.open(V311);
    client.send(Connect::new("guest").user_name(&who.login.username).password("secret-of-a-guest"));
    client.expect_connack();
    client.expect_closed();
    let deadline = ior_tests::DEADLINE;
    bridge.process().wait_for("line about the refusal", deadline, |line| {
        (line.contains("WARN") && line.contains("4569")).then_some(())
    });
    assert!(!bridge.log().contains("secret-of-a-guest"));
    assert!(!bridge.log().contains(&who.login.password));
}

#[test]
fn credentials_are_the_same_after_a_restart() {
    let bridge = Bridge::start();
    let before: Vec<Credentials> = ends().map(|(name, end)| bridge.credentials(name, end)).collect();
    let (status, world) = bridge.stop();
    assert!(status.success(), "{status}");
    let bridge = world.start();
    for (old, (name, end)) in before.iter().zip(ends()) {
        let new = bridge.credentials(name, end);
        assert_eq!((&old.login.password, &old.json["key"]), (&new.login.password, &new.json["key"]));
        bridge.connect(V5, &new).expect_silence();
    }
}

#[test]
fn another_instance_has_other_credentials() {
    let (one, two) = (Bridge::start(), answering_at_once());
    for (name, end) in ends() {
        let (ours, theirs) = (one.credentials(name, end), two.credentials(name, end));
        assert_ne!(ours.login.password, theirs.login.password);
        assert_ne!(ours.json["key"], theirs.json["key"]);
        let connect = Connect::new("x").user_name(&ours.login.username).password(&ours.login.password);
        refused(&two, &connect, BAD_USER_NAME_OR_PASSWORD);
    }
}

#[test]
fn secrets_are_for_the_owner_only() {
    let bridge = Bridge::start();
    let mode = |path: &std::path::Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&bridge.world().data().join("secret.key")), 0o600);
    for (name, end) in ends() {
        assert_eq!(mode(&bridge.credentials(name, end).file), 0o600);
    }
}

#[test]
fn a_raised_secret_version_rotates_the_password() {
    let devices = |version: u32| json!([{ "code": 1, "name": "A", "type": "Robot", "secret_version": version }, { "code": 2, "name": "B", "type": "Robot" }]);
    let connections = json!([{ "name": "Pair", "from": 1, "to": 2 }]);
    for (window, old_is_accepted) in [("24h", true), ("0s", false)] {
        let world =
            World::with(devices(1), connections.clone()).env("IOR_BRIDGE__LIMITS__ROTATION_WINDOW", window);
        let bridge = world.start();
        let old = bridge.credentials("pair", End::From);
        let peer = bridge.credentials("pair", End::To);
        let (_, world) = bridge.stop();
        world.write("devices.json", &json!({ "devices": devices(2) }).to_string());
        let bridge = world.start();
        let new = bridge.credentials("pair", End::From);
        assert_ne!(old.login.password, new.login.password);
        assert_eq!(peer.login.password, bridge.credentials("pair", End::To).login.password);
        bridge.connect(V5, &new).expect_silence();
        if old_is_accepted {
            bridge.connect(V5, &old).expect_silence();
        } else {
            let connect = Connect::new("x").user_name(&old.login.username).password(&old.login.password);
            refused(&bridge, &connect, BAD_USER_NAME_OR_PASSWORD);
        }
    }
}

/// That does not delay the answers to many logins that fail.
fn answering_at_once() -> Bridge {
    World::empty().env("IOR_BRIDGE__LIMITS__FAILED_LOGIN_DELAY_MAX", "0s").start()
}

fn ends() -> impl Iterator<Item = (&'static str, End)> {
    ["connection-1", "connection-2"].into_iter().flat_map(|name| [(name, End::From), (name, End::To)])
}

#[track_caller]
fn refused(bridge: &Bridge, connect: &Connect, (v5, v311): (u8, u8)) {
    for version in ON_BOTH_VERSIONS {
        let mut client = bridge.open(version);
        client.send(connect);
        let code = client.expect_connack().code;
        assert_eq!(code, if version == V5 { v5 } else { v311 }, "{version:?}: {connect:?}");
        client.expect_closed();
    }
}
