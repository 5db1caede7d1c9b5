//! The policy part of the configuration, as plain values.

use std::{collections::BTreeMap, time::Duration};

use ipnet::IpNet;
use jiff::{civil::Time, tz::TimeZone};

use crate::{connection::ConnectionKinds, permissions::Responses};

/// All settings of a [`Policy`](super::Policy).
#[derive(Debug, Clone, Default)]
pub struct PolicySettings {
    /// `[roles.NAME]`.
    pub roles: BTreeMap<String, RoleSettings>,
    /// `[[bindings]]`, in order.
    pub bindings: Vec<BindingSettings>,
    /// The policy keys of `[[authenticators]]`, in order.
    pub authenticators: Vec<AuthenticatorPolicy>,
    /// `[[accounts]]`, `default_account`, and the account keys of `[issuer]`.
    pub accounts: AccountsSettings,
    /// `[session]`.
    pub session: SessionSettings,
}

/// The subjects of one direction of a role's permissions; they may contain templates.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SideSettings {
    /// `allow`.
    pub allow: Vec<String>,
    /// `deny`.
    pub deny: Vec<String>,
}

/// `[roles.NAME]`, and the `defaults` of an authenticator.
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
    /// `connection_types`; absent means all except leaf nodes.
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
    /// `tags`; they may contain templates.
    pub tags: Vec<String>,
    /// `scope`: the scoped signing key that grants instead of permissions (operator mode).
    pub scope: Option<String>,
    /// `mqtt`: what nats-server 2.10 and 2.11 need for MQTT with QoS 1 and 2.
    pub mqtt: bool,
}

/// The inboxes that a role may subscribe to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Inbox {
    /// None.
    #[default]
    None,
    /// The user's own, `_INBOX_{{ encode(user) }}.>`.
    Private,
    /// All inboxes that use the default prefix, `_INBOX.>`.
    Shared,
}

/// A time of day from `start` to `end` (exclusive); over midnight if `end` is earlier.
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
    /// The bucket; may be a template.
    pub bucket: String,
    /// The allowed operations.
    pub access: BucketAccess,
    /// Its JetStream domain.
    pub domain: Option<String>,
}

/// The allowed operations on a bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BucketAccess {
    /// Get, list, watch.
    Read,
    /// Also put and delete.
    Write,
    /// Also change its configuration.
    Admin,
}

/// An entry of `streams`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamSettings {
    /// The stream; may be a template.
    pub name: String,
    /// The allowed operations.
    pub access: StreamAccess,
    /// The only consumer to pull from (`consume` only).
    pub consumer: Option<String>,
    /// The subjects to publish to (`publish` only).
    pub subjects: Vec<String>,
    /// Its JetStream domain.
    pub domain: Option<String>,
}

/// The allowed operations on a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StreamAccess {
    /// Create and use consumers.
    Consume,
    /// Publish to its subjects.
    Publish,
    /// Consume, purge, delete messages.
    Manage,
    /// Also change its configuration, which affects the whole account.
    Configure,
}

/// The authenticators to which a binding applies.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum AuthenticatorSelector {
    /// Omitted: the only authenticator, which counts as named.
    #[default]
    Only,
    /// `"*"`: all authenticators, none of them named.
    Every,
    /// The authenticators with these names.
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
    /// `otherwise`: applies only if no other binding matches.
    pub otherwise: bool,
    /// `expires_after`.
    pub expires_after: Option<Duration>,
}

/// The policy keys of one of `[[authenticators]]`.
#[derive(Debug, Clone, Default)]
pub struct AuthenticatorPolicy {
    /// `name`.
    pub name: String,
    /// The name of its kind's table, for paths and messages.
    pub kind: &'static str,
    /// `account`: a default for its identities.
    pub account: Option<String>,
    /// `expires_after`.
    pub expires_after: Option<Duration>,
    /// `user_prefix`: prepended to every user.
    pub user_prefix: String,
    /// The variables that its identities bring to templates. Their values are single literal tokens,
    /// and together they identify the user.
    pub variables: &'static [&'static str],
    /// `ceiling`.
    pub ceiling: CeilingSettings,
    /// `defaults` of its kind: a role that each of its identities has.
    pub defaults: Option<RoleSettings>,
}

/// `ceiling`: the most that outside data may request. An absent key allows nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CeilingSettings {
    /// Names, or patterns such as `tenant-*`, or templates.
    pub accounts: Vec<String>,
    /// Names of roles.
    pub roles: Vec<String>,
    /// Subjects; they may contain templates.
    pub publish: Vec<String>,
    /// Subjects with or without a queue group; they may contain templates.
    pub subscribe: Vec<String>,
    /// The maximum.
    pub responses: Option<Responses>,
}

/// `[[accounts]]`, `default_account`, and the account keys of `[issuer]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccountsSettings {
    /// `[[accounts]]`.
    pub accounts: Vec<AccountSettings>,
    /// `issuer.system_accounts`.
    pub system_accounts: Vec<String>,
    /// `issuer.callout_account`, if set.
    pub callout_account: Option<String>,
    /// `default_account`.
    pub default_account: Option<String>,
    /// True in operator mode: every account must be listed, without patterns.
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
    /// The account's public key (operator mode); identifies the callout account.
    pub id: Option<String>,
    /// The names of its scoped signing keys (operator mode).
    pub scoped: Vec<String>,
}

impl AccountSettings {
    /// An account with only a name.
    pub fn named(name: impl Into<String>) -> Self {
        Self { name: name.into(), ..Self::default() }
    }
}

/// `[session]`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SessionSettings {
    /// `max_lifetime`; `None` means `"none"`.
    pub max_lifetime: Option<Duration>,
    /// `jitter`: sessions end earlier by up to this fraction of their lifetime.
    pub jitter: f64,
}

impl Default for SessionSettings {
    fn default() -> Self {
        Self { max_lifetime: Some(Duration::from_secs(3600)), jitter: 0.1 }
    }
}
