//! A bounded run of the fuzz target `configuration` on stable.

#[path = "../fuzz/harness/configuration.rs"]
mod harness;
#[path = "../../broker/tests/mutate/mod.rs"]
mod mutate;

#[test]
fn whatever_stands_in_the_files_is_accepted_or_refused_with_its_place() {
    mutate::run("configuration", WORDS, 10_000, harness::check);
}

const WORDS: &[&[u8]] = &[
    b"{",
    b"}",
    b"[",
    b"]",
    b"\"",
    b":",
    b",",
    b"\n",
    b" ",
    b"\\u0000",
    b"\\uD800",
    b"\\",
    b"0",
    b"-1",
    b"1.5",
    b"1e9",
    b"18446744073709551616",
    b"9007199254740993",
    b"null",
    b"true",
    b"false",
    b"4569",
    b"\"4569\"",
    b"\"code\"",
    b"\"name\"",
    b"\"type\"",
    b"\"user\"",
    b"\"id\"",
    b"\"from\"",
    b"\"to\"",
    b"\"disabled\"",
    b"\"secret_version\"",
    b"\"queue\"",
    b"\"max_age\"",
    b"\"max_bytes\"",
    b"\"10s\"",
    b"\"1MiB\"",
    b"\"presence\"",
    b"\"../..\"",
    b"\"$SYS\"",
    b"\"+\"",
    b"\xFF",
    b"\xEF\xBB\xBF",
    b"\xC3",
    b"\xF0\x9F\x8D\xB3",
    b"\0",
    b"\r",
    b"\t",
    b"\x1B",
    b"//",
    b"=== ",
    b"\n=== server.json\n",
    b"IOR_BRIDGE__",
    b"__",
];
