//! The programs of `docs/clients/*.md`, as they stand there, as pairs of devices of a real bridge.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::{
    collections::BTreeSet,
    fs,
    os::unix::{fs::symlink, process::CommandExt},
    path::Path,
    process::Command,
    time::Duration,
};

use ior_tests::{
    Bridge, Credentials, End, World,
    browser::mqtt_js,
    documents::{blocks, read},
    process::Process,
    tls::Authority,
};
use serde_json::Value;
use tempfile::TempDir;

/// The programs count once a second, and wait for two seconds before they connect again.
const PATIENCE: Duration = Duration::from_secs(60);

/// How many more numbers each hears before and after what happens to it.
const NUMBERS: usize = 3;

/// A program of a document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Program {
    Paho,
    MqttJs,
    Rumqttc,
    Mosquitto,
}

/// One that runs, with all that it started. Killed when dropped.
struct Device {
    process: Process,
    program: Program,
    who: Credentials,
    _home: TempDir,
}

#[test]
fn paho_and_mqtt_js_talk_across_a_restart() {
    talk_across_a_restart(Program::Paho, Program::MqttJs);
}

#[test]
fn mosquitto_and_rumqttc_talk_across_a_restart() {
    talk_across_a_restart(Program::Mosquitto, Program::Rumqttc);
}

#[test]
fn each_program_says_why_it_is_refused_and_ends() {
    let bridge = start();
    let (from, to) = ends(&bridge);
    let scratch = TempDir::new().unwrap();
    for program in Program::ALL {
        let file = changed(&scratch, &from, |json| json["mqtt"]["password"] = "guess".into());
        let mut device = Device::start(program, &Credentials { file, ..from.clone() });
        device.says("refused");
        assert_eq!(device.process.wait(PATIENCE).code(), Some(1), "{program:?}");

        // The right login, and somebody else's topics.
        let theirs = bridge.credentials("connection-2", End::To);
        let file = changed(&scratch, &to, |json| {
            json["topics"]["subscribe"] = theirs.subscribe.clone().into();
            json["topics"]["presence"] = theirs.presence.clone().into();
        });
        let device = Device::start(program, &Credentials { file, ..to.clone() });
        device.says(match program {
            Program::Mosquitto => "All subscription requests were denied",
            _ => "refused to subscribe",
        });
    }
}

#[test]
fn each_program_says_that_it_does_not_trust_the_bridge() {
    let bridge = start();
    let (from, _) = ends(&bridge);
    let scratch = TempDir::new().unwrap();
    let ca = Authority::new("Another bridge's CA").pem;
    let file = changed(&scratch, &from, |json| json["mqtt"]["ca"] = ca.into());
    for (program, words) in [
        (Program::Paho, "cannot connect: [SSL: CERTIFICATE_VERIFY_FAILED]"),
        (Program::MqttJs, "error: unable to verify the first certificate"),
        (Program::Mosquitto, "A TLS error occurred."),
    ] {
        Device::start(program, &Credentials { file: file.clone(), ..from.clone() }).says(words);
    }
}

#[test]
fn the_tested_program_of_rumqttc_is_the_documents_without_tls() {
    let tested = blocks("docs/clients/rumqttc.md", "rust")[0]
        .replace("login[\"tls_port\"]", "login[\"port\"]")
        .replace("no port for TLS", "no port without TLS")
        .replace("Transport::tls(text(&login[\"ca\"]).into(), None, None)", "Transport::Tcp");
    assert_eq!(tested, read("tests/clients/rumqttc.rs"));
}

#[test]
fn the_documents_show_the_sketches_that_are_printed() {
    let bridge = start();
    let password = ends(&bridge).0.login.password;
    for (format, document, language) in
        [("arduino", "arduino-pubsubclient", "cpp"), ("esp-idf", "esp-idf", "c")]
    {
        let mut command = bridge.world().command(&["credentials", "4569", "--format", format]);
        command.env("IOR_BRIDGE__HOST", "pi.local").env("IOR_BRIDGE__MQTTS__LISTEN", "0.0.0.0:8883");
        let printed = String::from_utf8(command.output().unwrap().stdout).unwrap();
        let shown = &blocks(&format!("docs/clients/{document}.md"), language)[0];
        assert_eq!(shown, &without_certificate(&printed).replace(&password, "PASSWORD"), "{document}");
    }
}

#[track_caller]
fn talk_across_a_restart(first: Program, second: Program) {
    let bridge = start();
    let (from, to) = ends(&bridge);
    let first = Device::start(first, &from);
    let second = Device::start(second, &to);
    for (device, peer) in [(&first, &second), (&second, &first)] {
        device.hears_that_the_peer_is(true);
        device.says(&format!("{}/status here", peer.who.publish));
        device.hears_more(peer);
    }
    bridge.says(&["Master 1 (4569) connected", first.way()]);
    bridge.says(&["Slave 1 (5412) connected", second.way()]);

    let (addr, mqtts) = (bridge.addr, bridge.mqtts.unwrap());
    let (status, mut world) = bridge.stop();
    assert!(status.success());
    world.set_env("IOR_BRIDGE__MQTT__LISTEN", &addr.to_string());
    world.set_env("IOR_BRIDGE__MQTTS__LISTEN", &mqtts.to_string());
    let bridge = world.start();
    first.hears_more(&second);
    second.hears_more(&first);
    bridge.says(&["Master 1 (4569) connected", "session resumed"]);
    bridge.says(&["Slave 1 (5412) connected", "session resumed"]);
    first.heard_every_number(&second);
    second.heard_every_number(&first);

    // Without a goodbye.
    let (will, times) = (format!("{}/status gone", first.who.publish), second.times_offline());
    let wills = second.process.log().matches(&will).count();
    drop(first);
    second.process.wait_until("offline peer and its Will", PATIENCE, |lines| {
        let gone = lines.iter().filter(|line| **line == will).count() > wills;
        (gone && second.times_offline_in(lines) > times).then_some(())
    });
}

