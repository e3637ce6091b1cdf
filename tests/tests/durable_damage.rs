//! A store that is damaged, or in use: a clear word instead of an empty start, and a way out.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::{
    fs,
    path::{Path, PathBuf},
    process::Output,
};

use ior_tests::{
    Bridge, Credentials, End, World,
    raw::{Client, Connect, Version::V5},
};

const MESSAGES: usize = 2000;

#[test]
fn a_whole_store_is_fine() {
    let world = filled();
    assert_eq!(store(&world, "verify").status.code(), Some(0));
    let json = world.run(&["store", "verify", "--json"]);
    serde_json::from_slice::<serde_json::Value>(&json.stdout).expect("JSON");
    // Salvaging what is not damaged loses nothing.
    assert_eq!(store(&world, "salvage").status.code(), Some(0));
    assert_eq!(waiting(&world.start()).len(), MESSAGES);
}

#[test]
fn a_damaged_store_is_named_and_can_be_salvaged() {
    for (name, damage, percent) in damages() {
        let world = filled();
        let file = world.store().join("store.db");
        let whole = fs::read(&file).unwrap();
        assert!(whole.len() > MESSAGES * 100, "the messages are in {}", file.display());
        fs::write(&file, damage(whole.clone())).unwrap();
        let (status, said) = world.start_fails();
        assert_eq!(status.code(), Some(1), "{name}: {said}");
        assert_tells_the_way_out(name, &file, &said);
        // A second try is no better, and nothing was touched.
        assert_eq!(world.start_fails().0.code(), Some(1), "{name}");
        assert_eq!(fs::read(&file).unwrap(), damage(whole), "{name}: touched");
        assert_eq!(store(&world, "verify").status.code(), Some(1), "{name}");
        let salvage = store(&world, "salvage");
        let aside = aside(&world);
        assert!(!aside.is_empty(), "{name}: nothing was moved aside");
        assert!(salvage.status.code().is_some_and(|code| code < 2), "{name}: {salvage:?}");
        assert_eq!(store(&world, "verify").status.code(), Some(0), "{name}");
        let bridge = world.start();
        if percent > 0 {
            let found = waiting(&bridge);
            assert!(found.len() >= MESSAGES * percent / 100, "{name}: {} messages are left", found.len());
            assert!(found.is_sorted(), "{name}: in order");
        }
        assert_works(&bridge);
    }
}

/// A way to damage a file that no start can overlook.
type Damage = fn(Vec<u8>) -> Vec<u8>;

/// With how many of a hundred messages can be found in what is left.
fn damages() -> [(&'static str, Damage, usize); 6] {
    [
        ("empty", |_| Vec::new(), 0),
        ("cut in the middle", |whole| whole[..whole.len() / 2].to_vec(), 40),
        ("cut within a page", |whole| whole[..whole.len() - 300].to_vec(), 99),
        ("zeros", |whole| vec![0; whole.len()], 0),
        ("first page of zeros", |whole| overwrite_first_page(whole, |_| 0), 99),
        ("first page of garbage", |whole| overwrite_first_page(whole, |at| ((at * 7919) >> 3) as u8), 99),
    ]
}

fn overwrite_first_page(mut whole: Vec<u8>, with: fn(usize) -> u8) -> Vec<u8> {
    // SQLite's page size, a big-endian number at offset 16 of the file.
    let page_size = usize::from(u16::from_be_bytes([whole[16], whole[17]]));
    assert!((512..=4096).contains(&page_size), "{page_size}");
    whole.iter_mut().enumerate().take(page_size).for_each(|(at, byte)| *byte = with(at));
    whole
}

#[test]
fn damage_in_the_middle_costs_only_what_lies_there() {
    let world = filled();
    let file = world.store().join("store.db");
    let mut bytes = fs::read(&file).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle..middle + 512].fill(0x5A);
    fs::write(&file, bytes).unwrap();
    assert_eq!(store(&world, "verify").status.code(), Some(1));
    let salvage = store(&world, "salvage");
    assert!(!salvage.stdout.is_empty(), "it says what was lost");
    assert_eq!(store(&world, "verify").status.code(), Some(0));
    let found = waiting(&world.start());
    assert!(found.len() > MESSAGES * 9 / 10, "{} of {MESSAGES} messages are left", found.len());
    assert!(found.is_sorted(), "in order");
}

#[test]
fn a_damaged_message_does_not_stop_those_behind_it() {
    let world = filled();
    let file = world.store().join("store.db");
    let mut bytes = fs::read(&file).unwrap();
    // One byte of one payload: the file itself is as it should be.
    let needle = payload(MESSAGES / 2);
    let places: Vec<usize> =
        (0..bytes.len() - needle.len()).filter(|&at| bytes[at..].starts_with(&needle)).collect();
    assert!(!places.is_empty(), "the payload is in the file");
    places.into_iter().for_each(|at| bytes[at + needle.len() - 1] ^= 1);
    fs::write(&file, bytes).unwrap();
    assert_eq!(store(&world, "verify").status.code(), Some(1));
    let bridge = world.start();
    let found = waiting(&bridge);
    assert_eq!(found.len(), MESSAGES - 1);
    assert!(!found.contains(&(MESSAGES / 2)));
    assert!(bridge.log().contains("store verify"), "it says that something is damaged");
}

