//! Rotation: another password without locking anybody out.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    process::Output,
    time::{Duration, Instant},
};

use ior_tests::{
    Bridge, Credentials, DEADLINE, End, World,
    raw::{Connect, Version::V5},
};
use serde_json::Value;

/// As people write files.
const DEVICES: &str = "{\n  \"devices\": [\n    { \"code\": 4569,\t\"name\": \"Master 1\",  \"type\": \"Pi\" },\n    {\n      \
                       \"code\": \"5412\",\n      \"name\": \"Slave 1\",\n      \"type\": \"Pi\",\n      \"secret_version\": 3\n    }\n  ]\n}";
const CONNECTIONS: &str = r#"{ "connections": [ { "name": "Connection 1", "from": 4569, "to": 5412 } ] }"#;

#[test]
fn a_stopped_bridge_has_its_files_changed_and_nothing_else() {
    let world = world();
    let (_, world) = world.start().stop();
    let file = world.config().join("devices.json");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
    let said = succeeded(&world.run(&["rotate", "4569"]));
    for words in [
        "Master 1 (4569) has the secret version 2 now, in ",
        "data/credentials/default/connection-1/from.json",
        "The password of version 1 is accepted until 2",
        "No bridge is running",
    ] {
        assert!(said.contains(words), "{said}");
    }
    let one = DEVICES.replacen("\"type\": \"Pi\" }", "\"type\": \"Pi\",  \"secret_version\": 2 }", 1);
    assert_eq!(fs::read_to_string(&file).unwrap(), one);
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o640);
    assert_eq!(names(&world.config()), ["connections.json", "devices.json"], "nothing is left beside it");

    // By its name, and an entry of several lines.
    let report: Value =
        serde_json::from_str(&succeeded(&world.run(&["rotate", "Slave 1", "--json"]))).unwrap();
    assert_eq!((&report["secret_version"], &report["running"]), (&4.into(), &false.into()));
    assert_eq!(report["previous"][0]["version"], 3);
    assert_eq!(fs::read_to_string(&file).unwrap(), one.replace("version\": 3", "version\": 4"));
    let check = succeeded(&world.run(&["check"]));
    assert!(check.contains("ACCEPTED UNTIL") && check.contains("never"), "{check}");
}

#[test]
fn a_running_bridge_takes_it_up_and_tells_who_still_uses_the_old_password() {
    let bridge = world().start();
    let old = ends(&bridge)[0].clone();
    let mut connected = bridge.connect(V5, &old);
    let said = succeeded(&bridge.world().run(&["rotate", "default.4569"]));
    let process = format!("(process {}) has taken it up", bridge.process().id());
    assert!(said.contains(&process), "{said}");
    reloaded(&bridge);
    assert!(bridge.log().contains("device with another password: Master 1 (4569)"));
    connected.expect_silence();
    let new = ends(&bridge)[0].clone();
    assert_ne!(new.login.password, old.login.password);
    for (number, who) in [&new, &old, &old].into_iter().enumerate() {
        bridge.connect_with(V5, who, Connect::new(&number.to_string())).0.disconnect();
    }
    bridge.says(&["Master 1 (4569) still uses the password of version 1"]);
    let warned = |log: String| log.matches("Master 1 (4569) still uses the password of version 1").count();
    assert_eq!(warned(bridge.log()), 1, "once");

    // Another rotation does not shorten the time that the first one gave.
    succeeded(&bridge.world().run(&["rotate", "4569"]));
    bridge.process().wait_until("second reload", DEADLINE, |lines| {
        (lines.iter().filter(|line| line.contains("configuration reloaded")).count() == 2).then_some(())
    });
    for (number, who) in [&old, &new, &ends(&bridge)[0]].into_iter().enumerate() {
        bridge.connect_with(V5, who, Connect::new(&number.to_string())).0.disconnect();
    }

    let (status, world) = bridge.stop();
    assert!(status.success());
    let report: Value = serde_json::from_str(&succeeded(&world.run(&["check", "--json"]))).unwrap();
    let device = &report["devices"][0];
    assert_eq!(device["secret_version"], 3);
    let used =
        device["previous"].as_array().unwrap().iter().map(|previous| previous["last_used"].is_string());
    assert_eq!(used.collect::<Vec<_>>(), [true, true], "{device}");
}

