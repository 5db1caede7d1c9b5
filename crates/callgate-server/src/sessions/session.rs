//! One session: a connection, and what its decision said.

use std::{fmt, net::IpAddr, sync::Arc};

use callgate::{
    clock::UnixTime, connection::ConnectionKind, record::Decision, request::AuthRequest,
};

use super::Table;
use crate::{
    state::{Candidate, IssuedAt},
    system::{ServerId, SessionKey},
};

/// What many sessions have in common, stored once.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Common {
    pub(crate) authenticator: Box<str>,
    pub(crate) account: Box<str>,
    pub(crate) groups: Box<[Box<str>]>,
    pub(crate) roles: Box<[Box<str>]>,
    /// The replica that made the decision.
    pub(crate) replica: Box<str>,
}

/// The values of a [`Common`], to find or create one. Groups and roles are texts of any type: the hash is the
/// same.
#[derive(Debug, Hash)]
pub(crate) struct CommonParts<'a, S> {
    pub(crate) authenticator: &'a str,
    pub(crate) account: &'a str,
    pub(crate) groups: &'a [S],
    pub(crate) roles: &'a [S],
    pub(crate) replica: &'a str,
}

impl<'a> CommonParts<'a, Box<str>> {
    pub(super) fn of(common: &'a Common) -> Self {
        let Common { authenticator, account, groups, roles, replica } = common;
        Self { authenticator, account, groups, roles, replica }
    }
}

impl<S: AsRef<str>> CommonParts<'_, S> {
    pub(super) fn equals(&self, common: &Common) -> bool {
        let Common { authenticator, account, groups, roles, replica } = common;
        let same = |ours: &[S], theirs: &[Box<str>]| {
            ours.iter().map(AsRef::as_ref).eq(theirs.iter().map(AsRef::<str>::as_ref))
        };
        self.authenticator == &**authenticator
            && self.account == &**account
            && self.replica == &**replica
            && same(self.groups, groups)
            && same(self.roles, roles)
    }

    pub(super) fn to_common(&self) -> Common {
        let list = |names: &[S]| names.iter().map(|name| name.as_ref().into()).collect();
        Common {
            authenticator: self.authenticator.into(),
            account: self.account.into(),
            groups: list(self.groups),
            roles: list(self.roles),
            replica: self.replica.into(),
        }
    }
}

/// An admitted connection. Compact, because a service may have very many.
pub(crate) struct Session {
    key: SessionKey,
    pub(super) common: Arc<Common>,
    texts: Texts,
    /// The length of the authenticator's `user_prefix`, in bytes.
    prefix: u32,
    kind: ConnectionKind,
    source: Option<IpAddr>,
    since: UnixTime,
    /// `i64::MAX` for a session without an end.
    ends: i64,
    /// `i64::MIN` for a credential without a time of issue.
    issued_at: i64,
    judged: Option<Box<[u8]>>,
}

/// The values of a [`Session`], to create one.
#[derive(Debug, Clone)]
pub(crate) struct Values<'a> {
    pub(crate) key: SessionKey,
    pub(crate) common: Arc<Common>,
    /// With the authenticator's prefix, of which this is the length in bytes.
    pub(crate) user: &'a str,
    pub(crate) prefix: u32,
    pub(crate) client_name: &'a str,
    pub(crate) mqtt_id: &'a str,
    pub(crate) decision: &'a str,
    pub(crate) kind: ConnectionKind,
    pub(crate) source: Option<IpAddr>,
    pub(crate) since: UnixTime,
    pub(crate) ends: Option<UnixTime>,
    pub(crate) issued_at: Option<UnixTime>,
    pub(crate) judged: Option<Box<[u8]>>,
}

impl Session {
    /// The session of a decision that admits the client; `None` if it has no identity or no grant.
    /// `judged` is what is needed to evaluate the decision again later, and `table` has the common values.
    pub(crate) fn admitted(
        request: &AuthRequest,
        decision: &Decision,
        replica: &str,
        judged: Option<Box<[u8]>>,
        table: &Table,
    ) -> Option<Self> {
        let identity = decision.identity.as_ref()?;
        let grant = decision.grant.as_ref()?;
        let client = request.client();
        let prefix = grant.user().strip_suffix(&identity.user).map_or(0, str::len);
        Some(Self::new(Values {
            key: SessionKey::new(&request.server().id, client.id),
            common: table.intern(&CommonParts {
                authenticator: decision.authenticator.as_deref().unwrap_or_default(),
                account: grant.account(),
                groups: &identity.groups,
                roles: grant.roles(),
                replica,
            }),
            user: grant.user(),
            prefix: u32::try_from(prefix).unwrap_or(0),
            client_name: &client.name,
            mqtt_id: &client.mqtt_id,
            decision: request.id(),
            kind: client.connection,
            source: client.ip,
            since: request.received(),
            ends: grant.expires_at(),
            issued_at: identity.issued_at,
            judged,
        }))
    }

