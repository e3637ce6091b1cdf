//! Configurations and secret keys that are missing, malformed or mistyped: none of them opens a door.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::{
    fs::{self, Permissions},
    os::unix::fs::{PermissionsExt, symlink},
    path::Path,
};

use ior_tests::{
    Bridge, Credentials, End, ON_BOTH_VERSIONS, World,
    raw::{Connect, Version::V5},
};

const DEVICES: &str = r#"{ "devices": [
  { "code": 4569, "name": "Master 1", "type": "Raspberry Pi" },
  { "code": 5412, "name": "Slave 1", "type": "Raspberry Pi" } ] }"#;
const CONNECTIONS: &str = r#"{ "connections": [ { "name": "Connection 1", "from": 4569, "to": 5412 } ] }"#;

/// Entries that are not devices.
const WRONG_DEVICES: &[&str] = &[
    "",
    "null",
    "{}",
    "[]",
    "\"\"",
    "4569",
    r#"{ "code": "", "name": "a", "type": "b" }"#,
    r#"{ "code": " ", "name": "a", "type": "b" }"#,
    r#"{ "code": null, "name": "a", "type": "b" }"#,
    r#"{ "code": "+", "name": "a", "type": "b" }"#,
    r##"{ "code": "#", "name": "a", "type": "b" }"##,
    r#"{ "code": "a/b", "name": "a", "type": "b" }"#,
    r#"{ "code": "../a", "name": "a", "type": "b" }"#,
    r#"{ "code": "a.b", "name": "a", "type": "b" }"#,
    r#"{ "code": "$SYS", "name": "a", "type": "b" }"#,
    r#"{ "code": "presence", "name": "a", "type": "b" }"#,
    r#"{ "code": "a\u0000", "name": "a", "type": "b" }"#,
    r#"{ "code": "\ud800", "name": "a", "type": "b" }"#,
    r#"{ "code": "ä", "name": "a", "type": "b" }"#,
    r#"{ "code": "a\n", "name": "a", "type": "b" }"#,
    r#"{ "code": "4569", "name": "the same", "type": "b" }"#,
    r#"{ "code": 4569.0, "name": "the same", "type": "b" }"#,
    r#"{ "code": 4.569e3, "name": "the same", "type": "b" }"#,
    r#"{ "code": -1, "name": "a", "type": "b" }"#,
    r#"{ "code": 9007199254740993, "name": "a", "type": "b" }"#,
    r#"{ "code": true, "name": "a", "type": "b" }"#,
    r#"{ "code": "123456789012345678901234567890123", "name": "a", "type": "b" }"#,
    r#"{ "code": 1, "code": 2, "name": "a", "type": "b" }"#,
    r#"{ "code": 1, "name": "", "type": "b" }"#,
    r#"{ "code": 1, "name": " \t", "type": "b" }"#,
    r#"{ "code": 1, "name": "a" }"#,
    r#"{ "code": 1, "name": "a", "type": "b", "user": "" }"#,
    r#"{ "code": 1, "name": "a", "type": "b", "user": "+" }"#,
    r#"{ "code": 1, "name": "a", "type": "b", "user": "../x" }"#,
    r#"{ "code": 1, "name": "a", "type": "b", "user": "$SYS" }"#,
    r#"{ "code": 1, "name": "a", "type": "b", "user": null }"#,
    r#"{ "code": 1, "name": "a", "type": "b", "disable": true }"#,
    r#"{ "code": 1, "name": "a", "type": "b", "Disabled": true }"#,
    r#"{ "code": 1, "name": "a", "type": "b", "disabled": "true" }"#,
    r#"{ "code": 1, "name": "a", "type": "b", "disabled": 1 }"#,
    r#"{ "code": 1, "name": "a", "type": "b", "disabled": null }"#,
    r#"{ "code": 1, "name": "a", "type": "b", "secret_version": 0 }"#,
    r#"{ "code": 1, "name": "a", "type": "b", "secret_version": "2" }"#,
    r#"{ "code": 1, "name": "a", "type": "b", "secret_version": 1.5 }"#,
    r#"{ "code": 1, "name": "a", "type": "b", "secret_version": 4294967296 }"#,
    r#"{ "code": 1, "name": "a", "type": "b", "password": "secret" }"#,
    r#"{ "code": 1, "name": "a", "type": "b", "anonymous": true }"#,
];

