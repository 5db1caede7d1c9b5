//! The security argument, from the bytes of a message to the reply: read it from top to bottom.

use std::sync::Arc;

use ipnet::IpNet;
use tokio::time::{Instant, timeout_at};

use crate::{
    admission::RequestLimiter,
    decide::{Decider, Ruling},
    hooks::Hooks,
    observers::Observers,
    open::{Message, Opened, Opener},
    panics::{guarded, guarded_future},
    placement::Placement,
    reason::Denial,
    record::Decision,
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
    pub(crate) hooks: Hooks,
    pub(crate) observers: Observers,
}

type Limiter<'a> = Option<&'a RequestLimiter>;
/// The request, unless the client did not send exactly one usable credential.
type Request = Result<Arc<AuthRequest>, Denial>;

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
        let ruling = self.decide(&request, limiter).await.unwrap_or_else(Ruling::refused);
        let decided_at = Instant::now();

        // Confirm: a user JWT leaves only if every hook agrees, such as locks and an audit.
        let mut decision = context.begin_decision();
        decision.request = request.as_ref().ok().cloned();
        let silent = ruling.silent;
        let signed = self.sign(&context, ruling, &mut decision);
        let confirmed = self.confirm(&request, signed, &decision).await;

        // Answer: anything but a confirmed user JWT is a refusal. What cannot be signed, sealed and
        // sent in time is not sent at all.
        let is_confirmed = confirmed.is_ok();
        let answer = self.answer(&context, confirmed, silent, &mut decision);
        let outgoing = answer.unwrap_or_else(|denial| {
            if let (Ok(request), true) = (&request, is_confirmed) {
                self.hooks.not_admitted(request, &denial);
            }
            decision.revoke(denial);
            Outgoing::Nothing
        });
        decision.finish(context.ids, message.arrived, opened_at, decided_at);
        (outgoing, decision)
    }

    async fn decide(&self, request: &Request, limiter: Limiter<'_>) -> Result<Ruling, Denial> {
        // A client without exactly one usable credential is refused here.
        let request = request.as_ref().map_err(Denial::clone)?;

        // A lock of a network or of a kind of connection needs no credential.
        self.hooks.before_authentication(request)?;

        // No source takes all the capacity. A reply that waits for the socket needs no permit.
        let _permit = limiter.map(|it| it.admit(request, &self.trusted_proxies)).transpose()?;

        // A late or panicking decider refuses this one client. The timeout is awaited inside the
        // guard because dropping a late decider may panic, too.
        let decider = async { self.decider.decide(Arc::clone(request)).await };
        let work = async { timeout_at(request.deadline(), decider).await };
        let decided = guarded_future("the decision", work).await?;
        decided.map_err(|_elapsed| Denial::decided_too_late())
    }

    /// Turns a grant into a user JWT. No user JWT without the last checks, whichever decider granted it.
    fn sign(
        &self,
        context: &ReplyContext,
        ruling: Ruling,
        decision: &mut Decision,
    ) -> Result<String, Denial> {
        decision.authenticator = ruling.authenticator;
        decision.authenticator_took = ruling.took;
        decision.identity = ruling.identity;
        decision.token = ruling.token;
        decision.user = ruling.user.or_else(|| context.claimed_user());
        let grant = ruling.grant?;
        self.placement.check(&grant, &self.minter)?;
        let jwt = guarded("the signer", || self.minter.user_jwt(&grant, context))?;
        record_grant(decision, grant, &self.minter);
        Ok(jwt)
    }

    async fn confirm(
        &self,
        request: &Request,
        signed: Result<String, Denial>,
        decision: &Decision,
    ) -> Result<String, Denial> {
        let jwt = signed?;
        let request = request.as_ref().map_err(Denial::clone)?;
        self.hooks.before_answer(request, decision).await?;
        Ok(jwt)
    }

    fn answer(
        &self,
        context: &ReplyContext,
        confirmed: Result<String, Denial>,
        silent: bool,
        decision: &mut Decision,
    ) -> Result<Outgoing, Denial> {
        context.check_deadline()?;
        let outgoing = match confirmed {
            Ok(jwt) => context.seal(&self.minter, &Response::User(&jwt), None)?,
            Err(denial) => {
                decision.revoke(denial);
                self.refusals.deliver(decision.reason, silent, context, &self.minter)?
            }
        };
        // Signing, or a stalled machine, may have used up the remaining time.
        context.check_deadline()?;
        Ok(outgoing)
    }
}
