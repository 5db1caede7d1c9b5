//! Logs differences: one line per identity and kind of difference per hour.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use tracing::info;

use super::ShadowResult;
use crate::{
    rehearsal::difference::Difference,
    telemetry::{sanitize, sanitize_detail},
};

const INTERVAL: Duration = Duration::from_secs(3600);
/// Identities with a difference that are remembered. Beyond that, lines may come again.
const MAX_REMEMBERED: usize = 10_000;
/// Differences in one line.
const MAX_SHOWN: usize = 5;

/// When each identity and kind of difference was logged.
#[derive(Debug, Default)]
pub(super) struct DifferenceLog(HashMap<(String, ShadowResult), Instant>);

impl DifferenceLog {
    pub(super) fn write(
        &mut self,
        authenticator: &str,
        user: &str,
        result: ShadowResult,
        differences: &[Difference],
    ) {
        if result == ShadowResult::Same || !self.is_due(authenticator, user, result) {
            return;
        }
        let shown = differences.iter().take(MAX_SHOWN);
        let shown: Vec<_> = shown
            .map(|Difference { kind, side, subject, .. }| {
                let side = if side.is_empty() { String::new() } else { format!("{side} ") };
                format!("{} {side}{subject}", kind.as_str())
            })
            .collect();
        let more = differences.len().saturating_sub(MAX_SHOWN);
        info!(
            authenticator,
            user = %sanitize(user),
            result = result.as_str(),
            differences = %sanitize_detail(&shown.join("; ")),
            more = (more > 0).then_some(more),
            "the candidate configuration decides differently"
        );
    }

    fn is_due(&mut self, authenticator: &str, user: &str, result: ShadowResult) -> bool {
        let now = Instant::now();
        let key = (format!("{authenticator}/{user}"), result);
        if self.0.get(&key).is_some_and(|last| now.duration_since(*last) < INTERVAL) {
            return false;
        }
        if self.0.len() >= MAX_REMEMBERED {
            self.0.retain(|_, last| now.duration_since(*last) < INTERVAL);
        }
        if self.0.len() >= MAX_REMEMBERED {
            self.0.clear();
        }
        self.0.insert(key, now);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn same_difference_is_due_once() {
        let mut log = DifferenceLog::default();
        assert!(log.is_due("a", "bob", ShadowResult::Lost));
        assert!(!log.is_due("a", "bob", ShadowResult::Lost));
        assert!(log.is_due("a", "bob", ShadowResult::Gained));
        assert!(log.is_due("a", "ann", ShadowResult::Lost));
        for number in 0..MAX_REMEMBERED {
            log.is_due("a", &number.to_string(), ShadowResult::Lost);
        }
        assert!(log.0.len() <= MAX_REMEMBERED);
    }
}
