//! What is wrong is found, and told with what to do about it; and what waits is counted.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::{fs, net::TcpListener, os::unix::fs::PermissionsExt, process::Output};

use ior_tests::{
    End, World,
    faults::Faults,
    raw::{Connect, Kind, Publish, Version::V5},
};
use serde_json::Value;

#[test]
fn a_healthy_bridge_has_no_problem_whether_it_runs_or_not() {
    let world = World::durable();
    // Not even a configuration: nothing is made by looking.
    let (status, found) = doctor(&world);
    assert_eq!((status, verdict(&found, "config")), (Some(1), vec!["problem".to_owned()]));
    assert!(!world.config().exists() && !world.data().exists());

    let bridge = world.start();
    let (status, found) = doctor(bridge.world());
    assert_eq!(status, Some(0), "{found:#}");
    assert!(
        what(&found, "bridge").contains(&format!("runs as process {}", bridge.process().id())),
        "{found:#}"
    );
    assert!(what(&found, "store").contains("0 messages"), "{found:#}");
    assert!(what(&found, "certificate").contains("valid until"), "{found:#}");
    let text = String::from_utf8(bridge.world().run(&["doctor"]).stdout).unwrap();
    assert!(text.contains("\n0 problems") && !text.contains('\x1b'), "{text}");
    let too_wide = text.lines().find(|line| line.chars().count() > 80 && !line.contains('/'));
    assert_eq!(too_wide, None);

    let (_, world) = bridge.stop();
    let (status, found) = doctor(&world);
    assert_eq!((status, what(&found, "bridge").as_str()), (Some(0), "none is running"), "{found:#}");
    world.start().stop();
}

#[test]
fn a_page_that_cannot_change_the_files_is_noted_and_no_fault() {
    const SOMEBODY: u32 = 65_534;
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let (_, world) = World::durable().start().stop();
    let (_, found) = doctor(&world);
    assert_eq!(verdict(&found, "page"), Vec::<String>::new());
    std::os::unix::fs::chown(world.data(), Some(SOMEBODY), Some(SOMEBODY)).unwrap();
    let (_, found) = doctor(&world);
    assert_eq!(verdict(&found, "page"), ["ok"]);
    assert!(what(&found, "page").contains("the user of the bridge (65534) may not write into"), "{found:#}");
    let off = world.env("IOR_BRIDGE__WEB__LISTEN", "null");
    assert_eq!(verdict(&doctor(&off).1, "page"), Vec::<String>::new());
}

#[test]
fn what_is_wrong_is_told_with_what_to_do() {
    let (_, mut world) = World::durable().start().stop();
    let problem = |world: &World, check: &str, words: &[&str]| {
        let (status, found) = doctor(world);
        assert_eq!(status, Some(1), "{check}: {found:#}");
        let checks = found["checks"].as_array().unwrap();
        let told = checks.iter().find(|finding| finding["check"] == check && finding["verdict"] == "problem");
        let told = told.unwrap_or_else(|| panic!("{check}: {found:#}"));
        let told = format!("{} -> {}", told["what"], told["advice"]);
        assert!(words.iter().all(|word| told.contains(word)), "{told}");
    };
    let devices = fs::read_to_string(world.config().join("devices.json")).unwrap();
    world.write("devices.json", "{");
    problem(&world, "config", &["not valid", "devices.json", "ior-bridge check"]);
    world.write("devices.json", &devices);

    let key = world.data().join("secret.key");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
    problem(&world, "permissions", &["others may read", "secret.key", "chmod"]);
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();

    let ca = fs::read(world.data().join("ca/ca.crt")).unwrap();
    fs::write(world.data().join("ca/ca.crt"), "nonsense").unwrap();
    problem(&world, "certificate", &["ca.crt", "backup"]);
    fs::write(world.data().join("ca/ca.crt"), ca).unwrap();

    let store = world.store().join("store.db");
    let whole = fs::read(&store).unwrap();
    fs::write(&store, &whole[..1_000]).unwrap();
    problem(&world, "store", &["cut off", "store verify"]);
    fs::write(&store, whole).unwrap();

    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    world.set_env("IOR_BRIDGE__MQTT__LISTEN", &taken.local_addr().unwrap().to_string());
    problem(&world, "ports", &["mqtt.listen", "another program has it"]);
    drop(taken);
    assert_eq!(doctor(&world).0, Some(0));

    world.set_env("IOR_BRIDGE__HOST", "nobody.invalid");
    let (status, found) = doctor(&world);
    assert_eq!((status, verdict(&found, "host name")), (Some(0), vec!["warning".to_owned()]), "{found:#}");
}

