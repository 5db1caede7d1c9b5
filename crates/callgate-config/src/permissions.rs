//! The one schema of permissions: in users files, service tokens, roles, ceilings and defaults.
//!
//! `publish` (or `pub`), `subscribe` (or `sub`): a list for what is allowed, or a table of `allow`
//! and `deny`. `responses` (or `resp`, `allow_responses`): `true`, or a table of `max` and `ttl`.

use std::{fmt::Display, str::FromStr, sync::Arc, time::Duration};

use callgate::permissions::{PermissionList, PermissionTemplates, Permissions, Responses};
use serde_json::Value;

use crate::{
    item::Item,
    report::Report,
    schema::{Key, TEXTS, Type},
    table::Table,
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
     unlimited)",
)
.also(&["resp", "allow_responses"]);

/// A subject list.
pub const SUBJECTS: Type = Type::Named("subject list", &TEXTS);
/// One side of permissions.
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
            Type::OneOf(&[Type::Duration, Type::Integer(-1, -1)]),
            "time to reply",
        )
        .or("\"2m\""),
    ]),
]);

/// Spellings of the publishing side.
pub const PUBLISH: &[&str] = &["publish", "pub"];
/// Spellings of the subscribing side.
pub const SUBSCRIBE: &[&str] = &["subscribe", "sub"];
/// Spellings of the leave to answer.
pub const RESPONSES: &[&str] = &["responses", "resp", "allow_responses"];

/// One subject as it was written, perhaps with a template in it, and where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// The key path.
    pub path: String,
    /// The text.
    pub text: String,
}

/// One side as it was written. `None` for a list that is not there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RawRules {
    /// What is allowed.
    pub allow: Option<Vec<Written>>,
    /// What is denied.
    pub deny: Option<Vec<Written>>,
}

/// Permissions as they were written, templates and all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RawPermissions {
    /// The publishing side, if it is there.
    pub publish: Option<RawRules>,
    /// The subscribing side, if it is there.
    pub subscribe: Option<RawRules>,
    /// The leave to answer, if it is there and not `false`.
    pub responses: Option<Responses>,
}

impl RawPermissions {
    /// Reads the permission keys of `table`, and refuses limits that nobody would enforce.
    pub fn read(table: &mut Table<'_>) -> Self {
        refuse_limits(table);
        Self {
            publish: table.raw_of(PUBLISH).map(|item| RawRules::read(&item)),
            subscribe: table.raw_of(SUBSCRIBE).map(|item| RawRules::read(&item)),
            responses: table.raw_of(RESPONSES).and_then(|item| responses(&item)),
        }
    }

    /// Tells the report of `table`, which they were read from, where everything stands that others
    /// know as `usual.publish.allow[0]` and so on.
    pub fn tell_paths(&self, usual: &str, table: &Table<'_>) {
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
            side.iter().for_each(|side| side.tell_paths(&usual, table.report()));
        }
    }

    /// The permissions of an entry. What is wrong with a subject goes into `report`, and the
    /// subject is left out.
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

/// Permissions of one entry of the operator's.
#[derive(Debug, Default)]
pub struct EntryPermissions {
    /// Those without templates.
    pub plain: Permissions,
    /// Those with.
    pub templates: Option<Arc<PermissionTemplates>>,
}

/// Reads the `permissions` of an entry; `None` if there are none.
pub fn of_entry(entry: &mut Table<'_>) -> Option<EntryPermissions> {
    let mut table = entry.table("permissions")?;
    let permissions = RawPermissions::read(&mut table).compiled(table.report());
    table.finish();
    Some(permissions)
}

/// Refuses `subs`, `payload` and `data`, there or in `limits`, wherever something is said of users.
pub fn refuse_limits(table: &mut Table<'_>) {
    refuse_bare_limits(table);
    table.refuse("limits", UNENFORCED_LIMITS);
}

/// Refuses `subs`, `payload` and `data` alone: nats-server never looks at them in a callout's answer
/// (`auth_callout.go` takes the permissions of the user JWT and leaves its limits).
pub fn refuse_bare_limits(table: &mut Table<'_>) {
    for key in ["subs", "payload", "data"] {
        table.refuse(key, UNENFORCED_LIMITS);
    }
}

const UNENFORCED_LIMITS: &str = "nats-server never enforces limits of single users that come from \
                                 a callout: set the limits of the account instead";

impl RawRules {
    /// Reads one side: a list, or a table of `allow` and `deny`.
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

    fn tell_paths(&self, usual: &str, report: &Report) {
        for (key, list) in [("allow", &self.allow), ("deny", &self.deny)] {
            for (index, text) in list.iter().flatten().enumerate() {
                report.written_as(format!("{usual}.{key}[{index}]"), &text.path);
            }
        }
    }
}

/// A subject or a list of subjects, as they were written.
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

/// Reads the leave to answer: `true`, `false`, or a table of `max` and `ttl`.
pub fn responses(item: &Item<'_>) -> Option<Responses> {
    if let Value::Bool(wanted) = item.value() {
        return wanted.then(Responses::default);
    }
    let Value::Object(_) = item.value() else {
        item.fault("must be true or a table such as { max = 1, ttl = \"5s\" }");
        return None;
    };
    let mut table = item.table()?;
    let usual = Responses::default();
    let max = table.raw("max").map_or(Some(usual.max), |item| max(&item));
    let ttl = table.raw("ttl").map_or(Some(usual.ttl), |item| ttl(&item));
    table.finish();
    Some(Responses { max: max?, ttl: ttl? })
}

fn max(item: &Item<'_>) -> Option<Option<u32>> {
    match item.integer()? {
        -1 => Some(None),
        number => match u32::try_from(number) {
            Ok(number) if number > 0 => Some(Some(number)),
            Ok(_) | Err(_) => {
                item.fault(format!("{number} is no number of messages: write 1 or more, or -1"));
                None
            }
        },
    }
}

fn ttl(item: &Item<'_>) -> Option<Option<Duration>> {
    if matches!(item.value().as_i64(), Some(-1)) {
        return Some(None);
    }
    let ttl = item.duration()?;
    if ttl.is_zero() {
        item.fault("must be longer than nothing, or -1 for no limit");
        return None;
    }
    Some(Some(ttl))
}
