//! The outbound half of a session that is kept: limits, the moment before a message is written, loads.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use super::{
    super::testing::{Sent, client, delivery, id, read},
    *,
};
use crate::{
    codec::QoS,
    limits::{FlowLimits, QueueLimits, WhenFull},
    store::{QueuedMessage, StoredMessage},
};

fn full(when_full: WhenFull) -> (Outbound, Flow) {
    let limits = FlowLimits { queue: QueueLimits { messages: 2, bytes: 10_000 }, max_age: None, when_full };
    (Outbound::new(&Limits::default(), true), Flow { name: "flow".into(), limits })
}

#[test]
fn the_oldest_in_the_store_make_room_for_new_ones() {
    let (mut outbound, flow) = full(WhenFull::DropOldest);
    for name in ["a", "b", "c"] {
        outbound.push_assured(&flow, delivery("t", QoS::AtLeastOnce, name), Wanted::default()).unwrap();
    }
    let work = outbound.take_work();
    let Some(Work::Trim { from: 1, what: what @ Trim::Oldest { messages: 1, .. }, .. }) =
        work.into_iter().find(|work| matches!(work, Work::Trim { .. }))
    else {
        panic!("the oldest were to be removed");
    };
    outbound.handle_trimmed(&flow.name, what, Totals { messages: 1, bytes: 1 });
    assert_eq!(outbound.pending(), 2);
    assert_eq!(outbound.take_dropped(), Dropped { oldest: 1, ..Dropped::default() });
    assert_eq!(outbound.take_dropped_of_flows(), [(flow.name, 1)]);
}

#[test]
fn a_full_store_of_expired_messages_is_searched_for_them_and_not_all_the_time() {
    let (mut outbound, flow) = full(WhenFull::Reject);
    let push = |outbound: &mut Outbound| {
        outbound.push_assured(&flow, delivery("t", QoS::AtLeastOnce, "x"), Wanted::default())
    };
    push(&mut outbound).unwrap();
    push(&mut outbound).unwrap();
    outbound.take_work();
    assert_eq!(push(&mut outbound), Err(QueueFull(Limit::QueueMessages)));
    let work = outbound.take_work();
    let [Work::Trim { what: what @ Trim::Expired(0), .. }] = &work[..] else { panic!("{work:?}") };
    outbound.handle_trimmed(&"flow".into(), *what, Totals::default());
    assert_eq!(push(&mut outbound), Err(QueueFull(Limit::QueueMessages)));
    assert!(outbound.take_work().is_empty(), "nothing can have expired since");
}

#[test]
fn a_message_that_is_acknowledged_in_a_moment_is_never_written() {
    let (mut outbound, flow) = full(WhenFull::Reject);
    outbound.handle_connect(client());
    outbound.push_assured(&flow, delivery("t", QoS::AtLeastOnce, "x"), Wanted::default()).unwrap();
    outbound.poll_transmit(0, usize::MAX, &mut Vec::new());
    assert_eq!(outbound.unwritten_below(), Some(2));
    outbound.handle_puback(id(1), Instant::now());
    assert_eq!(outbound.unwritten_below(), None);
    assert!(outbound.take_work().is_empty());
}

#[test]
fn a_client_that_owes_an_acknowledgement_for_longer_has_what_comes_written_at_once() {
    let (mut outbound, flow) = full(WhenFull::Reject);
    outbound.handle_connect(client());
    let push = |outbound: &mut Outbound| {
        outbound.push_assured(&flow, delivery("t", QoS::AtLeastOnce, "x"), Wanted::default()).unwrap();
        outbound.poll_transmit(0, usize::MAX, &mut Vec::new());
        outbound.take_work().iter().filter(|work| matches!(work, Work::Write(_))).count()
    };
    assert_eq!(push(&mut outbound), 0);
    outbound.write_below(2);
    assert_eq!(outbound.take_work().len(), 1);
    assert_eq!(push(&mut outbound), 1);
    outbound.handle_puback(id(1), Instant::now());
    assert_eq!(push(&mut outbound), 0, "it caught up with what it owed");
}

/// A client that returned to two messages: what its session wants done.
fn returned_to(payloads: [&str; 2]) -> (Outbound, Flow, Vec<Work>) {
    let (mut outbound, flow) = full(WhenFull::DropOldest);
    let flow = Flow { limits: Limits::default().flow, ..flow };
    for payload in payloads {
        outbound.push_assured(&flow, delivery("t", QoS::AtLeastOnce, payload), Wanted::default()).unwrap();
    }
    outbound.handle_written(1, true);
    outbound.handle_written(2, true);
    outbound.take_work();
    outbound.handle_connect(client());
    let work = outbound.take_work();
    (outbound, flow, work)
}

