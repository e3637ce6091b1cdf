#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::HashSet;

use super::{
    super::testing::{delivery, id},
    *,
};

#[test]
fn packet_ids_are_never_0_and_never_one_that_is_in_use() {
    let mut window = Window::default();
    let long_lived: HashSet<_> = (0..100).map(|_| add(&mut window, QoS::AtLeastOnce)).collect();
    for _ in 0..2 * usize::from(u16::MAX) {
        let id = add(&mut window, QoS::AtLeastOnce);
        assert!(!long_lived.contains(&id), "{id} is in use");
        assert!(window.handle_puback(id));
    }
}

#[test]
fn the_last_free_packet_id_is_found() {
    let mut window = Window { last_id: 64_990, ..Window::default() };
    // Built by hand: `free_id` looks through the whole window for each.
    window.entries = (1..=u16::MAX)
        .filter(|value| *value != 64_999)
        .map(|value| Entry { id: id(value), state: State::Released })
        .collect();
    assert_eq!(window.free_id(), id(64_999));
}

#[test]
fn an_acknowledgement_of_the_wrong_kind_changes_nothing() {
    let mut window = Window::default();
    let once = add(&mut window, QoS::AtLeastOnce);
    let exactly = add(&mut window, QoS::ExactlyOnce);

    assert!(!window.handle_puback(exactly), "PUBACK for QoS 2");
    assert!(!window.handle_pubcomp(once), "PUBCOMP for QoS 1");
    assert!(!window.handle_pubcomp(exactly), "PUBCOMP before PUBREC");
    let not_found = Some(ReasonCode::PacketIdentifierNotFound);
    assert_eq!(window.handle_pubrec(once, ReasonCode::Success), not_found, "PUBREC for QoS 1");
    assert_eq!(window.handle_pubrec(once, ReasonCode::UnspecifiedError), None);
    assert_eq!(window.handle_pubrec(id(9), ReasonCode::Success), not_found, "PUBREC for nothing");
    assert_eq!(window.len(), 2);

    assert_eq!(window.handle_pubrec(exactly, ReasonCode::Success), Some(ReasonCode::Success));
    assert!(!window.handle_puback(exactly), "PUBACK after PUBREC");
    assert_eq!(window.handle_pubrec(exactly, ReasonCode::Success), Some(ReasonCode::Success), "again");
    assert!(window.handle_pubcomp(exactly) && window.handle_puback(once));
    assert!(!window.handle_pubcomp(exactly) && !window.handle_puback(once), "a second time");
    assert_eq!(window.len(), 0);
}

#[test]
fn a_pubrec_that_refuses_ends_the_handshake_4_3_3_4() {
    let mut window = Window::default();
    let refused = add(&mut window, QoS::ExactlyOnce);
    assert_eq!(window.handle_pubrec(refused, ReasonCode::NotAuthorized), None);
    assert_eq!(window.len(), 0);
}

#[test]
fn acknowledgements_amid_resending_neither_skip_nor_repeat_one() {
    // Which of five are acknowledged after how many were sent again.
    for acknowledged in 0..5 {
        for sent_before in 0..=5 {
            let mut window = Window::default();
            let ids: Vec<_> = (0..5).map(|_| add(&mut window, QoS::AtLeastOnce)).collect();
            window.handle_resume();
            let mut resent: Vec<_> = (0..sent_before).map(|_| resend(&mut window).unwrap()).collect();
            assert!(window.handle_puback(ids[acknowledged]));
            resent.extend(std::iter::from_fn(|| resend(&mut window)));
            let expected: Vec<_> = ids
                .iter()
                .enumerate()
                .filter(|(at, _)| *at != acknowledged || acknowledged < sent_before)
                .map(|(_, id)| *id)
                .collect();
            assert_eq!(resent, expected, "{acknowledged} acknowledged after {sent_before}");
            assert!(!window.is_resending());
        }
    }
}

#[test]
fn an_empty_window_has_nothing_to_send_again() {
    let mut window = Window::default();
    window.handle_resume();
    assert!(!window.is_resending());
    let only = add(&mut window, QoS::AtLeastOnce);
    window.handle_resume();
    window.handle_puback(only);
    assert!(!window.is_resending());
}

#[test]
fn the_memory_of_a_burst_is_given_back() {
    let mut window = Window::default();
    let ids: Vec<_> = (0..1_000).map(|_| add(&mut window, QoS::AtLeastOnce)).collect();
    for id in ids {
        window.handle_puback(id);
    }
    assert!(window.entries.capacity() <= KEPT_CAPACITY);
}

fn add(window: &mut Window, qos: QoS) -> PacketId {
    let id = window.free_id();
    window.add(id, delivery("t", qos, ""));
    id
}

fn resend(window: &mut Window) -> Option<PacketId> {
    let id = match window.poll_resend(usize::MAX)? {
        Resend::Publish(id, _) | Resend::PubRel(id) => id,
    };
    window.resent();
    Some(id)
}
