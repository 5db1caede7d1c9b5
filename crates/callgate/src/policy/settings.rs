//! What the operator wrote about policy, as plain values. The configuration reader fills them.

use std::{collections::BTreeMap, time::Duration};

use ipnet::IpNet;
use jiff::{civil::Time, tz::TimeZone};

use super::permissions::Responses;
use crate::connection::ConnectionKinds;

/// Everything that a [`Policy`](super::Policy) is built from.
#[derive(Debug, Clone, Default)]
pub struct PolicySettings {
    /// `[roles.NAME]`.
    pub roles: BTreeMap<String, RoleSettings>,
    /// `[[bindings]]`, in order.
    pub bindings: Vec<BindingSettings>,
    /// The policy keys of `[[authenticators]]`, in order.
    pub authenticators: Vec<AuthenticatorPolicy>,
    /// `[[accounts]]`, `default_account`, and what `[issuer]` says about accounts.
    pub accounts: AccountsSettings,
    /// `[session]`.
    pub session: SessionSettings,
}

/// Texts of one side of a role's permissions; templates are allowed in them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SideSettings {
    /// `allow`.
    pub allow: Vec<String>,
    /// `deny`.
    pub deny: Vec<String>,
}

/// `[roles.NAME]`, and the `defaults` of Kubernetes.
#[derive(Debug, Clone, Default)]
pub struct RoleSettings {
    /// `publish`.
    pub publish: SideSettings,
    /// `subscribe`; a queue group may follow the subject.
    pub subscribe: SideSettings,
    /// `responses`.
    pub responses: Option<Responses>,
    /// `inbox`.
    pub inbox: Inbox,
    /// `expires_after`.
    pub expires_after: Option<Duration>,
    /// `source`.
    pub source: Option<Vec<IpNet>>,
    /// `connection_types`; absent means all but leaf nodes.
    pub connection_types: Option<ConnectionKinds>,
    /// `times`.
    pub times: Option<Vec<TimeWindow>>,
    /// `timezone`; absent means UTC.
    pub timezone: Option<TimeZone>,
    /// `kv`.
    pub kv: Vec<BucketSettings>,
    /// `streams`.
    pub streams: Vec<StreamSettings>,
    /// `objects`.
    pub objects: Vec<BucketSettings>,
    /// `tags`; templates are allowed.
    pub tags: Vec<String>,
    /// `scope`: the scoped signing key that grants instead of permissions (operator mode).
    pub scope: Option<String>,
}

/// Which inboxes a role opens for subscribing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Inbox {
    /// None.
    #[default]
    None,
    /// The user's own, `_INBOX_{{ encode(user) }}.>`.
    Private,
    /// Everybody's, `_INBOX.>`.
    Shared,
}

/// A time of day from `start` up to, but not including, `end`; over midnight if `end` is earlier.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimeWindow {
    /// When it opens.
    pub start: Time,
    /// When it closes.
    pub end: Time,
}

/// An entry of `kv` or `objects`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BucketSettings {
    /// The bucket; a template is allowed.
    pub bucket: String,
    /// What may be done with it.
    pub access: BucketAccess,
    /// The JetStream domain that it is in.
    pub domain: Option<String>,
}

/// What may be done with a bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BucketAccess {
    /// Get, list, watch.
    Read,
    /// Put and delete too.
    Write,
    /// Change its configuration too.
    Admin,
}

/// An entry of `streams`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamSettings {
    /// The stream; a template is allowed.
    pub name: String,
    /// What may be done with it.
    pub access: StreamAccess,
    /// The one consumer to pull from (`consume` only).
    pub consumer: Option<String>,
    /// What may be published (`publish` only).
    pub subjects: Vec<String>,
    /// The JetStream domain that it is in.
    pub domain: Option<String>,
}

