//! Settings from flags and environment variables. A flag overrides its variable, and both override the file.

use std::{fmt, path::PathBuf};

use aws_lc_rs::digest::{SHA256, digest};
use callgate::secret::Secret;
use callgate_config::{Document, DocumentError, Format, Sources, Table};
use data_encoding::HEXLOWER;
use serde_json::json;
use zeroize::Zeroizing;

/// The flags of `serve`, most of which have a `CALLGATE_…` variable. Secrets are unresolved: `@FILE`,
/// `env:NAME`, or the value itself.
#[derive(Debug, Clone, Default)]
pub(crate) struct Overrides {
    pub(crate) config: Option<PathBuf>,
    /// A configuration that is not in a file; never together with `config`.
    pub(crate) input: Option<Input>,
    pub(crate) nats_url: Option<String>,
    pub(crate) nats_user: Option<String>,
    pub(crate) nats_password: Option<Flag>,
    pub(crate) nats_creds: Option<PathBuf>,
    pub(crate) issuer_seed: Option<Flag>,
    pub(crate) xkey_seed: Option<Flag>,
    pub(crate) users: Option<PathBuf>,
    pub(crate) admin_listen: Option<String>,
}

/// A configuration from standard input.
#[derive(Clone)]
pub(crate) struct Input {
    pub(crate) text: Zeroizing<Vec<u8>>,
    pub(crate) format: Format,
}

impl Input {
    /// Stands for the file name in errors.
    pub(super) const NAME: &str = "<stdin>";
}

impl fmt::Debug for Input {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Input({:?}, [redacted])", self.format)
    }
}

/// An unresolved secret, and where it came from.
#[derive(Debug, Clone)]
pub(crate) struct Flag {
    pub(crate) text: Secret,
    /// True if it came from the command line, false if from a variable.
    pub(crate) on_command_line: bool,
}

impl Overrides {
    /// The document that stands for the flags when there is no configuration file.
    pub(super) fn document(&self) -> Result<Document, DocumentError> {
        let tree = match &self.users {
            // Relative to the working folder, like every path on a command line.
            Some(path) => json!({ "authenticators": [{ "users": { "file": path } }] }),
            None => json!({}),
        };
        Document::parse(tree.to_string().as_bytes(), Format::Json)
    }

    /// The name of the configuration in errors; `None` if there are only flags.
    pub(super) fn document_name(&self) -> Option<String> {
        match (&self.config, &self.input) {
            (Some(path), _) => Some(path.display().to_string()),
            (None, Some(_)) => Some(Input::NAME.to_owned()),
            (None, None) => None,
        }
    }

    /// SHA-256 of the configuration file, in hex; `None` without a readable file.
    pub(crate) fn config_hash(&self) -> Option<String> {
        let bytes = Sources::read_unrecorded(self.config.as_ref()?).ok()?;
        let hash = digest(&SHA256, &bytes);
        Some(HEXLOWER.encode(hash.as_ref()))
    }

    /// True if no file, flag or variable is set.
    pub(crate) fn is_empty(&self) -> bool {
        let Self {
            config,
            input,
            nats_url,
            nats_user,
            nats_password,
            nats_creds,
            issuer_seed,
            xkey_seed,
            users,
            admin_listen,
        } = self;
        config.is_none()
            && input.is_none()
            && nats_url.is_none()
            && nats_user.is_none()
            && nats_password.is_none()
            && nats_creds.is_none()
            && issuer_seed.is_none()
            && xkey_seed.is_none()
            && users.is_none()
            && admin_listen.is_none()
    }
}

/// Resolves a secret of a flag or variable. Warns about a literal value on the command line.
pub(super) fn secret(flag: &Flag, key: &str, table: &Table<'_>) -> Option<Secret> {
    // Paths on a command line are relative to the working folder, not to the configuration file.
    let sources = table.sources().from_working_folder();
    match sources.flag_secret(flag.text.expose()) {
        Ok(found) => {
            if found.literal && flag.on_command_line {
                table.warn(
                    key,
                    "visible to other users of this machine on the command line: use @FILE or env:NAME",
                );
            }
            Some(found.secret)
        }
        Err(error) => {
            table.fault(key, error);
            None
        }
    }
}

/// Resolves a seed of a flag or variable.
pub(super) fn seed(flag: &Flag, key: &str, table: &Table<'_>) -> Option<callgate::keys::Seed> {
    let sources = table.sources().from_working_folder();
    match sources.flag_seed(flag.text.expose()) {
        Ok((seed, warning)) => {
            let from_file = flag.text.expose().starts_with('@');
            warning
                .filter(|_| flag.on_command_line || from_file)
                .into_iter()
                .for_each(|warning| table.warn(key, warning));
            Some(seed)
        }
        Err(error) => {
            table.fault(key, error);
            None
        }
    }
}
