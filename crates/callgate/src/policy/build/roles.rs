//! Checks and precompiles one role.

use std::{fmt, str::FromStr, sync::Arc};

use super::{check_duration, pattern, patterns, responses, template, wildcards};
use crate::{
    connection::ConnectionKinds,
    policy::{
        accounts::Accounts,
        fault::{Findings, did_you_mean},
        jetstream,
        permission_warnings::PermissionWarning,
        role::{Role, Side},
        scope::literal_tag,
        settings::{BucketAccess, Inbox, RoleSettings, SideSettings, StreamAccess},
        template::Pattern,
        times::Windows,
    },
    subject::{SubjectError, SubjectPattern},
};

fn side<T>(path: &str, settings: &SideSettings, found: &mut Findings) -> Side<T>
where
    T: FromStr<Err = SubjectError> + Clone + fmt::Display,
{
    let SideSettings { allow, deny } = settings;
    Side {
        allow: patterns(&format!("{path}.allow"), allow, found),
        deny: patterns(&format!("{path}.deny"), deny, found),
    }
}

pub(super) fn role(
    path: &str,
    name: Arc<str>,
    settings: RoleSettings,
    found: &mut Findings,
) -> Role {
    check_role(path, &settings, found);
    let opened = macros(path, &settings, found);
    let RoleSettings {
        publish,
        subscribe,
        responses,
        inbox,
        expires_after,
        source,
        connection_types,
        times,
        timezone,
        kv: _,
        streams: _,
        objects: _,
        tags,
        scope,
    } = settings;
    let mut publish: Side<SubjectPattern> = side(&format!("{path}.publish"), &publish, found);
    publish.allow.extend(opened);
    let subscribe = side(&format!("{path}.subscribe"), &subscribe, found);
    let tags = tags.iter().enumerate();
    let role = Role {
        name,
        publish,
        subscribe,
        responses,
        inbox,
        expires_after,
        source,
        kinds: connection_types.unwrap_or_default(),
        times: times.map(|windows| Windows::new(windows, timezone)),
        tags: tags
            .filter_map(|(index, text)| template(&format!("{path}.tags[{index}]"), text, found))
            .collect(),
        scope,
    };
    warn_about(path, &role, found);
    role
}

fn check_role(path: &str, settings: &RoleSettings, found: &mut Findings) {
    check_duration(&format!("{path}.expires_after"), settings.expires_after, found);
    if settings.source.as_ref().is_some_and(Vec::is_empty) {
        found.fault(format!("{path}.source"), "an empty list lets nobody in: leave it out");
    }
    if settings.connection_types == Some(ConnectionKinds::NONE) {
        let message = "an empty list lets nobody in: leave it out";
        found.fault(format!("{path}.connection_types"), message);
    }
    if settings.times.as_ref().is_some_and(Vec::is_empty) {
        found.fault(format!("{path}.times"), "an empty list lets nobody in: leave it out");
    }
    for (index, window) in settings.times.iter().flatten().enumerate() {
        if window.start == window.end {
            found.fault(format!("{path}.times[{index}]"), "the window ends when it starts");
        }
    }
    if settings.timezone.is_some() && settings.times.is_none() {
        found.warn(format!("{path}.timezone"), "has no effect without `times`");
    }
    if settings.times.is_some() && settings.timezone.is_none() {
        found.warn(format!("{path}.times"), "without `timezone` the times are read as UTC");
    }
    if settings.responses.is_some_and(|responses| responses.max == Some(0)) {
        let message =
            "`max` of 0 would be without limit for nats-server: write -1, or leave it out";
        found.fault(format!("{path}.responses.max"), message);
    }
}

