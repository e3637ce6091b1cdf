//! `watch`: what happens in the running bridge, as it happens.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::{
    io::{BufRead, BufReader, Write},
    os::unix::net::UnixStream,
    process::{Command, Stdio},
    time::Duration,
};

use ior_tests::{
    Bridge, Credentials, DEADLINE, End, World,
    clients::Tool,
    process::Process,
    raw::{Connect, Kind, Publish, Version::V5},
};
use serde_json::{Value, json};

#[test]
fn whoever_watches_sees_what_devices_do() {
    let bridge = Bridge::start();
    let watch = watch(&bridge, &[]);
    let [from, to] = ends(&bridge);
    Tool::Mosquitto(V5).publish(&from.login, &from.publish, 1, &[b"hi".to_vec()]);
    sees(&watch, &["Master 1 (4569) connected from 127.0.0.1:", "over TCP with MQTT 5, client id \""]);
    sees(&watch, &["Master 1 (4569) disconnected: the client said goodbye"]);

    let mut client = bridge.connect(V5, &to);
    client.send(Publish::new("default/connection-2/5648/\u{85}x", b"").qos(1, 1));
    assert_eq!(client.expect_ack(Kind::PubAck, 1).reason, 0x87);
    sees(&watch, &["Slave 1 (5412) may not publish to \"default/connection-2/5648/"]);

    let mut stranger = bridge.open(V5);
    stranger.send(Connect::new("x").user_name("default.4569").password("wrong"));
    stranger.expect_connack();
    sees(&watch, &["refused a connection from 127.0.0.1:", "wrong password"]);

    bridge.after("configuration not reloaded", || bridge.world().write("devices.json", "{"));
    sees(&watch, &["configuration not reloaded, what runs stays as it is:"]);
    assert!(!watch.log().contains('\x1b'), "{}", watch.log());
}

#[test]
fn programs_get_a_line_of_json_for_each_event() {
    let bridge = Bridge::start();
    let watch = watch(&bridge, &["--json"]);
    let [from, _] = ends(&bridge);
    let mut client = bridge.connect_with(V5, &from, Connect::new("a\"b")).0;
    client.send(Publish::new("default/connection-1/5412/x", b"").qos(1, 1));
    assert_eq!(client.expect_ack(Kind::PubAck, 1).reason, 0x87);
    client.disconnect();
    let [connected, denied, disconnected] =
        ["connected", "denied", "disconnected"].map(|kind| event(&watch, kind));
    for event in [&connected, &denied, &disconnected] {
        assert_eq!(
            (&event["username"], &event["device"]),
            (&json!("default.4569"), &json!("Master 1 (4569)"))
        );
        assert!(event["time"].as_str().unwrap().ends_with('Z'), "{event}");
    }
    assert_eq!(connected["client_id"], "a\"b");
    assert!(connected["peer"].as_str().unwrap().starts_with("127.0.0.1:"));
    assert_eq!(connected.get("topic"), None);
    assert_eq!(denied["topic"], "default/connection-1/5412/x");
    assert_eq!(denied["connection"], "default/connection-1");
}

#[test]
fn only_what_was_asked_for_is_told() {
    let bridge = Bridge::start();
    let device = watch(&bridge, &["--device", "Master 1"]);
    let connection = watch(&bridge, &["--connection", "connection-2"]);
    let kind = watch(&bridge, &["--kind", "denied", "--kind", "refused"]);
    sees(&device, &["watching ior-bridge", ", device default.4569; Ctrl-C ends this"]);
    sees(&connection, &[", connection default/connection-2; Ctrl-C"]);
    for (connection, end, peer) in [("connection-1", End::From, "5412"), ("connection-2", End::To, "5648")] {
        let who = bridge.credentials(connection, end);
        let mut client = bridge.connect(V5, &who);
        client.send(Publish::new(&format!("default/{connection}/{peer}"), b"").qos(1, 1));
        assert_eq!(client.expect_ack(Kind::PubAck, 1).reason, 0x87);
        client.disconnect();
    }
    // As its last event, each sees one that the others do not see before theirs.
    sees(&device, &["Master 1 (4569) disconnected"]);
    sees(&connection, &["Slave 2 (9036) disconnected"]);
    sees(&kind, &["Slave 2 (9036) may not publish"]);
    for (watch, others) in [(&device, "Slave 2"), (&connection, "Master 1"), (&kind, "connected")] {
        assert!(!watch.log().contains(others), "{}", watch.log());
    }
    assert!(kind.log().contains("Master 1 (4569) may not publish"), "{}", kind.log());

    for (arguments, words) in [
        (["watch", "--device", "Mastre 1"], "did you mean \"Master 1\"?"),
        (["watch", "--connection", "nowhere"], "no connection \"nowhere\""),
    ] {
        let output = bridge.world().run(&arguments);
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.code() == Some(1) && said.contains(words), "{said}");
    }
    assert_eq!(bridge.world().run(&["watch", "--kind", "missed"]).status.code(), Some(2));
}

#[test]
fn ctrl_c_ends_it_cleanly() {
    let bridge = Bridge::start();
    let mut watch = watch(&bridge, &[]);
    let done = Command::new("kill").args(["-INT", &watch.id().to_string()]).status().unwrap();
    assert!(done.success());
    assert_eq!(watch.wait(DEADLINE).code(), Some(0));
    assert_eq!(watch.log().lines().count(), 1, "{}", watch.log());
}

