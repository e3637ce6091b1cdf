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

/// Messages per second, with the share of the time of the slowest that each is measured for.
const RATES: [(u64, u32); 3] = [(1, 1), (10, 2), (1000, 6)];
/// Payload in bytes.
const SIZE: usize = 100;

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

/// Measures idle, then with the subscriber online, then with the subscriber away, at every rate; one pair, and queues
/// that are empty at the beginning of each. `None` for a relay whose data directory is not known.
pub(crate) fn run(values: &mut Values, relay: &Relay, args: &Args) -> Result<Option<Counted>> {
    if !relay.writes() {
        return Ok(None);
    }
    let volume = Volume::new();
    let place = volume.as_ref().ok().map(Volume::path);
    let setup = Setup { pairs: 1, version: args.mqtt, keeping: Keeping::Written, volume: place };
    let site = relay.prepare(setup)?;
    let running = site.start()?;
    let process = running.process.ok_or("its process is not known")?;
    let meter = volume.as_ref().map_or(Meter::Process(process), Meter::Device);
    idle(values, &running, &meter, args)?;
    for (name, subscribers) in [("online", Subscribers::Persistent), ("away", Subscribers::Away)] {
        for (rate, share) in RATES {
            eprintln!("    subscriber {name}, {rate}/s");
            let seconds = args.wear_seconds() / share;
            let plan = Schedule::from_now;
            let bytes =
                messages(values, &running, &meter, traffic(args, subscribers), || plan(rate, seconds))?;
            values.push(format!("wear.{name}.{rate}_kb"), bytes / 1e3);
        }
    }
    running.stop()?;
    Ok(Some(volume.as_ref().map_or_else(|error| Counted::Process(error.to_string()), |_| Counted::Device)))
}

/// What is written while nobody publishes, in a second.
fn idle(values: &mut Values, running: &Running, meter: &Meter<'_>, args: &Args) -> Result<()> {
    eprintln!("    idle");
    let traffic = traffic(args, Subscribers::Persistent);
    let fleet = Fleet::connect(running.address, &running.devices, 0, traffic)?;
    let (before, began) = (meter.settled()?, Instant::now());
    thread::sleep(args.wear_seconds());
    let bytes = meter.written()? - before;
    values.push("wear.idle_kb", bytes as f64 / began.elapsed().as_secs_f64() / 1e3);
    fleet.disconnect()
}

/// Bytes for each message of the schedule.
fn messages(
    values: &mut Values,
    running: &Running,
    meter: &Meter<'_>,
    traffic: Traffic,
    schedule: impl FnOnce() -> Schedule,
) -> Result<f64> {
    let mut fleet = Fleet::connect(running.address, &running.devices, 0, traffic)?;
    let before = meter.settled()?;
    latency::pace(&mut fleet, &schedule(), |_| (), |_| ())?;
    drain(&mut fleet)?;
    let bytes = meter.written()? - before;
    fleet.recall()?;
    drain(&mut fleet)?;
    let totals = fleet.totals();
    fleet.disconnect()?;
    values.push("wear.lost", totals.lost() as f64);
    values.push("wear.wrong", (totals.duplicates + totals.disordered) as f64);
    Ok(bytes as f64 / totals.sent as f64)
}

impl Meter<'_> {
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

    /// Bytes so far, once start, login or what was measured before have nothing left to write.
    fn settled(&self) -> Result<u64> {
        const PAUSE: Duration = Duration::from_secs(2);
        const LONGEST: Duration = Duration::from_secs(20);
        let (started, mut bytes) = (Instant::now(), self.written()?);
        loop {
            thread::sleep(PAUSE);
            let next = self.written()?;
            if next == bytes || started.elapsed() > LONGEST {
                return Ok(next);
            }
            bytes = next;
        }
    }
}

fn traffic(args: &Args, subscribers: Subscribers) -> Traffic {
    Traffic { version: args.mqtt, qos: 1, size: SIZE, subscribers }
}
