//! The data directory as the operator meets it: one process at a time works on it, and `check` tries it.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use std::{
    fs,
    io::{BufRead, BufReader},
    os::unix::fs::PermissionsExt,
    path::PathBuf,
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

use serde_json::Value;
use tempfile::TempDir;

#[test]
fn a_second_instance_refuses_and_touches_nothing() {
    let world = World::new();
    let first = world.start();
    let data = world.path("data");
    let key = fs::read(data.join("secret.key")).unwrap();
    fs::remove_dir_all(data.join("credentials")).unwrap();

    let second = world.ends(&["run"]);
    let said = stderr(&second);
    assert_eq!(second.status.code(), Some(1), "{said}");
    let process = format!("another ior-bridge (process {})", first.child.id());
    assert!(said.contains(&process) && said.contains(&data.display().to_string()), "{said}");
    assert!(said.contains("stop that one first"), "{said}");
    assert_eq!(fs::read(data.join("secret.key")).unwrap(), key);
    assert!(!data.join("credentials").exists(), "it ended before it wrote anything");

    assert!(world.ends(&["credentials"]).status.success(), "this needs no lock");
    let report: Value = serde_json::from_slice(&world.ends(&["check", "--json"]).stdout).unwrap();
    assert_eq!(report["data_dir"]["in_use"], true);
    assert_eq!(report["data_dir"]["pid"], first.child.id());

    drop(first);
    drop(world.start());
}

#[test]
fn check_tries_the_data_directory() {
    let world = World::new();
    let report = |output: &Output| -> Value { serde_json::from_slice(&output.stdout).unwrap() };
    let fresh = world.ends(&["check"]);
    assert!(stdout(&fresh).contains("made at the first start"), "{}", stdout(&fresh));
    assert!(!world.path("data").exists(), "check makes nothing");

    fs::create_dir(world.path("data")).unwrap();
    let fine = world.ends(&["check"]);
    assert!(fine.status.success(), "{}", stderr(&fine));
    assert!(stdout(&fine).contains("can be written"), "{}", stdout(&fine));
    let json = report(&world.ends(&["check", "--json"]));
    assert_eq!((&json["ok"], &json["data_dir"]["in_use"]), (&true.into(), &false.into()));
    assert!(json["data_dir"]["free_bytes"].as_u64().unwrap() > 0);
    assert_eq!(fs::read_dir(world.path("data")).unwrap().count(), 0, "the probe is gone");

    // Nobody can make a file there, not even root.
    let nowhere =
        |arguments: &[&str]| world.command(arguments).env("IOR_BRIDGE__DATA_DIR", "/proc").output().unwrap();
    let failed = nowhere(&["check"]);
    assert_eq!(failed.status.code(), Some(1));
    assert!(stderr(&failed).contains("the data directory /proc cannot be written: "), "{}", stderr(&failed));
    assert!(stdout(&failed).contains("The configuration is fine"), "{}", stdout(&failed));
    let failed = nowhere(&["check", "--json"]);
    assert_eq!(failed.status.code(), Some(1));
    assert_eq!(
        (&report(&failed)["ok"], &report(&failed)["data_dir"]["writable"]),
        (&false.into(), &false.into())
    );

    let mut memory = world.command(&["check"]);
    let memory = memory.env("IOR_BRIDGE__DATA_DIR", "/proc").env("IOR_BRIDGE__DURABILITY", "memory");
    assert!(memory.output().unwrap().status.success(), "nothing is kept, so nothing is tried");
}

