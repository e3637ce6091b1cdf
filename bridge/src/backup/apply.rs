//! Puts a backup in the place of what is there. That takes many steps, and the machine may stop at any of them: so all of
//! it is first prepared in one directory, which gets its name as the last thing. From then on whoever comes by finishes
//! it, before anything runs; before that, nothing has changed.

use std::{
    fmt,
    fs::{self, File, Permissions},
    io::{self, ErrorKind, Write},
    os::unix::fs::{MetadataExt, PermissionsExt, fchown, lchown},
    path::{Path, PathBuf},
    time::SystemTime,
};

use serde::{Deserialize, Serialize};

use super::{CONFIG, DATA, parts::DATA_FILES, staged::Staged};
use crate::{
    control::absolute,
    instance::Instance,
    leftovers,
    links::real_path,
    registry::{CONNECTIONS_FILE, DEVICES_FILE},
    secrets::{create_private_dir, write_private},
    settings::{Environment, SERVER_FILE, STORE_DIR, Settings},
    storage::{advice, probe},
    tls::CA_DIR,
};

/// A restore that has to be finished, in the data directory.
const PENDING: &str = "restore";
/// What is left of one that is finished.
const FINISHED: &str = "restore.new-finished";
/// How a restore goes on, in [`PENDING`].
const PLAN: &str = "plan.json";
/// How the names of directories begin that keep what was there before, in the data directory.
const KEPT: &str = "before-restore-";
/// What the configuration was before, in [`PENDING`].
const BEFORE: &str = "before";

/// Mode of configuration files that were not there before: they hold no secrets.
const CONFIG_MODE: u32 = 0o644;

/// Why what is there could not be replaced.
#[derive(Debug)]
pub struct RestoreError {
    path: PathBuf,
    error: io::Error,
    /// It goes on at the next start. If not, nothing has changed.
    has_begun: bool,
}

/// Where everything goes.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Plan {
    /// The configuration directory.
    config_dir: PathBuf,
    /// Name of the directory that keeps what was there before, in the data directory.
    keep: String,
    /// What goes from the data directory without anything in its place.
    gone: Vec<String>,
}

impl Staged {
    /// Puts it in place: from now on it will be, whatever happens. Only for whoever has the data directory to itself, with
    /// a configuration that nobody reads now; `is_alone` is asked at the last moment whether that is still so. Gives the
    /// directory that keeps what was there before.
    ///
    /// # Errors
    /// Nothing has changed, or [`finish_pending`] goes on with it.
    pub fn put_in_place(
        self,
        config_dir: &Path,
        data_dir: &Path,
        is_alone: impl FnOnce() -> bool,
    ) -> Result<PathBuf, RestoreError> {
        let keep = self.prepare(config_dir, data_dir).map_err(|error| not_begun(self.dir.path(), error))?;
        if !is_alone() {
            let error = "this took so long that the bridge has started again: try again";
            return Err(not_begun(data_dir, io::Error::other(error)));
        }
        let pending = data_dir.join(PENDING);
        let staged = self.dir.keep();
        rename(&staged, &pending).map_err(|error| not_begun(&pending, error))?;
        finish(config_dir, data_dir)?;
        Ok(data_dir.join(keep))
    }

