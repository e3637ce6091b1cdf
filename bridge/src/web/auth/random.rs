//! What nobody can guess.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use zeroize::Zeroizing;

/// So many random bytes.
#[expect(clippy::expect_used, reason = "without random numbers nothing is safe to go on")]
pub(super) fn random<const BYTES: usize>() -> Zeroizing<[u8; BYTES]> {
    let mut bytes = Zeroizing::new([0; BYTES]);
    getrandom::fill(bytes.as_mut()).expect("the operating system has random numbers");
    bytes
}

/// The same as text, base64url.
pub(super) fn random_text<const BYTES: usize>() -> Zeroizing<String> {
    Zeroizing::new(URL_SAFE_NO_PAD.encode(*random::<BYTES>()))
}
