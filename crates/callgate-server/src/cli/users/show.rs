//! Verbs that only read.

use callgate::policy::{decode, encode};
use serde_json::{Map, Value, json};

use super::{
    super::{GOOD, Outcome, REFUSED, output::say},
    change::unknown,
    target::Users,
};
use crate::buckets::Stored;

/// Members of an entry that are secret.
const SECRETS: [&str; 6] = ["pass", "password", "password_plain", "token", "token_sha256", "totp"];
const CREDENTIALS: [(&str, &str); 7] = [
    ("pass", "password"),
    ("password", "password"),
    ("password_plain", "password"),
    ("token", "token"),
    ("token_sha256", "token"),
    ("nkey", "nkey"),
    ("totp", "totp"),
];

#[derive(Debug, clap::Args)]
pub(super) struct ShowArgs {
    /// Name of the user
    user: String,
    /// Print hashes and tokens
    #[arg(long)]
    show_secrets: bool,
}

/// One line of `list`.
struct Row {
    user: String,
    state: &'static str,
    account: String,
    roles: String,
    credentials: Vec<&'static str>,
    errors: Vec<String>,
    revision: u64,
}

pub(super) async fn list(users: &Users) -> Outcome {
    let mut rows: Vec<Row> = users
        .access
        .all()
        .await?
        .into_iter()
        .map(|(key, stored)| Row::of(users, &key, stored))
        .collect();
    rows.sort_by(|one, other| one.user.cmp(&other.user));
    if users.json {
        let rows: Vec<_> = rows.iter().map(Row::to_json).collect();
        say(json!({ "users": rows }));
        return Ok(GOOD);
    }
    let width = rows.iter().map(|row| row.user.chars().count()).max().unwrap_or(0).max(4);
    say(format_args!("{:width$}  STATE     ACCOUNT      CREDENTIALS    ROLES", "USER"));
    for Row { user, state, account, roles, credentials, .. } in &rows {
        let credentials = credentials.join(",");
        say(format_args!("{user:width$}  {state:8}  {account:11}  {credentials:13}  {roles}"));
    }
    for Row { user, errors, .. } in rows.iter().filter(|row| !row.errors.is_empty()) {
        for error in errors {
            say(format_args!("error: `{user}`: {error}"));
        }
    }
    Ok(GOOD)
}

impl Row {
    fn of(users: &Users, key: &str, stored: Stored) -> Self {
        let Stored { revision, value, .. } = stored;
        let value = value.unwrap_or_default();
        let Some(user) = decode(key) else {
            return Self {
                user: key.escape_debug().to_string(),
                state: "invalid",
                account: String::new(),
                roles: String::new(),
                credentials: Vec::new(),
                errors: vec!["the key is not the encoded name of a user".to_owned()],
                revision,
            };
        };
        let errors = users.check(&user, &value).errors;
        let entry: Map<String, Value> = serde_json::from_slice(&value).unwrap_or_default();
        let text = |key| entry.get(key).and_then(Value::as_str).unwrap_or_default();
        let roles = entry.get("roles").and_then(Value::as_array).into_iter().flatten();
        let roles = roles.filter_map(Value::as_str).collect::<Vec<_>>().join(",");
        let mut credentials: Vec<_> = CREDENTIALS
            .iter()
            .filter(|(key, _)| entry.contains_key(*key))
            .map(|(_, what)| *what)
            .collect();
        credentials.dedup();
        let state = match (errors.is_empty(), entry.get("disabled")) {
            (false, _) => "invalid",
            (true, Some(Value::Bool(true))) => "disabled",
            (true, _) => "enabled",
        };
        Self {
            user: user.escape_debug().to_string(),
            state,
            account: text("account").escape_debug().to_string(),
            roles: roles.escape_debug().to_string(),
            credentials,
            errors,
            revision,
        }
    }

    fn to_json(&self) -> Value {
        let Self { user, state, account, roles, credentials, errors, revision } = self;
        let roles: Vec<_> = roles.split(',').filter(|role| !role.is_empty()).collect();
        json!({
            "user": user, "state": state, "account": account, "roles": roles,
            "credentials": credentials, "errors": errors, "revision": revision,
        })
    }
}

pub(super) async fn show(users: &Users, args: &ShowArgs) -> Outcome {
    let Stored { revision, value, .. } = users.access.read(&encode(&args.user)).await?;
    let Some(value) = value else { return users.refuse(REFUSED, unknown(&args.user)) };
    let errors = users.check(&args.user, &value).errors;
    let mut entry: Value = serde_json::from_slice(&value).unwrap_or(Value::Null);
    if !args.show_secrets {
        hide_secrets(&mut entry);
    }
    if users.json {
        say(json!({ "user": args.user, "revision": revision, "entry": entry, "errors": errors }));
        return Ok(GOOD);
    }
    say(serde_json::to_string_pretty(&entry)?);
    for error in errors {
        say(format_args!("error: {error}"));
    }
    Ok(GOOD)
}

fn hide_secrets(entry: &mut Value) {
    for key in SECRETS {
        if let Some(secret) = entry.get_mut(key) {
            *secret = json!("[redacted]");
        }
    }
}

pub(super) async fn history(users: &Users, user: &str) -> Outcome {
    let revisions = users.access.history(&encode(user)).await?;
    if revisions.is_empty() {
        return users.refuse(REFUSED, unknown(user));
    }
    let rows = revisions.into_iter().map(|Stored { revision, value, written }| {
        let what = if value.is_some() { "written" } else { "deleted" };
        let entry = value.and_then(|value| serde_json::from_slice::<Value>(&value).ok());
        let entry = entry.map(|mut entry| {
            hide_secrets(&mut entry);
            entry
        });
        (revision, written.unwrap_or_default(), what, entry)
    });
    if users.json {
        let rows: Vec<_> = rows
            .map(|(revision, time, what, entry)| {
                json!({ "revision": revision, "time": time, "operation": what, "entry": entry })
            })
            .collect();
        say(json!({ "user": user, "revisions": rows }));
        return Ok(GOOD);
    }
    for (revision, time, what, entry) in rows {
        let entry = entry.map(|entry| entry.to_string()).unwrap_or_default();
        say(format_args!("{revision}  {time}  {what}  {entry}"));
    }
    Ok(GOOD)
}
