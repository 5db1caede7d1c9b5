//! Detects misplaced keys in operator mode. Only the account's JWT, which servers have, says whether a key is
//! a signing key of the account, but certain mistakes are found here instead of at the first login.

use callgate::keys::{AccountKey, AccountSigner, Signer};
use callgate_config::Report;

use super::SigningAccount;

/// The keys of operator mode.
pub(super) struct Keys<'a> {
    /// `issuer.account`.
    pub(super) callout: &'a AccountKey,
    /// `issuer.callout_account`: its name or key.
    pub(super) stated: Option<&'a str>,
    /// `issuer.seed`.
    pub(super) issuer: Option<&'a AccountSigner>,
    /// `[[accounts]]`.
    pub(super) accounts: &'a [SigningAccount],
}

/// A public key, its key path, and its account.
struct Use<'a> {
    key: &'a AccountKey,
    path: String,
    account: String,
    role: Role,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    /// The account itself.
    Id,
    /// The account's own key, or one of its signing keys.
    Signer,
    /// A scoped signing key.
    Scope,
}

/// Reports every mistake that the keys alone reveal.
pub(super) fn check(keys: &Keys<'_>, shares_callout_account: bool, report: &Report) {
    if keys.accounts.is_empty() {
        report.fault(
            "accounts",
            "is missing: operator mode signs each user with a key of its account, so list every \
             account that users may be placed in (name, id, seed)",
        );
    }
    if let Some(stated) = keys.stated
        && let Some(message) = another_account(keys, stated)
    {
        report.fault("issuer.callout_account", message);
    }
    let uses = uses(keys);
    for (index, later) in uses.iter().enumerate() {
        let Some(earlier) = uses.iter().take(index).find(|earlier| earlier.key == later.key) else {
            continue;
        };
        let shared_on_purpose = shares_callout_account
            && [earlier, later].iter().any(|one| one.path.starts_with("issuer."));
        if let Some(message) = clash(earlier, later)
            && !shared_on_purpose
        {
            report.fault(later.path.clone(), message);
        }
    }
}

/// Why the stated account cannot be the callout account.
fn another_account(keys: &Keys<'_>, stated: &str) -> Option<String> {
    let id = keys.callout.as_str();
    let mut others = keys.accounts.iter().filter(|account| account.id.as_str() != id);
    if let Some(other) = others.find(|other| stated == other.name || stated == other.id.as_str()) {
        return Some(format!(
            "is the account `{}` of [[accounts]], whose id is not issuer.account: users are placed \
             there; write the name of the callout account, or remove the key",
            other.name.escape_debug()
        ));
    }
    let another_key = stated != id && stated.parse::<AccountKey>().is_ok();
    another_key.then(|| "differs from issuer.account: remove it".to_owned())
}

fn uses<'a>(keys: &Keys<'a>) -> Vec<Use<'a>> {
    let callout = "the callout account".to_owned();
    let of_callout =
        |key, path: &str, role| Use { key, path: path.to_owned(), account: callout.clone(), role };
    let mut uses = vec![of_callout(keys.callout, "issuer.account", Role::Id)];
    uses.extend(keys.issuer.map(|key| of_callout(key.public_key(), "issuer.seed", Role::Signer)));
    for (index, account) in keys.accounts.iter().enumerate() {
        let name = format!("the account `{}`", account.name.escape_debug());
        let at = |what: &str| format!("accounts[{index}].{what}");
        let of = |key, path, role| Use { key, path, account: name.clone(), role };
        uses.push(of(&account.id, at("id"), Role::Id));
        uses.push(of(account.signer.public_key(), at("seed"), Role::Signer));
        for (scope, key) in &account.scoped {
            uses.push(of(key.public_key(), at(&format!("scoped.{scope}")), Role::Scope));
        }
    }
    // Ids first: if a seed repeats an id, the seed is wrong, regardless of their order in the file.
    uses.sort_by_key(|one| one.role != Role::Id);
    uses
}

/// Why a key must not be used in both places.
fn clash(earlier: &Use<'_>, later: &Use<'_>) -> Option<String> {
    let same_account = earlier.account == later.account;
    match (earlier.role, later.role) {
        // The account's own key signs for it.
        (Role::Id, Role::Signer) if same_account => None,
        (Role::Id, Role::Id) => Some(format!(
            "is also the key of {}: no user can be placed in the callout account, and each account \
             is listed once",
            earlier.account
        )),
        (Role::Id | Role::Signer, Role::Scope) | (Role::Scope, Role::Signer) if same_account => {
            Some(format!(
                "is also used at `{}`: a scoped signing key signs only for its template, and must be \
                 a separate key",
                earlier.path
            ))
        }
        (Role::Scope, Role::Scope) if same_account => {
            Some(format!("is also used at `{}`: each scope needs a separate key", earlier.path))
        }
        (Role::Id | Role::Signer | Role::Scope, _) => Some(format!(
            "is a key of {} (`{}`): servers would reject JWTs that it signs here",
            earlier.account, earlier.path
        )),
    }
}
