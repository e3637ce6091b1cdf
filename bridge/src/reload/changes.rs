//! What a reload changes, in the operator's words.

use std::collections::HashMap;

use crate::{
    configuration::Configuration,
    registry::{Connection, Device, End, Registry},
    settings::Settings,
};

/// Most names of a kind that are written out.
const NAMED: usize = 5;

/// What is different in the new configuration; empty if nothing is.
pub fn describe(before: &Configuration, after: &Configuration) -> Vec<String> {
    let mut changes = devices(&before.registry, &after.registry);
    changes.extend(connections(&before.registry, &after.registry));
    changes.extend(settings(&before.settings, &after.settings));
    changes
}

/// The keys of the settings whose values differ.
pub fn changed_keys<'s>(before: &'s Settings, after: &'s Settings) -> impl Iterator<Item = &'s str> {
    let differs = |(key, value): &(&String, &String)| before.values.get(*key) != Some(value);
    after.values.iter().filter(differs).map(|(key, _)| key.as_str())
}

fn devices(before: &Registry, after: &Registry) -> Vec<String> {
    let by_name = |registry: &Registry| -> HashMap<String, Device> {
        registry.devices().iter().map(|device| (device.user_name(), device.clone())).collect()
    };
    let (old, new) = (by_name(before), by_name(after));
    let mut kinds = Kinds::default();
    for device in before.devices().iter().filter(|device| !new.contains_key(&device.user_name())) {
        kinds.add("device", "removed", device.label());
    }
    for device in after.devices() {
        match old.get(&device.user_name()) {
            None => kinds.add("device", "added", device.label()),
            Some(old) if old == device => {}
            Some(old) => {
                let plain = |device: &Device| (device.name.clone(), device.kind.clone());
                match (old.disabled, device.disabled) {
                    (false, true) => kinds.add("device", "disabled", device.label()),
                    (true, false) => kinds.add("device", "enabled", device.label()),
                    _ => {}
                }
                if old.secret_version != device.secret_version {
                    kinds.add("device", "with another password", device.label());
                }
                if plain(old) != plain(device) {
                    kinds.add("device", "renamed", device.label());
                }
            }
        }
    }
    kinds.into_text()
}

fn connections(before: &Registry, after: &Registry) -> Vec<String> {
    let name = |connection: &Connection| format!("{}/{}", connection.user, connection.id);
    let ends = |registry: &Registry, connection: &Connection| {
        End::BOTH.map(|end| registry.end(connection, end).user_name())
    };
    let by_name = |registry: &Registry| -> HashMap<String, (Connection, [String; 2])> {
        let of =
            |connection: &Connection| (name(connection), (connection.clone(), ends(registry, connection)));
        registry.connections().iter().map(of).collect()
    };
    let (old, new) = (by_name(before), by_name(after));
    let mut kinds = Kinds::default();
    for connection in before.connections().iter().filter(|connection| !new.contains_key(&name(connection))) {
        kinds.add("connection", "removed", name(connection));
    }
    for connection in after.connections() {
        let Some((old, old_ends)) = old.get(&name(connection)) else {
            kinds.add("connection", "added", name(connection));
            continue;
        };
        let mut old_ends = old_ends.clone();
        let mut new_ends = ends(after, connection);
        if old_ends != new_ends {
            old_ends.sort();
            new_ends.sort();
            let what = if old_ends == new_ends { "turned round" } else { "between other devices" };
            kinds.add("connection", what, name(connection));
        }
        if old.name != connection.name {
            kinds.add("connection", "renamed", name(connection));
        }
        if old.queue != connection.queue {
            kinds.add("connection", "with another queue", name(connection));
        }
    }
    kinds.into_text()
}

fn settings(before: &Settings, after: &Settings) -> Vec<String> {
    let value = |settings: &Settings, key: &str| settings.values.get(key).cloned().unwrap_or_default();
    changed_keys(before, after)
        .map(|key| format!("{key} is {} (was {})", value(after, key), value(before, key)))
        .collect()
}

