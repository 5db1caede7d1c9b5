//! The members of every record as data: the JSON Schema and the tables of `docs/audit.md` are generated
//! from them.

#[cfg(test)]
use std::fmt::Write;

use serde_json::{Map, Value, json};

/// A member of a record.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Member {
    pub(crate) name: &'static str,
    kind: Kind,
    pub(crate) required: bool,
    about: &'static str,
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    Text,
    Integer,
    Number,
    Boolean,
    Texts,
    Integers,
    Object,
    /// SHA-256 in hex.
    Hash,
    /// RFC 3339.
    Time,
    Word(&'static [&'static str]),
}

const fn member(name: &'static str, kind: Kind, about: &'static str) -> Member {
    Member { name, kind, required: true, about }
}

const fn optional(name: &'static str, kind: Kind, about: &'static str) -> Member {
    Member { name, kind, required: false, about }
}

/// A type of record.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RecordType {
    pub(crate) name: &'static str,
    about: &'static str,
    pub(crate) members: &'static [&'static [Member]],
}

const HEAD: &[Member] = &[
    member("v", Kind::Integer, "the version of the record: 1"),
    member("seq", Kind::Integer, "the number of the record in its chain, from 0"),
    member("prev", Kind::Hash, "SHA-256 of the previous line without its newline; zeros in line 0"),
    member("time", Kind::Time, "when it happened, in UTC with microseconds"),
    member("replica", Kind::Text, "the name of the machine or pod"),
    member("boot", Kind::Text, "a random number of the process, in hex"),
    member("type", Kind::Text, "the type"),
];

const SESSION: &[Member] = &[
    optional("user", Kind::Text, "the user"),
    optional("authenticator", Kind::Text, "the authenticator that admitted it"),
    optional("account", Kind::Text, "its account"),
    optional("client_host", Kind::Text, "the address that the server saw"),
    optional("connection", Kind::Text, "the kind of connection"),
    optional("client_name", Kind::Text, "the name that the client claims"),
    optional("client_id", Kind::Integer, "the ID of the connection on its server (`cid`)"),
    optional("server", Kind::Text, "the name of the server"),
    optional("server_id", Kind::Text, "its public nkey"),
    optional(
        "request",
        Kind::Text,
        "the request of the decision (`jti`). Servers may use a value more than once: a connection is `server_id` and `client_id`",
    ),
];

const ORDER: &[Member] = &[
    member("actor", Kind::Text, "who ordered it"),
    member("via", Kind::Word(&["socket", "console", "direct"]), "how the order arrived"),
    optional("reason", Kind::Text, "the reason that the actor gave"),
];

/// The same for what may also happen without an order.
const MAYBE_ORDER: &[Member] = &[
    optional("actor", Kind::Text, "who ordered it"),
    optional("via", Kind::Word(&["socket", "console", "direct"]), "how the order arrived"),
    optional("reason", Kind::Text, "the reason that the actor gave"),
];

const DECISION: &[Member] = &[
    member("outcome", Kind::Word(&["admitted", "refused", "dropped"]), "what was decided"),
    member("reason", Kind::Text, "the [reason](troubleshooting.md#reasons)"),
    optional(
        "cause",
        Kind::Text,
        "the [check that a bad token failed](troubleshooting.md#causes-of-bad_token)",
    ),
    optional("user", Kind::Text, "the identity's user, or the name that the client typed"),
    optional(
        "authenticator",
        Kind::Text,
        "the authenticator that identified or refused the client",
    ),
    optional("account", Kind::Text, "the account the client was placed in"),
    optional("detail", Kind::Text, "the explanation; left out if it may quote a hidden field"),
    optional("claimed_issuer", Kind::Text, "the issuer that a refused token names, not verified"),
    optional("claimed_user", Kind::Text, "the user that a refused token names, not verified"),
    optional("proven_issuer", Kind::Text, "the issuer of a refused token, verified"),
    optional("proven_user", Kind::Text, "the user of a refused token, verified"),
    optional("ceiling_dropped", Kind::Text, "what the ceiling dropped: number and first items"),
    optional("expires", Kind::Time, "when the session ends"),
    optional("client_host", Kind::Text, "the address that the server saw"),
    optional("connection", Kind::Text, "the kind of connection"),
    optional("client_name", Kind::Text, "the name that the client claims"),
    optional("client_id", Kind::Integer, "the ID of the connection on its server (`cid`)"),
    optional("server", Kind::Text, "the name of the server"),
    optional("server_id", Kind::Text, "its public nkey"),
    optional(
        "user_nkey",
        Kind::Text,
        "the public nkey that the server generated for the connection",
    ),
    optional("request", Kind::Text, "the request (`jti`); servers may use a value more than once"),
    optional(
        "milliseconds",
        Kind::Number,
        "from arrival to answer; not with `required`, where the record comes first",
    ),
    optional(
        "clock_offset_seconds",
        Kind::Integer,
        "dropped requests: the server's clock minus Callgate's",
    ),
    optional(
        "more_since_last_time",
        Kind::Integer,
        "dropped requests: how many of the same cause were not recorded since the last one",
    ),
    optional("groups", Kind::Texts, "the identity's groups"),
    optional("roles", Kind::Texts, "the roles that applied"),
    optional("bindings", Kind::Integers, "the bindings that applied, by position from 0"),
    optional(
        "grant_hash",
        Kind::Hash,
        "a hash of account, permissions and tags: equal for equal grants",
    ),
    optional("lock", Kind::Text, "the lock that refused the client"),
    optional(
        "unexpected_source",
        Kind::Boolean,
        "true if the client came from outside the [expected sources](operations.md#expected-sources)",
    ),
    optional("trace_id", Kind::Text, "the trace"),
    optional("facts", Kind::Object, "the claims that policy names (`facts = true`)"),
    optional(
        "shadow",
        Kind::Word(&[
            "same", "refused", "admitted", "account", "lost", "gained", "shorter", "failed",
            "skipped",
        ]),
        "how the [candidate](policy-changes.md#a-candidate-beside-the-live-configuration) decides; not for admissions with `required`, whose record comes first",
    ),
];

