//! Compiles the policy keys of `[[authenticators]]`.

use std::{collections::BTreeMap, fmt, str::FromStr, sync::Arc};

use super::{
    AuthenticatorRules, Roles,
    ceiling::{Ceiling, CeilingAccount},
    check_duration, check_role_name,
    findings::Findings,
    role::Role,
    roles::{check_scope, role},
};
use crate::{
    permissions::mqtt_spelling,
    policy::{
        accounts::Accounts,
        settings::{AuthenticatorPolicy, CeilingSettings, Inbox},
    },
    subject::{SubjectError, is_invisible},
    template::{Pattern, Template},
};

pub(super) fn compile(
    settings: Vec<AuthenticatorPolicy>,
    roles: &Roles,
    accounts: &mut Accounts,
    findings: &mut Findings,
) -> BTreeMap<Arc<str>, AuthenticatorRules> {
    let mut all = BTreeMap::new();
    for (index, settings) in settings.into_iter().enumerate() {
        let path = format!("authenticators[{index}]");
        let name: Arc<str> = settings.name.as_str().into();
        let rules = authenticator(&path, settings, roles, accounts, findings);
        if all.insert(Arc::clone(&name), rules).is_some() {
            let message = format!("duplicate name `{name}`: names must be unique");
            findings.fault(format!("{path}.name"), message);
        }
    }
    all
}

fn authenticator(
    path: &str,
    settings: AuthenticatorPolicy,
    roles: &Roles,
    accounts: &mut Accounts,
    findings: &mut Findings,
) -> AuthenticatorRules {
    let AuthenticatorPolicy {
        name,
        kind,
        account,
        expires_after,
        user_prefix,
        variables,
        ceiling,
        defaults,
    } = settings;
    check_duration(&format!("{path}.expires_after"), expires_after, findings);
    if user_prefix.chars().any(|c| c.is_whitespace() || is_invisible(c)) {
        let message = "contains white space or an invisible character";
        findings.fault(format!("{path}.user_prefix"), message);
    }
    accounts.literals.extend(account.clone());
    let ceiling = compile_ceiling(&format!("{path}.ceiling"), ceiling, roles, findings);
    let defaults = defaults.map(|settings| {
        let path = format!("{path}.{kind}.defaults");
        let role = role(&path, format!("{name}.defaults").into(), settings, findings);
        check_scope(&path, &role, accounts, findings);
        warn_shared_inbox(&path, &role, findings);
        Arc::new(role)
    });
    if defaults.is_some() && ceiling.allows_nothing() {
        let message = format!("no ceiling: what {kind} requests for an identity grants nothing");
        findings.warn(format!("{path}.ceiling"), message);
    }
    AuthenticatorRules { account, expires_after, user_prefix, variables, ceiling, defaults }
}

fn compile_ceiling(
    path: &str,
    settings: CeilingSettings,
    known: &Roles,
    findings: &mut Findings,
) -> Ceiling {
    let CeilingSettings { accounts, roles, publish, subscribe, responses } = settings;
    for (index, name) in roles.iter().enumerate() {
        check_role_name(&format!("{path}.roles[{index}]"), name, known, findings);
    }
    let indexed = accounts.iter().enumerate();
    let accounts = indexed.filter_map(|(index, text)| {
        let path = format!("{path}.accounts[{index}]");
        if text.contains("{{") {
            return findings.parse(&path, text, Template::parse).map(CeilingAccount::Template);
        }
        findings.take(path, text.parse()).map(CeilingAccount::Pattern)
    });
    let accounts = accounts.collect();
    Ceiling {
        accounts,
        roles,
        publish: patterns(&format!("{path}.publish"), &publish, RuleKind::Allow, findings),
        subscribe: patterns(&format!("{path}.subscribe"), &subscribe, RuleKind::Allow, findings),
        responses,
    }
}

/// Which list of permissions a subject is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RuleKind {
    Allow,
    Deny,
}

/// Compiles a list of subjects.
pub(super) fn patterns<T>(
    path: &str,
    texts: &[String],
    kind: RuleKind,
    findings: &mut Findings,
) -> Vec<Pattern<T>>
where
    T: FromStr<Err = SubjectError> + Clone + fmt::Display,
{
    let indexed = texts.iter().enumerate();
    indexed
        .filter_map(|(index, text)| {
            let path = format!("{path}[{index}]");
            check_mqtt_spelling(&path, text, kind, findings);
            findings.parse(&path, text, Pattern::parse)
        })
        .collect()
}

/// A deny that matches nothing protects nothing, so it is an error.
pub(super) fn check_mqtt_spelling(path: &str, text: &str, kind: RuleKind, findings: &mut Findings) {
    let Some(problem) = mqtt_spelling(text) else { return };
    let message = format!("`{text}` {problem}");
    match kind {
        RuleKind::Allow => findings.warn(path, message),
        RuleKind::Deny => findings.fault(path, message),
    }
}

fn warn_shared_inbox(path: &str, role: &Role, findings: &mut Findings) {
    let shared = role.subscribe.allow.iter().any(|allow| allow.text() == "_INBOX.>");
    if shared || role.inbox == Inbox::Shared {
        let message = "`_INBOX.>` shows every reply in the account: prefer \
                       `defaults.inbox = \"private\"`";
        findings.warn(path, message);
    }
}
