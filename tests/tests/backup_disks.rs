//! Backups when the disk of the data directory is full, or has become read-only, as a dying memory card does.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::path::Path;

use ior_tests::{
    Bridge, Credentials, End, World,
    faults::{Filler, make_read_only, may_mount},
    raw::{Connect, Version::V5},
};
use serde_json::Value;
use tempfile::TempDir;

/// Of the data directory, in bytes.
const DISK: u64 = 16 << 20;
/// Messages that wait.
const WAITING: usize = 200;

#[test]
fn a_full_data_disk_is_backed_up_by_the_running_bridge() {
    if !may_mount("a_full_data_disk_is_backed_up_by_the_running_bridge") {
        return;
    }
    let bridge = World::durable().on_small_disk(DISK).start();
    leave_messages(&bridge);
    let _filler = Filler::fill(&bridge.world().data());
    let place = TempDir::new().unwrap();
    let file = place.path().join("backup");
    let said = bridge.world().succeed(&["backup", path(&file)]);
    assert!(said.contains("made by the running bridge"), "{said}");
    assert_holds_messages(&file);
    let piped = bridge.world().run(&["backup", "-"]);
    assert!(piped.status.success() && piped.stdout.starts_with(&[0x1f, 0x8b]), "{piped:?}");
    bridge.says(&["a backup was made"]);
}

#[test]
fn a_full_data_disk_is_backed_up_from_its_files() {
    if !may_mount("a_full_data_disk_is_backed_up_from_its_files") {
        return;
    }
    let bridge = World::durable().on_small_disk(DISK).start();
    leave_messages(&bridge);
    let world = bridge.kill();
    let _filler = Filler::fill(&world.data());
    let place = TempDir::new().unwrap();
    let file = place.path().join("backup");
    world.succeed(&["backup", path(&file)]);
    assert_holds_messages(&file);
    let said = world.fail(1, &["restore", path(&file), "--yes"]);
    assert!(said.contains("make room") && said.contains("Nothing was changed"), "{said}");
}

#[test]
fn a_read_only_data_disk_is_backed_up_and_looked_at() {
    if !may_mount("a_read_only_data_disk_is_backed_up_and_looked_at") {
        return;
    }
    for is_killed in [true, false] {
        let bridge = World::durable().on_small_disk(DISK).start();
        leave_messages(&bridge);
        let world = if is_killed { bridge.kill() } else { bridge.stop().1 };
        world.succeed(&["credentials"]);
        make_read_only(&world.data());
        let place = TempDir::new().unwrap();
        let file = place.path().join("backup");
        world.succeed(&["backup", path(&file)]);
        assert_holds_messages(&file);
        assert!(world.succeed(&["store", "verify"]).contains("Everything is whole"));
        let stats: Value = serde_json::from_str(&world.succeed(&["store", "stats", "--json"])).unwrap();
        assert_eq!(stats["sessions"][0]["flows"]["default/connection-1/4569"]["messages"], WAITING);
        assert!(world.succeed(&["credentials"]).contains("0 written, 4 unchanged"));
        // What writes says what to do.
        std::fs::write(world.config().join("server.json"), r#"{ "host": "another.example" }"#).unwrap();
        for arguments in [&["store", "salvage"][..], &["restore", path(&file), "--yes"], &["credentials"]] {
            let said = world.fail(1, arguments);
            assert!(said.contains("read-only") && said.contains("fsck"), "{arguments:?}: {said}");
        }
    }
}

#[test]
fn a_running_bridge_on_a_disk_that_became_read_only_has_it_to_itself() {
    if !may_mount("a_running_bridge_on_a_disk_that_became_read_only_has_it_to_itself") {
        return;
    }
    let world = World::durable().on_small_disk(DISK).start().stop().1;
    let lock = std::fs::File::open(world.data().join("lock")).unwrap();
    make_read_only(&world.data());
    lock.lock().unwrap();
    assert!(world.fail(1, &["store", "verify"]).contains("works on the data directory"));
}

fn leave_messages(bridge: &Bridge) {
    let (from, to) = ends(bridge);
    let mut subscriber = bridge.connect_with(V5, &to, Connect::new("away").persistent(V5)).0;
    subscriber.subscribe(&to.subscribe, 1);
    subscriber.disconnect();
    let mut publisher = bridge.connect(V5, &from);
    for number in 0..WAITING {
        publisher.publish(&from.publish, number.to_string(), 1);
    }
}

#[track_caller]
fn assert_holds_messages(backup: &Path) {
    let other = World::durable();
    other.succeed(&["restore", path(backup), "--yes"]);
    let bridge = other.start();
    let (mut subscriber, present) =
        bridge.connect_with(V5, &ends(&bridge).1, Connect::new("away").persistent(V5));
    assert!(present);
    for number in 0..WAITING {
        subscriber.expect_payload(&number.to_string());
    }
}

fn ends(bridge: &Bridge) -> (Credentials, Credentials) {
    (bridge.credentials("connection-1", End::From), bridge.credentials("connection-1", End::To))
}

fn path(path: &Path) -> &str {
    path.to_str().unwrap()
}
