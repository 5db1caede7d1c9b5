//! Decides with the embedder's own function.

use std::{fmt, future::Future, sync::Arc, time::Duration};

use futures_util::future::BoxFuture;

use super::{Decider, Refusal, Ruling, User};
use crate::{
    reason::{Denial, Reason},
    request::{AuthRequest, Credential},
};

pub(crate) struct FunctionDecider<F>(pub(crate) F);

impl<F> fmt::Debug for FunctionDecider<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FunctionDecider")
    }
}

impl<F, A> Decider for FunctionDecider<F>
where
    F: Fn(Arc<AuthRequest>) -> A + Send + Sync + 'static,
    A: Future<Output = Result<User, Refusal>> + Send + 'static,
{
    fn decide(&self, request: Arc<AuthRequest>) -> BoxFuture<'_, Ruling> {
        Box::pin(async move {
            let answer = (self.0)(Arc::clone(&request)).await;
            ruling(answer, &request)
        })
    }
}

fn ruling(answer: Result<User, Refusal>, request: &AuthRequest) -> Ruling {
    let refused = |reason, detail| Ruling::refused(Denial::new(reason, detail));
    match answer {
        Ok(user) => Ruling {
            authenticator: None,
            user: None,
            identity: None,
            token: None,
            took: Duration::ZERO,
            grant: user.into_grant(request),
            silent: false,
        },
        Err(Refusal::Deny(why)) => refused(reason_for(request.credential()), why),
        Err(Refusal::Unavailable(why)) => refused(Reason::BackendUnavailable, why),
        Err(Refusal::Silent(why)) => {
            Ruling { silent: true, ..refused(reason_for(request.credential()), why) }
        }
    }
}

fn reason_for(credential: &Credential) -> Reason {
    match credential {
        Credential::Password { .. } => Reason::BadPassword,
        Credential::Token(_) => Reason::BadToken,
        Credential::Nkey(_) => Reason::BadSignature,
        Credential::Certificate => Reason::NoBinding,
        Credential::Anonymous => Reason::NoCredential,
    }
}
