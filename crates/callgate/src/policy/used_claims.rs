//! What a policy uses of an identity's claims and of a connection. Only this is needed to resolve an identity again.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::{
    Policy,
    compile::{
        AuthenticatorRules,
        binding::{Binding, BindingAccount, BindingRole},
        ceiling::{Ceiling, CeilingAccount},
        role::Role,
    },
};
use crate::{
    permissions::PermissionTemplates,
    template::{Part, Pattern, PatternRules, Template, check::UsedClaims, expression::Expression},
};

/// The names of claims that a policy, or the templates of an entry, use.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ClaimNames(UsedClaims);

impl ClaimNames {
    /// These names.
    pub fn named(names: impl IntoIterator<Item = String>) -> Self {
        Self(UsedClaims::Named(names.into_iter().collect()))
    }

    /// The names, sorted; `None` if it may be any claim.
    pub fn names(&self) -> Option<Vec<&str>> {
        match &self.0 {
            UsedClaims::None => Some(Vec::new()),
            UsedClaims::Named(names) => Some(names.iter().map(String::as_str).collect()),
            UsedClaims::All => None,
        }
    }

    /// Adds the claims that these templates use.
    pub fn add_templates(&mut self, templates: &PermissionTemplates) {
        let mut add = |expression: &Expression| self.0.add(expression.used_claims.clone());
        visit_rules(&templates.publish, &mut add);
        visit_rules(&templates.subscribe, &mut add);
    }

    /// The claims of these names.
    pub fn select(&self, claims: &Map<String, Value>) -> Map<String, Value> {
        let named = |names: &BTreeSet<String>| {
            let present = names.iter().filter_map(|name| claims.get_key_value(name));
            present.map(|(name, value)| (name.clone(), value.clone())).collect()
        };
        match &self.0 {
            UsedClaims::None => Map::new(),
            UsedClaims::Named(names) => named(names),
            UsedClaims::All => claims.clone(),
        }
    }

    /// True if each name is also one of `other`.
    pub fn is_within(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            (UsedClaims::None, _) | (_, UsedClaims::All) => true,
            (UsedClaims::Named(names), UsedClaims::Named(known)) => names.is_subset(known),
            (UsedClaims::Named(names), UsedClaims::None) => names.is_empty(),
            (UsedClaims::All, UsedClaims::None | UsedClaims::Named(_)) => false,
        }
    }
}

impl Policy {
    /// The claims that bindings, roles, ceilings and accounts of this policy use.
    pub fn used_claims(&self) -> ClaimNames {
        let mut used = UsedClaims::None;
        self.each_expression(&mut |expression| used.add(expression.used_claims.clone()));
        ClaimNames(used)
    }

    /// What bindings, roles, ceilings and accounts of this policy read of a connection, such as `client.name` or
    /// `server.tags`. The keys `source`, `connection_types` and `times` of roles are not part of it.
    pub fn used_connection_fields(&self) -> BTreeSet<String> {
        let mut used = BTreeSet::new();
        self.each_expression(&mut |expression| {
            let fields = expression.connection_fields.iter();
            used.extend(fields.map(|(variable, field)| format!("{variable}.{field}")));
        });
        used
    }

    fn each_expression(&self, visit: Visit<'_>) {
        self.roles.values().for_each(|role| visit_role(role, visit));
        self.bindings.all().for_each(|binding| visit_binding(binding, visit));
        self.authenticators.values().for_each(|rules| visit_authenticator(rules, visit));
    }

    /// The template variables that identities of this authenticator bring.
    pub fn variables(&self, authenticator: &str) -> &'static [&'static str] {
        self.authenticators.get(authenticator).map_or(&[], |rules| rules.variables)
    }
}

/// Receives every expression of a policy.
type Visit<'v> = &'v mut dyn FnMut(&Expression);

fn visit_role(role: &Role, visit: Visit<'_>) {
    let Role { publish, subscribe, tags, .. } = role;
    visit_rules(publish, visit);
    visit_rules(subscribe, visit);
    tags.iter().for_each(|tag| visit_template(tag, visit));
}

fn visit_binding(binding: &Binding, visit: Visit<'_>) {
    let Binding { when, account, roles, .. } = binding;
    when.iter().for_each(&mut *visit);
    if let Some(BindingAccount::Template(template)) = account {
        visit_template(template, visit);
    }
    for role in roles {
        match role {
            BindingRole::Template(template) => visit_template(template, visit),
            BindingRole::Literal(_) => {}
        }
    }
}

fn visit_authenticator(rules: &AuthenticatorRules, visit: Visit<'_>) {
    let Ceiling { accounts, publish, subscribe, .. } = &rules.ceiling;
    for account in accounts {
        match account {
            CeilingAccount::Template(template) => visit_template(template, visit),
            CeilingAccount::Pattern(_) => {}
        }
    }
    publish.iter().for_each(|pattern| visit_pattern(pattern, visit));
    subscribe.iter().for_each(|pattern| visit_pattern(pattern, visit));
    rules.defaults.iter().for_each(|role| visit_role(role, visit));
}

fn visit_rules<T>(rules: &PatternRules<T>, visit: Visit<'_>) {
    let all = rules.allow.iter().chain(&rules.deny);
    all.for_each(|pattern| visit_pattern(pattern, visit));
}

fn visit_pattern<T>(pattern: &Pattern<T>, visit: Visit<'_>) {
    match pattern {
        Pattern::Literal(_) => {}
        Pattern::Template(template) => visit_template(template, visit),
    }
}

fn visit_template(template: &Template, visit: Visit<'_>) {
    for part in &template.parts {
        match part {
            Part::Text(_) => {}
            Part::Placeholder(placeholder) => visit(&placeholder.expression),
        }
    }
}
