//! `rotate`: gives a device a new password.

use std::{path::Path, time::SystemTime};

use serde_json::json;

use super::{CommandError, print, print_json, with_change};
use crate::{
    changes::{Done, Edit, EditError, rotate_device},
    registry::{Device, find_device},
    rotation::{Previous, Rotation},
    settings::Environment,
};

/// Arguments of `rotate`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The device: its code, `<user>.<code>`, or its name if no other has it.
    pub device: String,
    /// Report in JSON.
    #[arg(long)]
    pub json: bool,
}

/// Raises the device's `secret_version` in `devices.json`, which is otherwise left as it stands, and has the new
/// credential files written: by the running bridge if there is one.
///
/// # Errors
/// The device is unknown or the configuration invalid (status 2); a file cannot be read or written, or the running bridge
/// refuses (status 1).
pub async fn run(args: &Args, dir: &Path, environment: &Environment) -> Result<(), CommandError> {
    let mut edit = Edit::begin(dir, environment).await?;
    let registry = edit.draft.registry();
    let index = registry.place(find_device(registry, &args.device)?).ok_or(EditError::Changed)?;
    rotate_device(&mut edit.draft, index)?;
    let done = edit.finish().await?;
    let device = &done.registry.devices()[index];
    let rotation = Rotation::load(&done.settings.data_dir)
        .map_err(|error| CommandError::failed(format!("{} is rotated, but {error}", device.label())))?;
    let accepted = |previous: &Previous| previous.until > SystemTime::now();
    let name = device.user_name();
    let previous = rotation.previous(&name, done.settings.limits.rotation_window);
    let report = Report { device, previous: previous.filter(accepted).collect(), done: &done };
    if args.json { print_json(&report.to_json()) } else { print(&report.to_text()) }
}

/// What was done.
struct Report<'a> {
    device: &'a Device,
    /// Earlier versions that are still accepted.
    previous: Vec<Previous>,
    done: &'a Done,
}

impl Report<'_> {
    fn to_text(&self) -> String {
        let mut text = format!(
            "{} has the secret version {} now, in {}.\n",
            self.device.label(),
            self.device.secret_version,
            self.done.in_files()
        );
        let files = self.done.credential_files(self.device);
        if files.is_empty() {
            text.push_str("It has no connection, so no credential file.\n");
        } else {
            text.push_str("Hand it its new credentials:\n");
        }
        for file in files {
            text.push_str(&format!("  {}\n", file.display()));
        }
        for previous in &self.previous {
            let until = humantime::format_rfc3339_seconds(previous.until);
            text.push_str(&format!(
                "The password of version {} is accepted until {until}.\n",
                previous.version
            ));
        }
        if self.previous.is_empty() {
            text.push_str("No earlier password is accepted.\n");
        }
        text.push_str(&self.done.taken.to_string());
        text
    }

    fn to_json(&self) -> serde_json::Value {
        let previous = |previous: &Previous| {
            let until = humantime::format_rfc3339_seconds(previous.until).to_string();
            json!({ "version": previous.version, "accepted_until": until })
        };
        let files = self.done.credential_files(self.device);
        let report = json!({
            "username": self.device.user_name(),
            "name": self.device.name,
            "secret_version": self.device.secret_version,
            "files": files.iter().map(|file| file.display().to_string()).collect::<Vec<_>>(),
            "previous": self.previous.iter().map(previous).collect::<Vec<_>>(),
        });
        with_change(report, self.done)
    }
}
