//! Who is asked first about what: an authenticator that another one stands in front of is told.

use std::collections::HashMap;

use callgate_authenticators::settings::Report;

/// Issuers and keys of the authenticators so far, in order.
#[derive(Debug, Default)]
pub(super) struct Firsts {
    issuers: HashMap<String, Place>,
    keys: HashMap<String, Place>,
}

/// An authenticator.
#[derive(Debug, Clone)]
pub(super) struct Place {
    /// Its table's path.
    pub(super) path: String,
    pub(super) name: String,
    pub(super) kind: &'static str,
}

impl Firsts {
    /// Warns if an earlier one of another kind takes the tokens of `issuer`. Those of one kind share an
    /// issuer as they know how.
    pub(super) fn issuer(&mut self, issuer: String, place: &Place, report: &Report) {
        let shown = issuer.escape_debug().to_string();
        let first = self.issuers.entry(issuer).or_insert_with(|| place.clone());
        if first.kind != place.kind {
            let (name, kind) = (first.name.escape_debug(), first.kind);
            report.warn(
                place.path.clone(),
                format!(
                    "`{name}` ({kind}) comes first and takes every token of `{shown}`: give an \
                     issuer to one kind only"
                ),
            );
        }
    }

    /// Warns if the tokens that a key signs are taken by an earlier one.
    pub(super) fn keys(&mut self, keys: Vec<String>, place: &Place, report: &Report) {
        for key in keys {
            let shown = key.clone();
            let first = self.keys.entry(key).or_insert_with(|| place.clone());
            if first.name != place.name {
                let name = first.name.escape_debug();
                report.warn(
                    place.path.clone(),
                    format!(
                        "`{name}` comes first and takes every token that `{shown}` signs: list a \
                         key once"
                    ),
                );
            }
        }
    }
}
