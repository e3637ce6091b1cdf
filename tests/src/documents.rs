//! The project's documents, and the programs and commands in them.

use std::path::Path;

/// A document's text, by its path in the repository.
#[track_caller]
pub fn read(path: &str) -> String {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    std::fs::read_to_string(workspace.join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Its fenced blocks of a language, in their order, each with its last line feed.
#[track_caller]
pub fn blocks(path: &str, language: &str) -> Vec<String> {
    let text = read(path);
    let fence = format!("\n```{language}\n");
    let block = |rest: &str| match rest.find("\n```") {
        Some(end) => rest[..=end].to_owned(),
        None => panic!("{path}: a block of {language} has no end"),
    };
    text.split(&fence).skip(1).map(block).collect()
}
