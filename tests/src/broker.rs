//! The broker library's example as a process: every client may do everything.

use std::{
    net::{SocketAddr, TcpListener, ToSocketAddrs},
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

use tempfile::TempDir;

use crate::{
    DEADLINE,
    process::Process,
    raw::{Client, Connect, Version},
};

/// For tests that hold for both versions.
pub const ON_BOTH_VERSIONS: [Version; 2] = [Version::V311, Version::V5];

/// A broker of its own for a test.
pub struct Broker {
    /// Where it listens.
    pub addr: SocketAddr,
    process: Option<Process>,
    _directory: Option<TempDir>,
}

impl Broker {
    /// Starts `broker/examples/open.rs`, or what `IOR_TEST_BROKER` says instead.
    pub fn start() -> Self {
        match std::env::var("IOR_TEST_BROKER").as_deref() {
            Ok("mosquitto") => mosquitto(),
            Ok(addr) => {
                let addr = addr.to_socket_addrs().unwrap().next().expect("IOR_TEST_BROKER resolves");
                Self { addr, process: None, _directory: None }
            }
            Err(_) => start_example(&mut Command::new(example())),
        }
    }

    /// Starts `broker/examples/open.rs` with a store in this directory.
    pub fn with_store(directory: &Path) -> Self {
        start_example(Command::new(example()).arg("--store").arg(directory))
    }

    /// Ends it without warning.
    pub fn kill(mut self) {
        self.process.as_mut().expect("a process of ours").kill();
    }

    /// A TCP connection without any packet sent yet.
    pub fn open(&self, version: Version) -> Client {
        Client::open(self.addr, version)
    }

    /// A client with a clean session.
    #[track_caller]
    pub fn connect(&self, version: Version, client_id: &str) -> Client {
        self.connect_with(version, Connect::new(client_id)).0
    }

    /// A client with a session that stays when the connection ends, new or resumed; and whether it was present.
    #[track_caller]
    pub fn connect_persistent(&self, version: Version, client_id: &str) -> (Client, bool) {
        self.connect_with(version, Connect::new(client_id).persistent(version))
    }

    /// A client with its own CONNECT, and whether its session was present.
    #[track_caller]
    pub fn connect_with(&self, version: Version, connect: Connect) -> (Client, bool) {
        let mut client = self.open(version);
        client.send(connect);
        let ack = client.expect_connack();
        assert_eq!(ack.code, 0, "CONNACK");
        (client, ack.session_present)
    }

    /// Resident memory in bytes; `None` if the process is not ours.
    pub fn resident(&self) -> Option<u64> {
        self.process.as_ref().map(Process::resident)
    }

    /// The most memory that was ever resident, in bytes; `None` if the process is not ours.
    pub fn peak(&self) -> Option<u64> {
        self.process.as_ref().map(Process::peak)
    }

    /// Fails unless the broker serves a client that comes now.
    #[track_caller]
    pub fn assert_alive(&self) {
        self.connect(Version::V5, "still-alive").expect_silence();
    }
}

/// Builds `binary` (a binary's or an example's name) of `package` unless it is up to date, and says where it is.
pub(crate) fn built(package: &str, kind: &str, binary: &str) -> PathBuf {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let done = Command::new(env!("CARGO"))
        .current_dir(workspace)
        .args(["build", "--quiet", "--package", package, kind, binary])
        .status()
        .expect("cargo runs");
    assert!(done.success(), "cargo could not build {package}'s {binary}");
    let target = match std::env::var_os("CARGO_TARGET_DIR") {
        Some(directory) => workspace.join(directory),
        None => workspace.join("target"),
    };
    let profile = target.join("debug");
    if kind == "--example" { profile.join("examples").join(binary) } else { profile.join(binary) }
}

fn example() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| match std::env::var_os("IOR_OPEN_BIN") {
        Some(path) => path.into(),
        None => built("ior-broker", "--example", "open"),
    })
}

fn start_example(command: &mut Command) -> Broker {
    let process = Process::start(command.args(["--listen", "127.0.0.1:0"]));
    let addr = process.wait_for("line 'listening on'", DEADLINE, |line| {
        line.split_once("listening on ")?.1.split_whitespace().next()?.parse().ok()
    });
    Broker { addr, process: Some(process), _directory: None }
}

fn mosquitto() -> Broker {
    // It cannot choose its port itself. The one found here could be taken by somebody else before it listens, so try
    // again then.
    for _ in 0..10 {
        let addr = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let directory = TempDir::new().unwrap();
        let file = directory.path().join("mosquitto.conf");
        let settings =
            format!("listener {} 127.0.0.1\nallow_anonymous true\nmax_queued_messages 0\n", addr.port());
        std::fs::write(&file, settings).unwrap();
        let mut process = Process::start(Command::new("/usr/sbin/mosquitto").arg("-v").arg("-c").arg(&file));
        let running = process.wait_for("ready line", DEADLINE, |line| {
            (line.contains("running").then_some(true)).or(line.contains("Error").then_some(false))
        });
        if running && process.is_running() {
            return Broker { addr, process: Some(process), _directory: Some(directory) };
        }
    }
    panic!("mosquitto does not start");
}
