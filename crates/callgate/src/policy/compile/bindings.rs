//! Compiles `[[bindings]]`.

use std::sync::Arc;

use super::{
    Roles,
    binding::{Binding, BindingAccount, BindingRole, Bindings},
    check_duration, check_role_name,
    findings::Findings,
    role_combination::RoleCombination,
};
use crate::{
    policy::{
        accounts::Accounts,
        settings::{AuthenticatorSelector, BindingSettings},
    },
    suggest::did_you_mean,
    template::{Template, check::ExpressionKind, expression::Expression},
};

pub(super) fn compile(
    settings: Vec<BindingSettings>,
    authenticators: &[Arc<str>],
    roles: &Roles,
    accounts: &mut Accounts,
    findings: &mut Findings,
) -> Bindings {
    let mut bindings = Bindings::for_authenticators(authenticators);
    for (index, settings) in settings.into_iter().enumerate() {
        let path = format!("bindings[{index}]");
        let selected = selected(&path, &settings.authenticator, authenticators, findings);
        let binding = Arc::new(binding(&path, index, settings, roles, accounts, findings));
        warn_always_refused(&path, &binding, accounts, findings);
        match selected {
            Selected::Every => bindings.add_for_every(binding),
            Selected::Named(names) => bindings.add(binding, names),
        }
    }
    bindings.index()
}

/// The authenticators to which a binding applies.
enum Selected {
    Every,
    Named(Vec<Arc<str>>),
}

fn warn_always_refused(
    path: &str,
    binding: &Binding,
    accounts: &Accounts,
    findings: &mut Findings,
) {
    let account = match &binding.account {
        Some(BindingAccount::Literal(account)) => Some(account.as_str()),
        Some(BindingAccount::Template(_)) | None => None,
    };
    let roles = binding.literal_roles().collect();
    let combination = RoleCombination { roles, account, user: None, permissions: None };
    for mistake in combination.mistakes(accounts) {
        findings.warn(path, mistake);
    }
}

fn selected(
    path: &str,
    selector: &AuthenticatorSelector,
    known: &[Arc<str>],
    findings: &mut Findings,
) -> Selected {
    let path = format!("{path}.authenticator");
    let names = match selector {
        AuthenticatorSelector::Every => return Selected::Every,
        AuthenticatorSelector::Only if known.len() > 1 => {
            let message = format!(
                "required, because there is more than one authenticator: {} (or \"*\" for all)",
                known.join(", ")
            );
            findings.fault(path, message);
            return Selected::Named(Vec::new());
        }
        AuthenticatorSelector::Only => return Selected::Named(known.to_vec()),
        AuthenticatorSelector::Named(names) => names,
    };
    if names.is_empty() {
        findings.fault(path, "an empty list matches no identity: name at least one");
        return Selected::Named(Vec::new());
    }
    let mut selected: Vec<Arc<str>> = Vec::new();
    for name in names {
        match known.iter().find(|known| ***known == **name) {
            Some(name) if selected.contains(name) => {}
            Some(name) => selected.push(Arc::clone(name)),
            None => {
                let hint = did_you_mean(name, known.iter().map(|name| &**name));
                findings.fault(path.clone(), format!("unknown authenticator `{name}`{hint}"));
            }
        }
    }
    Selected::Named(selected)
}

fn binding(
    path: &str,
    index: usize,
    settings: BindingSettings,
    roles: &Roles,
    accounts: &mut Accounts,
    findings: &mut Findings,
) -> Binding {
    let BindingSettings { authenticator, when, account, roles: names, otherwise, expires_after } =
        settings;
    check_duration(&format!("{path}.expires_after"), expires_after, findings);
    if names.is_empty() && account.is_none() && expires_after.is_none() {
        findings.warn(path, "gives neither a role nor an account");
    }
    Binding {
        index,
        every: authenticator == AuthenticatorSelector::Every,
        when: when.and_then(|text| condition(path, &text, findings)),
        account: account.and_then(|text| binding_account(path, text, accounts, findings)),
        roles: binding_roles(path, &names, roles, findings),
        otherwise,
        expires_after,
    }
}

fn condition(path: &str, text: &str, findings: &mut Findings) -> Option<Expression> {
    let path = format!("{path}.when");
    let compiled = Expression::compile(text, ExpressionKind::Condition, &findings.variables);
    let compiled = findings.take(&path, compiled)?;
    findings.warn_self_asserted(&path, &compiled.self_asserted);
    Some(compiled.expression)
}

fn binding_roles(
    path: &str,
    names: &[String],
    roles: &Roles,
    findings: &mut Findings,
) -> Vec<BindingRole> {
    let indexed = names.iter().enumerate();
    let compiled = indexed.filter_map(|(index, name)| {
        let path = format!("{path}.roles[{index}]");
        if name.contains("{{") {
            return findings.parse(&path, name, Template::parse).map(BindingRole::Template);
        }
        check_role_name(&path, name, roles, findings);
        roles.get(name.as_str()).map(|role| BindingRole::Literal(Arc::clone(role)))
    });
    compiled.collect()
}

fn binding_account(
    path: &str,
    text: String,
    accounts: &mut Accounts,
    findings: &mut Findings,
) -> Option<BindingAccount> {
    let path = format!("{path}.account");
    if text.contains("{{") {
        return findings.parse(&path, &text, Template::parse).map(BindingAccount::Template);
    }
    if text.is_empty() {
        findings.fault(path, "must not be empty");
        return None;
    }
    accounts.literals.insert(text.clone());
    Some(BindingAccount::Literal(text))
}
