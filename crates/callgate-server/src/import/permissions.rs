//! Permissions of nats-server: what they mean there, and how Callgate's files write it.
//!
//! In nats-server an absent or empty allow list permits everything, unless `allow_responses` is there: then it permits
//! nothing but replies (`parseUserPermissions` in `server/opts.go`).

use std::str::FromStr;

use callgate::{
    permissions::mqtt_spelling,
    subject::{SubjectPattern, SubscribePattern},
};
use serde_json::{Value as Json, json};

use super::fields::{Fields, boolean, string};
use crate::nats_conf::{ConfError, Location, Node, Value};

const PUBLISH: &[&str] = &["publish", "pub", "import"];
const SUBSCRIBE: &[&str] = &["subscribe", "sub", "export"];
const RESPONSES: &[&str] = &["allow_responses", "publish_allow_responses"];
const MAX: &[&str] = &["max", "max_msgs", "max_messages", "max_responses"];
const EXPIRES: &[&str] = &["expires", "expiration", "ttl"];

/// Of nats-server, for `allow_responses`.
const DEFAULT_MAX: i64 = 1;
const DEFAULT_EXPIRES: i64 = 120_000_000_000;

/// Why permissions were not taken over.
#[derive(Debug)]
pub(super) enum PermissionError {
    /// nats-server does not accept them.
    Invalid(ConfError),
    /// Callgate cannot express them.
    Unsupported(ConfError),
}

impl From<ConfError> for PermissionError {
    fn from(error: ConfError) -> Self {
        Self::Invalid(error)
    }
}

/// Permissions. Nothing is implied: an empty list permits nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Permissions {
    publish: Side,
    subscribe: Side,
    responses: Option<Responses>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Side {
    allow: Vec<String>,
    deny: Vec<String>,
}

/// -1 is unlimited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Responses {
    max: i64,
    /// In nanoseconds.
    expires: i64,
}

/// Permissions, and remarks on them.
#[derive(Debug)]
pub(super) struct Read {
    pub(super) permissions: Permissions,
    pub(super) remarks: Vec<(Location, String)>,
}

/// Reads a `permissions` block.
pub(super) fn read(node: &Node) -> Result<Read, PermissionError> {
    let fields = Fields::of(node, "`permissions`")?;
    fields.only(&[PUBLISH, SUBSCRIBE, RESPONSES])?;
    let mut remarks = Vec::new();
    let publish = fields.find(PUBLISH)?.map(|entry| &entry.node);
    let responses = fields.find(RESPONSES)?.map(|entry| &entry.node);
    let responses = responses.map(read_responses).transpose()?.flatten();
    let mut side = |node: Option<&Node>, allows_queue| match node {
        Some(node) => raw_side(node, allows_queue, &mut remarks),
        None => Ok(RawSide::default()),
    };
    let raw_publish = side(publish, false)?;
    let raw_subscribe = side(fields.find(SUBSCRIBE)?.map(|entry| &entry.node), true)?;
    if let (Some(node), None, Some(_)) = (publish, &raw_publish.allow, responses) {
        remarks.push((
            node.at.clone(),
            "with `allow_responses` and no `allow`, nats-server permits all or only replies, at random: imported \
             as only replies"
                .to_owned(),
        ));
    }
    let permissions = Permissions {
        publish: raw_publish.implied(responses.is_some()),
        subscribe: raw_subscribe.implied(false),
        responses,
    };
    Ok(Read { permissions, remarks })
}

/// As written: no list permits everything.
#[derive(Default)]
struct RawSide {
    allow: Option<Vec<String>>,
    deny: Vec<String>,
}

impl RawSide {
    fn implied(self, only_replies: bool) -> Side {
        let everything = || if only_replies { Vec::new() } else { vec![">".to_owned()] };
        Side { allow: self.allow.unwrap_or_else(everything), deny: self.deny }
    }
}

