//! `cd broker && cargo +nightly fuzz run decode fuzz/corpus/decode fuzz/seeds/decode`
#![no_main]

#[path = "../harness/decode.rs"]
mod harness;

libfuzzer_sys::fuzz_target!(|input: &[u8]| harness::check(input));
