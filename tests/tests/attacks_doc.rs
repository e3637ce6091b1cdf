//! `docs/attacks.md` shows every attack by tests that exist.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use ior_tests::tables::{named_tests, rows};

#[test]
fn every_attack_is_tried_by_tests_that_exist() {
    let rows = rows("docs/attacks.md", 3);
    let numbers: Vec<String> = (1..=30).map(|number| number.to_string()).collect();
    assert_eq!(rows.iter().map(|row| row[0].clone()).collect::<Vec<_>>(), numbers);
    for row in rows {
        assert!(!row[1].is_empty() && !named_tests(&row[2]).is_empty(), "{row:?}");
    }
}
