//! A disk that is full, fails or is slow.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::{
    disk::{Disk, Faults},
    figures::many,
    *,
};
use crate::store::{verify::verify_at, writer::Tuning};

const TUNING: Tuning = Tuning { log_pages: 200, reopen_after: Duration::from_millis(1) };

/// A store on a disk, and what was said about its health.
struct Patient {
    disk: Disk,
    store: Store,
    said: Arc<Mutex<Vec<Health>>>,
}

impl Patient {
    fn new() -> Self {
        Self::with(TUNING)
    }

    fn with(tuning: Tuning) -> Self {
        let disk = Disk::new();
        let said = Arc::new(Mutex::new(Vec::new()));
        let hear = Arc::clone(&said);
        let (store, _) = Store::open_at(
            Arc::new(disk.clone()),
            Durability::Fsync,
            tuning,
            Arc::new(move |health: &Health| hear.lock().push(health.clone())),
        )
        .unwrap();
        submit(&store, vec![session(1)]).unwrap();
        Self { disk, store, said }
    }

    fn has(&self, faults: Faults) {
        self.disk.set_faults(faults);
    }

    fn load(&self) -> Result<Loaded, StoreError> {
        wait(|done| self.store.load(everything(1), move |loaded| done.send(loaded).unwrap()))
    }

    fn wait_until_fine(&self) {
        let begun = Instant::now();
        while self.store.health() != Health::Fine || self.said.lock().last() != Some(&Health::Fine) {
            assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", self.store.health());
            std::thread::yield_now();
        }
    }

    /// What another process would find.
    fn sequences_after_restart(self) -> Vec<Sequence> {
        self.store.close();
        let found = verify_at(&self.disk).unwrap();
        assert!(found.is_whole(), "{found:?}");
        let (store, _) =
            Store::open_at(Arc::new(self.disk.clone()), Durability::Fsync, TUNING, Arc::new(|_: &Health| {}))
                .unwrap();
        let loaded =
            wait(|done| store.load(everything(1), move |loaded| done.send(loaded).unwrap())).unwrap();
        store.close();
        sequences(&loaded.messages)
    }
}

/// Submits until something is refused: how many were not, and the refusal.
fn fill(patient: &Patient) -> (Sequence, StoreError) {
    for sequence in 1..10_000 {
        if let Err(error) = submit(&patient.store, vec![enqueue(1, sequence)]) {
            return (sequence - 1, error);
        }
    }
    panic!("there is always room");
}

#[test]
fn a_full_disk_refuses_and_recovers_by_itself() {
    let patient = Patient::new();
    patient.has(Faults { capacity: Some(patient.disk.used() + 30_000), ..Faults::default() });
    let (kept, error) = fill(&patient);
    assert!(kept > 5, "{kept}");
    assert_eq!(error, StoreError::Full);
    assert_eq!(submit(&patient.store, vec![enqueue(1, kept + 1)]), Err(StoreError::Full));
    assert_eq!(patient.load().unwrap().messages.len() as u64, kept);
    assert!(matches!(patient.store.health(), Health::Failing(_)));
    // Nobody would try these again.
    patient.store.submit(vec![Change::Forget { slot: 1, sequence: 1 }], None);
    patient.store.submit(vec![Change::Enqueue { slot: 1, message: queued(5_000, &[1; 400_000]) }], None);
    assert_eq!(submit(&patient.store, vec![enqueue(1, kept + 1)]), Err(StoreError::Full));
    assert!(patient.store.statistics().owed > 0);
    // What is in the queue can be taken from it, though the end of it is owed.
    let part = LoadRequest { below: 100, ..everything(1) };
    let load = |request| wait(|done| patient.store.load(request, move |loaded| done.send(loaded).unwrap()));
    assert_eq!(load(part), Err(StoreError::Full));

    patient.has(Faults::default());

    patient.wait_until_fine();
    assert_eq!(patient.store.statistics().owed, 0);
    let said = patient.said.lock().clone();
    assert!(
        matches!(&said[..], [Health::Failing(_), .., Health::Fine]) && said.len().is_multiple_of(2),
        "{said:?}"
    );
    submit(&patient.store, vec![enqueue(1, kept + 1)]).unwrap();
    let expected: Vec<_> = (2..=kept + 1).chain([5_000]).collect();
    assert_eq!(patient.sequences_after_restart(), expected);
}

/// Regression: a retained message that could not be kept was retained in memory all the same, and after a restart the one
/// before was back.
#[test]
fn a_retained_message_that_could_not_be_kept_at_once_is_kept_in_the_end() {
    let patient = Patient::new();
    let retain = |payload: &[u8]| Change::Retain { message: message("t", payload), owner: "o".into() };
    submit(&patient.store, vec![retain(b"before")]).unwrap();
    patient.has(Faults { capacity: Some(patient.disk.used() + 30_000), ..Faults::default() });
    fill(&patient);
    assert_eq!(submit(&patient.store, vec![retain(&[b'x'; 40_000])]), Err(StoreError::Full));
    patient.has(Faults::default());
    // Even if there is no time for another attempt.
    patient.store.close();
    let (store, contents) =
        Store::open_at(Arc::new(patient.disk.clone()), Durability::Fsync, TUNING, Arc::new(|_: &Health| {}))
            .unwrap();
    store.close();
    let payloads: Vec<_> = contents.retained.iter().map(|(message, _)| message.payload().len()).collect();
    assert_eq!(payloads, [40_000]);
}