fn raw_side(
    node: &Node,
    allows_queue: bool,
    remarks: &mut Vec<(Location, String)>,
) -> Result<RawSide, PermissionError> {
    let (allow, deny) = match &node.value {
        Value::Map(_) => {
            let fields = Fields::of(node, "permissions for subjects")?;
            fields.only(&[&["allow"], &["deny"]])?;
            (fields.find(&["allow"])?.map(|entry| &entry.node), fields.find(&["deny"])?)
        }
        Value::Array(_)
        | Value::String(_)
        | Value::Bool(_)
        | Value::Integer(_)
        | Value::Float(_)
        | Value::DateTime(_) => (Some(node), None),
    };
    let deny = deny.map(|entry| subjects(&entry.node, allows_queue, true)).transpose()?;
    let allow = match allow {
        None => None,
        Some(node) => {
            let list = subjects(node, allows_queue, false)?;
            if list.is_empty() {
                remarks.push((
                    node.at.clone(),
                    "nats-server permits every subject if the list is empty: imported as `>`"
                        .to_owned(),
                ));
            }
            Some(list).filter(|list| !list.is_empty())
        }
    };
    Ok(RawSide { allow, deny: deny.unwrap_or_default() })
}

fn subjects(
    node: &Node,
    allows_queue: bool,
    is_deny: bool,
) -> Result<Vec<String>, PermissionError> {
    let nodes = match &node.value {
        Value::Array(items) => items.as_slice(),
        Value::String(_)
        | Value::Map(_)
        | Value::Bool(_)
        | Value::Integer(_)
        | Value::Float(_)
        | Value::DateTime(_) => std::slice::from_ref(node),
    };
    nodes.iter().map(|node| subject(node, allows_queue, is_deny)).collect()
}

fn subject(node: &Node, allows_queue: bool, is_deny: bool) -> Result<String, PermissionError> {
    let text = string(node)?;
    let shown = text.escape_debug();
    let unsupported = |problem: String| {
        PermissionError::Unsupported(ConfError::new(&node.at, format!("`{shown}`: {problem}")))
    };
    let words: Vec<&str> = text.split_whitespace().collect();
    let text = match words.as_slice() {
        [subject, queue] if allows_queue => format!("{subject} {queue}"),
        _ => text.to_owned(),
    };
    if text.contains(['{', '}']) {
        return Err(unsupported("Callgate would read the braces as a template".to_owned()));
    }
    let parsed = match allows_queue {
        true => SubscribePattern::from_str(&text).err(),
        false => SubjectPattern::from_str(&text).err(),
    };
    if let Some(error) = parsed {
        return Err(unsupported(error.to_string()));
    }
    match mqtt_spelling(&text).filter(|_| is_deny) {
        Some(problem) => Err(unsupported(problem)),
        None => Ok(text),
    }
}

fn read_responses(node: &Node) -> Result<Option<Responses>, PermissionError> {
    if let Value::Bool(_) = node.value {
        let default = Responses { max: DEFAULT_MAX, expires: DEFAULT_EXPIRES };
        return Ok(boolean(node)?.then_some(default));
    }
    let fields = Fields::of(node, "`allow_responses`")?;
    fields.only(&[MAX, EXPIRES])?;
    let max = match fields.find(MAX)? {
        None => DEFAULT_MAX,
        Some(entry) => match entry.node.value {
            Value::Integer(0) => DEFAULT_MAX,
            Value::Integer(number) if number < 0 => -1,
            Value::Integer(number) if number <= i64::from(u32::MAX) => number,
            Value::Integer(_) => {
                return Err(PermissionError::Unsupported(ConfError::new(
                    &entry.node.at,
                    format!("Callgate counts at most {} replies", u32::MAX),
                )));
            }
            _ => return Err(ConfError::new(&entry.node.at, "expected an integer").into()),
        },
    };
    let expires = match fields.find(EXPIRES)? {
        None => DEFAULT_EXPIRES,
        Some(entry) => match go_duration(string(&entry.node)?) {
            Some(0) => DEFAULT_EXPIRES,
            Some(time) if time < 0 => -1,
            Some(time) => time,
            None => {
                let problem = "expected a duration such as \"5s\"";
                return Err(ConfError::new(&entry.node.at, problem).into());
            }
        },
    };
    Ok(Some(Responses { max, expires }))
}

