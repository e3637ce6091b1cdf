//! The bridge as a service, with a stand-in for the manager: what it tells it and when, and what its watchdog notices.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::{
    os::unix::process::CommandExt,
    process::{Command, Output, Stdio},
    time::Duration,
};

use ior_tests::{Bridge, DEADLINE, End, Manager, World, faults, process::Process, raw::Version::V5};

/// Longer than any test lasts.
const RARELY: Duration = Duration::from_secs(600);

#[test]
fn it_is_ready_after_the_self_test_when_devices_can_connect() {
    let manager = Manager::new();
    let world = manager.of(World::empty(), RARELY);
    let mut command = world.command(&["run"]);
    let process = Process::start(&mut command);
    let told = manager.wait_for("READY=1", DEADLINE);
    assert_eq!(told, ["READY=1", "STATUS=0 of 4 devices online", "WATCHDOG_USEC=600000000"]);
    let ready = process.wait_for("ready line", DEADLINE, |line| {
        line.split_once("ready: mqtt ").map(|(_, rest)| rest.split(',').next().unwrap().to_owned())
    });
    // At once, without another try.
    std::net::TcpStream::connect(ready).unwrap();
    assert!(process.log().contains("self-test passed"), "{}", process.log());
}

#[test]
fn what_cannot_serve_is_never_ready() {
    if !faults::may_mount("what_cannot_serve_is_never_ready") {
        return;
    }
    let manager = Manager::new();
    let world = manager.of(World::empty(), RARELY);
    world.write("devices.json", "{");
    assert_eq!(world.start_fails().0.code(), Some(2));
    let world = manager.of(World::empty(), RARELY).env("IOR_BRIDGE__MQTT__LISTEN", "0.0.0.0:0");
    // A network of its own without a loopback interface: the self-test cannot be made.
    let bridge = world.command(&["run"]);
    let mut alone = Command::new("unshare");
    alone.arg("--net").arg(bridge.get_program()).args(bridge.get_args());
    alone.envs(bridge.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let mut process = Process::start(&mut alone);
    assert_eq!(process.wait(DEADLINE).code(), Some(1), "{}", process.log());
    assert!(process.log().contains("the self-test failed"), "{}", process.log());
    let told = manager.hears(Duration::from_millis(1));
    assert!(told.is_empty(), "{told:?}");
}

#[test]
fn the_status_follows_the_devices() {
    let manager = Manager::new();
    let bridge = manager.of(World::empty(), RARELY).start();
    manager.wait_for("READY=1", DEADLINE);
    let client = bridge.connect(V5, &bridge.credentials("connection-1", End::From));
    manager.wait_for("STATUS=1 of 4 devices online", DEADLINE);
    client.disconnect();
    manager.wait_for("STATUS=0 of 4 devices online", DEADLINE);
}

#[test]
fn a_reload_is_told_and_the_command_waits_for_it() {
    let manager = Manager::new();
    let bridge = manager.of(World::empty(), RARELY).start();
    let reload = || bridge.world().run(&["reload"]);
    let out = |output: &Output| String::from_utf8_lossy(&output.stdout).into_owned();
    let unchanged = reload();
    assert_eq!(out(&unchanged), "configuration reloaded: nothing has changed\n");
    manager.wait_for("READY=1", DEADLINE);

    let devices = bridge.world().config().join("devices.json");
    let text = std::fs::read_to_string(&devices).unwrap();
    std::fs::write(&devices, text.replace("Master 1", "Master One")).unwrap();
    let renamed = reload();
    assert!(renamed.status.success(), "{renamed:?}");
    let told = manager.wait_for("RELOADING=1", DEADLINE);
    assert!(told[1].starts_with("MONOTONIC_USEC="), "{told:?}");
    manager.wait_for("READY=1", DEADLINE);
    assert!(bridge.log().contains("device renamed: Master One (4569)"), "{}", bridge.log());

    std::fs::write(&devices, "{").unwrap();
    let refused = reload();
    let said = String::from_utf8_lossy(&refused.stderr);
    assert_eq!(refused.status.code(), Some(1), "{said}");
    assert!(said.contains("what ran before goes on") && said.contains("devices.json:1:2"), "{said}");
    bridge.connect(V5, &bridge.credentials("connection-1", End::From)).disconnect();

    let world = {
        let (status, world) = bridge.stop();
        assert!(status.success());
        world
    };
    manager.wait_for("STOPPING=1", DEADLINE);
    let gone = world.run(&["reload", "--json"]);
    assert_eq!(gone.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&gone.stderr).contains("no bridge is running with the configuration"));
}

