//! The power goes at every operation of a run, and what was not synced is lost in every way; what was told to be kept is
//! there afterwards.

use std::time::Duration;

use super::{
    disk::{Disk, Faults, Loss},
    *,
};
use crate::store::{verify::verify_at, writer::Tuning};
use crate::{codec::PacketId, subscriptions::SubscriptionOptions};

/// A log so short that the run moves it into the database several times.
const TUNING: Tuning = Tuning { log_pages: 12, reopen_after: Duration::from_millis(1) };

/// All that a store holds, comparable.
#[derive(Debug, Clone, PartialEq)]
struct Snapshot {
    sessions: Vec<StoredSession>,
    queues: Vec<Vec<StoredMessage>>,
    retained: Vec<(Message, Arc<str>)>,
}

/// What is submitted, one after the other. Each step is told before the next.
fn script() -> Vec<Vec<Change>> {
    let options = SubscriptionOptions {
        qos: QoS::AtLeastOnce,
        no_local: false,
        retain_as_published: true,
        subscription_id: Some(4),
        since: 0,
    };
    let id = |id| PacketId::new(id).unwrap();
    let retain = |payload: &[u8]| Change::Retain { message: message("kept", payload), owner: "o".into() };
    let large = Change::Enqueue { slot: 2, message: queued(1, &[b'x'; 6_000]) };
    let mut steps = vec![
        vec![session(1), Change::Subscribe { slot: 1, filter: "a/#".into(), options }],
        vec![session(2), retain(b"1")],
        (1..=8).map(|sequence| enqueue(1, sequence)).collect(),
        vec![Change::Accept { slot: 1, packet_id: id(1) }, enqueue(1, 9)],
        vec![large],
    ];
    for sequence in 10..=20 {
        steps.push(vec![enqueue(1, sequence), Change::Forget { slot: 1, sequence: sequence - 9 }]);
    }
    steps.extend([
        vec![Change::Complete { slot: 1, packet_id: id(1) }, Change::Release { slot: 1, sequence: 12 }],
        vec![retain(&[b'y'; 3_000])],
        vec![Change::EndSession(2), session(3), enqueue(3, 1)],
        (21..=40).map(|sequence| enqueue(1, sequence)).collect(),
        (21..=35).map(|sequence| Change::Forget { slot: 1, sequence }).collect(),
        vec![Change::Unretain { topic: "kept".into() }, enqueue(3, 2)],
    ]);
    steps
}

fn open_on(disk: &Disk) -> Result<(Store, Contents), OpenError> {
    Store::open_at(Arc::new(disk.clone()), Durability::Fsync, TUNING, Arc::new(|_: &Health| {}))
}

fn snapshot_of(store: &Store, contents: Contents) -> Option<Snapshot> {
    let queues = contents.sessions.iter().map(|kept| {
        wait(|done| store.load(everything(kept.record.slot), move |loaded| done.send(loaded).unwrap()))
            .ok()
            .filter(|loaded| loaded.damaged == 0)
            .map(|loaded| loaded.messages)
    });
    Some(Snapshot {
        queues: queues.collect::<Option<_>>()?,
        sessions: contents.sessions,
        retained: contents.retained,
    })
}

fn snapshot(disk: &Disk) -> Snapshot {
    let (store, contents) = open_on(disk).unwrap();
    assert_eq!(contents.damaged, Records::default());
    let snapshot = snapshot_of(&store, contents).unwrap();
    store.close();
    snapshot
}

/// What the store holds after each number of steps.
fn states(script: &[Vec<Change>]) -> Vec<Snapshot> {
    let disk = Disk::new();
    (0..=script.len())
        .map(|step| {
            let (store, _) = open_on(&disk).unwrap();
            if step > 0 {
                submit(&store, script[step - 1].clone()).unwrap();
            }
            store.close();
            snapshot(&disk.copy())
        })
        .collect()
}

/// Runs the script until the power goes; how many steps were told to be kept.
fn run(disk: &Disk, script: &[Vec<Change>]) -> usize {
    let Ok((store, _)) = open_on(disk) else { return 0 };
    let kept = script.iter().take_while(|changes| submit(&store, changes.to_vec()).is_ok()).count();
    store.close();
    kept
}

/// Opens after a power cut and looks whether the first `kept` steps are in effect, and of the next one all or nothing.
fn check(disk: &Disk, states: &[Snapshot], kept: usize, context: &dyn std::fmt::Debug) {
    let found = snapshot(disk);
    let next = states.get(kept + 1);
    assert!(
        found == states[kept] || Some(&found) == next,
        "{context:?}: {kept} steps were kept, but found {:?}",
        states.iter().position(|state| *state == found)
    );
}

