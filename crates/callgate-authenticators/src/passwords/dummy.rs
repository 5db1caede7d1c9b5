//! The passwords that are verified for names without one.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use arc_swap::ArcSwap;
use aws_lc_rs::hmac;
use data_encoding::HEXLOWER;

use super::{
    clear::{digest_with, random_key},
    cost::Cost,
    hash::DEFAULT_COST,
    stored::StoredPassword,
};

/// Selects the dummy of a name. Replicas with the same key select the same one, also after a
/// restart, so that a name cannot show that it is unknown by costing something else than before.
#[derive(Clone)]
pub struct DummyKey {
    key: hmac::Key,
    /// Computed once, because every login of a directory names it.
    id: Arc<str>,
}

impl DummyKey {
    /// The key derived from a secret that the replicas share.
    pub fn from_secret(secret: &[u8]) -> Self {
        Self::new(hmac::Key::new(hmac::HMAC_SHA256, secret))
    }

    /// A key of this process alone.
    pub fn random() -> Self {
        Self::new(random_key())
    }

    fn new(key: hmac::Key) -> Self {
        let tag = digest_with(&key, &[b"key id"]);
        let id = HEXLOWER.encode(tag.first_chunk::<4>().map_or(&[], |start| start));
        Self { key, id: id.into() }
    }

    /// A keyed digest of these parts, whose boundaries count.
    pub(crate) fn tag(&self, parts: &[&[u8]]) -> [u8; 32] {
        digest_with(&self.key, parts)
    }

    /// Identifies the key without revealing it.
    pub(crate) fn id(&self) -> &str {
        &self.id
    }
}

impl fmt::Debug for DummyKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DummyKey([redacted])")
    }
}

/// For every name without a password, one to verify instead.
///
/// A dummy has the hash parameters of some entries of the directory, or is clear text like theirs.
/// A keyed hash of the name selects it, with the frequencies of the parameters among the entries.
/// So the refusal of an unknown name takes as long as that of some known one, always the same for
/// one name. Compare the mock authentication of SCRAM (RFC 5802 section 5.1) and PostgreSQL's
/// `mock_authentication_nonce`.
#[derive(Debug)]
pub struct DummyPasswords {
    /// Each with the number of entries up to and including those of its parameters.
    sets: Vec<(u64, Arc<StoredPassword>)>,
    /// For names beyond `sets`.
    last: Arc<StoredPassword>,
    entries: u64,
    key: DummyKey,
}

impl DummyPasswords {
    /// The dummies for entries with these parameters, `None` for clear text. If there are no
    /// entries, a dummy costs as much as a hash of `hash-password`.
    pub fn new(costs: impl IntoIterator<Item = Option<Cost>>, key: DummyKey) -> Self {
        let mut counts = BTreeMap::new();
        for cost in costs {
            *counts.entry(cost).or_insert(0) += 1;
        }
        Self::of_counts(counts, key)
    }

    /// The same, for as many entries with each of these parameters.
    pub fn of_counts(mut counts: BTreeMap<Option<Cost>, u64>, key: DummyKey) -> Self {
        let (last, count) = counts.pop_last().unwrap_or((Some(DEFAULT_COST), 1));
        let mut entries = 0;
        let mut dummies = |(cost, count)| {
            entries += count;
            (entries, Arc::new(StoredPassword::dummy(cost)))
        };
        let sets = counts.into_iter().map(&mut dummies).collect();
        let (entries, last) = dummies((last, count));
        Self { sets, last, entries, key }
    }

    /// The password to verify for `name` if it has none of its own.
    pub fn for_name(&self, name: &str) -> &Arc<StoredPassword> {
        if self.sets.is_empty() {
            return &self.last;
        }
        let tag = hmac::sign(&self.key.key, name.as_bytes());
        let hash = tag.as_ref().first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes));
        // Scaled instead of reduced: more entries with the same frequencies give the same dummies.
        let position = (u128::from(hash) * u128::from(self.entries)) >> 64;
        let selected = self.sets.iter().find(|(end, _)| position < u128::from(*end));
        selected.map_or(&self.last, |(_, dummy)| dummy)
    }
}

/// Dummies of a directory that shows its entries one at a time: with the costs that were seen, or the configured
/// one before that.
pub(crate) struct SeenCosts {
    seen: Mutex<BTreeSet<Option<Cost>>>,
    dummies: ArcSwap<DummyPasswords>,
    key: DummyKey,
}