#[test]
fn what_waits_is_counted_by_session_and_flow() {
    let bridge = World::durable().start();
    let from = bridge.credentials("connection-1", End::From);
    let to = bridge.credentials("connection-1", End::To);
    let away = Connect::new("away").persistent(V5);
    let mut subscriber = bridge.connect_with(V5, &to, away).0;
    subscriber.subscribe(&to.subscribe, 1);
    subscriber.disconnect();
    let mut publisher = bridge.connect(V5, &from);
    for number in 0..7 {
        publisher.publish(&from.publish, number.to_string(), 1);
    }
    publisher.publish_retained(&format!("{}/kept", from.publish), "kept", 1);
    let flow = "default/connection-1/4569";
    let check = |world: &World, is_running: bool| {
        let report: Value =
            serde_json::from_str(&succeeded(&world.run(&["store", "stats", "--json"]))).unwrap();
        assert_eq!((&report["running"], &report["retained"]["messages"]), (&is_running.into(), &1.into()));
        let session = &report["sessions"][0];
        assert_eq!(
            (session["client_id"].as_str(), &session["flows"][flow]["messages"]),
            (Some("away"), &8.into())
        );
        let text = succeeded(&world.run(&["store", "stats"]));
        assert!(text.contains("Retained messages: 1 ") && text.contains("DEVICE"), "{text}");
        let row = text.lines().find(|line| line.contains(flow)).unwrap_or_else(|| panic!("{text}"));
        assert_eq!(row.split_whitespace().collect::<Vec<_>>()[..4], ["default.5412", "away", flow, "8"]);
        assert!(text.lines().skip(1).all(|line| line.len() <= 80), "{text}");
    };
    check(bridge.world(), true);
    let (_, world) = bridge.stop();
    check(&world, false);
    let nothing = World::durable().run(&["store", "stats"]);
    assert_eq!(nothing.status.code(), Some(1));
}

#[test]
fn looking_at_the_ports_of_a_running_bridge_is_no_refused_connection() {
    let ports: Vec<_> = (0..3).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
    let addrs: Vec<_> = ports.iter().map(|port| port.local_addr().unwrap().to_string()).collect();
    drop(ports);
    let mut world = World::durable();
    for (name, addr) in ["MQTT", "MQTTS", "WEBSOCKET"].iter().zip(&addrs) {
        world.set_env(&format!("IOR_BRIDGE__{name}__LISTEN"), addr);
    }
    let bridge = world.start();
    let before = bridge.log();
    let (status, found) = doctor(bridge.world());
    assert_eq!(status, Some(0), "{found:#}");
    assert!(addrs.iter().all(|addr| what(&found, "ports").contains(&format!("{addr} is open"))), "{found:#}");
    let report: Value = serde_json::from_str(&bridge.world().succeed(&["status", "--json"])).unwrap();
    assert_eq!(report["totals"]["refused_connections"], 0);
    assert_eq!(bridge.log(), before);

    // One that the configuration names, and the bridge does not have.
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let elsewhere = taken.local_addr().unwrap().to_string();
    let mut asking = bridge.world().command(&["doctor", "--json"]);
    let done = asking.env("IOR_BRIDGE__MQTT__LISTEN", &elsewhere).output().unwrap();
    let found: Value = serde_json::from_slice(&done.stdout).unwrap();
    assert!(
        what(&found, "ports").contains(&format!("does not listen on {elsewhere} (mqtt.listen)")),
        "{found:#}"
    );
}

#[test]
fn a_bridge_that_refuses_messages_is_a_problem() {
    let (world, faults) = Faults::of(World::durable());
    let bridge = world.start();
    let (from, to) =
        (bridge.credentials("connection-1", End::From), bridge.credentials("connection-1", End::To));
    let mut subscriber = bridge.connect_with(V5, &to, Connect::new("away").persistent(V5)).0;
    subscriber.subscribe(&to.subscribe, 1);
    subscriber.disconnect();
    faults.set("write ENOSPC");
    let mut publisher = bridge.connect(V5, &from);
    publisher.send(Publish::new(&from.publish, "refused").qos(1, 1));
    assert_eq!(publisher.expect_ack(Kind::PubAck, 1).reason, 0x97);
    let (status, found) = doctor(bridge.world());
    assert_eq!((status, verdict(&found, "store")), (Some(1), vec!["problem".to_owned()]), "{found:#}");
    assert!(what(&found, "store").contains("refused now"), "{found:#}");
    faults.clear();
    bridge.says(&["messages are kept again"]);
    assert_eq!(doctor(bridge.world()).0, Some(0));
}

#[test]
fn what_many_restores_have_kept_is_told_with_its_size() {
    let (_, world) = World::durable().start().stop();
    let place = tempfile::TempDir::new().unwrap();
    let file = place.path().join("backup").display().to_string();
    world.succeed(&["backup", &file]);
    for _ in 0..3 {
        assert_eq!(verdict(&doctor(&world).1, "old data"), Vec::<String>::new());
        assert!(world.succeed(&["restore", &file, "--yes"]).contains("Remove that once"));
    }
    let (status, found) = doctor(&world);
    assert_eq!((status, verdict(&found, "old data")), (Some(0), vec!["warning".to_owned()]), "{found:#}");
    assert!(
        what(&found, "old data").contains("before-restore-")
            && what(&found, "old data").contains("3 restores")
    );
}

fn doctor(world: &World) -> (Option<i32>, Value) {
    let done = world.run(&["doctor", "--json"]);
    (done.status.code(), serde_json::from_slice(&done.stdout).unwrap())
}

fn findings<'a>(found: &'a Value, check: &'a str) -> impl Iterator<Item = &'a Value> {
    found["checks"].as_array().unwrap().iter().filter(move |finding| finding["check"] == check)
}

fn verdict(found: &Value, check: &str) -> Vec<String> {
    findings(found, check).map(|finding| finding["verdict"].as_str().unwrap().to_owned()).collect()
}

fn what(found: &Value, check: &str) -> String {
    findings(found, check).map(|finding| finding["what"].as_str().unwrap()).collect()
}

#[track_caller]
fn succeeded(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout.clone()).unwrap()
}
