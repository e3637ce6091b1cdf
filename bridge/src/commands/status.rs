//! `status`: what the running bridge does.

use std::{collections::BTreeMap, path::Path, time::Duration};

use serde_json::Value;

use super::{
    CommandError, print, print_json,
    running::Running,
    table::{Column, grid},
    words::{
        Colour, Style, ago, ago_or_never, clip, count, messages, number, short_id, short_name, size, span,
        state, width,
    },
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
    lines.extend(connections(&status.connections, style, now));
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
    let mut add = |key: &str, words: Vec<String>| lines.extend(wrap(key, &words, style.width()));
    let listeners = listeners.iter().map(|listener| format!("{} {}", listener.name, listener.address));
    add("listeners", listed(listeners));
    add("store", listed(stored(store, now)));
    let online = format!("{} of {} online", totals.devices_online, devices.len());
    add("devices", listed([online, count(totals.sessions as u64, "session")]));
    add("since start", listed(counted(totals)));
    if !totals.limits.is_empty() {
        add("limits hit", listed(acted(&totals.limits)));
    }
    // Before all else: no message that has to be kept is taken.
    lines.splice(1..1, failing(store, style));
    lines
}

/// That nothing can be kept, and why, if it is so.
fn failing(store: &Store, style: Style) -> Vec<String> {
    let Some(why) = store.disk.as_ref().and_then(|disk| disk.failing.as_ref()) else { return Vec::new() };
    let words: Vec<_> =
        format!("messages cannot be kept: {why}").split_whitespace().map(str::to_owned).collect();
    wrap("FAILING", &words, style.width()).iter().map(|line| style.paint(Colour::Red, line)).collect()
}

fn stored(store: &Store, now: Time) -> Vec<String> {
    let Some(disk) = &store.disk else {
        return vec![store.durability.clone(), "nothing survives a restart".to_owned()];
    };
    let free = if disk.free_bytes > 0 { format!(" ({} free)", size(disk.free_bytes)) } else { String::new() };
    let written = match disk.last_commit {
        Some(then) => format!("written {}", ago(then, now)),
        None => "nothing written yet".to_owned(),
    };
    vec![store.durability.clone(), size(disk.bytes) + &free, written]
}

/// What happened, and what went wrong if anything did.
fn counted(totals: &Totals) -> Vec<String> {
    let always = [(totals.received, "received"), (totals.retained as u64, "retained")];
    let problems = [
        (totals.denied, "denied"),
        (totals.queue_full, "refused by full queues"),
        (totals.not_kept, "not kept"),
        (totals.dropped, "dropped"),
        (totals.refused_connections, "refused connections"),
    ];
    let problems = problems.into_iter().filter(|(times, _)| *times > 0);
    always.into_iter().chain(problems).map(|(times, what)| format!("{what} {}", number(times))).collect()
}

/// The limits that acted, and how often.
fn acted(limits: &BTreeMap<String, u64>) -> Vec<String> {
    limits.iter().map(|(limit, times)| format!("{limit} {}", number(*times))).collect()
}

/// With commas between them.
fn listed(things: impl IntoIterator<Item = String>) -> Vec<String> {
    let mut things: Vec<_> = things.into_iter().map(|thing| thing + ",").collect();
    if let Some(last) = things.last_mut() {
        last.pop();
    }
    things
}

/// Words behind what they are about, on as many lines as they need.
fn wrap(key: &str, words: &[String], most: usize) -> Vec<String> {
    let mut lines = vec![format!("{key:KEY$}")];
    let mut place = 0;
    for word in words {
        if place > 0 && KEY + place + 1 + width(word) > most {
            lines.push(" ".repeat(KEY));
            place = 0;
        }
        if let Some(line) = lines.last_mut() {
            let space = if place > 0 { " " } else { "" };
            line.push_str(&format!("{space}{word}"));
            place += space.len() + width(word);
        }
    }
    lines
}

