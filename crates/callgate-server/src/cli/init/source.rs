//! Where the users of the written configuration come from.

use callgate::secret::Secret;
use callgate_authenticators::{http_client::HttpUrl, oidc::check_issuer};
use serde_json::Value;

use super::{Args, InitError};

/// The bearer token with which Callgate identifies itself to the web service.
const BEARER_FILE: &str = "web-service.token";

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Source {
    /// A users file with random passwords.
    Users,
    /// A users file with the users of nats-by-example.
    Demo,
    /// The tokens of an OpenID issuer.
    Oidc(String),
    /// The service accounts of a Kubernetes cluster.
    Kubernetes,
    /// The answers of a web service at this URL.
    Http(String),
}

impl Source {
    pub(super) fn of(args: &Args) -> Result<Self, InitError> {
        if let Some(issuer) = &args.oidc {
            let invalid = |error| InitError::Flag { flag: "--oidc", error };
            check_issuer(issuer).map_err(invalid)?;
            check_url(issuer).map_err(invalid)?;
            if issuer.contains(['?', '#']) {
                let error = "an issuer has no query and no fragment: write the `iss` of a token";
                return Err(invalid(error.to_owned()));
            }
            return Ok(Self::Oidc(issuer.clone()));
        }
        if let Some(url) = &args.http {
            check_url(url).map_err(|error| InitError::Flag { flag: "--http", error })?;
            return Ok(Self::Http(url.clone()));
        }
        Ok(match (args.kubernetes, args.demo) {
            (true, _) => Self::Kubernetes,
            (false, true) => Self::Demo,
            (false, false) => Self::Users,
        })
    }

    /// The part of `callgate.toml` that says who may log in, and what with.
    pub(super) fn tables(&self) -> String {
        match self {
            Self::Users | Self::Demo => USERS.to_owned(),
            Self::Oidc(issuer) => {
                let insecure = if is_https(issuer) { "" } else { INSECURE_HTTP };
                let table = OIDC.replace("{issuer}", &quoted(issuer)) + insecure;
                table + &OWN_SUBJECTS.replace("{authenticator}", "oidc")
            }
            Self::Kubernetes => KUBERNETES.to_owned(),
            Self::Http(url) => {
                HTTP.replace("{url}", &quoted(url))
                    + &OWN_SUBJECTS.replace("{authenticator}", "web-service")
            }
        }
    }

    /// The flags of `explain` for a login.
    pub(super) fn example_login(&self) -> &'static str {
        match self {
            Self::Users | Self::Demo | Self::Http(_) => "--user alice --password @FILE",
            Self::Oidc(_) | Self::Kubernetes => "--token @FILE",
        }
    }

    /// Whether logins depend on an address that `check --connect` can reach from here.
    pub(super) fn is_remote(&self) -> bool {
        match self {
            Self::Oidc(_) | Self::Http(_) => true,
            Self::Users | Self::Demo | Self::Kubernetes => false,
        }
    }

    /// Files that only this source needs.
    pub(super) fn files(&self) -> Result<Vec<(&'static str, String)>, InitError> {
        match self {
            Self::Users | Self::Demo | Self::Oidc(_) | Self::Kubernetes => Ok(Vec::new()),
            Self::Http(_) => {
                let bearer = Secret::random().map_err(callgate::keys::KeyError::from)?;
                Ok(vec![(BEARER_FILE, format!("{}\n", bearer.expose()))])
            }
        }
    }

    pub(super) fn notes(&self) -> Vec<String> {
        match self {
            Self::Users | Self::Kubernetes => Vec::new(),
            Self::Demo => {
                vec!["demo users: sys/sys, alice/alice, bob/bob (not for production)".to_owned()]
            }
            Self::Oidc(_) => vec![
                "tokens must be for the audience `nats` (authenticators.oidc.audience)".to_owned(),
            ],
            Self::Http(_) => {
                vec![format!("the web service must require the bearer token in {BEARER_FILE}")]
            }
        }
    }
}

/// Whether Callgate may connect to this address. Plain HTTP stays on this machine.
fn check_url(text: &str) -> Result<(), String> {
    let url = HttpUrl::parse(text, true).map_err(|error| error.to_string())?;
    match url.is_https() || url.is_loopback() {
        true => Ok(()),
        false => Err(format!("{url} is not https: plain http is only for this machine")),
    }
}

fn is_https(url: &str) -> bool {
    HttpUrl::parse(url, false).is_ok()
}

/// A TOML string; JSON has the same escapes.
fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}

const USERS: &str = r#"[[authenticators]]
name = "users"
[authenticators.users]
file = "users.json"
"#;

const OIDC: &str = r#"[[authenticators]]
name = "oidc"
account = "APP"
[authenticators.oidc]
issuer = {issuer}
audience = ["nats"]                  # tokens must be issued for this audience
"#;

const INSECURE_HTTP: &str =
    "insecure_http = true                 # the issuer is on this machine\n";

const HTTP: &str = r#"[[authenticators]]
name = "web-service"
account = "APP"
[authenticators.http]
url = {url}
bearer = { file = "web-service.token" }   # sent with each question, so that the service knows Callgate
# Limits what the service's answers can grant.
[authenticators.ceiling]
publish = ["{{ encode(user) }}.>"]
subscribe = ["{{ encode(user) }}.>"]
"#;

const OWN_SUBJECTS: &str = r#"
# Every user may use the subjects below its own name. Add roles, and bindings with `when`, for groups.
[roles.own]
publish = ["{{ encode(user) }}.>"]
subscribe = ["{{ encode(user) }}.>"]
inbox = "private"                    # clients set the inbox prefix _INBOX_ followed by encode(user)

[[bindings]]
authenticator = "{authenticator}"
roles = ["own"]
"#;

const KUBERNETES: &str = r#"[[authenticators]]
name = "kubernetes"
account = "APP"
# Without `kubeconfig`: in a pod its own cluster, elsewhere the current context of kubectl.
[authenticators.kubernetes]
audience = ["nats"]                  # pods mount a token for this audience
# And the subjects below the namespace, and one response to each message. `check` warns about that: a
# pod can choose the subject of its response. Add `responses = false` if no pod answers requests.
defaults = { inbox = "private" }
# Limits what annotations of service accounts can grant.
[authenticators.ceiling]
publish = ["{{ namespace }}.>"]
subscribe = ["{{ namespace }}.>"]
"#;
