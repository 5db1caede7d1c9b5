//! `--who`: the identities that have a permission.

use std::{fmt, sync::Arc};

use callgate::{
    Callgate,
    authn::{Chain, Identity},
    clock::UnixTime,
    policy::AccessVerdict,
};
use serde_json::{Value, json};

use super::{Args, can::AccessQuery, request};
use crate::{
    assemble::PublicKeys,
    telemetry::{sanitize, sanitize_detail},
};

/// Everyone who has a permission, as far as that is known.
#[derive(Debug)]
pub(super) struct Holders {
    query: AccessQuery,
    holders: Vec<Holder>,
    /// Authenticators that cannot list their users.
    pub(super) unlisted: Vec<Arc<str>>,
}

#[derive(Debug)]
struct Holder {
    authenticator: Arc<str>,
    user: String,
    account: String,
    rule: String,
}

impl Holders {
    /// Resolves every identity that an authenticator can list, over the connection in `args`.
    ///
    /// # Errors
    /// If the request of that connection cannot be made.
    pub(super) fn find(
        args: &Args,
        gate: &Callgate,
        chain: &Chain,
        keys: &PublicKeys,
        query: &AccessQuery,
    ) -> Result<Self, String> {
        let drafted = request::of_connection(args, keys)?;
        let header = drafted.xkey_header.as_deref();
        let now = UnixTime::now();
        let explainer = gate
            .explain_identities(&drafted.payload, header, now)
            .map_err(|denial| denial.to_string())?;
        let mut found = Self { query: query.clone(), holders: Vec::new(), unlisted: Vec::new() };
        for link in chain.links() {
            let mut holders = Vec::new();
            let mut visit = |identity: Identity| {
                let explained = explainer.explain(&link.name, identity);
                let Some(Ok(grant)) = explained.map(|explained| explained.result) else { return };
                let AccessVerdict { allowed, rule, .. } = query.check(grant.access());
                if allowed {
                    let authenticator = Arc::clone(&link.name);
                    let user = grant.user().to_owned();
                    let account = grant.account().to_owned();
                    holders.push(Holder { authenticator, user, account, rule });
                }
            };
            let lookup = link.authenticator.lookup();
            if lookup.and_then(|lookup| lookup.for_each(now, &mut visit)).is_none() {
                found.unlisted.push(Arc::clone(&link.name));
            }
            holders.sort_unstable_by(|one, other| one.user.cmp(&other.user));
            found.holders.append(&mut holders);
        }
        Ok(found)
    }

    pub(super) fn to_json(&self) -> Value {
        let holders = self.holders.iter().map(|Holder { authenticator, user, account, rule }| {
            json!({
                "authenticator": &**authenticator, "user": user, "account": account, "rule": rule,
            })
        });
        let unlisted = self.unlisted.iter().map(|name| &**name);
        json!({
            "who": self.query.to_string(),
            "identities": holders.collect::<Vec<_>>(),
            "unlisted": unlisted.collect::<Vec<_>>(),
        })
    }
}

/// One line for each identity.
impl fmt::Display for Holders {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.holders.is_empty() {
            return write!(f, "no listed identity has {}", self.query);
        }
        for (index, Holder { authenticator, user, account, rule }) in
            self.holders.iter().enumerate()
        {
            let end = if index + 1 == self.holders.len() { "" } else { "\n" };
            let who = format!("{authenticator}/{}", sanitize(user));
            let rule = sanitize_detail(rule);
            write!(f, "{who:<24} in {}: {rule}{end}", sanitize(account))?;
        }
        Ok(())
    }
}