#[test]
fn it_says_that_it_is_alive_unless_it_stands_still() {
    let manager = Manager::new();
    let bridge = manager.of(World::empty(), Duration::from_millis(600)).start();
    for _ in 0..3 {
        manager.wait_for("WATCHDOG=1", DEADLINE);
    }
    bridge.process().pause();
    // What it had told before.
    manager.hears(Duration::from_millis(1));
    assert_eq!(manager.hears(Duration::from_secs(1)), [""; 0]);
    bridge.process().resume();
    manager.wait_for("WATCHDOG=1", DEADLINE);
    // Nobody sees who travels there.
    let who = bridge.credentials("connection-1", End::From);
    bridge.assert_unharmed(&who);
    assert!(!bridge.log().contains("watchdog"), "{}", bridge.log());
}

#[test]
fn a_restore_is_no_stop_and_the_watchdog_waits_for_it() {
    let manager = Manager::new();
    let bridge = manager.of(World::empty(), Duration::from_secs(3)).start();
    manager.wait_for("READY=1", DEADLINE);
    let file = bridge.world().config().with_file_name("backup.tar.gz");
    let backed_up = bridge.world().run(&["backup", file.to_str().unwrap()]);
    assert!(backed_up.status.success(), "{backed_up:?}");
    let restored = bridge.world().run(&["restore", file.to_str().unwrap(), "--yes"]);
    assert!(restored.status.success(), "{restored:?}");
    let told = manager.wait_for("RELOADING=1", DEADLINE);
    assert!(told.contains(&"WATCHDOG_USEC=1800000000".to_owned()), "{told:?}");
    let told = manager.wait_for("READY=1", DEADLINE);
    assert!(told.contains(&"WATCHDOG_USEC=3000000".to_owned()), "{told:?}");
    manager.wait_for("WATCHDOG=1", DEADLINE);
    bridge.end();
    manager.wait_for("STOPPING=1", DEADLINE);
}

#[test]
fn a_live_lane_that_hangs_ends_the_process() {
    let said = ends_without("router-");
    assert!(said.contains("the watchdog: no QoS 0 message came through the live lane for 15 s"), "{said}");
}

#[test]
fn workers_that_hang_end_the_process() {
    let said = ends_without("tokio-rt-worker");
    assert!(
        said.contains("the watchdog: no message came through the broker on either lane for 15 s"),
        "{said}"
    );
}

