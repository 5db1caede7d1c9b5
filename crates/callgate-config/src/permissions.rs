//! The schema of permissions in users files, service tokens, roles, ceilings and defaults.
//!
//! `publish` (or `pub`), `subscribe` (or `sub`): a list of allowed subjects, or a table of `allow` and
//! `deny`. `responses` (or `resp`, `allow_responses`): `true`, or a table of `max` and `ttl`.

use std::{fmt::Display, str::FromStr, sync::Arc, time::Duration};

use callgate::permissions::{
    PermissionList, PermissionTemplates, Permissions, Responses, mqtt_spelling,
};
use serde_json::Value;

use crate::{
    report::Report,
    schema::{Key, TEXTS, Type},
    table::{Item, Table},
};

/// The keys of permissions.
pub const KEYS: &[Key] = &[PUBLISH_KEY, SUBSCRIBE_KEY, RESPONSES_KEY];

pub(crate) const PUBLISH_KEY: Key = Key::optional(
    "publish",
    SIDE,
    "a subject list of allowed subjects, or a table with `allow` and `deny`",
)
.also(&["pub"]);
pub(crate) const SUBSCRIBE_KEY: Key = Key::optional(
    "subscribe",
    SIDE,
    "the same; a subject may be followed by a queue group: `\"jobs.* workers\"`",
)
.also(&["sub"]);
pub(crate) const RESPONSES_KEY: Key = Key::optional(
    "responses",
    RESPONSES_TYPE,
    "`true`, or a table with `max` (default 1; `-1` is unlimited) and `ttl` (default `\"2m\"`; `-1` is \
     unlimited; a number is in nanoseconds)",
)
.also(&["resp", "allow_responses"]);

/// A subject list.
pub const SUBJECTS: Type = Type::Named("subject list", &TEXTS);
/// Publish or subscribe permissions.
pub const SIDE: Type = Type::OneOf(&[
    SUBJECTS,
    Type::Table(&[
        Key::optional("allow", SUBJECTS, "allowed subjects"),
        Key::optional("deny", SUBJECTS, "denied subjects, even if they are allowed"),
    ]),
]);
/// The permission to reply.
pub const RESPONSES_TYPE: Type = Type::OneOf(&[
    Type::Named("`true`", &Type::Boolean),
    Type::Table(&[
        Key::optional("max", Type::Integer(-1, u32::MAX as i64), "replies to one message").or("1"),
        Key::optional(
            "ttl",
            Type::OneOf(&[Type::Duration, Type::Integer(-1, i64::MAX)]),
            "time to reply",
        )
        .or("\"2m\""),
    ]),
]);

/// Spellings of `publish`.
pub const PUBLISH: &[&str] = &["publish", "pub"];
/// Spellings of `subscribe`.
pub const SUBSCRIBE: &[&str] = &["subscribe", "sub"];
/// Spellings of `responses`.
pub const RESPONSES: &[&str] = &["responses", "resp", "allow_responses"];

/// A subject, possibly with a template, as written in the file, and its key path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// The key path.
    pub path: String,
    /// The text.
    pub text: String,
}

/// Publish or subscribe permissions as written. An absent list is `None`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RawRules {
    /// Allowed subjects.
    pub allow: Option<Vec<Written>>,
    /// Denied subjects.
    pub deny: Option<Vec<Written>>,
}

/// Permissions as written, including templates.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RawPermissions {
    /// `publish`, if present.
    pub publish: Option<RawRules>,
    /// `subscribe`, if present.
    pub subscribe: Option<RawRules>,
    /// `responses`, if present and not `false`.
    pub responses: Option<Responses>,
}

impl RawPermissions {
    /// Reads the permission keys of `table`, and rejects limits that nats-server would not enforce.
    pub fn read(table: &mut Table<'_>) -> Self {
        refuse_limits(table);
        Self {
            publish: table.raw_of(PUBLISH).map(|item| RawRules::read(&item)),
            subscribe: table.raw_of(SUBSCRIBE).map(|item| RawRules::read(&item)),
            responses: table.raw_of(RESPONSES).and_then(|item| responses(&item)),
        }
    }

    /// Records in the report of `table`, which the permissions were read from, the written key path of
    /// each canonical path such as `usual.publish.allow[0]`.
    pub fn record_paths(&self, usual: &str, table: &Table<'_>) {
        let sides = [
            ("publish", PUBLISH, self.publish.as_ref()),
            ("subscribe", SUBSCRIBE, self.subscribe.as_ref()),
            ("responses", RESPONSES, None),
        ];
        for (key, spellings, side) in sides {
            let written = spellings.iter().find(|spelling| table.map().contains_key(**spelling));
            let Some(written) = written else { continue };
            let usual = format!("{usual}.{key}");
            table.report().written_as(&usual, table.path_of(written));
            side.iter().for_each(|side| side.record_paths(&usual, table.report()));
        }
    }

    /// The permissions of an entry. Invalid subjects are reported and left out.
    pub fn compiled(&self, report: &Report) -> EntryPermissions {
        let Self { publish, subscribe, responses } = self;
        let mut templates = PermissionTemplates::default();
        let mut plain = Permissions { responses: *responses, ..Permissions::default() };
        if let Some(RawRules { allow, deny }) = publish {
            plain.publish.allow =
                parsed(allow, PermissionList::PublishAllow, &mut templates, report);
            plain.publish.deny = parsed(deny, PermissionList::PublishDeny, &mut templates, report);
        }
        if let Some(RawRules { allow, deny }) = subscribe {
            plain.subscribe.allow =
                parsed(allow, PermissionList::SubscribeAllow, &mut templates, report);
            plain.subscribe.deny =
                parsed(deny, PermissionList::SubscribeDeny, &mut templates, report);
        }
        let templates = (!templates.is_empty()).then(|| Arc::new(templates));
        EntryPermissions { plain, templates }
    }
}

