//! `remove`: devices and connections go by the command line, with all that was theirs and nothing else.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::{
    fs,
    io::Write,
    process::{Command, Stdio},
};

use ior_tests::{
    Bridge, Credentials, End, ON_BOTH_VERSIONS, World, binary,
    raw::{Connect, Kind, Publish, Version::V5},
};
use serde_json::{Value, json};

#[test]
fn a_connection_takes_exactly_its_own_along() {
    for version in ON_BOTH_VERSIONS {
        let bridge = world().start();
        let [one, two] = ends(&bridge, "a");
        let [four, three] = ends(&bridge, "b");
        let (mut away, _) = bridge.connect_persistent(version, &two);
        away.subscribe(&two.subscribe, 1);
        away.disconnect();
        let mut of_one = bridge.connect(version, &one);
        of_one.publish_retained(&one.publish, "kept", 1);
        of_one.publish(&one.publish, "waits", 1);
        let (mut of_three, mut of_four) = (bridge.connect(version, &three), bridge.connect(version, &four));
        of_four.subscribe(&four.subscribe, 1);
        of_three.publish(&three.publish, "before", 1);

        let before = read(bridge.world(), "connections.json");
        let said = bridge.world().succeed(&["remove", "connection", "A", "--yes"]);
        for words in [
            "default/a was removed from ",
            &format!("(process {}) has taken it up:\n", bridge.process().id()),
            "connection removed: default/a; gone with that: 1 subscription, 2 messages, 1 retained message.\n",
        ] {
            assert!(said.contains(words), "{said}");
        }
        let entry = "\n    { \"name\": \"A\", \"from\": 1, \"to\": 2 },";
        assert_eq!(read(bridge.world(), "connections.json"), before.replace(entry, ""));
        assert!(!bridge.world().data().join("credentials/default/a").exists());
        match version {
            V5 => {
                of_one.send(Publish::new(&one.publish, "refused").qos(1, 9));
                assert_eq!(of_one.expect_ack(Kind::PubAck, 9).reason, 0x87);
            }
            _ => {
                of_one.send(Publish::new(&one.publish, "refused").qos(1, 9));
                of_one.expect_closed();
            }
        }
        of_three.publish(&three.publish, "after", 1);
        of_four.expect_payload("before");
        of_four.expect_payload("after");

        // What is added anew brings nothing back.
        bridge.world().succeed(&["add", "connection", "1", "2", "--name", "A"]);
        let (mut away, resumed) = bridge.connect_persistent(version, &two);
        assert!(resumed);
        away.subscribe(&two.subscribe, 1);
        bridge.connect(version, &one).publish(&one.publish, "anew", 1);
        away.expect_payload("anew");
        away.expect_silence();
    }
}

#[test]
fn a_device_goes_with_its_connections_or_not_at_all() {
    let bridge = world().start();
    let before = ["devices.json", "connections.json"].map(|name| read(bridge.world(), name));
    let said = bridge.world().fail(2, &["remove", "device", "1", "--yes"]);
    for words in [
        "One (1) is still in connections:\n",
        "  connection default/a: One (1) with Two (2)\n",
        "  connection default/c: One (1) with Three (3)\n",
        "or add --with-connections; nothing was changed\n",
    ] {
        assert!(said.contains(words), "{said}");
    }
    assert_eq!(["devices.json", "connections.json"].map(|name| read(bridge.world(), name)), before);

    let [one, two] = ends(&bridge, "a");
    let (mut of_one, mut of_two) = (bridge.connect(V5, &one), bridge.connect(V5, &two));
    let report =
        bridge.world().succeed(&["remove", "device", "One", "--with-connections", "--yes", "--json"]);
    let report: Value = serde_json::from_str(&report).unwrap();
    let removed = json!({ "device": "default.1", "connections": ["default/a", "default/c"] });
    assert_eq!(report["removed"], removed);
    assert_eq!(report["pid"], bridge.process().id());
    // In this order, so that the configuration is valid in between.
    let files = report["configuration"].as_array().unwrap().iter().map(|file| file.as_str().unwrap());
    let names: Vec<_> = files.map(|file| file.rsplit('/').next().unwrap()).collect();
    assert_eq!(names, ["connections.json", "devices.json"]);
    of_one.expect_ended(0x98);
    of_two.expect_silence();
    let mut client = bridge.open(V5);
    client.send(Connect::new("x").user_name(&one.login.username).password(&one.login.password));
    assert_eq!(client.expect_connack().code, 0x86);
    assert!(bridge.world().data().join("credentials/default/b").exists());
    for gone in ["a", "c"] {
        assert!(!bridge.world().data().join("credentials/default").join(gone).exists());
    }

    // One that is in no connection goes just so.
    bridge.world().succeed(&["add", "device", "7"]);
    let said = bridge.world().succeed(&["remove", "device", "7", "--yes"]);
    assert!(said.contains("7 (7) was removed from ") && said.contains("device removed: 7 (7)"), "{said}");
}

#[test]
fn it_asks_first() {
    let world = world();
    let before = read(&world, "connections.json");
    let said = world.fail(2, &["remove", "connection", "a"]);
    assert!(said.contains("nobody can be asked here: add --yes"), "{said}");
    for answer in ["n", "", "nonsense"] {
        let (status, said) = on_a_terminal(&world, "remove connection a", answer);
        assert_eq!(status, 1, "{said}");
        for words in [
            "connection default/a: One (1) with Two (2)",
            "Messages that wait there are lost.",
            "Remove that? [y/N]",
            "not confirmed: nothing was changed",
        ] {
            assert!(said.contains(words), "{said}");
        }
        assert_eq!(read(&world, "connections.json"), before);
    }
    let (status, said) = on_a_terminal(&world, "remove device 1 --with-connections", "y");
    assert_eq!(status, 0, "{said}");
    for words in ["device One (1)", "may not log in any more", "default/a", "default/c", "were removed from"]
    {
        assert!(said.contains(words), "{said}");
    }
    let connections: Value = serde_json::from_str(&read(&world, "connections.json")).unwrap();
    assert_eq!(connections["connections"].as_array().unwrap().len(), 1);
}

