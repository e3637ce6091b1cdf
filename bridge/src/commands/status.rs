//! `status`: what the running bridge does.

use std::{collections::BTreeMap, path::Path, time::Duration};

use serde_json::Value;

use super::{
    CommandError, print, print_json,
    running::Running,
    table::{Column, WIDTH, grid},
    words::{Colour, Style, ago, ago_or_never, clip, count, number, short_id, short_name, size, span, state},
};
use crate::{
    control::Request,
    report::{Connection, Device, Direction, Session, Status, Store, Time, Totals},
    settings::Environment,
};

/// Arguments of `status`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Report in JSON.
    #[arg(long)]
    pub json: bool,
}

/// How far the values stand to the right of what they are of.
const KEY: usize = 13;

/// Prints what the running bridge does: its listeners, store, devices and connections.
///
/// # Errors
/// No bridge is running, or it cannot be asked (status 1); `server.json` is invalid (status 2).
pub async fn run(args: &Args, dir: &Path, environment: &Environment) -> Result<(), CommandError> {
    let mut client = Running::find(dir, environment)?.require().await?;
    if args.json {
        // As it is: programs may know more of another version than this one does.
        return print_json(&client.ask::<Value>(&Request::Status).await?);
    }
    let status: Status = client.ask(&Request::Status).await?;
    if status.bridge.version != env!("CARGO_PKG_VERSION") {
        let (running, own) = (&status.bridge.version, env!("CARGO_PKG_VERSION"));
        eprintln!(
            "note: the running bridge is version {running}, this program is {own}: restart it to have it updated"
        );
    }
    print(&text(&status, Style::of_stdout(), Time::now()))
}

fn text(status: &Status, style: Style, now: Time) -> String {
    let mut lines = overview(status, style, now);
    lines.push(String::new());
    lines.extend(devices(&status.devices, style, now));
    lines.push(String::new());
    lines.extend(connections(&status.connections, now));
    lines.push(String::new());
    lines.join("\n")
}

fn overview(status: &Status, style: Style, now: Time) -> Vec<String> {
    let Status { bridge, listeners, store, totals, devices, .. } = status;
    let mut lines = vec![format!(
        "ior-bridge {} on {}, process {}, up {}",
        bridge.version,
        bridge.host,
        bridge.pid,
        span(Duration::from_secs(bridge.uptime))
    )];
    let listeners: Vec<_> =
        listeners.iter().map(|listener| format!("{} {}", listener.name, listener.address)).collect();
    wrap(&mut lines, "listeners", &listeners);
    store_lines(&mut lines, store, style, now);
    let online = format!("{} of {} online", totals.devices_online, devices.len());
    wrap(&mut lines, "devices", &[online, count(totals.sessions, "session")]);
    wrap(&mut lines, "since start", &counted(totals));
    if !totals.limits.is_empty() {
        wrap(&mut lines, "limits", &acted(&totals.limits));
    }
    lines
}

fn store_lines(lines: &mut Vec<String>, store: &Store, style: Style, now: Time) {
    let Some(disk) = &store.disk else {
        return wrap(lines, "store", &[format!("{}, nothing survives a restart", store.durability)]);
    };
    let used = format!("{} ({} free)", size(disk.bytes), size(disk.free_bytes));
    let written = format!("written {}", ago_or_never(disk.last_commit, now));
    wrap(lines, "store", &[store.durability.clone(), used, written]);
    if let Some(why) = &disk.failing {
        let failing = style.paint(Colour::Red, "messages cannot be kept");
        lines.push(format!("{:KEY$}{failing}: {why}", ""));
    }
}

/// What happened, and what went wrong if anything did.
fn counted(totals: &Totals) -> Vec<String> {
    let always = [format!("{} published", number(totals.published)), format!("{} retained", totals.retained)];
    let problems = [
        (totals.denied, "denied"),
        (totals.queue_full, "refused by full queues"),
        (totals.not_kept, "not kept"),
        (totals.dropped, "dropped"),
        (totals.refused_connections, "refused connections"),
    ];
    let problems = problems.iter().filter(|(times, _)| *times > 0);
    always.into_iter().chain(problems.map(|(times, what)| format!("{} {what}", number(*times)))).collect()
}

