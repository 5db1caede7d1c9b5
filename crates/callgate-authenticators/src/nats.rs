#![doc = include_str!("../docs/nats.md")]

use std::{fmt, sync::Arc, time::Duration};

use callgate::{
    authn::{Authenticator, BackendError, Probe, ProbeReport, Readiness},
    sanitize::excerpt_up_to,
    subject::{Subject, SubjectPattern},
};
use callgate_config::{Key, Table, Type};
use futures_util::future::BoxFuture;
use serde_json::Value;
use tokio::time::Instant;

use crate::{
    backend::QueryError,
    kind::{BuildContext, Bus, BusError, FALL_THROUGH_KEY, Kind, never_falls_through},
    question::{
        Decider, Delivery, REMEMBER_KEY, Settings, TAKES_KEY, judge_probe, takes_passwords,
    },
};

const KEYS: &[Key] = &[
    Key::required(
        "subject",
        Type::Text,
        "the subject of questions, without wildcards; not below `$` or `_INBOX`",
    ),
    TAKES_KEY,
    REMEMBER_KEY,
    FALL_THROUGH_KEY,
];

/// Maximum size of an answer, in bytes.
const MAX_ANSWER: usize = 1024 * 1024;

/// Questions share the service's one connection, so this only bounds memory.
const MAX_QUESTIONS: usize = 1024;

/// The kind `nats`: a service on a subject decides.
#[derive(Debug, Clone, Copy, Default)]
pub struct NatsKind;

impl Kind for NatsKind {
    fn name(&self) -> &'static str {
        "nats"
    }

    fn keys(&self) -> &'static [Key] {
        KEYS
    }

    fn uses_bus(&self) -> bool {
        true
    }

    fn takes_passwords(&self, table: &serde_json::Value) -> bool {
        takes_passwords(table)
    }

    fn refuses_unknown_users(&self, table: &serde_json::Value) -> bool {
        takes_passwords(table) && never_falls_through(table)
    }

    fn build(
        &self,
        context: &BuildContext,
        mut table: Table<'_>,
    ) -> Option<Arc<dyn Authenticator>> {
        let settings = Settings::read(context, &mut table);
        let subject = read_subject(&mut table);
        let is_faultless = table.finish();
        let (settings, subject) = (settings?, subject?);
        let target = format!("`{}`", excerpt_up_to(&subject, 200));
        let request = Request { subject, bus: context.services.bus.clone() };
        let decider = Decider::new(context, settings, Arc::new(request), &target, MAX_QUESTIONS);
        is_faultless.then(|| Arc::new(decider) as _)
    }
}

fn read_subject(table: &mut Table<'_>) -> Option<String> {
    let text = table.required_string("subject")?;
    if let Err(error) = text.parse::<Subject>() {
        table.fault("subject", error);
        return None;
    }
    let is_literal = text.parse::<SubjectPattern>().is_ok_and(|pattern| pattern.is_literal());
    let is_reserved = text.starts_with('$') || text.starts_with("_INBOX");
    match is_literal && !is_reserved {
        true => Some(text),
        false => {
            table.fault("subject", "must not begin with `$` or `_INBOX`, nor contain a wildcard");
            None
        }
    }
}

/// Sends questions as requests on the service's own connection.
struct Request {
    subject: String,
    bus: Option<Arc<dyn Bus>>,
}

impl Request {
    async fn send(&self, question: Vec<u8>, deadline: Instant) -> Result<Vec<u8>, BusError> {
        let bus = self.bus.as_ref().ok_or(BusError::NotConnected)?;
        bus.ask(&self.subject, question, deadline).await
    }
}

/// How long micro services may take to describe themselves.
const INFO_TIMEOUT: Duration = Duration::from_millis(300);

impl Request {
    /// Whether a micro service in the callout account itself has an endpoint on the subject.
    async fn is_served_locally(&self) -> bool {
        let Some(bus) = &self.bus else { return false };
        let replies = bus.collect("$SRV.INFO", Instant::now() + INFO_TIMEOUT).await;
        let subject = self.subject.as_str();
        replies.unwrap_or_default().iter().any(|reply| {
            let info: Value = serde_json::from_slice(reply).unwrap_or_default();
            let endpoints = info.get("endpoints").and_then(Value::as_array);
            let subjects = endpoints.into_iter().flatten().map(|endpoint| endpoint.get("subject"));
            subjects.flatten().filter_map(Value::as_str).any(|served| covers(served, subject))
        })
    }
}

fn covers(pattern: &str, subject: &str) -> bool {
    let parsed = (pattern.parse::<SubjectPattern>(), subject.parse::<SubjectPattern>());
    matches!(parsed, (Ok(pattern), Ok(subject)) if pattern.covers(&subject))
}

impl Delivery for Request {
    fn ask(
        self: Arc<Self>,
        question: Vec<u8>,
        deadline: Instant,
    ) -> BoxFuture<'static, Result<Vec<u8>, QueryError>> {
        Box::pin(async move {
            let answer = self.send(question, deadline).await.map_err(QueryError::unreachable)?;
            match answer.len() > MAX_ANSWER {
                true => Err(QueryError::unusable(format!(
                    "the answer is longer than {MAX_ANSWER} bytes"
                ))),
                false => Ok(answer),
            }
        })
    }

    /// Only a question shows whether a service subscribes, so it is always sent.
    fn probe(
        &self,
        _probe: Probe,
        question: Vec<u8>,
        deadline: Instant,
    ) -> BoxFuture<'_, Result<ProbeReport, BackendError>> {
        Box::pin(async move {
            let mut report = match self.send(question, deadline).await {
                Ok(body) => judge_probe(&body)?,
                Err(BusError::NoReply) => {
                    let mut report = ProbeReport::default();
                    report.warnings.push(format!(
                        "no answer on `{}`: through a service import, the server does not report \
                         whether a service subscribes",
                        self.subject
                    ));
                    report
                }
                Err(
                    error @ (BusError::NotConnected | BusError::NoResponders | BusError::Failed(_)),
                ) => {
                    return Err(error.into());
                }
            };
            if self.is_served_locally().await {
                report.warnings.push(format!(
                    "a micro service of the callout account serves `{}`: run it in another account \
                     and import it, because every member of the callout account can answer in its \
                     place",
                    self.subject
                ));
            }
            Ok(report)
        })
    }

    /// The connection is the service's own, without which it is not ready anyway.
    fn readiness(&self) -> Readiness {
        Readiness::Ready
    }
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Request({:?})", self.subject)
    }
}
