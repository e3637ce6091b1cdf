#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::Wake,
    time::Duration,
};

use super::{
    super::testing::{OneFlow, Sent, client, delivery, expiring, id, read},
    *,
};
use crate::{
    codec::QoS,
    limits::{FlowLimits, QueueLimits, WhenFull},
};

const ALL: usize = usize::MAX;

#[test]
fn each_lane_keeps_its_order() {
    let mut outbound = connected(&Limits::default());
    for number in 0..50 {
        outbound.push_live(live(&number.to_string()));
        outbound.push_assured(assured(&number.to_string())).unwrap();
    }
    let sent = sent(&mut outbound, ALL);
    let lane = |wanted| {
        let of_lane = sent.iter().filter_map(move |packet| match packet {
            Sent::Publish { qos, payload, .. } if *qos == wanted => payload.parse().ok(),
            _ => None,
        });
        of_lane.collect::<Vec<usize>>()
    };
    let expected: Vec<_> = (0..50).collect();
    assert_eq!((lane(0), lane(1)), (expected.clone(), expected));
}

#[test]
fn a_small_budget_starves_neither_lane() {
    let mut outbound = connected(&Limits::default());
    for _ in 0..10 {
        outbound.push_live(live("live"));
        outbound.push_assured(assured("assured")).unwrap();
    }
    let turns: Vec<_> = (0..4).map(|_| sent(&mut outbound, 1)[0].brief()).collect();
    assert_eq!(turns, ["1#1 assured", "0#0 live", "1#2 assured", "0#0 live"]);
}

#[test]
fn the_budget_counts_what_is_in_the_buffer_already() {
    let mut outbound = connected(&Limits::default());
    outbound.push_live(live("waits"));
    let mut out = vec![0; 10];
    outbound.poll_transmit(0, 10, &mut out);
    assert_eq!(out.len(), 10);
    outbound.poll_transmit(0, 11, &mut out);
    assert!(out.len() > 10);
}

#[test]
fn no_more_in_flight_than_either_side_allows() {
    for (max_inflight, receive_maximum) in [(3, 9), (9, 3)] {
        let limits = Limits { max_inflight: id(max_inflight), ..Limits::default() };
        let mut outbound = OneFlow::new(&limits);
        outbound.handle_connect(ClientSettings { receive_maximum: id(receive_maximum), ..client() });
        for number in 0..6 {
            let qos = if number % 2 == 0 { QoS::ExactlyOnce } else { QoS::AtLeastOnce };
            outbound.push_assured(delivery("t", qos, &number.to_string())).unwrap();
        }
        assert_eq!(briefs(&mut outbound), ["2#1 0", "1#2 1", "2#3 2"]);
        outbound.handle_pubrec(id(1), ReasonCode::Success, Instant::now(), &mut Vec::new());
        assert_eq!(briefs(&mut outbound), [""; 0], "a released one is in flight until PUBCOMP");
        outbound.handle_pubcomp(id(1));
        assert_eq!(briefs(&mut outbound), ["1#4 3"]);
        outbound.handle_puback(id(2), Instant::now());
        outbound.handle_pubrec(id(3), ReasonCode::UnspecifiedError, Instant::now(), &mut Vec::new());
        assert_eq!(briefs(&mut outbound), ["2#5 4", "1#6 5"]);
        assert_eq!(outbound.pending(), 3);
    }
}

#[test]
fn a_new_connection_gets_what_was_in_flight_first_and_in_its_order_4_4_0_1() {
    let mut outbound = connected(&Limits { max_inflight: id(4), ..Limits::default() });
    for (qos, name) in [(2, "a"), (1, "b"), (2, "c"), (1, "d"), (1, "e")] {
        outbound.push_assured(delivery("t", qos_of(qos), name)).unwrap();
    }
    assert_eq!(briefs(&mut outbound), ["2#1 a", "1#2 b", "2#3 c", "1#4 d"]);
    outbound.handle_pubrec(id(3), ReasonCode::Success, Instant::now(), &mut Vec::new());
    outbound.handle_puback(id(2), Instant::now());
    outbound.handle_disconnect();
    outbound.handle_connect(client());
    assert_eq!(briefs(&mut outbound), ["2#1 dup a", "pubrel 3", "1#4 dup d", "1#5 e"]);
    outbound.handle_disconnect();
    outbound.handle_connect(client());
    assert_eq!(briefs(&mut outbound), ["2#1 dup a", "pubrel 3", "1#4 dup d", "1#5 dup e"], "and again");
}

