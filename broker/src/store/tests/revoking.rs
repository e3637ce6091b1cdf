//! Messages of a flow that are removed in parts: of what others see meanwhile, and what is left after a failure.

use std::time::{Duration, Instant};

use super::{
    disk::{Disk, Faults, Loss},
    figures::many,
    *,
};
use crate::store::{verify::verify_at, writer::Tuning};

const TUNING: Tuning = Tuning { log_pages: 12, reopen_after: Duration::from_millis(1) };

/// Every third message is of another flow.
const LAST: Sequence = 40;

fn of_flow(sequence: Sequence, qos: QoS) -> QueuedMessage {
    let flow = if is_others(sequence) { "other".into() } else { flow() };
    let message = queued(sequence, b"x");
    QueuedMessage { flow, delivery: Delivery { qos, ..message.delivery }, ..message }
}

fn is_others(sequence: Sequence) -> bool {
    sequence.is_multiple_of(3)
}

fn fill(slot: Slot) -> Vec<Change> {
    let message = |sequence| Change::Enqueue { slot, message: of_flow(sequence, QoS::AtLeastOnce) };
    [session(slot)].into_iter().chain((1..=LAST).map(message)).collect()
}

fn all_of(slot: Slot) -> RevokeRequest {
    RevokeRequest { slot, flow: flow(), from: 1, below: LAST + 1, sent_below: 0 }
}

fn revoke(store: &Store, request: RevokeRequest) -> Result<(), StoreError> {
    wait(|done| store.revoke(request, Box::new(move |revoked| done.send(revoked).unwrap())))
}

fn others() -> Vec<Sequence> {
    (1..=LAST).filter(|sequence| is_others(*sequence)).collect()
}

#[test]
fn all_messages_of_the_flow_go_and_no_others_and_what_they_count_for() {
    let bench = Bench::new();
    bench.keep(fill(1));
    bench.keep(fill(2));
    let later = QueuedMessage { flow: flow(), ..of_flow(LAST + 1, QoS::AtLeastOnce) };
    bench.keep(vec![Change::Enqueue { slot: 1, message: later }]);
    revoke(&bench.store, all_of(1)).unwrap();
    let left: Vec<_> = others().into_iter().chain([LAST + 1]).collect();
    assert_eq!(sequences(&bench.load_all(1)), left);
    assert_eq!(bench.load_all(2).len() as u64, LAST);
    let bench = bench.restart();
    let mut totals: Vec<_> = bench.contents.sessions[0].totals.clone();
    totals.sort_by(|one, other| one.0.cmp(&other.0));
    let messages: Vec<_> = totals.iter().map(|(name, totals)| (&**name, totals.messages)).collect();
    assert_eq!(messages, [("a/b", 1), ("other", others().len() as u64)]);
    bench.store.close();
}

#[test]
fn of_qos_2_messages_that_were_sent_the_release_stays() {
    let bench = Bench::new();
    let message = |sequence| {
        let qos = if sequence % 2 == 0 { QoS::ExactlyOnce } else { QoS::AtLeastOnce };
        Change::Enqueue { slot: 1, message: QueuedMessage { flow: flow(), ..of_flow(sequence, qos) } }
    };
    bench.keep([session(1)].into_iter().chain((1..=LAST).map(message)).collect());
    revoke(&bench.store, RevokeRequest { sent_below: 9, ..all_of(1) }).unwrap();
    let released = |sequence| StoredMessage::Released(sequence);
    assert_eq!(bench.load_all(1), [2, 4, 6, 8].map(released));
    let bench = bench.restart();
    assert_eq!(bench.contents.sessions[0].totals, []);
}

#[test]
fn a_session_of_the_same_number_does_not_lose_what_its_predecessor_was_to_lose() {
    let bench = Bench::new();
    bench.keep(fill(1));
    let (done, answer) = mpsc::sync_channel(1);
    bench.store.revoke(all_of(1), Box::new(move |revoked| done.send(revoked).unwrap()));
    bench.keep([Change::EndSession(1)].into_iter().chain(fill(1)).collect());
    answer.recv().unwrap().unwrap();
    assert_eq!(bench.load_all(1).len() as u64, LAST);
}

#[test]
fn others_are_served_between_the_parts() {
    let bench = Bench::new();
    bench.keep(fill(1));
    let (done, answers) = mpsc::sync_channel(2);
    let also_done = done.clone();
    bench.store.revoke(all_of(1), Box::new(move |_| done.send("revoked").unwrap()));
    bench.store.submit(vec![session(2)], Some(Box::new(move |_| also_done.send("kept").unwrap())));
    assert_eq!(answers.iter().take(2).collect::<Vec<_>>(), ["kept", "revoked"]);
}

