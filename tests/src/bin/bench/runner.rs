//! The order of measurements: round by round, every relay in turn, so that a drift of the machine hits all alike.

use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Resource, getrlimit, setrlimit};

use crate::args::{Args, Measure};
use crate::cores::Division;
use crate::load::Load;
use crate::process::Process;
use crate::relay::{Keeping, Kind, Relay, Running, Setup, Site};
use crate::results::Values;
use crate::wear::Counted;
use crate::{Result, disk, idle, latency, throughput, wear};

/// Open files that the bench and its relays need beside one per connection.
const SPARE_FILES: u64 = 100;
/// Above this share of the machine, other processes make the figures doubtful.
const DISTURBED: f64 = 0.05;
/// Above this share of its cores, the generator may be what limits the rate.
const SATURATED: f64 = 0.95;

/// Runs everything and collects what it finds.
pub(crate) struct Runner<'a> {
    args: &'a Args,
    subjects: Vec<Subject>,
    /// Kept to the end: ext4 creates files many times slower while it has just deleted thousands.
    sites: Vec<Site>,
    /// The largest share of the machine that others used during a measurement.
    others: f64,
    /// Who runs where while latency is measured; `None` where all cores are shared.
    division: Option<Division>,
    /// What the rows of the wear count.
    counted: Option<Counted>,
}

/// A relay and what is known of it so far.
struct Subject {
    relay: Relay,
    values: Values,
}

impl<'a> Runner<'a> {
    /// Looks for the relays and raises this process's limit of open files, which the relays inherit.
    pub(crate) fn new(args: &'a Args) -> Result<Self> {
        let devices = u64::from(args.idle.max(2 * args.pairs).max(args.start));
        let mut limit = getrlimit(Resource::Nofile);
        if limit.maximum.is_some_and(|maximum| maximum < devices + SPARE_FILES) {
            return Err(
                format!("{devices} devices need more open files: raise the limit (ulimit -Hn)").into()
            );
        }
        limit.current = limit.maximum;
        setrlimit(Resource::Nofile, limit)?;
        let relays = args.relays()?.into_iter();
        let subjects = relays.map(|relay| Subject { relay, values: Values::default() }).collect();
        let division = if args.share_cores { None } else { Division::new()? };
        Ok(Self { args, subjects, sites: Vec::new(), others: 0.0, division, counted: None })
    }

    /// Takes all measurements of all rounds.
    pub(crate) fn run(&mut self) -> Result<()> {
        for round in 1..=self.args.rounds() {
            eprintln!("round {round} of {}", self.args.rounds());
            let order: Vec<usize> = if round % 2 == 1 {
                (0..self.subjects.len()).collect()
            } else {
                (0..self.subjects.len()).rev().collect()
            };
            self.traffic(&order)?;
            self.durable(&order)?;
            for &index in &order {
                let Subject { relay, values } = &mut self.subjects[index];
                if self.args.wants(Measure::Memory) {
                    eprintln!("  {}: memory", relay.name);
                    named(&relay.name, idle_memory(values, relay, self.args, &mut self.sites))?;
                }
                if self.args.wants(Measure::Start) {
                    eprintln!("  {}: start", relay.name);
                    named(&relay.name, start(values, relay, self.args, &mut self.sites))?;
                }
            }
        }
        if self.args.wants(Measure::Wear) {
            for Subject { relay, values } in &mut self.subjects {
                eprintln!("  {}: wear", relay.name);
                let counted = named(&relay.name, wear::run(values, relay, self.args))?;
                self.counted = self.counted.take().or(counted);
            }
        }
        Ok(())
    }

    /// Name, version and values of every relay, and what the reader must know.
    pub(crate) fn finish(self) -> (Vec<(String, String, Values)>, Vec<String>) {
        let mut notes = Vec::new();
        if self.args.wants(Measure::Latency) {
            notes.push(self.cores_note());
        }
        notes.extend(self.counted.as_ref().map(counted_note));
        notes.extend(environment_note(self.args));
        if self.others > DISTURBED {
            notes.push(format!(
                "other processes used up to {:.0} % of the machine while it was measured;\n\
                 repeat on an idle machine before believing the figures.",
                self.others * 100.0
            ));
        }
        for Subject { relay, values } in &self.subjects {
            for load in Load::ALL {
                let share = values.value(&format!("{}.generator_load", load.key()));
                if share.is_some_and(|share| share > SATURATED * 100.0) {
                    notes.push(format!(
                        "the load generator, not {}, limited the rate at {}.",
                        relay.name,
                        load.name()
                    ));
                }
            }
        }
        let relays = self.subjects.into_iter().map(|Subject { relay, values }| {
            let version = version(&relay.kind);
            (relay.name, version, values)
        });
        (relays.collect(), notes)
    }

