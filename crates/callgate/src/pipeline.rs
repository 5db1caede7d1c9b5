//! The security argument on one screen: open, decide, check, mint, seal; and exactly one record.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwapOption;
use futures_util::future::BoxFuture;
use ipnet::IpNet;
use tokio::time::{Instant, timeout_at};

use crate::{
    admission::fair_limiter::{Place, Shares},
    admission::queues::{Crowd, MostAtOnce},
    authn::SourceKey,
    clock::UnixTime,
    decide::chain::ChainExplanation,
    open::{Dropped, Message, Opened, Opener, deadline},
    panics::{guarded, guarded_future},
    policy::Grant,
    record::{CeilingDropped, Decision, Denial, Outcome, Reason, Stages},
    reply::minter::{Minter, Recipient},
    reply::response::{Addressee, Answer},
    request::AuthRequest,
};

/// Decides about an opened request: a function of somebody's own, or chain and policy.
pub(crate) trait Decide: fmt::Debug + Send + Sync + 'static {
    fn decide(&self, request: Arc<AuthRequest>) -> BoxFuture<'_, Verdict>;

    /// Whether it never holds up its thread for long, so that others may wait for it to return.
    #[cfg_attr(not(feature = "nats"), expect(dead_code, reason = "only the responder asks"))]
    fn in_turn(&self) -> bool {
        false
    }

    /// The same, and how it came about, where that is known.
    fn explain(
        &self,
        request: Arc<AuthRequest>,
    ) -> BoxFuture<'_, (Verdict, Option<ChainExplanation>)> {
        Box::pin(async move { (self.decide(request).await, None) })
    }
}

/// What was decided, before the last checks.
#[derive(Debug)]
pub(crate) struct Verdict {
    pub(crate) authenticator: Option<Arc<str>>,
    pub(crate) user: Option<String>,
    /// How long the authenticator took that gave the final answer.
    pub(crate) took: Duration,
    pub(crate) grant: Result<Grant, Denial>,
    /// Not to be answered at all.
    pub(crate) silent: bool,
}

impl Verdict {
    pub(crate) fn refused(denial: Denial) -> Self {
        let (authenticator, user, took) = (None, None, Duration::ZERO);
        Self { authenticator, user, took, grant: Err(denial), silent: false }
    }
}

/// How refusals are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RefusalStyle {
    /// `Some(n)`: wrong credentials are not answered, at most `n` at once.
    pub silent_max: Option<usize>,
    /// Refusals go out this long after the request arrived, or at the server's deadline if that is
    /// earlier: nobody would read them later.
    pub delay: Duration,
}

impl Default for RefusalStyle {
    fn default() -> Self {
        Self { silent_max: None, delay: Duration::ZERO }
    }
}

/// A decision that was taken apart.
#[derive(Debug)]
pub struct Explained {
    /// The request, unless the client showed no usable credential.
    pub request: Option<Arc<AuthRequest>>,
    /// Who was asked and what policy did, where chain and policy decide.
    pub steps: Option<ChainExplanation>,
    /// What the client gets, or why it is refused.
    pub result: Result<Grant, Denial>,
}

/// Who is told of each decision.
pub(crate) type Observer = Arc<dyn Fn(&Decision) + Send + Sync>;

/// What outlives a change of configuration.
#[derive(Debug, Default)]
pub(crate) struct Learned {
    /// The callout account, as a server told us when we connected.
    pub(crate) callout_account: ArcSwapOption<String>,
    /// How many requests the responder works on at once.
    pub(crate) most_at_once: MostAtOnce,
    withheld: AtomicUsize,
    /// That nobody told the callout account is said once.
    warned: AtomicBool,
}

pub(crate) struct Pipeline {
    pub(crate) opener: Opener,
    pub(crate) decide: Box<dyn Decide>,
    pub(crate) minter: Minter,
    pub(crate) style: RefusalStyle,
    pub(crate) stated_callout_account: Option<String>,
    pub(crate) share_callout_account: bool,
    pub(crate) trusted_proxies: Arc<[IpNet]>,
    pub(crate) observers: Vec<Observer>,
    pub(crate) learned: Arc<Learned>,
}

/// What becomes of a message.
#[derive(Debug)]
pub(crate) enum Handled {
    /// To be sent, not before the given moment.
    Answer { bytes: Vec<u8>, not_before: Option<Instant> },
    /// Nothing is sent.
    Silent,
}

