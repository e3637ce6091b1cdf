//! A bounded run of the fuzz target `filters` on stable.

#[path = "../fuzz/harness/filters.rs"]
mod harness;
#[path = "../../broker/tests/mutate/mod.rs"]
mod mutate;

#[test]
fn filters_match_contain_and_are_allowed_as_trying_all_topics_says() {
    mutate::run("filters", WORDS, 12_000, harness::check);
}

const WORDS: &[&[u8]] = &[
    b"/",
    b"+",
    b"#",
    b"$",
    b"\n",
    b"/+",
    b"/#",
    b"//",
    b"+/",
    b"u",
    b"v",
    b"c",
    b"d",
    b"a",
    b"b",
    b"e",
    b"u/c/",
    b"u/c/b",
    b"presence",
    b"/presence/",
    b"$share/g/",
    b"$SYS",
    b"x",
    b"\0",
    b" ",
    b"\xC3\xBC",
    b"\xEF\xBB\xBF",
];
