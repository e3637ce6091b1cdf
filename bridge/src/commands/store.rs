//! `store`: looks at what is kept, or saves what is whole of it.

use std::{
    fs, io,
    os::unix::fs::{MetadataExt, lchown},
    path::Path,
};

use ior_broker::store::{Records, Salvage, Verification, salvage, verify};
use rustix::process::geteuid;
use serde_json::{Value, json};

use super::{CommandError, print, print_json, store_stats, table::table};
use crate::{
    instance::{Instance, InstanceError},
    settings::{Environment, Settings},
    storage::advice,
};

/// Arguments of `store`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// What to do.
    #[command(subcommand)]
    pub action: Action,
}

/// What to do with the store.
#[derive(Debug, clap::Subcommand)]
pub enum Action {
    /// Tell what waits for each device, and how large the store is, whether the bridge runs or not.
    Stats(Options),
    /// Read all of it while the bridge does not run, and tell what is there and what is damaged. Changes nothing.
    Verify(Options),
    /// While the bridge does not run: make a new store of all that is whole, move the damaged files aside, and tell what was lost.
    Salvage(Options),
}

/// How to report.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// Report in JSON.
    #[arg(long)]
    pub json: bool,
}

/// What a command tells.
pub(super) struct Report {
    pub(super) text: String,
    pub(super) json: Value,
    /// Why the exit status is 1.
    pub(super) failure: Option<String>,
}

/// Works on the store in the data directory.
///
/// # Errors
/// The settings are invalid (status 2); the bridge runs, there is no store, it is damaged, or it cannot be
/// salvaged (status 1).
pub async fn run(args: &Args, dir: &Path, environment: &Environment) -> Result<(), CommandError> {
    let settings = Settings::load(dir, environment)?;
    let (options, report) = match &args.action {
        Action::Stats(options) => (options, store_stats::report(&settings).await),
        Action::Verify(options) => (options, alone(&settings, Instance::claim_to_read, verification)),
        Action::Salvage(options) => (options, alone(&settings, Instance::claim, salvaging)),
    };
    let report = report.unwrap_or_else(|error| Report {
        text: String::new(),
        json: json!({ "ok": false, "error": error }),
        failure: Some(error),
    });
    if options.json {
        print_json(&report.json)?;
        return report.failure.map_or(Ok(()), |_| Err(CommandError::reported(1)));
    }
    print(&report.text)?;
    report.failure.map_or(Ok(()), |failure| Err(CommandError::failed(failure)))
}

/// Works on the store while nobody else does, which is claimed like this.
pub(super) fn alone<T, I>(
    settings: &Settings,
    claim: impl FnOnce(&Path) -> Result<I, InstanceError>,
    work: impl FnOnce(&Path) -> Result<T, String>,
) -> Result<T, String> {
    let store = settings.store_dir();
    // Taking a data directory makes it, so a wrong path would leave one behind.
    let found = store.metadata();
    if let Err(error) = &found
        && error.kind() == io::ErrorKind::PermissionDenied
    {
        return Err(format!("{} cannot be looked at: {error}; {}", store.display(), advice(error)));
    }
    if !found.is_ok_and(|found| found.is_dir()) {
        return Err(format!(
            "there is no store in {}: nothing was kept there yet (is this the right --config and data_dir?)",
            settings.data_dir.display()
        ));
    }
    let _instance = claim(&settings.data_dir).map_err(|error| match error {
        InstanceError::Taken { data_dir, holder } => {
            format!("{holder} works on the data directory {}: stop it first", data_dir.display())
        }
        failed @ InstanceError::Failed { .. } => failed.to_string(),
    })?;
    let report = work(&store);
    if geteuid().is_root() {
        for dir in [&settings.data_dir, &store] {
            give_to_owner(dir).map_err(|error| format!("{}: {error}", dir.display()))?;
        }
    }
    report
}

