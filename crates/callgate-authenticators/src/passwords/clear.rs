//! Clear-text secrets, of which only a digest under a key of this process is kept.

use std::sync::LazyLock;

use aws_lc_rs::{hmac, rand};

/// Made anew at every start, so that a digest means nothing outside this process.
static KEY: LazyLock<hmac::Key> = LazyLock::new(|| {
    let mut bytes = [0; 32];
    #[expect(clippy::expect_used, reason = "without randomness no secret can be kept: do not run")]
    rand::fill(&mut bytes).expect("the system has no randomness");
    hmac::Key::new(hmac::HMAC_SHA256, &bytes)
});

/// A digest by which secrets are compared and looked up: equal length, no early exit, no way back.
/// Every part is preceded by its length, so that no two lists of parts give the same.
pub(crate) fn digest(parts: &[&[u8]]) -> [u8; 32] {
    let mut context = hmac::Context::with_key(&KEY);
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
    fn parts_that_are_cut_differently_give_different_digests() {
        let ab = digest(&[b"a-b", b"c"]);
        assert_ne!(ab, digest(&[b"a", b"b-c"]));
        assert_ne!(ab, digest(&[b"a-b", b"c", b""]));
        assert_eq!(ab, digest(&[b"a-b", b"c"]));
    }
}
