//! An identity, and what its source proposes for it.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use ipnet::IpNet;
use serde_json::{Map, Value};

use crate::{
    clock::UnixTime,
    connection::ConnectionKinds,
    permissions::{PermissionTemplates, Permissions},
};

/// A client that an authenticator vouches for. Only the pair (authenticator, user) identifies it; a
/// bare user name does not.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Identity {
    /// The user name in the source.
    pub user: String,
    /// The groups in the source.
    pub groups: Vec<String>,
    /// All other claims of the source.
    pub claims: Map<String, Value>,
    /// Values of the template variables that the authenticator declares. It guarantees that each is a
    /// single literal token, so they count as encoded.
    pub variables: BTreeMap<&'static str, String>,
    /// When the credential expires; the session never outlives it.
    pub expires_at: Option<UnixTime>,
    /// When the credential was issued (`iat` of a token whose signature was verified).
    pub issued_at: Option<UnixTime>,
    /// Identifies the credential, or the key that signed it, without revealing it. A different value means
    /// that the credential was replaced.
    pub credential_id: Option<Arc<str>>,
    /// The account and permissions that the source proposes.
    pub proposal: Proposal,
    /// What the operator should know about it, such as a claim that the token does not have. For the log and
    /// `explain`; never contains a value from outside.
    pub notes: Vec<String>,
}

impl Identity {
    /// An identity with a user name and nothing else.
    pub fn of_user(user: impl Into<String>) -> Self {
        Self { user: user.into(), ..Self::default() }
    }
}

/// Who wrote a proposal, which determines how far it is trusted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Origin {
    /// The operator, in a file of the service.
    Operator,
    /// Anyone else: a claim, an annotation, a directory's answer. Limited by the ceiling.
    #[default]
    Outside,
}

/// What a source proposes for an identity. The policy decides what to grant.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Proposal {
    /// Who wrote it.
    pub origin: Origin,
    /// The account to place the user in.
    pub account: Option<String>,
    /// Roles. An empty list means "no roles", unlike `None`.
    pub roles: Option<Vec<String>>,
    /// Permissions. The default permissions allow nothing, unlike `None`.
    pub permissions: Option<Permissions>,
    /// More permissions, whose subjects contain templates. Only applies to [`Origin::Operator`], and
    /// only together with `permissions`.
    pub templates: Option<Arc<PermissionTemplates>>,
    /// Networks that the client must connect from.
    pub source: Option<Vec<IpNet>>,
    /// The allowed kinds of connection.
    pub connection_types: Option<ConnectionKinds>,
    /// Maximum length of a session.
    pub expires_after: Option<Duration>,
    /// Unrestricted inside its account if there are no permissions, no roles and no binding. Only
    /// applies to [`Origin::Operator`].
    pub unrestricted_if_alone: bool,
}
