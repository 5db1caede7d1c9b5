//! The API server: how to reach it, and what its errors mean.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;
use callgate::sanitize::excerpt_up_to;
use http::Request;
use kube::Client;
use tokio::{sync::OnceCell, time::timeout};

use super::{
    access::{Access, TokenFile},
    client_error,
};
use crate::network::{REQUEST_TIMEOUT, install_tls_provider};

/// An operation of the API, for messages that name the missing permission.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ApiOperation {
    List,
    Watch,
    Discovery,
    Review,
}

impl ApiOperation {
    /// The rule that permits it.
    fn rule(self) -> &'static str {
        match self {
            Self::List | Self::Watch => {
                "a ClusterRole (or, with `namespaces`, a Role in each) with the rule apiGroups \
                 [\"\"], resources [\"serviceaccounts\"], verbs [\"list\", \"watch\"]"
            }
            Self::Discovery => {
                "the ClusterRole `system:service-account-issuer-discovery` (nonResourceURLs \
                 \"/.well-known/openid-configuration\", \"/openid/v1/jwks\", verbs [\"get\"])"
            }
            Self::Review => {
                "the ClusterRole `system:auth-delegator` (apiGroups [\"authentication.k8s.io\"], \
                 resources [\"tokenreviews\"], verbs [\"create\"])"
            }
        }
    }
}

impl fmt::Display for ApiOperation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::List => "list service accounts",
            Self::Watch => "watch service accounts",
            Self::Discovery => "read the issuer's keys",
            Self::Review => "review a token",
        })
    }
}

/// Why an operation failed. One line, without secrets.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum ApiError {
    #[error(
        "the API server does not permit Callgate to {0}: bind its service account to {rule}",
        rule = .0.rule()
    )]
    Forbidden(ApiOperation),
    #[error("cannot {0}: the API server does not accept Callgate's credentials (401)")]
    Unauthorized(ApiOperation),
    /// A watch cannot be resumed: list everything again.
    #[error("cannot {0}: the API server no longer has the version to continue from (410)")]
    Gone(ApiOperation),
    #[error("cannot {0}: the API server answered {1}: {2}")]
    Status(ApiOperation, u16, String),
    /// The server was not reached, or its answer was malformed.
    #[error("cannot {0}: the request to the API server failed: {1}")]
    Failed(ApiOperation, String),
    #[error("cannot {0}: the API server did not answer in time")]
    TimedOut(ApiOperation),
}

impl ApiError {
    pub(super) fn new(operation: ApiOperation, error: &kube::Error) -> Self {
        match error {
            kube::Error::Api(status) => Self::from_status(operation, status),
            other => Self::Failed(operation, client_error::describe(other)),
        }
    }

    pub(super) fn from_status(operation: ApiOperation, status: &kube::core::Status) -> Self {
        match status.code {
            401 => Self::Unauthorized(operation),
            403 => Self::Forbidden(operation),
            410 => Self::Gone(operation),
            code => Self::Status(operation, code, first_line(&status.message)),
        }
    }
}

/// Runs one request with a timeout.
pub(super) async fn run<T>(
    operation: ApiOperation,
    request: impl Future<Output = kube::Result<T>>,
) -> Result<T, ApiError> {
    let answer = timeout(REQUEST_TIMEOUT, request).await;
    let answer = answer.map_err(|_| ApiError::TimedOut(operation))?;
    answer.map_err(|error| ApiError::new(operation, &error))
}

/// The file of the bearer token is read again at most this often.
const TOKEN_CHECK: Duration = Duration::from_secs(5);

/// A connection to the API server, opened by the first request.
pub(super) struct ApiServer {
    access: Access,
    client: ArcSwap<OnceCell<Connected>>,
}

/// A client with the token that its file had.
struct Connected {
    client: Client,
    token: Option<TokenFile>,
    token_checked: Mutex<Instant>,
}

impl Connected {
    fn has_old_token(&self) -> bool {
        let Some(token) = &self.token else { return false };
        let mut checked = self.token_checked.lock().unwrap_or_else(PoisonError::into_inner);
        if checked.elapsed() < TOKEN_CHECK {
            return false;
        }
        *checked = Instant::now();
        token.is_replaced()
    }
}

impl ApiServer {
    pub(super) fn new(access: Access) -> Self {
        Self { access, client: ArcSwap::default() }
    }

    /// The client, which reloads rotated tokens and certificate authorities.
    pub(super) async fn client(&self, operation: ApiOperation) -> Result<Client, ApiError> {
        if self.client.load().get().is_some_and(Connected::has_old_token) {
            self.client.store(Arc::default());
        }
        let cell = self.client.load_full();
        let connected = cell.get_or_try_init(|| self.connect()).await;
        let connected = connected.map_err(|error| ApiError::Failed(operation, error))?;
        Ok(connected.client.clone())
    }

    async fn connect(&self) -> Result<Connected, String> {
        install_tls_provider();
        let (config, token) = self.access.config().await?;
        // Runs a credential plugin, if there is one, and waits for it.
        let client = tokio::task::spawn_blocking(|| Client::try_from(config)).await;
        let client = client.map_err(|_| "the Kubernetes client panicked".to_owned())?;
        let client = client.map_err(|error| client_error::describe(&error))?;
        Ok(Connected { client, token, token_checked: Mutex::new(Instant::now()) })
    }

    pub(super) async fn get(
        &self,
        operation: ApiOperation,
        path: &str,
    ) -> Result<String, ApiError> {
        self.send(operation, Request::get(path), Vec::new()).await
    }

    pub(super) async fn post(
        &self,
        operation: ApiOperation,
        path: &str,
        json: Vec<u8>,
    ) -> Result<String, ApiError> {
        let request = Request::post(path).header("content-type", "application/json");
        self.send(operation, request, json).await
    }

    async fn send(
        &self,
        operation: ApiOperation,
        request: http::request::Builder,
        body: Vec<u8>,
    ) -> Result<String, ApiError> {
        let client = self.client(operation).await?;
        // The keys are `application/jwk-set+json`, which "application/json" does not accept (406).
        let request = request.header("accept", "*/*").body(body);
        let malformed = |_| ApiError::Failed(operation, "the request is malformed".to_owned());
        let request = request.map_err(malformed)?;
        run(operation, client.request_text(request)).await
    }
}

impl fmt::Debug for ApiServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ApiServer")
    }
}

fn first_line(message: &str) -> String {
    excerpt_up_to(message.lines().next().unwrap_or_default(), 300)
}
