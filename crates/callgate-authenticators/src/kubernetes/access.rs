//! How to reach the cluster, and the credentials to use there.

use std::{
    env, fmt,
    path::{Path, PathBuf},
};

use callgate::secret::Secret;
use callgate_config::{SourceError, Sources};
use kube::{
    Config,
    config::{AuthInfo, ExecInteractiveMode, KubeConfigOptions, Kubeconfig},
};
use sha2::{Digest, Sha256};

use super::client_error;
use crate::network::REQUEST_TIMEOUT;

/// The path of a pod's own token.
const IN_CLUSTER_TOKEN: &str = "/var/run/secrets/kubernetes.io/serviceaccount/token";

/// The cluster, and the credentials to use there.
#[derive(Clone)]
pub(super) enum Access {
    /// The cluster that this pod runs in.
    InCluster,
    /// A context of a kubeconfig; boxed, because it holds whole certificates.
    Kubeconfig(Box<KubeconfigAccess>),
}

/// A context of a kubeconfig.
#[derive(Clone)]
pub(super) struct KubeconfigAccess {
    kubeconfig: Kubeconfig,
    context: Option<String>,
    /// Digest of the kubeconfig and of the client certificate and key that it names.
    digest: String,
}

/// Why there is no access. One line, for the configuration's report.
#[derive(Debug, thiserror::Error)]
pub(super) enum AccessError {
    #[error(
        "no cluster found: this is not a pod (`KUBERNETES_SERVICE_HOST` and the mounted token are \
         missing), and the default kubeconfig cannot be used ({0}); set `kubeconfig`"
    )]
    NoCluster(String),
    #[error("the kubeconfig is not usable: {0}")]
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
        let mut read = match kubeconfig {
            Some(path) => {
                // Registers the file, so that the service notices when it changes.
                sources.read(&path).map_err(|error| AccessError::Unreadable(error.to_string()))?;
                Kubeconfig::read_from(&path)
                    .map_err(|error| AccessError::Unreadable(client_error::of_kubeconfig(&error)))?
            }
            None if context.is_none() && is_pod() => return Ok(Self::InCluster),
            None => {
                for path in default_kubeconfigs() {
                    // If it cannot be read, the client says so.
                    drop(sources.read(&path));
                }
                Kubeconfig::read()
                    .map_err(|error| AccessError::NoCluster(client_error::of_kubeconfig(&error)))?
            }
        };
        check(&read, context.as_deref())?;
        for user in read.auth_infos.iter_mut().filter_map(|named| named.auth_info.as_mut()) {
            if let Some(plugin) = &mut user.exec {
                // A service has no terminal, and what a plugin prints there may be secret.
                plugin.interactive_mode = Some(ExecInteractiveMode::Never);
            }
        }
        let digest = digest(&read, sources);
        Ok(Self::Kubeconfig(Box::new(KubeconfigAccess { kubeconfig: read, context, digest })))
    }

    /// Differs if another cluster or other credentials are used.
    pub(super) fn id(&self) -> &str {
        match self {
            Self::InCluster => "",
            Self::Kubeconfig(access) => &access.digest,
        }
    }

    /// The settings of a client, and the file that its bearer token comes from.
    pub(super) async fn config(&self) -> Result<(Config, Option<TokenFile>), String> {
        let mut config = match self {
            Self::InCluster => {
                Config::incluster().map_err(|error| client_error::describe(&error))?
            }
            Self::Kubeconfig(access) => {
                let KubeconfigAccess { kubeconfig, context, digest: _ } = &**access;
                let options = KubeConfigOptions { context: context.clone(), ..Default::default() };
                Config::from_custom_kubeconfig(kubeconfig.clone(), &options)
                    .await
                    .map_err(|error| client_error::of_kubeconfig(&error))?
            }
        };
        // The configuration, not a proxy variable, decides where requests go; retries are decided
        // by the callers.
        config.proxy_url = None;
        config.default_retry = false;
        config.connect_timeout = Some(REQUEST_TIMEOUT);
        let token = read_token(&mut config.auth_info)?;
        Ok((config, token))
    }
}

/// Reads the file of the bearer token, if credentials that count before it are absent: the client would
/// send a trailing line break as part of the token.
fn read_token(user: &mut AuthInfo) -> Result<Option<TokenFile>, String> {
    if user.token.is_some() || user.username.is_some() {
        return Ok(None);
    }
    let Some(path) = user.token_file.take() else { return Ok(None) };
    let file = TokenFile::read(path.into()).map_err(|error| format!("the token file: {error}"))?;
    user.token = Some(file.token.expose().to_owned().into());
    Ok(Some(file))
}

/// A file with a bearer token, which something else replaces before the token expires.
pub(super) struct TokenFile {
    path: PathBuf,
    token: Secret,
}

impl TokenFile {
    fn read(path: PathBuf) -> Result<Self, SourceError> {
        let token = Sources::new(".").secret_file(&path)?;
        Ok(Self { path, token })
    }

    /// Whether the file has another token now. If it cannot be read, the old token stays in use.
    pub(super) fn is_replaced(&self) -> bool {
        Self::read(self.path.clone()).is_ok_and(|now| now.token.expose() != self.token.expose())
    }
}

impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::InCluster => "InCluster",
            Self::Kubeconfig(_) => "Kubeconfig",
        })
    }
}

/// Where the client looks for the default kubeconfig.
fn default_kubeconfigs() -> Vec<PathBuf> {
    match env::var_os("KUBECONFIG").filter(|paths| !paths.is_empty()) {
        Some(paths) => env::split_paths(&paths).collect(),
        None => env::home_dir().map(|home| home.join(".kube").join("config")).into_iter().collect(),
    }
}

/// Registers the files that the client reads only once, and includes them.
fn digest(kubeconfig: &Kubeconfig, sources: &Sources) -> String {
    let mut digest = Sha256::new();
    digest.update(serde_json::to_vec(kubeconfig).unwrap_or_default());
    let users = kubeconfig.auth_infos.iter().filter_map(|named| named.auth_info.as_ref());
    let files = |user: &AuthInfo| [user.client_certificate.clone(), user.client_key.clone()];
    for path in users.flat_map(files).flatten() {
        // If it cannot be read, the client says so.
        let content = sources.read(Path::new(&path)).map(|content| Sha256::digest(&*content));
        digest.update(content.unwrap_or_default());
    }
    data_encoding::HEXLOWER.encode(&digest.finalize())
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
