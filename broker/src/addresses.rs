//! How many connections each address has.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap},
    net::IpAddr,
    sync::Arc,
};

use parking_lot::Mutex;
use tokio::time::Instant;

/// So many places stay taken after their connections have ended; beyond it the one that would be free first is.
const OUTLASTING: usize = if cfg!(test) { 2 } else { 65_536 };

/// An IPv4 address, or the /64 of an IPv6 address: whoever has one address of it has all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Network(u128);

/// Counts the connections of each address, logged in or not. Told the time.
#[derive(Default)]
pub struct Addresses {
    taken: Mutex<Taken>,
}

#[derive(Default)]
struct Taken {
    by_network: HashMap<Network, usize>,
    /// Those without a connection, and when they are free.
    outlasting: BinaryHeap<Reverse<(Instant, Network)>>,
}

/// The place of one connection. Free again when it is dropped, or later if that was asked for.
pub struct AddressPlace {
    addresses: Arc<Addresses>,
    network: Network,
    until: Mutex<Option<Instant>>,
}

impl From<IpAddr> for Network {
    fn from(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => Self(address.to_ipv6_mapped().to_bits()),
            IpAddr::V6(address) => Self(address.to_bits() >> 64 << 64),
        }
    }
}

impl Addresses {
    /// A connection arrived: its place, unless its address has `most` already. With 0 there is always one.
    pub fn enter(self: &Arc<Self>, address: IpAddr, most: usize, now: Instant) -> Option<AddressPlace> {
        let network = Network::from(address);
        let mut taken = self.taken.lock();
        taken.free_until(now);
        let count = taken.by_network.entry(network).or_default();
        if most > 0 && *count >= most {
            return None;
        }
        *count += 1;
        Some(AddressPlace { addresses: Arc::clone(self), network, until: Mutex::new(None) })
    }

    /// How many places are taken.
    #[cfg(test)]
    pub fn taken(&self, now: Instant) -> usize {
        let mut taken = self.taken.lock();
        taken.free_until(now);
        taken.by_network.values().sum()
    }
}

impl AddressPlace {
    /// Whose it is.
    pub fn network(&self) -> Network {
        self.network
    }

    /// It stays taken until then, also if the connection ends before.
    pub fn keep_until(&self, until: Instant) {
        *self.until.lock() = Some(until);
    }
}

impl Drop for AddressPlace {
    fn drop(&mut self) {
        let mut taken = self.addresses.taken.lock();
        match self.until.get_mut().take() {
            None => taken.free(self.network),
            Some(until) => taken.outlast(self.network, until),
        }
    }
}

impl Taken {
    fn free(&mut self, network: Network) {
        if let Some(count) = self.by_network.get_mut(&network) {
            *count -= 1;
            if *count == 0 {
                self.by_network.remove(&network);
            }
        }
    }

    fn free_until(&mut self, now: Instant) {
        while let Some(Reverse((until, network))) = self.outlasting.peek().copied()
            && until <= now
        {
            self.outlasting.pop();
            self.free(network);
        }
    }

    fn outlast(&mut self, network: Network, until: Instant) {
        self.outlasting.push(Reverse((until, network)));
        if self.outlasting.len() > OUTLASTING
            && let Some(Reverse((_, first))) = self.outlasting.pop()
        {
            self.free(first);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::time::Duration;

    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn an_ipv4_address_and_an_ipv6_64_count_for_themselves() {
        let network = |text| Network::from(address(text));
        assert_eq!(network("10.0.0.1"), network("::ffff:10.0.0.1"));
        assert_ne!(network("10.0.0.1"), network("10.0.0.2"));
        assert_eq!(network("2001:db8:1:2::1"), network("2001:db8:1:2:ffff::9"));
        assert_ne!(network("2001:db8:1:2::1"), network("2001:db8:1:3::1"));
        assert_ne!(network("0.0.0.0"), network("::1"));
    }

    #[test]
    fn an_address_has_as_many_places_as_allowed_and_others_have_their_own() {
        let (addresses, now) = (Arc::new(Addresses::default()), Instant::now());
        let (one, other) = (address("10.0.0.1"), address("10.0.0.2"));
        let first = addresses.enter(one, 2, now).unwrap();
        let _second = addresses.enter(one, 2, now).unwrap();
        assert!(addresses.enter(one, 2, now).is_none());
        let _others = addresses.enter(other, 2, now).unwrap();
        assert!(addresses.enter(one, 3, now).is_some(), "another limit holds at once");
        drop(first);
        assert!(addresses.enter(one, 2, now).is_some());
        let many: Vec<_> = (0..10).map(|_| addresses.enter(one, 0, now).unwrap()).collect();
        assert_eq!(addresses.taken(now), 12);
        drop(many);
        assert_eq!(addresses.taken(now), 2);
    }

    #[test]
    fn a_place_may_outlast_its_connection() {
        let (addresses, start) = (Arc::new(Addresses::default()), Instant::now());
        let (one, later) = (address("10.0.0.1"), start + Duration::from_secs(8));
        let place = addresses.enter(one, 1, start).unwrap();
        place.keep_until(later);
        drop(place);
        assert!(addresses.enter(one, 1, later - Duration::from_millis(1)).is_none());
        assert!(addresses.enter(one, 1, later).is_some());
        assert!(addresses.taken.lock().by_network.is_empty(), "nothing is remembered of who has left");
    }

    #[test]
    fn places_without_a_connection_are_bounded() {
        let (addresses, start) = (Arc::new(Addresses::default()), Instant::now());
        for (number, seconds) in [30, 8, 20, 25].into_iter().enumerate() {
            let place = addresses.enter(address(&format!("10.0.0.{number}")), 1, start).unwrap();
            place.keep_until(start + Duration::from_secs(seconds));
        }
        assert_eq!(addresses.taken(start), OUTLASTING);
        assert!(addresses.enter(address("10.0.0.0"), 1, start).is_none(), "it would be free last");
    }
}
