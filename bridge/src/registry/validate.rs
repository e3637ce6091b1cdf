//! From plain data to the registry: everything that needs more than one entry to judge.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use super::{Connection, Device, DeviceCode, Registry, plain};
use crate::document::{Problem, Problems, Source, Span, Spanned, nearest};

/// Makes the registry; a file that could not be read is `None`, and what depends on it is not judged. The registry is
/// only worth something without problems.
pub(super) fn registry(
    devices: Option<&Arc<Source>>,
    connections: Option<&Arc<Source>>,
) -> (Registry, Problems) {
    let mut problems = Problems::default();
    let mut registry = Registry::default();
    let mut known = Known::default();
    if let Some(source) = devices {
        let mut of_file = Problems::default();
        let (devices, complete) = plain::devices(source, &mut of_file);
        registry.devices = known.devices(source, devices, &mut of_file);
        known.complete = complete;
        problems.append(of_file);
    }
    if let Some(source) = connections {
        let mut of_file = Problems::default();
        registry.connections =
            known.connections(source, plain::connections(source, &mut of_file), &mut of_file);
        problems.append(of_file);
    }
    (registry, problems)
}

#[derive(Default)]
struct Known {
    /// Otherwise a connection to an unknown device may be right.
    complete: bool,
    users: HashSet<Arc<str>>,
    /// Index in the registry and place in the file.
    devices: HashMap<(Arc<str>, DeviceCode), (usize, Span)>,
}

impl Known {
    fn devices(
        &mut self,
        source: &Arc<Source>,
        plain: Vec<plain::Device>,
        problems: &mut Problems,
    ) -> Vec<Device> {
        let mut devices = Vec::with_capacity(plain.len());
        for device in plain {
            let (Some(user), Some(code)) = (&device.user, &device.code) else { continue };
            let user = self.user(user);
            let key = (Arc::clone(&user), code.value.clone());
            if let Some((_, first)) = self.devices.get(&key) {
                problems.push(
                    Problem::at(source, code.span.clone(), duplicate_code(source, code, first, &user))
                        .related(first.clone(), "first here")
                        .hint("give this device another code"),
                );
                continue;
            }
            self.devices.insert(key, (devices.len(), code.span.clone()));
            let (Some(name), Some(kind), Some(secret_version), Some(disabled)) =
                (device.name, device.kind, device.secret_version, device.disabled)
            else {
                continue;
            };
            devices.push(Device { user, code: code.value.clone(), name, kind, secret_version, disabled });
        }
        devices
    }

    fn connections(
        &mut self,
        source: &Arc<Source>,
        plain: Vec<plain::Connection>,
        problems: &mut Problems,
    ) -> Vec<Connection> {
        let mut ids: HashMap<(Arc<str>, String), Span> = HashMap::new();
        let mut pairs: HashMap<(Arc<str>, DeviceCode, DeviceCode), Span> = HashMap::new();
        let mut connections = Vec::with_capacity(plain.len());
        for connection in plain {
            let Some(user) = connection.user.as_deref().map(|user| self.user(user)) else { continue };
            let ends = [&connection.from, &connection.to]
                .map(|end| end.as_ref().and_then(|end| self.device(source, &user, end, problems)));
            if let (Some(from), Some(to)) = (&connection.from, &connection.to) {
                let pair = ordered(&user, from, to);
                if from.value == to.value {
                    problems.push(
                        Problem::at(source, to.span.clone(), "a device cannot be connected with itself")
                            .related(from.span.clone(), "the same device")
                            .hint("write the code of another device"),
                    );
                } else if let Some(first) = pairs.get(&pair) {
                    problems.push(
                        Problem::at(
                            source,
                            from.span.clone(),
                            format!("{} and {} are connected already", from.value, to.value),
                        )
                        .related(first.clone(), "first here")
                        .hint("remove one of the two: a connection works in both directions"),
                    );
                } else {
                    pairs.insert(pair, from.span.clone());
                }
            }
            let Some(id) = connection.id else { continue };
            if let Some(first) = ids.get(&(Arc::clone(&user), id.clone())) {
                problems.push(
                    Problem::at(
                        source,
                        connection.id_span,
                        format!("there are two connections with the id {id:?}"),
                    )
                    .related(first.clone(), "first here")
                    .hint("change its name, or add another \"id\""),
                );
                continue;
            }
            ids.insert((Arc::clone(&user), id.clone()), connection.id_span);
            let ([Some(from), Some(to)], Some(name), Some(queue)) = (ends, connection.name, connection.queue)
            else {
                continue;
            };
            connections.push(Connection { id: id.into(), name: name.value, user, queue, from, to });
        }
        connections
    }

    /// A connection's device.
    fn device(
        &self,
        source: &Arc<Source>,
        user: &Arc<str>,
        code: &Spanned<DeviceCode>,
        problems: &mut Problems,
    ) -> Option<usize> {
        if let Some((index, _)) = self.devices.get(&(Arc::clone(user), code.value.clone())) {
            return Some(*index);
        }
        if self.complete {
            problems.push_with(|| {
                let message = format!("the user {user:?} has no device with the code {:?}", code.value);
                Problem::at(source, code.span.clone(), message).hint(self.device_hint(user, &code.value))
            });
        }
        None
    }

    fn device_hint(&self, user: &str, code: &DeviceCode) -> String {
        let mut others: Vec<_> =
            self.devices.keys().filter(|(_, other)| other == code).map(|(owner, _)| owner).collect();
        others.sort();
        if let Some(owner) = others.first() {
            return format!(
                "it is a device of the user {owner:?}: both ends must be the connection's user's"
            );
        }
        let mut codes: Vec<_> = self
            .devices
            .keys()
            .filter(|(owner, _)| &**owner == user)
            .map(|(_, code)| code.as_str())
            .collect();
        codes.sort_unstable();
        match nearest(code.as_str(), codes.iter().copied()) {
            Some(meant) => format!("did you mean {meant:?}? Otherwise add the device to devices.json"),
            None => "add the device to devices.json".to_owned(),
        }
    }

    fn user(&mut self, user: &str) -> Arc<str> {
        if let Some(user) = self.users.get(user) {
            return Arc::clone(user);
        }
        let user: Arc<str> = user.into();
        self.users.insert(Arc::clone(&user));
        user
    }
}

fn duplicate_code(source: &Source, code: &Spanned<DeviceCode>, first: &Span, user: &str) -> String {
    let written = source.text().get(code.span.clone()).unwrap_or_default();
    let before = source.text().get(first.clone()).unwrap_or_default();
    match written == before {
        true => format!("the user {user:?} has two devices with the code {written}"),
        false => {
            format!("{written} and {before} are the same code, and both are devices of the user {user:?}")
        }
    }
}

fn ordered(
    user: &Arc<str>,
    a: &Spanned<DeviceCode>,
    b: &Spanned<DeviceCode>,
) -> (Arc<str>, DeviceCode, DeviceCode) {
    let (first, second) = if a.value < b.value { (a, b) } else { (b, a) };
    (Arc::clone(user), first.value.clone(), second.value.clone())
}
