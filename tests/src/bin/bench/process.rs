//! What Linux says about a process and the machine, read from `/proc`.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::Pid;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use crate::Result;

/// A relay's process.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Process {
    pid: u32,
}

impl Process {
    pub(crate) fn new(pid: u32) -> Self {
        Self { pid }
    }

    /// User and system time of all its threads so far, in steps of 10 ms.
    pub(crate) fn processor_time(&self) -> Result<Duration> {
        let stat = self.read("stat")?;
        // The command, in parentheses, may contain anything; `utime` and `stime` are the 12th and 13th field after it.
        let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields);
        let ticks: u64 = sum(fields.split_whitespace().skip(11).take(2))?;
        Ok(from_ticks(ticks))
    }

    /// Resident memory in bytes, exact.
    pub(crate) fn resident(&self) -> Result<u64> {
        // `VmRSS` is a counter that lags by some pages per core; the roll-up walks the page tables.
        let rollup = self.read("smaps_rollup").or_else(|_| self.read("status"))?;
        field(&rollup, "Rss:").or_else(|| field(&rollup, "VmRSS:")).ok_or_else(|| "no Rss in /proc".into())
    }

    /// Most resident memory in bytes since the last [`Process::reset_peak`].
    pub(crate) fn peak(&self) -> Result<u64> {
        field(&self.read("status")?, "VmHWM:").ok_or_else(|| "no VmHWM in /proc".into())
    }

    /// Sets the peak back to what is resident now; without the right to do so the peak counts from the start.
    pub(crate) fn reset_peak(&self) {
        const RESET_PEAK: &str = "5";
        let _ = fs::write(self.path("clear_refs"), RESET_PEAK);
    }

    /// Bytes that it had written to storage so far; what the file system adds of its own is not in it.
    pub(crate) fn written(&self) -> Result<u64> {
        let io = self.read("io")?;
        let bytes = io.lines().find_map(|line| line.strip_prefix("write_bytes: "));
        Ok(bytes.ok_or("no write_bytes in /proc")?.parse()?)
    }

    /// The cores that its first thread may run on.
    pub(crate) fn cores(&self) -> Result<CpuSet> {
        Ok(sched_getaffinity(thread_id(self.pid))?)
    }

    /// Lets all its threads run on `cores` only; threads that start later inherit that.
    pub(crate) fn set_cores(&self, cores: &CpuSet) -> Result<()> {
        let mut done = BTreeSet::new();
        // Until there is no new one: a thread that was not looked at yet may have started another meanwhile.
        loop {
            let mut new = self.threads()?;
            new.retain(|thread| !done.contains(thread));
            if new.is_empty() {
                return Ok(());
            }
            for thread in new {
                match sched_setaffinity(thread_id(thread), cores) {
                    Ok(()) | Err(Errno::SRCH) => done.insert(thread),
                    Err(error) => {
                        return Err(format!("cannot keep process {} on some cores: {error}", self.pid).into());
                    }
                };
            }
        }
    }

    /// The identifiers of its threads.
    fn threads(&self) -> Result<Vec<u32>> {
        let path = self.path("task");
        let entries =
            fs::read_dir(&path).map_err(|error| format!("cannot read {}: {error}", path.display()))?;
        let mut threads = Vec::new();
        for entry in entries {
            threads.push(entry?.file_name().to_string_lossy().parse()?);
        }
        Ok(threads)
    }

    fn read(&self, file: &str) -> Result<String> {
        let path = self.path(file);
        fs::read_to_string(&path).map_err(|error| format!("cannot read {}: {error}", path.display()).into())
    }

    fn path(&self, file: &str) -> PathBuf {
        Path::new("/proc").join(self.pid.to_string()).join(file)
    }
}

/// The machine that everything runs on.
#[derive(Debug)]
pub(crate) struct Machine {
    pub(crate) model: String,
    pub(crate) cores: usize,
    pub(crate) memory: u64,
    pub(crate) kernel: String,
}

impl Machine {
    pub(crate) fn read() -> Result<Self> {
        let cpuinfo = fs::read_to_string("/proc/cpuinfo")?;
        // An x86 has "model name", a Raspberry Pi has "Model".
        let model = ["model name", "Model"].iter().find_map(|key| {
            cpuinfo.lines().find_map(|line| line.strip_prefix(key)?.split_once(':').map(|(_, value)| value))
        });
        Ok(Self {
            model: model.unwrap_or(std::env::consts::ARCH).trim().to_owned(),
            cores: std::thread::available_parallelism()?.get(),
            memory: field(&fs::read_to_string("/proc/meminfo")?, "MemTotal:").unwrap_or(0),
            kernel: fs::read_to_string("/proc/sys/kernel/osrelease")?.trim().to_owned(),
        })
    }

    /// Time that all cores together spent on processes (or on other guests) so far.
    pub(crate) fn processor_time() -> Result<Duration> {
        let stat = fs::read_to_string("/proc/stat")?;
        let mut fields = stat.lines().next().unwrap_or("").split_whitespace();
        // cpu user nice system idle iowait irq softirq steal: interrupts belong to the relay's and generator's traffic.
        let processes = fields.by_ref().skip(1).take(3);
        let ticks = sum(processes)? + sum(fields.skip(4).take(1))?;
        Ok(from_ticks(ticks))
    }
}

fn thread_id(id: u32) -> Option<Pid> {
    i32::try_from(id).ok().and_then(Pid::from_raw)
}

fn sum<'a>(fields: impl Iterator<Item = &'a str>) -> Result<u64> {
    fields.map(|field| field.parse::<u64>().map_err(Into::into)).sum()
}

fn from_ticks(ticks: u64) -> Duration {
    Duration::from_secs_f64(ticks as f64 / rustix::param::clock_ticks_per_second() as f64)
}

/// A "Name:   123 kB" line, in bytes.
fn field(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse::<u64>().ok().map(|kib| kib * 1024)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn this_process_can_be_read() {
        let process = Process::new(std::process::id());
        assert!(process.resident().unwrap() > 100_000);
        assert!(process.peak().unwrap() > 100_000);
        assert!(process.written().is_ok());
        assert!(process.processor_time().unwrap() <= Machine::processor_time().unwrap());
        assert!(Machine::read().unwrap().memory > 1_000_000);
    }
}
