//! Backups: all that a bridge is goes into one file, and comes out of it again, here or on another machine.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::{PermissionsExt, lchown},
    path::{Path, PathBuf},
    process::Output,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    time::{Duration, Instant},
};

use ior_tests::{
    Bridge, Credentials, DEADLINE, End, ON_BOTH_VERSIONS, Random, World,
    process::Process,
    raw::{Client, Connect, Version::V5},
};
use serde_json::Value;
use tempfile::TempDir;

/// Regression: whoever could write into the configuration directory could have root copy or replace any file of the machine.
#[test]
fn root_restores_over_no_link_of_somebody_else() {
    const SOMEBODY: u32 = 65_534;
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let (_, world) = World::durable().start().stop();
    let place = TempDir::new().unwrap();
    let (file, secret) = (place.path().join("backup"), place.path().join("secret"));
    succeeded(&world.run(&["backup", path(&file)]));
    let link = world.config().join("connections.json");
    fs::rename(&link, &secret).unwrap();
    std::os::unix::fs::symlink(&secret, &link).unwrap();
    lchown(&link, Some(SOMEBODY), Some(SOMEBODY)).unwrap();
    let before = fs::read(&secret).unwrap();
    let said = world.fail(1, &["restore", path(&file), "--yes"]);
    assert!(said.contains("is a link that the user 65534 made"), "{said}");
    assert_eq!(fs::read(&secret).unwrap(), before);
    let kept = fs::read_dir(world.data()).unwrap().map(|entry| entry.unwrap().file_name());
    let kept: Vec<_> = kept.filter(|name| name.to_string_lossy().contains("restore")).collect();
    assert!(kept.is_empty(), "{kept:?}");
}

#[test]
fn another_machine_takes_over_where_the_running_one_was() {
    let bridge = World::durable().start();
    let (from, to) = ends(&bridge);
    for version in ON_BOTH_VERSIONS {
        let mut subscriber = bridge.connect_with(version, &to, away(version)).0;
        subscriber.subscribe(&to.subscribe, 2);
        subscriber.disconnect();
    }
    let mut publisher = bridge.connect(V5, &from);
    for number in 0..100 {
        publisher.publish(&from.publish, number.to_string(), 1 + number % 2);
    }
    publisher.publish_retained(&format!("{}/last", from.publish), "kept", 1);

    let place = TempDir::new().unwrap();
    let file = place.path().join("backup.tar.gz");
    let said = succeeded(&bridge.world().run(&["backup", path(&file)]));
    assert!(said.contains("made by the running bridge") && said.contains("holds the secret key"), "{said}");
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(fs::read_dir(place.path()).unwrap().count(), 1, "nothing is left beside it");
    // Not again over it, unless that is wanted.
    let again = bridge.world().run(&["backup", path(&file)]);
    assert_eq!(again.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&again.stderr).contains("--force replaces it"));
    let report: Value =
        serde_json::from_str(&succeeded(&bridge.world().run(&["backup", path(&file), "--force", "--json"])))
            .unwrap();
    assert_eq!(
        (&report["running"], &report["bytes"]),
        (&true.into(), &fs::metadata(&file).unwrap().len().into())
    );
    let paths: Vec<_> = report["manifest"]["files"]
        .as_array()
        .unwrap()
        .iter()
        .map(|file| file["path"].as_str().unwrap())
        .collect();
    for wanted in [
        "config/devices.json",
        "config/schema/server.schema.json",
        "data/secret.key",
        "data/ca/ca.key",
        "data/pairs.json",
        "data/rotation.json",
        "data/admin-password",
        "data/store/store.db",
    ] {
        assert!(paths.contains(&wanted), "{wanted}: {paths:?}");
    }
    // Over a pipe it is the same.
    let piped = bridge.world().run(&["backup", "-"]);
    assert!(piped.status.success() && piped.stdout.starts_with(&[0x1f, 0x8b]));
    publisher.publish(&from.publish, "after the backup", 1);
    drop(bridge);

    let other = World::durable().env("IOR_BRIDGE__HOST", "other.example");
    let said = succeeded(&other.run(&["restore", path(&file), "--yes"]));
    assert!(said.contains("4 devices, 2 connections") && said.contains("No bridge is running"), "{said}");
    let bridge = other.start();
    assert!(bridge.log().contains("other.example"), "the certificate is for this machine: {}", bridge.log());
    let (new_from, new_to) = ends(&bridge);
    assert_eq!((&new_from.login.password, new_to.ca()), (&from.login.password, to.ca()));
    for version in ON_BOTH_VERSIONS {
        let (mut subscriber, present) = bridge.connect_with(version, &new_to, away(version));
        assert!(present);
        for number in 0..100 {
            let message = subscriber.expect_payload(&number.to_string());
            assert_eq!((message.qos, message.dup), (1 + number % 2, false));
        }
        assert_eq!(subscriber.expect_message().text(), "kept");
        subscriber.expect_silence();
    }
    let mut late = bridge.connect(V5, &new_to);
    late.subscribe(&new_to.subscribe, 1);
    assert_eq!(late.expect_message().text(), "kept");
    assert!(bridge.stop().0.success());
}

