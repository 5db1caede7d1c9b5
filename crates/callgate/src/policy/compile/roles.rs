//! Compiles one role.

use std::{fmt, str::FromStr, sync::Arc};

use super::{
    authenticators::{RuleKind, check_mqtt_spelling, patterns},
    check_duration,
    findings::Findings,
    jetstream, reach, reply_subjects,
    role::Role,
    wildcards,
};
use crate::{
    connection::{ConnectionKind, ConnectionKinds},
    permissions::PermissionWarning,
    policy::{
        accounts::Accounts,
        scope::literal_tag,
        settings::{BucketAccess, Inbox, RoleSettings, SideSettings, StreamAccess},
        time_windows::TimeWindows,
    },
    subject::{SubjectError, SubjectPattern, SubscribePattern},
    suggest::did_you_mean,
    template::{Pattern, PatternRules, Template},
};

/// What MQTT clients subscribe to in nats-server 2.10 and 2.11 for QoS 1 and 2 (`server/mqtt.go`).
pub(in crate::policy) const MQTT_SESSIONS: [&str; 2] = ["$MQTT.sub.>", "$MQTT.deliver.>"];

const EMPTY_LIST: &str = "an empty list allows no login: omit the key";

pub(super) fn role(
    path: &str,
    name: Arc<str>,
    settings: RoleSettings,
    findings: &mut Findings,
) -> Role {
    check_role(path, &settings, findings);
    reach::warn_about_buckets(path, &settings, findings);
    let jetstream = jetstream_subjects(path, &settings, findings);
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
        mqtt,
    } = settings;
    let mut publish: PatternRules<SubjectPattern> =
        pattern_rules(&format!("{path}.publish"), &publish, findings);
    publish.allow.extend(jetstream);
    let mut subscribe: PatternRules<SubscribePattern> =
        pattern_rules(&format!("{path}.subscribe"), &subscribe, findings);
    if mqtt {
        let sessions = MQTT_SESSIONS.into_iter().filter_map(|text| text.parse().ok());
        subscribe.allow.extend(sessions.map(Pattern::Literal));
    }
    let tags = tags.iter().enumerate().filter_map(|(index, text)| {
        findings.parse(&format!("{path}.tags[{index}]"), text, Template::parse)
    });
    let role = Role {
        name,
        publish,
        subscribe,
        responses,
        inbox,
        expires_after,
        source,
        connection_types: connection_types.unwrap_or_default(),
        times: times.map(|windows| TimeWindows::new(windows, timezone)),
        tags: tags.collect(),
        scope,
    };
    warn_about_permissions(path, &role, findings);
    role
}

fn pattern_rules<T>(path: &str, settings: &SideSettings, findings: &mut Findings) -> PatternRules<T>
where
    T: FromStr<Err = SubjectError> + Clone + fmt::Display,
{
    let SideSettings { allow, deny } = settings;
    PatternRules {
        allow: patterns(&format!("{path}.allow"), allow, RuleKind::Allow, findings),
        deny: patterns(&format!("{path}.deny"), deny, RuleKind::Deny, findings),
    }
}

fn check_role(path: &str, settings: &RoleSettings, findings: &mut Findings) {
    check_duration(&format!("{path}.expires_after"), settings.expires_after, findings);
    if settings.source.as_ref().is_some_and(Vec::is_empty) {
        findings.fault(format!("{path}.source"), EMPTY_LIST);
    }
    if settings.connection_types == Some(ConnectionKinds::NONE) {
        findings.fault(format!("{path}.connection_types"), EMPTY_LIST);
    }
    if settings.times.as_ref().is_some_and(Vec::is_empty) {
        findings.fault(format!("{path}.times"), EMPTY_LIST);
    }
    for (index, window) in settings.times.iter().flatten().enumerate() {
        if window.start == window.end {
            let message = "the window ends at its start time: it is never open";
            findings.fault(format!("{path}.times[{index}]"), message);
        }
    }
    if settings.timezone.is_some() && settings.times.is_none() {
        findings.warn(format!("{path}.timezone"), "has no effect without `times`");
    }
    if settings.times.is_some() && settings.timezone.is_none() {
        findings.warn(format!("{path}.times"), "without `timezone`, the times are in UTC");
    }
    if settings.mqtt {
        let message = "on every nats-server, `$MQTT.sub.>` and `$MQTT.deliver.>` also let the client \
                       read QoS 1 and 2 messages of other MQTT clients of the account: set it only for \
                       nats-server 2.10 and 2.11, and give clients that distrust each other separate \
                       accounts";
        findings.warn(format!("{path}.mqtt"), message);
        let excludes = |kinds: ConnectionKinds| !kinds.contains(ConnectionKind::Mqtt);
        if settings.connection_types.is_some_and(excludes) {
            let message = "has no effect: `connection_types` excludes mqtt";
            findings.warn(format!("{path}.mqtt"), message);
        }
    }
    if settings.responses.is_some_and(|responses| responses.max == Some(0)) {
        let message = "nats-server reads a `max` of 0 as unlimited: write -1, or omit the key";
        findings.fault(format!("{path}.responses.max"), message);
    }
}