/// Entries that are not connections of the two devices.
const WRONG_CONNECTIONS: &[&str] = &[
    "",
    "null",
    "{}",
    r#"{ "name": "", "from": 4569, "to": 5412 }"#,
    r#"{ "name": "+", "from": 4569, "to": 5412 }"#,
    r##"{ "name": "#", "from": 4569, "to": 5412 }"##,
    r#"{ "name": "///", "from": 4569, "to": 5412 }"#,
    r#"{ "name": "a", "from": 4569 }"#,
    r#"{ "name": "a", "from": 4569, "to": null }"#,
    r#"{ "name": "a", "from": 4569, "to": "" }"#,
    r#"{ "name": "a", "from": 4569, "to": "+" }"#,
    r##"{ "name": "a", "from": "#", "to": 5412 }"##,
    r#"{ "name": "a", "from": 4569, "to": 4569 }"#,
    r#"{ "name": "a", "from": 4569, "to": "4569" }"#,
    r#"{ "name": "a", "from": 4569, "to": "04569" }"#,
    r#"{ "name": "a", "from": 4569, "to": 1 }"#,
    r#"{ "name": "a", "from": 4569, "to": [5412] }"#,
    r#"{ "name": "a", "from": 4569, "to": 5412, "id": "" }"#,
    r#"{ "name": "a", "from": 4569, "to": 5412, "id": "+" }"#,
    r#"{ "name": "a", "from": 4569, "to": 5412, "id": "a/b" }"#,
    r#"{ "name": "a", "from": 4569, "to": 5412, "id": ".." }"#,
    r#"{ "name": "a", "from": 4569, "to": 5412, "id": null }"#,
    r#"{ "name": "a", "from": 4569, "to": 5412, "user": "other" }"#,
    r#"{ "name": "a", "from": 4569, "to": 5412, "user": "" }"#,
    r#"{ "name": "a", "from": 4569, "to": 5412, "topics": ["a"] }"#,
    r#"{ "name": "a", "from": 4569, "to": 5412, "queue": null }"#,
    r#"{ "name": "a", "from": 4569, "to": 5412, "queue": { "max_messages": "all" } }"#,
    r#"{ "name": "a", "from": 4569, "to": 5412 }, { "name": "b", "from": 5412, "to": 4569 }"#,
    r#"{ "name": "a", "from": 4569, "to": 5412 }, {}"#,
];

/// Files that are not what `server.json` should be.
const WRONG_SERVERS: &[&str] = &[
    "[]",
    "null",
    "0",
    "{",
    "{}}",
    "{ \"host\": \"a\", }",
    "// nothing\n{}",
    r#"{ "allow_anonymous": true }"#,
    r#"{ "anonymous": true }"#,
    r#"{ "mqtt": { "allow_anonymous": true } }"#,
    r#"{ "mqtt": { "anonymous": "yes" } }"#,
    r#"{ "mqtt": null }"#,
    r#"{ "mqtt": [] }"#,
    r#"{ "mqtt": { "port": 1883 } }"#,
    r#"{ "Mqtt": { "listen": "127.0.0.1:0" } }"#,
    r#"{ "mqtt": { "Listen": "127.0.0.1:0" } }"#,
    r#"{ "mqtt.listen": "127.0.0.1:0" }"#,
    r#"{ "host": "" }"#,
    r#"{ "host": "a", "host": "b" }"#,
    r#"{ "data_dir": "" }"#,
    r#"{ "durability": "none" }"#,
    r#"{ "limits": { "conections": 1 } }"#,
    r#"{ "limits": { "connections": 0 } }"#,
    r#"{ "limits": { "connections": -1 } }"#,
    r#"{ "limits": { "connections": "many" } }"#,
    r#"{ "limits": { "connect_timeout": 10 } }"#,
    r#"{ "limits": { "connect_timeout": "0s" } }"#,
    r#"{ "limits": { "max_connect_size": "1TiB" } }"#,
    r#"{ "access": "open" }"#,
    r#"{ "password_file": "/dev/null" }"#,
];

#[test]
fn a_blank_or_malformed_device_stops_the_start() {
    for wrong in WRONG_DEVICES {
        for text in [
            DEVICES.replace("] }", &format!(", {wrong} ] }}")),
            DEVICES.replace("[\n", &format!("[ {wrong},\n")),
        ] {
            assert_refused(&world(&text, CONNECTIONS, "{}"), "devices.json", wrong);
        }
    }
}

#[test]
fn a_blank_or_malformed_connection_stops_the_start() {
    for wrong in WRONG_CONNECTIONS {
        let text = format!("{{ \"connections\": [ {wrong} ] }}");
        // An empty list is right: it connects nobody.
        if !wrong.is_empty() {
            assert_refused(&world(DEVICES, &text, "{}"), "connections.json", wrong);
        }
        let text = CONNECTIONS.replace("] }", &format!(", {wrong} ] }}"));
        assert_refused(&world(DEVICES, &text, "{}"), "connections.json", wrong);
    }
}

