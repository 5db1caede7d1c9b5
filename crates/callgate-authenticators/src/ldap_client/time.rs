//! Times in attributes.

use callgate::clock::UnixTime;
use jiff::{Timestamp, civil::DateTime};

/// Reads RFC 3339 or generalized time (RFC 4517 section 3.3.13), rounded down to seconds.
pub(crate) fn parse_time(text: &str) -> Option<UnixTime> {
    let is_generalized = text.bytes().take(10).filter(u8::is_ascii_digit).count() == 10;
    let seconds = match is_generalized {
        true => generalized(text)?,
        false => text.parse::<Timestamp>().ok()?.as_second(),
    };
    Some(UnixTime::from_seconds(seconds))
}

/// `YYYYMMDDHH[MM[SS]][.fraction](Z|±HH[MM])`. A fraction counts only after seconds: of an hour or a
/// minute it is rounded down, too.
fn generalized(text: &str) -> Option<i64> {
    let zone = text.find(['Z', '+', '-'])?;
    let (time, zone) = text.split_at_checked(zone)?;
    let (time, fraction) = time.split_once(['.', ',']).unwrap_or((time, "0"));
    let is_digits = |text: &str| !text.is_empty() && text.bytes().all(|c| c.is_ascii_digit());
    if !is_digits(time) || !is_digits(fraction) {
        return None;
    }
    let part = |from: usize| time.get(from..from + 2)?.parse::<i8>().ok();
    let year = time.get(..4)?.parse().ok()?;
    let (minute, second) = match time.len() {
        10 => (0, 0),
        12 => (part(10)?, 0),
        14 => (part(10)?, part(12)?),
        _ => return None,
    };
    let date = DateTime::new(year, part(4)?, part(6)?, part(8)?, minute, second, 0).ok()?;
    let utc = date.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp().as_second();
    Some(utc - offset(zone)?)
}

/// The offset from UTC in seconds.
fn offset(zone: &str) -> Option<i64> {
    let (sign, digits) = match zone.split_at_checked(1)? {
        ("Z", "") => return Some(0),
        ("+", digits) => (1, digits),
        ("-", digits) => (-1, digits),
        _ => return None,
    };
    if !matches!(digits.len(), 2 | 4) || !digits.bytes().all(|c| c.is_ascii_digit()) {
        return None;
    }
    let hours: i64 = digits.get(..2)?.parse().ok()?;
    let minutes: i64 =
        digits.get(2..).filter(|text| !text.is_empty()).unwrap_or("0").parse().ok()?;
    (hours < 24 && minutes < 60).then_some(sign * (hours * 3600 + minutes * 60))
}
