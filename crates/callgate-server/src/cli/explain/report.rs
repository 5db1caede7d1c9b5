//! What `explain` prints: for people, and as JSON.

use std::fmt;

use callgate::{
    Explained,
    authn::Identity,
    clock::UnixTime,
    permissions::{Access, Permissions},
    policy::{BindingVerdict, Enforcer, Grant, RoleVerdict, Step},
    record::Outcome,
};
use serde_json::{Value, json};

use super::can::AccessQuery;
use crate::telemetry::{sanitize, sanitize_detail};

/// One explained decision, ready for output.
#[derive(Debug)]
pub(super) struct Report<'a> {
    explained: &'a Explained,
    as_of: Option<UnixTime>,
    queries: &'a [AccessQuery],
    callout_account: Option<&'a str>,
}

impl<'a> Report<'a> {
    pub(super) fn of(
        explained: &'a Explained,
        as_of: Option<UnixTime>,
        queries: &'a [AccessQuery],
        callout_account: Option<&'a str>,
    ) -> Self {
        Self { explained, as_of, queries, callout_account }
    }

    fn grant(&self) -> Option<&Grant> {
        self.explained.result.as_ref().ok()
    }

    fn outcome(&self) -> Outcome {
        match &self.explained.result {
            Ok(_) => Outcome::Admitted,
            Err(denial) => denial.reason.outcome(),
        }
    }

    fn identity(&self) -> Option<&Identity> {
        self.explained.steps.as_ref()?.identity.as_ref()
    }

    fn steps(&self) -> &[Step] {
        let policy = self.explained.steps.as_ref().and_then(|steps| steps.policy.as_ref());
        policy.map(|policy| policy.steps.as_slice()).unwrap_or_default()
    }

    /// The limits on the connection, and what enforces them.
    fn limits(&self) -> Vec<Value> {
        let limits = self.steps().iter().filter_map(|step| match step {
            Step::Limit { limit, value, from, enforced_by } => Some(json!({
                "limit": limit, "value": value, "from": from, "enforced_by": enforced_by,
            })),
            _ => None,
        });
        limits.collect()
    }

    /// The authenticator that verified the identity: the last one asked.
    fn authenticator(&self) -> Option<&str> {
        let asked = &self.explained.steps.as_ref()?.tried;
        self.identity().and(asked.last()).map(|(name, _)| &**name)
    }

    pub(super) fn to_json(&self) -> Value {
        let (reason, detail) = match &self.explained.result {
            Ok(_) => ("admitted", String::new()),
            Err(denial) => (denial.reason.as_str(), denial.detail.clone()),
        };
        let asked = self.explained.steps.iter().flat_map(|steps| &steps.tried);
        let access = self.grant().map(Grant::access);
        json!({
            "outcome": self.outcome().as_str(),
            "reason": reason,
            "detail": detail,
            "as_of": self.as_of.map(|made| made.to_string()),
            "credential": self.explained.request.as_ref().map(|r| r.credential().kind()),
            "asked": asked.map(|(name, said)| json!({ "authenticator": &**name, "answer": said }))
                .collect::<Vec<_>>(),
            "authenticator": self.authenticator(),
            "user": self.grant().map(Grant::user).or(self.identity().map(|i| i.user.as_str())),
            "groups": self.identity().map(|identity| &identity.groups),
            "account": self.grant().map(Grant::account),
            "roles": self.grant().map(Grant::roles),
            "permissions": access.map(permissions_json),
            "limits": self.limits(),
            "expires": self.grant().and_then(Grant::expires_at).map(|end| end.to_string()),
            "expires_at": self.grant().and_then(Grant::expires_at).map(UnixTime::seconds),
            "steps": self.steps(),
            "can": self.answers().map(|(question, allowed, rule)| json!({
                "question": question, "allowed": allowed, "rule": rule,
            })).collect::<Vec<_>>(),
        })
    }

