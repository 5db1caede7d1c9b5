//! SPIFFE IDs (the SPIFFE ID and X509-SVID specifications).

use std::{fmt, str::FromStr};

/// In bytes (SPIFFE ID section 2.3).
const MAX_ID: usize = 2048;
/// In bytes (SPIFFE ID section 2.1).
const MAX_TRUST_DOMAIN: usize = 255;

/// A SPIFFE ID such as `spiffe://example.org/ns/prod`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SpiffeId {
    id: String,
    path_start: usize,
}

/// The name of a trust domain.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct TrustDomain(pub(super) String);

impl SpiffeId {
    pub(super) fn trust_domain(&self) -> &str {
        self.id.get("spiffe://".len()..self.path_start).unwrap_or_default()
    }

    /// The path with its leading slash, or nothing.
    pub(super) fn path(&self) -> &str {
        self.id.get(self.path_start..).unwrap_or_default()
    }
}

impl FromStr for SpiffeId {
    type Err = &'static str;

    fn from_str(id: &str) -> Result<Self, Self::Err> {
        if id.len() > MAX_ID {
            return Err("the SPIFFE ID has more than 2048 bytes");
        }
        let rest = id.strip_prefix("spiffe://").ok_or("the URI is not a SPIFFE ID")?;
        let (domain, path) = match rest.find('/') {
            Some(slash) => rest.split_at(slash),
            None => (rest, ""),
        };
        domain.parse::<TrustDomain>()?;
        if !path.split('/').skip(1).all(is_segment) {
            return Err(
                "the path of the SPIFFE ID has an empty segment, `.`, `..` or a character other than letters, digits, `-`, `.` and `_`",
            );
        }
        Ok(Self { path_start: id.len() - path.len(), id: id.to_owned() })
    }
}

impl FromStr for TrustDomain {
    type Err = &'static str;

    fn from_str(domain: &str) -> Result<Self, Self::Err> {
        let fits = (1..=MAX_TRUST_DOMAIN).contains(&domain.len());
        let allowed = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_');
        match fits && domain.bytes().all(allowed) {
            true => Ok(Self(domain.to_owned())),
            false => Err(
                "a trust domain has 1 to 255 lowercase letters, digits, `-`, `.` and `_`, and no port",
            ),
        }
    }
}

impl fmt::Display for TrustDomain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn is_segment(segment: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
    !matches!(segment, "" | "." | "..") && segment.bytes().all(allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_follow_the_grammar() {
        for (id, domain, path) in [
            ("spiffe://example.org", "example.org", ""),
            ("spiffe://example.org/a", "example.org", "/a"),
            ("spiffe://a_b-1.c/ns/prod/Sa.1_-", "a_b-1.c", "/ns/prod/Sa.1_-"),
        ] {
            let parsed: SpiffeId = id.parse().unwrap();
            assert_eq!((parsed.trust_domain(), parsed.path()), (domain, path), "{id}");
        }
        for id in [
            "",
            "spiffe://",
            "spiffe:///a",
            "SPIFFE://example.org/a",
            "https://example.org/a",
            "spiffe://Example.org/a",
            "spiffe://example.org:8080/a",
            "spiffe://user@example.org/a",
            "spiffe://example.org/",
            "spiffe://example.org/a/",
            "spiffe://example.org//a",
            "spiffe://example.org/./a",
            "spiffe://example.org/../a",
            "spiffe://example.org/a?b",
            "spiffe://example.org/a#b",
            "spiffe://example.org/a%62",
            "spiffe://example.org/ä",
            "spiffe://example.org?a",
        ] {
            assert!(id.parse::<SpiffeId>().is_err(), "{id}");
        }
        let long = format!("spiffe://example.org/{}", "a".repeat(2048));
        assert!(long.parse::<SpiffeId>().is_err());
        assert!(long[..2048].parse::<SpiffeId>().is_ok());
    }
}