const LOAD: Kind = Kind::Word(&["loaded", "rejected"]);

/// Every type.
pub(crate) const TYPES: &[RecordType] = &[
    RecordType { name: "decision", about: "a login", members: &[DECISION] },
    RecordType {
        name: "answer_dropped",
        about: "an admission that was recorded, and whose answer was not sent",
        members: &[SESSION, &[member("reason", Kind::Text, "why, as a reason of a decision")]],
    },
    RecordType {
        name: "session_start",
        about: "a server reports a connection",
        members: &[SESSION],
    },
    RecordType {
        name: "session_end",
        about: "a server reports the end of a connection",
        members: &[
            SESSION,
            &[
                optional(
                    "cause",
                    Kind::Text,
                    "why Callgate closed it: the `cause` of the `kick`, by whichever replica; absent if it did not",
                ),
                optional("reason", Kind::Text, "the server's reason"),
                optional("in_bytes", Kind::Integer, "bytes from the client"),
                optional("out_bytes", Kind::Integer, "bytes to the client"),
            ],
        ],
    },
    RecordType {
        name: "kick",
        about: "Callgate closed a connection",
        members: &[
            SESSION,
            &[
                member("cause", Kind::Text, "why"),
                member("result", Kind::Word(&["kicked", "gone", "failed"]), "the result"),
                optional("lock", Kind::Text, "the lock"),
            ],
            MAYBE_ORDER,
        ],
    },
    RecordType {
        name: "lock",
        about: "a lock was stored",
        members: &[
            &[
                member("lock", Kind::Text, "its ID"),
                member("target", Kind::Object, "what it matches"),
                optional("until", Kind::Time, "when it ends"),
            ],
            ORDER,
        ],
    },
    RecordType {
        name: "unlock",
        about: "a lock was removed",
        members: &[&[member("lock", Kind::Text, "its ID")], ORDER],
    },
    RecordType {
        name: "lockout",
        about: "failed logins reached a limit",
        members: &[&[
            member("kind", Kind::Text, "which limit"),
            optional("user", Kind::Text, "the name"),
            optional("client_host", Kind::Text, "the source"),
            member("until", Kind::Time, "when it ends"),
        ]],
    },
    RecordType {
        name: "revocation",
        about: "a change ends sessions, or is held, or an operator has decided about it",
        members: &[
            &[
                member("id", Kind::Text, "its ID"),
                member("cause", Kind::Text, "what changed"),
                member(
                    "sessions",
                    Kind::Integer,
                    "how many sessions; for `ended`, those that this replica ends",
                ),
                member(
                    "result",
                    Kind::Word(&["ended", "held", "applied", "dropped", "withdrawn"]),
                    "`ended` at once, or `held` and then `applied` or `dropped` by an operator, or `withdrawn` because a later change made it unnecessary",
                ),
            ],
            MAYBE_ORDER,
        ],
    },
    RecordType {
        name: "config",
        about: "the configuration was loaded or rejected",
        members: &[&[
            member("result", LOAD, "the result"),
            optional("hash", Kind::Hash, "SHA-256 of the configuration file"),
            optional("detail", Kind::Text, "the first error"),
        ]],
    },
    RecordType {
        name: "users",
        about: "a users file was loaded or rejected",
        members: &[&[
            member("authenticator", Kind::Text, "the authenticator"),
            member("result", LOAD, "the result"),
        ]],
    },
    RecordType {
        name: "console",
        about: "a login, a logout or an action in the console",
        members: &[
            &[
                member("action", Kind::Text, "`login`, `logout`, or the action"),
                optional("detail", Kind::Text, "what it affected"),
            ],
            ORDER,
        ],
    },
    RecordType {
        name: "violation",
        about: "a server's log reports a permission violation",
        members: &[
            SESSION,
            &[
                member(
                    "operation",
                    Kind::Word(&["publish", "subscribe", "other"]),
                    "what was tried",
                ),
                member("subject", Kind::Text, "the subject"),
            ],
        ],
    },
    RecordType {
        name: "gap",
        about: "records are missing here",
        members: &[&[
            member("records", Kind::Integer, "how many"),
            member(
                "why",
                Kind::Word(&[
                    "queue_full",
                    "file_removed",
                    "file_replaced",
                    "file_truncated",
                    "incomplete_line",
                ]),
                "why",
            ),
        ]],
    },
    RecordType {
        name: "start",
        about: "a process starts, and with it a chain",
        members: &[&[
            member("version", Kind::Text, "the version of Callgate"),
            optional(
                "after",
                Kind::Hash,
                "the hash of the last line of the previous process in this file",
            ),
        ]],
    },
    RecordType { name: "stop", about: "the process stops; only a seal follows", members: &[&[]] },
    RecordType {
        name: "seal",
        about: "signs every line above it",
        members: &[&[
            member(
                "sig",
                Kind::Text,
                "the signature of the 32 bytes of `prev`, in base64url without padding",
            ),
            member("key", Kind::Text, "the public nkey that made it"),
        ]],
    },
];

