//! `connections`: all connections, or one of them in detail.

use std::path::Path;

use serde_json::json;

use super::{
    CommandError, print, print_json,
    running::Inventory,
    status::waiting,
    table::{Column, grid},
    words::{Style, ago_or_never, messages, number, short_id, size},
};
use crate::{
    registry::{Known, find},
    report::{Connection, Direction, Endpoint, Latency, Time},
    settings::Environment,
};

/// Arguments of `connections`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// One connection: its id, `<user>/<id>`, or its name if no other has it.
    pub connection: Option<String>,
    /// Report in JSON.
    #[arg(long)]
    pub json: bool,
}

/// Prints all connections, or one in detail: as the running bridge knows them, or as they are in the files if none runs.
///
/// # Errors
/// The running bridge cannot be asked (status 1); the connection is unknown or, where it is needed, the configuration
/// invalid (status 2).
pub async fn run(args: &Args, dir: &Path, environment: &Environment) -> Result<(), CommandError> {
    let inventory = Inventory::take(dir, environment).await?;
    match &args.connection {
        None if args.json => {
            print_json(&json!({ "running": inventory.running, "connections": inventory.connections }))
        }
        None => print(&list(&inventory, Style::of_stdout())),
        Some(wanted) => {
            let connection = meant(&inventory.connections, wanted)?;
            if args.json { print_json(&json!(connection)) } else { print(&detail(connection, Time::now())) }
        }
    }
}

fn meant<'a>(connections: &'a [Connection], wanted: &str) -> Result<&'a Connection, CommandError> {
    let known = connections.iter().map(|connection| Known {
        thing: connection,
        user: &connection.user,
        code: &connection.id,
        full: format!("{}/{}", connection.user, connection.id),
        name: &connection.name,
    });
    Ok(find("connection", known, wanted, None)?)
}

fn list(inventory: &Inventory, style: Style) -> String {
    if inventory.connections.is_empty() {
        return "There are no connections: no two devices can exchange a byte.\n".to_owned();
    }
    let [id, from, to] = [Column::keys("CONNECTION"), Column::words("FROM"), Column::words("TO")];
    let end = |end: &Endpoint| format!("{} {}", end.code, end.name);
    let ends = |connection: &Connection| [short_id(connection), end(&connection.from), end(&connection.to)];
    let lines = if inventory.running {
        let columns = [id, from, to, Column::numbers("MESSAGES"), Column::numbers("WAITING")];
        let row = |connection: &Connection| {
            let [id, from, to] = ends(connection);
            let directions = connection.live.iter().flat_map(|live| [&live.from_to, &live.to_from]);
            let sums = directions.fold([0, 0], |[published, waiting], direction| {
                [published + direction.published.messages, waiting + direction.waiting.messages]
            });
            let [published, waiting] = sums.map(number);
            [id, from, to, published, waiting]
        };
        grid(columns, &inventory.connections.iter().map(row).collect::<Vec<_>>(), style.width())
    } else {
        grid([id, from, to], &inventory.connections.iter().map(ends).collect::<Vec<_>>(), style.width())
    };
    lines.join("\n") + "\n"
}

fn detail(connection: &Connection, now: Time) -> String {
    let Connection { user, id, name, from, to, live } = connection;
    let mut text = format!("{name} ({user}/{id}): {} and {}\n", from.label(), to.label());
    let directions = live.as_ref().map_or([None, None], |live| [Some(&live.from_to), Some(&live.to_from)]);
    for ((from, to), direction) in [(from, to), (to, from)].into_iter().zip(directions) {
        text.push_str(&format!("\n{} tells {}\n", from.label(), to.label()));
        let mut line = |key: &str, value: String| text.push_str(&format!("  {key:11}{value}\n"));
        line("topic", format!("{user}/{id}/{} and below", from.code));
        for (key, value) in direction.into_iter().flat_map(|direction| counted(direction, now)) {
            line(key, value);
        }
    }
    text
}

fn counted(direction: &Direction, now: Time) -> [(&'static str, String); 5] {
    let Direction { published, last, refused, dropped, latency, .. } = direction;
    [
        ("published", format!("{}, {}", messages(published.messages), size(published.bytes))),
        ("last", ago_or_never(*last, now)),
        ("waiting", waiting(direction)),
        ("refused", format!("{}, dropped {}", number(*refused), number(*dropped))),
        ("latency", latency.as_ref().map_or_else(|| "not known yet".to_owned(), took)),
    ]
}

/// "0.4 ms, lately 0.5 ms on average and 1.2 ms at most"
fn took(latency: &Latency) -> String {
    let [last, mean, max] =
        [latency.last, latency.mean, latency.max].map(|time| format!("{:.1} ms", time.as_secs_f64() * 1e3));
    format!("{last}, lately {mean} on average and {max} at most")
}
