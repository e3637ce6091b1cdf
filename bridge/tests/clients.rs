//! `pub`, `sub` and `latency` against mosquitto, on a free port of the loopback interface.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

const BRIDGE: &str = env!("CARGO_BIN_EXE_ior-bridge");

#[test]
fn sub_prints_what_pub_publishes() {
    let world = World::new("allow_anonymous true");
    for qos in ["0", "1", "2"] {
        let mut sub = world.subscribe(&["--count", "3", "--qos", qos]);
        sub.wait_until_subscribed(&world);
        world.publish(&["lamp/state", "on ü", "--qos", qos]).succeeds();
        world.publish(&[".", "-5", "--qos", qos]).succeeds();
        world.publish_bytes(&["raw", "-", "--qos", qos], b"a\n\xff\x1b").succeeds();
        assert_eq!(sub.lines(), ["lamp/state on ü", ". -5", r"raw a\n\xff\u{1b}"], "QoS {qos}");
    }
}

#[test]
fn sub_prints_json_and_the_kept_message() {
    let world = World::new("allow_anonymous true");
    world.publish(&["a/b", "kept", "--retain"]).succeeds();
    let lines = world.subscribe(&["a", "--count", "1", "--json"]).lines();
    let line: serde_json::Value = serde_json::from_str(&lines.concat()).unwrap();
    assert_eq!(
        line,
        serde_json::json!({
            "topic": "default/connection-1/4569/a/b", "subtopic": "a/b", "presence": false,
            "qos": 1, "retain": true, "payload": "kept"
        })
    );
}

#[test]
fn a_message_of_a_megabyte_arrives() {
    let world = World::new("allow_anonymous true");
    let mut sub = world.subscribe(&["--count", "1"]);
    sub.wait_until_subscribed(&world);
    world.publish_bytes(&["big", "-"], &vec![b'x'; 1 << 20]).succeeds();
    assert_eq!(sub.lines().concat().len(), "big ".len() + (1 << 20));
}

#[test]
fn sub_connects_and_subscribes_again() {
    let mut world = World::new("allow_anonymous true");
    let mut sub = world.subscribe(&["--count", "1"]);
    sub.wait_until_subscribed(&world);
    world.restart_broker();
    sub.wait_until_subscribed(&world);
    world.publish(&["x", "again"]).succeeds();
    assert_eq!(sub.lines(), ["x again"]);
}

#[test]
fn latency_counts_every_message() {
    let world = World::new("allow_anonymous true");
    for qos in ["0", "1", "2"] {
        let output = world.run(
            &["latency", "from.json", "to.json"],
            &["--count", "200", "--rate", "2000", "--json"],
            qos,
        );
        let report: serde_json::Value = serde_json::from_slice(&output.succeeds().stdout).unwrap();
        assert_eq!(
            (&report["sent"], &report["received"], &report["lost"]),
            (&200.into(), &200.into(), &0.into())
        );
        let counted: u64 =
            report["histogram"].as_array().unwrap().iter().map(|b| b["count"].as_u64().unwrap()).sum();
        assert_eq!(counted, 200);
        assert!(report["latency_us"]["p50"].as_u64() <= report["latency_us"]["max"].as_u64());
    }
}

#[test]
fn a_login_that_is_refused_is_told() {
    let world = World::new("allow_anonymous false");
    for output in [
        world.publish(&["x", "y"]),
        world.run(&["sub", "to.json"], &[], "1"),
        world.run(&["latency", "from.json", "to.json"], &[], "1"),
    ] {
        output.fails(1, "is not authorized");
    }
}

#[test]
fn a_publish_that_is_refused_is_told() {
    let world = World::new("allow_anonymous true\nacl_file ACL");
    for qos in ["1", "2"] {
        let denied = world.publish(&["x", "y", "--qos", qos]);
        denied.fails(1, "`default.4569` is not authorized to publish to `default/connection-1/4569/x`");
    }
}