    /// Throughput and latency of all relays side by side, and their memory.
    fn traffic(&mut self, order: &[usize]) -> Result<()> {
        if !self.args.wants(Measure::Throughput) && !self.args.wants(Measure::Latency) {
            return Ok(());
        }
        let running = self.start(order, Keeping::Shipped)?;
        if self.args.wants(Measure::Throughput) {
            self.loads(&running, &[Load::Qos0, Load::Qos1])?;
        }
        if self.args.wants(Measure::Latency) {
            let processes: Vec<_> = running.iter().filter_map(|(_, _, relay)| relay.process).collect();
            match self.division {
                Some(division) => division.keep(&processes, || self.latency(&running))?,
                None => self.latency(&running)?,
            }
        }
        self.stop(running)
    }

    /// Throughput of all relays side by side when ior-bridge syncs what it acknowledges.
    fn durable(&mut self, order: &[usize]) -> Result<()> {
        if !self.args.wants(Measure::Durable) {
            return Ok(());
        }
        let running = self.start(order, Keeping::Durable)?;
        self.loads(&running, &[Load::Online, Load::Away])?;
        self.stop(running)
    }

    fn start(&self, order: &[usize], keeping: Keeping) -> Result<Vec<(usize, Site, Running)>> {
        let start = |&index: &usize| {
            let relay = &self.subjects[index].relay;
            let site = relay.prepare(Setup { keeping, ..setup(self.args.pairs as usize, self.args) });
            let site = named(&relay.name, site)?;
            let started = named(&relay.name, site.start())?;
            Ok((index, site, started))
        };
        order.iter().map(start).collect()
    }

    fn stop(&mut self, running: Vec<(usize, Site, Running)>) -> Result<()> {
        for (index, site, relay) in running {
            named(&self.subjects[index].relay.name, relay.stop())?;
            self.sites.push(site);
        }
        Ok(())
    }

    /// Throughput of the `running` relays.
    fn loads(&mut self, running: &[(usize, Site, Running)], loads: &[Load]) -> Result<()> {
        for load in loads {
            for (index, site, relay) in running {
                settle(running.iter().filter_map(|(_, _, relay)| relay.process.as_ref()))?;
                let Subject { relay: Relay { name, .. }, values } = &mut self.subjects[*index];
                eprintln!("  {name}: throughput, {}", load.name());
                if *load == Load::Away {
                    values.push("durable.away.sync_ms", milliseconds(disk::sync_time(site.directory())?));
                }
                let others = named(name, put_under(*load, values, relay, self.args))?;
                self.others = self.others.max(others);
            }
        }
        Ok(())
    }

    /// Latency of the `running` relays.
    fn latency(&mut self, running: &[(usize, Site, Running)]) -> Result<()> {
        for qos in [0, 1] {
            for (index, _, relay) in running {
                settle(running.iter().filter_map(|(_, _, relay)| relay.process.as_ref()))?;
                let Subject { relay: Relay { name, .. }, values } = &mut self.subjects[*index];
                eprintln!("  {name}: latency, QoS {qos}");
                named(name, pace(values, relay, qos, self.args))?;
            }
        }
        Ok(())
    }

    /// Where generator and relays ran while latency was measured.
    fn cores_note(&self) -> String {
        match self.division {
            Some(division) => format!(
                "while latency was measured, the generator ran on core {} and the relays on the\n\
                 others; --share-cores lets them share all.",
                division.generator
            ),
            None if self.args.share_cores => {
                "generator and relays shared all cores while latency was measured.".into()
            }
            None => "there is one core: generator and relays shared it while latency was measured.".into(),
        }
    }
}

/// Throughput under `load`; returns the share of the machine that other processes used.
fn put_under(load: Load, values: &mut Values, relay: &Running, args: &Args) -> Result<f64> {
    if let Some(process) = &relay.process {
        process.reset_peak();
    }
    let plan = throughput::Plan {
        traffic: load.traffic(args),
        in_flight: args.in_flight.into(),
        threads: args.threads.into(),
        warm_up: args.warm_up(),
        measured: args.measured(),
    };
    let found = throughput::run(relay.address, relay.process.as_ref(), &relay.devices, &plan)?;
    let mut push = |name: &str, value: f64| values.push(format!("{}.{name}", load.key()), value);
    push("rate", found.rate);
    push("lost", found.totals.lost() as f64);
    push("wrong", (found.totals.duplicates + found.totals.disordered) as f64);
    push("generator_us", microseconds(found.generator));
    push("generator_load", found.generator_load * 100.0);
    if let Some(rate) = found.backlog_rate {
        push("backlog_rate", rate);
    }
    if let Some(time) = found.relay {
        push("cpu_us", microseconds(time));
    }
    if let Some(process) = &relay.process {
        push("peak_mb", megabytes(process.peak()?));
    }
    Ok(found.others.unwrap_or(0.0))
}