impl SeenCosts {
    pub(crate) fn new(configured: Option<Cost>, key: DummyKey) -> Self {
        let dummies = DummyPasswords::new(configured.map(Some), key.clone());
        Self { seen: Mutex::default(), dummies: ArcSwap::from_pointee(dummies), key }
    }

    /// Notes the cost of an entry's password.
    pub(crate) fn note(&self, cost: Option<Cost>) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.insert(cost) {
            let dummies = DummyPasswords::new(seen.iter().copied(), self.key.clone());
            self.dummies.store(Arc::new(dummies));
        }
    }

    /// See [`DummyPasswords::for_name`].
    pub(crate) fn dummy(&self, name: &str) -> Arc<StoredPassword> {
        Arc::clone(self.dummies.load().for_name(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::passwords::{Digest, Scratch};

    const ARGON2: Option<Cost> =
        Some(Cost::Argon2id { version: 19, memory: 64, passes: 1, lanes: 1, length: 32 });
    const BCRYPT: Option<Cost> = Some(Cost::Bcrypt { cost: 4 });
    const PBKDF2: Option<Cost> =
        Some(Cost::Pbkdf2 { digest: Digest::Sha256, rounds: 100, length: 32 });

    fn entries(counts: &[(Option<Cost>, usize)]) -> Vec<Option<Cost>> {
        counts.iter().flat_map(|(cost, count)| std::iter::repeat_n(*cost, *count)).collect()
    }

    fn names() -> impl Iterator<Item = String> {
        (0..100_000).map(|number| format!("user-{number}"))
    }

    fn key() -> DummyKey {
        DummyKey::from_secret(b"shared by replicas")
    }

    #[test]
    fn unknown_names_are_distributed_like_known_ones() {
        let counts = [(ARGON2, 50), (BCRYPT, 30), (None, 15), (PBKDF2, 5)];
        let dummies = DummyPasswords::new(entries(&counts), key());
        let mut found = BTreeMap::new();
        for name in names() {
            *found.entry(dummies.for_name(&name).cost()).or_insert(0i32) += 1;
        }
        for (cost, percent) in counts {
            let expected = 1_000 * i32::try_from(percent).unwrap();
            // Six standard deviations are at most 950 names.
            assert!((found[&cost] - expected).abs() < 1_000, "{cost:?}: {found:?}");
        }
        assert_eq!(found.len(), counts.len());
    }

    #[test]
    fn name_keeps_its_dummy_while_the_frequencies_stay() {
        let counts = [(ARGON2, 3), (None, 2), (PBKDF2, 5)];
        let first = DummyPasswords::new(entries(&counts), key());
        let tenfold = counts.map(|(cost, count)| (cost, count * 10));
        let mut reversed = entries(&tenfold);
        reversed.reverse();
        let second = DummyPasswords::new(reversed, key());
        for name in names().take(10_000) {
            assert_eq!(first.for_name(&name).cost(), second.for_name(&name).cost(), "{name}");
            assert!(Arc::ptr_eq(first.for_name(&name), first.for_name(&name)));
        }
    }

    #[test]
    fn another_key_selects_other_dummies() {
        let costs = || entries(&[(ARGON2, 1), (None, 1)]);
        let one = DummyPasswords::new(costs(), key());
        let other = DummyPasswords::new(costs(), DummyKey::random());
        let differ = |name: &String| one.for_name(name).cost() != other.for_name(name).cost();
        let different = names().take(10_000).filter(differ).count();
        assert!((4_000..6_000).contains(&different), "{different}");
    }

    #[test]
    fn dummy_costs_what_an_entry_costs_and_is_never_right() {
        for cost in [ARGON2, BCRYPT, PBKDF2, None] {
            let dummies = DummyPasswords::new([cost], key());
            let mut scratch = Scratch::default();
            for password in ["", "x"] {
                assert!(!dummies.for_name("a").verify(&password.into(), &mut scratch));
            }
            assert_eq!(scratch.derived(), if cost.is_some() { 2 } else { 0 }, "{cost:?}");
        }
    }

    #[test]
    fn without_passwords_a_dummy_costs_the_default() {
        let dummies = DummyPasswords::new([], key());
        assert!(names().take(100).all(|name| dummies.for_name(&name).cost() == Some(DEFAULT_COST)));
    }
}
