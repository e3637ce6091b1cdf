use std::{
    fs::{File, TryLockError},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use tokio::{
    task::block_in_place,
    time::{Instant, sleep},
};

use super::{
    Draft, EditError,
    draft::Text,
    take_up::{Taken, Taker},
};
use crate::{
    control::Bridge,
    credentials,
    document::MAX_FILE_SIZE,
    links::real_path,
    registry::{Connection, Device, End, Registry, Revision},
    settings::{Environment, Settings},
    storage::probe,
};

/// How long a command waits for others that change the configuration.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often it is looked whether they are done.
const LOOK: Duration = Duration::from_millis(20);

/// The configuration in the hands of one who changes it. Only in a runtime with several threads: reading and writing block.
#[derive(Debug)]
pub(crate) struct Edit {
    dir: PathBuf,
    /// What is to become of it.
    pub(crate) draft: Draft,
    _lock: File,
}

/// A change that was made.
#[derive(Debug)]
pub(crate) struct Done {
    /// What the files hold now.
    pub(crate) registry: Registry,
    /// Which state of them that is.
    pub(crate) revision: Revision,
    /// With the data directory in which credential files are.
    pub(crate) settings: Settings,
    /// The files that were changed.
    pub(crate) files: Vec<PathBuf>,
    /// By whom it was taken up.
    pub(crate) taken: Taken,
}

impl Edit {
    /// Takes the configuration of a directory, once no other command changes it.
    ///
    /// # Errors
    /// It is invalid, cannot be read, or another command does not end.
    pub(crate) async fn begin(dir: &Path, environment: &Environment) -> Result<Self, EditError> {
        Self::begin_within(PATIENCE, dir, environment).await
    }

    /// The same for whoever has less patience.
    ///
    /// # Errors
    /// As [`Edit::begin`].
    pub(crate) async fn begin_within(
        patience: Duration,
        dir: &Path,
        environment: &Environment,
    ) -> Result<Self, EditError> {
        let lock = lock(dir, patience).await?;
        let draft = block_in_place(|| Draft::read(dir, environment))?;
        Ok(Self { dir: dir.to_owned(), draft, _lock: lock })
    }

    /// Checks what was made of the configuration, writes it, and has it taken up: by the running bridge if there is one.
    ///
    /// # Errors
    /// The new configuration is invalid, or the bridge runs with another one (nothing was changed); a file cannot be written,
    /// or the bridge refuses (the error says what stands in the files).
    pub(crate) async fn finish(self) -> Result<Done, EditError> {
        let (registry, revision) = block_in_place(|| self.examine())?;
        let taker = Taker::find(&self.dir, self.draft.settings()).await?;
        self.finish_by(taker, registry, revision).await
    }

    /// The same within the running bridge, which takes it up itself.
    ///
    /// # Errors
    /// As [`Edit::finish`].
    pub(crate) async fn finish_within(self, bridge: Arc<Bridge>) -> Result<Done, EditError> {
        let (registry, revision) = block_in_place(|| self.examine())?;
        self.finish_by(Taker::Itself(bridge), registry, revision).await
    }

    async fn finish_by(
        self,
        taker: Taker,
        registry: Registry,
        revision: Revision,
    ) -> Result<Done, EditError> {
        let (ready, files) = block_in_place(|| {
            let ready = taker.prepare(self.draft.settings(), &registry)?;
            Ok::<_, EditError>((ready, self.write()?))
        })?;
        let taken = ready.take_up(self.draft.registry(), &registry).await;
        let taken = taken.map_err(|why| EditError::NotTakenUp { files: files.clone(), why })?;
        let settings = self.draft.settings();
        let settings = Settings { data_dir: taken.data_dir(settings), ..settings.clone() };
        Ok(Done { registry, revision, settings, files, taken })
    }

    /// What can be told before anybody is asked.
    fn examine(&self) -> Result<(Registry, Revision), EditError> {
        let checked = self.draft.check()?;
        self.draft.changed().try_for_each(examine)?;
        Ok(checked)
    }

    /// All of them are on the disk before the first is put in place.
    fn write(&self) -> Result<Vec<PathBuf>, EditError> {
        let prepare = |text: &Text| {
            let path = text.before.path().to_owned();
            match text.before.prepare(text.after.text()) {
                Ok(replacement) => Ok((path, replacement)),
                Err(error) => Err(EditError::CannotWrite { path, error, written: Vec::new() }),
            }
        };
        let prepared = self.draft.changed().map(prepare).collect::<Result<Vec<_>, EditError>>()?;
        let mut written = Vec::new();
        for (path, replacement) in prepared {
            if let Err(error) = replacement.commit() {
                return Err(EditError::CannotWrite { path, error, written });
            }
            written.push(path);
        }
        Ok(written)
    }
}

impl Done {
    /// Where a device's credential files are, by connection.
    pub(crate) fn credential_files(&self, device: &Device) -> Vec<PathBuf> {
        let ends = self.registry.connections().iter().flat_map(|connection| {
            let own = move |end: &End| self.registry.end(connection, *end) == device;
            End::BOTH.into_iter().filter(own).map(move |end| (connection, end))
        });
        ends.map(|(connection, end)| self.credential_file(connection, end)).collect()
    }

    /// Where the credential file of one end of a connection is.
    pub(crate) fn credential_file(&self, connection: &Connection, end: End) -> PathBuf {
        credentials::path(&self.settings.data_dir, connection, end)
    }

    /// Which files hold the change, for people.
    pub(crate) fn in_files(&self) -> String {
        listing(&self.files)
    }
}

/// For people.
pub(super) fn listing(files: &[PathBuf]) -> String {
    files.iter().map(|file| file.display().to_string()).collect::<Vec<_>>().join(" and ")
}

/// A lock on the directory itself: it needs no file, and ends with the process.
async fn lock(dir: &Path, patience: Duration) -> Result<File, EditError> {
    let cannot = |error| EditError::NoLock { dir: dir.to_owned(), error };
    let lock = File::open(dir).map_err(cannot)?;
    let until = Instant::now() + patience;
    loop {
        match lock.try_lock() {
            Ok(()) => return Ok(lock),
            Err(TryLockError::WouldBlock) if Instant::now() < until => sleep(LOOK).await,
            Err(TryLockError::WouldBlock) => {
                return Err(EditError::Busy { dir: dir.to_owned(), waited: patience });
            }
            Err(TryLockError::Error(error)) => return Err(cannot(error)),
        }
    }
}

/// Whether it can be replaced, and read again.
fn examine(text: &Text) -> Result<(), EditError> {
    let path = text.before.path();
    if text.after.text().len() as u64 > MAX_FILE_SIZE {
        return Err(EditError::TooLarge(path.to_owned()));
    }
    let probed =
        real_path(path).and_then(|target| target.parent().map_or(Ok(()), |dir| probe(dir).map(drop)));
    probed.map_err(|error| EditError::CannotWrite { path: path.to_owned(), error, written: Vec::new() })
}
