//! Warns about authenticators shadowed by earlier ones.

use std::collections::HashMap;

use callgate_config::Report;

/// The first authenticator for each issuer and key.
#[derive(Debug, Default)]
pub(super) struct Shadowing {
    issuers: HashMap<String, Position>,
    keys: HashMap<String, Position>,
}

/// An authenticator in the configuration.
#[derive(Debug, Clone)]
pub(super) struct Position {
    /// The path of its table.
    pub(super) path: String,
    pub(super) name: String,
    pub(super) kind: &'static str,
}

impl Shadowing {
    /// Warns if an earlier authenticator of another kind takes the tokens of `issuer`. Authenticators of the
    /// same kind can share an issuer.
    pub(super) fn issuer(&mut self, issuer: String, position: &Position, report: &Report) {
        let shown = issuer.escape_debug().to_string();
        let first = self.issuers.entry(issuer).or_insert_with(|| position.clone());
        if first.kind != position.kind {
            let name = first.name.escape_debug();
            let kind = first.kind;
            report.warn(
                position.path.clone(),
                format!(
                    "`{name}` ({kind}) comes first and takes every token of `{shown}`: use \
                     an issuer in one kind only"
                ),
            );
        }
    }

    /// Warns if an earlier authenticator takes the tokens signed by one of `keys`.
    pub(super) fn keys(&mut self, keys: Vec<String>, position: &Position, report: &Report) {
        for key in keys {
            let shown = key.clone();
            let first = self.keys.entry(key).or_insert_with(|| position.clone());
            if first.name != position.name {
                let name = first.name.escape_debug();
                report.warn(
                    position.path.clone(),
                    format!(
                        "`{name}` comes first and takes every token that `{shown}` signs: list a \
                         key once"
                    ),
                );
            }
        }
    }
}
