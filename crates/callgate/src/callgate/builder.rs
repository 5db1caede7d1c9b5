//! Builds a [`Callgate`].

use std::{collections::BTreeMap, fmt, future::Future, sync::Arc};

use arc_swap::ArcSwap;
use ipnet::IpNet;

use super::Callgate;
use crate::{
    authn::Chain,
    decide::{ChainDecider, Decider, FunctionDecider, Refusal, User},
    hooks::{AdmissionHook, Hooks},
    keys::{AccountKey, CurveKey, Signer},
    observers::Observers,
    open::{Mode, Opener},
    pipeline::Pipeline,
    placement::Placement,
    policy::Policy,
    record::Decision,
    refusal::{RefusalStyle, Refusals},
    reply::{AccountKeys, ConfigurationMinter, Minter, OperatorMinter},
    request::AuthRequest,
    shared_state::SharedState,
};

/// Why a callout cannot be built.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BuildError {
    /// Neither `authorize` nor `chain` was called.
    #[error("nothing decides about requests: call `authorize` with a function, or `chain`")]
    NoDecider,
    /// `account` was called without `operator_mode`.
    #[error("`account` needs `operator_mode`: in configuration mode accounts are plain names")]
    AccountsWithoutOperatorMode,
}

enum Deciding {
    Function(Box<dyn Decider>),
    Chain(Chain, Arc<Policy>),
}

/// Collects the configuration of a [`Callgate`].
pub struct CallgateBuilder {
    signer: Arc<dyn Signer>,
    operator_account: Option<AccountKey>,
    accounts: BTreeMap<String, AccountKeys>,
    xkeys: Vec<CurveKey>,
    allow_plaintext: bool,
    deciding: Option<Deciding>,
    refusals: RefusalStyle,
    callout_account: Option<String>,
    share_callout_account: bool,
    trusted_proxies: Arc<[IpNet]>,
    hooks: Hooks,
    observers: Observers,
}

impl CallgateBuilder {
    pub(super) fn new(signer: Arc<dyn Signer>) -> Self {
        Self {
            signer,
            operator_account: None,
            accounts: BTreeMap::new(),
            xkeys: Vec::new(),
            allow_plaintext: false,
            deciding: None,
            refusals: RefusalStyle::default(),
            callout_account: None,
            share_callout_account: false,
            trusted_proxies: Arc::default(),
            hooks: Hooks::default(),
            observers: Observers::default(),
        }
    }

    /// Also opens requests that are sealed for this key. With any key, unencrypted requests are
    /// dropped.
    #[must_use]
    pub fn xkey(mut self, key: CurveKey) -> Self {
        self.xkeys.push(key);
        self
    }

    /// Answers unencrypted requests although there is an xkey: only for a transition.
    #[must_use]
    pub fn insecure_allow_plaintext(mut self) -> Self {
        self.allow_plaintext = true;
        self
    }

    /// Operator mode: the signer is the key of `callout_account` or one of its signing keys.
    #[must_use]
    pub fn operator_mode(mut self, callout_account: AccountKey) -> Self {
        self.operator_account = Some(callout_account);
        self
    }

    /// An account that users may be placed in (operator mode).
    #[must_use]
    pub fn account(mut self, name: impl Into<String>, keys: AccountKeys) -> Self {
        self.accounts.insert(name.into(), keys);
        self
    }

    /// Decides with your own function. It is only called for clients that sent exactly one
    /// credential; if it panics or is late, the client is refused.
    #[must_use]
    pub fn authorize<F, A>(mut self, function: F) -> Self
    where
        F: Fn(Arc<AuthRequest>) -> A + Send + Sync + 'static,
        A: Future<Output = Result<User, Refusal>> + Send + 'static,
    {
        self.deciding = Some(Deciding::Function(Box::new(FunctionDecider(function))));
        self
    }

    /// Decides with authenticators, tried in order, and a policy, like the service `callgate`.
    #[must_use]
    pub fn chain(mut self, chain: Chain, policy: Arc<Policy>) -> Self {
        self.deciding = Some(Deciding::Chain(chain, policy));
        self
    }

