//! Secrets in a configuration: `{ env = "NAME" }`, `{ file = "PATH" }`, or plain text.

use callgate::{keys::Seed, secret::Secret};
use serde_json::Value;

use crate::{
    sources::{SourceError, Sources},
    table::Item,
};

/// The source of a secret.
enum SecretRef {
    Variable(String),
    File(String),
    Plain(Secret),
}

impl Item<'_> {
    /// A secret. Warns about plain text in the configuration and about a file that others can access.
    pub fn secret(&self) -> Option<Secret> {
        let secret = match self.secret_ref()? {
            SecretRef::Variable(name) => self.sources.secret_variable(&name),
            SecretRef::File(path) => {
                let path = self.sources.resolve(&path);
                let checks = [Sources::writable_by_others, Sources::readable_by_others];
                checks
                    .iter()
                    .filter_map(|check| check(&path))
                    .for_each(|warning| self.warn(warning));
                self.sources.secret_file(&path)
            }
            SecretRef::Plain(secret) => Ok(secret),
        };
        self.parsed(secret)
    }

    /// A seed, written as a secret. A file that others can write is an error, including the configuration
    /// itself; a file that others can read is a warning.
    pub fn seed(&self) -> Option<Seed> {
        let found = match self.secret_ref()? {
            SecretRef::File(path) => self.sources.seed_file(&self.sources.resolve(&path)),
            SecretRef::Variable(name) => self
                .sources
                .secret_variable(&name)
                .and_then(|secret| find(&secret, format!("the environment variable `{name}`"))),
            SecretRef::Plain(secret) => self.sources.own_seed(&secret).map(|seed| (seed, None)),
        };
        let (seed, warning) = self.parsed(found)?;
        warning.into_iter().for_each(|warning| self.warn(warning));
        Some(seed)
    }

    fn secret_ref(&self) -> Option<SecretRef> {
        match self.value {
            Value::String(text) if text.trim().is_empty() => self.parsed(Err(SourceError::Empty)),
            Value::String(text) => {
                self.warn(
                    "plaintext secret in the configuration: use { env = \"NAME\" } or \
                     { file = \"PATH\" }",
                );
                Some(SecretRef::Plain(Secret::new(text.as_str())))
            }
            Value::Object(_) => self.referenced(),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) => {
                self.fault("must be { env = \"NAME\" }, { file = \"PATH\" } or text");
                None
            }
        }
    }

    fn referenced(&self) -> Option<SecretRef> {
        let mut table = self.table()?;
        let variable = table.string("env");
        let file = table.string("file");
        if !table.finish() {
            return None;
        }
        match (variable, file) {
            (Some(name), None) => Some(SecretRef::Variable(name)),
            (None, Some(path)) => Some(SecretRef::File(path)),
            (Some(_), Some(_)) | (None, None) => {
                self.fault("needs exactly one of `env` and `file`");
                None
            }
        }
    }
}

fn find(secret: &Secret, origin: String) -> Result<(Seed, Option<String>), SourceError> {
    let seed = Seed::find(secret.expose());
    seed.map(|seed| (seed, None)).map_err(|error| SourceError::NoSeed { origin, error })
}
