//! The registered claims of tokens, with strict types (RFC 7519 section 4.1).

use std::{fmt::Display, time::Duration};

use callgate::{
    authn::Rejection,
    clock::UnixTime,
    record::{Cause, Reason},
};
use serde_json::{Map, Value};

/// Maximum length of a subject, in bytes (OpenID Connect Core section 2).
pub const MAX_SUBJECT: usize = 255;
/// The last second of the year 9999; a later time is not in seconds.
const MAX_TIME: i64 = 253_402_300_799;

/// The registered claims of a token, of the right types but not yet checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegisteredClaims {
    /// `sub`: not empty, and of bounded length.
    pub subject: String,
    /// `aud`.
    pub audience: Option<Vec<String>>,
    /// `exp`.
    pub expires: UnixTime,
    /// `nbf`.
    pub not_before: Option<UnixTime>,
    /// `iat`.
    pub issued: Option<UnixTime>,
}

/// How long tokens may live, and how far clocks may differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimeRules {
    /// For `nbf` and `iat` only, not for `exp`.
    pub leeway: Duration,
    /// Maximum time from `iat` to `exp`.
    pub max_lifetime: Option<Duration>,
}

impl RegisteredClaims {
    /// Reads them, with a subject of at most [`MAX_SUBJECT`] bytes.
    ///
    /// # Errors
    /// `bad_token` if `sub` or `exp` is missing, or any of the claims has the wrong type. Times are
    /// seconds since 1970, possibly with a fraction; strings and negative numbers are errors.
    pub fn read(claims: &Map<String, Value>) -> Result<Self, Rejection> {
        Self::read_with(claims, MAX_SUBJECT)
    }

    /// Reads them, with a subject of at most `max_subject` bytes.
    ///
    /// # Errors
    /// As [`RegisteredClaims::read`].
    pub(crate) fn read_with(
        claims: &Map<String, Value>,
        max_subject: usize,
    ) -> Result<Self, Rejection> {
        Ok(Self {
            subject: subject(claims, max_subject)?,
            audience: read_audience(claims.get("aud"), "aud")?,
            expires: numeric_date(claims, "exp", f64::floor)?
                .ok_or_else(|| bad("`exp` is missing".to_owned()))?,
            not_before: numeric_date(claims, "nbf", f64::ceil)?,
            issued: numeric_date(claims, "iat", f64::ceil)?,
        })
    }

    /// Checks the audience in `aud`.
    ///
    /// # Errors
    /// `wrong_audience` if it contains none of `accepted`.
    pub(crate) fn check_audience(&self, accepted: &[String]) -> Result<(), Rejection> {
        check_audience(self.audience.as_deref().unwrap_or_default(), accepted, "aud")
    }

    /// Checks the times.
    ///
    /// # Errors
    /// `token_expired`, `token_lifetime`, or `bad_token` for a token from the future.
    pub fn check_times(&self, now: UnixTime, rules: &TimeRules) -> Result<(), Rejection> {
        if now >= self.expires {
            let detail = format!("the token expired at {}", self.expires);
            return Err(rejection(Reason::TokenExpired, detail));
        }
        let latest = now.plus(rules.leeway);
        for (name, time) in [("nbf", self.not_before), ("iat", self.issued)] {
            if let Some(time) = time.filter(|time| *time > latest) {
                return Err(bad(format!(
                    "the token's `{name}` ({time}) is in the future: synchronize the clocks"
                )));
            }
        }
        match rules.max_lifetime {
            Some(longest) => self.check_lifetime(longest),
            None => Ok(()),
        }
    }

    fn check_lifetime(&self, longest: Duration) -> Result<(), Rejection> {
        let Some(issued) = self.issued else {
            let detail = "the token has no `iat`, so its lifetime is unknown".to_owned();
            return Err(rejection(Reason::TokenLifetime, detail));
        };
        let lifetime = self.expires.seconds_since(issued);
        if lifetime <= 0 {
            return Err(bad("the token's `exp` is not after its `iat`".to_owned()));
        }
        match u64::try_from(lifetime).unwrap_or(u64::MAX) > longest.as_secs() {
            true => Err(rejection(
                Reason::TokenLifetime,
                format!(
                    "the token lives for {lifetime} s; at most {} s are allowed",
                    longest.as_secs()
                ),
            )),
            false => Ok(()),
        }
    }
}

