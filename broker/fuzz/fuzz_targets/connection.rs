//! `cd broker && cargo +nightly fuzz run connection fuzz/corpus/connection fuzz/seeds/connection`
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| ior_broker::fuzzing::connection::check(input));
