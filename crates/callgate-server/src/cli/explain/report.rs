//! What `explain` prints: the answer first, then how it came about.

mod json;
mod trace;

use std::fmt;

use callgate::{
    Explained,
    authn::Identity,
    clock::UnixTime,
    permissions::{Access, Permissions},
    policy::{AccessVerdict, Grant, Step},
    record::Outcome,
};
use callgate_authenticators::backend::notes::Note;

use super::can::AccessQuery;
use crate::{
    cli::output::{Colour, Style},
    telemetry::{sanitize, sanitize_detail},
};

/// One explained decision.
#[derive(Debug)]
pub(super) struct Judged {
    pub(super) explained: Explained,
    /// The time of a request from a server.
    pub(super) as_of: Option<UnixTime>,
    /// True if the identity was given, not authenticated.
    pub(super) assumed: bool,
    /// What backends were asked and found.
    pub(super) notes: Vec<Note>,
}

/// A decision ready for output.
#[derive(Debug)]
pub(super) struct Report<'a> {
    pub(super) judged: &'a Judged,
    pub(super) queries: &'a [AccessQuery],
    pub(super) callout_account: Option<&'a str>,
    /// Print how the decision came about; by default only for refusals.
    pub(super) why: bool,
    /// Print the values of claims.
    pub(super) show_claims: bool,
    pub(super) style: Style,
}

/// A step that says what the ceiling dropped.
struct Dropped<'a> {
    kind: &'a str,
    requested: &'a str,
    key: &'a str,
    missing: Option<&'a str>,
    because: &'a str,
}

