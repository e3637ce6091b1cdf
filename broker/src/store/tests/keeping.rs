//! What is handed over is there again after a restart.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use super::{disk::Chance, *};
use crate::{codec::PacketId, subscriptions::SubscriptionOptions};

fn id(packet_id: u16) -> PacketId {
    PacketId::new(packet_id).unwrap()
}

#[test]
fn a_new_store_is_empty_and_counts_its_starts() {
    let bench = Bench::new();
    assert_eq!((bench.contents.starts, bench.contents.sessions.len()), (1, 0));
    let bench = bench.restart();
    assert_eq!(bench.contents.starts, 2);
}

#[test]
fn everything_survives_a_restart() {
    let record = SessionRecord {
        slot: MAX_SLOT,
        name: "näme".into(),
        client_id: "client".into(),
        expiry: u32::MAX,
        left_at: Some(1_700_000_000_000),
        sent_below: 12,
        will: Some(WillRecord { message: message("a/will", b"gone"), delay: 5 }),
    };
    let options = SubscriptionOptions {
        qos: QoS::ExactlyOnce,
        no_local: true,
        retain_as_published: true,
        subscription_id: Some(268_435_455),
        since: 0,
    };
    let mut first = queued(1, b"first");
    first.expires_at = 4_000;
    first.delivery.qos = QoS::ExactlyOnce;
    first.delivery.retain = true;
    first.delivery.subscription_ids = vec![1, 268_435_455];
    let last = QueuedMessage { sequence: keys::MAX_SEQUENCE, flow: "other".into(), ..queued(1, &[7; 5_000]) };
    let bench = Bench::new();
    bench.keep(vec![
        Change::PutSession(record.clone()),
        Change::Subscribe { slot: MAX_SLOT, filter: "a/#".into(), options },
        Change::Accept { slot: MAX_SLOT, packet_id: id(65_535) },
        Change::Enqueue { slot: MAX_SLOT, message: first.clone() },
        Change::Enqueue { slot: MAX_SLOT, message: last.clone() },
        Change::Retain { message: message("a/kept", b"kept"), owner: "owner".into() },
    ]);

    let bench = bench.restart();

    let size = |message: &QueuedMessage| message.delivery.size() as u64;
    assert_eq!(
        bench.contents.sessions,
        [StoredSession {
            record,
            subscriptions: vec![("a/#".into(), options)],
            unreleased: vec![id(65_535)],
            totals: vec![
                (flow(), Totals { messages: 1, bytes: size(&first) }),
                ("other".into(), Totals { messages: 1, bytes: size(&last) })
            ],
            range: Some((1, keys::MAX_SEQUENCE)),
        }]
    );
    assert_eq!(bench.contents.retained, [(message("a/kept", b"kept"), "owner".into())]);
    assert_eq!(bench.load_all(MAX_SLOT), [StoredMessage::Message(first), StoredMessage::Message(last)]);
    bench.store.close();
    assert!(verify(bench.directory.path()).unwrap().is_whole());
}

