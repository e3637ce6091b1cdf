//! Seeds and mutations of them, the same on every run, for the fuzz targets that also run on stable.
#![allow(clippy::unwrap_used, clippy::expect_used)]
#![allow(dead_code, reason = "each of the tests that include this file uses a part of it")]

use std::{env, fs, path::Path};

/// How much more memory the second half of a run may take, in bytes: what allocators and caches do is a quarter of it, and
/// a hundred bytes for each input would be more.
const MOST_GROWTH: usize = 1 << 20;

/// Set to a number, it is how many mutations are tried instead of a few: for a long run by hand.
const INPUTS_VARIABLE: &str = "IOR_FUZZ_INPUTS";

/// The files in `fuzz/seeds/<target>` of the package under test, in the order of their names.
pub(crate) fn seeds(target: &str) -> Vec<Vec<u8>> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds").join(target);
    let mut paths: Vec<_> =
        directory.read_dir().expect("the seeds are committed").map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    assert!(paths.len() >= 10, "seeds are missing");
    paths.iter().map(|path| fs::read(path).unwrap()).collect()
}

/// Gives `check` the seeds of a target and `inputs` mutations of them. Panics if `check` does, and tells the input, or if
/// the second half of them leaves memory in use.
///
/// Has the process for itself, else the memory of others counts.
pub(crate) fn run(target: &str, words: &[&[u8]], inputs: usize, mut check: impl FnMut(&[u8])) {
    let seeds = seeds(target);
    let inputs = env::var(INPUTS_VARIABLE).map_or(inputs, |number| number.parse().unwrap());
    for seed in &seeds {
        check(Telling(seed).0);
    }
    let mut random = Random::new(inputs as u64);
    let mut half = 0;
    for number in 0..inputs {
        let input = random.mutated(&seeds, words);
        check(Telling(&input).0);
        if number == inputs / 2 {
            half = resident_bytes();
        }
    }
    let grown = resident_bytes().saturating_sub(half);
    assert!(grown < MOST_GROWTH, "{grown} bytes more after {} inputs", inputs / 2);
}

/// Tells the input if the check of it panics.
struct Telling<'a>(&'a [u8]);

impl Drop for Telling<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the input: {}", self.0.escape_ascii());
        }
    }
}

pub(crate) fn resident_bytes() -> usize {
    let pages = fs::read_to_string("/proc/self/statm").unwrap();
    pages.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
}

/// A small generator of numbers (xorshift64*).
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.max(1))
    }

    /// A number below `limit`, which is not 0.
    pub(crate) fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) as usize % limit
    }

    pub(crate) fn pick<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        &all[self.below(all.len())]
    }

    /// One of `seeds`, changed in a few places; `words` mean something to whoever reads it.
    pub(crate) fn mutated(&mut self, seeds: &[Vec<u8>], words: &[&[u8]]) -> Vec<u8> {
        let mut bytes = self.pick(seeds).clone();
        for _ in 0..1 + self.below(3) {
            self.mutate(&mut bytes, seeds, words);
        }
        bytes
    }

    fn mutate(&mut self, bytes: &mut Vec<u8>, seeds: &[Vec<u8>], words: &[&[u8]]) {
        let at = self.below(bytes.len() + 1);
        match self.below(7) {
            0 if at < bytes.len() => bytes[at] ^= 1 << self.below(8),
            1 if at < bytes.len() => drop(bytes.splice(at..=at, self.pick(words).iter().copied())),
            2 => drop(bytes.splice(at..at, self.pick(words).iter().copied())),
            3 if at < bytes.len() => {
                bytes.remove(at);
            }
            4 => bytes.truncate(at.max(1)),
            5 => {
                let other = self.pick(seeds);
                let from = self.below(other.len() + 1);
                let to = from + self.below(other.len() - from + 1);
                bytes.splice(at..at, other[from..to].iter().copied());
            }
            _ => {
                let from = self.below(at + 1);
                let part = bytes[from..at].to_vec();
                bytes.splice(at..at, part);
            }
        }
    }
}

/// The same bytes with a Remaining Length that is right for them.
pub(crate) fn with_right_length(bytes: &[u8]) -> Vec<u8> {
    let header =
        1 + bytes.iter().skip(1).take(4).position(|byte| byte & 0x80 == 0).map_or(0, |last| last + 1);
    let body = bytes.get(header..).unwrap_or_default();
    let mut packet = vec![bytes.first().copied().unwrap_or(0)];
    let mut len = body.len();
    while len > 0x7F {
        packet.push(len as u8 | 0x80);
        len >>= 7;
    }
    packet.push(len as u8);
    packet.extend_from_slice(body);
    packet
}

/// What means something in many places of a packet: QoS, wildcards, separators, property identifiers, reason codes.
pub(crate) const OF_PACKETS: &[&[u8]] = &[
    b"\x00", b"\x01", b"\x02", b"\x03", b"\x04", b"\x05", b"\x08", b"\x09", b"\x0B", b"\x11", b"\x15",
    b"\x16", b"\x17", b"\x18", b"\x19", b"\x1C", b"\x1F", b"\x21", b"\x22", b"\x23", b"\x24", b"\x26",
    b"\x27", b"\x2A", b"#", b"+", b"/", b"$", b"\x30", b"\x36", b"\x38", b"\x3E", b"\x7F", b"\x80", b"\x82",
    b"\x92", b"\xC0", b"\xED", b"\xEF", b"\xFF",
];