impl Report<'_> {
    fn grant(&self) -> Option<&Grant> {
        self.judged.explained.result.as_ref().ok()
    }

    fn outcome(&self) -> Outcome {
        match &self.judged.explained.result {
            Ok(_) => Outcome::Admitted,
            Err(denial) => denial.reason.outcome(),
        }
    }

    fn identity(&self) -> Option<&Identity> {
        self.judged.explained.steps.as_ref()?.identity.as_ref()
    }

    fn steps(&self) -> &[Step] {
        let policy = self.judged.explained.steps.as_ref().and_then(|steps| steps.policy.as_ref());
        policy.map(|policy| policy.steps.as_slice()).unwrap_or_default()
    }

    fn dropped(&self) -> impl Iterator<Item = Dropped<'_>> {
        self.steps().iter().filter_map(|step| match step {
            Step::Dropped { kind, requested, key, missing, because } => {
                Some(Dropped { kind, requested, key, missing: missing.as_deref(), because })
            }
            _ => None,
        })
    }

    /// The authenticator that verified the identity: the last one asked.
    fn authenticator(&self) -> Option<&str> {
        let asked = &self.judged.explained.steps.as_ref()?.tried;
        self.identity().and(asked.last()).map(|(name, _)| &**name)
    }

    fn answers(&self) -> impl Iterator<Item = (String, AccessVerdict)> {
        self.queries.iter().map(|query| {
            let verdict = match self.grant() {
                Some(grant) => query.check(grant.access()),
                None => AccessVerdict {
                    allowed: false,
                    as_reply: false,
                    rule: format!("the client is {}", self.outcome().as_str()),
                },
            };
            (query.to_string(), verdict)
        })
    }

    fn line(
        &self,
        f: &mut fmt::Formatter<'_>,
        label: &str,
        value: impl fmt::Display,
    ) -> fmt::Result {
        writeln!(f, "{}{value}", self.style.paint(Colour::Dim, format_args!("{label:<16}")))
    }

    fn write_answer(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (verdict, colour) = match self.outcome() {
            Outcome::Admitted => ("admitted", Colour::Green),
            Outcome::Refused => ("refused", Colour::Red),
            Outcome::Dropped => ("dropped without an answer", Colour::Red),
        };
        self.line(f, "decision", self.style.paint(colour, verdict))?;
        if let Some(made) = self.judged.as_of {
            self.line(f, "evaluated", format_args!("as of {made}, when the request was made"))?;
        }
        if let Err(denial) = &self.judged.explained.result {
            let detail = sanitize_detail(&denial.detail);
            self.line(f, "reason", format_args!("{}: {detail}", denial.reason))?;
            if let Some(cause) = denial.cause() {
                self.line(f, "cause", cause.as_str())?;
            }
        }
        self.write_identity(f)?;
        if let Some(grant) = self.grant() {
            self.line(f, "account", sanitize(grant.account()))?;
            self.write_access(f, grant.access())?;
            match grant.expires_at() {
                Some(end) => self.line(f, "session ends", end)?,
                None => self.line(f, "session ends", "never")?,
            }
        }
        self.write_dropped(f)?;
        self.write_notes(f)?;
        for (question, AccessVerdict { allowed, as_reply, rule }) in self.answers() {
            let (answer, colour) = match (allowed, as_reply) {
                (true, _) => ("yes", Colour::Green),
                (false, true) => ("only as a reply", Colour::Yellow),
                (false, false) => ("no", Colour::Red),
            };
            let answer = self.style.paint(colour, answer);
            self.line(f, "can", format_args!("{question}  {answer}, {}", sanitize_detail(&rule)))?;
        }
        Ok(())
    }

    fn write_identity(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(identity) = self.identity() else { return Ok(()) };
        let user = self.grant().map_or(identity.user.as_str(), Grant::user);
        let authenticator = self.authenticator().unwrap_or_default();
        self.line(f, "identity", format_args!("{} (of {authenticator})", sanitize(user)))?;
        match identity.groups.is_empty() {
            true => Ok(()),
            false => self.line(f, "groups", sanitize(&identity.groups.join(", "))),
        }
    }

    fn write_dropped(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Dropped { kind, requested, key, missing, because } in self.dropped() {
            let missing = missing
                .map(|entry| format!(" (missing: `{}` in `{key}`)", sanitize(entry)))
                .unwrap_or_default();
            let requested = sanitize(requested);
            self.line(f, "dropped", format_args!("{kind} `{requested}`: {because}{missing}"))?;
        }
        Ok(())
    }

    fn write_notes(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for step in self.steps() {
            if let Step::Remark { text } = step {
                self.line(f, "note", sanitize_detail(text))?;
            }
        }
        match (self.grant(), self.callout_account) {
            (Some(_), None) => self.line(
                f,
                "note",
                "clients are never placed in the callout account; set issuer.callout_account to \
                 check this here",
            ),
            (Some(_), Some(_)) | (None, _) => Ok(()),
        }
    }

    fn write_access(&self, f: &mut fmt::Formatter<'_>, access: &Access) -> fmt::Result {
        let permissions = match access {
            Access::Unrestricted => return self.line(f, "may", "do everything inside its account"),
            Access::Scoped(scope) => {
                let what = format_args!("do what the scoped signing key `{scope}` allows");
                return self.line(f, "may", what);
            }
            Access::Limited(permissions) => permissions,
        };
        let Permissions { publish, subscribe, responses } = permissions;
        let list = |rules: &[String]| match rules {
            [] => "nothing".to_owned(),
            rules => rules.join(", "),
        };
        self.line(f, "may publish", list(&texts(&publish.allow)))?;
        if !publish.deny.is_empty() {
            self.line(f, "  but not", list(&texts(&publish.deny)))?;
        }
        self.line(f, "may subscribe", list(&texts(&subscribe.allow)))?;
        if !subscribe.deny.is_empty() {
            self.line(f, "  but not", list(&texts(&subscribe.deny)))?;
        }
        match responses {
            Some(responses) => {
                self.line(f, "may reply to", format_args!("received messages: {responses}"))
            }
            None => Ok(()),
        }
    }
}

/// How a decision came about, one line for each step, without colours.
pub(in crate::cli) fn trace_lines(explained: Explained) -> Vec<String> {
    struct Trace<'a>(Report<'a>);
    impl fmt::Display for Trace<'_> {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            self.0.write_trace(f)
        }
    }
    let judged = Judged { explained, as_of: None, assumed: true, notes: Vec::new() };
    let report = Report {
        judged: &judged,
        queries: &[],
        callout_account: None,
        why: true,
        show_claims: false,
        style: Style::plain(),
    };
    Trace(report).to_string().lines().map(|line| line.trim_end().to_owned()).collect()
}

impl fmt::Display for Report<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write_answer(f)?;
        if self.why || self.grant().is_none() {
            writeln!(f)?;
            self.write_trace(f)?;
        }
        Ok(())
    }
}

fn texts(rules: &[impl ToString]) -> Vec<String> {
    rules.iter().map(ToString::to_string).collect()
}
