//! What a bug report needs is gathered, and nothing secret is in it.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Command, Output},
};

use ior_tests::{Bridge, End, World, raw::Version::V5};
use tempfile::TempDir;

#[test]
fn no_secret_is_in_what_is_sent() {
    let bridge = World::durable().start();
    let from = bridge.credentials("connection-1", End::From);
    let to = bridge.credentials("connection-1", End::To);
    let key = fs::read_to_string(bridge.world().data().join("secret.key")).unwrap().trim().to_owned();
    let ca_key = fs::read_to_string(bridge.world().data().join("ca/ca.key")).unwrap();
    let connection_key = from.json["connection"]["key"].as_str().map(str::to_owned);
    let payload = "a message that is nobody's business";
    bridge.connect(V5, &from).publish_retained(&format!("{}/kept", from.publish), payload, 1);

    // Where people put what they should not.
    let devices = fs::read_to_string(bridge.world().config().join("devices.json")).unwrap();
    let initial = ior_tests::http::password(&bridge);
    let planted: Vec<_> =
        [&key, &from.login.password, &to.login.password, &initial].into_iter().cloned().collect();
    bridge.after("configuration reloaded", || {
        bridge.world().write(
            "devices.json",
            &devices
                .replace("Master 1", &planted[0])
                .replace("Slave 1", &planted[1])
                .replace("Master 2", &planted[2])
                .replace("Slave 2", &planted[3]),
        );
    });
    bridge.world().write(
        "notes.json",
        &format!("{{ \"ca\": {ca_key:?} }}\n{ca_key}\n{}", connection_key.clone().unwrap_or_default()),
    );

    let place = TempDir::new().unwrap();
    let file = place.path().join("diag.tar.gz");
    let said = succeeded(&bridge.world().run(&["diag", file.to_str().unwrap()]));
    for words in [
        "doctor.txt",
        "status.json",
        "config/devices.json",
        "process/limits.txt",
        "Look at it before you send it",
    ] {
        assert!(said.contains(words), "{words}: {said}");
    }
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let all = unpacked(&file);
    assert!(all.contains("[secret]") && all.contains("ior-bridge 0.") && all.contains("connections"));
    let lines = ca_key.lines().filter(|line| !line.starts_with("-----")).map(str::to_owned);
    for secret in planted.into_iter().chain(lines).chain(connection_key).chain([payload.to_owned()]) {
        assert!(!all.contains(&secret), "{secret}");
    }
    // An archive for a bug report is no backup.
    let restored = bridge.world().run(&["restore", file.to_str().unwrap(), "--yes"]);
    assert!(String::from_utf8_lossy(&restored.stderr).contains("bug report"));
    assert_eq!(
        bridge.world().run(&["diag", file.to_str().unwrap()]).status.code(),
        Some(1),
        "it is there already"
    );
}

#[test]
fn a_bridge_that_does_not_run_or_start_can_be_reported() {
    let place = TempDir::new().unwrap();
    let file = place.path().join("diag.tar.gz");
    let (_, world) = Bridge::start().stop();
    for server in ["{}", "{"] {
        world.write("server.json", server);
        succeeded(&world.run(&["diag", file.to_str().unwrap(), "--force"]));
        assert!(unpacked(&file).contains("versions.txt"));
    }
    let never_run = World::durable();
    succeeded(&never_run.run(&["diag", file.to_str().unwrap(), "--force"]));
    assert!(!never_run.data().exists());
}

/// The names and contents of all files.
fn unpacked(file: &Path) -> String {
    let tar = |arguments: &[&str]| {
        let done = Command::new("tar").args(arguments).arg(file).output().unwrap();
        assert!(done.status.success());
        String::from_utf8(done.stdout).unwrap()
    };
    tar(&["-tzf"]) + &tar(&["-xzOf"])
}

#[track_caller]
fn succeeded(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout.clone()).unwrap()
}
