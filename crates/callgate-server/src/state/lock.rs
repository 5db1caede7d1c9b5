//! A lock, and its stored form.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use callgate::{
    clock::UnixTime,
    json::{self, JsonError},
    record::Denial,
    sanitize::excerpt,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Target, stored};

/// The version of the stored form.
const VERSION: u64 = 1;
/// In bytes; a longer value is unreadable.
pub(crate) const MAX_VALUE: usize = 8 * 1024;
/// Clocks may differ by this much: a lock ends late rather than early.
const END_TOLERANCE: Duration = Duration::from_secs(30);

/// A stored refusal of everything that matches its target. It never changes.
#[derive(Debug)]
pub(crate) struct Lock {
    pub(crate) id: Arc<str>,
    pub(crate) target: Target,
    pub(crate) reason: Option<String>,
    /// Who gave the order.
    pub(crate) actor: Option<String>,
    pub(crate) created: Option<UnixTime>,
    /// `None` for a lock that only `unlock` ends.
    pub(crate) ends: Option<UnixTime>,
    /// Whether live sessions are kicked.
    pub(crate) kick: bool,
    /// Logins that this replica refused.
    refused: AtomicU64,
}

/// Why a stored lock cannot be understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unreadable {
    #[error("the value has {0} bytes, more than {MAX_VALUE}")]
    TooLong(usize),
    #[error("the value is not a JSON object of a lock: {0}")]
    NotALock(String),
    #[error("`v` is {0}, and this version of Callgate understands only {VERSION}")]
    Version(String),
    #[error("the target has no condition")]
    NoTarget,
}

#[derive(Serialize, Deserialize)]
struct Stored {
    v: u64,
    target: Target,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    actor: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none", with = "stored::time")]
    created: Option<UnixTime>,
    #[serde(default, skip_serializing_if = "Option::is_none", with = "stored::time")]
    ends: Option<UnixTime>,
    #[serde(default = "yes", skip_serializing_if = "is_true")]
    kick: bool,
}

const fn yes() -> bool {
    true
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
const fn is_true(value: &bool) -> bool {
    *value
}

impl Lock {
    pub(crate) fn new(
        id: &str,
        target: Target,
        reason: Option<String>,
        actor: String,
        created: UnixTime,
        ends: Option<UnixTime>,
    ) -> Self {
        let (actor, created) = (Some(actor), Some(created));
        let refused = AtomicU64::new(0);
        Self { id: id.into(), target, reason, actor, created, ends, kick: true, refused }
    }

    /// The same lock, which leaves live sessions alone or kicks them.
    pub(super) fn with_kick(self, kick: bool) -> Self {
        Self { kick, ..self }
    }

    /// Reads the stored form.
    ///
    /// # Errors
    /// If this version does not understand all of it.
    pub(crate) fn read(id: &str, value: &[u8]) -> Result<Self, Unreadable> {
        if value.len() > MAX_VALUE {
            return Err(Unreadable::TooLong(value.len()));
        }
        let not_a_lock = |error: JsonError| Unreadable::NotALock(error.to_string());
        let json: Value = json::parse_typed(value).map_err(not_a_lock)?;
        match json.get("v") {
            Some(version) if *version == VERSION => {}
            Some(version) => return Err(Unreadable::Version(excerpt(&version.to_string()))),
            None => return Err(Unreadable::NotALock("`v` is missing".to_owned())),
        }
        let stored = json::parse_typed(value).map_err(not_a_lock)?;
        let Stored { v: _, target, reason, actor, created, ends, kick } = stored;
        if target.is_empty() {
            return Err(Unreadable::NoTarget);
        }
        let id = id.into();
        Ok(Self { id, target, reason, actor, created, ends, kick, refused: AtomicU64::new(0) })
    }

    /// The stored form.
    pub(crate) fn to_value(&self) -> Vec<u8> {
        let Self { id: _, target, reason, actor, created, ends, kick, refused: _ } = self;
        let stored = Stored {
            v: VERSION,
            target: target.clone(),
            reason: reason.clone(),
            actor: actor.clone(),
            created: *created,
            ends: *ends,
            kick: *kick,
        };
        serde_json::to_vec(&stored).unwrap_or_default()
    }

    /// Whether it has ended, by a clock that may be wrong by the tolerance.
    pub(crate) fn is_over(&self, now: UnixTime) -> bool {
        self.ends.is_some_and(|ends| now > ends.plus(END_TOLERANCE))
    }

    /// The refusal of a client that it matches, which is counted.
    pub(crate) fn refuse(&self) -> Denial {
        self.refused.fetch_add(1, Ordering::Relaxed);
        Denial::by_lock(&self.id, format!("lock {} matches: {}", excerpt(&self.id), self.target))
    }

    /// How many logins this replica refused.
    pub(crate) fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// Continues the count of an earlier reading of the same lock.
    pub(super) fn continue_count(&self, earlier: &Self) {
        self.refused.fetch_add(earlier.refused(), Ordering::Relaxed);
    }
}

/// As in `user `alice`, until 2026-11-29T18:00:00Z`.
impl fmt::Display for Lock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.target)?;
        self.ends.map_or(Ok(()), |ends| write!(f, ", until {ends}"))
    }
}