    /// Everything that can be done before anything changes.
    fn prepare(&self, config_dir: &Path, data_dir: &Path) -> io::Result<String> {
        let dir = self.dir.path();
        create_config_dir(config_dir)?;
        let before = dir.join(BEFORE);
        create_private_dir(&before)?;
        let mut files = files_below(&dir.join(CONFIG), Path::new(""))?;
        if !dir.join(CONFIG).join(SERVER_FILE).exists() && config_dir.join(SERVER_FILE).exists() {
            probe(config_dir)?;
        }
        for path in &files {
            may_be_put(&dir.join(CONFIG).join(path), &config_dir.join(path))?;
        }
        files.extend([SERVER_FILE, DEVICES_FILE, CONNECTIONS_FILE].map(PathBuf::from));
        for path in files {
            let place = before.join(&path);
            place.parent().map_or(Ok(()), create_private_dir)?;
            match fs::copy(behind_links(&config_dir.join(path))?, place) {
                Err(error) if !is_absence(&error) => return Err(error),
                _ => {}
            }
        }
        let keep = unused(data_dir, SystemTime::now());
        let gone = gone(&names(&dir.join(DATA))?);
        let plan = Plan { config_dir: std::path::absolute(config_dir)?, keep: keep.clone(), gone };
        write_private(&dir.join(PLAN), &serde_json::to_vec(&plan)?, true)?;
        // As root: the bridge has to work with all of it.
        give_all_to_owner_of(data_dir, dir)?;
        sync_all_dirs(dir)?;
        Ok(keep)
    }
}

/// Finishes a restore that was cut short, before anything else is read. Whether there was one.
///
/// # Errors
/// Another process works on the data directory, or it cannot be finished.
pub fn finish_pending(dir: &Path, environment: &Environment) -> Result<bool, RestoreError> {
    // The settings come first, and as a whole: what they name is where it goes on.
    let Ok(settings) = Settings::load(dir, environment) else { return Ok(false) };
    let data_dir = &settings.data_dir;
    if !data_dir.join(PENDING).is_dir() {
        return Ok(false);
    }
    let claimed = Instance::claim(data_dir);
    let _instance = claimed.map_err(|error| of_path(data_dir, io::Error::other(error.to_string())))?;
    finish(dir, data_dir)?;
    Ok(true)
}

/// What restores have kept of what was there before, the oldest first.
pub fn kept_before_restores(data_dir: &Path) -> Vec<PathBuf> {
    let mut kept = names(data_dir).unwrap_or_default();
    kept.retain(|name| name.starts_with(KEPT));
    kept.sort();
    kept.into_iter().map(|name| data_dir.join(name)).collect()
}

/// Every step may have been done before, and any of them may be the last one that is done.
fn finish(config_dir: &Path, data_dir: &Path) -> Result<(), RestoreError> {
    let pending = data_dir.join(PENDING);
    let plan = fs::read(pending.join(PLAN)).and_then(|text| Ok(serde_json::from_slice::<Plan>(&text)?));
    let plan = plan.map_err(|error| of_path(&pending.join(PLAN), error))?;
    let keep = data_dir.join(&plan.keep);
    let is_right = plan.check(config_dir).and_then(|()| {
        [&pending, &pending.join(CONFIG), &pending.join(DATA), &keep]
            .into_iter()
            .try_for_each(|dir| no_link(dir))
    });
    is_right.map_err(|error| of_path(&pending, error))?;
    create_private_dir(&keep).map_err(|error| of_path(&keep, error))?;
    put_configuration(&pending.join(CONFIG), config_dir)?;
    for name in &plan.gone {
        let place = data_dir.join(name);
        put_aside(&place, &keep.join(name)).map_err(|error| of_path(&place, error))?;
    }
    let staged = pending.join(DATA);
    for name in names(&staged).map_err(|error| of_path(&staged, error))? {
        replace(&staged, data_dir, &keep, &name).map_err(|error| of_path(&data_dir.join(&name), error))?;
    }
    let before = pending.join(BEFORE);
    let done = || -> io::Result<()> {
        if before.is_dir() {
            rename(&before, &keep.join(CONFIG))?;
        }
        sync_dir(&keep)?;
        sync_dir(data_dir)?;
        let finished = data_dir.join(FINISHED);
        remove(&finished)?;
        rename(&pending, &finished)?;
        remove(&finished)
    };
    done().map_err(|error| of_path(&pending, error))
}

