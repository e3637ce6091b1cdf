//! What can be changed of connections, and what goes with a device.

use serde_json::{Value, json};

use super::{Draft, EditError, draft::List};
use crate::registry::{
    Connection, DEFAULT_USER, Device, End, MAX_LABEL, Registry, find_device_of, id_from_name,
};

/// A connection to be added, as somebody wrote it.
#[derive(Debug, Clone, Default)]
pub(crate) struct NewConnection {
    /// One device: its code, `<user>.<code>`, or its name if no other has it.
    pub(crate) from: String,
    /// The other device, likewise.
    pub(crate) to: String,
    /// What people call it; else the names of both devices.
    pub(crate) name: Option<Value>,
    /// The second level of its topics; else made from the name.
    pub(crate) id: Option<Value>,
    /// The owner of both devices; else whoever has them.
    pub(crate) user: Option<String>,
}

/// What is to be removed, by the places in the registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Removal {
    pub(crate) device: Option<usize>,
    pub(crate) connections: Vec<usize>,
}

/// Adds a connection behind the others.
///
/// # Errors
/// Also that an end is no device, or no id can be made from the name.
pub(crate) fn add_connection(draft: &mut Draft, new: &NewConnection) -> Result<(), EditError> {
    let registry = draft.registry();
    let find = |end: End, wanted: &str, user: Option<&str>| {
        find_device_of(registry, wanted, user).map_err(|unclear| EditError::NoEnd { end, unclear })
    };
    let from = find(End::From, &new.from, new.user.as_deref())?;
    let to = find(End::To, &new.to, Some(&from.user))?;
    let name = new.name.clone().unwrap_or_else(|| json!(default_name(registry, from, to)));
    if let (None, Some(name)) = (&new.id, name.as_str())
        && id_from_name(name).is_none()
    {
        return Err(EditError::NoId { name: name.to_owned() });
    }
    let mut entry = vec![("name", name), ("from", from.code.to_json()), ("to", to.code.to_json())];
    entry.extend(new.id.clone().map(|id| ("id", id)));
    if &*from.user != DEFAULT_USER {
        entry.push(("user", json!(&*from.user)));
    }
    draft.insert(List::Connections, &entry)
}

/// Removes entries.
pub(crate) fn remove(draft: &mut Draft, removal: &Removal) -> Result<(), EditError> {
    // From the end, so that the places of the others stay.
    for index in removal.connections.iter().rev() {
        draft.remove(List::Connections, *index)?;
    }
    match removal.device {
        Some(index) => draft.remove(List::Devices, index),
        None => Ok(()),
    }
}

impl Removal {
    /// Of one connection.
    pub(crate) fn of_connection(index: usize) -> Self {
        Self { device: None, connections: vec![index] }
    }

    /// Of a device, and of the connections that it is in if those may go, too.
    ///
    /// # Errors
    /// It is still in connections, and they may not.
    pub(crate) fn of_device(
        registry: &Registry,
        index: usize,
        with_connections: bool,
    ) -> Result<Self, EditError> {
        let device = registry.devices().get(index).ok_or(EditError::Changed)?;
        let is_in =
            |connection: &Connection| End::BOTH.iter().any(|end| registry.end(connection, *end) == device);
        let connections = registry.connections().iter().enumerate();
        let connections = connections.filter(|(_, connection)| is_in(connection)).map(|(index, _)| index);
        let removal = Self { device: Some(index), connections: connections.collect() };
        if with_connections || removal.connections.is_empty() {
            return Ok(removal);
        }
        Err(EditError::StillConnected {
            device: device.label(),
            connections: removal.full_ids(registry),
            lines: removal.connection_lines(registry),
        })
    }

    /// `<user>/<id>` of the connections.
    pub(crate) fn full_ids(&self, registry: &Registry) -> Vec<String> {
        self.connections_of(registry).map(Connection::full_id).collect()
    }

    /// A line for each connection, for people.
    pub(crate) fn connection_lines(&self, registry: &Registry) -> String {
        let line = |connection: &Connection| {
            let [from, to] = End::BOTH.map(|end| registry.end(connection, end).label());
            format!("  connection {}: {from} with {to}\n", connection.full_id())
        };
        self.connections_of(registry).map(line).collect()
    }

    /// The connections.
    pub(crate) fn connections_of<'r>(&self, registry: &'r Registry) -> impl Iterator<Item = &'r Connection> {
        self.connections.iter().filter_map(|index| registry.connections().get(*index))
    }

    /// The device.
    pub(crate) fn device_of<'r>(&self, registry: &'r Registry) -> Option<&'r Device> {
        registry.devices().get(self.device?)
    }
}

/// The names of both devices, or their codes where those make no id or one that is taken.
fn default_name(registry: &Registry, from: &Device, to: &Device) -> String {
    let is_free = |name: &String| {
        let taken = |id: String| {
            registry.connections().iter().any(|other| other.user == from.user && *other.id == *id)
        };
        name.chars().count() <= MAX_LABEL && id_from_name(name).is_some_and(|id| !taken(id))
    };
    let of_names = format!("{} - {}", from.name, to.name);
    if is_free(&of_names) { of_names } else { format!("{} - {}", from.code, to.code) }
}