    /// How refusals are delivered.
    #[must_use]
    pub fn refusals(mut self, style: RefusalStyle) -> Self {
        self.refusals = style;
        self
    }

    /// States the callout account's name, so that no user is placed there even before a server has
    /// reported it. With [`Callgate::handle`] no server reports it, so it must be stated.
    #[must_use]
    pub fn callout_account(mut self, name: impl Into<String>) -> Self {
        self.callout_account = Some(name.into());
        self
    }

    /// Allows users in the callout account, where they can read every password that is not encrypted
    /// and refuse every login: for set-ups with a single account.
    #[must_use]
    pub fn insecure_share_callout_account(mut self) -> Self {
        self.share_callout_account = true;
        self
    }

    /// Addresses that many users share, such as a load balancer's. Clients from there compete for
    /// capacity by user name, all others by IPv4 address or IPv6 /64.
    #[must_use]
    pub fn trusted_proxies(mut self, networks: impl IntoIterator<Item = IpNet>) -> Self {
        self.trusted_proxies = networks.into_iter().collect();
        self
    }

    /// Called with each decision, on the thread that made it: it must be quick.
    #[must_use]
    pub fn on_decision(mut self, observer: impl Fn(&Decision) + Send + Sync + 'static) -> Self {
        self.observers.0.push(Arc::new(observer));
        self
    }

    /// Calls this hook for each admission, after the hooks that were added before.
    #[must_use]
    pub fn admission_hook(mut self, hook: Arc<dyn AdmissionHook>) -> Self {
        self.hooks.0.push(hook);
        self
    }

    /// Builds the callout.
    ///
    /// # Errors
    /// If nothing decides, or accounts are given without operator mode.
    pub fn build(self) -> Result<Callgate, BuildError> {
        let state = Arc::<SharedState>::default();
        let pipeline = Arc::new(ArcSwap::from_pointee(self.pipeline(Arc::clone(&state))?));
        Ok(Callgate { pipeline, state })
    }

    pub(super) fn pipeline(self, state: Arc<SharedState>) -> Result<Pipeline, BuildError> {
        let (minter, mode) = match self.operator_account {
            Some(callout_account) => {
                let minter = OperatorMinter {
                    callout_account,
                    issuer: self.signer,
                    accounts: self.accounts,
                };
                (Minter::Operator(minter), Mode::Operator)
            }
            None if self.accounts.is_empty() => {
                let minter = ConfigurationMinter { issuer: self.signer };
                (Minter::Configuration(minter), Mode::Configuration)
            }
            None => return Err(BuildError::AccountsWithoutOperatorMode),
        };
        let takes_anonymous = match &self.deciding {
            Some(Deciding::Chain(chain, _)) => chain.takes_anonymous(),
            Some(Deciding::Function(_)) | None => false,
        };
        let decider: Box<dyn Decider> = match self.deciding.ok_or(BuildError::NoDecider)? {
            Deciding::Function(function) => function,
            Deciding::Chain(chain, policy) => Box::new(ChainDecider {
                chain,
                policy,
                state: Arc::clone(&state),
                trusted_proxies: Arc::clone(&self.trusted_proxies),
            }),
        };
        let subject = minter.request_subject().clone();
        Ok(Pipeline {
            opener: Opener::new(
                subject,
                mode,
                self.xkeys,
                self.allow_plaintext,
                takes_anonymous,
                Arc::clone(&state),
            ),
            decider,
            placement: Placement {
                stated_callout_account: self.callout_account,
                share_callout_account: self.share_callout_account,
                state: Arc::clone(&state),
            },
            minter,
            refusals: Refusals { style: self.refusals, state },
            trusted_proxies: self.trusted_proxies,
            hooks: self.hooks,
            observers: self.observers,
        })
    }
}

impl fmt::Debug for CallgateBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CallgateBuilder").field("signer", &self.signer).finish_non_exhaustive()
    }
}
