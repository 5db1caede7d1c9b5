//! The report as JSON: everything, whether or not `--why` is set.

use callgate::{
    clock::UnixTime,
    permissions::{Access, Permissions},
    policy::{Grant, Step},
};
use serde_json::{Value, json};

use super::{Dropped, Report, texts};

impl Report<'_> {
    pub(in crate::cli::explain) fn to_json(&self) -> Value {
        let explained = &self.judged.explained;
        let denial = explained.result.as_ref().err();
        let asked = explained.steps.iter().flat_map(|steps| &steps.tried);
        let credential = explained.request.as_ref().filter(|_| !self.judged.assumed);
        json!({
            "outcome": self.outcome().as_str(),
            "reason": denial.map_or("admitted", |denial| denial.reason.as_str()),
            "cause": denial.and_then(|denial| denial.cause()).map_or("", |cause| cause.as_str()),
            "detail": denial.map_or("", |denial| &denial.detail),
            "as_of": self.judged.as_of.map(|made| made.to_string()),
            "assumed": self.judged.assumed,
            "credential": credential.map(|request| request.credential().kind()),
            "asked": asked.map(|(name, said)| json!({ "authenticator": &**name, "answer": said }))
                .collect::<Vec<_>>(),
            "backends": self.judged.notes.iter().map(|note| json!({
                "authenticator": &*note.authenticator, "note": note.text,
            })).collect::<Vec<_>>(),
            "authenticator": self.authenticator(),
            "user": self.grant().map(Grant::user).or(self.identity().map(|i| i.user.as_str())),
            "groups": self.identity().map(|identity| &identity.groups),
            "claims": self.claims_json(),
            "account": self.grant().map(Grant::account),
            "roles": self.grant().map(Grant::roles),
            "permissions": self.grant().map(Grant::access).map(permissions_json),
            "limits": self.limits_json(),
            "expires": self.grant().and_then(Grant::expires_at).map(|end| end.to_string()),
            "expires_at": self.grant().and_then(Grant::expires_at).map(UnixTime::seconds),
            "ceiling_dropped": self.dropped_json(),
            "steps": self.steps(),
            "can": self.answers().map(|(question, verdict)| json!({
                "question": question, "allowed": verdict.allowed, "as_reply": verdict.as_reply,
                "rule": verdict.rule,
            })).collect::<Vec<_>>(),
        })
    }

    /// The names of the claims, with their values only if requested.
    fn claims_json(&self) -> Value {
        match self.identity() {
            Some(identity) if self.show_claims => Value::Object(identity.claims.clone()),
            Some(identity) => identity.claims.keys().cloned().collect(),
            None => Value::Null,
        }
    }

    /// The limits on the connection, and what enforces them.
    fn limits_json(&self) -> Vec<Value> {
        let limits = self.steps().iter().filter_map(|step| match step {
            Step::Limit { limit, value, from, enforced_by } => Some(json!({
                "limit": limit, "value": value, "from": from, "enforced_by": enforced_by,
            })),
            _ => None,
        });
        limits.collect()
    }

    fn dropped_json(&self) -> Vec<Value> {
        let entry = |Dropped { kind, requested, key, missing, because }| {
            json!({
                "kind": kind, "requested": requested, "key": key, "missing": missing,
                "because": because,
            })
        };
        self.dropped().map(entry).collect()
    }
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
