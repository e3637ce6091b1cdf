//! Keeps the load generator and the relays from competing for the same cores.

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use crate::Result;
use crate::process::Process;

/// Who runs where while generator and relays are kept apart.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Division {
    /// The core of the generator's thread: the last one, since devices' interrupts mostly go to the first.
    pub(crate) generator: usize,
    all: CpuSet,
    relays: CpuSet,
}

impl Division {
    /// Divides the cores that the calling thread may run on; `None` if it is only one.
    pub(crate) fn new() -> Result<Option<Self>> {
        Ok(divide(sched_getaffinity(None)?))
    }

    /// Runs `measure` with the calling thread on the generator's core and the `processes` on the others; all have their
    /// cores back when it returns. Threads that `measure` starts share the generator's core.
    pub(crate) fn keep<T>(&self, processes: &[Process], measure: impl FnOnce() -> Result<T>) -> Result<T> {
        let before = processes.iter().map(Process::cores).collect::<Result<Vec<_>>>()?;
        let found = self.divide_among(processes).and_then(|()| measure());
        let back = processes.iter().zip(&before).map(|(process, cores)| process.set_cores(cores));
        let back = back.fold(sched_setaffinity(None, &self.all).map_err(Into::into), Result::and);
        let found = found?;
        back.map(|()| found)
    }

    fn divide_among(&self, processes: &[Process]) -> Result<()> {
        processes.iter().try_for_each(|process| process.set_cores(&self.relays))?;
        Ok(sched_setaffinity(None, &only(self.generator))?)
    }
}

fn divide(all: CpuSet) -> Option<Division> {
    let mut cores = (0..CpuSet::MAX_CPU).filter(|core| all.is_set(*core));
    let generator = cores.next_back().filter(|_| cores.next().is_some())?;
    let mut relays = all;
    relays.unset(generator);
    Some(Division { generator, all, relays })
}

fn only(core: usize) -> CpuSet {
    let mut cores = CpuSet::new();
    cores.set(core);
    cores
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use std::sync::mpsc;
    use std::thread;

    use super::*;

    #[test]
    fn the_generator_has_one_core_and_the_relays_have_the_others() {
        let mut all = CpuSet::new();
        [1, 4, 6].into_iter().for_each(|core| all.set(core));
        let division = divide(all).unwrap();
        assert_eq!(division.generator, 6);
        assert!(division.relays.is_set(1) && division.relays.is_set(4));
        assert_eq!(division.relays.count(), 2);
        assert!(divide(only(3)).is_none(), "one core cannot be divided");
    }

    #[test]
    fn all_threads_are_kept_apart_and_have_their_cores_back_even_when_measuring_fails() {
        let all = sched_getaffinity(None).unwrap();
        let Some(division) = divide(all) else { return };
        let (go, wait) = mpsc::sync_channel(0);
        let there_before = thread::spawn(move || {
            wait.recv().unwrap();
            let later = thread::spawn(|| sched_getaffinity(None).unwrap());
            let kept = (sched_getaffinity(None).unwrap(), later.join().unwrap());
            wait.recv().unwrap();
            wait.recv().unwrap();
            (kept, sched_getaffinity(None).unwrap())
        });
        let failed = division.keep(&[Process::new(std::process::id())], || {
            assert_eq!(sched_getaffinity(None).unwrap(), only(division.generator));
            go.send(()).unwrap();
            go.send(()).unwrap();
            Err::<(), _>("failed".into())
        });
        assert_eq!(failed.unwrap_err().to_string(), "failed");
        assert_eq!(sched_getaffinity(None).unwrap(), all);
        go.send(()).unwrap();
        let (kept, back) = there_before.join().unwrap();
        assert_eq!(kept, (division.relays, division.relays), "there before, and started later");
        assert_eq!(back, all);
    }
}
