//! The accounts, and the check that every account of a grant passes.
//!
//! The check exists because members of the callout account can read every password that is not
//! encrypted, and refuse logins.

mod list;

use std::{collections::BTreeSet, str::FromStr};

use self::list::AccountList;
use super::settings::AccountsSettings;
use crate::{
    authn::Origin,
    reason::{Denial, Reason},
    sanitize::excerpt,
    subject::is_invisible,
};

/// The default account of nats-server.
const GLOBAL_ACCOUNT: &str = "$G";

/// An account's name, or a pattern such as `tenant-*`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccountPattern {
    prefix: String,
    /// The text after the `*`; `None` if there is no `*` and `prefix` is the whole name.
    suffix: Option<String>,
}

/// Why a text is neither an account name nor a pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AccountPatternError {
    /// The text is empty.
    #[error("an account name must not be empty")]
    Empty,
    /// White space or an invisible character.
    #[error("the account name `{0}` contains white space or an invisible character")]
    Invisible(String),
    /// `*` or `*-x`, which would match foreign accounts.
    #[error("the pattern `{0}` must begin with literal text, such as `tenant-*`")]
    NoPrefix(String),
    /// More than one wildcard.
    #[error("the pattern `{0}` has more than one `*`")]
    TwoWildcards(String),
}

impl AccountPattern {
    /// True if it has no wildcard.
    pub fn is_literal(&self) -> bool {
        self.suffix.is_none()
    }

    /// True if it matches the whole name.
    pub fn matches(&self, name: &str) -> bool {
        let Some(suffix) = &self.suffix else { return name == self.prefix };
        let between =
            name.strip_prefix(&self.prefix).and_then(|rest| rest.strip_suffix(suffix.as_str()));
        between.is_some_and(|text| {
            !text.is_empty()
                && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
        })
    }
}

impl FromStr for AccountPattern {
    type Err = AccountPatternError;

    fn from_str(text: &str) -> Result<Self, AccountPatternError> {
        if text.is_empty() {
            return Err(AccountPatternError::Empty);
        }
        if text.chars().any(|c| c.is_whitespace() || is_invisible(c)) {
            return Err(AccountPatternError::Invisible(excerpt(text)));
        }
        let Some((prefix, suffix)) = text.split_once('*') else {
            return Ok(Self { prefix: text.to_owned(), suffix: None });
        };
        if prefix.is_empty() {
            return Err(AccountPatternError::NoPrefix(text.to_owned()));
        }
        if suffix.contains('*') {
            return Err(AccountPatternError::TwoWildcards(text.to_owned()));
        }
        Ok(Self { prefix: prefix.to_owned(), suffix: Some(suffix.to_owned()) })
    }
}

/// The accounts, and the check of who may be placed in which.
#[derive(Debug, Default)]
pub struct Accounts {
    pub(super) listed: AccountList,
    /// Accounts that the main configuration names literally.
    pub(super) literals: BTreeSet<String>,
    pub(super) system: Vec<String>,
    pub(super) callout: Option<String>,
    pub(super) default: Option<String>,
    pub(super) operator_mode: bool,
    pub(super) shares_callout_account: bool,
}

impl Accounts {
    /// `default_account`.
    pub fn default_account(&self) -> Option<&str> {
        self.default.as_deref()
    }

    /// `issuer.callout_account`, if set.
    pub fn stated_callout_account(&self) -> Option<&str> {
        self.callout.as_deref()
    }

    /// True if an operator's own file may name this account.
    pub fn knows(&self, name: &str) -> bool {
        let listed = self.listed.contains(name);
        if self.operator_mode {
            return listed;
        }
        listed
            || self.listed.is_empty()
            || self.literals.contains(name)
            || self.system.iter().any(|system| system == name)
            || name == GLOBAL_ACCOUNT
    }

    /// True if it is the configured callout account, and clients must not be placed there.
    pub fn is_closed(&self, name: &str) -> bool {
        let callout = self.callout.as_deref().filter(|_| !self.shares_callout_account);
        callout.is_some_and(|callout| self.is_callout(name, callout, Origin::Operator))
    }

    /// True if the account has a scoped signing key of this name.
    pub(crate) fn has_scope(&self, account: &str, scope: &str) -> bool {
        let mut listed = self.listed.matching(account);
        listed.any(|settings| settings.scoped.iter().any(|key| key == scope))
    }

    /// Checks that a client may be placed in the account `name`, which `origin` names.
    /// `callout_account` is the one learned at connect: a name, or in operator mode a public key.
    /// `in_ceiling` tells whether the authenticator's ceiling allows outside data to name it.
    ///
    /// # Errors
    /// [`Reason::AccountNotAllowed`], with what to do about it.
    pub fn check(
        &self,
        name: &str,
        origin: Origin,
        callout_account: Option<&str>,
        in_ceiling: impl FnOnce(&str) -> bool,
    ) -> Result<(), Denial> {
        let refuse = |why: &str| {
            let detail = format!("account `{}`: {why}", excerpt(name));
            Err(Denial::new(Reason::AccountNotAllowed, detail))
        };
        let callouts = [callout_account, self.callout.as_deref()];
        if !self.shares_callout_account
            && callouts.into_iter().flatten().any(|callout| self.is_callout(name, callout, origin))
        {
            return refuse(
                "clients must not be placed in the callout account: its members can read passwords",
            );
        }
        match origin {
            Origin::Operator if self.knows(name) => Ok(()),
            Origin::Operator => refuse("unknown account: add it to [[accounts]]"),
            Origin::Outside if self.is_reserved(name) => {
                refuse("only the operator's own files can name system accounts and $G")
            }
            Origin::Outside if !self.listed.contains(name) => {
                refuse("named by outside data, but not in [[accounts]]")
            }
            Origin::Outside if !in_ceiling(name) => {
                refuse("named by outside data, but not in the authenticator's ceiling.accounts")
            }
            Origin::Outside => Ok(()),
        }
    }

