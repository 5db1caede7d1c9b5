//! Time-based one-time passwords (RFC 6238).

use std::{fmt, time::Duration};

use aws_lc_rs::hmac;
use callgate::{clock::UnixTime, secret::Secret};
use data_encoding::BASE32_NOPAD;
use reqwest::Url;
use subtle::{Choice, ConditionallySelectable, ConstantTimeEq};
use zeroize::Zeroizing;

/// In bytes (RFC 4226 section 4, requirement 6).
const MIN_SECRET: usize = 16;
/// In bytes; longer ones are hashed by HMAC anyway.
const MAX_SECRET: usize = 128;
/// In seconds.
const MAX_PERIOD: u64 = 120;

/// What an authenticator app and Callgate share.
#[derive(Clone)]
pub(crate) struct Totp {
    key: hmac::Key,
    digits: u32,
    period: u64,
}

/// The hash of the codes. SHA-1 is what most apps support; collisions do not matter for HMAC.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Algorithm {
    #[default]
    Sha1,
    Sha256,
    Sha512,
}

/// The number of a period since 1970.
pub(crate) type Period = u64;

impl Totp {
    /// The shared secret in base32, with or without padding and spaces.
    pub(crate) fn new(
        secret: &Secret,
        digits: u32,
        period: Duration,
        algorithm: Algorithm,
    ) -> Result<Self, String> {
        let text: Zeroizing<String> = Zeroizing::new(
            secret
                .expose()
                .chars()
                .filter(|character| !matches!(character, ' ' | '-'))
                .map(|character| character.to_ascii_uppercase())
                .collect(),
        );
        let bytes = BASE32_NOPAD.decode(text.trim_end_matches('=').as_bytes());
        let bytes = Zeroizing::new(bytes.map_err(|_| "the secret is not base32")?);
        if !(MIN_SECRET..=MAX_SECRET).contains(&bytes.len()) {
            return Err(format!(
                "the secret has {} bytes; it must have {MIN_SECRET} to {MAX_SECRET}",
                bytes.len()
            ));
        }
        if !matches!(digits, 6 | 8) {
            return Err(format!("a code has 6 or 8 digits, not {digits}"));
        }
        if period.subsec_nanos() != 0 || !(1..=MAX_PERIOD).contains(&period.as_secs()) {
            return Err(format!("the period must be 1 to {MAX_PERIOD} whole seconds"));
        }
        let algorithm = match algorithm {
            Algorithm::Sha1 => hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY,
            Algorithm::Sha256 => hmac::HMAC_SHA256,
            Algorithm::Sha512 => hmac::HMAC_SHA512,
        };
        Ok(Self { key: hmac::Key::new(algorithm, &bytes), digits, period: period.as_secs() })
    }

    /// Reads an `otpauth://totp/…` URI (the Key URI format of authenticator apps).
    pub(crate) fn from_uri(uri: &Secret) -> Result<Self, String> {
        let url = Url::parse(uri.expose()).map_err(|_| "is not an `otpauth://totp/…` URI")?;
        if (url.scheme(), url.host_str()) != ("otpauth", Some("totp")) {
            return Err("is not an `otpauth://totp/…` URI".to_owned());
        }
        let (mut secret, mut digits, mut period, mut algorithm) =
            (None, 6, Duration::from_secs(30), Algorithm::default());
        for (name, value) in url.query_pairs() {
            match &*name {
                "secret" => secret = Some(Secret::from(&*value)),
                "digits" => digits = value.parse().map_err(|_| "`digits` is not a number")?,
                "period" => {
                    let seconds = value.parse().map_err(|_| "`period` is not a number")?;
                    period = Duration::from_secs(seconds);
                }
                "algorithm" => algorithm = value.parse()?,
                _ => {}
            }
        }
        Self::new(&secret.ok_or("the URI has no `secret`")?, digits, period, algorithm)
    }

    /// How many digits a code has.
    pub(crate) fn digits(&self) -> usize {
        self.digits as usize
    }

    /// How long a period lasts.
    pub(crate) fn period(&self) -> Duration {
        Duration::from_secs(self.period)
    }

    /// The period of this code, if it is that of `now` or one of `skew` periods before and after. Takes
    /// the same time whatever the code.
    pub(crate) fn matching_period(&self, code: &str, now: UnixTime, skew: u64) -> Option<Period> {
        let current = u64::try_from(now.seconds()).unwrap_or_default() / self.period;
        let mut found = Choice::from(0);
        let mut period = 0;
        for candidate in current.saturating_sub(skew)..=current.saturating_add(skew) {
            let equal = self.code(candidate).as_bytes().ct_eq(code.as_bytes());
            period.conditional_assign(&candidate, equal);
            found |= equal;
        }
        bool::from(found).then_some(period)
    }

