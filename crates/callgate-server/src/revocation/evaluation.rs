//! Which sessions end if the decisions are made again now. Pure: no I/O, and time is an argument.

use std::sync::Arc;

use callgate::{
    authn::{Chain, Reassessment, Standing},
    clock::UnixTime,
    policy::{ClaimNames, GrantDifference, Policy, ResolveRequest},
};

use super::{Cause, judged::Judged};
use crate::sessions::Session;

/// What sessions are evaluated with: one configuration, and its sources as they are now.
#[derive(Debug)]
pub(super) struct Snapshot {
    pub(super) chain: Chain,
    pub(super) policy: Arc<Policy>,
    /// The claims that `policy` names.
    pub(super) used: ClaimNames,
}

/// What ends a session besides what is gone or smaller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Strictness {
    /// `mode = "strict"`: also any difference, and what cannot be evaluated.
    pub(super) strict: bool,
    /// `keys`.
    pub(super) withdrawn_keys: bool,
}

impl Snapshot {
    pub(super) fn new(chain: Chain, policy: Arc<Policy>) -> Self {
        let used = policy.used_claims();
        Self { chain, policy, used }
    }

    /// Why the session ends; `None` if it goes on.
    pub(super) fn judge(
        &self,
        session: &Session,
        strictness: Strictness,
        now: UnixTime,
    ) -> Option<Cause> {
        // nats-server ends it.
        if session.ends().is_some_and(|end| end <= now) {
            return None;
        }
        let not_judged = strictness.strict.then_some(Cause::NotJudged);
        let name = &*session.common().authenticator;
        let Some(link) = self.chain.links().iter().find(|link| &*link.name == name) else {
            return Some(Cause::AuthenticatorRemoved);
        };
        let Some(judged) = Judged::read(session, &self.policy) else { return not_judged };
        let how = Reassessment { now, withdrawn_keys: strictness.withdrawn_keys };
        let identity = match link.authenticator.reassess(&judged.identity, &how) {
            Standing::Current(identity) => identity,
            Standing::Gone(cause) => return Some(Cause::Gone(cause)),
            Standing::Unknown => return not_judged,
        };
        let mut used = self.used.clone();
        identity.proposal.templates.iter().for_each(|templates| used.add_templates(templates));
        if !judged.has_claims(&used) {
            return not_judged;
        }
        let grant = self.policy.resolve(&ResolveRequest {
            authenticator: name,
            identity: &identity,
            connection: judged.connection(),
            callout_account: self.policy.accounts().stated_callout_account(),
            now,
        });
        let difference = grant.map(|grant| judged.grant.difference(&grant));
        let is_moved = difference.as_ref().map_or(true, |found| found.account.is_some());
        match difference {
            _ if is_moved && !self.policy.knows_account(&judged.grant.account) => {
                Some(Cause::AccountRemoved)
            }
            Err(_) => Some(Cause::GrantSmaller),
            Ok(difference) if difference.loses() => Some(Cause::GrantSmaller),
            Ok(difference) if strictness.strict && differs(&difference) => {
                Some(Cause::GrantDiffers)
            }
            Ok(_) => None,
        }
    }
}

/// Whether a grant differs in more than its end, which is later for each later decision.
fn differs(difference: &GrantDifference) -> bool {
    let without_end = GrantDifference { end: None, ..difference.clone() };
    !without_end.is_empty()
}