#[test]
fn it_tells_how_many_messages_wait() {
    let bridge = world().start();
    let asked = |command| on_a_terminal(bridge.world(), command, "n").1;
    let said = asked("remove connection a");
    assert!(said.contains("No message waits there now."), "{said}");
    for connection in ["a", "c"] {
        let [from, to] = ends(&bridge, connection);
        let (mut away, _) = bridge.connect_persistent(V5, &to);
        away.subscribe(&to.subscribe, 1);
        away.disconnect();
        bridge.connect(V5, &from).publish(&from.publish, "waits", 1);
    }
    let said = asked("remove connection a");
    assert!(said.contains("The message that waits there now is lost."), "{said}");
    let said = asked("remove device 1 --with-connections");
    assert!(said.contains("2 messages that wait there now are lost."), "{said}");
}

/// Regression: no bridge saw that the connection was gone meanwhile, so what had waited in it was delivered.
#[test]
fn what_goes_and_comes_back_while_no_bridge_runs_brings_nothing_back() {
    let bridge = World::durable();
    configure(&bridge);
    let bridge = bridge.start();
    let [one, two] = ends(&bridge, "a");
    let (mut away, _) = bridge.connect_persistent(V5, &two);
    away.subscribe(&two.subscribe, 1);
    away.disconnect();
    bridge.connect(V5, &one).publish(&one.publish, "waits", 1);
    bridge.connect(V5, &one).publish_retained(&one.publish, "kept", 1);
    let (_, world) = bridge.stop();
    let said = world.succeed(&["remove", "connection", "a", "--yes"]);
    assert!(said.contains("No bridge is running"), "{said}");
    assert!(!world.data().join("credentials/default/a").exists());
    world.succeed(&["add", "connection", "1", "2", "--name", "A"]);
    let bridge = world.start();
    let (mut away, _) = bridge.connect_persistent(V5, &two);
    away.subscribe(&two.subscribe, 1);
    bridge.connect(V5, &one).publish(&one.publish, "anew", 1);
    away.expect_payload("anew");
    away.expect_silence();
}

#[test]
fn whoever_is_not_there_is_told_who_may_be_meant() {
    let world = world();
    let before = ["devices.json", "connections.json"].map(|name| read(&world, name));
    for (arguments, words) in [
        (&["connection", "d"][..], "no connection \"d\": did you mean \"a\"?"),
        (&["device", "Tree"], "no device \"Tree\": did you mean \"Three\"?"),
        (&["device", "2", "--user", "eva"], "no device \"2\" of the user \"eva\""),
        (&["device", "5"], "\"5\" may be default.5 or eva.5: write one of them"),
        (&["connection"], "required arguments were not provided"),
    ] {
        let said = world.fail(2, &[&["remove"], arguments].concat());
        assert!(said.contains(words), "{arguments:?}: {said}");
    }
    assert_eq!(["devices.json", "connections.json"].map(|name| read(&world, name)), before);
    world.succeed(&["remove", "device", "5", "--user", "eva", "--yes"]);
    let devices: Value = serde_json::from_str(&read(&world, "devices.json")).unwrap();
    assert_eq!(devices["devices"].as_array().unwrap().len(), 5);
}

fn world() -> World {
    let world = World::empty();
    configure(&world);
    world
}

fn configure(world: &World) {
    let device = |(code, name)| format!(r#"    {{ "code": {code}, "name": "{name}", "type": "t" }}"#);
    let devices = [(1, "One"), (2, "Two"), (3, "Three"), (4, "Four"), (5, "Five")].map(device).join(",\n");
    let of_eva = r#"    { "code": 5, "name": "Five", "type": "t", "user": "eva" }"#;
    world.write("devices.json", &format!("{{\n  \"devices\": [\n{devices},\n{of_eva}\n  ]\n}}\n"));
    let connection = |(name, from, to)| format!(r#"    {{ "name": "{name}", "from": {from}, "to": {to} }}"#);
    let connections = [("A", 1, 2), ("B", 4, 3), ("C", 1, 3)].map(connection).join(",\n");
    world.write("connections.json", &format!("{{\n  \"connections\": [\n{connections}\n  ]\n}}\n"));
}

fn read(world: &World, name: &str) -> String {
    fs::read_to_string(world.config().join(name)).unwrap()
}

fn ends(bridge: &Bridge, connection: &str) -> [Credentials; 2] {
    [End::From, End::To].map(|end| bridge.credentials(connection, end))
}

/// What a command says on a terminal where somebody types this, and its exit status.
fn on_a_terminal(world: &World, command: &str, typed: &str) -> (i32, String) {
    let config = world.config();
    let command = format!("{} --config {} {command}", binary().display(), config.display());
    let mut script = Command::new("script");
    script.args(["--quiet", "--return", "--command", &command, "/dev/null"]);
    script.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = script.spawn().unwrap();
    child.stdin.take().unwrap().write_all(format!("{typed}\n").as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    (output.status.code().unwrap(), String::from_utf8(output.stdout).unwrap())
}
