//! The monotonic clock, the generator's own processor time and a precise timer.

use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::time::{
    ClockId, Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, clock_gettime,
    timerfd_create, timerfd_settime,
};

use crate::Result;

/// Nanoseconds on the monotonic clock.
pub(crate) fn now() -> u64 {
    nanoseconds(clock_gettime(ClockId::Monotonic))
}

/// Processor time of the calling thread.
pub(crate) fn thread_time() -> Duration {
    Duration::from_nanos(nanoseconds(clock_gettime(ClockId::ThreadCPUTime)))
}

/// A timer that expires at `start` on the monotonic clock and then every `interval`, both in nanoseconds.
/// epoll's own time-out has a resolution of a millisecond, too coarse to pace messages.
pub(crate) fn timer(start: u64, interval: u64) -> Result<OwnedFd> {
    let timer = timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC)?;
    let schedule = Itimerspec { it_value: timespec(start)?, it_interval: timespec(interval)? };
    timerfd_settime(&timer, TimerfdTimerFlags::ABSTIME, &schedule)?;
    Ok(timer)
}

fn nanoseconds(time: Timespec) -> u64 {
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

fn timespec(nanoseconds: u64) -> Result<Timespec> {
    let time = Duration::from_nanos(nanoseconds);
    Ok(Timespec { tv_sec: time.as_secs().try_into()?, tv_nsec: time.subsec_nanos().into() })
}
