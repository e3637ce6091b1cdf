//! `cd bridge && cargo +nightly fuzz run filters fuzz/corpus/filters fuzz/seeds/filters`
#![no_main]

#[path = "../harness/filters.rs"]
mod harness;

libfuzzer_sys::fuzz_target!(|input: &[u8]| harness::check(input));