/// Permissions of an entry that the operator wrote.
#[derive(Debug, Default)]
pub struct EntryPermissions {
    /// Subjects without templates.
    pub plain: Permissions,
    /// Subjects with templates.
    pub templates: Option<Arc<PermissionTemplates>>,
}

/// Reads the `permissions` of an entry; `None` if absent.
pub fn of_entry(entry: &mut Table<'_>) -> Option<EntryPermissions> {
    let mut table = entry.table("permissions")?;
    let permissions = RawPermissions::read(&mut table).compiled(table.report());
    table.finish();
    Some(permissions)
}

/// Rejects `subs`, `payload` and `data`, both directly in the table and in `limits`.
pub fn refuse_limits(table: &mut Table<'_>) {
    refuse_bare_limits(table);
    table.refuse("limits", UNENFORCED_LIMITS);
}

/// Rejects `subs`, `payload` and `data`: nats-server ignores them in a callout's answer
/// (`auth_callout.go` applies the permissions of the user JWT, but not its limits).
pub fn refuse_bare_limits(table: &mut Table<'_>) {
    for key in ["subs", "payload", "data"] {
        table.refuse(key, UNENFORCED_LIMITS);
    }
}

const UNENFORCED_LIMITS: &str = "nats-server never enforces per-user limits that come from a \
                                 callout: set the limits of the account instead";

impl RawRules {
    /// Reads a list, or a table of `allow` and `deny`.
    pub fn read(item: &Item<'_>) -> Self {
        match item.value() {
            Value::Object(_) => {
                let Some(mut table) = item.table() else { return Self::default() };
                let allow = table.raw("allow").map(|list| written(&list));
                let deny = table.raw("deny").map(|list| written(&list));
                table.finish();
                Self { allow, deny }
            }
            Value::Null
            | Value::Bool(_)
            | Value::Number(_)
            | Value::String(_)
            | Value::Array(_) => Self { allow: Some(written(item)), deny: None },
        }
    }

    fn record_paths(&self, usual: &str, report: &Report) {
        for (key, list) in [("allow", &self.allow), ("deny", &self.deny)] {
            for (index, text) in list.iter().flatten().enumerate() {
                report.written_as(format!("{usual}.{key}[{index}]"), &text.path);
            }
        }
    }
}

/// A subject or a list of subjects, as written.
pub fn written(item: &Item<'_>) -> Vec<Written> {
    let texts = item.items();
    let texts = texts.iter().filter_map(|item| {
        Some(Written { path: item.path().to_owned(), text: item.string()?.to_owned() })
    });
    texts.collect()
}

fn parsed<T: FromStr<Err: Display>>(
    texts: &Option<Vec<Written>>,
    list: PermissionList,
    templates: &mut PermissionTemplates,
    report: &Report,
) -> Vec<T> {
    let mut plain = Vec::new();
    for Written { path, text } in texts.iter().flatten() {
        if let Some(problem) = mqtt_spelling(text) {
            let message = format!("`{}` {problem}", text.escape_debug());
            match list {
                PermissionList::PublishAllow | PermissionList::SubscribeAllow => {
                    report.warn(path, message);
                }
                PermissionList::PublishDeny | PermissionList::SubscribeDeny => {
                    report.fault(path, message);
                    continue;
                }
            }
        }
        if text.contains(['{', '}']) {
            match templates.add(list, text) {
                Ok(warnings) => warnings.iter().for_each(|warning| report.warn(path, warning)),
                Err(error) => report.fault(path, error),
            }
            continue;
        }
        match text.parse() {
            Ok(subject) => plain.push(subject),
            Err(error) => report.fault(path, error),
        }
    }
    plain
}

/// Reads `responses`: `true`, `false`, or a table of `max` and `ttl`.
pub fn responses(item: &Item<'_>) -> Option<Responses> {
    if let Value::Bool(wanted) = item.value() {
        return wanted.then(Responses::default);
    }
    let Value::Object(_) = item.value() else {
        item.fault("must be true or a table such as { max = 1, ttl = \"5s\" }");
        return None;
    };
    let mut table = item.table()?;
    let default = Responses::default();
    let max = table.raw("max").map_or(Some(default.max), |item| max(&item));
    let ttl = table.raw("ttl").map_or(Some(default.ttl), |item| ttl(&item));
    table.finish();
    Some(Responses { max: max?, ttl: ttl? })
}

fn max(item: &Item<'_>) -> Option<Option<u32>> {
    match item.integer()? {
        -1 => Some(None),
        number => match u32::try_from(number) {
            Ok(number) if number > 0 => Some(Some(number)),
            Ok(_) | Err(_) => {
                item.fault(format!(
                    "{number} is not a number of messages: write 1 or more, or -1 for no limit"
                ));
                None
            }
        },
    }
}

fn ttl(item: &Item<'_>) -> Option<Option<Duration>> {
    // As in the JSON of NATS JWTs and of nats-by-example.
    let ttl = match item.value().as_i64() {
        Some(-1) => return Some(None),
        Some(nanoseconds) => match u64::try_from(nanoseconds) {
            Ok(nanoseconds) => Duration::from_nanos(nanoseconds),
            Err(_) => {
                item.fault("a number is in nanoseconds: write 1 or more, or -1 for no limit");
                return None;
            }
        },
        None => item.duration()?,
    };
    if ttl.is_zero() {
        item.fault("must be greater than zero, or -1 for no limit");
        return None;
    }
    Some(Some(ttl))
}
