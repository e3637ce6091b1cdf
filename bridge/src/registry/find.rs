//! What an operator means by a code, an id or a name.

use std::fmt;

use super::{Connection, Device, Registry};
use crate::document::nearest;

/// Nothing is meant, or more than one thing may be. Says what to write instead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unclear(String);

impl fmt::Display for Unclear {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Unclear {}

/// The device that an operator means by a code or `<user>.<code>`, else by a name.
pub(crate) fn find_device<'r>(registry: &'r Registry, wanted: &str) -> Result<&'r Device, Unclear> {
    find_device_of(registry, wanted, None)
}

/// The same among the devices of one user, if one is given.
pub(crate) fn find_device_of<'r>(
    registry: &'r Registry,
    wanted: &str,
    user: Option<&str>,
) -> Result<&'r Device, Unclear> {
    let known = registry.devices().iter().map(|device| Known {
        thing: device,
        user: &device.user,
        code: device.code.as_str(),
        full: device.user_name(),
        name: &device.name,
    });
    find("device", known, wanted, user)
}

/// The connection that an operator means by an id or `<user>/<id>`, else by a name; among those of one user, if one is given.
pub(crate) fn find_connection<'r>(
    registry: &'r Registry,
    wanted: &str,
    user: Option<&str>,
) -> Result<&'r Connection, Unclear> {
    let known = registry.connections().iter().map(|connection| Known {
        thing: connection,
        user: &connection.user,
        code: &connection.id,
        full: connection.full_id(),
        name: &connection.name,
    });
    find("connection", known, wanted, user)
}

/// What can be meant.
pub(crate) struct Known<'r, T> {
    pub thing: &'r T,
    pub user: &'r str,
    /// Unique within the user.
    pub code: &'r str,
    /// Unique.
    pub full: String,
    pub name: &'r str,
}

/// The one that is meant; `what` they are stands in the error.
pub(crate) fn find<'r, T>(
    what: &str,
    known: impl Iterator<Item = Known<'r, T>>,
    wanted: &str,
    user: Option<&str>,
) -> Result<&'r T, Unclear> {
    let known: Vec<_> = known.filter(|known| user.is_none_or(|user| known.user == user)).collect();
    let mut found: Vec<_> =
        known.iter().filter(|known| known.code == wanted || known.full == wanted).collect();
    if found.is_empty() {
        found = known.iter().filter(|known| known.name == wanted).collect();
    }
    match found[..] {
        [found] => Ok(found.thing),
        [] => {
            let of_user = user.map_or_else(String::new, |user| format!(" of the user {user:?}"));
            let words = known.iter().flat_map(|known| [known.code, known.name]);
            let meant = nearest(wanted, words).map(|meant| format!("did you mean {meant:?}? "));
            Err(Unclear(format!(
                "no {what} {wanted:?}{of_user}: {}ior-bridge {what}s shows all of them",
                meant.unwrap_or_default()
            )))
        }
        _ => {
            let names: Vec<_> = found.iter().map(|found| found.full.as_str()).collect();
            Err(Unclear(format!("{wanted:?} may be {}: write one of them", names.join(" or "))))
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::document::Source;

    #[test]
    fn who_is_meant_is_found_or_suggested() {
        let device = |code: u32, name: &str, user: &str| {
            format!(r#"{{ "code": {code}, "name": "{name}", "type": "t", "user": "{user}" }}"#)
        };
        let devices = [
            device(4569, "Boiler", "default"),
            device(1, "Pump", "default"),
            device(1, "Gate", "eva"),
            device(2, "Gate", "eva"),
        ];
        let devices = format!(r#"{{ "devices": [ {} ] }}"#, devices.join(", "));
        let connections = r#"{ "connections": [ { "name": "The Heating", "from": 4569, "to": 1 } ] }"#;
        let registry = Registry::parse(&Source::new("d", devices), &Source::new("c", connections)).unwrap();
        let device = |wanted: &str, user: Option<&str>| {
            find_device_of(&registry, wanted, user).map(Device::user_name).map_err(|error| error.to_string())
        };
        for (wanted, user, full) in [
            ("4569", None, "default.4569"),
            ("eva.1", None, "eva.1"),
            ("Boiler", None, "default.4569"),
            ("1", Some("eva"), "eva.1"),
        ] {
            assert_eq!(device(wanted, user), Ok(full.to_owned()));
        }
        for (wanted, user, words) in [
            ("1", None, "may be default.1 or eva.1"),
            ("Gate", None, "may be eva.1 or eva.2"),
            ("4596", None, "did you mean \"4569\"?"),
            ("boiller", None, "did you mean \"Boiler\"?"),
            ("4569", Some("eva"), "no device \"4569\" of the user \"eva\""),
        ] {
            let error = device(wanted, user).unwrap_err();
            assert!(error.contains(words), "{error}");
        }
        let id = |wanted: &str| find_connection(&registry, wanted, None).map(|found| &*found.id);
        for wanted in ["the-heating", "default/the-heating", "The Heating"] {
            assert_eq!(id(wanted).ok(), Some("the-heating"));
        }
        assert!(id("the-haeting").unwrap_err().to_string().contains("did you mean \"the-heating\"?"));
    }
}
