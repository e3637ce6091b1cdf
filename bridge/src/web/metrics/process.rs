//! What the process takes of the machine, as Linux tells it.

use std::{fs, time::Duration};

use rustix::{
    param::page_size,
    process::{Resource, getrlimit},
    time::{ClockId, clock_gettime},
};

/// `None` is what cannot be found out.
#[derive(Debug)]
pub(super) struct Process {
    /// Seconds on all cores together.
    pub(super) cpu: Option<f64>,
    /// Bytes.
    pub(super) resident: Option<u64>,
    /// Bytes.
    pub(super) virtual_size: Option<u64>,
    pub(super) threads: Option<u64>,
    pub(super) open_files: Option<usize>,
    /// `None` also if there is no limit.
    pub(super) max_open_files: Option<u64>,
}

impl Process {
    pub(super) fn read() -> Self {
        let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
        // The process's name, in parentheses, may have spaces in it. The state, behind it, is field 3 of proc(5).
        let fields: Vec<_> =
            stat.rsplit_once(") ").map(|(_, rest)| rest.split(' ').collect()).unwrap_or_default();
        let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
        Self {
            cpu: Duration::try_from(clock_gettime(ClockId::ProcessCPUTime))
                .ok()
                .map(|used| used.as_secs_f64()),
            resident: field(24).map(|pages| pages * page_size() as u64),
            virtual_size: field(23),
            threads: field(20),
            open_files: fs::read_dir("/proc/self/fd").ok().map(Iterator::count),
            max_open_files: getrlimit(Resource::Nofile).current,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn linux_tells_all_of_it() {
        let process = Process::read();
        assert!(process.cpu.unwrap() < 100_000.0);
        assert!((1 << 20..1 << 40).contains(&process.resident.unwrap()), "{process:?}");
        assert!(process.virtual_size > process.resident);
        assert!(process.threads.unwrap() >= 1);
        assert!(process.open_files.unwrap() >= 3);
    }
}
