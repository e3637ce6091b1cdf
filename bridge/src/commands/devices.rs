//! `devices`: all devices, or one of them in detail.

use std::path::Path;

use serde_json::json;

use super::{
    CommandError, print, print_json,
    running::Inventory,
    status::heard,
    table::{Column, grid},
    words::{Style, ago_or_never, count, messages, number, short_name, size, state},
};
use crate::{
    registry::{Known, find},
    report::{Connection, Device, DeviceLife, Session, Time, Traffic},
    settings::Environment,
};

/// Arguments of `devices`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// One device: its code, `<user>.<code>`, or its name if no other has it.
    pub device: Option<String>,
    /// Report in JSON.
    #[arg(long)]
    pub json: bool,
}

/// Prints all devices, or one in detail: as the running bridge knows them, or as they are in the files if none runs.
///
/// # Errors
/// The running bridge cannot be asked (status 1); the device is unknown or, where it is needed, the configuration invalid
/// (status 2).
pub async fn run(args: &Args, dir: &Path, environment: &Environment) -> Result<(), CommandError> {
    let inventory = Inventory::take(dir, environment).await?;
    let (style, now) = (Style::of_stdout(), Time::now());
    match &args.device {
        None if args.json => {
            print_json(&json!({ "running": inventory.running, "devices": inventory.devices }))
        }
        None => print(&list(&inventory, style, now)),
        Some(wanted) => {
            let device = meant(&inventory.devices, wanted)?;
            if args.json { print_json(&json!(device)) } else { print(&detail(device, &inventory, now)) }
        }
    }
}

fn meant<'a>(devices: &'a [Device], wanted: &str) -> Result<&'a Device, CommandError> {
    let known = devices.iter().map(|device| Known {
        thing: device,
        user: &device.user,
        code: device.code.as_str(),
        full: device.username.clone(),
        name: &device.name,
    });
    Ok(find("device", known, wanted, None)?)
}

fn list(inventory: &Inventory, style: Style, now: Time) -> String {
    if inventory.devices.is_empty() {
        return "There are no devices: add one with ior-bridge add device.\n".to_owned();
    }
    let columns = [
        Column::keys("DEVICE"),
        Column::words("NAME"),
        Column::words("TYPE"),
        Column::whole("STATE"),
        Column::words("CONNECTIONS"),
    ];
    let row = |device: &Device| {
        let connections = device.connections.join(", ");
        [short_name(device), device.name.clone(), device.kind.clone(), state(device, now), connections]
    };
    let rows: Vec<_> = inventory.devices.iter().map(row).collect();
    let width = if inventory.running { style.dot_width() } else { 0 };
    let mut text = String::new();
    for (index, line) in grid(columns, &rows, style.width() - width).into_iter().enumerate() {
        let dot = match index.checked_sub(1) {
            Some(device) => style.dot(&inventory.devices[device]),
            None => " ".repeat(width),
        };
        text.push_str(&format!("{dot}{line}\n"));
    }
    text
}

fn detail(device: &Device, inventory: &Inventory, now: Time) -> String {
    let mut text = format!("{}, {}\n", device.label(), device.kind);
    let mut line = |key: &str, value: String| text.push_str(&format!("{key:13}{value}\n"));
    line("user name", device.username.clone());
    let state = state(device, now);
    if !state.is_empty() {
        line("state", state);
    }
    if let Some(live) = &device.live {
        for (key, value) in counted(live) {
            line(key, value);
        }
        for session in &live.sessions {
            for (index, words) in described(session, now).into_iter().enumerate() {
                line(if index == 0 { "session" } else { "" }, words);
            }
        }
    }
    let mut connections = inventory.connections.iter().filter_map(|connection| joined(device, connection));
    match connections.next() {
        None => line("connections", "none: it may do nothing".to_owned()),
        Some(first) => {
            line("connections", first);
            connections.for_each(|connection| line("", connection));
        }
    }
    text
}

fn counted(live: &DeviceLife) -> [(&'static str, String); 4] {
    let traffic = |traffic: Traffic| format!("{}, {}", messages(traffic.messages), size(traffic.bytes));
    [
        ("published", traffic(live.received)),
        ("was sent", traffic(live.sent)),
        ("waiting", messages(live.queued as u64)),
        ("denied", format!("{}, dropped {}", number(live.denied), number(live.dropped))),
    ]
}

fn described(session: &Session, now: Time) -> Vec<String> {
    let mut lines = vec![format!(
        "{:?}, {}",
        session.client_id,
        match &session.link {
            Some(link) => format!("online since {} ({})", link.since, ago_or_never(Some(link.since), now)),
            None => "away".to_owned(),
        }
    )];
    if let Some(link) = &session.link {
        let keep_alive = match link.keep_alive {
            0 => "no keep alive".to_owned(),
            seconds => format!("keep alive {seconds} s"),
        };
        lines.push(format!(
            "from {} over {} with MQTT {}, {keep_alive}",
            link.address, link.transport, link.protocol
        ));
    }
    lines.push(format!(
        "{}, {} waiting, {}",
        count(session.subscriptions as u64, "subscription"),
        messages(session.queued as u64),
        heard(session, now)
    ));
    let fate =
        if session.kept { "stays on disk when its connection ends" } else { "ends with its connection" };
    lines.push(fate.to_owned());
    lines
}

/// With whom it talks in a connection, if it is one of its ends.
fn joined(device: &Device, connection: &Connection) -> Option<String> {
    let Connection { user, id, from, to, .. } = connection;
    let peer = match (from.code == device.code, to.code == device.code) {
        _ if *user != device.user => return None,
        (true, _) => to,
        (_, true) => from,
        _ => return None,
    };
    Some(format!("{id}, with {}", peer.label()))
}
