//! What an authenticator found out, and what its source proposes.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use ipnet::IpNet;
use serde_json::{Map, Value};

use crate::{
    clock::UnixTime,
    connection::ConnectionKinds,
    permissions::{PermissionTemplates, Permissions},
};

/// A client that somebody vouches for. The pair (authenticator, user) identifies; a bare user
/// name does not.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Identity {
    /// The user, as the source knows it.
    pub user: String,
    /// Groups, as the source knows them.
    pub groups: Vec<String>,
    /// Everything else the source says.
    pub claims: Map<String, Value>,
    /// Values of the template variables that the authenticator declares. It guarantees that each is a
    /// single literal token, so they count as encoded.
    pub variables: BTreeMap<&'static str, String>,
    /// When the credential ends; the session never outlives it.
    pub expires_at: Option<UnixTime>,
    /// What the source says about account and permissions.
    pub proposal: Proposal,
}

impl Identity {
    /// An identity of which nothing but the user is known.
    pub fn of_user(user: impl Into<String>) -> Self {
        Self { user: user.into(), ..Self::default() }
    }
}

/// Who wrote a proposal: it decides how far it is trusted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Origin {
    /// The operator, in a file of his own.
    Operator,
    /// Anybody else: a claim, an annotation, a directory's answer. Clipped to the ceiling.
    #[default]
    Outside,
}

/// What a source proposes for an identity. Policy decides what becomes of it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Proposal {
    /// Who says so.
    pub origin: Origin,
    /// The account to be placed in.
    pub account: Option<String>,
    /// Roles; `Some` and empty says "none", which is not the same as `None`.
    pub roles: Option<Vec<String>>,
    /// Permissions; `Some` of the default says "may do nothing".
    pub permissions: Option<Permissions>,
    /// More permissions, whose subjects have templates in them. Counts only for
    /// [`Origin::Operator`], and only beside `permissions`.
    pub templates: Option<Arc<PermissionTemplates>>,
    /// Networks that the client must come from.
    pub source: Option<Vec<IpNet>>,
    /// Kinds of connection that are open to it.
    pub connection_types: Option<ConnectionKinds>,
    /// Longest session.
    pub expires_after: Option<Duration>,
    /// Unrestricted inside its account if there are no permissions, no roles and no binding.
    /// Counts only for [`Origin::Operator`].
    pub unrestricted_if_alone: bool,
}