#[test]
fn the_end_of_the_bridge_is_told() {
    let bridge = Bridge::start();
    let mut seen = watch(&bridge, &[]);
    let (status, world) = bridge.stop();
    assert!(status.success());
    assert_eq!(seen.wait(DEADLINE).code(), Some(0));
    assert!(seen.log().contains("the bridge is stopping"), "{}", seen.log());

    let bridge = world.start();
    let mut seen = watch(&bridge, &[]);
    let world = bridge.kill();
    assert_eq!(seen.wait(DEADLINE).code(), Some(1));
    assert!(seen.log().contains("the bridge is gone"), "{}", seen.log());
    assert_eq!(world.run(&["watch"]).status.code(), Some(1), "nobody is there");
}

#[test]
fn a_reader_that_goes_away_ends_it() {
    let bridge = Bridge::start();
    let mut child =
        bridge.world().command(&["watch"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut greeting = String::new();
    BufReader::new(child.stderr.take().unwrap()).read_line(&mut greeting).unwrap();
    drop(child.stdout.take());
    bridge.connect(V5, &ends(&bridge)[0]).disconnect();
    assert!(child.wait().unwrap().success());
}

#[test]
fn who_reads_slowly_misses_events_and_is_told_how_many() {
    const EVENTS: u64 = 10_000;
    let bridge = World::empty().start();
    let mut slow = UnixStream::connect(bridge.world().data().join("control.sock")).unwrap();
    slow.set_read_timeout(Some(DEADLINE)).unwrap();
    slow.write_all(b"{\"request\":\"watch\",\"kinds\":[\"denied\",\"disconnected\"]}\n").unwrap();
    let [from, _] = ends(&bridge);
    let mut client = bridge.connect(V5, &from);
    let topic = format!("elsewhere/{}", "x".repeat(200));
    for _ in 0..EVENTS / 100 {
        for id in 1..=100 {
            client.send(Publish::new(&topic, b"").qos(1, id));
        }
        for id in 1..=100 {
            assert_eq!(client.expect_ack(Kind::PubAck, id).reason, 0x87);
        }
    }
    // The bridge is as it was.
    assert!(bridge.world().run(&["status"]).status.success());
    client.disconnect();

    let (mut told, mut missed) = (0, 0);
    let mut lines = BufReader::new(slow).lines();
    assert!(lines.next().unwrap().unwrap().contains("\"pid\""), "the answer comes first");
    for line in lines {
        let event: Value = serde_json::from_str(&line.unwrap()).unwrap();
        let event = &event["done"];
        match event["kind"].as_str().unwrap() {
            "denied" => told += 1,
            "missed" => missed += event["count"].as_u64().unwrap(),
            "disconnected" => break,
            _ => {}
        }
    }
    assert!(missed > 0 && told > 0, "{told} told, {missed} missed");
    // One that was missed may be that the client connected.
    let all = told + missed;
    assert!(all == EVENTS || all == EVENTS + 1, "{told} told, {missed} missed");
}

#[test]
fn so_many_may_watch_and_the_others_are_told() {
    const WATCHERS: usize = 32;
    let bridge = Bridge::start();
    let path = bridge.world().data().join("control.sock");
    let mut watching = Vec::new();
    for _ in 0..WATCHERS {
        let mut stream = UnixStream::connect(&path).unwrap();
        stream.write_all(b"{\"request\":\"watch\"}\n").unwrap();
        let mut reader = BufReader::new(stream);
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        assert!(line.contains("done"), "{line}");
        watching.push(reader);
    }
    let full = bridge.world().run(&["watch"]);
    let said = String::from_utf8(full.stderr).unwrap();
    assert!(full.status.code() == Some(1) && said.contains("end one of the others"), "{said}");
    assert!(bridge.world().run(&["status"]).status.success(), "there is always a place for that");
    // Whoever goes makes room, although nothing happens that it would have to be told.
    watching.pop();
    let until = std::time::Instant::now() + DEADLINE;
    loop {
        let mut stream = UnixStream::connect(&path).unwrap();
        stream.write_all(b"{\"request\":\"watch\"}\n").unwrap();
        let mut line = String::new();
        BufReader::new(stream).read_line(&mut line).unwrap();
        if line.contains("done") {
            break;
        }
        assert!(std::time::Instant::now() < until, "{line}");
    }
}

/// A running `watch` that is told already what happens.
#[track_caller]
fn watch(bridge: &Bridge, arguments: &[&str]) -> Process {
    let arguments = [&["watch"], arguments].concat();
    let process = Process::start(&mut bridge.world().command(&arguments));
    process.wait_for("greeting", DEADLINE * 4, |line| line.starts_with("watching ior-bridge").then_some(()));
    process
}

#[track_caller]
fn sees(watch: &Process, words: &[&str]) {
    let has_all = |line: &str| words.iter().all(|word| line.contains(word)).then_some(());
    watch.wait_for(&format!("line with {words:?}"), DEADLINE, has_all);
}

#[track_caller]
fn event(watch: &Process, kind: &str) -> Value {
    let is_it = |event: &Value| event["kind"] == kind;
    watch.wait_for(kind, Duration::from_secs(10), |line| serde_json::from_str(line).ok().filter(is_it))
}

fn ends(bridge: &Bridge) -> [Credentials; 2] {
    [End::From, End::To].map(|end| bridge.credentials("connection-1", end))
}