/// With `...` in place of a certificate's lines.
fn without_certificate(sketch: &str) -> String {
    let (start, rest) = sketch.split_once("-----BEGIN CERTIFICATE-----\\n\"\n").unwrap();
    let (_, end) = rest.split_once("    \"-----END").unwrap();
    format!("{start}-----BEGIN CERTIFICATE-----\\n\"\n    \"...\\n\"\n    \"-----END{end}")
}

fn start() -> Bridge {
    // Not localhost: older versions of Node.js try only its first address.
    World::empty().answering_at_once().env("IOR_BRIDGE__HOST", "127.0.0.1").start()
}

fn ends(bridge: &Bridge) -> (Credentials, Credentials) {
    (bridge.credentials("connection-1", End::From), bridge.credentials("connection-1", End::To))
}

/// A credential file in which something is not as it should be.
fn changed(scratch: &TempDir, who: &Credentials, change: impl FnOnce(&mut Value)) -> std::path::PathBuf {
    let mut json = who.json.clone();
    change(&mut json);
    let file = scratch.path().join("changed.json");
    fs::write(&file, json.to_string()).unwrap();
    file
}

impl Program {
    const ALL: [Self; 4] = [Self::Paho, Self::MqttJs, Self::Rumqttc, Self::Mosquitto];

    /// In its directory, with what the document tells to install.
    fn command(self, home: &Path) -> Command {
        let write = |name: &str, document: &str, language: &str| {
            let document = format!("docs/clients/{document}.md");
            let programs = blocks(&document, language);
            let program = programs.iter().max_by_key(|block| block.len()).expect("a program");
            fs::write(home.join(name), program).unwrap();
            name.to_owned()
        };
        let (interpreter, program) = match self {
            Self::Paho => {
                let python = std::env::var_os("IOR_PYTHON").unwrap_or_else(|| "python3".into());
                (python, write("device.py", "paho-python", "python"))
            }
            Self::MqttJs => {
                let modules = mqtt_js().ancestors().nth(3).unwrap().canonicalize().unwrap();
                symlink(modules, home.join("node_modules")).unwrap();
                ("node".into(), write("device.mjs", "mqtt-js", "js"))
            }
            Self::Mosquitto => ("sh".into(), write("device.sh", "mosquitto", "sh")),
            Self::Rumqttc => return Command::new(env!("CARGO_BIN_EXE_device-rumqttc")),
        };
        let mut command = Command::new(interpreter);
        command.arg(program);
        command
    }
}

impl Device {
    #[track_caller]
    fn start(program: Program, who: &Credentials) -> Self {
        let home = TempDir::new().unwrap();
        let mut command = program.command(home.path());
        // A group of its own, so that what it starts can be ended with it.
        command.current_dir(home.path()).env("TMPDIR", home.path()).arg(&who.file).process_group(0);
        Self { process: Process::start(&mut command), program, who: who.clone(), _home: home }
    }

    fn way(&self) -> &'static str {
        if self.program == Program::Rumqttc { "over TCP with MQTT 5" } else { "over TLS with MQTT 5" }
    }

    #[track_caller]
    fn says(&self, words: &str) {
        self.process.wait_for(words, PATIENCE, |line| line.contains(words).then_some(()));
    }

    #[track_caller]
    fn hears_that_the_peer_is(&self, online: bool) {
        self.process.wait_for("presence", PATIENCE, |line| self.is_presence(line, online).then_some(()));
    }

    fn times_offline(&self) -> usize {
        self.process.wait_until("output", PATIENCE, |lines| Some(self.times_offline_in(lines)))
    }

    fn times_offline_in(&self, lines: &[String]) -> usize {
        lines.iter().filter(|line| self.is_presence(line, false)).count()
    }

    fn is_presence(&self, line: &str, online: bool) -> bool {
        match self.program {
            Program::Mosquitto => line.starts_with(&format!("{} {{\"online\":{online},", self.who.presence)),
            _ => line == if online { "peer is online" } else { "peer is offline" },
        }
    }

    /// Waits until it has heard some more numbers of its peer than now.
    #[track_caller]
    fn hears_more(&self, peer: &Self) {
        let before = self.process.wait_until("output", PATIENCE, |lines| Some(numbers(lines, peer).len()));
        let enough = |lines: &[String]| (numbers(lines, peer).len() >= before + NUMBERS).then_some(());
        self.process.wait_until("more numbers", PATIENCE, enough);
    }

    /// From the first one that it heard: nothing of QoS 1 is lost.
    #[track_caller]
    fn heard_every_number(&self, peer: &Self) {
        let heard = self.process.wait_until("numbers", PATIENCE, |lines| Some(numbers(lines, peer)));
        let (first, last) = (heard.first().unwrap(), heard.last().unwrap());
        assert_eq!(heard.len(), last - first + 1, "{:?} heard {heard:?}", self.program);
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        let group = format!("-{}", self.process.id());
        // An error says that all of it has ended.
        let _ = Command::new("kill").args(["-s", "KILL", "--", &group]).output();
    }
}

/// What a program has heard its peer count.
fn numbers(lines: &[String], peer: &Device) -> BTreeSet<usize> {
    let start = format!("{}/count ", peer.who.publish);
    lines.iter().filter_map(|line| line.strip_prefix(&start)?.parse().ok()).collect()
}
