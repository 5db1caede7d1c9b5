//! The roles and permissions of an identity: assigned, allowed by the ceiling, and with conditions
//! that hold.

use std::{collections::BTreeSet, sync::Arc};

use super::{
    Entitlements, NamedBy, Resolver,
    ceiling::{DropRecorder, Missing},
    conditions::check_connection_type,
    fill::{FillError, ValueRule},
    fill_denial,
    trace::{RoleVerdict, Step, Trace},
};
use crate::{
    authn::{Origin, Proposal},
    connection::ConnectionKinds,
    policy::{
        compile::{
            binding::{Binding, BindingRole},
            role::Role,
        },
        grant::CeilingDrops,
    },
    reason::{Denial, Reason},
    sanitize::excerpt,
    template::Template,
};

impl<T: Trace> Resolver<'_, '_, '_, T> {
    /// All roles and permissions that apply.
    pub(super) fn entitlements(
        &mut self,
        bindings: &[Arc<Binding>],
        dropped: &mut CeilingDrops,
    ) -> Result<Entitlements, Denial> {
        let mut entitlements = Entitlements::default();
        self.add_own_permissions(&mut entitlements, dropped)?;
        let roles = self.assigned_roles(bindings, dropped)?;
        let Proposal { origin, roles: own_roles, permissions, unrestricted_if_alone, .. } =
            self.proposal();
        let alone =
            roles.is_empty() && bindings.is_empty() && own_roles.is_none() && permissions.is_none();
        if alone && *unrestricted_if_alone && *origin == Origin::Operator {
            let kinds = self.entry_connection_types();
            check_connection_type(kinds, &self.request.connection, self.inputs.user)?;
            self.trace.record(|| Step::Unrestricted);
            return Ok(Entitlements { unrestricted: true, ..entitlements });
        }
        for (role, from) in roles {
            self.add_role(&role, from, &mut entitlements);
        }
        if entitlements.roles.is_empty() && entitlements.own.is_none() {
            return Err(entitlements.failed.unwrap_or_else(|| self.nothing(bindings, dropped)));
        }
        Ok(entitlements)
    }

    fn nothing(&self, bindings: &[Arc<Binding>], dropped: &CeilingDrops) -> Denial {
        let why = match bindings.is_empty() {
            true => "no binding matches, and the identity has no roles or permissions of its own",
            false => {
                "the matching bindings give no role, and the identity has no permissions of its own"
            }
        };
        let beyond_ceiling = match dropped.count() {
            0 => String::new(),
            count => format!("; the ceiling dropped {count}"),
        };
        let user = excerpt(self.inputs.user);
        let notes = &self.request.identity.notes;
        let notes: String = notes.iter().map(|note| format!("; {note}")).collect();
        Denial::new(Reason::NoBinding, format!("`{user}`: {why}{beyond_ceiling}{notes}"))
    }

    /// The connection types that an entry allows without a role. Leaf nodes need the operator's
    /// permission.
    fn entry_connection_types(&mut self) -> ConnectionKinds {
        match (self.proposal().origin, self.proposal().connection_types) {
            (Origin::Operator, Some(kinds)) => kinds,
            (Origin::Outside, _) | (Origin::Operator, None) => {
                let kinds = ConnectionKinds::default();
                let value = || kinds.to_string();
                let from = || "the default".to_owned();
                self.limits.record(self.trace, "connection_types", value, from);
                kinds
            }
        }
    }

    fn add_own_permissions(
        &mut self,
        entitlements: &mut Entitlements,
        dropped: &mut CeilingDrops,
    ) -> Result<(), Denial> {
        let request = self.request;
        let Some(requested) = &request.identity.proposal.permissions else { return Ok(()) };
        let (permissions, nothing_left) = match request.identity.proposal.origin {
            Origin::Operator => (requested.clone(), false),
            Origin::Outside => {
                let recorder = DropRecorder { drops: dropped, trace: &mut *self.trace };
                let clipped = self.rules.ceiling.clip(requested, self.inputs, recorder);
                let clipped = clipped.map_err(|error| {
                    Denial::new(Reason::PolicyError, format!("the ceiling: {error}"))
                })?;
                (clipped.permissions, clipped.nothing_left)
            }
        };
        let kinds = self.entry_connection_types();
        let verdict = match check_connection_type(kinds, &request.connection, self.inputs.user) {
            Err(denial) => entitlements.fail(denial),
            Ok(()) if nothing_left => RoleVerdict::Dropped,
            Ok(()) => {
                entitlements.own = Some(permissions);
                RoleVerdict::Contributes
            }
        };
        self.trace.record(|| Step::OwnPermissions { verdict });
        Ok(())
    }

    /// Every assigned role, once, with what assigns it.
    fn assigned_roles(
        &mut self,
        bindings: &[Arc<Binding>],
        dropped: &mut CeilingDrops,
    ) -> Result<Vec<(Arc<Role>, NamedBy)>, Denial> {
        let mut roles: Vec<(Arc<Role>, NamedBy)> = Vec::new();
        if let Some(defaults) = &self.rules.defaults {
            roles.push((Arc::clone(defaults), NamedBy::Defaults));
        }
        let policy = self.policy;
        let proposal = &self.request.identity.proposal;
        for name in proposal.roles.iter().flatten() {
            match proposal.origin {
                Origin::Operator => {
                    let Some(role) = policy.roles.get(name.as_str()) else {
                        let detail = format!("unknown role `{}`", excerpt(name));
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

    /// The role names from a template. Outside data without a usable name gives no role.
    fn role_names(&mut self, template: &Template, from: NamedBy) -> Result<Vec<String>, Denial> {
        match template.fill(self.inputs, ValueRule::Name) {
            Ok(names) => Ok(names),
            Err(FillError::Unsafe(why)) => {
                self.trace.record(|| Step::Remark { text: format!("{from}.roles: {why}") });
                Ok(Vec::new())
            }
            Err(error) => Err(fill_denial(from, error)),
        }
    }

    /// A role that outside data names, if it exists and the ceiling allows it.
    fn outside_role(
        &mut self,
        name: &str,
        from: NamedBy,
        dropped: &mut CeilingDrops,
    ) -> Option<(Arc<Role>, NamedBy)> {
        let defined = self.policy.roles.get(name);
        let role = defined.filter(|_| self.rules.ceiling.allows_role(name));
        if role.is_none() {
            let mut recorder = DropRecorder { drops: dropped, trace: &mut *self.trace };
            recorder.add("role", name, || match defined {
                Some(_) => Missing {
                    key: "ceiling.roles",
                    entry: Some(name.to_owned()),
                    because: "the ceiling does not list it",
                },
                None => Missing { key: "roles", entry: None, because: "there is no such role" },
            });
            let verdict = RoleVerdict::Dropped;
            self.trace.record(|| Step::Role {
                name: excerpt(name),
                from: from.to_string(),
                verdict,
            });
        }
        role.map(|role| (Arc::clone(role), from))
    }

    /// Adds the role if its conditions hold.
    fn add_role(&mut self, role: &Arc<Role>, from: NamedBy, entitlements: &mut Entitlements) {
        let checked = role.check_conditions(&self.request.connection, self.request.now);
        self.limits.record_role(self.trace, role, checked.is_ok());
        let name = &role.name;
        let verdict = match checked {
            Err(denial) => entitlements.fail(denial),
            Ok(window_end) => {
                self.expiry
                    .at(window_end, self.trace, || format!("the time window of role `{name}`"));
                self.expiry.after(role.expires_after, self.trace, || {
                    format!("expires_after of role `{name}`")
                });
                entitlements.roles.push(Arc::clone(role));
                RoleVerdict::Contributes
            }
        };
        self.trace.record(|| Step::Role {
            name: name.to_string(),
            from: from.to_string(),
            verdict,
        });
    }
}

impl Entitlements {
    /// Keeps the first failed condition: it is the denial if nothing else applies.
    fn fail(&mut self, denial: Denial) -> RoleVerdict {
        let reason = denial.reason.as_str();
        let detail = denial.detail.clone();
        self.failed.get_or_insert(denial);
        RoleVerdict::Fails { reason, detail }
    }
}
