//! Checks and precompiles what the operator wrote, and collects every fault.

mod responses;
mod roles;
mod wildcards;

use std::{collections::BTreeMap, fmt, str::FromStr, sync::Arc, time::Duration};

use super::{
    AuthenticatorRules, Policy,
    accounts::Accounts,
    binding::{Binding, BindingAccount, BindingRole, Bindings},
    ceiling::{Ceiling, CeilingAccount},
    condition::Expression,
    fault::{Findings, PolicyFault, did_you_mean},
    lint::{Place, self_asserted_warning},
    role::Role,
    scope::RoleCombination,
    settings::{
        AuthenticatorPolicy, AuthenticatorSelector, BindingSettings, CeilingSettings,
        PolicySettings, SessionSettings,
    },
    template::{Pattern, Template},
};
use crate::subject::SubjectError;

use roles::{check_scope, role, warn_shared_inbox};

type Roles = BTreeMap<Arc<str>, Arc<Role>>;

/// Builds a policy, or says everything that is wrong with it.
pub(super) fn build(settings: PolicySettings) -> Result<Policy, Vec<PolicyFault>> {
    let PolicySettings { roles, bindings, authenticators, accounts, session } = settings;
    let mut found = Findings::default();

    check_session(&session, &mut found);
    let mut accounts =
        Accounts::from_settings(accounts, |path, message| found.fault(path, message));
    let roles: Roles = roles
        .into_iter()
        .map(|(name, settings)| {
            let path = format!("roles.{name}");
            let name: Arc<str> = name.into();
            let role = role(&path, Arc::clone(&name), settings, &mut found);
            check_scope(&path, &role, &accounts, &mut found);
            (name, Arc::new(role))
        })
        .collect();
    let names: Vec<Arc<str>> = authenticators.iter().map(|one| one.name.as_str().into()).collect();
    let authenticators = all_authenticators(authenticators, &roles, &mut accounts, &mut found);
    let bindings = all_bindings(bindings, &names, &roles, &mut accounts, &mut found);
    check_outside_bindings(&bindings, &authenticators, &mut found);
    responses::warn_of_bindings(&bindings, &authenticators, &mut found);
    check_literals(&accounts, &mut found);

    let Findings { mut faults, mut warnings } = found;
    faults.sort();
    faults.dedup();
    warnings.sort();
    warnings.dedup();
    if !faults.is_empty() {
        return Err(faults);
    }
    Ok(Policy { roles, bindings, authenticators, accounts, session, warnings })
}

fn check_session(session: &SessionSettings, found: &mut Findings) {
    if !(0.0..1.0).contains(&session.jitter) {
        found.fault("session.jitter", "must be at least 0 and less than 1");
    }
    check_duration("session.max_lifetime", session.max_lifetime, found);
}

fn check_duration(path: &str, duration: Option<Duration>, found: &mut Findings) {
    if duration.is_some_and(|duration| duration.as_secs() == 0) {
        found.fault(path, "must be at least \"1s\"");
    }
}

fn check_literals(accounts: &Accounts, found: &mut Findings) {
    if accounts.operator_mode {
        for name in accounts.literals.iter().filter(|name| !accounts.knows(name)) {
            let message = format!("`{name}` is used, but not listed: operator mode needs its key");
            found.fault("accounts", message);
        }
    }
    if accounts.shares_callout_account {
        found.warn(
            "issuer.insecure_share_callout_account",
            "users may be placed in the callout account, where they can read every password that \
             is not sealed and refuse every login",
        );
        return;
    }
    if let Some(callout) = &accounts.callout
        && accounts.literals.contains(callout)
    {
        let message = format!(
            "`{callout}` is the callout account: nobody is placed there, so who would be is refused"
        );
        let path = match accounts.default_account() == Some(callout) {
            true => "default_account",
            false => "issuer.callout_account",
        };
        found.warn(path, message);
    }
}

