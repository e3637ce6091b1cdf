//! What an operator means by a word.

use std::fmt;

use super::{Connection, Device, Registry};

/// No device or connection is meant by a word, or more than one. Says what to write instead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FindError(String);

/// What devices and connections are called.
pub(crate) struct Names<'a> {
    /// Unique within a user.
    pub short: &'a str,
    /// Unique.
    pub full: String,
    /// For people.
    pub name: &'a str,
}

impl Registry {
    /// The device that is meant by a code or `<user>.<code>`, else by a name.
    ///
    /// # Errors
    /// [`FindError`].
    pub fn find_device(&self, wanted: &str) -> Result<&Device, FindError> {
        find("device", &self.devices, wanted, |device| Names {
            short: device.code.as_str(),
            full: device.user_name(),
            name: &device.name,
        })
    }

    /// The connection that is meant by an id or `<user>/<id>`, else by a name.
    ///
    /// # Errors
    /// [`FindError`].
    pub fn find_connection(&self, wanted: &str) -> Result<&Connection, FindError> {
        find("connection", &self.connections, wanted, |connection| Names {
            short: &connection.id,
            full: connection.path(),
            name: &connection.name,
        })
    }
}

/// The one that is meant by its short or full name, else by its name for people. `what` it is stands in the error.
///
/// # Errors
/// [`FindError`].
pub(crate) fn find<'a, T>(
    what: &str,
    all: &'a [T],
    wanted: &str,
    names: impl Fn(&'a T) -> Names<'a>,
) -> Result<&'a T, FindError> {
    let matching = |is_meant: &dyn Fn(&Names<'_>) -> bool| -> Vec<&'a T> {
        all.iter().filter(|one| is_meant(&names(one))).collect()
    };
    let mut found = matching(&|names| names.short == wanted || names.full == wanted);
    if found.is_empty() {
        found = matching(&|names| names.name == wanted);
    }
    match found[..] {
        [one] => Ok(one),
        [] => Err(FindError(format!("no {what} {wanted:?}: ior-bridge {what}s shows all of them"))),
        _ => {
            let full: Vec<_> = found.into_iter().map(|one| names(one).full).collect();
            Err(FindError(format!("{wanted:?} may be {}: write one of them", full.join(" or "))))
        }
    }
}

impl fmt::Display for FindError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for FindError {}
