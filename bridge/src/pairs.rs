//! Which two devices each connection joins. A connection that gets another end is another connection, whatever its name:
//! what was said to one peer is not for the next. So which pairs there were is remembered across restarts.

use std::{
    collections::{BTreeMap, HashSet},
    fs, io,
    path::Path,
};

use crate::{
    registry::{Connection, End, Registry},
    secrets::write_private,
};

/// File name in the data directory.
pub const PAIRS_FILE: &str = "pairs.json";

/// Which two devices each connection joins.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pairs {
    /// The two device codes in their order, by user and connection: which end is which means nothing.
    devices: BTreeMap<String, [String; 2]>,
}

impl Pairs {
    /// Of a registry.
    pub fn of(registry: &Registry) -> Self {
        let pair = |connection: &Connection| {
            let mut codes = End::BOTH.map(|end| registry.end(connection, end).code.to_string());
            codes.sort();
            (connection.full_id(), codes)
        };
        Self { devices: registry.connections().iter().map(pair).collect() }
    }

    /// As they were written last; none if they never were.
    ///
    /// # Errors
    /// The file cannot be read or is damaged.
    pub fn load(data_dir: &Path) -> io::Result<Self> {
        let path = data_dir.join(PAIRS_FILE);
        let damaged = |error: io::Error| {
            let advice = "restore it from a backup, or remove it if no connection has got another end since it was written";
            io::Error::new(error.kind(), format!("{}: {error}; {advice}", path.display()))
        };
        match fs::read(&path) {
            Ok(bytes) => {
                let devices = serde_json::from_slice(&bytes).map_err(|error| damaged(error.into()))?;
                Ok(Self { devices })
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(damaged(error)),
        }
    }

    /// Writes them down.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn save(&self, data_dir: &Path) -> io::Result<()> {
        let path = data_dir.join(PAIRS_FILE);
        let text = serde_json::to_vec_pretty(&self.devices)?;
        write_private(&path, &text, true)
            .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))
    }

    /// Notes that connections are gone while no bridge takes away what waits in them: each is another one when it is back,
    /// whatever it joins then.
    pub fn end<'c>(&mut self, gone: impl Iterator<Item = &'c Connection>) {
        for connection in gone {
            self.devices.insert(connection.full_id(), Default::default());
        }
    }

    /// A registry without the connections that joined other devices before; `None` if there are none such.
    pub fn without_changed(&self, registry: &Registry) -> Option<Registry> {
        let now = Self::of(registry);
        let is_changed =
            |name: &String, codes: &[String; 2]| self.devices.get(name).is_some_and(|before| before != codes);
        let changed: HashSet<_> = now
            .devices
            .iter()
            .filter(|(name, codes)| is_changed(name, codes))
            .map(|(name, _)| name)
            .collect();
        (!changed.is_empty()).then(|| registry.without(|connection| changed.contains(&connection.full_id())))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::document::Source;

    fn registry(connections: &str) -> Registry {
        let devices =
            [1, 2, 3].map(|code| format!(r#"{{"code": {code}, "name": "n", "type": "t"}}"#)).join(",");
        let devices = format!(r#"{{"devices": [{devices}]}}"#);
        let connections = format!(r#"{{"connections": [{connections}]}}"#);
        Registry::parse(&Source::new("d", devices), &Source::new("c", connections)).unwrap()
    }

    fn ids(registry: Registry) -> Vec<String> {
        registry.connections().iter().map(|connection| connection.id.to_string()).collect()
    }

    #[test]
    fn only_a_connection_that_joins_other_devices_is_another_one() {
        let before = registry(r#"{"name": "a", "from": 1, "to": 2}, {"name": "b", "from": 1, "to": 3}"#);
        let pairs = Pairs::of(&before);
        assert_eq!(pairs.without_changed(&before), None);
        let turned = registry(r#"{"name": "a", "from": 2, "to": 1}, {"name": "c", "from": 1, "to": 3}"#);
        assert_eq!(pairs.without_changed(&turned), None);
        let other = registry(r#"{"name": "a", "from": 2, "to": 1}, {"name": "b", "from": 3, "to": 2}"#);
        assert_eq!(ids(pairs.without_changed(&other).unwrap()), ["a"]);
        let mut ended = pairs.clone();
        ended.end(before.connections().iter().take(1));
        assert_eq!(ids(ended.without_changed(&before).unwrap()), ["b"]);
    }

    #[test]
    fn pairs_survive_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(Pairs::load(dir.path()).unwrap(), Pairs::default());
        let pairs = Pairs::of(&registry(r#"{"name": "a", "from": 1, "to": 2}"#));
        pairs.save(dir.path()).unwrap();
        assert_eq!(Pairs::load(dir.path()).unwrap(), pairs);
        fs::write(dir.path().join(PAIRS_FILE), "{").unwrap();
        assert!(Pairs::load(dir.path()).unwrap_err().to_string().contains(PAIRS_FILE));
    }
}