fn subject(claims: &Map<String, Value>, max: usize) -> Result<String, Rejection> {
    match claims.get("sub") {
        Some(Value::String(subject)) if subject.is_empty() => Err(bad("`sub` is empty".to_owned())),
        Some(Value::String(subject)) if subject.len() > max => {
            Err(bad(format!("`sub` is longer than {max} bytes")))
        }
        Some(Value::String(subject)) => Ok(subject.clone()),
        Some(_) => Err(bad("`sub` is not a string".to_owned())),
        None => Err(bad("`sub` is missing".to_owned())),
    }
}

/// The audience in the claim `name`.
///
/// # Errors
/// `bad_token` if it has the wrong type.
pub(crate) fn read_audience(
    value: Option<&Value>,
    name: impl Display,
) -> Result<Option<Vec<String>>, Rejection> {
    match value.map(string_or_strings) {
        None => Ok(None),
        Some(Some(list)) => Ok(Some(list)),
        Some(None) => Err(bad(format!("`{name}` is neither a string nor a list of strings"))),
    }
}

/// Checks the audience in the claim `name`.
///
/// # Errors
/// `wrong_audience` if it contains none of `accepted`.
pub(crate) fn check_audience(
    audience: &[String],
    accepted: &[String],
    name: impl Display,
) -> Result<(), Rejection> {
    if audience.iter().any(|one| accepted.contains(one)) {
        return Ok(());
    }
    let accepted = accepted.join("`, `");
    Err(rejection(
        Reason::WrongAudience,
        format!("the token is not for this system: its `{name}` contains none of `{accepted}`"),
    ))
}

/// A text, or the strings of a list that contains nothing else.
pub(crate) fn string_or_strings(value: &Value) -> Option<Vec<String>> {
    match value {
        Value::String(one) => Some(vec![one.clone()]),
        other => strings(other),
    }
}

/// The strings of a list that contains nothing else.
pub(crate) fn strings(value: &Value) -> Option<Vec<String>> {
    value.as_array()?.iter().map(|one| one.as_str().map(str::to_owned)).collect()
}

/// A NumericDate (RFC 7519 section 2), which may have a fraction. `round` must never make the token
/// valid for longer than it says.
pub(crate) fn numeric_date(
    claims: &Map<String, Value>,
    name: &str,
    round: fn(f64) -> f64,
) -> Result<Option<UnixTime>, Rejection> {
    let Some(value) = claims.get(name) else { return Ok(None) };
    let seconds = value.as_i64().or_else(|| {
        // The cast is exact for values in range and saturates for others, infinity included.
        value.as_f64().filter(|seconds| *seconds >= 0.0).map(|seconds| round(seconds) as i64)
    });
    match seconds {
        Some(seconds) if (0..=MAX_TIME).contains(&seconds) => {
            Ok(Some(UnixTime::from_seconds(seconds)))
        }
        Some(_) | None => Err(bad(format!("`{name}` is not a time in seconds since 1970"))),
    }
}

/// When a token was issued, if its claims say so.
pub(crate) fn issued_at(claims: &Map<String, Value>) -> Option<UnixTime> {
    numeric_date(claims, "iat", f64::floor).ok().flatten()
}

/// Rejects a token with claims that are missing, malformed or not accepted.
pub(crate) fn bad(detail: impl Into<String>) -> Rejection {
    Rejection::new(Reason::BadToken, detail).because(Cause::Claims)
}

/// Rejects a token that cannot be read.
pub(crate) fn malformed(detail: impl Into<String>) -> Rejection {
    bad(detail).because(Cause::Malformed)
}

/// Rejects a token without a valid signature by a known key.
pub(crate) fn bad_signature(detail: impl Into<String>) -> Rejection {
    bad(detail).because(Cause::Signature)
}

