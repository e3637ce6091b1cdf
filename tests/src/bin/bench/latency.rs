//! Latency: an open loop at a fixed rate. A message's time runs from the moment at which it was due, so a relay that
//! holds up the generator cannot make its own delays disappear (no coordinated omission).

use std::net::SocketAddr;
use std::time::Duration;

use crate::Result;
use crate::client::DevicePair;
use crate::clock;
use crate::fleet::{Fleet, Totals, Traffic};
use crate::throughput::drain;
use crate::wire::Stamp;

/// The generator wakes so many nanoseconds before a message is due and spins until then: to be woken takes up to this
/// long, which would count as the relay's. Receiving it sleeps, as a device does.
const LEAD: u64 = 200_000;

/// How to pace the messages.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Plan {
    pub(crate) traffic: Traffic,
    /// Messages per second over all pairs.
    pub(crate) rate: u64,
    pub(crate) warm_up: Duration,
    pub(crate) measured: Duration,
}

/// Times in microseconds.
#[derive(Debug)]
pub(crate) struct Latency {
    pub(crate) p50: f64,
    pub(crate) p99: f64,
    pub(crate) max: f64,
    /// Median delay of the generator itself between due and written; part of every time above.
    pub(crate) generator: f64,
    /// Over the whole run.
    pub(crate) totals: Totals,
}

/// When messages are due, in nanoseconds on the monotonic clock.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Schedule {
    start: u64,
    interval: u64,
    end: u64,
}

impl Schedule {
    /// `rate` messages a second for `duration`, the first after one interval.
    pub(crate) fn from_now(rate: u64, duration: Duration) -> Self {
        let interval = 1_000_000_000 / rate.max(1);
        let start = clock::now() + interval;
        Self { start, interval, end: start + nanoseconds(duration) }
    }
}

/// Runs the open loop against the relay at `address`.
pub(crate) fn run(address: SocketAddr, devices: &[DevicePair], plan: &Plan) -> Result<Latency> {
    let mut fleet = Fleet::connect(address, devices, 0, plan.traffic)?;
    let schedule = Schedule::from_now(plan.rate, plan.warm_up + plan.measured);
    let measured_from = schedule.start + nanoseconds(plan.warm_up);
    let expected = usize::try_from(nanoseconds(plan.measured) / schedule.interval)? + 1;
    let (mut times, mut delays) = (Vec::with_capacity(expected), Vec::with_capacity(expected));
    let on_message = |stamp: Stamp| {
        if stamp.due >= measured_from {
            times.push(clock::now().saturating_sub(stamp.due));
        }
    };
    pace(&mut fleet, &schedule, |delay| delays.push(delay), on_message)?;
    drain(&mut fleet)?;
    let totals = fleet.totals();
    fleet.disconnect()?;
    times.sort_unstable();
    delays.sort_unstable();
    Ok(Latency {
        p50: percentile(&times, 0.50)?,
        p99: percentile(&times, 0.99)?,
        max: percentile(&times, 1.0)?,
        generator: percentile(&delays, 0.50)?,
        totals,
    })
}

/// Sends the messages of `schedule`, pair by pair; `on_sent` hears by how many nanoseconds each was late.
pub(crate) fn pace(
    fleet: &mut Fleet,
    schedule: &Schedule,
    mut on_sent: impl FnMut(u64),
    mut on_message: impl FnMut(Stamp),
) -> Result<()> {
    let Schedule { start, interval, end } = *schedule;
    let timer = clock::timer(start.saturating_sub(LEAD), interval)?;
    fleet.watch(&timer)?;
    let mut sent = 0;
    let mut due = start;
    while due < end {
        let now = clock::now();
        if due <= now {
            while due <= now.min(end - 1) {
                on_sent(now - due);
                fleet.publish(sent, due);
                sent += 1;
                due = start + sent * interval;
            }
            fleet.flush()?;
        }
        let wait = if due.saturating_sub(now) <= LEAD { Duration::ZERO } else { Duration::from_millis(100) };
        let expired = fleet.turn(wait, &mut on_message)?;
        fleet.flush()?;
        if expired {
            expirations(&timer)?;
        }
    }
    Ok(())
}

/// Takes the expirations off the timer; an edge-triggered poll reports it again only then.
fn expirations(timer: &std::os::fd::OwnedFd) -> Result<()> {
    let mut count = [0; 8];
    match rustix::io::read(timer, &mut count) {
        Ok(_) | Err(rustix::io::Errno::AGAIN) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// The value, in microseconds, that a `share` of the `sorted` nanoseconds does not exceed (nearest rank).
fn percentile(sorted: &[u64], share: f64) -> Result<f64> {
    let rank = (sorted.len() as f64 * share).ceil() as usize;
    let value =
        sorted.get(rank.saturating_sub(1)).ok_or("the relay delivered nothing while it was measured")?;
    Ok(*value as f64 / 1000.0)
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn percentiles_are_nearest_ranks() {
        let times: Vec<u64> = (1..=100).map(|n| n * 1000).collect();
        assert_eq!(percentile(&times, 0.50).unwrap(), 50.0);
        assert_eq!(percentile(&times, 0.99).unwrap(), 99.0);
        assert_eq!(percentile(&times, 1.0).unwrap(), 100.0);
        assert!(percentile(&[], 0.5).is_err());
    }
}
