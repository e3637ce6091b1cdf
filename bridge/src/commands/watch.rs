//! `watch`: what happens in the running bridge.

use std::{
    io::{self, Write},
    path::Path,
};

use tokio::signal::unix::{SignalKind, signal};

use super::{
    CommandError,
    running::Running,
    subscribe::printable,
    words::{Colour, Style},
};
use crate::{
    control::Request,
    report::{Event, Filter, Kind, Watching},
    settings::Environment,
};

/// Arguments of `watch`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Only what one device does: its code, `<user>.<code>`, or its name if no other has it.
    #[arg(long, value_name = "DEVICE")]
    pub device: Option<String>,
    /// Only what happens in one connection and to its two devices: its id, `<user>/<id>`, or its name if no other has it.
    #[arg(long, value_name = "CONNECTION")]
    pub connection: Option<String>,
    /// Only what is of this kind; may be given several times.
    #[arg(long, value_name = "KIND", value_enum)]
    pub kind: Vec<Kind>,
    /// Print each event as a line of JSON.
    #[arg(long)]
    pub json: bool,
}

/// Prints what happens until Ctrl-C, or until the bridge stops.
///
/// # Errors
/// No bridge is running, it cannot be asked, it does not know the device or connection, or it is gone without having
/// stopped (status 1); `server.json` is invalid (status 2).
pub async fn run(args: Args, dir: &Path, environment: &Environment) -> Result<(), CommandError> {
    // Caught from here on, and not only once it is waited for.
    let mut interrupt = signal(SignalKind::interrupt()).map_err(CommandError::failed)?;
    let mut client = Running::find(dir, environment)?.require().await?;
    let filter = Filter { device: args.device, connection: args.connection, kinds: args.kind };
    let watching: Watching = client.ask(&Request::Watch(filter)).await?;
    eprintln!("{}", greeting(&watching));
    let style = Style::of_stdout();
    loop {
        let line = tokio::select! {
            line = client.line::<Box<serde_json::value::RawValue>>() => line?,
            _ = interrupt.recv() => return Ok(()),
        };
        let Some(line) = line else {
            return Err(CommandError::failed(
                "the bridge is gone: its log says why (journalctl -u ior-bridge)",
            ));
        };
        // Programs may know more of another version's events than this one does.
        let event = serde_json::from_str::<Event>(line.get());
        let shown = match &event {
            Ok(event) if !args.json => shown(event, style),
            _ => line.get().to_owned(),
        };
        if !print(&shown)? {
            return Ok(());
        }
        if event.is_ok_and(|event| event.kind == Kind::Stopping) {
            return Ok(());
        }
    }
}

fn greeting(watching: &Watching) -> String {
    let Watching { version, pid, device, connection } = watching;
    let of = |what: &str, name: &Option<String>| name.as_ref().map(|name| format!(", {what} {name}"));
    let [device, connection] =
        [of("device", device), of("connection", connection)].map(Option::unwrap_or_default);
    format!("watching ior-bridge {version}, process {pid}{device}{connection}; Ctrl-C ends this")
}

/// A line; more are indented.
fn shown(event: &Event, style: Style) -> String {
    let colour = match event.kind {
        Kind::Connected | Kind::Configuration => Colour::Green,
        Kind::Disconnected | Kind::Page => Colour::Dim,
        Kind::Refused | Kind::Denied | Kind::Full | Kind::Limit | Kind::Missed => Colour::Yellow,
        Kind::Store | Kind::Stopping => Colour::Red,
    };
    let who = event.device.as_ref().or(event.username.as_ref().filter(|_| event.kind != Kind::Refused));
    let who = match (event.kind, who) {
        (Kind::Configuration, _) => "configuration ".to_owned(),
        (Kind::Page, _) => "page: ".to_owned(),
        (_, Some(who)) => format!("{} ", printable(who.as_bytes())),
        (_, None) => String::new(),
    };
    let lines: Vec<_> = event.text.trim_end().lines().map(|line| printable(line.as_bytes())).collect();
    let time = humantime::format_rfc3339_seconds(event.time.0).to_string();
    format!("{} {who}{}", style.paint(Colour::Dim, &time), style.paint(colour, &lines.join("\n    ")))
}

/// Prints a line; false if nobody reads standard output any more.
fn print(line: &str) -> Result<bool, CommandError> {
    let mut out = io::stdout().lock();
    match writeln!(out, "{line}").and_then(|()| out.flush()) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(CommandError::failed(format!("cannot write to standard output: {error}"))),
    }
}
