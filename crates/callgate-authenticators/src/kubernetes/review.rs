//! `verify = "token-review"`: the API server judges each token, and its yes is remembered shortly.

use std::{fmt, sync::Arc, time::Duration};

use callgate::authn::Decline;
use futures_util::FutureExt;
use quick_cache::sync::Cache;
use serde::Deserialize;
use serde_json::json;
use tokio::time::Instant;

use super::{
    api::{ApiOperation, ApiServer},
    token::ServiceAccountClaims,
};
use crate::{
    jws::claims::bad,
    kind::BuildContext,
    network::SingleFlight,
    verified_token_cache::{TokenDigest, last_tokens},
};

const PATH: &str = "/apis/authentication.k8s.io/v1/tokenreviews";
/// As long as the API server itself remembers a yes (`--authentication-token-webhook-cache…` of
/// its own token authenticator): a deleted pod's token ends within this time.
const REMEMBERED_FOR: Duration = Duration::from_secs(10);

/// Asks the API server, once for all who show a token at the same time, and remembers its yes by
/// the token's digest.
pub(super) struct Reviews {
    authenticator: Arc<str>,
    api: Arc<ApiServer>,
    audience: Vec<String>,
    good: Option<Cache<TokenDigest, Instant>>,
    in_flight: SingleFlight<TokenDigest, Review>,
}

/// When the API server was asked about a token, and what it says; or why it does not say.
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
    /// Remembers at most as many tokens as the configuration says.
    pub(super) fn new(context: &BuildContext, api: Arc<ApiServer>, audience: &[String]) -> Self {
        let authenticator = Arc::clone(&context.name);
        let good = last_tokens(context.services.cache.tokens);
        Self {
            authenticator,
            api,
            audience: audience.to_vec(),
            good,
            in_flight: SingleFlight::default(),
        }
    }

    /// Whether the API server takes this token for one of our audiences, from this account.
    ///
    /// # Errors
    /// Rejected if it does not; unavailable if it does not say.
    pub(super) async fn check(
        &self,
        token: &str,
        claims: &ServiceAccountClaims<'_>,
    ) -> Result<(), Decline> {
        let digest = TokenDigest::of(&self.authenticator, token);
        if self.remembers(&digest) {
            return Ok(());
        }
        let review = self.in_flight.ask(digest, || self.ask(token).boxed()).await;
        let review = review.map_err(|why| Decline::Unavailable(why.to_string().into()))?;
        let (asked, status) = &*review;
        self.judge(status, claims)?;
        if let Some(good) = &self.good {
            good.insert(digest, *asked);
        }
        Ok(())
    }

    fn remembers(&self, digest: &TokenDigest) -> bool {
        let asked = self.good.as_ref().and_then(|good| good.get(digest));
        asked.is_some_and(|asked| asked.elapsed() < REMEMBERED_FOR)
    }

    /// The question. It outlives whoever asked it, as long as others wait.
    fn ask(&self, token: &str) -> impl Future<Output = Review> + Send + 'static {
        let question = json!({
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenReview",
            "spec": {"token": token, "audiences": self.audience},
        });
        let (api, question) = (Arc::clone(&self.api), question.to_string().into_bytes());
        let asked = Instant::now();
        async move {
            let answer = api.post(ApiOperation::Review, PATH, question).await;
            let answer = answer.map_err(|error| Arc::from(error.to_string()))?;
            let answer: Result<Answer, _> = serde_json::from_str(&answer);
            // The error of the parser could quote the answer, which holds the token.
            let malformed = |_| Arc::from("the API server's review is malformed");
            answer.map(|answer| Arc::new((asked, answer.status))).map_err(malformed)
        }
    }

    fn judge(&self, status: &Status, claims: &ServiceAccountClaims<'_>) -> Result<(), Decline> {
        if !status.authenticated {
            let why: String = status.error.chars().take(200).flat_map(char::escape_debug).collect();
            return Err(bad(format!("the API server does not accept it: {why}")).into());
        }
        // An API server that knows nothing of audiences answers without: that is a token for itself.
        if !status.audiences.iter().any(|one| self.audience.contains(one)) {
            return Err(
                bad("the API server accepts it, but for none of our audiences".to_owned()).into()
            );
        }
        match claims.is(&status.user.username) && status.user.uid == claims.uid {
            true => Ok(()),
            false => Err(bad("the API server knows it as another account's".to_owned()).into()),
        }
    }
}

impl fmt::Debug for Reviews {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Reviews")
    }
}
