//! `add`: adds a device or a connection to the configuration.

use std::path::Path;

use serde_json::{Value, json};

use super::{CommandError, print, print_json, with_change};
use crate::{
    changes::{self, DEFAULT_TYPE, Done, Edit, EditError, NewConnection, NewDevice},
    registry::{DEFAULT_USER, Device, End},
    settings::Environment,
};

/// Arguments of `add`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// What to add.
    #[command(subcommand)]
    pub what: What,
}

/// What to add.
#[derive(Debug, clap::Subcommand)]
pub enum What {
    /// Add a device. It gets credentials with its first connection.
    Device(DeviceArgs),
    /// Connect two devices, and write the credential file of each.
    Connection(ConnectionArgs),
}

/// Arguments of `add device`.
#[derive(Debug, clap::Args)]
pub struct DeviceArgs {
    /// Its code: 1 to 32 characters of A-Z a-z 0-9 _ -, unique within its user.
    pub code: String,
    /// What people call it [default: the code].
    #[arg(long)]
    pub name: Option<String>,
    /// What kind of machine it is, for people.
    #[arg(long = "type", value_name = "TYPE", default_value = DEFAULT_TYPE)]
    pub kind: String,
    /// Its owner.
    #[arg(long, default_value = DEFAULT_USER)]
    pub user: String,
    /// Report in JSON.
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `add connection`.
#[derive(Debug, clap::Args)]
pub struct ConnectionArgs {
    /// One device: its code, `<user>.<code>`, or its name if no other has it.
    pub from: String,
    /// The other device of the same user.
    pub to: String,
    /// What people call it [default: the names of both devices].
    #[arg(long)]
    pub name: Option<String>,
    /// The second level of its topics [default: the name in lower case with dashes].
    #[arg(long)]
    pub id: Option<String>,
    /// The owner of both devices [default: whoever has them].
    #[arg(long)]
    pub user: Option<String>,
    /// Report in JSON.
    #[arg(long)]
    pub json: bool,
}

/// Adds an entry to `devices.json` or `connections.json`, whose other text is left as it stands, and has it taken up: by the
/// running bridge if there is one.
///
/// # Errors
/// The configuration is invalid or would be, or a device is unknown (status 2); a file cannot be read or written, or the
/// running bridge refuses (status 1).
pub async fn run(args: &Args, dir: &Path, environment: &Environment) -> Result<(), CommandError> {
    let edit = Edit::begin(dir, environment).await?;
    match &args.what {
        What::Device(args) => add_device(args, edit).await,
        What::Connection(args) => add_connection(args, edit).await,
    }
}

async fn add_device(args: &DeviceArgs, mut edit: Edit) -> Result<(), CommandError> {
    let new = NewDevice {
        code: Some(json!(args.code)),
        name: args.name.as_ref().map(|name| json!(name)),
        kind: Some(json!(args.kind)),
        user: Some(json!(args.user)),
    };
    changes::add_device(&mut edit.draft, &new)?;
    let done = edit.finish().await?;
    let device = done.registry.devices().last().ok_or(EditError::Changed)?;
    match args.json {
        true => print_json(&with_change(json!({ "device": describe(device) }), &done)),
        false => print(&format!(
            "{} was added to {}.\n\
             It has no connection yet, so no credential file. Connect it:\n  \
             ior-bridge add connection {} DEVICE\n{}",
            device.label(),
            done.in_files(),
            device.user_name(),
            done.taken
        )),
    }
}

async fn add_connection(args: &ConnectionArgs, mut edit: Edit) -> Result<(), CommandError> {
    let new = NewConnection {
        from: args.from.clone(),
        to: args.to.clone(),
        name: args.name.as_ref().map(|name| json!(name)),
        id: args.id.as_ref().map(|id| json!(id)),
        user: args.user.clone(),
    };
    changes::add_connection(&mut edit.draft, &new)?;
    let done = edit.finish().await?;
    if args.json { print_json(&connection_json(&done)?) } else { print(&connection_text(&done)?) }
}

fn connection_text(done: &Done) -> Result<String, CommandError> {
    let connection = done.registry.connections().last().ok_or(EditError::Changed)?;
    let [from, to] = End::BOTH.map(|end| done.registry.end(connection, end).label());
    let mut text = format!(
        "{} was added to {}: {from} and {to} can talk.\nHand each device its credentials:\n",
        connection.full_id(),
        done.in_files()
    );
    for (end, label) in End::BOTH.into_iter().zip([from, to]) {
        text.push_str(&format!("  {label}: {}\n", done.credential_file(connection, end).display()));
    }
    text.push_str(&done.taken.to_string());
    Ok(text)
}

fn connection_json(done: &Done) -> Result<Value, CommandError> {
    let connection = done.registry.connections().last().ok_or(EditError::Changed)?;
    let end = |end| {
        let mut device = describe(done.registry.end(connection, end));
        device["file"] = json!(done.credential_file(connection, end).display().to_string());
        device
    };
    let report = json!({ "connection": {
        "user": &*connection.user,
        "id": &*connection.id,
        "name": connection.name,
        "from": end(End::From),
        "to": end(End::To),
    } });
    Ok(with_change(report, done))
}

fn describe(device: &Device) -> Value {
    json!({
        "user": &*device.user,
        "code": device.code.to_json(),
        "name": device.name,
        "type": device.kind,
        "username": device.user_name(),
    })
}