    fn answers(&self) -> impl Iterator<Item = (String, bool, String)> {
        self.queries.iter().map(|query| match self.grant() {
            Some(grant) => {
                let verdict = query.check(grant.access());
                (query.to_string(), verdict.allowed, verdict.rule)
            }
            None => {
                let rule = format!("the client is {}", self.outcome().as_str());
                (query.to_string(), false, rule)
            }
        })
    }

    fn write_identity(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(request) = &self.explained.request {
            line(f, "credential", request.credential().kind())?;
            let client = request.client();
            line(
                f,
                "connection",
                format_args!("{} from {}", client.connection, sanitize(&client.host)),
            )?;
        }
        for (name, said) in self.explained.steps.iter().flat_map(|steps| &steps.tried) {
            line(f, "asked", format_args!("{name}: {}", sanitize_detail(said)))?;
        }
        let Some(identity) = self.identity() else { return Ok(()) };
        let authenticator = self.authenticator().unwrap_or_default();
        line(f, "identity", format_args!("{} (of {authenticator})", sanitize(&identity.user)))?;
        if !identity.groups.is_empty() {
            line(f, "groups", sanitize(&identity.groups.join(", ")))?;
        }
        match identity.expires_at {
            Some(end) => line(f, "credential ends", end),
            None => Ok(()),
        }
    }

    fn write_limits(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.steps().iter().try_for_each(|step| match step {
            Step::Limit { limit, value, from, enforced_by } => {
                let by = enforcer(*enforced_by);
                line(f, "limits", format_args!("{limit} {value} (from {from}): by {by}"))
            }
            _ => Ok(()),
        })
    }

    fn write_result(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.explained.result {
            Ok(grant) => {
                line(f, "account", sanitize(grant.account()))?;
                write_access(f, grant.access())?;
                self.write_limits(f)?;
                match grant.expires_at() {
                    Some(end) => line(f, "session ends", end)?,
                    None => line(f, "session ends", "never")?,
                }
                if self.callout_account.is_none() {
                    line(
                        f,
                        "note",
                        "clients are never placed in the callout account; set issuer.callout_account to check this here",
                    )?;
                }
            }
            Err(denial) => {
                self.write_limits(f)?;
                let detail = sanitize_detail(&denial.detail);
                line(f, "reason", format_args!("{}: {detail}", denial.reason))?;
            }
        }
        for (question, allowed, rule) in self.answers() {
            let answer = if allowed { "yes" } else { "no" };
            line(f, "can", format_args!("{question}  {answer}, {rule}"))?;
        }
        let verdict = match self.outcome() {
            Outcome::Admitted => "admitted",
            Outcome::Refused => "refused",
            Outcome::Dropped => "dropped without an answer",
        };
        line(f, "decision", verdict)
    }
}

impl fmt::Display for Report<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(made) = self.as_of {
            line(f, "evaluated", format_args!("as of {made}, when the request was made"))?;
        }
        self.write_identity(f)?;
        for step in self.steps() {
            write_step(f, step)?;
        }
        self.write_result(f)
    }
}

fn line(f: &mut fmt::Formatter<'_>, label: &str, value: impl fmt::Display) -> fmt::Result {
    // The caller adds the line break after the last line.
    let end = if label == "decision" { "" } else { "\n" };
    write!(f, "{label:<16}{value}{end}")
}

fn write_step(f: &mut fmt::Formatter<'_>, step: &Step) -> fmt::Result {
    match step {
        Step::Binding { index, verdict } => {
            line(f, "binding", format_args!("bindings[{index}] {}", binding_words(verdict)))
        }
        Step::Role { name, from, verdict } => line(
            f,
            "role",
            format_args!("{} (from {from}) {}", sanitize(name), role_words(verdict)),
        ),
        Step::OwnPermissions { verdict } => {
            line(f, "permissions", format_args!("its own entry {}", role_words(verdict)))
        }
        Step::Unrestricted => {
            line(f, "permissions", "none configured: unrestricted inside the account")
        }
        Step::Account { name, from } => {
            line(f, "account named", format_args!("{} by {from}", sanitize(name)))
        }
        Step::Ends { at, because } => {
            line(f, "ends", format_args!("{} because of {because}", UnixTime::from_seconds(*at)))
        }
        Step::Permission { side, kind, rule, from } => {
            line(f, side, format_args!("{kind} {} (from {from})", sanitize(rule)))
        }
        // Printed with the result.
        Step::Limit { .. } => Ok(()),
        Step::Enforced { what, by } => {
            line(f, "enforced", format_args!("{what}: by {}", enforcer(*by)))
        }
        Step::Remark { text } => line(f, "note", sanitize_detail(text)),
        // `Step` is non-exhaustive; the JSON has every step.
        _ => Ok(()),
    }
}

