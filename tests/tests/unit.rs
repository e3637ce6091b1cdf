//! The unit that the package installs, as systemd judges it.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::{
    path::{Path, PathBuf},
    process::{Command, Output},
};

use ior_tests::binary;
use tempfile::TempDir;

/// What `systemd-analyze security` may say at most, of 10.
const EXPOSURE: &str = "1.2";

#[test]
fn the_unit_is_valid() {
    let directory = TempDir::new().unwrap();
    let unit = directory.path().join("ior-bridge.service");
    // The binary is not installed here, nor is its user.
    let text = std::fs::read_to_string(path()).unwrap();
    let text = text.replace("/usr/bin/ior-bridge", &binary().canonicalize().unwrap().display().to_string());
    std::fs::write(&unit, text).unwrap();
    let output = analyze(&["verify", "--man=no", "--recursive-errors=one"], &unit);
    let said = said(&output);
    assert!(output.status.success() && !said.contains("ior-bridge.service"), "{said}");
}

#[test]
fn the_unit_is_as_closed_as_it_can_be() {
    let output = analyze(&["security", "--offline=yes", "--no-pager"], &path());
    let said = said(&output);
    let overall = said.lines().find_map(|line| line.split_once("exposure level for ior-bridge.service: "));
    let (_, exposure) = overall.unwrap_or_else(|| panic!("{said}"));
    let number = |text: &str| text.split_whitespace().next().unwrap().parse::<f32>().unwrap();
    assert!(number(exposure) <= number(EXPOSURE), "{said}");
}

#[test]
fn what_the_tests_of_the_service_rely_on_stands_in_the_unit() {
    let text = std::fs::read_to_string(path()).unwrap();
    let has = |line: &str| assert!(text.lines().any(|other| other == line), "{line}");
    for line in [
        "Type=notify",
        "NotifyAccess=main",
        "ExecStart=/usr/bin/ior-bridge --config /etc/ior-bridge run",
        "ExecReload=/usr/bin/ior-bridge --config /etc/ior-bridge reload",
        "WatchdogSec=30",
        "Restart=on-failure",
        "RestartPreventExitStatus=2",
        "StartLimitBurst=5000",
        "StateDirectory=ior-bridge",
        "RuntimeDirectory=ior-bridge",
        "ProtectSystem=strict",
        "ReadWritePaths=-/etc/ior-bridge/registry",
        "User=ior-bridge",
        "LimitCORE=0",
    ] {
        has(line);
    }
}

fn path() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/ior-bridge.service").canonicalize().unwrap()
}

fn analyze(arguments: &[&str], unit: &Path) -> Output {
    let mut command = Command::new("systemd-analyze");
    command.args(arguments).arg(unit).env("SYSTEMD_PAGER", "");
    command.output().expect("systemd-analyze runs (tests/install installs it)")
}

fn said(output: &Output) -> String {
    [&output.stdout, &output.stderr].map(|out| String::from_utf8_lossy(out).into_owned()).concat()
}