#[test]
fn what_is_wrong_with_the_command_line_is_told() {
    let world = World::new("allow_anonymous true");
    world.run(&["sub", "missing.json"], &[], "1").fails(2, "there is no credential file missing.json");
    world.run(&["sub", "."], &[], "1").fails(2, "is a folder");
    world.run(&["sub", "mosquitto.conf"], &[], "1").fails(2, "is not JSON");
    fs::write(world.path("other.json"), r#"{"deviceCode": 1, "name": 2}"#).unwrap();
    world.run(&["sub", "other.json"], &[], "1").fails(2, "not a credential file: name: invalid type");
    world.publish(&["a/+", "x"]).fails(2, "has a wildcard");
    world.run(&["sub", "to.json", "a/#/b"], &[], "1").fails(2, "is not a topic filter");
    world
        .run(&["latency", "from.json", "from.json"], &[], "1")
        .fails(2, "not the two ends of one connection");
    world
        .publish(&["x", "y", "--host", "unknown.invalid"])
        .fails(1, "the host name `unknown.invalid` is unknown");
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port().to_string();
    world.publish(&["x", "y", "--port", &nobody]).fails(1, "connection refused");
}

/// A folder with both credential files and a mosquitto that they lead to.
struct World {
    folder: TempDir,
    broker: Child,
}

impl World {
    fn new(settings: &str) -> Self {
        // mosquitto cannot choose its port itself, and a free one may be taken before it listens.
        (0..10).find_map(|_| Self::try_new(settings)).expect("mosquitto runs")
    }

    fn try_new(settings: &str) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let acl = folder.path().join("acl");
        // Everybody may read, nobody may write.
        fs::write(&acl, "pattern read #\n").unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let settings = settings.replace("ACL", acl.to_str().unwrap());
        let conf = format!("listener {port} 127.0.0.1\n{settings}\nuser root\n");
        fs::write(folder.path().join("mosquitto.conf"), conf).unwrap();
        for (file, own, peer) in [("from.json", 4569, 5412), ("to.json", 5412, 4569)] {
            let credentials = serde_json::json!({
                "deviceCode": own, "name": format!("Device {own}"), "user": "default", "connection": "connection-1",
                "key": "0123456789abcdef", "peer": { "deviceCode": peer, "name": format!("Device {peer}") },
                "mqtt": { "host": "127.0.0.1", "port": port, "client_id": format!("default.{own}"),
                          "username": format!("default.{own}"), "password": "secret" },
                "topics": { "publish": format!("default/connection-1/{own}"),
                            "subscribe": format!("default/connection-1/{peer}/#"),
                            "presence": format!("default/connection-1/presence/{peer}") }
            });
            fs::write(folder.path().join(file), credentials.to_string()).unwrap();
        }
        let broker = start_broker(folder.path())?;
        Some(Self { folder, broker })
    }

    fn path(&self, file: &str) -> PathBuf {
        self.folder.path().join(file)
    }

    fn restart_broker(&mut self) {
        self.broker.kill().unwrap();
        self.broker.wait().unwrap();
        self.broker = start_broker(self.folder.path()).expect("the port is still free");
    }

    fn command(&self) -> Command {
        let mut command = Command::new(BRIDGE);
        command.current_dir(self.folder.path()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    fn run(&self, command: &[&str], options: &[&str], qos: &str) -> Ended {
        let child = self.command().args(command).args(options).args(["--qos", qos]).spawn().unwrap();
        Ended::of(child)
    }

    fn publish(&self, args: &[&str]) -> Ended {
        Ended::of(self.command().args(["pub", "from.json"]).args(args).spawn().unwrap())
    }

    fn publish_bytes(&self, args: &[&str], input: &[u8]) -> Ended {
        let mut child =
            self.command().args(["pub", "from.json"]).args(args).stdin(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(input).unwrap();
        Ended::of(child)
    }

    fn subscribe(&self, args: &[&str]) -> Subscriber {
        Subscriber { child: self.command().args(["sub", "to.json"]).args(args).spawn().unwrap() }
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let _ = self.broker.kill();
        let _ = self.broker.wait();
    }
}

/// Nothing if the port was taken meanwhile.
fn start_broker(folder: &Path) -> Option<Child> {
    let debian = Path::new("/usr/sbin/mosquitto");
    let program = if debian.exists() { debian } else { Path::new("mosquitto") };
    let log = fs::File::create(folder.join("log")).unwrap();
    let mut broker = Command::new(program)
        .args(["-v", "-c"])
        .arg(folder.join("mosquitto.conf"))
        .stdout(log.try_clone().unwrap())
        .stderr(log)
        .spawn()
        .expect("mosquitto is installed: tests/install does it");
    let mut running = false;
    until("mosquitto runs or ends", || {
        running = fs::read_to_string(folder.join("log")).unwrap_or_default().contains(" running");
        running || broker.try_wait().unwrap().is_some()
    });
    running.then_some(broker)
}

/// Waits for what has no event to wait for.
fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < Duration::from_secs(60), "in vain: {what}");
        std::thread::park_timeout(Duration::from_millis(10));
    }
}

struct Subscriber {
    child: Child,
}

impl Subscriber {
    /// The broker's log, which a restart begins anew, says when it has answered.
    fn wait_until_subscribed(&mut self, world: &World) {
        let log = world.path("log");
        until("the subscription is granted", || {
            let text = fs::read_to_string(&log).unwrap_or_default();
            let granted = text.matches("Sending SUBACK to default.5412").count();
            let ended = text.matches("Received DISCONNECT from default.5412").count();
            granted > ended
        });
    }

    /// What it printed until it ended by itself.
    fn lines(&mut self) -> Vec<String> {
        let lines = BufReader::new(self.child.stdout.take().unwrap()).lines().map(Result::unwrap).collect();
        assert!(self.child.wait().unwrap().success());
        lines
    }
}

impl Drop for Subscriber {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

struct Ended(Output);

impl Ended {
    fn of(child: Child) -> Self {
        Self(child.wait_with_output().unwrap())
    }

    #[track_caller]
    fn succeeds(self) -> Output {
        assert!(self.0.status.success(), "{}", String::from_utf8_lossy(&self.0.stderr));
        self.0
    }

    #[track_caller]
    fn fails(self, status: i32, message: &str) {
        let shown = String::from_utf8_lossy(&self.0.stderr);
        assert!(shown.contains(message), "{message:?} is not in {shown:?}");
        assert_eq!(self.0.status.code(), Some(status));
    }
}
