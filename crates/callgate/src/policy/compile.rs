//! Compiles settings into an immutable [`Policy`], and collects every error and warning.

mod authenticators;
pub(super) mod binding;
pub(super) mod binding_index;
mod bindings;
pub(super) mod ceiling;
mod findings;
mod jetstream;
pub(super) mod reach;
mod reply_subjects;
pub(super) mod role;
mod role_combination;
pub(super) mod roles;
mod wildcards;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

pub use self::findings::{PolicyFault, PolicyWarning};
use self::{
    binding::Bindings,
    ceiling::Ceiling,
    findings::Findings,
    role::Role,
    roles::{check_scope, role},
};
use super::{
    Policy,
    accounts::Accounts,
    settings::{PolicySettings, SessionSettings},
};
use crate::suggest::did_you_mean;

type Roles = BTreeMap<Arc<str>, Arc<Role>>;

/// The compiled table of one authenticator.
#[derive(Debug, Default)]
pub(super) struct AuthenticatorRules {
    pub(super) account: Option<String>,
    pub(super) expires_after: Option<Duration>,
    pub(super) user_prefix: String,
    pub(super) variables: &'static [&'static str],
    pub(super) ceiling: Ceiling,
    /// A role that each of its identities has.
    pub(super) defaults: Option<Arc<Role>>,
}

/// Compiles the settings.
///
/// # Errors
/// All errors, sorted.
pub(super) fn compile(settings: PolicySettings) -> Result<Policy, Vec<PolicyFault>> {
    let uses_jetstream = reach::uses_jetstream(&settings);
    let PolicySettings { roles, bindings, authenticators, accounts, session } = settings;
    let variables = authenticators.iter().flat_map(|one| one.variables.iter().copied()).collect();
    let mut findings = Findings { variables, ..Findings::default() };

    check_session(&session, &mut findings);
    let mut accounts =
        Accounts::from_settings(accounts, |path, message| findings.fault(path, message));
    let roles: Roles = roles
        .into_iter()
        .map(|(name, settings)| {
            let path = format!("roles.{name}");
            let name: Arc<str> = name.into();
            if uses_jetstream {
                reach::warn_about_publishing(&path, &settings, &mut findings);
            }
            let role = role(&path, Arc::clone(&name), settings, &mut findings);
            check_scope(&path, &role, &accounts, &mut findings);
            (name, Arc::new(role))
        })
        .collect();
    let names: Vec<Arc<str>> = authenticators.iter().map(|one| one.name.as_str().into()).collect();
    let authenticators =
        authenticators::compile(authenticators, &roles, &mut accounts, &mut findings);
    let bindings = bindings::compile(bindings, &names, &roles, &mut accounts, &mut findings);
    warn_missing_ceilings(&bindings, &authenticators, &mut findings);
    reply_subjects::warn_about_bindings(&bindings, &authenticators, &mut findings);
    check_literal_accounts(&accounts, &mut findings);

    let Findings { mut faults, mut warnings, .. } = findings;
    faults.sort();
    faults.dedup();
    warnings.sort();
    warnings.dedup();
    if !faults.is_empty() {
        return Err(faults);
    }
    Ok(Policy { roles, bindings, authenticators, accounts, session, warnings })
}

fn check_session(session: &SessionSettings, findings: &mut Findings) {
    if !(0.0..1.0).contains(&session.jitter) {
        findings.fault("session.jitter", "must be at least 0 and less than 1");
    }
    check_duration("session.max_lifetime", session.max_lifetime, findings);
}

fn check_duration(path: &str, duration: Option<Duration>, findings: &mut Findings) {
    if duration.is_some_and(|duration| duration.as_secs() == 0) {
        findings.fault(path, "must be at least \"1s\"");
    }
}

fn check_role_name(path: &str, name: &str, known: &Roles, findings: &mut Findings) {
    if !known.contains_key(name) {
        let hint = did_you_mean(name, known.keys().map(|name| &**name));
        findings.fault(path, format!("unknown role `{name}`{hint}"));
    }
}

/// Checks the accounts that the configuration names literally.
fn check_literal_accounts(accounts: &Accounts, findings: &mut Findings) {
    if accounts.operator_mode {
        for name in accounts.literals.iter().filter(|name| !accounts.knows(name)) {
            let message = format!("`{name}` is used, but not listed: operator mode needs its key");
            findings.fault("accounts", message);
        }
    }
    if accounts.shares_callout_account {
        findings.warn(
            "issuer.insecure_share_callout_account",
            "users may be placed in the callout account, where they can read every password that \
             is not encrypted and refuse every login",
        );
        return;
    }
    if let Some(callout) = &accounts.callout
        && accounts.literals.contains(callout)
    {
        let message =
            format!("`{callout}` is the callout account: a user placed there is always refused");
        let path = match accounts.default_account() == Some(callout) {
            true => "default_account",
            false => "issuer.callout_account",
        };
        findings.warn(path, message);
    }
}

/// Filled templates count as outside data: without a ceiling they have no effect.
fn warn_missing_ceilings(
    bindings: &Bindings,
    authenticators: &BTreeMap<Arc<str>, AuthenticatorRules>,
    findings: &mut Findings,
) {
    for (name, rules) in authenticators {
        for binding in bindings.of(name) {
            let path = format!("bindings[{}]", binding.index);
            if binding.has_template_role() && rules.ceiling.roles.is_empty() {
                let message = format!(
                    "these roles come from outside data, and `{name}` has no ceiling.roles: they \
                     are dropped"
                );
                findings.warn(format!("{path}.roles"), message);
            }
            if binding.has_template_account() && rules.ceiling.accounts.is_empty() {
                let message = format!(
                    "the account comes from outside data, and `{name}` has no ceiling.accounts: \
                     every login is refused"
                );
                findings.warn(format!("{path}.account"), message);
            }
        }
    }
}