#[test]
fn every_message_that_was_acknowledged_before_is_in_a_backup_under_traffic() {
    let bridge = World::durable().start();
    let (from, to) = ends(&bridge);
    let mut subscriber = bridge.connect_with(V5, &to, away(V5)).0;
    subscriber.subscribe(&to.subscribe, 1);
    subscriber.disconnect();
    let place = TempDir::new().unwrap();
    let (acknowledged, is_over) = (AtomicU64::new(0), AtomicBool::new(false));
    let backups = std::thread::scope(|scope| {
        let publisher = scope.spawn(|| {
            let mut publisher = bridge.connect(V5, &from);
            let payload = "x".repeat(300);
            while !is_over.load(Ordering::SeqCst) {
                let number = acknowledged.load(Ordering::SeqCst);
                publisher.publish(&from.publish, format!("{number} {payload}"), 1);
                acknowledged.store(number + 1, Ordering::SeqCst);
            }
        });
        let mut backups = Vec::new();
        for number in 0..4 {
            let target = 500 * (number + 1);
            let until = Instant::now() + 4 * DEADLINE;
            while acknowledged.load(Ordering::SeqCst) < target {
                assert!(Instant::now() < until, "the publisher stands still");
                std::thread::sleep(Duration::from_millis(1));
            }
            let file = place.path().join(number.to_string());
            let before = acknowledged.load(Ordering::SeqCst);
            succeeded(&bridge.world().run(&["backup", path(&file)]));
            backups.push((file, before));
        }
        is_over.store(true, Ordering::SeqCst);
        publisher.join().unwrap();
        backups
    });
    let all = acknowledged.load(Ordering::SeqCst);
    drop(bridge);
    for (file, before) in backups {
        let other = World::durable();
        succeeded(&other.run(&["restore", path(&file), "--yes"]));
        assert!(succeeded(&other.run(&["store", "verify"])).contains("Everything is whole"));
        let bridge = other.start();
        let (from, to) = ends(&bridge);
        bridge.connect(V5, &from).publish(&from.publish, "end", 1);
        let (mut subscriber, present) = bridge.connect_with(V5, &to, away(V5));
        assert!(present);
        // What came while it was made may be there or not, but in order.
        let mut number = 0;
        loop {
            let message = subscriber.expect_message();
            if message.text() == "end" {
                break;
            }
            assert!(message.text().starts_with(&format!("{number} ")), "{number}: {}", message.text());
            number += 1;
        }
        assert!((before..=all).contains(&number), "{before} {number} {all}");
    }
}

#[test]
fn a_stopped_or_killed_bridge_is_backed_up_from_its_files() {
    let mut bridge = World::durable().start();
    let place = TempDir::new().unwrap();
    for (number, is_killed) in [true, false].into_iter().enumerate() {
        let (from, to) = ends(&bridge);
        let mut subscriber = bridge.connect_with(V5, &to, away(V5)).0;
        subscriber.subscribe(&to.subscribe, 1);
        subscriber.disconnect();
        bridge.connect(V5, &from).publish(&from.publish, number.to_string(), 1);
        let world = if is_killed { bridge.kill() } else { bridge.stop().1 };
        let file = place.path().join(number.to_string());
        let said = succeeded(&world.run(&["backup", path(&file)]));
        assert!(!said.contains("running"), "{said}");
        let other = World::durable();
        succeeded(&other.run(&["restore", path(&file), "--yes"]));
        let restored = other.start();
        let (mut subscriber, present) = restored.connect_with(V5, &ends(&restored).1, away(V5));
        assert!(present);
        subscriber.expect_payload(&number.to_string());
        bridge = world.start();
        let mut subscriber = bridge.connect_with(V5, &to, away(V5)).0;
        subscriber.expect_payload(&number.to_string());
        subscriber.disconnect();
    }
}

