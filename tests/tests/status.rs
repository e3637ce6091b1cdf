//! `status`, `devices` and `connections`: what they show of a running bridge, and of the files alone.
//!
//! `IOR_UPDATE_GOLDEN=1` writes the reviewed text again.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::{
    fs,
    os::unix::fs::{FileTypeExt, PermissionsExt},
    path::Path,
    process::{Command, Output, Stdio},
    time::{Duration, SystemTime},
};

use ior_tests::{
    Bridge, Channel, Credentials, End, World, binary,
    clients::{Subscription, Tool},
    raw::{Connect, Kind, Publish, Version::V5},
};
use serde_json::{Value, json};

#[test]
fn what_is_shown_of_a_running_bridge_is_as_reviewed() {
    let bridge = two_users().start();
    let [from, to] = ends(&bridge);
    // Gone again, with a session that stays.
    drop(
        Tool::Mosquitto(V5)
            .subscribe(&to.login, Subscription { filter: &to.subscribe, qos: 1, persistent: true }),
    );
    wait_until(&bridge, |status| status["devices"][1]["online"] == false);
    let mut client = bridge.connect_with(V5, &from, Connect::new("boiler").keep_alive(30)).0;
    for id in 1..=3 {
        client.send(Publish::new(&format!("{}/heat", from.publish), b"21.5").qos(1, id));
        client.expect_success(Kind::PubAck, id);
    }
    client.send(Publish::new("eva/door/1", b"open").qos(1, 4));
    assert_eq!(client.expect_ack(Kind::PubAck, 4).reason, 0x87);
    wait_until(&bridge, |status| status["store"]["commits"].as_u64() > Some(0));

    let mut shown = String::new();
    for arguments in [
        &["status"][..],
        &["devices"],
        &["devices", "4569"],
        &["devices", "Slave 1"],
        &["connections"],
        &["connections", "connection-1"],
    ] {
        let text = succeeded(&bridge.world().run(arguments));
        for line in text.lines() {
            let path = line.contains('/') && !line.contains("  ");
            assert!(line.chars().count() <= 80 || path, "too wide: {line}");
        }
        assert!(!text.contains('\x1b'), "{text}");
        shown += &format!("$ ior-bridge {}\n{}\n", arguments.join(" "), still(&text));
    }
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/status.txt");
    if std::env::var_os("IOR_UPDATE_GOLDEN").is_some() {
        fs::write(&golden, &shown).unwrap();
    }
    assert_eq!(shown, fs::read_to_string(golden).unwrap(), "\n{shown}");
}

#[test]
fn the_report_for_programs_tells_everything() {
    let mut bridge = two_users().start();
    bridge = bridge.over(Channel::WebSocketTls);
    let started = SystemTime::now();
    let [from, to] = ends(&bridge);
    let mut hears = bridge.connect_with(V5, &to, Connect::new("hears").keep_alive(60)).0;
    hears.subscribe(&to.subscribe, 2);
    let mut tells = bridge.connect(V5, &from);
    tells.publish(&from.publish, "12345", 1);
    hears.expect_message();
    let status = wait_until(&bridge, |status| status["devices"][1]["sent"]["messages"] == 1);

    assert_eq!(status["bridge"]["pid"], bridge.process().id());
    assert_eq!(status["bridge"]["version"], env!("CARGO_PKG_VERSION"));
    let config = bridge.world().config().canonicalize().unwrap();
    assert_eq!(status["bridge"]["config"], config.display().to_string());
    assert!(age(&status["bridge"]["started"]) < Duration::from_secs(120), "{}", status["bridge"]);
    let names: Vec<_> =
        status["listeners"].as_array().unwrap().iter().map(|one| one["name"].clone()).collect();
    assert_eq!(names, ["mqtt", "mqtts", "websocket", "web"]);
    assert_eq!(status["store"]["durability"], "fsync");
    assert!(status["store"]["bytes"].as_u64() > Some(0) && status["store"]["failing"].is_null());
    assert_eq!(status["totals"]["received"], 1);
    assert_eq!((&status["totals"]["devices_online"], &status["totals"]["denied"]), (&json!(2), &json!(0)));

    let device = &status["devices"][1];
    assert_eq!(
        (&device["code"], &device["user"], &device["username"]),
        (&json!(5412), &json!("default"), &json!("default.5412"))
    );
    assert_eq!((&device["online"], &device["connections"]), (&json!(true), &json!(["connection-1"])));
    assert_eq!(device["sent"], json!({ "messages": 1, "bytes": 5 }));
    assert!(age(&device["last_seen"]) < started.elapsed().unwrap() + Duration::from_secs(5), "{device}");
    let session = &device["sessions"][0];
    assert_eq!((&session["client_id"], &session["protocol"]), (&json!("hears"), &json!("5")));
    assert_eq!((&session["transport"], &session["keep_alive"]), (&json!("WebSocket over TLS"), &json!(60)));
    assert_eq!((&session["subscriptions"], &session["kept"]), (&json!(1), &json!(false)));
    assert!(session["address"].as_str().unwrap().starts_with("127.0.0.1:"), "{session}");

    let connection = &status["connections"][0];
    assert_eq!(connection["from_to"]["published"], json!({ "messages": 1, "bytes": 5 }));
    assert!(age(&connection["from_to"]["last"]) < Duration::from_secs(60));
    assert_eq!(connection["to_from"]["published"]["messages"], 0);
    assert!(connection["to_from"]["last"].is_null());

    // One of them, and all of them.
    let one = report(&bridge, &["devices", "default.5412", "--json"]);
    assert_eq!(one["sessions"][0]["client_id"], "hears");
    let all = report(&bridge, &["devices", "--json"]);
    assert_eq!((&all["running"], all["devices"].as_array().unwrap().len()), (&json!(true), 3));
    assert_eq!(report(&bridge, &["connections", "--json"])["connections"][0]["id"], "connection-1");
    assert_eq!(report(&bridge, &["connections", "Connection 1", "--json"])["from"]["code"], 4569);
}

