//! `cd bridge && cargo +nightly fuzz run configuration fuzz/corpus/configuration fuzz/seeds/configuration`
#![no_main]

#[path = "../harness/configuration.rs"]
mod harness;

libfuzzer_sys::fuzz_target!(|input: &[u8]| harness::check(input));