pub(crate) fn rejection(reason: Reason, detail: String) -> Rejection {
    Rejection::new(reason, detail)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const NOW: i64 = 1_800_000_000;
    const RULES: TimeRules = TimeRules {
        leeway: Duration::from_secs(30),
        max_lifetime: Some(Duration::from_secs(3600)),
    };

    fn check(claims: Value) -> Result<(), Reason> {
        let Value::Object(claims) = claims else { panic!("not an object") };
        RegisteredClaims::read(&claims)
            .and_then(|claims| claims.check_times(UnixTime::from_seconds(NOW), &RULES))
            .map_err(|rejection| rejection.reason)
    }

    #[test]
    fn times_are_numbers_of_seconds() {
        for exp in [
            json!(null),
            json!("1800000600"),
            json!("1800000600.5"),
            json!("NaN"),
            json!("Infinity"),
            json!(1e300),
            json!(MAX_TIME as f64 + 1.0),
            json!(-1),
            json!(-0.5),
            json!(i64::MIN),
            json!(u64::MAX),
            json!(MAX_TIME + 1),
            json!(true),
            json!([1_800_000_600]),
            json!({}),
        ] {
            assert_eq!(check(json!({"sub": "a", "exp": exp})), Err(Reason::BadToken), "{exp}");
            let nbf = json!({"sub": "a", "exp": NOW + 60, "iat": NOW, "nbf": exp});
            assert_eq!(check(nbf), Err(Reason::BadToken), "nbf {exp}");
            let iat = json!({"sub": "a", "exp": NOW + 60, "iat": exp});
            assert_eq!(check(iat), Err(Reason::BadToken), "iat {exp}");
        }
        assert_eq!(check(json!({"sub": "a"})), Err(Reason::BadToken));
    }

    #[test]
    fn fractional_times_never_extend_validity() {
        let read = |claims: Value| RegisteredClaims::read(claims.as_object().unwrap()).unwrap();
        for (time, down, up) in [
            (json!(1_800_000_600.0), 1_800_000_600, 1_800_000_600),
            (json!(1.8e9), 1_800_000_000, 1_800_000_000),
            (json!(1_800_000_600.25), 1_800_000_600, 1_800_000_601),
            (json!(1_800_000_600.75), 1_800_000_600, 1_800_000_601),
            (json!(0.5), 0, 1),
        ] {
            let claims = read(json!({"sub": "a", "exp": time, "nbf": time, "iat": time}));
            assert_eq!(claims.expires, UnixTime::from_seconds(down), "{time}");
            assert_eq!(claims.not_before, Some(UnixTime::from_seconds(up)), "{time}");
            assert_eq!(claims.issued, Some(UnixTime::from_seconds(up)), "{time}");
        }
        let at = |exp: f64, iat: f64| check(json!({"sub": "a", "exp": exp, "iat": iat}));
        let now = NOW as f64;
        assert_eq!(at(now + 0.9, now), Err(Reason::TokenExpired));
        assert_eq!(at(now + 1.1, now), Ok(()));
        assert_eq!(at(now + 60.0, now + 30.1), Err(Reason::BadToken));
    }

    #[test]
    fn leeway_does_not_extend_expiry() {
        let at = |exp: i64, nbf: i64, iat: i64| {
            check(json!({"sub": "a", "exp": NOW + exp, "nbf": NOW + nbf, "iat": NOW + iat}))
        };
        assert_eq!(at(1, 0, 0), Ok(()));
        assert_eq!(at(0, 0, -10), Err(Reason::TokenExpired));
        assert_eq!(at(-1, 0, -10), Err(Reason::TokenExpired));
        assert_eq!(at(60, 30, 30), Ok(()));
        assert_eq!(at(60, 31, 0), Err(Reason::BadToken));
        assert_eq!(at(60, 0, 31), Err(Reason::BadToken));
    }

    #[test]
    fn long_or_unknown_lifetime_is_refused() {
        let at =
            |exp: i64, iat: i64| check(json!({"sub": "a", "exp": NOW + exp, "iat": NOW + iat}));
        assert_eq!(at(3600, 0), Ok(()));
        assert_eq!(at(3601, 0), Err(Reason::TokenLifetime));
        assert_eq!(at(60, -3600), Err(Reason::TokenLifetime));
        assert_eq!(at(10, 10), Err(Reason::BadToken));
        assert_eq!(check(json!({"sub": "a", "exp": NOW + 60})), Err(Reason::TokenLifetime));
    }

    #[test]
    fn subject_and_audience_have_strict_types() {
        for sub in [json!(""), json!(null), json!(1), json!(["a"]), json!("x".repeat(256))] {
            let claims = json!({"sub": sub, "exp": NOW + 60, "iat": NOW});
            assert_eq!(check(claims), Err(Reason::BadToken), "{sub}");
        }
        for aud in [json!(null), json!(1), json!({}), json!(["a", 1]), json!(["a", ["b"]])] {
            let claims = json!({"sub": "a", "aud": aud, "exp": NOW + 60, "iat": NOW});
            assert_eq!(check(claims), Err(Reason::BadToken), "{aud}");
        }
    }
}