fn verification(store: &Path) -> Result<Report, String> {
    let found = verify(store).map_err(|error| error.to_string())?;
    let bytes = size(store).map_err(|error| format!("{}: {error}", store.display()))?;
    let failure = (!found.is_whole()).then(|| {
        format!(
            "the store in {} is damaged: `ior-bridge store salvage` keeps what is whole, and the damaged files beside it",
            store.display()
        )
    });
    let Verification { problems, whole, damaged, orphans, wrong_totals } = &found;
    let mut text = format!("{}: {bytes} bytes\n\n", store.display());
    text.push_str(&records_table(["KIND", "WHOLE", "DAMAGED"], whole, damaged));
    text.push('\n');
    if *orphans > 0 {
        text.push_str(&format!("records of sessions that are not there: {orphans}\n"));
    }
    if *wrong_totals > 0 {
        text.push_str(&format!(
            "sessions that hold something else than what is written down about them: {wrong_totals}\n"
        ));
    }
    for problem in problems {
        text.push_str(&format!("{problem}\n"));
    }
    if failure.is_none() {
        text.push_str("Everything is whole.\n");
    }
    let json = json!({
        "ok": failure.is_none(),
        "directory": store.display().to_string(),
        "bytes": bytes,
        "whole": records_json(whole),
        "damaged": records_json(damaged),
        "orphans": orphans,
        "wrong_totals": wrong_totals,
        "problems": problems,
    });
    Ok(Report { text, json, failure })
}

fn salvaging(store: &Path) -> Result<Report, String> {
    let done = salvage(store).map_err(|error| error.to_string())?;
    let Salvage { kept, damaged, unreadable_pages, orphans, missing_messages, moved, was_unfinished } = &done;
    let mut text = format!("{}: this is a new store\n\n", store.display());
    if *was_unfinished {
        text.push_str(
            "An earlier salvage was interrupted, and is finished now: it found what is kept and lost.\n",
        );
    } else {
        text.push_str(&records_table(["KIND", "KEPT", "LOST"], kept, damaged));
        text.push('\n');
        for (what, count) in [
            ("parts of the file that cannot be read, with whatever was in them", unreadable_pages),
            ("messages that are lost altogether", missing_messages),
            ("records of sessions that are lost", orphans),
        ] {
            if *count > 0 {
                text.push_str(&format!("{what}: {count}\n"));
            }
        }
    }
    text.push_str("Messages that arrived shortly before the damage may be delivered again.\n");
    text.push_str("The damaged files are kept; remove them when nobody needs them any more:\n");
    let moved: Vec<_> = moved.iter().map(|path| path.display().to_string()).collect();
    text.extend(moved.iter().map(|path| format!("  {path}\n")));
    let json = json!({
        "ok": true,
        "directory": store.display().to_string(),
        "kept": records_json(kept),
        "damaged": records_json(damaged),
        "unreadable_pages": unreadable_pages,
        "missing_messages": missing_messages,
        "orphans": orphans,
        "moved": moved,
        "was_unfinished": was_unfinished,
    });
    Ok(Report { text, json, failure: None })
}

fn records_table(header: [&'static str; 3], one: &Records, other: &Records) -> String {
    let row = |name: &str, one: u64, other: u64| [name.to_owned(), one.to_string(), other.to_string()];
    let rows = [
        row("sessions", one.sessions, other.sessions),
        row("subscriptions", one.subscriptions, other.subscriptions),
        row("messages in queues", one.messages, other.messages),
        row("QoS 2 identifiers", one.identifiers, other.identifiers),
        row("retained messages", one.retained, other.retained),
    ];
    table(header, &rows)
}

fn records_json(records: &Records) -> Value {
    json!({
        "sessions": records.sessions,
        "subscriptions": records.subscriptions,
        "messages": records.messages,
        "identifiers": records.identifiers,
        "retained": records.retained,
    })
}

/// Bytes of the database and its log, not of what was damaged earlier and moved aside.
fn size(store: &Path) -> io::Result<u64> {
    let mut bytes = 0;
    for name in ["store.db", "store.db-wal"] {
        match fs::metadata(store.join(name)) {
            Ok(metadata) => bytes += metadata.len(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(bytes)
}

/// Gives the files of a directory to the directory's owner: with sudo, new ones would be root's, and the bridge's user
/// could not open them.
fn give_to_owner(dir: &Path) -> io::Result<()> {
    let owner = fs::metadata(dir)?;
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        if metadata.is_file() && (metadata.uid(), metadata.gid()) != (owner.uid(), owner.gid()) {
            lchown(entry.path(), Some(owner.uid()), Some(owner.gid()))?;
        }
    }
    Ok(())
}
