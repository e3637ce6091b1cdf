//! Who tries to guess passwords: how often logins failed lately, of each address and with each User Name, and how long
//! the answer to the next one that fails waits.
//!
//! A right password is never delayed, so nobody is locked out because of somebody else's guesses; and it makes nothing
//! forgotten, so a device at the attacker's address does not help him. Names that do not exist count like any other.

use std::{
    collections::HashMap,
    hash::{BuildHasher, RandomState},
    time::Duration,
};

use tokio::time::Instant;

use crate::{addresses::Network, limits::Limits};

/// What failed is forgotten so long after the last time.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(15 * 60);

/// So many addresses, and so many names, are remembered: few enough to look through all of them at every failure.
const REMEMBERED: usize = if cfg!(test) { 8 } else { 1_024 };

/// Counts logins that fail. Without sockets; told the time.
#[derive(Default)]
pub struct Guesses {
    of_networks: Failures,
    of_names: Failures,
    /// Names are remembered by their hash: they are as long as strangers like. Nobody knows its key.
    hasher: RandomState,
}

#[derive(Default)]
struct Failures {
    by_key: HashMap<u64, Failed>,
}

#[derive(Clone, Copy)]
struct Failed {
    times: u32,
    last: Instant,
}

impl Guesses {
    /// A login failed because of its User Name or Password: how long its answer waits. Zero for the first ones.
    pub fn handle_failure(
        &mut self,
        network: Network,
        user_name: Option<&str>,
        limits: &Limits,
        now: Instant,
    ) -> Duration {
        let of_network = self.of_networks.count(self.hasher.hash_one(network), now);
        let of_name = user_name.map_or(0, |name| self.of_names.count(self.hasher.hash_one(name), now));
        delay(of_network.max(of_name), limits)
    }
}

impl Failures {
    /// Counts one more: how many there are. When all places are taken, the one that failed least often, and of those the
    /// one whose last failure is longest ago, makes room for the new one, which takes its count over: so whoever wants
    /// to have his own record forgotten has to make every other one as high.
    fn count(&mut self, key: u64, now: Instant) -> u32 {
        let known = self.by_key.get(&key).filter(|failed| failed.is_remembered(now));
        let times = match known {
            Some(failed) => failed.times,
            None => self.make_room(now),
        };
        let failed = Failed { times: times.saturating_add(1), last: now };
        self.by_key.insert(key, failed);
        failed.times
    }

    fn make_room(&mut self, now: Instant) -> u32 {
        if self.by_key.len() < REMEMBERED {
            return 0;
        }
        self.by_key.retain(|_, failed| failed.is_remembered(now));
        if self.by_key.len() < REMEMBERED {
            return 0;
        }
        let least = self.by_key.iter().min_by_key(|(_, failed)| (failed.times, failed.last));
        let Some((&key, &Failed { times, .. })) = least else { return 0 };
        self.by_key.remove(&key);
        times
    }
}

impl Failed {
    fn is_remembered(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.last) < FORGOTTEN_AFTER
    }
}

fn delay(failures: u32, limits: &Limits) -> Duration {
    let Some(doublings) = failures.checked_sub(limits.failed_logins.saturating_add(1)) else {
        return Duration::ZERO;
    };
    let seconds = 1_u64.checked_shl(doublings).unwrap_or(u64::MAX);
    Duration::from_secs(seconds).min(limits.failed_login_delay_max)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::net::IpAddr;

    use super::*;

    struct World {
        guesses: Guesses,
        limits: Limits,
        now: Instant,
    }

    impl World {
        fn new() -> Self {
            Self { guesses: Guesses::default(), limits: Limits::default(), now: Instant::now() }
        }

        /// The delay in seconds.
        fn fail(&mut self, address: u32, name: &str) -> u64 {
            let network = Network::from(IpAddr::from(address.to_be_bytes()));
            self.guesses.handle_failure(network, Some(name), &self.limits, self.now).as_secs()
        }
    }

    #[test]
    fn the_first_failures_cost_nothing_and_then_each_costs_twice_as_much() {
        let mut world = World::new();
        let delays: Vec<u64> = (0..12).map(|_| world.fail(1, "a")).collect();
        assert_eq!(delays, [0, 0, 0, 0, 0, 1, 2, 4, 8, 16, 30, 30]);
        world.limits.failed_login_delay_max = Duration::from_secs(600);
        assert_eq!(world.fail(1, "a"), 128);
        for _ in 0..100 {
            world.fail(1, "a");
        }
        assert_eq!(world.fail(1, "a"), 600);
        world.limits.failed_login_delay_max = Duration::ZERO;
        assert_eq!(world.fail(1, "a"), 0);
    }

    #[test]
    fn an_address_with_many_names_and_a_name_from_many_addresses_are_both_slow() {
        let mut world = World::new();
        let spraying: Vec<u64> = (0..7).map(|n| world.fail(1, &format!("name {n}"))).collect();
        assert_eq!(spraying, [0, 0, 0, 0, 0, 1, 2]);
        let distributed: Vec<u64> = (10..17).map(|address| world.fail(address, "name")).collect();
        assert_eq!(distributed, [0, 0, 0, 0, 0, 1, 2]);
        assert_eq!(world.fail(99, "another name"), 0, "others are not concerned");
    }

    #[test]
    fn it_is_forgotten_a_while_after_the_last_failure() {
        let mut world = World::new();
        for _ in 0..6 {
            world.fail(1, "a");
        }
        world.now += FORGOTTEN_AFTER - Duration::from_millis(1);
        assert_eq!(world.fail(1, "a"), 2);
        world.now += FORGOTTEN_AFTER;
        assert_eq!(world.fail(1, "a"), 0);
    }

    #[test]
    fn what_is_remembered_is_bounded_and_old_records_go_first() {
        let mut world = World::new();
        for number in 0..100 {
            world.fail(number, &number.to_string());
        }
        assert_eq!(world.guesses.of_networks.by_key.len(), REMEMBERED);
        assert_eq!(world.guesses.of_names.by_key.len(), REMEMBERED);
        world.now += FORGOTTEN_AFTER;
        assert_eq!(world.fail(1_000, "new"), 0);
        assert_eq!(world.guesses.of_names.by_key.len(), 1);
    }

    #[test]
    fn nobody_erases_his_record_cheaply() {
        let mut world = World::new();
        let before = (0..9).map(|_| world.fail(1, "victim")).last().unwrap();
        // As many others as there is room for, again and again, but fewer times each.
        for address in 100..100 + REMEMBERED as u32 * 6 {
            world.fail(address, &address.to_string());
        }
        assert_eq!(world.fail(1, "victim"), 2 * before);
        // Whoever crowds others out is not better off for it.
        assert!(world.fail(9_999, "new") > 0);
    }
}
