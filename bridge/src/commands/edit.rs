//! What all commands share that change the configuration: one works at a time; the whole new configuration is checked before
//! a byte of it is written; then it is taken up.

use std::{
    fs::{self, File, TryLockError},
    io::{self, ErrorKind},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::{
    CommandError,
    take_up::{Taken, Taker},
};
use crate::{
    configuration::Configuration,
    credentials,
    document::{EntryList, MAX_FILE_SIZE, Problems, Source},
    registry::{CONNECTIONS_FILE, Connection, DEVICES_FILE, Device, End, Registry},
    settings::{Environment, Settings},
    storage::probe,
};

/// How long other commands that change the configuration are waited for.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often it is looked whether they are done.
const LOOK: Duration = Duration::from_millis(20);

/// The configuration in the hands of one command.
#[derive(Debug)]
pub(super) struct Edit {
    dir: PathBuf,
    settings: Settings,
    registry: Registry,
    devices: Text,
    connections: Text,
    _lock: File,
}

/// One of its files.
#[derive(Debug)]
struct Text {
    key: &'static str,
    before: Arc<Source>,
    after: Arc<Source>,
}

/// A change that was made.
#[derive(Debug)]
pub(super) struct Done {
    /// What the files hold now.
    pub(super) registry: Registry,
    /// With the data directory in which credential files are.
    pub(super) settings: Settings,
    /// The files that were changed.
    pub(super) files: Vec<PathBuf>,
    /// By whom it was taken up.
    pub(super) taken: Taken,
}

impl Edit {
    /// Takes the configuration of a directory, once no other command changes it.
    ///
    /// # Errors
    /// It is invalid (status 2), cannot be read, or another command does not end (status 1).
    pub(super) async fn begin(dir: &Path, environment: &Environment) -> Result<Self, CommandError> {
        let lock = lock(dir).await?;
        let Configuration { settings, registry, .. } = Configuration::load(dir, environment)?;
        let devices = Text::read(dir, DEVICES_FILE, "devices")?;
        let connections = Text::read(dir, CONNECTIONS_FILE, "connections")?;
        // An editor heeds no lock.
        if Registry::parse(&devices.before, &connections.before)? != registry {
            return Err(changed());
        }
        Ok(Self { dir: dir.to_owned(), settings, registry, devices, connections, _lock: lock })
    }

    /// What the files hold.
    pub(super) fn registry(&self) -> &Registry {
        &self.registry
    }

    /// Changes the list of devices, whose entries are in the order of the registry's. Nothing is written yet.
    pub(super) fn devices(&mut self, change: impl FnOnce(&EntryList) -> String) -> Result<(), CommandError> {
        self.devices.change(change)
    }

    /// Changes the list of connections likewise.
    pub(super) fn connections(
        &mut self,
        change: impl FnOnce(&EntryList) -> String,
    ) -> Result<(), CommandError> {
        self.connections.change(change)
    }

    /// Checks what was made of the configuration, writes it, and has it taken up: by the running bridge if there is one.
    ///
    /// # Errors
    /// The new configuration is invalid, or the bridge runs with another one (status 2, nothing was changed); a file cannot
    /// be written, or the bridge refuses (status 1, and the error says what stands in the files).
    pub(super) async fn finish(self) -> Result<Done, CommandError> {
        let parsed = Registry::parse(&self.devices.after, &self.connections.after);
        let registry = parsed.map_err(|problems| {
            CommandError::from(problems).and("nothing was changed: this is what would stand in the file")
        })?;
        for text in self.changed() {
            text.probe()?;
        }
        let taker = Taker::find(&self.dir, &self.settings).await?;
        let ready = taker.prepare(&self.settings, &registry)?;
        let files = self.write()?;
        let taken = ready.take_up(&self.registry, &registry).await;
        let taken = taken.map_err(|error| CommandError::failed(format!("{}, but {error}", hold(&files))))?;
        let data_dir = taken.data_dir(&self.settings);
        Ok(Done { registry, settings: Settings { data_dir, ..self.settings }, files, taken })
    }

    /// Connections first: one without its device would be invalid, should this end in between.
    fn changed(&self) -> impl Iterator<Item = &Text> {
        [&self.connections, &self.devices].into_iter().filter(|text| text.before != text.after)
    }

    /// All of them are on the disk before the first is put in place.
    fn write(&self) -> Result<Vec<PathBuf>, CommandError> {
        let prepare = |text: &Text| {
            let path = text.before.path();
            let prepared = text.before.prepare(text.after.text());
            let replacement = prepared.map_err(|error| cannot_write(path, &error, "nothing was changed"))?;
            Ok((path.to_owned(), replacement))
        };
        let prepared = self.changed().map(prepare).collect::<Result<Vec<_>, CommandError>>()?;
        let mut written = Vec::new();
        for (path, replacement) in prepared {
            replacement.commit().map_err(|error| {
                let what = if written.is_empty() { "nothing was changed".to_owned() } else { hold(&written) };
                cannot_write(&path, &error, &what)
            })?;
            written.push(path);
        }
        Ok(written)
    }
}

impl Text {
    fn read(dir: &Path, name: &str, key: &'static str) -> Result<Self, CommandError> {
        let source = Source::read(&dir.join(name)).map_err(Problems::from)?.ok_or_else(changed)?;
        Ok(Self { key, before: Arc::clone(&source), after: source })
    }

    fn change(&mut self, change: impl FnOnce(&EntryList) -> String) -> Result<(), CommandError> {
        let list = EntryList::find(&self.after, self.key).map_err(Problems::from)?;
        self.after = Source::new(self.before.path(), change(&list.ok_or_else(changed)?));
        Ok(())
    }

    /// Whether it can be replaced, and read again.
    fn probe(&self) -> Result<(), CommandError> {
        let path = self.before.path();
        if self.after.text().len() as u64 > MAX_FILE_SIZE {
            return Err(CommandError::usage(format!(
                "{} would be larger than {MAX_FILE_SIZE} bytes; nothing was changed",
                path.display()
            )));
        }
        let probed = fs::canonicalize(path)
            .and_then(|target| target.parent().map_or(Ok(()), |dir| probe(dir).map(drop)));
        probed.map_err(|error| cannot_write(path, &error, "nothing was changed"))
    }
}

impl Done {
    /// Where a device's credential files are, by connection.
    pub(super) fn credential_files(&self, device: &Device) -> Vec<PathBuf> {
        let ends = self.registry.connections().iter().flat_map(|connection| {
            let own = move |end: &End| self.registry.end(connection, *end) == device;
            End::BOTH.into_iter().filter(own).map(move |end| (connection, end))
        });
        ends.map(|(connection, end)| self.credential_file(connection, end)).collect()
    }

    /// Where the credential file of one end of a connection is.
    pub(super) fn credential_file(&self, connection: &Connection, end: End) -> PathBuf {
        credentials::path(&self.settings.data_dir, connection, end)
    }

    /// Which files hold the change, for people.
    pub(super) fn in_files(&self) -> String {
        listing(&self.files)
    }

    /// A command's report for programs, with what all of them tell.
    pub(super) fn to_json(&self, mut report: Value) -> Value {
        report["configuration"] = self.files.iter().map(|file| file.display().to_string()).collect();
        report["data_dir"] = json!(self.settings.data_dir.display().to_string());
        report["running"] = json!(self.taken.pid().is_some());
        report["pid"] = json!(self.taken.pid());
        report["changes"] = json!(self.taken.changes());
        report
    }
}

/// The configuration changed under the hands of a command.
pub(super) fn changed() -> CommandError {
    CommandError::failed("the configuration was changed at the same time: try again")
}

/// A lock on the directory itself: it needs no file, and ends with the process.
async fn lock(dir: &Path) -> Result<File, CommandError> {
    let path = dir.display();
    let cannot = |error: io::Error| {
        let advice = match error.kind() {
            ErrorKind::NotFound => "name the configuration directory with --config",
            ErrorKind::PermissionDenied => "run this with sudo",
            _ => "edit the files by hand: the running bridge takes that up",
        };
        CommandError::failed(format!("the directory {path} cannot be locked: {error}; {advice}"))
    };
    let lock = File::open(dir).map_err(cannot)?;
    let until = Instant::now() + PATIENCE;
    loop {
        match lock.try_lock() {
            Ok(()) => return Ok(lock),
            Err(TryLockError::WouldBlock) if Instant::now() < until => sleep(LOOK).await,
            Err(TryLockError::WouldBlock) => {
                return Err(CommandError::failed(format!(
                    "another command has been changing the configuration in {path} for {} s: end it, then try again",
                    PATIENCE.as_secs()
                )));
            }
            Err(TryLockError::Error(error)) => return Err(cannot(error)),
        }
    }
}

fn cannot_write(path: &Path, error: &io::Error, what: &str) -> CommandError {
    let advice = match error.kind() {
        ErrorKind::PermissionDenied => "; run this with sudo, or as a user who may write there",
        ErrorKind::ReadOnlyFilesystem => "; the file system there is read-only",
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => "; the disk is full",
        _ => "",
    };
    CommandError::failed(format!("{} cannot be replaced: {error}{advice}; {what}", path.display()))
}

fn hold(files: &[PathBuf]) -> String {
    let verb = if files.len() == 1 { "holds" } else { "hold" };
    format!("{} {verb} the change", listing(files))
}

fn listing(files: &[PathBuf]) -> String {
    files.iter().map(|file| file.display().to_string()).collect::<Vec<_>>().join(" and ")
}
