//! The last hour, in memory: totals every ten seconds, and what devices and connections say every half minute.

mod notes;

use std::{collections::VecDeque, time::Duration};

use serde::Serialize;
use tokio::time::Instant;

use self::notes::Notes;
use super::state::State;
use crate::report::Time;

/// How far apart totals are.
const INTERVAL: Duration = Duration::from_secs(10);
/// How many totals are kept.
const KEPT: usize = 360;
/// After so many intervals, what devices and connections have said is noted.
const INTERVALS_OF_NOTES: u64 = 3;

/// The last hour.
#[derive(Debug)]
pub(in crate::web) struct History {
    /// When the interval that is not over began.
    began: Instant,
    /// How many intervals are over.
    intervals: u64,
    /// Oldest first; nothing where nobody has looked.
    totals: VecDeque<Option<Totals>>,
    /// When that was looked at last, and what was counted by then.
    counted: Option<(Instant, Counts)>,
    /// When the last interval was over.
    end: Time,
    devices: Notes,
    connections: Notes,
    /// When notes were made last.
    notes_end: Time,
}

/// Per second, or as it was in the end.
#[derive(Debug, Clone, Copy)]
struct Totals {
    received: f32,
    sent: f32,
    denied: f32,
    devices_online: usize,
    queued: usize,
    cpu: Option<f64>,
    memory: Option<u64>,
    store_bytes: Option<u64>,
    disk_free: Option<u64>,
}

#[derive(Debug, Clone, Copy)]
struct Counts {
    received: u64,
    sent: u64,
    denied: u64,
}

/// Totals, oldest first; `None` where nothing is known. Counts are per second.
#[derive(Debug, Serialize)]
pub(in crate::web) struct TotalsHistory {
    /// Seconds between values.
    interval: u64,
    /// When the last value ends.
    end: Time,
    received: Vec<Option<f32>>,
    sent: Vec<Option<f32>>,
    denied: Vec<Option<f32>>,
    devices_online: Vec<Option<usize>>,
    queued: Vec<Option<usize>>,
    cpu: Vec<Option<f64>>,
    memory: Vec<Option<u64>>,
    store_bytes: Vec<Option<u64>>,
    disk_free: Vec<Option<u64>>,
}

/// What a device has published and was sent, in messages per second, oldest first.
#[derive(Debug, Serialize)]
pub(in crate::web) struct DeviceHistory {
    interval: u64,
    end: Time,
    received: Vec<f32>,
    sent: Vec<f32>,
}

/// What was published in both directions, in messages per second, oldest first.
#[derive(Debug, Serialize)]
pub(in crate::web) struct ConnectionHistory {
    interval: u64,
    end: Time,
    from_to: Vec<f32>,
    to_from: Vec<f32>,
}

impl History {
    /// Nothing has been looked at.
    pub(super) fn new(now: Instant) -> Self {
        Self {
            began: now,
            intervals: 0,
            totals: VecDeque::new(),
            counted: None,
            end: Time::now(),
            devices: Notes::default(),
            connections: Notes::default(),
            notes_end: Time::now(),
        }
    }

    /// When is to be looked again.
    pub(super) fn due(&self) -> Instant {
        self.counted.map_or(self.began, |_| self.began + INTERVAL)
    }

    /// Takes down what has happened, if an interval is over. The first one begins with the first call.
    pub(super) fn record(&mut self, now: Instant, state: &State) {
        let Some((at, before)) = self.counted else { return self.begin(now, state) };
        let over = now.duration_since(self.began).as_secs() / INTERVAL.as_secs();
        if over == 0 {
            return;
        }
        // Nobody has looked when the others were over.
        for _ in 1..over.min(KEPT as u64) {
            self.keep(None);
        }
        self.counted = Some((now, Counts::of(state)));
        self.keep(Some(Totals::of(state, before, now.duration_since(at))));
        let notes_before = self.intervals / INTERVALS_OF_NOTES;
        self.began += INTERVAL * u32::try_from(over).unwrap_or(u32::MAX);
        self.intervals += over;
        self.end = state.time;
        let notes = self.intervals / INTERVALS_OF_NOTES;
        if notes > notes_before {
            self.devices.take(notes - notes_before, device_counts(state));
            self.connections.take(notes - notes_before, connection_counts(state));
            self.notes_end = state.time;
        }
    }

    /// Of all together.
    pub(in crate::web) fn totals(&self) -> TotalsHistory {
        let Self { end, ref totals, .. } = *self;
        TotalsHistory {
            interval: INTERVAL.as_secs(),
            end,
            received: each(totals, |totals| Some(totals.received)),
            sent: each(totals, |totals| Some(totals.sent)),
            denied: each(totals, |totals| Some(totals.denied)),
            devices_online: each(totals, |totals| Some(totals.devices_online)),
            queued: each(totals, |totals| Some(totals.queued)),
            cpu: each(totals, |totals| totals.cpu),
            memory: each(totals, |totals| totals.memory),
            store_bytes: each(totals, |totals| totals.store_bytes),
            disk_free: each(totals, |totals| totals.disk_free),
        }
    }

    /// Of one device, by its MQTT user name.
    pub(in crate::web) fn device(&self, username: &str) -> DeviceHistory {
        let [received, sent] = self.devices.of(username).map(per_second);
        DeviceHistory { interval: interval_of_notes(), end: self.notes_end, received, sent }
    }

