//! `docs/conformance.md` leaves no statement of the standards out, and names no test that does not exist.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeSet;

use ior_tests::tables::{self, named_tests};

/// Section and number of statements in it, of Appendix B of MQTT 3.1.1.
const V311: &str = "\
    1.5.3:3 2.2.2:2 2.3.1:7 3.1.0:2 3.1.2:24 3.1.3:11 3.1.4:5 3.2.0:1 3.2.2:6 3.3.1:12 3.3.2:3 3.3.4:1 3.3.5:2 3.6.1:1 \
    3.8.1:1 3.8.3:4 3.8.4:6 3.9.3:2 3.10.1:1 3.10.3:2 3.10.4:6 3.12.4:1 3.14.1:1 3.14.4:3 4.1.0:2 4.3.1:1 4.3.2:2 4.3.3:2 \
    4.4.0:1 4.5.0:2 4.6.0:6 4.7.1:3 4.7.2:1 4.7.3:4 4.8.0:2 6.0.0:4 7.0.0:2 7.1.1:1 7.1.2:1";

/// The same of MQTT 5. It has no 2.2.1-1.
const V5: &str = "\
    1.5.4:3 1.5.5:1 1.5.7:1 2.1.3:1 2.2.1:6 2.2.2:1 3.1.0:2 3.1.2:30 3.1.3:12 3.1.4:6 3.2.0:2 3.2.2:22 3.3.1:13 3.3.2:20 \
    3.3.4:10 3.4.2:3 3.5.2:3 3.6.1:1 3.6.2:3 3.7.2:3 3.8.1:1 3.8.3:5 3.8.4:8 3.9.2:2 3.9.3:2 3.10.1:1 3.10.3:2 3.10.4:6 \
    3.11.2:2 3.11.3:2 3.12.4:1 3.14.0:1 3.14.1:1 3.14.2:4 3.14.4:3 3.15.1:1 3.15.2:3 4.1.0:2 4.2:1 4.3.1:1 4.3.2:5 \
    4.3.3:13 4.4.0:2 4.5.0:2 4.6.0:6 4.7.0:1 4.7.1:2 4.7.2:1 4.7.3:4 4.8.2:6 4.9.0:3 4.12.0:7 4.12.1:2 4.13.1:1 4.13.2:1 \
    6.0.0:4";

#[test]
fn every_statement_is_listed_once() {
    for (column, standard) in [(0, V311), (1, V5)] {
        let listed: Vec<String> = rows().iter().flat_map(|row| words(&row[column])).collect();
        let listed_once: BTreeSet<&String> = listed.iter().collect();
        assert_eq!(listed.len(), listed_once.len(), "a statement is listed twice in column {column}");
        let expected = statements(standard);
        let expected: BTreeSet<&String> = expected.iter().filter(|id| *id != "2.2.1-1").collect();
        let missing: Vec<_> = expected.difference(&listed_once).collect();
        let unknown: Vec<_> = listed_once.difference(&expected).collect();
        assert!(missing.is_empty() && unknown.is_empty(), "missing: {missing:?}, unknown: {unknown:?}");
    }
}

#[test]
fn every_row_says_what_shows_it() {
    for row in rows() {
        assert!(!row[2].is_empty() && !row[3].is_empty(), "{row:?}");
    }
}

#[test]
fn every_test_that_is_named_exists() {
    assert!(rows().iter().map(|row| named_tests(&row[3]).len()).sum::<usize>() > 0);
}

/// The cells of all tables.
fn rows() -> Vec<Vec<String>> {
    tables::rows("docs/conformance.md", 4)
}

fn words(cell: &str) -> Vec<String> {
    cell.split(", ").filter(|word| !word.is_empty()).map(String::from).collect()
}

fn statements(standard: &str) -> Vec<String> {
    standard
        .split_whitespace()
        .flat_map(|section| {
            let (section, count) = section.split_once(':').unwrap();
            (1..=count.parse::<u32>().unwrap()).map(move |number| format!("{section}-{number}"))
        })
        .collect()
}