/// Nanoseconds of a duration of Go, such as `1h2m3.5s` (`time.ParseDuration`).
pub(super) fn go_duration(text: &str) -> Option<i64> {
    let (sign, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Some(0);
    }
    let mut total = 0_i64;
    while !rest.is_empty() || total == 0 {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, after) = rest.split_at(end);
        let end = after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len());
        let (unit, after) = after.split_at(end);
        total = total.checked_add(nanoseconds(number, unit)?)?;
        if after.is_empty() {
            break;
        }
        rest = after;
    }
    Some(sign * total)
}

fn nanoseconds(number: &str, unit: &str) -> Option<i64> {
    let unit: i64 = match unit {
        "ns" => 1,
        "us" | "µs" | "μs" => 1_000,
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        "m" => 60_000_000_000,
        "h" => 3_600_000_000_000,
        _ => return None,
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let whole = if whole.is_empty() { 0 } else { whole.parse::<i64>().ok()? };
    let digits = fraction.get(..fraction.len().min(9))?;
    let scale = 10_i64.pow(u32::try_from(digits.len()).ok()?);
    let part = if digits.is_empty() { 0 } else { digits.parse::<i64>().ok()? };
    let part = i128::from(unit) * i128::from(part) / i128::from(scale);
    whole.checked_mul(unit)?.checked_add(i64::try_from(part).ok()?)
}

impl Permissions {
    /// Whether everything is permitted.
    pub(super) fn is_unrestricted(&self) -> bool {
        self.publish.is_everything() && self.subscribe.is_everything() && self.responses.is_none()
    }

    /// As in a users file and, with the same keys, in a role.
    pub(super) fn to_json(&self) -> serde_json::Map<String, Json> {
        let Self { publish, subscribe, responses } = self;
        let sides = [("publish", publish), ("subscribe", subscribe)];
        let sides =
            sides.into_iter().filter_map(|(key, side)| Some((key.to_owned(), side.to_json()?)));
        let responses = responses.map(|responses| ("responses".to_owned(), responses.to_json()));
        sides.chain(responses).collect()
    }
}

impl Side {
    fn is_everything(&self) -> bool {
        self.allow.iter().any(|subject| subject == ">") && self.deny.is_empty()
    }

    /// `None` if nothing is permitted, as an absent key says.
    fn to_json(&self) -> Option<Json> {
        let Self { allow, deny } = self;
        match (allow.is_empty(), deny.is_empty()) {
            (true, _) => None,
            (false, true) => Some(json!(allow)),
            (false, false) => Some(json!({ "allow": allow, "deny": deny })),
        }
    }
}

impl Responses {
    fn to_json(self) -> Json {
        const SECOND: i64 = 1_000_000_000;
        let Self { max, expires } = self;
        match expires > 0 && expires % SECOND == 0 {
            true => json!({ "max": max, "ttl": format!("{}s", expires / SECOND) }),
            false => json!({ "max": max, "ttl": expires }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_those_of_go() {
        for (text, expected) in [
            ("5s", Some(5_000_000_000)),
            ("1h2m3.5s", Some(3_723_500_000_000)),
            ("100ms", Some(100_000_000)),
            (".5s", Some(500_000_000)),
            ("-1s", Some(-1_000_000_000)),
            ("0", Some(0)),
            ("0s", Some(0)),
            ("1", None),
            ("", None),
            ("s", None),
            (".s", None),
            ("5 s", None),
            ("1d", None),
        ] {
            assert_eq!(go_duration(text), expected, "{text}");
        }
    }
}
