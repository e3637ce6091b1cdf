//! The outbound half against its model, by random sequences.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use proptest::prelude::*;

use super::model::{Step, check};
use crate::codec::Version;

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn what_is_accepted_arrives_as_its_qos_says(steps in prop::collection::vec(step(), 1..120)) {
        check(steps);
    }
}

fn step() -> impl Strategy<Value = Step> {
    let connect = (any::<bool>(), 1..9_u16, any::<bool>(), 0..3_u16);
    prop_oneof![
        8 => (0..3_u8, prop::bool::weighted(0.2)).prop_map(|(qos, large)| Step::Push { qos, large }),
        1 => any::<bool>().prop_map(|keep| Step::Promise { keep }),
        6 => prop_oneof![1..60_usize, Just(usize::MAX)].prop_map(|budget| Step::Poll { budget }),
        6 => (1..6_usize).prop_map(|packets| Step::Receive { packets }),
        8 => (any::<usize>(), prop::bool::weighted(0.1))
            .prop_map(|(which, refuse)| Step::Acknowledge { which, refuse }),
        2 => (0..4_u8, 1..40_u16).prop_map(|(kind, id)| Step::WrongAcknowledgement { kind, id }),
        2 => Just(Step::Disconnect),
        1 => (0..3_usize).prop_map(|topic| Step::Revoke { topic }),
        4 => connect.prop_map(|(v5, receive_maximum, limited, aliases)| Step::Connect {
            version: if v5 { Version::V5 } else { Version::V311 },
            receive_maximum,
            limited: limited && v5,
            aliases: if v5 { aliases } else { 0 },
        }),
    ]
}