#[test]
fn a_load_that_failed_is_not_tried_again_before_the_store_has_recovered() {
    let (mut outbound, _, work) = returned_to(["a", "b"]);
    let [Work::Load { from: 1, below: 3 }] = work[..] else { panic!("{work:?}") };
    outbound.handle_loaded(1, 3, None, |_| true);
    outbound.poll_transmit(0, usize::MAX, &mut Vec::new());
    assert!(outbound.take_work().is_empty(), "connection and store would keep each other busy");
    outbound.handle_store_recovered();
    assert!(matches!(outbound.take_work()[..], [Work::Load { from: 1, below: 3 }]));
}

#[test]
fn a_client_that_does_not_read_has_no_more_loaded_than_memory_is_for() {
    let large = "x".repeat(300 * 1024);
    let (mut outbound, flow, work) = returned_to([&large, &large]);
    assert!(matches!(work[..], [Work::Load { from: 1, below: 3 }]));
    let first = QueuedMessage {
        sequence: 1,
        flow: Arc::clone(&flow.name),
        expires_at: u64::MAX,
        delivery: delivery("t", QoS::AtLeastOnce, &large),
    };
    let loaded = Loaded { messages: vec![StoredMessage::Message(first)], ..Loaded::default() };
    outbound.handle_loaded(1, 3, Some(loaded), |_| true);
    assert!(outbound.take_work().is_empty());
    outbound.poll_transmit(0, usize::MAX, &mut Vec::new());
    assert!(matches!(outbound.take_work()[..], [Work::Load { from: 2, below: 3 }]), "it was sent");
}

#[test]
fn a_delivery_that_has_begun_does_not_give_way_in_the_store() {
    let (mut outbound, flow) = full(WhenFull::DropOldest);
    outbound.handle_connect(client());
    let push = |outbound: &mut Outbound| {
        outbound.push_assured(&flow, delivery("t", QoS::ExactlyOnce, "x"), Wanted::default()).unwrap();
    };
    push(&mut outbound);
    outbound.handle_written(1, true);
    outbound.poll_transmit(0, usize::MAX, &mut Vec::new());
    outbound.handle_disconnect();
    push(&mut outbound);
    push(&mut outbound);
    let work = outbound.take_work();
    assert!(work.iter().any(|work| matches!(work, Work::Trim { from: 2, .. })), "{work:?}");
}

#[test]
fn a_release_that_was_asked_for_twice_is_sent_once() {
    let (mut outbound, flow) = full(WhenFull::Reject);
    outbound.handle_connect(client());
    outbound.push_assured(&flow, delivery("t", QoS::ExactlyOnce, "x"), Wanted::default()).unwrap();
    outbound.handle_written(1, true);
    outbound.poll_transmit(0, usize::MAX, &mut Vec::new());
    outbound.handle_pubrec(id(1), ReasonCode::Success, Instant::now(), &mut Vec::new());
    outbound.handle_store_recovered();
    let asked = outbound.take_work().iter().filter(|work| matches!(work, Work::Release(1))).count();
    for _ in 0..asked {
        outbound.handle_released(1);
    }
    let mut out = Vec::new();
    outbound.poll_transmit(0, usize::MAX, &mut out);
    let sent: Vec<_> = read(&out, Version::V5).iter().map(Sent::brief).collect();
    assert_eq!((asked, sent), (2, vec!["pubrel 1".to_owned()]));
}

/// Regression: the first message that had no room in memory was written while earlier ones still had their moment. After a
/// crash it was there and they were not, and came after it when their publisher sent them again.
#[test]
fn a_message_that_has_no_room_in_memory_is_not_written_before_earlier_ones() {
    let (mut outbound, flow, _) = returned_to(["a", "b"]);
    outbound.handle_loaded(1, 3, Some(Loaded { complete: true, ..Loaded::default() }), |_| true);
    let push = |outbound: &mut Outbound| {
        outbound.push_assured(&flow, delivery("t", QoS::AtLeastOnce, "x"), Wanted::default()).unwrap();
    };
    push(&mut outbound);
    outbound.poll_transmit(0, usize::MAX, &mut Vec::new());
    let mut written = Vec::new();
    while written.is_empty() {
        push(&mut outbound);
        written.extend(outbound.take_work().iter().filter_map(|work| match work {
            Work::Write(message) => Some(message.sequence),
            _ => None,
        }));
    }
    let last = outbound.assured.next() - 1;
    assert_eq!(
        written,
        (3..=last).collect::<Vec<_>>(),
        "the one in flight, those that wait, and the new one"
    );
}