/// Places for requests that are worked on, shared between their sources.
#[derive(Debug, Default)]
pub(crate) struct Slots {
    pub(crate) most: u32,
    pub(crate) taken: Arc<Shares<SourceKey>>,
}

/// A request's place, until it is dropped.
type Slot = Place<SourceKey>;

impl Pipeline {
    /// Takes one message from its bytes to its answer and records exactly one decision, also if
    /// somebody's code panics on the way.
    pub(crate) async fn handle(&self, message: Message<'_>) -> Handled {
        self.handle_among(message, None).await
    }

    /// The same, if its source finds a place among `slots`; else it is refused at once. The place
    /// is held while it is decided.
    pub(crate) async fn handle_among(
        &self,
        message: Message<'_>,
        slots: Option<&Slots>,
    ) -> Handled {
        let work = guarded_future("working on it", self.work_on(message, slots));
        let (handled, decision) = work.await.unwrap_or_else(|denial| lost(denial, message.arrived));
        self.record(&decision);
        handled
    }

    async fn work_on(&self, message: Message<'_>, slots: Option<&Slots>) -> (Handled, Decision) {
        let opened = match self.opener.open(message) {
            Ok(opened) => opened,
            Err(dropped) => return (Handled::Silent, dropped_decision(dropped, message.arrived)),
        };
        let opened_at = Instant::now();
        let (case, request) = Case::split(opened);
        let verdict = self.decide(request, slots).await;
        let decided_at = Instant::now();
        let (handled, mut decision) = self.answer(&case, verdict, message);
        decision.ids = Some(case.ids);
        decision.stages = Stages {
            open: opened_at - message.arrived,
            decide: decided_at - opened_at,
            answer: decided_at.elapsed(),
        };
        decision.duration = message.arrived.elapsed();
        (handled, decision)
    }

    /// Records a message that is not even opened, because that would be too late.
    #[cfg(feature = "nats")]
    pub(crate) fn pass_over(&self, arrived: Instant) {
        let detail = "too many messages wait to be opened: the server would have given up";
        let denial = Denial::new(Reason::DeadlinePassed, detail);
        let dropped = Dropped { denial, ids: None, clock_skew: None };
        self.record(&dropped_decision(dropped, arrived));
    }

    /// Goes the same way as [`Pipeline::handle`], sends and records nothing, and tells everything.
    pub(crate) async fn explain(&self, message: Message<'_>) -> Result<Explained, Denial> {
        let opened = self.opener.open(message).map_err(|dropped| dropped.denial)?;
        let (case, request) = Case::split(opened);
        let request = match request {
            Ok(request) => request,
            Err(denial) => {
                return Ok(Explained { request: None, steps: None, result: Err(denial) });
            }
        };
        let work = guarded_future("the decision", self.decide.explain(Arc::clone(&request)));
        let (verdict, steps) = work.await.unwrap_or_else(|denial| (Verdict::refused(denial), None));
        let admitted = verdict.grant.and_then(|grant| self.admit(&case, grant, message.now));
        Ok(Explained { request: Some(request), steps, result: admitted.map(|(_, grant)| grant) })
    }

    async fn decide(
        &self,
        request: Result<Arc<AuthRequest>, Denial>,
        slots: Option<&Slots>,
    ) -> Verdict {
        let request = match request {
            Ok(request) => request,
            Err(denial) => return Verdict::refused(denial),
        };
        // Not longer: an answer that waits for the socket is no load that a place could bound.
        let _slot = match slots.map(|slots| self.slot(slots, &request)).transpose() {
            Ok(slot) => slot,
            Err(denial) => return Verdict::refused(denial),
        };
        let deadline = request.deadline();
        // The timeout is inside: dropping what was late may panic, too.
        let work = guarded_future("the decision", async {
            timeout_at(deadline, async { self.decide.decide(Arc::clone(&request)).await }).await
        });
        match work.await {
            Ok(Ok(verdict)) => verdict,
            Ok(Err(_elapsed)) => Verdict::refused(Denial::new(
                Reason::BackendUnavailable,
                "no decision before the server's deadline",
            )),
            Err(panicked) => Verdict::refused(panicked),
        }
    }

    fn slot(&self, slots: &Slots, request: &AuthRequest) -> Result<Slot, Denial> {
        let trusted_proxies = Arc::clone(&self.trusted_proxies);
        let source = Crowd { most: slots.most, trusted_proxies }.source_of(request);
        slots.taken.take(&source, slots.most).ok_or_else(|| {
            let detail =
                "more requests of this source are in flight than its share of `max_in_flight`";
            Denial::new(Reason::Overloaded, detail)
        })
    }