fn enforcer(by: Enforcer) -> &'static str {
    match by {
        Enforcer::NatsServer => "nats-server, during the session",
        Enforcer::Callgate => "Callgate, at login",
    }
}

fn binding_words(verdict: &BindingVerdict) -> String {
    match verdict {
        BindingVerdict::Matched => "matches".to_owned(),
        BindingVerdict::OtherAuthenticator => "is for other authenticators".to_owned(),
        BindingVerdict::NotNamed => {
            "does not apply: the entry has rules of its own, and the binding does not name the \
             authenticator"
                .to_owned()
        }
        BindingVerdict::ConditionFalse => "does not match: its condition is false".to_owned(),
        BindingVerdict::ConditionAbsent { name } => {
            format!("does not match: `{}` is absent", sanitize(name))
        }
        BindingVerdict::OtherMatched => "does not apply: another binding matches".to_owned(),
    }
}

fn role_words(verdict: &RoleVerdict) -> String {
    match verdict {
        RoleVerdict::Contributes => "applies".to_owned(),
        RoleVerdict::Fails { reason, detail } => {
            format!("does not apply: {reason}, {}", sanitize(detail))
        }
        RoleVerdict::Dropped => "dropped by the ceiling".to_owned(),
    }
}

fn write_access(f: &mut fmt::Formatter<'_>, access: &Access) -> fmt::Result {
    let permissions = match access {
        Access::Unrestricted => return line(f, "may", "do everything inside its account"),
        Access::Scoped(scope) => {
            return line(f, "may", format_args!("do what the scoped signing key `{scope}` allows"));
        }
        Access::Limited(permissions) => permissions,
    };
    let Permissions { publish, subscribe, responses } = permissions;
    let list = |rules: &[String]| match rules {
        [] => "nothing".to_owned(),
        rules => rules.join(", "),
    };
    line(f, "may publish", list(&texts(&publish.allow)))?;
    if !publish.deny.is_empty() {
        line(f, "  but not", list(&texts(&publish.deny)))?;
    }
    line(f, "may subscribe", list(&texts(&subscribe.allow)))?;
    if !subscribe.deny.is_empty() {
        line(f, "  but not", list(&texts(&subscribe.deny)))?;
    }
    match responses {
        Some(responses) => line(f, "may reply to", format_args!("received messages: {responses}")),
        None => Ok(()),
    }
}

fn texts(rules: &[impl ToString]) -> Vec<String> {
    rules.iter().map(ToString::to_string).collect()
}

fn permissions_json(access: &Access) -> Value {
    let permissions = match access {
        Access::Unrestricted => return json!("unrestricted"),
        Access::Scoped(scope) => return json!({ "scope": scope }),
        Access::Limited(permissions) => permissions,
    };
    let Permissions { publish, subscribe, responses } = permissions;
    json!({
        "publish": { "allow": texts(&publish.allow), "deny": texts(&publish.deny) },
        "subscribe": { "allow": texts(&subscribe.allow), "deny": texts(&subscribe.deny) },
        "responses": responses.map(|responses| json!({
            "max": responses.max.map_or(-1, i64::from),
            "ttl_seconds": responses.ttl.map_or(-1.0, |ttl| ttl.as_secs_f64()),
        })),
    })
}