    /// Of one connection, by `<user>/<id>`.
    pub(in crate::web) fn connection(&self, key: &str) -> ConnectionHistory {
        let [from_to, to_from] = self.connections.of(key).map(per_second);
        ConnectionHistory { interval: interval_of_notes(), end: self.notes_end, from_to, to_from }
    }

    fn begin(&mut self, now: Instant, state: &State) {
        self.began = now;
        self.counted = Some((now, Counts::of(state)));
        self.devices.begin(device_counts(state));
        self.connections.begin(connection_counts(state));
        (self.end, self.notes_end) = (state.time, state.time);
    }

    fn keep(&mut self, totals: Option<Totals>) {
        if self.totals.len() == KEPT {
            self.totals.pop_front();
        }
        self.totals.push_back(totals);
    }
}

impl Totals {
    fn of(state: &State, before: Counts, elapsed: Duration) -> Self {
        let now = Counts::of(state);
        let rate =
            |now: u64, before: u64| hundredths(now.saturating_sub(before) as f32 / elapsed.as_secs_f32());
        Self {
            received: rate(now.received, before.received),
            sent: rate(now.sent, before.sent),
            denied: rate(now.denied, before.denied),
            devices_online: state.totals.counted.devices_online,
            queued: state.totals.queued,
            cpu: state.bridge.load.cpu,
            memory: state.bridge.load.memory,
            store_bytes: state.store.disk.as_ref().map(|disk| disk.bytes),
            disk_free: state.machine.disk_free,
        }
    }
}

impl Counts {
    fn of(state: &State) -> Self {
        let totals = &state.totals;
        Self { received: totals.counted.received, sent: totals.sent, denied: totals.counted.denied }
    }
}

fn each<T>(totals: &VecDeque<Option<Totals>>, value: impl Fn(&Totals) -> Option<T>) -> Vec<Option<T>> {
    totals.iter().map(|totals| totals.as_ref().and_then(&value)).collect()
}

fn device_counts(state: &State) -> impl Iterator<Item = (&str, [u64; 2])> {
    state.devices.iter().map(|state| (state.device.username.as_str(), state.counts()))
}

fn connection_counts(state: &State) -> impl Iterator<Item = (&str, [u64; 2])> {
    state.connections.iter().map(|state| (state.key.as_str(), state.counts()))
}

fn interval_of_notes() -> u64 {
    INTERVALS_OF_NOTES * INTERVAL.as_secs()
}

fn per_second(counts: Vec<u32>) -> Vec<f32> {
    counts.into_iter().map(|count| hundredths(count as f32 / interval_of_notes() as f32)).collect()
}

fn hundredths(rate: f32) -> f32 {
    (rate * 100.0).round() / 100.0
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    /// After so many seconds in which device 1 has published that much.
    fn after(history: &mut History, start: Instant, seconds: u64, state: &mut State, published: u64) {
        state.totals.counted.received += published;
        state.devices[0].device.live.as_mut().unwrap().received.messages += published;
        state.connections[0].from_to.counted.published.messages += published;
        history.record(start + Duration::from_secs(seconds), state);
    }

    #[test]
    fn an_hour_is_kept_and_no_more() {
        let (start, mut state) = (Instant::now(), State::example(2));
        state.totals.counted.received = 1_000_000;
        let mut history = History::new(start);
        history.record(start, &state);
        for interval in 1..=400 {
            let published = if interval > 390 { 123 } else { 50 };
            after(&mut history, start, 10 * interval, &mut state, published);
        }
        let totals = history.totals();
        assert_eq!((totals.interval, totals.received.len(), totals.cpu.len()), (10, 360, 360));
        assert_eq!(totals.received[0], Some(5.0), "what was before it began does not count");
        assert_eq!(totals.received[359], Some(12.3));
        assert_eq!(totals.cpu[0], None);
        let device = history.device("default.1");
        assert_eq!((device.interval, device.received.len(), device.sent.len()), (30, 120, 120));
        assert_eq!((device.received[0], device.received[119]), (5.0, 12.3));
        assert_eq!(device.sent, vec![0.0; 120]);
        let connection = history.connection("default/c");
        assert_eq!((connection.from_to, connection.to_from), (device.received, vec![0.0; 120]));
    }

    #[test]
    fn between_the_intervals_nothing_is_taken_down() {
        let (start, mut state) = (Instant::now(), State::example(2));
        let mut history = History::new(start);
        history.record(start, &state);
        for second in 1..=9 {
            after(&mut history, start, second, &mut state, 10);
        }
        assert!(history.totals().received.is_empty());
        // Looked at a little late: the rate is that of the time that has passed.
        after(&mut history, start, 12, &mut state, 30);
        assert_eq!(history.totals().received, [Some(10.0)]);
        assert_eq!(history.due(), start + Duration::from_secs(20));
    }

    #[test]
    fn what_nobody_looked_at_is_unknown() {
        let (start, mut state) = (Instant::now(), State::example(2));
        let mut history = History::new(start);
        history.record(start, &state);
        after(&mut history, start, 10, &mut state, 10);
        after(&mut history, start, 40, &mut state, 30);
        assert_eq!(history.totals().received, [Some(1.0), None, None, Some(1.0)]);
        // Days.
        after(&mut history, start, 1_000_000, &mut state, 0);
        let received = history.totals().received;
        assert_eq!((received.len(), received[358], received[359]), (360, None, Some(0.0)));
        assert_eq!(history.device("default.1").received, vec![0.0; 120]);
    }
}