fn operations_of(disk: &Disk, work: impl FnOnce(&Disk)) -> u64 {
    disk.stop_at(u64::MAX);
    work(disk);
    disk.operations()
}

#[test]
fn what_was_told_to_be_kept_survives_a_power_cut_at_every_operation() {
    let script = script();
    let states = states(&script);
    let total = operations_of(&Disk::new(), |disk| assert_eq!(run(disk, &script), script.len()));
    assert!(total > 200, "{total} operations");
    for operation in 1..=total {
        let disk = Disk::new();
        disk.stop_at(operation);
        let kept = run(&disk, &script);
        for (seed, loss) in Loss::KINDS.into_iter().enumerate() {
            let after = disk.cut(loss, operation * 10 + seed as u64);
            check(&after, &states, kept, &(operation, loss));
        }
    }
}

#[test]
fn a_second_power_cut_while_the_store_recovers_loses_nothing_either() {
    let script = script();
    let states = states(&script);
    let total = operations_of(&Disk::new(), |disk| assert_eq!(run(disk, &script), script.len()));
    for operation in (1..=total).step_by(11) {
        let disk = Disk::new();
        disk.stop_at(operation);
        let kept = run(&disk, &script);
        let loss = Loss::KINDS[operation as usize % Loss::KINDS.len()];
        let after = disk.cut(loss, operation);
        let recovery = operations_of(&after.copy(), |disk| drop(snapshot(disk)));
        for second in 1..=recovery {
            let again = after.copy();
            again.stop_at(second);
            if let Ok((store, contents)) = open_on(&again) {
                drop(snapshot_of(&store, contents));
                store.close();
            }
            for (seed, second_loss) in Loss::KINDS.into_iter().enumerate() {
                let last = again.cut(second_loss, second * 10 + seed as u64);
                check(&last, &states, kept, &(operation, loss, second, second_loss));
            }
        }
    }
}

/// The trap: what a failed sync should have synced is shown as if it were there, until the power goes.
#[test]
fn what_is_kept_after_a_failed_sync_survives_a_power_cut_at_every_operation() {
    const STEPS: u64 = 24;
    let syncs = {
        let disk = Disk::new();
        assert_eq!(enqueue_stubbornly(&disk, STEPS).0, STEPS);
        disk.syncs()
    };
    assert!(syncs > 30, "{syncs} syncs");
    for sync in 1..=syncs {
        let disk = Disk::new();
        let fails = Faults { nth_sync: Some(sync), ..Faults::default() };
        disk.set_faults(fails);
        let mut kept = 0;
        let total = operations_of(&disk, |disk| kept = enqueue_stubbornly(disk, STEPS).0);
        if kept < STEPS {
            // It failed to open, as the store was being made.
            assert!(kept == 0 && sync < 20, "{kept} steps with sync {sync}");
            continue;
        }
        let failed_at = disk.operations_before_failure();
        for operation in failed_at..total.min(failed_at + 30) {
            let disk = Disk::new();
            disk.set_faults(fails);
            disk.stop_at(operation);
            let (kept, tried) = enqueue_stubbornly(&disk, STEPS);
            for loss in [Loss::All, Loss::Nothing, Loss::Sectors] {
                let after = disk.cut(loss, operation);
                let (store, contents) = open_on(&after).unwrap();
                let found = snapshot_of(&store, contents).unwrap();
                store.close();
                let found = found.queues.first().map_or(Vec::new(), |queue| sequences(queue));
                let context =
                    format!("sync {sync}, operation {operation}, {loss:?}: {kept} kept, found {found:?}");
                assert!(found.len() as u64 >= kept * 8 && found.len() as u64 <= tried * 8, "{context}");
                assert!((1..).zip(&found).all(|(expected, found)| expected == *found), "{context}");
                assert!(verify_at(&after).unwrap().is_whole(), "{context}");
            }
        }
    }
}

/// Puts eight messages in a queue, and the next eight, each until that succeeds or the power goes: how many times it did,
/// and was tried.
fn enqueue_stubbornly(disk: &Disk, steps: u64) -> (u64, u64) {
    let Ok((store, _)) = open_on(disk) else { return (0, 0) };
    for step in 0..steps {
        let mut changes: Vec<_> = (1..=8).map(|sequence| enqueue(1, step * 8 + sequence)).collect();
        if step == 0 {
            changes.push(session(1));
        }
        while submit(&store, changes.clone()).is_err() {
            if disk.is_off() {
                store.close();
                return (step, step + 1);
            }
            std::thread::yield_now();
        }
    }
    store.close();
    (steps, steps)
}
