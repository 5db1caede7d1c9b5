//! Explains a decision without sending or recording anything.

use std::sync::Arc;

use super::Pipeline;
use crate::{
    authn::Identity,
    decide::{ChainExplanation, Ruling},
    open::Message,
    panics::{guarded, guarded_future},
    policy::Grant,
    reason::Denial,
    reply::ReplyContext,
    request::AuthRequest,
};

/// A decision and how it came about.
#[derive(Debug)]
pub struct Explained {
    /// The request, unless the client sent no usable credential.
    pub request: Option<Arc<AuthRequest>>,
    /// What each authenticator and the policy did, if a chain and policy decide.
    pub steps: Option<ChainExplanation>,
    /// What the client gets, or why it is refused.
    pub result: Result<Grant, Denial>,
}

impl Pipeline {
    /// Takes the same steps as [`Pipeline::handle`], except for sending and recording.
    pub(crate) async fn explain(&self, message: Message<'_>) -> Result<Explained, Denial> {
        let opened = self.opener.open(message).map_err(|dropped| dropped.denial)?;
        let request = match opened.request {
            Ok(request) => request,
            Err(denial) => {
                return Ok(Explained { request: None, steps: None, result: Err(denial) });
            }
        };
        let work = guarded_future("the decision", self.decider.explain(Arc::clone(&request)));
        let (ruling, steps) = work.await.unwrap_or_else(|denial| (Ruling::refused(denial), None));
        let result = self.last_checks(ruling, &opened.context);
        Ok(Explained { request: Some(request), steps, result })
    }

    /// The checks between a decision and its answer. The user JWT is discarded.
    fn last_checks(&self, ruling: Ruling, context: &ReplyContext) -> Result<Grant, Denial> {
        let grant = ruling.grant?;
        self.placement.check(&grant, &self.minter)?;
        guarded("the signer", || self.minter.user_jwt(&grant, context))?;
        Ok(grant)
    }
}

/// Explains what identities would be granted over one connection, without authenticating them.
#[derive(Debug)]
pub struct IdentityExplainer {
    pipeline: Arc<Pipeline>,
    context: ReplyContext,
    request: Arc<AuthRequest>,
}

impl IdentityExplainer {
    pub(crate) fn new(pipeline: Arc<Pipeline>, message: Message<'_>) -> Result<Self, Denial> {
        let opened = pipeline.opener.open(message).map_err(|dropped| dropped.denial)?;
        let request = opened.request?;
        Ok(Self { pipeline, context: opened.context, request })
    }

    /// What `identity` of this authenticator would be granted; `None` if a function decides instead of
    /// identities and policy.
    pub fn explain(&self, authenticator: &Arc<str>, identity: Identity) -> Option<Explained> {
        let decider = &self.pipeline.decider;
        let (ruling, steps) = decider.explain_identity(&self.request, authenticator, identity)?;
        let result = self.pipeline.last_checks(ruling, &self.context);
        Some(Explained { request: Some(Arc::clone(&self.request)), steps: Some(steps), result })
    }
}