#[test]
fn what_is_sent_again_stays_within_the_new_receive_maximum_and_new_ones_wait() {
    let mut outbound = connected(&Limits::default());
    for name in ["a", "b", "c"] {
        outbound.push_assured(assured(name)).unwrap();
    }
    briefs(&mut outbound);
    outbound.handle_disconnect();
    outbound.push_assured(assured("new")).unwrap();
    outbound.handle_connect(ClientSettings { receive_maximum: id(2), ..client() });
    outbound.push_live(live("live"));
    assert_eq!(briefs(&mut outbound), ["1#1 dup a", "1#2 dup b", "0#0 live"]);
    outbound.handle_puback(id(2), Instant::now());
    assert_eq!(briefs(&mut outbound), ["1#3 dup c"]);
    outbound.handle_puback(id(3), Instant::now());
    assert_eq!(briefs(&mut outbound), ["1#4 new"]);
}

#[test]
fn no_new_message_before_the_last_one_is_sent_again_however_small_the_budget() {
    let mut outbound = connected(&Limits::default());
    for name in ["a", "b", "c"] {
        outbound.push_assured(assured(name)).unwrap();
    }
    briefs(&mut outbound);
    outbound.handle_disconnect();
    outbound.handle_connect(client());
    outbound.push_assured(assured("new")).unwrap();
    let turns: Vec<_> = (0..4).map(|_| sent(&mut outbound, 1)[0].brief()).collect();
    assert_eq!(turns, ["1#1 dup a", "1#2 dup b", "1#3 dup c", "1#4 new"]);
}

#[test]
fn a_message_that_expires_while_it_waits_is_dropped_and_counted_3_3_2_5() {
    let mut outbound = connected(&Limits::default());
    outbound.push_live(expiring("t", QoS::AtMostOnce, "live", Some(2)));
    outbound.push_assured(expiring("t", QoS::AtLeastOnce, "assured", Some(2))).unwrap();
    outbound.push_assured(expiring("t", QoS::AtLeastOnce, "longer", Some(3))).unwrap();
    outbound.push_assured(expiring("t", QoS::AtLeastOnce, "at once", Some(0))).unwrap();
    let mut out = Vec::new();
    outbound.poll_transmit(2_000, ALL, &mut out);
    let sent = read(&out, Version::V5);
    assert!(
        matches!(&sent[..], [Sent::Publish { expiry: Some(1), payload, .. }] if payload == "longer"),
        "{sent:?}"
    );
    assert_eq!(outbound.take_dropped(), Dropped { expired: 3, ..Dropped::default() });
    assert_eq!(outbound.take_dropped_of_flows(), [("".into(), 2)], "the other one was of QoS 0");
    assert_eq!(outbound.take_dropped(), Dropped::default(), "told once");
}

#[test]
fn a_message_that_expires_in_flight_is_completed() {
    let mut outbound = connected(&Limits::default());
    outbound.push_assured(expiring("t", QoS::AtLeastOnce, "late", Some(2))).unwrap();
    briefs(&mut outbound);
    outbound.handle_disconnect();
    outbound.handle_connect(client());
    let mut out = Vec::new();
    outbound.poll_transmit(60_000, ALL, &mut out);
    let sent = read(&out, Version::V5);
    assert!(matches!(sent[..], [Sent::Publish { dup: true, expiry: Some(0), .. }]), "{sent:?}");
    assert_eq!(outbound.take_dropped().total(), 0);
}

/// Regression: a session that is not kept got a QoS 2 message at once. If then the identifier could not be kept, it came
/// again from its publisher, and a second time to the session.
#[test]
fn a_qos_2_message_is_not_sent_before_its_publisher_is_sure_not_to_send_it_again() {
    for kept in [true, false] {
        let mut outbound = connected(&Limits::default());
        let flow = outbound.flow.clone();
        let wanted = Wanted { is_remembered: true, ..Wanted::default() };
        (*outbound).push_assured(&flow, delivery("t", QoS::ExactlyOnce, "x"), wanted).unwrap();
        assert!(matches!(outbound.take_work()[..], [Work::Await(1)]));
        assert_eq!(briefs(&mut outbound), [""; 0]);
        outbound.handle_written(1, kept);
        assert_eq!(briefs(&mut outbound), if kept { vec!["2#1 x"] } else { vec![] });
        assert_eq!(outbound.pending(), usize::from(kept));
        assert!(outbound.take_work().is_empty());
    }
}