    fn answer(&self, case: &Case, verdict: Verdict, message: Message<'_>) -> (Handled, Decision) {
        let Verdict { authenticator, user, took, grant, silent } = verdict;
        let mut decision = case.decision(message.arrived);
        decision.authenticator = authenticator;
        decision.authenticator_took = took;
        decision.user =
            user.or_else(|| (!case.claimed_user.is_empty()).then(|| case.claimed_user.clone()));
        // An empty name would leave the one that the client typed.
        let admitted = grant.and_then(|grant| self.admit(case, grant, message.now));
        if Instant::now() > case.given_up {
            return too_late(decision);
        }
        let handled = match &admitted {
            Ok((jwt, grant)) => {
                decision.ceiling_dropped = CeilingDropped {
                    count: grant.ceiling_dropped(),
                    texts: grant.ceiling_dropped_texts().to_vec(),
                };
                decision.account = Some(grant.account().to_owned());
                decision.user = Some(grant.user().to_owned());
                decision.expires_at = grant.expires_at();
                decision.detail = self.minter.signed_by(grant).unwrap_or_default();
                self.seal(case, &Answer::User(jwt), message.now, None)
            }
            Err(denial) => {
                decision.reason = denial.reason;
                decision.detail.clone_from(&denial.detail);
                decision.ceiling_dropped.clone_from(&denial.ceiling_dropped);
                self.refuse(case, denial.reason, silent, message)
            }
        };
        match handled {
            // Signing, or a machine that stood still meanwhile, may have taken the rest of the time.
            Ok(_) if Instant::now() > case.given_up => too_late(decision),
            Ok(handled) => (handled, decision),
            Err(denial) => {
                decision.reason = denial.reason;
                decision.detail = denial.detail;
                (Handled::Silent, decision)
            }
        }
    }

    /// The last checks before a user JWT is signed, whoever decided.
    fn admit(&self, case: &Case, grant: Grant, now: UnixTime) -> Result<(String, Grant), Denial> {
        if grant.user().is_empty() {
            return Err(Denial::new(Reason::PolicyError, "the identity has an empty user name"));
        }
        if grant.account().is_empty() {
            return Err(Denial::new(Reason::NoAccount, "the account to be placed in has no name"));
        }
        if !self.share_callout_account && self.is_callout_account(grant.account()) {
            return Err(Denial::new(
                Reason::AccountNotAllowed,
                format!(
                    "`{}` is the callout account: whoever is placed there could read every password",
                    grant.account()
                ),
            ));
        }
        let to =
            Recipient { user: &case.user, id: &case.ids.request, connection: case.ids.connection };
        let jwt = guarded("the signer", || self.minter.user_jwt(&grant, &to, now))?;
        Ok((jwt, grant))
    }

    /// Says so once if there is no telling which account is the callout account.
    pub(crate) fn warn_if_callout_account_is_open(&self) {
        let told = matches!(self.minter, Minter::Operator(_))
            || self.stated_callout_account.is_some()
            || self.learned.callout_account.load().is_some();
        if told || self.share_callout_account || self.learned.warned.swap(true, Ordering::Relaxed) {
            return;
        }
        tracing::warn!(
            "the callout account is not known, and users may be placed in it, where they could read \
             every password: state it with `CallgateBuilder::callout_account`"
        );
    }

    fn is_callout_account(&self, name: &str) -> bool {
        self.stated_callout_account.as_deref() == Some(name)
            || self.learned.callout_account.load().as_ref().is_some_and(|learned| **learned == name)
            || self.minter.is_callout_account(name)
    }

    fn refuse(
        &self,
        case: &Case,
        reason: Reason,
        silent: bool,
        message: Message<'_>,
    ) -> Result<Handled, Denial> {
        if silent || self.withholds(reason, case.given_up) {
            return Ok(Handled::Silent);
        }
        let delay = self.style.delay;
        let not_before = (!delay.is_zero()).then(|| {
            let deadline = deadline(case.given_up);
            message.arrived.checked_add(delay).map_or(deadline, |held| held.min(deadline))
        });
        self.seal(case, &Answer::Error(reason.public_text()), message.now, not_before)
    }

