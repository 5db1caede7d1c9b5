//! Keys of operator mode that stand where another's belongs. Whether a key is a signing key of its
//! account only the account's JWT says, and only servers have that; but what is certainly wrong is
//! found here, and not at the first login.

use callgate::keys::{AccountKey, AccountSigner, Signer};
use callgate_config::Report;

use super::SigningAccount;

/// What was read of operator mode.
pub(super) struct Keys<'a> {
    /// `issuer.account`.
    pub(super) callout: &'a AccountKey,
    /// `issuer.callout_account`: its name, or its key again.
    pub(super) stated: Option<&'a str>,
    /// `issuer.seed`.
    pub(super) issuer: Option<&'a AccountSigner>,
    /// `[[accounts]]`.
    pub(super) accounts: &'a [SigningAccount],
}

/// One public key, where it stands, and which account it is of.
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
    /// What signs in its stead, or itself.
    Signer,
    /// A scoped signing key.
    Scope,
}

/// Tells every fault that the keys alone show.
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

/// Why the account that is stated is certainly not the callout account.
fn another_account(keys: &Keys<'_>, stated: &str) -> Option<String> {
    let id = keys.callout.as_str();
    let mut others = keys.accounts.iter().filter(|account| account.id.as_str() != id);
    if let Some(other) = others.find(|other| stated == other.name || stated == other.id.as_str()) {
        return Some(format!(
            "is the account `{}` of [[accounts]], whose id is not issuer.account: users are placed \
             there; write the name of the callout account, or leave it out",
            other.name.escape_debug()
        ));
    }
    let another_key = stated != id && stated.parse::<AccountKey>().is_ok();
    another_key.then(|| "is another key than issuer.account: leave it out".to_owned())
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
    // Ids first: a seed is wrong because of an id, whichever stands first in the file.
    uses.sort_by_key(|one| one.role != Role::Id);
    uses
}

/// Why one key may not stand in both places.
fn clash(earlier: &Use<'_>, later: &Use<'_>) -> Option<String> {
    let same_account = earlier.account == later.account;
    match (earlier.role, later.role) {
        // The account's own key signs for it.
        (Role::Id, Role::Signer) if same_account => None,
        (Role::Id, Role::Id) => Some(format!(
            "is the key of {}, too: nobody can be placed in the callout account, and each account \
             is listed once",
            earlier.account
        )),
        (Role::Id | Role::Signer, Role::Scope) | (Role::Scope, Role::Signer) if same_account => {
            Some(format!(
                "stands at `{}`, too: a scoped signing key signs for its template only, and must be \
                 a key of its own",
                earlier.path
            ))
        }
        (Role::Scope, Role::Scope) if same_account => {
            Some(format!("stands at `{}`, too: each scope has a key of its own", earlier.path))
        }
        (Role::Id | Role::Signer | Role::Scope, _) => Some(format!(
            "is a key of {} (`{}`): servers would refuse what it signs here",
            earlier.account, earlier.path
        )),
    }
}
