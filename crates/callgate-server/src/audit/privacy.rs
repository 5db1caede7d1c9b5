//! What a record shows of texts from outside: cut, redacted, or as keyed hashes.

use std::{borrow::Cow, fmt};

use aws_lc_rs::hmac;
use callgate::{record::Reason, sanitize::misplaced_secret, secret::Secret};
use data_encoding::BASE64URL_NOPAD;
use serde_json::{Map, Value};

const MAX_CHARS: usize = 200;
const REDACTED: &str = "[redacted]";
/// What a hidden value begins with.
pub(crate) const HIDDEN_PREFIX: &str = "hmac:";

/// A field that can be hidden.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Hidden {
    User,
    Source,
    ClientName,
}

impl Hidden {
    pub(crate) const ALL: [Self; 3] = [Self::User, Self::Source, Self::ClientName];

    /// Its name in the configuration.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Source => "source",
            Self::ClientName => "client_name",
        }
    }
}

/// The key of hidden fields.
#[derive(Clone)]
pub(crate) struct HideKey(hmac::Key);

impl HideKey {
    pub(crate) fn new(secret: &Secret) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, secret.expose().as_bytes()))
    }

    /// The hash of a value, the same in every record of a field.
    pub(crate) fn hash(&self, field: Hidden, value: &str) -> String {
        let mut context = hmac::Context::with_key(&self.0);
        context.update(field.as_str().as_bytes());
        context.update(&[0]);
        context.update(value.as_bytes());
        format!("{HIDDEN_PREFIX}{}", BASE64URL_NOPAD.encode(context.sign().as_ref()))
    }
}

impl fmt::Debug for HideKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HideKey([redacted])")
    }
}

/// Hides fields of records.
#[derive(Debug, Clone, Default)]
pub(crate) struct Hider {
    pub(super) fields: Vec<Hidden>,
    pub(super) key: Option<HideKey>,
}

impl Hider {
    pub(crate) fn new(fields: Vec<Hidden>, key: Option<HideKey>) -> Self {
        Self { fields, key }
    }

    pub(super) fn hides(&self, field: Hidden) -> bool {
        self.fields.contains(&field)
    }

    /// A proven or known user name.
    pub(super) fn user<'a>(&self, text: &'a str) -> Cow<'a, str> {
        self.value(Hidden::User, text)
    }

    /// A name that no directory knows, which may be a password: hashed whenever there is a key.
    pub(super) fn typed_user<'a>(&self, text: &'a str) -> Cow<'a, str> {
        match &self.key {
            Some(key) if !text.is_empty() => key.hash(Hidden::User, text).into(),
            Some(_) | None => field(text),
        }
    }

    pub(super) fn source<'a>(&self, text: &'a str) -> Cow<'a, str> {
        self.value(Hidden::Source, text)
    }

    pub(super) fn client_name<'a>(&self, text: &'a str) -> Cow<'a, str> {
        self.value(Hidden::ClientName, text)
    }

    fn value<'a>(&self, hidden: Hidden, text: &'a str) -> Cow<'a, str> {
        match &self.key {
            Some(key) if self.hides(hidden) && !text.is_empty() => key.hash(hidden, text).into(),
            Some(_) | None => field(text),
        }
    }

    /// Claims: a text that is the user is hidden like the user.
    pub(super) fn protect_facts(&self, facts: &mut Map<String, Value>, user: &str) {
        if !self.hides(Hidden::User) {
            return;
        }
        for value in facts.values_mut() {
            if value.as_str() == Some(user) {
                *value = self.user(user).into_owned().into();
            }
        }
    }

    /// The target of a lock, whose keys are names of filters.
    pub(super) fn protect_target(&self, target: &mut Map<String, Value>) {
        for hidden in Hidden::ALL {
            let Some(Value::String(text)) = target.get_mut(hidden.as_str()) else { continue };
            *text = self.value(hidden, text).into_owned();
        }
    }
}

/// A text from outside: cut after 200 characters; a token or seed is redacted.
pub(super) fn field(text: &str) -> Cow<'_, str> {
    if misplaced_secret(text).is_some() {
        return REDACTED.into();
    }
    cut(text, MAX_CHARS)
}

/// The text, cut after this many characters.
pub(super) fn cut(text: &str, max_chars: usize) -> Cow<'_, str> {
    if text.len() <= max_chars {
        return text.into();
    }
    match text.char_indices().nth(max_chars) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()).into(),
        None => text.into(),
    }
}

/// Whether the user of a decision with this reason is known to a source of identities, and not only what
/// a client typed. A reason that is not listed counts as typed.
pub(super) fn names_known_user(reason: Reason) -> bool {
    matches!(
        reason,
        Reason::Admitted
            | Reason::BadPassword
            | Reason::BadSecondFactor
            | Reason::UserDisabled
            | Reason::UserExpired
            | Reason::NoBinding
            | Reason::NoAccount
            | Reason::AccountConflict
            | Reason::AccountNotAllowed
            | Reason::RoleConflict
            | Reason::UnsafeTemplateValue
            | Reason::GrantTooLarge
            | Reason::SourceNotAllowed
            | Reason::ConnectionTypeNotAllowed
            | Reason::OutsideHours
            | Reason::PolicyError
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_cut_and_secrets_redacted() {
        assert_eq!(field("alice"), "alice");
        assert_eq!(field(&"ä".repeat(200)).chars().count(), 200);
        assert_eq!(field(&"ä".repeat(201)).chars().count(), 201);
        assert_eq!(field("Bearer abcdefghijk"), REDACTED);
    }

    #[test]
    fn hidden_value_is_the_same_only_for_the_same_field_and_key() {
        let key = |text: &str| HideKey::new(&Secret::new(text));
        let hash = |key: &HideKey| key.hash(Hidden::User, "alice");
        assert_eq!(hash(&key("a")), hash(&key("a")));
        assert_ne!(hash(&key("a")), hash(&key("b")));
        assert_ne!(hash(&key("a")), key("a").hash(Hidden::Source, "alice"));
        assert!(!hash(&key("a")).contains("alice"));
    }

    #[test]
    fn typed_name_is_hashed_whenever_there_is_a_key() {
        let with_key = Hider::new(Vec::new(), Some(HideKey::new(&Secret::new("k"))));
        assert_eq!(with_key.user("alice"), "alice");
        assert!(with_key.typed_user("hunter2").starts_with(HIDDEN_PREFIX));
        assert_eq!(Hider::default().typed_user("hunter2"), "hunter2");
        let hiding = Hider { fields: vec![Hidden::User], ..with_key };
        assert!(hiding.user("alice").starts_with(HIDDEN_PREFIX));
        assert_eq!(hiding.user(""), "");
        assert_eq!(hiding.source("10.1.2.3"), "10.1.2.3");
    }
}
