//! When a device's secret version changed: for a while its previous passwords are accepted too.
//!
//! Every version that was current is accepted for the whole window from the moment in which another one took its place,
//! however often that happens and whether the number is raised or lowered: so the version that a device has got last
//! always has its time. A device that was disabled or removed meanwhile has no previous one: whoever took it away has its
//! password too.

use std::{
    collections::{BTreeMap, HashSet},
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::{task::block_in_place, time::sleep};

use crate::{
    registry::{Device, Registry},
    secrets::write_private,
    storage::advice,
};

/// File name in the data directory.
pub const ROTATION_FILE: &str = "rotation.json";

/// Most versions of a device that are remembered beside the current one. Beyond that the one that was not used for
/// longest is forgotten.
pub const MAX_PREVIOUS: usize = 3;

/// How often the uses of previous passwords are written down: a login never writes anything.
const SAVE: Duration = Duration::from_secs(5 * 60);

/// Which secret versions were seen, and since when.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rotation {
    /// By user name.
    devices: BTreeMap<String, Seen>,
}

/// A version whose password is accepted beside the current one's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Previous {
    /// The secret version.
    pub version: u32,
    /// Until when.
    pub until: SystemTime,
    /// When somebody logged in with it last, since it is a previous one.
    pub last_used: Option<SystemTime>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Seen {
    version: u32,
    /// Seconds since the Unix epoch, as all times here.
    since: u64,
    /// The oldest first. Only a version that was current here was ever a previous one.
    #[serde(default)]
    replaced: Vec<Replaced>,
    /// What its password was is of no use to anybody then, nor once it is enabled with another one.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    disabled: bool,
    /// Instead of `replaced`: how earlier versions of the bridge wrote it.
    #[serde(default, skip_serializing)]
    previous: Option<u32>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Replaced {
    version: u32,
    at: u64,
    last_used: Option<u64>,
}

impl Rotation {
    /// Reads the file of a data directory, if there is one.
    ///
    /// # Errors
    /// It cannot be read or is damaged.
    pub fn load(data_dir: &Path) -> io::Result<Self> {
        let path = data_dir.join(ROTATION_FILE);
        let mut rotation: Self = match fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(|error| with_advice(&path, &error.into()))?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Self::default(),
            Err(error) => return Err(with_advice(&path, &error)),
        };
        for seen in rotation.devices.values_mut() {
            let previous = seen.previous.take();
            seen.replaced.extend(previous.map(|version| Replaced {
                version,
                at: seen.since,
                last_used: None,
            }));
        }
        Ok(rotation)
    }

    /// [`Rotation::load`], notes which versions are new at `now`, and writes the file again if there are any.
    ///
    /// # Errors
    /// It cannot be read or written, or is damaged.
    pub fn load_and_update(data_dir: &Path, registry: &Registry, now: SystemTime) -> io::Result<Self> {
        let mut rotation = Self::load(data_dir)?;
        if rotation.update(registry, now) {
            rotation.save(data_dir)?;
        }
        Ok(rotation)
    }

    /// The version of a device that was seen last.
    pub fn version(&self, user_name: &str) -> Option<u32> {
        self.devices.get(user_name).map(|seen| seen.version)
    }

    /// The versions whose passwords are accepted beside the current one, the oldest first, and until when: that may be
    /// over.
    pub fn previous(&self, user_name: &str, window: Duration) -> impl Iterator<Item = Previous> {
        let replaced = self.devices.get(user_name).into_iter().flat_map(|seen| &seen.replaced);
        replaced.filter_map(move |replaced| {
            Some(Previous {
                version: replaced.version,
                until: time(replaced.at)?.checked_add(window)?,
                last_used: replaced.last_used.and_then(time),
            })
        })
    }

    /// Whether anything changed. Devices that are gone are forgotten: one that is back has no previous password.
    fn update(&mut self, registry: &Registry, now: SystemTime) -> bool {
        let before = self.devices.len();
        let devices: HashSet<_> = registry.devices().iter().map(Device::user_name).collect();
        self.devices.retain(|name, _| devices.contains(name));
        let mut changed = self.devices.len() < before;
        for device in registry.devices() {
            let (version, disabled) = (device.secret_version, device.disabled);
            let new = Seen { version, since: seconds(now), replaced: Vec::new(), disabled, previous: None };
            match self.devices.get_mut(&device.user_name()) {
                None => drop(self.devices.insert(device.user_name(), new)),
                Some(seen) if seen.version == version && seen.disabled == disabled => continue,
                Some(seen) if seen.disabled || disabled => *seen = new,
                Some(seen) => seen.change(version, seconds(now)),
            }
            changed = true;
        }
        changed
    }

    fn save(&self, data_dir: &Path) -> io::Result<()> {
        let path = data_dir.join(ROTATION_FILE);
        let text = serde_json::to_vec_pretty(self)?;
        write_private(&path, &text, true)
            .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))
    }

    fn note_use(&mut self, user_name: &str, version: u32, now: SystemTime) -> Noted {
        let seen = self.devices.get_mut(user_name);
        let replaced = seen.and_then(|seen| seen.replaced.iter_mut().find(|other| other.version == version));
        let Some(replaced) = replaced else { return Noted::default() };
        let before = replaced.last_used.replace(seconds(now));
        Noted { first: before.is_none(), changed: before != replaced.last_used }
    }
}

