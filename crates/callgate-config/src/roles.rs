//! `[roles.NAME]`.

use std::collections::BTreeMap;

use crate::{
    permissions::{
        PUBLISH_KEY, RESPONSES_KEY, RawPermissions, RawRules, SUBJECTS, SUBSCRIBE_KEY, Written,
    },
    schema::{CONNECTION_TYPES, Key, NETWORKS, TEXTS, Type},
    table::Table,
};
use callgate::policy::settings::{
    BucketAccess, BucketSettings, Inbox, RoleSettings, SideSettings, StreamAccess, StreamSettings,
    TimeWindow,
};
use jiff::tz::TimeZone;

/// The keys of a role.
pub const KEYS: &[Key] = &[
    PUBLISH_KEY,
    SUBSCRIBE_KEY,
    RESPONSES_KEY,
    Key::optional(
        "inbox",
        Type::Word(&["none", "private", "shared"]),
        "subscribe to `_INBOX_{{ encode(user) }}.>` (private) or `_INBOX.>` (shared)",
    )
    .or("\"none\""),
    Key::optional("expires_after", Type::Duration, "longest session of clients with this role"),
    Key::optional(
        "source",
        NETWORKS,
        "the role applies only to clients from these networks: `[\"10.0.0.0/8\"]`",
    )
    .or_else("anywhere"),
    Key::optional(
        "connection_types",
        CONNECTION_TYPES,
        "the role applies only to these: `nats`, `websocket`, `mqtt`, `leafnode` (or `STANDARD`, `WEBSOCKET`, \
         `MQTT`, `LEAFNODE`). `leafnode` is never implied",
    )
    .or_else("nats, websocket, mqtt"),
    Key::optional(
        "times",
        Type::Named("list of `{ start, end }`", &Type::List(&Type::Table(&[
            Key::required("start", Type::Text, "such as `\"08:00:00\"`"),
            Key::required("end", Type::Text, "such as `\"18:00:00\"`"),
        ]))),
        "hours in which the role applies, such as `\"08:00:00\"`; across midnight if `end` is earlier than \
         `start`",
    )
    .or_else("always"),
    Key::optional("timezone", Type::Text, "time zone of `times`, such as `\"Europe/Berlin\"`")
        .or_else("UTC, with a warning"),
    Key::optional(
        "streams",
        Type::List(&Type::Table(&[
            Key::required("name", Type::Text, "the stream"),
            Key::required(
                "access",
                Type::Word(&["consume", "publish", "manage", "configure"]),
                "what it permits",
            ),
            Key::optional("consumer", Type::Text, "with `consume`: only this consumer"),
            Key::optional("subjects", SUBJECTS, "with `publish`: the subjects"),
            Key::optional("domain", Type::Text, "the JetStream domain"),
        ])),
        "JetStream macros, see below",
    ),
    Key::optional("kv", BUCKETS, "bucket macros, see below"),
    Key::optional("objects", BUCKETS, "bucket macros, see below"),
    Key::optional("tags", TEXTS, "tags of the user JWT; templates work"),
    Key::optional(
        "scope",
        Type::Text,
        "operator mode: the scoped signing key that grants the permissions. A role with `scope` has no \
         permissions of its own and cannot be combined with another role",
    ),
    Key::optional(
        "mqtt",
        Type::Boolean,
        "also subscribe to `$MQTT.sub.>` and `$MQTT.deliver.>`, which MQTT with QoS 1 or 2 needs on nats-server \
         2.10 and 2.11 ([MQTT](policy.md#mqtt))",
    )
    .or("false"),
];

const BUCKETS: Type = Type::List(&Type::Table(&[
    Key::required("bucket", Type::Text, "the bucket"),
    Key::required("access", Type::Word(&["read", "write", "admin"]), "what it permits"),
    Key::optional("domain", Type::Text, "the JetStream domain"),
]));

/// Reads `[roles.NAME]` of the root table.
pub fn read(root: &mut Table<'_>) -> BTreeMap<String, RoleSettings> {
    let roles = root.map_of_tables("roles").into_iter().map(|(name, table)| {
        let usual = format!("roles.{name}");
        table.report().written_as(&usual, table.path());
        (name.to_owned(), role(table, &usual))
    });
    roles.collect()
}

/// Reads one role, whose canonical path is `usual`.
pub fn role(mut table: Table<'_>, usual: &str) -> RoleSettings {
    let permissions = RawPermissions::read(&mut table);
    permissions.record_paths(usual, &table);
    let RawPermissions { publish, subscribe, responses } = permissions;
    let (times, timezone) = hours(&mut table);
    let settings = RoleSettings {
        publish: publish.map(side).unwrap_or_default(),
        subscribe: subscribe.map(side).unwrap_or_default(),
        responses,
        inbox: inbox(&mut table),
        expires_after: table.duration("expires_after"),
        source: table.networks("source"),
        connection_types: table.connection_kinds("connection_types"),
        times,
        timezone,
        kv: buckets(&mut table, "kv"),
        streams: streams(&mut table),
        objects: buckets(&mut table, "objects"),
        tags: table.strings("tags").unwrap_or_default(),
        scope: table.string("scope"),
        mqtt: table.boolean("mqtt").unwrap_or_default(),
    };
    table.finish();
    settings
}

