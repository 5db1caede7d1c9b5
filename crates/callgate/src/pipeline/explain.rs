//! Explains a decision without sending or recording anything.

use std::sync::Arc;

use super::Pipeline;
use crate::{
    decide::{ChainExplanation, Ruling},
    open::Message,
    panics::{guarded, guarded_future},
    policy::Grant,
    record::Denial,
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
        let result = ruling.grant.and_then(|grant| {
            self.placement.check(&grant, &self.minter)?;
            guarded("the signer", || self.minter.user_jwt(&grant, &opened.context))?;
            Ok(grant)
        });
        Ok(Explained { request: Some(request), steps, result })
    }
}