#[test]
fn a_running_bridge_starts_again_with_what_is_restored() {
    let bridge = World::durable().start();
    let (from, to) = ends(&bridge);
    let mut subscriber = bridge.connect_with(V5, &to, away(V5)).0;
    subscriber.subscribe(&to.subscribe, 1);
    subscriber.disconnect();
    bridge.connect(V5, &from).publish(&from.publish, "then", 1);
    let place = TempDir::new().unwrap();
    let file = place.path().join("backup");
    succeeded(&bridge.world().run(&["backup", path(&file)]));
    let devices = fs::read_to_string(bridge.world().config().join("devices.json")).unwrap();

    bridge.connect(V5, &from).publish(&from.publish, "later", 1);
    succeeded(&bridge.world().run(&["rotate", "4569"]));
    let rotated = ends(&bridge).0;
    assert_ne!(rotated.login.password, from.login.password);
    let without_asking = bridge.world().run(&["restore", path(&file)]);
    assert_eq!(without_asking.status.code(), Some(2), "nobody can be asked");

    let pid = bridge.process().id();
    let mut connected = bridge.connect(V5, &rotated);
    let said = succeeded(&bridge.world().run(&["restore", path(&file), "--yes"]));
    assert!(said.contains("has started again with it, and is ready"), "{said}");
    connected.expect_ended(0x8b);
    assert_eq!(fs::read_to_string(bridge.world().config().join("devices.json")).unwrap(), devices);
    let kept = PathBuf::from(
        said.lines().find_map(|line| line.split_once(" is in ")).unwrap().1.trim_end_matches('.'),
    );
    assert!(fs::read_to_string(kept.join("config/devices.json")).unwrap().contains("secret_version"));
    assert!(kept.join("store/store.db").exists() && kept.join("secret.key").exists());
    assert!(!bridge.world().data().join("restore").exists());

    // The same process, on another port, as the test asks for any.
    let addr = bridge.process().wait_until("second ready line", DEADLINE, |lines| {
        let mut ready = lines.iter().filter_map(|line| line.split_once("ready: mqtt "));
        ready.nth(1).and_then(|(_, rest)| rest.split([',', ' ']).next()?.parse().ok())
    });
    assert_eq!(bridge.process().id(), pid);
    let to = Credentials::read(&to.file, addr);
    let mut subscriber = Client::open(addr, V5);
    subscriber.send(away(V5).user_name(&to.login.username).password(&to.login.password));
    assert!(subscriber.expect_connack().session_present);
    subscriber.expect_payload("then");
    subscriber.expect_silence();
    assert_eq!(Credentials::read(&from.file, addr).login.password, from.login.password);
    assert!(bridge.stop().0.success());
}

