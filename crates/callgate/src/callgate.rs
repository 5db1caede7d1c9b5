//! [`Callgate`]: the callout, ready to handle messages.

use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio::time::{Instant, sleep_until};

use crate::{
    clock::UnixTime,
    keys::Signer,
    open::Message,
    pipeline::{
        Pipeline,
        explain::{Explained, IdentityExplainer},
    },
    reason::Denial,
    reply::Outgoing,
    shared_state::SharedState,
};

mod builder;

pub use builder::{BuildError, CallgateBuilder};

/// Answers authorization requests: bytes in, bytes out.
///
/// Cloning is cheap; all clones are the same callout, also after [`Callgate::replace`].
#[derive(Debug, Clone)]
pub struct Callgate {
    pipeline: Arc<ArcSwap<Pipeline>>,
    state: Arc<SharedState>,
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
    /// Starts building a callout that signs with `signer`: the account nkey configured as
    /// `auth_callout.issuer`, or in operator mode the callout account's key.
    pub fn builder(signer: impl Signer) -> CallgateBuilder {
        CallgateBuilder::new(Arc::new(signer))
    }

    /// Handles one message: its payload, its header [`XKEY_HEADER`](crate::XKEY_HEADER) if present,
    /// and the current time. Needs a tokio runtime with time, but no NATS client.
    ///
    /// In configuration mode no message contains the callout account's name, which `serve` requests
    /// from the server: state it with [`CallgateBuilder::callout_account`], or nothing keeps users out
    /// of that account. If it is not stated, a warning is logged once.
    ///
    /// Records exactly one decision. If the future is dropped, nothing is recorded. A message that is
    /// handled again is dropped (`bad_request`).
    pub async fn handle(&self, payload: &[u8], xkey_header: Option<&str>, now: UnixTime) -> Reply {
        let message = Message { payload, xkey_header, now, arrived: Instant::now() };
        let pipeline = self.pipeline.load_full();
        pipeline.placement.warn_if_callout_account_is_unknown(&pipeline.minter);
        match pipeline.handle(message, None).await {
            Outgoing::Reply { bytes, not_before } => {
                if let Some(moment) = not_before {
                    sleep_until(moment).await;
                }
                Reply::Answer(bytes)
            }
            Outgoing::Nothing => Reply::Silent,
        }
    }

    /// Takes the same steps as [`Callgate::handle`] and explains them, without recording a decision.
    ///
    /// # Errors
    /// Why the request would be dropped.
    pub async fn explain(
        &self,
        payload: &[u8],
        xkey_header: Option<&str>,
        now: UnixTime,
    ) -> Result<Explained, Denial> {
        let message = Message { payload, xkey_header, now, arrived: Instant::now() };
        self.pipeline.load_full().explain(message).await
    }

    /// Prepares explanations for identities that are not authenticated, such as "what may bob do?". The
    /// request describes the connection; its credential is ignored.
    ///
    /// # Errors
    /// Why the request would be dropped or refused before anyone is authenticated.
    pub fn explain_identities(
        &self,
        payload: &[u8],
        xkey_header: Option<&str>,
        now: UnixTime,
    ) -> Result<IdentityExplainer, Denial> {
        let message = Message { payload, xkey_header, now, arrived: Instant::now() };
        IdentityExplainer::new(self.pipeline.load_full(), message)
    }

    /// When a request was issued, by its server's clock. The request may be old.
    ///
    /// # Errors
    /// Why it cannot be decrypted or read.
    pub fn request_time(
        &self,
        payload: &[u8],
        xkey_header: Option<&str>,
    ) -> Result<UnixTime, Denial> {
        let now = UnixTime::from_seconds(0);
        let message = Message { payload, xkey_header, now, arrived: Instant::now() };
        self.pipeline.load().opener.issued_at(message)
    }

    /// Forgets which requests were received, for measurements that repeat them.
    #[doc(hidden)]
    pub fn forget_requests(&self) {
        self.state.seen_requests.clear();
    }

    /// Replaces the configuration atomically: decisions in progress finish with the old one, later
    /// ones use the new one.
    ///
    /// # Errors
    /// As for [`CallgateBuilder::build`]; nothing has changed then.
    pub fn replace(&self, other: CallgateBuilder) -> Result<(), BuildError> {
        let pipeline = other.pipeline(Arc::clone(&self.state))?;
        self.pipeline.store(Arc::new(pipeline));
        Ok(())
    }

    /// The callout account's name, if the current configuration states it.
    pub fn stated_callout_account(&self) -> Option<String> {
        self.pipeline.load().placement.stated_callout_account.clone()
    }

    /// Sets the callout account as a server reported it: no user is placed there.
    pub fn learn_callout_account(&self, name: &str) {
        self.state.callout_account.store(Some(Arc::new(name.to_owned())));
    }

    #[cfg(feature = "nats")]
    pub(crate) fn set_max_in_flight(&self, max: u32) {
        self.state.max_in_flight.store(max);
    }

    #[cfg(feature = "nats")]
    pub(crate) fn pipeline(&self) -> Arc<Pipeline> {
        self.pipeline.load_full()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tracing::{Event, Level, Metadata, Subscriber, span};

    use super::*;
    use crate::{Refusal, keys::AccountSigner};

    /// Counts the warnings of this thread. No other test of this crate may reach the warning in
    /// question: tracing caches whether a call site is enabled when a thread first reaches it.
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

    /// How often a callout with this configuration warns when it handles two messages.
    async fn warnings(configure: impl FnOnce(CallgateBuilder) -> CallgateBuilder) -> usize {
        let warnings = Warnings::default();
        let _here = tracing::subscriber::set_default(warnings.clone());
        let builder = Callgate::builder(AccountSigner::generate().unwrap())
            .authorize(|_| async { Err(Refusal::deny("no client is known")) });
        let callout = configure(builder).build().unwrap();
        for _ in 0..2 {
            assert_eq!(callout.handle(b"", None, UnixTime::from_seconds(0)).await, Reply::Silent);
        }
        warnings.0.load(Ordering::Relaxed)
    }

    #[tokio::test]
    async fn unknown_callout_account_is_warned_about_once() {
        let account = AccountSigner::generate().unwrap().public_key().clone();
        assert_eq!(warnings(|builder| builder).await, 1);
        assert_eq!(warnings(|builder| builder.callout_account("AUTH")).await, 0);
        assert_eq!(warnings(|builder| builder.insecure_share_callout_account()).await, 0);
        assert_eq!(warnings(|builder| builder.operator_mode(account)).await, 0);
    }
}
