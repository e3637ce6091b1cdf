//! What restores meet: others that restore, a program that was replaced while it ran.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::{fs, process::Command};

use ior_tests::{DEADLINE, World, binary, process::Process};
use tempfile::TempDir;

#[test]
fn a_backup_with_a_faulty_configuration_is_warned_of_and_says_where_and_how_to_go_on() {
    let bridge = World::durable().start();
    bridge.world().write("devices.json", "{ \"devices\": 1 }");
    let place = TempDir::new().unwrap();
    let file = place.path().join("backup.tar.gz");
    let made = bridge.world().run(&["backup", file.to_str().unwrap()]);
    let warned = String::from_utf8_lossy(&made.stderr);
    assert!(made.status.success() && warned.contains("devices.json:1:14"), "{made:?}");
    assert!(
        warned.contains("warning: the configuration is not valid, so this backup cannot be restored"),
        "{warned}"
    );
    let refused = World::durable().run(&["restore", file.to_str().unwrap(), "--yes"]);
    let said = String::from_utf8_lossy(&refused.stderr);
    assert_eq!(refused.status.code(), Some(1), "{said}");
    assert!(said.contains("--> config/devices.json:1:14") && said.contains("copy data/secret.key"), "{said}");
}

#[test]
fn a_bridge_whose_program_was_replaced_starts_again_with_what_is_restored() {
    let world = World::durable();
    let place = TempDir::new().unwrap();
    let (program, file) = (place.path().join("ior-bridge"), place.path().join("backup"));
    // By a process of its own: another test's, begun while this one writes, would keep the program from being run.
    assert!(Command::new("cp").args([binary(), &program]).status().unwrap().success());
    let like = world.command(&["run"]);
    let mut command = Command::new(&program);
    command.args(like.get_args()).current_dir(like.get_current_dir().unwrap());
    command.envs(like.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let mut process = Process::start(&mut command);
    process.wait_for("ready line", DEADLINE, |line| line.contains("ready: ").then_some(()));
    let file = file.to_str().unwrap();
    world.succeed(&["backup", file]);

    // As an update does it, whose new program does not start the bridge anew.
    fs::remove_file(&program).unwrap();
    let said = world.succeed(&["restore", file, "--yes"]);
    assert!(said.contains("has started again with it, and is ready"), "{said}");
    assert!(process.is_running());
}

#[test]
fn a_restore_leaves_alone_what_another_one_unpacks() {
    let bridge = World::durable().start();
    let place = TempDir::new().unwrap();
    let file = place.path().join("backup");
    let file = file.to_str().unwrap();
    bridge.world().succeed(&["backup", file]);

    let data = bridge.world().data();
    let other = fs::File::open(&data).unwrap();
    other.lock().unwrap();
    let unpacked = data.join("restore.new-other/data");
    fs::create_dir_all(&unpacked).unwrap();
    fs::write(unpacked.join("secret.key"), "of the other").unwrap();
    let refused = bridge.world().run(&["restore", file, "--yes"]);
    assert_eq!(refused.status.code(), Some(1));
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(said.contains("another restore is at work") && said.contains("Nothing was changed"), "{said}");
    assert!(unpacked.join("secret.key").exists());

    // It was cut short: what it left goes.
    drop(other);
    bridge.world().succeed(&["restore", file, "--yes"]);
    assert!(!unpacked.exists());
}