#[test]
fn a_restore_that_is_killed_at_any_moment_leaves_all_of_the_old_or_all_of_the_new() {
    let (_, old) = World::durable().start().stop();
    let place = TempDir::new().unwrap();
    let [first, file] = ["first", "second"].map(|name| place.path().join(name));
    old.write("server.json", "{}");
    succeeded(&old.run(&["backup", path(&first)]));
    let (_, new) = World::durable().start().stop();
    let text = fs::read_to_string(new.config().join("devices.json")).unwrap().replace("Master 1", "Another");
    new.write("devices.json", &text);
    new.write("server.json", r#"{ "limits": { "queue_messages": 7 } }"#);
    succeeded(&new.run(&["backup", path(&file)]));
    let state = |world: &World| -> BTreeMap<String, Vec<u8>> {
        let names = [
            "config/devices.json",
            "config/server.json",
            "data/secret.key",
            "data/ca/ca.crt",
            "data/pairs.json",
        ];
        let root = world.config().parent().unwrap().to_owned();
        names
            .into_iter()
            .map(|name| (name.to_owned(), fs::read(root.join(name)).unwrap_or_default()))
            .collect()
    };
    let (before, after) = (state(&old), state(&new));
    let begun = Instant::now();
    let trial = World::durable();
    succeeded(&trial.run(&["restore", path(&file), "--yes"]));
    let took = begun.elapsed();
    let mut random = random();
    let mut outcomes = [0, 0];
    for round in 0..40 {
        let mut restoring = Process::start(&mut old.command(&["restore", path(&file), "--yes"]));
        std::thread::sleep(took.mul_f64(0.5 + random.within(0..=1_000) as f64 / 1_000.0));
        restoring.kill();
        succeeded(&old.run(&["restore", "--finish"]));
        let found = state(&old);
        let is_new = found == after;
        assert!(is_new || found == before, "round {round}: a mixture");
        outcomes[usize::from(is_new)] += 1;
        assert!(succeeded(&old.run(&["store", "verify"])).contains("whole"));
        if is_new {
            succeeded(&old.run(&["restore", path(&first), "--yes"]));
            assert_eq!(state(&old), before);
        }
    }
    println!("old: {}, new: {}", outcomes[0], outcomes[1]);
    old.start().stop();
}

#[test]
fn a_running_bridge_is_ready_again_whenever_its_restore_is_killed() {
    let place = TempDir::new().unwrap();
    let [first, second] = ["first", "second"].map(|name| place.path().join(name));
    let (_, other) = World::durable().start().stop();
    succeeded(&other.run(&["backup", path(&second)]));
    let bridge = World::durable().start();
    succeeded(&bridge.world().run(&["backup", path(&first)]));
    let key = |world: &World| fs::read(world.data().join("secret.key")).unwrap();
    let keys = [key(bridge.world()), key(&other)];
    let begun = Instant::now();
    succeeded(&bridge.world().run(&["restore", path(&first), "--yes"]));
    let took = begun.elapsed();
    let mut random = random();
    for round in 0..12 {
        let file = if round % 2 == 0 { &second } else { &first };
        let mut restoring = Process::start(&mut bridge.world().command(&["restore", path(file), "--yes"]));
        std::thread::sleep(took.mul_f64(random.within(0..=1_000) as f64 / 1_000.0));
        restoring.kill();
        let until = Instant::now() + 4 * DEADLINE;
        while bridge.world().data().join("restore").exists()
            || !bridge.world().run(&["status"]).status.success()
        {
            assert!(Instant::now() < until, "round {round}: it is not ready again\n{}", bridge.log());
            std::thread::sleep(Duration::from_millis(20));
        }
        assert!(keys.contains(&key(bridge.world())));
    }
    // And whatever was cut short, the next one is whole.
    for (file, key_of_it) in [(&first, &keys[0]), (&second, &keys[1])] {
        succeeded(&bridge.world().run(&["restore", path(file), "--yes"]));
        assert_eq!(key(bridge.world()), *key_of_it);
        let leftovers = fs::read_dir(bridge.world().data()).unwrap().map(|entry| entry.unwrap().file_name());
        let leftovers: Vec<_> =
            leftovers.filter(|name| name.to_string_lossy().starts_with("restore")).collect();
        assert!(leftovers.is_empty(), "{leftovers:?}");
    }
    assert!(bridge.stop().0.success());
}

#[test]
fn what_is_no_whole_backup_changes_nothing() {
    let bridge = World::durable().start();
    let place = TempDir::new().unwrap();
    let file = place.path().join("backup");
    succeeded(&bridge.world().run(&["backup", path(&file)]));
    let (_, world) = bridge.stop();
    let before = everything(&world);
    let bytes = fs::read(&file).unwrap();
    let bad = place.path().join("bad");
    let refused = |contents: &[u8]| {
        fs::write(&bad, contents).unwrap();
        let done = world.run(&["restore", path(&bad), "--yes"]);
        let said = String::from_utf8_lossy(&done.stderr).into_owned();
        assert_eq!(done.status.code(), Some(1), "{said}");
        assert!(said.contains("Nothing was changed"), "{said}");
        assert_eq!(everything(&world), before);
        said
    };
    for length in [0, 10, bytes.len() / 2, bytes.len() - 1] {
        refused(&bytes[..length]);
    }
    let mut random = random();
    for _ in 0..20 {
        let mut flipped = bytes.clone();
        let at = random.within(10..=flipped.len() as u64 - 1) as usize;
        flipped[at] ^= 1 << random.within(0..=7);
        // Some bits of a compressed file mean nothing.
        fs::write(&bad, &flipped).unwrap();
        if unzipped(&bad) != unzipped(&file) {
            refused(&flipped);
        }
    }
    // Whole archives, with a manifest that fits, of what no backup holds.
    for (change, words) in [
        ("cp /etc/passwd data/lock", "no backup holds such a file"),
        ("mkdir -p other && cp /etc/passwd other/x", "no backup holds such a file"),
        ("ln -sf /etc/passwd data/ca/ca.crt", "not a file"),
        ("rm data/secret.key", "has no data/secret.key"),
        ("rm config/devices.json", "has no config/devices.json"),
        ("echo nonsense > data/secret.key", "is damaged"),
        ("echo '{' > config/devices.json", "configuration that is not valid"),
        ("echo x > data/ca/ca.key", "ca.key"),
        ("echo x > data/pairs.json", "pairs.json"),
        ("truncate -s 5000 data/store/store.db", "store"),
        (
            "echo '{\"mqtts\":{\"cert\":\"/nowhere/c.pem\",\"key\":\"/nowhere/k.pem\"}}' > config/server.json",
            "/nowhere/c.pem",
        ),
    ] {
        let said = refused(&forged(&file, change));
        assert!(said.contains(words), "{change}: {said}");
    }
    assert!(world.start().stop().0.success());
}

#[test]
fn only_root_and_the_bridges_user_are_given_the_secret_key() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let bridge = World::durable().start();
    let data = bridge.world().data();
    let open = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    open(data.parent().unwrap(), 0o755);
    open(&data, 0o755);
    open(&data.join("control.sock"), 0o666);
    let ask = r#"
        my $asker = IO::Socket::UNIX->new(Peer => $ARGV[0]) or die $!;
        $asker->print("{\"request\":\"$ARGV[1]\"}\n");
        $asker->flush;
        print scalar <$asker>;
    "#;
    for (request, answer) in [("hello", "done"), ("backup", "use sudo"), ("restore", "use sudo")] {
        let mut asker = std::process::Command::new("setpriv");
        asker.args([
            "--reuid=65534",
            "--regid=65534",
            "--clear-groups",
            "perl",
            "-MIO::Socket::UNIX",
            "-e",
            ask,
        ]);
        let said = succeeded(&asker.arg(data.join("control.sock")).arg(request).output().unwrap());
        assert!(said.contains(answer), "{request}: {said}");
    }
    assert!(bridge.stop().0.success());
}

