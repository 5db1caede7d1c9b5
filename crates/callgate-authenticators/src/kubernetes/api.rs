//! The API server: how to reach it, and what its errors mean.

use std::{fmt, path::PathBuf};

use callgate_config::Sources;
use http::Request;
use kube::{
    Client, Config,
    config::{KubeConfigOptions, Kubeconfig},
};
use tokio::{sync::OnceCell, time::timeout};

use callgate::sanitize::excerpt_up_to;

use crate::network::{REQUEST_TIMEOUT, install_tls_provider, root_cause};

/// The path of a pod's own token.
const IN_CLUSTER_TOKEN: &str = "/var/run/secrets/kubernetes.io/serviceaccount/token";

/// The cluster, and the credentials to use there.
#[derive(Debug, Clone)]
pub(super) enum Access {
    /// The cluster that this pod runs in.
    InCluster,
    /// A context of a kubeconfig; boxed, because it holds whole certificates.
    Kubeconfig(Box<Kubeconfig>, Option<String>),
}

/// Why there is no access. One line, for the configuration's report.
#[derive(Debug, thiserror::Error)]
pub(super) enum AccessError {
    #[error(
        "no cluster found: this is not a pod (`KUBERNETES_SERVICE_HOST` and the mounted token are \
         missing), and the default kubeconfig cannot be used ({0}); set `kubeconfig`"
    )]
    NoCluster(String),
    #[error("the kubeconfig cannot be used: {0}")]
    Unreadable(String),
    #[error("the kubeconfig has no context `{0}`; it has: {1}")]
    NoContext(String, String),
    #[error("the kubeconfig names no `current-context`: set `context`")]
    NoCurrentContext,
    #[error("the kubeconfig's cluster requires a proxy (`proxy-url`), which is not supported")]
    Proxy,
}

impl Access {
    /// Finds the cluster: of the given kubeconfig (or context of the default one), otherwise the one
    /// that this pod runs in, otherwise that of the default kubeconfig.
    pub(super) fn find(
        kubeconfig: Option<PathBuf>,
        context: Option<String>,
        sources: &Sources,
    ) -> Result<Self, AccessError> {
        let is_pod = || {
            let host = sources.variable("KUBERNETES_SERVICE_HOST").ok().flatten();
            host.is_some_and(|host| !host.is_empty()) && PathBuf::from(IN_CLUSTER_TOKEN).exists()
        };
        let read = match kubeconfig {
            Some(path) => {
                // Registers the file, so that the service notices when it changes.
                sources.read(&path).map_err(|error| AccessError::Unreadable(error.to_string()))?;
                Kubeconfig::read_from(&path)
                    .map_err(|error| AccessError::Unreadable(one_line(&error)))?
            }
            None if context.is_none() && is_pod() => return Ok(Self::InCluster),
            None => Kubeconfig::read().map_err(|error| AccessError::NoCluster(one_line(&error)))?,
        };
        check(&read, context.as_deref())?;
        Ok(Self::Kubeconfig(Box::new(read), context))
    }

    async fn config(&self) -> Result<Config, String> {
        let mut config = match self {
            Self::InCluster => Config::incluster().map_err(|error| one_line(&error))?,
            Self::Kubeconfig(kubeconfig, context) => {
                let options = KubeConfigOptions { context: context.clone(), ..Default::default() };
                Config::from_custom_kubeconfig((**kubeconfig).clone(), &options)
                    .await
                    .map_err(|error| one_line(&error))?
            }
        };
        // The configuration, not a proxy variable, decides where requests go; retries are decided
        // by the callers.
        config.proxy_url = None;
        config.default_retry = false;
        config.connect_timeout = Some(REQUEST_TIMEOUT);
        Ok(config)
    }
}

fn check(kubeconfig: &Kubeconfig, context: Option<&str>) -> Result<(), AccessError> {
    let wanted = context.or(kubeconfig.current_context.as_deref()).filter(|name| !name.is_empty());
    let wanted = wanted.ok_or(AccessError::NoCurrentContext)?;
    let Some(found) = kubeconfig.contexts.iter().find(|one| one.name == wanted) else {
        let names: Vec<_> = kubeconfig.contexts.iter().map(|one| one.name.as_str()).collect();
        return Err(AccessError::NoContext(wanted.escape_debug().to_string(), names.join(", ")));
    };
    let cluster = found.context.as_ref().map(|context| context.cluster.as_str());
    let cluster = kubeconfig.clusters.iter().find(|one| Some(one.name.as_str()) == cluster);
    let cluster = cluster.and_then(|cluster| cluster.cluster.as_ref());
    match cluster.and_then(|cluster| cluster.proxy_url.as_deref()) {
        Some(proxy) if !proxy.is_empty() => Err(AccessError::Proxy),
        Some(_) | None => Ok(()),
    }
}

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
            other => Self::Failed(operation, one_line(root_cause(other))),
        }
    }

    pub(super) fn from_status(operation: ApiOperation, status: &kube::core::Status) -> Self {
        match status.code {
            401 => Self::Unauthorized(operation),
            403 => Self::Forbidden(operation),
            410 => Self::Gone(operation),
            code => Self::Status(operation, code, one_line(&status.message)),
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

/// A connection to the API server, opened by the first request.
pub(super) struct ApiServer {
    access: Access,
    client: OnceCell<Client>,
}

impl ApiServer {
    pub(super) fn new(access: Access) -> Self {
        Self { access, client: OnceCell::new() }
    }

    /// The client, which reloads rotated tokens and certificate authorities.
    pub(super) async fn client(&self, operation: ApiOperation) -> Result<Client, ApiError> {
        let client = self.client.get_or_try_init(|| async {
            install_tls_provider();
            let config = self.access.config().await?;
            Client::try_from(config).map_err(|error| one_line(&error))
        });
        client.await.cloned().map_err(|error| ApiError::Failed(operation, error))
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
        let request = request.map_err(|error| ApiError::Failed(operation, error.to_string()))?;
        run(operation, client.request_text(request)).await
    }
}

impl fmt::Debug for ApiServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ApiServer")
    }
}

fn one_line(error: &(impl fmt::Display + ?Sized)) -> String {
    excerpt_up_to(error.to_string().lines().next().unwrap_or_default(), 300)
}
