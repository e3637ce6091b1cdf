//! Who has to wait before the next password: an address where logins failed lately. Told the time.
//!
//! Only the address itself waits, so nobody is locked out because of somebody else's guesses at another one.

use std::{
    collections::HashMap,
    net::IpAddr,
    time::{Duration, Instant},
};

/// So many may fail before anybody waits.
const FREE: u32 = 3;
/// Longest time that an address waits.
const LONGEST: Duration = Duration::from_secs(60);
/// What failed is forgotten so long after the last time.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(15 * 60);
/// So many failures are told in a quarter of an hour, whoever they are of.
const TOLD: u32 = if cfg!(test) { 16 } else { 100 };
/// So many addresses are remembered.
const REMEMBERED: usize = if cfg!(test) { 8 } else { 1_024 };
/// How long whoever tries at an address waits while another one is trying there.
const ONE_AT_A_TIME: Duration = Duration::from_secs(1);

/// An IPv4 address, or the /64 of an IPv6 address: whoever has one address of it has all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(in crate::web) struct Network(u128);

/// Counts logins that fail, by address.
#[derive(Default)]
pub(super) struct Delays {
    tries: HashMap<Network, Tries>,
    /// How many failures were told, and since when.
    told: Option<(Instant, u32)>,
}

#[derive(Clone, Copy)]
struct Tries {
    failed: u32,
    last: Instant,
    /// One is being verified.
    is_trying: bool,
}

impl From<IpAddr> for Network {
    fn from(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => Self(address.to_ipv6_mapped().to_bits()),
            IpAddr::V6(address) => Self(address.to_bits() >> 64 << 64),
        }
    }
}

impl Delays {
    /// A password arrived from there. It is not looked at before [`Delays::end_well`] or [`Delays::end_badly`] were told of the
    /// one before.
    ///
    /// # Errors
    /// The address has to wait for so long.
    pub(super) fn begin(&mut self, network: Network, now: Instant) -> Result<(), Duration> {
        let (failed, last) = match self.tries.get(&network) {
            Some(tries) if tries.is_trying => return Err(ONE_AT_A_TIME),
            Some(tries) if tries.is_remembered(now) => {
                let waited = now.saturating_duration_since(tries.last);
                let left = delay(tries.failed).saturating_sub(waited);
                if !left.is_zero() {
                    return Err(left);
                }
                (tries.failed, tries.last)
            }
            Some(_) => (0, now),
            None => self.make_room(now).map(|()| (0, now))?,
        };
        self.tries.insert(network, Tries { failed, last, is_trying: true });
        Ok(())
    }

    /// It was right, or was not looked at. What failed before is not forgotten: a right login does not help whoever guesses at
    /// the same address.
    pub(super) fn end_well(&mut self, network: Network) {
        match self.tries.get_mut(&network) {
            Some(tries) if tries.failed > 0 => tries.is_trying = false,
            _ => drop(self.tries.remove(&network)),
        }
    }

    /// It was wrong: how often it was so at this address, if that is worth telling. It is when it begins, and each time that it
    /// has doubled, as long as not too much was told lately.
    pub(super) fn end_badly(&mut self, network: Network, now: Instant) -> Option<u32> {
        let tries = self.tries.entry(network).or_insert(Tries { failed: 0, last: now, is_trying: true });
        tries.failed = tries.failed.saturating_add(1);
        tries.last = now;
        tries.is_trying = false;
        let failed = tries.failed;
        (failed.is_power_of_two() && self.may_tell(now)).then_some(failed)
    }

    fn may_tell(&mut self, now: Instant) -> bool {
        let recent = self.told.filter(|(since, _)| now.saturating_duration_since(*since) < FORGOTTEN_AFTER);
        let (since, told) = recent.unwrap_or((now, 0));
        self.told = Some((since, (told + 1).min(TOLD)));
        told < TOLD
    }

    /// When all places are taken, the one that failed least often, and of those the one whose last failure is longest ago,
    /// makes room.
    fn make_room(&mut self, now: Instant) -> Result<(), Duration> {
        if self.tries.len() < REMEMBERED {
            return Ok(());
        }
        self.tries.retain(|_, tries| tries.is_trying || tries.is_remembered(now));
        if self.tries.len() < REMEMBERED {
            return Ok(());
        }
        let idle = self.tries.iter().filter(|(_, tries)| !tries.is_trying);
        let least = idle.min_by_key(|(_, tries)| (tries.failed, tries.last)).map(|(network, _)| *network);
        self.tries.remove(&least.ok_or(ONE_AT_A_TIME)?);
        Ok(())
    }
}

impl Tries {
    fn is_remembered(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.last) < FORGOTTEN_AFTER
    }
}

