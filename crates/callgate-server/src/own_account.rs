//! Whether the account that we are in is the one that the configuration says.

use callgate::{keys::AccountKey, responder::OwnAccount};

use crate::assemble::PublicKeys;

/// What the server's word was worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Checked {
    /// All that is stated is so.
    AsStated,
    /// Accounts are keys, and this server does not say their names.
    NameNotTold,
}

/// Compares what a server says of us with `issuer.account` and `issuer.callout_account`.
///
/// # Errors
/// If they differ: says which, and what to do.
pub(crate) fn check(
    own: &OwnAccount,
    keys: &PublicKeys,
    stated: Option<&str>,
) -> Result<Checked, String> {
    if keys.operator_mode && own.account != keys.subject.as_str() {
        return Err(format!(
            "we are in the account {}, but issuer.account is {}: use credentials of the callout \
             account",
            own.account, keys.subject
        ));
    }
    let Some(stated) = stated else { return Ok(Checked::AsStated) };
    let name = own.account_name.as_deref();
    if stated == own.account || (keys.operator_mode && name == Some(stated)) {
        return Ok(Checked::AsStated);
    }
    // What has the form of a key is compared with the key.
    if keys.operator_mode && name.is_none() && stated.parse::<AccountKey>().is_err() {
        return Ok(Checked::NameNotTold);
    }
    Err(format!(
        "we are in the account `{}`, but issuer.callout_account says `{stated}`: correct one of them",
        name.unwrap_or(&own.account).escape_debug()
    ))
}

#[cfg(test)]
mod tests {
    use callgate::keys::{AccountSigner, KeyKind, KeyPair, Signer};

    use super::*;

    fn key() -> AccountKey {
        let seed = KeyPair::generate(KeyKind::Account).unwrap().seed();
        AccountSigner::from_seed(&seed).unwrap().public_key().clone()
    }

    #[test]
    fn operator_mode_knows_its_account_by_key_and_by_a_name_that_the_server_tells() {
        let (ours, other) = (key(), key());
        let keys = PublicKeys { subject: ours.clone(), xkeys: Vec::new(), operator_mode: true };
        let (ours, other) = (ours.to_string(), other.to_string());
        let same = Ok(Checked::AsStated);
        let differs = Err(());
        for (account, name, stated, expected) in [
            (&ours, Some("AUTH"), None, same),
            (&ours, Some("AUTH"), Some("AUTH"), same),
            (&ours, Some("AUTH"), Some(ours.as_str()), same),
            (&ours, Some("AUTH"), Some("auth"), differs),
            (&ours, Some("AUTH"), Some("APP"), differs),
            (&ours, Some("AUTH"), Some(other.as_str()), differs),
            (&ours, None, Some(ours.as_str()), same),
            (&ours, None, Some(other.as_str()), differs),
            (&ours, None, Some("APP"), Ok(Checked::NameNotTold)),
            (&other, Some("AUTH"), Some("AUTH"), differs),
            (&other, None, None, differs),
        ] {
            let own = OwnAccount {
                account: account.clone(),
                account_name: name.map(str::to_owned),
                may_forge_requests: false,
                may_answer_requests: true,
            };
            let found = check(&own, &keys, stated).map_err(drop);
            assert_eq!(found, expected, "{name:?} {stated:?}");
        }
    }

    #[test]
    fn configuration_mode_knows_names_only() {
        let keys = PublicKeys { subject: key(), xkeys: Vec::new(), operator_mode: false };
        let own = |account_name: Option<&str>| OwnAccount {
            account: "AUTH".to_owned(),
            account_name: account_name.map(str::to_owned),
            may_forge_requests: false,
            may_answer_requests: true,
        };
        assert_eq!(check(&own(None), &keys, Some("AUTH")), Ok(Checked::AsStated));
        assert!(check(&own(None), &keys, Some("GATE")).is_err());
        assert!(check(&own(Some("GATE")), &keys, Some("GATE")).is_err());
    }
}
