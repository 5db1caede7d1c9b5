//! Checks that the account Callgate is logged in to matches the configuration.

use callgate::{keys::AccountKey, responder::OwnAccount};

use crate::assemble::PublicKeys;

/// How far the server's answer confirms the configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Checked {
    /// Everything configured matches.
    Matches,
    /// The configuration has a name, but this server reports accounts only by key.
    NameUnknown,
}

/// Compares the server's answer with `issuer.account` and `issuer.callout_account`.
///
/// # Errors
/// If they differ: which one, and what to do.
pub(crate) fn check(
    own: &OwnAccount,
    keys: &PublicKeys,
    configured: Option<&str>,
) -> Result<Checked, String> {
    if keys.operator_mode && own.account != keys.subject.as_str() {
        return Err(format!(
            "logged in to account {}, but issuer.account is {}: use credentials of the callout \
             account",
            own.account, keys.subject
        ));
    }
    let Some(configured) = configured else { return Ok(Checked::Matches) };
    let name = own.account_name.as_deref();
    if configured == own.account || (keys.operator_mode && name == Some(configured)) {
        return Ok(Checked::Matches);
    }
    // A value that is a key was compared with the account's key above.
    if keys.operator_mode && name.is_none() && configured.parse::<AccountKey>().is_err() {
        return Ok(Checked::NameUnknown);
    }
    Err(format!(
        "logged in to account `{}`, but issuer.callout_account is `{configured}`: correct one of them",
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
    fn operator_mode_compares_keys_and_reported_names() {
        let (ours, other) = (key(), key());
        let keys = PublicKeys { subject: ours.clone(), xkeys: Vec::new(), operator_mode: true };
        let (ours, other) = (ours.to_string(), other.to_string());
        let same = Ok(Checked::Matches);
        let differs = Err(());
        for (account, name, configured, expected) in [
            (&ours, Some("AUTH"), None, same),
            (&ours, Some("AUTH"), Some("AUTH"), same),
            (&ours, Some("AUTH"), Some(ours.as_str()), same),
            (&ours, Some("AUTH"), Some("auth"), differs),
            (&ours, Some("AUTH"), Some("APP"), differs),
            (&ours, Some("AUTH"), Some(other.as_str()), differs),
            (&ours, None, Some(ours.as_str()), same),
            (&ours, None, Some(other.as_str()), differs),
            (&ours, None, Some("APP"), Ok(Checked::NameUnknown)),
            (&other, Some("AUTH"), Some("AUTH"), differs),
            (&other, None, None, differs),
        ] {
            let own = OwnAccount {
                account: account.clone(),
                account_name: name.map(str::to_owned),
                may_forge_requests: false,
                may_answer_requests: true,
            };
            let found = check(&own, &keys, configured).map_err(drop);
            assert_eq!(found, expected, "{name:?} {configured:?}");
        }
    }

    #[test]
    fn configuration_mode_compares_names_only() {
        let keys = PublicKeys { subject: key(), xkeys: Vec::new(), operator_mode: false };
        let own = |account_name: Option<&str>| OwnAccount {
            account: "AUTH".to_owned(),
            account_name: account_name.map(str::to_owned),
            may_forge_requests: false,
            may_answer_requests: true,
        };
        assert_eq!(check(&own(None), &keys, Some("AUTH")), Ok(Checked::Matches));
        assert!(check(&own(None), &keys, Some("GATE")).is_err());
        assert!(check(&own(Some("GATE")), &keys, Some("GATE")).is_err());
    }
}
