//! [`Callgate`]: the gate itself, and how one is built.

use std::{collections::BTreeMap, fmt, future::Future, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use futures_util::future::BoxFuture;
use ipnet::IpNet;
use tokio::time::Instant;

use crate::{
    authn::Chain,
    clock::UnixTime,
    decide::chain::Stock,
    decide::user::{Refusal, User},
    keys::{AccountKey, CurveKey, Signer},
    open::{Message, Mode, Opener},
    pipeline::{Decide, Explained, Handled, Learned, Observer, Pipeline, RefusalStyle, Verdict},
    policy::Policy,
    record::{Decision, Denial, Reason},
    reply::minter::{AccountKeys, ConfigurationMinter, Minter, OperatorMinter},
    request::{AuthRequest, Credential},
};

/// Answers authorization requests: bytes in, bytes out.
///
/// Cheap to clone; all clones are the same gate, also after [`Callgate::replace`].
#[derive(Debug, Clone)]
pub struct Callgate {
    pipeline: Arc<ArcSwap<Pipeline>>,
    learned: Arc<Learned>,
}

/// What to do with a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// Send these bytes to the message's reply subject.
    Answer(Vec<u8>),
    /// Send nothing.
    Silent,
}

impl Callgate {
    /// Begins a gate that signs with `signer`: the account nkey that nats-server has as
    /// `auth_callout.issuer`, or in operator mode the callout account's key.
    pub fn builder(signer: impl Signer) -> CallgateBuilder {
        CallgateBuilder::new(Arc::new(signer))
    }

    /// Answers one message: its payload, its header [`XKEY_HEADER`](crate::XKEY_HEADER) if it has
    /// one, and the time. Needs a tokio runtime with time, and no NATS client.
    ///
    /// In configuration mode no message tells the callout account's name, which `serve` asks the
    /// server for: state it with [`CallgateBuilder::callout_account`], or nothing keeps users out of
    /// it. Without it a warning is logged, once.
    ///
    /// Records exactly one decision. If the future is dropped, nothing is recorded.
    pub async fn handle(&self, payload: &[u8], xkey_header: Option<&str>, now: UnixTime) -> Reply {
        let message = Message { payload, xkey_header, now, arrived: Instant::now() };
        let pipeline = self.pipeline.load_full();
        pipeline.warn_if_callout_account_is_open();
        match pipeline.handle(message).await {
            Handled::Answer { bytes, not_before } => {
                if let Some(moment) = not_before {
                    tokio::time::sleep_until(moment).await;
                }
                Reply::Answer(bytes)
            }
            Handled::Silent => Reply::Silent,
        }
    }

    /// Goes the same way as [`Callgate::handle`], sends and records nothing, and tells everything.
    ///
    /// # Errors
    /// If the request would be dropped, says why.
    pub async fn explain(
        &self,
        payload: &[u8],
        xkey_header: Option<&str>,
        now: UnixTime,
    ) -> Result<Explained, Denial> {
        let message = Message { payload, xkey_header, now, arrived: Instant::now() };
        self.pipeline.load_full().explain(message).await
    }

    /// When a request was made, by its server's clock. The request may be long past.
    ///
    /// # Errors
    /// If it cannot be decrypted or read, says why.
    pub fn request_time(
        &self,
        payload: &[u8],
        xkey_header: Option<&str>,
    ) -> Result<UnixTime, Denial> {
        let now = UnixTime::from_seconds(0);
        let message = Message { payload, xkey_header, now, arrived: Instant::now() };
        self.pipeline.load().opener.made_at(message)
    }

    /// Takes over everything from `other`, atomically: decisions under way end with what they began
    /// with, later ones use the new.
    ///
    /// # Errors
    /// As for [`CallgateBuilder::build`]; nothing has changed then.
    pub fn replace(&self, other: CallgateBuilder) -> Result<(), BuildError> {
        let pipeline = other.pipeline(Arc::clone(&self.learned))?;
        self.pipeline.store(Arc::new(pipeline));
        Ok(())
    }

    /// The callout account's name, if the configuration in force states it.
    pub fn stated_callout_account(&self) -> Option<String> {
        self.pipeline.load().stated_callout_account.clone()
    }

    /// Tells the gate the callout account, as a server named it: nobody is placed there.
    pub fn learn_callout_account(&self, name: &str) {
        self.learned.callout_account.store(Some(Arc::new(name.to_owned())));
    }

    /// Says how many requests are worked on at once, so that none who waits takes all places.
    #[cfg(feature = "nats")]
    pub(crate) fn learn_most_at_once(&self, most: u32) {
        self.learned.most_at_once.set(most);
    }

    #[cfg(feature = "nats")]
    pub(crate) fn pipeline(&self) -> Arc<Pipeline> {
        self.pipeline.load_full()
    }
}