#[test]
fn a_store_whose_main_file_is_gone_is_no_empty_store() {
    let bridge = fill(World::durable().start());
    let world = bridge.kill();
    let file = world.store().join("store.db");
    assert!(world.store().join("store.db-wal").exists(), "what was not checkpointed is here");
    fs::remove_file(&file).unwrap();
    let (status, said) = world.start_fails();
    assert_eq!(status.code(), Some(1), "{said}");
    assert!(said.contains("store.db"), "{said}");
}

#[test]
fn a_data_directory_belongs_to_one_bridge() {
    let bridge = fill(World::durable().start());
    let (status, said) = bridge.world().start_fails();
    assert_eq!(status.code(), Some(1), "{said}");
    assert!(said.contains(&bridge.world().data().display().to_string()), "{said}");
    for command in ["verify", "salvage"] {
        assert_eq!(store(bridge.world(), command).status.code(), Some(1), "{command}");
    }
    assert_works(&bridge);
    // Nobody has to remove anything after a crash.
    let bridge = bridge.kill_and_start();
    assert_eq!(waiting(&bridge).len(), MESSAGES);
}

#[test]
fn a_file_that_is_no_store_is_left_alone() {
    let world = filled();
    let file = world.store().join("store.db");
    let other = b"these are not messages. ".repeat(10_000);
    fs::write(&file, &other).unwrap();
    let (status, said) = world.start_fails();
    assert_eq!(status.code(), Some(1), "{said}");
    assert!(said.contains(&*file.display().to_string()), "{said}");
    assert_eq!(fs::read(&file).unwrap(), other);
}

#[test]
fn a_store_of_a_newer_version_is_refused() {
    let world = filled();
    let file = world.store().join("store.db");
    let mut bytes = fs::read(&file).unwrap();
    // SQLite's user version, a big-endian number at offset 60 of the file.
    bytes[60..64].copy_from_slice(&1_000_000u32.to_be_bytes());
    fs::write(&file, bytes).unwrap();
    let (status, said) = world.start_fails();
    assert_eq!(status.code(), Some(1), "{said}");
    assert!(said.contains("newer"), "{said}");
    assert!(said.contains("store.db"), "{said}");
}

/// A stopped bridge with messages that wait.
fn filled() -> World {
    let (status, world) = fill(World::durable().start()).stop();
    assert!(status.success());
    world
}

fn fill(bridge: Bridge) -> Bridge {
    let (from, to) = ends(&bridge);
    let mut away = session(&bridge, &to).0;
    away.subscribe(&to.subscribe, 1);
    away.disconnect();
    bridge.connect(V5, &from).publish_all(&from.publish, (0..MESSAGES).map(payload));
    bridge
}

/// The numbers of the messages that wait.
fn waiting(bridge: &Bridge) -> Vec<usize> {
    let (from, to) = ends(bridge);
    bridge.connect(V5, &from).publish(&from.publish, "marker", 1);
    let (mut back, present) = session(bridge, &to);
    assert!(present);
    let mut found = Vec::new();
    loop {
        let message = back.expect_message();
        match message.text() {
            "marker" => return found,
            "works" => continue,
            _ => {}
        }
        let number = message.text().trim_start_matches("number ").trim().parse().unwrap();
        assert_eq!(message.payload, payload(number), "only what is whole arrives");
        found.push(number);
    }
}

fn assert_works(bridge: &Bridge) {
    let (from, to) = ends(bridge);
    let (mut subscriber, _) = bridge.connect_with(V5, &to, Connect::new("new").persistent(V5));
    subscriber.subscribe(&to.subscribe, 1);
    bridge.connect(V5, &from).publish(&from.publish, "works", 1);
    subscriber.expect_payload("works");
}

#[track_caller]
fn assert_tells_the_way_out(name: &str, file: &Path, said: &str) {
    for wanted in [&*file.display().to_string(), "store verify", "store salvage"] {
        assert!(said.contains(wanted), "{name}: it does not say {wanted:?}: {said}");
    }
}

fn aside(world: &World) -> Vec<PathBuf> {
    let entries = fs::read_dir(world.store()).unwrap().map(|entry| entry.unwrap().path());
    entries.filter(|path| path.display().to_string().contains("store.db.damaged-")).collect()
}

fn store(world: &World, command: &str) -> Output {
    world.run(&["store", command])
}

fn payload(number: usize) -> Vec<u8> {
    format!("number {number:<90}").into_bytes()
}

fn ends(bridge: &Bridge) -> (Credentials, Credentials) {
    (bridge.credentials("connection-1", End::From), bridge.credentials("connection-1", End::To))
}

fn session(bridge: &Bridge, who: &Credentials) -> (Client, bool) {
    bridge.connect_with(V5, who, Connect::new("away").persistent(V5))
}