impl RecordType {
    /// Its members after those of every record.
    pub(crate) fn own_members(&self) -> impl Iterator<Item = &'static Member> {
        self.members.iter().flat_map(|members| members.iter())
    }
}

impl Kind {
    fn schema(self) -> Value {
        match self {
            Self::Text => json!({ "type": "string" }),
            Self::Integer => json!({ "type": "integer" }),
            Self::Number => json!({ "type": "number" }),
            Self::Boolean => json!({ "type": "boolean" }),
            Self::Texts => json!({ "type": "array", "items": { "type": "string" } }),
            Self::Integers => json!({ "type": "array", "items": { "type": "integer" } }),
            Self::Object => json!({ "type": "object" }),
            Self::Hash => json!({ "type": "string", "pattern": "^[0-9a-f]{64}$" }),
            Self::Time => json!({ "type": "string", "format": "date-time" }),
            Self::Word(words) => json!({ "type": "string", "enum": words }),
        }
    }
}

/// The JSON Schema of one record. Further members are allowed, because new ones may appear.
pub(crate) fn schema() -> Value {
    let types: Vec<Value> = TYPES
        .iter()
        .map(|record| {
            let mut schema = object(record.own_members());
            let properties = schema.get_mut("properties").and_then(Value::as_object_mut);
            if let Some(properties) = properties {
                properties.insert("type".to_owned(), json!({ "const": record.name }));
            }
            merge(json!({ "title": record.name, "description": record.about }), schema)
        })
        .collect();
    let head = object(HEAD.iter());
    let title = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Audit record of Callgate",
    });
    merge(merge(title, head), json!({ "oneOf": types }))
}

fn object<'a>(members: impl Iterator<Item = &'a Member>) -> Value {
    let mut properties = Map::new();
    let mut required = Vec::new();
    for member in members {
        let about = json!({ "description": member.about });
        properties.insert(member.name.to_owned(), merge(about, member.kind.schema()));
        if member.required {
            required.push(member.name);
        }
    }
    json!({ "type": "object", "properties": properties, "required": required })
}

fn merge(mut one: Value, other: Value) -> Value {
    if let (Some(one), Value::Object(other)) = (one.as_object_mut(), other) {
        one.extend(other);
    }
    one
}

/// The tables of the documentation.
#[cfg(test)]
fn markdown() -> String {
    let mut text = String::new();
    let mut table = |members: &mut dyn Iterator<Item = &Member>| {
        text.push_str("| member | | meaning |\n|---|---|---|\n");
        for Member { name, kind, required, about } in members {
            let kind = match kind {
                Kind::Text => "text".to_owned(),
                Kind::Integer | Kind::Number => "number".to_owned(),
                Kind::Boolean => "boolean".to_owned(),
                Kind::Texts => "list of text".to_owned(),
                Kind::Integers => "list of numbers".to_owned(),
                Kind::Object => "object".to_owned(),
                Kind::Hash => "hash".to_owned(),
                Kind::Time => "time".to_owned(),
                Kind::Word(words) => format!("`{}`", words.join("`, `")),
            };
            let optional = if *required { "" } else { ", optional" };
            let _ = writeln!(text, "| `{name}` | {kind}{optional} | {about} |");
        }
        std::mem::take(&mut text)
    };
    let mut page = format!("Every record:\n\n{}", table(&mut HEAD.iter()));
    for record in TYPES {
        let _ = write!(page, "\n### `{}`\n\n", record.name);
        let about = record.about;
        let mut first = about.chars();
        let capital = first.next().map(|c| c.to_ascii_uppercase()).into_iter().chain(first);
        let _ = writeln!(page, "{}.", capital.collect::<String>());
        if record.own_members().next().is_some() {
            let _ = write!(page, "\n{}", table(&mut record.own_members()));
        }
    }
    page
}

#[cfg(test)]
mod tests;