#[test]
fn what_is_taken_back_is_gone() {
    let bench = Bench::new();
    let options = SubscriptionOptions {
        qos: QoS::AtMostOnce,
        no_local: false,
        retain_as_published: false,
        subscription_id: None,
        since: 0,
    };
    bench.keep(vec![
        session(1),
        Change::Subscribe { slot: 1, filter: "a".into(), options },
        Change::Subscribe { slot: 1, filter: "b".into(), options },
        Change::Accept { slot: 1, packet_id: id(1) },
        Change::Accept { slot: 1, packet_id: id(2) },
        enqueue(1, 1),
        enqueue(1, 2),
        enqueue(1, 3),
        Change::Retain { message: message("a", b"1"), owner: "o".into() },
        Change::Retain { message: message("b", b"2"), owner: "o".into() },
    ]);
    bench.keep(vec![
        Change::Unsubscribe { slot: 1, filter: "a".into() },
        Change::Complete { slot: 1, packet_id: id(1) },
        Change::Forget { slot: 1, sequence: 1 },
        Change::Forget { slot: 1, sequence: 77 },
        Change::Release { slot: 1, sequence: 2 },
        Change::Release { slot: 1, sequence: 78 },
        Change::Unretain { topic: "a".into() },
    ]);

    let bench = bench.restart();

    let kept = &bench.contents.sessions[0];
    assert_eq!(kept.subscriptions, [("b".into(), options)]);
    assert_eq!(kept.unreleased, [id(2)]);
    let size = queued(3, b"message 3").delivery.size() as u64;
    assert_eq!(kept.totals, [(flow(), Totals { messages: 1, bytes: size })]);
    assert_eq!(kept.range, Some((2, 3)));
    assert_eq!(bench.contents.retained.len(), 1);
    assert_eq!(
        bench.load_all(1),
        [StoredMessage::Released(2), StoredMessage::Message(queued(3, b"message 3"))]
    );
    bench.keep(vec![Change::Forget { slot: 1, sequence: 2 }, Change::Forget { slot: 1, sequence: 3 }]);
    let bench = bench.restart();
    assert_eq!((bench.contents.sessions[0].range, bench.contents.sessions[0].totals.len()), (None, 0));
}

#[test]
fn the_end_of_a_session_takes_all_of_it_and_nothing_else() {
    let bench = Bench::new();
    for slot in [1, 2, 3] {
        bench.keep(vec![
            session(slot),
            Change::Accept { slot, packet_id: id(1) },
            enqueue(slot, 1),
            enqueue(slot, keys::MAX_SEQUENCE),
        ]);
    }
    bench.keep(vec![enqueue(2, 2), Change::EndSession(2)]);
    let bench = bench.restart();
    let slots: Vec<_> = bench.contents.sessions.iter().map(|kept| kept.record.slot).collect();
    assert_eq!(slots, [1, 3]);
    assert!(bench.load_all(2).is_empty());
    for kept in &bench.contents.sessions {
        assert_eq!((kept.unreleased.len(), kept.totals[0].1.messages), (1, 2));
    }
    // Its number is another session's then, which has nothing of it.
    bench.keep(vec![session(2), enqueue(2, 1)]);
    let bench = bench.restart();
    let kept = &bench.contents.sessions[1];
    assert_eq!((kept.unreleased.len(), kept.totals[0].1.messages, kept.range), (0, 1, Some((1, 1))));
    bench.store.close();
    assert!(verify(bench.directory.path()).unwrap().is_whole());
}

#[test]
fn a_load_sees_what_was_submitted_before_it_and_keeps_to_its_bounds() {
    let bench = Bench::new();
    bench.store.submit(vec![session(1)], None);
    bench.store.submit((1..=10).map(|sequence| enqueue(1, sequence)).collect(), None);
    let size = queued(1, b"message 1").delivery.size();
    let request = LoadRequest { slot: 1, from: 2, below: 9, messages: 3, bytes: usize::MAX };
    let loaded = bench.load(request);
    assert_eq!((sequences(&loaded.messages), loaded.complete), (vec![2, 3, 4], false));
    let loaded = bench.load(LoadRequest { messages: 7, ..request });
    assert_eq!((sequences(&loaded.messages), loaded.complete), (vec![2, 3, 4, 5, 6, 7, 8], true));
    let loaded = bench.load(LoadRequest { messages: 7, bytes: size + 1, ..request });
    assert_eq!((sequences(&loaded.messages), loaded.complete), (vec![2, 3], false));
    let loaded = bench.load(LoadRequest { bytes: 0, messages: 0, ..request });
    assert_eq!((sequences(&loaded.messages), loaded.complete), (vec![2], false));
    let loaded = bench.load(LoadRequest { from: 11, below: 100, ..request });
    assert_eq!((sequences(&loaded.messages), loaded.complete), (vec![], true));
}