impl Seen {
    fn change(&mut self, version: u32, now: u64) {
        let before = Replaced { version: self.version, at: now, last_used: None };
        self.replaced.retain(|replaced| replaced.version != version);
        self.replaced.push(before);
        if self.replaced.len() > MAX_PREVIOUS {
            let earlier = self.replaced[..MAX_PREVIOUS].iter().enumerate();
            let least = earlier.min_by_key(|(_, replaced)| replaced.last_used).map_or(0, |(at, _)| at);
            self.replaced.remove(least);
        }
        (self.version, self.since) = (version, now);
    }
}

/// What a running bridge knows of rotation: in memory at once, and in the file every now and then.
pub struct Rotations {
    data_dir: PathBuf,
    state: Mutex<State>,
    /// Held while the file is written.
    writing: Mutex<()>,
}

struct State {
    rotation: Rotation,
    /// Something was noted since the file was written.
    unsaved: bool,
}

#[derive(Default)]
struct Noted {
    first: bool,
    changed: bool,
}

impl Rotations {
    /// What was read from the file of a data directory, or just written there.
    pub fn new(data_dir: &Path, rotation: Rotation) -> Self {
        let state = Mutex::new(State { rotation, unsaved: false });
        Self { data_dir: data_dir.to_owned(), state, writing: Mutex::new(()) }
    }

    /// Notes that a device logged in with a previous version's password just now; whether it is the first time since that
    /// version was replaced. Writes nothing.
    pub fn note_use(&self, user_name: &str, version: u32) -> bool {
        let mut state = self.state.lock();
        let noted = state.rotation.note_use(user_name, version, SystemTime::now());
        state.unsaved |= noted.changed;
        noted.first
    }

    /// Writes the file if something was noted since. Blocks.
    ///
    /// # Errors
    /// It cannot be written; then it is as it was, and the next time tries again.
    pub fn save(&self) -> io::Result<()> {
        let _writing = self.writing.lock();
        let mut state = self.state.lock();
        if !std::mem::take(&mut state.unsaved) {
            return Ok(());
        }
        let rotation = state.rotation.clone();
        drop(state);
        rotation.save(&self.data_dir).inspect_err(|_| self.state.lock().unsaved = true)
    }

    /// Writes the file every now and then, for as long as the bridge runs.
    pub async fn keep(self: Arc<Self>) {
        loop {
            sleep(SAVE).await;
            if let Err(error) = block_in_place(|| self.save()) {
                let advice = advice(&error);
                tracing::warn!("when previous passwords were used last cannot be written: {error}; {advice}");
            }
        }
    }

    /// Notes which versions of a registry are new now, and writes the file if there are any. Blocks.
    ///
    /// # Errors
    /// It cannot be written; then nothing changes.
    pub fn update(&self, registry: &Registry) -> io::Result<Rotation> {
        let _writing = self.writing.lock();
        let now = SystemTime::now();
        let mut next = self.state.lock().rotation.clone();
        if next.update(registry, now) {
            next.save(&self.data_dir)?;
            // What was noted meanwhile stays.
            self.state.lock().rotation.update(registry, now);
        }
        Ok(next)
    }
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

fn time(seconds: u64) -> Option<SystemTime> {
    UNIX_EPOCH.checked_add(Duration::from_secs(seconds))
}

fn with_advice(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}; repair or remove the file", path.display()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::document::Source;

    #[test]
    fn every_version_has_its_window_from_the_moment_it_was_replaced() {
        let mut rotation = Rotation::default();
        for (version, now) in [(1, 0), (2, 10), (3, 20), (2, 30)] {
            assert!(rotation.update(&registry(version), at(now)));
            assert!(!rotation.update(&registry(version), at(now + 1)));
        }
        let previous = |rotation: &Rotation| -> Vec<_> {
            let previous = rotation.previous("u.a", Duration::from_secs(100));
            previous.map(|previous| (previous.version, seconds(previous.until))).collect()
        };
        assert_eq!(previous(&rotation), [(1, 110), (3, 130)], "lowered to 2, which is the current one again");
        assert_eq!(rotation.version("u.a"), Some(2));
        assert_eq!(previous(&Rotation::default()), []);
        assert_eq!(rotation.previous("u.a", Duration::MAX).count(), 0, "no time that cannot be");
    }

