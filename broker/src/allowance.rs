//! How much the clients of one authenticated name may publish: two buckets of tokens, without timers. They are told the
//! time.

use std::{collections::HashMap, sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::limits::{Limit, Limits};

/// What fits into a bucket: so much as comes in this time.
const BURST: Duration = Duration::from_secs(1);

/// Below so many names nobody looks for those that are not needed any more.
const FEW: usize = 64;

/// What one name may publish, shared by its connections. The rates are given with each question, since connections may
/// have begun under different limits.
#[derive(Debug, Default)]
pub struct Allowance {
    messages: Bucket,
    bytes: Bucket,
    told: bool,
}

/// Known by when it will be full again.
#[derive(Debug, Default)]
struct Bucket {
    full_at: Option<Instant>,
}

/// The allowances of all names that publish.
#[derive(Default)]
pub struct Allowances {
    by_name: Mutex<HashMap<Arc<str>, Arc<Mutex<Allowance>>>>,
}

impl Allowance {
    /// Whether these limits say anything.
    pub fn is_limited(limits: &Limits) -> bool {
        limits.publish_rate > 0 || limits.publish_bandwidth > 0
    }

    /// A PUBLISH of so many bytes came. It is paid for now, even if that is more than a bucket holds: the next one waits
    /// for longer.
    pub fn charge(&mut self, limits: &Limits, bytes: usize, now: Instant) {
        self.messages.take(time_of(1, limits.publish_rate.into()), now);
        self.bytes.take(time_of(bytes as u64, limits.publish_bandwidth), now);
    }

    /// When the next PUBLISH may come, and which limit says so; `None` if it may come now.
    pub fn held_until(&self, limits: &Limits, now: Instant) -> Option<(Instant, Limit)> {
        let messages = self.messages.has(time_of(1, limits.publish_rate.into()));
        let bytes = self.bytes.has(time_of(1, limits.publish_bandwidth));
        let messages = messages.map(|at| (at, Limit::PublishRate));
        let bytes = bytes.map(|at| (at, Limit::PublishBandwidth));
        messages.into_iter().chain(bytes).max_by_key(|(at, _)| *at).filter(|(at, _)| *at > now)
    }

    /// Whether it was not told yet that this name is held back.
    pub fn tell_once(&mut self) -> bool {
        !std::mem::replace(&mut self.told, true)
    }

    fn is_full(&self, now: Instant) -> bool {
        [&self.messages, &self.bytes].iter().all(|bucket| bucket.full_at.is_none_or(|at| at <= now))
    }
}

impl Allowances {
    /// The one of a name. It lasts as long as somebody has it or it is not full.
    pub fn of(&self, name: &Arc<str>, now: Instant) -> Arc<Mutex<Allowance>> {
        let mut by_name = self.by_name.lock();
        if by_name.len() >= FEW && by_name.len() == by_name.capacity() && !by_name.contains_key(name) {
            by_name.retain(|_, allowance| Arc::strong_count(allowance) > 1 || !allowance.lock().is_full(now));
        }
        Arc::clone(by_name.entry(Arc::clone(name)).or_default())
    }
}

impl Bucket {
    fn take(&mut self, time: Duration, now: Instant) {
        if !time.is_zero() {
            self.full_at = Some(self.full_at.map_or(now, |at| at.max(now)) + time);
        }
    }

    /// When it has as much as comes in this time; `None` if it always had.
    fn has(&self, time: Duration) -> Option<Instant> {
        let full_at = self.full_at.filter(|_| !time.is_zero())?;
        (full_at + time.min(BURST)).checked_sub(BURST)
    }
}

/// In which so much comes; zero if there is no limit.
fn time_of(count: u64, per_second: u64) -> Duration {
    const NANOS: u128 = 1_000_000_000;
    match (u128::from(count) * NANOS).checked_div(per_second.into()) {
        Some(nanos) => Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX)),
        None => Duration::ZERO,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(publish_rate: u32, publish_bandwidth: u64) -> Limits {
        Limits { publish_rate, publish_bandwidth, ..Limits::default() }
    }

    /// How many messages of this size pass until one is held back, and for how many milliseconds it is.
    fn pass(allowance: &mut Allowance, limits: &Limits, bytes: usize, now: Instant) -> (u32, u128, Limit) {
        let mut passed = 0;
        loop {
            if let Some((until, limit)) = allowance.held_until(limits, now) {
                return (passed, (until - now).as_millis(), limit);
            }
            allowance.charge(limits, bytes, now);
            passed += 1;
        }
    }

    #[test]
    fn a_second_s_worth_passes_at_once_and_then_as_much_as_the_rate_says() {
        let (mut allowance, limits, start) = (Allowance::default(), limits(10, 0), Instant::now());
        assert_eq!(pass(&mut allowance, &limits, 5_000, start), (10, 100, Limit::PublishRate));
        let later = start + Duration::from_millis(250);
        assert_eq!(pass(&mut allowance, &limits, 5_000, later), (2, 50, Limit::PublishRate));
        let much_later = start + Duration::from_secs(60);
        assert_eq!(pass(&mut allowance, &limits, 5_000, much_later), (10, 100, Limit::PublishRate));
    }

    #[test]
    fn bytes_count_too_and_a_large_message_passes_in_its_time() {
        let (mut allowance, limits, start) = (Allowance::default(), limits(1_000, 1_000), Instant::now());
        assert_eq!(pass(&mut allowance, &limits, 400, start), (3, 201, Limit::PublishBandwidth));
        let full = start + Duration::from_secs(60);
        assert_eq!(pass(&mut allowance, &limits, 10_000, full), (1, 9_001, Limit::PublishBandwidth));
        let again = full + Duration::from_millis(9_001);
        assert_eq!(pass(&mut allowance, &limits, 10_000, again).0, 1);
    }

    #[test]
    fn one_a_second_is_one_a_second() {
        let (mut allowance, limits, start) = (Allowance::default(), limits(1, 0), Instant::now());
        for second in 0..5 {
            let now = start + Duration::from_secs(second);
            assert_eq!(pass(&mut allowance, &limits, 1, now), (1, 1_000, Limit::PublishRate));
        }
    }

    #[test]
    fn no_limit_holds_nobody_back() {
        let (mut allowance, start) = (Allowance::default(), Instant::now());
        assert!(!Allowance::is_limited(&limits(0, 0)));
        for _ in 0..1_000 {
            allowance.charge(&limits(0, 0), 1_000_000, start);
        }
        assert_eq!(allowance.held_until(&limits(0, 0), start), None);
    }

    #[test]
    fn a_name_is_remembered_while_it_owes_and_forgotten_after() {
        let (allowances, start) = (Allowances::default(), Instant::now());
        let names = |from: usize| (from..from + 1_000).map(|number| Arc::from(number.to_string()));
        for name in names(0) {
            allowances.of(&name, start).lock().charge(&limits(1, 0), 1, start);
        }
        let name: Arc<str> = "7".into();
        assert!(allowances.of(&name, start).lock().held_until(&limits(1, 0), start).is_some());
        for name in names(1_000).chain(names(2_000)) {
            allowances.of(&name, start + Duration::from_secs(2));
        }
        assert!(allowances.by_name.lock().len() < 3_000, "who owes nothing is forgotten");
    }
}
