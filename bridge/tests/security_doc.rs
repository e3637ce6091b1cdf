//! `docs/security.md` names what there is.
#![allow(clippy::unwrap_used, missing_docs)]

use std::{collections::BTreeSet, fs, path::Path};

use serde_json::Value;

#[test]
fn every_file_that_it_names_exists() {
    let text = document();
    let words: BTreeSet<&str> = words(&text).collect();
    let files: Vec<_> =
        words.iter().filter(|word| word.contains('/') && word.contains(".rs")).copied().collect();
    assert!(files.len() > 20, "{files:?}");
    for file in files {
        assert!(root().join(file).is_file(), "{file}");
    }
}

#[test]
fn it_names_every_limit_and_no_other() {
    let schema = fs::read_to_string(root().join("config/schema/server.schema.json")).unwrap();
    let schema: Value = serde_json::from_str(&schema).unwrap();
    let limits = schema["properties"]["limits"]["properties"].as_object().unwrap();
    let known: BTreeSet<_> = limits.keys().map(|key| format!("limits.{key}")).collect();
    let text = document();
    let named = words(&text).filter(|word| word.starts_with("limits.")).map(str::to_owned).collect();
    assert_eq!(known, named);
}

fn document() -> String {
    fs::read_to_string(root().join("docs/security.md")).unwrap()
}

/// What stands between backticks.
fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}
