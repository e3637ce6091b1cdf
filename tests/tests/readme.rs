//! Every command of README.md, run as it stands there.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use ior_tests::{DEADLINE, binary, process::Process};
use tempfile::TempDir;

/// `cargo run` may have to build first.
const BUILD: Duration = Duration::from_secs(15 * 60);

#[test]
fn every_command_of_the_readme_does_what_it_says() {
    let blocks = blocks();
    let mut blocks = blocks.iter().map(String::as_str);
    let mut next = |start: &str| {
        let block = blocks.next().unwrap_or_else(|| panic!("README.md has no more commands, wanted {start}"));
        assert!(block.starts_with(start), "wanted the block that starts with {start:?}, found {block:?}");
        block
    };
    let clone = Clone::new();

    let run = next("cargo run");
    let mut bridge = Process::start(
        clone
            .bash(run)
            .current_dir(repository())
            .env("IOR_BRIDGE__MQTT__LISTEN", "127.0.0.1:0")
            .env("IOR_BRIDGE__MQTTS__LISTEN", "127.0.0.1:0")
            .env("IOR_BRIDGE__WEBSOCKET__LISTEN", "127.0.0.1:0")
            .env("IOR_BRIDGE__WEB__LISTEN", "127.0.0.1:0"),
    );
    let [mqtt, mqtts] = bridge.wait_for("the ready line", BUILD, |line| {
        let (_, listeners) = line.split_once("ready: ")?;
        let mut addresses =
            listeners.split(", ").filter_map(|listener| Some(listener.split_once(' ')?.1.to_owned()));
        Some([addresses.next()?, addresses.next()?])
    });
    let bash = |block: &str| {
        let mut command = clone.bash(block);
        command.env("IOR_BRIDGE__MQTT__LISTEN", &mqtt).env("IOR_BRIDGE__MQTTS__LISTEN", &mqtts);
        command
    };

    assert_eq!(next("tests/run"), "tests/run");
    let ci = fs::read_to_string(repository().join(".ci/run")).unwrap();
    assert!(ci.contains("tests/run"), "the tests are run by what CI runs");

    let slave = Process::start(&mut bash(next("eval")));
    let master = next("eval");
    let until = Instant::now() + DEADLINE;
    while !slave.log().contains("default/connection-1/4569/speed 42") {
        assert!(Instant::now() < until, "nothing arrived; the subscriber said: {}", slave.log());
        succeed(&mut bash(master));
    }

    for line in next("target/release/ior-bridge pub").lines() {
        let output = succeed(&mut bash(line));
        assert!(output.contains("acknowledged") || output.contains("lost 0"), "{line}: {output}");
    }

    let refused = bash(next("target/release/ior-bridge explain")).output().unwrap();
    assert!(String::from_utf8_lossy(&refused.stdout).starts_with("refused"));

    for line in next("target/release/ior-bridge --help").lines() {
        succeed(&mut bash(line));
    }

    succeed(&mut bash(next("eval")));
    let hears = |line: &str| (line == "default/connection-1/4569/speed 43").then_some(());
    slave.wait_for("message over TLS", DEADLINE, hears);

    bridge.terminate();
    assert!(bridge.wait(DEADLINE).success());
    let verified = succeed(&mut bash(next("target/release/ior-bridge store verify")));
    assert!(verified.contains("Everything is whole."), "{verified}");
    assert_eq!(blocks.next(), None, "a block of commands that this test does not run");
}

#[test]
fn the_readme_names_every_setting_with_its_default() {
    let readme = readme();
    let defaults = fs::read_to_string(repository().join("bridge/src/settings/defaults.json")).unwrap();
    let defaults: serde_json::Value = serde_json::from_str(&defaults).unwrap();
    for (section, value) in defaults.as_object().unwrap() {
        let keys = match value.as_object() {
            Some(keys) => keys.iter().map(|(key, value)| (format!("{section}.{key}"), value)).collect(),
            None => vec![(section.clone(), value)],
        };
        for (key, default) in keys.into_iter().filter(|(key, _)| key != "$schema") {
            let names =
                |line: &&str| line.split('|').nth(1).is_some_and(|cell| cell.contains(&format!("`{key}`")));
            let row = readme.lines().find(names).unwrap_or_else(|| panic!("README.md does not name {key}"));
            let default = default.as_str().map_or_else(|| default.to_string(), str::to_owned);
            assert!(
                default == "null" || row.contains(&default),
                "{key}: the default is {default}, not as in {row}"
            );
        }
    }
}

/// A directory that looks like a clone after a build: the shipped configuration, the binary, data of its own.
struct Clone {
    directory: TempDir,
}

impl Clone {
    fn new() -> Self {
        let directory = TempDir::new().unwrap();
        let target = directory.path().join("target/release");
        fs::create_dir_all(&target).unwrap();
        symlink(binary(), target.join("ior-bridge")).unwrap();
        symlink(repository().join("config"), directory.path().join("config")).unwrap();
        Self { directory }
    }

    fn bash(&self, script: &str) -> Command {
        let mut command = Command::new("bash");
        // The last command takes the place of the shell, so that ending the process ends it.
        let (first, last) = script.rsplit_once('\n').unwrap_or(("", script));
        command.args(["-euo", "pipefail", "-c", &format!("{first}\nexec {last}")]);
        command.current_dir(self.directory.path());
        command.env("IOR_BRIDGE__DATA_DIR", self.directory.path().join("data"));
        command
    }
}

#[track_caller]
fn succeed(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{command:?}: {}{}", text(&output.stdout), text(&output.stderr));
    text(&output.stdout)
}

/// The `sh` blocks of README.md in their order.
fn blocks() -> Vec<String> {
    let readme = readme();
    readme.split("```sh\n").skip(1).map(|rest| rest.split_once("\n```").unwrap().0.to_owned()).collect()
}

fn readme() -> String {
    fs::read_to_string(repository().join("README.md")).unwrap()
}

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}
