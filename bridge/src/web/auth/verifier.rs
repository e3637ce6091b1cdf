//! Where passwords are hashed: one at a time, since each takes 19 MiB and a whole core for a while.

use std::sync::Arc;

use tokio::{sync::Semaphore, task::spawn_blocking};

/// So many may wait for their turn.
const WAITING: usize = 32;

/// Has slow work done by one thread at a time.
pub(super) struct Verifier {
    turn: Arc<Semaphore>,
    places: Arc<Semaphore>,
}

/// Too many wait already.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Busy;

impl Default for Verifier {
    fn default() -> Self {
        Self { turn: Arc::new(Semaphore::new(1)), places: Arc::new(Semaphore::new(WAITING)) }
    }
}

impl Verifier {
    /// When it is its turn.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Busy> {
        let place = Arc::clone(&self.places).try_acquire_owned().map_err(|_| Busy)?;
        let turn = Arc::clone(&self.turn).acquire_owned().await.map_err(|_| Busy)?;
        let worked = spawn_blocking(move || {
            // It is the next one's turn when this is done, not when nobody waits for it any more.
            let _held = (place, turn);
            work()
        });
        worked.await.map_err(|_| Busy)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::sync::oneshot;

    use super::*;

    #[tokio::test]
    async fn one_works_some_wait_and_further_ones_are_refused() {
        let verifier = Arc::new(Verifier::default());
        let at_once = Arc::new(AtomicUsize::new(0));
        let (go_on, wait) = oneshot::channel::<()>();
        let first = tokio::spawn({
            let verifier = Arc::clone(&verifier);
            async move { verifier.run(move || wait.blocking_recv()).await }
        });
        while verifier.turn.available_permits() > 0 {
            tokio::task::yield_now().await;
        }
        let others: Vec<_> = (1..WAITING)
            .map(|_| {
                let (verifier, at_once) = (Arc::clone(&verifier), Arc::clone(&at_once));
                tokio::spawn(async move {
                    verifier
                        .run(move || {
                            assert_eq!(at_once.fetch_add(1, Ordering::SeqCst), 0);
                            at_once.fetch_sub(1, Ordering::SeqCst);
                        })
                        .await
                })
            })
            .collect();
        while verifier.places.available_permits() > 0 {
            tokio::task::yield_now().await;
        }
        assert_eq!(verifier.run(|| ()).await, Err(Busy));
        go_on.send(()).unwrap();
        assert!(first.await.unwrap().unwrap().is_ok());
        for other in others {
            assert_eq!(other.await.unwrap(), Ok(()));
        }
        assert_eq!(verifier.run(|| 7).await, Ok(7));
    }
}
