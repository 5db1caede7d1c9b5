//! Decides with a chain of authenticators, then a policy.

use std::{sync::Arc, time::Duration};

use futures_util::future::BoxFuture;
use ipnet::IpNet;

use super::{Decider, Ruling};
use crate::{
    admission::AdmissionPolicy,
    authn::{Chain, ChainAnswer, Identity},
    policy::{ConnectionInfo, Explanation, Policy, ResolveRequest},
    reason::{Denial, TokenClaims},
    request::{AuthRequest, Credential},
    shared_state::SharedState,
};

/// The chain says who the client is, the policy what it may do.
#[derive(Debug)]
pub(crate) struct ChainDecider {
    pub(crate) chain: Chain,
    pub(crate) policy: Arc<Policy>,
    pub(crate) state: Arc<SharedState>,
    pub(crate) trusted_proxies: Arc<[IpNet]>,
}

/// How a decision by chain and policy came about.
#[derive(Debug)]
pub struct ChainExplanation {
    /// Each authenticator that was tried, in order, and its answer.
    pub tried: Vec<(Arc<str>, String)>,
    /// The identity, if an authenticator found one.
    pub identity: Option<Identity>,
    /// How the policy decided, if there was an identity.
    pub policy: Option<Explanation>,
}

impl ChainDecider {
    async fn identify(&self, request: &AuthRequest) -> ChainAnswer {
        let admission = AdmissionPolicy {
            max_in_flight: self.state.max_in_flight.load(),
            trusted_proxies: &self.trusted_proxies,
        };
        self.chain.identify_with(request, admission).await
    }

    /// Calls `resolve` with the policy's input, so that deciding and explaining share the rest.
    fn resolve<T>(
        &self,
        request: &AuthRequest,
        authenticator: Option<&Arc<str>>,
        identity: &Identity,
        resolve: impl FnOnce(&ResolveRequest<'_>) -> T,
    ) -> T {
        let callout_account = self.state.callout_account.load_full();
        resolve(&ResolveRequest {
            authenticator: authenticator.map(|name| &**name).unwrap_or_default(),
            identity,
            connection: ConnectionInfo::of(request),
            callout_account: callout_account.as_ref().map(|name| name.as_str()),
            now: request.received(),
        })
    }

    fn explain_policy(
        &self,
        request: &AuthRequest,
        authenticator: Option<Arc<str>>,
        tried: Vec<(Arc<str>, String)>,
        identity: Identity,
    ) -> (Ruling, ChainExplanation) {
        let (grant, explanation) =
            self.resolve(request, authenticator.as_ref(), &identity, |question| {
                self.policy.explain(question)
            });
        let user = Some(identity.user.clone());
        let took = Duration::ZERO;
        let ruling =
            Ruling { authenticator, user, identity: None, token: None, took, grant, silent: false };
        let policy = Some(explanation);
        (ruling, ChainExplanation { tried, identity: Some(identity), policy })
    }

    fn tried(&self, answer: &ChainAnswer) -> Vec<(Arc<str>, String)> {
        let names = self.chain.links().iter().map(|link| Arc::clone(&link.name));
        let mut tried: Vec<_> =
            names.take(answer.not_mine).map(|name| (name, "not mine".to_owned())).collect();
        if let Some(name) = &answer.authenticator {
            let said = match &answer.result {
                Ok(identity) => format!("identified `{}`", identity.user.escape_debug()),
                Err(denial) => denial.to_string(),
            };
            tried.push((Arc::clone(name), said));
        }
        tried
    }
}

/// The refusal of a client that no authenticator identified, with what its token claims.
fn unidentified(
    request: &AuthRequest,
    authenticator: Option<Arc<str>>,
    took: Duration,
    denial: Denial,
) -> Ruling {
    let token = match request.credential() {
        Credential::Token(token) => TokenClaims::read(token.expose(), denial.signature_verified),
        _ => None,
    };
    Ruling { authenticator, took, token, ..Ruling::refused(denial) }
}

/// What the token of an identified client says. Only the claims of the identity count as proven: not
/// every authenticator verifies the signature of a token that it accepts.
fn proven_claims(request: &AuthRequest, identity: &Identity) -> Option<TokenClaims> {
    match request.credential() {
        Credential::Token(_) => TokenClaims::of(&identity.claims, true),
        _ => None,
    }
}

impl Decider for ChainDecider {
    fn decide(&self, request: Arc<AuthRequest>) -> BoxFuture<'_, Ruling> {
        Box::pin(async move {
            let ChainAnswer { authenticator, took, result, .. } = self.identify(&request).await;
            let identity = match result {
                Ok(identity) => identity,
                Err(denial) => return unidentified(&request, authenticator, took, denial),
            };
            let grant = self.resolve(&request, authenticator.as_ref(), &identity, |question| {
                self.policy.resolve(question)
            });
            let token = grant.as_ref().err().and_then(|_| proven_claims(&request, &identity));
            Ruling {
                authenticator,
                user: Some(identity.user.clone()),
                identity: Some(Arc::new(identity)),
                token,
                took,
                grant,
                silent: false,
            }
        })
    }

    fn never_blocks(&self) -> bool {
        true
    }

    fn explain(
        &self,
        request: Arc<AuthRequest>,
    ) -> BoxFuture<'_, (Ruling, Option<ChainExplanation>)> {
        Box::pin(async move {
            let answer = self.identify(&request).await;
            let tried = self.tried(&answer);
            let ChainAnswer { authenticator, took, result, .. } = answer;
            let identity = match result {
                Ok(identity) => identity,
                Err(denial) => {
                    let ruling = unidentified(&request, authenticator, took, denial);
                    let steps = ChainExplanation { tried, identity: None, policy: None };
                    return (ruling, Some(steps));
                }
            };
            let (ruling, steps) = self.explain_policy(&request, authenticator, tried, identity);
            (Ruling { took, ..ruling }, Some(steps))
        })
    }

    fn explain_identity(
        &self,
        request: &AuthRequest,
        authenticator: &Arc<str>,
        identity: Identity,
    ) -> Option<(Ruling, ChainExplanation)> {
        let tried =
            vec![(Arc::clone(authenticator), "not asked: the identity is given".to_owned())];
        Some(self.explain_policy(request, Some(Arc::clone(authenticator)), tried, identity))
    }
}
