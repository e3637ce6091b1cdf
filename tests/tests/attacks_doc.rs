//! `docs/attacks.md` shows every attack by tests that exist.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use ior_tests::tables::{named_tests, rows};

#[test]
fn every_attack_is_tried_by_tests_that_exist() {
    for row in rows("docs/attacks.md", 3) {
        assert!(!row[1].is_empty() && !named_tests(&row[2]).is_empty(), "{row:?}");
    }
}
