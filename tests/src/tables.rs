//! The tables of the documents in `docs/` that name tests.

use crate::documents::read;

/// The cells of all rows of a document's tables, without headings, each row with so many cells.
#[track_caller]
pub fn rows(document: &str, cells: usize) -> Vec<Vec<String>> {
    let text = read(document);
    let lines: Vec<&str> = text.lines().collect();
    let is_row = |index: usize| {
        let is_ruled = |line: &&str| line.starts_with("|--");
        lines[index].starts_with("| ") && !lines.get(index + 1).is_some_and(is_ruled)
    };
    let row = |index: usize| -> Vec<String> {
        lines[index].trim_matches('|').split('|').map(|cell| cell.trim().to_string()).collect()
    };
    let rows: Vec<_> = (0..lines.len()).filter(|index| is_row(*index)).map(row).collect();
    assert!(!rows.is_empty(), "{document} has no table");
    for row in &rows {
        assert_eq!(row.len(), cells, "{document}: {row:?}");
    }
    rows
}

/// The tests that a cell names, `file::test` each; they exist in `tests/tests/`.
#[track_caller]
pub fn named_tests(cell: &str) -> Vec<String> {
    let quoted = cell.split('`').skip(1).step_by(2);
    let names: Vec<String> = quoted.filter(|name| name.contains("::")).map(String::from).collect();
    for name in &names {
        let (file, test) = name.split_once("::").unwrap();
        let source = read(&format!("tests/tests/{file}.rs"));
        assert!(source.contains(&format!("#[test]\nfn {test}()")), "there is no test {name}");
    }
    names
}
