//! What a function of one's own answers: a user, or a refusal.

use std::time::Duration;

use crate::{
    authn::Origin,
    clock::UnixTime,
    connection::{ConnectionKind, ConnectionKinds},
    decision::{Denial, Reason},
    policy::{
        Grant,
        permissions::{Access, Permissions, Responses},
    },
    request::{AuthRequest, Credential},
    subject::{SubjectError, SubjectPattern, SubscribePattern},
};

/// How long a session lasts if nobody says otherwise.
const DEFAULT_LIFETIME: Duration = Duration::from_secs(3600);

/// A client to let in. Without permissions it may do nothing.
///
/// ```
/// use callgate::User;
/// let user = User::in_account("APP").named("alice").publish("orders.>").subscribe("_INBOX.>");
/// # let _ = user;
/// ```
#[derive(Debug, Clone)]
pub struct User {
    account: String,
    name: Option<String>,
    reach: Reach,
    permissions: Permissions,
    lifetime: Option<Duration>,
    expires_at: Option<UnixTime>,
    connection_kinds: ConnectionKinds,
    tags: Vec<String>,
    fault: Option<SubjectError>,
}

#[derive(Debug, Clone)]
enum Reach {
    Limited,
    Unrestricted,
    Scoped(String),
}

impl User {
    /// A user of this account, for an hour, who may do nothing yet.
    pub fn in_account(account: impl Into<String>) -> Self {
        Self {
            account: account.into(),
            name: None,
            reach: Reach::Limited,
            permissions: Permissions::default(),
            lifetime: Some(DEFAULT_LIFETIME),
            expires_at: None,
            connection_kinds: ConnectionKinds::default(),
            tags: Vec::new(),
            fault: None,
        }
    }

    /// The name in the server's logs and lists. Without it: the user name of a password login, the
    /// nkey, else the key that the server made for the connection.
    #[must_use]
    pub fn named(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// May publish to this, too. A malformed subject refuses the client.
    #[must_use]
    pub fn publish(mut self, subject: &str) -> Self {
        match subject.parse::<SubjectPattern>() {
            Ok(subject) => self.permissions().publish.allow.push(subject),
            Err(error) => self.fault = Some(error),
        }
        self
    }

    /// May subscribe to this, too: `"jobs.*"`, or `"jobs.* workers"` in a queue group. A malformed
    /// subject refuses the client.
    #[must_use]
    pub fn subscribe(mut self, subject: &str) -> Self {
        match subject.parse::<SubscribePattern>() {
            Ok(subject) => self.permissions().subscribe.allow.push(subject),
            Err(error) => self.fault = Some(error),
        }
        self
    }

    /// May answer what it receives.
    #[must_use]
    pub fn respond(mut self, responses: Responses) -> Self {
        self.permissions().responses = Some(responses);
        self
    }

    /// May do exactly this.
    #[must_use]
    pub fn with_permissions(mut self, permissions: Permissions) -> Self {
        *self.permissions() = permissions;
        self
    }

    /// May do everything inside its account.
    #[must_use]
    pub fn unrestricted(mut self) -> Self {
        self.reach = Reach::Unrestricted;
        self
    }

    /// May do what the account's scoped signing key of this name allows (operator mode).
    #[must_use]
    pub fn scoped(mut self, scope: impl Into<String>) -> Self {
        self.reach = Reach::Scoped(scope.into());
        self
    }

    /// The session ends after this time, instead of an hour.
    #[must_use]
    pub fn expires_in(mut self, lifetime: Duration) -> Self {
        self.lifetime = Some(lifetime);
        self
    }

    /// The session ends at this moment at the latest: the end of the credential.
    #[must_use]
    pub fn expires_at(mut self, moment: UnixTime) -> Self {
        self.expires_at = Some(moment);
        self
    }

    /// The session has no end of its own. Such a client stays until it leaves.
    #[must_use]
    pub fn without_end(mut self) -> Self {
        self.lifetime = None;
        self
    }

    /// Only over these kinds of connection. Leaf nodes are never implied: name them here.
    #[must_use]
    pub fn only_over(mut self, kinds: impl IntoIterator<Item = ConnectionKind>) -> Self {
        self.connection_kinds = kinds.into_iter().collect();
        self
    }

    /// A tag of the user JWT. Servers lower-case it.
    #[must_use]
    pub fn tag(mut self, tag: impl Into<String>) -> Self {
        self.tags.push(tag.into());
        self
    }

    /// Whoever names a permission means that one: it ends "unrestricted" and any scope.
    fn permissions(&mut self) -> &mut Permissions {
        self.reach = Reach::Limited;
        &mut self.permissions
    }

    pub(crate) fn into_grant(self, request: &AuthRequest) -> Result<Grant, Denial> {
        if let Some(fault) = self.fault {
            return Err(Denial::new(Reason::PolicyError, format!("a permission: {fault}")));
        }
        if !self.connection_kinds.contains(request.client().connection) {
            return Err(Denial::new(
                Reason::ConnectionTypeNotAllowed,
                format!(
                    "it came over {}, but only {} is open to it",
                    request.client().connection,
                    self.connection_kinds
                ),
            ));
        }
        let now = request.received();
        let expires_at = [self.lifetime.map(|lifetime| now.plus(lifetime)), self.expires_at]
            .into_iter()
            .flatten()
            .min();
        if expires_at.is_some_and(|end| end <= now) {
            return Err(Denial::new(
                Reason::TokenExpired,
                "the session would end before it begins",
            ));
        }
        Ok(Grant {
            account: self.account,
            account_origin: Origin::Operator,
            user: self.name.unwrap_or_else(|| default_name(request)),
            access: match self.reach {
                Reach::Limited => Access::Limited(self.permissions),
                Reach::Unrestricted => Access::Unrestricted,
                Reach::Scoped(scope) => Access::Scoped(scope),
            },
            expires_at,
            tags: self.tags,
            roles: Vec::new(),
            dropped: Default::default(),
        })
    }
}

fn default_name(request: &AuthRequest) -> String {
    match request.credential() {
        Credential::Password { user, .. } => user.clone(),
        Credential::Nkey(key) => key.to_string(),
        Credential::Token(_) | Credential::Certificate => request.user_nkey().to_string(),
    }
}

/// A client not to let in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// Refused; the text is for our own log, the server is told nothing.
    Deny(String),
    /// Refused for now, because something that is needed does not answer.
    Unavailable(String),
    /// Not answered at all: the client waits until its server gives up. It slows down guessing, and
    /// costs a place at the server for as long.
    Silent(String),
}

impl Refusal {
    /// Refused, and why: for our own log.
    pub fn deny(why: impl Into<String>) -> Self {
        Self::Deny(why.into())
    }
}