/// Regression: where the store failed between two parts, nobody was told that it did for as long as it did.
#[test]
fn what_the_store_has_removed_stays_removed_after_a_power_cut_at_every_operation() {
    let open_on = |disk: &Disk| {
        Store::open_at(Arc::new(disk.clone()), Durability::Fsync, TUNING, Arc::new(|_: &Health| {}))
    };
    let run = |disk: &Disk| -> (bool, bool) {
        let Ok((store, _)) = open_on(disk) else { return (false, false) };
        let filled = submit(&store, fill(1)).is_ok();
        let revoked = filled && revoke(&store, all_of(1)).is_ok();
        store.close();
        (filled, revoked)
    };
    let total = {
        let disk = Disk::new();
        disk.stop_at(u64::MAX);
        assert_eq!(run(&disk), (true, true));
        disk.operations()
    };
    for operation in 1..=total {
        let disk = Disk::new();
        disk.stop_at(operation);
        let (filled, revoked) = run(&disk);
        for (seed, loss) in Loss::KINDS.into_iter().enumerate() {
            let after = disk.cut(loss, operation * 10 + seed as u64);
            let context = format!("operation {operation}, {loss:?}, {filled}, {revoked}");
            let (store, contents) = open_on(&after).unwrap();
            let load =
                || wait(|done| store.load(everything(1), move |loaded| done.send(loaded).unwrap())).unwrap();
            if filled {
                assert_eq!(contents.sessions.len(), 1, "{context}");
                let found = sequences(&load().messages);
                assert!(others().iter().all(|sequence| found.contains(sequence)), "{context}: {found:?}");
                assert!(!revoked || found == others(), "{context}: {found:?}");
                // Whoever starts the store has it done again.
                revoke(&store, all_of(1)).unwrap();
                assert_eq!(sequences(&load().messages), others(), "{context}");
            }
            store.close();
            assert!(verify_at(&after).unwrap().is_whole(), "{context}");
        }
    }
}

#[test]
fn what_fails_is_tried_again_until_it_is_done() {
    for fault in 1..=12 {
        let disk = Disk::new();
        let place = Arc::new(disk.clone());
        let (store, _) = Store::open_at(place, Durability::Fsync, TUNING, Arc::new(|_: &Health| {})).unwrap();
        submit(&store, fill(1)).unwrap();
        disk.set_faults(Faults { nth_sync: Some(fault), ..Faults::default() });
        let told = revoke(&store, all_of(1));
        assert!(told.is_ok() || matches!(told, Err(StoreError::Failed(_))), "{told:?}");
        let begun = Instant::now();
        let load = || wait(|done| store.load(everything(1), move |loaded| done.send(loaded).unwrap()));
        while load().map(|loaded| sequences(&loaded.messages)) != Ok(others()) {
            assert!(begun.elapsed() < Duration::from_secs(30), "sync {fault}");
            std::thread::yield_now();
        }
        store.close();
        assert!(verify_at(&disk).unwrap().is_whole());
    }
}

/// For figures see [`super::figures`].
#[test]
fn figures_of_a_flow_that_is_removed() {
    let million = many(2_000, 1_000_000);
    let bench = Bench::new();
    bench.keep(vec![session(1), session(2)]);
    for first in (1..=million).step_by(1_000) {
        let message = |sequence| Change::Enqueue { slot: 1, message: queued(sequence, &[b'x'; 100]) };
        bench.keep((first..first + 1_000).map(message).collect());
    }
    let (done, answer) = mpsc::sync_channel(1);
    let begun = Instant::now();
    let request = RevokeRequest { below: million + 1, ..all_of(1) };
    bench.store.revoke(request, Box::new(move |revoked| done.send(revoked).unwrap()));
    let mut waits = Vec::new();
    while answer.try_recv().is_err() {
        let asked = Instant::now();
        bench.keep(vec![enqueue(2, waits.len() as u64 + 1)]);
        waits.push(asked.elapsed());
    }
    let all = begun.elapsed();
    waits.sort();
    println!(
        "removed in {all:?}; of {} commits beside it half took {:?}, the longest {:?}",
        waits.len(),
        waits[waits.len() / 2],
        waits[waits.len() - 1]
    );
    assert_eq!(bench.load_all(1), []);
}