/// A line for each device, and one below for each of its sessions.
fn devices(devices: &[Device], style: Style, now: Time) -> Vec<String> {
    if devices.is_empty() {
        return vec!["There are no devices: add one with ior-bridge add device.".to_owned()];
    }
    let columns = [
        Column::keys("DEVICE"),
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
    let mut grid = grid(columns, &rows, style.width() - style.dot_width()).into_iter();
    let indent = " ".repeat(style.dot_width());
    let mut lines: Vec<_> = grid.next().map(|header| format!("{indent}{header}")).into_iter().collect();
    for (device, line) in devices.iter().zip(grid) {
        lines.push(style.dot(device) + &line);
        let sessions = device.live.iter().flat_map(|live| &live.sessions);
        lines.extend(
            sessions.map(|session| format!("{indent}  {}", brief(session, style.width() - indent.len() - 2))),
        );
    }
    lines
}

/// One line about a session, at most so wide.
fn brief(session: &Session, most: usize) -> String {
    let how = match &session.link {
        Some(link) => {
            format!(" from {}, {}, MQTT {}", link.address, link.transport, link.protocol)
        }
        None => format!(" is away, {} waiting", messages(session.queued as u64)),
    };
    let left = most.saturating_sub(width(&how) + 2);
    format!("\"{}\"{how}", clip(&session.client_id.escape_debug().to_string(), left))
}

/// Two lines for each connection, one for each direction.
fn connections(connections: &[Connection], style: Style, now: Time) -> Vec<String> {
    if connections.is_empty() {
        return vec!["There are no connections: no two devices can exchange a byte.".to_owned()];
    }
    let columns = [
        Column::keys("CONNECTION"),
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
    grid(columns, &rows, style.width())
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::report::{
        ConnectionLife, DeviceLife, Disk, Endpoint, Latency, Link, Listener, Process, Traffic,
    };

    const NOW: u64 = 1_800_000_000_000;

    fn ago_s(seconds: u64) -> Option<Time> {
        Some(Time::from_unix_ms(NOW - 1000 * seconds))
    }

    fn device(code: &str, name: &str, live: DeviceLife) -> Device {
        Device {
            user: "default".to_owned(),
            code: crate::registry::DeviceCode::new(code).unwrap(),
            name: name.to_owned(),
            kind: "Pi".to_owned(),
            disabled: false,
            username: format!("default.{code}"),
            connections: vec!["connection-1".to_owned()],
            live: Some(live),
        }
    }

    fn status() -> Status {
        let session = Session {
            client_id: "x".repeat(100),
            online: true,
            kept: true,
            subscriptions: 1,
            queued: 0,
            last_heard: ago_s(1),
            link: Some(Link {
                address: "[2001:db8::1234:5678]:65535".parse().unwrap(),
                transport: "WebSocket over TLS".to_owned(),
                protocol: "3.1.1".to_owned(),
                since: ago_s(400).unwrap(),
                keep_alive: 60,
            }),
        };
        let away = Session {
            client_id: "b\u{1b}".to_owned(),
            online: false,
            queued: 12,
            link: None,
            ..session.clone()
        };
        let traffic = |messages: u64| Traffic { messages, bytes: 100 * messages };
        let busy = DeviceLife {
            online: true,
            online_since: ago_s(400),
            last_seen: ago_s(0),
            received: traffic(12_345_678_901),
            sent: traffic(9_999_999),
            queued: 100_000,
            sessions: vec![session],
            ..DeviceLife::default()
        };
        let gone = DeviceLife {
            last_seen: ago_s(4_000_000),
            denied: 7,
            sessions: vec![away],
            ..DeviceLife::default()
        };
        let long = "A device whose name is as long as a name may be, and says nothing, by and large";
        let end = |code: &str| Endpoint {
            code: crate::registry::DeviceCode::new(code).unwrap(),
            name: "a".to_owned(),
        };
        let from_to = Direction {
            published: traffic(3),
            last: ago_s(90),
            waiting: traffic(99_999),
            refused: 4,
            dropped: 0,
            latency: Some(Latency {
                last: Duration::from_micros(412),
                mean: Duration::from_micros(1_001),
                max: Duration::from_secs(4_294),
            }),
        };
        Status {
            bridge: Process {
                version: "1.2.3".to_owned(),
                pid: 42,
                started: ago_s(7300).unwrap(),
                uptime: 7300,
                host: "pi".to_owned(),
                config: "/etc/ior-bridge".to_owned(),
                data_dir: "/var/lib/ior-bridge".to_owned(),
            },
            listeners: [("mqtt", 1883), ("mqtts", 8883), ("websocket", 8083)]
                .map(|(name, port)| Listener { name: name.to_owned(), address: ([0, 0, 0, 0], port).into() })
                .into(),
            store: Store {
                durability: "fsync".to_owned(),
                disk: Some(Disk {
                    directory: "/var/lib/ior-bridge/store".to_owned(),
                    bytes: 5 << 20,
                    free_bytes: 1 << 20,
                    commits: 9,
                    last_commit: ago_s(3),
                    failing: Some("the disk is full".to_owned()),
                }),
            },
            totals: Totals {
                devices_online: 1,
                connected: 1,
                sessions: 2,
                refused_connections: 3,
                received: 12_345_678,
                denied: 7,
                queue_full: 4,
                not_kept: 5,
                dropped: 6,
                retained: 8,
                limits: [("max_inflight".to_owned(), 12), ("queue_messages".to_owned(), 4)].into(),
            },
            devices: vec![device("4569", long, busy), device(&"c".repeat(32), "Slave 1", gone)],
            connections: vec![Connection {
                user: "eva".to_owned(),
                id: "connection-1".repeat(5),
                name: "Connection 1".to_owned(),
                from: end("4569"),
                to: end(&"c".repeat(32)),
                live: Some(ConnectionLife { from_to, to_from: Direction::default() }),
            }],
        }
    }

    #[test]
    fn nothing_is_wider_than_a_terminal_and_everything_is_aligned() {
        let text = |style| text(&status(), style, Time::from_unix_ms(NOW));
        let plain = text(Style::plain());
        assert_eq!(plain, include_str!("../../tests/golden/status.txt"), "\n{plain}");
        let terminal = text(Style::of_terminal(false, 0));
        assert!(terminal.contains("\n● 4569") && terminal.contains("\n○ cccc"), "{terminal}");
        for line in plain.lines().chain(terminal.lines()) {
            assert!(width(line) <= 80, "{line}");
        }
        let coloured = text(Style::of_terminal(true, 0));
        assert!(coloured.contains("\n\x1b[32m●\x1b[0m 4569"), "{coloured:?}");
        assert!(!plain.contains('\x1b') && !terminal.contains('\x1b'), "what devices make up is escaped");
    }

    #[test]
    fn a_store_that_fails_is_told_first_and_within_the_width() {
        let mut status = status();
        let disk = status.store.disk.as_mut().unwrap();
        disk.failing = Some("no space left for the store: free some; it recovers by itself".to_owned());
        let text = text(&status, Style::plain(), Time::from_unix_ms(NOW));
        let lines: Vec<_> = text.lines().skip(1).take(3).collect();
        let told = "FAILING      messages cannot be kept: no space left for the store: free some; it";
        assert_eq!(lines[..2], [told, "             recovers by itself"]);
        assert!(lines[2].starts_with("listeners"), "{text}");
    }

    #[test]
    fn a_wide_terminal_is_used() {
        let text = |columns| text(&status(), Style::of_terminal(false, columns), Time::from_unix_ms(NOW));
        let long = &status().devices[0].name;
        assert!(!text(80).contains(long), "80 columns are not enough");
        assert!(text(200).contains(long) && text(200).contains(&"x".repeat(100)), "{}", text(200));
        assert!(text(200).lines().any(|line| width(line) > 80));
        assert_eq!(text(40), text(80), "a line that breaks is no easier to read than one that is wrapped");
    }

    #[test]
    fn a_report_is_the_same_once_it_was_sent() {
        let status = status();
        let sent = serde_json::to_string(&status).unwrap();
        assert_eq!(serde_json::from_str::<Status>(&sent).unwrap(), status);
        let mut dead = status;
        dead.store.disk = None;
        dead.devices[0].live = None;
        dead.connections[0].live = None;
        let sent = serde_json::to_string(&dead).unwrap();
        assert!(!sent.contains("from_to") && !sent.contains("commits"), "{sent}");
        assert_eq!(serde_json::from_str::<Status>(&sent).unwrap(), dead);
    }
}
