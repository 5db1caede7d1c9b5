//! The stock way to decide: a chain of authenticators, then policy.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use ipnet::IpNet;

use crate::{
    admission::queues::Crowd,
    authn::{Chain, ChainAnswer, Identity},
    pipeline::{Decide, Learned, Verdict},
    policy::{ConnectionInfo, Explanation, Policy, ResolveRequest},
    request::AuthRequest,
};

/// Who the client is, says the chain; what it may do, says the policy.
#[derive(Debug)]
pub(crate) struct Stock {
    pub(crate) chain: Chain,
    pub(crate) policy: Arc<Policy>,
    pub(crate) learned: Arc<Learned>,
    pub(crate) trusted_proxies: Arc<[IpNet]>,
}

/// How a decision of the stock kind came about.
#[derive(Debug)]
pub struct ChainExplanation {
    /// Each authenticator that was asked, in order, and what it said.
    pub asked: Vec<(Arc<str>, String)>,
    /// Who the client is, if that was found out.
    pub identity: Option<Identity>,
    /// How policy came to its answer, if it was asked.
    pub policy: Option<Explanation>,
}

impl Stock {
    async fn identify(&self, request: &AuthRequest) -> ChainAnswer {
        let trusted_proxies = Arc::clone(&self.trusted_proxies);
        let crowd = Crowd { most: self.learned.most_at_once.get(), trusted_proxies };
        self.chain.identify_among(request, &crowd).await
    }

    /// Hands the question to policy by `ask`, so that deciding and explaining share everything else.
    fn resolve<T>(
        &self,
        request: &AuthRequest,
        authenticator: Option<&Arc<str>>,
        identity: &Identity,
        ask: impl FnOnce(&ResolveRequest<'_>) -> T,
    ) -> T {
        let callout_account = self.learned.callout_account.load_full();
        ask(&ResolveRequest {
            authenticator: authenticator.map(|name| &**name).unwrap_or_default(),
            identity,
            connection: ConnectionInfo::of(request),
            callout_account: callout_account.as_ref().map(|name| name.as_str()),
            now: request.received(),
        })
    }

    fn asked(&self, answer: &ChainAnswer) -> Vec<(Arc<str>, String)> {
        let links = self.chain.links().iter().map(|link| Arc::clone(&link.name));
        let mut asked: Vec<_> =
            links.take(answer.not_mine).map(|name| (name, "not mine".to_owned())).collect();
        if let Some(name) = &answer.authenticator {
            let said = match &answer.result {
                Ok(identity) => format!("identified `{}`", identity.user.escape_debug()),
                Err(denial) => denial.to_string(),
            };
            asked.push((Arc::clone(name), said));
        }
        asked
    }
}

impl Decide for Stock {
    fn decide(&self, request: Arc<AuthRequest>) -> BoxFuture<'_, Verdict> {
        Box::pin(async move {
            let ChainAnswer { authenticator, took, result, .. } = self.identify(&request).await;
            let identity = match result {
                Ok(identity) => identity,
                Err(denial) => return Verdict { authenticator, took, ..Verdict::refused(denial) },
            };
            let grant = self.resolve(&request, authenticator.as_ref(), &identity, |question| {
                self.policy.resolve(question)
            });
            Verdict { authenticator, user: Some(identity.user), took, grant, silent: false }
        })
    }

    fn in_turn(&self) -> bool {
        true
    }

    fn explain(
        &self,
        request: Arc<AuthRequest>,
    ) -> BoxFuture<'_, (Verdict, Option<ChainExplanation>)> {
        Box::pin(async move {
            let answer = self.identify(&request).await;
            let asked = self.asked(&answer);
            let ChainAnswer { authenticator, took, result, .. } = answer;
            let identity = match result {
                Ok(identity) => identity,
                Err(denial) => {
                    let verdict = Verdict { authenticator, took, ..Verdict::refused(denial) };
                    return (
                        verdict,
                        Some(ChainExplanation { asked, identity: None, policy: None }),
                    );
                }
            };
            let (grant, policy) =
                self.resolve(&request, authenticator.as_ref(), &identity, |question| {
                    self.policy.explain(question)
                });
            let user = Some(identity.user.clone());
            let verdict = Verdict { authenticator, user, took, grant, silent: false };
            let (identity, policy) = (Some(identity), Some(policy));
            (verdict, Some(ChainExplanation { asked, identity, policy }))
        })
    }
}
