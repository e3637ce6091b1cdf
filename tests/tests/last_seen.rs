//! When devices were seen last is known after a restart, too.
#![allow(clippy::unwrap_used)]

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::PathBuf,
    time::{SystemTime, UNIX_EPOCH},
};

use ior_tests::{Bridge, End, raw::Version::V5};
use serde_json::{Value, json};

#[test]
fn it_survives_restarts_of_the_bridge_and_damage_does_no_harm() {
    let begun = now();
    let bridge = Bridge::start();
    let file = file(&bridge);
    let from = bridge.credentials("connection-1", End::From);
    let _client = bridge.connect(V5, &from);
    let bridge = bridge.restart();
    let seen = read(&file);
    let at = seen[&from.login.username].as_u64().unwrap();
    assert!(at >= begun && at <= now(), "{seen}");
    assert_eq!(seen.as_object().unwrap().len(), 1, "nobody else was seen, nor the self-test: {seen}");
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);

    // Its session is over, and it stays away for a whole run.
    let (_, world) = bridge.stop();
    assert_eq!(read(&file), seen);

    fs::write(&file, "{").unwrap();
    let bridge = world.start();
    bridge.says(&["WARN", "last-seen.json", "the file is written anew"]);
    let _client = bridge.connect(V5, &from);
    let (status, _world) = bridge.stop();
    assert!(status.success());
    assert!(read(&file)[&from.login.username].as_u64().unwrap() >= at);
}

/// Devices that the configuration does not have any more are forgotten.
#[test]
fn a_device_that_is_removed_is_forgotten() {
    let bridge = Bridge::start();
    let file = file(&bridge);
    let [from, to] = [End::From, End::To].map(|end| bridge.credentials("connection-1", end));
    for device in [&from, &to] {
        bridge.connect(V5, device);
    }
    let bridge = bridge.restart();
    assert_eq!(read(&file).as_object().unwrap().len(), 2);
    let devices = json!([{ "code": 5412, "name": "Slave 1", "type": "Pi" }]);
    bridge.reconfigure(&devices, &json!([]));
    let (_, _world) = bridge.stop();
    let seen = read(&file);
    assert!(seen.get(&from.login.username).is_none() && seen.get(&to.login.username).is_some(), "{seen}");
}

fn file(bridge: &Bridge) -> PathBuf {
    bridge.world().data().join("last-seen.json")
}

fn read(file: &PathBuf) -> Value {
    serde_json::from_str(&fs::read_to_string(file).unwrap()).unwrap()
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}
