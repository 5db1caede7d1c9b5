//! Callouts as the service builds them, without a configuration file.

use std::{path::Path, sync::Arc, time::Duration};

use callgate::{
    CallgateBuilder,
    authn::{Authenticator, Chain, Link},
    policy::{
        Policy,
        settings::{
            AccountSettings, AuthenticatorPolicy, AuthenticatorSelector, BindingSettings,
            PolicySettings, RoleSettings, SideSettings,
        },
    },
};
use callgate_authenticators::kind::{BuildContext, CacheSettings, Registry, SharedResources};
use callgate_config::{Document, Format, Report, Sources, Table};

use crate::Failure;

/// The name of the one authenticator.
pub(crate) const AUTHENTICATOR: &str = "bench";
/// The account of every user.
pub(crate) const ACCOUNT: &str = "APP";
/// The issuer of bearer tokens.
pub(crate) const ISSUER: &str = "https://issuer.test";

/// An entry of `[[authenticators]]`, whose files are in `folder`.
pub(crate) fn with_authenticator(
    builder: CallgateBuilder,
    toml: &str,
    folder: &Path,
    policy: PolicySettings,
) -> Result<CallgateBuilder, Failure> {
    let link = Link {
        name: AUTHENTICATOR.into(),
        authenticator: authenticator(toml, folder, CacheSettings::default())?,
        timeout: Duration::from_secs(1),
        required: true,
    };
    let policy = Policy::build(policy).map_err(|faults| format!("{faults:?}"))?;
    Ok(builder.chain(Chain::new(vec![link]), Arc::new(policy)))
}

/// The authenticator of such an entry.
pub(crate) fn authenticator(
    toml: &str,
    folder: &Path,
    cache: CacheSettings,
) -> Result<Arc<dyn Authenticator>, Failure> {
    let sources = Sources::new(folder);
    let document = Document::parse(toml.as_bytes(), Format::Toml)?;
    let (report, shared) = (Report::new(), Arc::new(SharedResources::default()));
    let mut context = BuildContext::new(AUTHENTICATOR, sources.clone(), shared);
    context.services.cache = cache;
    let mut entry = Table::root(&document, "authenticators[0]", &report, &sources);
    let registry = Registry::builtin();
    let built = registry.kind_of(&mut entry).and_then(|(kind, table)| kind.build(&context, table));
    built.ok_or_else(|| format!("{:?}", report.faults()).into())
}

/// Every user gets the role `service`.
pub(crate) fn one_role() -> PolicySettings {
    let side = |subjects: &[&str]| SideSettings {
        allow: subjects.iter().map(|subject| (*subject).to_owned()).collect(),
        deny: Vec::new(),
    };
    let role = RoleSettings {
        publish: side(&["orders.>"]),
        subscribe: side(&["orders.>"]),
        ..RoleSettings::default()
    };
    let mut settings = PolicySettings::default();
    settings.authenticators.push(AuthenticatorPolicy {
        name: AUTHENTICATOR.to_owned(),
        account: Some(ACCOUNT.to_owned()),
        ..AuthenticatorPolicy::default()
    });
    settings.accounts.accounts.push(AccountSettings::named(ACCOUNT));
    settings.roles.insert("service".to_owned(), role);
    settings.bindings.push(binding(None, "service"));
    settings
}

/// A binding of the one authenticator.
pub(crate) fn binding(when: Option<String>, role: &str) -> BindingSettings {
    BindingSettings {
        authenticator: AuthenticatorSelector::Every,
        when,
        roles: vec![role.to_owned()],
        ..BindingSettings::default()
    }
}