#[test]
fn a_damaged_store_is_told_and_salvaged() {
    let world = World::new();
    let report = |output: &Output| -> Value { serde_json::from_slice(&output.stdout).unwrap() };
    let none = world.ends(&["store", "verify"]);
    assert_eq!(none.status.code(), Some(1));
    assert!(stderr(&none).contains("there is no store in"), "{}", stderr(&none));
    assert!(!world.path("data").exists(), "it makes nothing");

    fs::create_dir(world.path("data")).unwrap();
    drop(world.start());
    let mode = fs::metadata(world.path("data/store")).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode, 0o700, "whoever made the data directory");
    let fine = world.ends(&["store", "verify"]);
    assert!(fine.status.success(), "{}", stderr(&fine));
    assert!(stdout(&fine).ends_with("Everything is whole.\n"), "{}", stdout(&fine));
    let json = report(&world.ends(&["store", "verify", "--json"]));
    assert_eq!((&json["ok"], &json["whole"]["messages"]), (&true.into(), &0.into()));

    let running = world.start();
    let refused = world.ends(&["store", "verify"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(stderr(&refused).contains(&format!("process {}", running.child.id())), "{}", stderr(&refused));
    let from = world.path("data/credentials/default/connection-1/from.json");
    let from = from.to_str().unwrap();
    let kept = ["pub", "--host", "127.0.0.1", "--qos", "1", "--retain", from, ".", "found by its text"];
    assert!(world.ends(&kept).status.success());
    running.stops();

    let file = world.path("data/store/store.db");
    let mut bytes = fs::read(&file).unwrap();
    let at = bytes.windows(17).position(|window| window == b"found by its text").unwrap();
    bytes[at] ^= 1;
    fs::write(&file, &bytes).unwrap();
    let damaged = world.ends(&["store", "verify"]);
    assert_eq!(damaged.status.code(), Some(1));
    assert!(stdout(&damaged).contains("retained messages   0      1\n"), "{}", stdout(&damaged));
    assert!(
        stderr(&damaged).contains("`ior-bridge store salvage` keeps what is whole"),
        "{}",
        stderr(&damaged)
    );
    assert_eq!(report(&world.ends(&["store", "verify", "--json"]))["ok"], false);

    fs::write(&file, vec![0; bytes.len()]).unwrap();
    let damaged = world.ends(&["store", "verify"]);
    assert_eq!(damaged.status.code(), Some(1));
    assert!(stderr(&damaged).contains(&file.display().to_string()), "{}", stderr(&damaged));
    let json = report(&world.ends(&["store", "verify", "--json"]));
    assert_eq!(json["ok"], false);
    assert!(json["error"].as_str().unwrap().contains("store.db"), "{json}");
    let run = world.ends(&["run"]);
    assert_eq!(run.status.code(), Some(1));
    let said = stderr(&run);
    assert!(said.contains(&file.display().to_string()) && said.contains("store salvage"), "{said}");

    let salvaged = world.ends(&["store", "salvage", "--json"]);
    assert!(salvaged.status.success(), "{}", stdout(&salvaged));
    let moved = report(&salvaged)["moved"].clone();
    let mut moved = moved.as_array().unwrap().iter().map(|path| fs::read(path.as_str().unwrap()).unwrap());
    assert!(moved.any(|moved| moved == vec![0; bytes.len()]), "the damaged file is kept");
    assert!(world.ends(&["store", "verify"]).status.success());
    let running = world.start();
    let refused = world.ends(&["store", "salvage"]);
    assert!(stderr(&refused).contains("stop it first"), "{}", stderr(&refused));
    drop(running);
    let again = world.ends(&["store", "salvage"]);
    assert!(again.status.success() && stdout(&again).contains("store.db.damaged-"), "{}", stdout(&again));
}

/// How long a command may take that ends by itself.
const DEADLINE: Duration = Duration::from_secs(60);

/// A directory with the shipped configuration.
struct World {
    directory: TempDir,
}

/// A bridge that runs. Killed when dropped.
struct Running {
    child: Child,
}

impl World {
    fn new() -> Self {
        let world = Self { directory: tempfile::tempdir().unwrap() };
        fs::create_dir(world.path("config")).unwrap();
        for name in ["devices.json", "connections.json"] {
            let shipped = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../config").join(name);
            fs::copy(shipped, world.path("config").join(name)).unwrap();
        }
        world
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ior-bridge"));
        command.arg("--config").arg(self.path("config")).args(arguments);
        command
            .env("IOR_BRIDGE__MQTT__LISTEN", "127.0.0.1:0")
            .env("IOR_BRIDGE__MQTTS__LISTEN", "127.0.0.1:0")
            .env("IOR_BRIDGE__WEBSOCKET__LISTEN", "127.0.0.1:0")
            .env("IOR_BRIDGE__WEB__LISTEN", "127.0.0.1:0");
        command.env_remove("RUST_LOG").env_remove("STATE_DIRECTORY").stdin(Stdio::null());
        command
    }

    fn ends(&self, arguments: &[&str]) -> Output {
        let mut child =
            self.command(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let start = Instant::now();
        while child.try_wait().unwrap().is_none() && start.elapsed() < DEADLINE {
            std::thread::park_timeout(Duration::from_millis(10));
        }
        let _ = child.kill();
        child.wait_with_output().unwrap()
    }

    fn start(&self) -> Running {
        let mut child = self.command(&["run"]).stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map(Result::unwrap);
        let running = Running { child };
        assert!(lines.any(|line| line.contains("ready: mqtt")), "it ended before it was ready");
        // Read on, so that it never waits for us.
        std::thread::spawn(move || lines.for_each(drop));
        running
    }
}

impl Running {
    /// Ends it as systemd does.
    fn stops(mut self) {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &id]).status().unwrap().success());
        assert!(self.child.wait().unwrap().success());
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}
