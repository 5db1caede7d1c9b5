//! A named set of permissions, with the conditions under which it applies.

use std::{sync::Arc, time::Duration};

use ipnet::IpNet;

use crate::{
    connection::ConnectionKinds,
    permissions::Responses,
    policy::{settings::Inbox, time_windows::TimeWindows},
    subject::{SubjectPattern, SubscribePattern},
    template::{PatternRules, Template},
};

/// A compiled role. `policy::resolve::role_conditions` checks whether it applies.
#[derive(Debug)]
pub(in crate::policy) struct Role {
    pub(in crate::policy) name: Arc<str>,
    pub(in crate::policy) publish: PatternRules<SubjectPattern>,
    pub(in crate::policy) subscribe: PatternRules<SubscribePattern>,
    pub(in crate::policy) responses: Option<Responses>,
    pub(in crate::policy) inbox: Inbox,
    pub(in crate::policy) expires_after: Option<Duration>,
    pub(in crate::policy) source: Option<Vec<IpNet>>,
    pub(in crate::policy) connection_types: ConnectionKinds,
    pub(in crate::policy) times: Option<TimeWindows>,
    pub(in crate::policy) tags: Vec<Template>,
    pub(in crate::policy) scope: Option<String>,
}
