//! The API server: how it is reached, and what its refusals mean.

use std::{fmt, path::PathBuf, time::Duration};

use http::Request;
use kube::{
    Client, Config,
    config::{KubeConfigOptions, Kubeconfig},
};
use tokio::{sync::OnceCell, time::timeout};

use callgate_config::Sources;

/// How long one answer may take. Watches have limits of their own.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);
/// Where a pod has its own token, if it has one.
const IN_CLUSTER_TOKEN: &str = "/var/run/secrets/kubernetes.io/serviceaccount/token";

/// Which cluster is meant, and who we are there.
#[derive(Debug, Clone)]
pub(super) enum Access {
    /// The one that this pod runs in.
    InCluster,
    /// A context of a kubeconfig; boxed, since it holds whole certificates.
    Kubeconfig(Box<Kubeconfig>, Option<String>),
}

/// Why there is no access. One line, for the configuration's report.
#[derive(Debug, thiserror::Error)]
pub(super) enum AccessError {
    #[error(
        "there is no cluster: this is no pod (`KUBERNETES_SERVICE_HOST` and the mounted token are \
         missing) and there is no usual kubeconfig ({0}); set `kubeconfig`"
    )]
    NoCluster(String),
    #[error("the kubeconfig cannot be used: {0}")]
    Unreadable(String),
    #[error("the kubeconfig has no context `{0}`; it has: {1}")]
    NoContext(String, String),
    #[error("the kubeconfig names no `current-context`: set `context`")]
    NoCurrentContext,
    #[error("the kubeconfig's cluster needs a proxy (`proxy-url`), which is not supported")]
    Proxy,
}

impl Access {
    /// The cluster of these settings: a kubeconfig if one is named (or a context of the usual one),
    /// else the cluster that this is a pod of, else that of the usual kubeconfig.
    pub(super) fn find(
        kubeconfig: Option<PathBuf>,
        context: Option<String>,
        sources: &Sources,
    ) -> Result<Self, AccessError> {
        let is_pod = || {
            let host = sources.variable("KUBERNETES_SERVICE_HOST");
            host.is_some_and(|host| !host.is_empty()) && PathBuf::from(IN_CLUSTER_TOKEN).exists()
        };
        let read = match kubeconfig {
            Some(path) => {
                // Read once by us, so that the service notices when the file changes.
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
        // Who is asked is decided by the configuration, not by proxy variables; and who asks again
        // is decided here.
        config.proxy_url = None;
        config.default_retry = false;
        config.connect_timeout = Some(PATIENCE);
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

/// Something that we ask for, and the rule that lets us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ApiOperation {
    List,
    Watch,
    Discovery,
    Review,
}

impl ApiOperation {
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

/// Why the API server gave no good answer. One line, without secrets.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum ApiError {
    /// We may not.
    #[error("the API server forbids us to {0}: bind our service account to {rule}", rule = .0.rule())]
    Forbidden(ApiOperation),
    /// It does not know us.
    #[error("to {0}: the API server does not accept our own credentials (401)")]
    Unauthorized(ApiOperation),
    /// What we go on from is gone: everything must be listed again.
    #[error("to {0}: the API server no longer knows the version to go on from (410)")]
    Gone(ApiOperation),
    /// Anything else that it says.
    #[error("to {0}: the API server answers {1}: {2}")]
    Status(ApiOperation, u16, String),
    /// It was not reached, or spoke nonsense.
    #[error("to {0}: the API server is not reached: {1}")]
    Failed(ApiOperation, String),
    /// It says nothing.
    #[error("to {0}: no answer of the API server in time")]
    TimedOut(ApiOperation),
}

impl ApiError {
    pub(super) fn of(operation: ApiOperation, error: &kube::Error) -> Self {
        match error {
            kube::Error::Api(status) => Self::of_status(operation, status),
            other => Self::Failed(operation, root_cause(other)),
        }
    }

    pub(super) fn of_status(operation: ApiOperation, status: &kube::core::Status) -> Self {
        match status.code {
            401 => Self::Unauthorized(operation),
            403 => Self::Forbidden(operation),
            410 => Self::Gone(operation),
            code => Self::Status(operation, code, short(&status.message)),
        }
    }
}

/// A connection to the API server, made when it is first needed.
pub(super) struct ApiServer {
    access: Access,
    client: OnceCell<Client>,
}

impl ApiServer {
    pub(super) fn new(access: Access) -> Self {
        Self { access, client: OnceCell::new() }
    }

    /// The client. It reads rotated tokens and authorities again by itself.
    pub(super) async fn client(&self, operation: ApiOperation) -> Result<Client, ApiError> {
        let client = self.client.get_or_try_init(|| async {
            // kube takes the process's provider; if there is none yet, it is ours.
            let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
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
        self.ask(operation, Request::get(path), Vec::new()).await
    }

    pub(super) async fn post(
        &self,
        operation: ApiOperation,
        path: &str,
        json: Vec<u8>,
    ) -> Result<String, ApiError> {
        let request = Request::post(path).header("content-type", "application/json");
        self.ask(operation, request, json).await
    }

    async fn ask(
        &self,
        operation: ApiOperation,
        request: http::request::Builder,
        body: Vec<u8>,
    ) -> Result<String, ApiError> {
        let client = self.client(operation).await?;
        // The keys are `application/jwk-set+json`, which "application/json" does not accept (406).
        let request = request.header("accept", "*/*").body(body);
        let request = request.map_err(|error| ApiError::Failed(operation, error.to_string()))?;
        let answer = timeout(PATIENCE, client.request_text(request)).await;
        let answer = answer.map_err(|_| ApiError::TimedOut(operation))?;
        answer.map_err(|error| ApiError::of(operation, &error))
    }
}

impl fmt::Debug for ApiServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ApiServer")
    }
}

fn root_cause(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    short(&cause.to_string())
}

fn one_line(error: &dyn std::error::Error) -> String {
    short(&error.to_string())
}

fn short(text: &str) -> String {
    text.lines().next().unwrap_or_default().chars().take(300).flat_map(char::escape_debug).collect()
}
