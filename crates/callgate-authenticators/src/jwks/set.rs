//! A set of keys in which a key id means one key, or the set is refused.

use std::{collections::HashMap, sync::Arc};

use callgate::json::{JsonError, parse_strict};
use serde_json::Value;

use super::{JsonWebKey, Reading};
use crate::jws::Algorithm;

const MAX_KEYS: usize = 256;
const MAX_DEPTH: usize = 8;

/// Why a set is refused as a whole.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeySetError {
    /// Not strict JSON.
    #[error("it is not JSON as it should be: {0}")]
    Json(#[from] JsonError),
    /// JSON, and something else than a key set.
    #[error("it is not a JSON Web Key Set: an object with a list `keys` is expected")]
    Form,
    /// More than anybody needs.
    #[error("it has more than {MAX_KEYS} keys")]
    TooMany,
    /// Which of the two is meant would be a guess.
    #[error("the key id `{0}` is there twice: each signing key needs its own")]
    DuplicateId(String),
    /// Nothing in it can verify a token.
    #[error("it has no usable signature key{0}")]
    Nothing(String),
}

/// Why a set has no key for a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoKey {
    /// No key of this id, or for a token without an id none that fits: a newer set may have one.
    Unknown,
    /// There is one of this id, and it is not for this algorithm.
    WrongAlgorithm,
    /// The token names no key, and several fit.
    Ambiguous,
}

/// The keys of one issuer, by their ids.
#[derive(Debug, Default)]
pub struct KeySet {
    keys: Vec<Arc<JsonWebKey>>,
    by_id: HashMap<Box<str>, usize>,
    remarks: Vec<String>,
}

impl KeySet {
    /// Reads a set; keys that cannot verify tokens of `allowed` algorithms are left out.
    ///
    /// # Errors
    /// If it is no set, if an id is there twice (keys for encryption aside), or if no key is left.
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
        let mut ids = std::collections::HashSet::new();
        for (index, jwk) in keys.iter().enumerate() {
            let reading = JsonWebKey::read(jwk, allowed);
            let id = jwk.get("kid").and_then(Value::as_str);
            // A key that is left out occupies its id all the same: with two of one id, of whatever
            // kinds, it is a guess which of them a token means. One for encryption signs nothing.
            let signs = jwk.get("use").and_then(Value::as_str) != Some("enc");
            if let Some(id) = id.filter(|id| signs && !ids.insert(*id)) {
                return Err(KeySetError::DuplicateId(printable(id)));
            }
            set.add(index, id, reading);
        }
        match set.keys.is_empty() {
            true => Err(KeySetError::Nothing(set.why_nothing())),
            false => Ok(set),
        }
    }

    fn add(&mut self, index: usize, id: Option<&str>, reading: Reading) {
        let name = || id.map_or(format!("key {index}"), |id| format!("key `{}`", printable(id)));
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

    /// The key for a token of this header.
    ///
    /// # Errors
    /// If there is none, or more than one for a token without a key id.
    pub fn find(&self, id: Option<&str>, algorithm: Algorithm) -> Result<&Arc<JsonWebKey>, NoKey> {
        let Some(id) = id else { return self.only_one_for(algorithm) };
        let found = self.by_id.get(id).and_then(|index| self.keys.get(*index));
        let key = found.ok_or(NoKey::Unknown)?;
        match key.permits(algorithm) {
            true => Ok(key),
            false => Err(NoKey::WrongAlgorithm),
        }
    }

    fn only_one_for(&self, algorithm: Algorithm) -> Result<&Arc<JsonWebKey>, NoKey> {
        let mut fitting = self.keys.iter().filter(|key| key.permits(algorithm));
        match (fitting.next(), fitting.next()) {
            (Some(key), None) => Ok(key),
            (Some(_), Some(_)) => Err(NoKey::Ambiguous),
            (None, _) => Err(NoKey::Unknown),
        }
    }

    /// True if this very key is (still) in the set.
    pub fn contains(&self, key: &Arc<JsonWebKey>) -> bool {
        let same = |one: &Arc<JsonWebKey>| Arc::ptr_eq(one, key) || one.is_same(key);
        match key.id() {
            Some(id) => self.by_id.get(id).and_then(|at| self.keys.get(*at)).is_some_and(same),
            None => self.keys.iter().any(same),
        }
    }

    /// How many keys can verify tokens.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// True for a set without keys; [`KeySet::parse`] never makes one.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Why keys were left out, one line each, for the log.
    pub fn remarks(&self) -> &[String] {
        &self.remarks
    }
}

/// An id comes from outside: it must not forge lines in a log, nor flood it.
pub(super) fn printable(id: &str) -> String {
    id.chars().take(64).flat_map(char::escape_debug).collect()
}
