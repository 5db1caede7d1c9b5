//! Which credential an identity was proved with, and whether the entry still has it.

use std::{fmt, sync::Arc};

use data_encoding::HEXLOWER;

use super::{Entry, packed::password_bytes};
use crate::passwords::DummyKey;

/// A keyed digest of a stored credential: it reveals neither the credential nor a hash to guess it by.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct CredentialDigest([u8; 12]);

impl CredentialDigest {
    /// The digest of a credential as it is stored.
    pub(crate) fn of(key: &DummyKey, kind: CredentialKind, user: &str, stored: &[u8]) -> Self {
        let tag = key.tag(&[b"credential", kind.as_str().as_bytes(), user.as_bytes(), stored]);
        let mut digest = [0; 12];
        digest.iter_mut().zip(tag).for_each(|(to, from)| *to = from);
        Self(digest)
    }

    pub(super) fn bytes(&self) -> &[u8; 12] {
        &self.0
    }

    pub(super) fn from_bytes(bytes: [u8; 12]) -> Self {
        Self(bytes)
    }
}

impl fmt::Debug for CredentialDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CredentialDigest([redacted])")
    }
}

/// The kinds of credentials of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CredentialKind {
    Password,
    Token,
    Nkey,
}

impl CredentialKind {
    const ALL: [Self; 3] = [Self::Password, Self::Token, Self::Nkey];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Password => "password",
            Self::Token => "token",
            Self::Nkey => "nkey",
        }
    }
}

/// What an entry says about the credential that an identity was proved with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CredentialStanding {
    Same,
    Changed,
    /// It was recorded with another key, or not at all.
    Unknown,
}

impl Entry {
    /// The digest of a credential of this entry, if it has one of this kind.
    fn digest(&self, kind: CredentialKind, key: &DummyKey) -> Option<CredentialDigest> {
        let of = |stored: &[u8]| CredentialDigest::of(key, kind, &self.user, stored);
        match kind {
            CredentialKind::Password => match self.clear_text_digest {
                Some(digest) => Some(digest),
                None => self.password.as_deref().map(|password| of(&password_bytes(password))),
            },
            CredentialKind::Token => self.token.as_ref().map(|token| of(token)),
            CredentialKind::Nkey => self.nkey.as_ref().map(|nkey| of(nkey.as_str().as_bytes())),
        }
    }

    /// The ID of the credential ([`Identity::credential_id`](callgate::authn::Identity::credential_id)).
    /// It names the key of the digest, because digests with different keys cannot be compared.
    pub(crate) fn credential_id(&self, kind: CredentialKind, key: &DummyKey) -> Option<Arc<str>> {
        let CredentialDigest(digest) = self.digest(kind, key)?;
        let mut id = [kind.as_str(), ".", key.id(), "."].concat();
        HEXLOWER.encode_append(&digest, &mut id);
        Some(id.into())
    }

    /// Whether the entry still has the credential with this ID.
    pub(crate) fn compare_credential(
        &self,
        id: Option<&str>,
        key: &DummyKey,
    ) -> CredentialStanding {
        let parts = id.and_then(|id| {
            let (kind, rest) = id.split_once('.')?;
            let kind = CredentialKind::ALL.into_iter().find(|one| one.as_str() == kind)?;
            let rest = rest.strip_prefix(key.id())?;
            rest.starts_with('.').then_some(kind)
        });
        let Some(kind) = parts else { return CredentialStanding::Unknown };
        match self.credential_id(kind, key).as_deref() == id {
            true => CredentialStanding::Same,
            false => CredentialStanding::Changed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::passwords::StoredPassword;

    fn entry(password: Option<&str>, key: &DummyKey) -> Entry {
        let clear_text_digest = password.map(|text| {
            CredentialDigest::of(key, CredentialKind::Password, "alice", text.as_bytes())
        });
        let password = password.map(|text| Arc::new(StoredPassword::clear(text)));
        Entry { password, clear_text_digest, ..Entry::unreadable("alice", 1) }
    }

    #[test]
    fn replaced_or_removed_credential_is_changed() {
        let key = DummyKey::from_secret(b"k");
        let before = entry(Some("old"), &key).credential_id(CredentialKind::Password, &key);
        let compare = |now: Entry| now.compare_credential(before.as_deref(), &key);
        assert_eq!(compare(entry(Some("old"), &key)), CredentialStanding::Same);
        assert_eq!(compare(entry(Some("new"), &key)), CredentialStanding::Changed);
        assert_eq!(compare(entry(None, &key)), CredentialStanding::Changed);
    }

    #[test]
    fn digests_with_another_key_are_not_compared() {
        let key = DummyKey::from_secret(b"k");
        let other = DummyKey::from_secret(b"rotated");
        let before = entry(Some("old"), &key).credential_id(CredentialKind::Password, &key);
        let now = entry(Some("old"), &other);
        let compare = |id| now.compare_credential(id, &other);
        assert_eq!(compare(before.as_deref()), CredentialStanding::Unknown);
        assert_eq!(compare(None), CredentialStanding::Unknown);
        assert_eq!(compare(Some("nonsense")), CredentialStanding::Unknown);
    }
}
