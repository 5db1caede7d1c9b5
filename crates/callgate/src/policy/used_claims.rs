//! Which claims a policy uses. Only these are needed to resolve an identity again.

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
    template::{Part, Pattern, PatternRules, Template, check::UsedClaims},
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
        add_rules(&templates.publish, &mut self.0);
        add_rules(&templates.subscribe, &mut self.0);
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
        self.roles.values().for_each(|role| add_role(role, &mut used));
        self.bindings.all().for_each(|binding| add_binding(binding, &mut used));
        self.authenticators.values().for_each(|rules| add_authenticator(rules, &mut used));
        ClaimNames(used)
    }

    /// The template variables that identities of this authenticator bring.
    pub fn variables(&self, authenticator: &str) -> &'static [&'static str] {
        self.authenticators.get(authenticator).map_or(&[], |rules| rules.variables)
    }
}

fn add_role(role: &Role, used: &mut UsedClaims) {
    let Role { publish, subscribe, tags, .. } = role;
    add_rules(publish, used);
    add_rules(subscribe, used);
    tags.iter().for_each(|tag| add_template(tag, used));
}

fn add_binding(binding: &Binding, used: &mut UsedClaims) {
    let Binding { when, account, roles, .. } = binding;
    when.iter().for_each(|when| used.add(when.used_claims.clone()));
    if let Some(BindingAccount::Template(template)) = account {
        add_template(template, used);
    }
    for role in roles {
        match role {
            BindingRole::Template(template) => add_template(template, used),
            BindingRole::Literal(_) => {}
        }
    }
}

fn add_authenticator(rules: &AuthenticatorRules, used: &mut UsedClaims) {
    let Ceiling { accounts, publish, subscribe, .. } = &rules.ceiling;
    for account in accounts {
        match account {
            CeilingAccount::Template(template) => add_template(template, used),
            CeilingAccount::Pattern(_) => {}
        }
    }
    publish.iter().for_each(|pattern| add_pattern(pattern, used));
    subscribe.iter().for_each(|pattern| add_pattern(pattern, used));
    rules.defaults.iter().for_each(|role| add_role(role, used));
}

fn add_rules<T>(rules: &PatternRules<T>, used: &mut UsedClaims) {
    let all = rules.allow.iter().chain(&rules.deny);
    all.for_each(|pattern| add_pattern(pattern, used));
}

fn add_pattern<T>(pattern: &Pattern<T>, used: &mut UsedClaims) {
    match pattern {
        Pattern::Literal(_) => {}
        Pattern::Template(template) => add_template(template, used),
    }
}

fn add_template(template: &Template, used: &mut UsedClaims) {
    for part in &template.parts {
        match part {
            Part::Text(_) => {}
            Part::Placeholder(placeholder) => used.add(placeholder.expression.used_claims.clone()),
        }
    }
}
