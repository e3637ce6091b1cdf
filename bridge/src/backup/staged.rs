//! A backup that is unpacked beside what is there, and checked before anything is replaced.

use std::{
    collections::BTreeSet,
    fs::{self, File, Permissions, TryLockError},
    io::{self, Read, Write},
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
    thread::sleep,
    time::{Duration, Instant, SystemTime},
};

use ior_broker::store::adopt;
use tempfile::TempDir;

use super::{CONFIG, DATA, parts::DATA_FILES};
use crate::{
    archive::{self, Kind, Manifest},
    configuration::Configuration,
    instance::LOCK_FILE,
    pairs::Pairs,
    registry::{CONNECTIONS_FILE, DEVICES_FILE},
    rotation::Rotation,
    secrets::{KEY_FILE, Secrets, create_private_dir},
    settings::{Environment, SERVER_FILE, STORE_DIR, Settings},
    storage::{SPARE, advice, free},
    tls::{self, CA_DIR},
};

/// How the names of unfinished restores begin, in the data directory.
pub(super) const UNFINISHED: &str = "restore.new-";
/// The store's own lock.
const STORE_LOCK: &str = "store.lock";

/// Where systemd puts what it hands to services.
const CREDENTIALS: &str = "/run/credentials";

/// How long others who work on the data directory are waited for: a password takes a while to be hashed.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often it is looked whether they are done.
const LOOK: Duration = Duration::from_millis(20);

/// Largest file but those of the store, in bytes.
const MAX_FILE: u64 = 16 << 20;

/// An archive that was read from its beginning to its end, and what it would make of this machine.
pub struct Checked {
    /// What it says of itself.
    pub manifest: Manifest,
    /// Its configuration, as it would be in its place here.
    pub configuration: Configuration,
}

/// The same, unpacked. Removed when dropped.
pub struct Staged {
    pub(super) dir: TempDir,
    /// On the data directory itself: one restore at a time unpacks there.
    pub(super) _lock: File,
}

impl Checked {
    /// Reads the archive; writes nothing that stays.
    ///
    /// # Errors
    /// What is wrong with it, as the end of a sentence that begins with its name.
    pub fn read(file: &Path, dir: &Path, environment: &Environment) -> Result<Self, String> {
        let scratch = tempfile::tempdir().map_err(|error| format!("cannot be unpacked: {error}"))?;
        let config = scratch.path().join(CONFIG);
        let open = File::open(file).map_err(|error| format!("cannot be read: {error}"))?;
        let manifest = archive::read(open, Kind::Backup, u64::MAX, |path, length, contents| {
            check_file(path, length)?;
            match path.strip_prefix(CONFIG).and_then(|path| path.strip_prefix('/')) {
                // No more is looked at, and none of these is large.
                Some(SERVER_FILE | DEVICES_FILE | CONNECTIONS_FILE) => write(scratch.path(), path, contents),
                _ => Ok(()),
            }
        });
        let manifest = manifest.map_err(|error| error.to_string())?;
        for wanted in [
            format!("{DATA}/{KEY_FILE}"),
            format!("{CONFIG}/{DEVICES_FILE}"),
            format!("{CONFIG}/{CONNECTIONS_FILE}"),
        ] {
            if !manifest.files.iter().any(|listed| listed.path == wanted) {
                return Err(format!("has no {wanted}: it is not a whole backup"));
            }
        }
        let configuration = Configuration::load_as(&config, dir, environment).map_err(|problems| {
            // Where it was unpacked to is gone by now.
            let problems = problems.render(false).replace(&config.display().to_string(), CONFIG);
            format!(
                "holds a configuration that is not valid here:\n{problems}\nIts files can be taken out by hand: `tar -xzf`; then mend \
                 {CONFIG}/, put it in place, and copy {DATA}/{KEY_FILE} and {DATA}/{CA_DIR} into the data directory while no bridge \
                 runs"
            )
        })?;
        let checked = Self { manifest, configuration };
        checked.check_pair(dir)?;
        Ok(checked)
    }

    /// The operator's own files have to be here, or come with it.
    fn check_pair(&self, dir: &Path) -> Result<(), String> {
        let Settings { mqtts, data_dir, .. } = &self.configuration.settings;
        let pair = mqtts.pair.iter().flat_map(|pair| [&pair.cert, &pair.key]);
        for path in pair.chain(&mqtts.client_ca) {
            let within =
                |parent: &Path, name| Some(format!("{name}/{}", path.strip_prefix(parent).ok()?.to_str()?));
            let name = within(dir, CONFIG).or_else(|| within(data_dir, DATA));
            let comes = name.is_some_and(|name| self.manifest.files.iter().any(|listed| listed.path == name));
            // What systemd hands over is there while the service runs only.
            if !comes && !path.starts_with(CREDENTIALS) && !path.exists() {
                return Err(format!(
                    "needs {}, which its server.json names: put that file there first, it is not part of the backup",
                    path.display()
                ));
            }
        }
        Ok(())
    }
}

