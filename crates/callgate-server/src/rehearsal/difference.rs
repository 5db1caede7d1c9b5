//! The difference between two decisions about the same identity, in words.

use std::{fmt, time::Duration};

use callgate::{
    clock::UnixTime,
    policy::{Grant, GrantDifference, Replaced},
    record::Denial,
};

/// The kind of a difference, in the order of the output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Kind {
    Loses,
    Gains,
    /// Placed in another account, or granted by another scoped signing key.
    Account,
    Shorter,
    Longer,
    /// Another name or other tags in the user JWT.
    Changed,
    /// Admitted, and refused before.
    New,
    /// Refused, and admitted before.
    Refused,
    /// A role as configured.
    Role,
}

impl Kind {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Loses => "loses",
            Self::Gains => "gains",
            Self::Account => "account",
            Self::Shorter => "shorter",
            Self::Longer => "longer",
            Self::Changed => "changed",
            Self::New => "new",
            Self::Refused => "refused",
            Self::Role => "role",
        }
    }
}

/// Whether a difference gives or takes something.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Effect {
    pub(crate) gain: bool,
    pub(crate) loss: bool,
}

impl Effect {
    const GAIN: Self = Self { gain: true, loss: false };
    const LOSS: Self = Self { gain: false, loss: true };
    /// Something else than before.
    pub(crate) const BOTH: Self = Self { gain: true, loss: true };
    const NEITHER: Self = Self { gain: false, loss: false };
}

/// One difference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Difference {
    pub(crate) kind: Kind,
    /// `publish`, `subscribe`, `responses`, `session` or another part; empty for a whole decision.
    pub(crate) side: &'static str,
    pub(crate) subject: String,
    pub(crate) effect: Effect,
}

impl Difference {
    fn new(kind: Kind, side: &'static str, subject: impl fmt::Display, effect: Effect) -> Self {
        Self { kind, side, subject: subject.to_string(), effect }
    }

    /// Differences of this kind are the same although their texts differ.
    pub(crate) fn is_same_as(&self, other: &Self) -> bool {
        let details = match self.kind {
            Kind::Loses | Kind::Gains | Kind::Role => self.subject == other.subject,
            Kind::Account
            | Kind::Shorter
            | Kind::Longer
            | Kind::Changed
            | Kind::New
            | Kind::Refused => true,
        };
        self.kind == other.kind && self.side == other.side && details
    }
}

/// Why there is no grant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NoGrant(pub(crate) String);

impl From<Denial> for NoGrant {
    fn from(denial: Denial) -> Self {
        Self(denial.reason.as_str().to_owned())
    }
}

/// What changes from an old decision to a new one, both made at `now`.
pub(crate) fn differences(
    old: &Result<Grant, NoGrant>,
    new: &Result<Grant, NoGrant>,
    now: UnixTime,
) -> Vec<Difference> {
    match (old, new) {
        (Err(_), Err(_)) => Vec::new(),
        (Ok(old), Err(NoGrant(why))) => {
            let text = format!("{why} (was: admitted to {})", old.account());
            vec![Difference::new(Kind::Refused, "", text, Effect::LOSS)]
        }
        (Err(NoGrant(why)), Ok(new)) => {
            let text = format!("admitted to {} (was: {why})", new.account());
            vec![Difference::new(Kind::New, "", text, Effect::GAIN)]
        }
        (Ok(old), Ok(new)) => of_grants(&old.difference(new), now),
    }
}

/// What changes from a recorded decision, of which only the account, if a session began, and a hash of the grant are
/// known.
pub(crate) fn recorded_difference(
    old: Result<(Option<&str>, &str), &str>,
    new: &Result<Grant, NoGrant>,
    new_hash: Option<&str>,
) -> Option<Difference> {
    match (old, new) {
        (Err(_), Err(_)) => None,
        (Ok((account, _)), Err(NoGrant(why))) => {
            let was = account.map_or("granted".to_owned(), |name| format!("admitted to {name}"));
            let text = format!("{why} (was: {was})");
            Some(Difference::new(Kind::Refused, "", text, Effect::LOSS))
        }
        (Err(why), Ok(new)) => {
            let text = format!("admitted to {} (was: {why})", new.account());
            Some(Difference::new(Kind::New, "", text, Effect::GAIN))
        }
        (Ok((Some(account), _)), Ok(new)) if account != new.account() => {
            let text = format!("{} (was: {account})", new.account());
            Some(Difference::new(Kind::Account, "", text, Effect::BOTH))
        }
        (Ok((_, hash)), Ok(_)) if new_hash != Some(hash) => {
            let text = "differs; --against the old configuration shows how";
            Some(Difference::new(Kind::Changed, "grant", text, Effect::BOTH))
        }
        (Ok(_), Ok(_)) => None,
    }
}

fn of_grants(difference: &GrantDifference, now: UnixTime) -> Vec<Difference> {
    let GrantDifference { account, scope, publish, subscribe, responses, end, user, tags } =
        difference;
    let mut list = Vec::new();
    for (side, difference) in [("publish", publish), ("subscribe", subscribe)] {
        let lost = difference.lost.iter();
        list.extend(lost.map(|reach| Difference::new(Kind::Loses, side, reach, Effect::LOSS)));
        let gained = difference.gained.iter();
        list.extend(gained.map(|reach| Difference::new(Kind::Gains, side, reach, Effect::GAIN)));
    }
    if let Some(lost) = responses.lost {
        list.push(Difference::new(Kind::Loses, "responses", lost, Effect::LOSS));
    }
    if let Some(gained) = responses.gained {
        list.push(Difference::new(Kind::Gains, "responses", gained, Effect::GAIN));
    }
    if let Some(Replaced { old, new }) = account {
        let text = format!("{new} (was: {old})");
        list.push(Difference::new(Kind::Account, "", text, Effect::BOTH));
    }
    if let Some(Replaced { old, new }) = scope {
        let named = |scope: &Option<String>| scope.clone().unwrap_or_else(|| "none".to_owned());
        let text = format!("{} (was: {})", named(new), named(old));
        list.push(Difference::new(Kind::Account, "scope", text, Effect::BOTH));
    }
    if let Some(Replaced { old, new }) = end {
        let (kind, effect) = match difference.ends_earlier() {
            true => (Kind::Shorter, Effect::LOSS),
            false => (Kind::Longer, Effect::GAIN),
        };
        let text = format!("{} (was: {})", length(*new, now), length(*old, now));
        list.push(Difference::new(kind, "session", text, effect));
    }
    if let Some(Replaced { old, new }) = user {
        let text = format!("{new} (was: {old})");
        list.push(Difference::new(Kind::Changed, "user", text, Effect::NEITHER));
    }
    if let Some(Replaced { old, new }) = tags {
        let text = format!("{} (was: {})", new.join(", "), old.join(", "));
        list.push(Difference::new(Kind::Changed, "tags", text, Effect::BOTH));
    }
    list
}

/// How long a session lasts.
fn length(end: Option<UnixTime>, now: UnixTime) -> String {
    let Some(end) = end else { return "without end".to_owned() };
    let seconds = u64::try_from(end.seconds_since(now)).unwrap_or_default();
    format!("{:?}", Duration::from_secs(seconds))
}
