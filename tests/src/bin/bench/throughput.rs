//! Throughput: a closed loop, as fast as relay and generator together can.

use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use crate::Result;
use crate::client::DevicePair;
use crate::clock;
use crate::fleet::{Fleet, Subscribers, Totals, Traffic};
use crate::process::{Machine, Process};

/// Without one message for this long, what is outstanding counts as lost.
const STALL: Duration = Duration::from_secs(1);
/// The same where the relay may wait for a disk, and a disk takes its time.
const STALL_OF_A_DISK: Duration = Duration::from_secs(15);

/// How to load a relay.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Plan {
    pub(crate) traffic: Traffic,
    /// Messages in flight per pair.
    pub(crate) in_flight: u64,
    /// Threads of the generator.
    pub(crate) threads: usize,
    pub(crate) warm_up: Duration,
    pub(crate) measured: Duration,
}

/// What the relay did during the measured interval.
#[derive(Debug)]
pub(crate) struct Throughput {
    /// Messages delivered per second; acknowledged where the subscribers are away.
    pub(crate) rate: f64,
    /// Messages per second that the subscribers then received when they came back.
    pub(crate) backlog_rate: Option<f64>,
    /// The generator's processor time per delivered message.
    pub(crate) generator: Duration,
    /// Share of their cores that the generator's threads used, 0 to 1.
    pub(crate) generator_load: f64,
    /// The relay's processor time per delivered message.
    pub(crate) relay: Option<Duration>,
    /// Share of the machine that neither relay nor generator used and that was not idle, 0 to 1.
    pub(crate) others: Option<f64>,
    /// Over the whole run, warm-up and drain included.
    pub(crate) totals: Totals,
}

/// One thread's part.
struct Part {
    arrived: u64,
    elapsed: Duration,
    processor: Duration,
    backlog_rate: Option<f64>,
    totals: Totals,
}

/// Runs the closed loop against the relay at `address`.
pub(crate) fn run(
    address: SocketAddr,
    process: Option<&Process>,
    devices: &[DevicePair],
    plan: &Plan,
) -> Result<Throughput> {
    let share = devices.len().div_ceil(plan.threads.max(1)).max(1);
    let mut fleets = Vec::new();
    for (index, devices) in devices.chunks(share).enumerate() {
        fleets.push(Fleet::connect(address, devices, index * share, plan.traffic)?);
    }
    let threads = fleets.len();
    let start = Instant::now();
    let (parts, relay, others) = thread::scope(|scope| {
        let running: Vec<_> =
            fleets.into_iter().map(|fleet| scope.spawn(move || drive(fleet, plan, start))).collect();
        let observed = observe(process, plan, start);
        let mut parts = Vec::new();
        for thread in running {
            parts.push(thread.join().map_err(|_| "the load generator panicked")??);
        }
        let (relay, others) = observed?;
        Ok::<_, Box<dyn std::error::Error + Send + Sync>>((parts, relay, others))
    })?;
    let mut totals = Totals::default();
    parts.iter().for_each(|part| totals.add(part.totals));
    let rate: f64 = parts.iter().map(|part| part.arrived as f64 / part.elapsed.as_secs_f64()).sum();
    let per_second: f64 =
        parts.iter().map(|part| part.processor.as_secs_f64() / part.elapsed.as_secs_f64()).sum();
    if rate == 0.0 {
        return Err("the relay delivered nothing while it was measured".into());
    }
    let cores = thread::available_parallelism()?.get() as f64;
    Ok(Throughput {
        rate,
        backlog_rate: parts.iter().map(|part| part.backlog_rate).sum(),
        generator: Duration::from_secs_f64(per_second / rate),
        generator_load: per_second / threads as f64,
        relay: relay.map(|load| Duration::from_secs_f64(load / rate)),
        others: others.zip(relay).map(|(busy, relay)| ((busy - relay - per_second) / cores).max(0.0)),
        totals,
    })
}

/// Waits for the measured interval; returns the seconds per second that the relay and the whole machine worked.
fn observe(process: Option<&Process>, plan: &Plan, start: Instant) -> Result<(Option<f64>, Option<f64>)> {
    let snapshot = || -> Result<_> {
        let processor = process.map(Process::processor_time).transpose()?;
        Ok((Instant::now(), processor, Machine::processor_time()?))
    };
    thread::sleep((start + plan.warm_up).saturating_duration_since(Instant::now()));
    let (began, relay_before, all_before) = snapshot()?;
    thread::sleep((start + plan.warm_up + plan.measured).saturating_duration_since(Instant::now()));
    let (ended, relay_after, all_after) = snapshot()?;
    let seconds = (ended - began).as_secs_f64();
    let load = |before: Duration, after: Duration| after.saturating_sub(before).as_secs_f64() / seconds;
    let relay = relay_before.zip(relay_after).map(|(before, after)| load(before, after));
    Ok((relay, Some(load(all_before, all_after))))
}