#[test]
fn how_long_messages_take_is_told_once_the_other_end_has_acknowledged_one() {
    let bridge = two_users().start();
    let [from, to] = ends(&bridge);
    assert_eq!(status(&bridge)["connections"][0]["from_to"]["latency"], Value::Null);
    let mut hears = bridge.connect(V5, &to);
    hears.subscribe(&to.subscribe, 2);
    let mut says = bridge.connect(V5, &from);
    for qos in [1, 2] {
        says.publish(&from.publish, "x", qos);
        hears.expect_message();
    }
    let told = |status: &Value| status["connections"][0]["from_to"]["latency"].clone();
    let latency = told(&wait_until(&bridge, |status| !told(status).is_null()));
    let [last, mean, max] = ["last", "mean", "max"].map(|which| latency[which].as_f64().unwrap());
    assert!(0.0 < last && last <= max && mean <= max, "{latency}");
    assert_eq!(status(&bridge)["connections"][0]["to_from"]["latency"], Value::Null);
    let text = succeeded(&bridge.world().run(&["connections", "connection-1"]));
    assert!(text.contains(" ms on average and ") && text.contains("latency    not known yet"), "{text}");
}

#[test]
fn nothing_of_the_self_test_is_counted() {
    let bridge = two_users().start();
    let status = status(&bridge);
    for counter in ["received", "denied", "dropped", "refused_connections", "sessions", "connected"] {
        assert_eq!(status["totals"][counter], 0, "{counter} in {status:#}");
    }
    for device in status["devices"].as_array().unwrap() {
        assert_eq!(device["received"]["messages"], 0, "{device}");
        assert!(device["last_seen"].is_null(), "{device}");
    }
    assert_eq!(status["connections"][0]["from_to"]["published"]["messages"], 0);
    assert_eq!(status["totals"]["limits"], json!({}));
}

#[test]
fn without_a_bridge_the_files_are_shown_and_status_says_how_to_start_one() {
    let world = two_users();
    let none = world.run(&["status"]);
    assert_eq!(none.status.code(), Some(1));
    let said = String::from_utf8(none.stderr).unwrap();
    assert!(said.contains("no bridge is running") && said.contains("systemctl start ior-bridge"), "{said}");

    let devices = world.run(&["devices"]);
    let said = String::from_utf8(devices.stderr.clone()).unwrap();
    assert!(said.contains("no bridge is running: this is what the files in"), "{said}");
    let text = succeeded(&devices);
    assert!(text.contains("eva.1   Door      Lock") && !text.contains("never seen"), "{text}");
    let all: Value = serde_json::from_str(&succeeded(&world.run(&["devices", "--json"]))).unwrap();
    assert_eq!((&all["running"], &all["devices"][0].get("online")), (&json!(false), &None));
    let text = succeeded(&world.run(&["connections", "connection-1"]));
    assert!(text.contains("topic      default/connection-1/4569 and below"), "{text}");

    for arguments in [["devices", "4596"], ["connections", "conection-1"]] {
        let unknown = world.run(&arguments);
        assert_eq!(unknown.status.code(), Some(2), "{arguments:?}");
        let said = String::from_utf8(unknown.stderr).unwrap();
        assert!(said.contains("did you mean"), "{said}");
    }
}

