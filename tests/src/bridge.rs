//! The real binary on directories of its own.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Command, ExitStatus, Output},
    sync::OnceLock,
    time::Duration,
};

use serde_json::Value;
use tempfile::TempDir;

use crate::{
    DEADLINE,
    channel::{Channel, Way},
    clients::Login,
    faults::SmallDisk,
    process::Process,
    raw::{Client, Connect, Version},
    tls::Tls,
};

/// A `config/` and a `data/` directory, and how the binary is told of them. Removed when dropped.
pub struct World {
    /// Goes before the directory that it is mounted in.
    disk: Option<SmallDisk>,
    directory: TempDir,
    environment: Vec<(String, String)>,
}

/// A running bridge in a world of its own.
pub struct Bridge {
    /// Where it listens for plain MQTT; port 0 if it does not.
    pub addr: SocketAddr,
    /// Where it listens for MQTT over TLS.
    pub mqtts: Option<SocketAddr>,
    /// Where it listens for MQTT over WebSocket.
    pub websocket: Option<SocketAddr>,
    /// Where its page is.
    pub web: Option<SocketAddr>,
    world: World,
    process: Process,
    /// What leads to it, if not its own plain port.
    _way: Option<Way>,
}

/// How long a reload may take: a change is waited with for half a second, and what fails is tried again after ten.
const RELOAD: Duration = Duration::from_secs(20);

/// One end of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// `from.json`.
    From,
    /// `to.json`.
    To,
}

/// A credential file, with the address that the bridge really listens on.
#[derive(Debug, Clone)]
pub struct Credentials {
    /// The file.
    pub file: PathBuf,
    /// How to log in.
    pub login: Login,
    /// Topic to publish to.
    pub publish: String,
    /// Filter to subscribe to.
    pub subscribe: String,
    /// The peer's presence topic.
    pub presence: String,
    /// All of it.
    pub json: Value,
}

impl World {
    /// Without any configuration: the bridge writes the shipped one.
    pub fn empty() -> Self {
        let listen = |name: &str| (format!("IOR_BRIDGE__{name}__LISTEN"), "127.0.0.1:0".to_string());
        let environment = ["MQTT", "MQTTS", "WEBSOCKET", "WEB"].map(listen).into();
        Self { disk: None, directory: TempDir::new().unwrap(), environment }
    }

    /// Like [`World::empty`], and what is acknowledged is on disk and synced.
    pub fn durable() -> Self {
        Self::empty().env("IOR_BRIDGE__DURABILITY", "fsync")
    }

    /// With a data directory that is a file system of its own, of so many bytes. Needs [`crate::faults::may_mount`].
    pub fn on_small_disk(mut self, bytes: u64) -> Self {
        std::fs::create_dir_all(self.data()).unwrap();
        self.disk = Some(SmallDisk::mount(&self.data(), bytes));
        self
    }

    /// With a configuration directory that is a file system of its own, of so many bytes. Needs [`crate::faults::may_mount`].
    pub fn configured_on_small_disk(mut self, bytes: u64) -> Self {
        std::fs::create_dir_all(self.config()).unwrap();
        self.disk = Some(SmallDisk::mount(&self.config(), bytes));
        self
    }

    /// With these two files' arrays.
    pub fn with(devices: Value, connections: Value) -> Self {
        let world = Self::empty();
        world.configure(&devices, &connections);
        world
    }

