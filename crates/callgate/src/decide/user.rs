//! The answer of the embedder's own function: a user or a refusal.

use std::time::Duration;

use jiff::{civil::Time, tz::TimeZone};

use crate::{
    authn::Origin,
    clock::UnixTime,
    connection::{ConnectionKind, ConnectionKinds},
    permissions::{Access, Permissions, Responses},
    policy::{Grant, settings::TimeWindow, time_windows::TimeWindows},
    reason::{Denial, Reason},
    request::{AuthRequest, Credential},
    subject::{SubjectPattern, SubscribePattern},
};

const DEFAULT_LIFETIME: Duration = Duration::from_secs(3600);

/// A client to admit. Without permissions it may do nothing.
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
    windows: Vec<TimeWindow>,
    time_zone: Option<TimeZone>,
    /// An invalid argument, which refuses the client.
    invalid: Option<String>,
}

#[derive(Debug, Clone)]
enum Reach {
    Limited,
    Unrestricted,
    Scoped(String),
}

impl User {
    /// A user of this account, for one hour, without permissions.
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
            windows: Vec::new(),
            time_zone: None,
            invalid: None,
        }
    }

    /// The name in the server's logs and lists. The default is the user name of a password login, the
    /// nkey, or else the key that the server generated for the connection.
    #[must_use]
    pub fn named(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Allows publishing to this subject. An invalid subject refuses the client.
    #[must_use]
    pub fn publish(mut self, subject: &str) -> Self {
        match subject.parse::<SubjectPattern>() {
            Ok(subject) => self.permissions().publish.allow.push(subject),
            Err(error) => self.invalid = Some(format!("a permission: {error}")),
        }
        self
    }

    /// Allows subscribing to this subject: `"jobs.*"`, or `"jobs.* workers"` in a queue group. An
    /// invalid subject refuses the client.
    #[must_use]
    pub fn subscribe(mut self, subject: &str) -> Self {
        match subject.parse::<SubscribePattern>() {
            Ok(subject) => self.permissions().subscribe.allow.push(subject),
            Err(error) => self.invalid = Some(format!("a permission: {error}")),
        }
        self
    }

    /// Allows replying to received messages.
    #[must_use]
    pub fn respond(mut self, responses: Responses) -> Self {
        self.permissions().responses = Some(responses);
        self
    }

    /// Replaces the permissions.
    #[must_use]
    pub fn with_permissions(mut self, permissions: Permissions) -> Self {
        *self.permissions() = permissions;
        self
    }

    /// Allows everything inside the account.
    #[must_use]
    pub fn unrestricted(mut self) -> Self {
        self.reach = Reach::Unrestricted;
        self
    }

    /// Allows what the account's scoped signing key of this name allows (operator mode).
    #[must_use]
    pub fn scoped(mut self, scope: impl Into<String>) -> Self {
        self.reach = Reach::Scoped(scope.into());
        self
    }

    /// Ends the session after this time instead of one hour.
    #[must_use]
    pub fn expires_in(mut self, lifetime: Duration) -> Self {
        self.lifetime = Some(lifetime);
        self
    }

    /// Ends the session at this time at the latest, such as the expiry of the credential.
    #[must_use]
    pub fn expires_at(mut self, moment: UnixTime) -> Self {
        self.expires_at = Some(moment);
        self
    }

    /// Does not limit the session: the client stays connected until it leaves.
    #[must_use]
    pub fn without_end(mut self) -> Self {
        self.lifetime = None;
        self
    }

    /// Allows only these kinds of connection. Leaf nodes are never implied: name them here.
    #[must_use]
    pub fn only_over(mut self, kinds: impl IntoIterator<Item = ConnectionKind>) -> Self {
        self.connection_kinds = kinds.into_iter().collect();
        self
    }

    /// Allows logins only at these times of day, such as `only_during("08:00:00", "18:00:00")`. A window
    /// whose end is earlier than its start spans midnight. Further calls add further windows. Outside all of
    /// them the client is refused, and a session ends with the window in which it began. An invalid
    /// time refuses the client.
    ///
    /// Enforced here and not by the server, so that it also applies to [`User::scoped`] users, whose
    /// JWT must not contain limits.
    #[must_use]
    pub fn only_during(mut self, start: &str, end: &str) -> Self {
        match window(start, end) {
            Ok(window) => self.windows.push(window),
            Err(invalid) => self.invalid = Some(invalid),
        }
        self
    }

    /// The time zone of [`User::only_during`], such as `"Europe/Berlin"`. The default is UTC. An
    /// unknown zone refuses the client.
    #[must_use]
    pub fn time_zone(mut self, name: &str) -> Self {
        match TimeZone::get(name) {
            Ok(zone) => self.time_zone = Some(zone),
            Err(_) => self.invalid = Some(format!("`{}` is not a time zone", name.escape_debug())),
        }
        self
    }

    /// Adds a tag to the user JWT. Servers convert it to lower case.
    #[must_use]
    pub fn tag(mut self, tag: impl Into<String>) -> Self {
        self.tags.push(tag.into());
        self
    }

    /// Naming a permission undoes "unrestricted" and any scope.
    fn permissions(&mut self) -> &mut Permissions {
        self.reach = Reach::Limited;
        &mut self.permissions
    }

    /// When the current window closes, if there are windows.
    fn window_end(&self, now: UnixTime) -> Result<Option<UnixTime>, Denial> {
        if self.windows.is_empty() {
            return Ok(None);
        }
        let windows = TimeWindows::new(self.windows.clone(), self.time_zone.clone());
        let end = windows.open_until(now).ok_or_else(|| {
            Denial::new(
                Reason::OutsideHours,
                format!("logins are not allowed at this time of day ({now})"),
            )
        })?;
        Ok(Some(end))
    }

    pub(crate) fn into_grant(self, request: &AuthRequest) -> Result<Grant, Denial> {
        if let Some(invalid) = self.invalid {
            return Err(Denial::new(Reason::PolicyError, invalid));
        }
        if !self.connection_kinds.contains(request.client().connection) {
            return Err(Denial::new(
                Reason::ConnectionTypeNotAllowed,
                format!(
                    "connected over {}, but only {} is allowed",
                    request.client().connection,
                    self.connection_kinds
                ),
            ));
        }
        let now = request.received();
        let own_end = self.lifetime.map(|lifetime| now.plus(lifetime));
        let ends = [own_end, self.expires_at, self.window_end(now)?];
        let expires_at = ends.into_iter().flatten().min();
        if expires_at.is_some_and(|end| end <= now) {
            return Err(Denial::new(
                Reason::TokenExpired,
                "the session would end before it starts",
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
            bindings: Vec::new(),
            dropped: Default::default(),
            notes: Vec::new(),
        })
    }
}

fn window(start: &str, end: &str) -> Result<TimeWindow, String> {
    let time = |text: &str| {
        let wrong = |_| format!("`{}` is not a time of day such as 08:00:00", text.escape_debug());
        text.parse::<Time>().map_err(wrong)
    };
    let window = TimeWindow { start: time(start)?, end: time(end)? };
    match window.start == window.end {
        true => Err(format!("the window from {start} to {end} ends when it starts")),
        false => Ok(window),
    }
}

fn default_name(request: &AuthRequest) -> String {
    match request.credential() {
        Credential::Password { user, .. } => user.clone(),
        Credential::Nkey(key) => key.to_string(),
        Credential::Token(_) | Credential::Certificate | Credential::Anonymous => {
            request.user_nkey().to_string()
        }
    }
}

/// A client to refuse.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// Refused. The text is for your own log; the server never sees it.
    Deny(String),
    /// Refused for now, because a backend does not answer.
    Unavailable(String),
    /// Not answered at all: the client waits until its server gives up. This slows down guessing, but
    /// occupies the server for that time.
    Silent(String),
}

impl Refusal {
    /// Refused; `why` is for your own log.
    pub fn deny(why: impl Into<String>) -> Self {
        Self::Deny(why.into())
    }
}
