//! Keyed digests of clear-text secrets.

use std::sync::LazyLock;

use aws_lc_rs::{hmac, rand};

/// Random for each process, so that a digest is useless outside it.
static KEY: LazyLock<hmac::Key> = LazyLock::new(random_key);

pub(super) fn random_key() -> hmac::Key {
    let mut bytes = [0; 32];
    #[expect(clippy::expect_used, reason = "without randomness secrets are not safe: do not run")]
    rand::fill(&mut bytes).expect("the system has no randomness");
    hmac::Key::new(hmac::HMAC_SHA256, &bytes)
}

/// A keyed digest (HMAC-SHA256) for comparing and looking up secrets. Each part is preceded by its
/// length, so that different lists of parts never have the same input.
pub(crate) fn digest(parts: &[&[u8]]) -> [u8; 32] {
    digest_with(&KEY, parts)
}

/// The same with another key.
pub(super) fn digest_with(key: &hmac::Key, parts: &[&[u8]]) -> [u8; 32] {
    let mut context = hmac::Context::with_key(key);
    for part in parts {
        context.update(&(part.len() as u64).to_le_bytes());
        context.update(part);
    }
    let mut digest = [0; 32];
    digest.iter_mut().zip(context.sign().as_ref()).for_each(|(to, from)| *to = *from);
    digest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boundaries_of_parts_count() {
        let ab = digest(&[b"a-b", b"c"]);
        assert_ne!(ab, digest(&[b"a", b"b-c"]));
        assert_ne!(ab, digest(&[b"a-b", b"c", b""]));
        assert_eq!(ab, digest(&[b"a-b", b"c"]));
    }
}
