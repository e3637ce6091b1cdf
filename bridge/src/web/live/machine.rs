//! What the process and the machine are busy with.

use std::{fs, path::Path, time::Duration};

use rustix::{
    fs::statvfs,
    param::page_size,
    system::sysinfo,
    time::{ClockId, clock_gettime},
};
use serde::Serialize;
use tokio::time::Instant;

use super::rates::rounded;

/// How often the process is looked at, at most.
const PROCESS: Duration = Duration::from_secs(1);
/// How often is looked at what costs more, and changes less.
const MACHINE: Duration = Duration::from_secs(5);

/// What the process takes of the machine. What cannot be told is `None`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub(in crate::web) struct Load {
    /// Percent of one core, over the time since it was looked at before.
    pub(in crate::web) cpu: Option<f64>,
    /// Resident memory, in bytes.
    pub(in crate::web) memory: Option<u64>,
    /// File descriptors, connections of devices included.
    pub(in crate::web) open_files: Option<usize>,
}

/// The machine. What cannot be told is `None`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub(in crate::web) struct Machine {
    /// Processes that want to run, on average over the last minute.
    pub(in crate::web) load: Option<f64>,
    /// Bytes.
    pub(in crate::web) memory_total: Option<u64>,
    /// Bytes that can be had at once.
    pub(in crate::web) memory_free: Option<u64>,
    /// Size of the file system with the data directory, in bytes.
    pub(in crate::web) disk_total: Option<u64>,
    /// Bytes that are left there for the bridge.
    pub(in crate::web) disk_free: Option<u64>,
}

/// Looks at both, seldom enough.
#[derive(Debug)]
pub(super) struct Gauges {
    load: Load,
    machine: Machine,
    /// When the process was looked at, and what it had used by then.
    process_at: Option<(Instant, Duration)>,
    machine_at: Option<Instant>,
}

impl Gauges {
    /// At a process that has just begun to be looked at.
    pub(super) fn new(now: Instant) -> Self {
        Self {
            load: Load::default(),
            machine: Machine::default(),
            process_at: Some((now, processor_time())),
            machine_at: None,
        }
    }

    /// As they are, or were a moment ago.
    pub(super) fn read(&mut self, now: Instant, data_dir: &Path) -> (Load, Machine) {
        if self.machine_at.is_none_or(|at| now.duration_since(at) >= MACHINE) {
            self.machine_at = Some(now);
            self.machine = machine(data_dir);
            self.load.open_files = open_files();
            self.load.memory = resident();
        }
        if self.process_at.is_none_or(|(at, _)| now.duration_since(at) >= PROCESS) {
            let used = processor_time();
            self.load.cpu = self.process_at.map(|(at, before)| {
                let seconds = now.duration_since(at).as_secs_f64();
                rounded(100.0 * used.saturating_sub(before).as_secs_f64() / seconds)
            });
            self.load.memory = resident();
            self.process_at = Some((now, used));
        }
        (self.load, self.machine)
    }
}

/// What the process has used of all cores.
fn processor_time() -> Duration {
    Duration::try_from(clock_gettime(ClockId::ProcessCPUTime)).unwrap_or_default()
}

fn resident() -> Option<u64> {
    let statm = fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = statm.split_whitespace().nth(1)?.parse().ok()?;
    Some(pages * page_size() as u64)
}

fn open_files() -> Option<usize> {
    // One is the directory itself.
    Some(fs::read_dir("/proc/self/fd").ok()?.count().saturating_sub(1))
}

fn machine(data_dir: &Path) -> Machine {
    let system = sysinfo();
    let unit = u64::from(system.mem_unit.max(1));
    let disk = statvfs(data_dir).ok();
    Machine {
        load: Some(hundredths(system.loads[0] as f64 / 65_536.0)),
        memory_total: Some(system.totalram as u64 * unit),
        // The unit hides what is not of the process, so the sum that leaves out the page cache has to do.
        memory_free: available_memory().or(Some((system.freeram + system.bufferram) as u64 * unit)),
        disk_total: disk.as_ref().map(|disk| disk.f_blocks * disk.f_frsize),
        disk_free: disk.as_ref().map(|disk| disk.f_bavail * disk.f_frsize),
    }
}

fn available_memory() -> Option<u64> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kilobytes: u64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kilobytes * 1024)
}

fn hundredths(number: f64) -> f64 {
    (number * 100.0).round() / 100.0
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn this_process_and_machine_are_plausible() {
        let start = Instant::now();
        let mut gauges = Gauges::new(start);
        let (load, machine) = gauges.read(start, Path::new("/"));
        assert_eq!(load.cpu, None, "not known before it was looked at twice");
        assert!(load.memory.unwrap() > 1 << 20 && load.open_files.unwrap() >= 3, "{load:?}");
        assert!(machine.memory_free.unwrap() <= machine.memory_total.unwrap(), "{machine:?}");
        assert!(machine.disk_free.unwrap() <= machine.disk_total.unwrap(), "{machine:?}");
        assert!(machine.load.unwrap() >= 0.0);
        let (load, _) = gauges.read(start + PROCESS, Path::new("/"));
        assert!(load.cpu.unwrap() >= 0.0);
    }

    #[test]
    fn what_cannot_be_told_is_left_open() {
        let mut gauges = Gauges::new(Instant::now());
        let (_, machine) = gauges.read(Instant::now(), Path::new("/nowhere"));
        assert_eq!((machine.disk_total, machine.disk_free), (None, None));
    }
}
