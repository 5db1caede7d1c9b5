//! The configuration of nats-server with Callgate as its auth callout: the text as it is, with what is missing added.
//!
//! Users stay in it. nats-server asks the callout about all of them except `auth_users`, and removing the callout
//! brings back the old behavior.

use std::ops::Range;

use crate::nats_conf::{Entry, Location, Map, Node, Value};

/// What the configuration refers to.
#[derive(Debug)]
pub(crate) struct Keys {
    /// The name of the callout account.
    pub(crate) account: String,
    /// The public key by which Callgate logs in.
    pub(crate) user: String,
    pub(crate) issuer: String,
    pub(crate) xkey: String,
}

impl Keys {
    /// An account name that the configuration does not have.
    pub(crate) fn free_account(taken: &[String]) -> String {
        let numbered = (2..).map(|number| format!("CALLGATE_{number}"));
        let mut names = std::iter::once("CALLGATE".to_owned()).chain(numbered);
        names.find(|name| !taken.contains(name)).unwrap_or_default()
    }

    /// What to add to a configuration by hand.
    pub(crate) fn additions(&self, auth_users: &[String]) -> String {
        let account = self.callout_account();
        let callout = self.auth_callout(auth_users);
        format!("accounts {{{account}}}\nauthorization {{{callout}}}\n")
    }

    fn callout_account(&self) -> String {
        let Self { account, user, .. } = self;
        format!(
            "\n  # Only for Callgate: a user of this account can read requests that are not encrypted.\n  {account} {{\n    \
             users: [\n      {{\n        nkey: \"{user}\"\n        permissions {{\n          \
             subscribe: [\"$SYS.REQ.USER.AUTH\", \"$SRV.>\", \"_INBOX.>\"]\n          \
             publish: [\"_INBOX.>\", \"$SYS._INBOX.>\", \"$SYS.REQ.USER.INFO\", \"$SRV.INFO\"]\n        }}\n      \
             }}\n    ]\n  }}\n"
        )
    }

    fn auth_callout(&self, auth_users: &[String]) -> String {
        let Self { account, user, issuer, xkey } = self;
        let users = std::iter::once(user).chain(auth_users);
        let users: Vec<String> = users.map(|user| quoted(user)).collect();
        format!(
            "\n  # Callgate decides about every login except those of auth_users.\n  auth_callout {{\n    \
             issuer: \"{issuer}\"\n    xkey: \"{xkey}\"\n    account: {account}\n    auth_users: [ {} ]\n  }}\n",
            users.join(", ")
        )
    }
}

/// The text cannot be changed safely.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ByHand {
    pub(crate) at: Location,
    pub(crate) why: &'static str,
    /// What to add.
    pub(crate) additions: String,
}

/// The texts of a configuration with Callgate.
#[derive(Debug)]
pub(crate) struct Extended {
    /// With the account of Callgate, so that it can connect before it decides.
    pub(crate) prepared: String,
    /// With Callgate as the auth callout as well.
    pub(crate) complete: String,
}

/// The texts of the configuration with Callgate.
///
/// # Errors
/// If it must be changed by hand.
pub(crate) fn extended(
    text: &str,
    start: &Location,
    root: &Map,
    keys: &Keys,
    auth_users: &[String],
) -> Result<Extended, Box<ByHand>> {
    let callout_account = keys.callout_account();
    let auth_callout = keys.auth_callout(auth_users);
    let additions = keys.additions(auth_users);
    let by_hand = |at: &Location, why| {
        Err(Box::new(ByHand { at: at.clone(), why, additions: additions.clone() }))
    };
    if starts_with_brace(text, root) {
        return by_hand(start, "the whole file is in braces");
    }
    let mut edits = Edits::default();
    let mut callout = Edits::default();
    for (key, addition) in [("accounts", callout_account), ("authorization", auth_callout)] {
        let is_callout = key == "authorization";
        let found = root.entries().iter().find(|entry| entry.key.eq_ignore_ascii_case(key));
        match found {
            None => {
                let edits = if is_callout { &mut callout } else { &mut edits };
                edits.append.push_str(&format!("\n{key} {{{addition}}}\n"));
            }
            Some(entry) if is_here(&entry.node, start) => {
                let to = if is_callout { &mut callout } else { &mut edits };
                to.insert(entry.node.span.start + 1, addition);
                if is_callout && let Err(at) = edits.move_simple_user(entry, text, start) {
                    return by_hand(&at, "the user or token is in a variable or another file");
                }
            }
            Some(entry) => {
                return by_hand(&entry.at, "this block is a list, a variable or in another file");
            }
        }
    }
    let prepared = edits.apply(text);
    edits.replaced.extend(callout.replaced);
    edits.append.push_str(&callout.append);
    Ok(Extended { prepared, complete: edits.apply(text) })
}

