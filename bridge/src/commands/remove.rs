//! `remove`: removes a device or a connection from the configuration.

use std::path::Path;

use serde_json::json;

use super::{
    CommandError,
    confirm::confirm,
    edit::{Edit, changed},
    print, print_json,
    running::Running,
};
use crate::{
    configuration::Configuration,
    control::Request,
    registry::{Connection, Device, End, Registry, find_connection, find_device_of},
    report::{self, Status},
    settings::Environment,
};

/// Arguments of `remove`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// What to remove.
    #[command(subcommand)]
    pub what: What,
}

/// What to remove.
#[derive(Debug, clap::Subcommand)]
pub enum What {
    /// Remove a device: it is disconnected, and its credentials are void.
    Device(DeviceArgs),
    /// Remove a connection, with the messages that wait in it and its credential files.
    Connection(ConnectionArgs),
}

/// Arguments of `remove device`.
#[derive(Debug, clap::Args)]
pub struct DeviceArgs {
    /// The device: its code, `<user>.<code>`, or its name if no other has it.
    pub device: String,
    /// Remove the connections that it is in, too.
    #[arg(long)]
    pub with_connections: bool,
    #[command(flatten)]
    options: Options,
}

/// Arguments of `remove connection`.
#[derive(Debug, clap::Args)]
pub struct ConnectionArgs {
    /// The connection: its id, `<user>/<id>`, or its name if no other has it.
    pub connection: String,
    #[command(flatten)]
    options: Options,
}

/// What both have.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// The owner [default: whoever has it].
    #[arg(long)]
    user: Option<String>,
    /// Do not ask.
    #[arg(long, short)]
    yes: bool,
    /// Report in JSON.
    #[arg(long)]
    json: bool,
}

/// Removes entries from `devices.json` or `connections.json`, whose other text is left as it stands, and has that taken up: by
/// the running bridge if there is one. Asks first.
///
/// # Errors
/// The configuration is invalid, nothing or several have this name, the device is still connected, or nobody can be asked
/// (status 2); the answer is no, a file cannot be read or written, or the running bridge refuses (status 1).
pub async fn run(args: &Args, dir: &Path, environment: &Environment) -> Result<(), CommandError> {
    let options = args.what.options();
    let asked = if options.yes {
        None
    } else {
        let registry = Configuration::load(dir, environment)?.registry;
        let gone = Gone::find(&registry, &args.what)?;
        let what = gone.to_text();
        confirm(&format!("{what}{}", gone.lost(dir, environment).await?), "Remove that?")?;
        Some(what)
    };
    let mut edit = Edit::begin(dir, environment).await?;
    let before = edit.registry().clone();
    let gone = Gone::find(&before, &args.what)?;
    if asked.is_some_and(|asked| asked != gone.to_text()) {
        return Err(changed());
    }
    // From the end, so that the places of the others stay.
    for (index, connection) in before.connections().iter().enumerate().rev() {
        if gone.connections.contains(&connection) {
            edit.connections(|list| list.remove(index))?;
        }
    }
    for (index, device) in before.devices().iter().enumerate().rev() {
        if gone.device == Some(device) {
            edit.devices(|list| list.remove(index))?;
        }
    }
    let done = edit.finish().await?;
    if options.json {
        let connections = gone.connections.iter().map(|connection| connection.full_id());
        return print_json(&done.to_json(json!({ "removed": {
            "device": gone.device.map(Device::user_name),
            "connections": connections.collect::<Vec<_>>(),
        } })));
    }
    print(&format!("{} removed from {}.\n{}", gone.was(), done.in_files(), done.taken))
}

impl What {
    fn options(&self) -> &Options {
        match self {
            Self::Device(args) => &args.options,
            Self::Connection(args) => &args.options,
        }
    }
}

/// What goes.
struct Gone<'r> {
    registry: &'r Registry,
    device: Option<&'r Device>,
    connections: Vec<&'r Connection>,
}

impl<'r> Gone<'r> {
    fn find(registry: &'r Registry, what: &What) -> Result<Self, CommandError> {
        let args = match what {
            What::Connection(args) => {
                let connection = find_connection(registry, &args.connection, args.options.user.as_deref())?;
                return Ok(Self { registry, device: None, connections: vec![connection] });
            }
            What::Device(args) => args,
        };
        let device = find_device_of(registry, &args.device, args.options.user.as_deref())?;
        let is_in =
            |connection: &&Connection| End::BOTH.iter().any(|end| registry.end(connection, *end) == device);
        let connections: Vec<_> = registry.connections().iter().filter(is_in).collect();
        let gone = Self { registry, device: Some(device), connections };
        if gone.connections.is_empty() || args.with_connections {
            return Ok(gone);
        }
        Err(CommandError::usage(format!(
            "{} is still in {}:\n{}Remove those first, or add --with-connections; nothing was changed",
            device.label(),
            if gone.connections.len() == 1 { "a connection" } else { "connections" },
            gone.connection_lines()
        )))
    }

    /// What is told before it is asked.
    fn to_text(&self) -> String {
        let device = self.device.map(|device| format!("  device {}\n", device.label()));
        format!("To be removed:\n{}{}", device.unwrap_or_default(), self.connection_lines())
    }

    /// What goes with it, as far as the running bridge knows; it ends without a newline.
    async fn lost(&self, dir: &Path, environment: &Environment) -> Result<String, CommandError> {
        let mut lost = Vec::new();
        if self.device.is_some() {
            lost.push("It is disconnected, and may not log in any more.".to_owned());
        }
        if !self.connections.is_empty() {
            let waiting = match Running::find(dir, environment)?.connect().await? {
                Some(mut client) => Some(self.waiting(&client.ask(&Request::Status).await?)),
                None => None,
            };
            lost.push(match waiting {
                Some(0) => "No message waits there now.".to_owned(),
                Some(1) => "The message that waits there now is lost.".to_owned(),
                Some(messages) => format!("{messages} messages that wait there now are lost."),
                None => "Messages that wait there are lost.".to_owned(),
            });
            lost.push("Retained messages are lost, too.".to_owned());
        }
        Ok(lost.join("\n"))
    }

    /// Messages in both directions of all its connections.
    fn waiting(&self, status: &Status) -> u64 {
        let goes = |one: &&report::Connection| {
            self.connections.iter().any(|gone| *gone.user == one.user && *gone.id == one.id)
        };
        let lives = status.connections.iter().filter(goes).filter_map(|connection| connection.live.as_ref());
        lives.map(|live| live.from_to.waiting.messages + live.to_from.waiting.messages).sum()
    }

    fn connection_lines(&self) -> String {
        let line = |connection: &&Connection| {
            let [from, to] = End::BOTH.map(|end| self.registry.end(connection, end).label());
            format!("  connection {}: {from} with {to}\n", connection.full_id())
        };
        self.connections.iter().map(line).collect()
    }

    /// What is told afterwards, as the beginning of a sentence.
    fn was(&self) -> String {
        let connections: Vec<_> = self.connections.iter().map(|connection| connection.full_id()).collect();
        let connections = connections.join(", ");
        match self.device {
            None => format!("{connections} was"),
            Some(device) if connections.is_empty() => format!("{} was", device.label()),
            Some(device) => format!("{} and its connections ({connections}) were", device.label()),
        }
    }
}