impl Plan {
    /// Root may be who finishes it, and others than root may write into the data directory: so a plan cannot say that files
    /// go elsewhere than to where whoever finishes it works.
    fn check(&self, config_dir: &Path) -> io::Result<()> {
        if absolute(&self.config_dir) != absolute(config_dir) {
            return Err(io::Error::other(format!(
                "it is to replace the configuration in {}, not in {}: name that one with --config",
                self.config_dir.display(),
                config_dir.display()
            )));
        }
        let is_name = |name: &String| Path::new(name).file_name().is_some_and(|last| last == name.as_str());
        match [&self.keep].into_iter().chain(&self.gone).find(|name| !is_name(name)) {
            Some(name) => Err(io::Error::other(format!(
                "it names {name:?}, which leads elsewhere: no restore made it, so move it away"
            ))),
            None => Ok(()),
        }
    }
}

fn no_link(path: &Path) -> io::Result<()> {
    if path.is_symlink() {
        return Err(io::Error::other(format!(
            "{} is a link, which no restore makes: move it away",
            path.display()
        )));
    }
    Ok(())
}

/// The settings first: they say where the rest of a restore that is cut short is found.
fn put_configuration(staged: &Path, config_dir: &Path) -> Result<(), RestoreError> {
    create_config_dir(config_dir).map_err(|error| of_path(config_dir, error))?;
    let mut files = files_below(staged, Path::new("")).map_err(|error| of_path(staged, error))?;
    let server = config_dir.join(SERVER_FILE);
    if !staged.join(SERVER_FILE).exists() {
        remove(&server).map_err(|error| of_path(&server, error))?;
    }
    files.sort_by_key(|path| {
        let first = [SERVER_FILE, DEVICES_FILE, CONNECTIONS_FILE];
        first.iter().position(|name| path == Path::new(name)).unwrap_or(first.len())
    });
    for path in files {
        let place = config_dir.join(&path);
        put_file(&staged.join(&path), &place).map_err(|error| of_path(&place, error))?;
    }
    Ok(())
}

/// Where a file of the configuration is, or will be.
fn behind_links(place: &Path) -> io::Result<PathBuf> {
    match real_path(place) {
        // Also where a directory of the place is a file: whoever writes there says so.
        Err(error) if is_absence(&error) => Ok(place.to_owned()),
        found => found,
    }
}

fn is_absence(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory)
}

/// Tries what [`put_file`] is going to need.
fn may_be_put(staged: &Path, place: &Path) -> io::Result<()> {
    let place = behind_links(place)?;
    if fs::read(&place).is_ok_and(|there| fs::read(staged).is_ok_and(|contents| contents == there)) {
        return Ok(());
    }
    let dir = place.ancestors().skip(1).find(|dir| dir.exists()).unwrap_or(Path::new("/"));
    let of_place = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", place.display()));
    probe(dir).map(drop).map_err(of_place)
}

/// Mode and owner of a file that is there stay, and a link stays one.
fn put_file(staged: &Path, place: &Path) -> io::Result<()> {
    let contents = fs::read(staged)?;
    let place = behind_links(place)?;
    if fs::read(&place).is_ok_and(|there| there == contents) {
        return Ok(());
    }
    let dir = place.parent().unwrap_or(Path::new("/"));
    create_config_dir(dir)?;
    let like = fs::metadata(&place).or_else(|_| fs::metadata(dir))?;
    let is_there = place.is_file();
    let mode = if is_there { like.permissions().mode() } else { CONFIG_MODE };
    let mut file = leftovers::temporary_in(dir)?;
    let made = file.as_file().metadata()?;
    if (made.uid(), made.gid()) != (like.uid(), like.gid()) {
        fchown(file.as_file(), Some(like.uid()), Some(like.gid()))?;
    }
    file.as_file().set_permissions(Permissions::from_mode(mode))?;
    file.write_all(&contents)?;
    file.as_file().sync_all()?;
    file.persist(&place)?;
    sync_dir(dir)
}

