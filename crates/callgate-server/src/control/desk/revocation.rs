//! Held changes.

use std::sync::Arc;

use super::{Desk, Outcome, Refused};
use crate::{
    control::{
        actor::Actor,
        protocol::{Done, Failure},
    },
    revocation::{Revocation, Ruling},
};

const NO_REVOCATION: &str = "held changes are known only to a running service with `[system]`";

impl Desk {
    fn revocation(&self) -> Result<&Arc<Revocation>, Refused> {
        self.revocation.as_ref().ok_or_else(|| Refused::unusable(NO_REVOCATION))
    }

    pub(super) async fn held_changes(&self) -> Outcome {
        Ok(Done::Revocations { held: self.revocation()?.list().await })
    }

    pub(super) async fn rule(&self, id: &str, ruling: Ruling, actor: &Actor) -> Outcome {
        let revocation = self.revocation()?;
        let done = revocation.rule(id, ruling, &actor.to_string()).await;
        done.map(Done::RevocationRuled).ok_or_else(|| Refused {
            message: format!("no change `{}` is held", id.escape_debug()),
            failure: Failure::Refused,
        })
    }
}
