//! Seed packets and mutations of them, the same on every run.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::path::Path;

/// The packets in `fuzz/seeds/decode`, in the order of their names.
pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds/decode");
    let mut paths: Vec<_> =
        directory.read_dir().expect("the seeds are committed").map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    assert!(paths.len() > 30, "seeds are missing");
    paths.iter().map(|path| std::fs::read(path).unwrap()).collect()
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

    /// One of `seeds`, changed in a few places.
    pub(crate) fn mutated(&mut self, seeds: &[Vec<u8>]) -> Vec<u8> {
        let mut bytes = self.pick(seeds).clone();
        for _ in 0..1 + self.below(3) {
            self.mutate(&mut bytes, seeds);
        }
        bytes
    }

    fn mutate(&mut self, bytes: &mut Vec<u8>, seeds: &[Vec<u8>]) {
        let at = self.below(bytes.len() + 1);
        match self.below(7) {
            0 if at < bytes.len() => bytes[at] ^= 1 << self.below(8),
            1 if at < bytes.len() => bytes[at] = *self.pick(INTERESTING),
            2 => bytes.insert(at, *self.pick(INTERESTING)),
            3 if at < bytes.len() => {
                bytes.remove(at);
            }
            4 => bytes.truncate(at.max(1)),
            5 => {
                let other = self.pick(seeds);
                let from = self.below(other.len());
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

/// Bytes that mean something in many places: QoS, wildcards, separators, property identifiers, reason codes.
const INTERESTING: &[u8] = &[
    0x00, 0x01, 0x02, 0x03, 0x04, 0x05, 0x08, 0x09, 0x0B, 0x11, 0x15, 0x16, 0x17, 0x18, 0x19, 0x1C, 0x1F,
    0x21, 0x22, 0x23, 0x24, 0x26, 0x27, 0x2A, b'#', b'+', b'/', b'$', 0x30, 0x36, 0x38, 0x3E, 0x7F, 0x80,
    0x82, 0x92, 0xC0, 0xED, 0xEF, 0xFF,
];