fn delay(failed: u32) -> Duration {
    let Some(doublings) = failed.checked_sub(FREE) else { return Duration::ZERO };
    let seconds = 1_u64.checked_shl(doublings).unwrap_or(u64::MAX);
    Duration::from_secs(seconds).min(LONGEST)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    struct World {
        delays: Delays,
        now: Instant,
    }

    impl World {
        fn new() -> Self {
            Self { delays: Delays::default(), now: Instant::now() }
        }

        /// How many seconds the address has to wait before it may try; then it tries a wrong password.
        fn fail(&mut self, address: &str) -> u64 {
            let wait = self.wait(address);
            self.now += Duration::from_secs(wait);
            self.delays.begin(network(address), self.now).unwrap();
            self.delays.end_badly(network(address), self.now);
            wait
        }

        fn succeed(&mut self, address: &str) -> Result<(), Duration> {
            self.delays.begin(network(address), self.now)?;
            self.delays.end_well(network(address));
            Ok(())
        }

        /// In seconds; changes nothing that matters.
        fn wait(&mut self, address: &str) -> u64 {
            self.succeed(address).err().unwrap_or_default().as_secs()
        }
    }

    fn network(address: &str) -> Network {
        Network::from(address.parse::<IpAddr>().unwrap())
    }

    #[test]
    fn each_failure_costs_twice_as_much_as_the_one_before() {
        let mut world = World::new();
        let waits: Vec<u64> = (0..12).map(|_| world.fail("192.0.2.1")).collect();
        assert_eq!(waits, [0, 0, 0, 1, 2, 4, 8, 16, 32, 60, 60, 60]);
        for _ in 0..100 {
            assert_eq!(world.fail("192.0.2.1"), 60);
        }
    }

    #[test]
    fn other_addresses_do_not_wait() {
        let mut world = World::new();
        for _ in 0..8 {
            world.fail("192.0.2.1");
            world.fail("2001:db8:1:1::1");
        }
        assert_eq!(world.succeed("192.0.2.2"), Ok(()));
        assert_eq!(world.succeed("2001:db8:1:2::1"), Ok(()));
        assert!(world.succeed("2001:db8:1:1:ffff::2").is_err(), "the same /64");
        assert!(world.succeed("::ffff:192.0.2.1").is_err(), "the same address");
    }

    #[test]
    fn a_right_one_is_taken_once_the_wait_is_over_and_makes_nothing_forgotten() {
        let mut world = World::new();
        for _ in 0..5 {
            world.fail("192.0.2.1");
        }
        assert_eq!(world.succeed("192.0.2.1"), Err(Duration::from_secs(4)));
        world.now += Duration::from_secs(4);
        assert_eq!(world.succeed("192.0.2.1"), Ok(()));
        assert_eq!(world.succeed("192.0.2.1"), Ok(()), "whoever knows it may log in again");
        world.fail("192.0.2.1");
        assert_eq!(world.wait("192.0.2.1"), 8);
    }

    #[test]
    fn it_is_forgotten_a_while_after_the_last_failure() {
        let mut world = World::new();
        for _ in 0..5 {
            world.fail("192.0.2.1");
        }
        world.now += FORGOTTEN_AFTER;
        let waits: Vec<u64> = (0..4).map(|_| world.fail("192.0.2.1")).collect();
        assert_eq!(waits, [0, 0, 0, 1]);
    }

    #[test]
    fn what_is_told_is_bounded() {
        let mut world = World::new();
        let mut told = |address: &str, now| {
            world
                .delays
                .begin(network(address), now)
                .ok()
                .and_then(|()| world.delays.end_badly(network(address), now))
        };
        let now = world.now;
        let minute = |minutes: u32| now + Duration::from_secs(60) * minutes;
        let of_one: Vec<_> = (0..9).filter_map(|number| told("192.0.2.1", minute(number))).collect();
        assert_eq!(of_one, [1, 2, 4, 8]);
        let of_many = (0..100).filter_map(|number| told(&format!("198.51.100.{number}"), minute(10))).count();
        assert_eq!(of_many, TOLD as usize - 4);
        assert_eq!(told("203.0.113.1", minute(15)), Some(1), "a while later it is told again");
    }

    #[test]
    fn an_address_has_one_try_at_a_time() {
        let mut world = World::new();
        let (one, other) = (network("192.0.2.1"), network("192.0.2.2"));
        world.delays.begin(one, world.now).unwrap();
        assert_eq!(world.delays.begin(one, world.now), Err(ONE_AT_A_TIME));
        assert_eq!(world.delays.begin(other, world.now), Ok(()));
        world.delays.end_badly(one, world.now);
        assert_eq!(world.delays.begin(one, world.now), Ok(()));
    }

    #[test]
    fn what_is_remembered_is_bounded_and_who_failed_most_is_kept() {
        let mut world = World::new();
        for _ in 0..5 {
            world.fail("192.0.2.1");
        }
        for number in 0..100 {
            assert_eq!(world.fail(&format!("198.51.100.{number}")), 0);
            assert!(world.delays.tries.len() <= REMEMBERED);
        }
        assert_eq!(world.wait("192.0.2.1"), 4);
        let mut delays = Delays::default();
        for number in 0..REMEMBERED {
            delays.begin(network(&format!("192.0.2.{number}")), world.now).unwrap();
        }
        assert_eq!(delays.begin(network("192.0.2.99"), world.now), Err(ONE_AT_A_TIME), "all are at it");
    }
}
