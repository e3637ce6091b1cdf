//! `disable` and `enable`: whether a device may log in.

use std::path::Path;

use serde_json::json;

use super::{CommandError, print, print_json, with_change};
use crate::{
    changes::{DeviceChange, Edit, EditError, change_device},
    registry::find_device,
    settings::Environment,
};

/// Arguments of `disable` and `enable`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The device: its code, `<user>.<code>`, or its name if no other has it.
    pub device: String,
    /// Report in JSON.
    #[arg(long)]
    pub json: bool,
}

/// Sets the device's `disabled` in `devices.json`, which is otherwise left as it stands, and has that taken up: by the running
/// bridge if there is one. What is so already is no error.
///
/// # Errors
/// The device is unknown or the configuration invalid (status 2); a file cannot be read or written, or the running bridge
/// refuses (status 1).
pub async fn run(
    args: &Args,
    disabled: bool,
    dir: &Path,
    environment: &Environment,
) -> Result<(), CommandError> {
    let mut edit = Edit::begin(dir, environment).await?;
    let registry = edit.draft.registry();
    let index = registry.place(find_device(registry, &args.device)?).ok_or(EditError::Changed)?;
    let change = DeviceChange { disabled: Some(disabled.into()), ..DeviceChange::default() };
    change_device(&mut edit.draft, index, &change)?;
    let done = edit.finish().await?;
    let device = &done.registry.devices()[index];
    if args.json {
        let report = json!({ "username": device.user_name(), "disabled": disabled });
        return print_json(&with_change(report, &done));
    }
    let (name, may) =
        (device.label(), if disabled { "is disabled: it may not log in" } else { "may log in" });
    match done.files.is_empty() {
        true => print(&format!("{name} {may}, as before.\n{}", done.taken)),
        false => print(&format!("{name} {may} now, by {}.\n{}", done.in_files(), done.taken)),
    }
}
