//! Builds the service from a configuration; the only module that knows all parts.

use std::sync::Arc;

use callgate::{
    AccountKeys, Callgate, CallgateBuilder,
    authn::Chain,
    keys::{CurvePublicKey, Signer},
};

use crate::{
    config::{Config, IssuerSettings},
    nats::NatsSettings,
    operations::Operations,
    revocation::Basis,
    system::AccountNames,
};

/// A configuration turned into a gate that can be built or can replace the current one.
#[derive(Debug)]
pub(crate) struct Assembled {
    pub(crate) builder: CallgateBuilder,
    pub(crate) chain: Chain,
    pub(crate) nats: NatsSettings,
    pub(crate) keys: PublicKeys,
    pub(crate) accounts: AccountNames,
    pub(crate) basis: Basis,
}

/// The public keys that nats-server must be configured with.
#[derive(Debug, Clone)]
pub(crate) struct PublicKeys {
    /// The `sub` of every request.
    pub(crate) subject: callgate::keys::AccountKey,
    /// Public keys of `issuer.xkeys`, newest first.
    pub(crate) xkeys: Vec<CurvePublicKey>,
    pub(crate) operator_mode: bool,
}

/// Assembles a gate; that of a running service logs, counts and confirms its decisions.
pub(crate) fn assemble(config: Config, operations: Option<&Operations>) -> Assembled {
    let Config {
        nats,
        issuer,
        policy,
        chain,
        refusal,
        admission,
        revocation,
        shadow,
        files,
        expected,
        ..
    } = config;
    let basis = Basis {
        chain: chain.clone(),
        policy: Arc::clone(&policy),
        settings: revocation,
        files: files.into(),
    };
    let keys = PublicKeys {
        subject: issuer.account.clone().unwrap_or_else(|| issuer.signer.public_key().clone()),
        xkeys: issuer.xkeys.iter().map(|key| key.public_key().clone()).collect(),
        operator_mode: issuer.account.is_some(),
    };
    let accounts = issuer.accounts.iter();
    let accounts = accounts.map(|account| (account.name.clone(), account.id.to_string()));
    let accounts = AccountNames::new(accounts);
    let mut builder =
        with_issuer(issuer).refusals(refusal).chain(chain.clone(), Arc::clone(&policy));
    builder = builder.trusted_proxies(admission.trusted_proxies);
    if let Some(operations) = operations {
        let observers = Arc::clone(&operations.observers);
        for account in expected.keys() {
            observers.metrics.register_expected_account(account);
        }
        observers.expected.replace(expected);
        let used_claims = policy.used_claims();
        observers.audit.policy_claims(used_claims.clone());
        for link in chain.links() {
            observers.metrics.register_authenticator(&link.name);
        }
        builder = operations.hooks().into_iter().fold(builder, CallgateBuilder::admission_hook);
        operations.shadow.configure(shadow, used_claims);
        let shadow = operations.shadow.clone();
        builder = builder.on_decision(move |decision| {
            observers.log.write(decision);
            observers.metrics.record(decision);
            let unexpected = observers.expected.unexpected(decision);
            if let Some(account) = unexpected {
                observers.metrics.count_unexpected_source(account, decision.outcome());
            }
            let record = observers.audit.decision(decision, unexpected.is_some());
            shadow.decision(decision, record);
        });
    }
    Assembled { builder, chain, nats, keys, accounts, basis }
}

fn with_issuer(issuer: IssuerSettings) -> CallgateBuilder {
    let IssuerSettings {
        signer,
        xkeys,
        allow_plaintext,
        share_callout_account,
        callout_account,
        account,
        accounts,
    } = issuer;
    let mut builder = Callgate::builder(signer);
    for xkey in xkeys {
        builder = builder.xkey(xkey);
    }
    if allow_plaintext {
        builder = builder.insecure_allow_plaintext();
    }
    if share_callout_account {
        builder = builder.insecure_share_callout_account();
    }
    if let Some(name) = callout_account {
        builder = builder.callout_account(name);
    }
    if let Some(account) = account {
        builder = builder.operator_mode(account);
        for account in accounts {
            let scoped = account.scoped.into_iter();
            let keys = AccountKeys {
                id: account.id,
                signer: Arc::new(account.signer),
                scoped: scoped
                    .map(|(name, key)| (name, Arc::new(key) as Arc<dyn Signer>))
                    .collect(),
            };
            builder = builder.account(account.name, keys);
        }
    }
    builder
}