    pub(crate) fn new(values: Values<'_>) -> Self {
        let Values {
            key,
            common,
            user,
            prefix,
            client_name,
            mqtt_id,
            decision,
            kind,
            source,
            since,
            ends,
            issued_at,
            judged,
        } = values;
        Self {
            key,
            common,
            prefix,
            texts: Texts::join([user, client_name, mqtt_id, decision]),
            kind,
            source: source.map(|ip| ip.to_canonical()),
            since,
            ends: ends.map_or(i64::MAX, UnixTime::seconds),
            issued_at: issued_at.map_or(i64::MIN, UnixTime::seconds),
            judged,
        }
    }

    pub(crate) fn key(&self) -> SessionKey {
        self.key
    }

    /// Authenticator, account, groups, roles and replica.
    pub(crate) fn common(&self) -> &Common {
        &self.common
    }

    /// The user, with the authenticator's prefix, as nats-server shows it.
    pub(crate) fn user(&self) -> &str {
        self.texts.part(0)
    }

    /// The user name in its source.
    pub(crate) fn source_user(&self) -> &str {
        let prefix = usize::try_from(self.prefix).unwrap_or(0);
        self.user().get(prefix..).unwrap_or_default()
    }

    /// The name that the client claims.
    pub(crate) fn client_name(&self) -> &str {
        self.texts.part(1)
    }

    /// Empty for other kinds of connection.
    pub(crate) fn mqtt_id(&self) -> &str {
        self.texts.part(2)
    }

    /// The ID of the decision's request.
    pub(crate) fn decision(&self) -> &str {
        self.texts.part(3)
    }

    pub(crate) fn kind(&self) -> ConnectionKind {
        self.kind
    }

    /// The TCP peer, if the server reported an address.
    pub(crate) fn source(&self) -> Option<IpAddr> {
        self.source
    }

    /// When the request arrived.
    pub(crate) fn since(&self) -> UnixTime {
        self.since
    }

    pub(crate) fn ends(&self) -> Option<UnixTime> {
        (self.ends != i64::MAX).then(|| UnixTime::from_seconds(self.ends))
    }

    /// When the credential was issued, if it says so.
    pub(crate) fn issued_at(&self) -> Option<UnixTime> {
        (self.issued_at != i64::MIN).then(|| UnixTime::from_seconds(self.issued_at))
    }

    /// What is needed to evaluate the decision again.
    pub(crate) fn judged(&self) -> Option<&[u8]> {
        self.judged.as_deref()
    }

    /// Whether it is a leaf node on one of the servers that do not list them.
    pub(super) fn is_unlisted_leaf_node(&self, runs: impl Fn(ServerId) -> bool) -> bool {
        self.kind == ConnectionKind::LeafNode && runs(self.key.server)
    }

    /// What locks and filters compare.
    pub(crate) fn candidate(&self) -> Candidate<'_, Box<str>> {
        Candidate {
            user: Some(self.user()),
            source_user: Some(self.source_user()),
            authenticator: Some(&self.common.authenticator),
            account: Some(&self.common.account),
            ip: self.source,
            groups: Some(&self.common.groups),
            roles: Some(&self.common.roles),
            kind: Some(self.kind),
            issued_at: IssuedAt::Known(self.issued_at()),
        }
    }
}

impl fmt::Debug for Session {
    /// Without `judged`, which contains claims.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("key", &self.key)
            .field("user", &self.user())
            .field("common", &self.common)
            .finish_non_exhaustive()
    }
}

/// Four texts in one allocation.
struct Texts {
    joined: Box<str>,
    ends: [u32; 3],
}

impl Texts {
    fn join(parts: [&str; 4]) -> Self {
        let [first, second, third, _] = parts.map(str::len);
        let position = |length: usize| u32::try_from(length).unwrap_or(u32::MAX);
        let ends = [first, first + second, first + second + third].map(position);
        Self { joined: parts.concat().into(), ends }
    }

    fn part(&self, index: usize) -> &str {
        let end = |index: usize| self.ends.get(index).and_then(|end| usize::try_from(*end).ok());
        let start = index.checked_sub(1).and_then(end).unwrap_or(0);
        self.joined.get(start..end(index).unwrap_or(self.joined.len())).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn joined_texts_are_read_back() {
        for parts in [["a", "bc", "", "d"], ["", "", "", ""], ["ü", "", "漢字", "x"]] {
            let texts = Texts::join(parts);
            assert_eq!([0, 1, 2, 3].map(|index| texts.part(index)), parts);
        }
    }
}
