//! `restore`: puts a backup in the place of what is there, whether the bridge runs or not.

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use serde_json::json;

use super::{CommandError, backup::not_reached, confirm, print, print_json};
use crate::{
    backup::{Checked, Staged, finish_pending, remove_leftovers},
    control::{Client, ControlError, Hello, Request, socket_path},
    instance::{Holder, Instance, InstanceError},
    settings::{Environment, Settings},
};

/// How long the bridge may take until it is ready again.
const START: Duration = Duration::from_secs(120);
/// How often it is looked whether it is.
const LOOK: Duration = Duration::from_millis(100);
/// A start that fails is one that nobody works on for so long.
const GONE: Duration = Duration::from_secs(10);

/// Arguments of `restore`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The backup.
    #[arg(required_unless_present = "finish")]
    pub file: Option<PathBuf>,
    /// Do not ask.
    #[arg(long)]
    pub yes: bool,
    /// Only finish a restore that was interrupted.
    #[arg(long, conflicts_with = "file")]
    pub finish: bool,
    /// Report in JSON.
    #[arg(long)]
    pub json: bool,
}

/// Checks a backup, and puts it in the place of what is there, which is kept beside it. A running bridge stands still for
/// that, and starts again.
///
/// # Errors
/// Wrong usage, or nobody is there to be asked (status 2); the backup cannot be used, a file cannot be replaced, or the
/// bridge does not start again (status 1).
pub async fn run(args: &Args, dir: &Path, environment: &Environment) -> Result<(), CommandError> {
    let finished = finish_pending(dir, environment).map_err(CommandError::failed)?;
    let Some(file) = &args.file else {
        if let Ok(settings) = Settings::load(dir, environment) {
            remove_leftovers(&settings.data_dir);
        }
        let what =
            if finished { "The restore is finished now.\n" } else { "There is no restore to finish.\n" };
        return if args.json {
            print_json(&json!({ "ok": true, "finished": finished }))
        } else {
            print(what)
        };
    };
    let refused =
        |what: String| CommandError::failed(format!("{} {what}. Nothing was changed", file.display()));
    let checked = Checked::read(file, dir, environment).map_err(refused)?;
    let settings = &checked.configuration.settings;
    refuse_other_data_dir(dir, environment, settings)?;
    show(args, &checked, dir)?;
    let (keep, running) = match Instance::claim(&settings.data_dir) {
        Ok(_instance) => {
            let staged = Staged::unpack(file, settings).map_err(refused)?;
            (staged.put_in_place(dir, &settings.data_dir, || true).map_err(CommandError::failed)?, None)
        }
        Err(InstanceError::Taken { holder, .. }) => {
            let staged = Staged::unpack(file, settings).map_err(refused)?;
            (while_it_stands_still(settings, holder, staged, dir).await?, Some(holder))
        }
        Err(error) => return Err(CommandError::failed(error)),
    };
    if let Some(holder) = running {
        wait_until_ready(settings, holder, &keep).await?;
    }
    if args.json {
        return print_json(&json!({
            "ok": true,
            "manifest": checked.manifest,
            "kept": keep.display().to_string(),
            "running": running.is_some(),
        }));
    }
    let state = match running {
        Some(_) => "The bridge has started again with it, and is ready.",
        None => "No bridge is running: start it, and devices find it as it was.",
    };
    print(&format!(
        "Restored. What was there before is in {}.\n\
         Remove that once all devices talk as they should: it holds a secret key and messages.\n{state}\n",
        keep.display()
    ))
}

/// A bridge that works elsewhere would go on with what it has.
fn refuse_other_data_dir(dir: &Path, environment: &Environment, new: &Settings) -> Result<(), CommandError> {
    let Ok(now) = Settings::load(dir, environment) else { return Ok(()) };
    if now.data_dir != new.data_dir && matches!(Instance::holder(&now.data_dir), Ok(Some(_))) {
        return Err(CommandError::failed(format!(
            "the bridge works on {}, and the backup's server.json names {}: stop the bridge first",
            now.data_dir.display(),
            new.data_dir.display()
        )));
    }
    Ok(())
}

/// Shows what is going to be replaced, and asks.
fn show(args: &Args, checked: &Checked, dir: &Path) -> Result<(), CommandError> {
    let manifest = &checked.manifest;
    let registry = &checked.configuration.registry;
    let summary = format!(
        "A backup of {}, made on {} by version {}: {} devices, {} connections.\n\
         It replaces the configuration in {}\nand the data in {}.\n\
         Both are kept. Devices have the passwords of the backup afterwards.",
        manifest.host.escape_debug(),
        manifest.made.escape_debug(),
        manifest.version.escape_debug(),
        registry.devices().len(),
        registry.connections().len(),
        dir.display(),
        checked.configuration.settings.data_dir.display()
    );
    if args.yes {
        return if args.json { Ok(()) } else { print(&format!("{summary}\n")) };
    }
    confirm::confirm(&summary, "Go on?")
}

async fn while_it_stands_still(
    settings: &Settings,
    holder: Holder,
    staged: Staged,
    dir: &Path,
) -> Result<PathBuf, CommandError> {
    let socket = socket_path(settings);
    let unchanged = |error: ControlError| CommandError::failed(format!("{error}. Nothing was changed"));
    let client = Client::connect(&socket).await.map_err(unchanged)?;
    let mut client = client.ok_or_else(|| not_reached(holder, &socket))?;
    client.ask::<Hello>(&Request::Restore).await.map_err(unchanged)?;
    // It goes on when the connection ends.
    staged.put_in_place(dir, &settings.data_dir, || client.is_open()).map_err(CommandError::failed)
}

async fn wait_until_ready(settings: &Settings, holder: Holder, keep: &Path) -> Result<(), CommandError> {
    let socket = socket_path(settings);
    let begun = Instant::now();
    let mut seen = begun;
    while begun.elapsed() < START && seen.elapsed() < GONE {
        if let Ok(Some(mut client)) = Client::connect(&socket).await
            && client.ask::<Hello>(&Request::Hello).await.is_ok()
        {
            return Ok(());
        }
        if matches!(Instance::holder(&settings.data_dir), Ok(Some(_))) {
            seen = Instant::now();
        }
        tokio::time::sleep(LOOK).await;
    }
    Err(CommandError::failed(format!(
        "the backup is in place, but {holder} is not ready again: its log tells why. What was there before is in {}",
        keep.display()
    )))
}
