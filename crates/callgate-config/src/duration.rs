//! Durations in a configuration: `"90s"`, `"5m"`, `"1h30m"`, `"500ms"`.

use std::time::Duration;

/// Text that is not a duration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a duration: write a number and a unit (ms, s, m, h, d), such as \"90s\"")]
pub struct DurationError(String);

/// Parses one or more pairs of a whole number and a unit: `ms`, `s`, `m`, `h`, `d`.
///
/// # Errors
/// If the text contains anything else, or a unit is missing.
pub fn parse_duration(text: &str) -> Result<Duration, DurationError> {
    let wrong = || DurationError(text.escape_debug().to_string());
    let mut rest = text;
    let mut total = Duration::ZERO;
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (number, tail) = rest.split_at(digits);
        let letters = tail.bytes().take_while(u8::is_ascii_alphabetic).count();
        let (unit, tail) = tail.split_at(letters);
        let number: u64 = number.parse().map_err(|_| wrong())?;
        let part = milliseconds_per(unit).and_then(|unit| unit.checked_mul(number));
        let part = Duration::from_millis(part.ok_or_else(wrong)?);
        total = total.checked_add(part).ok_or_else(wrong)?;
        rest = tail;
    }
    if text.is_empty() {
        return Err(wrong());
    }
    Ok(total)
}

fn milliseconds_per(unit: &str) -> Option<u64> {
    match unit {
        "ms" => Some(1),
        "s" => Some(1_000),
        "m" => Some(60_000),
        "h" => Some(3_600_000),
        "d" => Some(86_400_000),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_units_add_up() {
        let table = [
            ("90s", 90_000),
            ("5m", 300_000),
            ("1h", 3_600_000),
            ("1h30m", 5_400_000),
            ("1d", 86_400_000),
            ("500ms", 500),
            ("0s", 0),
        ];
        for (text, milliseconds) in table {
            assert_eq!(parse_duration(text), Ok(Duration::from_millis(milliseconds)), "{text}");
        }
    }

    #[test]
    fn number_without_unit_and_everything_else_is_refused() {
        for text in
            ["", "5", "s", "5 m", "-1s", "1.5h", "5M", "1h30", "99999999999999999999d", "5µs"]
        {
            assert!(parse_duration(text).is_err(), "{text}");
        }
    }
}