/// Another one every time, unless it is asked for.
fn random() -> Random {
    let seed = Random::seed("IOR_BACKUP_SEED");
    println!("IOR_BACKUP_SEED={seed}");
    Random::new(seed)
}

/// The archive, unpacked, changed by a command, and packed again with a manifest that fits.
fn forged(archive: &Path, change: &str) -> Vec<u8> {
    let place = TempDir::new().unwrap();
    let script = format!(
        r#"set -e; cd "{}"; tar xzf "{}"; {{ {change}; }} >/dev/null 2>&1
        python3 - <<'END'
import hashlib, json, os
manifest = json.load(open("manifest.json"))
manifest["files"] = []
for root, _, names in sorted(os.walk(".")):
    for name in sorted(names):
        path = os.path.relpath(os.path.join(root, name), ".")
        if path != "manifest.json":
            data = open(path, "rb").read()
            manifest["files"].append({{"path": path, "bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}})
json.dump(manifest, open("manifest.json", "w"))
open("list", "w").write("\n".join([file["path"] for file in manifest["files"]] + ["manifest.json"]))
END
        tar cz --format=ustar -T list"#,
        place.path().display(),
        archive.display()
    );
    let done = std::process::Command::new("sh").args(["-c", &script]).output().unwrap();
    assert!(done.status.success(), "{change}: {}", String::from_utf8_lossy(&done.stderr));
    done.stdout
}

fn unzipped(file: &Path) -> Option<Vec<u8>> {
    let done =
        std::process::Command::new("gzip").arg("-dc").stdin(fs::File::open(file).unwrap()).output().unwrap();
    done.status.success().then_some(done.stdout)
}

/// Every file of a world but locks, with its contents.
fn everything(world: &World) -> BTreeMap<PathBuf, Vec<u8>> {
    fn add(dir: &Path, files: &mut BTreeMap<PathBuf, Vec<u8>>) {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                add(&path, files);
            } else if !path.ends_with("lock") {
                files.insert(path.clone(), fs::read(&path).unwrap());
            }
        }
    }
    let mut files = BTreeMap::new();
    [world.config(), world.data()].iter().for_each(|dir| add(dir, &mut files));
    files
}

fn ends(bridge: &Bridge) -> (Credentials, Credentials) {
    (bridge.credentials("connection-1", End::From), bridge.credentials("connection-1", End::To))
}

fn away(version: ior_tests::raw::Version) -> Connect {
    Connect::new(&format!("away-{version:?}")).persistent(version)
}

fn path(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[track_caller]
fn succeeded(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout.clone()).unwrap()
}
