//! Limits logging of dropped requests: each cause immediately, then at most once a minute.

use std::{collections::HashMap, time::Duration};

use callgate::record::Reason;
use tokio::time::Instant;

const INTERVAL: Duration = Duration::from_secs(60);
/// Causes of one reason that are limited separately; further causes share one limit. Legitimate traffic
/// has fewer.
const MAX_CAUSES: usize = 32;
/// Words of an explanation that identify its cause; later words may differ from request to request.
const CAUSE_WORDS: usize = 6;

/// Recently logged causes.
#[derive(Debug, Default)]
pub(crate) struct Drops {
    logged: HashMap<(Reason, String), Recent>,
}

#[derive(Debug)]
struct Recent {
    logged: Instant,
    suppressed: u64,
}

impl Drops {
    /// Returns how many drops of this cause were suppressed since it was last logged, or `None` if this one
    /// must be suppressed, too.
    pub(crate) fn admit(&mut self, reason: Reason, detail: &str, now: Instant) -> Option<u64> {
        let is_recent = |recent: &Recent| now.saturating_duration_since(recent.logged) < INTERVAL;
        let mut key = (reason, cause(detail));
        if !self.logged.contains_key(&key) && self.causes(reason) >= MAX_CAUSES {
            self.logged.retain(|_, recent| is_recent(recent));
            if self.causes(reason) >= MAX_CAUSES {
                key.1.clear();
            }
        }
        let fresh = Recent { logged: now, suppressed: 0 };
        match self.logged.get_mut(&key) {
            Some(recent) if is_recent(recent) => {
                recent.suppressed += 1;
                None
            }
            Some(recent) => Some(std::mem::replace(recent, fresh).suppressed),
            None => {
                self.logged.insert(key, fresh);
                Some(0)
            }
        }
    }

    fn causes(&self, reason: Reason) -> usize {
        self.logged.keys().filter(|(known, _)| *known == reason).count()
    }
}

/// The beginning of an explanation up to the first quotation or number, which is the same for all requests
/// dropped for the same cause.
fn cause(detail: &str) -> String {
    let quoted = |c: char| matches!(c, '`' | '"' | '\'' | '0'..='9');
    let constant = detail.split(quoted).next().unwrap_or_default();
    constant.split_whitespace().take(CAUSE_WORDS).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    const REASON: Reason = Reason::WrongAudienceRequest;

    #[test]
    fn each_cause_is_logged_once_a_minute_with_a_count() {
        let mut drops = Drops::default();
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let (audience, issuer) = ("its audience is not `x`", "the server asks for the issuer");
        assert_eq!(drops.admit(REASON, audience, at(0)), Some(0));
        assert_eq!(drops.admit(REASON, &format!("{issuer} ABC, but"), at(1)), Some(0));
        assert_eq!(drops.admit(REASON, &format!("{issuer} ADE, but"), at(2)), None);
        assert_eq!(drops.admit(REASON, "its audience is not `y`", at(59)), None);
        assert_eq!(drops.admit(Reason::BadRequest, audience, at(59)), Some(0));
        assert_eq!(drops.admit(REASON, audience, at(60)), Some(1));
        assert_eq!(drops.admit(REASON, issuer, at(61)), Some(1));
    }

    #[test]
    fn invented_causes_share_one_limit() {
        let mut drops = Drops::default();
        let start = Instant::now();
        // Letters only, so that all of it is the cause.
        let invented = |index: usize| "x".repeat(index + 1);
        let logged = |drops: &mut Drops, now| {
            (0..1000).filter(|index| drops.admit(REASON, &invented(*index), now).is_some()).count()
        };
        assert_eq!(logged(&mut drops, start), MAX_CAUSES + 1);
        assert_eq!(drops.logged.len(), MAX_CAUSES + 1);
        assert_eq!(drops.admit(Reason::StaleRequest, "another reason", start), Some(0));
        // A minute later, all causes are logged again.
        assert_eq!(logged(&mut drops, start), 0);
        assert_eq!(drops.admit(REASON, "true", start + INTERVAL), Some(0));
    }
}