impl Staged {
    /// Unpacks the archive into the data directory, which must be there, and checks all that is in it.
    ///
    /// # Errors
    /// As [`Checked::read`]; or there is no room.
    pub fn unpack(file: &Path, settings: &Settings) -> Result<Self, String> {
        let data_dir = &settings.data_dir;
        let unpacked = |error: io::Error| {
            format!("cannot be unpacked into {}: {error}; {}", data_dir.display(), advice(&error))
        };
        let lock = lock(data_dir).map_err(|error| match error {
            TryLockError::WouldBlock => {
                format!(
                    "cannot be unpacked: another restore is at work in {}: wait for it",
                    data_dir.display()
                )
            }
            TryLockError::Error(error) => unpacked(error),
        })?;
        remove_unfinished(data_dir);
        let free = free(data_dir).map_err(unpacked)?.saturating_sub(SPARE);
        let dir = tempfile::Builder::new().prefix(UNFINISHED).tempdir_in(data_dir).map_err(unpacked)?;
        let open = File::open(file).map_err(|error| format!("cannot be read: {error}"))?;
        let read = archive::read(open, Kind::Backup, free, |path, length, contents| {
            check_file(path, length)?;
            write(dir.path(), path, contents)
        });
        read.map_err(|error| error.to_string())?;
        let staged = Self { dir, _lock: lock };
        for name in [CONFIG, DATA] {
            create_private_dir(&staged.dir.path().join(name)).map_err(unpacked)?;
        }
        staged.check_data(settings)?;
        Ok(staged)
    }

    fn check_data(&self, settings: &Settings) -> Result<(), String> {
        let data = self.dir.path().join(DATA);
        Secrets::load_or_create(&data).map_err(|error| error.to_string())?;
        Rotation::load(&data).map_err(|error| error.to_string())?;
        Pairs::load(&data).map_err(|error| error.to_string())?;
        if data.join(CA_DIR).is_dir() {
            let mut settings = settings.clone();
            settings.data_dir.clone_from(&data);
            (settings.mqtts.pair, settings.mqtts.client_ca) = (None, None);
            tls::examine(&settings, SystemTime::now()).map_err(|error| error.to_string())?;
        }
        let store = data.join(STORE_DIR);
        if store.is_dir() {
            adopt(&store).map_err(|error| format!("holds a store that cannot be used: {error}"))?;
            // Its lock is made anew, by whoever opens it.
            let _ = fs::remove_file(store.join(STORE_LOCK));
        }
        Ok(())
    }
}

/// A lock on the data directory itself. Whoever changes the administrator's password or tokens has it for a moment.
#[expect(clippy::disallowed_methods, reason = "whoever unpacks a backup blocks all the time")]
fn lock(data_dir: &Path) -> Result<File, TryLockError> {
    let lock = File::open(data_dir).map_err(TryLockError::Error)?;
    let until = Instant::now() + PATIENCE;
    loop {
        match lock.try_lock() {
            Ok(()) => return Ok(lock),
            Err(TryLockError::WouldBlock) if Instant::now() < until => sleep(LOOK),
            Err(error) => return Err(error),
        }
    }
}

/// Removes what a restore that was killed has left behind before it replaced anything, unless one is at work.
pub fn remove_leftovers(data_dir: &Path) {
    if let Ok(lock) = File::open(data_dir)
        && lock.try_lock().is_ok()
    {
        remove_unfinished(data_dir);
    }
}

/// Removes what an earlier restore that was cut short left behind before it replaced anything.
fn remove_unfinished(data_dir: &Path) {
    for entry in fs::read_dir(data_dir).into_iter().flatten().flatten() {
        if entry.file_name().to_string_lossy().starts_with(UNFINISHED) {
            // One that stays does no harm.
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

/// Only what a backup holds, or what an operator's files may be called, and none larger than such files are.
fn check_file(path: &str, length: u64) -> io::Result<()> {
    if length > MAX_FILE && !path.starts_with(&format!("{DATA}/{STORE_DIR}/")) {
        return Err(io::Error::other(format!("it has {length} bytes: no such file is that large")));
    }
    let own: BTreeSet<&str> = DATA_FILES.into_iter().chain([CA_DIR, STORE_DIR]).collect();
    let is_right = match path.split_once('/') {
        Some((CONFIG, rest)) => !rest.starts_with('.'),
        Some((DATA, rest)) => {
            let (first, is_dir) = rest.split_once('/').map_or((rest, false), |(first, _)| (first, true));
            let is_dir_of_own = [CA_DIR, STORE_DIR].contains(&first);
            let is_taken = [LOCK_FILE, "control.sock", "credentials"].contains(&first)
                || ["restore", "before-restore", "."].iter().any(|begin| first.starts_with(begin));
            !is_taken && (!own.contains(first) || is_dir_of_own == is_dir)
        }
        _ => false,
    };
    if is_right {
        Ok(())
    } else {
        Err(io::Error::other("no backup holds such a file; what is made for a bug report is none"))
    }
}

/// Writes a file that only its owner can read, and syncs it.
fn write(root: &Path, path: &str, contents: &mut dyn Read) -> io::Result<()> {
    let path: PathBuf = root.join(path);
    path.parent().map_or(Ok(()), create_private_dir)?;
    let mut file = File::options().write(true).create_new(true).mode(0o600).open(&path)?;
    io::copy(contents, &mut file)?;
    file.flush()?;
    file.set_permissions(Permissions::from_mode(0o600))?;
    file.sync_all()
}
