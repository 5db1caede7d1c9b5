//! Which roles and permissions an identity has: named by somebody, allowed, and with conditions that
//! hold.

use std::{collections::BTreeSet, sync::Arc};

use super::{Found, NamedBy, Resolver, refused};
use crate::{
    authn::{Origin, Proposal},
    clock::UnixTime,
    connection::ConnectionKinds,
    policy::{
        binding::{Binding, BindingRole},
        explain::{RoleVerdict, Step, Trace},
        grant::{Dropped, shown},
        role::{Role, check_kind},
        template::{FillError, Rule, Template},
    },
    record::{Denial, Reason},
};

impl<T: Trace> Resolver<'_, '_, '_, T> {
    /// Roles and permissions, from wherever, whose conditions hold.
    pub(super) fn contributions(
        &mut self,
        bindings: &[Arc<Binding>],
        dropped: &mut Dropped,
    ) -> Result<Found, Denial> {
        let mut found = Found::default();
        self.own_permissions(&mut found, dropped);
        let roles = self.named_roles(bindings, dropped)?;
        let Proposal { origin, roles: own_roles, permissions, unrestricted_if_alone, .. } =
            self.proposal();
        let alone =
            roles.is_empty() && bindings.is_empty() && own_roles.is_none() && permissions.is_none();
        if alone && *unrestricted_if_alone && *origin == Origin::Operator {
            let kinds = self.implied_kinds();
            check_kind(kinds, &self.request.connection, self.inputs.user)?;
            self.trace.note(|| Step::Unrestricted);
            return Ok(Found { unrestricted: true, ..found });
        }
        for (role, from) in roles {
            self.weigh(&role, from, &mut found);
        }
        if found.roles.is_empty() && found.own.is_none() {
            return Err(found.failed.unwrap_or_else(|| self.nothing(bindings, dropped)));
        }
        Ok(found)
    }

    fn nothing(&self, bindings: &[Arc<Binding>], dropped: &Dropped) -> Denial {
        let what = match bindings.is_empty() {
            true => "no binding matches, and there are no roles or permissions of its own",
            false => {
                "the bindings that match give no role, and there are no permissions of its own"
            }
        };
        let over = match dropped.count() {
            0 => String::new(),
            count => format!("; the ceiling dropped {count}"),
        };
        let user = shown(self.inputs.user);
        Denial::new(Reason::NoBinding, format!("`{user}`: {what}{over}"))
    }

    /// Kinds of connection that an entry is open to without a role: leaf nodes only if the
    /// operator says so.
    fn implied_kinds(&mut self) -> ConnectionKinds {
        match (self.proposal().origin, self.proposal().connection_types) {
            (Origin::Operator, Some(kinds)) => kinds,
            (Origin::Outside, _) | (Origin::Operator, None) => {
                let kinds = ConnectionKinds::default();
                let value = || kinds.to_string();
                let from = || "the default".to_owned();
                self.limits.tell(self.trace, "connection_types", value, from);
                kinds
            }
        }
    }

    fn own_permissions(&mut self, found: &mut Found, dropped: &mut Dropped) {
        let request = self.request;
        let Some(asked) = &request.identity.proposal.permissions else { return };
        let (permissions, nothing_left) = match request.identity.proposal.origin {
            Origin::Operator => (asked.clone(), false),
            Origin::Outside => {
                let clipped = self.rules.ceiling.clip(asked, self.inputs, dropped);
                (clipped.permissions, clipped.nothing_left)
            }
        };
        let kinds = self.implied_kinds();
        let verdict = match check_kind(kinds, &request.connection, self.inputs.user) {
            Err(denial) => {
                let verdict = fails(&denial);
                found.failed.get_or_insert(denial);
                verdict
            }
            Ok(()) if nothing_left => RoleVerdict::Dropped,
            Ok(()) => {
                found.own = Some(permissions);
                RoleVerdict::Contributes
            }
        };
        self.trace.note(|| Step::OwnPermissions { verdict });
    }

    /// Every role that somebody gives, once, with who gives it.
    fn named_roles(
        &mut self,
        bindings: &[Arc<Binding>],
        dropped: &mut Dropped,
    ) -> Result<Vec<(Arc<Role>, NamedBy)>, Denial> {
        let mut roles: Vec<(Arc<Role>, NamedBy)> = Vec::new();
        if let Some(defaults) = &self.rules.defaults {
            roles.push((Arc::clone(defaults), NamedBy::Defaults));
        }
        let (policy, proposal) = (self.policy, &self.request.identity.proposal);
        for name in proposal.roles.iter().flatten() {
            match proposal.origin {
                Origin::Operator => {
                    let Some(role) = policy.roles.get(name.as_str()) else {
                        let detail = format!("there is no role `{}`", shown(name));
                        return Err(Denial::new(Reason::PolicyError, detail));
                    };
                    roles.push((Arc::clone(role), NamedBy::Entry));
                }
                Origin::Outside => {
                    roles.extend(self.outside_role(name, NamedBy::Source, dropped));
                }
            }
        }
        for binding in bindings {
            let from = NamedBy::Binding(binding.index);
            for role in &binding.roles {
                match role {
                    BindingRole::Literal(role) => roles.push((Arc::clone(role), from)),
                    BindingRole::Template(template) => {
                        for name in self.role_names(template, from)? {
                            roles.extend(self.outside_role(&name, from, dropped));
                        }
                    }
                }
            }
        }
        let mut seen = BTreeSet::new();
        roles.retain(|(role, _)| seen.insert(Arc::as_ptr(role)));
        Ok(roles)
    }

    /// The names that a template gives. Outside data without a usable name gives no role.
    fn role_names(&mut self, template: &Template, from: NamedBy) -> Result<Vec<String>, Denial> {
        match template.fill(self.inputs, Rule::Name) {
            Ok(names) => Ok(names),
            Err(FillError::Unsafe(why)) => {
                self.trace.note(|| Step::Remark { text: format!("{from}.roles: {why}") });
                Ok(Vec::new())
            }
            Err(error) => Err(refused(from, error)),
        }
    }

    fn outside_role(
        &mut self,
        name: &str,
        from: NamedBy,
        dropped: &mut Dropped,
    ) -> Option<(Arc<Role>, NamedBy)> {
        let role = self.policy.roles.get(name).filter(|_| self.rules.ceiling.allows_role(name));
        if role.is_none() {
            dropped.note("role", name);
            let verdict = RoleVerdict::Dropped;
            self.trace.note(|| Step::Role { name: shown(name), from: from.to_string(), verdict });
        }
        role.map(|role| (Arc::clone(role), from))
    }

    /// Takes the role if its conditions hold.
    fn weigh(&mut self, role: &Arc<Role>, from: NamedBy, found: &mut Found) {
        let counts = role.counts(&self.request.connection, self.request.now);
        self.limits.tell_of_role(self.trace, role, counts.is_ok());
        let name = || role.name.to_string();
        let verdict = match counts {
            Err(denial) => {
                let verdict = fails(&denial);
                found.failed.get_or_insert(denial);
                verdict
            }
            Ok(window_end) => {
                self.end_with(role, window_end);
                found.roles.push(Arc::clone(role));
                RoleVerdict::Contributes
            }
        };
        self.trace.note(|| Step::Role { name: name(), from: from.to_string(), verdict });
    }

    fn end_with(&mut self, role: &Role, window_end: Option<UnixTime>) {
        let name = &role.name;
        self.expiry.at(window_end, self.trace, || format!("the window of role `{name}`"));
        self.expiry
            .after(role.expires_after, self.trace, || format!("expires_after of role `{name}`"));
    }
}

fn fails(denial: &Denial) -> RoleVerdict {
    RoleVerdict::Fails { reason: denial.reason.as_str(), detail: denial.detail.clone() }
}
