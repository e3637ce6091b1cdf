//! When a device's secret version changed: for a while its previous password is accepted too.

use std::{
    collections::BTreeMap,
    fs, io,
    path::Path,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use serde::{Deserialize, Serialize};

use crate::{registry::Registry, secrets::write_private};

/// File name in the data directory.
pub const ROTATION_FILE: &str = "rotation.json";

/// Which secret versions were seen, and since when.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rotation {
    /// By user name.
    devices: BTreeMap<String, Seen>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Seen {
    version: u32,
    /// None when the device was seen first: only a version that was current here was ever the previous one.
    previous: Option<u32>,
    /// Seconds since the Unix epoch.
    since: u64,
}

impl Rotation {
    /// Reads the file, notes which versions are new at `now`, and writes it again if there are any.
    ///
    /// # Errors
    /// It cannot be read or written, or is damaged.
    pub fn load_and_update(data_dir: &Path, registry: &Registry, now: SystemTime) -> io::Result<Self> {
        let path = data_dir.join(ROTATION_FILE);
        let context = |error: io::Error| {
            io::Error::new(error.kind(), format!("{}: {error}; repair or remove the file", path.display()))
        };
        let mut rotation = match fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(|error| context(error.into()))?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Self::default(),
            Err(error) => return Err(context(error)),
        };
        if rotation.update(registry, now) {
            let text = serde_json::to_vec_pretty(&rotation)?;
            write_private(&path, &text, true).map_err(context)?;
        }
        Ok(rotation)
    }

    /// The version whose password is accepted beside the current one, and until when.
    pub fn previous(&self, user_name: &str, window: Duration) -> Option<(u32, SystemTime)> {
        let seen = self.devices.get(user_name)?;
        let until = UNIX_EPOCH.checked_add(Duration::from_secs(seen.since))?.checked_add(window)?;
        Some((seen.previous?, until))
    }

    /// Whether anything changed.
    fn update(&mut self, registry: &Registry, now: SystemTime) -> bool {
        let since = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let mut changed = false;
        for device in registry.devices() {
            let name = device.user_name();
            let previous = self.devices.get(&name).map(|seen| seen.version);
            if previous != Some(device.secret_version) {
                self.devices.insert(name, Seen { version: device.secret_version, previous, since });
                changed = true;
            }
        }
        changed
    }
}
