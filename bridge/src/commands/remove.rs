//! `remove`: removes a device or a connection from the configuration.

use std::path::Path;

use serde_json::json;

use super::{CommandError, confirm::confirm, print, print_json, running::Running, with_change};
use crate::{
    changes::{self, Edit, EditError, Removal},
    configuration::Configuration,
    control::Request,
    registry::{Device, Registry, find_connection, find_device_of},
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
    let before = edit.draft.registry().clone();
    let gone = Gone::find(&before, &args.what)?;
    if asked.is_some_and(|asked| asked != gone.to_text()) {
        return Err(EditError::Changed.into());
    }
    changes::remove(&mut edit.draft, &gone.removal)?;
    let done = edit.finish().await?;
    if options.json {
        let report = json!({ "removed": {
            "device": gone.device().map(Device::user_name),
            "connections": gone.removal.full_ids(&before),
        } });
        return print_json(&with_change(report, &done));
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
    removal: Removal,
}

impl<'r> Gone<'r> {
    fn find(registry: &'r Registry, what: &What) -> Result<Self, CommandError> {
        let removal = match what {
            What::Connection(args) => {
                let connection = find_connection(registry, &args.connection, args.options.user.as_deref())?;
                let index = registry.place_of_connection(connection).ok_or(EditError::Changed)?;
                Removal::of_connection(index)
            }
            What::Device(args) => {
                let device = find_device_of(registry, &args.device, args.options.user.as_deref())?;
                let index = registry.place(device).ok_or(EditError::Changed)?;
                Removal::of_device(registry, index, args.with_connections)?
            }
        };
        Ok(Self { registry, removal })
    }

    fn device(&self) -> Option<&'r Device> {
        self.removal.device_of(self.registry)
    }

    /// What is told before it is asked.
    fn to_text(&self) -> String {
        let device = self.device().map(|device| format!("  device {}\n", device.label()));
        let connections = self.removal.connection_lines(self.registry);
        format!("To be removed:\n{}{connections}", device.unwrap_or_default())
    }

    /// What goes with it, as far as the running bridge knows; it ends without a newline.
    async fn lost(&self, dir: &Path, environment: &Environment) -> Result<String, CommandError> {
        let mut lost = Vec::new();
        if self.device().is_some() {
            lost.push("It is disconnected, and may not log in any more.".to_owned());
        }
        if !self.removal.connections.is_empty() {
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
            let mut gone = self.removal.connections_of(self.registry);
            gone.any(|gone| *gone.user == one.user && *gone.id == one.id)
        };
        let lives = status.connections.iter().filter(goes).filter_map(|connection| connection.live.as_ref());
        lives.map(|live| live.from_to.waiting.messages + live.to_from.waiting.messages).sum()
    }

    /// What is told afterwards, as the beginning of a sentence.
    fn was(&self) -> String {
        let connections = self.removal.full_ids(self.registry).join(", ");
        match self.device() {
            None => format!("{connections} was"),
            Some(device) if connections.is_empty() => format!("{} was", device.label()),
            Some(device) => format!("{} and its connections ({connections}) were", device.label()),
        }
    }
}
