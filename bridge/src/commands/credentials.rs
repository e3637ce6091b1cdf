//! `credentials`: writes the credential files, or shows what a device needs to connect.

use std::{path::Path, time::SystemTime};

use serde_json::json;

use super::{CommandError, print, print_json};
use crate::{
    configuration::Configuration,
    credentials::{self, Format, Issuer, Reach},
    listeners::Addresses,
    registry::{Connection, End, Registry, find_device},
    rotation::Rotation,
    secrets::Secrets,
    settings::Environment,
    storage::advice,
    tls,
};

/// Arguments of `credentials`.
///
/// Without any, writes all credential files and lists them.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Show only this device's (its code or `<user>.<code>`) or connection's (its id or `<user>/<id>`).
    #[arg(value_name = "DEVICE|CONNECTION")]
    pub of: Option<String>,
    /// Show credentials in this form, ready to be pasted [default: json].
    #[arg(long, value_enum)]
    pub format: Option<Format>,
    /// List the written files in JSON.
    #[arg(long, conflicts_with_all = ["of", "format"])]
    pub json: bool,
}

/// Writes or shows credentials.
///
/// # Errors
/// The configuration is invalid or nothing has this name (status 2), the secret key, the CA or a file fails
/// (status 1).
pub fn run(args: &Args, dir: &Path, environment: &Environment) -> Result<(), CommandError> {
    let Configuration { settings, registry, .. } = Configuration::load(dir, environment)?;
    let secrets = Secrets::load_or_create(&settings.data_dir).map_err(CommandError::failed)?;
    let ca = tls::ca(&settings, SystemTime::now())?;
    let reach = Reach::new(&settings, &Addresses::wanted(&settings), ca);
    let issuer = Issuer::new(&registry, &secrets, &reach);
    if args.of.is_some() || args.format.is_some() {
        let ends = select(&registry, args.of.as_deref())?;
        return print(&show(&issuer, &ends, args.format.unwrap_or(Format::Json)));
    }
    // Whoever writes new passwords starts the time in which the previous ones are accepted too.
    Rotation::load_and_update(&settings.data_dir, &registry, SystemTime::now())
        .map_err(CommandError::failed)?;
    let written = credentials::write_all(&settings.data_dir, &issuer)
        .map_err(|error| CommandError::failed(format!("{error}; {}", advice(&error))))?;
    let ends = select(&registry, None)?;
    let paths = ends.iter().map(|(connection, end)| credentials::path(&settings.data_dir, connection, *end));
    let paths: Vec<_> = paths.map(|path| path.display().to_string()).collect();
    if args.json {
        return print_json(
            &json!({ "files": paths, "written": written.written, "removed": written.removed }),
        );
    }
    let mut text: String = paths.iter().map(|path| format!("{path}\n")).collect();
    text.push_str(&format!(
        "{} written, {} unchanged, {} removed. Whoever has a file can log in with it.\n",
        written.written.len(),
        written.unchanged,
        written.removed.len()
    ));
    print(&text)
}

/// The ends of connections that an operator means.
fn select<'r>(registry: &'r Registry, of: Option<&str>) -> Result<Vec<(&'r Connection, End)>, CommandError> {
    let all = || registry.connections().iter().flat_map(|connection| End::BOTH.map(|end| (connection, end)));
    let Some(of) = of else { return Ok(all().collect()) };
    let is_connection = |connection: &Connection| *connection.id == *of || connection.full_id() == of;
    let connections: Vec<_> = registry.connections().iter().filter(|found| is_connection(found)).collect();
    let is_device =
        registry.devices().iter().any(|device| device.code.as_str() == of || device.user_name() == of);
    match (connections.as_slice(), is_device) {
        ([], false) => Err(CommandError::usage(format!(
            "no device or connection {of:?}: ior-bridge check shows all of them"
        ))),
        ([], true) => {
            let device = find_device(registry, of)?;
            let ends: Vec<_> =
                all().filter(|(connection, end)| registry.end(connection, *end) == device).collect();
            match ends.is_empty() {
                true => Err(CommandError::usage(format!(
                    "the device {of} has no connection, so no credential file"
                ))),
                false => Ok(ends),
            }
        }
        ([connection], false) => Ok(End::BOTH.map(|end| (*connection, end)).to_vec()),
        _ => Err(CommandError::usage(format!(
            "{of:?} means several: write <user>.<code> for a device, <user>/<id> for a connection"
        ))),
    }
}

/// One after the other; several JSON files as a list.
fn show(issuer: &Issuer<'_>, ends: &[(&Connection, End)], format: Format) -> String {
    let files: Vec<_> = ends.iter().map(|(connection, end)| issuer.file(connection, *end)).collect();
    match (format, files.as_slice()) {
        (Format::Json, several) if several.len() > 1 => format!("{:#}\n", json!(several)),
        _ => files.iter().map(|file| format.render(file)).collect::<Vec<_>>().join("\n"),
    }
}
