//! How whoever takes rights away knows that nobody acts on an older answer any more.

use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::{RwLock, RwLockReadGuard};

/// Threads have one of so many places each, so that those that enter do not get in each other's way.
const PLACES: usize = 64;

/// Whoever asks a grant, or who wants a topic, and then acts on the answer does both inside. Once rights have changed,
/// [`Grace::pass`] waits until all who may have heard the old answer have acted on it: from then on every answer is the new
/// one.
///
/// Entering costs an uncontended atomic operation. Nobody waits inside, neither for a task nor for the store.
#[derive(Debug)]
pub struct Grace {
    places: Box<[Place]>,
}

/// In cache lines of its own.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Place(RwLock<()>);

/// Someone is inside. It cannot be held across an `await` of a task that may change its thread.
pub type Inside<'a> = RwLockReadGuard<'a, ()>;

thread_local! {
    static PLACE: usize = {
        static THREADS: AtomicUsize = AtomicUsize::new(0);
        THREADS.fetch_add(1, Ordering::Relaxed) % PLACES
    };
}

impl Grace {
    /// With nobody inside.
    pub fn new() -> Self {
        Self { places: (0..PLACES).map(|_| Place::default()).collect() }
    }

    /// Enters until the result is dropped. Whoever is inside may enter again.
    pub fn enter(&self) -> Inside<'_> {
        // Recursive: a thread that is inside must not wait for one that waits for it.
        PLACE.with(|place| self.places[*place].0.read_recursive())
    }

    /// Waits until everybody who is inside has left. Whoever enters later is not waited for. The caller must not be inside.
    pub fn pass(&self) {
        for place in &self.places {
            drop(place.0.write());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::{Arc, Barrier, atomic::AtomicBool},
        thread,
    };

    use super::*;

    #[test]
    fn whoever_was_inside_has_left_when_it_has_passed() {
        for _ in 0..200 {
            let (grace, inside) = (Arc::new(Grace::new()), Arc::new(Barrier::new(2)));
            let has_acted = Arc::new(AtomicBool::new(false));
            let actor = thread::spawn({
                let (grace, inside, has_acted) =
                    (Arc::clone(&grace), Arc::clone(&inside), Arc::clone(&has_acted));
                move || {
                    let _outer = grace.enter();
                    inside.wait();
                    thread::yield_now();
                    let _inner = grace.enter();
                    has_acted.store(true, Ordering::Relaxed);
                }
            });
            inside.wait();
            grace.pass();
            assert!(has_acted.load(Ordering::Relaxed));
            assert!(actor.join().is_ok());
        }
    }
}