    /// Regression: the password of a device that was stolen was accepted again, for a whole window, once the device was
    /// back with a new one.
    #[test]
    fn who_comes_back_with_a_new_password_has_no_previous_one() {
        let text = |version: u32, disabled: bool| {
            format!(
                r#"{{ "devices": [{{ "code": "a", "name": "a", "type": "t", "user": "u", "secret_version": {version},
                    "disabled": {disabled} }}] }}"#
            )
        };
        let parse = |devices: &str| {
            let connections = Source::new("c", r#"{ "connections": [] }"#);
            Registry::parse(&Source::new("d", devices), &connections).unwrap()
        };
        let previous = |rotation: &Rotation| rotation.previous("u.a", Duration::from_secs(100)).count();
        for away in [text(1, true), text(2, true), r#"{ "devices": [] }"#.to_owned()] {
            let mut rotation = Rotation::default();
            rotation.update(&parse(&text(1, false)), at(0));
            assert!(rotation.update(&parse(&away), at(10)), "{away}");
            assert!(!rotation.update(&parse(&away), at(11)), "{away}");
            assert!(rotation.update(&parse(&text(3, false)), at(20)), "{away}");
            assert_eq!((previous(&rotation), rotation.version("u.a")), (0, Some(3)), "{away}");
            assert!(rotation.update(&parse(&text(4, false)), at(30)), "{away}");
            assert_eq!(previous(&rotation), 1, "{away}");
        }
    }

    #[test]
    fn what_devices_use_is_kept_and_the_rest_gives_way() {
        let mut rotation = Rotation::default();
        rotation.update(&registry(1), at(0));
        rotation.update(&registry(2), at(1));
        assert!(rotation.note_use("u.a", 1, at(2)).first);
        for version in 3..=7 {
            rotation.update(&registry(version), at(version.into()));
        }
        let versions: Vec<_> = rotation.previous("u.a", Duration::ZERO).map(|other| other.version).collect();
        assert_eq!(versions, [1, 5, 6]);
    }

    #[test]
    fn uses_are_written_together_and_survive() {
        let dir = tempfile::tempdir().unwrap();
        Rotation::load_and_update(dir.path(), &registry(1), at(0)).unwrap();
        let rotation = Rotation::load_and_update(dir.path(), &registry(2), at(10)).unwrap();
        let path = dir.path().join(ROTATION_FILE);
        let written = fs::read(&path).unwrap();
        let rotations = Rotations::new(dir.path(), rotation);
        assert!(rotations.note_use("u.a", 1));
        assert!(!rotations.note_use("u.a", 1));
        assert!(!rotations.note_use("u.a", 2) && !rotations.note_use("u.b", 1), "these are no previous ones");
        assert_eq!(fs::read(&path).unwrap(), written);
        rotations.save().unwrap();
        let used =
            || Rotation::load(dir.path()).unwrap().previous("u.a", Duration::ZERO).next().unwrap().last_used;
        assert!(used().unwrap() > at(10));
        let inode = |path: &Path| std::os::unix::fs::MetadataExt::ino(&fs::metadata(path).unwrap());
        let before = inode(&path);
        rotations.save().unwrap();
        assert_eq!(inode(&path), before, "nothing new, so nothing is written");
        rotations.update(&registry(3)).unwrap();
        assert!(used().is_some());
        assert!(!rotations.note_use("u.a", 1), "once per window");
        assert!(rotations.note_use("u.a", 2));
    }

    #[test]
    fn a_file_that_cannot_be_written_changes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let rotation = Rotation::load_and_update(dir.path(), &registry(1), at(0)).unwrap();
        let rotations = Rotations::new(&dir.path().join("gone"), rotation);
        assert!(rotations.update(&registry(2)).unwrap_err().to_string().contains("rotation.json"));
        assert_eq!(rotations.state.lock().rotation.version("u.a"), Some(1));
        rotations.state.lock().rotation.update(&registry(2), at(1));
        rotations.note_use("u.a", 1);
        rotations.save().unwrap_err();
        rotations.save().unwrap_err();
    }

    #[test]
    fn the_form_of_earlier_versions_is_understood() {
        let dir = tempfile::tempdir().unwrap();
        let old = r#"{ "devices": { "u.a": { "version": 2, "previous": 1, "since": 10 },
                                    "u.b": { "version": 1, "previous": null, "since": 5 } } }"#;
        fs::write(dir.path().join(ROTATION_FILE), old).unwrap();
        let rotation = Rotation::load(dir.path()).unwrap();
        let previous = |name| rotation.previous(name, Duration::from_secs(5)).next();
        assert_eq!(previous("u.a"), Some(Previous { version: 1, until: at(15), last_used: None }));
        assert_eq!(previous("u.b"), None);
        rotation.save(dir.path()).unwrap();
        assert_eq!(Rotation::load(dir.path()).unwrap(), rotation);
    }

    fn at(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(seconds)
    }

    fn registry(version: u32) -> Registry {
        let device = format!(
            r#"{{ "devices": [ {{ "user": "u", "code": "a", "name": "n", "type": "t", "secret_version": {version} }} ] }}"#
        );
        Registry::parse(&Source::new("d", device), &Source::new("c", r#"{ "connections": [] }"#)).unwrap()
    }
}