    /// One more environment variable for the binary.
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.into(), value.into()));
        self
    }

    /// Without this environment variable: what the files say holds.
    pub fn without_env(mut self, name: &str) -> Self {
        self.environment.retain(|(known, _)| known != name);
        self
    }

    /// Without a delay before failed logins are answered, however many there are.
    pub fn answering_at_once(self) -> Self {
        self.env("IOR_BRIDGE__LIMITS__FAILED_LOGIN_DELAY_MAX", "0s")
    }

    /// Sets an environment variable from the next start on.
    pub fn set_env(&mut self, name: &str, value: &str) {
        self.environment.push((name.into(), value.into()));
    }

    /// Writes the two lists of the configuration, in place of what was there.
    pub fn configure(&self, devices: &Value, connections: &Value) {
        self.write("devices.json", &serde_json::json!({ "devices": devices }).to_string());
        self.write("connections.json", &serde_json::json!({ "connections": connections }).to_string());
    }

    /// Writes a file of the configuration.
    pub fn write(&self, file: &str, text: &str) {
        std::fs::create_dir_all(self.config()).unwrap();
        std::fs::write(self.config().join(file), text).unwrap();
    }

    /// The configuration directory.
    pub fn config(&self) -> PathBuf {
        self.directory.path().join("config")
    }

    /// The data directory.
    pub fn data(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    /// The directory of the store.
    pub fn store(&self) -> PathBuf {
        self.data().join("store")
    }

    /// The binary with `--config`, the environment and these arguments.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(binary());
        command.current_dir(self.directory.path()).arg("--config").arg(self.config()).args(arguments);
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Runs the binary with these arguments to its end.
    pub fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    /// Runs the binary with these arguments to its good end, and gives its report.
    #[track_caller]
    pub fn succeed(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// Runs the binary with these arguments, which ends with this exit status, and gives what it says on standard error.
    #[track_caller]
    pub fn fail(&self, status: i32, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(status), "{arguments:?}: {said}");
        said
    }

    /// Starts the bridge in this world, which will fail, and gives its exit status and what it said.
    #[track_caller]
    pub fn start_fails(&self) -> (ExitStatus, String) {
        let mut process = Process::start(&mut self.command(&["run"]));
        let status = process.wait(DEADLINE);
        (status, process.log())
    }

    /// Starts the bridge in this world and waits until it is ready.
    #[track_caller]
    pub fn start(self) -> Bridge {
        let process = Process::start(&mut self.command(&["run"]));
        let [addr, mqtts, websocket, web] = ready(&process);
        let addr = addr.unwrap_or(([127, 0, 0, 1], 0).into());
        Bridge { addr, mqtts, websocket, web, world: self, process, _way: None }
    }
}

impl Bridge {
    /// A new instance with the shipped configuration.
    #[track_caller]
    pub fn start() -> Self {
        World::empty().start()
    }

    /// Whoever connects to it from now on does so over this channel.
    #[track_caller]
    pub fn over(mut self, channel: Channel) -> Self {
        let way = self.way(channel);
        self.addr = way.addr;
        Self { _way: Some(way), ..self }
    }

    /// Another way to it, over this channel.
    #[track_caller]
    pub fn way(&self, channel: Channel) -> Way {
        let there = match channel {
            Channel::Tcp => self.addr,
            Channel::Tls => self.mqtts.expect("a TLS listener"),
            Channel::WebSocket | Channel::WebSocketTls => self.websocket.expect("a WebSocket listener"),
        };
        channel.to(there, &self.world.data().join("ca/ca.crt"))
    }

    /// The directories.
    pub fn world(&self) -> &World {
        &self.world
    }

    /// What it said.
    pub fn log(&self) -> String {
        self.process.log()
    }

    /// The process.
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// Writes the two lists of the configuration in place of what was there, and waits until the running bridge has taken
    /// them up; gives what it said then.
    #[track_caller]
    pub fn reconfigure(&self, devices: &Value, connections: &Value) -> String {
        self.after("configuration reloaded", || self.world.configure(devices, connections))
    }

    /// Does something that has the bridge read its configuration again, and waits until it has said this once more;
    /// gives that line.
    #[track_caller]
    pub fn after(&self, words: &str, change: impl FnOnce()) -> String {
        let said = |lines: &[String]| -> Vec<String> {
            lines.iter().filter(|line| line.contains(words)).cloned().collect()
        };
        let before = said(&self.log().lines().map(str::to_owned).collect::<Vec<_>>()).len();
        change();
        self.process.wait_until(words, RELOAD, |lines| said(lines).get(before).cloned())
    }

    /// One end of a connection of the user `default`.
    #[track_caller]
    pub fn credentials(&self, connection: &str, end: End) -> Credentials {
        let name = match end {
            End::From => "from.json",
            End::To => "to.json",
        };
        let file = self.world.data().join("credentials/default").join(connection).join(name);
        Credentials::read(&file, self.addr)
    }

    /// A raw client that is logged in.
    #[track_caller]
    pub fn connect(&self, version: Version, who: &Credentials) -> Client {
        self.connect_with(version, who, Connect::new(&who.login.client_id)).0
    }

    /// A raw client with a session that stays, and whether it was present.
    #[track_caller]
    pub fn connect_persistent(&self, version: Version, who: &Credentials) -> (Client, bool) {
        self.connect_with(version, who, Connect::new(&who.login.client_id).persistent(version))
    }

    /// A raw client with its own CONNECT, to which the login is added, and whether its session was present.
    #[track_caller]
    pub fn connect_with(&self, version: Version, who: &Credentials, connect: Connect) -> (Client, bool) {
        let mut client = self.open(version);
        client.send(connect.user_name(&who.login.username).password(&who.login.password));
        let ack = client.expect_connack();
        assert_eq!(ack.code, 0, "CONNACK");
        (client, ack.session_present)
    }