    fn seal(
        &self,
        case: &Case,
        answer: &Answer<'_>,
        now: UnixTime,
        not_before: Option<Instant>,
    ) -> Result<Handled, Denial> {
        let failed = |error: String| Denial::new(Reason::BackendUnavailable, error);
        let to = Addressee { server: &case.server, user: &case.user };
        let token = guarded("the signer", || {
            self.minter.answer(answer, &to, now).map_err(|e| failed(e.to_string()))
        })?;
        let bytes = case.sealer.seal(token).map_err(|e| failed(e.to_string()))?;
        Ok(Handled::Answer { bytes, not_before })
    }

    /// True if this refusal is withheld: the client then waits until its server gives up. Each one
    /// holds a place at the server, so there is a limit, past which refusals are told again.
    fn withholds(&self, reason: Reason, until: Instant) -> bool {
        let guessing =
            matches!(reason, Reason::BadPassword | Reason::UnknownUser | Reason::BadToken);
        let Some(most) = self.style.silent_max.filter(|_| guessing) else { return false };
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return false };
        if self.learned.withheld.fetch_add(1, Ordering::Relaxed) >= most {
            self.learned.withheld.fetch_sub(1, Ordering::Relaxed);
            return false;
        }
        let learned = Arc::clone(&self.learned);
        runtime.spawn(async move {
            tokio::time::sleep_until(until).await;
            learned.withheld.fetch_sub(1, Ordering::Relaxed);
        });
        true
    }

    /// Tells every observer, also after one that panicked: what it does not count, others do.
    fn record(&self, decision: &Decision) {
        for observer in &self.observers {
            let told = guarded("an observer of decisions", || {
                observer(decision);
                Ok(())
            });
            if let Err(denial) = told {
                tracing::error!(reason = %decision.reason, "{}", denial.detail);
            }
        }
    }
}

impl fmt::Debug for Pipeline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pipeline")
            .field("decide", &self.decide)
            .field("minter", &self.minter)
            .field("style", &self.style)
            .finish_non_exhaustive()
    }
}

/// What is needed to answer, apart from the request itself.
struct Case {
    ids: crate::record::RequestIds,
    server: crate::keys::ServerKey,
    user: crate::keys::UserKey,
    sealer: crate::open::Sealer,
    clock_skew: i64,
    given_up: Instant,
    claimed_user: String,
}

impl Case {
    fn split(opened: Opened) -> (Self, Result<Arc<AuthRequest>, Denial>) {
        let Opened { request, ids, server, user, sealer, clock_skew, given_up, claimed_user } =
            opened;
        (Self { ids, server, user, sealer, clock_skew, given_up, claimed_user }, request)
    }

    /// The record to be, without the ids: they are moved there in the end.
    fn decision(&self, arrived: Instant) -> Decision {
        Decision {
            reason: Reason::Admitted,
            detail: String::new(),
            ids: None,
            authenticator: None,
            user: None,
            account: None,
            expires_at: None,
            ceiling_dropped: CeilingDropped::default(),
            authenticator_took: Duration::ZERO,
            duration: arrived.elapsed(),
            stages: Stages::default(),
            clock_skew: Some(self.clock_skew),
        }
    }
}

/// Nobody reads the answer any more; it would only add to the load that made it late.
fn too_late(decision: Decision) -> (Handled, Decision) {
    let decision = Decision {
        reason: Reason::DeadlinePassed,
        detail: "the server has given up waiting".to_owned(),
        account: None,
        expires_at: None,
        ceiling_dropped: CeilingDropped::default(),
        ..decision
    };
    (Handled::Silent, decision)
}

fn dropped_decision(dropped: Dropped, arrived: Instant) -> Decision {
    debug_assert_eq!(dropped.denial.reason.outcome(), Outcome::Dropped);
    silent_decision(dropped, arrived)
}

/// What was lost to a panic where nothing foreign is called: nobody is let in by it.
fn lost(denial: Denial, arrived: Instant) -> (Handled, Decision) {
    (Handled::Silent, silent_decision(denial.into(), arrived))
}

fn silent_decision(dropped: Dropped, arrived: Instant) -> Decision {
    let Dropped { denial, ids, clock_skew } = dropped;
    Decision {
        reason: denial.reason,
        detail: denial.detail,
        ids: ids.map(|ids| *ids),
        authenticator: None,
        user: None,
        account: None,
        expires_at: None,
        ceiling_dropped: CeilingDropped::default(),
        authenticator_took: Duration::ZERO,
        duration: arrived.elapsed(),
        stages: Stages { open: arrived.elapsed(), ..Stages::default() },
        clock_skew,
    }
}
