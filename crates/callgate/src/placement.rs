//! Checks where a user is placed, which nats-server does not do.

use std::sync::{Arc, atomic::Ordering};

use crate::{
    policy::Grant,
    reason::{Denial, Reason},
    reply::Minter,
    shared_state::SharedState,
};

#[derive(Debug)]
pub(crate) struct Placement {
    /// The callout account's name, if the configuration states it.
    pub(crate) stated_callout_account: Option<String>,
    /// `insecure_share_callout_account`: users may be placed in the callout account.
    pub(crate) share_callout_account: bool,
    pub(crate) state: Arc<SharedState>,
}

impl Placement {
    /// The last checks of a grant before it is signed.
    pub(crate) fn check(&self, grant: &Grant, minter: &Minter) -> Result<(), Denial> {
        // With an empty name nats-server would keep the one that the client claimed.
        if grant.user().is_empty() {
            return Err(Denial::new(Reason::PolicyError, "the identity has an empty user name"));
        }
        let account = grant.account();
        if account.is_empty() {
            return Err(Denial::new(Reason::NoAccount, "the account name is empty"));
        }
        if !self.share_callout_account && self.is_callout_account(account, minter) {
            return Err(Denial::new(
                Reason::AccountNotAllowed,
                format!("`{account}` is the callout account: its users could read every password"),
            ));
        }
        Ok(())
    }

    /// Warns once if the callout account is not known, so that nothing keeps users out of it.
    pub(crate) fn warn_if_callout_account_is_unknown(&self, minter: &Minter) {
        let known = matches!(minter, Minter::Operator(_))
            || self.stated_callout_account.is_some()
            || self.state.callout_account.load().is_some();
        if known || self.share_callout_account || self.state.warned.swap(true, Ordering::Relaxed) {
            return;
        }
        tracing::warn!(
            "the callout account is not known, so users may be placed in it, where they could read \
             every password: state it with `CallgateBuilder::callout_account`"
        );
    }

    fn is_callout_account(&self, name: &str, minter: &Minter) -> bool {
        self.stated_callout_account.as_deref() == Some(name)
            || self.state.callout_account.load().as_ref().is_some_and(|learned| **learned == name)
            || minter.is_callout_account(name)
    }
}