#[test]
fn malformed_or_mistyped_settings_stop_the_start() {
    for wrong in WRONG_SERVERS {
        assert_refused(&world(DEVICES, CONNECTIONS, wrong), "server.json", wrong);
    }
    for (name, value) in [
        ("IOR_BRIDGE__ALLOW_ANONYMOUS", "true"),
        ("IOR_BRIDGE__MQTT__ALLOW_ANONYMOUS", "true"),
        ("IOR_BRIDGE__MQTT__LISTN", "127.0.0.1:0"),
        ("IOR_BRIDGE__MQTT_LISTEN", "127.0.0.1:0"),
        ("IOR_BRIDGE__mqtt__listen", "127.0.0.1:0"),
        ("IOR_BRIDGE__MQTT", "127.0.0.1:0"),
        ("IOR_BRIDGE__", "x"),
        ("IOR_BRIDGE__LIMITS__CONNECTIONS", "0"),
        ("IOR_BRIDGE__LIMITS__CONNECTIONS", " 1"),
        ("IOR_BRIDGE__LIMITS__CONNECTIONS", "null"),
        ("IOR_BRIDGE__DURABILITY", "FSYNC"),
        ("IOR_BRIDGE__DEVICES", "[]"),
    ] {
        assert_refused(&world(DEVICES, CONNECTIONS, "{}").env(name, value), name, value);
    }
}

#[test]
fn files_that_are_no_text_or_hold_something_else_stop_the_start() {
    let utf16: Vec<u8> = DEVICES.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let latin1 = DEVICES.replace("Master", "M\u{E4}ster").chars().map(|c| c as u8).collect::<Vec<u8>>();
    let half = &DEVICES.as_bytes()[..DEVICES.len() / 2];
    let nul = [DEVICES.as_bytes(), b"\0"].concat();
    let deep = [b"{ \"devices\": ".to_vec(), vec![b'['; 100_000]].concat();
    let contents: [&[u8]; 9] =
        [b"", b" \n", &utf16, &latin1, half, &nul, &deep, &[0xFF; 100], CONNECTIONS.as_bytes()];
    for bytes in contents {
        let world = world(DEVICES, CONNECTIONS, "{}");
        fs::write(world.config().join("devices.json"), bytes).unwrap();
        assert_refused(&world, "devices.json", &format!("{:02x?}", &bytes[..bytes.len().min(40)]));
    }
    for file in ["devices.json", "connections.json"] {
        let world = world(DEVICES, CONNECTIONS, "{}");
        let path = world.config().join(file);
        fs::remove_file(&path).unwrap();
        assert_refused(&world, file, "no file");
        fs::create_dir(&path).unwrap();
        assert_refused(&world, file, "a directory");
        fs::remove_dir(&path).unwrap();
        symlink("/nonexistent", &path).unwrap();
        assert_refused(&world, file, "a link to nothing");
    }
}

