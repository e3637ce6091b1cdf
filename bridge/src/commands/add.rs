//! `add`: adds a device or a connection to the configuration.

use std::path::Path;

use serde_json::{Value, json};

use super::{
    CommandError,
    edit::{Done, Edit, changed},
    print, print_json,
};
use crate::{
    registry::{
        DEFAULT_USER, Device, DeviceCode, End, MAX_LABEL, Registry, find_device_of, id_from_name, why_no_id,
    },
    settings::Environment,
};

/// The type of a device of which nobody says more.
const DEFAULT_TYPE: &str = "Device";

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
    // What is no code is told with its place in the file.
    let code = DeviceCode::new(&args.code).map_or_else(|_| args.code.as_str().into(), |code| code.to_json());
    let name = args.name.as_ref().unwrap_or(&args.code);
    let mut entry = vec![("code", code), ("name", json!(name)), ("type", json!(args.kind))];
    if args.user != DEFAULT_USER {
        entry.push(("user", json!(args.user)));
    }
    edit.devices(|list| list.insert(&entry))?;
    let done = edit.finish().await?;
    let device = done.registry.devices().last().ok_or_else(changed)?;
    match args.json {
        true => print_json(&done.to_json(json!({ "device": describe(device) }))),
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
    let registry = edit.registry();
    let from = find_device_of(registry, &args.from, args.user.as_deref())?;
    let to = find_device_of(registry, &args.to, Some(&from.user))?;
    let name = args.name.clone().unwrap_or_else(|| default_name(registry, from, to));
    if args.id.is_none() && id_from_name(&name).is_none() {
        return Err(without_id(&name));
    }
    let mut entry = vec![("name", json!(name)), ("from", from.code.to_json()), ("to", to.code.to_json())];
    entry.extend(args.id.as_ref().map(|id| ("id", json!(id))));
    if &*from.user != DEFAULT_USER {
        entry.push(("user", json!(&*from.user)));
    }
    edit.connections(|list| list.insert(&entry))?;
    let done = edit.finish().await?;
    if args.json { print_json(&connection_json(&done)?) } else { print(&connection_text(&done)?) }
}

/// The names of both devices, or their codes where those make no id or one that is taken.
fn default_name(registry: &Registry, from: &Device, to: &Device) -> String {
    let is_free = |name: &String| {
        let taken = |id: String| {
            registry.connections().iter().any(|other| other.user == from.user && *other.id == *id)
        };
        name.chars().count() <= MAX_LABEL && id_from_name(name).is_some_and(|id| !taken(id))
    };
    let of_names = format!("{} - {}", from.name, to.name);
    if is_free(&of_names) { of_names } else { format!("{} - {}", from.code, to.code) }
}

/// Says with which option an id is given, instead of what to write into the file.
fn without_id(name: &str) -> CommandError {
    let why = why_no_id(name);
    CommandError::usage(format!(
        "no id can be made from the name {name:?}: {why}; give one with --id, such as --id connection-1; nothing was changed"
    ))
}

fn connection_text(done: &Done) -> Result<String, CommandError> {
    let connection = done.registry.connections().last().ok_or_else(changed)?;
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
    let connection = done.registry.connections().last().ok_or_else(changed)?;
    let end = |end| {
        let mut device = describe(done.registry.end(connection, end));
        device["file"] = json!(done.credential_file(connection, end).display().to_string());
        device
    };
    Ok(done.to_json(json!({ "connection": {
        "user": &*connection.user,
        "id": &*connection.id,
        "name": connection.name,
        "from": end(End::From),
        "to": end(End::To),
    } })))
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