/// What may be done with a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StreamAccess {
    /// Make and use consumers.
    Consume,
    /// Publish to its subjects.
    Publish,
    /// Consume, purge, delete messages.
    Manage,
    /// Change its configuration too, which reaches the whole account.
    Configure,
}

/// Which authenticators a binding is for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum AuthenticatorSelector {
    /// Not written: the only authenticator that there is, and it counts as named.
    #[default]
    Only,
    /// `"*"`: all of them, none of them by name.
    Every,
    /// These, by name.
    Named(Vec<String>),
}

/// An entry of `[[bindings]]`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BindingSettings {
    /// `authenticator`.
    pub authenticator: AuthenticatorSelector,
    /// `when`: a CEL condition; absent means always.
    pub when: Option<String>,
    /// `account`: a name, or a template.
    pub account: Option<String>,
    /// `roles`: names or templates.
    pub roles: Vec<String>,
    /// `otherwise`: only if no other binding matched.
    pub otherwise: bool,
    /// `expires_after`.
    pub expires_after: Option<Duration>,
}

/// The policy keys of one of `[[authenticators]]`.
#[derive(Debug, Clone, Default)]
pub struct AuthenticatorPolicy {
    /// `name`.
    pub name: String,
    /// `account`: a default for its identities.
    pub account: Option<String>,
    /// `expires_after`.
    pub expires_after: Option<Duration>,
    /// `user_prefix`: put before every user.
    pub user_prefix: String,
    /// `ceiling`.
    pub ceiling: CeilingSettings,
    /// `kubernetes.defaults`: a role that each of its identities has.
    pub defaults: Option<RoleSettings>,
}

/// `ceiling`: how far outside data may go. What is absent allows nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CeilingSettings {
    /// Names, or patterns such as `tenant-*`, or templates.
    pub accounts: Vec<String>,
    /// Names of roles.
    pub roles: Vec<String>,
    /// Subjects; templates are allowed.
    pub publish: Vec<String>,
    /// Subjects with or without queue group; templates are allowed.
    pub subscribe: Vec<String>,
    /// At most these.
    pub responses: Option<Responses>,
}

/// `[[accounts]]`, `default_account`, and what `[issuer]` says about accounts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccountsSettings {
    /// `[[accounts]]`.
    pub accounts: Vec<AccountSettings>,
    /// `issuer.system_accounts`.
    pub system_accounts: Vec<String>,
    /// `issuer.callout_account`, where the operator states it.
    pub callout_account: Option<String>,
    /// `default_account`.
    pub default_account: Option<String>,
    /// True in operator mode: every account is listed, without patterns.
    pub operator_mode: bool,
    /// `issuer.insecure_share_callout_account`.
    pub insecure_share_callout_account: bool,
}

impl Default for AccountsSettings {
    fn default() -> Self {
        Self {
            accounts: Vec::new(),
            system_accounts: vec!["SYS".to_owned(), "$SYS".to_owned()],
            callout_account: None,
            default_account: None,
            operator_mode: false,
            insecure_share_callout_account: false,
        }
    }
}

/// An entry of `[[accounts]]`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AccountSettings {
    /// A name; in configuration mode also a pattern such as `tenant-*`.
    pub name: String,
    /// The account's public key (operator mode): the callout account may be known by it.
    pub id: Option<String>,
    /// The names of its scoped signing keys (operator mode).
    pub scoped: Vec<String>,
}

impl AccountSettings {
    /// An account of which only the name is known.
    pub fn named(name: impl Into<String>) -> Self {
        Self { name: name.into(), ..Self::default() }
    }
}

/// `[session]`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SessionSettings {
    /// `max_lifetime`; `None` is `"none"`.
    pub max_lifetime: Option<Duration>,
    /// `jitter`: sessions end up to this fraction of their time earlier.
    pub jitter: f64,
}

impl Default for SessionSettings {
    fn default() -> Self {
        Self { max_lifetime: Some(Duration::from_secs(3600)), jitter: 0.1 }
    }
}
