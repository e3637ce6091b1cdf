//! paho-mqtt, through the scripts in `tests/paho/`.

use std::{
    io::Write,
    path::Path,
    process::{Command, Stdio},
};

use super::{Login, Subscription, hex};
use crate::{DEADLINE, process::Process, raw::Version};

pub(super) fn subscribe(
    transport: &str,
    version: Version,
    login: &Login,
    subscription: Subscription<'_>,
) -> Process {
    let mut command = script("subscribe.py", transport, version, login);
    command.args([subscription.filter, &subscription.qos.to_string()]);
    command.arg(if subscription.persistent { "persistent" } else { "clean" });
    let process = Process::start(&mut command);
    process.wait_for("SUBACK", DEADLINE * 2, |line| (line == "subscribed").then_some(()));
    process
}

pub(super) fn publish(
    transport: &str,
    version: Version,
    login: &Login,
    topic: &str,
    qos: u8,
    payloads: &[Vec<u8>],
) {
    let mut command = script("publish.py", transport, version, login);
    command.args([topic, &qos.to_string()]);
    let mut child = command.stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("Python runs");
    let mut input = child.stdin.take().unwrap();
    for payload in payloads {
        writeln!(input, "{}", hex(payload)).unwrap();
    }
    drop(input);
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "publish.py: {}", String::from_utf8_lossy(&output.stderr));
}

fn script(name: &str, transport: &str, version: Version, login: &Login) -> Command {
    let python = std::env::var_os("IOR_PYTHON").unwrap_or_else(|| "python3".into());
    let mut command = Command::new(python);
    command.arg("-B").arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("paho").join(name));
    command.env("IOR_PAHO_TRANSPORT", transport);
    command.args([login.host(), login.addr.port().to_string()]);
    if let Some(tls) = &login.tls {
        command.env("IOR_PAHO_CA", &tls.ca);
    }
    command.args([&login.client_id, &login.username, &login.password]);
    command.arg(if version == Version::V5 { "5" } else { "4" });
    command
}