#[test]
fn a_broken_file_does_not_hide_the_running_bridge() {
    let bridge = two_users().start();
    bridge.after("configuration not reloaded", || bridge.world().write("devices.json", "{"));
    succeeded(&bridge.world().run(&["status"]));
    assert!(succeeded(&bridge.world().run(&["devices"])).contains("Master 1"));
    assert!(succeeded(&bridge.world().run(&["connections"])).contains("connection-1"));
}

#[test]
fn what_kill_left_behind_is_no_bridge_and_the_next_start_works() {
    let bridge = two_users().start();
    let socket = bridge.world().data().join("control.sock");
    assert_eq!(fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o660);
    let world = bridge.kill();
    assert!(fs::symlink_metadata(&socket).unwrap().file_type().is_socket(), "nobody removed it");
    assert_eq!(world.run(&["status"]).status.code(), Some(1));
    assert!(succeeded(&world.run(&["devices"])).contains("4569"));
    let bridge = world.start();
    succeeded(&bridge.world().run(&["status"]));
    let (_, world) = bridge.stop();
    assert!(!world.data().join("control.sock").exists(), "a clean end removes it");
}

#[test]
fn the_socket_is_found_wherever_it_is() {
    let elsewhere = tempfile::tempdir().unwrap();
    let long = elsewhere.path().join("r".repeat(150));
    fs::create_dir(&long).unwrap();
    for runtime in [elsewhere.path().join("run"), long] {
        // systemd gives several, separated by colons.
        let list = format!("{}:/nowhere", runtime.display());
        let bridge = two_users().env("RUNTIME_DIRECTORY", &list).start();
        assert!(fs::symlink_metadata(runtime.join("control.sock")).unwrap().file_type().is_socket());
        succeeded(&bridge.world().run(&["status"]));
        // Another bridge with a data directory of its own does not take it away.
        let (status, said) = two_users().env("RUNTIME_DIRECTORY", &list).start_fails();
        assert_eq!(status.code(), Some(1));
        assert!(said.contains("another ior-bridge answers at the socket"), "{said}");
        succeeded(&bridge.world().run(&["status"]));
    }
    let bridge = two_users().env("IOR_BRIDGE__DATA_DIR", "here:or there").start();
    succeeded(&bridge.world().run(&["status"]));
}

#[test]
fn who_may_not_open_the_socket_is_told_what_to_do() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let bridge = two_users().start();
    let world = bridge.world().config();
    // Everybody may read the configuration.
    fs::set_permissions(world.parent().unwrap(), fs::Permissions::from_mode(0o755)).unwrap();
    let bin = tempfile::tempdir().unwrap();
    fs::set_permissions(bin.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let program = bin.path().join("ior-bridge");
    fs::copy(binary(), &program).unwrap();
    let mut command = Command::new("setpriv");
    command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups"]).arg(&program);
    let denied = command.arg("--config").arg(&world).arg("status").current_dir("/").output().unwrap();
    let said = String::from_utf8(denied.stderr).unwrap();
    assert_eq!(denied.status.code(), Some(1), "{said}");
    assert!(said.contains("which you may not open: run this with sudo"), "{said}");
}

/// `status` and `watch` have nothing to tell; what stands in the files can be told.
#[test]
fn a_bridge_that_hangs_is_told_soon_and_does_not_hide_the_files() {
    let bridge = two_users().start();
    bridge.process().pause();
    let run = |arguments: &'static [&'static str]| bridge.world().run(arguments);
    let commands = [
        &["devices"][..],
        &["connections"],
        &["status"],
        &["watch"],
        &["store", "stats"],
        &["backup", "backup.tar.gz"],
    ];
    let outputs = std::thread::scope(|scope| {
        let running = commands.map(|arguments| scope.spawn(move || run(arguments)));
        running.map(|command| command.join().unwrap())
    });
    bridge.process().resume();
    for (arguments, output) in commands.iter().zip(&outputs) {
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.contains("the running bridge does not answer through"), "{arguments:?}: {said}");
        let in_files = matches!(arguments, ["devices"] | ["connections"]);
        assert_eq!(output.status.success(), in_files, "{arguments:?}: {said}");
        assert_eq!(said.contains("this is what the files in"), in_files, "{arguments:?}: {said}");
    }
    assert!(succeeded(&outputs[0]).contains("Master 1") && succeeded(&outputs[1]).contains("connection-1"));
}