#[test]
fn trimming_removes_the_oldest_or_the_expired_of_one_flow() {
    let bench = Bench::new();
    let mut changes = vec![session(1)];
    for sequence in 1..=10 {
        let mut message = queued(sequence, b"0123456789");
        message.expires_at = 1_000 * sequence;
        if sequence == 4 {
            message.flow = "other".into();
        }
        changes.push(Change::Enqueue { slot: 1, message });
    }
    bench.keep(changes);
    let size = queued(1, b"0123456789").delivery.size() as u64;
    assert_eq!(
        bench.trim(1, 3, Trim::Oldest { messages: 1, bytes: size + 1 }),
        Totals { messages: 2, bytes: 2 * size }
    );
    assert_eq!(sequences(&bench.load_all(1)), [1, 2, 4, 6, 7, 8, 9, 10]);
    assert_eq!(bench.trim(1, 2, Trim::Expired(7_000)), Totals { messages: 3, bytes: 3 * size });
    assert_eq!(sequences(&bench.load_all(1)), [1, 4, 8, 9, 10]);
    assert_eq!(bench.trim(1, 9, Trim::Oldest { messages: 100, bytes: 0 }).messages, 2);
    assert_eq!(bench.trim(1, 1, Trim::Oldest { messages: 0, bytes: 0 }), Totals::default());
    let bench = bench.restart();
    assert_eq!(
        bench.contents.sessions[0].totals,
        [
            (flow(), Totals { messages: 2, bytes: 2 * size }),
            ("other".into(), Totals { messages: 1, bytes: size })
        ]
    );
}

#[test]
fn many_submissions_share_a_commit() {
    let bench = Bench::new();
    bench.keep(vec![session(1)]);
    let before = bench.store.statistics().commits;
    let (done, answers) = mpsc::sync_channel(10_000);
    for sequence in 1..=10_000 {
        let done = done.clone();
        bench.store.submit(
            vec![enqueue(1, sequence)],
            Some(Box::new(move |kept| done.send((sequence, kept)).unwrap())),
        );
    }
    drop(done);
    let told: Vec<_> = answers.iter().collect();
    assert_eq!(told, (1..=10_000).map(|sequence| (sequence, Ok(()))).collect::<Vec<_>>());
    let commits = bench.store.statistics().commits - before;
    assert!(commits < 1_000, "{commits} commits");
    assert_eq!(bench.query("SELECT count(*) FROM message"), 10_000);
    assert_eq!(bench.query("SELECT messages FROM total"), 10_000);
    assert_eq!(bench.query("SELECT sum(size) FROM message"), bench.query("SELECT bytes FROM total"));
}

#[test]
fn a_lazy_change_rides_along_or_goes_by_itself() {
    let bench = Bench::new();
    bench.store.submit_lazily(session(1));
    bench.keep(vec![session(2)]);
    let commits = bench.store.statistics().commits;
    bench.store.submit_lazily(session(3));
    let begun = Instant::now();
    while bench.store.statistics().commits == commits {
        assert!(begun.elapsed() < Duration::from_secs(30));
        std::thread::yield_now();
    }
    assert!(begun.elapsed() > Duration::from_millis(500), "it waited for company");
    assert_eq!(bench.query("SELECT count(*) FROM session"), 3);
}

#[test]
fn closing_keeps_what_waits_and_takes_nothing_afterwards() {
    let bench = Bench::new();
    let store = bench.store.clone();
    bench.store.submit_lazily(session(1));
    for sequence in 1..=1_000 {
        store.submit(vec![enqueue(1, sequence)], None);
    }
    bench.store.close();
    assert_eq!(submit(&store, vec![session(2)]), Err(StoreError::Closed));
    store.submit_lazily(session(2));
    store.close();
    assert!(!bench.directory.path().join("store.db-wal").metadata().is_ok_and(|log| log.len() > 0));
    let bench = bench.restart();
    assert_eq!(bench.contents.sessions[0].totals[0].1.messages, 1_000);
}

