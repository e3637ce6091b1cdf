//! Reload: a changed configuration is taken up as a whole while the bridge runs, and a wrong one not at all.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::{
    fs,
    net::{SocketAddr, TcpListener},
    process::Command,
    time::{Duration, Instant},
};

use ior_tests::{
    Bridge, Credentials, DEADLINE, End, ON_BOTH_VERSIONS, World,
    raw::{
        Client, Connect, Kind, Publish,
        Version::{self, V5},
    },
};
use serde_json::{Value, json};

const RELOADED: &str = "configuration reloaded";
const REFUSED: &str = "configuration not reloaded";

#[test]
fn who_is_unchanged_stays_connected_and_who_is_new_comes_in() {
    for version in ON_BOTH_VERSIONS {
        let bridge = world().start();
        let mut pair = talking(&bridge, version, "a");
        let said = bridge.reconfigure(
            &json!([device(1), device(2), device(3), device(4), device(5), device(6)]),
            &json!([pair_of("a", 1, 2), pair_of("b", 3, 4), pair_of("c", 5, 6)]),
        );
        assert!(said.contains("devices added: Device 5 (5), Device 6 (6)"), "{said}");
        assert!(said.contains("connection added: default/c"), "{said}");
        talk(&mut pair, "still here");
        let mut new = talking(&bridge, version, "c");
        talk(&mut new, "new here");
        presence_is(&bridge, "c", r#""online":true"#);

        let said = bridge.reconfigure(&json!([device(1), device(2), device(3), device(4)]), &pairs());
        assert!(said.contains("devices removed: Device 5 (5), Device 6 (6)"), "{said}");
        let [(client, _), _] = &mut new;
        match version {
            V5 => client.expect_ended(0x98),
            _ => client.expect_closed(),
        }
        assert!(!bridge.world().data().join("credentials/default/c").exists());
        talk(&mut pair, "still here");
    }
}

#[test]
fn a_disabled_device_is_out_until_it_is_enabled() {
    let bridge = world().start();
    let [(mut a, who), (mut b, _)] = talking(&bridge, V5, "a");
    let mut disabled = device(1);
    disabled["disabled"] = true.into();
    let said = bridge.reconfigure(&json!([disabled, device(2), device(3), device(4)]), &pairs());
    assert!(said.contains("device disabled: Device 1 (1)") && said.contains("1 session"), "{said}");
    a.expect_ended(0x98);
    assert_eq!(log_in(&bridge, &who), 0x87);
    b.expect_silence();
    let said = bridge.reconfigure(&devices(), &pairs());
    assert!(said.contains("device enabled: Device 1 (1)"), "{said}");
    assert_eq!(log_in(&bridge, &who), 0);
}

#[test]
fn a_renamed_device_and_a_reordered_file_disturb_nobody() {
    let bridge = world().start();
    let mut pair = talking(&bridge, V5, "a");
    let mut renamed = device(1);
    renamed["name"] = "Another".into();
    let said = bridge.reconfigure(&json!([device(4), device(3), device(2), renamed]), &pairs());
    assert!(said.contains("device renamed: Another (1)"), "{said}");
    talk(&mut pair, "x");
    let log = bridge.log();
    let [(client, _), _] = pair;
    client.disconnect();
    bridge
        .process()
        .wait_for("new name", DEADLINE, |line| line.contains("Another (1) disconnected").then_some(()));
    assert!(!log.contains("Another (1) disconnected"));
    let file = bridge.credentials("a", End::From);
    assert_eq!(file.json["name"], "Another");
}

#[test]
fn limits_and_the_log_follow() {
    let bridge = world().start();
    let [(mut a, of_a), (b, of_b)] = talking(&bridge, V5, "a");
    b.disconnect();
    let (away, _) = bridge.connect_persistent(V5, &of_b);
    let mut away = away;
    away.subscribe(&of_b.subscribe, 1);
    away.disconnect();
    let said = bridge.after(RELOADED, || {
        bridge
            .world()
            .write("server.json", r#"{ "limits": { "queue_messages": 2 }, "log": { "level": "debug" } }"#);
    });
    assert!(
        said.contains("limits.queue_messages is 2 (was 100000); log.level is debug (was info)"),
        "{said}"
    );
    let answer = |client: &mut Client| {
        client.send(Publish::new(&of_a.publish, "x").qos(1, 1));
        client.expect_ack(Kind::PubAck, 1).reason
    };
    assert_eq!([answer(&mut a), answer(&mut a), answer(&mut a)], [0, 0, 0x97]);
    // A connection's own limit goes before.
    let mut own = pair_of("a", 1, 2);
    own["queue"] = json!({ "max_messages": 3 });
    bridge.reconfigure(&devices(), &json!([own, pair_of("b", 3, 4)]));
    assert_eq!([answer(&mut a), answer(&mut a)], [0, 0x97]);
    let before = bridge.log().len();
    bridge.world().write("server.json", r#"{ "host": "quiet.local", "log": { "level": "error" } }"#);
    wait_until("the new host", || bridge.credentials("a", End::From).json["mqtt"]["host"] == "quiet.local");
    bridge.after(REFUSED, || bridge.world().write("server.json", "{"));
    a.disconnect();
    bridge.after(REFUSED, || bridge.process().hang_up());
    let log = bridge.log();
    assert!(!log[before..].contains("disconnected") && !log[before..].contains(RELOADED), "{log}");
}

#[test]
fn a_listener_moves_and_nobody_else_does() {
    // What the environment says, a file cannot change.
    let world = world().env("IOR_BRIDGE__MQTT__LISTEN", "").env("IOR_BRIDGE__MQTTS__LISTEN", "");
    let server = |address: &str| {
        json!({ "mqtt": { "listen": address }, "mqtts": { "listen": "127.0.0.1:0" } }).to_string()
    };
    world.write("server.json", &server("127.0.0.1:0"));
    let bridge = world.start();
    let mut pair = talking(&bridge, V5, "a");
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let there = taken.local_addr().unwrap().to_string();
    bridge.after("cannot listen on", || bridge.world().write("server.json", &server(&there)));
    talk(&mut pair, "still here");
    drop(taken);
    bridge.after(RELOADED, || bridge.process().hang_up());
    let moved: SocketAddr = there.parse().unwrap();
    let file = bridge.credentials("a", End::From);
    assert_eq!(file.json["mqtt"]["port"], moved.port());
    assert_eq!(log_in_at(moved, &file), 0);
    assert!(Client::try_open(bridge.addr, V5).is_err(), "the old place is closed");
    talk(&mut pair, "still here");
}

#[test]
fn what_waits_for_a_restart_is_told_and_the_rest_holds() {
    let bridge = world().start();
    let data = bridge.world().data();
    bridge.after("what server.json says now holds after a restart", || {
        bridge.world().write(
            "server.json",
            r#"{ "data_dir": "elsewhere", "log": { "format": "json" }, "limits": { "queue_messages": 9 } }"#,
        );
    });
    let log = bridge.log();
    assert!(log.contains("data_dir, log.format: what server.json says now"), "{log}");
    assert!(log.contains("limits.queue_messages is 9"), "{log}");
    assert!(!data.with_file_name("elsewhere").exists() && data.join("rotation.json").exists());

    bridge.world().write("server.json", r#"{ "log": { "format": "json" } }"#);
    for _ in 0..2 {
        let asked = bridge.world().run(&["reload"]);
        let said = String::from_utf8_lossy(&asked.stdout);
        assert!(said.contains("; log.format: what server.json says now holds after a restart"), "{asked:?}");
    }
}

#[test]
fn a_wrong_file_changes_nothing_and_is_told_once() {
    let bridge = world().start();
    let mut pair = talking(&bridge, V5, "a");
    let file = bridge.world().config().join("devices.json");
    let right = fs::read(&file).unwrap();
    let wrong: [(&str, &dyn Fn()); 8] = [
        ("devices.json:2:", &|| fs::write(&file, "{ \"devices\": [\n { \"code\": 1\n").unwrap()),
        ("the file is empty", &|| fs::write(&file, "").unwrap()),
        ("this is not UTF-8", &|| fs::write(&file, [0xFF, 0, 1, 2, 0x80]).unwrap()),
        ("is larger than", &|| fs::File::create(&file).unwrap().set_len(1 << 30).unwrap()),
        ("there is no such file", &|| fs::remove_file(&file).unwrap()),
        ("it is no file", &|| fs::create_dir(&file).unwrap()),
        ("has no device with the code", &|| {
            fs::remove_dir(&file).unwrap();
            fs::write(&file, r#"{ "devices": [] }"#).unwrap();
        }),
        ("it is no file", &|| {
            fs::remove_file(&file).unwrap();
            assert!(Command::new("mkfifo").arg(&file).status().unwrap().success());
        }),
    ];
    for (words, change) in wrong {
        let before = bridge.log().len();
        bridge.after(REFUSED, change);
        bridge
            .process()
            .wait_until(words, DEADLINE, |lines| lines.join("\n")[before..].contains(words).then_some(()));
        talk(&mut pair, words);
    }
    let mended = bridge.after(RELOADED, || {
        fs::remove_file(&file).unwrap();
        fs::write(&file, &right).unwrap();
    });
    assert!(mended.contains("nothing has changed"), "{mended}");
    talk(&mut pair, "mended");
}

#[test]
fn editors_have_their_ways() {
    let bridge = world().start();
    let (config, file) = (bridge.world().config(), bridge.world().config().join("devices.json"));
    let text = |name: &str| {
        let mut first = device(1);
        first["name"] = name.into();
        json!({ "devices": [first, device(2), device(3), device(4)] }).to_string()
    };
    let beside = |name: &str| config.join(name);
    type Way<'a> = &'a dyn Fn(&str);
    let ways: [(&str, Way<'_>); 5] = [
        ("in place", &|text| fs::write(&file, text).unwrap()),
        ("renamed", &|text| {
            fs::write(beside(".devices.json.tmp"), text).unwrap();
            fs::rename(beside(".devices.json.tmp"), &file).unwrap();
        }),
        ("backup", &|text| {
            fs::rename(&file, beside("devices.json~")).unwrap();
            fs::write(&file, text).unwrap();
        }),
        ("two steps", &|text| {
            let (one, two) = text.split_at(text.len() / 2);
            fs::write(&file, one).unwrap();
            let mut file = fs::OpenOptions::new().append(true).open(&file).unwrap();
            std::io::Write::write_all(&mut file, two.as_bytes()).unwrap();
        }),
        ("linked", &|text| {
            fs::write(beside("real"), text).unwrap();
            fs::remove_file(&file).unwrap();
            std::os::unix::fs::symlink("real", &file).unwrap();
        }),
    ];
    for (name, way) in ways {
        let said = bridge.after(RELOADED, || way(&text(name)));
        assert!(said.contains(&format!("device renamed: {name} (1)")), "{said}");
    }
    let said = bridge.after(RELOADED, || fs::write(beside("real"), text("behind the link")).unwrap());
    assert!(said.contains("behind the link"), "{said}");
    // Two quick edits are one, and other files are none of its business.
    let said = bridge.after(RELOADED, || {
        fs::write(&file, text("first")).unwrap();
        fs::write(beside("notes.txt"), "x").unwrap();
        fs::write(&file, text("second")).unwrap();
    });
    assert!(said.contains("device renamed: second (1)"), "{said}");
    let count = bridge.log().matches(RELOADED).count();
    assert_eq!((count, bridge.log().matches(REFUSED).count()), (7, 0), "{}", bridge.log());
    let said = bridge.after(RELOADED, || bridge.process().hang_up());
    assert!(said.ends_with("nothing has changed"), "{said}");
}

#[test]
fn a_server_file_that_is_gone_for_a_moment_is_not_missed() {
    let world = world();
    world.write("server.json", r#"{ "limits": { "queue_messages": 5 } }"#);
    let bridge = world.start();
    let file = bridge.world().config().join("server.json");
    let away = file.with_extension("away");
    fs::rename(&file, &away).unwrap();
    // Something else has the bridge read everything meanwhile.
    let mut renamed = device(1);
    renamed["name"] = "Another".into();
    bridge.world().configure(&json!([renamed, device(2), device(3), device(4)]), &pairs());
    std::thread::sleep(Duration::from_secs(2));
    assert!(!bridge.log().contains(RELOADED), "{}", bridge.log());
    let said = bridge.after(RELOADED, || fs::rename(&away, &file).unwrap());
    assert!(said.contains("renamed") && !said.contains("queue_messages"), "{said}");
    // Whoever removes it for good gets the defaults.
    let said = bridge.after(RELOADED, || fs::remove_file(&file).unwrap());
    assert!(said.contains("limits.queue_messages is 100000 (was 5)"), "{said}");
}

#[test]
fn without_file_descriptors_it_waits_for_some() {
    let bridge = world().start();
    let mut pair = talking(&bridge, V5, "a");
    let id = bridge.process().id().to_string();
    let limit = |files: &str| {
        let done =
            Command::new("prlimit").args(["--pid", &id, &format!("--nofile={files}:")]).status().unwrap();
        assert!(done.success());
    };
    // The standard streams have these.
    limit("3");
    let mut renamed = device(1);
    renamed["name"] = "Another".into();
    bridge.after(REFUSED, || {
        bridge.world().configure(&json!([renamed, device(2), device(3), device(4)]), &pairs())
    });
    bridge.process().wait_for("reason", DEADLINE, |line| line.contains("Too many open files").then_some(()));
    talk(&mut pair, "still here");
    // Nobody changes anything: it tries again by itself.
    let said = bridge.after(RELOADED, || limit("1024"));
    assert!(said.contains("device renamed: Another (1)"), "{said}");
    assert_eq!(bridge.log().matches(REFUSED).count(), 1, "told once");
    talk(&mut pair, "afterwards");
}

#[test]
fn a_full_disk_leaves_everything_as_it_was() {
    if !ior_tests::faults::may_mount("a_full_disk_leaves_everything_as_it_was") {
        return;
    }
    let bridge = world().on_small_disk(24 << 20).start();
    let file = bridge.credentials("a", End::From);
    let mut pair = talking(&bridge, V5, "a");
    let filler = ior_tests::faults::Filler::fill(&bridge.world().data());
    let mut rotated = device(1);
    rotated["secret_version"] = 2.into();
    bridge.after(REFUSED, || {
        bridge.world().configure(&json!([rotated, device(2), device(3), device(4)]), &pairs())
    });
    bridge.process().wait_for("advice", DEADLINE, |line| line.contains("the disk is full").then_some(()));
    assert_eq!(bridge.credentials("a", End::From).json, file.json);
    talk(&mut pair, "still here");
    let said = bridge.after(RELOADED, || drop(filler));
    assert!(said.contains("device with another password: Device 1 (1)"), "{said}");
    assert_ne!(bridge.credentials("a", End::From).login.password, file.login.password);
}

/// Two connections of two devices each.
fn world() -> World {
    World::with(devices(), pairs())
}

fn devices() -> Value {
    json!([device(1), device(2), device(3), device(4)])
}

fn pairs() -> Value {
    json!([pair_of("a", 1, 2), pair_of("b", 3, 4)])
}

fn device(code: u32) -> Value {
    json!({ "code": code, "name": format!("Device {code}"), "type": "t" })
}

fn pair_of(name: &str, from: u32, to: u32) -> Value {
    json!({ "name": name, "from": from, "to": to })
}

/// Both ends of a connection, connected and subscribed.
#[track_caller]
fn talking(bridge: &Bridge, version: Version, connection: &str) -> [(Client, Credentials); 2] {
    [End::From, End::To].map(|end| {
        let who = bridge.credentials(connection, end);
        let mut client = bridge.connect(version, &who);
        client.subscribe(&who.subscribe, 1);
        (client, who)
    })
}

/// A message each way.
#[track_caller]
fn talk(pair: &mut [(Client, Credentials); 2], text: &str) {
    let [(a, of_a), (b, of_b)] = pair;
    a.publish(&of_a.publish, text, 1);
    b.expect_payload(text);
    b.publish(&of_b.publish, text, 1);
    a.expect_payload(text);
}

#[track_caller]
fn presence_is(bridge: &Bridge, connection: &str, words: &str) {
    let who = bridge.credentials(connection, End::From);
    let connect = Connect::new("presence");
    let (mut client, _) = bridge.connect_with(V5, &who, connect);
    client.subscribe(&who.presence, 1);
    let said = client.expect_message();
    assert!(said.text().contains(words), "{}", said.text());
    client.disconnect();
}

/// The code of the CONNACK.
#[track_caller]
fn log_in(bridge: &Bridge, who: &Credentials) -> u8 {
    log_in_at(bridge.addr, who)
}

#[track_caller]
fn log_in_at(addr: SocketAddr, who: &Credentials) -> u8 {
    let mut client = Client::open(addr, V5);
    let connect = Connect::new("once").user_name(&who.login.username);
    client.send(connect.password(&who.login.password));
    client.expect_connack().code
}

#[track_caller]
fn wait_until(what: &str, condition: impl Fn() -> bool) {
    let until = Instant::now() + DEADLINE;
    while !condition() {
        assert!(Instant::now() < until, "no {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}
