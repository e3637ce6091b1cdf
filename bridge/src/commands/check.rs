//! `check`: is the configuration right, who may do what, can the data directory keep what it is given, and do devices
//! accept the certificate?

use std::{path::Path, time::SystemTime};

use serde_json::json;

use super::{CommandError, data_dir::DataDir, print, print_json, table::table};
use crate::{
    configuration::Configuration,
    policy::{Action, Rights},
    registry::{Connection, Device, End, Registry},
    settings::Environment,
    tls::{self, TlsError},
};

/// Arguments of `check`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Report in JSON.
    #[arg(long)]
    pub json: bool,
}

/// Checks the configuration, the data directory and the certificates, and prints the access table.
///
/// # Errors
/// The configuration is invalid (status 2), or the data directory cannot be written, the CA is damaged or devices refuse
/// the certificate (status 1).
pub fn run(args: &Args, dir: &Path, environment: &Environment) -> Result<(), CommandError> {
    match Configuration::load(dir, environment) {
        Ok(configuration) => show(args, &configuration),
        Err(problems) if args.json => {
            print_json(&json!({ "ok": false, "count": problems.len(), "problems": problems.to_json() }))?;
            Err(CommandError::reported(2))
        }
        Err(problems) => Err(problems.into()),
    }
}

fn show(args: &Args, configuration: &Configuration) -> Result<(), CommandError> {
    let Configuration { settings, registry, .. } = configuration;
    let data_dir = DataDir::examine(settings);
    let tls = tls::examine(settings, SystemTime::now());
    let error = error(data_dir.as_ref(), &tls);
    if args.json {
        print_json(&report(registry, data_dir.as_ref(), &tls))?;
        return error.map_or(Ok(()), |error| Err(CommandError::reported(error.status())));
    }
    print(&access_table(registry))?;
    print(&data_dir.as_ref().map_or_else(String::new, DataDir::to_text))?;
    print(&tls.as_ref().map_or_else(|_| String::new(), certificates))?;
    let (devices, connections) = (registry.devices().len(), registry.connections().len());
    if error.as_ref().is_none_or(|error| error.status() == 1) {
        print(&format!("\nThe configuration is fine: {devices} devices, {connections} connections.\n"))?;
    }
    error.map_or(Ok(()), Err)
}

/// The first thing that is wrong beside the configuration's text.
fn error(data_dir: Option<&DataDir>, tls: &Result<tls::Report, TlsError>) -> Option<CommandError> {
    let of_data_dir = data_dir.and_then(DataDir::problem).map(CommandError::failed);
    of_data_dir.or_else(|| match tls {
        Ok(report) => report.fault.as_ref().map(CommandError::failed),
        Err(error) => Some(error.clone().into()),
    })
}

fn certificates(report: &tls::Report) -> String {
    let mut text = format!("\nTLS: {}.\n", report.what);
    for notice in &report.notices {
        text.push_str(&format!("warning: {notice}\n"));
    }
    text
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

fn report(
    registry: &Registry,
    data_dir: Option<&DataDir>,
    tls: &Result<tls::Report, TlsError>,
) -> serde_json::Value {
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
        "ok": error(data_dir, tls).is_none(),
        "data_dir": data_dir.map(DataDir::to_json),
        "tls": match tls {
            Ok(report) => json!({ "what": report.what, "warnings": report.notices, "problem": report.fault }),
            Err(error) => json!({ "problem": error.to_string() }),
        },
        "devices": registry.devices().iter().zip(&Rights::of_all(registry)).map(device).collect::<Vec<_>>(),
        "connections": registry.connections().iter().map(connection).collect::<Vec<_>>(),
    })
}
