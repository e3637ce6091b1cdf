//! Places for connections, of which no address has all: whoever holds connections without asking anything keeps nobody else out.

use std::{collections::HashMap, net::IpAddr, sync::Arc};

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::auth::Network;

/// All of them.
pub(super) struct Places {
    free: Arc<Semaphore>,
    /// How many an address may have.
    share: usize,
    taken: Mutex<HashMap<Network, usize>>,
}

/// A place that is nobody's yet.
pub(super) struct Free(OwnedSemaphorePermit);

/// The place of one connection; free again when this is dropped.
pub(super) struct Place {
    _permit: OwnedSemaphorePermit,
    network: Network,
    places: Arc<Places>,
}

impl Places {
    /// So many, of which an address may have half.
    pub(super) fn new(all: usize) -> Arc<Self> {
        Arc::new(Self { free: Arc::new(Semaphore::new(all)), share: all / 2, taken: Mutex::default() })
    }

    /// Waits for a place.
    pub(super) async fn free(&self) -> Option<Free> {
        Arc::clone(&self.free).acquire_owned().await.ok().map(Free)
    }

    /// Gives it to a connection from there; `None` if its address has its share already.
    pub(super) fn take(self: &Arc<Self>, free: Free, address: IpAddr) -> Option<Place> {
        let network = Network::from(address);
        let mut taken = self.taken.lock();
        let count = taken.entry(network).or_default();
        if *count >= self.share {
            return None;
        }
        *count += 1;
        Some(Place { _permit: free.0, network, places: Arc::clone(self) })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.taken.lock();
        match taken.get_mut(&self.network) {
            Some(count) if *count > 1 => *count -= 1,
            _ => drop(taken.remove(&self.network)),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[tokio::test]
    async fn an_address_has_half_of_the_places_at_most() {
        let places = Places::new(4);
        let take = async |address: &str| {
            let free = places.free().await.unwrap();
            places.take(free, address.parse().unwrap())
        };
        let first = take("2001:db8::1").await;
        let second = take("2001:db8::2").await;
        assert!(first.is_some() && second.is_some());
        assert!(take("2001:db8::3").await.is_none());
        let other = take("192.0.2.1").await;
        assert!(other.is_some());
        drop(first);
        assert!(take("2001:db8::3").await.is_some());
        drop((second, other));
        assert!(places.taken.lock().is_empty());
        assert_eq!(places.free.available_permits(), 4);
    }
}