#[test]
fn the_old_password_is_refused_when_its_time_is_over() {
    let bridge = world().env("IOR_BRIDGE__LIMITS__ROTATION_WINDOW", "2s").start();
    let old = ends(&bridge)[0].clone();
    succeeded(&bridge.world().run(&["rotate", "4569"]));
    reloaded(&bridge);
    let until = Instant::now() + Duration::from_secs(10);
    loop {
        let mut client = bridge.open(V5);
        let connect = Connect::new("x").user_name(&old.login.username).password(&old.login.password);
        client.send(connect);
        match client.expect_connack().code {
            0 => assert!(Instant::now() < until, "the old password is still accepted"),
            refused => break assert_eq!(refused, 0x86),
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    bridge.connect(V5, &ends(&bridge)[0]).disconnect();
}

#[test]
fn a_device_is_locked_out_and_let_in_again() {
    let bridge = world().start();
    let [who, _] = ends(&bridge);
    let mut connected = bridge.connect(V5, &who);
    let said = bridge.world().succeed(&["disable", "Master 1"]);
    for words in [
        "Master 1 (4569) is disabled: it may not log in now, by ",
        "has taken it up:\ndevice disabled: Master 1 (4569); gone with that: 1 session.\n",
    ] {
        assert!(said.contains(words), "{said}");
    }
    connected.expect_ended(0x98);
    let answer = || {
        let mut client = bridge.open(V5);
        client.send(Connect::new("x").user_name(&who.login.username).password(&who.login.password));
        client.expect_connack().code
    };
    assert_eq!(answer(), 0x87);
    let said = bridge.world().succeed(&["disable", "4569"]);
    assert!(said.contains("it may not log in, as before.\n"), "{said}");
    let report: Value = serde_json::from_str(&bridge.world().succeed(&["enable", "4569", "--json"])).unwrap();
    assert_eq!((&report["disabled"], &report["running"]), (&false.into(), &true.into()));
    assert_eq!(answer(), 0);
    let text = fs::read_to_string(bridge.world().config().join("devices.json")).unwrap();
    assert_eq!(text, DEVICES.replacen("\"Pi\" }", "\"Pi\",  \"disabled\": false }", 1));
    bridge.world().fail(2, &["disable", "nobody"]);
}

#[test]
fn what_cannot_be_rotated_changes_nothing() {
    let world = world();
    let text = |world: &World| fs::read_to_string(world.config().join("devices.json")).unwrap();
    let unknown = world.run(&["rotate", "nobody"]);
    assert_eq!(unknown.status.code(), Some(2));
    assert_eq!(text(&world), DEVICES);
    world.write("connections.json", r#"{ "connections": [ { "name": "x", "from": 1, "to": 5412 } ] }"#);
    let invalid = world.run(&["rotate", "4569"]);
    assert_eq!(invalid.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&invalid.stderr).contains("connections.json"));
    assert_eq!(text(&world), DEVICES);
    world.write("connections.json", CONNECTIONS);
    let last = DEVICES.replace("version\": 3", &format!("version\": {}", u32::MAX));
    world.write("devices.json", &last);
    assert_eq!(world.run(&["rotate", "5412"]).status.code(), Some(2));
    assert_eq!(text(&world), last);
}

fn world() -> World {
    let world = World::empty();
    world.write("devices.json", DEVICES);
    world.write("connections.json", CONNECTIONS);
    world
}

fn ends(bridge: &Bridge) -> [Credentials; 2] {
    [End::From, End::To].map(|end| bridge.credentials("connection-1", end))
}

#[track_caller]
fn reloaded(bridge: &Bridge) {
    bridge
        .process()
        .wait_for("reload", DEADLINE, |line| line.contains("configuration reloaded").then_some(()));
}

#[track_caller]
fn succeeded(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn names(directory: &std::path::Path) -> Vec<String> {
    let entries = fs::read_dir(directory).unwrap();
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}