/// What the JetStream macros of the role open.
fn macros(
    path: &str,
    settings: &RoleSettings,
    found: &mut Findings,
) -> Vec<Pattern<SubjectPattern>> {
    let mut all: Vec<(String, jetstream::Opened)> = Vec::new();
    for (index, entry) in settings.streams.iter().enumerate() {
        let path = format!("{path}.streams[{index}]");
        if entry.access == StreamAccess::Configure {
            warn_configure(&path, found);
        }
        all.push((path, jetstream::stream(entry)));
    }
    for (index, entry) in settings.kv.iter().enumerate() {
        let path = format!("{path}.kv[{index}]");
        if entry.access == BucketAccess::Admin {
            warn_configure(&path, found);
        }
        all.push((path, jetstream::key_value(entry)));
    }
    for (index, entry) in settings.objects.iter().enumerate() {
        let path = format!("{path}.objects[{index}]");
        if entry.access == BucketAccess::Admin {
            warn_configure(&path, found);
        }
        all.push((path, jetstream::objects(entry)));
    }
    let own_inbox = settings.subscribe.allow.iter().any(|text| text.starts_with("_INBOX"));
    if let Some((path, _)) = all.first()
        && settings.inbox == Inbox::None
        && !own_inbox
    {
        let message = "answers arrive at an inbox: the role needs `inbox = \"private\"`, or a \
                       subscribe allow of its own that begins with `_INBOX`";
        found.fault(path, message);
    }
    let mut opened = Vec::new();
    for (path, texts) in all {
        let Some(texts) = found.take(&path, texts) else { continue };
        opened.extend(texts.iter().filter_map(|text| pattern(&path, text, found)));
    }
    opened
}

fn warn_configure(path: &str, found: &mut Findings) {
    let message = "who changes a stream's configuration can read and capture the whole account \
                   (`sources`, `subjects`)";
    found.warn(path, message);
}

pub(super) fn check_scope(path: &str, role: &Role, accounts: &Accounts, found: &mut Findings) {
    let Some(scope) = &role.scope else { return };
    for (index, tag) in role.tags.iter().enumerate() {
        // A value that is no literal token refuses by itself, so any that is one may stand for it.
        if let Err(why) = literal_tag(&tag.with("x")) {
            let message =
                format!("`{}` {why}: with a scope everybody would be refused", tag.text());
            found.fault(format!("{path}.tags[{index}]"), message);
        }
    }
    let path = format!("{path}.scope");
    if !accounts.operator_mode {
        found.fault(path, "scoped signing keys need operator mode");
        return;
    }
    let has_permissions = !role.publish.allow.is_empty()
        || !role.publish.deny.is_empty()
        || !role.subscribe.allow.is_empty()
        || !role.subscribe.deny.is_empty()
        || role.responses.is_some()
        || role.inbox != Inbox::None;
    if has_permissions {
        let message = "the scoped key's template grants: the role has no permissions of its own";
        found.fault(path.clone(), message);
    }
    let known: Vec<&str> = accounts
        .listed
        .iter()
        .flat_map(|(_, account)| account.scoped.iter().map(String::as_str))
        .collect();
    if !known.contains(&scope.as_str()) {
        let hint = did_you_mean(scope, known.into_iter());
        found.fault(path, format!("no account has a scoped signing key `{scope}`{hint}"));
    }
}

fn warn_about(path: &str, role: &Role, found: &mut Findings) {
    for (name, allows, denies) in [
        ("publish", role.publish.allow.len(), role.publish.deny.len()),
        ("subscribe", role.subscribe.allow.len(), role.subscribe.deny.len()),
    ] {
        if let Some(doubt) = PermissionWarning::of_side(allows, denies) {
            found.warn(format!("{path}.{name}"), doubt.to_string());
        }
    }
    responses::warn_of_role(path, role, found);
    wildcards::warn_about(path, role, found);
}

pub(super) fn warn_shared_inbox(path: &str, role: &Role, found: &mut Findings) {
    let shared = role.subscribe.allow.iter().any(|allow| allow.text() == "_INBOX.>");
    if shared || role.inbox == Inbox::Shared {
        let message = "`_INBOX.>` shows every reply of the account: prefer \
                       `defaults.inbox = \"private\"`";
        found.warn(path, message);
    }
}
