//! Times of day at which a role or a user is allowed.

use std::fmt;

use jiff::{
    Timestamp,
    civil::{Date, Time},
    tz::TimeZone,
};

use super::settings::TimeWindow;
use crate::clock::UnixTime;

/// Time windows in one time zone.
#[derive(Debug, Clone)]
pub(crate) struct TimeWindows {
    windows: Vec<TimeWindow>,
    zone: TimeZone,
}

impl TimeWindows {
    pub(crate) fn new(windows: Vec<TimeWindow>, zone: Option<TimeZone>) -> Self {
        Self { windows, zone: zone.unwrap_or(TimeZone::UTC) }
    }

    /// When the window that is open at `now` closes; `None` if none is open. If several are open, the
    /// latest closing time.
    pub(crate) fn open_until(&self, now: UnixTime) -> Option<UnixTime> {
        let local = Timestamp::from_second(now.seconds()).ok()?.to_zoned(self.zone.clone());
        let (date, time) = (local.date(), local.time());
        let open = self.windows.iter().filter_map(|window| closing_date(*window, date, time));
        open.filter_map(|(date, end)| self.moment(date, end, now)).max()
    }

    /// A local time as a point in time. When clocks are set back, a time of day occurs twice: the
    /// earlier one is used unless it has passed.
    fn moment(&self, date: Date, time: Time, now: UnixTime) -> Option<UnixTime> {
        let ambiguous = self.zone.to_ambiguous_zoned(date.to_datetime(time));
        let earlier = ambiguous.clone().compatible().ok()?.timestamp().as_second();
        if earlier > now.seconds() {
            return Some(UnixTime::from_seconds(earlier));
        }
        let later = ambiguous.later().ok()?.timestamp().as_second();
        (later > now.seconds()).then(|| UnixTime::from_seconds(later))
    }
}

impl fmt::Display for TimeWindows {
    /// As in `08:00:00-18:00:00 Europe/Berlin`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for TimeWindow { start, end } in &self.windows {
            write!(f, "{start}-{end} ")?;
        }
        f.write_str(self.zone.iana_name().unwrap_or("in its own time zone"))
    }
}

/// The date and time at which `window` closes, if it is open on `date` at `time`.
fn closing_date(window: TimeWindow, date: Date, time: Time) -> Option<(Date, Time)> {
    let TimeWindow { start, end } = window;
    if start < end {
        return (start <= time && time < end).then_some((date, end));
    }
    // Over midnight: the evening part closes tomorrow, the morning part today.
    if time >= start {
        return date.tomorrow().ok().map(|tomorrow| (tomorrow, end));
    }
    (time < end).then_some((date, end))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn windows(zone: &str, list: &[(&str, &str)]) -> TimeWindows {
        let window = |(start, end): &(&str, &str)| TimeWindow {
            start: start.parse().unwrap(),
            end: end.parse().unwrap(),
        };
        TimeWindows::new(list.iter().map(window).collect(), Some(TimeZone::get(zone).unwrap()))
    }

    fn at(text: &str) -> UnixTime {
        UnixTime::from_seconds(text.parse::<Timestamp>().unwrap().as_second())
    }

    #[test]
    fn window_includes_its_start_but_not_its_end() {
        let office = windows("Europe/Berlin", &[("08:00:00", "18:00:00")]);
        let table = [
            ("2026-01-15T06:59:59Z", None),
            ("2026-01-15T07:00:00Z", Some("2026-01-15T17:00:00Z")),
            ("2026-01-15T16:59:59Z", Some("2026-01-15T17:00:00Z")),
            ("2026-01-15T17:00:00Z", None),
            // In summer Berlin is two hours ahead.
            ("2026-07-15T06:00:00Z", Some("2026-07-15T16:00:00Z")),
        ];
        for (now, until) in table {
            assert_eq!(office.open_until(at(now)), until.map(at), "{now}");
        }
    }

    #[test]
    fn window_over_midnight_closes_on_the_next_day() {
        let night = windows("UTC", &[("22:00:00", "06:00:00")]);
        let table = [
            ("2026-01-15T21:59:59Z", None),
            ("2026-01-15T22:00:00Z", Some("2026-01-16T06:00:00Z")),
            ("2026-01-16T05:59:59Z", Some("2026-01-16T06:00:00Z")),
            ("2026-01-16T06:00:00Z", None),
        ];
        for (now, until) in table {
            assert_eq!(night.open_until(at(now)), until.map(at), "{now}");
        }
    }

    #[test]
    fn overlapping_windows_use_the_later_end() {
        let both = windows("UTC", &[("08:00:00", "12:00:00"), ("11:00:00", "15:00:00")]);
        let until = Some(at("2026-01-15T15:00:00Z"));
        assert_eq!(both.open_until(at("2026-01-15T11:30:00Z")), until);
    }

    #[test]
    fn repeated_closing_time_is_never_in_the_past() {
        // Berlin sets its clocks back from 03:00 to 02:00 on 2026-10-25, at 01:00 UTC.
        let early = windows("Europe/Berlin", &[("01:00:00", "02:30:00")]);
        let first = early.open_until(at("2026-10-25T00:15:00Z"));
        assert_eq!(first, Some(at("2026-10-25T00:30:00Z")));
        let second = early.open_until(at("2026-10-25T01:15:00Z"));
        assert_eq!(second, Some(at("2026-10-25T01:30:00Z")));
    }
}
