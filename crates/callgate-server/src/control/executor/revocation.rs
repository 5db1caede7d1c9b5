//! Held changes.

use super::{Executor, Outcome, Refused};
use crate::{
    control::{
        actor::Actor,
        protocol::{Done, Failure},
    },
    revocation::{HeldEverywhere, Ruling},
};

const UNKNOWN: &str = "held changes are known only to running services with `[system]`; `--direct` reaches them \
                       through `[state]`";

impl Executor {
    fn held(&self) -> Result<&HeldEverywhere, Refused> {
        self.held_changes.as_ref().ok_or_else(|| Refused::unusable(UNKNOWN))
    }

    pub(super) async fn held_changes(&self) -> Outcome {
        let held = self.held()?.list().await;
        let held = held.ok_or_else(|| Refused::unusable("no running service answers"))?;
        Ok(Done::Revocations { held })
    }

    pub(super) async fn rule(&self, id: &str, ruling: Ruling, actor: &Actor) -> Outcome {
        let done = self.held()?.rule(id, ruling, &self.record(actor, None)).await;
        done.map(Done::RevocationRuled).ok_or_else(|| Refused {
            message: format!("no change `{}` is held", id.escape_debug()),
            failure: Failure::Refused,
        })
    }
}