/// What is there goes to `keep`, what is staged takes its place.
fn replace(staged: &Path, data_dir: &Path, keep: &Path, name: &str) -> io::Result<()> {
    let [new, place, old] = [staged, data_dir, keep].map(|dir| dir.join(name));
    if !is_there(&new) {
        // It has come already.
        return Ok(());
    }
    put_aside(&place, &old)?;
    // Somebody made another one while this was cut short.
    remove(&place)?;
    fs::rename(&new, &place)
}

/// Unless that was done before.
fn put_aside(place: &Path, old: &Path) -> io::Result<()> {
    if is_there(old) || !is_there(place) { Ok(()) } else { fs::rename(place, old) }
}

fn is_there(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok()
}

fn names(dir: &Path) -> io::Result<Vec<String>> {
    fs::read_dir(dir)?.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect()
}

/// What the bridge keeps and a backup with these names does not have: there shall be none then.
fn gone(coming: &[String]) -> Vec<String> {
    let own = DATA_FILES.into_iter().chain([CA_DIR, STORE_DIR]);
    own.filter(|name| !coming.iter().any(|coming| coming == name)).map(str::to_owned).collect()
}

fn files_below(root: &Path, below: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(root.join(below))? {
        let entry = entry?;
        let path = below.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            files.extend(files_below(root, &path)?);
        } else {
            no_link(&entry.path())?;
            files.push(path);
        }
    }
    Ok(files)
}

/// A name that says when, and that nothing has.
fn unused(data_dir: &Path, now: SystemTime) -> String {
    let time = humantime::format_rfc3339_seconds(now).to_string().replace(':', "-");
    let name = format!("{KEPT}{time}");
    let others = (2..).map(|number| format!("{name}-{number}"));
    std::iter::once(name.clone())
        .chain(others)
        .find(|name| fs::symlink_metadata(data_dir.join(name)).is_err())
        .unwrap_or(name)
}

/// Others may look into it, as into what a package makes.
fn create_config_dir(dir: &Path) -> io::Result<()> {
    fs::create_dir_all(dir)
}

fn give_all_to_owner_of(dir: &Path, made: &Path) -> io::Result<()> {
    if !rustix::process::geteuid().is_root() {
        return Ok(());
    }
    let owner = fs::metadata(dir)?;
    let give = |path: &Path| lchown(path, Some(owner.uid()), Some(owner.gid()));
    give(made)?;
    for entry in fs::read_dir(made)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            give_all_to_owner_of(dir, &entry.path())?;
        } else {
            give(&entry.path())?;
        }
    }
    Ok(())
}

fn sync_all_dirs(dir: &Path) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            sync_all_dirs(&entry.path())?;
        }
    }
    sync_dir(dir)
}

/// Renames so that it survives a power cut.
fn rename(from: &Path, to: &Path) -> io::Result<()> {
    fs::rename(from, to)?;
    for path in [from, to] {
        path.parent().map_or(Ok(()), sync_dir)?;
    }
    Ok(())
}

fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

fn remove(path: &Path) -> io::Result<()> {
    let removed = match fs::symlink_metadata(path) {
        Ok(found) if found.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) => Err(error),
    };
    match removed {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn of_path(path: &Path, error: io::Error) -> RestoreError {
    RestoreError { path: path.to_owned(), error, has_begun: true }
}

fn not_begun(path: &Path, error: io::Error) -> RestoreError {
    RestoreError { path: path.to_owned(), error, has_begun: false }
}

impl fmt::Display for RestoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { path, error, has_begun } = self;
        let advice = match error.kind() {
            // It says itself what to do.
            ErrorKind::Other => String::new(),
            _ => format!("; {}", advice(error)),
        };
        if !has_begun {
            return write!(f, "{}: {error}{advice}; nothing was changed", path.display());
        }
        write!(
            f,
            "the restore of a backup could not be finished: {}: {error}{advice}. Then run `ior-bridge restore --finish` as root, or \
             as who owns these files: until it is finished, nothing runs",
            path.display()
        )
    }
}

impl std::error::Error for RestoreError {}

#[cfg(test)]
mod tests;
