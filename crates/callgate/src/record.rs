//! The record of one decision: the only thing that logs, metrics and audits read.

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;

use crate::{
    authn::Identity, clock::UnixTime, connection::ConnectionKind, policy::Grant,
    request::AuthRequest,
};

pub use crate::reason::{Cause, CeilingDropped, Denial, Outcome, Reason, TokenClaims};

/// Identifies the request of a decision.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RequestIds {
    /// `jti` of the request.
    pub request: String,
    /// The server's public nkey.
    pub server_id: String,
    /// The server's name.
    pub server_name: String,
    /// The connection's ID on that server (`cid`).
    pub client_id: u64,
    /// The public nkey that the server generated for the connection.
    pub user_nkey: String,
    /// The TCP peer that the server saw.
    pub client_host: String,
    /// The kind of the connection.
    pub connection: Option<ConnectionKind>,
    /// The name that the client claims; not trustworthy.
    pub client_name: String,
}

/// How long each stage took.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stages {
    /// Decrypt, verify, parse.
    pub open: Duration,
    /// Run the authenticators and the policy.
    pub decide: Duration,
    /// Sign the user JWT and the reply, and seal it.
    pub answer: Duration,
}

/// The decision about one request, and why.
#[derive(Debug, Clone)]
pub struct Decision {
    /// The reason, which implies the outcome.
    pub reason: Reason,
    /// The check that a bad token failed; `None` for all other reasons.
    pub cause: Option<Cause>,
    /// For the operator: what failed, with which input, and what to do. Never contains a secret.
    pub detail: String,
    /// The issuer and the user that a refused token names.
    pub token: Option<TokenClaims>,
    /// The request; absent if it could not be opened.
    pub ids: Option<RequestIds>,
    /// The request itself, if the client sent one usable credential. Never record its credential.
    pub request: Option<Arc<AuthRequest>>,
    /// The authenticator that identified the client or refused it.
    pub authenticator: Option<Arc<str>>,
    /// The identity's user, or the user name that the client claimed.
    pub user: Option<String>,
    /// The identity, if an authenticator found one.
    pub identity: Option<Arc<Identity>>,
    /// What policy granted, also if the client was refused afterwards.
    pub grant: Option<Arc<Grant>>,
    /// The ID of the lock that refused the client.
    pub lock: Option<Arc<str>>,
    /// The account the client was placed in.
    pub account: Option<String>,
    /// When the session ends.
    pub expires_at: Option<UnixTime>,
    /// What outside data requested and a ceiling dropped.
    pub ceiling_dropped: CeilingDropped,
    /// How long the authenticator with the final answer took.
    pub authenticator_took: Duration,
    /// Time from arrival to reply.
    pub duration: Duration,
    /// How long each stage took.
    pub stages: Stages,
    /// The server's clock minus ours, in seconds, if the request could be read.
    pub clock_skew: Option<i64>,
}

impl Decision {
    /// The outcome of the request.
    pub fn outcome(&self) -> Outcome {
        self.reason.outcome()
    }

    /// A decision that is not about an opened request, such as a dropped message.
    pub(crate) fn unopened(denial: Denial, arrived: Instant) -> Self {
        let open = arrived.elapsed();
        Self {
            reason: denial.reason,
            cause: denial.cause(),
            detail: denial.detail,
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
            duration: open,
            stages: Stages { open, ..Stages::default() },
            clock_skew: None,
        }
    }

    /// Records a refusal.
    pub(crate) fn refuse(&mut self, denial: Denial) {
        self.reason = denial.reason;
        self.cause = denial.cause();
        self.detail = denial.detail;
        self.ceiling_dropped = denial.ceiling_dropped;
        self.lock = denial.lock;
    }

    /// Records that nothing could be sent, so that nothing was granted.
    pub(crate) fn revoke(&mut self, denial: Denial) {
        self.refuse(denial);
        self.account = None;
        self.expires_at = None;
    }

    /// Adds the ids, and how long each stage took.
    pub(crate) fn finish(
        &mut self,
        ids: RequestIds,
        arrived: Instant,
        opened: Instant,
        decided: Instant,
    ) {
        self.ids = Some(ids);
        self.stages =
            Stages { open: opened - arrived, decide: decided - opened, answer: decided.elapsed() };
        self.duration = arrived.elapsed();
    }
}