fn side(rules: RawRules) -> SideSettings {
    SideSettings { allow: texts(rules.allow), deny: texts(rules.deny) }
}

/// The texts of a list that may be absent.
pub fn texts(list: Option<Vec<Written>>) -> Vec<String> {
    list.unwrap_or_default().into_iter().map(|written| written.text).collect()
}

/// One of the given words; any other text is an error that lists them.
fn word<T: Copy>(table: &mut Table<'_>, key: &str, words: &[(&str, T)]) -> Option<T> {
    let text = table.string(key)?;
    let found = words.iter().find(|(word, _)| *word == text).map(|(_, value)| *value);
    if found.is_none() {
        let all: Vec<_> = words.iter().map(|(word, _)| format!("\"{word}\"")).collect();
        table.fault(key, format!("`{}` is not one of {}", text.escape_debug(), all.join(", ")));
    }
    found
}

fn inbox(table: &mut Table<'_>) -> Inbox {
    let words = [("none", Inbox::None), ("private", Inbox::Private), ("shared", Inbox::Shared)];
    word(table, "inbox", &words).unwrap_or_default()
}

/// `times` and `timezone`. If either is invalid, returns neither, so that policy does not report a
/// follow-up error.
fn hours(table: &mut Table<'_>) -> (Option<Vec<TimeWindow>>, Option<TimeZone>) {
    let before = table.report().fault_count();
    let times = table.has("times").then(|| table.tables("times"));
    let times = times.map(|windows| windows.into_iter().filter_map(window).collect());
    let timezone = timezone(table);
    match table.report().fault_count() == before {
        true => (times, timezone),
        false => (None, None),
    }
}

fn window(mut table: Table<'_>) -> Option<TimeWindow> {
    let (start, end) = (time(&mut table, "start"), time(&mut table, "end"));
    table.finish();
    Some(TimeWindow { start: start?, end: end? })
}

fn time(table: &mut Table<'_>, key: &str) -> Option<jiff::civil::Time> {
    let text = table.required_string(key)?;
    let time = text.parse();
    if time.is_err() {
        let shown = text.escape_debug();
        table.fault(key, format!("`{shown}` is not a time of day: write one such as \"08:00:00\""));
    }
    time.ok()
}

fn timezone(table: &mut Table<'_>) -> Option<TimeZone> {
    let name = table.string("timezone")?;
    let zone = TimeZone::get(&name);
    if zone.is_err() {
        let shown = name.escape_debug();
        table.fault(
            "timezone",
            format!("`{shown}` is not a time zone: write one such as \"Europe/Berlin\""),
        );
    }
    zone.ok()
}

fn buckets(table: &mut Table<'_>, key: &str) -> Vec<BucketSettings> {
    table.tables(key).into_iter().filter_map(bucket).collect()
}

fn bucket(mut table: Table<'_>) -> Option<BucketSettings> {
    let words = [
        ("read", BucketAccess::Read),
        ("write", BucketAccess::Write),
        ("admin", BucketAccess::Admin),
    ];
    let bucket = table.required_string("bucket");
    let access = required_word(&mut table, &words);
    let domain = table.string("domain");
    table.finish();
    Some(BucketSettings { bucket: bucket?, access: access?, domain })
}

fn streams(table: &mut Table<'_>) -> Vec<StreamSettings> {
    table.tables("streams").into_iter().filter_map(stream).collect()
}

fn stream(mut table: Table<'_>) -> Option<StreamSettings> {
    let words = [
        ("consume", StreamAccess::Consume),
        ("publish", StreamAccess::Publish),
        ("manage", StreamAccess::Manage),
        ("configure", StreamAccess::Configure),
    ];
    let name = table.required_string("name");
    let access = required_word(&mut table, &words);
    let consumer = table.string("consumer");
    let subjects = table.strings("subjects").unwrap_or_default();
    let domain = table.string("domain");
    table.finish();
    Some(StreamSettings { name: name?, access: access?, consumer, subjects, domain })
}

fn required_word<T: Copy>(table: &mut Table<'_>, words: &[(&str, T)]) -> Option<T> {
    if !table.has("access") {
        let all: Vec<_> = words.iter().map(|(word, _)| *word).collect();
        table.fault_here(format!("`access` is missing: one of {}", all.join(", ")));
        return None;
    }
    word(table, "access", words)
}
