//! Locks in each admission.

use std::sync::Arc;

use callgate::{
    AdmissionHook,
    record::{Decision, Denial, Reason},
    request::AuthRequest,
};
use futures_util::future::{BoxFuture, ready};

use super::{Candidate, IssuedAt, State};

/// Refuses what locks match, and in the mode `strict` everything while the replica is not fresh. Its place is
/// after the hook that enters the session in the table: then either the login sees a new lock, or the lock
/// finds the session.
#[derive(Debug)]
pub(crate) struct LockHook(pub(super) Arc<State>);

impl AdmissionHook for LockHook {
    fn before_authentication(&self, request: &AuthRequest) -> Result<(), Denial> {
        self.check_state()?;
        if self.0.locks().is_empty() {
            return Ok(());
        }
        match self.0.locks().check_early(request, self.0.now()) {
            Some(lock) => Err(lock.refuse()),
            None => Ok(()),
        }
    }

    fn before_answer<'a>(
        &'a self,
        request: &'a AuthRequest,
        decision: &'a Decision,
    ) -> BoxFuture<'a, Result<(), Denial>> {
        Box::pin(ready(self.check_state().and_then(|()| self.check(request, decision))))
    }
}

impl LockHook {
    fn check(&self, request: &AuthRequest, decision: &Decision) -> Result<(), Denial> {
        if self.0.locks().is_empty() {
            return Ok(());
        }
        let (identity, grant) = (decision.identity.as_ref(), decision.grant.as_ref());
        let candidate = Candidate {
            user: grant.map(|grant| grant.user()).or(decision.user.as_deref()),
            source_user: identity.map(|identity| identity.user.as_str()),
            authenticator: decision.authenticator.as_deref(),
            account: grant.map(|grant| grant.account()),
            ip: request.client().ip,
            groups: identity.map(|identity| identity.groups.as_slice()),
            roles: grant.map(|grant| grant.roles()),
            kind: Some(request.client().connection),
            issued_at: identity
                .map_or(IssuedAt::Known(None), |identity| IssuedAt::Known(identity.issued_at)),
        };
        match self.0.check(&candidate) {
            Some(lock) => Err(lock.refuse()),
            None => Ok(()),
        }
    }

    fn check_state(&self) -> Result<(), Denial> {
        let problem = self.0.refuses_all();
        problem.map_or(Ok(()), |why| Err(Denial::new(Reason::StateUnavailable, why)))
    }
}