/// Why a gate cannot be built.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BuildError {
    /// Nobody decides.
    #[error("nobody decides: call `authorize` with a function, or `chain`")]
    NobodyDecides,
    /// `account` was called without `operator_mode`.
    #[error("`account` needs `operator_mode`: in configuration mode accounts are plain names")]
    AccountsWithoutOperatorMode,
}

enum Decider {
    Function(Box<dyn Decide>),
    Stock(Chain, Arc<Policy>),
}

/// Collects what a gate needs.
pub struct CallgateBuilder {
    signer: Arc<dyn Signer>,
    callout_account: Option<AccountKey>,
    accounts: BTreeMap<String, AccountKeys>,
    xkeys: Vec<CurveKey>,
    allow_plaintext: bool,
    decide: Option<Decider>,
    style: RefusalStyle,
    stated_callout_account: Option<String>,
    share_callout_account: bool,
    trusted_proxies: Arc<[IpNet]>,
    observers: Vec<Observer>,
}

impl CallgateBuilder {
    fn new(signer: Arc<dyn Signer>) -> Self {
        Self {
            signer,
            callout_account: None,
            accounts: BTreeMap::new(),
            xkeys: Vec::new(),
            allow_plaintext: false,
            decide: None,
            style: RefusalStyle::default(),
            stated_callout_account: None,
            share_callout_account: false,
            trusted_proxies: Arc::default(),
            observers: Vec::new(),
        }
    }

    /// Opens requests that are sealed for this key, too. With any, requests in clear are dropped.
    #[must_use]
    pub fn xkey(mut self, key: CurveKey) -> Self {
        self.xkeys.push(key);
        self
    }

    /// Answers requests in clear although there is an xkey: for the change-over only.
    #[must_use]
    pub fn insecure_allow_plaintext(mut self) -> Self {
        self.allow_plaintext = true;
        self
    }

    /// Operator mode: the signer is `callout_account`'s key or one of its signing keys.
    #[must_use]
    pub fn operator_mode(mut self, callout_account: AccountKey) -> Self {
        self.callout_account = Some(callout_account);
        self
    }

    /// An account that users may be placed in (operator mode).
    #[must_use]
    pub fn account(mut self, name: impl Into<String>, keys: AccountKeys) -> Self {
        self.accounts.insert(name.into(), keys);
        self
    }

    /// Decides with a function of one's own. It is asked only about clients that sent exactly one
    /// credential; if it panics or is late, the client is refused.
    #[must_use]
    pub fn authorize<F, A>(mut self, function: F) -> Self
    where
        F: Fn(Arc<AuthRequest>) -> A + Send + Sync + 'static,
        A: Future<Output = Result<User, Refusal>> + Send + 'static,
    {
        self.decide = Some(Decider::Function(Box::new(Function(function))));
        self
    }

    /// Decides with authenticators, asked in order, and a policy: as the stock service does.
    #[must_use]
    pub fn chain(mut self, chain: Chain, policy: Arc<Policy>) -> Self {
        self.decide = Some(Decider::Stock(chain, policy));
        self
    }

    /// How refusals are told.
    #[must_use]
    pub fn refusals(mut self, style: RefusalStyle) -> Self {
        self.style = style;
        self
    }

    /// States the callout account's name, so that nobody is placed there even before a server has
    /// told it. With [`Callgate::handle`] no server tells it: there it must be stated.
    #[must_use]
    pub fn callout_account(mut self, name: impl Into<String>) -> Self {
        self.stated_callout_account = Some(name.into());
        self
    }

    /// Lets users be placed in the callout account, where they can read every password that is not
    /// sealed and refuse every login: for set-ups with a single account.
    #[must_use]
    pub fn insecure_share_callout_account(mut self) -> Self {
        self.share_callout_account = true;
        self
    }

    /// Addresses that many users share, such as a load balancer's. Who comes from there competes
    /// for places by user name; everybody else by IPv4 address or IPv6 network of 64 bits.
    #[must_use]
    pub fn trusted_proxies(mut self, networks: impl IntoIterator<Item = IpNet>) -> Self {
        self.trusted_proxies = networks.into_iter().collect();
        self
    }

    /// Is told of each decision, on the thread that made it: it must be quick.
    #[must_use]
    pub fn on_decision(mut self, observer: impl Fn(&Decision) + Send + Sync + 'static) -> Self {
        self.observers.push(Arc::new(observer));
        self
    }

    /// The gate.
    ///
    /// # Errors
    /// If nobody decides, or accounts are given without operator mode.
    pub fn build(self) -> Result<Callgate, BuildError> {
        let learned = Arc::<Learned>::default();
        let pipeline = Arc::new(ArcSwap::from_pointee(self.pipeline(Arc::clone(&learned))?));
        Ok(Callgate { pipeline, learned })
    }

