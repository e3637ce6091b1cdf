//! What is different from what pages were told, a bounded amount at a time.

use std::collections::VecDeque;

use serde::Serialize;

use super::{
    machine::Machine,
    state::{BridgeState, Rates, State, Totals},
};
use crate::report::{Store, Time};

/// How much of devices and connections pages are told at once, in bytes, and at least one of them: the rest comes with what
/// is told next.
const AT_ONCE: usize = 64 << 10;

/// Devices and connections that have changed and were not told yet.
#[derive(Debug, Default)]
pub(super) struct Changes {
    /// Those that wait for longest first.
    waiting: VecDeque<Entry>,
    /// Which devices are among them.
    devices: Vec<bool>,
    /// And which connections.
    connections: Vec<bool>,
}

/// Where something is in the state.
#[derive(Debug, Clone, Copy)]
enum Entry {
    Device(usize),
    Connection(usize),
}

/// What is told whole when it has changed.
#[derive(Serialize)]
struct Parts<'s> {
    time: Time,
    #[serde(skip_serializing_if = "Option::is_none")]
    bridge: Option<&'s BridgeState>,
    #[serde(skip_serializing_if = "Option::is_none")]
    machine: Option<&'s Machine>,
    #[serde(skip_serializing_if = "Option::is_none")]
    store: Option<&'s Store>,
    #[serde(skip_serializing_if = "Option::is_none")]
    totals: Option<&'s Totals>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rates: Option<&'s Rates>,
}

impl Changes {
    /// Whoever is told something next knows everything until then.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    /// What is to be told, as JSON, now that the state is another one; `None` if that is nothing. Both states have the same
    /// devices and connections in the same order.
    pub(super) fn tell(&mut self, before: &State, now: &State) -> Option<Vec<u8>> {
        self.note(before, now);
        let parts = Parts {
            time: now.time,
            bridge: changed(&before.bridge, &now.bridge),
            machine: changed(&before.machine, &now.machine),
            store: changed(&before.store, &now.store),
            totals: changed(&before.totals, &now.totals),
            rates: changed(&before.rates, &now.rates),
        };
        if self.waiting.is_empty() && parts.are_none() {
            return None;
        }
        let (devices, connections) = self.take(now);
        let mut text = serde_json::to_vec(&parts).ok()?;
        text.pop();
        for (name, entries) in [("devices", devices), ("connections", connections)] {
            text.extend_from_slice(format!(",\"{name}\":[").as_bytes());
            text.extend_from_slice(&entries);
            text.push(b']');
        }
        text.push(b'}');
        Some(text)
    }

    fn note(&mut self, before: &State, now: &State) {
        self.devices.resize(now.devices.len(), false);
        for (at, (before, now)) in before.devices.iter().zip(&now.devices).enumerate() {
            if before != now && !std::mem::replace(&mut self.devices[at], true) {
                self.waiting.push_back(Entry::Device(at));
            }
        }
        self.connections.resize(now.connections.len(), false);
        for (at, (before, now)) in before.connections.iter().zip(&now.connections).enumerate() {
            if before != now && !std::mem::replace(&mut self.connections[at], true) {
                self.waiting.push_back(Entry::Connection(at));
            }
        }
    }

    /// Devices and connections as JSON, with commas between them.
    fn take(&mut self, now: &State) -> (Vec<u8>, Vec<u8>) {
        let (mut devices, mut connections) = (Vec::new(), Vec::new());
        while devices.len() + connections.len() < AT_ONCE
            && let Some(entry) = self.waiting.pop_front()
        {
            match entry {
                Entry::Device(at) => {
                    self.devices[at] = false;
                    append(&mut devices, &now.devices[at]);
                }
                Entry::Connection(at) => {
                    self.connections[at] = false;
                    append(&mut connections, &now.connections[at]);
                }
            }
        }
        (devices, connections)
    }
}