/// The subjects that the role may publish to because of `streams`, `kv` and `objects`.
fn jetstream_subjects(
    path: &str,
    settings: &RoleSettings,
    findings: &mut Findings,
) -> Vec<Pattern<SubjectPattern>> {
    let mut macros: Vec<(String, jetstream::Subjects)> = Vec::new();
    for (index, entry) in settings.streams.iter().enumerate() {
        let path = format!("{path}.streams[{index}]");
        if entry.access == StreamAccess::Configure {
            warn_configure(&path, findings);
        }
        macros.push((path, jetstream::stream(entry)));
    }
    let kv = settings.kv.iter().enumerate();
    let kv = kv.map(|(index, entry)| (format!("kv[{index}]"), entry, jetstream::key_value(entry)));
    let objects = settings.objects.iter().enumerate();
    let objects = objects
        .map(|(index, entry)| (format!("objects[{index}]"), entry, jetstream::objects(entry)));
    for (key, entry, subjects) in kv.chain(objects) {
        let path = format!("{path}.{key}");
        if entry.access == BucketAccess::Admin {
            warn_configure(&path, findings);
        }
        macros.push((path, subjects));
    }
    let own_inbox = settings.subscribe.allow.iter().any(|text| text.starts_with("_INBOX"));
    if let Some((path, _)) = macros.first()
        && settings.inbox == Inbox::None
        && !own_inbox
    {
        let message = "replies arrive at an inbox: the role needs `inbox = \"private\"`, or a \
                       subscribe allow that begins with `_INBOX`";
        findings.fault(path, message);
    }
    let mut patterns = Vec::new();
    for (path, subjects) in macros {
        let Some(subjects) = findings.take(&path, subjects) else { continue };
        for text in &subjects {
            check_mqtt_spelling(&path, text, RuleKind::Allow, findings);
        }
        patterns
            .extend(subjects.iter().filter_map(|text| findings.parse(&path, text, Pattern::parse)));
    }
    patterns
}

fn warn_configure(path: &str, findings: &mut Findings) {
    let message = "a client that can change a stream's configuration can read and capture \
                   messages of the whole account (`sources`, `subjects`)";
    findings.warn(path, message);
}

/// Checks a role with a scope: its tags, and that a scoped signing key grants instead of the role.
pub(super) fn check_scope(path: &str, role: &Role, accounts: &Accounts, findings: &mut Findings) {
    let Some(scope) = &role.scope else { return };
    for (index, tag) in role.tags.iter().enumerate() {
        // A value that is not a literal token is refused anyway, so any literal token stands for it.
        if let Err(why) = literal_tag(&tag.with("x")) {
            let message =
                format!("`{}` {why}: with a scope, every login would be refused", tag.text());
            findings.fault(format!("{path}.tags[{index}]"), message);
        }
    }
    let path = format!("{path}.scope");
    if !accounts.operator_mode {
        findings.fault(path, "scoped signing keys need operator mode");
        return;
    }
    let Role { publish, subscribe, responses, inbox, .. } = role;
    let has_permissions = !publish.allow.is_empty()
        || !publish.deny.is_empty()
        || !subscribe.allow.is_empty()
        || !subscribe.deny.is_empty()
        || responses.is_some()
        || *inbox != Inbox::None;
    if has_permissions {
        let message = "the template of the scoped key grants the permissions: remove those of the \
                       role";
        findings.fault(path.clone(), message);
    }
    let known = || accounts.listed.all().flat_map(|account| &account.scoped).map(String::as_str);
    if !known().any(|name| name == scope) {
        let known: Vec<&str> = known().collect();
        let hint = did_you_mean(scope, known);
        findings.fault(path, format!("no account has a scoped signing key `{scope}`{hint}"));
    }
}

fn warn_about_permissions(path: &str, role: &Role, findings: &mut Findings) {
    for (name, allows, denies) in [
        ("publish", role.publish.allow.len(), role.publish.deny.len()),
        ("subscribe", role.subscribe.allow.len(), role.subscribe.deny.len()),
    ] {
        if let Some(warning) = PermissionWarning::about_denies(allows, denies) {
            findings.warn(format!("{path}.{name}"), warning.to_string());
        }
    }
    reply_subjects::warn_about_role(path, role, findings);
    wildcards::warn_about_role(path, role, findings);
}
