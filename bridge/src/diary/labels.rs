use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use arc_swap::ArcSwap;

use crate::registry::{End, Registry};

/// What the diary knows of devices and connections.
#[derive(Clone)]
pub struct Labels(Arc<ArcSwap<Known>>);

#[derive(Default)]
struct Known {
    /// By MQTT user name.
    devices: HashMap<String, Device>,
    /// `<user>/<id>`.
    connections: HashSet<String>,
}

/// A device as the diary speaks of it.
#[derive(Clone)]
pub(super) struct Device {
    /// "Master 1 (4569)".
    pub(super) label: String,
    /// What it may publish to, and what it may hear: one for each of its connections.
    pub(super) publish: Vec<String>,
    pub(super) subscribe: Vec<String>,
}

impl Labels {
    /// For the devices of a registry.
    pub fn new(registry: &Registry) -> Self {
        let mut known = Known::default();
        known.add(registry);
        Self(Arc::new(ArcSwap::from_pointee(known)))
    }

    /// From now on for these devices, and for those of the registry before, of which there is something to tell still.
    pub fn replace(&self, before: &Registry, registry: &Registry) {
        let mut known = Known::default();
        known.add(before);
        known.add(registry);
        self.0.store(Arc::new(known));
    }

    pub(super) fn of(&self, name: &str) -> String {
        self.0.load().devices.get(name).map_or(name, |device| &device.label).to_owned()
    }

    pub(super) fn device(&self, name: &str) -> Option<Device> {
        self.0.load().devices.get(name).cloned()
    }

    /// The connection that a topic belongs to.
    pub(super) fn connection(&self, topic: &str) -> Option<String> {
        let end = topic.match_indices('/').nth(1)?.0;
        let connection = &topic[..end];
        self.0.load().connections.contains(connection).then(|| connection.to_owned())
    }
}

impl Known {
    fn add(&mut self, registry: &Registry) {
        let mut devices: HashMap<_, _> = registry
            .devices()
            .iter()
            .map(|device| {
                (device.user_name(), Device { label: device.label(), publish: vec![], subscribe: vec![] })
            })
            .collect();
        for connection in registry.connections() {
            let base = format!("{}/{}", connection.user, connection.id);
            for end in End::BOTH {
                let [own, peer] = [end, end.peer()].map(|end| registry.end(connection, end));
                if let Some(device) = devices.get_mut(&own.user_name()) {
                    device.publish.push(format!("{base}/{}", own.code));
                    device.subscribe.push(format!("{base}/{}/#", peer.code));
                }
            }
            self.connections.insert(base);
        }
        self.devices.extend(devices);
    }
}