#[test]
fn a_full_disk_can_be_read_without_what_is_owed_to_be_forgotten() {
    let patient = Patient::new();
    patient.has(Faults { capacity: Some(patient.disk.used() + 30_000), ..Faults::default() });
    let (kept, _) = fill(&patient);
    // Another session is owed something that does not fit.
    patient.store.submit(vec![Change::Enqueue { slot: 2, message: queued(1, &[1; 400_000]) }], None);
    let forget = |sequence| Change::Forget { slot: 1, sequence };
    patient.store.submit(vec![forget(1), forget(3)], None);
    let expected: Vec<_> = (1..=kept).filter(|sequence| ![1, 3].contains(sequence)).collect();
    assert_eq!(sequences(&patient.load().unwrap().messages), expected);
    assert!(matches!(patient.store.health(), Health::Failing(_)));
}

#[test]
fn a_full_disk_without_anything_owed_is_noticed_to_have_room_again() {
    let patient = Patient::new();
    patient.has(Faults { capacity: Some(patient.disk.used() + 30_000), ..Faults::default() });
    fill(&patient);
    patient.has(Faults::default());
    patient.wait_until_fine();
}

#[test]
fn a_device_that_fails_refuses_and_recovers_by_itself() {
    for faults in [Faults { writes: true, ..Faults::default() }, Faults { syncs: true, ..Faults::default() }]
    {
        let patient = Patient::new();
        submit(&patient.store, vec![enqueue(1, 1)]).unwrap();
        patient.has(faults);
        for _ in 0..3 {
            let refused = submit(&patient.store, vec![enqueue(1, 2)]);
            assert!(matches!(refused, Err(StoreError::Failed(_))), "{refused:?}");
        }
        assert!(patient.load().is_err());
        patient.store.submit(vec![Change::Forget { slot: 1, sequence: 1 }], None);
        patient.store.submit_lazily(enqueue(1, 3));

        patient.has(Faults::default());

        patient.wait_until_fine();
        let said = patient.said.lock().clone();
        assert!(matches!(&said[..], [Health::Failing(_), Health::Fine]), "{said:?}");
        submit(&patient.store, vec![enqueue(1, 4)]).unwrap();
        // The second was refused, and its publisher told so.
        assert_eq!(patient.sequences_after_restart(), [3, 4]);
    }
}

#[test]
fn a_store_that_is_closed_while_the_device_fails_ends() {
    let patient = Patient::new();
    patient.has(Faults { syncs: true, ..Faults::default() });
    submit(&patient.store, vec![enqueue(1, 1)]).unwrap_err();
    patient.store.submit(vec![enqueue(1, 2)], None);
    patient.store.close();
    assert!(patient.disk.written() > 0);
}

#[test]
fn what_waits_during_a_slow_sync_shares_the_next_one() {
    let patient = Patient::new();
    patient.has(Faults { sync_time: Duration::from_millis(200), ..Faults::default() });
    let (done, answers) = mpsc::sync_channel(2_000);
    for sequence in 1..=2_000 {
        let done = done.clone();
        patient
            .store
            .submit(vec![enqueue(1, sequence)], Some(Box::new(move |kept| done.send(kept).unwrap())));
    }
    drop(done);
    assert!(answers.iter().all(|kept| kept.is_ok()));
    // The first ones do not wait for company; the others came while these were synced.
    let syncs = patient.disk.syncs();
    assert!(syncs <= 12, "{syncs} syncs");
}

#[test]
fn somebody_who_panics_when_told_does_not_end_the_store() {
    let patient = Patient::new();
    patient.store.submit(vec![enqueue(1, 1)], Some(Box::new(|_| panic!("on purpose"))));
    submit(&patient.store, vec![enqueue(1, 2)]).unwrap();
    assert_eq!(patient.sequences_after_restart(), [1, 2]);
}

#[test]
fn nobody_waits_for_a_thread_that_died() {
    let patient = Patient::new();
    patient.has(Faults { syncs: true, recovery_panics: true, ..Faults::default() });
    while submit(&patient.store, vec![enqueue(1, 1)]) != Err(StoreError::Closed) {
        std::thread::yield_now();
    }
    assert!(matches!(patient.store.health(), Health::Failing(why) if why.contains("restart")));
    patient.store.close();
}

/// For figures see [`super::figures`].
#[test]
fn figures_of_a_slow_disk() {
    const IN_FLIGHT: usize = 1_000;
    for (pause, total) in [(1, 200_000), (10, 200_000), (200, 20_000)] {
        let total = many(2_000, total);
        let patient = Patient::with(Tuning::default());
        patient.has(Faults { sync_time: Duration::from_millis(pause), ..Faults::default() });
        let (done, answers) = mpsc::sync_channel::<Result<(), StoreError>>(IN_FLIGHT);
        let begun = Instant::now();
        for sequence in 1..=total {
            if sequence > IN_FLIGHT as u64 {
                answers.recv().unwrap().unwrap();
            }
            let done = done.clone();
            let message = queued(sequence, &[b'x'; 100]);
            patient.store.submit(
                vec![Change::Enqueue { slot: 1, message }],
                Some(Box::new(move |kept| done.send(kept).unwrap())),
            );
        }
        let rate = total as f64 / begun.elapsed().as_secs_f64();
        let statistics = patient.store.statistics();
        println!(
            "{pause} ms per sync: {rate:.0} messages/s with {IN_FLIGHT} in flight, {} per commit, {} syncs, {} bytes written per message",
            statistics.changes / statistics.commits,
            patient.disk.syncs(),
            patient.disk.written() / total
        );
    }
}
