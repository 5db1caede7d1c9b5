//! The security argument, from the bytes of a message to the reply: read it from top to bottom.

use std::sync::Arc;

use ipnet::IpNet;
use tokio::time::{Instant, timeout_at};

use crate::{
    admission::RequestLimiter,
    decide::{Decider, Ruling},
    observers::Observers,
    open::{Message, Opened, Opener},
    panics::{guarded, guarded_future},
    placement::Placement,
    record::{Decision, Denial},
    refusal::Refusals,
    reply::{Minter, Outgoing, ReplyContext, Response, record_grant},
    request::AuthRequest,
};

pub(crate) mod explain;

#[derive(Debug)]
pub(crate) struct Pipeline {
    pub(crate) opener: Opener,
    pub(crate) decider: Box<dyn Decider>,
    pub(crate) placement: Placement,
    pub(crate) minter: Minter,
    pub(crate) refusals: Refusals,
    pub(crate) trusted_proxies: Arc<[IpNet]>,
    pub(crate) observers: Observers,
}

type Limiter<'a> = Option<&'a RequestLimiter>;

impl Pipeline {
    /// Handles one message and records exactly one decision, even if something panics on the way.
    pub(crate) async fn handle(&self, message: Message<'_>, limiter: Limiter<'_>) -> Outgoing {
        let work = guarded_future("the pipeline", self.process(message, limiter));
        let lost = |denial| (Outgoing::Nothing, Decision::unopened(denial, message.arrived));
        let (outgoing, decision) = work.await.unwrap_or_else(lost);
        self.observers.record(&decision);
        outgoing
    }

    async fn process(&self, message: Message<'_>, limiter: Limiter<'_>) -> (Outgoing, Decision) {
        // Open: only a new and fresh request, signed by the server that it names and meant for this
        // callout, gets a reply. Anything else may come from someone who is not a server.
        let Opened { context, request, .. } = match self.opener.open_once(message) {
            Ok(opened) => opened,
            Err(dropped) => return (Outgoing::Nothing, dropped.into_decision(message.arrived)),
        };
        let opened_at = Instant::now();

        // Decide: there is no way to a grant but a decider that returns one.
        let ruling = self.decide(request, limiter).await.unwrap_or_else(Ruling::refused);
        let decided_at = Instant::now();

        // Answer: a grant becomes a user JWT, anything else a refusal. What cannot be signed, sealed
        // and sent in time is not sent at all.
        let mut decision = context.begin_decision();
        let outgoing = self.answer(&context, ruling, &mut decision).unwrap_or_else(|denial| {
            decision.revoke(denial);
            Outgoing::Nothing
        });
        decision.finish(context.ids, message.arrived, opened_at, decided_at);
        (outgoing, decision)
    }

    async fn decide(
        &self,
        request: Result<Arc<AuthRequest>, Denial>,
        limiter: Limiter<'_>,
    ) -> Result<Ruling, Denial> {
        // A client without exactly one usable credential is refused here.
        let request = request?;

        // No source takes all the capacity. A reply that waits for the socket needs no permit.
        let _permit = limiter.map(|it| it.admit(&request, &self.trusted_proxies)).transpose()?;

        // A late or panicking decider refuses this one client. The timeout is awaited inside the
        // guard because dropping a late decider may panic, too.
        let decider = async { self.decider.decide(Arc::clone(&request)).await };
        let work = async { timeout_at(request.deadline(), decider).await };
        let decided = guarded_future("the decision", work).await?;
        decided.map_err(|_elapsed| Denial::decided_too_late())
    }

    fn answer(
        &self,
        context: &ReplyContext,
        ruling: Ruling,
        decision: &mut Decision,
    ) -> Result<Outgoing, Denial> {
        decision.authenticator = ruling.authenticator;
        decision.authenticator_took = ruling.took;
        decision.token = ruling.token;
        decision.user = ruling.user.or_else(|| context.claimed_user());

        // No user JWT without the last checks, whichever decider granted it.
        let signed = ruling.grant.and_then(|grant| {
            self.placement.check(&grant, &self.minter)?;
            let jwt = guarded("the signer", || self.minter.user_jwt(&grant, context))?;
            Ok((jwt, grant))
        });
        context.check_deadline()?;
        let outgoing = match signed {
            Ok((jwt, grant)) => {
                record_grant(decision, &grant, &self.minter);
                context.seal(&self.minter, &Response::User(&jwt), None)?
            }
            Err(denial) => {
                decision.refuse(denial);
                self.refusals.deliver(decision.reason, ruling.silent, context, &self.minter)?
            }
        };
        // Signing, or a stalled machine, may have used up the remaining time.
        context.check_deadline()?;
        Ok(outgoing)
    }
}