impl Parts<'_> {
    fn are_none(&self) -> bool {
        let Self { time: _, bridge, machine, store, totals, rates } = self;
        bridge.is_none() && machine.is_none() && store.is_none() && totals.is_none() && rates.is_none()
    }
}

fn changed<'s, T: PartialEq>(before: &T, now: &'s T) -> Option<&'s T> {
    (before != now).then_some(now)
}

fn append(list: &mut Vec<u8>, entry: &impl Serialize) {
    let before = list.len();
    if before > 0 {
        list.push(b',');
    }
    // Only maps with keys that are no texts could fail, and there are none in it.
    if serde_json::to_writer(&mut *list, entry).is_err() {
        list.truncate(before);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::collections::HashSet;

    use serde_json::Value;

    use super::*;

    fn told(changes: &mut Changes, before: &State, now: &State) -> Option<Value> {
        changes.tell(before, now).map(|text| serde_json::from_slice(&text).unwrap())
    }

    fn usernames(told: &Value) -> Vec<String> {
        let devices = told["devices"].as_array().unwrap();
        devices.iter().map(|device| device["username"].as_str().unwrap().to_owned()).collect()
    }

    #[test]
    fn only_what_has_changed_is_told_and_only_once() {
        let before = State::example(3);
        let mut changes = Changes::default();
        assert_eq!(told(&mut changes, &before, &before.clone()), None);

        let mut now = before.clone();
        now.devices[1].device.live.as_mut().unwrap().online = true;
        now.connections[0].from_to.counted.refused = 7;
        now.totals.queued = 5;
        let what = told(&mut changes, &before, &now).unwrap();
        assert_eq!(usernames(&what), ["default.2"]);
        assert_eq!(what["devices"][0]["online"], true);
        assert_eq!(what["connections"].as_array().unwrap().len(), 1);
        assert_eq!(what["connections"][0]["from_to"]["refused"], 7);
        assert_eq!(what["totals"]["queued"], 5);
        for part in ["bridge", "machine", "store", "rates"] {
            assert_eq!(what.get(part), None, "{part}");
        }
        assert_eq!(told(&mut changes, &now, &now.clone()), None);
    }

    #[test]
    fn when_all_change_all_the_time_everybody_has_a_turn() {
        const DEVICES: usize = 2000;
        let mut before = State::example(DEVICES);
        let mut changes = Changes::default();
        let (mut turns, mut rounds) = (Vec::new(), 0);
        while turns.len() < 2 * DEVICES {
            let mut now = before.clone();
            for state in &mut now.devices {
                state.device.live.as_mut().unwrap().received.messages += 1;
            }
            let text = changes.tell(&before, &now).unwrap();
            assert!(text.len() < AT_ONCE + 2048, "{}", text.len());
            turns.extend(usernames(&serde_json::from_slice(&text).unwrap()));
            (before, rounds) = (now, rounds + 1);
            assert!(rounds < 200);
        }
        assert!(rounds > 4, "{rounds}");
        let first: HashSet<_> = turns[..DEVICES].iter().collect();
        assert_eq!(first.len(), DEVICES, "nobody comes twice before the others");
        assert!(changes.waiting.len() <= DEVICES + 1, "bounded by what there is");
    }

    #[test]
    fn what_waits_is_told_as_it_is_by_then() {
        let mut before = State::example(2000);
        let mut changes = Changes::default();
        let mut now = before.clone();
        for state in &mut now.devices {
            state.device.live.as_mut().unwrap().denied = 1;
        }
        changes.tell(&before, &now).unwrap();
        before = now.clone();
        now.devices[1999].device.live.as_mut().unwrap().denied = 2;
        let mut last = None;
        while let Some(what) = told(&mut changes, &before, &now) {
            last = what["devices"].as_array().unwrap().last().cloned();
            before = now.clone();
        }
        let last = last.unwrap();
        assert_eq!((&last["username"], &last["denied"]), (&"default.2000".into(), &2.into()));
    }
}
