//! Who is asked first about what: an authenticator that another one stands in front of is told.

use std::collections::HashMap;

use callgate_config::Report;

/// Issuers and keys of the authenticators so far, in order.
#[derive(Debug, Default)]
pub(super) struct Shadowing {
    issuers: HashMap<String, Position>,
    keys: HashMap<String, Position>,
}

/// An authenticator.
#[derive(Debug, Clone)]
pub(super) struct Position {
    /// Its table's path.
    pub(super) path: String,
    pub(super) name: String,
    pub(super) kind: &'static str,
}

impl Shadowing {
    /// Warns if an earlier one of another kind takes the tokens of `issuer`. Those of one kind share an
    /// issuer as they know how.
    pub(super) fn issuer(&mut self, issuer: String, position: &Position, report: &Report) {
        let shown = issuer.escape_debug().to_string();
        let first = self.issuers.entry(issuer).or_insert_with(|| position.clone());
        if first.kind != position.kind {
            let (name, kind) = (first.name.escape_debug(), first.kind);
            report.warn(
                position.path.clone(),
                format!(
                    "`{name}` ({kind}) comes first and takes every token of `{shown}`: give an \
                     issuer to one kind only"
                ),
            );
        }
    }

    /// Warns if the tokens that a key signs are taken by an earlier one.
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