/// Has all threads stand still whose names begin so, and gives what the bridge said until it ended.
fn ends_without(threads: &str) -> String {
    let manager = Manager::new();
    let world = manager.of(World::empty(), Duration::from_secs(3));
    // Only the parent of a process may stop its threads, where the system is strict.
    let holder = concat!(env!("CARGO_MANIFEST_DIR"), "/faults/hold.py");
    let bridge = world.command(&["run"]);
    let mut command = Command::new("python3");
    command.arg(holder).arg(threads).arg(bridge.get_program()).args(bridge.get_args());
    command.envs(bridge.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command.process_group(0);
    let mut process = Process::start(&mut command);
    manager.wait_for("WATCHDOG=1", DEADLINE);
    process.hang_up();
    process.wait_for("standing threads", DEADLINE, |line| line.contains("they stand still").then_some(()));
    assert_eq!(process.wait(Duration::from_secs(60)).code(), Some(1), "{}", process.log());
    process.log()
}

#[test]
fn a_key_that_only_root_may_read_is_handed_over_as_a_credential() {
    let credentials = tempfile::tempdir().unwrap();
    let pair = ior_tests::tls::Authority::new("operator").sign("localhost", 60);
    std::fs::write(credentials.path().join("mqtts.key"), &pair.key).unwrap();
    let world = World::empty().env("CREDENTIALS_DIRECTORY", credentials.path().to_str().unwrap());
    world.write("cert.pem", &pair.cert);
    world.write(
        "server.json",
        r#"{ "host": "localhost", "mqtts": { "cert": "config/cert.pem", "key": "credential:mqtts.key" } }"#,
    );
    let bridge = world.start();
    bridge.says(&["TLS: ", "mqtts.cert"]);
}

#[test]
fn the_journal_gets_fields_and_lines_with_priorities_where_it_cannot_be_reached() {
    if !faults::may_mount("the_journal_gets_fields_and_lines_with_priorities_where_it_cannot_be_reached") {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let journal = std::os::unix::net::UnixDatagram::bind(directory.path().join("socket")).unwrap();
    journal.set_read_timeout(Some(DEADLINE)).unwrap();
    let start = |world: &World| {
        let bridge = world.command(&["run"]);
        let mut command = Command::new("unshare");
        // A /run of its own, with the stand-in for the journal, to which standard error is said to lead.
        command.args(["--mount", "sh", "-ec"]).arg(
            "mount -t tmpfs tmpfs /run; mkdir -p /run/systemd/journal; mount --bind \"$1\" /run/systemd/journal; shift
             JOURNAL_STREAM=$(stat -Lc %d:%i /proc/self/fd/2) exec \"$@\"",
        );
        command.arg("sh").arg(directory.path()).arg(bridge.get_program()).args(bridge.get_args());
        command.envs(bridge.get_envs().filter_map(|(name, value)| Some((name, value?))));
        command.stdin(Stdio::null());
        Process::start(&mut command)
    };
    let world = World::empty().answering_at_once();
    let process = start(&world);
    let ready = loop {
        let entry = Entry::receive(&journal);
        if let Some(("", rest)) = entry.message.split_once("ready: mqtt ") {
            break rest.split(',').next().unwrap().to_owned();
        }
    };
    let mut client = ior_tests::raw::Client::open(ready.parse().unwrap(), V5);
    client.send(ior_tests::raw::Connect::new("x").user_name("default.4569").password("wrong"));
    client.expect_connack();
    let entry = loop {
        let entry = Entry::receive(&journal);
        if entry.message.contains("wrong password") {
            break entry;
        }
    };
    let field = |name: &str| entry.fields.iter().find(|(field, _)| field == name).map(|(_, value)| &**value);
    for (name, value) in [
        ("PRIORITY", "4"),
        ("DEVICE", "default.4569"),
        ("PEER", "127.0.0.1"),
        ("REASON", "bad_user_name_or_password"),
        ("SYSLOG_IDENTIFIER", "ior-bridge"),
    ] {
        assert_eq!(field(name), Some(value), "{:?}", entry.fields);
    }
    assert_eq!((field("CLIENT_ID"), field("TOPIC")), (None, None));
    assert_eq!(process.log(), "", "nothing twice");
    drop(process);

    drop(journal);
    let process = start(&world);
    process.wait_for("ready line", DEADLINE, |line| line.starts_with("<6>ready: mqtt ").then_some(()));
    drop(process);
    world.write("devices.json", "{");
    let mut process = start(&world);
    assert_eq!(process.wait(DEADLINE).code(), Some(2));
    let log = process.log();
    assert!(log.lines().count() > 3 && log.lines().all(|line| line.starts_with("<3>")), "{log}");
}

/// An entry as it is sent to the journal.
struct Entry {
    message: String,
    fields: Vec<(String, String)>,
}

impl Entry {
    #[track_caller]
    fn receive(journal: &std::os::unix::net::UnixDatagram) -> Self {
        let mut bytes = vec![0; 1 << 16];
        let length = journal.recv(&mut bytes).expect("an entry in time");
        let mut rest = &bytes[..length];
        let mut fields = Vec::new();
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            let name = String::from_utf8(rest[..end].to_vec()).unwrap();
            rest = &rest[end + 1..];
            if let Some((name, value)) = name.split_once('=') {
                fields.push((name.to_owned(), value.to_owned()));
                continue;
            }
            let (size, behind) = rest.split_first_chunk().unwrap();
            let (value, behind) = behind.split_at(usize::try_from(u64::from_le_bytes(*size)).unwrap());
            fields.push((name, String::from_utf8(value.to_vec()).unwrap()));
            rest = &behind[1..];
        }
        let message = fields.iter().find(|(name, _)| name == "MESSAGE").map(|(_, value)| value.clone());
        Self { message: message.unwrap_or_default(), fields }
    }
}

#[test]
fn json_carries_the_fields_and_text_does_not_repeat_them() {
    for format in ["json", "text"] {
        let world = World::empty().answering_at_once().env("IOR_BRIDGE__LOG__FORMAT", "text");
        let process = Process::start(&mut world.command(&["run", "--log-format", format]));
        let ready = process.wait_for("ready line", DEADLINE, |line| {
            let (_, rest) = line.split_once("ready: mqtt ")?;
            Some(rest.split(',').next().unwrap().to_owned())
        });
        let bridge_end = world.data().join("credentials/default/connection-1/from.json");
        let who = ior_tests::Credentials::read(&bridge_end, ready.parse().unwrap());
        let mut client = ior_tests::raw::Client::open(who.login.addr, V5);
        let connect = ior_tests::raw::Connect::new("robot").user_name(&who.login.username);
        client.send(connect.password(&who.login.password));
        client.expect_connack();
        let line = process
            .wait_for("login", DEADLINE, |line| line.contains("connected from").then(|| line.to_owned()));
        if format == "text" {
            assert!(line.ends_with("with MQTT 5, client id \"robot\""), "{line}");
            continue;
        }
        let entry: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(entry["level"], "INFO");
        assert_eq!((&entry["device"], &entry["client_id"]), (&"default.4569".into(), &"robot".into()));
        assert!(entry["message"].as_str().unwrap().starts_with("Master 1 (4569) connected from"), "{entry}");
        assert!(entry["peer"].as_str().unwrap().starts_with("127.0.0.1:"), "{entry}");
    }
}

#[test]
fn without_a_manager_nothing_is_told_and_nobody_misses_it() {
    let bridge = Bridge::start();
    assert!(!bridge.log().contains("service manager"), "{}", bridge.log());
}
