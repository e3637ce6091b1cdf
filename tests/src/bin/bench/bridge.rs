//! ior-bridge, the real binary with its defaults, a generated configuration and the credentials that it writes.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use crate::Result;
use crate::client::{Device, DevicePair};
use crate::relay::{Keeping, codes};
use crate::wire::Login;

/// Writes `config/devices.json` and `config/connections.json`.
pub(crate) fn configure(directory: &Path, pairs: usize) -> Result<()> {
    let (mut devices, mut connections) = (Vec::new(), Vec::new());
    for number in 1..=pairs {
        let (from, to) = codes(number);
        for code in [from, to] {
            devices.push(json!({ "code": code, "name": format!("Device {code}"), "type": "Bench" }));
        }
        connections
            .push(json!({ "name": format!("Bench {number}"), "id": id(number), "from": from, "to": to }));
    }
    let config = directory.join("config");
    fs::create_dir(&config)?;
    fs::write(config.join("devices.json"), json!({ "devices": devices }).to_string())?;
    fs::write(config.join("connections.json"), json!({ "connections": connections }).to_string())?;
    Ok(())
}

/// The command that runs it on `address`, with its configuration in `directory` and its data in `data`; `environment`
/// has the last word.
pub(crate) fn command(
    binary: &Path,
    (directory, data): (&Path, &Path),
    address: SocketAddr,
    keeping: Keeping,
    environment: &[(String, String)],
) -> Command {
    let durable: &[_] = match keeping {
        Keeping::Shipped => &[],
        Keeping::Durable | Keeping::Written => &[
            ("IOR_BRIDGE__DURABILITY", "fsync"),
            ("IOR_BRIDGE__LIMITS__QUEUE_MESSAGES", "100000000"),
            ("IOR_BRIDGE__LIMITS__QUEUE_BYTES", "64GiB"),
        ],
    };
    let mut command = Command::new(binary);
    command
        .arg("--config")
        .arg(directory.join("config"))
        .env("IOR_BRIDGE__MQTT__LISTEN", address.to_string())
        .env("IOR_BRIDGE__MQTTS__LISTEN", "127.0.0.1:0")
        .env("IOR_BRIDGE__WEBSOCKET__LISTEN", "127.0.0.1:0")
        .env("IOR_BRIDGE__WEB__LISTEN", "127.0.0.1:0")
        .env("IOR_BRIDGE__DATA_DIR", data)
        // All devices are on this machine.
        .env("IOR_BRIDGE__LIMITS__CONNECTIONS_PER_ADDRESS", "0")
        .envs(durable.iter().copied())
        .envs(environment.iter().map(|(key, value)| (key, value)));
    command
}

/// The login of the first connection's `from`, once its credential file is written.
pub(crate) fn first_login(data: &Path) -> Result<Option<Login>> {
    let file = credential_file(data, 1, "from");
    // A start writes the files while this looks: one that is not whole yet is not there yet.
    Ok(if file.exists() { device(&file).ok().map(|device| device.login) } else { None })
}

/// Whether the credential files of both ends of every connection are there.
pub(crate) fn is_complete(data: &Path, pairs: usize) -> bool {
    (1..=pairs).all(|number| {
        ["from", "to"]
            .iter()
            .all(|end| fs::metadata(credential_file(data, number, end)).is_ok_and(|file| file.len() > 0))
    })
}

/// All devices, from their credential files.
pub(crate) fn devices(data: &Path, pairs: usize) -> Result<Vec<DevicePair>> {
    (1..=pairs)
        .map(|number| {
            Ok(DevicePair {
                from: device(&credential_file(data, number, "from"))?,
                to: device(&credential_file(data, number, "to"))?,
            })
        })
        .collect()
}

fn id(number: usize) -> String {
    format!("bench-{number}")
}

fn credential_file(data: &Path, number: usize, end: &str) -> PathBuf {
    data.join("credentials/default").join(id(number)).join(format!("{end}.json"))
}

fn device(file: &Path) -> Result<Device> {
    let text =
        fs::read_to_string(file).map_err(|error| format!("cannot read {}: {error}", file.display()))?;
    let credentials: Value = serde_json::from_str(&text)?;
    let string = |pointer: &str| -> Result<String> {
        let value = credentials.pointer(pointer).and_then(Value::as_str);
        value.map(str::to_owned).ok_or_else(|| format!("no {pointer} in {}", file.display()).into())
    };
    Ok(Device {
        login: Login {
            client_id: string("/mqtt/client_id")?,
            username: string("/mqtt/username")?,
            password: string("/mqtt/password")?,
        },
        publish: string("/topics/publish")?,
        subscribe: string("/topics/subscribe")?,
    })
}
