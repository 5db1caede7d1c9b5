//! A service decides: the question that it is asked, and the answer that it gives.
//!
//! `http` and `nats` differ only in how they deliver a question (`Delivery`). Which credentials are
//! asked about, what an answer may say, and what is remembered is the same and is here.

mod answer;
#[cfg(any(feature = "http", feature = "nats"))]
mod certificate;
mod message;
mod schema;
mod settings;

use std::{fmt, sync::Arc};

use callgate::{
    authn::{Authenticator, BackendError, Decline, Identity, Probe, ProbeReport, Readiness},
    record::Reason,
    request::{AuthRequest, Credential},
};
use futures_util::future::BoxFuture;
use tokio::time::Instant;

use crate::{
    backend::{Backend, Nul, QueryError, precheck},
    kind::BuildContext,
    network::AnswerCache,
    passwords::digest,
};
use answer::{Answer, Verdict};
use message::Facts;

pub use schema::{answer_schema, question_schema};
pub(crate) use settings::{REMEMBER_KEY, Settings, TAKES_KEY, Taken, takes_passwords};

/// Maximum number of remembered answers.
const MAX_REMEMBERED: usize = 10_000;

/// Longer answers are not remembered, so that the remembered ones take at most 40 MB.
const MAX_REMEMBERED_BYTES: usize = 4096;

/// Delivers questions to a service.
pub(crate) trait Delivery: fmt::Debug + Send + Sync + 'static {
    /// Sends a question once, and returns the whole answer.
    fn ask(
        self: Arc<Self>,
        question: Vec<u8>,
        deadline: Instant,
    ) -> BoxFuture<'static, Result<Vec<u8>, QueryError>>;

    /// Reaches the service. `question` has a credential that a service can tell from a login; whether
    /// it is sent depends on `probe` and on what else the delivery can find out.
    fn probe(
        &self,
        probe: Probe,
        question: Vec<u8>,
        deadline: Instant,
    ) -> BoxFuture<'_, Result<ProbeReport, BackendError>>;

    /// Whether the service has been reached once.
    fn readiness(&self) -> Readiness;
}

/// The authenticator of a service that decides.
pub(crate) struct Decider<D> {
    context: BuildContext,
    settings: Settings,
    delivery: Arc<D>,
    backend: Backend<Arc<Answer>>,
    remembered: AnswerCache<[u8; 32], Identity>,
}

impl<D: Delivery> Decider<D> {
    /// `target` names the service in logs; at most `connections` questions are open at a time.
    pub(crate) fn new(
        context: &BuildContext,
        settings: Settings,
        delivery: Arc<D>,
        target: &str,
        connections: usize,
    ) -> Self {
        let capacity = if settings.remember.is_zero() { 0 } else { MAX_REMEMBERED };
        Self {
            context: context.clone(),
            settings,
            delivery,
            backend: Backend::new(context, target, connections),
            remembered: AnswerCache::new(capacity),
        }
    }

    async fn identify(&self, request: &AuthRequest) -> Result<Identity, Decline> {
        if !self.settings.takes(request.credential()) {
            return Err(Decline::NotMine);
        }
        if let Credential::Password { user, password } = request.credential() {
            precheck(user, password, Nul::Allowed)?;
        }
        let facts = Facts::of(request)?;
        // The answer may depend on everything in the question, so all of it is part of the key.
        let key = digest(&[self.context.name.as_bytes(), facts.as_bytes()]);
        if let Some(identity) = self.remembered(&key, request) {
            self.backend.count_remembered();
            return Ok(identity);
        }
        let result = self.ask(request, facts, key).await.map_err(Decline::from);
        self.backend.count(&result);
        result
    }

    fn remembered(&self, key: &[u8; 32], request: &AuthRequest) -> Option<Identity> {
        let identity = self.remembered.get(key)?;
        identity.expires_at.is_none_or(|end| end > request.received()).then_some(identity)
    }

    async fn ask(
        &self,
        request: &AuthRequest,
        facts: Facts,
        key: [u8; 32],
    ) -> Result<Identity, QueryError> {
        let name = Arc::clone(&self.context.name);
        let delivery = Arc::clone(&self.delivery);
        let query = move |deadline| async move {
            let question = facts.question(&name, deadline)?;
            let body = delivery.ask(question, deadline).await?;
            Answer::parse(&body)
                .map(Arc::new)
                .map_err(|error| QueryError::unusable(format!("the answer is malformed: {error}")))
        };
        let answer = self.backend.query(&[&key], request, query).await?;
        let credential = request.credential();
        match &answer.verdict {
            Verdict::Allow(_) => {}
            Verdict::Deny { code, detail } => {
                let default = match credential {
                    Credential::Password { .. } => Reason::BadPassword,
                    _ => Reason::BadToken,
                };
                return Err(QueryError::rejected(code.unwrap_or(default), detail));
            }
            Verdict::Ignore => {
                let is_password = matches!(credential, Credential::Password { .. });
                return Err(match is_password && !self.settings.fall_through {
                    true => QueryError::rejected(
                        Reason::UnknownUser,
                        "the service does not know this user",
                    ),
                    false => QueryError::NotMine,
                });
            }
        }
        let identity = answer.identity(credential, request.received())?;
        let remember = answer.cache.min(self.settings.remember);
        if !remember.is_zero() && answer.bytes <= MAX_REMEMBERED_BYTES {
            self.remembered.insert(key, identity.clone(), Instant::now() + remember);
        }
        Ok(identity)
    }
}

impl<D: Delivery> Authenticator for Decider<D> {
    fn authenticate<'a>(
        &'a self,
        request: &'a AuthRequest,
    ) -> BoxFuture<'a, Result<Identity, Decline>> {
        Box::pin(self.identify(request))
    }

    fn readiness(&self) -> Readiness {
        self.delivery.readiness()
    }

    fn probe(&self, probe: Probe) -> Option<BoxFuture<'_, Result<ProbeReport, BackendError>>> {
        // Earlier than the caller's limit, so that the delivery can say what it waited for.
        let deadline = Instant::now() + self.backend.timeout().mul_f32(0.9);
        Some(Box::pin(async move {
            let question = message::probe(&self.context.name, deadline)?;
            self.delivery.probe(probe, question, deadline).await
        }))
    }
}

impl<D: Delivery> fmt::Debug for Decider<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Decider")
            .field("name", &self.context.name)
            .field("delivery", &self.delivery)
            .finish_non_exhaustive()
    }
}

/// Whether the answer to a probe is the expected one.
///
/// # Errors
/// If the answer is malformed, or admits the probe.
pub(crate) fn judge_probe(body: &[u8]) -> Result<ProbeReport, BackendError> {
    let mut report = ProbeReport::default();
    match Answer::parse(body)?.verdict {
        Verdict::Ignore => report.notes.push("the service answers questions".to_owned()),
        Verdict::Deny { .. } => report.warnings.push(
            "the service answers the credential `probe` with `deny`: `{\"result\":\"ignore\"}` is \
             the correct answer"
                .to_owned(),
        ),
        Verdict::Allow(_) => {
            return Err("the service answers the credential `probe` with `allow`: it must refuse \
                        kinds of credentials that it does not know"
                .into());
        }
    }
    Ok(report)
}

#[cfg(test)]
mod tests;
