//! From a grant to the sealed reply: user JWT, authorization response, encryption.

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;

use crate::{
    clock::UnixTime,
    keys::{CurveError, ServerKey, SharedKey, UserKey},
    panics::guarded,
    policy::Grant,
    reason::{CeilingDropped, Denial, Reason},
    record::{Decision, RequestIds, Stages},
};

mod minter;
mod response;
mod user_claims;

pub use minter::AccountKeys;
pub(crate) use minter::{ConfigurationMinter, Minter, OperatorMinter};
pub(crate) use response::Response;

/// Reserved for signing, sealing and the way back to the server.
const REPLY_MARGIN: Duration = Duration::from_millis(100);

/// What to send for a message.
#[derive(Debug)]
pub(crate) enum Outgoing {
    /// A reply, to be sent not before the given moment.
    Reply {
        bytes: Vec<u8>,
        not_before: Option<Instant>,
    },
    Nothing,
}

/// Everything needed to reply to a request, apart from the request itself.
#[derive(Debug)]
pub(crate) struct ReplyContext {
    pub(crate) ids: RequestIds,
    pub(crate) server: ServerKey,
    pub(crate) user: UserKey,
    pub(crate) sealer: Sealer,
    pub(crate) clock_skew: i64,
    pub(crate) now: UnixTime,
    pub(crate) arrived: Instant,
    /// When the server stops waiting.
    pub(crate) server_deadline: Instant,
    /// The user name that the client claims, for the record only; without secrets.
    pub(crate) claimed_user: String,
}

impl ReplyContext {
    /// The record of this request, still without a result.
    pub(crate) fn begin_decision(&self) -> Decision {
        Decision {
            reason: Reason::Admitted,
            cause: None,
            detail: String::new(),
            token: None,
            ids: None,
            request: None,
            authenticator: None,
            user: None,
            identity: None,
            grant: None,
            lock: None,
            account: None,
            expires_at: None,
            ceiling_dropped: CeilingDropped::default(),
            authenticator_took: Duration::ZERO,
            duration: Duration::ZERO,
            stages: Stages::default(),
            clock_skew: Some(self.clock_skew),
        }
    }

    pub(crate) fn claimed_user(&self) -> Option<String> {
        (!self.claimed_user.is_empty()).then(|| self.claimed_user.clone())
    }

    /// Fails if the server no longer reads a reply, which would only add to the load that made it
    /// late.
    pub(crate) fn check_deadline(&self) -> Result<(), Denial> {
        match Instant::now() > self.server_deadline {
            true => {
                Err(Denial::new(Reason::DeadlinePassed, "the server no longer waits for a reply"))
            }
            false => Ok(()),
        }
    }

    /// Signs a response and seals it for the server.
    pub(crate) fn seal(
        &self,
        minter: &Minter,
        response: &Response<'_>,
        not_before: Option<Instant>,
    ) -> Result<Outgoing, Denial> {
        let failed = |error: String| Denial::new(Reason::BackendUnavailable, error);
        let token = guarded("the signer", || {
            minter.response(response, self).map_err(|error| failed(error.to_string()))
        })?;
        let bytes = self.sealer.seal(token).map_err(|error| failed(error.to_string()))?;
        Ok(Outgoing::Reply { bytes, not_before })
    }
}

/// The last moment to start a reply for a server that waits until `server_deadline`.
pub(crate) fn reply_deadline(server_deadline: Instant) -> Instant {
    server_deadline.checked_sub(REPLY_MARGIN).unwrap_or(server_deadline)
}

/// Records what was granted.
pub(crate) fn record_grant(decision: &mut Decision, grant: Grant, minter: &Minter) {
    decision.ceiling_dropped = CeilingDropped {
        count: grant.ceiling_dropped(),
        texts: grant.ceiling_dropped_texts().to_vec(),
    };
    decision.account = Some(grant.account().to_owned());
    decision.user = Some(grant.user().to_owned());
    decision.expires_at = grant.expires_at();
    let signers = minter.signers_of(&grant);
    decision.detail = signers.into_iter().chain(grant.notes.clone()).collect::<Vec<_>>().join("; ");
    decision.grant = Some(Arc::new(grant));
}

/// Seals replies with the key that opened the request. Unencrypted requests get unencrypted replies.
#[derive(Debug, Clone)]
pub(crate) struct Sealer(pub(crate) Option<SharedKey>);

impl Sealer {
    fn seal(&self, token: String) -> Result<Vec<u8>, CurveError> {
        match &self.0 {
            Some(shared) => shared.seal(token.as_bytes()),
            None => Ok(token.into_bytes()),
        }
    }
}
