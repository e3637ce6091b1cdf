//! What can be changed of devices.

use serde_json::{Value, json};

use super::{Draft, EditError, draft::List};
use crate::registry::{DEFAULT_USER, DeviceCode};

/// The type of a device of which nobody says more.
pub(crate) const DEFAULT_TYPE: &str = "Device";

/// A device to be added, as somebody wrote it: nothing is checked before it stands in its place.
#[derive(Debug, Clone, Default)]
pub(crate) struct NewDevice {
    /// Its code, as a number or a text.
    pub(crate) code: Option<Value>,
    /// What people call it; else its code.
    pub(crate) name: Option<Value>,
    /// What kind of machine it is; else [`DEFAULT_TYPE`].
    pub(crate) kind: Option<Value>,
    /// Its owner; else the user `default`.
    pub(crate) user: Option<Value>,
}

/// What is to become of a device; the rest stays.
#[derive(Debug, Clone, Default)]
pub(crate) struct DeviceChange {
    /// What people call it.
    pub(crate) name: Option<Value>,
    /// What kind of machine it is.
    pub(crate) kind: Option<Value>,
    /// Whether it may not log in.
    pub(crate) disabled: Option<Value>,
}

/// Adds a device behind the others.
pub(crate) fn add_device(draft: &mut Draft, new: &NewDevice) -> Result<(), EditError> {
    let mut entry = Vec::new();
    if let Some(code) = &new.code {
        // What is no code is told with its place in the file.
        let right = code.as_str().and_then(|text| DeviceCode::new(text).ok());
        entry.push(("code", right.map_or_else(|| code.clone(), |code| code.to_json())));
    }
    if new.name.is_none() {
        draft.assume("name");
    }
    let name = new.name.clone().or_else(|| new.code.as_ref().map(as_text));
    entry.extend(name.map(|name| ("name", name)));
    entry.push(("type", new.kind.clone().unwrap_or_else(|| json!(DEFAULT_TYPE))));
    let owner = new.user.clone().filter(|user| user != DEFAULT_USER);
    entry.extend(owner.map(|user| ("user", user)));
    draft.insert(List::Devices, &entry)
}

/// Changes the device at this place of the registry. What is so already stays as it is written.
pub(crate) fn change_device(draft: &mut Draft, index: usize, change: &DeviceChange) -> Result<(), EditError> {
    let device = draft.registry().devices().get(index).ok_or(EditError::Changed)?;
    let wanted = [
        ("name", &change.name, json!(device.name)),
        ("type", &change.kind, json!(device.kind)),
        ("disabled", &change.disabled, json!(device.disabled)),
    ];
    for (key, wanted, now) in wanted {
        if let Some(wanted) = wanted.as_ref().filter(|wanted| **wanted != now) {
            draft.set(List::Devices, index, key, wanted)?;
        }
    }
    Ok(())
}

/// Gives the device at this place of the registry a new password, by raising its secret version.
///
/// # Errors
/// Also that it cannot be raised.
pub(crate) fn rotate_device(draft: &mut Draft, index: usize) -> Result<(), EditError> {
    let device = draft.registry().devices().get(index).ok_or(EditError::Changed)?;
    let version = device.secret_version.checked_add(1);
    let version = version.ok_or_else(|| EditError::HighestVersion(device.label()))?;
    draft.set(List::Devices, index, "secret_version", &version.into())
}

fn as_text(code: &Value) -> Value {
    match code {
        Value::Number(number) => json!(number.to_string()),
        other => other.clone(),
    }
}