    /// A TCP connection without any packet sent yet.
    pub fn open(&self, version: Version) -> Client {
        Client::open(self.addr, version)
    }

    /// Fails unless it serves a device that comes now, and nothing in it has panicked.
    #[track_caller]
    pub fn assert_unharmed(&self, who: &Credentials) {
        self.connect_with(Version::V5, who, Connect::new("still-alive")).0.disconnect();
        let log = self.log();
        assert!(!log.contains("panicked"), "{log}");
    }

    /// Asks it to look at everything again (SIGHUP).
    pub fn reload(&self) {
        let done = Command::new("kill").arg("-HUP").arg(self.process.id().to_string()).status().unwrap();
        assert!(done.success(), "it was gone already");
    }

    /// Waits for a line of its log that holds all of these words.
    #[track_caller]
    pub fn says(&self, words: &[&str]) {
        let has_all = |line: &str| words.iter().all(|word| line.contains(word)).then_some(());
        self.process.wait_for(&format!("line with {words:?}"), DEADLINE, has_all);
    }

    /// Ends it as systemd does, and gives its exit status and world.
    #[track_caller]
    pub fn stop(mut self) -> (ExitStatus, World) {
        self.process.terminate();
        (self.process.wait(DEADLINE), self.world)
    }

    /// Ends it as systemd does, and gives all that it said.
    #[track_caller]
    pub fn end(mut self) -> String {
        self.process.terminate();
        let status = self.process.wait(DEADLINE);
        assert!(status.success(), "a clean stop ends with {status}");
        self.process.log()
    }

    /// Ends it as systemd does and starts it again. It ends well and in time.
    #[track_caller]
    pub fn restart(self) -> Self {
        let (status, world) = self.stop();
        assert!(status.success(), "a clean stop ends with {status}");
        world.start()
    }

    /// Ends it without warning and starts it again.
    #[track_caller]
    pub fn kill_and_start(self) -> Self {
        self.kill().start()
    }

    /// Ends it without warning.
    pub fn kill(mut self) -> World {
        self.process.kill();
        self.world
    }
}

impl Credentials {
    /// The CA to trust, PEM.
    #[track_caller]
    pub fn ca(&self) -> &str {
        self.json["mqtt"]["ca"].as_str().expect("the file names a CA")
    }

    /// As the file says, with TLS. The CA is written beside the file.
    #[track_caller]
    pub fn login_with_tls(&self) -> Login {
        let ca = self.file.with_extension("pem");
        std::fs::write(&ca, self.ca()).unwrap();
        let port =
            u16::try_from(self.json["mqtt"]["tls_port"].as_u64().expect("the file names a port")).unwrap();
        let addr = SocketAddr::new(self.login.addr.ip(), port);
        Login { addr, tls: Some(Tls { ca, own: None }), ..self.login.clone() }
    }

    /// Reads a credential file.
    #[track_caller]
    pub fn read(file: &Path, addr: SocketAddr) -> Self {
        let text =
            std::fs::read_to_string(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        let json: Value = serde_json::from_str(&text).unwrap();
        let text = |section: &str, key: &str| json[section][key].as_str().unwrap().to_string();
        let login = Login {
            addr,
            client_id: text("mqtt", "client_id"),
            username: text("mqtt", "username"),
            password: text("mqtt", "password"),
            tls: None,
        };
        let topics = ["publish", "subscribe", "presence"].map(|key| text("topics", key));
        let [publish, subscribe, presence] = topics;
        Self { file: file.into(), login, publish, subscribe, presence, json }
    }
}

/// The real binary: from `IOR_BRIDGE_BIN`, or built.
pub fn binary() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| match std::env::var_os("IOR_BRIDGE_BIN") {
        Some(path) => path.into(),
        None => crate::broker::built("ior-bridge", "--bin", "ior-bridge"),
    })
}

/// The addresses of the listeners, in the order of the line that says that it is ready.
#[track_caller]
fn ready(process: &Process) -> [Option<SocketAddr>; 4] {
    process.wait_for("ready line", DEADLINE, |line| {
        let (_, listeners) = line.split_once("ready: ")?;
        let address = |name: &str| {
            let mut listeners = listeners.split(", ").filter_map(|listener| listener.split_once(' '));
            let (_, rest) = listeners.find(|(found, _)| *found == name)?;
            let end =
                rest.find(|c: char| !(c.is_ascii_hexdigit() || ".:[]".contains(c))).unwrap_or(rest.len());
            rest[..end].parse().ok()
        };
        Some(["mqtt", "mqtts", "websocket", "web"].map(address))
    })
}
