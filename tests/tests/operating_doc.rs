//! The commands of the documents: each exists with its options, and those of `docs/operating.md` do what it says.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Command, Output},
};

use ior_tests::{
    Bridge, World, binary,
    documents::{blocks, read},
};
use serde_json::Value;
use tempfile::TempDir;

const DOCUMENTS: [&str; 16] = [
    "ARCHITECTURE.md",
    "README.md",
    "deploy/README.md",
    "docs/clients/README.md",
    "docs/clients/arduino-pubsubclient.md",
    "docs/clients/esp-idf.md",
    "docs/clients/mosquitto.md",
    "docs/clients/mqtt-js.md",
    "docs/clients/paho-python.md",
    "docs/clients/rumqttc.md",
    "docs/faq.md",
    "docs/limits.md",
    "docs/operating.md",
    "docs/security.md",
    "docs/web.md",
    "docs/benchmarks.md",
];

/// Commands of `docs/operating.md` that are not run with its bridge, and why.
const ELSEWHERE: [(&str, &str); 4] = [
    ("watch", "runs until Ctrl-C"),
    ("restore", "asks first; tests/tests/backup.rs runs it"),
    ("store", "wants the bridge stopped, and is run then"),
    ("doctor", "judges this machine; tests/tests/doctor.rs runs it"),
];

/// A shell in which `sudo ior-bridge` is the binary with the configuration of a world.
struct Shell {
    directory: TempDir,
    environment: Vec<(&'static str, String)>,
}

#[test]
fn every_command_of_the_documents_exists_with_its_options() {
    let shell = Shell::new("\"$@\" --help");
    let commands: Vec<_> = DOCUMENTS.iter().flat_map(|document| commands(document)).collect();
    assert!(commands.len() > 50, "{commands:?}");
    for command in commands {
        let output = shell.run(&command);
        assert!(output.status.success(), "{command}: {}", text(&output.stderr));
    }
}

#[test]
fn what_operators_type_does_what_the_document_says() {
    let world = World::empty().env("IOR_BRIDGE__HOST", "localhost");
    let mut shell = Shell::new(&format!("--config {} \"$@\"", world.config().display()));
    let data = world.data().display().to_string();
    let bridge = world.start();
    shell.of(&bridge);
    let lines = blocks("docs/operating.md", "sh").concat();
    let lines: Vec<_> = lines.lines().filter(|line| is_command(line)).collect();
    let is = |line: &str, name: &str| line.split_whitespace().any(|word| word == name);
    let (elsewhere, here): (Vec<&str>, Vec<&str>) =
        lines.iter().partition(|line| ELSEWHERE.iter().any(|(name, _)| is(line, name)));
    for line in here {
        let line = line.replace("/var/lib/ior-bridge", &data).replace("/media/usb/", "");
        let output = shell.run(&line);
        assert!(output.status.success(), "{line}: {}{}", text(&output.stdout), text(&output.stderr));
    }
    assert!(shell.directory.path().join("bridge.tar.gz").exists());

    let (status, _world) = bridge.stop();
    assert!(status.success());
    for line in elsewhere.iter().filter(|line| is(line, "store")) {
        let output = shell.run(line);
        assert!(output.status.success(), "{line}: {}{}", text(&output.stdout), text(&output.stderr));
    }
}

#[test]
fn the_settings_of_the_document_are_settings() {
    let world = World::empty();
    let settings = blocks("docs/operating.md", "json");
    assert_eq!(settings.len(), 3);
    for settings in settings {
        world.configure(&serde_json::json!([]), &serde_json::json!([]));
        world.write("server.json", &settings);
        let check: Value = serde_json::from_slice(&world.run(&["check", "--json"]).stdout).unwrap();
        // The certificate is not there; all keys are known.
        let problem = check["tls"]["problem"].as_str().unwrap_or_default();
        assert!(check["ok"] == true || problem.contains("fullchain.pem does not exist"), "{check}");
    }
}

#[test]
fn every_link_leads_somewhere() {
    for document in DOCUMENTS {
        let directory = document.rsplit_once('/').map_or(".", |(directory, _)| directory);
        for link in links(document) {
            let (file, anchor) = link.split_once('#').unwrap_or((&link, ""));
            let there = if file.is_empty() { document.to_owned() } else { format!("{directory}/{file}") };
            let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(&there);
            assert!(path.exists(), "{document}: {link}");
            assert!(anchor.is_empty() || anchors(&there).contains(&anchor.to_owned()), "{document}: {link}");
        }
    }
}

/// Where a document leads within the repository.
fn links(document: &str) -> Vec<String> {
    let text = read(document);
    let targets = text.split("](").skip(1).filter_map(|rest| Some(rest.split_once(')')?.0.to_owned()));
    targets.filter(|target| !target.starts_with("http")).collect()
}

/// What its headings are called in links.
fn anchors(document: &str) -> Vec<String> {
    let headings = read(document);
    let headings = headings.lines().filter(|line| line.starts_with('#'));
    let kept = |c: &char| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_');
    headings
        .map(|heading| heading.trim_start_matches('#').trim().to_lowercase())
        .map(|heading| heading.chars().filter(kept).collect::<String>().replace(' ', "-"))
        .collect()
}

/// What a document tells to type, in blocks and in sentences.
fn commands(document: &str) -> Vec<String> {
    let text = read(document);
    let quoted = text.split('`').skip(1).step_by(2).map(str::to_owned);
    let typed = blocks(document, "sh").concat();
    let all = typed.lines().map(str::to_owned).chain(quoted.filter(|code| !code.contains('\n')));
    let all = all.filter(|line| is_command(line) && line.contains("ior-bridge "));
    // `ior-bridge [OPTIONS]` is what commands look like.
    all.filter(|line| !line.contains('[')).collect()
}

fn is_command(line: &str) -> bool {
    let line = line.strip_prefix("sudo ").unwrap_or(line);
    line.starts_with("ior-bridge ")
}

impl Shell {
    fn new(arguments: &str) -> Self {
        let directory = TempDir::new().unwrap();
        let script = |name: &str, text: &str| {
            let path = directory.path().join(name);
            fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        };
        script("sudo", "exec \"$@\"");
        script("ior-bridge", &format!("exec {} {arguments}", binary().display()));
        Self { directory, environment: Vec::new() }
    }

    /// With the addresses of a running bridge, which it would not find in the settings.
    fn of(&mut self, bridge: &Bridge) {
        self.environment = vec![
            ("IOR_BRIDGE__HOST", "localhost".to_owned()),
            ("IOR_BRIDGE__MQTT__LISTEN", bridge.addr.to_string()),
            ("IOR_BRIDGE__MQTTS__LISTEN", bridge.mqtts.unwrap().to_string()),
            ("IOR_BRIDGE__WEBSOCKET__LISTEN", bridge.websocket.unwrap().to_string()),
            ("IOR_BRIDGE__WEB__LISTEN", bridge.web.unwrap().to_string()),
        ];
    }

    fn run(&self, line: &str) -> Output {
        let path = format!("{}:{}", self.directory.path().display(), std::env::var("PATH").unwrap());
        let mut command = Command::new("bash");
        command.args(["-c", line]).current_dir(Path::new(self.directory.path())).env("PATH", path);
        command.envs(self.environment.iter().map(|(name, value)| (*name, value))).output().unwrap()
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
