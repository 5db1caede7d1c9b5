//! What an authenticator app shows (RFC 6238).

use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::hmac::{HMAC_SHA1_FOR_LEGACY_USE_ONLY, Key, sign};

/// Waits until at least five seconds of the current period are left, then returns its code: six digits,
/// 30 s, SHA-1.
pub async fn fresh_code(secret: &[u8]) -> String {
    loop {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs();
        if now % 30 < 25 {
            return code(secret, now / 30);
        }
        tokio::time::sleep(std::time::Duration::from_secs(30 - now % 30)).await;
    }
}

fn code(secret: &[u8], period: u64) -> String {
    let tag = sign(&Key::new(HMAC_SHA1_FOR_LEGACY_USE_ONLY, secret), &period.to_be_bytes());
    let hash = tag.as_ref();
    let offset = usize::from(hash[19] & 0xf);
    let number = u32::from_be_bytes(hash[offset..offset + 4].try_into().expect("four bytes"));
    format!("{:06}", (number & 0x7fff_ffff) % 1_000_000)
}