fn drive(mut fleet: Fleet, plan: &Plan, start: Instant) -> Result<Part> {
    fleet.touch_all();
    pump(&mut fleet, plan, start + plan.warm_up)?;
    let (began, arrived, processor) = (Instant::now(), fleet.arrived(), clock::thread_time());
    pump(&mut fleet, plan, start + plan.warm_up + plan.measured)?;
    let (arrived, elapsed) = (fleet.arrived() - arrived, began.elapsed());
    let processor = clock::thread_time().saturating_sub(processor);
    drain(&mut fleet)?;
    let away = plan.traffic.subscribers == Subscribers::Away;
    let backlog_rate = if away { Some(deliver_backlog(&mut fleet)?) } else { None };
    let totals = fleet.totals();
    fleet.disconnect()?;
    Ok(Part { arrived, elapsed, processor, backlog_rate, totals })
}

/// Brings back the subscribers; returns the messages per second that they received until they had all.
fn deliver_backlog(fleet: &mut Fleet) -> Result<f64> {
    let (before, began) = (fleet.arrived(), Instant::now());
    fleet.recall()?;
    drain(fleet)?;
    Ok((fleet.arrived() - before) as f64 / began.elapsed().as_secs_f64())
}

/// Keeps the pairs filled until `end`.
fn pump(fleet: &mut Fleet, plan: &Plan, end: Instant) -> Result<()> {
    let (start, first) = (Instant::now(), fleet.arrived());
    let stall = stall(plan.traffic.subscribers);
    let mut progress = (first, start);
    loop {
        fleet.refill(plan.in_flight);
        fleet.flush()?;
        let before = fleet.arrived();
        fleet.turn(Duration::from_millis(10), |_| ())?;
        let now = Instant::now();
        if now >= end {
            return Ok(());
        }
        let arrived = fleet.arrived();
        if arrived > progress.0 {
            progress = (arrived, now);
        } else if now - progress.1 >= stall {
            fleet.write_off();
            fleet.touch_all();
            progress.1 = now;
        }
        let in_flight = fleet.pairs() * plan.in_flight;
        thread::sleep(pause(in_flight, arrived - before, (arrived - first) as f64, now - start));
    }
}

/// How long a generator that is ahead of the relay pauses: until a quarter of what is in flight is back, going by the
/// rate so far. The relay always has the other three, and is not interrupted by a generator that wakes up for every
/// message and takes the time that the relay could use.
fn pause(in_flight: u64, back: u64, arrived: f64, elapsed: Duration) -> Duration {
    const LONGEST: Duration = Duration::from_millis(5);
    let missing = (in_flight / 4).saturating_sub(back) as f64;
    if arrived == 0.0 { Duration::ZERO } else { elapsed.mul_f64(missing / arrived).min(LONGEST) }
}

fn stall(subscribers: Subscribers) -> Duration {
    match subscribers {
        Subscribers::Clean => STALL,
        Subscribers::Persistent | Subscribers::Away => STALL_OF_A_DISK,
    }
}

/// Takes in what is still on its way, without sending more.
pub(crate) fn drain(fleet: &mut Fleet) -> Result<()> {
    let stall = stall(fleet.subscribers());
    let mut progress = (fleet.outstanding(), Instant::now());
    while progress.0 > 0 && progress.1.elapsed() < stall {
        fleet.flush()?;
        fleet.turn(Duration::from_millis(10), |_| ())?;
        let outstanding = fleet.outstanding();
        if outstanding < progress.0 {
            progress = (outstanding, Instant::now());
        }
    }
    fleet.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_leaves_the_relay_three_quarters_of_what_is_in_flight() {
        let second = Duration::from_secs(1);
        assert_eq!(pause(1000, 50, 200_000.0, second), Duration::from_millis(1));
        assert_eq!(pause(1000, 250, 200_000.0, second), Duration::ZERO, "the generator is behind");
        assert_eq!(pause(1, 0, 10_000.0, second), Duration::ZERO, "there is nothing to wait for");
        assert_eq!(pause(1000, 0, 0.0, second), Duration::ZERO, "the rate is unknown");
    }
}