#[test]
fn without_any_setting_nobody_comes_in_unnamed() {
    assert_no_anonymous_door(World::empty());
    for (devices, connections, server) in [
        (DEVICES, CONNECTIONS, None),
        (DEVICES, CONNECTIONS, Some("{}")),
        (DEVICES, r#"{ "connections": [] }"#, Some("{}")),
        (r#"{ "devices": [] }"#, r#"{ "connections": [] }"#, Some("{}")),
        (DEVICES, CONNECTIONS, Some(r#"{ "host": null, "data_dir": null }"#)),
    ] {
        let world = World::empty();
        world.write("devices.json", devices);
        world.write("connections.json", connections);
        if let Some(server) = server {
            world.write("server.json", server);
        }
        // An empty variable is an absent one.
        let world = world.env("IOR_BRIDGE__HOST", "").env("IOR_BRIDGE__DATA_DIR", "");
        assert_no_anonymous_door(world.env("IOR_BRIDGE_ALLOW_ANONYMOUS", "true"));
    }
}

#[test]
fn a_missing_secret_key_is_made_anew_and_old_passwords_are_void() {
    let bridge = World::empty().answering_at_once().start();
    let old = bridge.credentials("connection-1", End::From);
    let (_, world) = bridge.stop();
    let key = world.data().join("secret.key");
    let before = fs::read(&key).unwrap();
    fs::remove_file(&key).unwrap();
    let bridge = world.start();
    assert_ne!(fs::read(&key).unwrap(), before);
    assert_eq!(fs::metadata(&key).unwrap().permissions().mode() & 0o777, 0o600);
    let new = bridge.credentials("connection-1", End::From);
    assert_ne!(new.login.password, old.login.password);
    assert_ne!(new.json["key"], old.json["key"]);
    for version in ON_BOTH_VERSIONS {
        let mut client = bridge.open(version);
        client.send(Connect::new("x").user_name(&old.login.username).password(&old.login.password));
        assert_eq!(client.expect_connack().code, if version == V5 { 0x86 } else { 4 });
        bridge.connect(version, &new).disconnect();
    }
    assert_no_anonymous_login(&bridge, Some(&new));
}

#[test]
fn a_secret_key_that_cannot_be_trusted_stops_the_start() {
    let (_, world) = Bridge::start().stop();
    let key = world.data().join("secret.key");
    let good = fs::read_to_string(&key).unwrap();
    for mode in [0o644, 0o640, 0o604, 0o620, 0o602, 0o601, 0o666, 0o777] {
        fs::set_permissions(&key, Permissions::from_mode(mode)).unwrap();
        assert_key_refused(&world, &good, "run chmod 600");
        assert_eq!(fs::metadata(&key).unwrap().permissions().mode() & 0o777, mode, "it is left alone");
    }
    fs::set_permissions(&key, Permissions::from_mode(0o600)).unwrap();
    let short = &good.trim()[1..];
    let long = format!("{}A", good.trim());
    let twice = good.repeat(2);
    let spaced = good.replacen(|c: char| c.is_ascii_alphanumeric(), " ", 1);
    let huge = "A".repeat(1 << 20);
    for bad in ["", "\n", "A", short, &long, &twice, &spaced, &huge, "\0", "secret", "null", "\u{FEFF}"] {
        fs::write(&key, bad).unwrap();
        assert_key_refused(&world, &good, "is damaged");
        assert_eq!(fs::read_to_string(&key).unwrap(), bad, "it is left alone");
    }
    fs::write(&key, [0xFF; 43]).unwrap();
    assert_key_refused(&world, &good, "is damaged");
    fs::remove_file(&key).unwrap();
    fs::create_dir(&key).unwrap();
    fs::set_permissions(&key, Permissions::from_mode(0o700)).unwrap();
    assert_key_refused(&world, &good, "cannot be read");
    fs::remove_dir(&key).unwrap();
    symlink("/nonexistent", &key).unwrap();
    assert_key_refused(&world, &good, "secret.key");
    // With the good one everything is as before.
    fs::remove_file(&key).unwrap();
    fs::write(&key, &good).unwrap();
    fs::set_permissions(&key, Permissions::from_mode(0o600)).unwrap();
    let bridge = world.start();
    bridge.assert_unharmed(&bridge.credentials("connection-1", End::From));
}

fn world(devices: &str, connections: &str, server: &str) -> World {
    let world = World::empty();
    world.write("devices.json", devices);
    world.write("connections.json", connections);
    world.write("server.json", server);
    world
}

/// Neither `check` nor the bridge takes this configuration, and both say where it is wrong.
#[track_caller]
fn assert_refused(world: &World, place: &str, wrong: &str) {
    let output = world.run(&["check"]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "check of {wrong}: {said}");
    assert!(said.contains(place), "check of {wrong}: {said}");
    let (status, said) = world.start_fails();
    assert_eq!(status.code(), Some(2), "{wrong}: {said}");
    assert!(said.contains(place) && !said.contains("panicked"), "{wrong}: {said}");
}

#[track_caller]
fn assert_key_refused(world: &World, good: &str, reason: &str) {
    let (status, said) = world.start_fails();
    assert_eq!(status.code(), Some(1), "{said}");
    assert!(said.contains("secret.key") && said.contains(reason), "{said}");
    assert!(!said.contains(good.trim()), "the log holds the key");
    let output = world.run(&["credentials"]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
}

#[track_caller]
fn assert_no_anonymous_door(world: World) {
    let bridge = world.answering_at_once().start();
    let file = bridge.world().data().join("credentials/default/connection-1/from.json");
    let device = Path::new(&file).exists().then(|| Credentials::read(&file, bridge.addr));
    assert_no_anonymous_login(&bridge, device.as_ref());
}

/// Tries every login that needs no secret.
#[track_caller]
fn assert_no_anonymous_login(bridge: &Bridge, device: Option<&Credentials>) {
    let connect = || Connect::new("guest");
    let mut logins = vec![connect(), Connect::new("").clean(true), Connect::new("default.4569")];
    for name in ["", "anonymous", "guest", "admin", "root", "ior-bridge", "default", "4569", "default.4569"] {
        logins.push(connect().user_name(name));
        for password in ["", name, "admin", "password", "4569", "\0", "null"] {
            logins.push(connect().user_name(name).password(password));
        }
    }
    if let Some(device) = device {
        let key = device.json["key"].as_str().unwrap();
        logins.push(connect().user_name(&device.login.username).password(key));
        logins.push(connect().password(&device.login.password));
        logins.push(connect().user_name(&device.login.password).password(&device.login.password));
    }
    for version in ON_BOTH_VERSIONS {
        for login in &logins {
            let mut client = bridge.open(version);
            client.send(login);
            // 3.1.1 closes without an answer where a password comes without a user name.
            if let Some(ior_tests::raw::Packet::ConnAck(ack)) = client.receive_or_closed() {
                assert_ne!(ack.code, 0, "{version:?}: {login:?}");
            }
        }
    }
}
