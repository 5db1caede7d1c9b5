//! Sources of the configuration: `--config`, flags and environment variables.

use std::{path::PathBuf, sync::Arc};

use callgate::secret::Secret;
use callgate_authenticators::kind::Registry;
use callgate_config::{Format, Sources};
use clap::Args;
use zeroize::Zeroizing;

use super::{output::read_stdin, progress::LoadingProgress};
use crate::config::{BuildEnv, Flag, Input, Overrides};

/// Flags shared by `serve`, `check` and `explain`. Secrets are given as `@FILE` or `env:NAME`; a
/// literal value works too, but other users of the machine can read it.
#[derive(Debug, Clone, Default, Args)]
pub(super) struct Source {
    /// Configuration file (.toml, .yaml or .json), or `-` for standard input [env: CALLGATE_CONFIG]
    #[arg(long, short, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Format of a configuration from standard input: toml, yaml or json
    #[arg(long, value_name = "FORMAT")]
    format: Option<Format>,
    /// NATS servers, separated by commas [env: CALLGATE_NATS_URL]
    #[arg(long, value_name = "URL")]
    nats_url: Option<String>,
    /// User that Callgate logs in to NATS as [env: CALLGATE_NATS_USER]
    #[arg(long, value_name = "NAME")]
    nats_user: Option<String>,
    /// Password of that user [env: CALLGATE_NATS_PASSWORD]
    #[arg(long, value_name = "@FILE|env:NAME")]
    nats_password: Option<String>,
    /// Credentials file, instead of user and password [env: CALLGATE_NATS_CREDS]
    #[arg(long, value_name = "FILE")]
    nats_creds: Option<PathBuf>,
    /// Seed of the account nkey that signs responses (SA…) [env: CALLGATE_ISSUER_SEED]
    #[arg(long, value_name = "@FILE|env:NAME")]
    issuer_seed: Option<String>,
    /// Seed of the curve key that decrypts requests (SX…) [env: CALLGATE_XKEY_SEED]
    #[arg(long, value_name = "@FILE|env:NAME")]
    xkey_seed: Option<String>,
    /// Users file; cannot be combined with --config [env: CALLGATE_USERS]
    #[arg(long, value_name = "FILE")]
    users: Option<PathBuf>,
    /// Address for /livez, /readyz and /metrics; empty disables it [env: CALLGATE_ADMIN_LISTEN]
    #[arg(long, value_name = "ADDRESS")]
    admin_listen: Option<String>,
}

impl Source {
    /// Merges flags and environment variables; a flag takes precedence over its variable.
    ///
    /// # Errors
    /// If a users file is combined with a configuration file, if no source is given, if standard input
    /// has no format or cannot be read, or if a variable is not UTF-8 or is in quotes.
    pub(super) fn overrides(&self) -> Result<Overrides, String> {
        self.overrides_of(self.config.as_ref())
    }

    /// The same with a configuration file from an argument, which replaces `--config`.
    pub(super) fn overrides_of(&self, config: Option<&PathBuf>) -> Result<Overrides, String> {
        let path = |flag: &Option<PathBuf>, name| match flag {
            Some(path) => Ok::<_, String>(Some(path.clone())),
            None => Ok(variable(name)?.map(PathBuf::from)),
        };
        let (config, input) = match self.config_path(config)? {
            Some(path) if path.as_os_str() == "-" => (None, Some(self.read_input()?)),
            Some(_) | None if self.format.is_some() => {
                return Err(
                    "--format is only for a configuration from standard input: add --config -"
                        .to_owned(),
                );
            }
            config => (config, None),
        };
        let mut overrides = Overrides {
            config,
            input,
            nats_url: text(&self.nats_url, "CALLGATE_NATS_URL")?,
            nats_user: text(&self.nats_user, "CALLGATE_NATS_USER")?,
            nats_password: secret(&self.nats_password, "CALLGATE_NATS_PASSWORD")?,
            nats_creds: path(&self.nats_creds, "CALLGATE_NATS_CREDS")?,
            issuer_seed: secret(&self.issuer_seed, "CALLGATE_ISSUER_SEED")?,
            xkey_seed: secret(&self.xkey_seed, "CALLGATE_XKEY_SEED")?,
            users: path(&self.users, "CALLGATE_USERS")?,
            admin_listen: text(&self.admin_listen, "CALLGATE_ADMIN_LISTEN")?,
        };
        // A login given by flags replaces one of another kind given by variables.
        match (self.nats_user.is_some() || self.nats_password.is_some(), &self.nats_creds) {
            (true, None) => overrides.nats_creds = None,
            (false, Some(_)) => (overrides.nats_user, overrides.nats_password) = (None, None),
            (true, Some(_)) | (false, None) => {}
        }
        let has_file = overrides.config.is_some() || overrides.input.is_some();
        if has_file && overrides.users.is_some() {
            return Err(
                "--users (or CALLGATE_USERS) cannot be combined with --config: set the users \
                        file in the configuration, as [authenticators.users] file"
                    .to_owned(),
            );
        }
        if overrides.is_empty() {
            return Err("no configuration: pass --config FILE, or flags such as --nats-url, \
                        --issuer-seed and --users; `callgate init DIR` writes one to start from"
                .to_owned());
        }
        Ok(overrides)
    }
}

impl Source {
    /// True if the configuration would be read from standard input.
    ///
    /// # Errors
    /// If the variable is not UTF-8 or is in quotes.
    pub(super) fn is_input(&self) -> Result<bool, String> {
        let path = self.config_path(self.config.as_ref())?;
        Ok(path.is_some_and(|path| path.as_os_str() == "-"))
    }

    fn config_path(&self, flag: Option<&PathBuf>) -> Result<Option<PathBuf>, String> {
        match flag {
            Some(path) => Ok(Some(path.clone())),
            // A users file given as a flag replaces a configuration that is a variable.
            None if self.users.is_some() => Ok(None),
            None => Ok(variable("CALLGATE_CONFIG")?.map(PathBuf::from)),
        }
    }

    fn read_input(&self) -> Result<Input, String> {
        let format = self.format.ok_or(
            "a configuration from standard input needs its format: add --format toml, yaml or json",
        )?;
        let text = read_stdin().map_err(|error| format!("standard input: {error}"))?;
        Ok(Input { text: Zeroizing::new(text), format })
    }
}

/// A flag, or else its variable. A variable that is not UTF-8 is an error: treated as unset, it would
/// silently give way to a source of lower precedence.
fn text(flag: &Option<String>, name: &str) -> Result<Option<String>, String> {
    match flag {
        Some(text) => Ok(Some(text.clone())),
        None => variable(name),
    }
}

/// A trimmed variable, without a byte-order mark.
fn variable(name: &str) -> Result<Option<String>, String> {
    let value = Sources::new(".").variable(name).map_err(|error| error.to_string())?;
    Ok(value.map(|value| value.to_string()))
}

fn secret(flag: &Option<String>, name: &str) -> Result<Option<Flag>, String> {
    let on_command_line = flag.is_some();
    let text = text(flag, name)?;
    Ok(text.map(|text| Flag { text: Secret::new(text), on_command_line }))
}

/// For commands that run once, without earlier state; large files show their progress.
pub(super) fn build_env(registry: Registry, background: bool) -> BuildEnv {
    let observer = Arc::new(LoadingProgress);
    BuildEnv {
        registry,
        shared: None,
        generation: 0,
        background,
        keeps_state: false,
        observer,
        bus: None,
    }
}
