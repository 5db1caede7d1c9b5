//! How refusals are delivered: immediately, delayed, or not at all.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use tokio::{
    runtime::Handle,
    time::{Instant, sleep_until},
};

use crate::{
    reason::{Denial, Reason},
    reply::{Minter, Outgoing, ReplyContext, Response, reply_deadline},
    shared_state::SharedState,
};

/// How refusals are delivered. The default replies to all of them immediately.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RefusalStyle {
    /// `Some(n)`: wrong credentials get no reply, up to `n` of them at a time.
    pub silent_max: Option<usize>,
    /// How long after its arrival a request is refused, but no later than the server's deadline.
    pub delay: Duration,
}

/// Delivers refusals in the configured style.
#[derive(Debug)]
pub(crate) struct Refusals {
    pub(crate) style: RefusalStyle,
    pub(crate) state: Arc<SharedState>,
}

impl Refusals {
    /// The refusal to send, if it is not withheld.
    pub(crate) fn deliver(
        &self,
        reason: Reason,
        silent: bool,
        context: &ReplyContext,
        minter: &Minter,
    ) -> Result<Outgoing, Denial> {
        if silent || self.withholds(reason, context.server_deadline) {
            return Ok(Outgoing::Nothing);
        }
        let RefusalStyle { delay, .. } = self.style;
        let not_before = (!delay.is_zero()).then(|| {
            let deadline = reply_deadline(context.server_deadline);
            context.arrived.checked_add(delay).map_or(deadline, |delayed| delayed.min(deadline))
        });
        context.seal(minter, &Response::Error(reason.public_text()), not_before)
    }

    /// Whether to withhold this refusal, so that the client waits until its server gives up. Each
    /// withheld refusal occupies the server, so their number is limited.
    fn withholds(&self, reason: Reason, server_deadline: Instant) -> bool {
        let guessing =
            matches!(reason, Reason::BadPassword | Reason::UnknownUser | Reason::BadToken);
        let Some(max) = self.style.silent_max.filter(|_| guessing) else { return false };
        let Ok(runtime) = Handle::try_current() else { return false };
        if self.state.withheld.fetch_add(1, Ordering::Relaxed) >= max {
            self.state.withheld.fetch_sub(1, Ordering::Relaxed);
            return false;
        }
        let state = Arc::clone(&self.state);
        runtime.spawn(async move {
            sleep_until(server_deadline).await;
            state.withheld.fetch_sub(1, Ordering::Relaxed);
        });
        true
    }
}
