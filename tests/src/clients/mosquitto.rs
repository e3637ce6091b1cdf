//! `mosquitto_pub` and `mosquitto_sub`.

use std::{
    io::Write,
    process::{Command, Stdio},
};

use super::{Login, Subscription};
use crate::{DEADLINE, process::Process, raw::Version, tls::Tls};

pub(super) fn subscribe(version: Version, login: &Login, subscription: Subscription<'_>) -> Process {
    // Into a pipe it would keep its debug lines to itself.
    let mut command = Command::new("stdbuf");
    command.args(["-oL", "mosquitto_sub"]);
    log_in(&mut command, version, login);
    command.args(["-d", "-F", "message %q %r %t %x", "-t", subscription.filter]);
    command.args(["-q", &subscription.qos.to_string()]);
    if subscription.persistent {
        command.arg("-c");
        if version == Version::V5 {
            command.args(["-x", "3600"]);
        }
    }
    let process = Process::start(&mut command);
    process.wait_for("SUBACK", DEADLINE, |line| line.starts_with("Subscribed").then_some(()));
    process
}

pub(super) fn publish(version: Version, login: &Login, topic: &str, qos: u8, payloads: &[Vec<u8>]) {
    let mut command = Command::new("mosquitto_pub");
    log_in(&mut command, version, login);
    command.args(["-t", topic, "-q", &qos.to_string()]);
    // `-s` sends all of its input as one message, `-l` one message per line.
    command.arg(if payloads.len() == 1 { "-s" } else { "-l" });
    let mut child = command.stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("mosquitto_pub runs");
    let mut input = child.stdin.take().unwrap();
    input.write_all(&payloads.join(&b'\n')).unwrap();
    drop(input);
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "mosquitto_pub: {}", String::from_utf8_lossy(&output.stderr));
}

fn log_in(command: &mut Command, version: Version, login: &Login) {
    command.args(["-h", &login.host(), "-p", &login.addr.port().to_string()]);
    if let Some(Tls { ca, own }) = &login.tls {
        command.arg("--cafile").arg(ca);
        if let Some((cert, key)) = own {
            command.arg("--cert").arg(cert).arg("--key").arg(key);
        }
    }
    command.args(["-i", &login.client_id, "-u", &login.username, "-P", &login.password]);
    command.args(["-V", if version == Version::V5 { "mqttv5" } else { "mqttv311" }]);
}