#[test]
fn a_wide_terminal_is_used_and_a_pipe_is_not() {
    let world = World::durable();
    let name = "A name of sixty letters and more, which does not fit into eighty columns";
    world.configure(&json!([{ "code": 1, "name": name, "type": "Pi" }]), &json!([]));
    let command = format!("{} --config {} devices", binary().display(), world.config().display());
    let shown = |columns: u16| {
        let command = format!("stty cols {columns}; {command}");
        let mut script = Command::new("script");
        script.args(["--quiet", "--return", "--command", &command, "/dev/null"]);
        succeeded(&script.stdin(Stdio::null()).output().unwrap())
    };
    assert!(shown(160).contains(name), "{}", shown(160));
    for narrow in [shown(80), shown(40), succeeded(&world.run(&["devices"]))] {
        assert!(narrow.contains("A name of sixty") && !narrow.contains(name), "{narrow}");
    }
}

fn two_users() -> World {
    let devices = json!([
        { "code": 4569, "name": "Master 1", "type": "Raspberry Pi" },
        { "code": 5412, "name": "Slave 1", "type": "ESP32" },
        { "code": 1, "name": "Door", "type": "Lock", "user": "eva", "disabled": true },
    ]);
    let connections = json!([{ "name": "Connection 1", "from": 4569, "to": 5412 }]);
    let world = World::durable().env("IOR_BRIDGE__HOST", "pi.local");
    world.configure(&devices, &connections);
    world
}

fn ends(bridge: &Bridge) -> [Credentials; 2] {
    [End::From, End::To].map(|end| bridge.credentials("connection-1", end))
}

fn status(bridge: &Bridge) -> Value {
    report(bridge, &["status", "--json"])
}

#[track_caller]
fn report(bridge: &Bridge, arguments: &[&str]) -> Value {
    serde_json::from_str(&succeeded(&bridge.world().run(arguments))).unwrap()
}

/// The first status for which this holds.
#[track_caller]
fn wait_until(bridge: &Bridge, holds: impl Fn(&Value) -> bool) -> Value {
    let until = std::time::Instant::now() + ior_tests::DEADLINE;
    loop {
        let status = status(bridge);
        if holds(&status) {
            return status;
        }
        assert!(std::time::Instant::now() < until, "{status:#}");
    }
}

fn age(time: &Value) -> Duration {
    let time = humantime::parse_rfc3339(time.as_str().expect("a time")).unwrap();
    SystemTime::now().duration_since(time).unwrap_or_default()
}

#[track_caller]
fn succeeded(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// Without what is another at every time: addresses, moments, and how wide columns are because of them.
fn still(text: &str) -> String {
    let mut lines = Vec::new();
    for line in text.lines() {
        let indent = line.len() - line.trim_start().len();
        let mut words: Vec<String> = Vec::new();
        for word in line.split(' ').skip(indent).map(str::to_owned) {
            // A gap is as wide as two spaces.
            if !word.is_empty() || words.last().is_some_and(|last| !last.is_empty()) {
                words.push(word);
            }
        }
        let mut line = " ".repeat(indent) + &words.join(" ");
        for (before, value) in
            [("process ", "PID"), ("127.0.0.1:", "PORT"), ("online ", "TIME"), ("up ", "TIME")]
        {
            line = replace_number(&line, before, value);
        }
        line = line.replace("just now", "0 s ago");
        for words in line.clone().split(' ').collect::<Vec<_>>().windows(3) {
            if let [number, "s", "ago" | "ago,"] = words
                && number.parse::<u32>().is_ok()
            {
                line = line.replacen(&format!("{number} s ago"), "TIME ago", 1);
            }
        }
        if let Some((before, after)) = line.split_once("fsync, ") {
            let (_, written) = after.split_once(", written").expect("when it was written");
            line = format!("{before}fsync, SIZE, written{written}");
        }
        if let Some((before, after)) = line.split_once("since 20") {
            let (_, after) = after.split_once(' ').expect("words behind a moment");
            line = format!("{before}since MOMENT {after}");
        }
        lines.push(line.replace("(0 s ago", "(TIME ago") + "\n");
    }
    lines.concat()
}

/// With `value` for every number, and its unit if it is a time, that stands behind some words.
fn replace_number(line: &str, before: &str, value: &str) -> String {
    let mut parts = line.split(before);
    let mut replaced = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let rest = part.trim_start_matches(|c: char| c.is_ascii_digit());
        let rest_of_time = if rest == part { None } else { rest.strip_prefix(" s") };
        replaced += before;
        match (value, rest_of_time) {
            _ if rest == part => replaced += part,
            ("TIME", Some(rest)) => replaced += &format!("TIME{rest}"),
            _ => replaced += &format!("{value}{rest}"),
        }
    }
    replaced
}