/// The ID of a lock: a time in milliseconds, as the first ten characters of a ULID.
pub(super) fn id_at(milliseconds: u64) -> String {
    const DIGITS: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
    let digit = |position: u32| {
        let index = usize::try_from(milliseconds >> (5 * position) & 31).unwrap_or_default();
        DIGITS.get(index).copied().map_or('0', char::from)
    };
    (0..10).rev().map(digit).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(value: &Value) -> Result<Lock, Unreadable> {
        Lock::read("L", value.to_string().as_bytes())
    }

    #[test]
    fn stored_form_is_read_as_it_was_written() {
        let value = json!({
            "v": 1, "target": { "user": "alice" }, "reason": "laptop stolen", "actor": "root",
            "created": "2026-11-29T10:00:00Z", "ends": "2026-11-29T18:00:00Z",
        });
        let lock = read(&value).unwrap();
        assert_eq!(serde_json::from_slice::<Value>(&lock.to_value()).unwrap(), value);
        assert_eq!(lock.to_string(), "user `alice`, until 2026-11-29T18:00:00Z");
        let least = json!({ "v": 1, "target": { "everyone": true } });
        assert_eq!(
            serde_json::from_slice::<Value>(&read(&least).unwrap().to_value()).unwrap(),
            least
        );
    }

    #[test]
    fn what_is_not_understood_is_unreadable() {
        for (value, word) in [
            (json!("garbage"), "`v` is missing"),
            (json!({ "target": { "user": "a" } }), "`v` is missing"),
            (json!({ "v": 2, "target": { "user": "a" } }), "`v` is 2"),
            (json!({ "v": "1", "target": { "user": "a" } }), "`v`"),
            (json!({ "v": 1, "target": { "tenant": "a" } }), "tenant"),
            (json!({ "v": 1, "target": {} }), "no condition"),
            (json!({ "v": 1 }), "target"),
            (json!({ "v": 1, "target": { "user": "a" }, "ends": "later" }), "another type or form"),
        ] {
            let error = read(&value).unwrap_err().to_string();
            assert!(error.contains(word), "{value}: {error}");
            assert!(!error.contains("later") && !error.contains("expected one of"), "{error}");
        }
        assert!(matches!(Lock::read("L", b"{"), Err(Unreadable::NotALock(_))));
        let long = Lock::read("L", &vec![b' '; 9 * 1024]);
        assert_eq!(long.unwrap_err(), Unreadable::TooLong(9 * 1024));
    }

    #[test]
    fn lock_ends_after_the_tolerance() {
        let lock = read(&json!({
            "v": 1, "target": { "user": "a" }, "ends": "1970-01-01T00:01:40Z",
        }))
        .unwrap();
        for (now, over) in [(100, false), (130, false), (131, true)] {
            assert_eq!(lock.is_over(UnixTime::from_seconds(now)), over, "{now}");
        }
        let endless = read(&json!({ "v": 1, "target": { "user": "a" } })).unwrap();
        assert!(!endless.is_over(UnixTime::from_seconds(i64::MAX)));
    }

    #[test]
    fn ids_are_ten_characters_in_the_order_of_time() {
        assert_eq!(id_at(0), "0000000000");
        assert_eq!(id_at(1_469_918_176_385), "01ARYZ6S41");
        assert!(id_at(1_800_000_000_000) < id_at(1_800_000_000_001));
    }
}
