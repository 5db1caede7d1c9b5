//! How a decision came about: what was asked, the steps of the policy, and what enforces the result.

use std::fmt;

use callgate::{
    clock::UnixTime,
    policy::{BindingVerdict, Enforcer, RoleVerdict, Step},
};

use super::Report;
use crate::telemetry::{sanitize, sanitize_detail};

impl Report<'_> {
    pub(super) fn write_trace(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write_login(f)?;
        self.steps().iter().try_for_each(|step| self.write_step(f, step))?;
        self.write_limits(f)
    }

    fn write_login(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let explained = &self.judged.explained;
        if let Some(request) = &explained.request {
            match self.judged.assumed {
                true => self.line(f, "credential", "none: the identity is given")?,
                false => self.line(f, "credential", request.credential().kind())?,
            }
            let client = request.client();
            let from = format_args!("{} from {}", client.connection, sanitize(&client.host));
            self.line(f, "connection", from)?;
        }
        for (name, said) in explained.steps.iter().flat_map(|steps| &steps.tried) {
            self.line(f, "asked", format_args!("{name}: {}", sanitize_detail(said)))?;
            for note in self.judged.notes.iter().filter(|note| note.authenticator == *name) {
                self.line(f, "", sanitize_detail(&note.text))?;
            }
        }
        let Some(identity) = self.identity() else { return Ok(()) };
        if !identity.claims.is_empty() {
            let claims = identity.claims.iter().map(|(name, value)| match self.show_claims {
                true => format!("{name} = {value}"),
                false => name.clone(),
            });
            let claims = claims.collect::<Vec<_>>().join(", ");
            self.line(f, "claims", sanitize_detail(&claims))?;
        }
        match identity.expires_at {
            Some(end) => self.line(f, "credential ends", end),
            None => Ok(()),
        }
    }

    fn write_step(&self, f: &mut fmt::Formatter<'_>, step: &Step) -> fmt::Result {
        match step {
            Step::Binding { index, verdict } => {
                let words = binding_words(verdict);
                self.line(f, "binding", format_args!("bindings[{index}] {words}"))
            }
            Step::Role { name, from, verdict } => {
                let words = role_words(verdict);
                self.line(f, "role", format_args!("{} (from {from}) {words}", sanitize(name)))
            }
            Step::OwnPermissions { verdict } => {
                self.line(f, "permissions", format_args!("its own entry {}", role_words(verdict)))
            }
            Step::Unrestricted => {
                self.line(f, "permissions", "none configured: unrestricted inside the account")
            }
            Step::Account { name, from } => {
                self.line(f, "account named", format_args!("{} by {from}", sanitize(name)))
            }
            Step::Ends { at, because } => {
                let end = UnixTime::from_seconds(*at);
                self.line(f, "ends", format_args!("{end} because of {because}"))
            }
            Step::Permission { side, kind, rule, from } => {
                self.line(f, side, format_args!("{kind} {} (from {from})", sanitize(rule)))
            }
            Step::Enforced { what, by } => {
                self.line(f, "enforced", format_args!("{what}: by {}", enforcer(*by)))
            }
            // Limits come last, and the answer has the others.
            Step::Limit { .. } | Step::Dropped { .. } | Step::Remark { .. } => Ok(()),
            // `Step` is non-exhaustive; the JSON has every step.
            _ => Ok(()),
        }
    }

    fn write_limits(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.steps().iter().try_for_each(|step| match step {
            Step::Limit { limit, value, from, enforced_by } => {
                let by = enforcer(*enforced_by);
                let limit = format_args!("{limit} {value} (from {from}): by {by}");
                self.line(f, "limits", limit)
            }
            _ => Ok(()),
        })
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
