//! `check`: is the configuration right, who may do what, and can the data directory keep what it is given?

use std::{path::Path, time::SystemTime};

use serde_json::json;

use super::{CommandError, data_dir::DataDir, print, print_json, table::table};
use crate::{
    configuration::Configuration,
    policy::{Action, Rights},
    registry::{Connection, Device, End, Registry},
    rotation::{Previous, Rotation},
    settings::{Environment, Settings},
};

/// Arguments of `check`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Report in JSON.
    #[arg(long)]
    pub json: bool,
}

/// Checks the configuration and the data directory, and prints the access table.
///
/// # Errors
/// The configuration is invalid (status 2), or the data directory cannot be written (status 1).
pub fn run(args: &Args, dir: &Path, environment: &Environment) -> Result<(), CommandError> {
    match Configuration::load(dir, environment) {
        Ok(configuration) => show(args, &configuration),
        Err(problems) if args.json => {
            print_json(&json!({ "ok": false, "problems": problems.to_json() }))?;
            Err(CommandError::reported(2))
        }
        Err(problems) => Err(problems.into()),
    }
}

fn show(args: &Args, configuration: &Configuration) -> Result<(), CommandError> {
    let Configuration { settings, registry, .. } = configuration;
    let data_dir = DataDir::examine(settings);
    let rotation = Rotation::load(&settings.data_dir);
    let problem = data_dir.as_ref().and_then(DataDir::problem);
    let problem = problem.or_else(|| rotation.as_ref().err().map(ToString::to_string));
    let accepted = Accepted { settings, rotation: rotation.unwrap_or_default() };
    if args.json {
        print_json(&report(registry, data_dir.as_ref(), &accepted, problem.as_deref()))?;
    } else {
        print(&access_table(registry))?;
        print(&rotation_table(registry, &accepted))?;
        print(&data_dir.as_ref().map_or_else(String::new, DataDir::to_text))?;
        let (devices, connections) = (registry.devices().len(), registry.connections().len());
        print(&format!("\nThe configuration is fine: {devices} devices, {connections} connections.\n"))?;
    }
    match problem {
        Some(_) if args.json => Err(CommandError::reported(1)),
        Some(problem) => Err(CommandError::failed(problem)),
        None => Ok(()),
    }
}

/// Which previous passwords are accepted now.
struct Accepted<'a> {
    settings: &'a Settings,
    rotation: Rotation,
}

impl Accepted<'_> {
    fn of(&self, device: &Device) -> Vec<Previous> {
        let now = SystemTime::now();
        let window = self.settings.limits.rotation_window;
        let name = device.user_name();
        self.rotation.previous(&name, window).filter(|previous| now < previous.until).collect()
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

/// Devices whose previous passwords are accepted still; empty if there are none.
fn rotation_table(registry: &Registry, accepted: &Accepted<'_>) -> String {
    let row = |device: &Device, previous: &Previous| {
        let time = |time| humantime::format_rfc3339_seconds(time).to_string();
        [
            device.user_name(),
            device.secret_version.to_string(),
            previous.version.to_string(),
            time(previous.until),
            previous.last_used.map_or_else(|| "never".to_owned(), time),
        ]
    };
    let of_device = |device| accepted.of(device).into_iter().map(move |previous| row(device, &previous));
    let rows: Vec<_> = registry.devices().iter().flat_map(of_device).collect();
    if rows.is_empty() {
        return String::new();
    }
    let header = ["DEVICE", "VERSION", "PREVIOUS", "ACCEPTED UNTIL", "LAST USED"];
    format!("\n{}", table(header, &rows))
}

fn report(
    registry: &Registry,
    data_dir: Option<&DataDir>,
    accepted: &Accepted<'_>,
    problem: Option<&str>,
) -> serde_json::Value {
    let previous = |previous: Previous| {
        let time = |time| humantime::format_rfc3339_seconds(time).to_string();
        json!({
            "version": previous.version,
            "accepted_until": time(previous.until),
            "last_used": previous.last_used.map(time),
        })
    };
    let device = |(device, rights): (&Device, &Rights)| {
        json!({
            "user": &*device.user,
            "code": device.code.to_json(),
            "name": device.name,
            "type": device.kind,
            "disabled": device.disabled,
            "secret_version": device.secret_version,
            "previous": accepted.of(device).into_iter().map(previous).collect::<Vec<_>>(),
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
        "ok": problem.is_none(),
        "problem": problem,
        "data_dir": data_dir.map(DataDir::to_json),
        "devices": registry.devices().iter().zip(&Rights::of_all(registry)).map(device).collect::<Vec<_>>(),
        "connections": registry.connections().iter().map(connection).collect::<Vec<_>>(),
    })
}
