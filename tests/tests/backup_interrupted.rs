//! Backups and restores that are cut short, by the end of the bridge or their own: that is told, and nothing is left of them.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::{
    fs::{self, File},
    path::Path,
    time::{Duration, Instant, SystemTime},
};

use ior_tests::{DEADLINE, World, process::Process};
use tempfile::TempDir;

#[test]
fn a_bridge_that_ends_while_it_is_asked_is_told_with_what_was_not_done() {
    let place = TempDir::new().unwrap();
    let file = place.path().join("backup");
    let mut bridge = World::durable().start();
    bridge.world().succeed(&["backup", path(&file)]);
    let other = place.path().join("other");
    for (arguments, not_done) in [
        (["backup", path(&other)].as_slice(), "No backup was written"),
        (&["restore", path(&file), "--yes"], "Nothing was changed"),
        (&["rotate", "4569"], "nothing was changed"),
        (&["status"], "journalctl"),
    ] {
        let before = fs::read(bridge.world().config().join("devices.json")).unwrap();
        bridge.process().pause();
        let mut asking = Process::start(&mut bridge.world().command(arguments));
        wait_until_asked(&bridge.world().data().join("control.sock"));
        let world = bridge.kill();
        assert_eq!(asking.wait(DEADLINE).code(), Some(1), "{arguments:?}");
        let said = asking.log();
        assert!(
            said.contains("has ended before it answered") && said.contains(not_done),
            "{arguments:?}: {said}"
        );
        assert_eq!(fs::read(world.config().join("devices.json")).unwrap(), before);
        assert!(!other.exists() && fs::read_dir(place.path()).unwrap().count() == 1);
        bridge = world.start();
    }
}

#[test]
fn what_a_killed_command_leaves_is_removed_by_the_next_one_or_the_next_start() {
    let place = TempDir::new().unwrap();
    let file = place.path().join("backup");
    let bridge = World::durable().start();
    bridge.process().pause();
    let mut killed = Process::start(&mut bridge.world().command(&["backup", path(&file)]));
    wait_until_asked(&bridge.world().data().join("control.sock"));
    killed.kill();
    bridge.process().resume();
    let [left] = names(place.path()).try_into().unwrap();
    assert!(left.starts_with(".ior-bridge-"), "{left}");
    // Somebody may just be about to write it.
    bridge.world().succeed(&["backup", path(&file)]);
    assert_eq!(names(place.path()).len(), 2);
    let long_ago = SystemTime::now() - Duration::from_secs(600);
    File::open(place.path().join(&left)).unwrap().set_modified(long_ago).unwrap();
    bridge.world().succeed(&["backup", path(&file), "--force"]);
    assert_eq!(names(place.path()), ["backup"]);

    let (config, data) = (bridge.world().config(), bridge.world().data());
    let leave = || {
        let copy = config.join(&left);
        fs::copy(config.join("devices.json"), &copy).unwrap();
        File::open(&copy).unwrap().set_modified(long_ago).unwrap();
        fs::create_dir(data.join("restore.new-AbCdEf")).unwrap();
        fs::write(data.join("restore.new-AbCdEf/secret.key"), "secret").unwrap();
    };
    let is_left = || [config.join(&left).exists(), data.join("restore.new-AbCdEf").exists()];
    leave();
    bridge.world().succeed(&["rotate", "4569"]);
    assert_eq!(is_left(), [false, true]);
    bridge.world().succeed(&["restore", "--finish"]);
    assert_eq!(is_left(), [false, false]);
    let (_, world) = bridge.stop();
    leave();
    let bridge = world.start();
    assert_eq!(is_left(), [false, false]);
    bridge.stop();
}

#[test]
fn a_start_leaves_a_restore_alone_that_is_at_work() {
    let (_, world) = World::durable().start().stop();
    let unpacking = world.data().join("restore.new-AbCdEf");
    fs::create_dir(&unpacking).unwrap();
    let lock = File::open(world.data()).unwrap();
    lock.lock().unwrap();
    let bridge = world.start();
    assert!(unpacking.exists());
    drop(lock);
    bridge.world().succeed(&["restore", "--finish"]);
    assert!(!unpacking.exists());
}

fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// Somebody is connected to this socket, or waits for it.
fn wait_until_asked(socket: &Path) {
    let until = Instant::now() + DEADLINE;
    let is_asked = || {
        let sockets = fs::read_to_string("/proc/net/unix").unwrap();
        // The listener has a line of its own.
        sockets.lines().filter(|line| line.ends_with(path(socket))).count() > 1
    };
    while !is_asked() {
        assert!(Instant::now() < until, "nobody asks");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn path(path: &Path) -> &str {
    path.to_str().unwrap()
}
