use std::time::SystemTime;

use serde_json::json;

use super::table::table;
use crate::{
    registry::{Device, Registry},
    rotation::{Previous, Rotation},
    settings::Settings,
};

/// Which previous passwords are accepted now, for `check`.
pub(super) struct Accepted<'a> {
    settings: &'a Settings,
    rotation: std::io::Result<Rotation>,
}

impl<'a> Accepted<'a> {
    /// Looks at the rotation file, if there is one.
    pub(super) fn examine(settings: &'a Settings) -> Self {
        Self { settings, rotation: Rotation::load(&settings.data_dir) }
    }

    /// Why that cannot be told, and what to do about it.
    pub(super) fn problem(&self) -> Option<String> {
        self.rotation.as_ref().err().map(ToString::to_string)
    }

    /// For people; nothing if there are none.
    pub(super) fn to_text(&self, registry: &Registry) -> String {
        let row = |device: &Device, previous: &Previous| {
            [
                device.user_name(),
                device.secret_version.to_string(),
                previous.version.to_string(),
                text(previous.until),
                previous.last_used.map_or_else(|| "never".to_owned(), text),
            ]
        };
        let of_device = |device| self.of(device).into_iter().map(move |previous| row(device, &previous));
        let rows: Vec<_> = registry.devices().iter().flat_map(of_device).collect();
        if rows.is_empty() {
            return String::new();
        }
        let header = ["DEVICE", "VERSION", "PREVIOUS", "ACCEPTED UNTIL", "LAST USED"];
        format!("\n{}", table(header, &rows))
    }

    /// For programs.
    pub(super) fn to_json(&self, device: &Device) -> serde_json::Value {
        let previous = |previous: Previous| {
            json!({
                "version": previous.version,
                "accepted_until": text(previous.until),
                "last_used": previous.last_used.map(text),
            })
        };
        self.of(device).into_iter().map(previous).collect()
    }

    fn of(&self, device: &Device) -> Vec<Previous> {
        let Ok(rotation) = &self.rotation else { return Vec::new() };
        let now = SystemTime::now();
        let name = device.user_name();
        let all = rotation.previous(&name, self.settings.limits.rotation_window);
        all.filter(|previous| now < previous.until).collect()
    }
}

fn text(time: SystemTime) -> String {
    humantime::format_rfc3339_seconds(time).to_string()
}
