//! `reload`: has the running bridge take up its configuration.

use std::path::Path;

use serde_json::json;

use super::{CommandError, print, print_json, running::Running};
use crate::{
    control::{ControlError, Request},
    settings::Environment,
};

/// Arguments of `reload`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Report in JSON.
    #[arg(long)]
    pub json: bool,
}

/// Has the running bridge take up the configuration as it is in the files now, and tells what has changed. The bridge does
/// so by itself, too: this waits until it has, and fails if it could not.
///
/// # Errors
/// The settings are invalid (status 2); no bridge is running, or it says why it goes on with what it has (status 1).
pub async fn run(args: &Args, dir: &Path, environment: &Environment) -> Result<(), CommandError> {
    let mut client = Running::find(dir, environment)?.require().await?;
    let changes: String = client.ask(&Request::Reload).await.map_err(|error| match error {
        ControlError::Refused(why) => CommandError::failed(format!(
            "the configuration was not taken up, and what ran before goes on:\n{why}"
        )),
        other => other.into(),
    })?;
    if args.json {
        print_json(&json!({ "reloaded": changes }))
    } else {
        print(&format!("configuration reloaded: {changes}\n"))
    }
}
