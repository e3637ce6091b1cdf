//! `check`: is the configuration right, and who may do what?

use std::path::Path;

use serde_json::json;

use super::{CommandError, print, print_json, table::table};
use crate::{
    configuration::Configuration,
    policy::{Action, Rights},
    registry::{Connection, Device, End, Registry},
    settings::Environment,
};

/// Arguments of `check`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Report in JSON.
    #[arg(long)]
    pub json: bool,
}

/// Checks the configuration and prints the access table.
///
/// # Errors
/// The configuration is invalid (status 2).
pub fn run(args: &Args, dir: &Path, environment: &Environment) -> Result<(), CommandError> {
    match Configuration::load(dir, environment) {
        Ok(configuration) if args.json => print_json(&report(&configuration.registry)),
        Ok(configuration) => print(&access_table(&configuration.registry)),
        Err(problems) if args.json => {
            print_json(&json!({ "ok": false, "problems": problems.to_json() }))?;
            Err(CommandError::reported(2))
        }
        Err(problems) => Err(problems.into()),
    }
}

/// Connections, and what every device may publish and subscribe to.
pub fn access_table(registry: &Registry) -> String {
    let mut text = String::new();
    if registry.connections().is_empty() {
        text.push_str("No connections: no two devices can exchange a byte.\n");
    } else {
        text.push_str(&connection_table(registry));
        text.push('\n');
        text.push_str(&table(["DEVICE", "MAY PUBLISH", "MAY SUBSCRIBE"], &access_rows(registry)));
        text.push_str(
            "\nMay publish: to this topic and everything below it.\n\
             May subscribe: to this filter, to narrower ones, and to the peer's presence,\n\
             <user>/<connection>/presence/<peer>.\n",
        );
    }
    for device in registry.devices().iter().filter(|device| device.disabled) {
        text.push_str(&format!("{} is disabled: it may not log in.\n", device.user_name()));
    }
    for rights in Rights::of_all(registry).iter().filter(|rights| rights.connections().next().is_none()) {
        text.push_str(&format!("{} has no connection: it may do nothing.\n", rights.name()));
    }
    let (devices, connections) = (registry.devices().len(), registry.connections().len());
    text.push_str(&format!("\nThe configuration is fine: {devices} devices, {connections} connections.\n"));
    text
}

/// Which devices talk.
pub(super) fn connection_table(registry: &Registry) -> String {
    let row = |connection: &Connection| {
        let [from, to] = End::BOTH.map(|end| registry.end(connection, end));
        let show = |device: &Device| format!("{} {}", device.code, device.name);
        [format!("{}/{}", connection.user, connection.id), show(from), show(to), connection.name.clone()]
    };
    let rows: Vec<_> = registry.connections().iter().map(row).collect();
    table(["CONNECTION", "FROM", "TO", "NAME"], &rows)
}

fn access_rows(registry: &Registry) -> Vec<[String; 3]> {
    let mut rows = Vec::new();
    for connection in registry.connections() {
        for end in End::BOTH {
            let device = registry.end(connection, end);
            let peer = registry.end(connection, end.peer());
            let base = format!("{}/{}", connection.user, connection.id);
            rows.push([
                device.user_name(),
                format!("{base}/{}", device.code),
                format!("{base}/{}/#", peer.code),
            ]);
        }
    }
    rows
}

fn report(registry: &Registry) -> serde_json::Value {
    let device = |(device, rights): (&Device, &Rights)| {
        json!({
            "user": &*device.user,
            "code": device.code.to_json(),
            "name": device.name,
            "type": device.kind,
            "disabled": device.disabled,
            "username": rights.name(),
            "publish": rights.allowed(Action::Publish),
            "subscribe": rights.allowed(Action::Subscribe),
        })
    };
    let connection = |connection: &Connection| {
        let [from, to] = End::BOTH.map(|end| registry.end(connection, end).code.to_json());
        json!({
            "user": &*connection.user, "id": &*connection.id, "name": connection.name, "from": from, "to": to,
        })
    };
    json!({
        "ok": true,
        "devices": registry.devices().iter().zip(&Rights::of_all(registry)).map(device).collect::<Vec<_>>(),
        "connections": registry.connections().iter().map(connection).collect::<Vec<_>>(),
    })
}
