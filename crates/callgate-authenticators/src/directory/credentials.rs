//! Which credential an identity was proved with, and whether the entry still has it.

use std::{fmt, sync::Arc};

use data_encoding::HEXLOWER;

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

/// The digests of an entry's credentials. Empty for directories that are not kept in memory.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Credentials {
    pub(crate) password: Option<CredentialDigest>,
    pub(crate) token: Option<CredentialDigest>,
    pub(crate) nkey: Option<CredentialDigest>,
}

/// What an entry says about the credential that an identity was proved with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CredentialStanding {
    Same,
    Changed,
    /// It was recorded with another key, or not at all.
    Unknown,
}

impl Credentials {
    fn of_kind(&self, kind: CredentialKind) -> Option<CredentialDigest> {
        match kind {
            CredentialKind::Password => self.password,
            CredentialKind::Token => self.token,
            CredentialKind::Nkey => self.nkey,
        }
    }

    /// The ID of the credential ([`Identity::credential_id`](callgate::authn::Identity::credential_id)).
    /// It names the key of the digest, because digests with different keys cannot be compared.
    pub(crate) fn id(&self, kind: CredentialKind, key: &DummyKey) -> Option<Arc<str>> {
        let CredentialDigest(digest) = self.of_kind(kind)?;
        let digest = HEXLOWER.encode(&digest);
        Some(format!("{}.{}.{digest}", kind.as_str(), key_id(key)).into())
    }

    /// Whether the entry still has the credential with this ID.
    pub(crate) fn compare(&self, id: Option<&str>, key: &DummyKey) -> CredentialStanding {
        let parts = id.and_then(|id| {
            let (kind, rest) = id.split_once('.')?;
            let kind = CredentialKind::ALL.into_iter().find(|one| one.as_str() == kind)?;
            rest.starts_with(&format!("{}.", key_id(key))).then_some(kind)
        });
        let Some(kind) = parts else { return CredentialStanding::Unknown };
        match self.id(kind, key).as_deref() == id {
            true => CredentialStanding::Same,
            false => CredentialStanding::Changed,
        }
    }
}

/// Identifies the key without revealing it.
fn key_id(key: &DummyKey) -> String {
    let tag = key.tag(&[b"key id"]);
    HEXLOWER.encode(tag.first_chunk::<4>().map_or(&[], |start| start))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn credentials(key: &DummyKey, password: &[u8]) -> Credentials {
        let digest = CredentialDigest::of(key, CredentialKind::Password, "alice", password);
        Credentials { password: Some(digest), ..Credentials::default() }
    }

    #[test]
    fn replaced_or_removed_credential_is_changed() {
        let key = DummyKey::from_secret(b"k");
        let before = credentials(&key, b"old").id(CredentialKind::Password, &key);
        let compare = |now: Credentials| now.compare(before.as_deref(), &key);
        assert_eq!(compare(credentials(&key, b"old")), CredentialStanding::Same);
        assert_eq!(compare(credentials(&key, b"new")), CredentialStanding::Changed);
        assert_eq!(compare(Credentials::default()), CredentialStanding::Changed);
    }

    #[test]
    fn digests_with_another_key_are_not_compared() {
        let key = DummyKey::from_secret(b"k");
        let other = DummyKey::from_secret(b"rotated");
        let before = credentials(&key, b"old").id(CredentialKind::Password, &key);
        let now = credentials(&other, b"old");
        assert_eq!(now.compare(before.as_deref(), &other), CredentialStanding::Unknown);
        assert_eq!(now.compare(None, &other), CredentialStanding::Unknown);
        assert_eq!(now.compare(Some("nonsense"), &other), CredentialStanding::Unknown);
    }
}
