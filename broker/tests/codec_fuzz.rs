//! A bounded run of the fuzz target `decode` on stable: the committed seeds and mutations of them, through the same
//! checks.

#[path = "../fuzz/harness/decode.rs"]
mod harness;
mod mutate;

use mutate::{OF_PACKETS, Random, seeds, with_right_length};

#[test]
fn nothing_that_a_stranger_sends_makes_the_codec_panic_or_contradict_itself() {
    let seeds = seeds("decode");
    for seed in &seeds {
        harness::check(seed);
        for end in 0..seed.len() {
            harness::check(&seed[..end]);
        }
    }
    let mut random = Random::new(3);
    for _ in 0..300_000 {
        let bytes = random.mutated(&seeds, OF_PACKETS);
        harness::check(&bytes);
        harness::check(&with_right_length(&bytes));
    }
}
