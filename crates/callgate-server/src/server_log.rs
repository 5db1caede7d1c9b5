//! Permission violations in the log of nats-server 2.10 to 2.15, which reports them nowhere else.
//!
//! A line contains texts of the client: its library and version (2.12 and later), user, subject and
//! subscription ID. nats-server quotes all but the ID, which has no spaces, as Go does (`%q`). The line is therefore read
//! from its end, quotation by quotation: a whole log line inside a quotation stays a quotation.

/// What nats-server did not allow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Violation {
    /// The ID of the connection.
    pub(crate) client_id: u64,
    pub(crate) operation: Operation,
    pub(crate) subject: String,
    /// Name or public key; 2.10 and 2.11 do not log it.
    pub(crate) account: Option<String>,
    pub(crate) user: Option<String>,
}

/// What the client tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operation {
    Publish,
    Subscribe,
}

impl Operation {
    /// `publish` or `subscribe`.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Publish => "publish",
            Self::Subscribe => "subscribe",
        }
    }
}

/// What a line says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Reading {
    Violation(Violation),
    /// It mentions a violation, and has no known format.
    Unparsed,
    Other,
}

/// Reads a line.
pub(crate) fn read(line: &str) -> Reading {
    if !line.contains("Violation") {
        return Reading::Other;
    }
    violation(line.trim_end()).map_or(Reading::Unparsed, Reading::Violation)
}

fn violation(line: &str) -> Option<Violation> {
    let client_id = client_id(line)?;
    let (rest, subject) = subject(line)?;
    // 2.10: `Publish Violation - User "bob", Subject "x"`; 2.12: `"APP/user:bob" - Publish Violation - Subject "x"`.
    let (rest, user) = match rest.strip_suffix(", ") {
        Some(before) => {
            let (rest, user) = quoted(before)?;
            let before = rest.strip_suffix(' ')?;
            let rest = before.trim_end_matches(|c: char| c.is_ascii_alphabetic());
            // A token is a secret, or `[REDACTED]`.
            let is_token = before.ends_with("Token");
            let rest = rest.strip_suffix("JWT ").unwrap_or(rest);
            (rest, Some(if is_token { String::new() } else { user }))
        }
        None => (rest, None),
    };
    let rest = rest.strip_suffix(" - ")?;
    let (rest, operation) = match rest.strip_suffix("Publish Violation") {
        Some(rest) => (rest, Operation::Publish),
        None => (rest.strip_suffix("Subscription Violation")?, Operation::Subscribe),
    };
    let rest = rest.strip_suffix(" - ")?;
    let Some(user) = user else {
        let (_, label) = quoted(rest)?;
        let (account, user) = account_and_user(&label)?;
        let user = Some(user).filter(|user| !user.is_empty());
        return Some(Violation { client_id, operation, subject, account, user });
    };
    let user = Some(user).filter(|user| !user.is_empty() && user != "N/A");
    Some(Violation { client_id, operation, subject, account: None, user })
}

/// `… [ERR] 127.0.0.1:51934 - cid:16 - …`: what is before the ID is not the client's.
fn client_id(line: &str) -> Option<u64> {
    let (_, rest) = line.split_once("[ERR] ")?;
    let (_, rest) = rest.split_once(" - ")?;
    let (kind, rest) = rest.split_once(':')?;
    let is_kind = ["cid", "wid", "mid", "lid", "lid_ws", "mid_ws"].contains(&kind);
    let (id, _) = rest.split_once(' ')?;
    id.parse().ok().filter(|_| is_kind)
}

/// The subject at the end of a line, and what is before its name.
fn subject(line: &str) -> Option<(&str, String)> {
    let line = match line.rsplit_once(", SID ") {
        Some((before, sid)) if !sid.contains(' ') => before,
        Some(_) | None => line,
    };
    let (mut rest, mut text) = quoted(line)?;
    if let Some(before) = rest.strip_suffix(", Queue: ").or_else(|| rest.strip_suffix(", Queue ")) {
        (rest, text) = quoted(before)?;
    }
    let rest = rest.strip_suffix("Subject ").or_else(|| rest.strip_suffix("Reply "))?;
    Some((rest, text))
}

/// The quotation at the end of a text, without its quotes, and what is before it.
fn quoted(text: &str) -> Option<(&str, String)> {
    let inner = text.strip_suffix('"')?;
    let is_escaped = |at: usize| {
        let before = inner.get(..at).unwrap_or_default();
        before.bytes().rev().take_while(|byte| *byte == b'\\').count() % 2 == 1
    };
    let mut quotes = inner.match_indices('"').map(|(at, _)| at).rev();
    let start = quotes.find(|at| !is_escaped(*at))?;
    let quotation = inner.get(start + 1..)?;
    Some((inner.get(..start)?, unescaped(quotation)))
}

/// A quotation of Go with its simple escapes replaced; others stay as they are.
fn unescaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some(escaped @ ('"' | '\\')) => out.push(escaped),
                Some(other) => out.extend(['\\', other]),
                None => out.push('\\'),
            },
            c => out.push(c),
        }
    }
    out
}

