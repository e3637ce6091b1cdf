//! Wear: the bytes that reach the device for every durable message.

use std::thread;
use std::time::{Duration, Instant};

use crate::Result;
use crate::args::Args;
use crate::disk::{Volume, sync_all};
use crate::fleet::{Fleet, Subscribers, Traffic};
use crate::latency::{self, Schedule};
use crate::process::Process;
use crate::relay::{Keeping, Relay, Running, Setup};
use crate::results::Values;
use crate::throughput::drain;

/// Payload in bytes.
const SIZE: usize = 100;

/// Nothing is being written when nothing was for so long.
const SHORTLY: Duration = Duration::from_secs(2);
/// The same where a store may wait for a quiet moment to tidy up.
const AT_REST: Duration = Duration::from_secs(13);

/// What was counted.
#[derive(Debug)]
pub(crate) enum Counted {
    /// What reached a device with a file system of its own.
    Device,
    /// What the relay's process had written to storage, and why it is not the device.
    Process(String),
}

/// Where it is counted.
enum Meter<'a> {
    Device(&'a Volume),
    Process(Process),
}

/// Measures idle, then messages at 1, 10 and 1,000 a second; one pair, and a queue that is empty at the beginning of each.
/// `None` for a relay whose data directory is not known.
pub(crate) fn run(values: &mut Values, relay: &Relay, args: &Args) -> Result<Option<Counted>> {
    use Subscribers::{Away, Persistent};
    if !relay.writes() {
        return Ok(None);
    }
    let volume = Volume::new();
    let place = volume.as_ref().ok().map(Volume::path);
    let setup = Setup { pairs: 1, version: args.mqtt, keeping: Keeping::Written, volume: place };
    let site = relay.prepare(setup)?;
    let running = site.start()?;
    let meter = Meter::new(&volume, &running)?;
    idle(values, &running, &meter, args)?;
    for what in [(Persistent, 1), (Persistent, 10), (Persistent, 1000), (Away, 1000), (Away, 10)] {
        let (fleet, _) = publish(values, &running, &meter, args, what)?;
        collect(values, fleet)?;
    }
    // The slowest last: the files of a store that has been at work for a while have the size that they keep.
    let (mut fleet, before) = publish(values, &running, &meter, args, (Away, 1))?;
    running.stop()?;
    if let Meter::Device(_) = meter {
        let bytes = meter.settled(SHORTLY)? - before;
        values.push("wear.away.stopped_kb", kilobytes_each(bytes, &fleet));
    }
    let running = site.start()?;
    fleet.reconnect_publishers()?;
    collect(values, fleet)?;
    running.stop()?;
    Ok(Some(volume.as_ref().map_or_else(|error| Counted::Process(error.to_string()), |_| Counted::Device)))
}

/// What is written while nobody publishes, in a second.
fn idle(values: &mut Values, running: &Running, meter: &Meter<'_>, args: &Args) -> Result<()> {
    eprintln!("    idle");
    let traffic = traffic(args, Subscribers::Persistent);
    let fleet = Fleet::connect(running.address, &running.devices, 0, traffic)?;
    let (before, began) = (meter.settled(SHORTLY)?, Instant::now());
    thread::sleep(args.wear_seconds());
    let bytes = meter.written()? - before;
    values.push("wear.idle_kb", bytes as f64 / began.elapsed().as_secs_f64() / 1e3);
    fleet.disconnect()
}

/// Publishes so many messages a second and counts what is written for each; returns what was written before, too.
fn publish(
    values: &mut Values,
    running: &Running,
    meter: &Meter<'_>,
    args: &Args,
    (subscribers, rate): (Subscribers, u64),
) -> Result<(Fleet, u64)> {
    let (name, quiet) = match subscribers {
        Subscribers::Away => ("away", AT_REST),
        Subscribers::Clean | Subscribers::Persistent => ("online", SHORTLY),
    };
    eprintln!("    subscriber {name}, {rate}/s");
    let mut fleet = Fleet::connect(running.address, &running.devices, 0, traffic(args, subscribers))?;
    let before = meter.settled(quiet)?;
    let share = match rate {
        1 => 1,
        10 => 2,
        _ => 6,
    };
    latency::pace(&mut fleet, &Schedule::from_now(rate, args.wear_seconds() / share), |_| (), |_| ())?;
    drain(&mut fleet)?;
    let bytes = meter.settled(quiet)? - before;
    values.push(format!("wear.{name}.{rate}_kb"), kilobytes_each(bytes, &fleet));
    Ok((fleet, before))
}

/// Lets the subscriber receive what it did not yet, ends its session and judges what became of the messages.
fn collect(values: &mut Values, mut fleet: Fleet) -> Result<()> {
    fleet.recall()?;
    drain(&mut fleet)?;
    let totals = fleet.totals();
    values.push("wear.lost", totals.lost() as f64);
    values.push("wear.wrong", (totals.duplicates + totals.disordered) as f64);
    fleet.disconnect()
}

fn kilobytes_each(bytes: u64, fleet: &Fleet) -> f64 {
    bytes as f64 / 1e3 / fleet.totals().sent as f64
}

impl<'a> Meter<'a> {
    fn new(volume: &'a Result<Volume>, running: &Running) -> Result<Self> {
        match volume {
            Ok(volume) => Ok(Self::Device(volume)),
            Err(_) => Ok(Self::Process(running.process.ok_or("its process is not known")?)),
        }
    }

    /// Bytes so far, with all that was still cached.
    fn written(&self) -> Result<u64> {
        match self {
            Self::Device(volume) => {
                sync_all(volume.path())?;
                volume.written()
            }
            Self::Process(process) => process.written(),
        }
    }

    /// Bytes so far, once nothing was written for `quiet`: of what went before (start, login, messages, tidying up after
    /// them) nothing is left then.
    fn settled(&self, quiet: Duration) -> Result<u64> {
        const PAUSE: Duration = Duration::from_secs(1);
        const LONGEST: Duration = Duration::from_secs(60);
        let started = Instant::now();
        let (mut bytes, mut since) = (self.written()?, started);
        while since.elapsed() < quiet && started.elapsed() < LONGEST {
            thread::sleep(PAUSE);
            let next = self.written()?;
            if next != bytes {
                (bytes, since) = (next, Instant::now());
            }
        }
        Ok(bytes)
    }
}

fn traffic(args: &Args, subscribers: Subscribers) -> Traffic {
    Traffic { version: args.mqtt, qos: 1, size: SIZE, subscribers }
}