/// Regression: a retained message older than a queue's maximum age was dropped before it was sent to a new subscriber.
#[test]
fn the_maximum_age_is_that_in_the_queue_not_that_of_a_retained_message() {
    let flow = FlowLimits { max_age: Some(Duration::from_secs(5)), ..Limits::default().flow };
    let mut outbound = connected(&Limits { flow, ..Limits::default() });
    let flow = outbound.flow.clone();
    for (payload, since) in [("retained", Some(9_000)), ("as old as it is", None)] {
        let wanted = Wanted { since, ..Wanted::default() };
        // Received at 0.
        (*outbound).push_assured(&flow, assured(payload), wanted).unwrap();
    }
    let mut out = Vec::new();
    outbound.poll_transmit(10_000, ALL, &mut out);
    let sent: Vec<_> = read(&out, Version::V5).iter().map(Sent::brief).collect();
    assert_eq!(sent, ["1#1 retained"]);
}

#[test]
fn what_exceeds_the_maximum_packet_size_is_dropped_counted_and_takes_no_room_3_1_2_24() {
    let limits = Limits { max_inflight: id(1), ..Limits::default() };
    let mut outbound = OneFlow::new(&limits);
    // 2 bytes of header, 3 of topic, 2 of packet id, 1 of property length.
    outbound.handle_connect(ClientSettings { maximum_packet_size: Some(8 + 5), ..client() });
    for payload in ["123456", "12345"] {
        outbound.push_assured(assured(payload)).unwrap();
    }
    outbound.push_live(live("12345678"));
    outbound.push_live(live("1234567"));
    let sent: Vec<_> = sent(&mut outbound, ALL).iter().map(Sent::brief).collect();
    assert_eq!(sent.len(), 2);
    assert!(sent[0].ends_with(" 12345") && sent[1] == "0#0 1234567", "{sent:?}");
    assert_eq!(outbound.take_dropped(), Dropped { too_large: 2, ..Dropped::default() });
    assert_eq!(outbound.take_dropped_of_flows(), [("".into(), 1)], "the other one was of QoS 0");
}

#[test]
fn what_was_in_flight_and_is_too_large_for_the_new_connection_gives_its_room_back() {
    let mut outbound = connected(&Limits { max_inflight: id(2), ..Limits::default() });
    for payload in ["a", "a long payload", "b"] {
        outbound.push_assured(assured(payload)).unwrap();
    }
    briefs(&mut outbound);
    outbound.handle_disconnect();
    outbound.handle_connect(ClientSettings { maximum_packet_size: Some(12), ..client() });
    assert_eq!(briefs(&mut outbound), ["1#1 dup a", "1#3 b"]);
    assert_eq!(outbound.take_dropped(), Dropped { too_large: 1, ..Dropped::default() });
}

#[test]
fn aliases_up_to_the_lower_maximum_and_anew_with_each_connection() {
    for (ours, theirs) in [(2, 10), (10, 2)] {
        let mut outbound = OneFlow::new(&Limits { topic_alias_maximum: ours, ..Limits::default() });
        for _ in 0..2 {
            outbound.handle_connect(ClientSettings { topic_alias_maximum: theirs, ..client() });
            for topic in ["first", "first", "second", "third", "second", "third"] {
                outbound.push_live(delivery(topic, QoS::AtMostOnce, ""));
            }
            let expected = [("first", 1), ("", 1), ("second", 2), ("third", 0), ("", 2), ("third", 0)];
            assert_eq!(topics(&mut outbound), expected.map(|(topic, alias)| (topic.to_owned(), alias)));
            outbound.handle_disconnect();
        }
    }
}

#[test]
fn no_aliases_for_who_asked_for_none() {
    let mut outbound = connected(&Limits::default());
    for _ in 0..2 {
        outbound.push_live(delivery("topic", QoS::AtMostOnce, ""));
    }
    assert_eq!(topics(&mut outbound), [("topic".to_owned(), 0), ("topic".to_owned(), 0)]);
}

#[test]
fn an_alias_of_a_packet_that_was_not_written_is_not_set() {
    let mut outbound = OneFlow::new(&Limits::default());
    let settings = ClientSettings { maximum_packet_size: Some(20), topic_alias_maximum: 5, ..client() };
    outbound.handle_connect(settings);
    outbound.push_live(delivery("topic", QoS::AtMostOnce, "more than the client takes"));
    outbound.push_live(delivery("topic", QoS::AtMostOnce, ""));
    assert_eq!(topics(&mut outbound), [("topic".to_owned(), 1)]);
}