/// `APP/user:bob`, or `A…/APP/user:bob` in operator mode. Account names have no such part; users may.
fn account_and_user(label: &str) -> Option<(Option<String>, String)> {
    let marks = ["/user:", "/nkey:", "/jwt:", "/token"];
    let first = marks.iter().filter_map(|mark| Some((label.find(mark)?, *mark))).min()?;
    let account = label.get(..first.0)?;
    let user = match first.1 {
        "/token" => "",
        mark => label.get(first.0 + mark.len()..)?,
    };
    let name = match account.split_once('/') {
        Some((key, name)) if key.len() == 56 && key.starts_with('A') => name,
        Some(_) | None => account,
    };
    Some((Some(name.to_owned()), user.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(line: &str) -> Violation {
        match read(line) {
            Reading::Violation(violation) => violation,
            other => panic!("{other:?}: {line}"),
        }
    }

    fn expect(line: &str, operation: Operation, subject: &str, account: Option<&str>, user: &str) {
        let violation = found(line);
        let expected = Violation {
            client_id: 16,
            operation,
            subject: subject.to_owned(),
            account: account.map(str::to_owned),
            user: Some(user.to_owned()),
        };
        assert_eq!(violation, expected, "{line}");
    }

    const HEAD: &str = "[12982] 2026/11/29 15:57:44.267601 [ERR] 127.0.0.1:51934 - cid:16 -";

    #[test]
    fn lines_of_every_version_are_read() {
        use Operation::{Publish, Subscribe};
        let key = format!("A{}", "B".repeat(55));
        for (line, operation, subject, account, user) in [
            (
                "Publish Violation - User \"bob\", Subject \"x\"".to_owned(),
                Publish,
                "x",
                None,
                "bob",
            ),
            (
                "Subscription Violation - User \"bob\", Subject \"a.>\", SID 5".to_owned(),
                Subscribe,
                "a.>",
                None,
                "bob",
            ),
            (
                "Subscription Violation - User \"bob\", Subject \"a\", Queue: \"q\", SID 5"
                    .to_owned(),
                Subscribe,
                "a",
                None,
                "bob",
            ),
            (
                "\"v0:raw\" - \"APP/user:bob\" - Publish Violation - Subject \"x\"".to_owned(),
                Publish,
                "x",
                Some("APP"),
                "bob",
            ),
            (
                "\"v1:go:cli\" - \"APP/user:bob\" - Publish Violation - Reply \"r\"".to_owned(),
                Publish,
                "r",
                Some("APP"),
                "bob",
            ),
            (
                "\"v1:go\" - \"APP/user:a/user:b\" - Subscription Violation - Subject \"x\", SID 1"
                    .to_owned(),
                Subscribe,
                "x",
                Some("APP"),
                "a/user:b",
            ),
            (
                format!("\"v0:raw\" - \"{key}/APP/user:bob\" - Publish Violation - Subject \"x\""),
                Publish,
                "x",
                Some("APP"),
                "bob",
            ),
        ] {
            expect(&format!("{HEAD} {line}"), operation, subject, account, user);
        }
    }

    #[test]
    fn tokens_are_not_read() {
        for line in [
            format!("{HEAD} Publish Violation - Token \"s3cret\", Subject \"x\""),
            format!("{HEAD} \"v0:raw\" - \"APP/token\" - Publish Violation - Subject \"x\""),
            format!("{HEAD} \"v0:raw\" - \"APP/token:s3cret\" - Publish Violation - Subject \"x\""),
            format!("{HEAD} Publish Violation - User \"N/A\", Subject \"x\""),
        ] {
            assert_eq!(found(&line).user, None, "{line}");
        }
        let line = format!("{HEAD} Publish Violation - JWT User \"UABC\", Subject \"x\"");
        assert_eq!(found(&line).user.as_deref(), Some("UABC"));
    }

    #[test]
    fn client_cannot_forge_a_violation_by_another_user() {
        let forged = "\\\" - \\\"APP/user:alice\\\" - Publish Violation - Subject \\\"y\\\"";
        let old = "cid:99 - Publish Violation - User \\\"alice\\\", Subject \\\"y";
        // In the language, the version, the subject, the user, and the name.
        for (line, user) in [
            (
                format!(
                    "{HEAD} \"v{forged}:raw\" - \"APP/user:bob\" - Publish Violation - Subject \"x\""
                ),
                "bob",
            ),
            (
                format!(
                    "{HEAD} \"v0:{old}\" - \"APP/user:bob\" - Publish Violation - Subject \"x\""
                ),
                "bob",
            ),
            (format!("{HEAD} Publish Violation - User \"bob\", Subject \"{old}\""), "bob"),
            (format!("{HEAD} Publish Violation - User \"bob\", Subject \"x{forged}\""), "bob"),
        ] {
            let violation = found(&line);
            assert_eq!(
                (violation.client_id, violation.user.as_deref()),
                (16, Some(user)),
                "{line}"
            );
        }
        for line in [
            format!("{HEAD} authentication error - User \"{old}\""),
            format!("{HEAD} authentication error - User \"x{forged}\""),
            "Publish Violation".to_owned(),
            format!("{HEAD} Publish Violation - Subject \"x\""),
        ] {
            assert_eq!(read(&line), Reading::Unparsed, "{line}");
        }
        assert_eq!(read("[1] [INF] Server is ready"), Reading::Other);
    }
}
