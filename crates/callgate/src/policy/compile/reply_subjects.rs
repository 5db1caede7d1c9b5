//! Warns where `responses` is not a boundary: a client that may publish to what it may subscribe to
//! can send itself a message, and so choose the reply subject that nats-server opens.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::{AuthenticatorRules, binding::Bindings, findings::Findings, role::Role};
use crate::{
    policy::settings::Inbox,
    subject::SubjectPattern,
    template::{FirstToken, Pattern},
};

/// Warns about a single role.
pub(super) fn warn_about_role(path: &str, role: &Role, findings: &mut Findings) {
    if overlapping(&[role]).is_some() {
        let message = "the role may publish to subjects that it may subscribe to, so a client can \
                       choose the reply subject that opens: `responses` is not a boundary";
        findings.warn(format!("{path}.responses"), message);
    }
}

/// Warns about roles that apply together: those of one binding, of bindings without a condition,
/// and the defaults.
pub(super) fn warn_about_bindings(
    bindings: &Bindings,
    authenticators: &BTreeMap<Arc<str>, AuthenticatorRules>,
    findings: &mut Findings,
) {
    for (name, rules) in authenticators {
        let bindings = bindings.of(name);
        let unconditional = bindings.iter().filter(|one| one.when.is_none() && !one.otherwise);
        let mut common: Vec<&Role> = unconditional.flat_map(|one| one.literal_roles()).collect();
        common.extend(rules.defaults.as_deref());
        for binding in bindings.iter().filter(|binding| !binding.roles.is_empty()) {
            let mut roles: Vec<&Role> = binding.literal_roles().collect();
            roles.extend(&common);
            if roles.iter().all(|role| role.responses.is_none()) {
                continue;
            }
            let mut seen = BTreeSet::new();
            roles.retain(|role| seen.insert(std::ptr::from_ref(*role)));
            warn_about_union(binding.index, &roles, findings);
        }
    }
}

/// Roles that overlap on their own have a warning of their own.
fn warn_about_union(index: usize, roles: &[&Role], findings: &mut Findings) {
    if roles.len() < 2 || roles.iter().any(|role| overlapping(&[role]).is_some()) {
        return;
    }
    let Some((publisher, subscriber)) = overlapping(roles) else { return };
    let message = format!(
        "together, the roles may publish (`{}`) to subjects that they may subscribe to (`{}`), so a \
         client can choose the reply subject that opens: `responses` is not a boundary",
        publisher.name, subscriber.name
    );
    findings.warn(format!("bindings[{index}].roles"), message);
}

/// A role that may publish and one that may subscribe to it, if any of `roles` has `responses`.
fn overlapping<'a>(roles: &[&'a Role]) -> Option<(&'a Role, &'a Role)> {
    if roles.iter().all(|role| role.responses.is_none()) {
        return None;
    }
    let inbox = roles.iter().map(|role| role.inbox).max().unwrap_or_default();
    roles.iter().find_map(|subscriber| {
        let inbox = if subscriber.inbox == inbox { inbox } else { Inbox::None };
        let publisher = roles.iter().find(|publisher| reaches(publisher, subscriber, inbox));
        publisher.map(|publisher| (*publisher, *subscriber))
    })
}

fn reaches(publisher: &Role, subscriber: &Role, inbox: Inbox) -> bool {
    publisher.publish.allow.iter().any(|pattern| {
        let Some(published) = pattern.widest() else { return false };
        let mut subscribed = subscriber.subscribe.allow.iter().filter_map(Pattern::widest);
        reaches_inbox(pattern, &published, inbox)
            || subscribed.any(|other| other.subject().overlaps(&published))
    })
}

/// A private inbox is `_INBOX_…` with the user in it; the pattern may reach that of some user.
fn reaches_inbox(pattern: &Pattern<SubjectPattern>, widest: &SubjectPattern, inbox: Inbox) -> bool {
    let begins = match (inbox, pattern.first_token()) {
        (Inbox::None, _) => false,
        (Inbox::Private | Inbox::Shared, FirstToken::Whole("*" | ">")) => true,
        (Inbox::Shared, FirstToken::Whole(token)) => token == "_INBOX",
        (Inbox::Shared, FirstToken::Prefix(_)) => false,
        (Inbox::Private, FirstToken::Whole(token)) => token.starts_with("_INBOX_"),
        // A value cannot begin a reserved token (`resolve/fill.rs`), but the literal prefix can.
        (Inbox::Private, FirstToken::Prefix(prefix)) => prefix.starts_with("_INBOX"),
    };
    begins && (widest.as_str() == ">" || widest.tokens().count() > 1)
}
