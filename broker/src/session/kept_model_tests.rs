//! The outbound half of a session that is kept against its model, by random sequences.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use proptest::prelude::*;

use super::kept_model::{ROOMS, Step, check};

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn what_was_acknowledged_arrives_whatever_happens(steps in prop::collection::vec(step(), 1..150)) {
        check(steps);
    }
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        10 => (1..3_u8, any::<bool>(), prop::bool::weighted(0.2), 0..ROOMS.len())
            .prop_map(|(qos, at_once, late, room)| Step::Publish { qos, at_once, late, room }),
        8 => (1..8_usize).prop_map(|work| Step::Commit { work }),
        1 => (1..8_usize).prop_map(|work| Step::Fail { work }),
        2 => Just(Step::Moment),
        8 => Just(Step::Poll),
        8 => (1..6_usize).prop_map(|packets| Step::Receive { packets }),
        8 => any::<usize>().prop_map(|which| Step::Acknowledge { which }),
        2 => Just(Step::Disconnect),
        4 => (1..9_u16).prop_map(|receive_maximum| Step::Connect { receive_maximum }),
        1 => Just(Step::Die),
        2 => (1..ROOMS.len()).prop_map(|room| Step::Revoke { room }),
    ]
}