/// The limits that acted, and how often.
fn acted(limits: &BTreeMap<String, u64>) -> Vec<String> {
    limits.iter().map(|(limit, times)| format!("{limit} {}", number(*times))).collect()
}

/// Words with commas between them, on as many lines as they need.
fn wrap(lines: &mut Vec<String>, key: &str, words: &[String]) {
    let mut line = format!("{key:KEY$}");
    for (index, word) in words.iter().enumerate() {
        let comma = if index + 1 < words.len() { "," } else { "" };
        let length = line.chars().count();
        if length > KEY && length + 1 + word.chars().count() + comma.len() > WIDTH {
            lines.push(std::mem::replace(&mut line, " ".repeat(KEY)));
        }
        let space = if line.chars().count() > KEY { " " } else { "" };
        line.push_str(&format!("{space}{word}{comma}"));
    }
    lines.push(line);
}

/// A line for each device, and one below for each of its sessions.
fn devices(devices: &[Device], style: Style, now: Time) -> Vec<String> {
    if devices.is_empty() {
        return vec!["There are no devices: add one with ior-bridge add device.".to_owned()];
    }
    let columns = [
        Column::whole("DEVICE"),
        Column::words("NAME"),
        Column::whole("STATE"),
        Column::numbers("IN"),
        Column::numbers("OUT"),
        Column::numbers("QUEUED"),
        Column::numbers("DENIED"),
    ];
    let row = |device: &Device| {
        let live = device.live.clone().unwrap_or_default();
        [
            short_name(device),
            device.name.clone(),
            state(device, now),
            number(live.received.messages),
            number(live.sent.messages),
            number(live.queued as u64),
            number(live.denied),
        ]
    };
    let rows: Vec<_> = devices.iter().map(row).collect();
    let mut grid = grid(columns, &rows, style.dot_width()).into_iter();
    let indent = " ".repeat(style.dot_width());
    let mut lines: Vec<_> = grid.next().map(|header| format!("{indent}{header}")).into_iter().collect();
    for (device, line) in devices.iter().zip(grid) {
        lines.push(style.dot(device) + &line);
        let sessions = device.live.iter().flat_map(|live| &live.sessions);
        lines.extend(
            sessions.map(|session| format!("{indent}  {}", brief(session, WIDTH - indent.len() - 2))),
        );
    }
    lines
}

/// One line about a session, at most so wide.
fn brief(session: &Session, width: usize) -> String {
    let how = match &session.link {
        Some(link) => {
            format!(" from {}, {}, MQTT {}", link.address, link.transport, link.protocol)
        }
        None => format!(" is away, {} waiting", count(session.queued, "message")),
    };
    let left = width.saturating_sub(how.chars().count());
    format!("{}{how}", clip(&format!("{:?}", session.client_id), left))
}

/// Two lines for each connection, one for each direction.
fn connections(connections: &[Connection], now: Time) -> Vec<String> {
    if connections.is_empty() {
        return vec!["There are no connections: no two devices can exchange a byte.".to_owned()];
    }
    let columns = [
        Column::words("CONNECTION"),
        Column::words("DIRECTION"),
        Column::numbers("MESSAGES"),
        Column::numbers("LAST"),
        Column::numbers("WAITING"),
        Column::numbers("REFUSED"),
    ];
    let row = |id: String, from: &str, to: &str, direction: &Direction| {
        [
            id,
            format!("{from} → {to}"),
            number(direction.published.messages),
            ago_or_never(direction.last, now),
            waiting(direction),
            number(direction.refused),
        ]
    };
    let mut rows = Vec::new();
    for connection in connections {
        let Some(live) = &connection.live else { continue };
        let (from, to) = (connection.from.code.as_str(), connection.to.code.as_str());
        rows.push(row(short_id(connection), from, to, &live.from_to));
        rows.push(row(String::new(), to, from, &live.to_from));
    }
    grid(columns, &rows, 0)
}

/// Messages and bytes.
pub(super) fn waiting(direction: &Direction) -> String {
    match direction.waiting.messages {
        0 => "0".to_owned(),
        messages => format!("{} ({})", number(messages), size(direction.waiting.bytes)),
    }
}

/// When a session's client was heard last.
pub(super) fn heard(session: &Session, now: Time) -> String {
    session
        .last_heard
        .map_or_else(|| "not heard of yet".to_owned(), |heard| format!("heard {}", ago(heard, now)))
}