    /// Outside data must not name it in another case either.
    fn is_callout(&self, name: &str, callout: &str, origin: Origin) -> bool {
        let same = |text: &str| match origin {
            Origin::Operator => text == callout,
            Origin::Outside => text.eq_ignore_ascii_case(callout),
        };
        same(name)
            || self.listed.matching(name).any(|settings| settings.id.as_deref().is_some_and(same))
    }

    fn is_reserved(&self, name: &str) -> bool {
        name.eq_ignore_ascii_case(GLOBAL_ACCOUNT)
            || name.eq_ignore_ascii_case("$SYS")
            || self.system.iter().any(|system| system.eq_ignore_ascii_case(name))
    }

    /// Reads the settings, and reports errors to `fault`.
    pub(super) fn from_settings(
        settings: AccountsSettings,
        mut fault: impl FnMut(String, String),
    ) -> Self {
        let AccountsSettings {
            accounts,
            system_accounts,
            callout_account,
            default_account,
            operator_mode,
            insecure_share_callout_account,
        } = settings;
        let mut listed = AccountList::default();
        for (index, account) in accounts.into_iter().enumerate() {
            let path = format!("accounts[{index}].name");
            match account.name.parse::<AccountPattern>() {
                Err(error) => fault(path, error.to_string()),
                Ok(pattern) if operator_mode && !pattern.is_literal() => {
                    fault(path, "operator mode needs the exact name of every account".to_owned());
                }
                Ok(pattern) => {
                    let name = account.name.clone();
                    if !listed.add(pattern, account) {
                        fault(path, format!("duplicate account `{name}`"));
                    }
                }
            }
        }
        if default_account.as_ref().is_some_and(|name| name.contains('*')) {
            let message = "must be the name of one account, not a pattern";
            fault("default_account".to_owned(), message.to_owned());
        }
        Self {
            listed,
            literals: default_account.iter().cloned().collect(),
            system: system_accounts,
            callout: callout_account,
            default: default_account,
            operator_mode,
            shares_callout_account: insecure_share_callout_account,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::settings::AccountSettings;

    fn accounts(names: &[&str], operator_mode: bool) -> Accounts {
        let settings = AccountsSettings {
            accounts: names.iter().map(|name| AccountSettings::named(*name)).collect(),
            callout_account: Some("AUTH".to_owned()),
            operator_mode,
            ..AccountsSettings::default()
        };
        Accounts::from_settings(settings, |path, message| panic!("{path}: {message}"))
    }

    #[test]
    fn pattern_matches_whole_names_only() {
        let pattern: AccountPattern = "tenant-*".parse().unwrap();
        for (name, expected) in [
            ("tenant-a", true),
            ("tenant-A_9-x", true),
            ("tenant-", false),
            ("xtenant-a", false),
            ("tenant-a.b", false),
            ("tenant-$SYS", false),
            ("tenant-é", false),
            ("Tenant-a", false),
        ] {
            assert_eq!(pattern.matches(name), expected, "{name}");
        }
        for text in ["", "*", "*-a", "a*b*", "a b", "a\u{200b}"] {
            assert!(text.parse::<AccountPattern>().is_err(), "{text}");
        }
    }

    #[test]
    fn outside_data_never_names_reserved_accounts() {
        let listed = accounts(&["APP", "tenant-*", "S*", "A*"], false);
        let table = [
            ("APP", Origin::Outside, true),
            ("tenant-x", Origin::Outside, true),
            ("app", Origin::Outside, false),
            ("OTHER", Origin::Outside, false),
            ("OTHER", Origin::Operator, false),
            ("SYS", Origin::Operator, true),
            ("$SYS", Origin::Operator, true),
            ("$G", Origin::Operator, true),
            ("SYS", Origin::Outside, false),
            ("$SYS", Origin::Outside, false),
            ("$sys", Origin::Outside, false),
            ("Sys", Origin::Outside, false),
            ("$G", Origin::Outside, false),
            ("$g", Origin::Outside, false),
            ("AUTH", Origin::Operator, false),
            ("AUTH", Origin::Outside, false),
            ("Auth", Origin::Outside, false),
        ];
        for (name, origin, allowed) in table {
            let result = listed.check(name, origin, None, |_| true);
            assert_eq!(result.is_ok(), allowed, "{name} {origin:?}: {result:?}");
        }
        assert!(listed.check("APP", Origin::Outside, None, |_| false).is_err());
    }

    #[test]
    fn callout_account_learned_at_connect_is_closed() {
        let listed = accounts(&[], false);
        assert!(listed.check("CALLOUT", Origin::Operator, None, |_| true).is_ok());
        assert!(listed.check("CALLOUT", Origin::Operator, Some("CALLOUT"), |_| true).is_err());
        assert!(listed.check("AUTH", Origin::Operator, Some("CALLOUT"), |_| true).is_err());
    }

    #[test]
    fn operator_mode_identifies_the_callout_account_by_key() {
        let gate =
            AccountSettings { id: Some("ABCD".to_owned()), ..AccountSettings::named("GATE") };
        let settings = AccountsSettings {
            accounts: vec![AccountSettings::named("APP"), gate],
            operator_mode: true,
            ..AccountsSettings::default()
        };
        let listed = Accounts::from_settings(settings, |path, message| panic!("{path}: {message}"));
        assert!(listed.check("GATE", Origin::Operator, Some("ABCD"), |_| true).is_err());
        assert!(listed.check("APP", Origin::Operator, Some("ABCD"), |_| true).is_ok());
        assert!(listed.check("SYS", Origin::Operator, None, |_| true).is_err());
    }
}