/// Latency at `qos`.
fn pace(values: &mut Values, relay: &Running, qos: u8, args: &Args) -> Result<()> {
    let plan = latency::Plan {
        traffic: if qos == 0 { Load::Qos0.traffic(args) } else { Load::Qos1.traffic(args) },
        rate: args.rate.into(),
        warm_up: args.warm_up(),
        measured: args.measured(),
    };
    let found = latency::run(relay.address, &relay.devices, &plan)?;
    let mut push = |name: &str, value: f64| values.push(format!("latency.qos{qos}.{name}"), value);
    push("p50_us", found.p50);
    push("p99_us", found.p99);
    push("max_us", found.max);
    push("generator_us", found.generator);
    push("lost", found.totals.lost() as f64);
    Ok(())
}

/// Memory after the start, and of each further idle device.
fn idle_memory(values: &mut Values, relay: &Relay, args: &Args, sites: &mut Vec<Site>) -> Result<()> {
    let pairs = args.pairs as usize;
    let site = relay.prepare(setup(pairs, args))?;
    let running = site.start()?;
    sites.push(site);
    if let Some(process) = running.process {
        values.push("memory.idle_mb", megabytes(idle::settled(|| process.resident())?));
    }
    running.stop()?;
    let site = relay.prepare(setup((args.idle as usize).div_ceil(2), args))?;
    let running = site.start()?;
    sites.push(site);
    if let Some(bytes) = idle::memory_per_device(&running, args.mqtt)? {
        values.push("memory.device_kb", bytes / 1e3);
    }
    running.stop()
}

/// The start with an empty and with an existing data directory.
fn start(values: &mut Values, relay: &Relay, args: &Args, sites: &mut Vec<Site>) -> Result<()> {
    let site = relay.prepare(setup((args.start as usize).div_ceil(2), args))?;
    for key in ["start.new_ms", "start.existing_ms"] {
        let running = site.start()?;
        if let Some(ready) = running.ready {
            values.push(key, milliseconds(ready));
        }
        running.stop()?;
    }
    sites.push(site);
    Ok(())
}

/// Waits until no relay works off what the measurement before left, at most two seconds.
fn settle<'a>(relays: impl Iterator<Item = &'a Process>) -> Result<()> {
    let relays: Vec<_> = relays.collect();
    let total = || relays.iter().map(|relay| relay.processor_time()).sum::<Result<Duration>>();
    let started = Instant::now();
    let mut before = total()?;
    while started.elapsed() < Duration::from_secs(2) {
        thread::sleep(Duration::from_millis(100));
        let after = total()?;
        if after == before {
            break;
        }
        before = after;
    }
    Ok(())
}

fn setup(pairs: usize, args: &Args) -> Setup<'static> {
    Setup { pairs, version: args.mqtt, keeping: Keeping::Shipped, volume: None }
}

/// What ior-bridge was told beside its defaults and what a measurement asks for.
fn environment_note(args: &Args) -> Option<String> {
    let variables: Vec<_> = args.bridge_env.iter().map(|(key, value)| format!("{key}={value}")).collect();
    (!variables.is_empty()).then(|| format!("ior-bridge ran with {}.", variables.join(" ")))
}

/// What the rows of the wear count.
fn counted_note(counted: &Counted) -> String {
    match counted {
        Counted::Device => "the wear is what reached a loop device with ext4 of its own, the file system's\n\
             share included."
            .into(),
        Counted::Process(why) => format!(
            "the wear is what the relay's process wrote (write_bytes of /proc/PID/io), without\n\
             the file system's share; a loop device was not to be had: {why}"
        ),
    }
}

/// What a relay's binary says its version is.
fn version(kind: &Kind) -> String {
    let (binary, flag) = match kind {
        Kind::Mosquitto { binary } => (binary, "-h"),
        Kind::Bridge { binary, .. } => (binary, "--version"),
        Kind::Command { .. } | Kind::Running { .. } => return String::new(),
    };
    let output = Command::new(binary).arg(flag).output().map(|output| output.stdout).unwrap_or_default();
    let text = String::from_utf8_lossy(&output);
    text.lines().next().and_then(|line| line.split_whitespace().last()).unwrap_or("").to_owned()
}

fn named<T>(relay: &str, result: Result<T>) -> Result<T> {
    result.map_err(|error| format!("{relay}: {error}").into())
}

fn microseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}
