//! `docs/limits.md` leaves no limit out, names none that does not exist, and says their defaults.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::{collections::BTreeMap, path::Path};

use serde_json::Value;

#[test]
fn every_limit_is_listed_with_its_default() {
    let defaults: Value = serde_json::from_str(&read("bridge/src/settings/defaults.json")).unwrap();
    let expected: BTreeMap<String, String> = defaults["limits"]
        .as_object()
        .unwrap()
        .iter()
        .map(|(key, value)| (key.clone(), text(value)))
        .collect();
    let listed: Vec<(String, String)> = rows()
        .iter()
        .map(|row| (row[0].trim_matches('`').to_owned(), row[1].trim_matches('`').to_owned()))
        .collect();
    assert_eq!(listed.len(), expected.len(), "a limit is missing, unknown or listed twice");
    assert_eq!(listed.into_iter().collect::<BTreeMap<_, _>>(), expected);
}

#[test]
fn every_limit_is_in_the_schema_with_its_default() {
    let schema: Value = serde_json::from_str(&read("config/schema/server.schema.json")).unwrap();
    let properties = &schema["properties"]["limits"]["properties"];
    for row in rows() {
        let key = row[0].trim_matches('`');
        assert_eq!(text(&properties[key]["default"]), row[1].trim_matches('`'), "{key}");
        assert!(properties[key]["description"].is_string(), "{key}");
    }
}

#[test]
fn every_row_says_everything() {
    for row in rows() {
        assert!(row.len() == 6 && row.iter().all(|cell| !cell.is_empty()), "{row:?}");
    }
}

/// The cells of all tables.
fn rows() -> Vec<Vec<String>> {
    let text = read("docs/limits.md");
    let rows = text.lines().filter(|line| line.starts_with("| `"));
    rows.map(|line| line.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect()).collect()
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn read(path: &str) -> String {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    std::fs::read_to_string(workspace.join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}