#[test]
fn numbers_out_of_range_are_refused_alone() {
    let bench = Bench::new();
    bench.keep(vec![session(1)]);
    assert_eq!(submit(&bench.store, vec![session(0)]), Err(StoreError::OutOfRange));
    assert_eq!(submit(&bench.store, vec![session(MAX_SLOT + 1)]), Err(StoreError::OutOfRange));
    assert_eq!(submit(&bench.store, vec![enqueue(1, 1), enqueue(1, 0)]), Err(StoreError::OutOfRange));
    bench.keep(vec![enqueue(1, keys::MAX_SEQUENCE)]);
    let bench = bench.restart();
    assert_eq!(bench.contents.sessions[0].totals[0].1.messages, 1);
    assert_eq!(bench.store.health(), Health::Fine);
}

#[tokio::test]
async fn too_much_that_waits_is_crowded_until_it_is_kept() {
    let bench = Bench::new();
    bench.keep(vec![session(1)]);
    assert!(!bench.store.is_crowded());
    let payload = vec![0; 1024 * 1024];
    for sequence in 1..=40 {
        bench.store.submit(vec![Change::Enqueue { slot: 1, message: queued(sequence, &payload) }], None);
    }
    assert!(bench.store.is_crowded());
    bench.store.has_room().await;
    assert!(!bench.store.is_crowded());
}

/// Many random changes, with restarts in between: what is kept is what a model of a few lines keeps.
#[test]
fn agrees_with_a_model() {
    let mut chance = Chance(0xC0FFEE);
    let mut model: BTreeMap<Slot, BTreeMap<Sequence, StoredMessage>> = BTreeMap::new();
    let mut next: Sequence = 1;
    let mut bench = Bench::new();
    for _ in 0..30 {
        for _ in 0..100 {
            let slot = 1 + chance.below(4) as Slot;
            let change = match chance.below(20) {
                _ if !model.contains_key(&slot) => {
                    model.insert(slot, BTreeMap::new());
                    session(slot)
                }
                0 => {
                    model.remove(&slot);
                    Change::EndSession(slot)
                }
                kind => {
                    let queue = model.get_mut(&slot).unwrap();
                    let sequence = queue.keys().nth(chance.below(queue.len() + 1)).copied().unwrap_or(next);
                    match kind {
                        1..=5 => {
                            queue.remove(&sequence);
                            Change::Forget { slot, sequence }
                        }
                        6..=8 => {
                            queue
                                .entry(sequence)
                                .and_modify(|message| *message = StoredMessage::Released(sequence));
                            Change::Release { slot, sequence }
                        }
                        _ => {
                            let mut message = queued(next, &vec![b'x'; chance.below(3_000)]);
                            message.flow = format!("flow {}", chance.below(3)).into();
                            queue.insert(next, StoredMessage::Message(message.clone()));
                            next += 1;
                            Change::Enqueue { slot, message }
                        }
                    }
                }
            };
            bench.store.submit(vec![change], None);
            if chance.below(10) == 0 {
                let expected: Vec<_> =
                    model.get(&slot).into_iter().flatten().map(|(_, kept)| kept.clone()).collect();
                assert_eq!(bench.load_all(slot), expected);
            }
        }
        bench = bench.restart();
        let slots: Vec<_> = bench.contents.sessions.iter().map(|kept| kept.record.slot).collect();
        assert_eq!(slots, model.keys().copied().collect::<Vec<_>>());
        for kept in &bench.contents.sessions {
            let queue = &model[&kept.record.slot];
            assert_eq!(bench.load_all(kept.record.slot), queue.values().cloned().collect::<Vec<_>>());
            assert_eq!(kept.range, queue.keys().next().copied().zip(queue.keys().last().copied()));
            let mut totals: BTreeMap<Arc<str>, Totals> = BTreeMap::new();
            for message in queue.values() {
                if let StoredMessage::Message(message) = message {
                    let total = totals.entry(message.flow.clone()).or_default();
                    total.messages += 1;
                    total.bytes += message.delivery.size() as u64;
                }
            }
            assert_eq!(kept.totals.iter().cloned().collect::<BTreeMap<_, _>>(), totals);
        }
    }
    bench.store.close();
    assert!(verify(bench.directory.path()).unwrap().is_whole());
}
