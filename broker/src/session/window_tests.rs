#![allow(clippy::unwrap_used, clippy::expect_used)]

use super::{
    super::{
        flows::FlowIndex,
        testing::{delivery, id},
    },
    *,
};

#[test]
fn packet_ids_follow_from_numbers_and_are_never_0() {
    let max = u64::from(u16::MAX);
    for (sequence, expected) in [(1, 1), (2, 2), (max, u16::MAX), (max + 1, 1), (3 * max, u16::MAX)] {
        assert_eq!(entry(sequence, QoS::AtLeastOnce).packet_id(), id(expected), "{sequence}");
    }
}

#[test]
fn a_packet_id_in_use_is_known() {
    let mut window = Window::default();
    window.add(entry(7, QoS::AtLeastOnce));
    window.add(entry(9, QoS::AtLeastOnce));
    let a_round_later = |sequence| entry(sequence + u64::from(u16::MAX), QoS::AtLeastOnce);
    assert!(!window.is_in_use(&entry(10, QoS::AtLeastOnce)));
    let in_use = [6, 7, 8, 9].map(|sequence| window.is_in_use(&a_round_later(sequence)));
    assert_eq!(in_use, [false, true, false, true]);
}

#[test]
fn an_acknowledgement_of_the_wrong_kind_changes_nothing() {
    let mut window = Window::default();
    let (once, exactly) = (id(1), id(2));
    window.add(entry(1, QoS::AtLeastOnce));
    window.add(entry(2, QoS::ExactlyOnce));

    assert!(window.handle_puback(exactly).is_none(), "PUBACK for QoS 2");
    assert_eq!(window.handle_pubcomp(once), None, "PUBCOMP for QoS 1");
    assert_eq!(window.handle_pubcomp(exactly), None, "PUBCOMP before PUBREC");
    let not_found = Received::PubRel(ReasonCode::PacketIdentifierNotFound);
    assert_eq!(window.handle_pubrec(once, ReasonCode::Success), not_found, "PUBREC for QoS 1");
    assert_eq!(window.handle_pubrec(once, ReasonCode::UnspecifiedError), Received::Nothing);
    assert_eq!(window.handle_pubrec(id(9), ReasonCode::Success), not_found, "PUBREC for nothing");
    assert_eq!(window.len(), 2);

    assert_eq!(window.handle_pubrec(exactly, ReasonCode::Success), Received::Release(2));
    assert_eq!(window.handle_pubrec(exactly, ReasonCode::Success), Received::Nothing, "being kept");
    assert_eq!(window.handle_pubcomp(exactly), None, "PUBCOMP before PUBREL");
    assert_eq!(window.releasing().collect::<Vec<_>>(), [2]);
    assert_eq!(window.handle_released(2), Some(exactly));
    assert!(window.handle_puback(exactly).is_none(), "PUBACK after PUBREC");
    let again = window.handle_pubrec(exactly, ReasonCode::Success);
    assert_eq!(again, Received::PubRel(ReasonCode::Success), "again");
    let mut puback = || window.handle_puback(once).map(|entry| entry.sequence);
    assert_eq!((puback(), puback()), (Some(1), None), "once");
    assert_eq!((window.handle_pubcomp(exactly), window.handle_pubcomp(exactly)), (Some(2), None), "once");
    assert_eq!(window.len(), 0);
}

#[test]
fn a_pubrec_that_refuses_ends_the_handshake_4_3_3_4() {
    let mut window = Window::default();
    window.add(entry(1, QoS::ExactlyOnce));
    assert_eq!(window.handle_pubrec(id(1), ReasonCode::NotAuthorized), Received::Refused(1));
    assert_eq!(window.len(), 0);
}

#[test]
fn a_message_that_was_released_on_an_earlier_connection_awaits_pubcomp() {
    let mut window = Window::default();
    window.add(Entry { content: Content::Released, ..entry(1, QoS::ExactlyOnce) });
    assert_eq!(window.handle_pubcomp(id(1)), Some(1));
}

#[test]
fn the_memory_of_a_burst_is_given_back() {
    let mut window = Window::default();
    (1..=1_000).for_each(|sequence| window.add(entry(sequence, QoS::AtLeastOnce)));
    for sequence in 1..=1_000 {
        window.handle_puback(id(sequence));
    }
    assert!(window.entries.capacity() <= KEPT_CAPACITY);
}

fn entry(sequence: Sequence, qos: QoS) -> Entry {
    let content = Content::Message(delivery("t", qos, ""));
    Entry { sequence, flow: FlowIndex::default(), expires_at: u64::MAX, again: false, arrived: None, content }
}