/// Regression: the three bytes of the alias made the packet too large, and the message was dropped.
#[test]
fn an_alias_that_makes_a_packet_too_large_costs_the_alias_not_the_message() {
    let mut outbound = OneFlow::new(&Limits::default());
    // A header of 2 bytes, a topic of 3, a property length of 1.
    let settings = ClientSettings { maximum_packet_size: Some(6 + 10), topic_alias_maximum: 1, ..client() };
    outbound.handle_connect(settings);
    for payload in ["ten bytes.", "short", "ten bytes."] {
        outbound.push_live(live(payload));
    }
    let none = ("t".to_owned(), 0);
    assert_eq!(topics(&mut outbound), [none.clone(), ("t".to_owned(), 1), none]);
    assert_eq!(outbound.take_dropped(), Dropped::default());
}

#[test]
fn the_live_queue_drops_the_oldest_and_counts_them() {
    let live_queue = QueueLimits { messages: 2, bytes: 10_000 };
    let mut outbound = connected(&Limits { live_queue, ..Limits::default() });
    for name in ["a", "b", "c", "d"] {
        outbound.push_live(live(name));
    }
    assert_eq!(briefs(&mut outbound), ["0#0 c", "0#0 d"]);
    assert_eq!(outbound.take_dropped(), Dropped { live: 2, ..Dropped::default() });
}

#[test]
fn qos_0_is_for_who_is_connected() {
    let mut outbound = OneFlow::new(&Limits::default());
    outbound.push_live(live("before"));
    outbound.handle_connect(client());
    outbound.push_live(live("not read"));
    outbound.handle_disconnect();
    outbound.push_live(live("away"));
    outbound.handle_connect(client());
    assert_eq!(briefs(&mut outbound), [""; 0]);
    assert_eq!(outbound.take_dropped(), Dropped::default());
}

#[test]
fn a_full_queue_refuses_or_drops_the_oldest() {
    let queue = QueueLimits { messages: 2, bytes: 10_000 };
    let limits =
        |when_full| Limits { flow: FlowLimits { queue, when_full, max_age: None }, ..Limits::default() };
    let mut rejects = OneFlow::new(&limits(WhenFull::Reject));
    let mut drops = OneFlow::new(&limits(WhenFull::DropOldest));
    for name in ["a", "b"] {
        rejects.push_assured(assured(name)).unwrap();
        drops.push_assured(assured(name)).unwrap();
    }
    assert_eq!(rejects.push_assured(assured("c")), Err(QueueFull(Limit::QueueMessages)));
    assert_eq!(drops.push_assured(assured("c")), Ok(()));
    let place = drops.reserve(&assured("d")).unwrap();
    drops.push_reserved(place, assured("d"));
    assert_eq!(drops.take_dropped(), Dropped { oldest: 2, ..Dropped::default() });
    assert_eq!(drops.take_dropped_of_flows(), [("".into(), 2)]);
    rejects.handle_connect(client());
    drops.handle_connect(client());
    assert_eq!(briefs(&mut rejects), ["1#1 a", "1#2 b"]);
    assert_eq!(briefs(&mut drops), ["1#3 c", "1#4 d"]);
    assert_eq!(rejects.push_assured(assured("c")), Ok(()), "those in flight do not count");
}

/// Regression: what had expired in a full queue made room for another message and was counted nowhere.
#[test]
fn what_has_expired_makes_room_and_is_counted() {
    let queue = QueueLimits { messages: 2, bytes: 10_000 };
    let max_age = Some(std::time::Duration::ZERO);
    let flow = FlowLimits { queue, max_age, when_full: WhenFull::Reject };
    let mut outbound = OneFlow::new(&Limits { flow, ..Limits::default() });
    outbound.push_assured(expiring("t", QoS::AtLeastOnce, "expired", Some(0))).unwrap();
    outbound.push_assured(assured("aged")).unwrap();
    outbound.push_assured(assured("new")).unwrap();
    assert_eq!(outbound.take_dropped(), Dropped { expired: 2, ..Dropped::default() });
    assert_eq!(outbound.take_dropped_of_flows(), [("".into(), 2)]);
    let acted: Vec<_> = outbound.take_acted().iter().collect();
    assert_eq!(
        acted,
        [(Limit::QueueMaxAge, 1)],
        "the first one's publisher did not want it to wait any longer"
    );
}

