//! A gate under test with its issuer, clock and recorded decisions.

use std::{
    future::Future,
    sync::{Arc, Mutex},
};

use callgate::{
    Callgate, CallgateBuilder, Refusal, Reply, User,
    keys::{AccountSigner, CurveKey},
    record::{Decision, Outcome, Reason},
    request::AuthRequest,
    secret::Secret,
};
use callgate_testkit::{ManualClock, Nkey, RequestBuilder, Response, SignedRequest};
use serde_json::Value;

/// The start time of the clock in byte-level tests; it advances only when a test moves it.
pub(crate) const NOW: i64 = 1_700_000_000;

/// A gate and its recorded decisions.
#[derive(Debug)]
pub(crate) struct Bench {
    pub(crate) gate: Callgate,
    pub(crate) issuer: Nkey,
    pub(crate) clock: ManualClock,
    decisions: Arc<Mutex<Vec<Decision>>>,
}

impl Bench {
    /// A gate that admits every request with one credential, unless `configure` changes it.
    pub(crate) fn new(configure: impl FnOnce(CallgateBuilder) -> CallgateBuilder) -> Self {
        Self::of_issuer(Nkey::account(), configure)
    }

    /// As [`Bench::new`], with this issuer.
    pub(crate) fn of_issuer(
        issuer: Nkey,
        configure: impl FnOnce(CallgateBuilder) -> CallgateBuilder,
    ) -> Self {
        let decisions = Arc::<Mutex<Vec<Decision>>>::default();
        let record = Arc::clone(&decisions);
        let builder = Callgate::builder(signer(&issuer))
            .authorize(|_| async { Ok(app_user()) })
            .on_decision(move |decision| record.lock().unwrap().push(decision.clone()));
        let clock = ManualClock::at(NOW);
        Self { gate: configure(builder).build().unwrap(), issuer, clock, decisions }
    }

    /// A gate that decides with this function.
    pub(crate) fn deciding<A>(
        function: impl Fn(Arc<AuthRequest>) -> A + Send + Sync + 'static,
    ) -> Self
    where
        A: Future<Output = Result<User, Refusal>> + Send + 'static,
    {
        Self::new(|builder| builder.authorize(function))
    }

    /// A gate that admits every request as this user.
    pub(crate) fn giving(user: User) -> Self {
        Self::deciding(move |_| std::future::ready(Ok(user.clone())))
    }

    /// A request to this gate, without a credential.
    pub(crate) fn request(&self) -> RequestBuilder {
        RequestBuilder::new(&self.issuer.public(), self.clock.now().seconds())
    }

    /// A request to this gate, with a password.
    pub(crate) fn alice(&self) -> RequestBuilder {
        self.request().password("alice", "secret")
    }

    /// Handles a message at the current time; asserts that there is exactly one decision.
    pub(crate) async fn handle(&self, payload: &[u8], header: Option<&str>) -> (Reply, Decision) {
        let reply = self.gate.handle(payload, header, self.clock.now()).await;
        let mut decisions = self.take_decisions();
        assert_eq!(decisions.len(), 1, "exactly one decision: {decisions:?}");
        let decision = decisions.remove(0);
        match decision.outcome() {
            Outcome::Admitted => assert!(matches!(reply, Reply::Answer(_)), "{decision:?}"),
            Outcome::Refused => assert!(!decision.detail.is_empty(), "{decision:?}"),
            Outcome::Dropped => {
                assert_eq!(reply, Reply::Silent, "{decision:?}");
                assert!(!decision.detail.is_empty(), "{decision:?}");
            }
        }
        (reply, decision)
    }

    pub(crate) fn take_decisions(&self) -> Vec<Decision> {
        std::mem::take(&mut *self.decisions.lock().unwrap())
    }

    /// The answer, checked as a server would.
    pub(crate) async fn answer(&self, request: &SignedRequest) -> (Response, Decision) {
        let (reply, decision) = self.handle(&request.payload, request.xkey_header.as_deref()).await;
        let Reply::Answer(answer) = reply else { panic!("no answer: {decision:?}") };
        let response = request.open_response(&answer);
        match &response {
            Response::Admitted(_) => assert_eq!(decision.outcome(), Outcome::Admitted),
            Response::Refused(text) => {
                assert_eq!(decision.outcome(), Outcome::Refused, "{decision:?}");
                assert_eq!(text, decision.reason.public_text());
            }
        }
        (response, decision)
    }

    /// The claims of the user JWT.
    pub(crate) async fn admitted(&self, request: RequestBuilder) -> Value {
        let (response, decision) = self.answer(&request.build()).await;
        let Response::Admitted(user) = response else { panic!("refused: {decision:?}") };
        assert_eq!(decision.reason, Reason::Admitted);
        assert!(decision.account.is_some(), "{decision:?}");
        user
    }

    /// Asserts an answered refusal with this reason.
    pub(crate) async fn refused(&self, request: RequestBuilder, reason: Reason) -> Decision {
        let (response, decision) = self.answer(&request.build()).await;
        assert_eq!(decision.reason, reason, "{}", decision.detail);
        assert!(matches!(response, Response::Refused(_)), "{response:?}");
        decision
    }

    /// Asserts that the request is dropped for this reason, without an answer.
    pub(crate) async fn dropped(&self, request: RequestBuilder, reason: Reason) -> Decision {
        let request = request.build();
        let (reply, decision) = self.handle(&request.payload, request.xkey_header.as_deref()).await;
        assert_eq!(decision.reason, reason, "{}", decision.detail);
        assert_eq!(reply, Reply::Silent);
        decision
    }
}

/// A user in `APP` that may publish `orders.>`.
pub(crate) fn app_user() -> User {
    User::in_account("APP").publish("orders.>")
}

/// The library's signer for a test kit key.
pub(crate) fn signer(key: &Nkey) -> AccountSigner {
    AccountSigner::from_seed(&Secret::new(key.seed())).unwrap()
}

/// The library's form of a test kit curve key.
pub(crate) fn xkey(key: &callgate_testkit::CurveKey) -> CurveKey {
    CurveKey::from_seed(&Secret::new(key.seed())).unwrap()
}
