//! Warns where `responses` is no boundary: who may publish to what it may subscribe to sends itself
//! a message, and chooses the reply subject that the server opens.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use crate::{
    policy::{
        AuthenticatorRules,
        binding::{Binding, BindingRole, Bindings},
        fault::Findings,
        role::Role,
        settings::Inbox,
        template::{Pattern, Start},
    },
    subject::SubjectPattern,
};

/// One role by itself.
pub(super) fn warn_of_role(path: &str, role: &Role, found: &mut Findings) {
    if loophole(&[role]).is_some() {
        let message = "the role may publish to what it may subscribe to, so it can choose the \
                       reply subject that opens: `responses` is no boundary";
        found.warn(format!("{path}.responses"), message);
    }
}

/// Roles that come together: those of a binding, of bindings that always match, and the defaults.
pub(super) fn warn_of_bindings(
    bindings: &Bindings,
    authenticators: &BTreeMap<Arc<str>, AuthenticatorRules>,
    found: &mut Findings,
) {
    for (name, rules) in authenticators {
        let bindings = bindings.of(name);
        let always = bindings.iter().filter(|one| one.when.is_none() && !one.otherwise);
        let mut common: Vec<&Role> = always.flat_map(|one| literal_roles(one)).collect();
        common.extend(rules.defaults.as_deref());
        for binding in bindings {
            let mut roles: Vec<&Role> = literal_roles(binding).collect();
            if binding.roles.is_empty() {
                continue;
            }
            roles.extend(&common);
            let mut seen = BTreeSet::new();
            roles.retain(|role| seen.insert(std::ptr::from_ref(*role)));
            warn_of_union(binding.index, &roles, found);
        }
    }
}

fn literal_roles(binding: &Binding) -> impl Iterator<Item = &Role> {
    binding.roles.iter().filter_map(|role| match role {
        BindingRole::Literal(role) => Some(&**role),
        BindingRole::Template(_) => None,
    })
}

/// What one of the roles does by itself is said there.
fn warn_of_union(index: usize, roles: &[&Role], found: &mut Findings) {
    if roles.len() < 2 || roles.iter().any(|role| loophole(&[role]).is_some()) {
        return;
    }
    let Some((says, hears)) = loophole(roles) else { return };
    let message = format!(
        "together the roles may publish (`{}`) to what they may subscribe to (`{}`), so a client \
         can choose the reply subject that opens: `responses` is no boundary",
        says.name, hears.name
    );
    found.warn(format!("bindings[{index}].roles"), message);
}

/// The role that may publish and the one that may subscribe to it, if `responses` is given at all.
fn loophole<'a>(roles: &[&'a Role]) -> Option<(&'a Role, &'a Role)> {
    if roles.iter().all(|role| role.responses.is_none()) {
        return None;
    }
    let inbox = roles.iter().map(|role| role.inbox).max().unwrap_or_default();
    let of_one = |hears: &'a Role| {
        let inbox = if hears.inbox == inbox { inbox } else { Inbox::None };
        let says = roles.iter().find(|says| reaches(says, hears, inbox));
        says.map(|says| (*says, hears))
    };
    roles.iter().find_map(|hears| of_one(hears))
}

fn reaches(says: &Role, hears: &Role, inbox: Inbox) -> bool {
    says.publish.allow.iter().any(|pattern| {
        let Some(own) = pattern.widest() else { return false };
        let subscribed = || hears.subscribe.allow.iter().filter_map(Pattern::widest);
        reaches_inbox(pattern, &own, inbox)
            || subscribed().any(|other| other.subject().overlaps(&own))
    })
}

/// A private inbox is `_INBOX_…` with the user in it: some user's may be meant.
fn reaches_inbox(pattern: &Pattern<SubjectPattern>, widest: &SubjectPattern, inbox: Inbox) -> bool {
    let begins = match (inbox, pattern.start()) {
        (Inbox::None, _) => false,
        (Inbox::Private | Inbox::Shared, Start::Token("*" | ">")) => true,
        (Inbox::Shared, Start::Token(token)) => token == "_INBOX",
        (Inbox::Shared, Start::Part(_)) => false,
        (Inbox::Private, Start::Token(token)) => token.starts_with("_INBOX_"),
        // A value cannot begin a reserved token (`template.rs`): what stands before it may.
        (Inbox::Private, Start::Part(part)) => part.starts_with("_INBOX"),
    };
    begins && (widest.as_str() == ">" || widest.tokens().count() > 1)
}