    /// The code of a period (RFC 4226 section 5.3).
    fn code(&self, period: Period) -> Zeroizing<String> {
        let tag = hmac::sign(&self.key, &period.to_be_bytes());
        let hash = tag.as_ref();
        let offset = usize::from(hash.last().copied().unwrap_or_default() & 0xf);
        let bytes = hash.get(offset..offset + 4).and_then(|four| four.try_into().ok());
        let number = u32::from_be_bytes(bytes.unwrap_or_default()) & 0x7fff_ffff;
        let digits = self.digits();
        Zeroizing::new(format!("{:0digits$}", number % 10u32.pow(self.digits)))
    }
}

impl std::str::FromStr for Algorithm {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        match name {
            "SHA1" => Ok(Self::Sha1),
            "SHA256" => Ok(Self::Sha256),
            "SHA512" => Ok(Self::Sha512),
            _ => Err("the algorithm must be SHA1, SHA256 or SHA512".to_owned()),
        }
    }
}

impl fmt::Debug for Totp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Totp({} digits, {} s, [redacted])", self.digits, self.period)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The secrets of RFC 6238 appendix B.
    fn secret(length: usize) -> Secret {
        let digits = b"1234567890".iter().copied().cycle().take(length).collect::<Vec<_>>();
        Secret::from(BASE32_NOPAD.encode(&digits))
    }

    #[test]
    fn codes_are_those_of_rfc_6238() {
        let period = Duration::from_secs(30);
        for (algorithm, length, codes) in [
            (
                Algorithm::Sha1,
                20,
                ["94287082", "07081804", "14050471", "89005924", "69279037", "65353130"],
            ),
            (
                Algorithm::Sha256,
                32,
                ["46119246", "68084774", "67062674", "91819424", "90698825", "77737706"],
            ),
            (
                Algorithm::Sha512,
                64,
                ["90693936", "25091201", "99943326", "93441116", "38618901", "47863826"],
            ),
        ] {
            let totp = Totp::new(&secret(length), 8, period, algorithm).unwrap();
            let six = Totp::new(&secret(length), 6, period, algorithm).unwrap();
            let times =
                [59, 1_111_111_109, 1_111_111_111, 1_234_567_890, 2_000_000_000, 20_000_000_000];
            for (seconds, code) in times.into_iter().zip(codes) {
                let now = UnixTime::from_seconds(seconds);
                let number = u64::try_from(seconds).unwrap() / 30;
                assert_eq!(totp.matching_period(code, now, 0), Some(number), "{code}");
                assert_eq!(six.matching_period(&code[2..], now, 0), Some(number), "{code}");
                assert_eq!(totp.matching_period(&code[2..], now, 0), None);
                let late = UnixTime::from_seconds(seconds + 30);
                assert_eq!(totp.matching_period(code, late, 0), None);
                assert_eq!(totp.matching_period(code, late, 1), Some(number));
            }
        }
    }

    #[test]
    fn uris_of_authenticator_apps_are_read() {
        let secret = secret(20);
        let text = secret.expose();
        let now = UnixTime::from_seconds(59);
        for uri in [
            format!("otpauth://totp/Acme:alice@example.com?secret={text}&issuer=Acme&digits=8"),
            format!("otpauth://totp/alice?digits=8&period=30&algorithm=SHA1&secret={text}"),
            format!("otpauth://totp/alice?digits=8&secret={}====", text.to_lowercase()),
        ] {
            let totp = Totp::from_uri(&Secret::from(uri)).unwrap();
            assert_eq!(totp.matching_period("94287082", now, 0), Some(1));
        }
        for (uri, error) in [
            ("otpauth://hotp/a?secret=AAAA", "is not an"),
            ("https://totp/a?secret=AAAA", "is not an"),
            ("JBSWY3DPEHPK3PXP", "is not an"),
            ("otpauth://totp/a", "no `secret`"),
            ("otpauth://totp/a?secret=JBSWY3DPEHPK3PXP", "10 bytes"),
            ("otpauth://totp/a?secret=!", "not base32"),
            ("otpauth://totp/a?secret=JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP&digits=7", "6 or 8"),
            ("otpauth://totp/a?secret=JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP&period=0", "whole seconds"),
            ("otpauth://totp/a?secret=JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP&algorithm=MD5", "SHA1"),
        ] {
            let found = Totp::from_uri(&Secret::from(uri)).unwrap_err();
            assert!(found.contains(error), "{uri}: {found}");
            assert!(!found.contains("JBSWY3DP"), "{found}");
        }
    }

    #[test]
    fn debug_hides_the_secret() {
        let totp = Totp::new(&secret(20), 6, Duration::from_secs(30), Algorithm::Sha1).unwrap();
        assert_eq!(format!("{totp:?}"), "Totp(6 digits, 30 s, [redacted])");
    }
}
