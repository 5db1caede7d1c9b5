//! Where a configuration comes from: `--config`, or flags and variables.

use std::{env::VarError, path::PathBuf, sync::Arc};

use callgate::secret::Secret;
use callgate_authenticators::kind::{NoObserver, Registry};
use clap::Args;

use crate::config::{BuildEnv, Flag, Overrides};

/// The flags of `serve`, which `check` and `explain` take too. A secret is written `@FILE` or
/// `env:NAME`; as plain text it works, and other users of the machine can read it.
#[derive(Debug, Clone, Args)]
pub(super) struct Source {
    /// The configuration file (.toml, .yaml or .json)
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// NATS servers, separated by commas [env: CALLGATE_NATS_URL]
    #[arg(long, value_name = "URL")]
    nats_url: Option<String>,
    /// Callgate's own user at NATS [env: CALLGATE_NATS_USER]
    #[arg(long, value_name = "NAME")]
    nats_user: Option<String>,
    /// Its password [env: CALLGATE_NATS_PASSWORD]
    #[arg(long, value_name = "@FILE|env:NAME")]
    nats_password: Option<String>,
    /// A credentials file instead of user and password [env: CALLGATE_NATS_CREDS]
    #[arg(long, value_name = "FILE")]
    nats_creds: Option<PathBuf>,
    /// The seed of the account nkey that signs (SA…) [env: CALLGATE_ISSUER_SEED]
    #[arg(long, value_name = "@FILE|env:NAME")]
    issuer_seed: Option<String>,
    /// The seed of the curve key that opens requests (SX…) [env: CALLGATE_XKEY_SEED]
    #[arg(long, value_name = "@FILE|env:NAME")]
    xkey_seed: Option<String>,
    /// A users file; not together with --config [env: CALLGATE_USERS]
    #[arg(long, value_name = "FILE")]
    users: Option<PathBuf>,
    /// Where /livez, /readyz and /metrics are served, empty for nowhere [env: CALLGATE_ADMIN_LISTEN]
    #[arg(long, value_name = "ADDRESS")]
    admin_listen: Option<String>,
}

impl Source {
    /// What flags and variables say together; a flag goes before its variable.
    ///
    /// # Errors
    /// If a users file is named beside a configuration file, or nothing is named at all, or a variable
    /// is not text.
    pub(super) fn overrides(&self) -> Result<Overrides, String> {
        let path = |flag: &Option<PathBuf>, name| {
            flag.clone().or_else(|| std::env::var_os(name).map(PathBuf::from))
        };
        let mut overrides = Overrides {
            config: self.config.clone(),
            nats_url: text(&self.nats_url, "CALLGATE_NATS_URL")?,
            nats_user: text(&self.nats_user, "CALLGATE_NATS_USER")?,
            nats_password: secret(&self.nats_password, "CALLGATE_NATS_PASSWORD")?,
            nats_creds: path(&self.nats_creds, "CALLGATE_NATS_CREDS"),
            issuer_seed: secret(&self.issuer_seed, "CALLGATE_ISSUER_SEED")?,
            xkey_seed: secret(&self.xkey_seed, "CALLGATE_XKEY_SEED")?,
            users: path(&self.users, "CALLGATE_USERS"),
            admin_listen: text(&self.admin_listen, "CALLGATE_ADMIN_LISTEN")?,
        };
        // A login by flags replaces one of another kind by variables, as both replace the file's.
        match (self.nats_user.is_some() || self.nats_password.is_some(), &self.nats_creds) {
            (true, None) => overrides.nats_creds = None,
            (false, Some(_)) => (overrides.nats_user, overrides.nats_password) = (None, None),
            (true, Some(_)) | (false, None) => {}
        }
        if overrides.config.is_some() && overrides.users.is_some() {
            return Err("--users (or CALLGATE_USERS) does not go with --config: name the users \
                        file in the configuration, as [authenticators.users] file"
                .to_owned());
        }
        if overrides.is_empty() {
            return Err("no configuration: give --config FILE, or flags such as --nats-url, \
                        --issuer-seed and --users; `callgate init DIR` writes one to start from"
                .to_owned());
        }
        Ok(overrides)
    }
}

/// A flag, or else its variable. One that is there and no text must not count as absent: what is below
/// it would be taken in its place.
fn text(flag: &Option<String>, name: &str) -> Result<Option<String>, String> {
    match (flag, std::env::var(name)) {
        (Some(text), _) => Ok(Some(text.clone())),
        (None, Ok(text)) => Ok(Some(text)),
        (None, Err(VarError::NotPresent)) => Ok(None),
        (None, Err(VarError::NotUnicode(_))) => {
            Err(format!("the environment variable `{name}` is not UTF-8 text: set or unset it"))
        }
    }
}

fn secret(flag: &Option<String>, name: &str) -> Result<Option<Flag>, String> {
    let on_command_line = flag.is_some();
    let text = text(flag, name)?;
    Ok(text.map(|text| Flag { text: Secret::new(text), on_command_line }))
}

/// For commands that run once: nothing before them, nobody who watches.
pub(super) fn build_env(registry: Registry, background: bool) -> BuildEnv {
    BuildEnv { registry, shared: None, generation: 0, background, observer: Arc::new(NoObserver) }
}