/// Notes what is only what the client says.
fn warn_self_asserted(path: &str, names: &[&'static str], found: &mut Findings) {
    names.iter().for_each(|name| found.warn(path, self_asserted_warning(name)));
}

fn pattern<T>(path: &str, text: &str, found: &mut Findings) -> Option<Pattern<T>>
where
    T: FromStr<Err = SubjectError> + Clone + fmt::Display,
{
    let mut fields = Vec::new();
    let parsed = Pattern::parse(text, &mut fields);
    warn_self_asserted(path, &fields, found);
    found.take(path, parsed)
}

fn patterns<T>(path: &str, texts: &[String], found: &mut Findings) -> Vec<Pattern<T>>
where
    T: FromStr<Err = SubjectError> + Clone + fmt::Display,
{
    let indexed = texts.iter().enumerate();
    indexed.filter_map(|(index, text)| pattern(&format!("{path}[{index}]"), text, found)).collect()
}

fn template(path: &str, text: &str, found: &mut Findings) -> Option<Template> {
    let mut fields = Vec::new();
    let parsed = Template::parse(text, &mut fields);
    warn_self_asserted(path, &fields, found);
    found.take(path, parsed)
}

fn all_authenticators(
    settings: Vec<AuthenticatorPolicy>,
    roles: &Roles,
    accounts: &mut Accounts,
    found: &mut Findings,
) -> BTreeMap<Arc<str>, AuthenticatorRules> {
    let mut all = BTreeMap::new();
    for (index, settings) in settings.into_iter().enumerate() {
        let path = format!("authenticators[{index}]");
        let AuthenticatorPolicy { name, account, expires_after, user_prefix, ceiling, defaults } =
            settings;
        check_duration(&format!("{path}.expires_after"), expires_after, found);
        if user_prefix.chars().any(|c| c.is_whitespace() || crate::subject::is_invisible(c)) {
            let message = "contains white space or an invisible character";
            found.fault(format!("{path}.user_prefix"), message);
        }
        accounts.literals.extend(account.clone());
        let ceiling = ceiling_of(&format!("{path}.ceiling"), ceiling, roles, found);
        let defaults = defaults.map(|settings| {
            let path = format!("{path}.kubernetes.defaults");
            let role = role(&path, format!("{name}.defaults").into(), settings, found);
            check_scope(&path, &role, accounts, found);
            warn_shared_inbox(&path, &role, found);
            Arc::new(role)
        });
        if defaults.is_some() && ceiling.allows_nothing() {
            let message = "there is none, so annotations of service accounts grant nothing";
            found.warn(format!("{path}.ceiling"), message);
        }
        let rules = AuthenticatorRules { account, expires_after, user_prefix, ceiling, defaults };
        if all.insert(Arc::from(name.as_str()), rules).is_some() {
            found.fault(
                format!("{path}.name"),
                format!("the name `{name}` is there twice: give each its own"),
            );
        }
    }
    all
}

fn ceiling_of(
    path: &str,
    settings: CeilingSettings,
    known: &Roles,
    found: &mut Findings,
) -> Ceiling {
    let CeilingSettings { accounts, roles, publish, subscribe, responses } = settings;
    for (index, name) in roles.iter().enumerate() {
        check_role_name(&format!("{path}.roles[{index}]"), name, known, found);
    }
    let indexed = accounts.iter().enumerate();
    let accounts = indexed.filter_map(|(index, text)| {
        let path = format!("{path}.accounts[{index}]");
        if text.contains("{{") {
            return template(&path, text, found).map(CeilingAccount::Template);
        }
        found.take(path, text.parse()).map(CeilingAccount::Pattern)
    });
    let accounts = accounts.collect();
    Ceiling {
        accounts,
        roles,
        publish: patterns(&format!("{path}.publish"), &publish, found),
        subscribe: patterns(&format!("{path}.subscribe"), &subscribe, found),
        responses,
    }
}

fn check_role_name(path: &str, name: &str, known: &Roles, found: &mut Findings) {
    if !known.contains_key(name) {
        let hint = did_you_mean(name, known.keys().map(|name| &**name));
        found.fault(path, format!("there is no role `{name}`{hint}"));
    }
}

fn all_bindings(
    settings: Vec<BindingSettings>,
    authenticators: &[Arc<str>],
    roles: &Roles,
    accounts: &mut Accounts,
    found: &mut Findings,
) -> Bindings {
    let mut bindings = Bindings::default();
    for (index, settings) in settings.into_iter().enumerate() {
        let path = format!("bindings[{index}]");
        let selected = selected(&path, &settings.authenticator, authenticators, found);
        let binding = Arc::new(binding(&path, index, settings, roles, accounts, found));
        warn_of_scopes(&path, &binding, accounts, found);
        bindings.add(binding, selected);
    }
    bindings
}

fn warn_of_scopes(path: &str, binding: &Binding, accounts: &Accounts, found: &mut Findings) {
    let account = match &binding.account {
        Some(BindingAccount::Literal(account)) => Some(account.as_str()),
        Some(BindingAccount::Template(_)) | None => None,
    };
    let roles = binding.roles.iter().filter_map(BindingRole::literal).collect();
    for mistake in (RoleCombination { roles, account, user: None, own: None }).mistakes(accounts) {
        found.warn(path, mistake);
    }
}

/// The authenticators that a binding is for.
fn selected(
    path: &str,
    selector: &AuthenticatorSelector,
    known: &[Arc<str>],
    found: &mut Findings,
) -> Vec<Arc<str>> {
    let path = format!("{path}.authenticator");
    let names = match selector {
        AuthenticatorSelector::Every => return known.to_vec(),
        AuthenticatorSelector::Only if known.len() > 1 => {
            let message = format!(
                "required, since there is more than one: {} (or \"*\" for all)",
                known.join(", ")
            );
            found.fault(path, message);
            return Vec::new();
        }
        AuthenticatorSelector::Only => return known.to_vec(),
        AuthenticatorSelector::Named(names) => names,
    };
    if names.is_empty() {
        found.fault(path, "an empty list is for nobody");
        return Vec::new();
    }
    let mut selected: Vec<Arc<str>> = Vec::new();
    for name in names {
        match known.iter().find(|known| ***known == **name) {
            Some(name) if selected.contains(name) => {}
            Some(name) => selected.push(Arc::clone(name)),
            None => {
                let hint = did_you_mean(name, known.iter().map(|name| &**name));
                found.fault(path.clone(), format!("there is no authenticator `{name}`{hint}"));
            }
        }
    }
    selected
}

fn binding(
    path: &str,
    index: usize,
    settings: BindingSettings,
    roles: &Roles,
    accounts: &mut Accounts,
    found: &mut Findings,
) -> Binding {
    let BindingSettings { authenticator, when, account, roles: names, otherwise, expires_after } =
        settings;
    check_duration(&format!("{path}.expires_after"), expires_after, found);
    if names.is_empty() && account.is_none() && expires_after.is_none() {
        found.warn(path, "gives neither a role nor an account");
    }
    let when = when.and_then(|text| {
        let path = format!("{path}.when");
        let compiled = found.take(&path, Expression::compile(&text, Place::Condition))?;
        warn_self_asserted(&path, &compiled.self_asserted, found);
        Some(compiled.expression)
    });
    let indexed = names.iter().enumerate();
    let binding_roles = indexed.filter_map(|(index, name)| {
        let path = format!("{path}.roles[{index}]");
        if name.contains("{{") {
            return template(&path, name, found).map(BindingRole::Template);
        }
        check_role_name(&path, name, roles, found);
        roles.get(name.as_str()).map(|role| BindingRole::Literal(Arc::clone(role)))
    });
    let binding_roles = binding_roles.collect();
    Binding {
        index,
        every: authenticator == AuthenticatorSelector::Every,
        when,
        account: account.and_then(|text| binding_account(path, text, accounts, found)),
        roles: binding_roles,
        otherwise,
        expires_after,
    }
}

fn binding_account(
    path: &str,
    text: String,
    accounts: &mut Accounts,
    found: &mut Findings,
) -> Option<BindingAccount> {
    let path = format!("{path}.account");
    if text.contains("{{") {
        return template(&path, &text, found).map(BindingAccount::Template);
    }
    if text.is_empty() {
        found.fault(path, "an account's name is empty");
        return None;
    }
    accounts.literals.push(text.clone());
    Some(BindingAccount::Literal(text))
}

/// Templates are outside data: without a ceiling nothing comes of them.
fn check_outside_bindings(
    bindings: &Bindings,
    authenticators: &BTreeMap<Arc<str>, AuthenticatorRules>,
    found: &mut Findings,
) {
    for (name, rules) in authenticators {
        for binding in bindings.of(name) {
            let path = format!("bindings[{}]", binding.index);
            let outside_role =
                binding.roles.iter().any(|role| matches!(role, BindingRole::Template(_)));
            if outside_role && rules.ceiling.roles.is_empty() {
                let message = format!(
                    "its roles come from outside, and `{name}` has no ceiling.roles: they are \
                     dropped"
                );
                found.warn(format!("{path}.roles"), message);
            }
            let outside_account = matches!(binding.account, Some(BindingAccount::Template(_)));
            if outside_account && rules.ceiling.accounts.is_empty() {
                let message = format!(
                    "the account comes from outside, and `{name}` has no ceiling.accounts: \
                     everybody is refused"
                );
                found.warn(format!("{path}.account"), message);
            }
        }
    }
}
