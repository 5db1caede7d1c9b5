//! `verify = "token-review"`: the API server verifies each token, and its approval is cached briefly.

use std::{fmt, sync::Arc, time::Duration};

use callgate::{authn::Decline, record::Cause};
use futures_util::FutureExt;
use serde::Deserialize;
use serde_json::json;
use tokio::time::Instant;

use super::{
    api::{ApiOperation, ApiServer},
    token::ServiceAccountClaims,
};
use callgate::sanitize::excerpt_up_to;

use crate::{
    jws::claims::bad,
    kind::BuildContext,
    network::{AnswerCache, SingleFlight},
    verified_token_cache::TokenDigest,
};

const PATH: &str = "/apis/authentication.k8s.io/v1/tokenreviews";
/// As long as the API server itself caches the result of its token authenticator: the token of a
/// deleted pod becomes invalid within this time.
const APPROVAL_LIFETIME: Duration = Duration::from_secs(10);

/// Has the API server review tokens: once for all simultaneous logins with a token, and not again
/// while its approval is cached.
pub(super) struct Reviews {
    authenticator: Arc<str>,
    api: Arc<ApiServer>,
    audience: Vec<String>,
    approved: AnswerCache<TokenDigest, ()>,
    in_flight: SingleFlight<TokenDigest, Review>,
}

/// When the API server was asked to review a token, and the result; or why there is none.
type Review = Result<Arc<(Instant, Status)>, Arc<str>>;

#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    status: Status,
}

#[derive(Default, Deserialize)]
struct Status {
    #[serde(default)]
    authenticated: bool,
    #[serde(default)]
    audiences: Vec<String>,
    #[serde(default)]
    error: String,
    #[serde(default)]
    user: User,
}

#[derive(Default, Deserialize)]
struct User {
    #[serde(default)]
    username: String,
    #[serde(default)]
    uid: String,
}

impl Reviews {
    pub(super) fn new(context: &BuildContext, api: Arc<ApiServer>, audience: &[String]) -> Self {
        Self {
            authenticator: Arc::clone(&context.name),
            api,
            audience: audience.to_vec(),
            approved: AnswerCache::new(context.services.cache.tokens),
            in_flight: SingleFlight::default(),
        }
    }

    /// Whether the API server accepts this token for one of our audiences, from this account.
    ///
    /// # Errors
    /// Rejected if it does not; unavailable if there is no answer.
    pub(super) async fn check(
        &self,
        token: &str,
        claims: &ServiceAccountClaims<'_>,
    ) -> Result<(), Decline> {
        let digest = TokenDigest::of(&self.authenticator, token);
        if self.approved.get(&digest).is_some() {
            return Ok(());
        }
        let review = self.in_flight.run(digest, || self.review(token).boxed()).await;
        let review = review.map_err(|why| Decline::Unavailable(why.to_string().into()))?;
        let (requested, status) = &*review;
        self.judge(status, claims)?;
        self.approved.insert(digest, (), *requested + APPROVAL_LIFETIME);
        Ok(())
    }

    fn review(&self, token: &str) -> impl Future<Output = Review> + Send + 'static {
        let review = json!({
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenReview",
            "spec": {"token": token, "audiences": self.audience},
        });
        let api = Arc::clone(&self.api);
        let requested = Instant::now();
        async move {
            let answer =
                api.post(ApiOperation::Review, PATH, review.to_string().into_bytes()).await;
            let answer = answer.map_err(|error| Arc::from(error.to_string()))?;
            let answer: Result<Answer, _> = serde_json::from_str(&answer);
            // The parser's error could quote the answer, which contains the token.
            let malformed = |_| Arc::from("the API server's token review is malformed");
            answer.map(|answer| Arc::new((requested, answer.status))).map_err(malformed)
        }
    }

    fn judge(&self, status: &Status, claims: &ServiceAccountClaims<'_>) -> Result<(), Decline> {
        if !status.authenticated {
            let why = excerpt_up_to(&status.error, 200);
            let why = format!("the API server does not accept the token: {why}");
            // It does not say which check failed.
            return Err(bad(why).because(Cause::Other).into());
        }
        // An API server without support for audiences names none: the token is for itself.
        if !status.audiences.iter().any(|one| self.audience.contains(one)) {
            let why = "the API server accepts the token, but for none of the configured audiences";
            return Err(bad(why.to_owned()).into());
        }
        match claims.is(&status.user.username) && status.user.uid == claims.uid {
            true => Ok(()),
            false => {
                let why = "according to the API server, the token belongs to another account";
                Err(bad(why.to_owned()).into())
            }
        }
    }
}

impl fmt::Debug for Reviews {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Reviews")
    }
}
