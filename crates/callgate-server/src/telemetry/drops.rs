//! Each cause of dropped requests is told at once, and then once a minute.

use std::{collections::HashMap, time::Duration};

use callgate::record::Reason;
use tokio::time::Instant;

const MINUTE: Duration = Duration::from_secs(60);
/// Causes of one reason that have a minute each; what is more than these shares one. There are
/// fewer, unless somebody makes them up.
const CAUSES: usize = 32;
/// The words of a cause: no more, because what comes then differs from request to request.
const WORDS: usize = 6;

/// Which drops were told of late.
#[derive(Debug, Default)]
pub(super) struct Drops {
    told: HashMap<(Reason, String), Recent>,
}

#[derive(Debug)]
struct Recent {
    told: Instant,
    since: u64,
}

impl Drops {
    /// How many more of this cause there were since it was last told; `None` if that is less than a
    /// minute ago.
    pub(super) fn tell(&mut self, reason: Reason, detail: &str, now: Instant) -> Option<u64> {
        let is_recent = |recent: &Recent| now.saturating_duration_since(recent.told) < MINUTE;
        let mut key = (reason, cause(detail));
        if !self.told.contains_key(&key) && self.causes(reason) >= CAUSES {
            self.told.retain(|_, recent| is_recent(recent));
            if self.causes(reason) >= CAUSES {
                key.1.clear();
            }
        }
        let fresh = Recent { told: now, since: 0 };
        match self.told.get_mut(&key) {
            Some(recent) if is_recent(recent) => {
                recent.since += 1;
                None
            }
            Some(recent) => Some(std::mem::replace(recent, fresh).since),
            None => {
                self.told.insert(key, fresh);
                Some(0)
            }
        }
    }

    fn causes(&self, reason: Reason) -> usize {
        self.told.keys().filter(|(known, _)| *known == reason).count()
    }
}

/// The beginning of an explanation, before anything that it quotes or counts: it is the same for all
/// requests that are dropped for the same cause.
fn cause(detail: &str) -> String {
    let quoted = |c: char| matches!(c, '`' | '"' | '\'' | '0'..='9');
    let constant = detail.split(quoted).next().unwrap_or_default();
    constant.split_whitespace().take(WORDS).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    const REASON: Reason = Reason::WrongAudienceRequest;

    #[test]
    fn each_cause_is_told_once_a_minute_and_what_came_between_is_counted() {
        let (mut drops, start) = (Drops::default(), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        let (audience, issuer) = ("its audience is not `x`", "the server asks for the issuer");
        assert_eq!(drops.tell(REASON, audience, at(0)), Some(0));
        assert_eq!(drops.tell(REASON, &format!("{issuer} ABC, but"), at(1)), Some(0));
        assert_eq!(drops.tell(REASON, &format!("{issuer} ADE, but"), at(2)), None);
        assert_eq!(drops.tell(REASON, "its audience is not `y`", at(59)), None);
        assert_eq!(drops.tell(Reason::BadRequest, audience, at(59)), Some(0));
        assert_eq!(drops.tell(REASON, audience, at(60)), Some(1));
        assert_eq!(drops.tell(REASON, issuer, at(61)), Some(1));
    }

    #[test]
    fn causes_that_somebody_makes_up_are_soon_told_together() {
        let (mut drops, start) = (Drops::default(), Instant::now());
        // Letters only: the name of the cause.
        let made_up = |index: usize| "x".repeat(index + 1);
        let told = |drops: &mut Drops, now| {
            (0..1000).filter(|index| drops.tell(REASON, &made_up(*index), now).is_some()).count()
        };
        assert_eq!(told(&mut drops, start), CAUSES + 1);
        assert_eq!(drops.told.len(), CAUSES + 1);
        assert_eq!(drops.tell(Reason::StaleRequest, "another reason", start), Some(0));
        // A minute later the places are free again.
        assert_eq!(told(&mut drops, start), 0);
        assert_eq!(drops.tell(REASON, "true", start + MINUTE), Some(0));
    }
}