    fn pipeline(self, learned: Arc<Learned>) -> Result<Pipeline, BuildError> {
        let (minter, mode) = match self.callout_account {
            Some(callout_account) => {
                let (issuer, accounts) = (self.signer, self.accounts);
                let minter = OperatorMinter { callout_account, issuer, accounts };
                (Minter::Operator(minter), Mode::Operator)
            }
            None if self.accounts.is_empty() => {
                let minter = ConfigurationMinter { issuer: self.signer };
                (Minter::Configuration(minter), Mode::Configuration)
            }
            None => return Err(BuildError::AccountsWithoutOperatorMode),
        };
        let subject = minter.request_subject().clone();
        Ok(Pipeline {
            opener: Opener::new(subject, mode, self.xkeys, self.allow_plaintext),
            decide: match self.decide.ok_or(BuildError::NobodyDecides)? {
                Decider::Function(function) => function,
                Decider::Stock(chain, policy) => {
                    let trusted_proxies = Arc::clone(&self.trusted_proxies);
                    Box::new(Stock {
                        chain,
                        policy,
                        learned: Arc::clone(&learned),
                        trusted_proxies,
                    })
                }
            },
            minter,
            style: self.style,
            stated_callout_account: self.stated_callout_account,
            share_callout_account: self.share_callout_account,
            trusted_proxies: self.trusted_proxies,
            observers: self.observers,
            learned,
        })
    }
}

impl fmt::Debug for CallgateBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CallgateBuilder").field("signer", &self.signer).finish_non_exhaustive()
    }
}

struct Function<F>(F);

impl<F> fmt::Debug for Function<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Function")
    }
}

impl<F, A> Decide for Function<F>
where
    F: Fn(Arc<AuthRequest>) -> A + Send + Sync + 'static,
    A: Future<Output = Result<User, Refusal>> + Send + 'static,
{
    fn decide(&self, request: Arc<AuthRequest>) -> BoxFuture<'_, Verdict> {
        Box::pin(async move {
            let answer = (self.0)(Arc::clone(&request)).await;
            verdict(answer, &request)
        })
    }
}

fn verdict(answer: Result<User, Refusal>, request: &AuthRequest) -> Verdict {
    let refused = |reason, detail| Verdict::refused(Denial::new(reason, detail));
    match answer {
        Ok(user) => Verdict {
            authenticator: None,
            user: None,
            took: Duration::ZERO,
            grant: user.into_grant(request),
            silent: false,
        },
        Err(Refusal::Deny(why)) => refused(reason_for(request.credential()), why),
        Err(Refusal::Unavailable(why)) => refused(Reason::BackendUnavailable, why),
        Err(Refusal::Silent(why)) => {
            Verdict { silent: true, ..refused(reason_for(request.credential()), why) }
        }
    }
}

fn reason_for(credential: &Credential) -> Reason {
    match credential {
        Credential::Password { .. } => Reason::BadPassword,
        Credential::Token(_) => Reason::BadToken,
        Credential::Nkey(_) => Reason::BadSignature,
        Credential::Certificate => Reason::NoBinding,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tracing::{Event, Level, Metadata, Subscriber, span};

    use super::*;
    use crate::keys::AccountSigner;

    /// Counts the warnings of this thread. No other test of this crate reaches the one in question:
    /// whether a line of code is listened to is asked once, in the thread that comes first.
    #[derive(Debug, Clone, Default)]
    struct Warnings(Arc<AtomicUsize>);

    impl Subscriber for Warnings {
        fn enabled(&self, metadata: &Metadata<'_>) -> bool {
            *metadata.level() == Level::WARN
        }

        fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
            span::Id::from_u64(1)
        }

        fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

        fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

        fn event(&self, _: &Event<'_>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }

        fn enter(&self, _: &span::Id) {}

        fn exit(&self, _: &span::Id) {}
    }

    /// How often a gate warns that is built so and asked twice.
    async fn warnings(configure: impl FnOnce(CallgateBuilder) -> CallgateBuilder) -> usize {
        let warnings = Warnings::default();
        let _here = tracing::subscriber::set_default(warnings.clone());
        let builder = Callgate::builder(AccountSigner::generate().unwrap())
            .authorize(|_| async { Err(Refusal::deny("nobody is known here")) });
        let gate = configure(builder).build().unwrap();
        for _ in 0..2 {
            assert_eq!(gate.handle(b"", None, UnixTime::from_seconds(0)).await, Reply::Silent);
        }
        warnings.0.load(Ordering::Relaxed)
    }

    #[tokio::test]
    async fn bytes_in_and_out_warn_once_if_nobody_told_the_callout_account() {
        let account = AccountSigner::generate().unwrap().public_key().clone();
        assert_eq!(warnings(|builder| builder).await, 1);
        assert_eq!(warnings(|builder| builder.callout_account("AUTH")).await, 0);
        assert_eq!(warnings(|builder| builder.insecure_share_callout_account()).await, 0);
        assert_eq!(warnings(|builder| builder.operator_mode(account)).await, 0);
    }
}
