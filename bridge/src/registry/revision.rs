use std::fmt;

use serde::{Serialize, Serializer};
use sha2::{Digest, Sha256};

use crate::document::Source;

/// How many bytes of the hash are told: enough that nobody meets the same one by accident.
const LENGTH: usize = 8;

/// What tells one state of `devices.json` and `connections.json` from another, whatever they mean: a hash of both texts,
/// told as 16 hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Revision([u8; LENGTH]);

impl Revision {
    /// Of both files' texts.
    pub fn of(devices: &Source, connections: &Source) -> Self {
        let mut hash = Sha256::new();
        for text in [devices.text(), connections.text()] {
            // With its length, so that the two do not run together.
            hash.update((text.len() as u64).to_be_bytes());
            hash.update(text);
        }
        let mut revision = [0; LENGTH];
        revision.copy_from_slice(&hash.finalize()[..LENGTH]);
        Self(revision)
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl Serialize for Revision {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_change_of_a_text_is_another_revision() {
        let of = |devices: &str, connections: &str| {
            Revision::of(&Source::new("d", devices), &Source::new("c", connections)).to_string()
        };
        let first = of("{}", "[]");
        assert_eq!(first, of("{}", "[]"));
        assert!(first.len() == 16 && first.bytes().all(|byte| byte.is_ascii_hexdigit()), "{first}");
        for other in [of("{} ", "[]"), of("{", "}[]"), of("{}[", "]"), of("[]", "{}")] {
            assert_ne!(first, other);
        }
    }
}