/// Whether `new` is `old` with the callout, and nothing else changed.
pub(crate) fn is_extension(old: &Map, new: &Map, keys: &Keys) -> bool {
    let value = |map: &Map, key: &str| {
        let mut entries = map.entries().iter();
        entries.find(|entry| entry.key.eq_ignore_ascii_case(key)).map(|entry| entry.node.clone())
    };
    let is_same = |entry: &Entry| match entry.key.to_ascii_lowercase().as_str() {
        "accounts" | "authorization" => true,
        key => value(old, key) == value(new, key),
    };
    let members = |map: &Map, key: &str, without: &[&str]| match value(map, key) {
        Some(Node { value: Value::Map(map), .. }) => {
            let kept = map.entries().iter().filter(|entry| !without.contains(&entry.key.as_str()));
            kept.map(|entry| (entry.key.clone(), entry.node.clone())).collect()
        }
        Some(_) | None => Vec::new(),
    };
    let accounts = |map| members(map, "accounts", &[&keys.account]);
    let simple = ["user", "username", "password", "pass", "token", "users", "auth_callout"];
    let moves_user = members(old, "authorization", &[]).iter().any(|(key, _)| {
        ["user", "username", "token"].iter().any(|simple| key.eq_ignore_ascii_case(simple))
    });
    let ignored = if moves_user { simple.as_slice() } else { &["auth_callout"] };
    let authorization = |map| members(map, "authorization", ignored);
    old.entries().iter().chain(new.entries()).all(is_same)
        && accounts(old) == accounts(new)
        && authorization(old) == authorization(new)
        && members(new, "authorization", &[]).iter().any(|(key, _)| key == "auth_callout")
        && members(new, "accounts", &[]).iter().any(|(key, _)| *key == keys.account)
}

/// A map that is written in this file.
fn is_here(node: &Node, start: &Location) -> bool {
    matches!(node.value, Value::Map(_)) && node.variable.is_none() && node.at.file == start.file
}

fn starts_with_brace(text: &str, root: &Map) -> bool {
    let first = root.entries().iter().map(|entry| entry.start).min();
    let before = first.and_then(|first| text.get(..first)).unwrap_or_default();
    before.lines().any(|line| line.trim_start().starts_with('{'))
}

#[derive(Debug, Default)]
struct Edits {
    /// Replaced ranges of the text, which do not overlap.
    replaced: Vec<(Range<usize>, String)>,
    append: String,
}

impl Edits {
    fn insert(&mut self, at: usize, text: String) {
        self.replaced.push((at..at, text));
    }

    /// nats-server takes a single user or token only without accounts: a user becomes a list of one, a token goes.
    fn move_simple_user(
        &mut self,
        authorization: &Entry,
        text: &str,
        start: &Location,
    ) -> Result<(), Location> {
        let Value::Map(map) = &authorization.node.value else { return Ok(()) };
        let has = |entry: &&Entry, keys: &[&str]| {
            keys.iter().any(|key| entry.key.eq_ignore_ascii_case(key))
        };
        let is_simple =
            |entry: &&Entry| has(entry, &["user", "username", "password", "pass", "token"]);
        let mut user = String::new();
        for entry in map.entries().iter().filter(is_simple) {
            let is_token = has(&entry, &["token"]);
            if entry.node.at.file != start.file || (is_token && entry.node.variable.is_some()) {
                return Err(entry.at.clone());
            }
            let value = text.get(entry.node.span.clone()).unwrap_or_default();
            if !is_token {
                user.push_str(&format!("{}: {value}\n", entry.key));
            }
            let end = entry.node.span.end;
            let after = text.get(end..).unwrap_or_default();
            let blank = after.len() - after.trim_start_matches([' ', '\t']).len();
            let separator = after.get(blank..).is_some_and(|rest| rest.starts_with([',', ';']));
            let end = if separator { end + blank + 1 } else { end };
            self.replaced.push((entry.start..end, String::new()));
        }
        if !user.is_empty() {
            let list = format!("\n  users: [ {{\n    {}  }} ]\n", user.replace('\n', "\n    "));
            self.insert(authorization.node.span.start + 1, list);
        }
        Ok(())
    }

    fn apply(&self, text: &str) -> String {
        let mut replaced: Vec<_> = self.replaced.iter().collect();
        replaced.sort_by_key(|(range, _)| (range.start, range.end));
        let mut result = String::new();
        let mut done = 0;
        for (range, new) in replaced {
            result.push_str(text.get(done..range.start).unwrap_or_default());
            result.push_str(new);
            done = range.end.max(done);
        }
        result.push_str(text.get(done..).unwrap_or_default());
        if !self.append.is_empty() && !result.ends_with('\n') {
            result.push('\n');
        }
        result + &self.append
    }
}

/// A string of the configuration, without interpretation.
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}