/// Names by what happened to them, in the order in which that was noted first.
#[derive(Default)]
struct Kinds(Vec<(&'static str, &'static str, Vec<String>)>);

impl Kinds {
    fn add(&mut self, what: &'static str, happened: &'static str, name: String) {
        match self.0.iter_mut().find(|(_, other, _)| *other == happened) {
            Some((_, _, names)) => names.push(name),
            None => self.0.push((what, happened, vec![name])),
        }
    }

    fn into_text(self) -> Vec<String> {
        let text = |(what, happened, names): (&str, &str, Vec<String>)| {
            let plural = if names.len() == 1 { "" } else { "s" };
            let more = match names.len().saturating_sub(NAMED) {
                0 => String::new(),
                more => format!(" and {more} more"),
            };
            let named = names.iter().take(NAMED).map(String::as_str).collect::<Vec<_>>().join(", ");
            format!("{what}{plural} {happened}: {named}{more}")
        };
        self.0.into_iter().map(text).collect()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::{fs, path::Path};

    use serde_json::{Value, json};

    use super::*;
    use crate::settings::Environment;

    #[test]
    fn changes_are_told_in_the_operators_words() {
        let device = |code: u32, name: &str| json!({ "code": code, "name": name, "type": "t" });
        let with = |mut device: Value, key: &str, value: Value| {
            device[key] = value;
            device
        };
        let pair = |name: &str, from: u32, to: u32| json!({ "name": name, "id": name.to_lowercase(), "from": from, "to": to });
        let many = |codes: std::ops::Range<u32>| codes.map(|code| device(code, "N")).collect::<Vec<_>>();
        let old = load(
            &json!([device(1, "A"), device(2, "B"), device(3, "C"), device(4, "D"), device(5, "E")]),
            &json!([pair("a", 1, 2), pair("b", 2, 3), pair("c", 3, 4), pair("d", 4, 5)]),
            &json!({}),
        );
        assert_eq!(describe(&old, &old), Vec::<String>::new());
        let mut devices = vec![
            with(device(1, "A"), "disabled", json!(true)),
            with(device(2, "B"), "secret_version", json!(2)),
            device(3, "New name"),
            device(4, "D"),
        ];
        devices.extend(many(10..17));
        let new = load(
            &json!(devices),
            &json!([
                pair("a", 2, 1),
                pair("B", 2, 3),
                with(pair("c", 3, 4), "queue", json!({ "max_messages": 5 })),
                pair("e", 4, 10)
            ]),
            &json!({ "limits": { "queue_messages": 7 } }),
        );
        assert_eq!(
            describe(&old, &new),
            [
                "device removed: E (5)",
                "device disabled: A (1)",
                "device with another password: B (2)",
                "device renamed: New name (3)",
                "devices added: N (10), N (11), N (12), N (13), N (14) and 2 more",
                "connection removed: default/d",
                "connection turned round: default/a",
                "connection renamed: default/b",
                "connection with another queue: default/c",
                "connection added: default/e",
                "limits.queue_messages is 7 (was 100000)",
            ]
        );
        assert_eq!(describe(&new, &old)[1], "device enabled: A (1)");
    }

    fn load(devices: &Value, connections: &Value, server: &Value) -> Configuration {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, value: Value| fs::write(dir.path().join(name), value.to_string()).unwrap();
        write("devices.json", json!({ "devices": devices }));
        write("connections.json", json!({ "connections": connections }));
        write("server.json", server.clone());
        let environment = Environment::from([("IOR_BRIDGE__DATA_DIR".to_owned(), "/nowhere".to_owned())]);
        let loaded = Configuration::load(dir.path(), &environment).unwrap();
        Configuration { dir: Path::new("").to_owned(), ..loaded }
    }
}