#[test]
fn a_promised_place_is_kept_and_given_back() {
    let queue = QueueLimits { messages: 1, bytes: 10_000 };
    let mut outbound =
        connected(&Limits { flow: FlowLimits { queue, ..Limits::default().flow }, ..Limits::default() });
    let place = outbound.reserve(&assured("promised")).unwrap();
    assert_eq!(outbound.push_assured(assured("no room")), Err(QueueFull(Limit::QueueMessages)));
    assert_eq!(outbound.reserve(&assured("no room")).unwrap_err(), QueueFull(Limit::QueueMessages));
    outbound.push_reserved(place, assured("promised"));
    assert_eq!(briefs(&mut outbound), ["1#1 promised"]);

    let place = outbound.reserve(&assured("never")).unwrap();
    assert_eq!(outbound.push_assured(assured("no room")), Err(QueueFull(Limit::QueueMessages)));
    outbound.release(place);
    outbound.push_assured(assured("room")).unwrap();
    assert_eq!(outbound.pending(), 2);
}

#[test]
fn a_session_that_is_over_forgets_what_it_has_and_takes_no_more() {
    let mut outbound = connected(&Limits { max_inflight: id(1), ..Limits::default() });
    outbound.push_assured(assured("in flight")).unwrap();
    outbound.push_assured(assured("waits")).unwrap();
    briefs(&mut outbound);
    let place = outbound.reserve(&assured("promised")).unwrap();
    outbound.end();
    outbound.push_reserved(place, assured("promised"));
    outbound.push_assured(assured("too late")).unwrap();
    assert_eq!(outbound.pending(), 0);
    outbound.handle_disconnect();
    outbound.handle_connect(client());
    assert_eq!(briefs(&mut outbound), [""; 0]);
}

#[test]
fn whoever_registers_is_woken_exactly_once_for_each_time() {
    let count = Arc::new(Count(AtomicUsize::new(0)));
    let waker = Waker::from(Arc::clone(&count));
    let woken = || count.0.swap(0, Ordering::SeqCst);
    let mut outbound = connected(&Limits::default());
    outbound.register(&waker);
    outbound.register(&waker);
    assert_eq!(woken(), 0);
    outbound.push_assured(assured("a")).unwrap();
    outbound.push_live(live("b"));
    outbound.request_close(ReasonCode::ServerShuttingDown);
    assert_eq!(woken(), 1);
    for wake in [
        |outbound: &mut OneFlow| outbound.push_live(live("a")),
        |outbound: &mut OneFlow| outbound.push_assured(assured("a")).unwrap(),
        |outbound: &mut OneFlow| outbound.request_close(ReasonCode::SessionTakenOver),
        |outbound: &mut OneFlow| {
            let place = outbound.reserve(&assured("a")).unwrap();
            outbound.push_reserved(place, assured("a"));
        },
    ] {
        outbound.register(&waker);
        wake(&mut outbound);
        assert_eq!(woken(), 1);
    }
    outbound.register(&waker);
    outbound.handle_disconnect();
    outbound.push_assured(assured("a")).unwrap();
    assert_eq!(woken(), 0, "the connection that registered is over");
}

#[test]
fn a_close_request_holds_until_the_next_connection() {
    let mut outbound = connected(&Limits::default());
    outbound.request_close(ReasonCode::SessionTakenOver);
    assert_eq!(outbound.close_request(), Some(ReasonCode::SessionTakenOver));
    outbound.handle_disconnect();
    outbound.handle_connect(client());
    assert_eq!(outbound.close_request(), None);
}

fn connected(limits: &Limits) -> OneFlow {
    let mut outbound = OneFlow::new(limits);
    outbound.handle_connect(client());
    outbound
}

fn live(payload: &str) -> Delivery {
    delivery("t", QoS::AtMostOnce, payload)
}

fn assured(payload: &str) -> Delivery {
    delivery("t", QoS::AtLeastOnce, payload)
}

fn qos_of(qos: u8) -> QoS {
    [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce][usize::from(qos)]
}

fn sent(outbound: &mut OneFlow, budget: usize) -> Vec<Sent> {
    let mut out = Vec::new();
    outbound.poll_transmit(0, budget, &mut out);
    read(&out, Version::V5)
}

fn briefs(outbound: &mut OneFlow) -> Vec<String> {
    sent(outbound, ALL).iter().map(Sent::brief).collect()
}

fn topics(outbound: &mut OneFlow) -> Vec<(String, u16)> {
    let topic = |packet| match packet {
        Sent::Publish { topic, alias, .. } => (topic, alias),
        Sent::PubRel { .. } => panic!("{packet:?}"),
    };
    sent(outbound, ALL).into_iter().map(topic).collect()
}

struct Count(AtomicUsize);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}
