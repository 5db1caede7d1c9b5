//! `required`: an admission waits until one sink has stored its record.

use std::time::Duration;

use callgate::{
    AdmissionHook,
    record::{Decision, Denial, Reason},
    request::AuthRequest,
};
use futures_util::future::BoxFuture;
use jiff::Timestamp;
use tokio::time::{Instant, timeout_at};

use super::{
    Audit, Event,
    chain::body,
    decision::DecisionRecord,
    event::{AnswerDropped, Session},
};

/// What is left of the time for the answer after the wait.
const ANSWER_TIME: Duration = Duration::from_millis(20);

/// See the top of the file.
#[derive(Debug)]
pub(crate) struct AuditHook(Audit);

impl AuditHook {
    /// `None` unless the audit is required.
    pub(crate) fn of(audit: &Audit) -> Option<Self> {
        audit.is_required().then(|| Self(audit.clone()))
    }
}

impl AdmissionHook for AuditHook {
    fn before_answer<'a>(
        &'a self,
        request: &'a AuthRequest,
        decision: &'a Decision,
    ) -> BoxFuture<'a, Result<(), Denial>> {
        Box::pin(async move {
            let Some(running) = self.0.0.get() else { return Ok(()) };
            let settings = &running.settings;
            let facts = running.facts(decision);
            let unexpected = running.expected.unexpected_host(decision, &request.client().host);
            let record = DecisionRecord::admission(decision, request, &running.hider)
                .with_facts(facts.as_ref())
                .with_unexpected_source(unexpected.is_some());
            let body = body(&record);
            let receipt = running.receipt();
            running.push(&body, Timestamp::now(), Some(&receipt));
            let last = request.deadline().checked_sub(ANSWER_TIME).unwrap_or(request.deadline());
            let end = last.min(Instant::now() + settings.timeout);
            match timeout_at(end, receipt.wait()).await {
                Ok(true) => Ok(()),
                Ok(false) => Err(unavailable("every sink is full or stopped")),
                Err(_elapsed) => Err(unavailable("no sink has stored the record in time")),
            }
        })
    }

    fn not_admitted(&self, request: &AuthRequest, why: &Denial) {
        self.0.event(|| {
            let client = request.client();
            let session = Session {
                client_host: Some(client.host.clone()),
                connection: Some(client.connection.as_str().to_owned()),
                client_name: Some(client.name.clone()).filter(|name| !name.is_empty()),
                client_id: Some(client.id),
                server: Some(request.server().name.clone()),
                server_id: Some(request.server().id.to_string()),
                request: Some(request.id().to_owned()),
                ..Session::default()
            };
            Event::AnswerDropped(AnswerDropped { session, reason: why.reason.as_str().to_owned() })
        });
    }
}

fn unavailable(why: &str) -> Denial {
    Denial::new(Reason::AuditUnavailable, format!("audit: {why}; see the log"))
}
