//! A key set in which every key id is unique.

use std::{collections::HashMap, sync::Arc};

use callgate::json::{JsonError, parse_strict};
use serde_json::Value;

use super::{JsonWebKey, Reading};
use callgate::sanitize::excerpt_up_to;

use crate::jws::Algorithm;

const MAX_KEYS: usize = 256;
const MAX_DEPTH: usize = 8;
/// Maximum length of a key id in messages, in characters.
pub(super) const MAX_SHOWN_ID: usize = 64;

/// Why a key set is refused as a whole.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeySetError {
    /// Not strict JSON.
    #[error("not valid JSON: {0}")]
    Json(#[from] JsonError),
    /// JSON, but not a key set.
    #[error("not a JSON Web Key Set: expected an object with a list `keys`")]
    Form,
    /// Unreasonably many keys.
    #[error("it has more than {MAX_KEYS} keys")]
    TooMany,
    /// It would not be clear which of the keys signed a token.
    #[error("duplicate key id `{0}` for different keys: each signing key needs its own")]
    DuplicateId(String),
    /// It has no key that can verify tokens.
    #[error("it has no usable signature key{0}")]
    Nothing(String),
}

/// Why a set has no key for a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoKey {
    /// No key with this id, or, without an id, no key for this algorithm. A newer set may have one.
    Unknown,
    /// The key with this id is not for this algorithm.
    WrongAlgorithm,
    /// The token names no key, and the set has several for its algorithm.
    Ambiguous,
}

/// The keys of one issuer, by id.
#[derive(Debug, Default)]
pub struct KeySet {
    keys: Vec<Arc<JsonWebKey>>,
    by_id: HashMap<Box<str>, usize>,
    remarks: Vec<String>,
}

impl KeySet {
    /// Parses a set. Keys that cannot verify tokens of `allowed` algorithms are left out.
    ///
    /// # Errors
    /// If it is not a key set, if two different keys (except those for encryption) have the same id,
    /// or if no key is left.
    pub fn parse(json: &[u8], allowed: &[Algorithm]) -> Result<Self, KeySetError> {
        let Value::Object(mut members) = parse_strict(json, MAX_DEPTH)? else {
            return Err(KeySetError::Form);
        };
        let Some(Value::Array(keys)) = members.remove("keys") else {
            return Err(KeySetError::Form);
        };
        if keys.len() > MAX_KEYS {
            return Err(KeySetError::TooMany);
        }
        let mut set = Self::default();
        let mut ids: HashMap<&str, &Value> = HashMap::new();
        for (index, jwk) in keys.iter().enumerate() {
            let reading = JsonWebKey::read(jwk, allowed);
            let id = jwk.get("kid").and_then(Value::as_str);
            // Even a key that is left out occupies its id: the issuer may mean it. Only keys for
            // encryption do not count.
            let signs = jwk.get("use").and_then(Value::as_str) != Some("enc");
            if set.has_already(&reading) {
                continue;
            }
            if let Some((id, first)) =
                id.filter(|_| signs).and_then(|id| Some((id, ids.insert(id, jwk)?)))
            {
                if first == jwk {
                    continue;
                }
                return Err(KeySetError::DuplicateId(excerpt_up_to(id, MAX_SHOWN_ID)));
            }
            set.add(index, id, reading);
        }
        match set.keys.is_empty() {
            true => Err(KeySetError::Nothing(set.why_nothing())),
            false => Ok(set),
        }
    }

    /// True for a key that the set lists again.
    fn has_already(&self, reading: &Reading) -> bool {
        matches!(reading, Reading::Key(key) if self.keys.iter().any(|one| one.is_same(key)))
    }

    fn add(&mut self, index: usize, id: Option<&str>, reading: Reading) {
        let name = || {
            id.map_or(format!("key {index}"), |id| {
                format!("key `{}`", excerpt_up_to(id, MAX_SHOWN_ID))
            })
        };
        match reading {
            Reading::Key(key) => {
                if let Some(id) = key.id() {
                    self.by_id.insert(id.into(), self.keys.len());
                }
                self.keys.push(Arc::new(key));
            }
            Reading::Refused(why) => self.remarks.push(format!("{} is refused: {why}", name())),
            Reading::Skipped(why) => self.remarks.push(format!("{} is not used: {why}", name())),
        }
    }

    fn why_nothing(&self) -> String {
        match self.remarks.as_slice() {
            [] => " (it is empty)".to_owned(),
            [first, ..] => format!(" ({first})"),
        }
    }

    /// The key for a token with this header.
    ///
    /// # Errors
    /// If there is no such key, or more than one for a token without a key id.
    pub fn find(&self, id: Option<&str>, algorithm: Algorithm) -> Result<&Arc<JsonWebKey>, NoKey> {
        let Some(id) = id else { return self.only_key_for(algorithm) };
        let found = self.by_id.get(id).and_then(|index| self.keys.get(*index));
        let key = found.ok_or(NoKey::Unknown)?;
        match key.permits(algorithm) {
            true => Ok(key),
            false => Err(NoKey::WrongAlgorithm),
        }
    }

    fn only_key_for(&self, algorithm: Algorithm) -> Result<&Arc<JsonWebKey>, NoKey> {
        let mut matching = self.keys.iter().filter(|key| key.permits(algorithm));
        match (matching.next(), matching.next()) {
            (Some(key), None) => Ok(key),
            (Some(_), Some(_)) => Err(NoKey::Ambiguous),
            (None, _) => Err(NoKey::Unknown),
        }
    }

    /// True if the set has this key, with the same id and algorithms.
    pub fn contains(&self, key: &Arc<JsonWebKey>) -> bool {
        let same = |one: &Arc<JsonWebKey>| Arc::ptr_eq(one, key) || one.is_same(key);
        match key.id() {
            Some(id) => self.by_id.get(id).and_then(|at| self.keys.get(*at)).is_some_and(same),
            None => self.keys.iter().any(same),
        }
    }

    /// True if the set has a key of this name.
    pub(super) fn has_named(&self, name: &str) -> bool {
        self.keys.iter().any(|key| key.name() == name)
    }

    /// The number of keys.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// True for a set without keys; [`KeySet::parse`] returns an error instead.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Why keys were left out, one line for each.
    pub fn remarks(&self) -> &[String] {
        &self.remarks
    }
}
